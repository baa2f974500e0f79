package escrow

import (
	"context"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/health"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// A payout waits while the node is not synced, and its failures do not count. The buyer keeps
// the invoice.
func TestPayoutsWaitForTheNode(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	node := &unsyncedNode{testNode: w.node}
	w.ln = heldUnsynced{node}
	w.deferAfter = 30 * time.Millisecond
	w.start()
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	id := w.toFiatSent(seller, buyer)
	node.unsynced.Store(true)
	w.eventually("a deferral", func() bool { return w.engine.Card.Defers() != nil })
	seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
	w.until(id, message.TradeSettledHoldInvoice)
	w.eventually("an attempt that is put off", func() bool { return w.mintFailures(id) > 1 })
	if p := w.trade(id).Payout; p.Sent || p.Failures != 0 {
		t.Errorf("%+v", p)
	}
	w.node.with(func(n *simNode) {
		if len(n.pays) != 0 {
			t.Error("a payout was sent by a node that is not synced")
		}
	})
	w.restart() // at the start the payouts wait at once
	w.eventually("the node's first answer", func() bool { return w.engine.Card.Defers() != nil })
	node.unsynced.Store(false)
	w.eventually("a payout in flight", func() bool { return w.trade(id).Payout.Sent })
	w.node.with(func(n *simNode) { n.resolve(n.inFlight()[0], false) })
	w.eventually("a failure", func() bool { return !w.trade(id).Payout.Sent })
	if p := w.trade(id).Payout; p.Failures != 0 {
		t.Errorf("a failure right after the deferral counts: %+v", p)
	}
}

// heldUnsynced is an unsyncedNode whose payments stay in flight.
type heldUnsynced struct{ *unsyncedNode }

func (n heldUnsynced) Pay(ctx context.Context, p lightning.Payment) error {
	return heldPays{n.testNode}.Pay(ctx, p)
}

// mintFailures returns how often the question to the address of a trade was put off.
func (w *world) mintFailures(id trade.OrderID) int {
	o := w.engine.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	if q := o.lanes[laneKey{trade: id, lane: laneMint}]; q != nil {
		return q.failures
	}
	return 0
}

// Maintenance begins by itself, survives a restart, refuses what begins a trade before the
// index of its key counts, is published at once, and ends by itself.
func TestMaintenanceOfAnUnsyncedNode(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	node := &unsyncedNode{testNode: w.node}
	w.ln = node
	w.policy.MaintenanceAfter, w.policy.MaintenanceClear = 300*time.Millisecond, 300*time.Millisecond
	w.start()
	maintained := func(on bool) func() bool {
		return func() bool {
			m, err := w.engine.Maintenance(t.Context())
			return err == nil && m.On == on && w.published() == on
		}
	}
	w.eventually("an info event", maintained(false))
	u := w.user(envelope.TransportV2)
	u.send(u.sell(50_000, 50))
	id := *u.wait(message.ActionNewOrder).ID
	node.unsynced.Store(true)
	w.eventually("maintenance", maintained(true))
	if m, _ := w.engine.Maintenance(t.Context()); !m.Automatic || m.Reason != ReasonLNDUnsynced || m.Since != w.clock.Now().Unix() {
		t.Errorf("%+v", m)
	}
	w.restart()
	w.eventually("maintenance after the restart", maintained(true))
	maker, taker := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	order := maker.sell(50_000, 50)
	maker.send(order)
	for p, m := range map[*user]message.Message{
		maker: {}, taker: {RequestID: number(2), TradeIndex: taker.tradeIndex(), ID: &id, Action: message.ActionTakeSell},
	} {
		if m.Action != "" {
			p.send(m)
		}
		if c, ok := p.wait(message.ActionCantDo).Payload.(message.CantDo); !ok || c.Reason != message.ReasonMaintenanceMode {
			t.Errorf("the answer is %+v", c)
		}
	}
	u.send(message.Message{RequestID: number(3), ID: &id, Action: message.ActionCancel}) // what does not begin a trade goes on
	u.wait(message.ActionCanceled)
	node.unsynced.Store(false)
	w.eventually("the end of maintenance", maintained(false))
	order.RequestID = number(9)
	maker.send(order) // the index of the refused order was not used
	maker.wait(message.ActionNewOrder)
	// An operator's maintenance does not end by itself.
	if err := w.engine.Maintain(t.Context(), true, ReasonLNDUnsynced); err == nil {
		t.Error("an operator took the program's own reason")
	}
	if err := w.engine.Maintain(t.Context(), true, "the node moves"); err != nil {
		t.Fatal(err)
	}
	w.eventually("an operator's maintenance", maintained(true))
	w.eventually("a node that is synced for long enough", func() (long bool) {
		w.engine.Card.View(func(s *health.SyncWatch, now time.Time) { long = s.SyncedFor(now) > 2*w.policy.MaintenanceClear })
		return long
	})
	w.quiet()
	if !maintained(true)() {
		t.Error("the program has ended an operator's maintenance")
	}
	if err := w.engine.Maintain(t.Context(), false, ""); err != nil {
		t.Fatal(err)
	}
	w.eventually("the end of the operator's maintenance", maintained(false))
}

// published returns whether the newest description of the node says that it is in maintenance.
func (w *world) published() (on bool) {
	_ = w.log.Read(context.Background(), 0, func(e mostro.Entry) error {
		if e.Event.Kind == mostro.KindInfo && e.Event.PubKey == w.keys.Pubkey() {
			if info, err := mostro.ParseInfo(e.Event); err == nil && info.Maintenance != nil {
				on = *info.Maintenance
			}
		}
		return nil
	})
	return on
}

// A change of the maintenance alone is worth a commit.
func TestMaintenanceIsCommitted(t *testing.T) {
	r := newRig(t)
	if !r.book.SetMaintenance(Maintenance{On: true, Reason: "the node moves"}, 5) || !r.book.changed {
		t.Fatal("the change is not committed")
	}
	r.commit()
	r.start()
	if m := r.book.Maintenance(); !m.On || m.Reason != "the node moves" || m.Since != 5 || m.Automatic {
		t.Errorf("%+v", m)
	}
	if r.book.SetMaintenance(Maintenance{On: true, Reason: "the node moves"}, 9) || r.book.changed {
		t.Error("the same maintenance is a change")
	}
	if !r.book.SetMaintenance(Maintenance{}, 9) || r.book.Maintenance() != (Maintenance{}) {
		t.Errorf("%+v", r.book.Maintenance())
	}
}

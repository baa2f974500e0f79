package escrow

import (
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/nodecard"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// healths returns the health events of the log.
func (w *world) healths() (list []mostro.Health) {
	w.tb.Helper()
	_ = w.log.Read(w.tb.Context(), 0, func(e mostro.Entry) error {
		if e.Event.Kind == mostro.KindHealth {
			h, err := mostro.ParseHealth(e.Event)
			if err != nil {
				w.tb.Error(err)
			}
			list = append(list, h)
		}
		return nil
	})
	return list
}

// TestHealthIsPublished runs a node through its states. Each change is published, with the next
// number and a later date, also across a restart.
func TestHealthIsPublished(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	node := &unsyncedNode{testNode: w.node}
	w.ln, w.healthEvery = node, time.Minute
	w.start()
	states := func(h mostro.Health) string {
		text := string(h.Status)
		for _, c := range h.Checks {
			text += " " + string(c.State)
		}
		return text
	}
	// The clock moves until the newest health is as wanted.
	until := func(want string) mostro.Health {
		t.Helper()
		w.eventually(want, func() bool {
			list := w.healths()
			if len(list) > 0 && states(list[len(list)-1]) == want {
				return true
			}
			w.clock.move(time.Second)
			return false
		})
		list := w.healths()
		return list[len(list)-1]
	}
	h := until("ok ok ok ok ok")
	if h.LND == nil || !h.LND.Synced || *h.IntervalSeconds != 60 || h.Expiration != h.CreatedAt+180 || h.EscrowMode != "lightning" || *h.Maintenance || h.Name != "test" {
		t.Errorf("%+v", h)
	}
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	id := w.toFiatSent(seller, buyer)
	w.node.with(func(n *simNode) { n.down = true })
	if h := until("down unknown ok ok ok"); h.LND != nil {
		t.Errorf("a node that does not answer has the height %d", h.LND.BlockHeight)
	}
	w.node.with(func(n *simNode) { n.down = false })
	until("ok ok ok ok ok")
	w.restart()
	if err := w.engine.Maintain(t.Context(), true, "a new disk"); err != nil {
		t.Fatal(err)
	}
	if h := until("degraded ok ok ok ok"); !*h.Maintenance {
		t.Errorf("%+v", h)
	}
	if err := w.engine.Maintain(t.Context(), false, ""); err != nil {
		t.Fatal(err)
	}
	until("ok ok ok ok ok")

	// A buyer who is not paid, although the payments of others are not tried.
	w.node.with(func(n *simNode) { n.down = true })
	seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
	w.eventually("the release", func() bool { return w.trade(id).Settling })
	w.node.with(func(n *simNode) { n.down = false })
	w.until(id, message.TradeSettledHoldInvoice)

	list := w.healths()
	for i, h := range list {
		if *h.Seq != int64(i+1) || i > 0 && h.CreatedAt <= list[i-1].CreatedAt {
			t.Errorf("health %d has the number %d and the date %d", i, *h.Seq, h.CreatedAt)
		}
		for _, c := range h.Checks {
			if c.Since == 0 || c.Since > h.CreatedAt {
				t.Errorf("%+v", h)
			}
		}
	}
}

// TestHealthOfPayouts holds the facts about payouts of a book: who waits, since when, and
// which failures count.
func TestHealthOfPayouts(t *testing.T) {
	r := newRig(t)
	e := &Engine{Config: Config{Policy: r.policy, Store: r.store, Card: new(nodecard.Card)}, book: r.book}
	r.book.attempts = &e.health.attempts
	facts := func() (oldest int64) {
		t.Helper()
		f, err := e.health.facts(e, r.node.now)
		if err != nil {
			t.Fatal(err)
		}
		return f.Payouts.Oldest
	}
	id, seller, _ := r.toActive()
	r.must(r.buyerOf(id), message.ActionFiatSent, &id, nil)
	r.hold[trade.FxPay] = true
	r.pass(600)
	r.must(seller, message.ActionRelease, &id, nil)
	if r.status(message.TradeSettledHoldInvoice, id); facts() != 0 {
		t.Errorf("oldest %d s", facts())
	}
	r.node.now += 2000
	if facts() != 2000 {
		t.Errorf("oldest %d s, want the time since the settlement", facts())
	}
	e.health.unpaid = nil // a restart
	if facts() != 2000 {
		t.Errorf("oldest %d s after a restart", facts())
	}
	claim := r.trade(id).Payout
	failed := trade.Input{Kind: trade.InPayment, Hash: claim.Hash, Attempt: claim.Attempt, Payment: trade.Result{Status: trade.PaymentFailed}}
	r.book.PayoutsSpared = true
	r.applyInput(id, failed)
	if f := e.health.attempts.Facts(r.node.now); f.Failed != 0 {
		t.Errorf("a failure of a node that is not synced counts: %+v", f)
	}
	r.book.PayoutsSpared = false
	r.applyInput(id, failed)
	if f := e.health.attempts.Facts(r.node.now); f.Failed != 0 {
		t.Errorf("a failure that arrives twice counts: %+v", f)
	}
	r.commit()
	delete(r.hold, trade.FxPay)
}

func (r *rig) buyerOf(id trade.OrderID) trade.Party { return r.trade(id).Buyer }

func TestHealthIsOff(t *testing.T) {
	w := newWorld(t)
	w.until0(mostro.KindInfo)
	for range 10 {
		w.clock.move(time.Minute)
		if err := w.engine.Ask(t.Context(), func(*TradeBook, int64) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if list := w.healths(); len(list) != 0 {
		t.Errorf("%d events", len(list))
	}
}

// until0 waits for the first event of a kind.
func (w *world) until0(kind int) {
	w.tb.Helper()
	w.eventually("an event", func() bool {
		found := false
		_ = w.log.Read(w.tb.Context(), 0, func(e mostro.Entry) error { found = found || e.Event.Kind == kind; return nil })
		return found
	})
}

// TestHealthEventIsOurs holds that the event is one that readers accept.
func TestHealthEventIsOurs(t *testing.T) {
	seq, interval, off := int64(4), int64(60), false
	h := mostro.Health{Pubkey: strings.Repeat("ab", 32), CreatedAt: 1_792_000_000, Status: mostro.HealthOK, EscrowMode: "lightning",
		Seq: &seq, IntervalSeconds: &interval, Maintenance: &off, Expiration: 1_792_000_180}
	evt := h.Event()
	if class := mostro.Classify(&evt); class != mostro.ClassHealth {
		t.Errorf("%s %v", class, nostr.Tags(evt.Tags))
	}
}

// TestHealthForTheWatchdog decrypts the part of the health that only the watchdog reads.
func TestHealthForTheWatchdog(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	dog := secretKey(t, 77)
	w.healthEvery, w.watchdog = time.Minute, dog.Pubkey()
	w.start()
	if err := w.engine.Maintain(t.Context(), true, "a new disk"); err != nil {
		t.Fatal(err)
	}
	var newest mostro.Health
	w.eventually("the health in maintenance", func() bool {
		w.clock.move(time.Second)
		list := w.healths()
		if len(list) > 0 {
			newest = list[len(list)-1]
		}
		return newest.Maintenance != nil && *newest.Maintenance
	})
	if newest.Watchdog != dog.Pubkey() || newest.Content == "" || strings.Contains(newest.Content, "disk") {
		t.Fatalf("%+v", newest)
	}
	key, err := dog.Conversation(newest.Pubkey)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := key.Decrypt(newest.Content)
	if err != nil {
		t.Fatal(err)
	}
	d, err := mostro.ParseHealthDetail([]byte(plain))
	if err != nil || d.LND == nil || !d.LND.Reachable || d.LND.Peers != nil || *d.LND.BlockHeight != newest.LND.BlockHeight || !*d.LND.Synced || d.LND.UnsyncedSince != nil ||
		d.Payouts == nil || d.Payouts.WindowSeconds != 3600 || *d.Payouts.SettledUnpaidOrders != 0 || d.Payouts.OldestSettledUnpaidSeconds != nil || d.Payouts.LastSuccessAt != nil ||
		d.DevFee != nil || d.Relays.Configured != 1 || d.Relays.Connected != 1 || !d.Maintenance.Enabled || *d.Maintenance.Reason != "a new disk" || d.GeneratedAt > int64(newest.CreatedAt) {
		t.Errorf("%v: %s", err, plain)
	}
	stranger, err := secretKey(t, 78).Conversation(newest.Pubkey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Decrypt(newest.Content); err == nil {
		t.Error("a stranger reads the details")
	}
}

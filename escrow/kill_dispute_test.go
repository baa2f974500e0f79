//go:build unix

package escrow

import (
	"os/exec"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// RunKilledInDispute kills our process at the points of a dispute: before a solver takes it,
// between the verdict and the settlement or the cancellation, and between the settlement and the
// payout. Another process ends the dispute as the solver has decided, once. If n.Long is set, the
// node is killed as well, and starts again before the other process.
func RunKilledInDispute(t *testing.T, n *FlowNet, child func(dir, secret, killAt string) *exec.Cmd) {
	k := newKilled(t, n, child)
	for _, c := range []struct {
		point   string
		verdict message.Action
	}{
		{"before the take", message.ActionAdminSettle},
		{beforeSettle, message.ActionAdminSettle},
		{afterSettle, message.ActionAdminSettle},
		{beforePay, message.ActionAdminSettle},
		{afterPay, message.ActionAdminSettle},
		{beforeCancel, message.ActionAdminCancel},
		{afterCancel, message.ActionAdminCancel},
	} {
		t.Run(c.point, func(t *testing.T) { k.dispute(k.flow(t), c.point, c.verdict, func() {}) })
		if n.Long {
			t.Run(c.point+", and the node", func(t *testing.T) {
				f := k.flow(t)
				k.dispute(f, c.point, c.verdict, func() {
					if err := n.Restart(t.Context()); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// dispute has a solver decide a dispute while the process of the escrow dies at a point. between
// is called before the next process starts.
func (k *killed) dispute(f *flow, point string, verdict message.Action, between func()) {
	now := func() { k.w.clock.now = time.Now() }
	admin := &user{w: k.w, trade: k.w.keys, transport: envelope.TransportV2}
	solver := &user{w: k.w, trade: newKeys(f), transport: envelope.TransportV2}
	k.w.secrets.addKeys("a solver", solver.trade)
	p := k.start(f, point)
	reborn := k.reborn(f, p, between)
	f.toFiatSent()
	f.buyer.send(message.Message{RequestID: number(7), ID: &f.id, Action: message.ActionDispute})
	ref, ok := f.seller.wait(message.ActionDisputeInitiatedByPeer).Payload.(message.DisputeRef)
	if !ok {
		f.Fatal("the dispute has no id")
	}
	if point == "before the take" {
		p.end()
	}
	now()
	admin.send(message.Message{Wrapper: message.WrapperDispute, RequestID: number(8), ID: &anyID, Action: message.ActionAdminAddSolver, Payload: message.TextMessage(solver.trade.Npub())})
	solver.send(message.Message{Wrapper: message.WrapperDispute, RequestID: number(9), ID: &ref.ID, Action: message.ActionAdminTakeDispute})
	solver.wait(message.ActionAdminTookDispute)
	now()
	solver.send(message.Message{Wrapper: message.WrapperDispute, RequestID: number(10), ID: &f.id, Action: verdict})
	everybody := []*user{f.seller, f.buyer, solver}
	for _, u := range everybody {
		u.wait(verdictOf[verdict])
	}
	want, state := message.TradeCanceledByAdmin, mostro.DisputeStateSellerRefunded
	if verdict == message.ActionAdminSettle {
		want, state = message.TradeSuccess, mostro.DisputeStateSettled
		if point == afterPay && !f.ended(func() bool { return f.buyer.unread(message.ActionPurchaseCompleted) > 0 }) {
			want = message.TradeSettledHoldInvoice
			f.unpaid()
		} else {
			f.buyer.wait(message.ActionPurchaseCompleted)
			f.count([3]int64{2 * flowFee * 1000, -(flowSats + flowFee) * 1000, (flowSats - flowFee) * 1000})
		}
	} else {
		f.unchanged()
	}
	next := <-reborn
	k.shown(f, ref.ID, state)
	if verdict == message.ActionAdminCancel {
		k.over(f, next)
	}
	next.end()
	t := k.judge(f, p, want)
	if v := t.Dispute.Verdict; v == nil || v.By != solver.trade.Pubkey() || v.Action != verdict || v.Overdue {
		f.Errorf("the verdict is %+v", v)
	}
	for i, u := range everybody {
		if n := u.unread(verdictOf[verdict]) + u.unread(message.ActionPurchaseCompleted); n != 0 {
			f.Errorf("party %d was told of the end %d times more than once", i, n)
		}
	}
}

// over waits until the store has the end of the trade, which neither a message nor a balance
// tells: the hold is given back before the commit that says so. Only the process sees the store,
// so the process is ended and started again until the trade is over.
func (k *killed) over(f *flow, p *childProcess) {
	f.Helper()
	over := false
	for deadline := time.Now().Add(time.Minute); !over; {
		for range 10 {
			f.n.Pause()
		}
		p.end()
		f.open(k.dir, func(db *DB) {
			t, err := db.Trade(f.id)
			over = err == nil && t.Over()
		})
		if !over && time.Now().After(deadline) {
			f.Fatal("the store does not have the end of the trade")
		}
		if !over {
			p = k.start(f, "")
		}
	}
}

// shown waits for the public end of a dispute, which is published once.
func (k *killed) shown(f *flow, dispute trade.OrderID, want mostro.DisputeState) {
	f.Helper()
	count := func() (n int) {
		_ = k.w.log.Read(f.Context(), 0, func(e mostro.Entry) error {
			if d, err := mostro.ParseDispute(e.Event); err == nil && d.D == dispute.String() && d.State.Final() {
				if d.State != want {
					f.Errorf("the dispute is published as %s, want %s", d.State, want)
				}
				n++
			}
			return nil
		})
		return n
	}
	for deadline := time.Now().Add(30 * time.Second); count() == 0; f.n.Pause() {
		if time.Now().After(deadline) {
			f.Fatalf("the end of the dispute is not published\n%s", k.w.output.String())
		}
	}
	if n := count(); n != 1 {
		f.Errorf("the end of the dispute is published %d times", n)
	}
}

// unread returns the number of unread messages to the user with the action.
func (u *user) unread(action message.Action) (n int) {
	u.w.tb.Helper()
	u.read()
	for _, m := range u.w.seen[u.trade.Pubkey()] {
		if m.Action == action {
			n++
		}
	}
	return n
}

package escrow

import (
	"testing"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// TestCrashMatrix kills the process between each two steps that matter. A call that was made
// but not recorded is made again; a call that was recorded but not made is made. No payment
// and no notice is sent twice as different events.
func TestCrashMatrix(t *testing.T) {
	// does performs the call of one kind on the node and loses the result.
	does := func(r *rig, kind trade.EffectKind) {
		t.Helper()
		for _, id := range r.store.rows {
			if row := r.store.outbox[id]; row.Effect.Kind == kind {
				if _, err := (effect.Runner{Node: r.node, Addresses: r.node}).Do(t.Context(), row.Effect, 0); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
		t.Fatalf("no outbox row is of kind %s", kind)
	}
	waiting := func(r *rig) (trade.OrderID, trade.Party, trade.Party) {
		seller, buyer := r.someone(), r.someone()
		id := r.order(seller, message.SmallOrder{})
		r.must(buyer, message.ActionTakeSell, &id, nil)
		return id, seller, buyer
	}
	t.Run("the message was read, the commit did not come", func(t *testing.T) {
		r := newRig(t)
		id, _, buyer := waiting(r)
		msg := r.message(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
		if _, err := r.book.Receive(msg, r.node.now); err != nil {
			t.Fatal(err)
		}
		r.store.failBefore = true
		if r.store.Commit(r.book.Take()) == nil {
			t.Fatal("committed")
		}
		r.store.failBefore = false
		r.start()
		r.status(message.TradeWaitingBuyerInvoice, id)
		if got := r.receive(msg); got != "" {
			t.Fatalf("the replay returned %q", got)
		}
		r.settle()
		r.status(message.TradeWaitingPayment, id)
	})
	t.Run("the commit came, nobody learnt of it", func(t *testing.T) {
		r := newRig(t)
		id, seller, buyer := waiting(r)
		msg := r.message(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
		if _, err := r.book.Receive(msg, r.node.now); err != nil {
			t.Fatal(err)
		}
		r.store.failAfter = true
		if r.store.Commit(r.book.Take()) == nil {
			t.Fatal("no error")
		}
		r.store.failAfter = false
		r.start()
		if got := r.receive(msg); got != "replayed" {
			t.Fatalf("the replay returned %q", got)
		}
		r.settle()
		if r.got(seller, message.ActionPayInvoice) != 2 { // one with the reputation and one with the invoice
			t.Errorf("%v", actions(r.mail[seller.Key]))
		}
	})
	t.Run("hold invoice made, answer lost", func(t *testing.T) {
		r := newRig(t)
		id, seller, buyer := waiting(r)
		r.hold[trade.FxCreateHold] = true
		r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
		does(r, trade.FxCreateHold)
		r.start()
		delete(r.hold, trade.FxCreateHold)
		r.settle()
		if len(r.node.holds) != 1 {
			t.Errorf("%d hold invoices", len(r.node.holds))
		}
		r.pays(seller)
		r.status(message.TradeActive, id)
	})
	t.Run("hold invoice recorded, seller not told", func(t *testing.T) {
		r := newRig(t)
		id, seller, buyer := waiting(r)
		r.hold[trade.FxSend] = true
		r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
		r.start()
		r.pass(900)
		r.status(message.TradeCanceled, id) // because the seller let the time pass
		delete(r.hold, trade.FxSend)
		r.settle()
		r.last(seller, message.ActionCanceled)
		if !r.trade(id).Over() {
			t.Error("the hold invoice is still open")
		}
	})
	t.Run("seller paid while we were down", func(t *testing.T) {
		r := newRig(t)
		id, _, buyer := waiting(r)
		r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
		if !r.node.pay(r.trade(id).Hash) {
			t.Fatal("the hold invoice cannot be paid")
		}
		r.node.now += 5000 // the seller's time ended while the process was down
		r.start()
		r.settle()
		r.status(message.TradeActive, id)
		if r.got(buyer, message.ActionHoldInvoicePaymentAccepted) != 1 {
			t.Error("the parties were not notified exactly once")
		}
	})
	t.Run("settled, not recorded", func(t *testing.T) {
		r := newRig(t)
		id, seller, buyer := r.toActive()
		r.must(buyer, message.ActionFiatSent, &id, nil)
		r.hold[trade.FxSettle] = true
		r.must(seller, message.ActionRelease, &id, nil)
		does(r, trade.FxSettle)
		r.start()
		r.status(message.TradeFiatSent, id)
		for _, p := range []trade.Party{buyer, seller} {
			if got := r.say(p, message.ActionCancel, &id, nil); got != string(message.ReasonNotAllowedByStatus) {
				t.Errorf("cancel after the release returned %q", got)
			}
		}
		delete(r.hold, trade.FxSettle)
		r.settle()
		r.status(message.TradeSettledHoldInvoice, id)
		if r.got(buyer, message.ActionReleased) != 1 {
			t.Error("a party was notified more than once")
		}
	})
	t.Run("settled, not recorded, and the node tells first", func(t *testing.T) {
		r := newRig(t)
		id, seller, buyer := r.toActive()
		r.must(buyer, message.ActionFiatSent, &id, nil)
		r.hold[trade.FxSettle] = true
		r.must(seller, message.ActionRelease, &id, nil)
		does(r, trade.FxSettle)
		r.start()
		r.settle() // the watch reports settled while the settle row is still queued
		r.status(message.TradeSettledHoldInvoice, id)
		delete(r.hold, trade.FxSettle)
		r.settle()
		if r.got(buyer, message.ActionReleased) != 1 || len(r.node.pays) != 1 {
			t.Errorf("told %d times, %d payments", r.got(buyer, message.ActionReleased), len(r.node.pays))
		}
	})
	t.Run("claimed, not sent", func(t *testing.T) {
		r := newRig(t)
		r.hold[trade.FxPay] = true
		id, _, _ := r.toSettled()
		r.start()
		delete(r.hold, trade.FxPay)
		r.settle()
		if len(r.node.pays) != 1 {
			t.Fatalf("%d payments", len(r.node.pays))
		}
		r.resolves(id, true)
		r.status(message.TradeSuccess, id)
	})
	for _, good := range []bool{true, false} {
		t.Run("sent, not recorded", func(t *testing.T) {
			r := newRig(t)
			r.hold[trade.FxPay] = true
			id, _, buyer := r.toSettled()
			does(r, trade.FxPay)
			r.node.resolve(r.trade(id).Payout.Hash, good)
			r.start()
			delete(r.hold, trade.FxPay)
			r.settle()
			if good {
				r.status(message.TradeSuccess, id)
			} else { // the payment failed unseen, so the same payment is sent again
				r.resolves(id, true)
				r.status(message.TradeSuccess, id)
			}
			if r.got(buyer, message.ActionPurchaseCompleted) != 1 || r.node.paidMsat != 99_700_000 {
				t.Errorf("told %d times, paid %d", r.got(buyer, message.ActionPurchaseCompleted), r.node.paidMsat)
			}
		})
	}
	t.Run("under way, not told", func(t *testing.T) {
		r := newRig(t)
		id, _, buyer := r.toSettled()
		r.start()
		r.node.resolve(r.trade(id).Payout.Hash, true) // while no watch runs
		r.start()
		r.settle()
		r.status(message.TradeSuccess, id)
		if r.got(buyer, message.ActionPurchaseCompleted) != 1 {
			t.Error("a party was notified more than once")
		}
	})
	t.Run("cancelled, not recorded", func(t *testing.T) {
		r := newRig(t)
		id, seller, buyer := r.toActive()
		r.hold[trade.FxCancel] = true
		r.must(seller, message.ActionCancel, &id, nil)
		r.must(buyer, message.ActionCancel, &id, nil)
		does(r, trade.FxCancel)
		r.start()
		if r.trade(id).Over() {
			t.Error("the trade ended before the node confirmed")
		}
		delete(r.hold, trade.FxCancel)
		r.settle()
		if !r.trade(id).Over() || r.node.heldMsat != 0 {
			t.Error("the trade did not end, or the sats are still held")
		}
	})
	t.Run("address asked, invoice lost", func(t *testing.T) {
		r := newRig(t)
		seller, buyer := r.someone(), r.someone()
		id := r.order(seller, message.SmallOrder{})
		r.must(buyer, message.ActionTakeSell, &id, message.PaymentRequest{Invoice: id.String() + "@home"})
		r.pays(seller)
		r.must(buyer, message.ActionFiatSent, &id, nil)
		r.hold[trade.FxMint] = true
		r.must(seller, message.ActionRelease, &id, nil)
		does(r, trade.FxMint)
		r.start()
		delete(r.hold, trade.FxMint)
		r.settle()
		r.resolves(id, true)
		r.status(message.TradeSuccess, id)
		if len(r.node.pays) != 1 {
			t.Errorf("%d payments", len(r.node.pays))
		}
	})
	t.Run("address being looked at", func(t *testing.T) {
		r := newRig(t)
		r.hold[trade.FxProbe] = true
		id, buyer := r.order(r.someone(), message.SmallOrder{}), r.someone()
		r.must(buyer, message.ActionTakeSell, &id, message.PaymentRequest{Invoice: "me@home"})
		r.start()
		delete(r.hold, trade.FxProbe)
		r.settle()
		r.status(message.TradeWaitingPayment, id)
	})
}

// TestRolledBackStore opens an older copy of the store after the node and the log moved on.
func TestRolledBackStore(t *testing.T) {
	back := func(r *rig, tr trade.Trade, rows ...OutboxRow) {
		r.store.trades[tr.ID] = tr
		r.store.journal[tr.ID] = r.store.journal[tr.ID][:tr.Steps]
		clear(r.store.outbox)
		r.store.rows = nil
		for _, row := range rows {
			r.store.outbox[row.ID] = row
			r.store.rows = append(r.store.rows, row.ID)
		}
		r.start()
		r.applyInput(tr.ID, trade.Input{Kind: trade.InReconcile})
		r.commit()
	}
	t.Run("released and paid since: frozen, not paid again", func(t *testing.T) {
		r := newRig(t)
		id, seller, buyer := r.toActive()
		r.must(buyer, message.ActionFiatSent, &id, nil)
		old := r.trade(id)
		r.must(seller, message.ActionRelease, &id, nil)
		r.resolves(id, true)
		back(r, old)
		r.settle()
		if tr := r.trade(id); !tr.Frozen || tr.Last != trade.OnContradiction {
			t.Errorf("%s, frozen %v", tr.Last, tr.Frozen)
		}
		if outcome := r.say(seller, message.ActionRelease, &id, nil); outcome != string(message.ReasonNotAllowedByStatus) {
			t.Errorf("%q", outcome)
		}
		r.settle()
		if len(r.node.pays) != 1 || r.node.paidMsat != 99_700_000 {
			t.Error("the buyer was paid again")
		}
		// An operator who orders the payout anyway pays by the same hash. The node answers
		// that the hash is already paid.
		r.applyInput(id, trade.Input{Kind: trade.InPayAfterAll})
		r.commit()
		r.settle()
		r.status(message.TradeSuccess, id)
		if len(r.node.pays) != 1 || r.node.paidMsat != 99_700_000 {
			t.Error("the buyer was paid again")
		}
	})
	t.Run("paid since by another invoice: frozen", func(t *testing.T) {
		r := newRig(t)
		id, _, buyer := r.toSettled()
		r.resolves(id, false)
		old := r.trade(id)
		r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
		r.resolves(id, true)
		back(r, old)
		r.pass(86_400)
		if tr := r.trade(id); !tr.Frozen || r.node.paidMsat != 99_700_000 || len(r.node.pays) != 2 {
			t.Errorf("frozen %v, paid %d", tr.Frozen, r.node.paidMsat)
		}
		r.applyInput(id, trade.Input{Kind: trade.InResume})
		r.commit()
		r.pass(1)
		if tr := r.trade(id); tr.Frozen || tr.Payout.Asked != 1 { // its invoice has expired in the meantime
			t.Errorf("%+v", tr.Payout)
		}
	})
	t.Run("held since: goes on, and its time does not take it away", func(t *testing.T) {
		r := newRig(t)
		seller, buyer := r.someone(), r.someone()
		id := r.order(seller, message.SmallOrder{})
		r.must(buyer, message.ActionTakeSell, &id, nil)
		r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
		old := r.trade(id)
		r.pays(seller)
		r.must(buyer, message.ActionFiatSent, &id, nil)
		back(r, old)
		r.settle()
		r.status(message.TradeActive, id)
		h := r.trade(id).Hash
		r.node.height = r.node.holds[h].state.ExpiryHeight - 84 // 60 blocks before the margin
		r.pass(r.trade(id).Deadline - r.node.now)
		r.status(message.TradeDispute, id) // the hold is not canceled, because fiat may have been sent
		if r.node.heldMsat == 0 {
			t.Error("the hold was canceled")
		}
	})
}

func TestWitness(t *testing.T) {
	g := rollback.Guard{Path: t.TempDir() + "/witness"}
	if _, known, err := g.Load(); known || err != nil {
		t.Fatal("the older copy knows a trade that it never saw")
	}
	if err := g.Store(7); err != nil {
		t.Fatal(err)
	}
	n, known, err := g.Load()
	if n != 7 || !known || err != nil {
		t.Fatal(n, known, err)
	}
	for _, c := range []struct {
		commits, witness uint64
		known, want      bool
	}{{7, 7, true, false}, {8, 7, true, false}, {6, 7, true, true}, {0, 7, true, true}, {0, 0, false, false}, {3, 0, false, true}} {
		if got := rolledBack(Head{Commits: c.commits}, c.witness, c.known); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

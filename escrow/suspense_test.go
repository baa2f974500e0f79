package escrow

import (
	"context"
	"errors"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/ledger"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/payoutgate"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/escrow/users"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// toSuspense returns a trade that was cancelled in this store and whose hold the node has
// settled, as after a store was put back. The seller has paid more than the invoice's amount.
func (r *rig) toSuspense() (id trade.OrderID, h trade.Hash) {
	r.tb.Helper()
	id, seller, buyer := r.toActive()
	t := r.trade(id)
	r.hold[trade.FxCancel] = true
	r.must(buyer, message.ActionCancel, &id, nil)
	r.must(seller, message.ActionCancel, &id, nil)
	if err := r.node.Settle(context.Background(), t.Preimage); err != nil {
		r.tb.Fatal(err)
	}
	delete(r.hold, trade.FxCancel)
	r.settle()
	return id, t.Hash
}

// lastRefund returns the hash of the last payment of the open refund of a hold.
func lastRefund(t trade.Trade, hold trade.Hash) (h trade.Hash) {
	if n := t.Refund(hold); n != 0 {
		h = t.Outflows[n-1].LastHash
	}
	return h
}

func (r *rig) resolve(id trade.OrderID, h trade.Hash, o trade.Outcome, to string, withheld bool) error {
	r.tb.Helper()
	last := trade.PaymentUnknown
	if p := r.node.pays[lastRefund(r.trade(id), h)]; p != nil {
		last = p.state.Status
	}
	err := r.book.Resolve(id, Resolution{Hash: h, Msat: r.node.holds[h].state.PaidMsat, Outcome: o, To: to, Reason: "looked at the node"}, true, withheld, last, r.node.now)
	r.commit()
	r.settle()
	return err
}

// balances returns the ledger of the rig's trades, after a check of its laws.
func (r *rig) balances() ledger.Balances {
	r.tb.Helper()
	var sum ledger.Ledger
	for id := range r.store.trades {
		f, err := ledger.ReadTrade(r.store, id, nil)
		if err != nil {
			r.tb.Fatal(err)
		}
		sum.Add(f)
	}
	if err := sum.Check(); err != nil {
		r.tb.Error(err)
	}
	return sum.Balances
}

// An amount in suspense is refunded by the program. The trade has ended for its parties, and is
// over only after the refund. A restart between any two calls neither loses nor repeats it.
func TestSuspenseIsRefunded(t *testing.T) {
	for name, to := range map[string]string{"to an invoice": "", "to an address": "seller@home"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.node.fickle = false
			r.gate = payoutgate.New(2, 2)
			id, h := r.toSuspense()
			paid := r.node.holds[h].state.PaidMsat
			tr := r.trade(id)
			if !tr.Frozen || !tr.Over() || len(tr.Suspended) != 1 || tr.Suspended[0].PaidMsat != paid || r.balances()[ledger.Suspense] != paid {
				t.Fatalf("%+v, %v", tr.Suspended, r.balances())
			}
			if to == "" {
				to = simInvoice(trade.Hash{1, 2, 3}, paid/1000*1000, r.node.now+7200, id.String())
			}
			r.hold[trade.FxPay], r.hold[trade.FxMint] = true, true
			if err := r.resolve(id, h, trade.OutcomeRefund, to, false); err != nil {
				t.Fatal(err)
			}
			r.pass(1)
			if err := r.resolve(id, h, trade.OutcomeKept, "", false); !errors.Is(err, ErrUnderWay) {
				t.Fatalf("a refund is replaced while its call waits: %v", err)
			}
			tr = r.trade(id)
			if tr.Over() || tr.Frozen || tr.Due() == 0 || r.balances()[ledger.Suspense] != paid {
				t.Fatalf("the refund is not owed: %+v", tr.Outflows)
			}
			r.start()
			r.pass(1)
			r.start()
			for kind := range map[trade.EffectKind]bool{trade.FxMint: true, trade.FxPay: true} {
				delete(r.hold, kind)
				r.start()
				r.settle()
			}
			o := r.trade(id).Outflows[0]
			if !o.Sent || len(r.node.pays) != 1 {
				t.Fatalf("%+v, %d payments", o, len(r.node.pays))
			}
			if n, _ := r.gate.Numbers(); n != 1 {
				t.Errorf("%d payments count as in flight", n)
			}
			if err := r.resolve(id, h, trade.OutcomeKept, "", false); !errors.Is(err, ErrRefundMoves) {
				t.Errorf("a refund in flight is replaced: %v", err)
			}
			r.start()
			r.node.resolve(o.Hash, true)
			r.pass(trackSeconds)
			tr = r.trade(id)
			if !tr.Over() || tr.Outflows[0].FeeMsat != r.node.routingMsat || r.node.paidMsat != paid/1000*1000 {
				t.Fatalf("the refund is not over: %+v", tr.Outflows[0])
			}
			b := r.balances()
			if b[ledger.Suspense] != 0 || b[ledger.Forfeits] != paid%1000 || b[ledger.Routing] != r.node.routingMsat {
				t.Errorf("%v", b)
			}
			if n, _ := r.gate.Numbers(); n != 0 {
				t.Errorf("%d payments count as in flight at the end", n)
			}
			if err := r.resolve(id, h, trade.OutcomeRefunded, "", false); !errors.Is(err, trade.ErrNothing) {
				t.Errorf("an amount is resolved twice: %v", err)
			}
		})
	}
}

// trackSeconds is longer than the interval at which a payment in flight is looked up.
const trackSeconds = 301

// A refund that fails is tried again, and an operator may name another invoice between two
// attempts. The payout of the trade's own rules does not wait for it.
func TestRefundFails(t *testing.T) {
	r := newRig(t)
	r.node.fickle = false
	id, h := r.toSuspense()
	paid := r.node.holds[h].state.PaidMsat
	first := simInvoice(trade.Hash{1}, paid/1000*1000, r.node.now+4000, id.String())
	if err := r.resolve(id, h, trade.OutcomeRefund, simInvoice(trade.Hash{9}, paid/1000*1000+1000, r.node.now+7200, id.String()), false); !errors.Is(err, ErrRefundTo) {
		t.Fatalf("an invoice of another amount: %v", err)
	}
	if err := r.resolve(id, h, trade.OutcomeRefund, first, false); err != nil {
		t.Fatal(err)
	}
	r.pass(1)
	r.node.resolve(trade.Hash{1}, false)
	r.pass(trackSeconds)
	if o := r.trade(id).Outflows[0]; o.Failures != 1 || o.Hash != (trade.Hash{}) || o.Deadline <= r.node.now {
		t.Fatalf("%+v", o)
	}
	r.pass(8000) // the invoice has expired
	if len(r.node.pays) != 1 {
		t.Fatal("an expired invoice was paid")
	}
	if err := r.resolve(id, h, trade.OutcomeRefund, simInvoice(trade.Hash{2}, 0, r.node.now+7200, id.String()), false); err != nil {
		t.Fatal(err)
	}
	r.pass(1)
	r.node.resolve(trade.Hash{2}, true)
	r.pass(trackSeconds)
	if tr := r.trade(id); !tr.Over() || tr.Outflows[0].LastHash != (trade.Hash{2}) || r.node.paidMsat != paid/1000*1000 {
		t.Errorf("%+v", tr.Outflows)
	}
	r.balances()
}

// A store that is put back while a refund is owed freezes the trade: the refund may have been
// paid under another hash. The operator withdraws it, and the withheld call is never made.
func TestRefundOfACopy(t *testing.T) {
	r := newRig(t)
	r.node.fickle = false
	id, h := r.toSuspense()
	r.hold[trade.FxPay] = true
	if err := r.resolve(id, h, trade.OutcomeRefund, "seller@home", false); err != nil {
		t.Fatal(err)
	}
	r.pass(1)
	if o := r.trade(id).Outflows[0]; o.Hash == (trade.Hash{}) || o.Sent {
		t.Fatalf("%+v", o)
	}
	r.start()
	r.applyInput(id, trade.Input{Kind: trade.InReconcile})
	r.commit()
	if tr := r.trade(id); !tr.Frozen || tr.Over() {
		t.Fatal("a trade that owes a refund is not frozen")
	}
	if err := r.resolve(id, h, trade.OutcomeRefunded, "", true); err != nil {
		t.Fatal(err)
	}
	delete(r.hold, trade.FxPay)
	r.settle()
	if tr := r.trade(id); !tr.Over() || tr.Frozen || !tr.Outflows[0].Withdrawn || len(r.node.pays) != 0 {
		t.Errorf("%+v, %d payments", tr.Outflows, len(r.node.pays))
	}
	if b := r.balances(); b[ledger.Suspense] != 0 {
		t.Errorf("%v", b)
	}
}

// An earlier process may have sent a refund whose answer was lost. The trade is frozen and its
// call withheld, but the payment is in flight: no other decision is taken until it has failed.
func TestRefundInFlightIsNotReplaced(t *testing.T) {
	r := newRig(t)
	r.node.fickle = false
	id, h := r.toSuspense()
	r.hold[trade.FxPay] = true
	if err := r.resolve(id, h, trade.OutcomeRefund, "seller@home", false); err != nil {
		t.Fatal(err)
	}
	r.pass(1)
	first := r.trade(id).Outflows[0].Hash
	r.node.pays[first] = &simPay{order: id.String(), state: lightning.PaymentState{Hash: first, Status: trade.PaymentInFlight}}
	r.start()
	r.applyInput(id, trade.Input{Kind: trade.InReconcile})
	r.commit()
	if o := r.trade(id).Outflows[0]; o.Sent || o.Hash != first || !r.trade(id).Frozen {
		t.Fatalf("%+v", o)
	}
	for _, status := range []trade.PaymentStatus{trade.PaymentInFlight, trade.PaymentSucceeded} {
		r.node.pays[first].state.Status = status
		for outcome, to := range map[trade.Outcome]string{trade.OutcomeRefund: "other@home", trade.OutcomeKept: "", trade.OutcomeRefunded: ""} {
			if err := r.resolve(id, h, outcome, to, true); !errors.Is(err, ErrRefundMoves) {
				t.Errorf("%s while the payment is %s: %v", outcome, status, err)
			}
		}
	}
	r.node.pays[first].state.Status = trade.PaymentFailed
	if err := r.resolve(id, h, trade.OutcomeKept, "", true); err != nil {
		t.Fatal(err)
	}
}

// The payment of a refund that this store counts as failed has succeeded, in a time that the store
// has lost. The invoice has expired, so no further payment begins, and no other decision is
// possible: the program looks at the last payment again.
func TestRefundThatSucceededInALostTime(t *testing.T) {
	r := newRig(t)
	r.node.fickle = false
	id, h := r.toSuspense()
	first := trade.Hash{1}
	sats := r.trade(id).Suspended[0].PaidMsat / 1000
	if err := r.resolve(id, h, trade.OutcomeRefund, simInvoice(first, sats*1000, r.node.now+7200, id.String()), false); err != nil {
		t.Fatal(err)
	}
	r.pass(1)
	r.node.resolve(first, false)
	r.pass(trackSeconds)
	if o := r.trade(id).Outflows[0]; o.Failures == 0 || o.Done() {
		t.Fatalf("%+v", o)
	}
	r.node.pays[first].state.Status = trade.PaymentSucceeded
	r.node.now += 3 * 86400
	r.pass(2 * 86400)
	if tr := r.trade(id); !tr.Over() || tr.Outflows[0].LastHash != first || tr.Outflows[0].Withdrawn {
		t.Errorf("%+v", tr.Outflows)
	}
}

// A frozen trade that is resumed goes on with its refund.
func TestRefundAfterAResume(t *testing.T) {
	r := newRig(t)
	r.node.fickle = false
	id, h := r.toSuspense()
	r.hold[trade.FxPay] = true
	if err := r.resolve(id, h, trade.OutcomeRefund, "seller@home", false); err != nil {
		t.Fatal(err)
	}
	r.pass(1)
	r.applyInput(id, trade.Input{Kind: trade.InReconcile})
	r.commit()
	r.pass(86400)
	if len(r.node.pays) != 0 {
		t.Fatal("a frozen trade pays")
	}
	r.applyInput(id, trade.Input{Kind: trade.InResume})
	r.commit()
	delete(r.hold, trade.FxPay)
	r.settle()
	for range 3 {
		r.pass(4000)
		for _, p := range r.node.inFlight() {
			r.node.resolve(p, true)
		}
		r.pass(trackSeconds)
	}
	if tr := r.trade(id); !tr.Over() || len(r.node.pays) != 1 {
		t.Errorf("%+v, %d payments", tr.Outflows, len(r.node.pays))
	}
	r.balances()
}

// While a call of a refund waits, the clock begins no second one. The failure of an attempt that
// was given up says nothing about the present one.
func TestRefundIsPaidOnce(t *testing.T) {
	for name, to := range map[string]string{"to an invoice": "", "to an address": "seller@home"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.node.fickle = false
			id, h := r.toSuspense()
			if to == "" {
				to = simInvoice(trade.Hash{1}, 0, r.node.now+86400, id.String())
			}
			r.hold[trade.FxPay], r.hold[trade.FxMint] = true, true
			if err := r.resolve(id, h, trade.OutcomeRefund, to, false); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				r.pass(trackSeconds)
			}
			if o := r.trade(id).Outflows[0]; o.Attempt != 1 || len(r.store.outbox) != 1 {
				t.Fatalf("%+v, %d rows", o, len(r.store.outbox))
			}
			delete(r.hold, trade.FxPay)
			delete(r.hold, trade.FxMint)
			r.settle()
			first := r.trade(id).Outflows[0].Hash
			r.node.resolve(first, false)
			r.pass(trackSeconds)
			r.pass(trackSeconds)
			o := r.trade(id).Outflows[0]
			if o.Attempt != 2 || !o.Sent || o.Failures != 1 {
				t.Fatalf("%+v", o)
			}
			r.applyInput(id, trade.Input{Kind: trade.InPayment, Outflow: 1, Hash: o.Hash, Attempt: 1, Payment: trade.Result{Status: trade.PaymentFailed}})
			r.applyInput(id, trade.Input{Kind: trade.InPayRefused, Outflow: 1, Hash: o.Hash, Attempt: 1})
			r.commit()
			if after := r.trade(id).Outflows[0]; after != o {
				t.Fatalf("an older attempt counts: %+v", after)
			}
			r.node.resolve(o.Hash, true)
			r.pass(trackSeconds)
			if !r.trade(id).Over() {
				t.Error("the refund is not over")
			}
			r.balances()
		})
	}
}

// An invoice that arrives while the trade is frozen begins no payment.
func TestFrozenRefundFetchesNoInvoice(t *testing.T) {
	r := newRig(t)
	r.node.fickle = false
	id, h := r.toSuspense()
	r.hold[trade.FxMint] = true
	if err := r.resolve(id, h, trade.OutcomeRefund, "seller@home", false); err != nil {
		t.Fatal(err)
	}
	r.pass(1)
	r.applyInput(id, trade.Input{Kind: trade.InReconcile})
	r.commit()
	delete(r.hold, trade.FxMint)
	r.settle()
	if o := r.trade(id).Outflows[0]; o.Hash != (trade.Hash{}) || len(r.node.pays) != 0 {
		t.Fatalf("a frozen trade pays: %+v", o)
	}
	r.applyInput(id, trade.Input{Kind: trade.InResume})
	r.commit()
	r.pass(1)
	for _, p := range r.node.inFlight() {
		r.node.resolve(p, true)
	}
	r.pass(trackSeconds)
	if tr := r.trade(id); !tr.Over() || len(r.node.pays) != 1 {
		t.Errorf("%+v, %d payments", tr.Outflows, len(r.node.pays))
	}
}

// A user of an older store has no journal until it changes. Its journal then begins with the
// state that the older store had.
func TestUserOfAnOlderStore(t *testing.T) {
	r := newRig(t)
	p := r.someone()
	r.store.users[p.Identity] = User{Identity: p.Identity, LastIndex: 4, CreatedAt: 1_700_000_000}
	if err := checkUser(r.store, r.store.users[p.Identity]); err != nil {
		t.Fatal(err)
	}
	p.Index = 5
	id := r.order(p, message.SmallOrder{})
	u := r.store.users[p.Identity]
	if want := (User{Identity: p.Identity, LastIndex: 5, CreatedAt: 1_700_000_000, Steps: 2}); u != want {
		t.Errorf("%+v, want %+v", u, want)
	}
	if err := checkUser(r.store, u); err != nil {
		t.Error(err)
	}
	log := r.store.userLog[p.Identity]
	if len(log) != 2 || log[0].Kind != users.KindBase || log[1].Kind != users.KindIndex || log[1].Trade != id {
		t.Errorf("%+v", log)
	}
	u.LastIndex++
	if err := checkUser(r.store, u); err == nil {
		t.Error("a user that differs from its journal passes the check")
	}
	r.store.userLog[p.Identity] = log[1:]
	if err := checkUser(r.store, r.store.users[p.Identity]); err == nil {
		t.Error("a journal without its first row passes the check")
	}
}

// A solver has a journal of its own, and does not count as a user who has traded.
func TestJournalOfASolver(t *testing.T) {
	r := newRig(t)
	key := simKey(4711)
	for _, role := range []trade.Role{trade.RoleRead, trade.RoleWrite, ""} {
		if err := r.book.SetSolver(key, role, r.node.now); err != nil {
			t.Fatal(err)
		}
		r.commit()
	}
	u := r.store.users[key]
	if want := (User{Identity: key, RoleAt: r.node.now, Steps: 3}); u != want {
		t.Errorf("%+v, want %+v", u, want)
	}
	if err := checkUser(r.store, u); err != nil {
		t.Error(err)
	}
	if _, err := r.book.batch.user(key); !errors.Is(err, ErrNoRow) {
		t.Errorf("a solver that never traded is a user: %v", err)
	}
	r.book.Assistant = key
	if err := r.book.checkAssistant(); err != nil {
		t.Error(err)
	}
}

package escrow

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// FlowNet is a Lightning network for whole trades: the Mostro's node, and the wallets of a
// seller and a buyer.
type FlowNet struct {
	Mostro  lightning.Node
	Network lightning.Network
	// Pay sends a payment from the seller's wallet. Pay returns when the payment is in
	// flight.
	Pay func(ctx context.Context, bolt11 string) error
	// Invoice creates an invoice of the buyer's wallet.
	Invoice func(ctx context.Context, sats int64) (string, error)
	// Balances returns the sats of mostro, seller and buyer. Held sats belong to none of the
	// three.
	Balances func(ctx context.Context) ([3]int64, error)
	// Kill ends the Mostro's node without a warning. Start starts the node again, and returns
	// when its channels can be used.
	Kill  func()
	Start func(ctx context.Context) error
	// Mine adds blocks to the chain.
	Mine func(ctx context.Context, blocks int) error
	// Pause waits for a short time.
	Pause func()
	// Long includes the flows that take long on real nodes.
	Long bool
}

// Restart kills the Mostro's node and starts the node again.
func (n *FlowNet) Restart(ctx context.Context) error {
	n.Kill()
	return n.Start(ctx)
}

// flow is one trade on a network.
type flow struct {
	*testing.T
	w             *world
	n             *FlowNet
	seller, buyer *user
	id            trade.OrderID
	before        [3]int64
	sats          int64 // amount of the trade; 0: flowSats
	foreign       int   // payments of the node at the start of the flow that the ledger does not know
}

// RunFlows runs whole trades through an engine and a network. At the end of each, the balances
// are compared, and the ledger with the lists of the node.
func RunFlows(t *testing.T, n *FlowNet) {
	node := &mortalNode{Node: n.Mostro, kill: n.Kill}
	w := newWorldOn(t, node)
	owned := ownedBy(t, n)
	for _, test := range append([]flowTest{
		{"sell order to the payout", func(f *flow) {
			f.sell()
			f.take()
			f.addInvoice()
			f.pay()
			f.fiatSent()
			f.release()
			f.paid()
		}},
		{"buy order to the payout", func(f *flow) {
			f.buy()
			f.pay()
			f.addInvoice()
			f.fiatSent()
			f.release()
			f.paid()
		}},
		{"cancel by the taker while an invoice is owed", func(f *flow) { f.sell(); f.take(); f.cancel(f.buyer); f.back(); f.unchanged() }},
		{"cancel by the taker while the payment is owed", func(f *flow) {
			f.sell()
			f.take()
			f.addInvoice()
			f.cancel(f.buyer)
			f.back()
			f.unchanged()
		}},
		{"cancel by the maker while the payment is owed", func(f *flow) {
			f.sell()
			f.take()
			f.addInvoice()
			f.cancel(f.seller)
			f.ends(message.TradeCanceled)
			f.unchanged()
		}},
		{"cancel by the maker with the sats held", func(f *flow) { f.buy(); f.pay(); f.cancel(f.buyer); f.ends(message.TradeCanceled); f.unchanged() }},
		{"cancel by the taker with the sats held", func(f *flow) { f.buy(); f.pay(); f.cancel(f.seller); f.back(); f.unchanged() }},
		{"time runs out before the payment", func(f *flow) {
			f.sell()
			f.take()
			f.addInvoice()
			f.shown()
			f.w.clock.move(901 * time.Second)
			f.ends(message.TradeCanceled)
			f.unchanged()
		}},
		{"time runs out with the sats held", func(f *flow) {
			f.buy()
			f.pay()
			f.shown()
			f.w.clock.move(901 * time.Second)
			f.ends(message.TradeCanceled)
			f.unchanged()
		}},
		{"both agree to cancel", func(f *flow) {
			f.sell()
			f.take()
			f.addInvoice()
			f.pay()
			f.cancel(f.seller)
			f.buyer.wait(message.ActionCooperativeCancelInitiatedByPeer)
			f.cancel(f.buyer)
			f.ends(message.TradeCooperativelyCanceled)
			f.unchanged()
		}},
		{"payment fails, then a new invoice", func(f *flow) {
			f.sell()
			f.take()
			f.addInvoiceOf(f.unpayable())
			f.pay()
			f.fiatSent()
			f.release()
			f.failures(1)
			f.buyer.wait(message.ActionPaymentFailed)
			f.w.clock.move(61 * time.Second)
			f.failures(2)
			f.w.clock.move(61 * time.Second)
			f.failures(3)
			f.buyer.wait(message.ActionAddInvoice)
			f.addInvoice()
			f.buyer.wait(message.ActionInvoiceUpdated)
			f.paid()
		}},
		{"our process stops and starts between all steps", func(f *flow) {
			f.sell()
			f.w.restart()
			f.take()
			f.w.restart()
			f.addInvoice()
			f.w.restart()
			f.pay()
			f.w.restart()
			f.fiatSent()
			f.w.restart()
			f.release()
			f.w.restart()
			f.paid()
		}},
		{"the node restarts in the middle", func(f *flow) {
			f.sell()
			f.take()
			f.addInvoice()
			f.pay()
			if err := f.n.Restart(f.Context()); err != nil {
				f.Fatal(err)
			}
			f.fiatSent()
			f.release()
			f.paid()
		}},
		{"a solver has the buyer paid", func(f *flow) {
			f.dispute(func() {})
			f.solve(message.ActionAdminSettle, func() {})
			f.buyer.wait(message.ActionAdminSettled)
			f.seller.wait(message.ActionAdminSettled)
			f.paid()
		}},
		{"a solver returns the sats", func(f *flow) {
			f.dispute(func() {})
			f.solve(message.ActionAdminCancel, func() {})
			f.buyer.wait(message.ActionAdminCanceled)
			f.seller.wait(message.ActionAdminCanceled)
			f.ends(message.TradeCanceledByAdmin)
			f.unchanged()
		}},
		{"a solver has the buyer paid, and our process stops and starts between all steps", func(f *flow) {
			f.dispute(f.w.restart)
			f.solve(message.ActionAdminSettle, f.w.restart)
			f.paid()
		}},
		{"a solver returns the sats, and our process stops and starts between all steps", func(f *flow) {
			f.dispute(f.w.restart)
			f.solve(message.ActionAdminCancel, f.w.restart)
			f.ends(message.TradeCanceledByAdmin)
			f.unchanged()
		}},
		{"the operator decides while the node is down", func(f *flow) {
			f.dispute(func() {})
			f.shown()
			if err := f.w.engine.Decide(f.Context(), f.id, message.ActionAdminSettle, "a receipt"); err != nil {
				f.Fatal(err)
			}
			if err := f.n.Restart(f.Context()); err != nil {
				f.Fatal(err)
			}
			f.paidAtLast()
		}},
		{"the parties agree to cancel in a dispute", func(f *flow) {
			f.dispute(func() {})
			f.cancel(f.seller)
			f.buyer.wait(message.ActionCooperativeCancelInitiatedByPeer)
			f.cancel(f.buyer)
			f.ends(message.TradeCooperativelyCanceled)
			f.unchanged()
		}},
		{"range order with two children", func(f *flow) { f.rangeOrder(owned) }},
	}, disputeFlows(n, node)...) {
		if !t.Run(test.name, func(t *testing.T) {
			f := &flow{T: t, w: w, n: n, seller: w.user(envelope.TransportV2), buyer: w.user(envelope.TransportV1)}
			w.tb = t
			defer func() { w.tb = nil }()
			f.begins()
			test.run(f)
			f.agrees(w.db, owned)
		}) {
			w.tb = t
			t.FailNow()
		}
		w.tb = t
	}
}

type flowTest struct {
	name string
	run  func(f *flow)
}

// rangeOrder sells a range of 10 to 50 at market price in three parts. The rest of each part is
// a new order of the same maker under another key.
func (f *flow) rangeOrder(owned int64) {
	low, high := int64(10), int64(50)
	m := f.seller.sell(0, 0)
	m.Payload.(*message.SmallOrder).MinAmount, m.Payload.(*message.SmallOrder).MaxAmount = &low, &high
	f.seller.send(m)
	f.id = *f.seller.wait(message.ActionNewOrder).ID
	for part, fiat := range []int64{20, 15, 15} {
		f.sats = fiat * 1_000 // a bitcoin costs 100,000
		f.buyer = f.w.user(envelope.TransportV2)
		f.begins()
		f.buyer.send(message.Message{RequestID: number(2), TradeIndex: f.buyer.tradeIndex(), ID: &f.id, Action: message.ActionTakeSell, Payload: message.Amount(fiat)})
		f.buyer.wait(message.ActionAddInvoice)
		f.addInvoice()
		f.pay()
		f.fiatSent()
		child := f.w.user(envelope.TransportV2)
		child.identity, child.index = f.seller.identity, f.seller.index+1
		f.seller.send(message.Message{RequestID: number(5), ID: &f.id, Action: message.ActionRelease, Payload: message.NextTrade{Pubkey: child.trade.Pubkey(), Index: uint32(child.index)}})
		f.seller.wait(message.ActionHoldInvoicePaymentSettled)
		f.buyer.wait(message.ActionReleased)
		f.paid()
		f.agrees(f.w.db, owned)
		parent := f.id
		if high -= fiat; high == 0 {
			f.until("every message is decided", f.w.heard)
			trades, err := f.w.engine.Trades(f.Context())
			if err != nil {
				f.Fatal(err)
			}
			for _, t := range trades {
				if t.Parent == parent {
					f.Errorf("part %d has a child, with nothing left to sell", part)
				}
			}
			return
		}
		f.seller = child
		f.id = *f.seller.wait(message.ActionNewOrder).ID
		if t := f.w.trade(f.id); t.Parent != parent || t.Status != message.TradePending || t.MinFiat != low || t.MaxFiat != high || t.AmountSats != 0 {
			f.Fatalf("the rest of part %d is %+v", part, t)
		}
	}
}

// dispute brings a sell order to a dispute of the buyer after fiat was sent. between is called
// between the steps.
func (f *flow) dispute(between func()) {
	f.Helper()
	f.sell()
	f.take()
	f.addInvoice()
	between()
	f.pay()
	between()
	f.fiatSent()
	between()
	f.buyer.send(message.Message{RequestID: number(7), ID: &f.id, Action: message.ActionDispute})
	f.seller.wait(message.ActionDisputeInitiatedByPeer)
	between()
}

// solve has a new solver take the dispute and decide.
func (f *flow) solve(verdict message.Action, between func()) {
	f.Helper()
	solver := f.solver()
	between()
	f.takes(solver)
	between()
	f.decides(solver, verdict)
	between()
	solver.wait(verdictOf[verdict])
	between()
}

// verdictOf is the answer to a verdict.
var verdictOf = map[message.Action]message.Action{message.ActionAdminSettle: message.ActionAdminSettled, message.ActionAdminCancel: message.ActionAdminCanceled}

// solver returns a new solver.
func (f *flow) solver() *user {
	f.Helper()
	solver := &user{w: f.w, trade: newKeys(f), transport: envelope.TransportV2}
	if err := f.w.engine.SetSolver(f.Context(), solver.trade.Pubkey(), trade.RoleWrite); err != nil {
		f.Fatal(err)
	}
	return solver
}

// takes has a solver take the dispute.
func (f *flow) takes(solver *user) {
	f.Helper()
	id := f.w.trade(f.id).Dispute.ID
	solver.send(message.Message{RequestID: number(8), ID: &id, Action: message.ActionAdminTakeDispute})
	took := solver.wait(message.ActionAdminTookDispute)
	if ref, ok := took.Payload.(message.DisputeRef); !ok || ref.Info == nil || ref.Info.Preimage != nil || ref.Info.ID != f.id {
		f.Errorf("the solver receives %+v", took)
	}
}

// decides has a solver send a verdict.
func (f *flow) decides(solver *user, verdict message.Action) {
	f.Helper()
	solver.send(message.Message{RequestID: number(9), ID: &f.id, Action: verdict})
}

const (
	flowSats = 50_000
	flowFee  = 150 // per side
)

// amounts returns the amount of the trade, and the fee of each side.
func (f *flow) amounts() (sats, fee int64) {
	if f.sats != 0 {
		return f.sats, f.sats * flowFee / flowSats
	}
	return flowSats, flowFee
}

// begins notes the state of the nodes at the start of a trade.
func (f *flow) begins() {
	f.Helper()
	f.before = f.balances()
	f.foreign = f.audit(f.w.db).Node.ForeignPayments
}

func (f *flow) balances() [3]int64 {
	f.Helper()
	b, err := f.n.Balances(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return b
}

func (f *flow) sell() {
	f.Helper()
	f.seller.send(f.seller.sell(flowSats, 50))
	f.id = *f.seller.wait(message.ActionNewOrder).ID
}

// buy creates a buy order and has the seller take it.
func (f *flow) buy() {
	f.Helper()
	m := f.buyer.sell(flowSats, 50)
	m.Payload.(*message.SmallOrder).Kind = mostro.SideBuy
	f.buyer.send(m)
	f.id = *f.buyer.wait(message.ActionNewOrder).ID
	f.seller.send(message.Message{RequestID: number(2), TradeIndex: f.seller.tradeIndex(), ID: &f.id, Action: message.ActionTakeBuy})
	f.buyer.wait(message.ActionWaitingSellerToPay)
}

func (f *flow) take() {
	f.Helper()
	f.buyer.send(message.Message{RequestID: number(2), TradeIndex: f.buyer.tradeIndex(), ID: &f.id, Action: message.ActionTakeSell})
	f.buyer.wait(message.ActionAddInvoice)
}

func (f *flow) addInvoice() {
	f.Helper()
	sats, fee := f.amounts()
	bolt11, err := f.n.Invoice(f.Context(), sats-fee)
	if err != nil {
		f.Fatal(err)
	}
	f.addInvoiceOf(bolt11)
}

func (f *flow) addInvoiceOf(bolt11 string) {
	f.Helper()
	f.buyer.send(message.Message{RequestID: number(3), ID: &f.id, Action: message.ActionAddInvoice, Payload: message.PaymentRequest{Invoice: bolt11}})
}

// unpayable returns an invoice of a node that has no route.
func (f *flow) unpayable() string {
	f.Helper()
	key, err := btcec.NewPrivateKey()
	if err != nil {
		f.Fatal(err)
	}
	var h trade.Hash
	_, _ = rand.Read(h[:])
	bolt11, err := lightning.InvoiceDraft{
		Hash: h, AmountMsat: (flowSats - flowFee) * 1000, Network: f.n.Network, CreatedAt: f.w.clock.Now(), Expiry: 24 * time.Hour,
		MinFinalCLTV: 80, Description: "nowhere",
	}.Sign(key)
	if err != nil {
		f.Fatal(err)
	}
	return bolt11
}

// pay has the seller pay, and waits until the sats are held.
func (f *flow) pay() {
	f.Helper()
	sats, fee := f.amounts()
	for {
		p, ok := f.seller.wait(message.ActionPayInvoice).Payload.(message.PaymentRequest)
		if !ok {
			continue
		}
		in, err := lightning.ParseInvoice(p.Invoice)
		if err != nil || in.AmountMsat != (sats+fee)*1000 || in.Hash != f.w.trade(f.id).Hash {
			f.Fatalf("%v, %d msat", err, in.AmountMsat)
		}
		if err := f.n.Pay(f.Context(), p.Invoice); err != nil {
			f.Fatal(err)
		}
		break
	}
	f.until("the sats are held", func() bool { return f.w.trade(f.id).HeldAt != 0 })
}

func (f *flow) fiatSent() {
	f.Helper()
	f.until("the trade is active", func() bool { return f.w.status(f.id) == message.TradeActive })
	f.buyer.send(message.Message{RequestID: number(4), ID: &f.id, Action: message.ActionFiatSent})
	f.seller.wait(message.ActionFiatSentOk)
}

func (f *flow) release() {
	f.Helper()
	f.seller.send(message.Message{RequestID: number(5), ID: &f.id, Action: message.ActionRelease})
	f.seller.wait(message.ActionHoldInvoicePaymentSettled)
	f.buyer.wait(message.ActionReleased)
}

func (f *flow) cancel(u *user) {
	f.Helper()
	f.shown()
	u.send(message.Message{RequestID: number(6), ID: &f.id, Action: message.ActionCancel})
}

// shown waits until all sent messages are decided, and until an owed invoice was shown.
func (f *flow) shown() {
	f.Helper()
	f.until("everybody knows what to do", func() bool {
		if !f.w.heard() {
			return false
		}
		t := f.w.trade(f.id)
		return t.Status != message.TradeWaitingPayment || t.HoldInvoice != ""
	})
}

// failures waits until n attempts have failed.
func (f *flow) failures(n uint32) {
	f.Helper()
	f.until("the payment failed", func() bool { return f.w.trade(f.id).Payout.Failures == n })
}

func (f *flow) until(what string, done func() bool) {
	f.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t := f.w.trade(f.id)
			f.Fatalf("waited in vain until %s: %s after %q", what, t.Status, t.Last)
		}
		f.n.Pause()
	}
}

// paid waits for the end of a trade and compares the balances.
func (f *flow) paid() {
	f.Helper()
	f.buyerWait(message.ActionPurchaseCompleted)
	f.ends(message.TradeSuccess)
	sats, fee := f.amounts()
	f.count([3]int64{2 * fee * 1000, -(sats + fee) * 1000, (sats - fee) * 1000})
}

// paidAtLast is like paid for a node that has just started. It finds no route at first, so
// the clock is moved to the next attempt.
func (f *flow) paidAtLast() {
	f.Helper()
	f.until("the payout has ended", f.retried())
	f.paid()
}

// retried returns a function that reports whether the payout has ended, and that moves the clock
// to the next attempt after a failure.
func (f *flow) retried() func() bool {
	failures := uint32(0)
	return func() bool {
		if now := f.w.trade(f.id).Payout.Failures; now != failures {
			failures = now
			f.w.clock.move(61 * time.Second)
		}
		return f.w.status(f.id) == message.TradeSuccess
	}
}

// buyerWait advances the time of the network while the buyer waits.
func (f *flow) buyerWait(action message.Action) {
	f.Helper()
	f.until("the payout has ended", func() bool { return f.w.status(f.id) == message.TradeSuccess })
	f.buyer.wait(action)
}

func (f *flow) ends(want message.TradeStatus) {
	f.Helper()
	f.until("the trade is "+string(want), func() bool { t := f.w.trade(f.id); return t.Status == want && t.Over() })
}

// back waits until the order is pending again and no sats are held.
func (f *flow) back() {
	f.Helper()
	f.until("the order is back", func() bool {
		t := f.w.trade(f.id)
		return t.Status == message.TradePending && len(t.Closing) == 0
	})
}

func (f *flow) unchanged() { f.Helper(); f.count([3]int64{}) }

// count waits until each balance is the initial balance plus the difference.
func (f *flow) count(difference [3]int64) {
	f.Helper()
	var now [3]int64
	deadline := time.Now().Add(2 * time.Minute)
	for {
		now = f.balances()
		for i := range now {
			now[i] -= f.before[i]
		}
		if now == difference {
			return
		}
		if time.Now().After(deadline) {
			f.Fatalf("mostro, seller and buyer got %v msat, want %v", now, difference)
		}
		f.n.Pause()
	}
}

package ledger

import (
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// script plays one trade and folds it. The laws are checked after each step.
type script struct {
	post  func(Step) ([]Transaction, error) // nil: Post
	price float64

	fold   Fold
	list   []Transaction
	inputs []trade.Input
	at     int64
	n      byte // number of the trade
	holds  byte // hold invoices so far
	err    error
}

func newScript(n byte, post func(Step) ([]Transaction, error)) *script {
	s := &script{post: post, price: 100_000, at: 1_790_000_000, n: n}
	s.fold.post = post
	return s
}

func (s *script) party(name byte) trade.Party {
	key := string([]byte{'a' + name}) + "-key"
	return trade.Party{Key: key, Identity: key, Transport: envelope.TransportV2}
}

const (
	seller = 0
	buyer  = 1
)

// apply applies an input, unless an earlier one has broken a law.
func (s *script) apply(in trade.Input) {
	if s.err != nil {
		return
	}
	s.at += 10
	in.At, in.Rules = s.at, trade.CurrentRules
	list, err := s.fold.Apply(in)
	if err == nil {
		err = s.fold.Check()
	}
	s.err, s.list, s.inputs = err, append(s.list, list...), append(s.inputs, in)
}

func (s *script) say(who byte, action message.Action, payload message.Payload, change func(*trade.Input)) {
	id := s.fold.Trade.ID
	in := trade.Input{Kind: trade.InMessage, Request: &trade.Request{From: s.party(who), Message: message.Message{
		Wrapper: message.WrapperOrder, ID: &id, Action: action, Payload: payload,
	}}}
	if change != nil {
		change(&in)
	}
	s.apply(in)
}

// order makes an order of 100,000 sats with a fee of 300 sats a side and a development fee
// of 180 sats. If market is set, the order has the market price: 100 fiat at s.price.
func (s *script) order(kind mostro.Side, market bool) {
	terms := trade.DefaultTerms()
	terms.Fee = 6_000_000
	o := &message.SmallOrder{Kind: kind, FiatCode: "USD", FiatAmount: 100, AmountSats: 100_000, PaymentMethod: "SEPA"}
	if market {
		o.AmountSats = 0
	}
	maker := byte(seller)
	if kind == mostro.SideBuy {
		maker = buyer
	}
	s.say(maker, message.ActionNewOrder, o, func(in *trade.Input) {
		in.Terms, in.OrderID, in.DisputeID = &terms, trade.OrderID{s.n}, trade.OrderID{s.n, 1}
		in.Quote = trade.Quote{Price: s.price}
	})
}

func (s *script) dest(n byte) *trade.Destination {
	return &trade.Destination{
		Text: "invoice", Parsed: true, ChainOK: true, Hash: trade.Hash{0xb0, s.n, n}, AmountMsat: s.payout() * 1000, ExpiresAt: s.at + 86400, FinalCLTV: 40,
	}
}

// payout returns the amount that the buyer will receive.
func (s *script) payout() int64 {
	if s.fold.Trade.AmountSats != 0 {
		return s.fold.Trade.PayoutSats()
	}
	sats := int64(100 / s.price * 100_000_000)
	return sats - trade.Fraction(6_000_000).SideFee(sats)
}

func (s *script) preimage() trade.Preimage {
	s.holds++
	return trade.Preimage{0xc0, s.n, s.holds}
}

// take takes the sell order with an invoice, and the node makes the hold invoice.
func (s *script) take(n byte) {
	s.say(buyer, message.ActionTakeSell, message.PaymentRequest{Invoice: "invoice"}, func(in *trade.Input) {
		in.Invoice, in.Preimage, in.Quote = s.dest(n), s.preimage(), trade.Quote{Price: s.price}
	})
	s.apply(trade.Input{Kind: trade.InHoldMade, Hash: s.fold.Trade.Hash, Bolt11: "hold"})
}

// pay has the seller pay the hold with some msat more than asked for.
func (s *script) pay(more int64) { s.payAt(more, trade.Hold{Phase: trade.HoldAccepted}) }

func (s *script) payAt(more int64, hold trade.Hold) {
	t := s.fold.Trade
	hold.AmountSats = t.LockSats()
	if more > 0 {
		hold.PaidMsat = t.LockSats()*1000 + more
	}
	s.apply(trade.Input{Kind: trade.InHold, Hash: t.Hash, Hold: hold})
}

// active plays a sell order up to the accepted hold.
func (s *script) active(more int64) {
	s.order(mostro.SideSell, false)
	s.take(1)
	s.pay(more)
}

// settle plays the statements of both sides, and the node settles the hold.
func (s *script) settle() {
	s.say(buyer, message.ActionFiatSent, nil, nil)
	s.say(seller, message.ActionRelease, nil, nil)
	s.apply(trade.Input{Kind: trade.InSettled, Hash: s.fold.Trade.Hash})
}

// payout ends the present attempt of the payout.
func (s *script) result(status trade.PaymentStatus, feeMsat int64) {
	p := s.fold.Trade.Payout
	s.apply(trade.Input{Kind: trade.InPaySent, Hash: p.Hash, Attempt: p.Attempt})
	s.apply(trade.Input{Kind: trade.InPayment, Hash: p.Hash, Attempt: p.Attempt, Payment: trade.Result{Status: status, FeeMsat: feeMsat}})
}

// devFee has the development fund receive the fee of the trade.
func (s *script) devFee(feeMsat int64) {
	s.apply(trade.Input{Kind: trade.InDevFeePaid, Hash: trade.Hash{0xdf, s.fold.Trade.ID[0]}, Payment: trade.Result{Status: trade.PaymentSucceeded, FeeMsat: feeMsat}})
}

func (s *script) cancelBoth() {
	s.say(buyer, message.ActionCancel, nil, nil)
	s.say(seller, message.ActionCancel, nil, nil)
}

// returned has the node confirm that all cancelled holds are returned.
func (s *script) returned() {
	for _, h := range s.fold.Trade.Closing {
		s.apply(trade.Input{Kind: trade.InCanceled, Hash: h})
	}
}

// suspended cancels the trade, and the node reports the hold as settled with an amount.
func (s *script) suspended(msat int64) trade.Hash {
	s.active(0)
	s.cancelBoth()
	h := s.fold.Trade.Closing[0]
	s.apply(trade.Input{Kind: trade.InCancelRefused, Hash: h, Hold: trade.Hold{Phase: trade.HoldSettled, PaidMsat: msat}})
	return h
}

// resolve has the operator decide about an amount in suspense.
func (s *script) resolve(h trade.Hash, o trade.Outcome) {
	in := trade.Input{Kind: trade.InResolve, Hash: h, Outcome: o, Reason: "the log of the node"}
	if o == trade.OutcomeRefund {
		in.Invoice = s.dest(9)
		in.Invoice.AmountMsat = 0
	}
	s.apply(in)
}

// refund ends the present attempt of the refund.
func (s *script) refund(status trade.PaymentStatus, feeMsat int64) {
	s.at = max(s.at, s.fold.Trade.Due())
	s.apply(trade.Input{Kind: trade.InClock})
	o := s.fold.Trade.Outflows[0]
	s.apply(trade.Input{Kind: trade.InPaySent, Hash: o.Hash, Attempt: o.Attempt, Outflow: 1})
	s.apply(trade.Input{Kind: trade.InPayment, Hash: o.Hash, Attempt: o.Attempt, Outflow: 1, Payment: trade.Result{Status: status, FeeMsat: feeMsat}})
}

// scripts are trades that together have each event of the journal.
var scripts = []struct {
	name string
	play func(s *script)
}{
	{"success", func(s *script) {
		s.active(0)
		s.settle()
		s.result(trade.PaymentSucceeded, 21_500)
	}},
	{"success after a failed payout", func(s *script) {
		s.active(0)
		s.settle()
		s.result(trade.PaymentFailed, 0)
		s.at += 3600
		s.apply(trade.Input{Kind: trade.InClock})
		s.result(trade.PaymentSucceeded, 0)
	}},
	{"overpaid and settled", func(s *script) {
		s.active(777)
		s.settle()
		s.result(trade.PaymentSucceeded, 1_001)
	}},
	{"overpaid and returned", func(s *script) {
		s.active(777)
		s.cancelBoth()
		s.returned()
	}},
	{"cancelled by both", func(s *script) {
		s.active(0)
		s.cancelBoth()
		s.returned()
	}},
	{"never paid", func(s *script) {
		s.order(mostro.SideSell, false)
		s.take(1)
		s.say(seller, message.ActionCancel, nil, nil)
		s.returned()
	}},
	{"paid too late, and taken again at another price", func(s *script) {
		s.order(mostro.SideSell, true)
		s.take(1)
		// The time lock leaves no room, so the hold is accepted and cancelled in one step.
		s.payAt(0, trade.Hold{Phase: trade.HoldAccepted, Height: 1000, ExpiryHeight: 1030, AcceptHeight: 1000})
		s.price /= 2
		s.take(2)
		s.pay(0)
		s.returned() // the first hold, whose amount the trade no longer knows
		s.settle()
		s.result(trade.PaymentSucceeded, 5)
	}},
	{"hold ended without us", func(s *script) {
		s.active(0)
		s.apply(trade.Input{Kind: trade.InHold, Hash: s.fold.Trade.Hash, Hold: trade.Hold{Phase: trade.HoldCanceled}})
	}},
	{"hold gone before settlement", func(s *script) {
		s.active(0)
		s.say(buyer, message.ActionFiatSent, nil, nil)
		s.say(seller, message.ActionRelease, nil, nil)
		s.apply(trade.Input{Kind: trade.InSettleRefused, Hash: s.fold.Trade.Hash})
		s.cancelBoth()
	}},
	{"buy order, held before the invoice", func(s *script) {
		s.order(mostro.SideBuy, false)
		s.say(seller, message.ActionTakeBuy, nil, func(in *trade.Input) { in.Preimage = s.preimage() })
		s.apply(trade.Input{Kind: trade.InHoldMade, Hash: s.fold.Trade.Hash, Bolt11: "hold"})
		s.pay(0)
		s.say(buyer, message.ActionAddInvoice, message.PaymentRequest{Invoice: "invoice"}, func(in *trade.Input) { in.Invoice = s.dest(1) })
		s.settle()
		s.result(trade.PaymentSucceeded, 3)
	}},
	{"frozen with a hold that came too late", func(s *script) {
		s.order(mostro.SideSell, false)
		s.take(1)
		s.apply(trade.Input{Kind: trade.InReconcile})
		s.payAt(0, trade.Hold{Phase: trade.HoldAccepted, Height: 1000, ExpiryHeight: 1030, AcceptHeight: 1000})
		s.apply(trade.Input{Kind: trade.InResume})
		s.say(seller, message.ActionCancel, nil, nil)
		s.returned()
	}},
	{"success of an attempt that was given up", func(s *script) {
		s.active(0)
		s.settle()
		h := s.fold.Trade.Payout.Hash
		s.result(trade.PaymentFailed, 0)
		s.apply(trade.Input{Kind: trade.InPayment, Hash: h, Attempt: 1, Payment: trade.Result{Status: trade.PaymentSucceeded, FeeMsat: 2}})
	}},
	{"settled although cancelled", func(s *script) {
		s.active(0)
		s.cancelBoth()
		s.apply(trade.Input{Kind: trade.InCancelRefused, Hash: s.fold.Trade.Closing[0]})
	}},
	{"success, and the development fee is paid", func(s *script) {
		s.active(0)
		s.settle()
		s.devFee(1_500) // before the payout has succeeded
		s.result(trade.PaymentSucceeded, 21_500)
	}},
	{"success, and the development fee is settled by hand", func(s *script) {
		s.active(0)
		s.settle()
		s.apply(trade.Input{Kind: trade.InDevFeePaid, Reason: "paid by another wallet"})
		s.result(trade.PaymentSucceeded, 21_500)
	}},
	{"success, and an overpayment is found", func(s *script) {
		s.active(0)
		s.settle()
		s.apply(trade.Input{Kind: trade.InOverpaid, Hash: s.fold.Trade.Hash, Reason: "looked up", Hold: trade.Hold{Phase: trade.HoldSettled, PaidMsat: s.fold.Trade.LockSats()*1000 + 777}})
		s.result(trade.PaymentSucceeded, 21_500)
	}},
	{"suspense: refunded by hand", func(s *script) { s.resolve(s.suspended(100_300_000), trade.OutcomeRefunded) }},
	{"suspense: the buyer was paid", func(s *script) { s.resolve(s.suspended(100_300_000), trade.OutcomePaid) }},
	{"suspense: kept", func(s *script) { s.resolve(s.suspended(100_300_000), trade.OutcomeKept) }},
	{"suspense: refunded by the program", func(s *script) {
		s.resolve(s.suspended(100_300_777), trade.OutcomeRefund)
		s.refund(trade.PaymentFailed, 0)
		s.refund(trade.PaymentSucceeded, 2_100)
	}},
	{"suspense: a refund is withdrawn", func(s *script) {
		h := s.suspended(100_300_000)
		s.resolve(h, trade.OutcomeRefund)
		s.refund(trade.PaymentFailed, 0)
		s.resolve(h, trade.OutcomeRefunded)
	}},
	{"suspense of a journal without amounts", func(s *script) {
		s.active(0)
		s.cancelBoth()
		h := s.fold.Trade.Closing[0]
		s.apply(trade.Input{Kind: trade.InCancelRefused, Hash: h})
		s.apply(trade.Input{Kind: trade.InResolve, Hash: h, Outcome: trade.OutcomeKept, Reason: "why", Hold: trade.Hold{Phase: trade.HoldSettled, PaidMsat: 100_300_000}})
	}},
	{"suspense of a payment that the store has lost", func(s *script) {
		s.order(mostro.SideSell, false)
		s.take(1)
		s.say(seller, message.ActionCancel, nil, nil)
		h := s.fold.Trade.Closing[0]
		s.apply(trade.Input{Kind: trade.InCancelRefused, Hash: h, Hold: trade.Hold{Phase: trade.HoldSettled, PaidMsat: 100_300_000}})
		s.resolve(h, trade.OutcomeKept)
	}},
}

func play(t *testing.T, name string, post func(Step) ([]Transaction, error)) *script {
	t.Helper()
	for i, c := range scripts {
		if c.name == name {
			s := newScript(byte(i+1), post)
			c.play(s)
			return s
		}
	}
	t.Fatalf("no script %q", name)
	return nil
}

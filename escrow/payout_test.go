package escrow

import (
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// A payout fails three times. The buyer is notified at the first failure, asked for a new
// invoice at the last, and paid by the new invoice.
func TestPayoutFailsThenSucceeds(t *testing.T) {
	r := newRig(t)
	id, _, buyer := r.toSettled()
	r.resolves(id, false)
	failed := r.last(buyer, message.ActionPaymentFailed).Payload.(message.PaymentFailed)
	if failed != (message.PaymentFailed{Attempts: 2, IntervalSeconds: 60}) {
		t.Errorf("%+v", failed)
	}
	r.pass(59)
	if r.trade(id).Payout.Attempt != 1 {
		t.Error("the payout was retried too soon")
	}
	r.pass(1)
	r.resolves(id, false)
	if r.got(buyer, message.ActionPaymentFailed) != 0 || r.got(buyer, message.ActionAddInvoice) != 1 { // one of the take
		t.Error("the buyer was notified of the second failure")
	}
	r.pass(60)
	r.resolves(id, false)
	o := r.last(buyer, message.ActionAddInvoice).Payload.(*message.SmallOrder)
	if o.Status != message.TradeSettledHoldInvoice || o.AmountSats != 99_700 {
		t.Errorf("%+v", o)
	}
	if r.trade(id).Payout.Attempt != 3 {
		t.Error("the payout was retried without a new invoice")
	}
	// The reminders become rarer and never end.
	for _, days := range []int64{1, 2, 4, 8, 16, 16} {
		r.pass(days*86_400 - 7200)
		if r.got(buyer, message.ActionAddInvoice) != 1 { // the one of the take
			t.Errorf("the buyer was reminded before %d days", days)
		}
		r.pass(7200)
		r.last(buyer, message.ActionAddInvoice)
	}
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	r.last(buyer, message.ActionInvoiceUpdated)
	r.resolves(id, true)
	r.status(message.TradeSuccess, id)
	if r.got(buyer, message.ActionPurchaseCompleted) != 1 || r.node.paidMsat != 99_700_000 {
		t.Errorf("told %d times, paid %d", r.got(buyer, message.ActionPurchaseCompleted), r.node.paidMsat)
	}
}

// With one attempt, the buyer is asked for a new invoice at once, because no later input
// would ask.
func TestPayoutWithOneAttempt(t *testing.T) {
	r := newRig(t)
	r.book.Policy.Terms.PaymentAttempts = 1
	id, _, buyer := r.toSettled()
	r.last(buyer, message.ActionAddInvoice)
	r.resolves(id, false)
	r.last(buyer, message.ActionAddInvoice)
	if r.got(buyer, message.ActionPaymentFailed) != 0 {
		t.Error("the buyer was notified of a further attempt")
	}
}

func TestPayoutToAnAddress(t *testing.T) {
	begin := func(t *testing.T) (*rig, trade.OrderID, trade.Party) {
		r := newRig(t)
		seller, buyer := r.someone(), r.someone()
		id := r.order(seller, message.SmallOrder{})
		r.must(buyer, message.ActionTakeSell, &id, message.PaymentRequest{Invoice: id.String() + "@home"})
		r.pays(seller)
		r.must(buyer, message.ActionFiatSent, &id, nil)
		r.hold[trade.FxMint] = true
		r.must(seller, message.ActionRelease, &id, nil)
		return r, id, buyer
	}
	t.Run("each attempt has an invoice of its own", func(t *testing.T) {
		r, id, _ := begin(t)
		delete(r.hold, trade.FxMint)
		r.settle()
		first := r.trade(id).Payout.Hash
		r.resolves(id, false)
		r.pass(60)
		if second := r.trade(id).Payout.Hash; second == first || second == (trade.Hash{}) {
			t.Error("the same invoice was paid again")
		}
		r.resolves(id, true)
		r.status(message.TradeSuccess, id)
	})
	t.Run("no other invoice while the address is being asked", func(t *testing.T) {
		r, id, buyer := begin(t)
		r.refused(message.ReasonNotAllowedByStatus, buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	})
	for name, spoil := range map[string]func(d *trade.Destination){
		"asks for more":       func(d *trade.Destination) { d.AmountMsat += 1000 },
		"asks for a part":     func(d *trade.Destination) { d.AmountMsat++ },
		"names no amount":     func(d *trade.Destination) { d.AmountMsat = 0 },
		"has expired":         func(d *trade.Destination) { d.ExpiresAt = 1 },
		"is another trade's":  func(d *trade.Destination) { d.Taken = true },
		"is of another chain": func(d *trade.Destination) { d.ChainOK = false },
		"is no invoice":       func(d *trade.Destination) { d.Parsed = false },
	} {
		t.Run("an invoice that "+name+" is not paid", func(t *testing.T) {
			r, id, _ := begin(t)
			d := simDecode(simInvoice(trade.Hash{5}, 99_700_000, r.node.now+60, id.String()))
			spoil(&d)
			was := r.trade(id)
			next, effects, err := trade.Step(was, trade.Input{At: r.node.now, Kind: trade.InMinted, Attempt: was.Payout.Attempt, Invoice: &d})
			if err != nil || next.Payout.Hash != (trade.Hash{}) || next.Payout.Failures != 1 {
				t.Errorf("%v %+v", err, next.Payout)
			}
			for _, e := range effects {
				if e.Kind == trade.FxPay {
					t.Error("sent")
				}
			}
		})
	}
	t.Run("an invoice that belongs to another trade is caught by the trade book", func(t *testing.T) {
		r, id, _ := begin(t)
		d := simInvoice(trade.Hash{5}, 99_700_000, r.node.now+60, id.String())
		r.store.claims[trade.Hash{5}] = trade.OrderID{9}
		r.applyInput(id, trade.Input{Kind: trade.InMinted, Attempt: r.trade(id).Payout.Attempt, Bolt11: d})
		r.commit()
		if p := r.trade(id).Payout; p.Hash != (trade.Hash{}) || p.Failures != 1 {
			t.Errorf("%+v", p)
		}
	})
}

// A node that accepted a payment and lost it gets the same payment again, not another one.
// The buyer cannot replace the invoice meanwhile.
func TestPayoutThatTheNodeForgot(t *testing.T) {
	r := newRig(t)
	id, _, buyer := r.toSettled()
	h := r.trade(id).Payout.Hash
	delete(r.node.pays, h)
	r.pass(300)
	if r.node.pays[h] == nil || r.trade(id).Payout.Hash != h || r.trade(id).Payout.Attempt != 1 {
		t.Fatal("the payment was not sent again")
	}
	r.refused(message.ReasonNotAllowedByStatus, buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	r.resolves(id, true)
	r.status(message.TradeSuccess, id)
}

// A late failure of an earlier attempt does not affect the present attempt, although both
// have the same hash.
func TestLateNewsOfAnEarlierAttempt(t *testing.T) {
	r := newRig(t)
	id, _, _ := r.toSettled()
	h := r.trade(id).Payout.Hash
	r.resolves(id, false)
	r.pass(60)
	if p := r.trade(id).Payout; p.Attempt != 2 || p.Hash != h || !p.Sent {
		t.Fatalf("%+v", p)
	}
	r.applyInput(id, trade.Input{Kind: trade.InPayment, Hash: h, Attempt: 1, Payment: trade.Result{Status: trade.PaymentFailed}})
	r.applyInput(id, trade.Input{Kind: trade.InPayRefused, Hash: h, Attempt: 1})
	r.commit()
	if p := r.trade(id).Payout; p.Hash != h || p.Failures != 1 {
		t.Fatalf("the claim was released while a payment is in flight: %+v", p)
	}
	r.resolves(id, true)
	r.status(message.TradeSuccess, id)
}

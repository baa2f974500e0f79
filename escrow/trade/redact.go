package trade

import "github.com/mostrodex/mostrodex/mostro"

// Redacted gives the trade as an operator may be shown it: nothing in it moves
// money or tells where money went.
func (t Trade) Redacted() Trade {
	t.Preimage, t.HoldInvoice, t.Payout.Bolt11 = Preimage{}, "", ""
	t.BuyerInvoice.Text, t.MakerInvoice.Text = "", ""
	return t
}

// Redacted gives the input as an operator may be shown it, like a trade.
func (in Input) Redacted() Input {
	in.Preimage, in.Bolt11 = Preimage{}, ""
	if in.Invoice != nil {
		dest := *in.Invoice
		dest.Text = ""
		in.Invoice = &dest
	}
	if in.Request != nil {
		request := *in.Request
		request.Message.Payload = redacted(request.Message.Payload)
		in.Request = &request
	}
	return in
}

// redacted keeps the payloads that cannot hold a destination or what people
// write to each other; an order is kept without its invoice.
func redacted(p mostro.Payload) mostro.Payload {
	switch p := p.(type) {
	case mostro.Amount, mostro.NextTrade, mostro.CantDo, mostro.RatingUser, mostro.DisputeRef, mostro.PaymentFailed:
		return p
	case *mostro.SmallOrder:
		o := *p
		o.BuyerInvoice = nil
		return &o
	}
	return nil
}

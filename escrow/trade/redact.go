package trade

import (
	"github.com/mostrodex/mostrodex/mostro/message"
)

// Redacted returns the input in a form that an operator may see, as for a trade.
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

// redacted keeps a payload if it cannot contain a destination or a private text of a user.
// An order is kept without its invoice.
func redacted(p message.Payload) message.Payload {
	switch p := p.(type) {
	case message.Amount, message.NextTrade, message.CantDo, message.RatingUser, message.DisputeRef, message.PaymentFailed:
		return p
	case *message.SmallOrder:
		o := *p
		o.BuyerInvoice = nil
		return &o
	}
	return nil
}

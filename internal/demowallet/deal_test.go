package demowallet

import (
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// TestView: the state of a trade follows from the messages of the Mostro in any order.
func TestView(t *testing.T) {
	id := message.UUID{1}
	say := func(a message.Action, p message.Payload) message.Message {
		return message.Message{ID: &id, Action: a, Payload: p}
	}
	order := &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 10_000, FiatAmount: 100, FiatCode: "VES"}
	made := say(message.ActionNewOrder, order)
	asked := say(message.ActionPayInvoice, message.PaymentRequest{Order: order, Invoice: "lnsb1"})
	known := say(message.ActionPayInvoice, message.Peer{}) // the reputation of the buyer comes under the same action
	held := say(message.ActionBuyerTookOrder, nil)
	sent := say(message.ActionFiatSentOk, nil)
	for name, c := range map[string]struct {
		d     dealInFile
		mail  []message.Message
		state string
		verbs string
	}{
		"made":              {dealInFile{Side: mostro.SideSell, Maker: true}, []message.Message{made}, "In the book", "cancel"},
		"taken":             {dealInFile{Side: mostro.SideSell, Maker: true}, []message.Message{made, known, asked}, "asks for your sats", "pay,cancel"},
		"paid":              {dealInFile{Side: mostro.SideSell, Maker: true, Paid: true}, []message.Message{made, asked}, "is held", "cancel"},
		"active":            {dealInFile{Side: mostro.SideSell, Maker: true, Paid: true}, []message.Message{made, asked, held}, "Waiting for the fiat", "dispute,cancel"},
		"sent":              {dealInFile{Side: mostro.SideSell, Maker: true, Paid: true}, []message.Message{made, asked, held, sent}, "says that the fiat is sent", "release,dispute,cancel"},
		"done":              {dealInFile{Side: mostro.SideSell, Maker: true, Paid: true}, []message.Message{made, asked, held, sent, say(message.ActionHoldInvoicePaymentSettled, nil), say(message.ActionRate, nil)}, "Done", "rate"},
		"rated":             {dealInFile{Side: mostro.SideSell, Rated: true}, []message.Message{say(message.ActionHoldInvoicePaymentSettled, nil), say(message.ActionRate, nil)}, "Done", ""},
		"dispute":           {dealInFile{Side: mostro.SideBuy}, []message.Message{say(message.ActionHoldInvoicePaymentAccepted, nil), say(message.ActionDisputeInitiatedByYou, nil)}, "In dispute", ""},
		"asked to pay":      {dealInFile{Side: mostro.SideBuy, Order: id.String()}, []message.Message{say(message.ActionAddInvoice, order)}, "where your sats should go", "invoice,cancel"},
		"invoice sent":      {dealInFile{Side: mostro.SideBuy, Invoices: 1, Order: id.String()}, []message.Message{say(message.ActionAddInvoice, order), say(message.ActionWaitingSellerToPay, nil)}, "Waiting for the seller to pay", "cancel"},
		"seller paid first": {dealInFile{Side: mostro.SideBuy, Maker: true, Order: id.String()}, []message.Message{say(message.ActionWaitingSellerToPay, nil), say(message.ActionAddInvoice, order)}, "where your sats should go", "invoice,cancel"},
		"payout failed":     {dealInFile{Side: mostro.SideBuy, Invoices: 1}, []message.Message{say(message.ActionAddInvoice, order), say(message.ActionReleased, nil), say(message.ActionPaymentFailed, nil), say(message.ActionAddInvoice, order)}, "on their way", "invoice"},
		"refused":           {dealInFile{Side: mostro.SideBuy}, []message.Message{{Action: message.ActionCantDo, Payload: message.CantDo{}}}, "refused", ""},
		"no answer":         {dealInFile{Side: mostro.SideBuy, Order: id.String()}, nil, "Waiting for the Mostro", "cancel"},
		"other cancels":     {dealInFile{Side: mostro.SideSell}, []message.Message{held, say(message.ActionCooperativeCancelInitiatedByPeer, nil)}, "Waiting for the fiat", "dispute,cancel"},
		"I have asked":      {dealInFile{Side: mostro.SideSell}, []message.Message{held, say(message.ActionCooperativeCancelInitiatedByYou, nil)}, "Waiting for the fiat", "dispute"},
		"both cancelled":    {dealInFile{Side: mostro.SideSell}, []message.Message{held, say(message.ActionCooperativeCancelAccepted, nil)}, "Canceled by both", ""},
	} {
		for range 2 {
			v := view(c.d, c.mail)
			var verbs []string
			for _, one := range v.Verbs {
				verbs = append(verbs, one.ID)
			}
			if got := strings.Join(verbs, ","); !strings.Contains(v.State, c.state) || got != c.verbs {
				t.Errorf("%s: %q with %q, want %q with %q", name, v.State, got, c.state, c.verbs)
			}
			slices.Reverse(c.mail)
		}
	}
}

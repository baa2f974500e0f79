package trade

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// JournalLimit returns the size limit of a request in the journal, in bytes, without its
// invoice. The limit depends on the payload. A payload type that carries proofs needs its
// own limit here, within the size of one batch.
func JournalLimit(message.Payload) int { return 2 << 10 }

// NewRequest returns a request with only the fields that Step reads. The sender controls
// the other fields of a message and could fill the journal with them. NewRequest returns a
// refusal if the request is still too long.
func NewRequest(from Party, m message.Message) (*Request, error) {
	r := &Request{From: from, Message: message.Message{
		Wrapper: m.Wrapper, Version: m.Version, RequestID: m.RequestID, TradeIndex: m.TradeIndex, ID: m.ID, Action: m.Action,
	}}
	invoice := 0
	switch p := m.Payload.(type) {
	case *message.SmallOrder:
		if m.Action != message.ActionNewOrder {
			break
		}
		o := &message.SmallOrder{
			Kind: p.Kind, AmountSats: p.AmountSats, FiatCode: p.FiatCode, MinAmount: p.MinAmount, MaxAmount: p.MaxAmount,
			FiatAmount: p.FiatAmount, PaymentMethod: p.PaymentMethod, Premium: p.Premium, ExpiresAt: p.ExpiresAt,
		}
		if p.Kind == mostro.SideBuy && p.BuyerInvoice != nil {
			o.BuyerInvoice, invoice = p.BuyerInvoice, len(*p.BuyerInvoice)
		}
		r.Message.Payload = o
	case message.PaymentRequest:
		r.Message.Payload, invoice = message.PaymentRequest{Invoice: p.Invoice, Amount: p.Amount}, len(p.Invoice)
	case message.Amount, message.NextTrade:
		r.Message.Payload = p
	}
	if invoice > MaxInvoiceText {
		return nil, Refuse(message.ReasonInvalidParameters)
	}
	b, err := Encode(r)
	if err != nil || len(b)-invoice > JournalLimit(r.Message.Payload) {
		return nil, Refuse(message.ReasonInvalidParameters)
	}
	return r, nil
}

// Encode returns v as JSON for the store. Encode does not escape HTML: an escaped
// character takes six bytes, and the store is not a web page.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

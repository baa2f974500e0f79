package trade

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/mostrodex/mostrodex/mostro"
)

// JournalLimit is the most bytes that a request may take in the journal
// besides its invoice, by its payload. A payload type that carries proofs gets
// a limit of its own here, within what one batch can hold.
func JournalLimit(mostro.Payload) int { return 2 << 10 }

// NewRequest returns a request with the fields that Step reads, and nothing
// else: the rest of a message is its sender's, and would fill the journal. The
// error is the refusal of a request that is too long even so.
func NewRequest(from Party, m mostro.Message) (*Request, error) {
	r := &Request{From: from, Message: mostro.Message{
		Wrapper: m.Wrapper, Version: m.Version, RequestID: m.RequestID, TradeIndex: m.TradeIndex, ID: m.ID, Action: m.Action,
	}}
	invoice := 0
	switch p := m.Payload.(type) {
	case *mostro.SmallOrder:
		if m.Action != mostro.ActionNewOrder {
			break
		}
		o := &mostro.SmallOrder{
			Kind: p.Kind, AmountSats: p.AmountSats, FiatCode: p.FiatCode, MinAmount: p.MinAmount, MaxAmount: p.MaxAmount,
			FiatAmount: p.FiatAmount, PaymentMethod: p.PaymentMethod, Premium: p.Premium, ExpiresAt: p.ExpiresAt,
		}
		if p.Kind == mostro.SideBuy && p.BuyerInvoice != nil {
			o.BuyerInvoice, invoice = p.BuyerInvoice, len(*p.BuyerInvoice)
		}
		r.Message.Payload = o
	case mostro.PaymentRequest:
		r.Message.Payload, invoice = mostro.PaymentRequest{Invoice: p.Invoice, Amount: p.Amount}, len(p.Invoice)
	case mostro.Amount, mostro.NextTrade:
		r.Message.Payload = p
	}
	if invoice > MaxInvoiceText {
		return nil, Refuse(mostro.ReasonInvalidParameters)
	}
	b, err := Encode(r)
	if err != nil || len(b)-invoice > JournalLimit(r.Message.Payload) {
		return nil, Refuse(mostro.ReasonInvalidParameters)
	}
	return r, nil
}

// Encode writes a value as JSON for the store. It does not escape HTML: an
// escaped character takes six bytes, and the store is no page.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

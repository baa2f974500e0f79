package message

import (
	"strconv"

	"github.com/mostrodex/mostrodex/internal/jsontext"
)

// AppendLegacy appends the 2023 form of a message. contact becomes its pubkey field, ""
// becomes null. The form has no request id and no trade index.
func AppendLegacy(dst []byte, m Message, contact string) ([]byte, error) {
	action := legacyAction(m.Action)
	if action == "" {
		return nil, InPath("action", NewError(RuleNoLegacyForm, string(m.Action)))
	}
	wrapper := camel(string(m.Wrapper))
	if legacyWrapperByName[wrapper] != m.Wrapper {
		return nil, NewError(RuleNoLegacyForm, "wrapper "+string(m.Wrapper))
	}
	if _, ok := m.Payload.(Peer); ok && (m.Action == ActionPayInvoice || m.Action == ActionAddInvoice) {
		// The message is a notice of the taker's reputation. A client of 2023 would
		// read it as a request to pay without an invoice.
		return nil, InPath("payload", NewError(RuleNoLegacyForm, "a reputation notice"))
	}
	dst = append(dst, '{')
	dst = jsontext.AppendString(dst, wrapper)
	dst = append(dst, `:{"version":`...)
	dst = strconv.AppendUint(dst, uint64(m.Version), 10)
	if m.ID != nil {
		dst = append(dst, `,"id":"`...)
		dst = m.ID.appendTo(dst)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"pubkey":`...)
	dst = appendWordOrNull(dst, contact)
	dst = append(dst, `,"action":`...)
	dst = jsontext.AppendString(dst, action)
	dst = append(dst, `,"content":`...)
	dst, err := appendLegacyPayload(dst, m.Payload)
	if err != nil {
		return nil, InPath("payload", err)
	}
	return append(dst, '}', '}'), nil
}

// errCashuLegacy is returned for an order with a mint: a client of 2023 would read the
// order as one that Lightning secures.
var errCashuLegacy = NewError(RuleNoLegacyForm, "an order of a Cashu node")

func appendLegacyPayload(dst []byte, p Payload) ([]byte, error) {
	switch p := p.(type) {
	case nil:
		return append(dst, "null"...), nil
	case *SmallOrder:
		if p != nil && p.CashuMintURL != nil {
			return nil, errCashuLegacy
		}
		dst = append(dst, `{"Order":`...)
		dst = p.appendLegacy(dst)
	case PaymentRequest:
		if p.Order != nil && p.Order.CashuMintURL != nil {
			return nil, errCashuLegacy
		}
		dst = append(dst, `{"PaymentRequest":[`...)
		dst = p.Order.appendLegacy(dst)
		dst = append(dst, ',')
		dst = jsontext.AppendString(dst, p.Invoice)
		if p.Amount != nil { // added in 2024; older clients have no range orders
			dst = append(dst, ',')
			dst = strconv.AppendInt(dst, *p.Amount, 10)
		}
		dst = append(dst, ']')
	case TextMessage:
		dst = append(dst, `{"TextMessage":`...)
		dst = jsontext.AppendString(dst, string(p))
	case CantDo:
		if p.Reason == "" {
			return append(dst, "null"...), nil
		}
		dst = append(dst, `{"TextMessage":`...)
		dst = jsontext.AppendString(dst, string(p.Reason))
	case Peer:
		dst = append(dst, `{"Peer":{"pubkey":`...)
		dst = jsontext.AppendString(dst, p.Pubkey)
		dst = append(dst, '}')
	case RatingUser:
		dst = append(dst, `{"RatingUser":`...)
		dst = strconv.AppendUint(dst, uint64(p), 10)
	case DisputeRef:
		if p.Info != nil {
			return nil, NewError(RuleNoLegacyForm, "a solver of 2023 receives the order")
		}
		dst = append(dst, `{"Dispute":"`...)
		dst = p.ID.appendTo(dst)
		dst = append(dst, '"')
	default:
		return nil, NewError(RuleNoLegacyForm, p.PayloadKey())
	}
	return append(dst, '}'), nil
}

func (o *SmallOrder) appendLegacy(dst []byte) []byte {
	if o == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	if o.ID != nil {
		dst = append(dst, `"id":"`...)
		dst = o.ID.appendTo(dst)
		dst = append(dst, '"', ',')
	}
	dst = append(dst, `"kind":`...)
	dst = appendWordOrNull(dst, camel(string(o.Kind)))
	dst = append(dst, `,"status":`...)
	dst = appendWordOrNull(dst, legacyStatus(o.Status))
	dst = append(dst, `,"amount":`...)
	dst = strconv.AppendInt(dst, o.AmountSats, 10)
	dst = append(dst, `,"fiat_code":`...)
	dst = jsontext.AppendString(dst, o.FiatCode)
	if o.MinAmount != nil {
		dst = append(dst, `,"min_amount":`...)
		dst = strconv.AppendInt(dst, *o.MinAmount, 10)
	}
	if o.MaxAmount != nil {
		dst = append(dst, `,"max_amount":`...)
		dst = strconv.AppendInt(dst, *o.MaxAmount, 10)
	}
	dst = append(dst, `,"fiat_amount":`...)
	dst = strconv.AppendInt(dst, o.FiatAmount, 10)
	dst = append(dst, `,"payment_method":`...)
	dst = jsontext.AppendString(dst, o.PaymentMethod)
	dst = append(dst, `,"premium":`...)
	dst = strconv.AppendInt(dst, o.Premium, 10)
	// An order with an id comes from a node, and nodes always named both keys. A
	// client's own order named neither.
	if o.ID != nil || o.BuyerTradePubkey != nil || o.SellerTradePubkey != nil {
		dst = append(dst, `,"master_buyer_pubkey":`...)
		dst = appendTextOrNull(dst, o.BuyerTradePubkey)
		dst = append(dst, `,"master_seller_pubkey":`...)
		dst = appendTextOrNull(dst, o.SellerTradePubkey)
	}
	if o.BuyerInvoice != nil {
		dst = append(dst, `,"buyer_invoice":`...)
		dst = jsontext.AppendString(dst, *o.BuyerInvoice)
	}
	dst = append(dst, `,"created_at":`...)
	if o.CreatedAt == nil {
		dst = append(dst, '0')
	} else {
		dst = strconv.AppendInt(dst, *o.CreatedAt, 10)
	}
	if o.ExpiresAt != nil {
		dst = append(dst, `,"expires_at":`...)
		dst = strconv.AppendInt(dst, *o.ExpiresAt, 10)
	}
	return append(dst, '}')
}

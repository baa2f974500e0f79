package rating

import (
	"errors"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// declaration is the hash of the fiat account from which a buyer pays for an order. It is no
// part of a journal, because it must not outlive the trade.
type declaration struct {
	Buyer string `json:"buyer"` // trade key
	Hash  string `json:"hash"`
	At    int64  `json:"at"`
}

// DeclarePayer decides about declare-payer: the buyer names the account, and the seller is
// told. The last declaration before fiat-sent counts.
func (b *Book) DeclarePayer(q Request, find func() (trade.Trade, error)) ([]Effect, error) {
	if !b.Policy.PayerHistory {
		return nil, trade.Refuse(message.ReasonInvalidAction)
	}
	t, err := find()
	if err != nil {
		return nil, err
	}
	if t.Buyer.Key == "" || t.Buyer.Key != q.From.Key {
		return nil, trade.Refuse(message.ReasonInvalidPubkey)
	}
	switch t.Status {
	case message.TradeWaitingPayment, message.TradeWaitingBuyerInvoice, message.TradeActive:
	default:
		return nil, trade.Refuse(message.ReasonNotAllowedByStatus)
	}
	p, ok := q.Message.Payload.(message.PayerDeclaration)
	if !ok {
		return nil, trade.Refuse(message.ReasonInvalidPayload)
	}
	if !message.ValidPayerHash(p.PaymentHash) {
		return nil, trade.Refuse(message.ReasonInvalidPaymentHash)
	}
	b.put(orderKey(spacePayer, t.ID, ""), declaration{Buyer: t.Buyer.Key, Hash: p.PaymentHash, At: q.At})
	effects := []Effect{q.answer(message.WrapperOrder, message.ActionPayerDeclared, p)}
	effects[0].Trade = t.ID
	if t.Seller.Key != "" {
		effects = append(effects, Effect{Trade: t.ID, To: t.Seller, Message: message.Message{
			Wrapper: message.WrapperOrder, ID: &t.ID, Action: message.ActionPayerDeclared, Payload: p,
		}})
	}
	return effects, nil
}

// undeclare removes the declaration of an order that is over, or that has another buyer next.
func (b *Book) undeclare(id trade.OrderID) error {
	key := orderKey(spacePayer, id, "")
	_, err := get[declaration](b, key)
	if errors.Is(err, ErrNoRow) {
		return nil
	}
	if err == nil {
		b.put(key, nil)
	}
	return err
}

package escrow

import (
	"bytes"
	"errors"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// defaultMaxOrders is the limit of orders in one answer if the policy sets none.
const defaultMaxOrders = 10

// orders answers with the requested orders of which the sender's identity is a party.
func (b *TradeBook) orders(msg InboundMessage) error {
	ids, ok := msg.Message.Payload.(message.IDs)
	most := orMost(b.Policy.MaxOrders)
	switch {
	case !ok || len(ids) == 0:
		return trade.Refuse(message.ReasonInvalidParameters)
	case len(ids) > most:
		return trade.Refuse(message.ReasonTooManyRequests)
	}
	var list message.OrderList
	for _, id := range ids {
		t, err := b.trade(id)
		if errors.Is(err, ErrNoRow) {
			continue
		}
		if err != nil {
			return err
		}
		if t.Buyer.Identity != msg.Identity && t.Seller.Identity != msg.Identity {
			continue
		}
		o := t.SmallOrder(t.Status, t.AmountSats)
		// The keys are sent only if both parties know each other already. The buyer's
		// invoice is never sent.
		if trade.Escrowed(t.Status) || t.Status == message.TradeSettledHoldInvoice || t.Status == message.TradeSuccess {
			o = t.WithKeys(o)
		}
		list = append(list, *o)
	}
	if len(list) == 0 {
		return trade.Refuse(message.ReasonNotFound)
	}
	b.reply(msg, message.Message{
		Wrapper: message.WrapperOrder, RequestID: msg.Message.RequestID, Action: message.ActionOrders, Payload: list,
	})
	return nil
}

// lastTradeIndex answers with the last index that the identity used.
func (b *TradeBook) lastTradeIndex(msg InboundMessage) error {
	u, err := b.batch.user(msg.Identity)
	if errors.Is(err, ErrNoRow) {
		return trade.Refuse(message.ReasonNotFound)
	}
	if err != nil {
		return err
	}
	if u.LastIndex == 0 {
		return trade.Refuse(message.ReasonInvalidTradeIndex)
	}
	b.reply(msg, message.Message{
		Wrapper: message.WrapperRestore, RequestID: msg.Message.RequestID, TradeIndex: &u.LastIndex,
		Action: message.ActionLastTradeIndex,
	})
	return nil
}

// maxRestored limits the answer to the size of a message: an order with a dispute has at
// most 420 bytes of JSON.
const maxRestored = 150

// restoreSession answers with the identity's open trades and disputes. restoreSession
// changes nothing.
func (b *TradeBook) restoreSession(msg InboundMessage) error {
	var data message.RestoreData
	ids := make([]trade.OrderID, 0, len(b.identities[msg.Identity]))
	for id := range b.identities[msg.Identity] {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(p, q trade.OrderID) int {
		if x, y := b.open[p].CreatedAt, b.open[q].CreatedAt; x != y {
			return int(max(-1, min(1, y-x)))
		}
		return bytes.Compare(p[:], q[:])
	})
	for _, id := range ids {
		t := b.open[id]
		if trade.Terminal(t.Status) || len(data.Orders) == maxRestored {
			continue // over for its parties, although the cancellation of a hold is not confirmed yet
		}
		mine, other := t.Buyer, t.Seller
		if t.Buyer.Identity != msg.Identity {
			mine, other = t.Seller, t.Buyer
		}
		order := message.RestoredOrder{OrderID: id, TradeIndex: mine.Index, Status: string(t.Status)}
		if other.Key != "" {
			order.CounterpartyTradePubkey = &other.Key // without it the client cannot derive the keys of the chat again
		}
		data.Orders = append(data.Orders, order)
		if t.Dispute.Status == message.DisputeStatusInitiated || t.Dispute.Status == message.DisputeStatusInProgress {
			data.Disputes = append(data.Disputes, message.RestoredDispute{
				DisputeID: t.Dispute.ID, OrderID: id, TradeIndex: mine.Index,
				Status: string(t.Dispute.Status), Initiator: t.Dispute.By,
			})
		}
	}
	b.reply(msg, message.Message{Wrapper: message.WrapperRestore, Action: message.ActionRestoreSession, Payload: data})
	return nil
}

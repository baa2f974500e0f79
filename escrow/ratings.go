package escrow

import (
	"context"
	"errors"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// knownSince returns the time at which an identity first used a trade key here, 0 if never.
func (b *TradeBook) knownSince(identity string) (int64, error) {
	u, err := b.batch.user(identity)
	if errors.Is(err, ErrNoRow) {
		return 0, nil
	}
	return u.CreatedAt, err
}

// recordOf returns the record of a party's identity for a solver, or nil for a party without
// one.
func (b *TradeBook) recordOf(p trade.Party, at int64) (*message.UserInfo, error) {
	if p.Private() {
		return nil, nil
	}
	return b.ratings.InfoOf(p, at)
}

// orderEvent builds the event of an order, with the rating of its maker if the order is
// pending.
func (b *TradeBook) orderEvent(t trade.Trade, at int64) (*nostr.Event, error) {
	if t.Bucket != mostro.StatusPending {
		return b.OrderEvent(t, nil), nil
	}
	maker, err := b.ratings.MakerOf(t.Maker(), at)
	return b.OrderEvent(t, maker), err
}

// malformed answers a message whose payload does not fit its action. Only the two requests
// about attestations are answered, as in the reference node.
func (b *TradeBook) malformed(m message.Message) error {
	switch {
	case m.Action != message.ActionImportReputation && m.Action != message.ActionExportReputation, m.Wrapper != message.WrapperOrder, m.ID != nil:
		return errDrop
	case !b.ratings.Offers(m.Action):
		return trade.Refuse(message.ReasonInvalidAction)
	}
	return trade.Refuse(message.ReasonInvalidPayload)
}

// askRatings decides about a request that concerns the reputation of a user and no money.
func (b *TradeBook) askRatings(msg InboundMessage, at int64) error {
	q := rating.Request{From: msg.from(), Message: msg.Message.Message, Received: msg.Received, At: at}
	find := func() (trade.Trade, error) {
		if q.Message.ID == nil {
			return trade.Trade{}, trade.Refuse(message.ReasonNotFound)
		}
		t, err := b.trade(*q.Message.ID)
		if errors.Is(err, ErrNoRow) {
			err = trade.Refuse(message.ReasonNotFound)
		}
		return t, err
	}
	var effects []rating.Effect
	var err error
	switch q.Message.Action {
	case message.ActionRateUser:
		var t trade.Trade
		if t, err = find(); err == nil {
			effects, err = b.ratings.Rate(q, t)
		}
	case message.ActionUserInfo:
		effects, err = b.ratings.UserInfo(q)
	case message.ActionDeclarePayer:
		effects, err = b.ratings.DeclarePayer(q, find)
	case message.ActionExportReputation:
		effects, err = b.ratings.Export(q)
	case message.ActionImportReputation:
		effects, err = b.ratings.Import(q)
	}
	if err != nil {
		return err
	}
	b.batch.at = max(b.batch.at, at)
	return b.affect(effects, at)
}

// affect puts the effects of changed ratings into the outbox.
func (b *TradeBook) affect(effects []rating.Effect, at int64) error {
	for _, e := range effects {
		switch {
		case e.Event != nil:
			b.row(OutboxRow{Effect: trade.Effect{Kind: trade.FxPublish}, Event: e.Event})
		case e.Reshow != "":
			if err := b.reshow(e.Reshow, at); err != nil {
				return err
			}
		default:
			b.row(OutboxRow{Trade: e.Trade, Effect: trade.Effect{Kind: trade.FxSend, To: e.To, Message: trade.Outgoing{Message: e.Message}}})
		}
	}
	return nil
}

// reshow publishes the pending orders of a maker again.
func (b *TradeBook) reshow(identity string, at int64) error {
	var ids []trade.OrderID
	for id := range b.identities[identity] {
		if b.open[id].Maker().Identity == identity {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(p, q trade.OrderID) int { return slices.Compare(p[:], q[:]) })
	for _, id := range ids {
		if err := b.step(*b.open[id], trade.Input{At: at, Kind: trade.InReshow}); err != nil && !errors.Is(err, trade.ErrNothing) {
			return err
		}
	}
	return nil
}

// Reputation returns the record of an identity, or mostro.ErrNotFound.
func (e *Engine) Reputation(ctx context.Context, identity string) (r rating.Record, err error) {
	err = e.Ask(ctx, func(b *TradeBook, _ int64) error {
		var err error
		if r, err = b.ratings.Record(identity); errors.Is(err, ErrNoRow) {
			return mostro.ErrNotFound
		}
		return err
	})
	return r, err
}

// RevokeImports takes back the imports of reputation that a key has signed and that this node
// recorded at or after a time, 0 for all. It returns their number. Its errors are ErrReason
// and those of the store.
func (e *Engine) RevokeImports(ctx context.Context, key string, after int64, reason string) (n int, err error) {
	if reason == "" || len(reason) > maxReason {
		return 0, ErrReason
	}
	for more := true; more; {
		some := 0
		err := e.Ask(ctx, func(b *TradeBook, at int64) error {
			var effects []rating.Effect
			var err error
			if some, more, effects, err = b.ratings.Revoke(key, after, reason, at); err != nil {
				return err
			}
			return b.affect(effects, at)
		})
		if err != nil {
			return n, err
		}
		n += some
	}
	e.Logger.Warn("an operator has revoked imported reputation", "issuer_key", key, "after", after, "imports", n, "reason", reason)
	return n, nil
}

// RebindReputation moves the binding of an identity's exported reputation to another identity,
// for a user who has lost the bound one. It returns the identity before, "" for none. Its
// errors are ErrReason and mostro.ErrNotFound.
func (e *Engine) RebindReputation(ctx context.Context, identity, to, reason string) (was string, err error) {
	if reason == "" || len(reason) > maxReason {
		return "", ErrReason
	}
	err = e.Ask(ctx, func(b *TradeBook, at int64) error {
		var err error
		if was, err = b.ratings.Rebind(identity, to, reason, at); errors.Is(err, ErrNoRow) {
			return mostro.ErrNotFound
		}
		return err
	})
	if err == nil {
		e.Logger.Warn("an operator has moved the binding of an exported reputation", "identity", identity, "from", was, "to", to, "reason", reason)
	}
	return was, err
}

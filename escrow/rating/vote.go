package rating

import (
	"cmp"
	"errors"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// Vote is the rating that one party of a trade gave to the other. A party votes once.
type Vote struct {
	Order trade.OrderID `json:"order"`
	By    Role          `json:"by"`
	Stars uint8         `json:"stars"`
	At    int64         `json:"at"`
	// Rated is the identity that received the vote, and N the row of its journal. Both are
	// zero while the vote waits.
	Rated string `json:"rated,omitzero"`
	N     uint32 `json:"n,omitzero"`
	// From and Request receive the answer when a waiting vote is counted.
	From    trade.Party `json:"from,omitzero"`
	Request *uint64     `json:"request,omitempty"`
}

func (v Vote) key() string { return string(orderKey(spaceWaiting, v.Order, v.By)) }

// Rateable reports whether the party with a role may rate the other party of a trade with
// this status. The seller may rate as soon as the hold is settled. The reference node knows
// no trade that an operator has closed as paid; both parties may rate it.
func Rateable(s message.TradeStatus, role Role) bool {
	switch s {
	case message.TradeSuccess, message.TradeCompletedByAdmin:
		return true
	case message.TradeSettledHoldInvoice, message.TradeSettledByAdmin:
		return role == Seller
	}
	return false
}

// uncertain reports whether a trade may have come to its end in a time that the store has
// lost.
func uncertain(t trade.Trade) bool {
	return (t.Frozen || t.Doubtful) && !trade.Terminal(t.Status) && t.Status != message.TradePending
}

// Rate decides about rate-user. The checks have the order of the reference node. A vote for
// a party in full privacy has no effect and no answer, as in the reference node, and the same
// holds for a second vote and for the vote of a stranger. A party in a store that was rolled
// back may have voted in the lost time; the vote is kept until the end of the trade is known.
func (b *Book) Rate(q Request, t trade.Trade) ([]Effect, error) {
	v := Vote{Order: t.ID, At: q.At, From: q.From, Request: q.Message.RequestID}
	rater, rated := t.Buyer, t.Seller
	switch q.From.Key {
	case "":
	case t.Buyer.Key:
		v.By = Buyer
	case t.Seller.Key:
		v.By, rater, rated = Seller, t.Seller, t.Buyer
	}
	now := Rateable(t.Status, v.By)
	if !now && (v.By == "" || !uncertain(t)) {
		return nil, trade.Refuse(message.ReasonInvalidOrderStatus)
	}
	if v.By == "" {
		return nil, trade.ErrNothing
	}
	if _, waits := b.waiting[v.key()]; waits {
		return nil, trade.ErrNothing
	}
	if _, err := get[Vote](b, orderKey(spaceVote, t.ID, v.By)); !errors.Is(err, ErrNoRow) {
		if err == nil {
			err = trade.ErrNothing
		}
		return nil, err
	}
	stars, ok := q.Message.Payload.(message.RatingUser)
	if !ok || stars < 1 || stars > 5 {
		return nil, trade.Refuse(message.ReasonInvalidRating)
	}
	v.Stars = uint8(stars)
	if rated.Private() || rated.Key == "" || rated.Identity == rater.Identity {
		return nil, trade.ErrNothing
	}
	if !now {
		b.waiting[v.key()] = v
		b.put([]byte(v.key()), v)
		return nil, nil
	}
	return b.count(v, rated, q.At)
}

// count adds a vote to the ratings of a party. The vote, the user and the row of the user's
// journal are in the same commit, so no vote counts twice or is lost.
func (b *Book) count(v Vote, rated trade.Party, at int64) ([]Effect, error) {
	u, err := b.apply(rated.Identity, Change{At: at, Kind: Voted, Order: v.Order, By: v.By, Stars: v.Stars})
	if err != nil {
		return nil, err
	}
	q := Request{From: v.From, Message: message.Message{RequestID: v.Request, ID: &v.Order}}
	answer := q.answer(message.WrapperOrder, message.ActionRateReceived, message.RatingUser(v.Stars))
	v.Rated, v.N, v.From, v.Request, v.At = u.Identity, u.Steps, trade.Party{}, nil, at
	b.put(orderKey(spaceVote, v.Order, v.By), v)
	return []Effect{answer, {Event: u.event(b.Node, rated.Key, at, b.ratingDays())}}, nil
}

func (b *Book) ratingDays() int64 {
	if b.Policy.RatingDays == 0 {
		return 90
	}
	return b.Policy.RatingDays
}

// Moved records the consequences of a trade's step for its parties: a trade that ended in
// success, a declaration that is over, and votes that waited for the end.
func (b *Book) Moved(before, after trade.Trade, at int64) (effects []Effect, err error) {
	if before.Status == after.Status {
		return nil, nil
	}
	if after.Status == message.TradeSuccess {
		if err := b.traded(after, at); err != nil {
			return nil, err
		}
	}
	over := trade.Terminal(after.Status) || after.Status == message.TradePending
	if over && before.Status != "" {
		if err := b.undeclare(after.ID); err != nil {
			return nil, err
		}
	}
	for _, role := range []Role{Buyer, Seller} {
		v, waits := b.waiting[Vote{Order: after.ID, By: role}.key()]
		switch {
		case !waits:
		case Rateable(after.Status, role):
			b.stopWaiting(v)
			rated := after.Seller
			if role == Seller {
				rated = after.Buyer
			}
			counted, err := b.count(v, rated, at)
			if err != nil {
				return nil, err
			}
			effects = append(effects, counted...)
		case over:
			b.stopWaiting(v)
			effects = append(effects, Effect{To: v.From, Message: message.Message{Wrapper: message.WrapperOrder, ID: &v.Order, Action: message.ActionRateUser, RequestID: v.Request}.Refuse(message.ReasonInvalidOrderStatus)})
		}
	}
	return effects, nil
}

func (b *Book) stopWaiting(v Vote) {
	delete(b.waiting, v.key())
	b.put([]byte(v.key()), nil)
}

// traded counts a successful trade for the identities of both parties. A trade of an identity
// with itself counts once.
func (b *Book) traded(t trade.Trade, at int64) error {
	for i, p := range []trade.Party{t.Buyer, t.Seller} {
		if p.Private() || p.Key == "" || i == 1 && p.Identity == t.Buyer.Identity {
			continue
		}
		if _, err := b.apply(p.Identity, Change{At: at, Kind: Traded, Order: t.ID, Started: started(t)}); err != nil {
			return err
		}
	}
	return nil
}

// started returns the time at which a trade was taken.
func started(t trade.Trade) int64 {
	if t.TakenAt > 0 {
		return t.TakenAt
	}
	return t.CreatedAt
}

// Carry returns the rows of the records for successful trades of a store that is older than
// records. known returns the time since which the node knew an identity. Carry may be repeated.
func Carry(trades []trade.Trade, known func(identity string) (int64, error)) (rows []Row, err error) {
	slices.SortFunc(trades, func(a, b trade.Trade) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), slices.Compare(a.ID[:], b.ID[:]))
	})
	b := &Book{store: empty{}, index: make(map[string]int), Known: known}
	for _, t := range trades {
		if err := b.traded(t, t.CreatedAt); err != nil {
			return nil, err
		}
	}
	return b.Take(), nil
}

// empty is a store without rows.
type empty struct{}

func (empty) Get([]byte, any) error                            { return ErrNoRow }
func (empty) Each([]byte, func(key, value []byte) error) error { return nil }

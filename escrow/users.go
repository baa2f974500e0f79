package escrow

import (
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
)

// user finds what is remembered of an identity; ErrNoRow.
func (b *TradeBook) user(identity string) (User, error) {
	if i, ok := b.batch.users[identity]; ok {
		return b.batch.commit.Users[i], nil
	}
	u, err := b.store.User(identity)
	if err != nil && !errors.Is(err, ErrNoRow) {
		return u, fmt.Errorf("look a user up: %w", err)
	}
	return u, err
}

func (b *TradeBook) remember(u User) {
	if i, ok := b.batch.users[u.Identity]; ok {
		b.batch.commit.Users[i] = u
		return
	}
	b.batch.users[u.Identity] = len(b.batch.commit.Users)
	b.batch.commit.Users = append(b.batch.commit.Users, u)
}

// checkIndex demands that an identity's trade keys are used in order and once.
// Whoever claims no identity has nothing to count.
func (b *TradeBook) checkIndex(msg InboundMessage) error {
	if msg.Identity == msg.Sender || msg.Message.TradeIndex == nil {
		return nil
	}
	n := *msg.Message.TradeIndex
	if n < 0 {
		return errDrop
	}
	u, err := b.user(msg.Identity)
	if errors.Is(err, ErrNoRow) {
		if n == 0 || !msg.Signed {
			return errDrop
		}
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case n == 0:
		return nil
	case n <= u.LastIndex:
		return trade.Refuse(mostro.ReasonInvalidTradeIndex)
	case !msg.Signed:
		return errDrop
	}
	return nil
}

// useIndex remembers that a party's trade key was used. It is called once
// everything else about the message was found good, so that a refused one uses
// nothing up.
func (b *TradeBook) useIndex(p trade.Party, at int64) error {
	if p.Private() || p.Index <= 0 {
		return nil
	}
	u, err := b.user(p.Identity)
	if errors.Is(err, ErrNoRow) {
		u, err = User{Identity: p.Identity, CreatedAt: at}, nil
	}
	if err != nil {
		return err
	}
	if p.Index > u.LastIndex {
		u.LastIndex = p.Index
		b.remember(u)
	}
	return nil
}

// reputation is what the counterparty is told of a taker. Votes are not
// counted yet: what is known is for how long the identity has been here.
func (b *TradeBook) reputation(msg InboundMessage, at int64) *mostro.UserInfo {
	info := &mostro.UserInfo{}
	if msg.Identity == msg.Sender {
		return info
	}
	if u, err := b.user(msg.Identity); err == nil && u.CreatedAt > 0 && at > u.CreatedAt {
		info.OperatingDays = uint64(at-u.CreatedAt) / 86400
	}
	return info
}

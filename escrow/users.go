package escrow

import (
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// user returns the facts about an identity, or ErrNoRow.
func (b *batch) user(identity string) (User, error) {
	if i, ok := b.users[identity]; ok {
		return b.commit.Users[i], nil
	}
	u, err := b.store.User(identity)
	if err != nil && !errors.Is(err, ErrNoRow) {
		return u, fmt.Errorf("look up a user: %w", err)
	}
	return u, err
}

func (b *batch) remember(u User) {
	if i, ok := b.users[u.Identity]; ok {
		b.commit.Users[i] = u
		return
	}
	b.users[u.Identity] = len(b.commit.Users)
	b.commit.Users = append(b.commit.Users, u)
}

// checkIndex returns a refusal if an identity uses its trade keys out of order or twice. A
// sender without an identity has no index to check.
func (b *batch) checkIndex(msg InboundMessage) error {
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
		return trade.Refuse(message.ReasonInvalidTradeIndex)
	case !msg.Signed:
		return errDrop
	}
	return nil
}

// useIndex records that a party's trade key was used. useIndex is called after all other
// checks, so that a refused message uses no index.
func (b *batch) useIndex(p trade.Party, at int64) error {
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

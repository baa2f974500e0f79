package escrow

import (
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/escrow/users"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// user returns the facts about an identity that has traded here, or ErrNoRow.
func (b *batch) user(identity string) (User, error) {
	u, err := b.anyUser(identity)
	if err == nil && u.NeverTraded() {
		return u, ErrNoRow // a solver that never traded
	}
	return u, err
}

// anyUser is like user, also for a solver that never traded.
func (b *batch) anyUser(identity string) (User, error) {
	if i, ok := b.users[identity]; ok {
		return b.commit.Users[i], nil
	}
	u, err := b.store.User(identity)
	if err != nil && !errors.Is(err, ErrNoRow) {
		return u, fmt.Errorf("look up a user: %w", err)
	}
	return u, err
}

// stepUser applies an input to a user and journals the input. An input that changes nothing is
// not journaled. The journal of a user from an older store begins with the old state.
func (b *batch) stepUser(identity string, in users.Input) error {
	u, err := b.anyUser(identity)
	switch {
	case errors.Is(err, ErrNoRow):
		u = User{Identity: identity}
	case err != nil:
		return err
	}
	var rows []users.Input
	if u.Steps == 0 && u != (User{Identity: identity}) {
		old := u
		rows = append(rows, users.Input{At: in.At, Kind: users.KindBase, Base: &old})
	}
	var journal []UserRow
	for _, row := range append(rows, in) {
		u, err = users.Step(u, row)
		if errors.Is(err, users.ErrNothing) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("journal of a user: %w", err)
		}
		journal = append(journal, UserRow{identity, u.Steps, row})
	}
	b.commit.UserJournal = append(b.commit.UserJournal, journal...)
	b.bytes += userBytes * len(journal)
	if i, ok := b.users[identity]; ok {
		b.commit.Users[i] = u
		return nil
	}
	b.users[identity] = len(b.commit.Users)
	b.commit.Users = append(b.commit.Users, u)
	return nil
}

// userBytes is an estimate of the size of a user and of one journal row in the store.
const userBytes = 1 << 10

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
func (b *batch) useIndex(p trade.Party, id trade.OrderID, at int64) error {
	if p.Private() || p.Index <= 0 {
		return nil
	}
	return b.stepUser(p.Identity, users.Input{At: at, Kind: users.KindIndex, Index: p.Index, Trade: id})
}

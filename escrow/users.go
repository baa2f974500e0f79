package escrow

import (
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
)

// user finds what is remembered of an identity; ErrNoRow.
func (d *Desk) user(identity string) (User, error) {
	if i, ok := d.turn.users[identity]; ok {
		return d.turn.commit.Users[i], nil
	}
	u, err := d.store.User(identity)
	if err != nil && !errors.Is(err, ErrNoRow) {
		return u, fmt.Errorf("look a user up: %w", err)
	}
	return u, err
}

func (d *Desk) remember(u User) {
	if i, ok := d.turn.users[u.Identity]; ok {
		d.turn.commit.Users[i] = u
		return
	}
	d.turn.users[u.Identity] = len(d.turn.commit.Users)
	d.turn.commit.Users = append(d.turn.commit.Users, u)
}

// checkIndex demands that an identity's trade keys are used in order and once.
// Whoever claims no identity has nothing to count.
func (d *Desk) checkIndex(l Letter) error {
	if l.Identity == l.Sender || l.Message.TradeIndex == nil {
		return nil
	}
	n := *l.Message.TradeIndex
	if n < 0 {
		return errDrop
	}
	u, err := d.user(l.Identity)
	if errors.Is(err, ErrNoRow) {
		if n == 0 || !l.Signed {
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
	case !l.Signed:
		return errDrop
	}
	return nil
}

// useIndex remembers that a party's trade key was used. It is called once
// everything else about the message was found good, so that a refused one uses
// nothing up.
func (d *Desk) useIndex(p trade.Party, at int64) error {
	if p.Private() || p.Index <= 0 {
		return nil
	}
	u, err := d.user(p.Identity)
	if errors.Is(err, ErrNoRow) {
		u, err = User{Identity: p.Identity, CreatedAt: at}, nil
	}
	if err != nil {
		return err
	}
	if p.Index > u.LastIndex {
		u.LastIndex = p.Index
		d.remember(u)
	}
	return nil
}

// reputation is what the counterparty is told of a taker. Votes are not
// counted yet: what is known is for how long the identity has been here.
func (d *Desk) reputation(l Letter, at int64) *mostro.UserInfo {
	info := &mostro.UserInfo{}
	if l.Identity == l.Sender {
		return info
	}
	if u, err := d.user(l.Identity); err == nil && u.CreatedAt > 0 && at > u.CreatedAt {
		info.OperatingDays = uint64(at-u.CreatedAt) / 86400
	}
	return info
}

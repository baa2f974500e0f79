package indexer

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// Update is a change of one order.
type Update struct {
	Seq    uint64 // position of the event in the log
	Pubkey string
	D      string
	Record *orders.Record // the order after the change; nil: its author deleted the order
}

// Position returns the position up to which the book covers the log.
func (f *Finder) Position() uint64 { return f.book.cursor.Load() }

// Updates calls fn for each change of an order after a position, in the order of the log, up to
// the position that the book has reached. If the book has reached no later position, Updates
// waits for at most wait. upTo is the position that the calls cover.
//
// If an order changed more than once in the meantime, fn is called once, at the position of
// the last change. Events that are history and events that the rules hide are left out.
func (f *Finder) Updates(ctx context.Context, after uint64, wait time.Duration, fn func(Update) error) (upTo uint64, err error) {
	patient, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := f.book.moved.until(patient, wait, func() bool { return f.book.cursor.Load() > after }); err != nil {
		return after, ctx.Err() // nil if wait has passed
	}
	upTo = f.book.cursor.Load()
	hidden, err := f.rules.hidden(ctx)
	if err != nil {
		return after, err
	}
	err = f.log.Read(ctx, after, func(e mostro.Entry) error {
		if e.Seq > upTo {
			return errEnough
		}
		switch e.Event.Kind {
		case mostro.KindOrder:
			r, err := f.book.record(orders.KeyOf(orders.Address(e.Event.PubKey, e.Event.Tags.GetD())))
			switch {
			case errors.Is(err, mostro.ErrNotFound):
				return nil // deleted, or replaced by an event that is no order
			case err != nil:
				return err
			case r.Order.EventID != e.Event.ID || r.Archived || hidden.Hides(r.Order.Pubkey, r.Order.EventID, false):
				return nil // a later entry is the newest version, or the version is not newest
			}
			return fn(Update{e.Seq, r.Order.Pubkey, r.Order.D, r})
		case mostro.KindDeletion:
			if hidden.Hides(e.Event.PubKey, "", false) {
				return nil
			}
			addresses, err := f.book.affected(e.Seq)
			if err != nil {
				return err
			}
			for _, a := range addresses {
				pubkey, d, err := splitAddress(a)
				if err != nil {
					return err
				}
				u := Update{Seq: e.Seq, Pubkey: pubkey, D: strings.Clone(d)}
				r, err := f.book.record(orders.KeyOf(a))
				if err != nil && !errors.Is(err, mostro.ErrNotFound) {
					return err
				}
				if err == nil { // an older version is the newest now
					u.Record = r
				}
				if err := fn(u); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return upTo, err
}

package indexer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/indexer/market"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/mostro"
)

// Archive reads whole stores for exports. No transaction of the book stays open while the
// caller works, so a slow export delays no other request.
type Archive struct {
	book   *book
	log    Log
	rules  *moderator
	market *market.Store
	health *health
	now    func() time.Time
}

// Archive returns the reader of whole stores.
func (x *Index) Archive() *Archive {
	return &Archive{book: x.book, log: x.cfg.Log, rules: x.Directory.rules, market: x.market, health: x.health, now: x.cfg.Now}
}

// Now returns the time of the index's clock.
func (a *Archive) Now() time.Time { return a.now() }

// Covered returns the position up to which the book and the statistics cover the log. If they
// have not caught up since the start, ok is false.
func (a *Archive) Covered() (position uint64, ok bool) {
	return min(a.book.cursor.Load(), a.market.Position()), a.market.Ready() && a.health.bookReady.Load()
}

// Head returns the last position of the log.
func (a *Archive) Head() uint64 { return a.log.Head() }

// Hidden returns the keys and ids that the operator's rules hide, or nil.
func (a *Archive) Hidden(ctx context.Context) (*orders.Hidden, error) { return a.rules.hidden(ctx) }

// Stats calls fn with the statistics and the sets of keys that do not count.
func (a *Archive) Stats(fn func(c *stats.Collector, hidden []map[[32]byte]struct{}) error) error {
	return (&Figures{market: a.market, rules: a.rules}).View(false, fn)
}

// Entries calls fn for each readable entry after a position and up to another, ascending.
// Hidden events are not left out.
func (a *Archive) Entries(ctx context.Context, after, upTo uint64, fn func(*mostro.Entry) error) error {
	if after >= upTo {
		return nil
	}
	err := a.log.Read(ctx, after, func(e mostro.Entry) error {
		if e.Seq > upTo {
			return errEnough
		}
		return fn(&e)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// Versions calls fn for every version of every order that was in the book at a position of the
// log. The versions of one order come together, the oldest first. Hidden events are not left
// out. A version must not be changed.
func (a *Archive) Versions(ctx context.Context, upTo uint64, fn func(*orders.Version) error) error {
	at, mark := place{}, a.book.name()
	for !at.done {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch, next, err := a.book.versionsFrom(at, archiveBatch)
		if err != nil {
			return err
		}
		if a.book.name() != mark || a.book.cursor.Load() < upTo {
			return fmt.Errorf("%w: the book was replaced", ErrClosed)
		}
		for _, v := range batch {
			if v.Seq > upTo {
				continue
			}
			if err := fn(v); err != nil {
				return err
			}
		}
		at = next
	}
	return nil
}

// archiveBatch bounds the versions that are read in one transaction and held at once. A version
// has at most some 8 KiB of text.
const archiveBatch = 2048

// place is a position between two versions of the book.
type place struct {
	order orders.Key
	after []byte // key of the older version before the position; nil: none of the order
	past  bool   // behind all versions of the order
	done  bool   // at the end of the book
}

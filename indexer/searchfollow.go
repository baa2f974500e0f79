package indexer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// searchFollower applies the book to search. It reads from the log which orders have
// changed. One goroutine uses a searchFollower.
type searchFollower struct {
	entries  Log
	book     *book
	search   *searchIndex
	health   *health
	throttle throttle
	metrics  *metrics
	log      *slog.Logger
	now      func() time.Time
}

// follow applies the book to search until ctx ends.
func (f *searchFollower) follow(ctx context.Context) error {
	for {
		if err := f.throttle.wait(ctx, f.search.state.cursor); err != nil {
			return err
		}
		more, err := f.pass(ctx)
		if err != nil {
			if err = f.health.heal(ctx, err, f.search.reset, "search"); err != nil {
				return err
			}
			continue
		}
		if more {
			continue
		}
		if !sleep(ctx, searchPause) {
			return ctx.Err()
		}
		if err := f.book.moved.until(ctx, sweepEvery, func() bool {
			return f.book.cursor.Load() > f.search.state.cursor || f.health.bookReady.Load() && !f.health.searchReady.Load() || f.due()
		}); err != nil {
			return err
		}
	}
}

// due reports whether orders have expired that search holds as live.
func (f *searchFollower) due() bool {
	f.book.sweep(f.now())
	return f.book.expired.len() > 0
}

// pass applies the book to search. more is true if the pass stopped before search
// caught up.
func (f *searchFollower) pass(ctx context.Context) (more bool, err error) {
	st := f.search.state
	if st.mark != f.book.name() {
		// The book or search was rebuilt, so the content of search does not belong to
		// this book.
		if !f.health.bookReady.Load() {
			return false, nil
		}
		if live, _ := f.book.live.Load().Size(); live >= buildOffline || st.mark != "" {
			return true, f.build(ctx, nil)
		}
		st = searchState{mark: f.book.name()}
	}
	target := f.book.cursor.Load()
	now := f.now()
	f.book.sweep(now)
	touched, upTo, last, err := f.touched(ctx, st.cursor, target)
	if err != nil {
		return false, err
	}
	expired := f.book.expired.take(searchBatch)
	for _, e := range expired {
		if int64(e.deadline) > st.swept {
			if _, ok := touched[e.key]; !ok {
				touched[e.key] = touch{}
			}
		}
	}
	next := searchState{cursor: upTo, swept: st.swept, mark: st.mark}
	if f.book.expired.len() == 0 {
		next.swept = now.Unix()
	}
	start := time.Now()
	n, err := f.writeDocs(ctx, touched, st, next)
	if err != nil {
		f.book.expired.add(expired...)
		return false, err
	}
	f.metrics.applied(storeSearch, n, time.Since(start))
	f.metrics.lag(storeSearch, nil, f.now())
	if upTo < target || f.book.expired.len() > 0 {
		f.metrics.lag(storeSearch, last, f.now())
		return true, nil
	}
	if f.health.bookReady.Load() {
		f.health.searchReady.Store(true)
	}
	return false, nil
}

// touch is an order that search has to check.
type touch struct {
	address string // "" if only the key is known
	deleted bool   // a deletion named the order
}

// touched returns the orders that the log entries after a position concern.
func (f *searchFollower) touched(ctx context.Context, after, target uint64) (keys map[orders.Key]touch, upTo uint64, last []mostro.Entry, err error) {
	keys = map[orders.Key]touch{}
	upTo = target
	if after >= target {
		return keys, after, nil, nil
	}
	seen := 0
	var deletions []uint64
	err = f.entries.Read(ctx, after, func(e mostro.Entry) error {
		if e.Seq > target {
			return errEnough
		}
		switch e.Event.Kind {
		case mostro.KindOrder:
			address := orders.Address(e.Event.PubKey, e.Event.Tags.GetD())
			keys[orders.KeyOf(address)] = touch{address: address}
		case mostro.KindDeletion:
			deletions = append(deletions, e.Seq)
		}
		last = append(last[:0], e)
		if seen++; seen >= searchScan {
			upTo = e.Seq
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, 0, nil, fmt.Errorf("read log: %w", err)
	}
	for _, seq := range deletions {
		addresses, err := f.book.affected(seq)
		if err != nil {
			return nil, 0, nil, &storeError{"search", err}
		}
		for _, a := range addresses {
			keys[orders.KeyOf(a)] = touch{a, true}
		}
	}
	return keys, upTo, last, nil
}

// writeDocs writes the current documents of some orders to search. The state next is
// committed with the last batch, so that a crash between batches repeats the pass.
func (f *searchFollower) writeDocs(ctx context.Context, touched map[orders.Key]touch, st, next searchState) (int, error) {
	docs := make([]searchDoc, 0, min(len(touched), searchBatch))
	total := 0
	flush := func(state searchState) error {
		if err := f.search.write(docs, state); err != nil {
			return &storeError{"search", err}
		}
		total += len(docs)
		docs = docs[:0]
		return nil
	}
	keys := make([]orders.Key, 0, len(touched))
	for k, t := range touched {
		undescribed, alone := f.book.live.Load().Undescribed(k)
		switch {
		case !undescribed || t.address == "":
			keys = append(keys, k)
		case !alone || t.deleted:
			docs = append(docs, searchDoc{key: k, address: t.address})
		}
		if len(docs) == searchBatch {
			if err := flush(st); err != nil {
				return total, err
			}
		}
	}
	for len(keys) > 0 {
		if ctx.Err() != nil {
			return total, ctx.Err()
		}
		n := min(len(keys), searchBatch)
		records, err := f.book.read(keys[:n])
		if err != nil {
			return total, &storeError{"book", err}
		}
		for i, r := range records {
			d := searchDoc{key: keys[i], address: touched[keys[i]].address}
			if r != nil {
				d.address = orders.Address(r.Order.Pubkey, r.Order.D)
				d.gone = !f.book.live.Load().Holds(keys[i])
				if d.gone || r.Order.Description != "" {
					d.v = &r.Version
				}
			}
			if d.address == "" {
				continue // expired, then deleted: the entry of the deletion has the address
			}
			docs = append(docs, d)
		}
		keys = keys[n:]
		if len(keys) > 0 {
			if err := flush(st); err != nil {
				return total, err
			}
		}
	}
	if len(docs) == 0 && next.cursor == st.cursor && next.mark == f.search.state.mark {
		f.search.state.swept = next.swept // the swept time alone is not worth a batch
		return total, nil
	}
	return total, flush(next)
}

// build builds search from the book offline, with one write per order.
func (f *searchFollower) build(ctx context.Context, progress func(done int)) error {
	f.health.searchReady.Store(false)
	now := f.now()
	f.book.sweep(now)
	st := searchState{cursor: f.book.cursor.Load(), swept: now.Unix(), mark: f.book.name()}
	start, n := time.Now(), 0
	f.log.Info("building the search index", "position", st.cursor)
	err := f.search.build(func(add func(searchDoc) error) error {
		return f.book.view(func(txn *badger.Txn) error {
			return eachHead(txn, func(k orders.Key, packed []byte) error {
				if n%1000 == 0 && ctx.Err() != nil {
					return ctx.Err()
				}
				r, err := orders.UnpackRecord(packed)
				if err != nil || r.Withdrawn {
					return err
				}
				d := searchDoc{address: orders.Address(r.Order.Pubkey, r.Order.D), key: k, v: &r.Version, gone: !r.LiveAt(now)}
				if n++; progress != nil && n%10_000 == 0 {
					progress(n)
				}
				if !d.gone && r.Order.Description == "" {
					return nil
				}
				return add(d)
			})
		})
	}, st)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &storeError{"search", err}
	}
	f.log.Info("built the search index", "orders", n, "seconds", time.Since(start).Seconds())
	return nil
}

// sleep waits for d, and reports whether ctx has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

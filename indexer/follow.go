package indexer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// Log is the part of the log that the index uses.
type Log interface {
	// Read calls fn for each readable entry after a position, ascending, up to
	// the head at the time of the call.
	Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error
	// Wait returns nil once the head is greater than seq.
	Wait(ctx context.Context, seq uint64) error
	// Head returns the last position of the log.
	Head() uint64
}

// Sizes of batches. The book applies entries soon after they arrive, because its work per
// entry is small. Search writes large batches, each order once, and pauses between
// batches to leave the processor to other work.
const (
	bookBatch    = 1000
	bookBytes    = 2 << 20
	searchScan   = 50_000 // entries read in one pass
	searchBatch  = 2000   // documents in one Bleve batch
	searchPause  = 150 * time.Millisecond
	sweepEvery   = time.Second
	buildOffline = 20_000 // orders from which a new search index is built offline
)

// errEnough ends a read of the log when a batch is full.
var errEnough = errors.New("enough")

// storeError is an error of one of the index's own stores, which can be rebuilt. Errors
// of the log are not wrapped in storeError, because the log's owner handles them.
type storeError struct {
	store string
	err   error
}

func (e *storeError) Error() string { return e.store + ": " + e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// readBatch reads entries after a position, at most n, and stops when their size reaches
// bytes. upTo is the last position that the batch covers.
func (x *Index) readBatch(ctx context.Context, after uint64, n, bytes int) (batch []mostro.Entry, upTo uint64, err error) {
	head := x.cfg.Log.Head()
	upTo = after
	size := 0
	err = x.cfg.Log.Read(ctx, after, func(e mostro.Entry) error {
		batch = append(batch, e)
		upTo = e.Seq
		size += sizeOf(e)
		if len(batch) >= n || size >= bytes {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return batch, upTo, nil
	}
	// The read reached the end of the log: entries between the last one read and the head
	// are no longer readable.
	return batch, max(upTo, head), err
}

func sizeOf(e mostro.Entry) int {
	n := 256 + len(e.Event.Content)
	for _, tag := range e.Event.Tags {
		for _, v := range tag {
			n += len(v) + 8
		}
	}
	return n
}

// followBook applies the log to the book until ctx ends.
func (x *Index) followBook(ctx context.Context) error {
	for {
		err := x.bookPass(ctx)
		if err != nil {
			if err = x.heal(ctx, err, x.book.reset, "book"); err != nil {
				return err
			}
			continue
		}
		if err := x.cfg.Log.Wait(ctx, x.book.cursor.Load()); err != nil {
			return err
		}
	}
}

// bookPass applies the current log to the book.
func (x *Index) bookPass(ctx context.Context) error {
	for {
		after := x.book.cursor.Load()
		batch, upTo, err := x.readBatch(ctx, after, bookBatch, bookBytes)
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if upTo > after {
			start := time.Now()
			if err := x.book.apply(batch, upTo); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return &storeError{"book", err}
			}
			x.metrics.applied(storeBook, len(batch), time.Since(start))
		}
		if x.book.cursor.Load() >= x.cfg.Log.Head() {
			if x.bookReady.CompareAndSwap(false, true) {
				x.book.moved.raise() // search waits for the book
			}
			x.lag(storeBook, nil)
			return nil
		}
		x.lag(storeBook, batch)
	}
}

// lag sets the metric of the time since the last applied entry arrived, or 0 if no entry
// waits.
func (x *Index) lag(store string, batch []mostro.Entry) {
	behind := time.Duration(0)
	if len(batch) > 0 {
		behind = max(0, x.cfg.Now().Sub(batch[len(batch)-1].ReceivedAt))
	}
	x.metrics.behind.WithLabelValues(store).Set(behind.Seconds())
}

// heal deletes a store of the index that failed, so that it is rebuilt from the log. If
// the store fails again within healAgain, the cause is most often outside the store (a
// full disk), and heal returns the error.
func (x *Index) heal(ctx context.Context, err error, reset func() error, store string) error {
	var own *storeError
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !errors.As(err, &own) || errors.Is(err, ErrClosed) || errors.Is(err, badger.ErrDBClosed) {
		return err
	}
	x.healing.Lock()
	defer x.healing.Unlock()
	now := time.Now()
	if last, again := x.healed[store]; again && now.Sub(last) < healAgain {
		return fmt.Errorf("%s failed again after its rebuild at %s: %w", store, last.UTC().Format(time.RFC3339), err)
	}
	x.healed[store] = now
	x.metrics.rebuilds.WithLabelValues(store).Inc()
	x.log.Error("index store is damaged, rebuilding it from the log", "store", store, "error", err)
	if store == storeBook {
		x.bookReady.Store(false)
	}
	x.searchReady.Store(false)
	if err := reset(); err != nil {
		return fmt.Errorf("reset %s: %w", store, err)
	}
	return nil
}

// healAgain is the time after a rebuild within which a second failure of the store is
// returned as an error.
const healAgain = 10 * time.Minute

// sweep removes expired orders from the column store, queues them for search, and updates
// the classes of orders.
func (x *Index) sweep(now time.Time) {
	changed := false
	if x.cfg.Rules != nil {
		version, banned, _, _ := x.cfg.Rules.Hidden()
		changed = x.book.authors.Load().ban(version, banned)
	}
	x.book.rejudge(now, changed)
	left := x.book.live.Load().Expire(now)
	if len(left) == 0 {
		return
	}
	all := make([]expiry, len(left))
	for i, k := range left {
		all[i] = expiry{k, orders.ClampTime(now.Unix())}
	}
	x.book.expired.add(all...)
}

// followSearch applies the book to search until ctx ends.
func (x *Index) followSearch(ctx context.Context) error {
	for {
		if err := x.throttle(ctx); err != nil {
			return err
		}
		more, err := x.searchPass(ctx)
		if err != nil {
			if err = x.heal(ctx, err, x.search.reset, "search"); err != nil {
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
		if err := x.book.moved.until(ctx, sweepEvery, func() bool {
			return x.book.cursor.Load() > x.search.state.cursor || x.bookReady.Load() && !x.searchReady.Load() || x.dueForSearch()
		}); err != nil {
			return err
		}
	}
}

// dueForSearch reports whether orders have expired that search holds as live.
func (x *Index) dueForSearch() bool {
	x.sweep(x.cfg.Now())
	return x.book.expired.len() > 0
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

// searchPass applies the book to search. more is true if the pass stopped before search
// caught up.
func (x *Index) searchPass(ctx context.Context) (more bool, err error) {
	st := x.search.state
	if st.mark != x.book.name() {
		// The book or search was rebuilt, so the content of search does not belong to
		// this book.
		if !x.bookReady.Load() {
			return false, nil
		}
		if live, _ := x.book.live.Load().Size(); live >= buildOffline || st.mark != "" {
			return true, x.buildSearch(ctx, nil)
		}
		st = searchState{mark: x.book.name()}
	}
	target := x.book.cursor.Load()
	now := x.cfg.Now()
	x.sweep(now)
	touched, upTo, last, err := x.touched(ctx, st.cursor, target)
	if err != nil {
		return false, err
	}
	expired := x.book.expired.take(searchBatch)
	for _, e := range expired {
		if int64(e.deadline) > st.swept {
			if _, ok := touched[e.key]; !ok {
				touched[e.key] = touch{}
			}
		}
	}
	next := searchState{cursor: upTo, swept: st.swept, mark: st.mark}
	if x.book.expired.len() == 0 {
		next.swept = now.Unix()
	}
	start := time.Now()
	n, err := x.writeDocs(ctx, touched, st, next)
	if err != nil {
		x.book.expired.add(expired...)
		return false, err
	}
	x.metrics.applied(storeSearch, n, time.Since(start))
	x.lag(storeSearch, nil)
	if upTo < target || x.book.expired.len() > 0 {
		x.lag(storeSearch, last)
		return true, nil
	}
	if x.bookReady.Load() {
		x.searchReady.Store(true)
	}
	return false, nil
}

// touch is an order that search has to check.
type touch struct {
	address string // "" if only the key is known
	deleted bool   // a deletion named the order
}

// touched returns the orders that the log entries after a position concern.
func (x *Index) touched(ctx context.Context, after, target uint64) (keys map[orders.Key]touch, upTo uint64, last []mostro.Entry, err error) {
	keys = map[orders.Key]touch{}
	upTo = target
	if after >= target {
		return keys, after, nil, nil
	}
	seen := 0
	var deletions []uint64
	err = x.cfg.Log.Read(ctx, after, func(e mostro.Entry) error {
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
		addresses, err := x.book.affected(seq)
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
func (x *Index) writeDocs(ctx context.Context, touched map[orders.Key]touch, st, next searchState) (int, error) {
	docs := make([]searchDoc, 0, min(len(touched), searchBatch))
	total := 0
	flush := func(state searchState) error {
		if err := x.search.write(docs, state); err != nil {
			return &storeError{"search", err}
		}
		total += len(docs)
		docs = docs[:0]
		x.generation.Add(1)
		return nil
	}
	keys := make([]orders.Key, 0, len(touched))
	for k, t := range touched {
		undescribed, alone := x.book.live.Load().Undescribed(k)
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
		records, err := x.book.read(keys[:n])
		if err != nil {
			return total, &storeError{"book", err}
		}
		for i, r := range records {
			d := searchDoc{key: keys[i], address: touched[keys[i]].address}
			if r != nil {
				d.address = orders.Address(r.Order.Pubkey, r.Order.D)
				d.gone = !x.book.live.Load().Holds(keys[i])
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
	if len(docs) == 0 && next.cursor == st.cursor && next.mark == x.search.state.mark {
		x.search.state.swept = next.swept // the swept time alone is not worth a batch
		return total, nil
	}
	return total, flush(next)
}

// buildSearch builds search from the book offline, with one write per order.
func (x *Index) buildSearch(ctx context.Context, progress func(done int)) error {
	x.searchReady.Store(false)
	now := x.cfg.Now()
	x.sweep(now)
	st := searchState{cursor: x.book.cursor.Load(), swept: now.Unix(), mark: x.book.name()}
	start, n := time.Now(), 0
	x.log.Info("building the search index", "position", st.cursor)
	err := x.search.build(func(add func(searchDoc) error) error {
		return x.book.view(func(txn *badger.Txn) error {
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
	x.generation.Add(1)
	x.log.Info("built the search index", "orders", n, "seconds", time.Since(start).Seconds())
	return nil
}

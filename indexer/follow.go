package indexer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// Log is the part of the log that the index uses.
type Log interface {
	// Read calls fn for each readable entry after a position, ascending, up to
	// the head at the time of the call.
	Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error
	// ReadEvidence is Read with the erased entries whose facts were kept.
	ReadEvidence(ctx context.Context, after uint64, fn func(mostro.Entry) error) error
	// EntryAt returns the entry with a position, or mostro.ErrNotFound. An erased entry has
	// only the id, the author, the kind and created_at.
	EntryAt(ctx context.Context, seq uint64) (mostro.Entry, error)
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

func sizeOf(e mostro.Entry) int {
	n := 256 + len(e.Event.Content)
	for _, tag := range e.Event.Tags {
		for _, v := range tag {
			n += len(v) + 8
		}
	}
	return n
}

// bookFollower applies the log to the book. One goroutine uses a bookFollower.
type bookFollower struct {
	entries Log
	book    *book
	health  *health
	metrics *metrics
	now     func() time.Time
}

// readBatch reads entries after a position, at most n, and stops when their size reaches
// bytes. upTo is the last position that the batch covers.
func (f *bookFollower) readBatch(ctx context.Context, after uint64, n, bytes int) (batch []mostro.Entry, upTo uint64, err error) {
	head := f.entries.Head()
	upTo = after
	size := 0
	err = f.entries.Read(ctx, after, func(e mostro.Entry) error {
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

// follow applies the log to the book until ctx ends.
func (f *bookFollower) follow(ctx context.Context) error {
	for {
		err := f.pass(ctx)
		if err != nil {
			if err = f.health.heal(ctx, err, f.book.reset, "book"); err != nil {
				return err
			}
			continue
		}
		if err := f.entries.Wait(ctx, f.book.cursor.Load()); err != nil {
			return err
		}
	}
}

// pass applies the current log to the book.
func (f *bookFollower) pass(ctx context.Context) error {
	for {
		after := f.book.cursor.Load()
		batch, upTo, err := f.readBatch(ctx, after, bookBatch, bookBytes)
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if upTo > after {
			start := time.Now()
			if err := f.book.apply(batch, upTo); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return &storeError{"book", err}
			}
			f.metrics.applied(storeBook, len(batch), time.Since(start))
		}
		if f.book.cursor.Load() >= f.entries.Head() {
			if f.health.bookReady.CompareAndSwap(false, true) {
				f.book.moved.raise() // search waits for the book
			}
			f.metrics.lag(storeBook, nil, f.now())
			return nil
		}
		f.metrics.lag(storeBook, batch, f.now())
	}
}

// rebuild deletes the book and applies the whole log.
func (f *bookFollower) rebuild(ctx context.Context, progress func(Progress)) error {
	f.health.bookReady.Store(false)
	if err := f.book.reset(); err != nil {
		return err
	}
	head := f.entries.Head()
	for f.book.cursor.Load() < head {
		batch, upTo, err := f.readBatch(ctx, f.book.cursor.Load(), bookBatch, bookBytes)
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if err := f.book.apply(batch, upTo); err != nil {
			return err
		}
		progress(Progress{storeBook, upTo, head})
	}
	f.health.bookReady.Store(true)
	return nil
}

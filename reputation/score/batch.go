package score

import (
	"context"

	"github.com/mostrodex/mostrodex/mostro"
)

// Reader reads the log.
type Reader interface {
	// Read calls fn for each readable entry after a position, ascending, up to
	// the head at the time of the call. Entries that their authors deleted are
	// given as the facts that were kept of them (mostro.Entry.Erased).
	Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error
}

// How large a batch of entries is. PrepareAll checks the signatures of a batch
// together.
const (
	batchSize  = 16_384   // entries
	batchBytes = 32 << 20 // of their text
)

// EachBatch reads the log after a position, up to its head, and calls fn with
// each batch. fn may keep the batch.
func EachBatch(ctx context.Context, log Reader, after uint64, fn func([]mostro.Entry) error) error {
	var batch []mostro.Entry
	size := 0
	err := log.Read(ctx, after, func(e mostro.Entry) error {
		size += len(e.Event.Content)
		for _, tag := range e.Event.Tags {
			for _, v := range tag {
				size += len(v)
			}
		}
		if batch = append(batch, e); len(batch) < batchSize && size < batchBytes {
			return nil
		}
		full := batch
		batch, size = make([]mostro.Entry, 0, batchSize), 0
		return fn(full)
	})
	if err != nil || len(batch) == 0 {
		return err
	}
	return fn(batch)
}

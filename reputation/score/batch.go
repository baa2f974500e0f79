package score

import (
	"context"

	"github.com/mostrodex/mostrodex/mostro"
)

// Reader reads the log.
type Reader interface {
	// Read calls fn for each readable entry after a position, in ascending order, up to
	// the head at the time of the call. If the author deleted an event, the entry holds
	// only the facts that were kept (mostro.Entry.Erased).
	Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error
}

// Limits of a batch of entries. PrepareAll checks the signatures of one batch together.
const (
	batchSize  = 16_384   // entries
	batchBytes = 32 << 20 // bytes of text
)

// EachBatch reads the log after a position up to the head, and calls fn with each batch.
// EachBatch returns the first error of fn or of the log. fn may keep the batch.
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

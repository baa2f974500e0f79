package indexer

import (
	"context"
	"time"
)

// Indexing text costs several times what appending an event costs, so search
// stands back while events pour in: it waits for a lull, and then writes each
// order once instead of at each of its versions. A steady thousand events a
// second is no pour.
const (
	lullWindow   = 250 * time.Millisecond
	lullRate     = 2000             // entries per second below which it is a lull
	lullPatience = 20 * time.Second // after which search goes on all the same
)

// awaitLull returns once the log grows slowly, or patience has run out, or ctx
// has ended; the last is the only error.
func (x *Index) awaitLull(ctx context.Context) error {
	for began := x.cfg.Now(); ; {
		head := x.cfg.Log.Head()
		if head-min(head, x.search.state.cursor) < lullRate {
			return nil // too little waits to make way for
		}
		if !sleep(ctx, lullWindow) {
			return ctx.Err()
		}
		grown := x.cfg.Log.Head() - head
		if float64(grown) < lullRate*lullWindow.Seconds() || x.cfg.Now().Sub(began) >= lullPatience {
			return nil
		}
	}
}

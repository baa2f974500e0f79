package indexer

import (
	"context"
	"time"
)

// Indexing text costs several times what appending an event costs, so search is
// throttled while events pour in: it waits until they come slowly, and then
// writes each order once instead of at each of its versions. A steady thousand
// events a second does not throttle it.
const (
	throttleWindow = 250 * time.Millisecond
	throttleRate   = 2000             // entries per second from which on search waits
	throttleLimit  = 20 * time.Second // that search waits at most
)

// throttle returns once the log grows slowly, or throttleLimit has passed, or ctx
// has ended; the last is the only error.
func (x *Index) throttle(ctx context.Context) error {
	for began := x.cfg.Now(); ; {
		head := x.cfg.Log.Head()
		if head-min(head, x.search.state.cursor) < throttleRate {
			return nil // too little waits to make way for
		}
		if !sleep(ctx, throttleWindow) {
			return ctx.Err()
		}
		grown := x.cfg.Log.Head() - head
		if float64(grown) < throttleRate*throttleWindow.Seconds() || x.cfg.Now().Sub(began) >= throttleLimit {
			return nil
		}
	}
}

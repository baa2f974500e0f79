package indexer

import (
	"context"
	"time"
)

// Search is throttled if events arrive fast, because indexing text costs several times as
// much as appending an event. A throttled search waits until fewer events arrive, and
// then writes each order once instead of once per version. A steady thousand events per
// second does not throttle search.
const (
	throttleWindow = 250 * time.Millisecond
	throttleRate   = 2000             // entries per second; search waits at this rate and above
	throttleLimit  = 20 * time.Second // longest wait of search
)

// throttle returns nil when the log grows slowly or throttleLimit has passed. If ctx ends
// first, throttle returns its error.
func (x *Index) throttle(ctx context.Context) error {
	for began := x.cfg.Now(); ; {
		head := x.cfg.Log.Head()
		if head-min(head, x.search.state.cursor) < throttleRate {
			return nil // the backlog is too small to wait for
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

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

// throttle delays search while events arrive fast. A throttle has no state.
type throttle struct {
	log Log
	now func() time.Time
}

// wait returns nil when the log grows slowly, few entries follow cursor, or throttleLimit
// has passed. If ctx ends first, wait returns its error.
func (t throttle) wait(ctx context.Context, cursor uint64) error {
	for began := t.now(); ; {
		head := t.log.Head()
		if head-min(head, cursor) < throttleRate {
			return nil // the backlog is too small to wait for
		}
		if !sleep(ctx, throttleWindow) {
			return ctx.Err()
		}
		grown := t.log.Head() - head
		if float64(grown) < throttleRate*throttleWindow.Seconds() || t.now().Sub(began) >= throttleLimit {
			return nil
		}
	}
}

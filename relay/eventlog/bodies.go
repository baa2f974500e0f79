package eventlog

import (
	"fmt"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/relay/eventlog/liveindex"
)

// loadBodies reads the missing payloads of an answer and caches them. It removes events
// from found[from:] that were deleted meanwhile or whose records are damaged.
func (q *queries) loadBodies(found []Found, from int, missing []liveindex.Missing) ([]Found, error) {
	gone := false
	for _, m := range missing {
		_, body, err := q.log.Read(found[m.Index].Seq)
		if IsDamage(err) {
			q.damage.report(found[m.Index].Seq, err)
			body, err = nil, nil
		}
		if err != nil {
			return found[:from], fmt.Errorf("read bodies: %w", err)
		}
		found[m.Index].JSON = body
		gone = gone || body == nil
	}
	q.live.CacheBodies(found, missing)
	if gone {
		kept := slices.DeleteFunc(found[from:], func(f Found) bool { return f.JSON == nil })
		found = found[:from+len(kept)]
	}
	return found, nil
}

// Bodies appends to dst the payloads of the first hits, within the bounds, and returns
// the number of hits that it has consumed. Events that were deleted meanwhile or whose
// records are damaged are left out.
func (q *queries) Bodies(dst []Found, hits []Hit) ([]Found, int, error) {
	first := len(dst)
	dst, n, missing := q.live.Bodies(dst, hits, q.log.RecordBytes)
	if missing == nil {
		return dst, n, nil
	}
	dst, err := q.loadBodies(dst, first, missing)
	return dst, n, err
}

// SortNewest sorts hits in NIP-01 order: newest first, then lowest id. If the live
// entry of a hit was reused meanwhile, hits of the same second are ordered by arrival.
func (q *queries) SortNewest(hits []Hit) { q.live.SortNewest(hits) }

// warmBodies reads the newest payloads into memory after Open. It reads the oldest of
// them first, so that the newest are evicted last.
func (q *queries) warmBodies() {
	newest, err := q.live.Newest()
	slices.Reverse(newest)
	for began := time.Now(); err == nil && len(newest) > 0; began = time.Now() {
		n := min(len(newest), readBatch)
		found, missing := q.live.WithoutBody(newest[:n])
		newest = newest[n:]
		if _, err = q.loadBodies(found, 0, missing); !q.pace.idleAfter(began) {
			return
		}
	}
	if err != nil { // queries read the payloads that they need
		q.logger.Warn("warm-up failed: payloads are read from disk when they are needed", "err", err)
	}
}

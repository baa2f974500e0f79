package eventlog

import (
	"context"
	"sync"
	"testing"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// entryOfEvent returns the index entry of an event.
func entryOfEvent(evt *nostr.Event, seq uint64) indexEntry {
	return indexEntry{seq: seq, chain: seq, id: hex32.OrZero(evt.ID), pubkey: hex32.OrZero(evt.PubKey), kind: evt.Kind, createdAt: int64(evt.CreatedAt), tags: tagKeys(evt.Tags)}
}

// noBytes replaces the lengths of records.
func noBytes(uint64) int64 { return 0 }

// fullIndex returns an index with some orders of a market.
func fullIndex(orders int) *live {
	clock := testkit.NewClock()
	l := newLive(liveConfig{Now: clock.Now})
	for i, evt := range testkit.Market(orders, clock.Now().Unix()) {
		e := entryOfEvent(evt, uint64(i+1))
		c := change{add: &e}
		if old, ok := l.entryAt(e.kind, e.pubkey, e.firstTag('d')); ok {
			c.remove = old.id
		}
		l.apply([]change{c}, noBytes)
	}
	return l
}

// Requests with many filters release the index between filters, so that an append does
// not wait for all of them.
func TestManyFiltersReleaseTheIndex(t *testing.T) {
	l := fullIndex(40_000)
	var filters nostr.Filters
	for i := range 100 { // no posting has the size of these results
		since := nostr.Timestamp(i)
		filters = append(filters, nostr.Filter{Kinds: []int{38383}, Since: &since, Tags: nostr.TagMap{"k": {"buy"}, "y": {"mostro"}, "z": {"order"}}})
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	turns := 0
	began := make(chan struct{})
	wg.Go(func() {
		<-began
		for ctx.Err() == nil { // the work of the committer for each group
			if !l.mu.TryLock() { // the COUNT holds the lock, and releases it
				l.mu.Lock()
				turns++
			}
			l.mu.Unlock()
		}
	})
	close(began)
	n, err := l.count(context.Background(), filters)
	cancel()
	wg.Wait()
	if err != nil || n < 5000 {
		t.Fatalf("%d, %v", n, err)
	}
	t.Logf("a COUNT of %d filters let %d appends through", len(filters), turns)
	// On a busy machine the goroutine seldom runs while the COUNT does. A COUNT that holds the
	// lock to its end lets at most one append through.
	if turns < 3 {
		t.Errorf("a COUNT of %d filters let %d appends through", len(filters), turns)
	}
}

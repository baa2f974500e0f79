package liveindex

import (
	"context"
	"sync"
	"testing"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// entryOfEvent returns the index entry of an event.
func entryOfEvent(evt *nostr.Event, seq uint64) Entry {
	return Entry{Seq: seq, Chain: seq, ID: hex32.OrZero(evt.ID), PubKey: hex32.OrZero(evt.PubKey), Kind: evt.Kind, CreatedAt: int64(evt.CreatedAt), Tags: TagKeys(evt.Tags)}
}

// noBytes replaces the lengths of records.
func noBytes(uint64) int64 { return 0 }

// fullIndex returns an index with some orders of a market.
func fullIndex(orders int) *Index {
	clock := testkit.NewClock()
	l := New(Config{Now: clock.Now})
	for i, evt := range testkit.Market(orders, clock.Now().Unix()) {
		e := entryOfEvent(evt, uint64(i+1))
		c := Change{Add: &e}
		if old, ok := l.EntryAt(e.Kind, e.PubKey, e.FirstTag('d')); ok {
			c.Remove = old.ID
		}
		l.Apply([]Change{c}, noBytes)
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
	n, err := l.Count(context.Background(), filters)
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

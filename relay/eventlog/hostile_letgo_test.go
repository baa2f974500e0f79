package eventlog

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// fullStore returns a store with some orders of a market.
func fullStore(t *testing.T, orders int) *Store {
	t.Helper()
	clock := testkit.NewClock()
	st, err := Open(Config{Dir: t.TempDir(), Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	events := testkit.Market(orders, clock.Now().Unix())
	for _, evt := range events {
		if _, err := st.Enqueue(context.Background(), Arrival{Event: evt, ReceivedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Wait(context.Background(), uint64(len(events)-1)); err != nil {
		t.Fatal(err)
	}
	return st
}

// Requests with many filters release the index between filters, so that an append does
// not wait for all of them.
func TestManyFiltersReleaseTheIndex(t *testing.T) {
	st := fullStore(t, 40_000)
	defer st.Close()
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
			if !st.live.mu.TryLock() { // the COUNT holds the lock, and releases it
				st.live.mu.Lock()
				turns++
			}
			st.live.mu.Unlock()
		}
	})
	close(began)
	n, err := st.Count(context.Background(), filters)
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

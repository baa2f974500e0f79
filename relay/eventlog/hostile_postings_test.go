package eventlog

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// An event may have been stored before the number of its tags was bounded. Its cost in
// the index must grow linearly with its tags, not with their square, at every start.
func TestPostingsGrowWithTheTagsOnly(t *testing.T) {
	clock := testkit.NewClock()
	dir := t.TempDir()
	st := mustOpenStore(t, dir, clock)
	const events = 4
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	for i := range events {
		mustAppend(t, st, testkit.OfManyStatuses(fmt.Sprint(i), clock.Now().Unix()+int64(i), 990))
	}
	took := time.Since(began)
	check := func(st *Store) {
		t.Helper()
		for _, f := range []nostr.Filter{
			{Kinds: []int{38383}, Tags: nostr.TagMap{"s": {"s7"}}},
			{Kinds: []int{38383}, Tags: nostr.TagMap{"s": {"s7", "s8"}, "f": {"f9"}}},
			{Authors: []string{testkit.Unsigned(1, 1, 1, "").PubKey}, Tags: nostr.TagMap{"s": {"s7"}}},
		} {
			if got := len(queryIDs(t, st, f, 100)); got != events {
				t.Errorf("%v finds %d events", f, got)
			}
			if got, err := st.Count(t.Context(), nostr.Filters{f}); err != nil || got != events {
				t.Errorf("%v counts %d events, %v", f, got, err)
			}
		}
	}
	check(st)
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 20
	t.Logf("%d events: %v, %d MB", events, took, grown)
	if grown > 20*events {
		t.Errorf("%d events take %d MB", events, grown)
	}
	mustCheck(t, st)
	st.Close()
	st = mustOpenStore(t, dir, clock)
	check(st)
	mustCheck(t, st)
}

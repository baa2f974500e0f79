package relay

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// ofManyStatuses makes an event with n values of s and n of f.
func ofManyStatuses(d string, at int64, n int) *nostr.Event {
	tags := nostr.Tags{{"d", d}}
	for i := range n {
		tags = append(tags, nostr.Tag{"s", fmt.Sprint("s", i)}, nostr.Tag{"f", fmt.Sprint("f", i)})
	}
	return unsigned(1, 38383, at, "", tags...)
}

// An event that the store holds from before its tags were bounded costs the
// index what it is long, not the square of that, and again so at every start.
func TestPostingsGrowWithTheTagsOnly(t *testing.T) {
	clock := newTestClock()
	dir := t.TempDir()
	st := mustOpenStore(t, dir, clock)
	const events = 4
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	for i := range events {
		mustAppend(t, st, ofManyStatuses(fmt.Sprint(i), clock.now().Unix()+int64(i), 990))
	}
	took := time.Since(began)
	check := func(st *Store) {
		t.Helper()
		if n := len(st.live.combos); n > 4*events {
			t.Errorf("%d composite postings for %d events", n, events)
		}
		for _, f := range []nostr.Filter{
			{Kinds: []int{38383}, Tags: nostr.TagMap{"s": {"s7"}}},
			{Kinds: []int{38383}, Tags: nostr.TagMap{"s": {"s7", "s8"}, "f": {"f9"}}},
			{Authors: []string{unsigned(1, 1, 1, "").PubKey}, Tags: nostr.TagMap{"s": {"s7"}}},
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

func TestEventsOfManyStatusesAreRefused(t *testing.T) {
	r := startRelay(t, nil)
	c := r.dial()
	tags := nostr.Tags{{"d", "x"}}
	for i := range maxSeveral {
		tags = append(tags, nostr.Tag{"s", fmt.Sprint(i)}, nostr.Tag{"f", fmt.Sprint(i)}, nostr.Tag{"f", "0"})
	}
	c.mustPublish(signed(t, 38383, now(), tags...))
	for _, letter := range []string{"s", "f"} {
		c.mustRefuse(signed(t, 38383, now(), append(tags, nostr.Tag{letter, "one more"})...), "invalid: the event has more than 8 values of "+letter)
	}
}

package eventlog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// stall makes the committer wait behind an event that it has appended, until release is
// called.
func stall(t *testing.T, st *Store) (release func()) {
	t.Helper()
	st.recent.mu.Lock() // the committer needs the lock to publish the event
	if _, err := st.Enqueue(context.Background(), Arrival{Event: testkit.Unsigned(200, 1, 1, ""), ReceivedAt: st.now()}); err != nil {
		t.Fatal(err)
	}
	for len(st.queue.ch) > 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(5 * time.Millisecond)
	return st.recent.mu.Unlock
}

// appendAtOnce makes the committer take arrivals as one group, behind another event
// that delays the committer.
func appendAtOnce(t *testing.T, st *Store, arrivals ...Arrival) (outs []Outcome) {
	t.Helper()
	ctx := context.Background()
	release := stall(t, st)
	var waiting []Pending
	for _, a := range arrivals {
		a.ReceivedAt = st.now()
		p, err := st.Enqueue(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, p)
	}
	release()
	for _, p := range waiting {
		_, out, err := p.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		outs = append(outs, out)
	}
	return outs
}

// TestOlderVersionsOfALargeEvent appends older versions, each of which rewrites a large
// index entry. Together they exceed a transaction.
func TestOlderVersionsOfALargeEvent(t *testing.T) {
	clock, dir := testkit.NewClock(), t.TempDir()
	st := mustOpenStore(t, dir, clock)
	mustAppend(t, st, testkit.Unsigned(1, 38383, 1000, "", nostr.Tag{"d", "x"}, nostr.Tag{"s", strings.Repeat("x", 100<<10)}))
	var older []Arrival
	for i := range 60 {
		older = append(older, Arrival{Event: testkit.Unsigned(1, 38383, int64(i), "", nostr.Tag{"d", "x"})})
	}
	for i, out := range appendAtOnce(t, st, older...) {
		if out != Archived {
			t.Errorf("the outcome of older version %d is %s", i, out)
		}
	}
	mustCheck(t, st)
	st.Close()
	fresh := t.TempDir() // the replay of the log gives the same result
	if err := os.CopyFS(filepath.Join(fresh, "events", "log"), os.DirFS(filepath.Join(dir, "events", "log"))); err != nil {
		t.Fatal(err)
	}
	st = mustOpenStore(t, fresh, clock)
	if ids := queryIDs(t, st, nostr.Filter{Kinds: []int{38383}}, 10); len(ids) != 1 {
		t.Errorf("%d versions are served", len(ids))
	}
	mustCheck(t, st)
}

// TestManyLargeEventsExpire moves index entries that together exceed a transaction.
func TestManyLargeEventsExpire(t *testing.T) {
	clock := testkit.NewClock()
	st := mustOpenStore(t, t.TempDir(), clock)
	end := strconv.FormatInt(clock.Now().Unix()+10, 10)
	for i := range 40 {
		mustAppend(t, st, testkit.Unsigned(1, 38383, 1000, "", nostr.Tag{"d", fmt.Sprint(i)}, nostr.Tag{"s", strings.Repeat("x", 100<<10)}, nostr.Tag{"expiration", end}))
	}
	clock.Advance(10 * time.Second)
	st.live.Expire(clock.Now().Unix())
	st.sweep <- struct{}{}
	mustCheck(t, st)
	if st.Live() != 0 {
		t.Errorf("%d events are served", st.Live())
	}
}

// TestOverQuotaForgetsNothing checks that a refused event between two versions of one
// address does not change the state that the first version has left.
func TestOverQuotaForgetsNothing(t *testing.T) {
	clock := testkit.NewClock()
	st := mustOpenStore(t, t.TempDir(), clock)
	now := clock.Now().Unix()
	d := nostr.Tag{"d", "x"}
	mustAppend(t, st, testkit.Unsigned(1, 38383, now-9, "", d))
	outs := appendAtOnce(t, st,
		Arrival{Event: testkit.Unsigned(1, 38383, now-5, "", d, nostr.Tag{"expiration", strconv.FormatInt(now-1, 10)})},
		Arrival{Event: testkit.Unsigned(1, 38383, now-4, "", d), Quota: LiveQuotas{Key: 1}},
		Arrival{Event: testkit.Unsigned(1, 38383, now-7, "", d)})
	if want := []Outcome{Archived, OverQuota, Archived}; fmt.Sprint(outs) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", outs, want)
	}
	if ids := queryIDs(t, st, nostr.Filter{Kinds: []int{38383}}, 10); len(ids) != 0 {
		t.Errorf("%d versions are served", len(ids))
	}
	mustCheck(t, st)
}

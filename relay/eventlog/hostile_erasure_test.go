package eventlog

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// versionsOf appends n versions of one address with created_at 1 to n.
func versionsOf(t *testing.T, st *Store, d string, n int) {
	t.Helper()
	var last Pending
	for i := range n {
		p, err := st.Enqueue(context.Background(), Arrival{Event: testkit.Unsigned(1, 38383, int64(i+1), "", nostr.Tag{"d", d}), ReceivedAt: st.now()})
		if err != nil {
			t.Fatal(err)
		}
		last = p
	}
	if _, _, err := last.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// recordsWalked returns the number of records that a deletion request reads.
func recordsWalked(t *testing.T, st *Store, request *nostr.Event) int {
	t.Helper()
	p, err := st.Enqueue(context.Background(), Arrival{Event: request, ReceivedAt: st.now()})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	return p.(*Enqueued).Walked
}

// A request walks the versions of an address once, even if it names the address several
// times and in several ways.
func TestDeletionWalksAnAddressOnce(t *testing.T) {
	st := mustOpenStore(t, t.TempDir(), testkit.NewClock())
	const versions = 2000
	versionsOf(t, st, "x", versions)
	key := testkit.Unsigned(1, 1, 1, "").PubKey
	var tags nostr.Tags
	for i := range 1500 {
		tags = append(tags, nostr.Tag{"a", fmt.Sprintf("%s38383:%s:x", strings.Repeat("0", i%3), key)}, nostr.Tag{"e", strings.Repeat("a", 64)})
	}
	began := time.Now()
	walked := recordsWalked(t, st, testkit.Unsigned(1, 5, 10, "", tags...)) // ten versions are erased, the others stay
	t.Logf("%d records read in %v", walked, time.Since(began))
	if walked != versions {
		t.Errorf("%d records were read for %d versions", walked, versions)
	}
	mustCheck(t, st)
}

// A request about versions that are already erased does not read these again.
func TestDeletionEndsWhereAllIsErased(t *testing.T) {
	st := mustOpenStore(t, t.TempDir(), testkit.NewClock())
	const versions = 1000
	versionsOf(t, st, "x", versions)
	address := nostr.Tag{"a", "38383:" + testkit.Unsigned(1, 1, 1, "").PubKey + ":x"}
	if n := recordsWalked(t, st, testkit.Unsigned(1, 5, versions, "", address)); n != versions {
		t.Errorf("the first request reads %d records", n)
	}
	for i := range int64(3) {
		mustAppend(t, st, testkit.Unsigned(1, 38383, versions+10+i, "", nostr.Tag{"d", "x"}))
	}
	for i, c := range []struct {
		until int64
		rows  int
	}{{5, 0}, {versions + 5, 3}, {versions + 10, 3}, {versions + 11, 2}, {versions + 100, 1}, {versions + 101, 0}} {
		if n := recordsWalked(t, st, testkit.Unsigned(1, 5, c.until, "", address)); n != c.rows {
			t.Errorf("request %d reads %d records, want %d", i, n, c.rows)
		}
	}
	if ids := queryIDs(t, st, nostr.Filter{Kinds: []int{38383}}, 10); len(ids) != 0 {
		t.Errorf("%d versions are served", len(ids))
	}
	if err := st.Read(context.Background(), 0, func(e mostro.Entry) error {
		if e.Event.Kind == 38383 {
			t.Errorf("the version of %d is readable", e.Event.CreatedAt)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	mustCheck(t, st)
}

// Deletion requests are committed together. After a crash between two parts of such a
// group every request is carried out in the end.
func TestCrashInAGroupOfDeletions(t *testing.T) {
	const requests, each = 6, 50
	parts := 100
	for crashAt := 1; crashAt <= parts; crashAt++ {
		clock, dir := testkit.NewClock(), t.TempDir()
		st, kill := openToFailACommit(t, dir, clock, crashAt)
		var arrivals []Arrival
		for r := range requests {
			request := nostr.Tags{}
			for i := range each {
				d := fmt.Sprintf("%d-%d", r, i)
				evt := testkit.Unsigned(1, 38383, int64(i+1), "", nostr.Tag{"d", d}, nostr.Tag{"s", strings.Repeat("x", 200)})
				mustAppend(t, st, evt)
				if i%2 == 0 {
					request = append(request, nostr.Tag{"e", evt.ID})
				} else {
					request = append(request, nostr.Tag{"a", "38383:" + evt.PubKey + ":" + d})
				}
			}
			arrivals = append(arrivals, Arrival{Event: testkit.Unsigned(1, 5, int64(1000+r), "", request...), ReceivedAt: st.now()})
		}
		if err := st.queue.writeKeys(context.Background()); err != nil {
			t.Fatal(err)
		}
		release := stall(t, st)
		var waiting []Pending
		kill.counting = true
		for _, a := range arrivals {
			p, err := st.Enqueue(context.Background(), a)
			if err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, p)
		}
		release()
		acknowledged := 0
		for _, p := range waiting {
			if _, _, err := p.Wait(context.Background()); err == nil {
				acknowledged++
			}
		}
		if acknowledged == requests {
			parts, kill.counting = min(parts, kill.commits), false
			mustCheck(t, st)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		st = mustOpenStore(t, dir, clock)
		logged := int(st.Head()) - requests*each - 1 // without the event of stall
		if logged < acknowledged {
			t.Errorf("crash %d: %d requests are in the log, %d were acknowledged", crashAt, logged, acknowledged)
		}
		if ids := queryIDs(t, st, nostr.Filter{Kinds: []int{38383}}, 500); len(ids) != (requests-logged)*each {
			t.Errorf("crash %d: %d events are served after %d requests", crashAt, len(ids), logged)
		}
		mustCheck(t, st)
		st.Close()
	}
	if parts < 3 || parts == 100 {
		t.Errorf("%d commits: the test does not apply", parts)
	}
}

// TestDeletionOneByOne deletes the versions of an address with one request each, from
// the oldest to the newest. Each request reads the records that it erases, and not all
// that are left.
func TestDeletionOneByOne(t *testing.T) {
	st := mustOpenStore(t, t.TempDir(), testkit.NewClock())
	const versions = 2000
	versionsOf(t, st, "x", versions)
	address := nostr.Tag{"a", "38383:" + testkit.Unsigned(1, 1, 1, "").PubKey + ":x"}
	began, walked := time.Now(), 0
	for i := range int64(versions) {
		walked += recordsWalked(t, st, testkit.Unsigned(1, 5, i+1, "", address))
	}
	t.Logf("%d records read in %v", walked, time.Since(began))
	if walked > 2*versions {
		t.Errorf("%d records were read for %d versions", walked, versions)
	}
	if n := len(st.committer.walks.by) + st.committer.walks.size; n != 0 {
		t.Error("a walk without versions is cached")
	}
	mustCheck(t, st)
}

// TestWalksAreBounded checks that at most maxWalks versions are cached, and that an
// address with more versions is not cached.
func TestWalksAreBounded(t *testing.T) {
	var w walks
	left := make([]versionLeft, maxWalks/4)
	for i := range 11 {
		w.keep(address(fmt.Sprint(i)), walk{1, left})
		w.keep(address(fmt.Sprint(i)), walk{2, left})
		sum := 0
		for _, k := range w.by {
			sum += len(k.left)
		}
		if _, ok := w.by[address(fmt.Sprint(i))]; !ok || sum != w.size || sum > maxWalks {
			t.Fatalf("walk %d is cached: %v; %d versions, counted %d", i, ok, sum, w.size)
		}
	}
	w.keep("large", walk{1, make([]versionLeft, maxWalks+1)})
	if _, ok := w.by["large"]; ok || w.size > maxWalks {
		t.Errorf("a walk of too many versions is cached: %v, %d", ok, w.size)
	}
}

// TestDeletionsOfOneAddress applies random requests, by address and by id, to random
// versions of one address, with restarts. A version must be readable exactly if no
// request names it.
func TestDeletionsOfOneAddress(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 38383))
		dir, clock := t.TempDir(), testkit.NewClock()
		st := mustOpenStore(t, dir, clock)
		key := testkit.Unsigned(1, 1, 1, "").PubKey
		readable, until, kept := map[string]int64{}, int64(-1), 0
		for round := range int64(40) {
			for range r.IntN(40) {
				evt := testkit.Unsigned(1, 38383, r.Int64N(10_000), "", nostr.Tag{"d", "x"})
				if _, held := readable[evt.ID]; held {
					continue
				}
				p, err := st.Enqueue(context.Background(), Arrival{Event: evt, ReceivedAt: st.now()})
				if err != nil {
					t.Fatal(err)
				}
				_, out, err := p.Wait(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				if int64(evt.CreatedAt) <= until && out != Deleted && out != Duplicate {
					t.Fatalf("seed %d: a version of %d is %v, deleted up to %d", seed, evt.CreatedAt, out, until)
				}
				if out == Added || out == Archived {
					readable[evt.ID] = int64(evt.CreatedAt)
				}
			}
			switch r.IntN(4) {
			case 0:
				if ids := slices.Sorted(maps.Keys(readable)); len(ids) > 0 {
					mustAppend(t, st, testkit.Unsigned(1, 5, 20_000+round, "", nostr.Tag{"e", ids[0]}))
					delete(readable, ids[0])
				}
			case 1:
				if r.IntN(3) == 0 {
					if err := st.Close(); err != nil {
						t.Fatal(err)
					}
					st = mustOpenStore(t, dir, clock)
				}
			default:
				until = max(until, 0) + r.Int64N(200)
				mustAppend(t, st, testkit.Unsigned(1, 5, until, fmt.Sprint(round), nostr.Tag{"a", "38383:" + key + ":x"}))
				maps.DeleteFunc(readable, func(_ string, at int64) bool { return at <= until })
			}
			kept += len(st.committer.walks.by)
			got := map[string]int64{}
			if err := st.Read(context.Background(), 0, func(e mostro.Entry) error {
				if e.Event.Kind == 38383 {
					got[e.Event.ID] = int64(e.Event.CreatedAt)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, readable) {
				t.Fatalf("seed %d, round %d: %d versions are read, want %d", seed, round, len(got), len(readable))
			}
		}
		if kept == 0 {
			t.Errorf("seed %d: no walk was cached", seed)
		}
		mustCheck(t, st)
	}
}

package eventlog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

func mustOpenStore(tb testing.TB, dir string, clock *testkit.Clock) *Store {
	tb.Helper()
	st, err := Open(Config{Dir: dir, Now: clock.Now, BodyCache: 1 << 16})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { st.Close() })
	return st
}

func mustCheck(tb testing.TB, st *Store) CheckReport {
	tb.Helper()
	r, err := st.Check(context.Background(), false, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range r.Problems {
		tb.Errorf("check: %s", p)
	}
	return r
}

func mustAppend(tb testing.TB, st *Store, evt *nostr.Event) Outcome {
	tb.Helper()
	_, out, err := st.Append(context.Background(), Arrival{Event: evt, ReceivedAt: st.now(), Source: mostro.Source{Origin: mostro.OriginClient}})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func queryIDs(tb testing.TB, st *Store, f nostr.Filter, limit int) []string {
	tb.Helper()
	found, err := st.Query(context.Background(), nil, f, limit, 0)
	if err != nil {
		tb.Fatal(err)
	}
	ids := make([]string, len(found))
	for i, f := range found {
		evt, err := ParseBody(f.JSON)
		if err != nil {
			tb.Fatal(err)
		}
		ids[i] = evt.ID
	}
	return ids
}

// oracle is the simplest implementation of NIP-01, NIP-09 and NIP-40: a list of all
// events in order of arrival, read from the beginning for every question.
type oracle struct {
	arrivals []*nostr.Event
	requests []*nostr.Event // deletion requests, in order
}

func (o *oracle) expired(evt *nostr.Event, now int64) bool {
	at := expirationOf(evt)
	return at > 0 && at <= now
}

// append returns the outcome that the store must return.
func (o *oracle) append(evt *nostr.Event, now int64) Outcome {
	for _, have := range o.arrivals {
		if have.ID == evt.ID {
			return Duplicate
		}
	}
	if evt.Kind != 5 && o.deleted(evt) {
		return Deleted
	}
	out := Added
	if o.expired(evt, now) {
		out = Archived
	}
	for _, have := range o.arrivals {
		if sameAddress(have, evt) && olderThan(evt, have) {
			out = Archived
		}
	}
	o.arrivals = append(o.arrivals, evt)
	if evt.Kind == 5 && out == Added {
		o.requests = append(o.requests, evt)
	}
	return out
}

func sameAddress(a, b *nostr.Event) bool {
	if a.Kind != b.Kind || a.PubKey != b.PubKey {
		return false
	}
	return nostr.IsReplaceableKind(a.Kind) || nostr.IsAddressableKind(a.Kind) && firstD(a.Tags) == firstD(b.Tags)
}

func olderThan(a, b *nostr.Event) bool {
	return a.CreatedAt < b.CreatedAt || a.CreatedAt == b.CreatedAt && a.ID > b.ID
}

func (o *oracle) deleted(evt *nostr.Event) bool {
	for _, r := range o.requests {
		if r.PubKey != evt.PubKey || evt.Kind == 5 {
			continue
		}
		for _, t := range r.Tags {
			if len(t) < 2 {
				continue
			}
			if t[0] == "e" && t[1] == evt.ID {
				return true
			}
			if t[0] == "a" && evt.CreatedAt <= r.CreatedAt && (nostr.IsReplaceableKind(evt.Kind) && strings.HasPrefix(t[1], fmt.Sprintf("%d:%s:", evt.Kind, evt.PubKey)) ||
				nostr.IsAddressableKind(evt.Kind) && t[1] == fmt.Sprintf("%d:%s:%s", evt.Kind, evt.PubKey, firstD(evt.Tags))) {
				return true
			}
		}
	}
	return false
}

// live returns the events that are served at now, newest first, then lowest id.
func (o *oracle) live(now int64) []*nostr.Event {
	var out []*nostr.Event
	for _, evt := range o.arrivals {
		newest := true
		for _, other := range o.arrivals {
			if other != evt && sameAddress(evt, other) && olderThan(evt, other) {
				newest = false
			}
		}
		if newest && !o.deleted(evt) && !o.expired(evt, now) {
			out = append(out, evt)
		}
	}
	slices.SortFunc(out, func(a, b *nostr.Event) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func (o *oracle) query(f nostr.Filter, limit int, now int64) []string {
	ids := []string{}
	for _, evt := range o.live(now) {
		if f.Matches(evt) && len(ids) < limit {
			ids = append(ids, evt.ID)
		}
	}
	return ids
}

// world makes random events and filters that often collide.
type world struct {
	*rand.Rand
	base  int64
	known []*nostr.Event
}

func (w *world) pick(values ...string) string { return values[w.IntN(len(values))] }

func (w *world) event() *nostr.Event {
	kinds := []int{1, 1059, 0, 10002, 38383, 38383, 38383, 38383, 38386, 30078, 5}
	kind := kinds[w.IntN(len(kinds))]
	at := w.base + int64(w.IntN(40))
	author := byte(1 + w.IntN(3))
	var tags nostr.Tags
	if kind == 5 {
		for range 1 + w.IntN(2) {
			if len(w.known) == 0 {
				break
			}
			target := w.known[w.IntN(len(w.known))]
			if w.IntN(2) == 0 {
				tags = append(tags, nostr.Tag{"e", target.ID})
			} else {
				tags = append(tags, nostr.Tag{"a", fmt.Sprintf("%d:%s:%s", target.Kind, target.PubKey, firstD(target.Tags))})
			}
		}
		return testkit.Unsigned(author, 5, at, "", tags...)
	}
	if nostr.IsAddressableKind(kind) && w.IntN(8) > 0 {
		tags = append(tags, nostr.Tag{"d", w.pick("a", "ab", "abc", "", strings.Repeat("long", 200))})
	}
	for range w.IntN(6) {
		tags = append(tags, nostr.Tag{w.pick("s", "f", "k", "p", "y", "z", "d", "multi"), w.pick("pending", "success", "EUR", "ARS", "buy", "sell", "")})
	}
	if w.IntN(4) == 0 {
		tags = append(tags, nostr.Tag{"expiration", strconv.FormatInt(w.base+int64(w.IntN(80))-20, 10)})
	}
	if w.IntN(10) == 0 {
		tags = append(tags, nostr.Tag{"x"})
	}
	return testkit.Unsigned(author, kind, at, w.pick("", "x", "\x01\"\\\n<é>"), tags...)
}

func (w *world) filter() nostr.Filter {
	f := nostr.Filter{}
	if w.IntN(12) == 0 && len(w.known) > 0 {
		for range 1 + w.IntN(4) {
			f.IDs = append(f.IDs, w.known[w.IntN(len(w.known))].ID)
		}
	}
	if w.IntN(2) == 0 {
		for range w.IntN(4) {
			f.Kinds = append(f.Kinds, []int{1, 0, 38383, 38386, 5, 1059, 4242}[w.IntN(7)])
		}
	}
	if w.IntN(2) == 0 {
		for range 1 + w.IntN(3) {
			f.Authors = append(f.Authors, strings.Repeat(fmt.Sprintf("%02x", 1+w.IntN(4)), 32))
		}
	}
	for range w.IntN(4) {
		if f.Tags == nil {
			f.Tags = nostr.TagMap{}
		}
		name := w.pick("s", "s", "f", "f", "k", "p", "y", "d")
		var values []string
		for range 1 + w.IntN(3) {
			values = append(values, w.pick("pending", "success", "EUR", "ARS", "buy", "", "a", "ab", "nowhere"))
		}
		f.Tags[name] = values
	}
	if w.IntN(3) == 0 {
		t := nostr.Timestamp(w.base + int64(w.IntN(40)))
		f.Since = &t
	}
	if w.IntN(3) == 0 {
		t := nostr.Timestamp(w.base + int64(w.IntN(40)))
		f.Until = &t
	}
	return f
}

// crash closes a store and leaves the files of a killed process: the log, and the
// derived keys that were committed.
func crash(t *testing.T, st *Store) {
	t.Helper()
	st.failure.fail(errors.New("killed by the test"))
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStoreEqualsOracle(t *testing.T) {
	rounds, steps := 12, 250
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		seed := uint64(round) + 1
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			clock := testkit.NewClock()
			w := &world{Rand: rand.New(rand.NewPCG(seed, 7)), base: clock.Now().Unix()}
			dir := t.TempDir()
			bulk := false
			open := func() *Store { // small log files and late flushes
				st, err := Open(Config{Dir: dir, Now: clock.Now, Bulk: bulk, BodyCache: 1 << 16, logFileBytes: 16 << 10, flushAfter: time.Hour, walkedAtOnce: int(seed)})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { st.Close() })
				return st
			}
			st := open()
			o := &oracle{}
			for step := range steps {
				switch w.IntN(30) {
				case 0: // restart
					mustCheck(t, st)
					if err := st.Close(); err != nil {
						t.Fatal(err)
					}
					st = open()
				case 3: // crash
					crash(t, st)
					bulk = false
					st = open()
				case 4: // an import, until the next restart
					if err := st.Close(); err != nil {
						t.Fatal(err)
					}
					bulk = !bulk
					st = open()
				case 1:
					clock.Advance(time.Duration(w.IntN(4)) * time.Second)
				case 2: // the ticker's work, now
					st.live.Expire(clock.Now().Unix())
					st.sweep <- struct{}{}
				}
				evt := w.event()
				if len(w.known) > 0 && w.IntN(10) == 0 {
					evt = w.known[w.IntN(len(w.known))]
				}
				w.known = append(w.known, evt)
				want := o.append(evt, clock.Now().Unix())
				if got := mustAppend(t, st, evt); got != want {
					t.Fatalf("step %d: appending %s returns %s, want %s", step, evt, got, want)
				}
				if bulk {
					if _, err := st.Query(context.Background(), nil, nostr.Filter{}, 10, 0); !errors.Is(err, ErrBulk) {
						t.Fatalf("step %d: a query is answered with %v, want ErrBulk", step, err)
					}
					var last string
					if err := st.Read(context.Background(), st.Head()-1, func(e mostro.Entry) error { last = e.Event.ID; return nil }); err != nil {
						t.Fatal(err)
					}
					if want == Added && last != evt.ID {
						t.Fatalf("step %d: the log ends with %q, want %q", step, last, evt.ID)
					}
					continue
				}
				for range 3 {
					f, limit := w.filter(), 1+w.IntN(20)
					now := clock.Now().Unix()
					if got, want := queryIDs(t, st, f, limit), o.query(f, limit, now); !slices.Equal(got, want) {
						t.Fatalf("step %d: %s limit %d\n got %v\nwant %v", step, f, limit, got, want)
					}
					fs := nostr.Filters{f}
					if w.IntN(3) == 0 {
						fs = append(fs, w.filter())
					}
					got, err := st.Count(context.Background(), fs)
					if err != nil {
						t.Fatal(err)
					}
					n := 0
					for _, evt := range o.live(now) {
						if fs.Match(evt) {
							n++
						}
					}
					if got != n {
						t.Fatalf("step %d: COUNT %s = %d, want %d", step, fs, got, n)
					}
				}
			}
			mustCheck(t, st)
		})
	}
}

func TestQueryUpTo(t *testing.T) {
	st := mustOpenStore(t, t.TempDir(), testkit.NewClock())
	for i := range 10 {
		mustAppend(t, st, testkit.Unsigned(1, 1, 100+int64(i), ""))
	}
	found, err := st.Query(context.Background(), nil, nostr.Filter{}, 3, 5)
	if err != nil {
		t.Fatal(err)
	}
	var seqs []uint64
	for _, f := range found {
		seqs = append(seqs, f.Seq)
	}
	if !slices.Equal(seqs, []uint64{5, 4, 3}) {
		t.Errorf("got %v, want 5 4 3", seqs)
	}
	if _, err := st.Query(context.Background(), nil, nostr.Filter{Tags: nostr.TagMap{"title": {"x"}}}, 3, 0); !errors.Is(err, ErrFilter) {
		t.Errorf("a filter on a long tag name: %v, want ErrFilter", err)
	}
}

func TestReadGivesWhatWasAppended(t *testing.T) {
	clock := testkit.NewClock()
	dir := t.TempDir()
	st := mustOpenStore(t, dir, clock)
	var want []string
	for i := range ringSize + 700 {
		evt := testkit.Unsigned(byte(1+i%5), 1, int64(i), strconv.Itoa(i))
		p, err := st.Enqueue(context.Background(), Arrival{Event: evt, ReceivedAt: clock.Now(), Source: mostro.Source{Origin: mostro.OriginLive, Relay: "wss://r"}})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, evt.ID)
		if i == ringSize+699 {
			if _, _, err := p.Wait(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	read := func(st *Store, after uint64) (ids []string) {
		err := st.ReadRaw(context.Background(), after, func(e mostro.Entry, body []byte) error {
			if e.Seq != after+uint64(len(ids))+1 {
				t.Fatalf("seq %d follows %d", e.Seq, after+uint64(len(ids)))
			}
			if !bytes.Equal(body, mostro.EncodeEvent(e.Event)) {
				t.Fatalf("payload %s belongs to another event", body)
			}
			if e.Source.Relay != "wss://r" || !e.ReceivedAt.Equal(clock.Now()) {
				t.Fatalf("entry %+v", e)
			}
			ids = append(ids, e.Event.ID)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	for _, after := range []uint64{0, 1, 600, 700, 701, ringSize, ringSize + 699, ringSize + 700} {
		if got := read(st, after); !slices.Equal(got, want[after:]) {
			t.Errorf("after %d: %d entries, want %d", after, len(got), len(want)-int(after))
		}
	}
	st.Close()
	st = mustOpenStore(t, dir, clock)
	if got := read(st, 0); !slices.Equal(got, want) {
		t.Errorf("after a restart: %d entries, want %d", len(got), len(want))
	}
}

func TestMailIsUnreadableAtExpiry(t *testing.T) {
	clock := testkit.NewClock()
	st := mustOpenStore(t, t.TempDir(), clock)
	now := clock.Now().Unix()
	named := testkit.Unsigned(1, 1059, now, "secret", nostr.Tag{"p", "x"}, nostr.Tag{"expiration", strconv.FormatInt(now+60, 10)})
	unnamed := testkit.Unsigned(1, 14, now, "secret")
	mustAppend(t, st, named)
	mustAppend(t, st, unnamed)
	readable := func() (ids []string) {
		st.Read(context.Background(), 0, func(e mostro.Entry) error { ids = append(ids, e.Event.ID); return nil })
		return ids
	}
	if got := readable(); len(got) != 2 {
		t.Fatalf("%d readable, want 2", len(got))
	}
	clock.Advance(60 * time.Second)
	if _, err := st.Find(context.Background(), named.ID); !errors.Is(err, mostro.ErrNotFound) {
		t.Errorf("expired mail: %v, want ErrNotFound", err)
	}
	st.live.Expire(clock.Now().Unix())
	st.sweep <- struct{}{}
	mustAppend(t, st, testkit.Unsigned(2, 1, now, "")) // returns after the sweep
	if got := readable(); len(got) != 2 || got[0] != unnamed.ID {
		t.Errorf("readable %v, want the mail without expiration and the note", got)
	}
	clock.Advance(MailLifetime)
	if ids := queryIDs(t, st, nostr.Filter{Kinds: []int{14}}, 10); len(ids) != 0 {
		t.Errorf("mail is served after %s", MailLifetime)
	}
	if out := mustAppend(t, st, named); out != Duplicate {
		t.Errorf("expired mail again: %s, want duplicate", out)
	}
	mustCheck(t, st)
}

func TestDeletionErasesEveryVersion(t *testing.T) {
	clock := testkit.NewClock()
	st := mustOpenStore(t, t.TempDir(), clock)
	var versions []*nostr.Event
	for i := range 5 {
		versions = append(versions, testkit.Unsigned(1, 38383, 100+int64(i), "", nostr.Tag{"d", "x"}))
	}
	for _, i := range []int{1, 0, 3, 2, 4} {
		mustAppend(t, st, versions[i])
	}
	mustAppend(t, st, testkit.Unsigned(2, 5, 103, "", nostr.Tag{"a", "38383:" + versions[0].PubKey + ":x"})) // not the author
	if ids := queryIDs(t, st, nostr.Filter{Kinds: []int{38383}}, 10); len(ids) != 1 {
		t.Fatal("another author deleted the order")
	}
	mustAppend(t, st, testkit.Unsigned(1, 5, 103, "", nostr.Tag{"a", "38383:" + versions[0].PubKey + ":x"}))
	for i, v := range versions {
		_, err := st.Find(context.Background(), v.ID)
		if gone := errors.Is(err, mostro.ErrNotFound); gone != (i < 4) {
			t.Errorf("version %d: %v", i, err)
		}
	}
	if err := st.Read(context.Background(), 0, func(e mostro.Entry) error {
		if e.Event.Kind == 38383 && e.Event.ID != versions[4].ID {
			t.Errorf("the version of %d is readable", e.Event.CreatedAt)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if ids := queryIDs(t, st, nostr.Filter{Kinds: []int{38383}}, 10); !slices.Equal(ids, []string{versions[4].ID}) {
		t.Errorf("served %v, want the version after the deletion", ids)
	}
	mustCheck(t, st)
}

func TestOpenRefuses(t *testing.T) {
	t.Run("LockedDirectory", func(t *testing.T) {
		dir := t.TempDir()
		mustOpenStore(t, dir, testkit.NewClock())
		if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrLocked) {
			t.Errorf("%v, want ErrLocked", err)
		}
	})
	t.Run("NewerSchema", func(t *testing.T) {
		dir := t.TempDir()
		st := mustOpenStore(t, dir, testkit.NewClock())
		txn := st.keys.db.NewTransaction(true)
		if err := errors.Join(txn.Set(keySchema, []byte{0, 0, 0, schemaVersion + 1}), txn.Commit(), st.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrNewerSchema) {
			t.Errorf("%v, want ErrNewerSchema", err)
		}
	})
	t.Run("ReadOnlyDirectory", func(t *testing.T) {
		if os.Getuid() == 0 {
			t.Skip("root may write anywhere")
		}
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o500); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Config{Dir: filepath.Join(dir, "sub")}); !errors.Is(err, ErrReadOnly) {
			t.Errorf("%v, want ErrReadOnly", err)
		}
	})
}

func TestCloseWhileAppending(t *testing.T) {
	st := mustOpenStore(t, t.TempDir(), testkit.NewClock())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 10_000 {
				_, _, err := st.Append(context.Background(), Arrival{Event: testkit.Unsigned(byte(w+1), 1, int64(i), ""), ReceivedAt: st.now()})
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for st.Head() < 50 {
		if err := st.Wait(context.Background(), st.Head()); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := st.Wait(context.Background(), st.Head()); !errors.Is(err, ErrClosed) {
		t.Errorf("Wait after Close: %v, want ErrClosed", err)
	}
}

func TestBodiesAreWarmAfterOpening(t *testing.T) {
	clock := testkit.NewClock()
	dir := t.TempDir()
	st := mustOpenStore(t, dir, clock)
	for i := range 200 { // more than the 64 KiB that tests allow
		mustAppend(t, st, testkit.Unsigned(1, 1, int64(i), strings.Repeat("x", 800)))
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = mustOpenStore(t, dir, clock)
	testkit.Eventually(t, "the newest payloads are in memory", func() bool {
		newest, err := st.live.Newest()
		if err != nil || len(newest) < 50 {
			t.Fatal(len(newest), err)
		}
		_, missing := st.live.WithoutBody(newest[:50])
		return len(missing) == 0
	})
	check := func() {
		t.Helper()
		if _, bodies := st.live.Bytes(); bodies > 64<<10 {
			t.Errorf("%d bytes of payloads in memory exceed the budget", bodies)
		}
	}
	check()
	queryIDs(t, st, nostr.Filter{Until: new(nostr.Timestamp(20))}, 5)
	check()
}

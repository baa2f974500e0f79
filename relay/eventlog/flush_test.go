package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// openToKill opens a store that dies between a commit and its scrubs once killed is
// set.
func openToKill(t *testing.T, dir string, clock *testkit.Clock, killed *bool) *Store {
	t.Helper()
	st, err := Open(Config{Dir: dir, Now: clock.Now, flushAfter: time.Hour, committed: func() error {
		if *killed {
			return errors.New("killed by the test")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestErasingIsFinished crashes between the commit of a scrub request and the scrub.
// Open must finish the scrub, for a deleted event and for expired mail.
func TestErasingIsFinished(t *testing.T) {
	for name, erase := range map[string]func(st *Store, clock *testkit.Clock, id string){
		"Deleted": func(st *Store, _ *testkit.Clock, id string) {
			st.Append(context.Background(), Arrival{Event: testkit.Unsigned(1, 5, 2, "", nostr.Tag{"e", id}), ReceivedAt: st.now()})
		},
		"Expired": func(st *Store, clock *testkit.Clock, _ string) {
			clock.Advance(MailLifetime + time.Second)
			st.live.Expire(clock.Now().Unix())
			st.sweep <- struct{}{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock, dir := testkit.NewClock(), t.TempDir()
			killed := false
			st := openToKill(t, dir, clock, &killed)
			secret := testkit.Unsigned(1, mostro.KindGiftWrap, clock.Now().Unix(), "a secret that nobody is to read again")
			mustAppend(t, st, secret)
			if err := st.queue.writeKeys(context.Background()); err != nil {
				t.Fatal(err)
			}
			killed = true
			erase(st, clock, secret.ID)
			<-st.Dead()
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "events", "log", fmt.Sprintf("%020d.log", 1))
			if b, err := os.ReadFile(path); err != nil || !bytes.Contains(b, []byte("a secret")) {
				t.Fatalf("the payload was erased before the crash: the test does not apply; %v", err)
			}
			st = mustOpenStore(t, dir, clock)
			if _, err := st.Find(context.Background(), secret.ID); !errors.Is(err, mostro.ErrNotFound) {
				t.Errorf("Find: %v", err)
			}
			if out := mustAppend(t, st, secret); out != Duplicate {
				t.Errorf("the outcome of the event sent again is %s", out)
			}
			mustCheck(t, st)
			if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, []byte("a secret")) {
				t.Errorf("the payload is still in the file; %v", err)
			}
		})
	}
}

// commitFailure lets one commit of the derived keys fail, as a crash would.
type commitFailure struct {
	counting bool // commits are counted only while counting is set
	commits  int
}

// openToFailACommit opens a store whose commit number failing, while it counts, fails.
func openToFailACommit(t *testing.T, dir string, clock *testkit.Clock, failing int) (*Store, *commitFailure) {
	t.Helper()
	f := new(commitFailure)
	st, err := Open(Config{Dir: dir, Now: clock.Now, BodyCache: -1, logFileBytes: 64 << 10, flushAfter: time.Hour, committed: func() error {
		if f.counting {
			if f.commits++; f.commits == failing {
				return errors.New("killed by the test")
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	st.keys.room = 50_000 // the committer is idle
	return st, f
}

// TestManyErasures sends one request that erases more than one transaction holds, with
// a crash after each part.
func TestManyErasures(t *testing.T) {
	const n = 300
	parts := n // until one crash comes after the last commit
	for crashAt := 1; crashAt <= parts; crashAt++ {
		clock, dir := testkit.NewClock(), t.TempDir()
		st, kill := openToFailACommit(t, dir, clock, crashAt)
		request := nostr.Tags{}
		for i := range n {
			evt := testkit.Unsigned(1, 38383, int64(i+1), "", nostr.Tag{"d", fmt.Sprint(i)}, nostr.Tag{"s", strings.Repeat("x", 200)})
			mustAppend(t, st, evt)
			request = append(request, nostr.Tag{"e", evt.ID})
			if i == n-10 { // the derived keys of the last versions are not committed when the request comes
				if err := st.queue.writeKeys(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		}
		mustAppend(t, st, testkit.Unsigned(2, 1, 1, "somebody else's"))
		kill.counting = true
		_, _, err := st.Append(context.Background(), Arrival{Event: testkit.Unsigned(1, 5, 1000, "", request...), ReceivedAt: st.now()})
		if (err == nil) != (kill.commits < crashAt) {
			t.Fatalf("crash %d: %v after %d commits", crashAt, err, kill.commits)
		}
		if err == nil {
			parts, kill.counting = kill.commits, false
			mustCheck(t, st)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		st = mustOpenStore(t, dir, clock)
		want := 2 // the request and an event of another author
		if st.Head() == n+1 {
			want = n + 1 // the request was not logged
		}
		if ids := queryIDs(t, st, nostr.Filter{}, 500); len(ids) != want {
			t.Errorf("crash %d: %d events are served, want %d", crashAt, len(ids), want)
		}
		mustCheck(t, st)
		st.Close()
	}
	if parts < 3 || parts == n {
		t.Errorf("%d commits: the test does not apply", parts)
	}
}

// TestLogWithoutIndex checks that the derived keys can be rebuilt from the log alone.
func TestLogWithoutIndex(t *testing.T) {
	clock, dir := testkit.NewClock(), t.TempDir()
	w := &world{Rand: rand.New(rand.NewPCG(9, 9)), base: clock.Now().Unix()}
	st := mustOpenStore(t, dir, clock)
	for range 400 {
		evt := w.event()
		w.known = append(w.known, evt)
		if evt.Kind != mostro.KindDeletion { // erased records cannot be replayed: their tags are lost
			mustAppend(t, st, evt)
		}
	}
	want := queryIDs(t, st, nostr.Filter{}, 1000)
	head := st.Head()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	fresh := t.TempDir()
	if err := os.CopyFS(filepath.Join(fresh, "events", "log"), os.DirFS(filepath.Join(dir, "events", "log"))); err != nil {
		t.Fatal(err)
	}
	st = mustOpenStore(t, fresh, clock)
	if got := queryIDs(t, st, nostr.Filter{}, 1000); !slices.Equal(got, want) || st.Head() != head || len(want) < 20 {
		t.Errorf("%d events are served up to %d, want %d up to %d", len(got), st.Head(), len(want), head)
	}
	mustCheck(t, st)
}

// TestErasedLogWithoutIndex checks that a log with erased payloads is not replayed, and
// that an erased payload is not taken for a torn end of the log.
func TestErasedLogWithoutIndex(t *testing.T) {
	clock, dir := testkit.NewClock(), t.TempDir()
	st := mustOpenStore(t, dir, clock)
	evt := testkit.Unsigned(1, 1, 1, "x")
	mustAppend(t, st, evt)
	mustAppend(t, st, testkit.Unsigned(1, 5, 2, "", nostr.Tag{"e", evt.ID}))
	for i := range 10 {
		mustAppend(t, st, testkit.Unsigned(2, 1, int64(i), ""))
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("events", "log", fmt.Sprintf("%020d.log", 1))
	want, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		t.Fatal(err)
	}
	fresh := t.TempDir()
	if err := os.CopyFS(filepath.Join(fresh, "events", "log"), os.DirFS(filepath.Join(dir, "events", "log"))); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: fresh, Now: clock.Now}); !errors.Is(err, ErrDamaged) {
		t.Errorf("Open: %v, want ErrDamaged", err)
	}
	if got, err := os.ReadFile(filepath.Join(fresh, path)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the log has changed: %d bytes, %d before, %v", len(got), len(want), err)
	}
}

// TestReplayDecidesAsBefore checks that the replay does not serve or carry out an event
// that had expired at its arrival, whatever the clock says, and that the replay queues
// events for forwarding.
func TestReplayDecidesAsBefore(t *testing.T) {
	clock, dir, ctx := testkit.NewClock(), t.TempDir(), context.Background()
	st := mustOpenStore(t, dir, clock)
	over := nostr.Tag{"expiration", fmt.Sprint(clock.Now().Unix() - 60)}
	note := testkit.Unsigned(1, 1, 1, "")
	mustAppend(t, st, note)
	for _, evt := range []*nostr.Event{testkit.Unsigned(1, 5, 2, "", nostr.Tag{"e", note.ID}, over), testkit.Unsigned(1, 1, 3, "", over),
		testkit.Unsigned(1, 38383, 4, "", nostr.Tag{"d", "x"}, over), testkit.Unsigned(1, mostro.KindGiftWrap, 5, "", over)} {
		if out := mustAppend(t, st, evt); out != Archived {
			t.Fatalf("kind %d: %s", evt.Kind, out)
		}
	}
	if _, _, err := st.Append(ctx, Arrival{Event: testkit.Unsigned(2, 1, 6, ""), ReceivedAt: st.now(), Forward: true}); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	fresh := t.TempDir()
	if err := os.CopyFS(filepath.Join(fresh, "events", "log"), os.DirFS(filepath.Join(dir, "events", "log"))); err != nil {
		t.Fatal(err)
	}
	clock.Advance(-time.Hour)
	st = mustOpenStore(t, fresh, clock)
	if _, err := st.Find(ctx, note.ID); err != nil {
		t.Errorf("an expired request was carried out: %v", err)
	}
	if ids := queryIDs(t, st, nostr.Filter{}, 10); len(ids) != 2 {
		t.Errorf("%d events are served, want the note and the last event", len(ids))
	}
	if seqs, err := st.ForwardQueue(0, 10); err != nil || !slices.Equal(seqs, []uint64{6}) {
		t.Errorf("queue %v, %v", seqs, err)
	}
}

// TestSchema1 migrates a store of schema 1, once without and once with a crash in the
// middle.
func TestSchema1(t *testing.T) {
	for _, crashed := range []bool{false, true} {
		clock, dir := testkit.NewClock(), t.TempDir()
		w := &world{Rand: rand.New(rand.NewPCG(11, 11)), base: clock.Now().Unix()}
		st := mustOpenStore(t, dir, clock)
		for range 300 {
			evt := w.event()
			w.known = append(w.known, evt)
			mustAppend(t, st, evt)
		}
		want := queryIDs(t, st, nostr.Filter{}, 1000)
		var rows []keyWrite
		err := st.log.Each(0, st.Head(), func(seq uint64, r recordlog.Record, body []byte, err error) error {
			rows = append(rows, keyWrite{seqKey(spaceLogV1, seq), recordlog.AppendRecord(nil, r, body)[16:]})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := openBadger(filepath.Join(dir, "events"), false)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(txn *badger.Txn) error {
			for _, r := range rows {
				if err := txn.Set(r.key, r.value); err != nil {
					return err
				}
			}
			return errors.Join(txn.Delete(keyApplied), txn.Set(keySchema, []byte{0, 0, 0, 1}))
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		if !crashed { // else an unfinished log is in the way
			if err := os.RemoveAll(filepath.Join(dir, "events", "log")); err != nil {
				t.Fatal(err)
			}
		}
		st = mustOpenStore(t, dir, clock)
		if got := queryIDs(t, st, nostr.Filter{}, 1000); !slices.Equal(got, want) || len(want) < 20 {
			t.Errorf("%d events are served, want %d", len(got), len(want))
		}
		mustCheck(t, st)
		left := 0
		if err := st.keys.each([]byte{spaceLogV1}, []byte{spaceLogV1}, func(_, _ []byte) bool { left++; return true }); err != nil || left > 0 {
			t.Errorf("%d records of schema 1 are left, %v", left, err)
		}
	}
}

// TestCrashAfterACompaction checks that Open ignores the erased bytes that Badger has
// recorded from before a compaction.
func TestCrashAfterACompaction(t *testing.T) {
	clock, dir := testkit.NewClock(), t.TempDir()
	open := func() *Store {
		st, err := Open(Config{Dir: dir, Now: clock.Now, logFileBytes: 32 << 10, flushAfter: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	}
	st := open()
	var ids []string
	for i := range 60 {
		evt := testkit.Unsigned(1, 1, int64(i), strings.Repeat("x", 900))
		mustAppend(t, st, evt)
		ids = append(ids, evt.ID)
	}
	remove := func(at int64, ids []string) {
		t.Helper()
		request := nostr.Tags{}
		for _, id := range ids {
			request = append(request, nostr.Tag{"e", id})
		}
		mustAppend(t, st, testkit.Unsigned(1, 5, at, "", request...))
	}
	n := st.log.Sizes()[0].Records
	if n > 50 {
		t.Fatal("one file: the test does not apply")
	}
	remove(1000, ids[:n*4/10])
	if err := st.queue.writeKeys(context.Background()); err != nil { // commits the erased bytes
		t.Fatal(err)
	}
	before := st.log.Sizes()[0].Bytes
	remove(1001, ids[n*4/10:n-1])
	if st.log.Sizes()[0].Bytes > before*3/10 {
		t.Fatalf("%d bytes of %d are left: the file was not compacted", st.log.Sizes()[0].Bytes, before)
	}
	crash(t, st)
	st = open()
	mustCheck(t, st)
	remove(1002, ids[n-1:n])
	mustCheck(t, st)
	crash(t, st)
	st = open()
	mustCheck(t, st)
	if got := queryIDs(t, st, nostr.Filter{Kinds: []int{1}}, 100); len(got) != 60-n {
		t.Errorf("%d events are served, want %d", len(got), 60-n)
	}
}

// TestErasedIsCounted checks that the erased bytes of a file survive a restart and a
// crash after a deletion.
func TestErasedIsCounted(t *testing.T) {
	for _, how := range []string{"closed", "killed", "killed before it is erased"} {
		clock, dir := testkit.NewClock(), t.TempDir()
		killed := false
		st := openToKill(t, dir, clock, &killed)
		evt := testkit.Unsigned(1, 1, 1, strings.Repeat("x", 900))
		mustAppend(t, st, evt)
		if err := st.queue.writeKeys(context.Background()); err != nil {
			t.Fatal(err)
		}
		killed = how == "killed before it is erased"
		_, _, err := st.Append(context.Background(), Arrival{Event: testkit.Unsigned(1, 5, 2, "", nostr.Tag{"e", evt.ID}), ReceivedAt: st.now()})
		if (err != nil) != killed {
			t.Fatal(err)
		}
		if how == "closed" {
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			crash(t, st)
		}
		for range 2 {
			st = mustOpenStore(t, dir, clock)
			if got := st.log.Sizes()[0].ErasedBytes; got != int64(len(mostro.EncodeEvent(evt))) {
				t.Errorf("%s: %d erased bytes are recorded, want %d", how, got, len(mostro.EncodeEvent(evt)))
			}
			mustCheck(t, st)
			st.Close()
		}
	}
}

// TestHeldBeforeItIsFollowed checks that an acknowledged event is found at once, in the
// live index or not, while Badger does not know the event yet.
func TestHeldBeforeItIsFollowed(t *testing.T) {
	clock, ctx := testkit.NewClock(), context.Background()
	st, err := Open(Config{Dir: t.TempDir(), Now: clock.Now, flushAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	older := testkit.Unsigned(1, 38383, 1, "older", nostr.Tag{"d", "x"})
	see := func(when string) {
		t.Helper()
		if held, err := st.Has(ctx, older.ID); err != nil || !held {
			t.Errorf("%s: held %v, %v", when, held, err)
		}
		if f, err := st.Find(ctx, older.ID); err != nil || !bytes.Equal(f.JSON, mostro.EncodeEvent(older)) {
			t.Errorf("%s: found %q, %v", when, f.JSON, err)
		}
	}
	mustAppend(t, st, testkit.Unsigned(1, 38383, 2, "", nostr.Tag{"d", "x"}))
	if out := mustAppend(t, st, older); out != Archived {
		t.Fatal(out)
	}
	see("before")
	if err := st.queue.writeKeys(ctx); err != nil {
		t.Fatal(err)
	}
	see("behind")
}

// TestFoundByIDIsReadOnce checks that a hit that Find made takes its payload from memory.
// A text search makes all its hits in this way.
func TestFoundByIDIsReadOnce(t *testing.T) {
	st := mustOpenStore(t, t.TempDir(), testkit.NewClock())
	defer st.Close()
	old := testkit.Unsigned(1, 38383, 1, "old", nostr.Tag{"d", "x"})
	live := testkit.Unsigned(1, 38383, 2, "live", nostr.Tag{"d", "x"})
	mustAppend(t, st, old)
	mustAppend(t, st, live)
	for evt, reads := range map[*nostr.Event]int{live: 0, old: 1} {
		f, err := st.Find(context.Background(), evt.ID)
		if err != nil {
			t.Fatal(err)
		}
		_, _, missing := st.live.Bodies(nil, []Hit{{Seq: f.Seq, Entry: f.Entry}}, st.log.RecordBytes)
		if len(missing) != reads {
			t.Errorf("%s: %d payloads are read from disk again, want %d", evt.Content, len(missing), reads)
		}
	}
}

// TestDamagedBodyIsNotServed checks that a payload that the disk has changed is not
// served.
func TestDamagedBodyIsNotServed(t *testing.T) {
	clock, dir := testkit.NewClock(), t.TempDir()
	st := mustOpenStore(t, dir, clock)
	evt := testkit.Unsigned(1, 1, 1, "as it was written")
	mustAppend(t, st, evt)
	mustAppend(t, st, testkit.Unsigned(1, 1, 2, ""))
	if err := st.Close(); err != nil { // else the payload is in memory
		t.Fatal(err)
	}
	st, err := Open(Config{Dir: dir, Now: clock.Now, BodyCache: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	damageRecord(st, 1, -150) // a digit of the signature
	ctx := context.Background()
	if f, err := st.Find(ctx, evt.ID); !IsDamage(err) || !errors.Is(err, mostro.ErrNotFound) {
		t.Errorf("Find: %s, %v", f.JSON, err)
	}
	if found, err := st.Query(ctx, nil, nostr.Filter{}, 10, 0); len(found) != 1 || err != nil {
		t.Errorf("Query: %d events, %v", len(found), err)
	}
	read := 0
	if err := st.Read(ctx, 0, func(mostro.Entry) error { read++; return nil }); read != 1 || err != nil {
		t.Errorf("Read: %d events, %v", read, err)
	}
	if n, err := st.Export(ctx, io.Discard, ExportFilter{}); n != 1 || err == nil {
		t.Errorf("Export: %d events, %v", n, err)
	}
	if n := testutil.ToFloat64(st.metrics.damaged); n != 1 {
		t.Errorf("%v damaged entries are counted", n)
	}
}

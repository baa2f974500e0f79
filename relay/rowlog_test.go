package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// testRow is a row and a body of n bytes.
func testRow(seq uint64, n int) (row, []byte) {
	r := row{receivedAt: 1, kind: 1, createdAt: int64(seq), source: mostro.Source{Road: mostro.RoadImport, Relay: "wss://relay.example"}}
	binary.BigEndian.PutUint64(r.id[:], seq)
	return r, bytes.Repeat([]byte{'a' + byte(seq%26)}, n)
}

func mustOpenRowLog(t *testing.T, dir string, applied uint64, limit int64) *rowLog {
	t.Helper()
	l, _, err := openRowLog(dir, applied, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.close() })
	return l
}

// grow appends groups of rows until head, with bodies of up to 3,000 bytes.
func grow(t *testing.T, l *rowLog, r *rand.Rand, head uint64) {
	t.Helper()
	for l.head() < head {
		if l.full() {
			if err := l.roll(); err != nil {
				t.Fatal(err)
			}
		}
		var buf []byte
		var sizes []int
		for seq := l.head() + 1; seq <= min(head, l.head()+1+uint64(r.IntN(5))); seq++ {
			from := len(buf)
			rw, body := testRow(seq, r.IntN(3000))
			buf = appendRow(buf, rw, body)
			sizes = append(sizes, len(buf)-from)
		}
		if err := l.append(buf, sizes); err != nil {
			t.Fatal(err)
		}
	}
}

// mustHold proves that a log is whole: rows 1 to head, those of gone without
// their bodies.
func mustHold(t *testing.T, l *rowLog, head uint64, gone ...uint64) {
	t.Helper()
	if l.head() != head {
		t.Fatalf("it ends at %d, want %d", l.head(), head)
	}
	next := uint64(1)
	see := func(seq uint64, r row, body []byte, err error) error {
		_, want := testRow(seq, len(body))
		switch {
		case err != nil:
			return err
		case binary.BigEndian.Uint64(r.id[:]) != seq || r.source.Relay != "wss://relay.example":
			return fmt.Errorf("row %d is %+v", seq, r)
		case slices.Contains(gone, seq) != (body == nil) || r.gone != (body == nil) || !bytes.Equal(body, want):
			return fmt.Errorf("the body of %d is %.20q, gone %v", seq, body, r.gone)
		}
		return nil
	}
	err := l.rows(0, head, func(seq uint64, r row, body []byte, err error) error {
		if seq != next {
			return fmt.Errorf("%d comes where %d is next", seq, next)
		}
		next++
		if err := see(seq, r, body, err); err != nil {
			return err
		}
		r, body, err = l.row(seq)
		return see(seq, r, body, err)
	})
	if err != nil {
		t.Fatal(err)
	}
	if next != head+1 {
		t.Fatalf("the last row is %d, want %d", next-1, head)
	}
}

func TestRowLogKeepsRows(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 1))
	l := mustOpenRowLog(t, dir, 0, 20_000)
	mustHold(t, l, 0)
	grow(t, l, r, 200)
	mustHold(t, l, 200)
	if len(l.files) < 5 {
		t.Fatalf("%d files: nothing is tested", len(l.files))
	}
	if _, _, err := l.row(201); !errors.Is(err, errNoRow) {
		t.Errorf("row 201: %v", err)
	}
	l.close()
	places, err := filepath.Glob(filepath.Join(dir, "*.at"))
	if err != nil || len(places) != len(l.files)-1 {
		t.Fatalf("%v, %v", places, err)
	}
	// Places that are missing, and of something else, are looked for.
	if err := errors.Join(os.Remove(places[0]), os.WriteFile(places[1], []byte("nothing of this kind"), 0o600)); err != nil {
		t.Fatal(err)
	}
	l = mustOpenRowLog(t, dir, 200, 20_000)
	mustHold(t, l, 200)
	grow(t, l, r, 300)
	mustHold(t, l, 300)
}

// TestRowLogAfterACrash cuts and garbles what is behind the applied rows, at
// every byte: the whole rows before it stay, nothing else does, and the log goes on.
func TestRowLogAfterACrash(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(2, 2))
	l := mustOpenRowLog(t, dir, 0, 1<<20)
	grow(t, l, r, 20)
	applied := l.head()
	for seq := applied + 1; seq <= applied+3; seq++ { // three rows of some 150 bytes
		rw, body := testRow(seq, 20)
		buf := appendRow(nil, rw, body)
		if err := l.append(buf, []int{len(buf)}); err != nil {
			t.Fatal(err)
		}
	}
	places, size := slices.Clone(l.files[0].at), l.files[0].size
	l.close()
	path := l.path(1, ".log")
	whole, err := os.ReadFile(path)
	if err != nil || int64(len(whole)) != size {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	// head is what must be left where the file is sound up to a byte.
	head := func(sound int) uint64 {
		for i, at := range append(slices.Clone(places), uint32(size))[applied+1:] {
			if sound < int(at) {
				return applied + uint64(i)
			}
		}
		return applied + 3
	}
	try := func(name string, content []byte, want uint64) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		l, _, err := openRowLog(dir, applied, 1<<20)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer l.close()
		mustHold(t, l, want)
		grow(t, l, r, want+2)
		mustHold(t, l, want+2)
	}
	for at := int(places[applied]); at < len(whole); at++ {
		try(fmt.Sprint("cut at ", at), whole[:at], head(at))
		zeros := append(slices.Clone(whole[:at]), make([]byte, len(whole)-at)...)
		try(fmt.Sprint("zeros from ", at), zeros, head(at))
		flipped := slices.Clone(whole)
		flipped[at] ^= 0x10
		try(fmt.Sprint("flipped at ", at), flipped, head(at))
	}
	// What was applied is missed.
	for at := logFileHead; at < int(places[applied]); at += 97 {
		if err := os.WriteFile(path, whole[:at], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := openRowLog(dir, applied, 1<<20); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", at, err)
		}
	}
}

// A crash between the beginning of a file and its first row.
func TestRowLogBeginsAgain(t *testing.T) {
	for _, head := range []string{"", "mostro", logMagic + strings.Repeat("\x00", 8)} {
		dir := t.TempDir()
		l := mustOpenRowLog(t, dir, 0, 10_000)
		grow(t, l, rand.New(rand.NewPCG(3, 3)), 12)
		for !l.full() {
			grow(t, l, rand.New(rand.NewPCG(4, 4)), l.head()+1)
		}
		end := l.head()
		l.close()
		if err := os.WriteFile(l.path(end+1, ".log"), []byte(head), 0o600); err != nil {
			t.Fatal(err)
		}
		l = mustOpenRowLog(t, dir, end, 10_000)
		mustHold(t, l, end)
		grow(t, l, rand.New(rand.NewPCG(5, 5)), end+10)
		mustHold(t, l, end+10)
	}
}

// TestRowLogShrinks: what is erased is unreadable at once, in the file too, and
// a file that is half erased gives its room back.
func TestRowLogShrinks(t *testing.T) {
	dir := t.TempDir()
	l := mustOpenRowLog(t, dir, 0, 50_000)
	grow(t, l, rand.New(rand.NewPCG(6, 6)), 100)
	rf := l.files[1]
	before, first, last := rf.size, rf.first, l.files[2].first-1
	var gone []uint64
	for seq := first; seq <= last; seq++ {
		if seq%4 != 0 {
			gone = append(gone, seq)
		}
	}
	touched, err := l.erase(gone)
	if err != nil || !slices.Equal(touched, []*rowFile{rf}) {
		t.Fatalf("%v, %v", touched, err)
	}
	mustHold(t, l, 100, gone...)
	if !l.wasteful(rf) {
		t.Fatalf("%d bytes erased of %d are no reason to write the file anew", rf.erased, rf.size)
	}
	places, err := os.ReadFile(l.path(first, ".at"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.shrink(rf); err != nil {
		t.Fatal(err)
	}
	mustHold(t, l, 100, gone...)
	if info, err := os.Stat(l.path(first, ".log")); err != nil || info.Size() != rf.size || rf.size > before*6/10 {
		t.Errorf("%d bytes in the file, %d said, %d before, %v", info.Size(), rf.size, before, err)
	}
	l.close()
	if err := os.WriteFile(l.path(first, ".at"), places, 0o600); err != nil { // a crash right behind it
		t.Fatal(err)
	}
	half := l.path(first, ".log.new") // a crash in the middle of it
	if err := os.WriteFile(half, []byte("what may be erased since"), 0o600); err != nil {
		t.Fatal(err)
	}
	l = mustOpenRowLog(t, dir, 100, 50_000)
	mustHold(t, l, 100, gone...)
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was half shrunk is left: %v", err)
	}
	grow(t, l, rand.New(rand.NewPCG(7, 7)), 120)
	mustHold(t, l, 120, gone...)
}

// TestErasingIsFinished: a crash between the word that a body is to go and its
// going does not leave it, whether its author deleted it or its time has come.
func TestErasingIsFinished(t *testing.T) {
	for name, erase := range map[string]func(st *Store, clock *testClock, id string){
		"Deleted": func(st *Store, _ *testClock, id string) {
			st.Append(context.Background(), Arrival{Event: unsigned(1, 5, 2, "", nostr.Tag{"e", id}), ReceivedAt: st.now()})
		},
		"Expired": func(st *Store, clock *testClock, _ string) {
			clock.advance(mailLife + time.Second)
			st.live.expire(clock.now().Unix())
			st.sweep <- struct{}{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock, dir := newTestClock(), t.TempDir()
			killed := false
			st, err := OpenStore(StoreConfig{Dir: dir, Now: clock.now, flushAfter: time.Hour, committed: func() error {
				if killed {
					return errors.New("killed by its test")
				}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			secret := unsigned(1, mostro.KindGiftWrap, clock.now().Unix(), "a secret that nobody is to read again")
			mustAppend(t, st, secret)
			if err := st.writeRows(context.Background()); err != nil {
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
				t.Fatalf("it was erased before the crash: nothing is tested; %v", err)
			}
			st = mustOpenStore(t, dir, clock)
			if _, err := st.Find(context.Background(), secret.ID); !errors.Is(err, mostro.ErrNotFound) {
				t.Errorf("Find: %v", err)
			}
			if out := mustAppend(t, st, secret); out != Duplicate {
				t.Errorf("sent again it is %s", out)
			}
			mustCheck(t, st)
			if b, err := os.ReadFile(path); err != nil || bytes.Contains(b, []byte("a secret")) {
				t.Errorf("it is still in the file; %v", err)
			}
		})
	}
}

// TestManyErasures: one request that erases more than a transaction of the index
// holds, and a crash after each of them.
func TestManyErasures(t *testing.T) {
	const n = 300
	parts := n // until one crash comes too late
	for crashAt := 1; crashAt <= parts; crashAt++ {
		clock, dir := newTestClock(), t.TempDir()
		counting, commits := false, 0
		st, err := OpenStore(StoreConfig{Dir: dir, Now: clock.now, BodyCache: -1, logFileBytes: 64 << 10, flushAfter: time.Hour, committed: func() error {
			if counting {
				if commits++; commits == crashAt {
					return errors.New("killed by its test")
				}
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		st.txnRoom = 50_000 // nothing is under way yet
		request := nostr.Tags{}
		for i := range n {
			evt := unsigned(1, 38383, int64(i+1), "", nostr.Tag{"d", fmt.Sprint(i)}, nostr.Tag{"s", strings.Repeat("x", 200)})
			mustAppend(t, st, evt)
			request = append(request, nostr.Tag{"e", evt.ID})
			if i == n-10 { // the last are not followed when the request comes
				if err := st.writeRows(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
		}
		mustAppend(t, st, unsigned(2, 1, 1, "somebody else's"))
		counting = true
		_, _, err = st.Append(context.Background(), Arrival{Event: unsigned(1, 5, 1000, "", request...), ReceivedAt: st.now()})
		if (err == nil) != (commits < crashAt) {
			t.Fatalf("crash %d: %v after %d commits", crashAt, err, commits)
		}
		if err == nil {
			parts, counting = commits, false
			mustCheck(t, st)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		st = mustOpenStore(t, dir, clock)
		want := 2 // the request and somebody else's
		if st.Head() == n+1 {
			want = n + 1 // it was not logged
		}
		if ids := queryIDs(t, st, nostr.Filter{}, 500); len(ids) != want {
			t.Errorf("crash %d: %d events are served, want %d", crashAt, len(ids), want)
		}
		mustCheck(t, st)
		st.Close()
	}
	if parts < 3 || parts == n {
		t.Errorf("%d commits: nothing is tested", parts)
	}
}

// TestLogWithoutIndex: what follows from the log is made anew from it alone.
func TestLogWithoutIndex(t *testing.T) {
	clock, dir := newTestClock(), t.TempDir()
	w := &world{Rand: rand.New(rand.NewPCG(9, 9)), base: clock.now().Unix()}
	st := mustOpenStore(t, dir, clock)
	for range 400 {
		evt := w.event()
		w.known = append(w.known, evt)
		if evt.Kind != mostro.KindDeletion { // erased rows cannot be followed again: their tags are gone
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

// TestErasedLogWithoutIndex: what is erased cannot be followed again, and is not
// taken for the torn end of the log.
func TestErasedLogWithoutIndex(t *testing.T) {
	clock, dir := newTestClock(), t.TempDir()
	st := mustOpenStore(t, dir, clock)
	evt := unsigned(1, 1, 1, "x")
	mustAppend(t, st, evt)
	mustAppend(t, st, unsigned(1, 5, 2, "", nostr.Tag{"e", evt.ID}))
	for i := range 10 {
		mustAppend(t, st, unsigned(2, 1, int64(i), ""))
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
	if _, err := OpenStore(StoreConfig{Dir: fresh, Now: clock.now}); !errors.Is(err, ErrDamaged) {
		t.Errorf("it opens: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(fresh, path)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the log is changed: %d bytes, %d before, %v", len(got), len(want), err)
	}
}

// TestReplayDecidesAsBefore: what had expired when it came is not carried out
// or served, wherever the clock stands; what was to be forwarded is queued.
func TestReplayDecidesAsBefore(t *testing.T) {
	clock, dir, ctx := newTestClock(), t.TempDir(), context.Background()
	st := mustOpenStore(t, dir, clock)
	over := nostr.Tag{"expiration", fmt.Sprint(clock.now().Unix() - 60)}
	note := unsigned(1, 1, 1, "")
	mustAppend(t, st, note)
	for _, evt := range []*nostr.Event{unsigned(1, 5, 2, "", nostr.Tag{"e", note.ID}, over), unsigned(1, 1, 3, "", over),
		unsigned(1, 38383, 4, "", nostr.Tag{"d", "x"}, over), unsigned(1, mostro.KindGiftWrap, 5, "", over)} {
		if out := mustAppend(t, st, evt); out != Archived {
			t.Fatalf("kind %d: %s", evt.Kind, out)
		}
	}
	if _, _, err := st.Append(ctx, Arrival{Event: unsigned(2, 1, 6, ""), ReceivedAt: st.now(), Forward: true}); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	fresh := t.TempDir()
	if err := os.CopyFS(filepath.Join(fresh, "events", "log"), os.DirFS(filepath.Join(dir, "events", "log"))); err != nil {
		t.Fatal(err)
	}
	clock.advance(-time.Hour)
	st = mustOpenStore(t, fresh, clock)
	if _, err := st.Find(ctx, note.ID); err != nil {
		t.Errorf("a request that had expired was carried out: %v", err)
	}
	if ids := queryIDs(t, st, nostr.Filter{}, 10); len(ids) != 2 {
		t.Errorf("%d events are served, want the note and the last", len(ids))
	}
	if seqs, err := st.queued(0, 10); err != nil || !slices.Equal(seqs, []uint64{6}) {
		t.Errorf("queued are %v, %v", seqs, err)
	}
}

// TestSchema1 brings a store of schema 1 up to the present one: once in peace,
// once after a crash in the middle.
func TestSchema1(t *testing.T) {
	for _, crashed := range []bool{false, true} {
		clock, dir := newTestClock(), t.TempDir()
		w := &world{Rand: rand.New(rand.NewPCG(11, 11)), base: clock.now().Unix()}
		st := mustOpenStore(t, dir, clock)
		for range 300 {
			evt := w.event()
			w.known = append(w.known, evt)
			mustAppend(t, st, evt)
		}
		want := queryIDs(t, st, nostr.Filter{}, 1000)
		var rows []rowWrite
		err := st.log.rows(0, st.Head(), func(seq uint64, r row, body []byte, err error) error {
			rows = append(rows, rowWrite{seqKey(spaceRowV1, seq), append(r.encode(nil), body...)})
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
		if !crashed { // else what is in the way is a log that was begun
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
		if err := st.eachRow([]byte{spaceRowV1}, []byte{spaceRowV1}, func(_, _ []byte) bool { left++; return true }); err != nil || left > 0 {
			t.Errorf("%d rows of schema 1 are left, %v", left, err)
		}
	}
}

// FuzzRow: what is no row of ours is told from one, whatever it is; what is read
// as one says what is kept of it.
func FuzzRow(f *testing.F) {
	r, body := testRow(7, 30)
	whole := appendRow(nil, r, body)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(appendRow(nil, row{gone: true, archived: true}, nil))
	f.Add(append(bytes.Clone(whole[:len(whole)-30]), bytes.Repeat([]byte{erasedByte}, 30)...))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, body, err := openRow(b)
		if err != nil {
			return
		}
		if r.gone != (body == nil) && len(body) > 0 || len(body) > len(b) {
			t.Fatalf("%+v with a body of %d bytes", r, len(body))
		}
		again, body2, err := openRow(appendRow(nil, r, body))
		if err != nil || again != r || !bytes.Equal(body, body2) {
			t.Fatalf("%+v, %q is read back as %+v, %q: %v", r, body, again, body2, err)
		}
	})
}

// A file that holds rows is never taken for one that was begun and not used.
func TestRowLogKeepsAFileWithoutItsHead(t *testing.T) {
	dir := t.TempDir()
	l := mustOpenRowLog(t, dir, 0, 10_000)
	grow(t, l, rand.New(rand.NewPCG(12, 12)), 12)
	last := l.files[len(l.files)-1]
	if len(l.files) < 2 || len(last.at) == 0 {
		t.Fatal("nothing is tested")
	}
	applied, path := last.first-1, last.f.Name()
	l.close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[3] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openRowLog(dir, applied, 10_000); !errors.Is(err, ErrDamaged) {
		t.Errorf("it opens: %v", err)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, b) {
		t.Errorf("%d bytes are left of %d, %v", len(now), len(b), err)
	}
}

// TestCrashBehindAShrink: a file was written anew, and what Badger says of it is
// from before.
func TestCrashBehindAShrink(t *testing.T) {
	clock, dir := newTestClock(), t.TempDir()
	open := func() *Store {
		st, err := OpenStore(StoreConfig{Dir: dir, Now: clock.now, logFileBytes: 32 << 10, flushAfter: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	}
	st := open()
	var ids []string
	for i := range 60 {
		evt := unsigned(1, 1, int64(i), strings.Repeat("x", 900))
		mustAppend(t, st, evt)
		ids = append(ids, evt.ID)
	}
	remove := func(at int64, ids []string) {
		t.Helper()
		request := nostr.Tags{}
		for _, id := range ids {
			request = append(request, nostr.Tag{"e", id})
		}
		mustAppend(t, st, unsigned(1, 5, at, "", request...))
	}
	n := len(st.log.files[0].at)
	if n > 50 {
		t.Fatal("one file: nothing is tested")
	}
	remove(1000, ids[:n*4/10])
	if err := st.writeRows(context.Background()); err != nil { // tells how much that was
		t.Fatal(err)
	}
	before := st.log.files[0].size
	remove(1001, ids[n*4/10:n-1])
	if st.log.files[0].size > before*3/10 {
		t.Fatalf("%d bytes of %d are left: it was not shrunk", st.log.files[0].size, before)
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

// TestErasedIsCounted: neither a restart nor a crash behind a deletion forgets
// how much of a file is erased.
func TestErasedIsCounted(t *testing.T) {
	for _, how := range []string{"closed", "killed", "killed before it is erased"} {
		clock, dir := newTestClock(), t.TempDir()
		killed := false
		st, err := OpenStore(StoreConfig{Dir: dir, Now: clock.now, flushAfter: time.Hour, committed: func() error {
			if killed {
				return errors.New("killed by its test")
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		evt := unsigned(1, 1, 1, strings.Repeat("x", 900))
		mustAppend(t, st, evt)
		if err := st.writeRows(context.Background()); err != nil {
			t.Fatal(err)
		}
		killed = how == "killed before it is erased"
		_, _, err = st.Append(context.Background(), Arrival{Event: unsigned(1, 5, 2, "", nostr.Tag{"e", evt.ID}), ReceivedAt: st.now()})
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
			if got := st.log.files[0].erased; got != int64(len(mostro.EncodeEvent(evt))) {
				t.Errorf("%s: %d bytes are said to be erased, want %d", how, got, len(mostro.EncodeEvent(evt)))
			}
			mustCheck(t, st)
			st.Close()
		}
	}
}

// TestHeldBeforeItIsFollowed: what was answered is held and found at once, also
// what the live index has not, and while Badger knows nothing of it.
func TestHeldBeforeItIsFollowed(t *testing.T) {
	clock, ctx := newTestClock(), context.Background()
	st, err := OpenStore(StoreConfig{Dir: t.TempDir(), Now: clock.now, flushAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	older := unsigned(1, 38383, 1, "older", nostr.Tag{"d", "x"})
	see := func(when string) {
		t.Helper()
		if held, err := st.Has(ctx, older.ID); err != nil || !held {
			t.Errorf("%s: held %v, %v", when, held, err)
		}
		if f, err := st.Find(ctx, older.ID); err != nil || !bytes.Equal(f.JSON, mostro.EncodeEvent(older)) {
			t.Errorf("%s: found %q, %v", when, f.JSON, err)
		}
	}
	mustAppend(t, st, unsigned(1, 38383, 2, "", nostr.Tag{"d", "x"}))
	if out := mustAppend(t, st, older); out != Archived {
		t.Fatal(out)
	}
	see("before")
	if err := st.writeRows(ctx); err != nil {
		t.Fatal(err)
	}
	see("behind")
}

// TestDamagedBodyIsNotServed: the disk gave back another body than was written.
func TestDamagedBodyIsNotServed(t *testing.T) {
	clock, dir := newTestClock(), t.TempDir()
	st := mustOpenStore(t, dir, clock)
	evt := unsigned(1, 1, 1, "as it was written")
	mustAppend(t, st, evt)
	mustAppend(t, st, unsigned(1, 1, 2, ""))
	if err := st.Close(); err != nil { // else it is in memory
		t.Fatal(err)
	}
	st, err := OpenStore(StoreConfig{Dir: dir, Now: clock.now, BodyCache: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	harmRow(st, 1, -150) // of the signature's digits
	ctx := context.Background()
	if f, err := st.Find(ctx, evt.ID); !errors.Is(err, errRow) {
		t.Errorf("Find: %s, %v", f.JSON, err)
	}
	if found, err := st.Query(ctx, nil, nostr.Filter{}, 10, 0); !errors.Is(err, errRow) {
		t.Errorf("Query: %d events, %v", len(found), err)
	}
	if err := st.Read(ctx, 0, func(mostro.Entry) error { return nil }); !errors.Is(err, errRow) {
		t.Errorf("Read: %v", err)
	}
}

// TestRowLogCutsForGood: a whole row behind a torn one does not come back when
// the torn one is written again.
func TestRowLogCutsForGood(t *testing.T) {
	dir := t.TempDir()
	l := mustOpenRowLog(t, dir, 0, 0)
	var buf []byte
	var sizes []int
	for seq := uint64(1); seq <= 2; seq++ {
		from := len(buf)
		r, body := testRow(seq, 30)
		buf = appendRow(buf, r, body)
		sizes = append(sizes, len(buf)-from)
	}
	torn := bytes.Clone(buf)
	torn[sizes[0]-1] = 0
	if err := l.append(torn, sizes); err != nil {
		t.Fatal(err)
	}
	l.close()
	l = mustOpenRowLog(t, dir, 0, 0)
	mustHold(t, l, 0)
	if err := l.append(buf[:sizes[0]], sizes[:1]); err != nil {
		t.Fatal(err)
	}
	l.close()
	mustHold(t, mustOpenRowLog(t, dir, 0, 0), 1)
}

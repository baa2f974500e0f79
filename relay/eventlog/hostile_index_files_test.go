package eventlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// copyFiles copies the directory of a store in its current state, as a killed process leaves
// it. Badger maps files of up to 2 GB of which only the beginning is written. If Badger adds
// or removes a file meanwhile, the copy is made again, because no kill leaves such files.
func copyFiles(t *testing.T, to, from string) {
	t.Helper()
	for range 100 {
		before := namesBelow(t, from)
		err := copyOnce(to, from, before)
		if slices.Equal(before, namesBelow(t, from)) {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("the files of %s change all the time", from)
}

// namesBelow returns the paths of the files and directories of a store.
func namesBelow(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || strings.HasSuffix(path, "LOCK") || strings.HasPrefix(d.Name(), "reserve") {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		names = append(names, rel)
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

func copyOnce(to, from string, names []string) error {
	for _, name := range names {
		in, err := os.Open(filepath.Join(from, name))
		if err != nil {
			return err
		}
		defer in.Close()
		info, err := in.Stat()
		if err != nil {
			return err
		}
		if info.IsDir() {
			if err := os.MkdirAll(filepath.Join(to, name), 0o700); err != nil {
				return err
			}
			continue
		}
		out, err := os.Create(filepath.Join(to, name))
		if err != nil {
			return err
		}
		if err := errors.Join(copyWithHoles(out, in), out.Close()); err != nil {
			return err
		}
	}
	return nil
}

// copyWithHoles copies a file. Blocks of zeros become holes of the copy.
func copyWithHoles(out, in *os.File) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	block, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(0); at < info.Size(); {
		if runtime.GOOS == "linux" { // elsewhere the zeros of a hole are read
			const seekData = 3
			data, err := in.Seek(at, seekData)
			if errors.Is(err, syscall.ENXIO) {
				break // only a hole is left
			}
			if err == nil {
				at = data
			}
		}
		n, err := in.ReadAt(block, at)
		if err != nil && err != io.EOF {
			return err
		}
		if !bytes.Equal(block[:n], zeros[:n]) {
			if _, err := out.WriteAt(block[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	return out.Truncate(info.Size())
}

// storeContents returns all answers of a store as text.
func storeContents(t *testing.T, st *Store) string {
	t.Helper()
	var b strings.Builder
	found, err := st.Query(context.Background(), nil, nostr.Filter{}, 5000, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		fmt.Fprintf(&b, "served %d %s\n", f.Seq, f.JSON)
	}
	if err := st.ReadEvidence(context.Background(), 0, func(e mostro.Entry) error {
		fmt.Fprintf(&b, "entry %d %s %v %v %v %v\n", e.Seq, e.Event.ID, e.ReceivedAt, e.Source, e.Archived, e.Event.Tags)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := st.Equivocations(context.Background(), func(e Equivocation) error {
		fmt.Fprintf(&b, "proof %v\n", e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "head %d", st.Head())
	return b.String()
}

// indexCase is a store, and events whose outcomes depend on its index.
type indexCase struct {
	name, dir string
	clock     *testkit.Clock
	erased    bool
	want      string
	again     map[*nostr.Event]Outcome
}

// indexCases makes stores with and without erased events, each closed and killed.
func indexCases(t *testing.T) (cases []indexCase) {
	for _, erased := range []bool{false, true} {
		for _, killed := range []bool{false, true} {
			clock := testkit.NewClock()
			c := indexCase{clock: clock, name: fmt.Sprintf("erased=%v killed=%v", erased, killed), dir: t.TempDir(), erased: erased, again: map[*nostr.Event]Outcome{}}
			live := t.TempDir()
			open := func() *Store {
				st, err := Open(Config{Dir: live, Now: clock.Now, DiskReserve: -1, logFileBytes: 40_000, flushAfter: time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				return st
			}
			st := open()
			var mail *nostr.Event
			fill := func(round int) {
				for i := range 150 {
					evt := testkit.Unsigned(byte(1+i%3), 38383, clock.Now().Unix()+int64(1000*round+i), "an order", nostr.Tag{"d", fmt.Sprint(i % 60)},
						nostr.Tag{"s", "success"}, nostr.Tag{"y", "mostro"}, nostr.Tag{"z", "order"}, nostr.Tag{"k", "sell"}, nostr.Tag{"f", "VES"})
					mustAppend(t, st, evt)
					c.again[evt] = Duplicate
					if erased && i%10 == 3 {
						mustAppend(t, st, testkit.Unsigned(byte(1+i%3), 5, clock.Now().Unix()+int64(1000*round+i), "", nostr.Tag{"a", fmt.Sprintf("38383:%s:%d", evt.PubKey, i%60)}))
						older := testkit.Unsigned(byte(1+i%3), 38383, clock.Now().Unix()-5, "older", evt.Tags...)
						c.again[older] = Deleted
					}
				}
				mail = testkit.Unsigned(1, mostro.KindGiftWrap, clock.Now().Unix(), fmt.Sprint("mail", round), nostr.Tag{"expiration", fmt.Sprint(clock.Now().Unix() + 10)})
				mustAppend(t, st, mail)
			}
			fill(0)
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			clock.Advance(20 * time.Second)
			st = open()
			first, _, err := st.keys.seqOf(hex32.OrZero(mail.ID))
			if err != nil {
				t.Fatal(err)
			}
			testkit.Eventually(t, "expired mail is erased", func() bool {
				r, _, err := st.log.Read(first)
				return err == nil && r.PayloadErased
			})
			fill(1)
			if err := st.queue.writeKeys(context.Background(), keyWrite{cursorKey("wss://x", "f"), []byte("{}")}); err != nil {
				t.Fatal(err)
			}
			if killed {
				copyFiles(t, c.dir, live)
			}
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			if !killed {
				copyFiles(t, c.dir, live)
			}
			check := t.TempDir()
			copyFiles(t, check, c.dir)
			st, err = Open(Config{Dir: check, Now: clock.Now, DiskReserve: -1, logFileBytes: 40_000})
			if err != nil {
				t.Fatal(err)
			}
			c.want = storeContents(t, st)
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			cases = append(cases, c)
		}
	}
	return cases
}

// A flipped bit in a file of Badger never changes an answer. Either the bit is in a
// part that is not read, or the index is rebuilt from the log, or the store does not
// open, names the reason, and leaves the files unchanged.
func TestFlippedBitInTheIndex(t *testing.T) {
	cases := indexCases(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	became := map[string]map[string]int{}
	n := *flips
	if testing.Short() {
		n /= 4
	}
	for n := range n {
		c := cases[n%len(cases)]
		harmed := t.TempDir()
		copyFiles(t, harmed, c.dir)
		var files []string
		for _, pattern := range []string{"*.sst", "*.mem", "*.vlog", "MANIFEST", "KEYREGISTRY", "DISCARD"} {
			found, err := filepath.Glob(filepath.Join(harmed, "events", pattern))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, found...)
		}
		path := files[r.IntN(len(files))]
		if r.IntN(2) == 0 { // the other files are small
			path = files[r.IntN(min(len(files), 2))]
		}
		at := flipBit(t, r, path)
		where := fmt.Sprintf("%s: flip %d at %d of %s", c.name, n, at, filepath.Base(path))
		fate := ""
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Fatalf("%s: panic %v", where, p)
				}
			}()
			fate = meetFlip(t, c, harmed, where)
		}()
		kind := filepath.Ext(path) + filepath.Base(path)[:1]
		if became[kind] == nil {
			became[kind] = map[string]int{}
		}
		became[kind][fate]++
		if fate == "refused" {
			// A refused store is intact except for that bit.
			turnBit(t, path, at, -1)
			st, err := Open(Config{Dir: harmed, Now: c.clock.Now, DiskReserve: -1, logFileBytes: 40_000})
			if err != nil {
				t.Fatalf("%s, bit restored: %v", where, err)
			}
			if got := storeContents(t, st); got != c.want {
				t.Errorf("%s, bit restored: the answers differ: %s", where, firstDifference(got, c.want))
			}
			st.Close()
		}
		os.RemoveAll(harmed)
	}
	t.Logf("%v", became)
}

var turned = map[string]int{} // bits that were flipped, per file

func flipBit(t *testing.T, r *rand.Rand, path string) (at int64) {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	full := len(bytes.TrimRight(b, "\x00"))
	at = int64(r.IntN(min(len(b), full+64)))
	turned[path] = r.IntN(8)
	turnBit(t, path, at, turned[path])
	return at
}

func turnBit(t *testing.T, path string, at int64, bit int) {
	if bit < 0 {
		bit = turned[path]
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// meetFlip opens a store with a flipped bit and returns the outcome.
func meetFlip(t *testing.T, c indexCase, harmed, where string) string {
	var said strings.Builder
	clock := c.clock
	st, err := Open(Config{Dir: harmed, Now: clock.Now, DiskReserve: -1, logFileBytes: 40_000, Logger: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		if !c.erased || !errors.Is(err, ErrIndex) {
			t.Errorf("%s: Open: %v", where, err)
		}
		return "refused"
	}
	defer st.Close()
	rebuilt := strings.Contains(said.String(), "rebuilt from the log")
	if got := storeContents(t, st); got != c.want {
		t.Errorf("%s: the answers differ, the log says %q: %s", where, said.String(), firstDifference(got, c.want))
	}
	if rebuilt && c.erased {
		t.Errorf("%s: an index that cannot be rebuilt is rebuilt", where)
	}
	value, err := st.keys.get(cursorKey("wss://x", "f"))
	if !rebuilt && (string(value) != "{}" || err != nil) && !strings.Contains(where, ".mem") {
		t.Errorf("%s: the cursor of an upstream is %q, %v", where, value, err)
	}
	mustCheck(t, st)
	n := 0
	for evt, want := range c.again {
		if _, out, err := st.Append(context.Background(), Arrival{Event: evt, ReceivedAt: st.now(), Source: mostro.Source{Origin: mostro.OriginClient}}); err != nil || out != want {
			t.Errorf("%s: the outcome of an earlier event is %s, %v, want %s", where, out, err, want)
		}
		if n++; n == 40 {
			break
		}
	}
	if rebuilt {
		return "rebuilt"
	}
	return "nothing"
}

// firstDifference returns the first line in which two texts differ.
func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is %.200q, want %.200q", i, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(a), len(b))
}

// The index has lost its last commit, but the scrub was carried out. An erased order is
// not served again, because its facts are lost with the commit: Open returns ErrIndex.
// Mail has no facts, and its deletion is replayed.
func TestIndexWithoutItsLastCommit(t *testing.T) {
	for _, kind := range []int{38383, mostro.KindGiftWrap} {
		clock, live, older := testkit.NewClock(), t.TempDir(), t.TempDir()
		open := func(dir string) (*Store, error) {
			return Open(Config{Dir: dir, Now: clock.Now, DiskReserve: -1})
		}
		st, err := open(live)
		if err != nil {
			t.Fatal(err)
		}
		evt := testkit.Unsigned(1, kind, clock.Now().Unix(), "erased later", nostr.Tag{"d", "x"})
		mustAppend(t, st, evt)
		if err := st.queue.writeKeys(context.Background()); err != nil {
			t.Fatal(err)
		}
		copyFiles(t, older, live)
		mustAppend(t, st, testkit.Unsigned(1, 5, clock.Now().Unix(), "", nostr.Tag{"e", evt.ID}))
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		log := filepath.Join(older, "events", "log")
		if err := os.RemoveAll(log); err != nil {
			t.Fatal(err)
		}
		copyFiles(t, log, filepath.Join(live, "events", "log"))
		st, err = open(older)
		if kind == 38383 {
			if !errors.Is(err, ErrIndex) {
				t.Errorf("kind %d: Open: %v, want ErrIndex", kind, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("kind %d: %v", kind, err)
		}
		if ids := queryIDs(t, st, nostr.Filter{}, 10); len(ids) != 1 {
			t.Errorf("kind %d: served %v, want none", kind, ids)
		}
		if out := mustAppend(t, st, evt); out != Deleted && out != Duplicate {
			t.Errorf("kind %d: the erased event returns: %s", kind, out)
		}
		mustCheck(t, st)
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// If a crash interrupts setAside, the next start finishes it.
func TestSettingAsideIsFinished(t *testing.T) {
	clock, dir := testkit.NewClock(), t.TempDir()
	st := mustOpenStore(t, dir, clock)
	evt := testkit.Unsigned(1, 1, 1, "kept")
	mustAppend(t, st, evt)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	events := filepath.Join(dir, "events")
	if err := errors.Join(os.WriteFile(filepath.Join(events, rebuildMark), nil, 0o600), os.Mkdir(filepath.Join(events, damagedDir), 0o700),
		os.Rename(filepath.Join(events, "KEYREGISTRY"), filepath.Join(events, damagedDir, "KEYREGISTRY"))); err != nil {
		t.Fatal(err)
	}
	st = mustOpenStore(t, dir, clock)
	defer st.Close()
	if ids := queryIDs(t, st, nostr.Filter{}, 10); len(ids) != 1 || ids[0] != evt.ID {
		t.Errorf("served %v", ids)
	}
	if _, err := os.Stat(filepath.Join(events, rebuildMark)); err == nil {
		t.Error("the rebuild mark is left")
	}
	mustCheck(t, st)
}

package eventlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

var flips = flag.Int("flips", 40, "bits to flip, each in a copy of a store")

// A flipped bit anywhere in the log damages at most one entry, and the damage is always
// reported.
func TestFlippedBitInTheLog(t *testing.T) {
	clock, dir := testkit.NewClock(), t.TempDir()
	st, err := Open(Config{Dir: dir, Now: clock.Now, logFileBytes: 40_000})
	if err != nil {
		t.Fatal(err)
	}
	var own []*nostr.Event
	for i := range 300 {
		evt := testkit.Unsigned(byte(1+i%3), 38383, clock.Now().Unix()+int64(i), "an order", nostr.Tag{"d", fmt.Sprint(i % 100)}, nostr.Tag{"s", "pending"})
		if i%10 == 9 {
			evt = testkit.Unsigned(1, 1059, clock.Now().Unix(), fmt.Sprint("mail ", i))
		}
		mustAppend(t, st, evt)
		own = append(own, evt)
	}
	mustAppend(t, st, testkit.Unsigned(1, 5, clock.Now().Unix()+400, "", nostr.Tag{"e", own[0].ID}, nostr.Tag{"a", "38383:" + own[3].PubKey + ":3"}))
	mustAppend(t, st, testkit.Unsigned(1, 1, clock.Now().Unix(), "the last"))
	contents := func(st *Store) (served, read map[string]string) {
		served, read = map[string]string{}, map[string]string{}
		found, err := st.Query(context.Background(), nil, nostr.Filter{}, 1000, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			served[fmt.Sprint(f.Seq)] = string(f.JSON)
		}
		if err := st.ReadRaw(context.Background(), 0, func(e mostro.Entry, body []byte) error {
			read[fmt.Sprint(e.Seq)] = string(body)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return served, read
	}
	wantServed, wantRead := contents(st)
	head := st.Head()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d events served, %d readable of %d", seed, len(wantServed), len(wantRead), head)
	r := rand.New(rand.NewPCG(seed, 2))
	n := *flips
	if testing.Short() {
		n /= 8
	}
	for n := range n {
		harmed := t.TempDir()
		if err := os.CopyFS(harmed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(harmed, "events", "log", "*"))
		if err != nil || len(files) < 5 {
			t.Fatal(files, err)
		}
		path := files[r.IntN(len(files))]
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := r.IntN(len(b))
		b[at] ^= 1 << r.IntN(8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		where := fmt.Sprintf("flip %d at %d of %s", n, at, filepath.Base(path))
		st, err := Open(Config{Dir: harmed, Now: clock.Now, BodyCache: -1, logFileBytes: 40_000})
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		served, read := contents(st)
		for what, pair := range map[string][2]map[string]string{"served": {wantServed, served}, "read": {wantRead, read}} {
			missing := 0
			for seq, body := range pair[0] {
				if got, ok := pair[1][seq]; !ok {
					missing++
				} else if got != body {
					t.Errorf("%s: entry %s is %s as %s", where, seq, what, got)
				}
			}
			if missing > 1 || len(pair[1]) != len(pair[0])-missing {
				t.Errorf("%s: %d events are %s, want %d", where, len(pair[1]), what, len(pair[0]))
			}
		}
		report, err := st.Check(context.Background(), false, nil)
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		if report.Total == 0 && strings.HasSuffix(path, ".log") {
			t.Errorf("%s: Check reports no problem", where)
		}
		if n, err := st.Export(context.Background(), io.Discard, ExportFilter{}); n < len(read)-31 || err == nil && len(read) < len(wantRead) {
			t.Errorf("%s: %d events are exported, %v", where, n, err)
		}
		// Appends continue, and so do deletion requests for all entries.
		if out := mustAppend(t, st, testkit.Unsigned(9, 1, 1, "later")); out != Added {
			t.Errorf("%s: the outcome of a later event is %s", where, out)
		}
		var tags nostr.Tags
		for _, evt := range own {
			tags = append(tags, nostr.Tag{"e", evt.ID})
		}
		for author := range 3 {
			mustAppend(t, st, testkit.Unsigned(byte(1+author), 5, clock.Now().Unix()+1000, "", tags...))
		}
		if err := st.Close(); err != nil {
			t.Errorf("%s: %v", where, err)
		}
		os.RemoveAll(harmed)
	}
}

// If other records were written after a damaged record, the damaged record is not a
// torn end, and the later records are not truncated.
func TestDamageBehindTheApplied(t *testing.T) {
	clock, dir := testkit.NewClock(), t.TempDir()
	st, err := Open(Config{Dir: dir, Now: clock.Now, flushAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, st, testkit.Unsigned(1, 1, 1, "applied"))
	if err := st.queue.writeKeys(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		mustAppend(t, st, testkit.Unsigned(1, 1, int64(10+i), "acknowledged"))
	}
	crash(t, st)
	logFile := filepath.Join("events", "log", fmt.Sprintf("%020d.log", 1))
	whole, err := os.ReadFile(filepath.Join(dir, logFile))
	if err != nil {
		t.Fatal(err)
	}
	places := recordOffsets(whole)
	with := func(content []byte) (harmed string) {
		harmed = t.TempDir()
		if err := errors.Join(os.CopyFS(harmed, os.DirFS(dir)), os.WriteFile(filepath.Join(harmed, logFile), content, 0o600)); err != nil {
			t.Fatal(err)
		}
		return harmed
	}
	for name, at := range map[string]int{"body": places[3] - 3, "head": places[2] + 16 + 5, "length": places[2] + 1} {
		content := slices.Clone(whole)
		content[at] ^= 1
		harmed := with(content)
		if _, err := Open(Config{Dir: harmed, Now: clock.Now}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "entry 3") {
			t.Errorf("%s: Open: %v, want ErrDamaged", name, err)
		}
		if after, err := os.ReadFile(filepath.Join(harmed, logFile)); err != nil || !slices.Equal(after, content) {
			t.Errorf("%s: %d bytes after Open, want %d, %v", name, len(after), len(content), err)
		}
	}
	// The last record may be torn, whatever bytes its end holds.
	last := len(whole) - places[5]
	for name, torn := range map[string][]byte{"some erased bytes": bytes.Repeat([]byte{0xff}, 200), "a body of erased bytes": bytes.Repeat([]byte{0xff}, last-16),
		"zeros": make([]byte, 200)} {
		content := slices.Clone(whole)
		if len(torn) > 200 {
			torn = torn[binary.LittleEndian.Uint32(content[places[5]:]):] // the whole payload
		}
		copy(content[len(content)-len(torn):], torn)
		st, err := Open(Config{Dir: with(content), Now: clock.Now})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if st.Head() != 5 {
			t.Errorf("%s: the log ends at %d", name, st.Head())
		}
		mustCheck(t, st)
		st.Close()
	}
}

package eventlog

import (
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

// logBytesOf returns the series of mostrodex_relay_log_bytes by state.
func logBytesOf(t *testing.T, st *Store) map[string]int64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	registerGauges(reg, st)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]int64{}
	for _, f := range families {
		if f.GetName() == "mostrodex_relay_log_bytes" {
			for _, m := range f.GetMetric() {
				by[m.GetLabel()[0].GetValue()] = int64(m.GetGauge().GetValue())
			}
		}
	}
	return by
}

// TestLogBytes checks the bytes by state against the files and against the records that
// are served: after appends, replacements, a deletion, a compaction and a restart.
func TestLogBytes(t *testing.T) {
	dir, clock := t.TempDir(), testkit.NewClock()
	open := func() *Store {
		st, err := Open(Config{Dir: dir, Now: clock.Now, logFileBytes: 8 << 10})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	}
	st := open()
	see := func(when string, erased int64) {
		t.Helper()
		mustCheck(t, st)
		files, err := filepath.Glob(filepath.Join(dir, "events", "log", "*.log"))
		if err != nil {
			t.Fatal(err)
		}
		all, live := int64(0), int64(0)
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all += int64(len(raw))
			at := append(recordOffsets(raw), len(raw))
			for i := range len(at) - 1 {
				id := raw[at[i]+16+2:][:32] // behind the lengths, the checksums, the flags and the origin
				if len(st.Unserved([]string{hex.EncodeToString(id)})) == 0 {
					live += int64(at[i+1] - at[i])
				}
			}
		}
		got := logBytesOf(t, st)
		if want := map[string]int64{"live": live, "archived": all - live - erased, "erased": erased}; !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	see("an empty log", 0)
	var ids []string
	erased := int64(0)
	for i := range 20 {
		evt := testkit.Unsigned(1, 1, int64(i+1), strings.Repeat("x", 900))
		mustAppend(t, st, evt)
		if ids = append(ids, evt.ID); i == 0 {
			erased = int64(len(mostro.EncodeEvent(evt)))
		}
	}
	see("live events", 0)
	for i := range 3 {
		mustAppend(t, st, testkit.Unsigned(1, 38383, int64(i+1), strings.Repeat("y", 100), nostr.Tag{"d", "x"}))
	}
	see("replaced versions", 0)
	mustAppend(t, st, testkit.Unsigned(1, 5, 100, "", nostr.Tag{"e", ids[0]}))
	see("an erased event", erased)
	before := logBytesOf(t, st)
	tags := nostr.Tags{}
	for _, id := range ids[1:7] { // with the first more than half of the first file
		tags = append(tags, nostr.Tag{"e", id})
	}
	mustAppend(t, st, testkit.Unsigned(1, 5, 101, "", tags...))
	see("a compacted file", 0)
	if got := logBytesOf(t, st); got["live"] >= before["live"] {
		t.Errorf("%d bytes are live, %d before the deletion", got["live"], before["live"])
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = open()
	see("a restart", 0)
}

package eventlog

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// A killed import leaves a Badger log that is longer than the memtable of a serving
// relay. The relay must open the store, and must open it again after a second crash,
// when that log has another length.
func TestServingAfterAKilledImport(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 50 MB with a sync each 2 MB")
	}
	const bodyBytes, events = 60 << 10, 450
	dir := t.TempDir()
	st, err := Open(Config{Dir: dir, Bulk: true, BodyCache: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	random := rand.NewChaCha8([32]byte{1})
	word := func(n int) string {
		b := make([]byte, n)
		random.Read(b)
		return hex.EncodeToString(b)
	}
	var last Pending
	for range events {
		// An index entry contains the tags. The tags make Badger's log long.
		evt := &nostr.Event{PubKey: word(32), Kind: 1985, CreatedAt: nostr.Timestamp(testkit.Now()), Tags: nostr.Tags{{"t", word(bodyBytes / 2)}}, Sig: word(64)}
		evt.ID = evt.GetID()
		if last, err = st.Enqueue(context.Background(), Arrival{Event: evt, ReceivedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := last.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := st.queue.writeKeys(context.Background()); err != nil { // commits the derived keys
		t.Fatal(err)
	}
	killed := t.TempDir()
	copyFiles(t, killed, dir)
	if logs, _ := filepath.Glob(filepath.Join(killed, "events", "*.mem")); len(logs) == 0 {
		t.Fatal("the import has left no Badger log: the test does not apply")
	}
	again, err := Open(Config{Dir: killed, BodyCache: -1})
	if err != nil {
		t.Fatal(err)
	}
	twice := t.TempDir()
	copyFiles(t, twice, killed)
	again.Close()
	for _, dir := range []string{killed, twice} {
		st, err := Open(Config{Dir: dir, BodyCache: -1})
		if err != nil {
			t.Fatal(err)
		}
		if st.Head() != events {
			t.Errorf("%d events after the restart, want %d", st.Head(), events)
		}
		if r := mustCheck(t, st); len(r.Problems) > 0 {
			t.Error(r.Problems)
		}
		st.Close()
	}
}

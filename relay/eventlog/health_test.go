package eventlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestHealthDoesNotFillTheLog appends the health of a node of more than a day. A version whose
// successor has arrived is erased, so only heads of some 130 bytes remain.
func TestHealthDoesNotFillTheLog(t *testing.T) {
	const minutes = 1600
	clock, dir := testkit.NewClock(), t.TempDir()
	open := func() *Store {
		t.Helper()
		st, err := Open(Config{Dir: dir, Now: clock.Now, logFileBytes: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st := open()
	health := func(n int) *nostr.Event {
		at := clock.Now().Unix()
		node := testkit.Unsigned(7, mostro.KindHealth, 1, "").PubKey
		return testkit.Unsigned(7, mostro.KindHealth, at, "", nostr.Tag{"d", node}, nostr.Tag{"y", "mostro", "a name"}, nostr.Tag{"z", "health"}, nostr.Tag{"status", "ok"},
			nostr.Tag{"check", "lnd_sync", "ok", fmt.Sprint(at)}, nostr.Tag{"check", "payouts", "ok", fmt.Sprint(at)}, nostr.Tag{"check", "relays", "ok", fmt.Sprint(at)}, nostr.Tag{"check", "database", "ok", fmt.Sprint(at)},
			nostr.Tag{"escrow_mode", "lightning"}, nostr.Tag{"lnd_block_height", "900000"}, nostr.Tag{"lnd_synced_to_chain", "true"}, nostr.Tag{"lnd_network", "mainnet"}, nostr.Tag{"maintenance_mode", "false"},
			nostr.Tag{"mostro_version", "1.0"}, nostr.Tag{"interval", "60"}, nostr.Tag{"seq", fmt.Sprint(n)}, nostr.Tag{"expiration", fmt.Sprint(at + 180)})
	}
	var first, last *nostr.Event
	payloads := 0
	for n := range minutes {
		last = health(n)
		if first == nil {
			first = last
		}
		payloads += len(mostro.EncodeEvent(last))
		if out := mustAppend(t, st, last); out != Added {
			t.Fatalf("health %d: %s", n, out)
		}
		clock.Advance(time.Minute)
		if n == minutes/2 {
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
			st = open()
		}
	}
	if err := st.Settle(context.Background()); err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	err := filepath.Walk(filepath.Join(dir, "events", "log"), func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			size += info.Size()
		}
		return err
	})
	// The last file is reserved ahead of use, and is not compacted yet.
	if perEvent := (size - 3*64<<10) / minutes; err != nil || perEvent > 250 {
		t.Errorf("%v: the log has %d bytes, %d for each health of %d bytes", err, size, perEvent, payloads/minutes)
	}
	t.Logf("%d bytes for %d events of %d bytes", size, minutes, payloads/minutes)
	if found := queryIDs(t, st, nostr.Filter{Kinds: []int{mostro.KindHealth}}, 10); len(found) != 1 || found[0] != last.ID {
		t.Errorf("served: %v", found)
	}
	if _, err := st.Find(context.Background(), first.ID); !errors.Is(err, mostro.ErrNotFound) {
		t.Errorf("the first health: %v", err)
	}
	mustCheck(t, st)
	clock.Advance(time.Hour)
	st.live.Expire(clock.Now().Unix())
	st.sweep <- struct{}{}
	testkit.WaitLong(t, "the last health is erased", func() bool {
		if err := st.Settle(context.Background()); err != nil {
			t.Fatal(err)
		}
		_, body, err := st.log.Read(minutes)
		return err == nil && body == nil
	})
	mustCheck(t, st)
	if out := mustAppend(t, st, first); out != Duplicate {
		t.Errorf("the first health again: %s", out)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	// A store whose index is lost is rebuilt from the log.
	if err := setAside(filepath.Join(dir, "events")); err != nil {
		t.Fatal(err)
	}
	st = open()
	defer st.Close()
	mustCheck(t, st)
	if out := mustAppend(t, st, first); out != Duplicate {
		t.Errorf("the first health after the index was rebuilt: %s", out)
	}
	if out := mustAppend(t, st, health(minutes)); out != Added {
		t.Errorf("a health after the index was rebuilt: %s", out)
	}
}

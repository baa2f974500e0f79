package relay

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// If the free space is below the reserve, no event is taken and requests are answered.
// When space is free again, events are taken again.
func TestFullDiskRefusesEvents(t *testing.T) {
	var free atomic.Int64
	free.Store(math.MaxInt64)
	dir := t.TempDir()
	st, err := eventlog.Open(eventlog.Config{Dir: dir, FreeSpace: func(string) (int64, error) { return free.Load(), nil }})
	if err != nil {
		t.Fatal(err)
	}
	r := startRelayOn(t, st, func(cfg *Config) {
		cfg.Urgent = func(evt *nostr.Event, _ int) bool { return evt.Tags.FindWithValue("d", "urgent") != nil }
	})
	c := r.Dial()
	held := testkit.Order(t, "held", testkit.Now(), "pending")
	c.MustPublish(held)
	free.Store(eventlog.DefaultDiskReserve - 1)
	testkit.Eventually(t, "the disk is found full", func() bool { return st.Full() })
	c.MustRefuse(testkit.Order(t, "refused", testkit.Now(), "pending"), reasonFull)
	urgent := testkit.Order(t, "urgent", testkit.Now(), "pending")
	c.MustPublish(urgent)
	free.Store(eventlog.DefaultDiskReserve/2 - 1)
	testkit.Eventually(t, "the last part of the reserve is kept", func() bool {
		ok, reason := c.Publish(testkit.Order(t, "urgent", testkit.Now(), "canceled"))
		return !ok && reason == reasonFull
	})
	c.MustRefuse(testkit.Signed(t, mostro.KindDeletion, testkit.Now(), nostr.Tag{"e", held.ID}), reasonFull)
	if ids := c.Req("s", testkit.Object{"kinds": []int{38383}, "#d": []string{"held", "refused"}}); len(ids) != 1 || ids[0] != held.ID {
		t.Errorf("%v are read", ids)
	}
	c.Send("CLOSE", "s")
	c.Quiet() // the subscription is gone before the next event
	if err := r.srv.Publish(context.Background(), testkit.Signed(t, 38383, testkit.Now(), nostr.Tag{"d", "own"})); err != nil {
		t.Errorf("an own event: %v", err)
	}
	if err := st.EnqueueUpstreamCursor(context.Background(), "wss://x", "f", eventlog.UpstreamCursor{}); !errors.Is(err, eventlog.ErrFull) {
		t.Errorf("the cursor of an upstream passes events that were refused: %v", err)
	}
	if sum, err := r.srv.Import(context.Background(), strings.NewReader(testkit.NDJSON(t, testkit.Order(t, "imported", testkit.Now(), "pending"))), ImportOptions{}, func(res ImportResult) error {
		if res.Reason != reasonFull {
			t.Errorf("a line of an import: %+v", res)
		}
		return nil
	}); err != nil || sum.Rejected != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	free.Store(2 * eventlog.DefaultDiskReserve)
	testkit.Eventually(t, "there is room again", func() bool { return !st.Full() })
	c.MustPublish(testkit.Order(t, "refused", testkit.Now(), "pending"))
	r.Stop()
	r.Shut()
	free.Store(1 << 20)
	if _, err := eventlog.Open(eventlog.Config{Dir: dir, FreeSpace: func(string) (int64, error) { return free.Load(), nil }}); !errors.Is(err, eventlog.ErrFull) {
		t.Errorf("the store opens on a full disk: %v", err)
	}
}

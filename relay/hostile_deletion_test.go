package relay

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// Many deletion requests with many ids do not delay other publishers, and each request
// counts as many events.
func TestManyLargeDeletions(t *testing.T) {
	st, err := eventlog.Open(eventlog.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	r := startRelayOn(t, st, nil)
	const ids = 1700
	requests := make([]*nostr.Event, 120)
	if testing.Short() {
		requests = requests[:40]
	}
	for i := range requests {
		tags := make(nostr.Tags, ids)
		for j := range tags {
			tags[j] = nostr.Tag{"e", fmt.Sprintf("%064x", i*ids+j)}
		}
		requests[i] = testkit.Signed(t, mostro.KindDeletion, testkit.Now()-int64(i), tags...)
	}
	innocent := r.Dial()
	innocent.MustPublish(testkit.Order(t, "first", testkit.Now(), "pending"))
	done := make(chan struct{})
	for part := range slices.Chunk(requests, len(requests)/4) {
		hostile := r.Dial()
		go func() {
			for _, request := range part {
				hostile.Send("EVENT", request)
			}
			for range part {
				hostile.Next()
			}
			done <- struct{}{}
		}()
	}
	var waits []time.Duration
	for n, ended := 0, 0; ended < 4; n++ {
		select {
		case <-done:
			ended++
		default:
		}
		began := time.Now()
		innocent.MustPublish(testkit.Order(t, fmt.Sprint(n), testkit.Now(), "pending"))
		waits = append(waits, time.Since(began))
	}
	slices.Sort(waits)
	t.Logf("%d published meanwhile: median %v, longest %v", len(waits), waits[len(waits)/2], waits[len(waits)-1])
	if len(waits) < 6 || waits[len(waits)/2] > 4*time.Second {
		t.Errorf("%d events are published meanwhile, with a median of %v", len(waits), waits[len(waits)/2])
	}
	if cost := eventCost(requests[0]); cost != 1+(ids+1)/costShare {
		t.Errorf("a request of %d ids counts as %d events", ids, cost)
	}
}

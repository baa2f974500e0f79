package federation

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/nbd-wtf/go-nostr"
)

func outcomes(tb testing.TB, r *testRelay, id string) map[string]string {
	tb.Helper()
	list, err := r.Store.Forwarded(context.Background(), id)
	if err != nil {
		tb.Fatal(err)
	}
	got := map[string]string{}
	for _, o := range list {
		got[o.Relay] = o.Outcome
	}
	return got
}

func TestOwnEventsAreForwardedOnceAndInOrder(t *testing.T) {
	good, strict := startOther(t, 100), startOther(t, 100)
	busy := 0
	strict.onFrame = func(c *otherConn, verb string, words []json.RawMessage) bool {
		var evt nostr.Event
		if verb != "EVENT" || json.Unmarshal(words[1], &evt) != nil {
			return false
		}
		if evt.Kind == mostro.KindDispute {
			c.say("OK", evt.ID, false, "blocked: no disputes")
			return true
		}
		if busy++; busy == 1 {
			c.say("OK", evt.ID, false, "rate-limited: later")
			return true
		}
		return false
	}
	r := startRelay(t, func(c *relay.Config) { c.Forwarding = true })
	ctx := context.Background()
	order := testkit.Order(t, "x", testkit.Now(), "pending")
	dispute := testkit.Signed(t, mostro.KindDispute, testkit.Now(), nostr.Tag{"d", "x"})
	dead := "ws://127.0.0.1:1"
	// The events are queued before Run starts, because the queue is in the store.
	for _, evt := range []*nostr.Event{order, dispute} {
		if err := r.srv.Publish(ctx, evt); err != nil {
			t.Fatal(err)
		}
	}
	r.Dial().MustPublish(testkit.Order(t, "not ours", testkit.Now(), "pending"))
	us, _, stop := r.follow(Config{Forward: []string{good.url(), strict.url(), dead}})
	testkit.Eventually(t, "outcomes", func() bool {
		o, d := outcomes(t, r, order.ID), outcomes(t, r, dispute.ID)
		return len(o) == 2 && len(d) == 2 && o[good.url()] == "accepted" && o[strict.url()] == "accepted" &&
			d[good.url()] == "accepted" && d[strict.url()] == "refused"
	})
	if n := longestQueue(us.cfg.Store, us.list()); n != 2 {
		t.Errorf("%d wait for the relay that is down", n)
	}
	stop()
	if got := sortedIDs(good.received); len(got) != 2 || good.received[0].ID != order.ID {
		t.Errorf("received %v", got)
	}

	// After a restart no event is sent twice. An event that was superseded or has expired
	// meanwhile is not sent to the relay that was down.
	newer := testkit.Order(t, "x", testkit.Now()+1, "success")
	if err := r.srv.Publish(ctx, newer); err != nil {
		t.Fatal(err)
	}
	late := startOther(t, 100)
	_, _, stop = r.follow(Config{Forward: []string{good.url(), late.url()}})
	testkit.Eventually(t, "outcomes at the late relay", func() bool {
		return outcomes(t, r, order.ID)[late.url()] == "superseded" && outcomes(t, r, newer.ID)[late.url()] == "accepted" &&
			outcomes(t, r, newer.ID)[good.url()] == "accepted"
	})
	stop()
	if len(good.received) != 3 || len(late.received) != 2 {
		t.Errorf("received %d and %d", len(good.received), len(late.received))
	}
}

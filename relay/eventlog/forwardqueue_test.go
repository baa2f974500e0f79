package eventlog

import (
	"context"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

func TestOldKeysLeaveTheQueue(t *testing.T) {
	const kept = 7 * 24 * time.Hour
	clock := testkit.NewClock()
	st := mustOpenStore(t, t.TempDir(), clock)
	ctx := context.Background()
	put := func(d string) {
		t.Helper()
		p, err := st.Enqueue(ctx, Arrival{Event: testkit.Unsigned(1, mostro.KindOrder, clock.Now().Unix(), "", nostr.Tag{"d", d}), ReceivedAt: clock.Now(), Forward: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	put("a")
	if err := st.queue.writeKeys(ctx, keyWrite{forwardOutcomeKey(1, "wss://a"), []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	clock.Advance(kept + time.Hour)
	put("b")
	if err := st.SweepForwards(ctx, clock.Now().Add(-kept)); err != nil {
		t.Fatal(err)
	}
	if seqs, _ := st.ForwardQueue(0, 10); len(seqs) != 1 || seqs[0] != 2 {
		t.Errorf("queue %v", seqs)
	}
	if v, _ := st.keys.get(forwardOutcomeKey(1, "wss://a")); v != nil {
		t.Error("an outcome outlives its queue key")
	}
}

package eventlog

import (
	"context"
	"fmt"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

func TestQuotaOfLiveAddressesIsExact(t *testing.T) {
	clock := testkit.NewClock()
	st := mustOpenStore(t, t.TempDir(), clock)
	at := clock.Now().Unix()
	var waits []Pending
	ctx := context.Background()
	put := func(author byte, d string, createdAt int64, q LiveQuotas, tags ...nostr.Tag) Pending {
		t.Helper()
		p, err := st.Enqueue(ctx, Arrival{Event: testkit.Unsigned(author, mostro.KindOrder, createdAt, "", append(nostr.Tags{{"d", d}}, tags...)...),
			ReceivedAt: clock.Now(), Source: mostro.Source{Origin: mostro.OriginClient}, Quota: q})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for i := range 300 { // many in one group
		waits = append(waits, put(1, fmt.Sprint(i), at, LiveQuotas{Key: 100}))
	}
	tally := map[Outcome]int{}
	for _, p := range waits {
		_, out, err := p.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		tally[out]++
	}
	if tally[Added] != 100 || tally[OverQuota] != 200 {
		t.Errorf("outcomes %v", tally)
	}
	for what, check := range map[string]struct {
		p    Pending
		want Outcome
	}{
		"a newer version fits":        {put(1, "5", at+1, LiveQuotas{Key: 100}), Added},
		"another key has its own":     {put(2, "5", at, LiveQuotas{Key: 100}), Added},
		"no quota":                    {put(1, "new", at, LiveQuotas{}), Added},
		"the platform's first":        {put(3, "a", at, LiveQuotas{Platform: 1}, nostr.Tag{"y", "p2p.band"}), Added},
		"another platform":            {put(4, "b", at, LiveQuotas{Platform: 1}, nostr.Tag{"y", "mostro"}), Added},
		"without platform, unbounded": {put(4, "c", at, LiveQuotas{Platform: 1}), Added},
	} {
		if _, out, err := check.p.Wait(ctx); err != nil || out != check.want {
			t.Errorf("%s: %v %v", what, out, err)
		}
	}
	if _, out, _ := put(4, "z", at, LiveQuotas{Platform: 1}, nostr.Tag{"y", "p2p.band"}).Wait(ctx); out != OverQuota {
		t.Errorf("the platform's second: %v", out)
	}
	if head := st.Head(); head != 106 {
		t.Errorf("head %d: a refused event has taken a seq", head)
	}
}

func TestEquivocationIsKept(t *testing.T) {
	clock := testkit.NewClock()
	dir := t.TempDir()
	st := mustOpenStore(t, dir, clock)
	at := clock.Now().Unix()
	order := func(createdAt int64, content string) *nostr.Event {
		return testkit.Unsigned(1, mostro.KindOrder, createdAt, content, nostr.Tag{"d", "x"})
	}
	proofs := func(st *Store) (n int) {
		t.Helper()
		if err := st.Equivocations(context.Background(), func(e Equivocation) error {
			if e.First.CreatedAt != e.Second.CreatedAt || e.First.ID == e.Second.ID {
				t.Errorf("%v and %v do not prove an equivocation", e.First, e.Second)
			}
			n++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, step := range []struct {
		evt  *nostr.Event
		want int
	}{
		{order(at, "a"), 0},
		{order(at, "a"), 0}, // the same event
		{order(at+1, "b"), 0},
		{order(at, "c"), 1},   // equivocates with a superseded version
		{order(at+1, "d"), 2}, // equivocates with the newest version
		{order(at+2, "e"), 2},
		{testkit.Unsigned(2, mostro.KindOrder, at, "a", nostr.Tag{"d", "x"}), 2}, // the address of another author
	} {
		mustAppend(t, st, step.evt)
		if n := proofs(st); n != step.want {
			t.Errorf("after %q at %d: %d proofs, want %d", step.evt.Content, step.evt.CreatedAt-nostr.Timestamp(at), n, step.want)
		}
	}
}

func TestKeysAreCommittedAfterTheirEvents(t *testing.T) {
	clock := testkit.NewClock()
	st := mustOpenStore(t, t.TempDir(), clock)
	ctx := context.Background()
	key := cursorKey("wss://a", "f")
	for i := range 50 {
		p, err := st.Enqueue(ctx, Arrival{Event: testkit.Unsigned(1, mostro.KindOrder, int64(i), "", nostr.Tag{"d", fmt.Sprint(i)}), ReceivedAt: clock.Now()})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.queue.writeKeys(ctx, keyWrite{key, fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.(*Enqueued).done:
		default:
			t.Fatal("the cursor is ahead of its event")
		}
	}
	if v, err := st.keys.get(key); err != nil || string(v) != "49" {
		t.Errorf("cursor %q, %v", v, err)
	}
	if err := st.queue.writeKeys(ctx, keyWrite{key: key}); err != nil {
		t.Fatal(err)
	}
	if v, err := st.keys.get(key); err != nil || v != nil {
		t.Errorf("deleted cursor %q, %v", v, err)
	}
}

package relay

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/negentropy"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
)

func TestNegentropyOverTheSocket(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	at := testkit.Now()
	var want []string
	for i := range 60 {
		evt := testkit.Order(t, fmt.Sprint("o", i), at-int64(i/3), "pending")
		c.MustPublish(evt)
		want = append(want, evt.ID)
	}
	mail := testkit.Signed(t, mostro.KindGiftWrap, at, nostr.Tag{"p", want[0]})
	c.MustPublish(mail)
	c.MustPublish(testkit.Order(t, "o0", at+1, "success")) // supersedes the first
	newest := r.liveIDs(t)

	need := map[[32]byte]bool{}
	empty := &negentropy.Set{}
	empty.Seal()
	ours := &negentropy.Session{Set: empty, Limit: 60_000, Client: true, Need: func(id [32]byte) { need[id] = true }}
	c.Send("NEG-OPEN", "n", map[string]any{}, hex.EncodeToString(ours.Start()))
	for {
		frame := c.Expect("NEG-MSG", "n")
		msg, err := ours.Answer(hexBytes(t, frame[2]))
		if err != nil {
			t.Fatal(err)
		}
		if msg == nil {
			break
		}
		c.Send("NEG-MSG", "n", hex.EncodeToString(msg))
	}
	if len(need) != 60 || need[hex32.OrZero(want[0])] || need[hex32.OrZero(mail.ID)] {
		t.Errorf("%d ids; a superseded or private event among them: %t %t", len(need), need[hex32.OrZero(want[0])], need[hex32.OrZero(mail.ID)])
	}
	if len(newest) != 61 {
		t.Errorf("%d live events", len(newest))
	}
	c.Send("NEG-CLOSE", "n")
	c.Send("NEG-MSG", "n", "6100")
	c.Expect("NEG-ERR", "n", "closed: no such reconciliation is open")
	for _, bad := range []string{"61ff", "zz", "6100000280808080808080808001"} {
		c.Send("NEG-OPEN", "bad", map[string]any{}, bad)
		if frame := c.Expect("NEG-ERR", "bad"); frame[2] == "" {
			t.Error("no reason")
		}
	}
	c.Send("NEG-OPEN", "v", map[string]any{}, "62")
	if frame := c.Expect("NEG-MSG", "v"); frame[2] != "61" {
		t.Errorf("another version is answered %q", frame[2])
	}
	for i := range maxNegSessions {
		c.Send("NEG-OPEN", fmt.Sprint("s", i), map[string]any{"kinds": []int{1}}, "6100000200")
	}
	for range maxNegSessions - 1 {
		c.Expect("NEG-MSG")
	}
	c.Expect("NEG-ERR")
	c.WS.CloseNow()
	testkit.Eventually(t, "sessions give their snapshots back", func() bool {
		r.srv.negs.mu.Lock()
		defer r.srv.negs.mu.Unlock()
		for _, s := range r.srv.negs.sets {
			if s.users != 0 {
				return false
			}
		}
		return true
	})
}

// liveIDs returns the ids of all served events.
func (r *testRelay) liveIDs(tb testing.TB) []string {
	tb.Helper()
	return relaytest.IDs(tb, r.Store, nostr.Filter{}, 1<<20)
}

func TestLiveItemsEqualQuery(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	for i := range 40 {
		c.MustPublish(testkit.Order(t, fmt.Sprint(i), testkit.Now()-int64(i), []string{"pending", "success"}[i%2]))
	}
	since := nostr.Timestamp(testkit.Now() - 20)
	for _, f := range []nostr.Filter{{}, {Kinds: []int{mostro.KindOrder}, Tags: nostr.TagMap{"s": {"success"}}}, {Since: &since}, {Kinds: []int{1}}} {
		items, _, err := r.Store.LiveItems(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, it := range items {
			got = append(got, hex.EncodeToString(it.ID[:]))
		}
		want := relaytest.IDs(t, r.Store, f, 1000)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%v: %d items, the query finds %d", f, len(got), len(want))
		}
	}
}

func hexBytes(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

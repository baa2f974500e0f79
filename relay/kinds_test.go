package relay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestKindsNextToOrders publishes each kind over a socket. Announcements, the health of
// nodes and keysets are taken and served. Other events with the same kind numbers are
// refused.
func TestKindsNextToOrders(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	at := testkit.Now()
	for _, evt := range []*nostr.Event{testkit.Announcement(t, at), testkit.Health(t, at), testkit.Keyset(t, mostro.KindReceiptKeys, at), testkit.Keyset(t, 38387, at)} {
		c.MustPublish(evt)
		if got := c.Req(evt.ID[:8], testkit.Object{"kinds": []int{evt.Kind}, "ids": []string{evt.ID}}); !slices.Equal(got, []string{evt.ID}) {
			t.Errorf("kind %d: served %v", evt.Kind, got)
		}
	}
	head := r.Store.Head()
	d := nostr.Tag{"d", testkit.PubkeyOf(t, testkit.Secret)}
	for name, tc := range map[string]struct {
		kind int
		tags nostr.Tags
	}{
		"38387 of another application":  {38387, nostr.Tags{{"d", "x"}}},
		"announcement without an end":   {38387, nostr.Tags{{"d", "x"}, {"z", "announcement"}}},
		"38377 of another application":  {38377, nostr.Tags{{"d", "x"}, {"z", "offer"}}},
		"38389 of another application":  {38389, nostr.Tags{d, {"status", "ok"}}},
		"health of another node":        {38389, nostr.Tags{{"d", strings.Repeat("ab", 32)}, {"z", "health"}, {"expiration", fmt.Sprint(at + 180)}}},
		"health that outlives the node": {38389, nostr.Tags{d, {"z", "health"}, {"expiration", fmt.Sprint(at + 86400)}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := r.Dial()
			c.MustRefuse(testkit.Signed(t, tc.kind, at, tc.tags...), fmt.Sprintf("blocked: kind %d is kept here for", tc.kind))
		})
	}
	if r.Store.Head() != head {
		t.Errorf("%d events were logged", r.Store.Head()-head)
	}
}

// TestAttestationsArePrivate sends an attestation from every origin, and also to a relay whose
// operator lists the kind.
func TestAttestationsArePrivate(t *testing.T) {
	const reason = "invalid: kind 38388"
	evt := testkit.Attestation(t, testkit.Now())
	for name, kinds := range map[string][]int{"default kinds": nil, "kind listed": {mostro.KindOrder, mostro.KindAttestation}} {
		t.Run(name, func(t *testing.T) {
			r := startRelay(t, func(cfg *Config) { cfg.Policy.Kinds = kinds })
			r.Dial().MustRefuse(evt, reason)
			if res := r.importAll(t, testkit.NDJSON(t, evt)); len(res) != 1 || res[0].Outcome != "rejected" || !strings.HasPrefix(res[0].Reason, reason) {
				t.Errorf("imported: %+v", res)
			}
			if err := r.srv.Publish(context.Background(), evt); err == nil {
				t.Error("published by this program")
			}
			for _, origin := range []mostro.Origin{mostro.OriginClient, mostro.OriginLive, mostro.OriginBackfill, mostro.OriginImport, mostro.OriginSelf} {
				if got := r.srv.cfg.Policy.Refuse(evt, 500, evt.CreatedAt.Time(), origin); !strings.HasPrefix(got, reason) {
					t.Errorf("by road %s: %q", origin, got)
				}
			}
			if r.Store.Head() != 0 {
				t.Error("an attestation is in the log")
			}
		})
	}
}

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

// Events of the kinds next to 38383, as their publishers write them.
func testAnnouncement(tb testing.TB, at int64) *nostr.Event {
	tb.Helper()
	return testkit.SignedBy(tb, testkit.Secret, mostro.KindAnnouncement, at, `{"v":1,"severity":"info","locales":{"en":{"title":"T","body":"B"}}}`,
		nostr.Tag{"d", "2026-11-update"}, nostr.Tag{"expiration", fmt.Sprint(at + 86400)}, nostr.Tag{"min_version", "2.0.0"}, nostr.Tag{"z", "announcement"}, nostr.Tag{"y", "mostro"})
}

func testHealth(tb testing.TB, at int64) *nostr.Event {
	tb.Helper()
	since := fmt.Sprint(at - 3600)
	return testkit.Signed(tb, mostro.KindHealth, at, nostr.Tag{"d", pubkeyOf(tb, testkit.Secret)}, nostr.Tag{"y", "mostro", "Node"}, nostr.Tag{"z", "health"}, nostr.Tag{"status", "ok"},
		nostr.Tag{"check", "lnd_sync", "ok", since}, nostr.Tag{"check", "payouts", "ok", since}, nostr.Tag{"check", "relays", "ok", since}, nostr.Tag{"check", "database", "ok", since},
		nostr.Tag{"escrow_mode", "lightning"}, nostr.Tag{"lnd_block_height", "975000"}, nostr.Tag{"lnd_synced_to_chain", "true"}, nostr.Tag{"lnd_network", "mainnet"},
		nostr.Tag{"maintenance_mode", "false"}, nostr.Tag{"mostro_version", "0.20.2"}, nostr.Tag{"interval", "60"}, nostr.Tag{"seq", "17"}, nostr.Tag{"expiration", fmt.Sprint(at + 180)})
}

func testKeyset(tb testing.TB, kind int, at int64) *nostr.Event {
	tb.Helper()
	return testkit.Signed(tb, kind, at, nostr.Tag{"d", "2026-11"}, nostr.Tag{"z", "receipt-keys"}, nostr.Tag{"y", "mostro"})
}

func testAttestation(tb testing.TB, at int64) *nostr.Event {
	tb.Helper()
	return testkit.Signed(tb, mostro.KindAttestation, at, nostr.Tag{"p", strings.Repeat("ab", 32)}, nostr.Tag{"subject", "s"}, nostr.Tag{"reviews", "5"},
		nostr.Tag{"rating", "4.90"}, nostr.Tag{"z", "reputation-attestation"}, nostr.Tag{"expiration", fmt.Sprint(at + 86400)})
}

// TestKindsNextToOrders publishes each kind over a socket. Announcements, the
// health of nodes and keysets are taken and served. What only has their number
// is refused.
func TestKindsNextToOrders(t *testing.T) {
	r := startRelay(t, nil)
	c := r.dial()
	at := testkit.Now()
	for _, evt := range []*nostr.Event{testAnnouncement(t, at), testHealth(t, at), testKeyset(t, mostro.KindReceiptKeys, at), testKeyset(t, 38387, at)} {
		c.MustPublish(evt)
		if got := c.Req(evt.ID[:8], testkit.Object{"kinds": []int{evt.Kind}, "ids": []string{evt.ID}}); !slices.Equal(got, []string{evt.ID}) {
			t.Errorf("kind %d: served %v", evt.Kind, got)
		}
	}
	head := r.store.Head()
	d := nostr.Tag{"d", pubkeyOf(t, testkit.Secret)}
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
			c := r.dial()
			c.MustRefuse(testkit.Signed(t, tc.kind, at, tc.tags...), fmt.Sprintf("blocked: kind %d is kept here for", tc.kind))
		})
	}
	if r.store.Head() != head {
		t.Errorf("%d events were logged", r.store.Head()-head)
	}
}

// TestAttestationsArePrivate sends an attestation by every road, also to a relay
// whose operator lists the kind.
func TestAttestationsArePrivate(t *testing.T) {
	const reason = "invalid: kind 38388"
	evt := testAttestation(t, testkit.Now())
	for name, kinds := range map[string][]int{"default kinds": nil, "kind listed": {mostro.KindOrder, mostro.KindAttestation}} {
		t.Run(name, func(t *testing.T) {
			r := startRelay(t, func(cfg *Config) { cfg.Policy.Kinds = kinds })
			r.dial().MustRefuse(evt, reason)
			if res := r.importAll(t, ndjson(t, evt)); len(res) != 1 || res[0].Outcome != "rejected" || !strings.HasPrefix(res[0].Reason, reason) {
				t.Errorf("imported: %+v", res)
			}
			if err := r.srv.Publish(context.Background(), evt); err == nil {
				t.Error("published by this program")
			}
			for _, road := range []mostro.Road{mostro.RoadClient, mostro.RoadLive, mostro.RoadBackfill, mostro.RoadImport, mostro.RoadSelf} {
				if got := r.srv.cfg.Policy.Refuse(evt, 500, evt.CreatedAt.Time(), road); !strings.HasPrefix(got, reason) {
					t.Errorf("by road %s: %q", road, got)
				}
			}
			if r.store.Head() != 0 {
				t.Error("an attestation is in the log")
			}
		})
	}
}

// TestFollowedKinds follows a relay that has all kinds: stored events come by
// pages, later ones live. Health does not come, nor does an attestation.
func TestFollowedKinds(t *testing.T) {
	at := testkit.Now()
	held := []*nostr.Event{testAnnouncement(t, at-7200), testKeyset(t, mostro.KindReceiptKeys, at-7200), testKeyset(t, 38387, at-7200)}
	other := startOther(t, 100, append(slices.Clone(held), testHealth(t, at), testAttestation(t, at))...)
	r := startRelay(t, nil)
	us, _, _ := r.follow(UpstreamsConfig{}, other.url())
	testkit.Eventually(t, "live", func() bool { return healthOf(t, us, other.url()).State == "live" })
	r.awaitIDs("stored events", sortedIDs(held))
	fresh := testkit.SignedBy(t, testkit.Secret, mostro.KindAnnouncement, at, "{}", nostr.Tag{"d", "another"}, nostr.Tag{"expiration", fmt.Sprint(at + 86400)}, nostr.Tag{"z", "announcement"})
	for _, evt := range []*nostr.Event{testHealth(t, at+1), testAttestation(t, at+1), fresh} {
		other.publish(evt)
	}
	// The last of them has come, so the others before it would have.
	r.awaitIDs("live events", sortedIDs(append(held, fresh)))
}

package indexer

import (
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestHealthOfAnInstance checks that the directory shows the newest health of a Mostro, that an
// expired one means down, and that a deletion removes it.
func TestHealthOfAnInstance(t *testing.T) {
	l, clk := newMemLog(), newClock()
	dir := t.TempDir()
	o := openTest(t, l, clk, dir)
	type health struct {
		Status    string
		Checks    map[string]string
		At        *int64
		ExpiresAt *int64 `json:"expires_at"`
	}
	shown := func() *health {
		t.Helper()
		o.catchUp(t)
		return answer[struct{ Health *health }](t, o.Handler(), "/api/v1/instances/"+pubkeyOf(1)).Health
	}
	says := func(author int, status mostro.HealthStatus, at int64) *nostr.Event {
		evt := mostro.Health{Pubkey: pubkeyOf(author), CreatedAt: nostr.Timestamp(at), Status: status,
			Checks: []mostro.HealthCheck{{Name: mostro.CheckPayouts, State: mostro.CheckWarn}}, Expiration: nostr.Timestamp(at + 180)}.Event()
		signed := signless(evt)
		l.add(signed, clk.now(), mostro.OriginClient, false)
		return signed
	}
	clk.set(t0)
	l.add(infoEvent(1, t0-100, "one"), clk.now(), mostro.OriginClient, false)
	if h := shown(); h != nil {
		t.Errorf("a Mostro without a health has %+v", h)
	}
	says(1, mostro.HealthOK, t0-60)
	if h := shown(); h == nil || h.Status != "ok" {
		t.Errorf("the health is %+v", h)
	}
	newest := says(1, mostro.HealthDegraded, t0)
	says(1, mostro.HealthOK, t0-1)
	if h := shown(); h == nil || h.Status != "degraded" || h.Checks["payouts"] != "warn" || h.At == nil || *h.At != t0 || h.ExpiresAt == nil || *h.ExpiresAt != t0+180 {
		t.Errorf("the health is %+v", h)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = openTest(t, l, clk, dir)
	if h := shown(); h == nil || h.Status != "degraded" {
		t.Errorf("after a restart the health is %+v", h)
	}
	clk.set(t0 + 180)
	if h := shown(); h == nil || h.Status != "down" || len(h.Checks) != 0 {
		t.Errorf("the health that has expired is shown as %+v", h)
	}
	l.add(signless(nostr.Event{PubKey: pubkeyOf(1), Kind: mostro.KindDeletion, CreatedAt: nostr.Timestamp(t0 + 1), Tags: nostr.Tags{{"e", newest.ID}}}), clk.now(), mostro.OriginClient, false)
	if h := shown(); h != nil {
		t.Errorf("the health that was deleted is shown: %+v", h)
	}
}

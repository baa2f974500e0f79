package health

import (
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

const now = int64(1_792_000_000)

// TestPayouts holds the rules of mostrod 0.20.2 for the check of payouts.
func TestPayouts(t *testing.T) {
	for name, c := range map[string]struct {
		facts PayoutFacts
		want  mostro.CheckState
	}{
		"none":                                  {PayoutFacts{}, mostro.CheckOK},
		"unpaid for half an hour":               {PayoutFacts{Oldest: 1800, PaidAt: now - 60}, mostro.CheckOK},
		"unpaid for longer":                     {PayoutFacts{Oldest: 1801, PaidAt: now - 60}, mostro.CheckWarn},
		"unpaid for two hours, none was paid":   {PayoutFacts{Oldest: 7201, PaidAt: now - 7201}, mostro.CheckFail},
		"unpaid for two hours, no known payout": {PayoutFacts{Oldest: 7201}, mostro.CheckFail},
		"unpaid for two hours, others are paid": {PayoutFacts{Oldest: 7201, PaidAt: now - 7200}, mostro.CheckWarn},
		"most attempts fail":                    {PayoutFacts{Paid: 1, Failed: 2, FailedTrades: 2}, mostro.CheckFail},
		"half of the attempts fail":             {PayoutFacts{Paid: 2, Failed: 2, FailedTrades: 2}, mostro.CheckOK},
		"two attempts":                          {PayoutFacts{Failed: 2, FailedTrades: 2}, mostro.CheckOK},
		"one buyer with a bad invoice":          {PayoutFacts{Failed: 9, FailedTrades: 1}, mostro.CheckOK},
	} {
		if got := c.facts.check(now); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestAttempts(t *testing.T) {
	var a Attempts
	for i := range int64(2 * maxAttempts) {
		a.Add(now+i/4096, [16]byte{byte(i)}, i%4 == 0)
	}
	if len(a.list) > maxAttempts {
		t.Errorf("%d attempts are kept", len(a.list))
	}
	if f := a.Facts(now + 10); f.Paid == 0 || f.Failed == 0 || f.FailedTrades != 192 || f.PaidAt != now+1 {
		t.Errorf("%+v", f)
	}
	if f := a.Facts(now + 1 + Window); f.Paid+f.Failed+f.FailedTrades != 0 || f.PaidAt != now+1 {
		t.Errorf("after an hour: %+v", f)
	}
}

// synced are the facts of a node without a problem.
func synced(at int64) Facts { return Facts{At: at, LND: mostro.CheckOK, Configured: 1, Connected: 1} }

func TestWhenHealthIsPublished(t *testing.T) {
	p := Publisher{Interval: time.Minute}
	due := func(f Facts, want bool) mostro.Health {
		t.Helper()
		h, ok := p.Due(f)
		if ok != want {
			t.Errorf("at +%d: due %v", f.At-now, ok)
		}
		return h
	}
	h := due(synced(now), true)
	if h.Status != mostro.HealthOK || len(h.Checks) != 4 || h.Checks[0].Since != nostr.Timestamp(now) || *h.IntervalSeconds != 60 || *h.Maintenance {
		t.Errorf("%+v", h)
	}
	due(synced(now+59), false)
	due(synced(now+60), true)
	down := synced(now + 75)
	down.LND = mostro.CheckUnknown
	if h := due(down, true); h.Status != mostro.HealthDown || h.Checks[0].Since != nostr.Timestamp(now+75) || h.Checks[1].Since != nostr.Timestamp(now) {
		t.Errorf("%+v", h)
	}
	due(synced(now+80), false) // the distance of two events is ten seconds
	due(synced(now+85), true)
	kept := synced(now + 100)
	kept.Maintenance = true
	if !p.Watches(now+86, true) || p.Watches(now+86, false) || !p.Watches(now+100, false) {
		t.Error("the facts are looked at after 15 seconds, and at once at a change of the maintenance")
	}
	if h := due(kept, true); h.Status != mostro.HealthDegraded || !*h.Maintenance {
		t.Errorf("%+v", h)
	}
	if !p.Watches(now-3600, true) {
		t.Error("nothing is published until the clock has caught up")
	}
	due(synced(now-3600), true) // the clock was set back
	h.CreatedAt = nostr.Timestamp(now + 5)
	if Expire(&h); h.Expiration != nostr.Timestamp(now+5+180) {
		t.Errorf("expires at %d", h.Expiration)
	}
	if _, ok := (&Publisher{}).Due(synced(now)); ok || (&Publisher{}).Watches(now, true) {
		t.Error("the health is published although it is off")
	}
}

func TestRelays(t *testing.T) {
	p := Publisher{Interval: time.Minute}
	for _, c := range []struct {
		after     int64
		connected int
		want      mostro.CheckState
	}{
		{0, 3, mostro.CheckOK}, {10, 2, mostro.CheckOK}, {309, 1, mostro.CheckOK}, {310, 2, mostro.CheckWarn},
		{320, 0, mostro.CheckFail}, {330, 2, mostro.CheckWarn}, {340, 3, mostro.CheckOK}, {350, 2, mostro.CheckOK},
	} {
		f := synced(now + c.after)
		f.Configured, f.Connected = 3, c.connected
		p.check(f)
		if got := p.checks[2]; got.Name != mostro.CheckRelays || got.State != c.want {
			t.Errorf("%d s, %d of 3 relays: %+v", c.after, c.connected, got)
		}
	}
}

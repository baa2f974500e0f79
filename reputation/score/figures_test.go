package score

import (
	"fmt"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

// TestFactsKeepWordAndWitnessApart: a month of imported history raises the node's own word
// and no witnessed number. A node that tells of its health is up in those hours only.
func TestFactsKeepWordAndWitnessApart(t *testing.T) {
	node := scoretest.KeyOf("facts")
	w := &scoretest.World{T: t}
	w.Honest(node, 0, 40, "0.9")
	for d := range 20 { // imported history of 20 of the last days, two trades a day
		for i := range 2 {
			n, when := 500_000+2*d+i, scoretest.At(float64(39-d)+.1)
			for step, status := range []mostro.Status{mostro.StatusPending, mostro.StatusInProgress, mostro.StatusSuccess} {
				w.OrderBy(node, n, status, 5000, when.Add(time.Duration(step)*20*time.Minute), mostro.OriginBackfill)
			}
		}
	}
	dispute := mostro.Dispute{Pubkey: node, D: scoretest.OrderID(7), Initiator: "buyer", State: mostro.DisputeStateInitiated}
	w.Event(dispute.Event(), scoretest.At(35), mostro.OriginLive)
	health := func(status mostro.HealthStatus, when time.Time, origin mostro.Origin) {
		h := mostro.Health{Pubkey: node, Status: status, Expiration: nostr.Timestamp(when.Add(3 * time.Minute).Unix())}
		w.Event(h.Event(), when, origin)
	}
	for h := range 20 { // 20 hours: up in 15 of them, and an event in none of the last 4
		switch {
		case h < 15:
			health(mostro.HealthDown, scoretest.At(39).Add(time.Duration(h)*time.Hour), mostro.OriginLive)
			health(mostro.HealthOK, scoretest.At(39).Add(time.Duration(h)*time.Hour+time.Minute), mostro.OriginLive)
		case h < 16:
			health(mostro.HealthDown, scoretest.At(39).Add(time.Duration(h)*time.Hour), mostro.OriginLive)
		default:
			health(mostro.HealthOK, scoretest.At(39).Add(time.Duration(h)*time.Hour), mostro.OriginBackfill)
		}
	}
	stranger := mostro.Health{Pubkey: scoretest.KeyOf("no info"), Status: mostro.HealthOK, Expiration: nostr.Timestamp(scoretest.At(41).Unix())}
	w.Event(stranger.Event(), scoretest.At(39), mostro.OriginLive)

	l := NewLedger(DefaultParams(), saysSo{})
	for _, e := range w.Entries {
		l.Apply(e)
	}
	scores := l.Compute(scoretest.At(39.99))
	if len(scores) != 1 {
		t.Fatalf("%d scores, want one: health alone makes no Mostro", len(scores))
	}
	f := scores[0].Facts
	for name, c := range map[string]struct{ got, want Triple }{
		"7 days":  {f.Trades7, Triple{Claimed: 7 + 14, Witnessed: 7}},
		"30 days": {f.Trades30, Triple{Claimed: 30 + 40, Witnessed: 30}},
		"90 days": {f.Trades90, Triple{Claimed: 40 + 40, Witnessed: 40}},
	} {
		if c.got != c.want {
			t.Errorf("trades of %s are %+v, want %+v", name, c.got, c.want)
		}
	}
	if got := f.LastClaimed.Format(time.DateOnly); got != scoretest.At(39).Format(time.DateOnly) {
		t.Errorf("last claimed trade on %s", got)
	}
	if got := f.LastWitnessed.Sub(scoretest.At(39.3)); got < 0 || got > time.Hour {
		t.Errorf("last witnessed trade %v after its order", got)
	}
	if f.DisputesPer100Claimed != 100*One/80 || f.DisputesPer100Witnessed != 100*One/40 {
		t.Errorf("disputes of 100: %s claimed, %s witnessed", f.DisputesPer100Claimed, f.DisputesPer100Witnessed)
	}
	if f.HealthHours != 23 || f.HealthUp != 15*One/23 {
		t.Errorf("health: up %s of %d hours, want 15 of 23", f.HealthUp, f.HealthHours)
	}
	if f.InfoUp < 900_000 || f.InfoUpDays < 29 || f.InfoUpDays > 31 {
		t.Errorf("infos: up %s of %d days", f.InfoUp, f.InfoUpDays)
	}
}

// TestFactsFollowAChange: the days of claimed trades stay true if an order changes after it
// was counted.
func TestFactsFollowAChange(t *testing.T) {
	node := scoretest.KeyOf("changes")
	w := &scoretest.World{T: t}
	w.Info(node, "", scoretest.At(0))
	for n := range 3 {
		w.Trade(node, n, 9000, scoretest.At(float64(n)+.2))
	}
	l := NewLedger(DefaultParams(), saysSo{})
	for i, e := range w.Entries {
		l.Apply(e)
		l.Update(scoretest.At(float64(i)), true)
	}
	// The node signs a later version of one order: its claim is no success any more.
	change := &scoretest.World{T: t}
	change.Order(node, 1, mostro.StatusCanceled, 9000, scoretest.At(3))
	l.Apply(change.Entries[0])
	anew := NewLedger(DefaultParams(), saysSo{})
	for _, e := range append(w.Entries, change.Entries...) {
		anew.Apply(e)
	}
	kept, fresh := l.Update(scoretest.At(20), true)[0].Facts, anew.Compute(scoretest.At(20))[0].Facts
	if fmt.Sprint(kept) != fmt.Sprint(fresh) || kept.Trades30.Claimed != 2 {
		t.Errorf("kept %+v, anew %+v, want 2 claimed trades of 30 days", kept, fresh)
	}
}

// TestHealthOfManyDaysIsBounded: a node that reports every minute for a year is held as hours
// of about a month.
func TestHealthOfManyDaysIsBounded(t *testing.T) {
	node := scoretest.KeyOf("talks much")
	l := NewLedger(DefaultParams(), saysSo{})
	w := &scoretest.World{T: t}
	w.Info(node, "", scoretest.At(0))
	for h := range 24 * 100 {
		m := mostro.Health{Pubkey: node, Status: mostro.HealthOK, Expiration: nostr.Timestamp(scoretest.At(float64(h)/24 + .1).Unix())}
		w.Event(m.Event(), scoretest.At(float64(h)/24), mostro.OriginLive)
	}
	for _, e := range w.Entries {
		l.Apply(e)
	}
	f := l.Compute(scoretest.At(100))[0].Facts
	if f.HealthHours != 24*HealthDays || f.HealthUp != One {
		t.Errorf("up %s of %d hours, want 1 of %d", f.HealthUp, f.HealthHours, 24*HealthDays)
	}
}

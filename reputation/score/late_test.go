package score

import (
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

// late appends an event that is received some time after its created_at.
func late(w *scoretest.World, evt nostr.Event, dated time.Time, by time.Duration, origin mostro.Origin) {
	w.Event(evt, dated, origin)
	w.Entries[len(w.Entries)-1].ReceivedAt = dated.Add(by)
}

func orderEvent(node string, n int, status mostro.Status, expires time.Time) nostr.Event {
	sats := int64(20_000)
	o := mostro.Order{Pubkey: node, D: scoretest.OrderID(n), Side: mostro.SideSell, Status: status, Fiat: "VES", AmountSats: &sats, Network: "mainnet", ExpiresAt: nostr.Timestamp(expires.Unix())}
	return o.Event()
}

// Facts against a node count however late they arrive. Facts in favour of a node do not
// count if they arrive late.
func TestLateEnds(t *testing.T) {
	node, far := scoretest.KeyOf("a"), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	play := func(change func(w *scoretest.World)) Evidence {
		w := &scoretest.World{T: t}
		for d := range 10 {
			w.Info(node, "", scoretest.At(float64(d)))
		}
		change(w)
		return scoreOf(t, ledgerOf(w), node, scoretest.At(10)).Evidence
	}
	taken := func(w *scoretest.World, expires time.Time) {
		w.Event(orderEvent(node, 1, mostro.StatusPending, expires), scoretest.At(1), mostro.OriginLive)
		w.Event(orderEvent(node, 1, mostro.StatusInProgress, expires), scoretest.At(1.1), mostro.OriginLive)
	}
	for name, c := range map[string]struct {
		change func(w *scoretest.World)
		want   func(Evidence) *Triple
		closed bool
	}{
		"a cancellation dated back": {func(w *scoretest.World) {
			taken(w, scoretest.At(2))
			late(w, orderEvent(node, 1, mostro.StatusCanceled, scoretest.At(2)), scoretest.At(1.2), 11*time.Minute, mostro.OriginClient)
		}, func(e Evidence) *Triple { return &e.Failures }, true},
		"a cancellation heard after our outage": {func(w *scoretest.World) {
			taken(w, scoretest.At(2))
			late(w, orderEvent(node, 1, mostro.StatusCanceled, scoretest.At(2)), scoretest.At(1.2), 72*time.Hour, mostro.OriginBackfill)
		}, func(e Evidence) *Triple { return &e.Failures }, true},
		"one dated back to its taking": {func(w *scoretest.World) {
			taken(w, scoretest.At(2))
			late(w, orderEvent(node, 1, mostro.StatusCanceled, scoretest.At(2)), scoretest.At(1.101), 3*time.Hour, mostro.OriginClient)
		}, func(e Evidence) *Triple { return &e.Failures }, true},
		"taken, as is heard late, and cancelled": {func(w *scoretest.World) {
			w.Event(orderEvent(node, 1, mostro.StatusPending, scoretest.At(2)), scoretest.At(1), mostro.OriginLive)
			late(w, orderEvent(node, 1, mostro.StatusInProgress, scoretest.At(2)), scoretest.At(1.1), 11*time.Minute, mostro.OriginClient)
			w.Event(orderEvent(node, 1, mostro.StatusCanceled, scoretest.At(2)), scoretest.At(1.2), mostro.OriginLive)
		}, func(e Evidence) *Triple { return &e.Failures }, true},
		"a success heard after our outage": {func(w *scoretest.World) {
			taken(w, scoretest.At(2))
			late(w, orderEvent(node, 1, mostro.StatusSuccess, scoretest.At(2)), scoretest.At(1.2), 72*time.Hour, mostro.OriginBackfill)
		}, func(e Evidence) *Triple { return &e.EndedLate }, true},
		"an offer withdrawn in our outage": {func(w *scoretest.World) {
			w.Event(orderEvent(node, 1, mostro.StatusPending, far), scoretest.At(1), mostro.OriginLive)
			late(w, orderEvent(node, 1, mostro.StatusCanceled, far), scoretest.At(1.2), 72*time.Hour, mostro.OriginBackfill)
		}, func(e Evidence) *Triple { return &e.EndedLate }, true},
		"no end, to expire in 2099": {func(w *scoretest.World) { taken(w, far) }, func(e Evidence) *Triple { return &e.Omitted }, true},
		"an offer that is to expire in 2099": {func(w *scoretest.World) {
			w.Event(orderEvent(node, 1, mostro.StatusPending, far), scoretest.At(1), mostro.OriginLive)
		}, func(e Evidence) *Triple { return &e.OpenSats }, false},
		"both ends, the bad one late": {func(w *scoretest.World) {
			taken(w, scoretest.At(2))
			late(w, orderEvent(node, 1, mostro.StatusSuccess, scoretest.At(2)), scoretest.At(1.15), 30*time.Minute, mostro.OriginClient)
			late(w, orderEvent(node, 1, mostro.StatusCanceled, scoretest.At(2)), scoretest.At(1.2), 30*time.Minute, mostro.OriginClient)
		}, func(e Evidence) *Triple { return &e.Failures }, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := play(c.change)
			if got := c.want(e); got.Witnessed == 0 {
				t.Errorf("it does not show: %+v", e)
			}
			if open := e.OpenSats.Witnessed > 0; open == c.closed {
				t.Errorf("%d sats are open", e.OpenSats.Witnessed)
			}
			if bad, ended := e.Failures.Witnessed+e.Omitted.Witnessed, e.EndedLate.Witnessed; bad+ended > 1 || e.Successes.Witnessed > 0 {
				t.Errorf("one order is %d failures, %d late ends and %d successes", bad, ended, e.Successes.Witnessed)
			}
		})
	}
}

// A backdated dispute counts. A dispute that was resolved during an outage of this relay
// is no failure.
func TestLateDisputes(t *testing.T) {
	node := scoretest.KeyOf("a")
	play := func(away float64, change func(w *scoretest.World)) Evidence {
		w := &scoretest.World{T: t}
		for d := range 40 {
			if day := float64(d) / 4; away == 0 || day < 2 || day > 2+away {
				w.Info(node, "", scoretest.At(day))
			}
		}
		change(w)
		return scoreOf(t, ledgerOf(w), node, scoretest.At(10)).Evidence
	}
	dispute := func(state mostro.DisputeState) nostr.Event {
		return mostro.Dispute{Pubkey: node, D: "q", Initiator: "buyer", State: state}.Event()
	}
	for name, c := range map[string]struct {
		away                           float64
		change                         func(w *scoretest.World)
		disputes, resolved, unresolved int64
	}{
		"dated back by 11 minutes, never resolved": {0, func(w *scoretest.World) {
			late(w, dispute(mostro.DisputeStateInitiated), scoretest.At(3), 11*time.Minute, mostro.OriginClient)
		}, 1, 0, 1},
		"its end after five days dated back to the first": {0, func(w *scoretest.World) {
			w.Event(dispute(mostro.DisputeStateInitiated), scoretest.At(3), mostro.OriginLive)
			late(w, dispute(mostro.DisputeStateSettled), scoretest.At(3.5), 108*time.Hour, mostro.OriginClient)
		}, 1, 0, 1},
		"resolved in our outage": {4, func(w *scoretest.World) {
			w.Event(dispute(mostro.DisputeStateInitiated), scoretest.At(1.9), mostro.OriginLive)
			late(w, dispute(mostro.DisputeStateSettled), scoretest.At(3), 73*time.Hour, mostro.OriginBackfill)
		}, 1, 0, 0},
		"resolved in time": {0, func(w *scoretest.World) {
			w.Event(dispute(mostro.DisputeStateInitiated), scoretest.At(3), mostro.OriginLive)
			w.Event(dispute(mostro.DisputeStateSettled), scoretest.At(3.5), mostro.OriginLive)
		}, 1, 1, 0},
		"of a time before the node was watched": {0, func(w *scoretest.World) {
			late(w, dispute(mostro.DisputeStateInitiated), scoretest.At(-20), 500*time.Hour, mostro.OriginBackfill)
		}, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			e := play(c.away, c.change)
			if e.Disputes.Witnessed != c.disputes || e.Resolved.Witnessed != c.resolved || e.Unresolved.Witnessed != c.unresolved {
				t.Errorf("%d disputes, %d resolved, %d not; want %d, %d, %d", e.Disputes.Witnessed, e.Resolved.Witnessed, e.Unresolved.Witnessed, c.disputes, c.resolved, c.unresolved)
			}
		})
	}
}

// An honest node whose clock is off has no rank, and its score says why.
func TestClockThatIsOff(t *testing.T) {
	node := scoretest.KeyOf("a")
	play := func(off time.Duration, from, days int, jitter bool) Score {
		w := &scoretest.World{T: t}
		for i := range 8 * days {
			when := scoretest.At(float64(from) + float64(i)/8)
			skew := off
			if jitter {
				skew += time.Duration(i) * time.Hour
			}
			late(w, mostro.Info{Pubkey: node, Version: "0.18.5", ProtocolVersion: 2}.Event(), when.Add(-skew), skew, mostro.OriginLive)
		}
		return scoreOf(t, ledgerOf(w), node, scoretest.At(float64(from+days)))
	}
	has := func(s Score) bool {
		for _, f := range s.Flags {
			if f.Name == FlagClock {
				return true
			}
		}
		return false
	}
	for off, words := range map[time.Duration]string{11 * time.Minute: "11 minutes after", -11 * time.Minute: "11 minutes before", 3 * time.Hour: "180 minutes after"} {
		s := play(off, 0, 40, false)
		if s.Unranked != UnrankedClock || !has(s) || !strings.Contains(strings.Join(s.Gates, ";"), words) {
			t.Errorf("off by %s: unranked %q, gates %q, flags %v", off, s.Unranked, s.Gates, s.Flags)
		}
	}
	if s := play(9*time.Minute, 0, 40, false); s.Unranked != "" || has(s) {
		t.Errorf("off by nine minutes: unranked %q, flags %v", s.Unranked, s.Flags)
	}
	if s := play(11*time.Minute, 0, 40, true); s.Unranked != UnrankedUnwitnessed || has(s) {
		t.Errorf("late for other reasons: unranked %q, flags %v", s.Unranked, s.Flags)
	}
}

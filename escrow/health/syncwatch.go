package health

import (
	"cmp"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// ReasonLNDUnsynced is the reason of a maintenance that began by itself, because the Lightning
// node was not synced with the chain.
const ReasonLNDUnsynced = "lnd_unsynced"

const (
	// defaultDeferAfter is the time without a synced answer after which payouts wait. A node
	// is unsynced for some seconds after each block.
	defaultDeferAfter = time.Minute
	// answerLasts is the age at which an answer of the node says nothing any more.
	answerLasts = 45 * time.Second
	// spareFor is the time after the end of a deferral in which failures do not count. A
	// payment that began before the end may fail after it: its search for a route takes up to
	// a minute.
	spareFor = 2 * time.Minute
)

// SyncWatch follows whether the Lightning node is synced with the chain. A node that is not
// computes time locks from an old height, and every payee refuses its payments. A SyncWatch
// reads no clock. The zero value is ready.
type SyncWatch struct {
	// DeferAfter is the time without a synced answer after which payouts wait. 0: one minute.
	DeferAfter time.Duration

	// Each time is the begin of the present state, or zero.
	observed  time.Time // the last answer, or failure to answer
	unhealthy time.Time // no synced answer since
	unsynced  time.Time // unsynced since; an outage keeps this time, because a node that was stuck is not cured by it
	synced    time.Time // synced answers only since
	answered  bool      // the last observation was an answer
	ended     time.Time // end of the last deferral
}

// Observe records an answer of the node. If the first answer after the start is not a synced
// one, payouts wait at once.
func (w *SyncWatch) Observe(now time.Time, answered, synced bool) {
	first := w.observed.IsZero()
	if w.Defers(now) && synced {
		w.ended = now
	}
	w.observed, w.answered = now, answered
	if answered && synced {
		w.unhealthy, w.unsynced = time.Time{}, time.Time{}
		if w.synced.IsZero() {
			w.synced = now
		}
		return
	}
	w.synced = time.Time{}
	if w.unhealthy.IsZero() {
		w.unhealthy = now
		if first {
			w.unhealthy = now.Add(-w.after())
		}
	}
	if answered && w.unsynced.IsZero() {
		w.unsynced = now
	}
}

func (w *SyncWatch) after() time.Duration { return cmp.Or(w.DeferAfter, defaultDeferAfter) }

// Defers reports whether payouts wait for the node.
func (w *SyncWatch) Defers(now time.Time) bool {
	return !w.unhealthy.IsZero() && now.Sub(w.unhealthy) >= w.after() && now.Sub(w.observed) <= answerLasts
}

// Spares reports whether a failed payout is the fault of the node's state.
func (w *SyncWatch) Spares(now time.Time) bool {
	return w.Defers(now) || !w.ended.IsZero() && now.Sub(w.ended) < spareFor
}

// UnsyncedFor returns the time for which the node has answered that it is not synced, or 0. An
// outage does not count as an answer.
func (w *SyncWatch) UnsyncedFor(now time.Time) time.Duration {
	if !w.answered || w.unsynced.IsZero() || now.Sub(w.observed) > answerLasts {
		return 0
	}
	return now.Sub(w.unsynced)
}

// SyncedFor returns the time for which the node has been synced, or 0.
func (w *SyncWatch) SyncedFor(now time.Time) time.Duration {
	if w.synced.IsZero() || now.Sub(w.observed) > answerLasts {
		return 0
	}
	return now.Sub(w.synced)
}

// Maintenance is a state in which no new trade begins, so that the open ones can end. It
// survives a restart.
type Maintenance struct {
	On     bool   `json:"on"`
	Reason string `json:"reason,omitzero"`
	Since  int64  `json:"since,omitzero"` // unix seconds
	// Automatic reports that the program began the maintenance. Only such a maintenance ends
	// by itself. The text of the reason decides nothing.
	Automatic bool `json:"automatic,omitzero"`
}

// Next returns the maintenance that the state of the node asks for. It begins after the node was
// unsynced for the time after, or never if after is 0, and ends after the node was synced for the
// time clear.
func (m Maintenance) Next(w *SyncWatch, after, clear time.Duration, now time.Time) Maintenance {
	switch {
	case after <= 0:
		if m.On && m.Automatic {
			return Maintenance{}
		}
	case !m.On && w.UnsyncedFor(now) >= after:
		return Maintenance{On: true, Reason: ReasonLNDUnsynced, Automatic: true}
	case m.On && m.Automatic && w.SyncedFor(now) >= max(clear, time.Second):
		return Maintenance{}
	}
	return m
}

// defaultUnsyncedFails is the time without sync after which the Lightning node has failed, if
// none is named.
const defaultUnsyncedFails = 10 * time.Minute

// Check returns the state of the node for its health. A node that does not answer is unknown.
func (w *SyncWatch) Check(now time.Time, failAfter time.Duration) mostro.CheckState {
	switch {
	case w.observed.IsZero() || !w.answered || now.Sub(w.observed) > answerLasts:
		return mostro.CheckUnknown
	case w.unsynced.IsZero():
		return mostro.CheckOK
	case now.Sub(w.unsynced) >= cmp.Or(failAfter, defaultUnsyncedFails):
		return mostro.CheckFail
	case w.Defers(now):
		return mostro.CheckWarn
	}
	return mostro.CheckOK
}

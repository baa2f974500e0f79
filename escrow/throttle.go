package escrow

import "github.com/mostrodex/mostrodex/escrow/trade"

// Throttle counts how often a taker took orders and cancelled them before payment. Each
// time, the maker's order leaves the book and comes back, at no cost to the taker.
type Throttle struct {
	Subject string `json:"subject"` // a trade key or an identity
	Count   int    `json:"count"`
	At      int64  `json:"at"` // unix seconds of the last cancel
}

const (
	throttleFirst  = int64(60) // wait of a taker after the first cancel before payment, in seconds; doubles
	throttleMost   = 3600      // longest wait, in seconds
	throttleForget = 24 * 3600 // seconds without a cancel before payment until the count is removed
)

// until returns the time before which the subject cannot take an order.
func (t Throttle) until() int64 {
	return t.At + min(throttleFirst<<min(max(t.Count-1, 0), 10), throttleMost)
}

// throttles holds the takers that cancelled before payment, by trade key or identity.
type throttles map[string]Throttle

// wait reports whether a taker must wait, by its key or its identity.
func (ts throttles) wait(p trade.Party, at int64) bool {
	return ts[p.Key].waits(at) || ts[p.Identity].waits(at)
}

// waits reports whether the subject must wait. A clock that was set back does not extend
// the wait.
func (t Throttle) waits(at int64) bool {
	return t.Count > 0 && at < t.until() && at >= t.At-throttleFirst
}

// count adds a taker's cancel before payment to the batch, by the taker's key and identity.
func (ts throttles) count(b *batch, p trade.Party, at int64) {
	subjects := []string{p.Key, p.Identity}
	if p.Private() {
		subjects = subjects[:1]
	}
	for _, subject := range subjects {
		t := ts[subject]
		if at-t.At >= throttleForget {
			t.Count = 0
		}
		t = Throttle{Subject: subject, Count: t.Count + 1, At: at}
		ts[subject] = t
		b.commit.Throttles = append(b.commit.Throttles, t)
	}
}

// maxThrottles is the number of stored throttles above which a throttle is removed as soon
// as its wait is over, and not after a day. A stranger can create any number of keys.
const maxThrottles = 50_000

// forget removes expired throttles, at most as many as one batch holds.
func (ts throttles) forget(b *batch, at int64) {
	crowded := len(ts) > maxThrottles
	n := 0
	for subject, t := range ts {
		if at-t.At < throttleForget && !(crowded && !t.waits(at)) {
			continue
		}
		delete(ts, subject)
		b.commit.Throttles = append(b.commit.Throttles, Throttle{Subject: subject})
		if n++; n == maxBatch {
			return
		}
	}
}

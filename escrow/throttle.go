package escrow

import "github.com/mostrodex/mostrodex/escrow/trade"

// Throttle is how often a taker took orders and cancelled them unpaid. Each
// time the maker's order leaves the book and comes back, at no cost to the
// taker.
type Throttle struct {
	Subject string `json:"subject"` // a trade key or an identity
	Count   int    `json:"count"`
	At      int64  `json:"at"` // unix seconds of the last cancel
}

const (
	throttleFirst  = int64(60) // seconds that a taker waits after the first unpaid cancel; doubles
	throttleMost   = 3600      // seconds
	throttleForget = 24 * 3600 // seconds without an unpaid cancel
)

// until returns the time before which the subject takes no order.
func (t Throttle) until() int64 {
	return t.At + min(throttleFirst<<min(max(t.Count-1, 0), 10), throttleMost)
}

// throttled says whether a taker has to wait, by its key or its identity.
func (b *TradeBook) throttled(p trade.Party, at int64) bool {
	return b.throttles[p.Key].waits(at) || b.throttles[p.Identity].waits(at)
}

// waits says whether the subject has to wait. A clock that was set back does
// not prolong the wait.
func (t Throttle) waits(at int64) bool {
	return t.Count > 0 && at < t.until() && at >= t.At-throttleFirst
}

// throttle counts an unpaid cancel of a taker, by its key and its identity.
func (b *TradeBook) throttle(p trade.Party, at int64) {
	subjects := []string{p.Key, p.Identity}
	if p.Private() {
		subjects = subjects[:1]
	}
	for _, subject := range subjects {
		t := b.throttles[subject]
		if at-t.At >= throttleForget {
			t.Count = 0
		}
		t = Throttle{Subject: subject, Count: t.Count + 1, At: at}
		b.throttles[subject] = t
		b.batch.commit.Throttles = append(b.batch.commit.Throttles, t)
	}
}

// maxThrottles is how many takers are remembered. Above it those whose wait is
// over are forgotten before a day has passed: a stranger has as many keys as it
// wants.
const maxThrottles = 50_000

// forget drops throttles that are forgiven, as many as one batch takes.
func (b *TradeBook) forget(at int64) {
	crowded := len(b.throttles) > maxThrottles
	n := 0
	for subject, t := range b.throttles {
		if at-t.At < throttleForget && !(crowded && !t.waits(at)) {
			continue
		}
		delete(b.throttles, subject)
		b.batch.commit.Throttles = append(b.batch.commit.Throttles, Throttle{Subject: subject})
		if n++; n == maxBatch {
			return
		}
	}
}

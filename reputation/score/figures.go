package score

import (
	"slices"
	"time"
)

// Facts are counts about a node that a person can read without knowing the method of the
// score. A window of n days covers today and the n-1 days before (UTC).
type Facts struct {
	Trades7, Trades30, Trades90 Triple // trades that ended well

	LastClaimed   time.Time // the day of the last success that the node claims; zero if there is none
	LastWitnessed time.Time // the receipt of the last witnessed success; zero if there is none

	// Disputes of 100 taken orders, as claimed and as witnessed. The value is -1 if no
	// order was taken.
	DisputesPer100Claimed, DisputesPer100Witnessed Micro

	// InfoUp is the share of the last LiveDays days on which the info events of the node
	// came as often as usual, from 0 to 1. InfoUp is -1 if nothing can be said.
	InfoUp     Micro
	InfoUpDays int64 // number of days that InfoUp covers

	// HealthUp is the share of hours with a health event that does not say "down", since
	// the first health event of the last HealthDays days. HealthUp is -1 if there is none.
	HealthUp    Micro
	HealthHours int64 // number of hours that HealthUp covers

	// Lightning are the Lightning nodes that signed the key of the Mostro, sorted.
	Lightning []string
}

// HealthDays is the number of days for which health events are remembered.
const HealthDays = 30

// tradeDays counts the trades of a node by day, as the node claims.
type tradeDays map[int64]int64

func (t tradeDays) within(days, asOf int64) (n int64) {
	for back := range days {
		n += t[asOf/day-back]
	}
	return n
}

// last returns the newest day up to a moment. A node can date a success ahead.
func (t tradeDays) last(asOf int64) time.Time {
	last := int64(0)
	for d := range t {
		if d <= asOf/day {
			last = max(last, d)
		}
	}
	return moment(last * day)
}

// factsOf computes the facts of a node.
func factsOf(d *derived, claimed tradeDays, asOf int64) (f Facts) {
	for _, w := range []struct {
		days int64
		to   *Triple
	}{{7, &f.Trades7}, {30, &f.Trades30}, {90, &f.Trades90}} {
		w.to.Claimed = claimed.within(w.days, asOf)
		from := (asOf/day - w.days + 1) * day
		for i := len(d.trades) - 1; i >= 0 && d.trades[i].end >= from; i-- {
			if t := d.trades[i]; t.good {
				w.to.Witnessed++
				if t.cost > 0 {
					w.to.Costed++
				}
			}
		}
	}
	f.LastClaimed = claimed.last(asOf)
	for i := len(d.trades) - 1; i >= 0; i-- {
		if d.trades[i].good {
			f.LastWitnessed = moment(d.trades[i].end)
			break
		}
	}
	e := &d.evidence
	f.DisputesPer100Claimed, f.DisputesPer100Witnessed = perHundred(e.Disputes.Claimed, e.Taken.Claimed), perHundred(e.Disputes.Witnessed, e.Taken.Witnessed)
	f.InfoUp, f.InfoUpDays = -1, 0
	if d.upOf > 0 {
		f.InfoUp, f.InfoUpDays = min(One, d.upSum.over(d.upOf)), int64((d.upOf+One-1)/One)
	}
	for key, named := range d.node.Lightning {
		if named.Signed {
			f.Lightning = append(f.Lightning, key)
		}
	}
	slices.Sort(f.Lightning)
	f.HealthUp = -1
	if up, all := d.node.Health.within(asOf); all > 0 {
		f.HealthUp, f.HealthHours = ratio(up, all), all
	}
	return f
}

func perHundred(n, of int64) Micro {
	if of <= 0 {
		return -1
	}
	return ratio(100*n, of)
}

// healthHours are the hours in which a health event of a node was witnessed. The value is
// true if one of the events of the hour does not say "down".
type healthHours map[int64]bool

// note notes a health event in its hour. An hour with several events has the best state,
// because a node that says "down" for a minute was up in the rest of the hour.
func (x healthHours) note(received int64, down bool) {
	hour := received / 3600
	x[hour] = x[hour] || !down
	if len(x) > 24*(HealthDays+2) {
		for h := range x {
			if h < hour-24*HealthDays {
				delete(x, h)
			}
		}
	}
}

// within returns the number of hours in which the node said that it was up, and the
// number of hours since its first health event, both of the last HealthDays days. The hour
// of asOf has not ended and does not count.
func (x healthHours) within(asOf int64) (up, all int64) {
	now := asOf / 3600
	from := now - 24*HealthDays
	first := now
	for h, ok := range x {
		if h < from || h >= now {
			continue
		}
		first = min(first, h)
		if ok {
			up++
		}
	}
	return up, now - first
}

package stats

import (
	"math"
	"slices"
)

// nodeStats holds the figures of section 2.2 (mostro-score), which look at the newest
// version of each order alone.
type nodeStats struct {
	amounts           []float64 // of the successful orders in the window
	sats              total
	trades            int64
	firstFee, firstOK int64 // unix seconds; 0 none
	last              int64
	week, month, term int64 // successes of the last 7, 30 and 90 days
	activeDays        int64
	longestPause      int64
	premiums          []float64 // percent
	fiats, labels     map[uint32]int64
	fiatsAll, allPM   int64
	bond              *bool
}

// scoreOf computes the figures of section 2.2 from the orders that the scan selects.
func scoreOf(s *scan) *nodeStats {
	from, now := s.bounds[len(s.bounds)-2], s.bounds[len(s.bounds)-1]
	n := &nodeStats{fiats: map[uint32]int64{}, labels: map[uint32]int64{}}
	byCohort := make([]int64, len(s.c.cohorts))
	const day = 86400
	today := (now - 1) / day
	var days [30]bool
	want := partNewest | partSats | partPremium
	if s.q.Clock == Witnessed {
		want |= partSuccess
	}
	s.reads(want)
	for j := range s.c.orders.chunks {
		chunk := s.view.of(j)
		for k := range s.c.orders.size(j) {
			if chunk.status[k] != statusSuccess || s.targets[chunk.cohort[k]] == nil {
				continue
			}
			t := int64(chunk.newest[k])
			if s.q.Clock == Witnessed {
				t = int64(chunk.at[Witnessed][firstSuccess][k])
			}
			if t == 0 || t >= now {
				continue
			}
			if n.firstOK == 0 || t < n.firstOK {
				n.firstOK = t
			}
			n.last = max(n.last, t)
			if age := now - t; age <= 90*day {
				n.term++
				if age <= 30*day {
					n.month++
				}
				if age <= 7*day {
					n.week++
				}
			}
			if d := today - t/day; d >= 0 && d < 30 {
				days[29-d] = true
			}
			if t < from {
				continue
			}
			n.trades++
			if sats := chunk.sats[k]; sats >= 0 {
				n.amounts = append(n.amounts, float64(sats))
				n.sats.add(sats)
			}
			byCohort[chunk.cohort[k]]++
			if p := chunk.premium[k]; !math.IsNaN(p) {
				n.premiums = append(n.premiums, p)
			}
		}
	}
	for id, trades := range byCohort {
		if trades == 0 {
			continue
		}
		h := &s.c.cohorts[id]
		n.fiats[h.fiat] += trades
		n.fiatsAll += trades
		for _, label := range s.c.methodsOf(h.methods) {
			n.labels[label] += trades
			n.allPM += trades
		}
	}
	pause := int64(0)
	for _, active := range days {
		if pause++; active {
			n.activeDays++
			pause = 0
		}
		n.longestPause = max(n.longestPause, pause)
	}
	for i := range s.c.fees.n {
		f := s.c.fees.at(i)
		t := int64(s.feeTime(f))
		if t != 0 && t < now && (n.firstFee == 0 || t < n.firstFee) && !f.is(feeBanned) && passes(s.authors, s.feeAuthor(f)) {
			n.firstFee = t
		}
	}
	if id := onlyAuthor(s); id != 0 {
		if p := s.c.authors[id].policyAt(uint32(now - 1)); p != nil {
			n.bond = p.BondEnabled
		}
	}
	return n
}

// onlyAuthor returns the author of a filter by one instance, or 0.
func onlyAuthor(s *scan) uint32 {
	if values := s.q.Filter[ByInstance]; len(values) == 1 {
		return s.c.byKey[keyOf(values[0])]
	}
	return 0
}

func (n *nodeStats) min() Value {
	if len(n.amounts) == 0 {
		return Value{}
	}
	return floatValue(slices.Min(n.amounts))
}

func (n *nodeStats) max() Value {
	if len(n.amounts) == 0 {
		return Value{}
	}
	return floatValue(slices.Max(n.amounts))
}

func (n *nodeStats) mean() Value {
	if len(n.amounts) == 0 {
		return Value{}
	}
	return floatValue(n.sats.float() / float64(len(n.amounts)))
}

func (n *nodeStats) variation() Value {
	m := median(n.amounts)
	if m == 0 {
		return Value{}
	}
	return floatValue(sigma(n.amounts) / m)
}

// age returns the days from the first fee, or else the first success, to now.
func (n *nodeStats) age(now int64) Value {
	first := n.firstFee
	if first == 0 {
		first = n.firstOK
	}
	if first == 0 {
		return Value{}
	}
	return floatValue(float64(now-first) / 86400)
}

func orNull(t int64) Value {
	if t == 0 {
		return Value{}
	}
	return intValue(t)
}

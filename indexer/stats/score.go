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
	n := &nodeStats{fiats: map[uint32]int64{}}
	need := s.needs
	byCohort := make([]int64, len(s.c.cohorts))
	const day = 86400
	today := (now - 1) / day
	var days [30]bool
	want := partNewest
	if s.q.Clock == Witnessed {
		want = partSuccess | partWitnessed
	}
	for of, part := range map[needs]part{needNodeSats: partSats, needNodePremiums: partPremium, needNodeLabels: partCohort} {
		if need&of != 0 {
			want |= part
		}
	}
	if s.match != nil {
		want |= partCohort
	}
	s.view = view{t: &s.c.orders, want: want}
	for j, whole := range s.c.orders.chunks {
		if need&needNodeTrades == 0 {
			break
		}
		if span := whole.spans[s.q.Clock][firstSuccess]; span.last == 0 || int64(span.first) >= now { // the newest version is not older
			continue
		}
		chunk := s.view.of(j)
		for k := range s.c.orders.size(j) {
			if chunk.status[k] != statusSuccess || s.match != nil && !s.match.has(chunk.cohort[k]) {
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
			if need&needNodeSats != 0 && chunk.sats[k] >= 0 {
				sats := chunk.sats[k]
				n.amounts = append(n.amounts, float64(sats))
				n.sats.add(sats)
			}
			if need&needNodeLabels != 0 {
				byCohort[chunk.cohort[k]]++
			}
			if need&needNodePremiums != 0 && !math.IsNaN(chunk.premium[k]) {
				n.premiums = append(n.premiums, chunk.premium[k])
			}
		}
	}
	bySet := make([]int64, len(s.c.sets.text))
	for id, trades := range byCohort {
		if trades == 0 {
			continue
		}
		h := &s.c.cohorts[id]
		n.fiats[h.fiat] += trades
		n.fiatsAll += trades
		bySet[h.methods] += trades
	}
	n.labels = s.c.byLabel(bySet)
	for _, trades := range n.labels {
		n.allPM += trades
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
		if need&needNodeFees == 0 {
			break
		}
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

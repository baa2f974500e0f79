package stats

import (
	"math"
	"slices"
)

// RatePoint is an implied price of one bitcoin in one bucket. The kind of all values is inferred.
type RatePoint struct {
	From  int64 `json:"from"`
	Until int64 `json:"until"`
	// Rate is the trimmed mean of the prices of the executed and of the open orders; Low and
	// High bound its 95 % interval. All are null below the least sample.
	Rate     Value `json:"rate"`
	Low      Value `json:"low"`
	High     Value `json:"high"`
	Samples  int   `json:"samples"`
	Executed int   `json:"executed"`
	Open     int   `json:"open"`
	Age      Value `json:"age"` // seconds from the newest trade, or newest version of an open order, to the end
	// Signed is the newest signed rate (kind 30078) at the end of the bucket, at most an hour
	// old. Parallel is true if there is none: only prices between traders are known.
	Signed   Value `json:"signed"`
	Parallel bool  `json:"parallel"`
}

// Bounds of an implied rate.
const (
	minInterval  = 5         // samples of an interval
	maxOfferAge  = 7 * 86400 // seconds: an older version of an open order is no sample
	maxRatePoint = 10_000
)

// ImpliedRates computes the implied price of one bitcoin in a currency, by hour or by day,
// for the buckets that overlap the window.
//
// The price of an executed order is its fiat amount / its sats. The price of an order that
// is open at the end of a bucket is the same if it states both, or else the signed rate
// times (1 + premium/100). Of the sorted prices the share trim is cut off at each end. The
// filter's currencies are replaced by fiat. The error is a ParamError.
func (c *Collector) ImpliedRates(fiat string, q Query, by Every, trim float64) ([]RatePoint, error) {
	switch {
	case by != Hour && by != Day:
		return nil, badParam("by", "is neither hour nor day")
	case !(trim >= 0 && trim < 0.5): // also NaN
		return nil, badParam("trim", "is not between 0 and 0.5")
	case fiat == "" || len(fiat) > 16:
		return nil, badParam("fiat", "is no currency code")
	}
	filter := Filter{ByFiat: {fiat}}
	for dim, values := range q.Filter {
		if dim != ByFiat {
			filter[dim] = values
		}
	}
	q.Filter = filter
	if err := q.check(); err != nil {
		return nil, err
	}
	bounds, err := by.buckets(q.From, q.Until)
	if err != nil {
		return nil, err
	}
	if bounds = bounds[1:]; len(bounds)-1 > maxRatePoint {
		return nil, badParam("by", "the series has more than %d points", maxRatePoint)
	}
	s, _ := newScan(c, &q, bounds, needOpen, "")
	n := len(bounds) - 1
	points, prices, newest := make([]RatePoint, n), make([][]float64, n), make([]uint32, n)
	signed := make([]rate, n)
	for b := range points {
		p := &points[b]
		p.From, p.Until, p.Parallel = bounds[b], bounds[b+1], true
		if r, ok := c.rates.at(0, c.fiats.ids[fiat], uint32(bounds[b+1]-1), maxBookRateAge); ok && c.fiats.ids[fiat] != 0 {
			signed[b], p.Signed, p.Parallel = r, fiatValue(r.price), false
		}
	}
	add := func(b int, price float64, t uint32, executed bool) {
		if !(price > 0) || math.IsInf(price, 0) {
			return
		}
		prices[b], newest[b] = append(prices[b], price), max(newest[b], t)
		if executed {
			points[b].Executed++
		} else {
			points[b].Open++
		}
	}
	for i := range c.orders.n {
		chunk, k := c.orders.at(i)
		if chunk.at[q.Clock][firstSeen][k] == 0 || s.targets[chunk.cohort[k]] == nil {
			continue
		}
		if t := chunk.at[q.Clock][firstSuccess][k]; chunk.status[k] == statusSuccess && chunk.flags[k]&flagFixed != 0 && chunk.sats[k] > 0 {
			if b := s.bucket(t); b >= 0 {
				add(b, chunk.amount[k]/float64(chunk.sats[k])*1e8, t, true)
			}
		}
		s.eachPending(chunk, k, func(v *version, from, end int64) {
			end = min(end, from+maxOfferAge)
			b, _ := slices.BinarySearch(bounds[1:], max(from, bounds[0]))
			for ; b < n && bounds[b+1] < end; b++ {
				switch {
				case v.sats > 0 && v.min == v.max:
					add(b, v.max/float64(v.sats)*1e8, uint32(from), false)
				case v.sats == 0 && !points[b].Parallel:
					add(b, signed[b].price*(1+v.premium/100), uint32(from), false)
				}
			}
		})
	}
	for b := range points {
		p := &points[b]
		if p.Samples = len(prices[b]); p.Samples == 0 {
			continue
		}
		p.Age = intValue(p.Until - int64(newest[b]))
		rate, half := trimmedMean(prices[b], trim)
		p.Rate = fiatValue(rate)
		if p.Samples >= minInterval {
			p.Low, p.High = fiatValue(rate-half), fiatValue(rate+half)
		}
	}
	return points, nil
}

// eachPending calls fn for each version of row k that was on offer, with the time from
// which it was and the time at which it no longer was.
func (s *scan) eachPending(c *chunk, k int, fn func(v *version, from, end int64)) {
	s.eachInterval(c, k, func(v *version, from, end int64) {
		if v.status == statusPending {
			fn(v, from, end)
		}
	})
}

// trimmedMean returns the mean of a sample without the share trim at each end, and half the
// width of its 95 % interval, by the winsorized deviation (Tukey and McLaughlin). It sorts
// the sample.
func trimmedMean(sample []float64, trim float64) (mean, half float64) {
	slices.Sort(sample)
	n := len(sample)
	cut := int(trim * float64(n))
	kept := sample[cut : n-cut]
	var all, winsorized, squares sum
	for _, v := range kept {
		all.add(v)
	}
	mean = all.value() / float64(len(kept))
	for _, v := range sample {
		winsorized.add(max(kept[0], min(kept[len(kept)-1], v)))
	}
	centre := winsorized.value() / float64(n)
	for _, v := range sample {
		d := max(kept[0], min(kept[len(kept)-1], v)) - centre
		squares.add(d * d)
	}
	if n < 2 {
		return mean, math.NaN()
	}
	deviation := math.Sqrt(squares.value() / float64(n-1))
	return mean, 1.96 * deviation / (float64(len(kept)) / float64(n) * math.Sqrt(float64(n)))
}

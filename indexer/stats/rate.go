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
	// Signed is the median of the newest rate (kind 30078) of each known signer at the end of
	// the bucket, at most an hour old. Parallel is true if there is none: only prices between traders are known.
	Signed   Value `json:"signed"`
	Parallel bool  `json:"parallel"`
}

// Bounds of an implied rate.
const (
	minInterval  = 5         // samples of an interval
	maxOfferAge  = 7 * 86400 // seconds: an older version of an open order is no sample
	maxRatePoint = 10_000
)

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

package orders

import (
	"bytes"
	"math"

	"github.com/mostrodex/mostrodex/mostro"
)

// Sort orders in which the column store keeps sorted lists.
const (
	ByCreated = iota
	ByPremium
	ByAmount
	ByExpiry
	NumOrders

	ByCost = NumOrders // computed for each query, so that no sorted list exists
)

// UnknownKey is the sort key of an order without a value. Such orders come last in both
// directions.
const UnknownKey = math.MaxUint64

// Mark is a position in a sorted list: the sort key and the order's Key. If the list is
// sorted by class, the class comes first.
type Mark struct {
	Key   uint64
	ID    Key
	Class uint8
}

// Behind reports whether a sorts after b in the query's sort order.
func Behind(descending bool, a, b Mark) bool {
	if (a.Key == UnknownKey) != (b.Key == UnknownKey) {
		return a.Key == UnknownKey
	}
	if a.Key != b.Key {
		return (a.Key > b.Key) != descending
	}
	if c := bytes.Compare(a.ID[:], b.ID[:]); c != 0 {
		return (c > 0) != descending
	}
	return false
}

// FloatKey returns a sort key of the same order as the number. NaN is unknown.
func FloatKey(f float64) uint64 {
	if math.IsNaN(f) {
		return UnknownKey
	}
	b := math.Float64bits(f)
	if b>>63 == 1 {
		return ^b
	}
	return b | 1<<63
}

// AmountKey returns the sort key of an amount. An unknown amount and the market price
// have UnknownKey.
func AmountKey(sats int64) uint64 {
	if sats <= 0 {
		return UnknownKey
	}
	return uint64(sats)
}

// ExpiryKey returns the sort key of a deadline.
func ExpiryKey(deadline uint32) uint64 {
	if deadline == never || deadline == 0 {
		return UnknownKey
	}
	return uint64(deadline)
}

// ClampTime returns a time in unix seconds as a column stores it.
func ClampTime(t int64) uint32 { return uint32(min(max(t, 0), never)) }

// FloatOf returns the value of d, or NaN if d is nil.
func FloatOf(d *mostro.Decimal) float64 {
	if d == nil {
		return math.NaN()
	}
	return d.Float()
}

// RatingOf returns the mean rating of a maker on a scale of 5, or NaN if the mean or its
// scale is unknown.
func RatingOf(r *mostro.MakerRating) float64 {
	if r == nil || r.Mean == nil || r.Max <= 0 {
		return math.NaN()
	}
	return *r.Mean * (5 / r.Max) // exact on a scale of 5
}

// RangeOf returns both ends of a fiat amount. If one end is missing, it is equal to the
// other.
func RangeOf(r mostro.Range) (lo, hi float64) {
	lo, hi = FloatOf(r.Min), FloatOf(r.Max)
	if math.IsNaN(lo) {
		lo = hi
	}
	if math.IsNaN(hi) {
		hi = lo
	}
	return lo, hi
}

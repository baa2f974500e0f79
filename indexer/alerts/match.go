package alerts

import (
	"slices"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
)

// numbers of an order that a filter may bound.
const (
	byAmount = iota
	byFiatAmount
	byPremium
	byRating
	byDays
	numNumbers
)

// bound is a range that one number of an order must meet.
type bound struct {
	of     int
	lo, hi float64
}

// entry is an alert in the index, with conditions that are cheap to compare. A matching entry
// is compared again by Query.Matches, which defines the result.
type entry struct {
	saved  *saved
	muted  int64 // unix time until which the alert is silent
	sides  uint8 // 1 buy, 2 sell; 0: any
	bounds []bound
	// letters holds, for each payment method of the filter, the bits of its words. An order fits
	// only if its own bits include all of one method.
	letters []uint64
}

// saved is an alert in memory. Service.mu guards it.
type saved struct {
	Alert
	query orders.Query
	began int64 // begin of the present hour of deliveries, unix time
	count int   // deliveries in this hour
}

// index holds the alerts under the most selective list of values in their filters.
type index struct {
	byFiat, byInstance, byPlatform, rest map[string][]entry
}

func newIndex() *index {
	return &index{byFiat: map[string][]entry{}, byInstance: map[string][]entry{}, byPlatform: map[string][]entry{}, rest: map[string][]entry{}}
}

// places returns the lists of an alert: a map and its keys.
func (x *index) places(q *orders.Query) (lists map[string][]entry, keys []string) {
	switch {
	case len(q.Fiat) > 0:
		return x.byFiat, q.Fiat
	case len(q.Instance) > 0:
		return x.byInstance, q.Instance
	case len(q.Platform) > 0:
		return x.byPlatform, q.Platform
	}
	return x.rest, []string{""}
}

func entryOf(a *saved) entry {
	e, q := entry{saved: a}, &a.query
	for _, side := range q.Side {
		e.sides |= sideBit(side)
	}
	for of, s := range []orders.Span{byAmount: q.Amount, byFiatAmount: q.FiatAmount, byPremium: q.Premium, byRating: q.Rating, byDays: q.MakerDays} {
		if s.Min != nil || s.Max != nil {
			lo, hi := s.Bounds()
			e.bounds = append(e.bounds, bound{of, lo, hi})
		}
	}
	for _, method := range q.Method {
		e.letters = append(e.letters, bitsOf(words.Asked(method)))
	}
	return e
}

func sideBit(side mostro.Side) uint8 {
	switch side {
	case mostro.SideBuy:
		return 1
	case mostro.SideSell:
		return 2
	}
	return 4
}

// bitsOf returns one bit for the first byte of each word. A word of a filter is a prefix of a
// word of the order, so both have the same first byte.
func bitsOf(list []string) (bits uint64) {
	for _, w := range list {
		if w != "" {
			bits |= 1 << (w[0] % 64)
		}
	}
	return bits
}

// add puts an alert into the index.
func (x *index) add(a *saved) {
	lists, keys := x.places(&a.query)
	for _, key := range keys {
		lists[key] = append(lists[key], entryOf(a))
	}
}

// remove takes an alert out of the index.
func (x *index) remove(a *saved) {
	lists, keys := x.places(&a.query)
	for _, key := range keys {
		if lists[key] = slices.DeleteFunc(lists[key], func(e entry) bool { return e.saved == a }); len(lists[key]) == 0 {
			delete(lists, key)
		}
	}
}

// mute silences an alert until a time.
func (x *index) mute(a *saved, until int64) {
	lists, keys := x.places(&a.query)
	for _, key := range keys {
		for i := range lists[key] {
			if e := &lists[key][i]; e.saved == a {
				e.muted = until
			}
		}
	}
}

// order is a version of an order with all that entries compare.
type order struct {
	version *orders.Version
	side    uint8
	lo, hi  [numNumbers]float64
	letters uint64
}

func orderOf(v *orders.Version) *order {
	o, x := &v.Order, &order{version: v}
	x.side = sideBit(o.Side)
	amount := orders.FloatOf(nil)
	if o.AmountSats != nil && *o.AmountSats > 0 {
		amount = float64(*o.AmountSats)
	}
	x.lo = [numNumbers]float64{byAmount: amount, byPremium: orders.FloatOf(o.PremiumPct), byRating: orders.RatingOf(o.MakerRating), byDays: orders.MakerDaysOf(o)}
	x.hi = x.lo
	x.lo[byFiatAmount], x.hi[byFiatAmount] = orders.RangeOf(o.FiatAmount)
	for _, m := range o.Methods {
		x.letters |= bitsOf(orders.MethodWords(nil, m))
	}
	return x
}

// mayFit reports whether an order may fit an entry. If mayFit returns false, the order does not
// fit.
func (e *entry) mayFit(o *order) bool {
	if e.sides != 0 && e.sides&o.side == 0 {
		return false
	}
	for i := range e.bounds {
		if b := &e.bounds[i]; !(o.hi[b.of] >= b.lo && o.lo[b.of] <= b.hi) { // also if unknown: NaN
			return false
		}
	}
	if len(e.letters) == 0 {
		return true
	}
	for _, need := range e.letters {
		if o.letters&need == need {
			return true
		}
	}
	return false
}

// candidates calls fn for each entry that an order may fit and that is not muted at a time.
// muted is the number of entries that were left out because they are muted.
func (x *index) candidates(o *order, now int64, fn func(*entry)) (muted int) {
	scan := func(list []entry) {
		for i := range list {
			switch e := &list[i]; {
			case !e.mayFit(o):
			case e.muted > now:
				muted++
			default:
				fn(e)
			}
		}
	}
	scan(x.byFiat[o.version.Order.Fiat])
	scan(x.byInstance[o.version.Order.Pubkey])
	scan(x.byPlatform[o.version.Order.Platform])
	scan(x.rest[""])
	return muted
}

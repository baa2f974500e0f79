package livebook

import (
	"github.com/RoaringBitmap/roaring/v2"
	"github.com/mostrodex/mostrodex/indexer/orders"
)

// liveFilter evaluates a condition on live orders. A row has either postings or narrow.
// Status has no row, because its meaning depends on Query.Open (see choose).
type liveFilter struct {
	name string // Filter.Name
	// postings returns the live orders that meet the condition.
	postings func(s *Store, q *orders.Query) *roaring.Bitmap
	// narrow returns a function that removes from some slots those that do not meet the
	// condition.
	narrow func(s *Store, q *orders.Query) func(slots []uint32) []uint32
	given  func(q *orders.Query) bool // Filter.Given, set by withGiven
}

var liveFilters = withGiven([]liveFilter{
	{name: "fiat", postings: ofDict(func(s *Store) *dict { return &s.fiats }, func(q *orders.Query) []string { return q.Fiat })},
	{name: "side", postings: func(s *Store, q *orders.Query) *roaring.Bitmap {
		var all []*roaring.Bitmap
		for _, side := range q.Side {
			all = append(all, s.bySide[sideCode(side)])
		}
		return union(all)
	}},
	{name: "method", postings: func(s *Store, q *orders.Query) *roaring.Bitmap { return s.withMethods(q.Method) }},
	{name: "platform", postings: ofDict(func(s *Store) *dict { return &s.platforms }, func(q *orders.Query) []string { return q.Platform })},
	{name: "instance", postings: ofDict(func(s *Store) *dict { return &s.authors }, func(q *orders.Query) []string { return q.Instance })},
	{name: "network", postings: ofDict(func(s *Store) *dict { return &s.networks }, func(q *orders.Query) []string { return q.Network })},
	{name: "amount", narrow: func(s *Store, q *orders.Query) func([]uint32) []uint32 {
		from, to := q.Amount.Bounds()
		return func(slots []uint32) []uint32 {
			n := 0
			for _, slot := range slots {
				if v := float64(s.amount[slot]); v > 0 && v >= from && v <= to {
					slots[n] = slot
					n++
				}
			}
			return slots[:n]
		}
	}},
	{name: "fiat_amount", narrow: func(s *Store, q *orders.Query) func([]uint32) []uint32 {
		from, to := q.FiatAmount.Bounds()
		return func(slots []uint32) []uint32 {
			n := 0
			for _, slot := range slots {
				if s.fiatMax[slot] >= from && s.fiatMin[slot] <= to { // false for NaN, which is an unknown value
					slots[n] = slot
					n++
				}
			}
			return slots[:n]
		}
	}},
	{name: "premium", narrow: byColumn(func(s *Store, q *orders.Query) ([]float64, orders.Span) { return s.premium, q.Premium })},
	{name: "maker_rating", narrow: byColumn(func(s *Store, q *orders.Query) ([]float64, orders.Span) { return s.rating, q.Rating })},
	{name: "maker_days", narrow: byColumn(func(s *Store, q *orders.Query) ([]float64, orders.Span) { return s.makerDays, q.MakerDays })},
})

// withGiven sets given in each row.
func withGiven(rows []liveFilter) []liveFilter {
	for i := range rows {
		f, known := orders.FilterOf(rows[i].name)
		if !known {
			panic("no filter is named " + rows[i].name)
		}
		rows[i].given = f.Given
	}
	return rows
}

// byColumn returns a narrow that keeps the slots whose value in a column lies in a span.
func byColumn(of func(s *Store, q *orders.Query) ([]float64, orders.Span)) func(*Store, *orders.Query) func([]uint32) []uint32 {
	return func(s *Store, q *orders.Query) func([]uint32) []uint32 {
		column, span := of(s, q)
		from, to := span.Bounds()
		return func(slots []uint32) []uint32 {
			n := 0
			for _, slot := range slots {
				if v := column[slot]; v >= from && v <= to { // false for NaN, the value that is not known
					slots[n] = slot
					n++
				}
			}
			return slots[:n]
		}
	}
}

// ofDict returns the postings of values that a dict of the column store numbers.
func ofDict(of func(s *Store) *dict, wanted func(q *orders.Query) []string) func(*Store, *orders.Query) *roaring.Bitmap {
	return func(s *Store, q *orders.Query) *roaring.Bitmap {
		d := of(s)
		var all []*roaring.Bitmap
		for _, v := range wanted(q) {
			if id, ok := d.ids[v]; ok {
				all = append(all, d.bits[id])
			}
		}
		return union(all)
	}
}

package indexer

import (
	"cmp"
	"math"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// condition is a condition on one field of the search index: one of the terms anyOf, or,
// if anyOf is nil, a term from from to to, both included.
type condition struct {
	field    string
	anyOf    []string
	from, to string
}

// pastFilter evaluates a condition on past orders in the search index.
type pastFilter struct {
	*orders.Filter
	name   string // Filter.Name
	field  string // holds the terms of an order; "" for a range over a sort key
	facets int    // number of values requested from Bleve if the values are counted
	// terms returns the terms of an order. nil: Filter.Values.
	terms func(o *mostro.Order) []string
	// past returns the conditions. ok is false if no order can match. nil: field is one of
	// Filter.Wanted.
	past func(s *searchIndex, q *orders.Query) (all []condition, ok bool, err error)
}

var pastFilters = newPastFilters([]pastFilter{
	{name: "fiat", field: fieldFiat, facets: 1000},
	{name: "side", field: fieldSide, facets: 10},
	{name: "status", field: fieldStatus, facets: 20,
		terms: func(o *mostro.Order) []string { return []string{cmp.Or(string(o.Status), noStatus)} }},
	{name: "method", field: fieldMethod, facets: orders.MaxMethodFacets, past: func(s *searchIndex, q *orders.Query) ([]condition, bool, error) {
		methods, err := s.methodsLike(q.Method)
		return []condition{{field: fieldMethod, anyOf: methods}}, len(methods) > 0, err
	}},
	{name: "platform", field: fieldPlatform, facets: 1000},
	{name: "instance", field: fieldAuthor},
	{name: "network", field: fieldNetwork},
	{name: "amount", past: func(_ *searchIndex, q *orders.Query) ([]condition, bool, error) {
		from, to := "", highest
		if q.Amount.Min != nil {
			from = hexKey(satsCeil(*q.Amount.Min))
		}
		if most := q.Amount.Max; most != nil {
			if *most < 1 {
				return nil, false, nil
			}
			to = hexKey(uint64(math.Min(*most, math.MaxInt64/2)))
		}
		return []condition{{field: fieldAmount, from: from, to: to}}, true, nil
	}},
	{name: "fiat_amount", past: func(_ *searchIndex, q *orders.Query) (all []condition, ok bool, err error) {
		if least := q.FiatAmount.Min; least != nil {
			all = append(all, condition{field: fieldFiatMax, from: hexKey(orders.FloatKey(*least)), to: highest})
		}
		if most := q.FiatAmount.Max; most != nil {
			all = append(all, condition{field: fieldFiatMin, to: hexKey(orders.FloatKey(*most))})
		}
		return all, true, nil
	}},
	{name: "premium", past: func(_ *searchIndex, q *orders.Query) ([]condition, bool, error) {
		return []condition{floatRange(fieldPremium, q.Premium)}, true, nil
	}},
	{name: "maker_rating", field: fieldRating,
		terms: func(o *mostro.Order) []string {
			if key := orders.FloatKey(orders.RatingOf(o.MakerRating)); key != orders.UnknownKey {
				return []string{hexKey(key)}
			}
			return nil
		},
		past: func(_ *searchIndex, q *orders.Query) ([]condition, bool, error) {
			return []condition{floatRange(fieldRating, q.Rating)}, true, nil
		}},
	{name: "maker_days", field: fieldMakerDays,
		terms: func(o *mostro.Order) []string {
			if key := orders.FloatKey(orders.MakerDaysOf(o)); key != orders.UnknownKey {
				return []string{hexKey(key)}
			}
			return nil
		},
		past: func(_ *searchIndex, q *orders.Query) ([]condition, bool, error) {
			return []condition{floatRange(fieldMakerDays, q.MakerDays)}, true, nil
		}},
})

// newPastFilters completes the rows of the table.
func newPastFilters(rows []pastFilter) []pastFilter {
	for i := range rows {
		f := &rows[i]
		var known bool
		if f.Filter, known = orders.FilterOf(f.name); !known {
			panic("no filter is named " + f.name)
		}
		if f.terms == nil {
			f.terms = f.Values
		}
		if f.past == nil {
			f.past = func(_ *searchIndex, q *orders.Query) ([]condition, bool, error) {
				return []condition{{field: f.field, anyOf: f.Wanted(q)}}, true, nil
			}
		}
	}
	return rows
}

// floatRange returns the condition that a field with keys of floats lies in a span.
func floatRange(field string, span orders.Span) condition {
	c := condition{field: field, to: highest}
	if span.Min != nil {
		c.from = hexKey(orders.FloatKey(*span.Min))
	}
	if span.Max != nil {
		c.to = hexKey(orders.FloatKey(*span.Max))
	}
	return c
}

func satsCeil(f float64) uint64 {
	if f <= 0 {
		return 0
	}
	return uint64(math.Ceil(math.Min(f, math.MaxInt64/2)))
}

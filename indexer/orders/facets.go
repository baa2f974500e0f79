package orders

import (
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
)

// Facets counts the results of a query by value. If an order does not state a value, it
// is not counted in that facet.
type Facets struct {
	Fiat     map[string]int `json:"fiat"`
	Side     map[string]int `json:"side"`
	Status   map[string]int `json:"status"`
	Platform map[string]int `json:"platform"`
	Method   map[string]int `json:"method"` // folded names; only the most frequent
}

// MaxMethodFacets bounds Facets.Method. MaxFacets bounds the currencies and platforms,
// because publishers can write any value.
const (
	MaxMethodFacets = 100
	MaxFacets       = 300
)

// facet describes how the values of a filter are counted.
type facet struct {
	of    func(*Facets) *map[string]int
	limit int // number of values in an answer; 0: no limit, because there are few values
}

// Counts returns the counts of a filter's values, or nil if the values are not counted.
func (f *Filter) Counts(in *Facets) map[string]int {
	if f.facet == nil {
		return nil
	}
	return *f.facet.of(in)
}

// eachFacet calls fn with each filter whose values are counted.
func eachFacet(fn func(f *Filter)) {
	for _, f := range Filters {
		if f.facet != nil {
			fn(f)
		}
	}
}

// NewFacets returns facets without counts.
func NewFacets() (out Facets) {
	eachFacet(func(f *Filter) { *f.facet.of(&out) = map[string]int{} })
	return out
}

// Clone returns a copy that shares no map with c.
func (c Facets) Clone() Facets {
	out := NewFacets()
	out.Add(c)
	return out
}

// Add adds the counts of other facets.
func (c Facets) Add(other Facets) {
	eachFacet(func(f *Filter) {
		to := f.Counts(&c)
		for name, n := range f.Counts(&other) {
			to[name] += n
		}
	})
}

// Trim leaves the most frequent values of each facet.
func (c Facets) Trim() {
	eachFacet(func(f *Filter) {
		if f.facet.limit > 0 {
			trimFacet(f.Counts(&c), f.facet.limit)
		}
	})
}

// Count adds an order.
func (c Facets) Count(o *mostro.Order) {
	eachFacet(func(f *Filter) {
		for _, value := range f.Values(o) {
			AddCount(f.Counts(&c), value, 1)
		}
	})
}

// AddCount adds n orders to the count of a value. If the value is not stated, or n is 0,
// AddCount does nothing.
func AddCount(to map[string]int, name string, n int) {
	if name != "" && n > 0 {
		to[name] += n
	}
}

// trimFacet leaves only the most frequent values, and among equal counts the first by
// name.
func trimFacet(f map[string]int, limit int) {
	if len(f) <= limit {
		return
	}
	names := make([]string, 0, len(f))
	for n := range f {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int {
		if f[a] != f[b] {
			return f[b] - f[a]
		}
		return strings.Compare(a, b)
	})
	for _, n := range names[limit:] {
		delete(f, n)
	}
}

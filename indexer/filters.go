package indexer

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
)

// filter is one condition on orders: how the condition is parsed, its definition, how
// each index evaluates it, and its text in cache keys. A new condition needs only a new
// row in the table of filters.
type filter struct {
	name    string   // key in NIP-50 searches and in the parameter q
	aliases []string // other accepted keys
	params  []Param  // parameters of the API
	set     func(q *Query, value string) error

	given func(q *Query) bool
	// text returns the condition as a part of the name of a query, which is the key of
	// cached facets and is hashed into cursors. If two conditions differ, their texts
	// must differ.
	text func(q *Query) string
	// matches defines the condition. Both indexes must return the same result.
	matches func(q *Query, o *mostro.Order) bool

	// postings returns the live orders that meet the condition. narrow returns a function
	// that removes from some slots those that do not meet it. A filter has one of the
	// two. Status has neither, because its meaning depends on Open (see choose).
	postings func(s *columnStore, q *Query) *roaring.Bitmap
	narrow   func(s *columnStore, q *Query) func(slots []uint32) []uint32

	// field is the field of the search index that holds the terms of an order, or "" for
	// a range. past returns the conditions for search. ok is false if no order can match.
	field string
	terms func(o *mostro.Order) []string
	past  func(s *searchIndex, q *Query) (all []condition, ok bool, err error)

	facet *facet // nil: values are not counted
}

// condition is a condition on one field of the search index: one of the terms anyOf, or,
// if anyOf is nil, a term from from to to, both included.
type condition struct {
	field    string
	anyOf    []string
	from, to string
}

// Param is a parameter of GET /api/v1/orders. The commands have a flag for each Param
// with a Doc.
type Param struct {
	Name, Doc string
	set       func(q *Query, value string) error
}

// filters is the table of all conditions.
var filters = []*filter{
	list("fiat", "currency code, e.g. VES", func(q *Query) *[]string { return &q.Fiat }, upper, func(o *mostro.Order) string { return o.Fiat },
		filter{field: fieldFiat, postings: ofDict(func(s *columnStore, q *Query) (*dict, []string) { return &s.fiats, q.Fiat }),
			facet: &facet{of: func(f *Facets) *map[string]int { return &f.Fiat }, limit: maxFacets, asked: 1000}}),
	list("side", "buy or sell: what the maker does", func(q *Query) *[]mostro.Side { return &q.Side }, parseSide, func(o *mostro.Order) mostro.Side { return o.Side },
		filter{field: fieldSide, facet: &facet{of: func(f *Facets) *map[string]int { return &f.Side }, asked: 10},
			postings: func(s *columnStore, q *Query) *roaring.Bitmap {
				var all []*roaring.Bitmap
				for _, side := range q.Side {
					all = append(all, s.bySide[sideCode(side)])
				}
				return union(all)
			}}),
	list("status", "pending, in-progress, success, canceled, expired or gone", func(q *Query) *[]mostro.Status { return &q.Status }, parseStatus, func(o *mostro.Order) mostro.Status { return o.Status },
		filter{field: fieldStatus, facet: &facet{of: func(f *Facets) *map[string]int { return &f.Status }, asked: 20},
			terms: func(o *mostro.Order) []string { return []string{cmp.Or(string(o.Status), noStatus)} }}),
	list("method", "payment method", func(q *Query) *[]string { return &q.Method }, nil, nil,
		filter{aliases: []string{"pm"}, set: (*Query).addMethod, field: fieldMethod,
			matches:  func(q *Query, o *mostro.Order) bool { return q.methodMatches(o.Methods) },
			postings: func(s *columnStore, q *Query) *roaring.Bitmap { return s.withMethods(q.Method) },
			terms:    foldedMethods,
			past: func(s *searchIndex, q *Query) ([]condition, bool, error) {
				methods, err := s.methodsLike(q.Method)
				return []condition{{field: fieldMethod, anyOf: methods}}, len(methods) > 0, err
			},
			facet: &facet{of: func(f *Facets) *map[string]int { return &f.Method }, limit: maxMethodFacets, asked: maxMethodFacets}}),
	list("platform", "mostro, robosats, lnp2pbot, ...", func(q *Query) *[]string { return &q.Platform }, lower, func(o *mostro.Order) string { return o.Platform },
		filter{field: fieldPlatform, postings: ofDict(func(s *columnStore, q *Query) (*dict, []string) { return &s.platforms, q.Platform }),
			facet: &facet{of: func(f *Facets) *map[string]int { return &f.Platform }, limit: maxFacets, asked: 1000}}),
	list("instance", "public key of the publisher (hex or npub)", func(q *Query) *[]string { return &q.Instance }, ParsePubkey, func(o *mostro.Order) string { return o.Pubkey },
		filter{aliases: []string{"mostro"}, field: fieldAuthor, postings: ofDict(func(s *columnStore, q *Query) (*dict, []string) { return &s.authors, q.Instance })}),
	list("network", "mainnet, testnet, signet or regtest", func(q *Query) *[]string { return &q.Network }, lower, func(o *mostro.Order) string { return o.Network },
		filter{field: fieldNetwork, postings: ofDict(func(s *columnStore, q *Query) (*dict, []string) { return &s.networks, q.Network })}),
	span("amount", "sats: a number or a range such as 1000-50000", func(q *Query) *Span { return &q.Amount },
		filter{matches: func(q *Query, o *mostro.Order) bool {
			return o.AmountSats != nil && *o.AmountSats > 0 && q.Amount.holds(float64(*o.AmountSats))
		}, narrow: func(s *columnStore, q *Query) func([]uint32) []uint32 {
			from, to := q.Amount.bounds()
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
		}, past: func(_ *searchIndex, q *Query) ([]condition, bool, error) {
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
		}}),
	span("fiat_amount", "fiat amount that the order must allow", func(q *Query) *Span { return &q.FiatAmount },
		filter{matches: func(q *Query, o *mostro.Order) bool { return q.FiatAmount.meets(rangeOf(o.FiatAmount)) },
			narrow: func(s *columnStore, q *Query) func([]uint32) []uint32 {
				from, to := q.FiatAmount.bounds()
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
			}, past: func(_ *searchIndex, q *Query) (all []condition, ok bool, err error) {
				if least := q.FiatAmount.Min; least != nil {
					all = append(all, condition{field: fieldFiatMax, from: hexKey(floatKey(*least)), to: highest})
				}
				if most := q.FiatAmount.Max; most != nil {
					all = append(all, condition{field: fieldFiatMin, to: hexKey(floatKey(*most))})
				}
				return all, true, nil
			}}),
	span("premium", "percent", func(q *Query) *Span { return &q.Premium },
		filter{params: []Param{
			{"min_premium", "percent", func(q *Query, value string) error { return parsePercent(&q.Premium.Min, value) }},
			{"max_premium", "percent", func(q *Query, value string) error { return parsePercent(&q.Premium.Max, value) }},
		}, matches: func(q *Query, o *mostro.Order) bool { return q.Premium.holds(floatOf(o.PremiumPct)) },
			narrow: byColumn(func(s *columnStore, q *Query) ([]float64, Span) { return s.premium, q.Premium }),
			past: func(_ *searchIndex, q *Query) ([]condition, bool, error) {
				return []condition{floatRange(fieldPremium, q.Premium)}, true, nil
			}}),
	span("maker_rating", "mean rating of the maker, from 0 to 5", func(q *Query) *Span { return &q.Rating },
		filter{params: []Param{{"min_maker_rating", "least mean rating of the maker, as the publisher states it: 0 to 5, other scales are converted", (*Query).setMinRating}},
			matches: func(q *Query, o *mostro.Order) bool { return q.Rating.holds(ratingOf(o.MakerRating)) },
			narrow:  byColumn(func(s *columnStore, q *Query) ([]float64, Span) { return s.rating, q.Rating }),
			field:   fieldRating,
			terms: func(o *mostro.Order) []string {
				if key := floatKey(ratingOf(o.MakerRating)); key != unknownKey {
					return []string{hexKey(key)}
				}
				return nil
			},
			past: func(_ *searchIndex, q *Query) ([]condition, bool, error) {
				return []condition{floatRange(fieldRating, q.Rating)}, true, nil
			}}),
}

// byColumn returns a narrow that keeps the slots whose value in a column lies in a span.
func byColumn(of func(s *columnStore, q *Query) ([]float64, Span)) func(*columnStore, *Query) func([]uint32) []uint32 {
	return func(s *columnStore, q *Query) func([]uint32) []uint32 {
		column, span := of(s, q)
		from, to := span.bounds()
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

// floatRange returns the condition that a field with keys of floats lies in a span.
func floatRange(field string, span Span) condition {
	c := condition{field: field, to: highest}
	if span.Min != nil {
		c.from = hexKey(floatKey(*span.Min))
	}
	if span.Max != nil {
		c.to = hexKey(floatKey(*span.Max))
	}
	return c
}

// list completes f to a filter by a list of values, one of which an order must have. of
// returns the list in a query, parse parses one value, and value returns the value of an
// order.
func list[T ~string](name, doc string, of func(*Query) *[]T, parse func(string) (T, error), value func(*mostro.Order) T, f filter) *filter {
	f.name = name
	f.given = func(q *Query) bool { return len(*of(q)) > 0 }
	f.text = func(q *Query) string { return fmt.Sprintf("%q", *of(q)) }
	if f.set == nil {
		f.set = func(q *Query, text string) error { return addAll(of(q), text, parse) }
	}
	if f.matches == nil {
		f.matches = func(q *Query, o *mostro.Order) bool { return slices.Contains(*of(q), value(o)) }
	}
	if f.terms == nil {
		f.terms = func(o *mostro.Order) []string { return []string{string(value(o))} }
	}
	if f.past == nil {
		f.past = func(_ *searchIndex, q *Query) ([]condition, bool, error) {
			return []condition{{field: f.field, anyOf: texts(*of(q))}}, true, nil
		}
	}
	f.params = []Param{{name, doc, f.set}}
	return &f
}

// span completes f to a filter by a range of numbers.
func span(name, doc string, of func(*Query) *Span, f filter) *filter {
	f.name = name
	f.given = func(q *Query) bool { return !of(q).empty() }
	f.text = func(q *Query) string { return boundText(of(q).Min) + " " + boundText(of(q).Max) }
	f.set = func(q *Query, value string) error { return of(q).parse(value) }
	if f.params == nil {
		f.params = []Param{{name, doc, f.set}}
	}
	return &f
}

func boundText(f *float64) string {
	if f == nil {
		return ""
	}
	return strconv.FormatFloat(*f, 'g', -1, 64)
}

// ofDict returns the postings of values that a dict of the column store numbers.
func ofDict(of func(s *columnStore, q *Query) (*dict, []string)) func(*columnStore, *Query) *roaring.Bitmap {
	return func(s *columnStore, q *Query) *roaring.Bitmap {
		d, values := of(s, q)
		var all []*roaring.Bitmap
		for _, v := range values {
			if id, ok := d.ids[v]; ok {
				all = append(all, d.bits[id])
			}
		}
		return union(all)
	}
}

func upper(s string) (string, error) { return strings.ToUpper(s), nil }
func lower(s string) (string, error) { return strings.ToLower(s), nil }

func parseSide(s string) (mostro.Side, error) {
	if side := mostro.Side(strings.ToLower(s)); side == mostro.SideBuy || side == mostro.SideSell {
		return side, nil
	}
	return "", fmt.Errorf("%q is not buy or sell", s)
}

func parseStatus(s string) (mostro.Status, error) {
	status := mostro.Status(strings.ToLower(s))
	if status != "" && slices.Contains(statuses[:], status) {
		return status, nil
	}
	return "", fmt.Errorf("%q is not pending, in-progress, success, canceled, expired or gone", s)
}

func parsePercent(to **float64, value string) error {
	d, err := mostro.ParseDecimal(value)
	if err != nil {
		return fmt.Errorf("%q is not a decimal number of percent, such as -1.5", value)
	}
	f := d.Float()
	*to = &f
	return nil
}

func (q *Query) setMinRating(value string) error {
	d, err := mostro.ParseDecimal(value)
	if err != nil || d.Float() < 0 || d.Float() > 5 {
		return fmt.Errorf("%q is not a number from 0 to 5, such as 4.5", value)
	}
	f := d.Float()
	q.Rating.Min = &f
	return nil
}

// addMethod adds a payment method. The value is not split at commas, because a method may
// contain commas.
func (q *Query) addMethod(value string) error {
	if len(words.Split(nil, value)) == 0 {
		return fmt.Errorf("%q has no letters or digits", value)
	}
	if len(q.Method) >= maxValues {
		return fmt.Errorf("more than %d values", maxValues)
	}
	q.Method = append(q.Method, value)
	return nil
}

// foldedMethods returns the payment methods of an order in the folded form that is
// counted, each once.
func foldedMethods(o *mostro.Order) (out []string) {
	for _, m := range o.Methods {
		if folded := words.Fold(m); !slices.Contains(out, folded) {
			out = append(out, folded)
		}
	}
	return out
}

// filtered reports whether a query has any condition of the table.
func (q *Query) filtered() bool {
	return slices.ContainsFunc(filters, func(f *filter) bool { return f.given(q) })
}

// filterOf returns the filter with a key or an alias.
func filterOf(key string) (*filter, bool) {
	for _, f := range filters {
		if f.name == key || slices.Contains(f.aliases, key) {
			return f, true
		}
	}
	return nil, false
}

// SearchKeys returns the keys of NIP-50 searches and of the parameter q, without aliases.
func SearchKeys() (keys []string) {
	for _, f := range filters {
		keys = append(keys, f.name)
	}
	return keys
}

// OrderParams returns the parameters of GET /api/v1/orders.
func OrderParams() []Param { return orderParams }

var orderParams = newOrderParams()

func newOrderParams() []Param {
	all := []Param{{"q", "", (*Query).setText}}
	for _, f := range filters {
		all = append(all, f.params...)
	}
	return append(all,
		Param{"open", "true: open now; false: history; any: both (default true)", (*Query).setOpen},
		Param{"at", "the book as it was at this unix time or RFC 3339", (*Query).setAt},
		Param{"sort", "order of the list", (*Query).setSort},
		Param{"limit", "rows, at most 500 (default 50)", (*Query).setLimit},
		Param{"cursor", "continue after a page: next_cursor of its JSON", func(q *Query, value string) error {
			q.Cursor = value
			return nil
		}},
		Param{"include", "", (*Query).setInclude})
}

// facet describes how the values of a filter are counted.
type facet struct {
	of    func(*Facets) *map[string]int
	limit int // number of values in an answer; 0: no limit, because there are few values
	asked int // number of values requested from search
}

// eachFacet calls fn with each filter whose values are counted.
func eachFacet(fn func(f *filter)) {
	for _, f := range filters {
		if f.facet != nil {
			fn(f)
		}
	}
}

func newFacets() (out Facets) {
	eachFacet(func(f *filter) { *f.facet.of(&out) = map[string]int{} })
	return out
}

func (c Facets) clone() Facets {
	out := newFacets()
	out.add(c)
	return out
}

// add adds the counts of other facets.
func (c Facets) add(other Facets) {
	eachFacet(func(f *filter) {
		to := *f.facet.of(&c)
		for name, n := range *f.facet.of(&other) {
			to[name] += n
		}
	})
}

// trim leaves the most frequent values of each facet.
func (c Facets) trim() {
	eachFacet(func(f *filter) {
		if f.facet.limit > 0 {
			trimFacet(*f.facet.of(&c), f.facet.limit)
		}
	})
}

// count adds an order.
func (c Facets) count(o *mostro.Order) {
	eachFacet(func(f *filter) {
		for _, term := range f.terms(o) {
			if f.field != fieldStatus || term != noStatus {
				count(*f.facet.of(&c), term, 1)
			}
		}
	})
}

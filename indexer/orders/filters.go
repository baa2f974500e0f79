package orders

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
)

// Filter is one condition on orders: how the condition is parsed, its definition, and its
// text in cache keys. A new condition needs a row in the table of filters, a row in the
// table of package livebook, which evaluates live orders, and a row in the table of the
// search index, which evaluates past orders. Tests check that all three have the row.
type Filter struct {
	Name    string   // key in NIP-50 searches and in the parameter q
	aliases []string // other accepted keys
	Params  []Param  // parameters of the API
	set     func(q *Query, value string) error

	// Given reports whether a query has the condition.
	Given func(q *Query) bool
	// Wanted returns the values of a query, one of which an order must have. Wanted is nil
	// for a range.
	Wanted func(q *Query) []string
	// Matches defines the condition. All indexes must return the same result.
	Matches func(q *Query, o *mostro.Order) bool
	// Values returns the values of an order. Values is nil for a range.
	Values func(o *mostro.Order) []string

	// text returns the condition as a part of Query.CacheKey. If two conditions differ,
	// their texts must differ.
	text  func(q *Query) string
	facet *facet // nil: values are not counted
}

// Param is a parameter of GET /api/v1/orders. The commands have a flag for each Param
// with a Doc.
type Param struct {
	Name, Doc string
	set       func(q *Query, value string) error
	Many      bool // several values may be given
}

// Filters is the table of all conditions.
var Filters = []*Filter{
	list("fiat", "currency code, e.g. VES", func(q *Query) *[]string { return &q.Fiat }, upper, func(o *mostro.Order) string { return o.Fiat },
		Filter{facet: &facet{of: func(f *Facets) *map[string]int { return &f.Fiat }, limit: MaxFacets}}),
	list("side", "buy or sell: what the maker does", func(q *Query) *[]mostro.Side { return &q.Side }, parseSide, func(o *mostro.Order) mostro.Side { return o.Side },
		Filter{facet: &facet{of: func(f *Facets) *map[string]int { return &f.Side }}}),
	list("status", "pending, in-progress, success, canceled, expired or gone", func(q *Query) *[]mostro.Status { return &q.Status }, parseStatus, func(o *mostro.Order) mostro.Status { return o.Status },
		Filter{facet: &facet{of: func(f *Facets) *map[string]int { return &f.Status }}}),
	list("method", "payment method", func(q *Query) *[]string { return &q.Method }, nil, nil,
		Filter{aliases: []string{"pm"}, set: (*Query).addMethod, Values: foldedMethods,
			Matches: func(q *Query, o *mostro.Order) bool { return q.methodMatches(o.Methods) },
			facet:   &facet{of: func(f *Facets) *map[string]int { return &f.Method }, limit: MaxMethodFacets}}),
	list("platform", "mostro, robosats, lnp2pbot, ...", func(q *Query) *[]string { return &q.Platform }, lower, func(o *mostro.Order) string { return o.Platform },
		Filter{facet: &facet{of: func(f *Facets) *map[string]int { return &f.Platform }, limit: MaxFacets}}),
	list("instance", "public key of the publisher (hex or npub)", func(q *Query) *[]string { return &q.Instance }, ParsePubkey, func(o *mostro.Order) string { return o.Pubkey },
		Filter{aliases: []string{"mostro"}}),
	list("network", "mainnet, testnet, signet or regtest", func(q *Query) *[]string { return &q.Network }, lower, func(o *mostro.Order) string { return o.Network }, Filter{}),
	span("amount", "sats: a number or a range such as 1000-50000", func(q *Query) *Span { return &q.Amount },
		Filter{Matches: func(q *Query, o *mostro.Order) bool {
			return o.AmountSats != nil && *o.AmountSats > 0 && q.Amount.holds(float64(*o.AmountSats))
		}}),
	span("fiat_amount", "fiat amount that the order must allow", func(q *Query) *Span { return &q.FiatAmount },
		Filter{Matches: func(q *Query, o *mostro.Order) bool { return q.FiatAmount.meets(RangeOf(o.FiatAmount)) }}),
	span("premium", "percent", func(q *Query) *Span { return &q.Premium },
		Filter{Params: []Param{
			{"min_premium", "percent", func(q *Query, value string) error { return parsePercent(&q.Premium.Min, value) }, false},
			{"max_premium", "percent", func(q *Query, value string) error { return parsePercent(&q.Premium.Max, value) }, false},
		}, Matches: func(q *Query, o *mostro.Order) bool { return q.Premium.holds(FloatOf(o.PremiumPct)) }}),
	span("maker_rating", "mean rating of the maker, from 0 to 5", func(q *Query) *Span { return &q.Rating },
		Filter{Params: []Param{{"min_maker_rating", "least mean rating of the maker, as the publisher states it: 0 to 5, other scales are converted", (*Query).setMinRating, false}},
			Matches: func(q *Query, o *mostro.Order) bool { return q.Rating.holds(RatingOf(o.MakerRating)) }}),
	span("maker_days", "age of the maker's account in days", func(q *Query) *Span { return &q.MakerDays },
		Filter{Params: []Param{{"min_maker_days", "least age of the maker's account in days, as the publisher states it", (*Query).setMinDays, false}},
			Matches: func(q *Query, o *mostro.Order) bool { return q.MakerDays.holds(MakerDaysOf(o)) }}),
}

// list completes f to a filter by a list of values, one of which an order must have. of
// returns the list in a query, parse parses one value, and value returns the value of an
// order.
func list[T ~string](name, doc string, of func(*Query) *[]T, parse func(string) (T, error), value func(*mostro.Order) T, f Filter) *Filter {
	f.Name = name
	f.Given = func(q *Query) bool { return len(*of(q)) > 0 }
	f.text = func(q *Query) string { return fmt.Sprintf("%q", *of(q)) }
	if f.set == nil {
		f.set = func(q *Query, text string) error { return addAll(of(q), text, parse) }
	}
	if f.Matches == nil {
		f.Matches = func(q *Query, o *mostro.Order) bool { return slices.Contains(*of(q), value(o)) }
	}
	if f.Values == nil {
		f.Values = func(o *mostro.Order) []string { return []string{string(value(o))} }
	}
	f.Wanted = func(q *Query) []string { return texts(*of(q)) }
	f.Params = []Param{{name, doc, f.set, true}}
	return &f
}

// span completes f to a filter by a range of numbers.
func span(name, doc string, of func(*Query) *Span, f Filter) *Filter {
	f.Name = name
	f.Given = func(q *Query) bool { return !of(q).empty() }
	f.text = func(q *Query) string { return boundText(of(q).Min) + " " + boundText(of(q).Max) }
	f.set = func(q *Query, value string) error { return of(q).parse(value) }
	if f.Params == nil {
		f.Params = []Param{{name, doc, f.set, false}}
	}
	return &f
}

func boundText(f *float64) string {
	if f == nil {
		return ""
	}
	return strconv.FormatFloat(*f, 'g', -1, 64)
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
	if status != "" && slices.Contains(Statuses[:], status) {
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

func (q *Query) setMinDays(value string) error {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a whole number of days", value)
	}
	f := float64(n)
	q.MakerDays.Min = &f
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

// Filtered reports whether a query has any condition of the table.
func (q *Query) Filtered() bool {
	return slices.ContainsFunc(Filters, func(f *Filter) bool { return f.Given(q) })
}

// FilterOf returns the filter with a key or an alias.
func FilterOf(key string) (*Filter, bool) {
	for _, f := range Filters {
		if f.Name == key || slices.Contains(f.aliases, key) {
			return f, true
		}
	}
	return nil, false
}

// SearchKeys returns the keys of NIP-50 searches and of the parameter q, without aliases.
func SearchKeys() (keys []string) {
	for _, f := range Filters {
		keys = append(keys, f.Name)
	}
	return keys
}

// OrderParams returns the parameters of GET /api/v1/orders.
func OrderParams() []Param { return orderParams }

var orderParams = newOrderParams()

func newOrderParams() []Param {
	all := []Param{{"q", "", (*Query).setText, true}}
	for _, f := range Filters {
		all = append(all, f.Params...)
	}
	return append(all,
		Param{"min_rank", "least rank of the instance, from 1 to 100", (*Query).setMinRank, false},
		Param{"open", "true: open now; false: history; any: both (default true)", (*Query).setOpen, false},
		Param{"at", "the book as it was at this unix time or RFC 3339", (*Query).setAt, false},
		Param{"sort", "order of the list", (*Query).setSort, false},
		Param{"limit", "rows, at most 500 (default 50)", (*Query).setLimit, false},
		Param{"cursor", "continue after a page: next_cursor of its JSON", func(q *Query, value string) error {
			q.Cursor = value
			return nil
		}, false},
		Param{"include", "", (*Query).setInclude, false})
}

func texts[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = string(v)
	}
	return out
}

package indexer

import (
	"net/url"
	"reflect"
	"slices"
	"testing"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// filterSamples has two values for each parameter of each filter: the first is
// met by the first order of filterBook alone, the second by the second alone. Samples of
// one bound may be met by both.
var filterSamples = map[string][2]string{
	"fiat": {"USD", "EUR"}, "side": {"sell", "buy"}, "status": {"pending", "in-progress"}, "method": {"zelle", "sepa"},
	"platform": {"mostro", "peach"}, "instance": {pubkeyOf(0), pubkeyOf(1)}, "network": {"mainnet", "testnet"},
	"amount": {"1000", "2000"}, "fiat_amount": {"10", "20"}, "min_premium": {"-5", "5"}, "max_premium": {"5", "15"}, "min_maker_rating": {"1", "4.5"}, "min_maker_days": {"1", "30"},
}

// filterBook returns an index of two live orders that differ in all values that filters
// compare.
func filterBook(t *testing.T) *opened {
	l, clk := newMemLog(), newClock()
	for _, d := range []draft{
		{author: 0, d: "first", side: "sell", fiat: "USD", status: "pending", amt: "1000", fa: []string{"10"}, premium: "1", rating: `["rating",{"total_rating":3.0,"total_reviews":2,"days":10}]`, methods: []string{"Zelle"}, platform: "mostro", network: "mainnet", expiry: t0 + 100},
		{author: 1, d: "second", side: "buy", fiat: "EUR", status: "in-progress", amt: "2000", fa: []string{"20"}, premium: "9", rating: `{"total_rating":0.95,"total_reviews":2,"days":40}`, methods: []string{"SEPA"}, platform: "peach", network: "testnet", expiry: t0 + 100},
	} {
		l.add(d.event(), clk.now(), mostro.OriginClient, false)
	}
	x := openTest(t, l, clk, "")
	x.catchUp(t)
	return x
}

func parsed(t *testing.T, values url.Values) orders.Query {
	t.Helper()
	q, err := orders.ParseQuery(values)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestFiltersAreComplete checks that each condition has a row in the table of the search
// index, and that its samples are listed here.
func TestFiltersAreComplete(t *testing.T) {
	facets := orders.NewFacets()
	for i, f := range orders.Filters {
		if len(pastFilters) != len(orders.Filters) || pastFilters[i].Filter != f {
			t.Fatalf("%s: the table of past orders has other rows", f.Name)
		}
		p := pastFilters[i]
		if (p.field == "") != (p.terms == nil) || (p.facets > 0) != (f.Counts(&facets) != nil) {
			t.Errorf("%s: terms, field and facets do not match", f.Name)
		}
		for _, p := range f.Params {
			if _, ok := filterSamples[p.Name]; !ok || p.Doc == "" {
				t.Errorf("%s: no samples for these tests, or no Doc", p.Name)
			}
		}
	}
}

// TestCacheKeysHoldEveryFilter checks that two queries that differ in only one filter
// never share cached facets or a cursor.
func TestCacheKeysHoldEveryFilter(t *testing.T) {
	x := filterBook(t)
	for _, f := range orders.Filters {
		for _, p := range f.Params {
			var facets []orders.Facets
			names := map[string]bool{parsedName(t, nil): true}
			for _, value := range filterSamples[p.Name] {
				values := url.Values{p.Name: {value}, "open": {"any"}}
				q := parsed(t, values)
				if name := q.CacheKey(); names[name] {
					t.Errorf("%s=%s: another query has the name %s", p.Name, value, name)
				} else {
					names[name] = true
				}
				held, err := x.Orders(t.Context(), q) // the second query may hit the cache entry of the first
				if err != nil {
					t.Fatal(err)
				}
				fresh := filterAnswer(t, x, q)
				if !reflect.DeepEqual(held.Facets, fresh) {
					t.Errorf("%s=%s: %v was kept of another question, want %v", p.Name, value, held.Facets, fresh)
				}
				facets = append(facets, fresh)
			}
			if f.Name != "premium" && reflect.DeepEqual(facets[0], facets[1]) {
				t.Errorf("%s: both values find the same: this test would see nothing", p.Name)
			}
		}
	}
}

func parsedName(t *testing.T, values url.Values) string {
	q := parsed(t, values)
	return q.CacheKey()
}

// filterAnswer returns the facets of a query over filterBook, counted from the records.
func filterAnswer(t *testing.T, x *opened, q orders.Query) orders.Facets {
	t.Helper()
	out := orders.NewFacets()
	for author, d := range []string{"first", "second"} {
		r, _, err := x.Order(pubkeyOf(author), d)
		if err != nil {
			t.Fatal(err)
		}
		if q.Matches(&r.Version, x.clock.now()) {
			out.Count(&r.Order)
		}
	}
	return out
}

// TestFiltersFindTheirOrder checks that each sample finds its order in every way: with
// Query.Matches, in the column store, and in search when the order is no longer live.
func TestFiltersFindTheirOrder(t *testing.T) {
	x := filterBook(t)
	for _, gone := range []bool{false, true} {
		if gone {
			x.clock.set(t0 + 200)
			x.catchUp(t)
		}
		for _, f := range orders.Filters {
			for _, p := range f.Params {
				for i, value := range filterSamples[p.Name] {
					want := []string{"first", "second"}[i : i+1]
					switch p.Name + value {
					case "min_premium-5", "max_premium15", "min_maker_rating1", "min_maker_days1":
						want = []string{"first", "second"}
					}
					q := parsed(t, url.Values{p.Name: {value}, "open": {"any"}, "sort": {"amount"}})
					a, err := x.Orders(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					var got []string
					for _, o := range a.Orders {
						got = append(got, o.Order.D)
						if !f.Matches(&q, &o.Order) {
							t.Errorf("%s=%s: %s does not match", p.Name, value, o.Order.D)
						}
					}
					if !slices.Equal(got, want) || a.Total != len(want) {
						t.Errorf("%s=%s, over %t: found %v, %d in all, want %v", p.Name, value, gone, got, a.Total, want)
					}
				}
			}
		}
	}
}

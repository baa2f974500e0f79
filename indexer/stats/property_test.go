package stats

import (
	"fmt"
	"math"
	"math/rand"
	"strconv"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
)

func collect(entries []mostro.Entry) *Collector {
	c := New()
	c.orders.quiet = 40 // chunks are sealed and opened often
	for i := range entries {
		c.Apply(&entries[i])
	}
	return c
}

// agree reports whether a value equals the oracle's: nil is null, numbers may differ by
// rounding.
func agree(v Value, want any) bool {
	switch want := want.(type) {
	case nil:
		return v.IsNull()
	case string:
		return v.String() == want
	case float64:
		got := v.Float()
		return math.Abs(got-want) <= 1e-9*max(1, math.Abs(want))
	}
	return false
}

func randomQuery(rng *rand.Rand, entries []mostro.Entry) Query {
	q := Query{From: 1_780_000_000 + rng.Int63n(40*86400), Filter: Filter{}}
	q.Until = q.From + 1 + rng.Int63n(20*86400)
	switch rng.Intn(6) {
	case 0:
		q.From, q.Until = 0, 1_790_000_000
	case 1: // July 2026
		q.From, q.Until = 1_782_864_000, 1_785_542_400
	case 2: // a bound that is the time of an event
		tags := entries[rng.Intn(len(entries))].Event.Tags
		if tag := tags.Find("expires_at"); tag != nil {
			q.Until, _ = strconv.ParseInt(tag[1], 10, 64)
			q.From = q.Until - rng.Int63n(900_000)
		}
	}
	if rng.Intn(3) == 0 {
		q.Clock = Witnessed
	}
	if rng.Intn(2) == 0 {
		q.In = []string{"EUR", "USD", "ARS", "CUP"}[rng.Intn(4)]
	}
	add := func(dim Dimension, values ...string) {
		if rng.Intn(6) == 0 {
			q.Filter[dim] = append(q.Filter[dim], values[rng.Intn(len(values))])
		}
	}
	for range 2 {
		add(ByFiat, "EUR", "USD", "CUP", "XXX")
		add(ByInstance, entries[rng.Intn(len(entries))].Event.PubKey)
	}
	add(BySide, "buy", "sell")
	add(ByPlatform, "mostro", "robosats", "lnp2pbot")
	add(ByNetwork, "mainnet", "regtest")
	add(ByMethod, "sepa", "Revolut", "CVU")
	return q
}

// TestEveryMetricEqualsNaiveRecomputation compares all metrics of random markets and windows
// with the oracle, after arrival in one order, and after encoding and decoding the state.
func TestEveryMetricEqualsNaiveRecomputation(t *testing.T) {
	checked, nonNull := map[string]int{}, map[string]int{}
	for seed := range int64(12) {
		entries := randomMarket(seed, 120, 7)
		c, o := collect(entries), newOracle(entries)
		rng := rand.New(rand.NewSource(seed))
		for range 25 {
			q := randomQuery(rng, entries)
			doc, err := c.Document(q)
			if err != nil {
				t.Fatal(err)
			}
			compareDocument(t, fmt.Sprintf("seed %d, %+v", seed, q), doc, o.figures(q), checked, nonNull)
			if t.Failed() {
				return
			}
		}
	}
	for _, d := range Definitions() {
		if checked[d.Name] == 0 || nonNull[d.Name] == 0 {
			t.Errorf("%s was compared %d times, %d times not null", d.Name, checked[d.Name], nonNull[d.Name])
		}
	}
}

func compareDocument(t *testing.T, label string, doc Document, want map[string]any, checked, nonNull map[string]int) {
	t.Helper()
	seen := map[string]bool{}
	for _, f := range doc.Metrics {
		if f.Error != "" {
			if !f.Value.IsNull() {
				t.Errorf("%s: %s has an error and a value", label, f.Name)
			}
			continue
		}
		w, ok := want[f.Name]
		if !ok {
			t.Errorf("%s: the oracle has no %s", label, f.Name)
			continue
		}
		seen[f.Name] = true
		d, _, _ := findDefinition(f.Name)
		checked[d.Name]++
		if !f.Value.IsNull() {
			nonNull[d.Name]++
		}
		if !agree(f.Value, w) {
			t.Errorf("%s: %s is %s, want %v", label, f.Name, f.Value, w)
		}
		if f.Witnessed > f.Events {
			t.Errorf("%s: %s: %d of %d events witnessed", label, f.Name, f.Witnessed, f.Events)
		}
	}
	for name := range want {
		if !seen[name] {
			t.Errorf("%s: the document has no %s", label, name)
		}
	}
}

// TestSingleMetricsSeriesAndGroups compares each metric on its own, each bucket of a series and
// each group with the oracle's figure for the same window and filter.
func TestSingleMetricsSeriesAndGroups(t *testing.T) {
	entries := randomMarket(99, 200, 7)
	c, o := collect(entries), newOracle(entries)
	rng := rand.New(rand.NewSource(99))
	for range 6 {
		q := randomQuery(rng, entries)
		want := o.figures(q)
		for name, w := range want {
			f, err := c.Metric(name, q)
			if err != nil {
				t.Fatal(err)
			}
			if !agree(f.Value, w) {
				t.Errorf("%+v: %s alone is %s, want %v", q, name, f.Value, w)
			}
		}
	}
	for name, want := range map[string]any{"volume.fiat.XXX.orders": 0.0, "volume.fiat.XXX.sats": 0.0, "volume.fiat.XXX.avg": nil, "market.methods.No such.orders": 0.0} {
		if f, err := c.Metric(name, Query{From: 1, Until: 1_790_000_000}); err != nil || !agree(f.Value, want) {
			t.Errorf("%s is %s (%v), want %v", name, f.Value, err, want)
		}
	}
	for _, by := range []Every{Hour, Day, Week, Month} {
		q := Query{From: 1_780_300_000, Until: 1_780_300_000 + 3*86400, Clock: Clock(rng.Intn(2))}
		if by == Week || by == Month {
			q.Until += 30 * 86400
		}
		want := map[int64]map[string]any{}
		for i := range definitions {
			d := &definitions[i]
			if d.oneOnly || d.each != nil || d.needs&needIn != 0 {
				continue
			}
			points, err := c.Series(d.Name, q, by)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range points {
				if want[p.From] == nil {
					want[p.From] = o.figures(Query{From: p.From, Until: p.Until, Clock: q.Clock})
				}
				// The window before a bucket is the bucket before.
				if w := want[p.From][d.Name]; !agree(p.Figure.Value, w) {
					t.Fatalf("by %s: %s from %d is %s, want %v", by, d.Name, p.From, p.Figure.Value, w)
				}
			}
		}
	}
	q := Query{From: 1_780_000_000, Until: 1_783_000_000}
	for _, dim := range Dimensions {
		for i := range definitions {
			d := &definitions[i]
			if d.needs&(needScore|needIn|needNetwork) != 0 || d.each != nil || d.byNode && dim != ByInstance {
				continue
			}
			points, err := c.Groups(d.Name, q, dim)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range points {
				one := q
				one.Filter = Filter{dim: {p.Group}}
				want := o.figures(one)[d.Name]
				if dim == ByMethod && (p.Group == "CVU" || p.Group == "cvu") {
					continue // a filter by method ignores case, groups do not
				}
				if (dim == ByNetwork || dim == ByPlatform) && d.needs&needFees != 0 {
					continue // a filter by network also counts fees of unknown orders
				}
				if !agree(p.Figure.Value, want) {
					t.Fatalf("%s by %s: %s is %s, want %v", d.Name, dim, p.Group, p.Figure.Value, want)
				}
			}
		}
	}
}

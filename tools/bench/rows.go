package main

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/nbd-wtf/go-nostr"
)

const kindOrder = 38383

// variants is the maximum number of different filters in a row.
const variants = 30

// row is one kind of query that clients send.
type row struct {
	name    string
	filters []nostr.Filter
}

// peer is the result of strfry f8a56a8 for a row: p50 and p99 in milliseconds, and CPU
// time in microseconds. It was measured in an earlier run on the same kind of machine
// and load with 8 closed-loop connections, because strfry cannot be built on every
// machine that runs these benchmarks.
type peer struct{ p50, p99, cpu float64 }

// peers are the results of strfry by row.
var peers = map[string]peer{
	"ids 1":                     {0.6, 1.6, 121},
	"ids 20":                    {2.6, 5.6, 558},
	"kinds+#d":                  {0.8, 2.1, 170},
	"author+#d":                 {0.9, 2.4, 193},
	"author":                    {4.8, 9.5, 857},
	"author+#z+since, limit 50": {6.3, 19, 1529},
	"author+#s pending":         {12, 44, 2946},
	"40 authors+since":          {6.7, 12, 1302},
	"#s pending":                {4.4, 12, 734},
	"#s+#f":                     {19, 74, 4940},
	"#s+#f+#k":                  {27, 155, 9356},
	"#s + rare #f":              {48, 109, 13349},
	"#s + 8 values of #f":       {9.2, 19, 2016},
	"#y+#z+#s":                  {5.5, 30, 1285},
	"30-minute window":          {4.7, 9.2, 837},
	"newest 100":                {5.2, 9.5, 853},
	"newest 500":                {14, 33, 2503},
	"nothing matches (#s+#f)":   {39, 109, 11043},
}

// rowsOf draws the filters from the orders of the oracle.
func rowsOf(o *oracle) []row {
	r := rand.New(rand.NewPCG(1, 38383))
	var orders []*nostr.Event
	pending := make(map[string]int) // by currency
	held := make(map[[2]string]bool)
	for _, i := range o.live {
		evt := o.events[i]
		if evt.Kind != kindOrder {
			continue
		}
		orders = append(orders, evt)
		s, f := tagOf(evt, "s"), tagOf(evt, "f")
		held[[2]string{s, f}] = true
		if s == "pending" {
			pending[f]++
		}
	}
	newest, oldest := orders[0].CreatedAt, orders[len(orders)-1].CreatedAt
	byUse := slices.SortedFunc(maps.Keys(pending), func(a, b string) int { return cmp.Or(cmp.Compare(pending[a], pending[b]), cmp.Compare(a, b)) })
	var authors []string
	for _, evt := range orders {
		if !slices.Contains(authors, evt.PubKey) {
			authors = append(authors, evt.PubKey)
		}
	}
	slices.Sort(authors)

	any := func() *nostr.Event { return orders[r.IntN(len(orders))] }
	at := func(t nostr.Timestamp) *nostr.Timestamp { return &t }
	kinds := []int{kindOrder}
	tags := func(kv ...string) nostr.TagMap {
		m := make(nostr.TagMap)
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = append(m[kv[i]], kv[i+1])
		}
		return m
	}
	many := func(draw func(n int) nostr.Filter) []nostr.Filter {
		var all []nostr.Filter
		for n := range variants {
			f := draw(n)
			f.Limit = cmp.Or(f.Limit, 100)
			if !slices.ContainsFunc(all, func(g nostr.Filter) bool { return nostr.FilterEqual(f, g) && f.Limit == g.Limit }) {
				all = append(all, f)
			}
		}
		return all
	}
	nobody := func(n int) nostr.Filter {
		// Every second filter combines a status and a currency that both exist, but not
		// in the same order.
		if n%2 == 0 {
			for _, f := range byUse {
				for _, s := range []string{"in-progress", "success", "canceled", "pending"} {
					if !held[[2]string{s, f}] && r.IntN(3) == 0 {
						return nostr.Filter{Kinds: kinds, Tags: tags("s", s, "f", f)}
					}
				}
			}
		}
		return nostr.Filter{Kinds: kinds, Tags: tags("s", "pending", "f", fmt.Sprintf("Q%02d", n))}
	}

	return []row{
		{"ids 1", many(func(int) nostr.Filter { return nostr.Filter{IDs: []string{any().ID}} })},
		{"ids 20", many(func(int) nostr.Filter {
			var f nostr.Filter
			for range 20 {
				f.IDs = append(f.IDs, any().ID)
			}
			return f
		})},
		{"kinds+#d", many(func(int) nostr.Filter { return nostr.Filter{Kinds: kinds, Tags: tags("d", tagOf(any(), "d"))} })},
		{"author+#d", many(func(int) nostr.Filter {
			evt := any()
			return nostr.Filter{Kinds: kinds, Authors: []string{evt.PubKey}, Tags: tags("d", tagOf(evt, "d"))}
		})},
		{"author", many(func(int) nostr.Filter { return nostr.Filter{Kinds: kinds, Authors: []string{any().PubKey}} })},
		{"author+#z+since, limit 50", many(func(int) nostr.Filter {
			return nostr.Filter{Kinds: kinds, Authors: []string{any().PubKey}, Tags: tags("z", "order"), Since: at(newest - 7*86400), Limit: 50}
		})},
		{"author+#s pending", many(func(int) nostr.Filter {
			return nostr.Filter{Kinds: kinds, Authors: []string{any().PubKey}, Tags: tags("s", "pending")}
		})},
		{"40 authors+since", many(func(n int) nostr.Filter {
			return nostr.Filter{Kinds: kinds, Authors: authors, Since: at(newest - 30*3600 - nostr.Timestamp(60*n))}
		})},
		{"#s pending", many(func(int) nostr.Filter { return nostr.Filter{Kinds: kinds, Tags: tags("s", "pending")} })},
		{"#s+#f", many(func(int) nostr.Filter {
			return nostr.Filter{Kinds: kinds, Tags: tags("s", "pending", "f", tagOf(any(), "f"))}
		})},
		{"#s+#f+#k", many(func(int) nostr.Filter {
			evt := any()
			return nostr.Filter{Kinds: kinds, Tags: tags("s", "pending", "f", tagOf(evt, "f"), "k", tagOf(evt, "k"))}
		})},
		{"#s + rare #f", many(func(n int) nostr.Filter {
			return nostr.Filter{Kinds: kinds, Tags: tags("s", "pending", "f", byUse[n%min(3, len(byUse))])}
		})},
		{"#s + 8 values of #f", many(func(int) nostr.Filter {
			m := tags("s", "pending")
			for _, k := range r.Perm(len(byUse))[:min(8, len(byUse))] {
				m["f"] = append(m["f"], byUse[k])
			}
			return nostr.Filter{Kinds: kinds, Tags: m}
		})},
		{"#y+#z+#s", many(func(int) nostr.Filter {
			return nostr.Filter{Kinds: kinds, Tags: tags("y", "mostro", "z", "order", "s", tagOf(any(), "s"))}
		})},
		{"30-minute window", many(func(int) nostr.Filter {
			from := oldest + nostr.Timestamp(r.Int64N(int64(newest-oldest)-1800))
			return nostr.Filter{Kinds: kinds, Since: at(from), Until: at(from + 1800)}
		})},
		{"newest 100", many(func(int) nostr.Filter { return nostr.Filter{Kinds: kinds} })},
		{"newest 500", many(func(int) nostr.Filter { return nostr.Filter{Kinds: kinds, Limit: 500} })},
		{"nothing matches (#s+#f)", many(nobody)},
	}
}

// countsOf returns the filters of the COUNT case.
func countsOf(o *oracle) []row {
	var rows []row
	for _, r := range rowsOf(o) {
		if name, ok := map[string]string{"newest 100": "kind", "author": "author", "#s pending": "#s", "#s+#f": "#s+#f"}[r.name]; ok {
			for i := range r.filters {
				r.filters[i].Limit = 0
			}
			rows = append(rows, row{name: name, filters: r.filters})
		}
	}
	return rows
}

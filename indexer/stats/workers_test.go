//go:build unix

package stats

import (
	"encoding/json"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
)

// TestWorkers compares the figures of one worker with those of several, and each metric on its own,
// which reads only the columns that it needs, with the document, which reads all.
func TestWorkers(t *testing.T) {
	c := New()
	c.orders.quiet = 4000
	first, last := int64(0), int64(0)
	benchMarket(4*rows+100, func(e *mostro.Entry) {
		if first == 0 {
			first = int64(e.Event.CreatedAt)
		}
		last = max(last, int64(e.Event.CreatedAt))
		shared := e.Shared()
		c.Apply(&shared)
	})
	all, middle := Query{From: 1, Until: last + 1, In: "EUR"}, Query{From: first + (last-first)/3, Until: first + (last-first)*2/3, In: "EUR"}
	queries := []Query{all, middle}
	for _, q := range []Query{all, middle} {
		witnessed, some, one := q, q, q
		witnessed.Clock = Witnessed
		some.Filter = Filter{ByFiat: {"EUR", "CUP"}, BySide: {"buy"}}
		one.Filter = Filter{ByInstance: {hexOf(c.authors[1].pubkey)}}
		queries = append(queries, witnessed, some, one)
	}
	encode := func(v any) string {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	for i, q := range queries {
		c.workers = 1
		want, err := c.Document(q)
		if err != nil {
			t.Fatal(err)
		}
		c.workers = 3
		got, err := c.Document(q)
		if err != nil {
			t.Fatal(err)
		}
		if encode(got) != encode(want) {
			t.Errorf("query %d: the document of three workers differs from that of one", i)
		}
		nonzero := 0
		for _, f := range want.Metrics {
			alone, err := c.Metric(f.Name, q)
			if err != nil {
				t.Fatal(err)
			}
			if encode(alone) != encode(f) {
				t.Errorf("query %d: %s is %s alone and %s in the document", i, f.Name, encode(alone), encode(f))
			}
			if f.Events > 0 {
				nonzero++
			}
		}
		if several, err := c.Metrics([]string{"volume.fiat.CUP.p50", "orders.created", "volume.fiat.EUR.total"}, q); err != nil {
			t.Fatal(err)
		} else {
			for _, f := range several {
				alone, err := c.Metric(f.Name, q)
				if err != nil || encode(alone) != encode(f) {
					t.Errorf("query %d: %s is %s alone and %s among others, %v", i, f.Name, encode(alone), encode(f), err)
				}
			}
		}
		if nonzero < 50 {
			t.Errorf("query %d: only %d metrics count events", i, nonzero)
		}
	}
	one := tally{maxAge: 1}
	if one.addOrders(&tally{maxAge: 2}); one.maxAge != 2 {
		t.Errorf("the greatest age of a rate is %d", one.maxAge)
	}
	if n := len(c.orders.chunks); n != 5 {
		t.Errorf("%d chunks", n)
	}
	if c.orders.chunks[0].sealed == nil {
		t.Error("no chunk is sealed")
	}
}

package indexer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// BenchmarkBookApply applies batches of a thousand new orders.
func BenchmarkBookApply(b *testing.B) {
	m := &bigLog{orders: 1 << 30, versions: 1}
	m.moved.init()
	x := openTest(b, newMemLog(), newClock(), "")
	seq := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		batch := make([]mostro.Entry, bookBatch)
		for i := range batch {
			seq++
			batch[i] = m.entry(seq)
		}
		b.StartTimer()
		if err := x.book.apply(batch, seq); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(seq)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkSearchWrite writes batches of documents of the size that followSearch writes.
func BenchmarkSearchWrite(b *testing.B) {
	m := &bigLog{orders: 1 << 30, versions: 1}
	for _, gone := range []bool{false, true} {
		b.Run(fmt.Sprintf("gone=%v", gone), func(b *testing.B) {
			x := openTest(b, newMemLog(), newClock(), "")
			seq := uint64(0)
			for b.Loop() {
				b.StopTimer()
				docs := make([]searchDoc, searchBatch)
				for i := range docs {
					seq++
					order, err := mostro.ParseOrder(m.entry(seq).Event)
					if err != nil {
						b.Fatal(err)
					}
					order.Description = "Solo efectivo en mano, en el centro"
					address := orders.Address(order.Pubkey, order.D)
					docs[i] = searchDoc{address, orders.KeyOf(address), &orders.Version{Order: order}, gone}
				}
				b.StartTimer()
				if err := x.search.write(docs, searchState{cursor: seq, mark: "bench"}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(seq)/b.Elapsed().Seconds(), "docs/s")
		})
	}
}

// BenchmarkOrdersPage reads the first page of 50,000 live orders.
func BenchmarkOrdersPage(b *testing.B) {
	m := &bigLog{orders: 50_000, versions: 1}
	m.moved.init()
	clk := newClock()
	x, err := Open(Config{Dir: b.TempDir(), Log: m, Events: m, Now: clk.now})
	if err != nil {
		b.Fatal(err)
	}
	defer x.Close()
	if err := x.books.pass(b.Context()); err != nil {
		b.Fatal(err)
	}
	h := x.Handler()
	for _, q := range []string{"", "fiat=USD", "fiat=EUR&fiat_amount=100&max_premium=4&sort=premium"} {
		b.Run(q, func(b *testing.B) {
			n := 0
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/orders?"+q, nil))
				n = w.Body.Len()
			}
			b.ReportMetric(float64(n), "bytes")
		})
	}
}

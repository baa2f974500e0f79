package score

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
)

// Row 10 of docs/reputation.md: a million events of a thousand nodes. A hundred thousand
// of the events are ratings with real receipts. One node has a tenth of all orders.
const (
	benchNodes   = 1000
	benchOrders  = 290_000 // three versions each, fewer with -bench.part
	benchRatings = 100_000
	benchInfos   = 30
	benchDays    = 180
)

var benchPart = flag.Int("bench.part", 1, "play one of so many parts of the orders")

type bigMarket struct {
	keys  []*envelope.Keys
	nodes []string
	r     *rand.Rand
}

func newBigMarket(tb testing.TB) *bigMarket {
	m := &bigMarket{r: rand.New(rand.NewPCG(10, 10))}
	for i := range benchNodes {
		k := scoretest.Keys(tb, "bench ", i)
		m.keys, m.nodes = append(m.keys, k), append(m.nodes, k.Pubkey())
	}
	return m
}

// each creates the market in parts, so that not all events must fit into memory, and calls
// fn with each part.
func (m *bigMarket) each(tb testing.TB, fn func([]mostro.Entry)) (events int) {
	w := &scoretest.World{T: tb}
	flush := func(limit int) {
		if len(w.Entries) > limit {
			for i := range w.Entries {
				w.Entries[i].Seq = uint64(events + i + 1)
			}
			events += len(w.Entries)
			fn(w.Entries)
			w.Entries = nil
		}
	}
	for _, node := range m.nodes {
		for d := range benchInfos {
			w.Info(node, node, scoretest.At(float64(benchDays-benchInfos+d)))
		}
		flush(batchSize)
	}
	ratings := 0
	orders := benchOrders / *benchPart
	for n := range orders {
		i := m.r.IntN(benchNodes)
		if m.r.IntN(10) == 0 {
			i = 0
		}
		node, when := m.nodes[i], scoretest.At(float64(n)/float64(orders)*(benchDays-1))
		sats := int64(1000 + m.r.IntN(200_000))
		w.Order(node, n, mostro.StatusPending, sats, when)
		w.Order(node, n, mostro.StatusInProgress, sats, when.Add(20*time.Minute))
		if m.r.IntN(20) == 0 {
			w.Order(node, n, mostro.StatusCanceled, sats, when.Add(40*time.Minute))
			flush(batchSize)
			continue
		}
		w.Order(node, n, mostro.StatusSuccess, sats, when.Add(40*time.Minute))
		if ratings < benchRatings && n%2 == 0 {
			ratings++
			rater := scoretest.KeyOf(fmt.Sprint("rater ", n))
			receipt, err := receipt.Statement{Node: node, Rater: rater, Order: scoretest.OrderID(n), Role: "buyer", BandSats: 1000, Day: receipt.SettleDay(when)}.Sign(m.keys[i], zeros{})
			if err != nil {
				tb.Fatal(err)
			}
			w.Rate(node, rater, n, []string{"1", "0.8", "0.4"}[n%3], when.Add(time.Hour), receipt...)
		}
		flush(batchSize)
	}
	flush(0)
	return events
}

// BenchmarkFullRecompute reads a million events and computes all scores. The time includes
// the receipt checks, but not the creation of the events.
func BenchmarkFullRecompute(b *testing.B) {
	for b.Loop() {
		m := newBigMarket(b)
		l := NewLedger(DefaultParams(), Receipts{})
		var read, compute, spent time.Duration
		events := m.each(b, func(batch []mostro.Entry) {
			start, used := time.Now(), processor()
			for i, p := range l.PrepareAll(batch) {
				l.Commit(batch[i], p)
			}
			read += time.Since(start)
			spent += processor() - used
		})
		peak := heap(false)
		start, used := time.Now(), processor()
		scores := l.Compute(scoretest.At(benchDays))
		compute = time.Since(start)
		spent += processor() - used
		peak = max(peak, heap(false))
		if len(scores) != benchNodes {
			b.Fatal(len(scores))
		}
		b.ReportMetric(0, "ns/op") // not reported, because the value includes the creation of the events
		b.ReportMetric(float64(events), "events")
		b.ReportMetric(read.Seconds(), "s-read")
		b.ReportMetric(compute.Seconds(), "s-compute")
		b.ReportMetric((read + compute).Seconds(), "s-all")
		b.ReportMetric(spent.Seconds(), "cpu-s-all") // on all cores: independent of the load of the machine
		b.ReportMetric(float64(peak)/(1<<20), "MiB-peak")
		b.ReportMetric(float64(heap(true))/(1<<20), "MiB-held")
		runtime.KeepAlive(l)
	}
}

// processor returns the CPU time that this process has used on all cores.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap(collect bool) uint64 {
	if collect {
		runtime.GC()
	}
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// BenchmarkOneNewEvent measures one event from the entry to the new score: an order of the
// largest node, a rating of the largest node, or an order of a typical node.
func BenchmarkOneNewEvent(b *testing.B) {
	m := newBigMarket(b)
	now := scoretest.At(benchDays)
	l := NewLedger(DefaultParams(), Receipts{})
	m.each(b, func(batch []mostro.Entry) {
		for i, p := range l.PrepareAll(batch) {
			l.Commit(batch[i], p)
		}
	})
	l.Update(now, true)
	n := 1_000_000
	order := func(w *scoretest.World, i int) { w.Order(m.nodes[i], n, mostro.StatusPending, 1000, now) }
	rating := func(w *scoretest.World, i int) {
		rater, last := scoretest.KeyOf(fmt.Sprint("rater ", n)), scoretest.OrderID(n%1000)
		receipt, err := receipt.Statement{Node: m.nodes[i], Rater: rater, Order: last, Role: "buyer", BandSats: 1000, Day: receipt.SettleDay(now)}.Sign(m.keys[i], zeros{})
		if err != nil {
			b.Fatal(err)
		}
		w.Rate(m.nodes[i], rater, n%1000, "0.8", now, receipt...)
	}
	for _, c := range []struct {
		name string
		i    int
		make func(*scoretest.World, int)
	}{{"largest-order", 0, order}, {"largest-rating", 0, rating}, {"usual-order", 500, order}} {
		b.Run(c.name, func(b *testing.B) {
			var spent time.Duration
			for b.Loop() {
				n++
				w := &scoretest.World{T: b}
				c.make(w, c.i)
				used := processor()
				l.Apply(w.Entries[0])
				l.Update(now, false)
				spent += processor() - used
			}
			b.ReportMetric(float64(spent.Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}

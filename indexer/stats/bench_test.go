//go:build unix

package stats

import (
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// benchMarket calls fn with the entries of orders with five versions each, of 100 instances,
// over two years, and one entry in a thousand of other kinds. The event is reused.
func benchMarket(orders int, fn func(e *mostro.Entry)) {
	m := &market{rng: rand.New(rand.NewSource(1))}
	for range 100 {
		m.authors = append(m.authors, m.hex(64))
	}
	const start, span = 1_720_000_000, 730 * 86400
	fiats := []string{"EUR", "USD", "ARS", "CUP", "VES", "BRL", "MXN", "COP", "PEN", "CLP"}
	methods := [][]string{{"pm", "SEPA"}, {"pm", "SEPA", "Revolut"}, {"pm", "Mercado Pago", "MODO", "CVU"}, {"pm", "Pago movil"}, {"pm", "PIX"}, {"pm", "Zelle"}, {"pm", "EnZona", "Efectivo"}}
	seq := uint64(0)
	emit := func(author string, kind int, created int64, tags nostr.Tags, content string) {
		seq++
		e := mostro.Entry{Seq: seq, ReceivedAt: time.Unix(created+1, 0), Source: mostro.Source{Origin: mostro.OriginLive, Relay: "wss://relay.example"},
			Event: &nostr.Event{ID: m.hex(64), PubKey: author, Kind: kind, CreatedAt: nostr.Timestamp(created), Tags: tags, Content: content}}
		fn(&e)
	}
	ends := []string{"success", "success", "success", "canceled", "canceled"}
	for i := range orders {
		a := int(float64(len(m.authors)) * m.rng.Float64() * m.rng.Float64())
		author := m.authors[a]
		if i%1000 == 0 {
			emit(author, mostro.KindInfo, start+int64(i)*span/int64(orders), nostr.Tags{{"d", author}, {"mostro_version", "0.20.2"}, {"fee", "0.006"}, {"y", "mostro"}, {"z", "info"}}, "")
			emit(author, mostro.KindAppData, start+int64(i)*span/int64(orders), nostr.Tags{{"d", "mostro-rates"}}, `{"BTC":{"EUR":50000,"USD":60000,"ARS":90000000}}`)
		}
		t := start + int64(i)*span/int64(orders) + m.rng.Int63n(3600)
		d := fmt.Sprintf("%08x-0000-4000-8000-%012x", m.rng.Uint32(), i)
		amount := strconv.Itoa(5000 + m.rng.Intn(1_500_000))
		fa := []string{"fa", strconv.Itoa(5 + m.rng.Intn(900))}
		premium := strconv.Itoa(m.rng.Intn(12) - 3)
		base := nostr.Tags{{"d", d}, {"k", pick(m, "buy", "sell")}, {"f", fiats[int(10*m.rng.Float64()*m.rng.Float64())]}, {"s", ""}, {"amt", "0"}, fa,
			methods[m.rng.Intn(len(methods))], {"premium", premium}, {"network", "mainnet"}, {"layer", "lightning"}, {"expires_at", strconv.FormatInt(t+86400, 10)},
			{"expiration", strconv.FormatInt(t+86400, 10)}, {"y", "mostro", "Node"}, {"z", "order"}}
		end := ends[m.rng.Intn(len(ends))]
		for j, state := range []string{"pending", "in-progress", "in-progress", "in-progress", end} {
			tags := slices.Clone(base)
			tags[3] = nostr.Tag{"s", state}
			if j > 0 {
				tags[4] = nostr.Tag{"amt", amount}
				t += 60 + m.rng.Int63n(7200)
			}
			emit(author, mostro.KindOrder, t, tags, "")
		}
		if end == "success" {
			emit(author, mostro.KindDevFee, t+20, nostr.Tags{{"order-id", d}, {"amount", "116"}, {"hash", m.hex(64)}, {"network", "mainnet"}, {"y", "mostro"}, {"z", "dev-fee-payment"}}, "")
		}
		if i%50 == 0 {
			emit(author, mostro.KindDispute, t, nostr.Tags{{"d", d}, {"s", "settled"}, {"y", "mostro"}, {"z", "dispute"}}, "")
		}
	}
}

// heap returns the live heap in bytes.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestScale measures a market of STATS_ORDERS orders of five versions beside the naive
// recomputation of a smaller one. Without the variable it is skipped.
func TestScale(t *testing.T) {
	orders, err := strconv.Atoi(os.Getenv("STATS_ORDERS"))
	if err != nil {
		t.Skip("STATS_ORDERS is not set: 1000000 measures the figures of docs/statistics.md")
	}
	before := heap()
	c, events := New(), 0
	var apply, parse time.Duration
	benchMarket(orders, func(e *mostro.Entry) {
		events++
		shared := e.Shared()
		start := time.Now()
		_, _ = shared.Order() // the index parses each order too
		middle := time.Now()
		c.Apply(&shared)
		parse += middle.Sub(start)
		apply += time.Since(middle)
	})
	t.Logf("%d orders, %d events: Apply %.2f us an event without the parser (parser %.2f us), rebuild of 5,000,000 events %.0f s",
		orders, events, apply.Seconds()*1e6/float64(events), parse.Seconds()*1e6/float64(events), (apply+parse).Seconds()*5e6/float64(events))
	t.Logf("memory: %.0f bytes an order", float64(heap()-before)/float64(orders))
	start := time.Now()
	state := c.Encode(nil)
	encoded := time.Since(start)
	start = time.Now()
	if _, err := Decode(state); err != nil {
		t.Fatal(err)
	}
	t.Logf("state: %.0f bytes an order, Encode %.2f s, Decode %.2f s", float64(len(state))/float64(orders), encoded.Seconds(), time.Since(start).Seconds())

	all := Query{From: 1_700_000_000, Until: 1_800_000_000}
	month := Query{From: 1_750_000_000, Until: 1_750_000_000 + 30*86400}
	var slowest []struct {
		name string
		p99  time.Duration
	}
	var every, cpus []time.Duration
	for i := range definitions {
		name := definitions[i].Name
		name = replaceLabel(name)
		var times []time.Duration
		for j := range 10 {
			q := []Query{all, month, {From: all.From, Until: all.Until, Clock: Witnessed}, {From: month.From, Until: all.Until, In: "EUR"}}[j%4]
			start, cpu := time.Now(), cpuTime(t)
			if _, err := c.Metric(name, q); err != nil {
				t.Fatal(err)
			}
			times, cpus = append(times, time.Since(start)), append(cpus, cpuTime(t)-cpu)
		}
		slices.Sort(times)
		every = append(every, times...)
		slowest = append(slowest, struct {
			name string
			p99  time.Duration
		}{name, times[len(times)-1]})
	}
	slices.Sort(every)
	slices.Sort(cpus)
	t.Logf("one metric, CPU time with garbage collection: p50 %v, p99 %v, slowest %v", cpus[len(cpus)/2], cpus[len(cpus)*99/100], cpus[len(cpus)-1])
	slices.SortFunc(slowest, func(a, b struct {
		name string
		p99  time.Duration
	}) int {
		return int(b.p99 - a.p99)
	})
	t.Logf("one metric, all metrics and windows: p50 %v, p99 %v, slowest %v", every[len(every)/2], every[len(every)*99/100], slowest[:5])
	timed := func(name string, fn func() error) {
		var times []time.Duration
		cpu := cpuTime(t)
		for range 5 {
			start := time.Now()
			if err := fn(); err != nil {
				t.Fatal(err)
			}
			times = append(times, time.Since(start))
		}
		slices.Sort(times)
		t.Logf("%s: median %v, slowest %v, CPU time %v", name, times[2], times[4], (cpuTime(t)-cpu)/5)
	}
	timed("document, all time", func() error { _, err := c.Document(all); return err })
	timed("document, 30 days", func() error { _, err := c.Document(month); return err })
	timed("series by day, all time", func() error { _, err := c.Series("orders.completion_rate", all, Day); return err })
	timed("series by hour of the book", func() error { _, err := c.Series("timing.book_size", month, Hour); return err })
	timed("groups by instance", func() error { _, err := c.Groups("volume.sats", all, ByInstance); return err })
	timed("book at a time", func() error { _, err := c.BookAt(month); return err })
	timed("survival, all time", func() error { _, err := c.Survival(all); return err })
	timed("implied rates by day, 30 days", func() error { _, err := c.ImpliedRates("EUR", month, Day, 0.1); return err })
	timed("sources", func() error { _, err := c.Sources("orders.completed", all, 0, 100); return err })

	var entries []mostro.Entry
	benchMarket(min(orders, 20_000), func(e *mostro.Entry) { entries = append(entries, *e) })
	start = time.Now()
	newOracle(entries)
	t.Logf("naive recomputation reads %d events in %v", len(entries), time.Since(start))
}

// cpuTime returns the CPU time of this process, which a busy machine hardly changes.
func cpuTime(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func replaceLabel(name string) string {
	if before, after, ok := cutPattern(name); ok {
		return before + "EUR" + after
	}
	return name
}

func BenchmarkApply(b *testing.B) {
	var entries []mostro.Entry
	benchMarket(20_000, func(e *mostro.Entry) {
		shared := e.Shared()
		_, _ = shared.Order()
		entries = append(entries, shared)
	})
	b.ReportAllocs()
	c := New()
	i := 0
	for b.Loop() {
		if i == len(entries) {
			c, i = New(), 0
		}
		c.Apply(&entries[i])
		i++
	}
}

//go:build unix

package stats

import (
	"flag"
	"fmt"
	"maps"
	"math/rand"
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

var benchOrders = flag.Int("bench.orders", 0, "orders of BenchmarkMarket; 1000000 measures the figures of docs/performance.md")

// BenchmarkMarket measures a market of -bench.orders orders of five versions and 100 instances beside
// a naive recomputation of at most 20,000 of them. Each part runs once.
func BenchmarkMarket(b *testing.B) {
	if *benchOrders == 0 {
		b.Skip("-bench.orders is not set")
	}
	var c *Collector
	b.Run("build", func(b *testing.B) {
		before := heap()
		c = New()
		events := 0
		var apply, parse time.Duration
		benchMarket(*benchOrders, func(e *mostro.Entry) {
			events++
			shared := e.Shared()
			start := time.Now()
			_, _ = shared.Order() // the index parses each order too
			middle := time.Now()
			c.Apply(&shared)
			parse += middle.Sub(start)
			apply += time.Since(middle)
		})
		b.ReportMetric(float64(heap()-before)/float64(*benchOrders), "B_order")
		b.ReportMetric(apply.Seconds()*1e6/float64(events), "apply_us")
		b.ReportMetric(parse.Seconds()*1e6/float64(events), "parse_us")
		b.ReportMetric(float64(events), "events")
	})
	b.Run("state", func(b *testing.B) {
		start := time.Now()
		state := c.Encode(nil)
		b.ReportMetric(time.Since(start).Seconds(), "encode_s")
		start = time.Now()
		if _, err := Decode(state); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "decode_s")
		b.ReportMetric(float64(len(state))/float64(*benchOrders), "B_order")
	})
	all := Query{From: 1_700_000_000, Until: 1_800_000_000}
	month := Query{From: 1_750_000_000, Until: 1_750_000_000 + 30*86400}
	b.Run("one_metric", func(b *testing.B) {
		var every, cpus []time.Duration
		slowest := map[time.Duration]string{}
		for i := range definitions {
			name := replaceLabel(definitions[i].Name)
			for j := range 10 {
				q := []Query{all, month, {From: all.From, Until: all.Until, Clock: Witnessed}, {From: month.From, Until: all.Until, In: "EUR"}}[j%4]
				start, cpu := time.Now(), cpuTime(b)
				if _, err := c.Metric(name, q); err != nil {
					b.Fatal(err)
				}
				every, cpus = append(every, time.Since(start)), append(cpus, cpuTime(b)-cpu)
				slowest[cpus[len(cpus)-1]] = fmt.Sprintf("%s, case %d", name, j%4)
			}
		}
		slices.Sort(every)
		slices.Sort(cpus)
		for name, p := range map[string]int{"p50_ms": 50, "p99_ms": 99} {
			b.ReportMetric(every[len(every)*p/100].Seconds()*1e3, name)
			b.ReportMetric(cpus[len(cpus)*p/100].Seconds()*1e3, "cpu_"+name)
		}
		times := slices.Sorted(maps.Keys(slowest))
		for _, t := range times[max(0, len(times)-10):] {
			b.Logf("%v of CPU time: %s", t, slowest[t])
		}
	})
	timed := func(name string, fn func() error) {
		b.Run(name, func(b *testing.B) {
			var times []time.Duration
			cpu := cpuTime(b)
			for range 5 {
				start := time.Now()
				if err := fn(); err != nil {
					b.Fatal(err)
				}
				times = append(times, time.Since(start))
			}
			slices.Sort(times)
			b.ReportMetric(times[2].Seconds()*1e3, "p50_ms")
			b.ReportMetric((cpuTime(b)-cpu).Seconds()*1e3/5, "cpu_ms")
		})
	}
	timed("document_of_all_time", func() error { _, err := c.Document(all); return err })
	timed("document_of_30_days", func() error { _, err := c.Document(month); return err })
	timed("series_by_day_of_two_years", func() error { _, err := c.Series("orders.completion_rate", all, Day); return err })
	timed("series_by_hour_of_the_book", func() error { _, err := c.Series("timing.book_size", month, Hour); return err })
	timed("groups_by_instance", func() error { _, err := c.Groups("volume.sats", all, ByInstance); return err })
	timed("book_at_a_time", func() error { _, err := c.BookAt(month); return err })
	timed("book_at_the_end", func() error { _, err := c.BookAt(Query{Until: 1_783_072_000}); return err })
	timed("survival", func() error { _, err := c.Survival(all); return err })
	timed("implied_rates_by_day_of_30_days", func() error { _, err := c.ImpliedRates("EUR", month, Day, 0.1); return err })
	// The pages about a currency and about disputes, at the end of the market.
	last := Query{From: 1_783_072_000 - 30*86400, Until: 1_783_072_000}
	timed("market_page", func() error {
		q := last
		q.Filter = Filter{ByFiat: {"EUR"}}
		book, err := c.BookAt(q)
		if err != nil {
			return err
		}
		if _, err := book.Depth("EUR", 1); err != nil {
			return err
		}
		book.Crossed()
		if _, err := c.ImpliedRates("EUR", q, Day, 0.1); err != nil {
			return err
		}
		_, err = c.Survival(q)
		return err
	})
	timed("disputes_page", func() error {
		for _, days := range []int64{30, 90, 365} {
			q := last
			q.From = q.Until - days*86400
			if _, err := c.Metrics([]string{"disputes.opened", "disputes.closed", "disputes.rate", "disputes.open_now", "disputes.resolution_p50"}, q); err != nil {
				return err
			}
		}
		for _, metric := range []string{"disputes.opened", "disputes.rate", "disputes.open_now", "orders.completed"} {
			if _, err := c.Groups(metric, last, ByInstance); err != nil {
				return err
			}
		}
		return nil
	})
	timed("sources", func() error { _, err := c.Sources("orders.completed", all, 0, 100); return err })

	var entries []mostro.Entry
	few := min(*benchOrders, 20_000)
	benchMarket(few, func(e *mostro.Entry) { entries = append(entries, *e) })
	b.Run("naive_document", func(b *testing.B) {
		start := time.Now()
		newOracle(entries).figures(all)
		b.ReportMetric(time.Since(start).Seconds()*1e3, "p50_ms")
		b.ReportMetric(float64(few), "orders")
	})
	b.Run("the_same_document", func(b *testing.B) {
		same := collect(entries)
		start := time.Now()
		if _, err := same.Document(all); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(start).Seconds()*1e3, "p50_ms")
		b.ReportMetric(float64(few), "orders")
	})
}

// cpuTime returns the CPU time of this process, which a busy machine hardly changes.
func cpuTime(t testing.TB) time.Duration {
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

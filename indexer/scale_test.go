package indexer

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

var (
	scaleOrders   = flag.Int("scale.orders", 0, "live orders of TestScale; 0 skips it")
	scaleVersions = flag.Int("scale.versions", 2, "versions of each order in TestScale")
	scaleSearch   = flag.Bool("scale.search", false, "index the orders of TestScale for search as well")
)

// bigLog is a log that generates its events while they are read, so that a million orders
// need no memory in the test.
type bigLog struct {
	orders, versions int
	mu               sync.Mutex
	more             []mostro.Entry
	moved            signal
}

var marketMethods = []string{"Transferencia bancaria", "Pago Móvil", "Zelle", "SEPA", "SEPA instant", "PIX", "Mercado Pago", "Revolut", "Wise", "Nequi",
	"Daviplata", "Bizum", "MBway", "Cash F2F", "Efectivo", "Banco de Venezuela", "Banesco", "CVU", "CBU", "MODO", "Belo", "Lemon", "Yape", "Plin", "Paypal", "CashApp", "Strike", "Transfermóvil", "EnZona", "Depósito", "Bank transfer", "Advcash"}
var marketFiats = []string{"USD", "USD", "USD", "EUR", "EUR", "VES", "ARS", "ARS", "CUP", "BRL", "BRL", "COP", "MXN", "CLP", "PEN", "CRC", "BOB", "UYU", "GBP", "CHF", "CAD", "MLC", "GTQ", "NIO", "DOP"}

func (m *bigLog) entry(seq uint64) mostro.Entry {
	n := int(seq-1) % m.orders
	v := int(seq-1) / m.orders
	r := rand.New(rand.NewPCG(uint64(n), 7))
	d := draft{author: r.IntN(300), d: fmt.Sprintf("%08x-0000-4000-8000-%012x", n, n*7919), at: t0 - 86400 + int64(r.IntN(80000)) + int64(v), fiat: marketFiats[r.IntN(len(marketFiats))],
		side: []string{"buy", "sell"}[r.IntN(2)], amt: "0", premium: strconv.Itoa(r.IntN(12) - 3), name: "Mostro", expiry: t0 + 86400 + int64(r.IntN(86400)), expiresAt: t0 + 3600 + int64(r.IntN(86400))}
	if v < m.versions-1 && v%2 == 1 {
		d.status = "in-progress"
	}
	if r.IntN(3) == 0 {
		d.amt = strconv.Itoa(1000 + r.IntN(1_000_000))
	}
	lo := 5 * (1 + r.IntN(100))
	d.fa = []string{strconv.Itoa(lo)}
	if r.IntN(2) == 0 {
		d.fa = append(d.fa, strconv.Itoa(lo*4))
	}
	for range 1 + r.IntN(3) {
		d.methods = append(d.methods, marketMethods[r.IntN(len(marketMethods))])
	}
	if r.IntN(50) == 0 {
		d.methods = append(d.methods, fmt.Sprintf("mi banco %d", r.IntN(20_000)))
	}
	return mostro.Entry{Seq: seq, Event: d.event(), ReceivedAt: time.Unix(t0, 0).UTC(), Source: mostro.Source{Origin: mostro.OriginClient}}
}

func (m *bigLog) base() uint64 { return uint64(m.orders * m.versions) }

func (m *bigLog) Head() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.base() + uint64(len(m.more))
}

func (m *bigLog) Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	for seq := after + 1; seq <= m.base(); seq++ {
		if err := fn(m.entry(seq)); err != nil {
			return err
		}
	}
	m.mu.Lock()
	more := m.more
	m.mu.Unlock()
	for _, e := range more[max(0, int64(after)-int64(m.base())):] {
		if err := fn(e); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (m *bigLog) ReadEvidence(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	return m.Read(ctx, after, fn)
}

func (m *bigLog) EntryAt(_ context.Context, seq uint64) (mostro.Entry, error) {
	if seq == 0 || seq > m.base() {
		return mostro.Entry{}, mostro.ErrNotFound
	}
	return m.entry(seq), nil
}

func (m *bigLog) Wait(ctx context.Context, seq uint64) error {
	return m.moved.until(ctx, time.Hour, func() bool { return m.Head() > seq })
}

func (m *bigLog) Event(context.Context, string) (*nostr.Event, error) { return nil, mostro.ErrNotFound }

func (m *bigLog) add(d draft) {
	m.mu.Lock()
	m.more = append(m.more, mostro.Entry{Seq: m.base() + uint64(len(m.more)) + 1, Event: d.event(), ReceivedAt: time.Now().UTC(), Source: mostro.Source{Origin: mostro.OriginClient}})
	m.mu.Unlock()
	m.moved.raise()
}

// anonymous returns the anonymous memory of this process in MB.
func anonymous(t *testing.T) int {
	raw, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n >> 10
		}
	}
	return 0
}

// cpu returns the processor time used by this process.
func cpu(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestScale measures the book at a size set by flags and prints the results: go test -run
// TestScale -scale.orders 1000000 -timeout 60m -v
func TestScale(t *testing.T) {
	if *scaleOrders == 0 {
		t.Skip("set -scale.orders to measure")
	}
	m := &bigLog{orders: *scaleOrders, versions: *scaleVersions}
	m.moved.init()
	clk := newClock()
	dir := t.TempDir()
	open := func() *Index {
		x, err := Open(Config{Dir: dir, Log: m, Events: m, Now: clk.now})
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	x := open()
	start := time.Now()
	if err := x.books.pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("apply: %d entries in %v, %.0f/s (making the events up included); %v of processor each", m.base(), took, float64(m.base())/took.Seconds(), cpu(t)/time.Duration(m.base()))
	t.Logf("anonymous memory behind apply: %d MB", anonymous(t))
	if *scaleSearch {
		start = time.Now()
		before := cpu(t)
		for {
			more, err := x.searches.pass(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
		}
		took = time.Since(start)
		t.Logf("search: %d documents in %v, %.0f/s; %v of processor each", *scaleOrders, took, float64(*scaleOrders)/took.Seconds(), (cpu(t)-before)/time.Duration(*scaleOrders))
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x = nil
	debug.FreeOSMemory()
	start = time.Now()
	x = open()
	t.Logf("open: %v", time.Since(start))
	runtime.GC()
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	debug.FreeOSMemory()
	t.Logf("anonymous memory behind open: %d MB; heap %d MB, %d bytes an order", anonymous(t), ms.HeapAlloc>>20, ms.HeapAlloc/uint64(*scaleOrders))
	h := x.Handler()
	r := rand.New(rand.NewPCG(1, 1))
	targets := []struct {
		name string
		make func(*rand.Rand) string
	}{
		{"newest", func(*rand.Rand) string { return "" }},
		{"fiat", func(r *rand.Rand) string { return "fiat=" + marketFiats[r.IntN(len(marketFiats))] }},
		{"fiat, side", func(r *rand.Rand) string { return "side=sell&fiat=" + marketFiats[r.IntN(len(marketFiats))] }},
		{"fiat, amount, premium", func(r *rand.Rand) string {
			return fmt.Sprintf("fiat=%s&fiat_amount=%d&max_premium=%d&sort=premium", marketFiats[r.IntN(len(marketFiats))], 20+r.IntN(300), r.IntN(8))
		}},
		{"method", func(r *rand.Rand) string {
			return "method=" + strings.ReplaceAll(words.Fold(marketMethods[r.IntN(len(marketMethods))]), " ", "+")
		}},
		{"instance", func(r *rand.Rand) string { return "instance=" + pubkeyOf(r.IntN(300)) }},
		{"side alone", func(r *rand.Rand) string { return "side=buy&sort=-premium" }},
		{"premium alone", func(r *rand.Rand) string { return "min_premium=2&sort=expiry" }},
	}
	if *scaleSearch {
		targets = append(targets,
			struct {
				name string
				make func(*rand.Rand) string
			}{"text, common", func(r *rand.Rand) string { return "q=transferencia" }},
			struct {
				name string
				make func(*rand.Rand) string
			}{"text, rare", func(r *rand.Rand) string { return fmt.Sprintf("q=mi+banco+%d", r.IntN(20_000)) }},
			struct {
				name string
				make func(*rand.Rand) string
			}{"text, country", func(r *rand.Rand) string { return "q=pago+movil+venezuela" }})
	}
	measure := func(label string, pick func(*rand.Rand) string, clients, each int) {
		var mu sync.Mutex
		var all []time.Duration
		var wg sync.WaitGroup
		before := cpu(t)
		for c := range clients {
			wg.Add(1)
			go func() {
				defer wg.Done()
				r := rand.New(rand.NewPCG(uint64(c), 3))
				for range each {
					req := httptest.NewRequest(http.MethodGet, "/api/v1/orders?"+pick(r), nil)
					w := httptest.NewRecorder()
					start := time.Now()
					h.ServeHTTP(w, req)
					took := time.Since(start)
					if w.Code != http.StatusOK {
						t.Errorf("%d: %s", w.Code, w.Body)
						return
					}
					mu.Lock()
					all = append(all, took)
					mu.Unlock()
				}
			}()
		}
		wg.Wait()
		slices.Sort(all)
		if len(all) > 0 {
			t.Logf("%-24s %d clients: p50 %v p99 %v max %v; %v of processor each", label, clients, all[len(all)/2], all[len(all)*99/100], all[len(all)-1], (cpu(t)-before)/time.Duration(len(all)))
		}
	}
	for _, c := range targets {
		measure(c.name, c.make, 1, 30)
		measure(c.name, c.make, 8, 40)
	}
	measure("all mixed", func(r *rand.Rand) string { return targets[r.IntN(8)].make(r) }, 8, 300)
	_ = r
	// Lag of the book under queries, with entries that arrive one by one.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- x.books.follow(ctx) }()
	busy := make(chan struct{})
	go func() {
		measure("all mixed, while writing", func(r *rand.Rand) string { return targets[r.IntN(8)].make(r) }, 8, 200)
		close(busy)
	}()
	var lags []time.Duration
	for i := 0; ; i++ {
		start := time.Now()
		m.add(draft{d: fmt.Sprint("late", i), at: t0, expiry: t0 + 1000})
		want := m.Head()
		for x.book.cursor.Load() < want {
			time.Sleep(200 * time.Microsecond)
		}
		lags = append(lags, time.Since(start))
		select {
		case <-busy:
			cancel()
			<-done
			slices.Sort(lags)
			t.Logf("lag of the book: p50 %v p99 %v max %v over %d entries", lags[len(lags)/2], lags[len(lags)*99/100], lags[len(lags)-1], len(lags))
			if err := x.Close(); err != nil {
				t.Error(err)
			}
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
}

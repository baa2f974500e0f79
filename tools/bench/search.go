package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/corpus"
	"github.com/nbd-wtf/go-nostr"

	"github.com/mostrodex/mostrodex/tools/bench/record"
)

// phrases are typical search terms: payment methods in colloquial form, without accents
// or abbreviated, and names of instances.
var phrases = []string{
	"pago movil", "transferencia bancaria", "mercado pago", "sepa", "sepa instant", "bizum", "revolut", "zelle", "pix", "nequi",
	"efectivo", "uberweisung", "tigo money", "m-pesa", "wise", "strike", "transfermovil", "mostro del sur", "caracas", "yape",
}

var fiats = []string{"VES", "ARS", "EUR", "USD", "CUP", "BRL", "COP", "MXN"}

// search queries the API and NIP-50 in closed loops, with the book indexed.
func (b *bench) search(ctx context.Context) error {
	dir, err := b.bigDir(ctx)
	if err != nil {
		return err
	}
	srv, err := b.serveMostrodex(ctx, dir)
	if err != nil {
		return err
	}
	defer srv.stop()
	if _, err := srv.awaitReady(ctx); err != nil {
		return err
	}
	if err := b.checkTotals(ctx, srv); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(1, 50))
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	var reqs []question
	kinds := map[string][]string{}
	for range 40 {
		reqs = append(reqs, ask("REQ", nostr.Filter{Kinds: []int{kindOrder}, Search: pick(phrases), Limit: 50}),
			ask("REQ", nostr.Filter{Kinds: []int{kindOrder}, Search: pick(phrases), Tags: nostr.TagMap{"s": {"pending"}, "f": {pick(fiats)}}, Limit: 50}))
		for name, q := range map[string]url.Values{
			"GET book":         {"fiat": {pick(fiats)}, "side": {pick([]string{"buy", "sell"})}, "sort": {pick([]string{"newest", "premium", "-premium", "amount"})}},
			"GET whole book":   {"sort": {pick([]string{"newest", "premium", "expiry"})}},
			"GET q":            {"q": {pick(phrases)}},
			"GET q+fiat+range": {"q": {pick(phrases)}, "fiat": {pick(fiats)}, "min_premium": {"-2"}, "max_premium": {"4"}},
			"GET history":      {"open": {"any"}, "status": {"success"}, "q": {pick(phrases)}, "fiat": {pick(fiats)}},
		} {
			kinds[name] = append(kinds[name], "http://"+srv.addr+"/api/v1/orders?"+q.Encode())
		}
	}
	for _, clients := range []int{1, connections} {
		err := b.undisturbed(ctx, func() ([]sample, error) {
			m, err := newMeter(srv)
			if err != nil {
				return nil, err
			}
			took, err := closedLoop(ctx, srv.addr, reqs, clients, 10*b.slice)
			if err != nil {
				return nil, err
			}
			s, err := timed(m, srv, took)
			s.Scenario, s.Figure, s.Clients = "search", "NIP-50", clients
			return []sample{s}, err
		})
		if err != nil {
			return fmt.Errorf("NIP-50: %w", err)
		}
		for _, name := range slices.Sorted(func(yield func(string) bool) {
			for k := range kinds {
				if !yield(k) {
					return
				}
			}
		}) {
			err := b.undisturbed(ctx, func() ([]sample, error) {
				m, err := newMeter(srv)
				if err != nil {
					return nil, err
				}
				took, err := closedHTTP(ctx, kinds[name], clients, 5*b.slice)
				if err != nil {
					return nil, err
				}
				s, err := timed(m, srv, took)
				s.Scenario, s.Figure, s.Clients = "search", name, clients
				return []sample{s}, err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func timed(m *meter, srv *server, took []time.Duration) (sample, error) {
	u, err := m.read()
	if err != nil {
		return sample{}, err
	}
	rss, err := statusOf(srv.pid(), "RssAnon")
	slices.Sort(took)
	n := float64(len(took))
	return sample{result{Subject: srv.name, Values: map[string]float64{"n": n, "per_s": n / u.Wall, "p50_ms": record.Percentile(took, .5), "p99_ms": record.Percentile(took, .99),
		"cpu_us": u.CPU[srv] / n * 1e6, "rss_anon_mib": rss / (1 << 20)}}, u}, err
}

// closedHTTP is closedLoop over HTTP.
func closedHTTP(ctx context.Context, urls []string, clients int, span time.Duration) ([]time.Duration, error) {
	took := make([][]time.Duration, clients)
	errs := make([]error, clients)
	var wait sync.WaitGroup
	until := time.Now().Add(span)
	for i := range clients {
		wait.Go(func() {
			transport := &http.Transport{DisableCompression: true}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: answerWithin}
			for n := 0; time.Now().Before(until); n++ {
				began := time.Now()
				status, body, err := get(ctx, client, urls[(n+i*7)%len(urls)])
				if err == nil && status != http.StatusOK {
					err = fmt.Errorf("%s: status %d: %s", urls[(n+i*7)%len(urls)], status, body)
				}
				if errs[i] = err; err != nil {
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	wait.Wait()
	return slices.Concat(took...), errors.Join(errs...)
}

// checkTotals compares the book's totals with the oracle for each currency. If a total
// differs, the latencies would be worthless, so checkTotals returns an error.
func (b *bench) checkTotals(ctx context.Context, srv *server) error {
	file, err := bookFile(ctx, b.cache, b.scaled(bookOrders), b.now)
	if err != nil {
		return err
	}
	type state struct {
		at      nostr.Timestamp
		id      string
		pending bool
		fiat    string
	}
	newest := make(map[string]state)
	err = eachLine(file, func(line []byte) error {
		var evt nostr.Event
		if err := json.Unmarshal(line, &evt); err != nil {
			return err
		}
		key := addressOf(&evt)
		if was, ok := newest[key]; !ok || evt.CreatedAt > was.at || evt.CreatedAt == was.at && evt.ID < was.id {
			newest[key] = state{evt.CreatedAt, evt.ID, tagOf(&evt, "s") == "pending", tagOf(&evt, "f")}
		}
		return nil
	})
	if err != nil {
		return err
	}
	want := make(map[string]int)
	for _, s := range newest {
		if s.pending {
			want[s.fiat]++
		}
	}
	for fiat, n := range want {
		status, body, err := get(ctx, http.DefaultClient, "http://"+srv.addr+"/api/v1/orders?limit=1&fiat="+fiat)
		if err != nil {
			return err
		}
		var answer struct{ Total int }
		if err := json.Unmarshal(body, &answer); err != nil {
			return fmt.Errorf("status %d: %w", status, err)
		}
		if answer.Total != n {
			return fmt.Errorf("%d open orders in %s, want %d", answer.Total, fiat, n)
		}
	}
	return nil
}

// freshFiat is the currency of fresh orders: ISO 4217's code for tests. The book has no
// orders in this currency, so fresh orders do not change the totals of checkTotals.
const freshFiat = "XTS"

// freshOrders returns n new pending orders. Every probeEvery-th order has a unique word
// among its payment methods; words maps the index of such an order to its word.
func freshOrders(seed int64, n, probeEvery int) (events []*nostr.Event, raw [][]byte, words map[int]string, err error) {
	c, err := corpus.New(corpus.Config{Seed: seed, Orders: 1})
	if err != nil {
		return nil, nil, nil, err
	}
	events, raw, words = make([]*nostr.Event, n), make([][]byte, n), make(map[int]string)
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	now := nostr.Now()
	for i := range n {
		methods := []string{phrases[r.IntN(len(phrases))]}
		if i%probeEvery == probeEvery-1 {
			words[i] = fmt.Sprintf("zq%dx%d", seed, i)
			methods = append(methods, words[i])
		}
		low := mostro.DecimalOf(1 + r.Int64N(500))
		o := mostro.Order{
			D: fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(seed), i), CreatedAt: now, Side: mostro.SideSell, Status: mostro.StatusPending,
			Fiat: freshFiat, AmountSats: new(int64(0)), PremiumPct: new(mostro.DecimalOf(r.Int64N(9))), Methods: methods,
			FiatAmount: mostro.Range{Min: &low, Max: &low}, Network: "mainnet", ExpiresAt: now + 86400, Expiration: now + 86400,
		}
		evt := o.Event()
		events[i] = &evt
	}
	err = parallel(n, func(i int) error {
		if err := c.Sign(i%len(c.Instances()), events[i]); err != nil {
			return err
		}
		raw[i] = []byte(events[i].String())
		return nil
	})
	return events, raw, words, err
}

// probe waits until an order is in the book and then in the text index, and returns the
// time from since to both. It polls every 2 ms and every 10 ms, so the true lag may be
// shorter by that interval. If the order does not appear within ten minutes, probe
// returns an error.
func probe(ctx context.Context, addr string, evt *nostr.Event, word string, since time.Time, textToo bool) (book, text time.Duration, err error) {
	client := &http.Client{Timeout: answerWithin}
	wait := func(url string, every time.Duration) (time.Duration, error) {
		for {
			status, body, err := get(ctx, client, url)
			if err != nil {
				return 0, err
			}
			if status == http.StatusOK && bytes.Contains(body, []byte(evt.ID)) {
				return time.Since(since), nil
			}
			if time.Since(since) > 10*time.Minute {
				return 0, fmt.Errorf("%s does not show %s after ten minutes", url, evt.ID)
			}
			select {
			case <-ctx.Done():
				return 0, ctx.Err()
			case <-time.After(every):
			}
		}
	}
	if book, err = wait("http://"+addr+"/api/v1/orders/"+evt.PubKey+"/"+evt.Tags.GetD(), 2*time.Millisecond); err != nil || !textToo {
		return book, 0, err
	}
	text, err = wait("http://"+addr+"/api/v1/orders?q="+word, 10*time.Millisecond)
	return book, text, err
}

// bigServer starts the relay on the book and waits until it is ready.
func (b *bench) bigServer(ctx context.Context) (*server, error) {
	dir, err := b.bigDir(ctx)
	if err != nil {
		return nil, err
	}
	srv, err := b.serveMostrodex(ctx, dir)
	if err != nil {
		return nil, err
	}
	if _, err := srv.awaitReady(ctx); err != nil {
		srv.stop()
		return nil, err
	}
	return srv, nil
}

const (
	steadyRate    = 1000 // events per second
	steadySeconds = 30
)

// lag publishes at a steady rate and measures every fiftieth order.
func (b *bench) lag(ctx context.Context) error {
	srv, err := b.bigServer(ctx)
	if err != nil {
		return err
	}
	defer srv.stop()
	return b.undisturbed(ctx, func() ([]sample, error) {
		events, raw, words, err := freshOrders(time.Now().UnixNano()>>20, b.scaled(steadyRate*steadySeconds), 50)
		if err != nil {
			return nil, err
		}
		s, err := dial(ctx, srv.addr)
		if err != nil {
			return nil, err
		}
		defer s.close()
		m, err := newMeter(srv)
		if err != nil {
			return nil, err
		}
		index := make(map[string]int)
		for i, evt := range events {
			index[evt.ID] = i
		}
		var mu sync.Mutex // guards book, text and errs
		var book, text []time.Duration
		var errs []error
		var wait sync.WaitGroup
		wait.Go(func() {
			for range events {
				id, ok, reason, err := s.readOK()
				if err == nil && !ok {
					err = errors.New(reason)
				}
				if err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
					s.close() // the sender stops as well
					return
				}
				i := index[id]
				if words[i] == "" {
					continue
				}
				acked := time.Now()
				wait.Go(func() {
					b, t, err := probe(ctx, srv.addr, events[i], words[i], acked, true)
					mu.Lock()
					defer mu.Unlock()
					book, text, errs = append(book, b), append(text, t), append(errs, err)
				})
			}
		})
		began := time.Now()
		for i := range raw {
			time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / steadyRate)))
			if err := s.send(appendFrame(nil, opText, append(append([]byte(`["EVENT",`), raw[i]...), ']'))); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				break
			}
		}
		span := time.Since(began)
		wait.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		u, err := m.read()
		slices.Sort(book)
		slices.Sort(text)
		return []sample{{result{Scenario: "lag", Figure: "steady", Subject: srv.name, Values: map[string]float64{
			"events_per_s": float64(len(events)) / span.Seconds(), "probes": float64(len(book)),
			"book_p50_ms": record.Percentile(book, .5), "book_max_ms": record.Percentile(book, 1), "text_p50_ms": record.Percentile(text, .5), "text_max_ms": record.Percentile(text, 1),
		}}, u}}, err
	})
}

// burst publishes as fast as the relay accepts events, and measures single orders
// meanwhile. Then it waits until a search for a unique word finds the last order.
func (b *bench) burst(ctx context.Context) error {
	srv, err := b.bigServer(ctx)
	if err != nil {
		return err
	}
	defer srv.stop()
	seed := time.Now().UnixNano() >> 20
	events, raw, _, err := freshOrders(seed, b.scaled(loadEvents), 500)
	if err != nil {
		return err
	}
	// The last order is sent after all others are acknowledged. The log and the index
	// keep the order of events, so the index is complete if it has the last one.
	sentinel, sentinelRaw, words, err := freshOrders(seed+1, 1, 1)
	if err != nil {
		return err
	}
	// The orders of the burst are sent on many connections. Single orders are sent on
	// another connection and measured.
	lone, loneRaw, _, err := freshOrders(seed+2, 1000, 1)
	if err != nil {
		return err
	}
	m, err := newMeter(srv)
	if err != nil {
		return err
	}
	s, err := dial(ctx, srv.addr)
	if err != nil {
		return err
	}
	defer s.close()
	over := make(chan struct{})
	var book []time.Duration
	var probeErr error
	var wait sync.WaitGroup
	wait.Go(func() {
		for i := range lone {
			select {
			case <-over:
				return
			case <-time.After(100 * time.Millisecond):
			}
			if probeErr = s.send(appendFrame(nil, opText, append(append([]byte(`["EVENT",`), loneRaw[i]...), ']'))); probeErr != nil {
				return
			}
			var ok bool
			var reason string
			if _, ok, reason, probeErr = s.readOK(); probeErr == nil && !ok {
				probeErr = errors.New(reason)
			}
			if probeErr != nil {
				return
			}
			var lag time.Duration
			if lag, _, probeErr = probe(ctx, srv.addr, lone[i], "", time.Now(), false); probeErr != nil {
				return
			}
			book = append(book, lag)
		}
	})
	began := time.Now()
	d, err := publish(ctx, srv.addr, events, raw, connections, window)
	ended := time.Now()
	fmt.Fprintf(os.Stderr, "burst of %d events ended after %v\n", d.acked, ended.Sub(began).Round(time.Millisecond))
	var text time.Duration
	if err == nil {
		_, err = publish(ctx, srv.addr, sentinel, sentinelRaw, 1, 1)
	}
	if err == nil {
		_, text, err = probe(ctx, srv.addr, sentinel[0], words[0], ended, true)
	}
	close(over)
	wait.Wait()
	if err := errors.Join(err, probeErr); err != nil {
		return err
	}
	u, err := m.read()
	if err != nil {
		return err
	}
	slices.Sort(book)
	return b.Add(result{Scenario: "burst", Figure: "burst", Subject: srv.name, Clients: connections, Values: map[string]float64{
		"acked": float64(d.acked), "refused": float64(d.refused), "acked_per_s": float64(d.acked) / ended.Sub(began).Seconds(), "probes": float64(len(book)),
		"book_p50_ms": record.Percentile(book, .5), "book_max_ms": record.Percentile(book, 1), "text_after_s": text.Seconds(),
	}}, u.record())
}

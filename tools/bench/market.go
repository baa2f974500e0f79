package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/corpus"
	"github.com/nbd-wtf/go-nostr"
)

// statistics runs the benchmark of package indexer/stats: a market of a million orders of five
// versions and 100 instances in memory, beside a naive recomputation.
func (b *bench) statistics(ctx context.Context) error {
	return b.undisturbed(ctx, func() ([]sample, error) {
		m, err := newMeter()
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, b.statsTest, "-test.run", "^$", "-test.bench", "BenchmarkMarket", "-test.benchtime", "1x", "-test.timeout", "1h", "-bench.orders", strconv.Itoa(b.scaled(bookOrders)))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", b.statsTest, err, out)
		}
		u, err := m.read()
		if err != nil {
			return nil, err
		}
		u.Noise = max(0, u.Noise-(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Seconds())
		var got []sample
		for name, values := range benchmarks(out) {
			if figure, ok := strings.CutPrefix(name, "Market/"); ok {
				got = append(got, sample{result{Scenario: "statistics", Figure: strings.ReplaceAll(figure, "_", " "), Subject: "mostrodex", Values: values}, u})
			}
		}
		if len(got) < 4 {
			return nil, fmt.Errorf("the output of %s lacks a figure:\n%s", b.statsTest, out)
		}
		return got, nil
	})
}

// ingestShare publishes the load to an empty server and measures with a profile which share of
// its CPU time the statistics take.
func (b *bench) ingestShare(ctx context.Context) error {
	o, err := b.theLoad(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(b.work, "share")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	srv, err := b.serveMostrodex(ctx, dir)
	if err != nil {
		return err
	}
	defer srv.stop()
	type profile struct {
		body []byte
		err  error
	}
	m, err := newMeter(srv)
	if err != nil {
		return err
	}
	// Profiles of five seconds follow each other while the load is sent.
	var profiles []profile
	sending, wait := make(chan struct{}), sync.WaitGroup{}
	wait.Go(func() {
		for {
			select {
			case <-sending:
				return
			default:
			}
			_, body, err := get(ctx, http.DefaultClient, "http://"+srv.private+"/debug/pprof/profile?seconds=5")
			if profiles = append(profiles, profile{body, err}); err != nil {
				return
			}
		}
	})
	d, err := publish(ctx, srv.addr, o.events, o.raw, connections, window)
	close(sending)
	wait.Wait()
	if err != nil {
		return err
	}
	u, err := m.read()
	if err != nil {
		return err
	}
	files := []string{}
	for i, p := range profiles {
		if p.err != nil {
			return p.err
		}
		file := filepath.Join(dir, fmt.Sprintf("profile%d", i))
		if err := os.WriteFile(file, p.body, 0o644); err != nil {
			return err
		}
		files = append(files, file)
	}
	share, err := shareOf(ctx, files, `indexer/market.\(\*Store\).Run`)
	if err != nil {
		return err
	}
	return b.Add(result{Scenario: "statistics", Figure: "share of ingest", Subject: "mostrodex", Clients: connections, Values: map[string]float64{
		"events": float64(d.acked), "cpu_percent": 100 * share, "cpu_us_per_event": u.CPU[srv] / float64(d.acked) * 1e6,
	}}, u.record())
}

// shareOf returns the share of the samples of profiles whose stack has a function, by
// `go tool pprof`.
func shareOf(ctx context.Context, files []string, function string) (float64, error) {
	sum := func(focus ...string) (float64, error) {
		args := append([]string{"tool", "pprof", "-top", "-cum", "-nodecount", "1", "-unit", "ms"}, focus...)
		out, err := exec.CommandContext(ctx, "go", append(args, files...)...).Output()
		if err != nil {
			return 0, fmt.Errorf("go tool pprof: %w", err)
		}
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) >= 6 && strings.HasSuffix(f[3], "ms") { // flat flat% sum% cum cum% name
				return strconv.ParseFloat(strings.TrimSuffix(f[3], "ms"), 64)
			}
		}
		return 0, fmt.Errorf("unexpected output of go tool pprof: %s", out)
	}
	all, err := sum("-tagignore", "none-such-tag")
	if err != nil {
		return 0, err
	}
	part, err := sum("-focus", function)
	if err != nil {
		return 0, fmt.Errorf("no sample has %s: %w", function, err) // renamed, or too few samples
	}
	return part / all, nil
}

// instancesOfBook returns a corpus whose instances are those of the book.
func (b *bench) instancesOfBook() (*corpus.Corpus, error) {
	cfg := loadConfig(2, 0, b.now)
	cfg.Orders, cfg.OrdersOnly = 1, true
	return corpus.New(cfg)
}

// signMarket publishes an info event and rates of all instances of the book, so that each order has
// a price.
func (b *bench) signMarket(ctx context.Context, srv *server, c *corpus.Corpus) error {
	var events []*nostr.Event
	var raw [][]byte
	now := nostr.Now()
	prices := map[string]float64{}
	for i, fiat := range fiats {
		prices[fiat] = 60_000 * math.Pow(3, float64(i))
	}
	content, err := json.Marshal(map[string]any{"BTC": prices})
	if err != nil {
		return err
	}
	for i, in := range c.Instances() {
		for _, evt := range []*nostr.Event{
			{Kind: mostro.KindInfo, CreatedAt: now, Tags: nostr.Tags{{"d", in.Pubkey}, {"mostro_version", "0.20.2"}, {"fee", "0.006"}, {"y", "mostro", fmt.Sprint("Node ", i)}, {"z", "info"}}},
			{Kind: mostro.KindAppData, CreatedAt: now, Tags: nostr.Tags{{"d", "mostro-rates"}}, Content: string(content)},
		} {
			if err := c.Sign(i, evt); err != nil {
				return err
			}
			events, raw = append(events, evt), append(raw, []byte(evt.String()))
		}
	}
	d, err := publish(ctx, srv.addr, events, raw, 1, 1)
	if err == nil && d.refused > 0 {
		err = fmt.Errorf("%d events of instances were refused: %v", d.refused, d.reasons)
	}
	return err
}

// market measures the API over HTTP with the book: statistics, lists with prices, the stream,
// and the rebuild of everything from the log.
func (b *bench) market(ctx context.Context) error {
	if err := b.statistics(ctx); err != nil {
		return err
	}
	if err := b.ingestShare(ctx); err != nil {
		return err
	}
	if err := b.rebuild(ctx); err != nil {
		return err
	}
	srv, err := b.bigServer(ctx)
	if err != nil {
		return err
	}
	defer srv.stop()
	c, err := b.instancesOfBook()
	if err != nil {
		return err
	}
	if err := b.signMarket(ctx, srv, c); err != nil {
		return err
	}
	if err := b.lists(ctx, srv); err != nil {
		return err
	}
	if err := b.documents(ctx, srv); err != nil {
		return err
	}
	return b.readers(ctx, srv, c)
}

// rebuild measures `mostrodex index rebuild` of the book.
func (b *bench) rebuild(ctx context.Context) error {
	dir, err := b.bigDir(ctx)
	if err != nil {
		return err
	}
	m, err := newMeter()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.mostrodex, "index", "rebuild", "--data", dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("index rebuild: %w: %s", err, out)
	}
	u, err := m.read()
	if err != nil {
		return err
	}
	cpu := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	u.Noise = max(0, u.Noise-cpu)
	found := regexp.MustCompile(`rebuilt from (\d+) log entries`).FindSubmatch(out)
	if found == nil {
		return fmt.Errorf("unexpected output of index rebuild: %s", out)
	}
	events, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		return err
	}
	return b.Add(result{Scenario: "market", Figure: "rebuild", Subject: "mostrodex", Values: map[string]float64{
		"events": events, "seconds": u.Wall, "cpu_s": cpu, "minutes_of_5000000": u.Wall / events * 5e6 / 60,
	}}, u.record())
}

// loop measures closed loops of requests, checks the first answer, and records the latencies.
func (b *bench) loop(ctx context.Context, srv *server, figure string, clients int, urls []string, check func(body []byte) error) error {
	status, body, err := get(ctx, http.DefaultClient, urls[0])
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", status, body)
	}
	if err == nil && check != nil {
		err = check(body)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", figure, err)
	}
	err = b.undisturbed(ctx, func() ([]sample, error) {
		m, err := newMeter(srv)
		if err != nil {
			return nil, err
		}
		took, err := closedHTTP(ctx, urls, clients, 5*b.slice)
		if err != nil {
			return nil, err
		}
		s, err := timed(m, srv, took)
		s.Scenario, s.Figure, s.Clients = "market", figure, clients
		return []sample{s}, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", figure, err)
	}
	return nil
}

// lists measures GET /api/v1/orders with a price and a rank in each row.
func (b *bench) lists(ctx context.Context, srv *server) error {
	r := rand.New(rand.NewPCG(2, 50))
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	kinds := map[string][]string{}
	for range 40 {
		for name, q := range map[string]url.Values{
			"GET book with prices": {"fiat": {pick(fiats)}, "side": {pick([]string{"buy", "sell"})}, "sort": {pick([]string{"newest", "premium", "-premium"})}},
			"GET book by cost":     {"fiat": {pick(fiats)}, "sort": {"cost"}},
		} {
			kinds[name] = append(kinds[name], "http://"+srv.addr+"/api/v1/orders?"+q.Encode())
		}
	}
	priced := func(body []byte) error {
		var list struct {
			Items []struct {
				Price    *struct{ Rate any }
				Instance map[string]any
			}
		}
		if err := json.Unmarshal(body, &list); err != nil {
			return err
		}
		for _, i := range list.Items {
			if _, ok := i.Instance["rank"]; !ok || i.Price == nil || i.Price.Rate == nil {
				return fmt.Errorf("a row has no rate or no rank: %.1000s", body)
			}
		}
		if len(list.Items) == 0 {
			return errors.New("the list is empty")
		}
		return nil
	}
	for until := time.Now().Add(time.Minute); ; { // the rates were published a moment ago
		_, body, err := get(ctx, http.DefaultClient, kinds["GET book with prices"][0])
		if err == nil {
			err = priced(body)
		}
		if err == nil {
			break
		}
		if time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	for _, clients := range []int{1, connections} {
		for _, name := range []string{"GET book with prices", "GET book by cost"} {
			if err := b.loop(ctx, srv, name, clients, kinds[name], priced); err != nil {
				return err
			}
		}
	}
	return nil
}

// documents measures the statistics over HTTP: no request is answered from the cache but the
// one with an ETag.
func (b *bench) documents(ctx context.Context, srv *server) error {
	base := "http://" + srv.addr + "/api/v1/stats"
	_, body, err := get(ctx, http.DefaultClient, base+"/metrics")
	if err != nil {
		return err
	}
	var known struct{ Items []struct{ Name string } }
	if err := json.Unmarshal(body, &known); err != nil {
		return err
	}
	now, n := time.Now().Unix(), int64(0)
	window := func() string { // each window once
		n++
		return fmt.Sprintf("from=%d&until=%d", now-(n%90+1)*86400-n, now-n*3)
	}
	var single, documents []string
	for _, k := range known.Items {
		name := strings.NewReplacer("{code}", "VES", "{method}", "Pago Movil").Replace(k.Name)
		for range 60 {
			single = append(single, base+"?metric="+url.QueryEscape(name)+"&in=VES&"+window())
		}
	}
	rand.New(rand.NewPCG(3, 50)).Shuffle(len(single), func(i, j int) { single[i], single[j] = single[j], single[i] })
	for range 400 {
		documents = append(documents, base+"?in=VES&"+window())
	}
	if err := b.loop(ctx, srv, "one metric, any window", 1, single, nil); err != nil {
		return err
	}
	if err := b.loop(ctx, srv, "whole document", 1, documents, nil); err != nil {
		return err
	}
	return b.undisturbed(ctx, func() ([]sample, error) {
		m, err := newMeter(srv)
		if err != nil {
			return nil, err
		}
		var took []time.Duration
		address, tag := base+"?"+window(), ""
		for until := time.Now().Add(5 * b.slice); time.Now().Before(until); {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
			if err != nil {
				return nil, err
			}
			if tag != "" {
				req.Header.Set("If-None-Match", tag)
			}
			began := time.Now()
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return nil, err
			}
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			switch {
			case err != nil:
				return nil, err
			case tag == "":
				tag = resp.Header.Get("ETag")
			case resp.StatusCode != http.StatusNotModified:
				return nil, fmt.Errorf("an ETag is answered with %d", resp.StatusCode)
			default:
				took = append(took, time.Since(began))
			}
		}
		s, err := timed(m, srv, took)
		s.Scenario, s.Figure, s.Clients = "market", "document by ETag", 1
		return []sample{s}, err
	})
}

const (
	streamReaders = 100
	streamRate    = 200 // changes a second
	streamSeconds = 20
	readersOf     = 8 // streams of one address
)

// readers measures the time from the publication of an order to its arrival at 100 readers of the
// stream.
func (b *bench) readers(ctx context.Context, srv *server, c *corpus.Corpus) error {
	return b.undisturbed(ctx, func() ([]sample, error) {
		events, raw, _, err := freshOrders(time.Now().UnixNano()>>20, b.scaled(streamRate*streamSeconds), 1<<30)
		if err != nil {
			return nil, err
		}
		index := make(map[string]int, len(events))
		for i, evt := range events {
			index[evt.ID] = i
		}
		sent := make([]atomic.Int64, len(events))
		took, errs := make([][]time.Duration, streamReaders), make([]error, streamReaders)
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		var open, wait sync.WaitGroup
		open.Add(streamReaders)
		for i := range streamReaders {
			wait.Go(func() {
				ready := sync.OnceFunc(open.Done)
				defer ready()
				took[i], errs[i] = readStream(ctx, srv.addr, i, index, sent, ready)
			})
		}
		open.Wait()
		s, err := dial(ctx, srv.addr)
		if err != nil {
			return nil, err
		}
		defer s.close()
		m, err := newMeter(srv)
		if err != nil {
			return nil, err
		}
		refused := 0
		wait.Go(func() {
			for range events {
				if _, ok, _, err := s.readOK(); err != nil || !ok {
					refused++
				}
			}
		})
		began := time.Now()
		for i := range events {
			time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / streamRate)))
			sent[i].Store(time.Now().UnixNano())
			if err := s.send(appendFrame(nil, opText, append(append([]byte(`["EVENT",`), raw[i]...), ']'))); err != nil {
				return nil, err
			}
		}
		wait.Wait()
		if err := errors.Join(errs...); err != nil || refused > 0 {
			return nil, fmt.Errorf("%d events refused: %w", refused, cmp.Or(err, errors.New("no reader failed")))
		}
		out, err := timed(m, srv, slices.Concat(took...))
		out.Scenario, out.Figure, out.Clients = "market", "stream", streamReaders
		out.Values["changes_per_s"] = streamRate
		return []sample{out}, err
	})
}

// readStream reads the stream until it has seen all events, and returns the time that each one
// took. Eight readers share one address, because a server allows no more.
func readStream(ctx context.Context, addr string, reader int, index map[string]int, sent []atomic.Int64, ready func()) ([]time.Duration, error) {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+reader/readersOf))}
	transport := &http.Transport{DisableCompression: true, DialContext: (&net.Dialer{LocalAddr: from}).DialContext}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/api/v1/stream?fiat="+freshFiat, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(resp.Body)
		return nil, fmt.Errorf("reader %d: status %d: %s: %w", reader, resp.StatusCode, body, cmp.Or(err, errors.New("no stream")))
	}
	var took []time.Duration
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for len(took) < len(index) && lines.Scan() {
		ready()
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		now := time.Now().UnixNano()
		var order struct {
			EventID string `json:"event_id"`
		}
		if err := json.Unmarshal([]byte(data), &order); err != nil {
			return nil, err
		}
		if i, ok := index[order.EventID]; ok {
			took = append(took, time.Duration(now-sent[i].Load()))
		}
	}
	if len(took) < len(index) {
		return nil, fmt.Errorf("reader %d saw %d of %d changes: %w", reader, len(took), len(index), cmp.Or(lines.Err(), io.ErrUnexpectedEOF))
	}
	return took, nil
}

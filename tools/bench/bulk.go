package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/mostrodex/mostrodex/tools/bench/record"
)

// importEvents is the number of events of the import case at scale 1.
const importEvents = 500_000

var summaryLine = regexp.MustCompile(`added (\d+) duplicate (\d+) archived (\d+) rejected (\d+)`)

// importFile runs `mostrodex import FILE --data DIR` and records the measurement of the
// process.
func (b *bench) importFile(ctx context.Context, file, dir, figure string) error {
	m, err := newMeter()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.mostrodex, "import", file, "--data", dir)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return err
	}
	u, err := m.read()
	if err != nil {
		return err
	}
	s := summaryLine.FindSubmatch(out)
	if s == nil {
		return fmt.Errorf("unexpected output of import: %q", out)
	}
	values, total := make(map[string]float64), 0.0
	for i, name := range []string{"added", "duplicate", "archived", "rejected"} {
		if values[name], err = strconv.ParseFloat(string(s[i+1]), 64); err != nil {
			return err
		}
		total += values[name]
	}
	cpu := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	u.Noise = max(0, u.Noise-cpu)
	values["per_s"], values["cpu_us"], values["per_cpu_s"] = total/u.Wall, cpu/total*1e6, total/cpu
	if ru, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		values["max_rss_mb"] = float64(ru.Maxrss) * 1024 / 1e6
	}
	return b.Add(result{Scenario: "import", Figure: figure, Subject: "mostrodex", Values: values}, u.record())
}

// importing imports a file into an empty data directory. It also measures signature
// checking alone with the same events, before and after the import.
func (b *bench) importing(ctx context.Context) error {
	file, err := loadFile(ctx, b.cache, 3, b.scaled(importEvents), b.now)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(b.work, "import")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := b.signatures(ctx); err != nil {
		return err
	}
	if err := b.importFile(ctx, file, dir, "load"); err != nil {
		return err
	}
	return b.signatures(ctx)
}

// bigDir returns a data directory that holds the book: a million orders at scale 1,
// each in five versions. If this run has not imported the book yet, bigDir imports it.
func (b *bench) bigDir(ctx context.Context) (string, error) {
	dir := filepath.Join(b.work, "book")
	done := filepath.Join(b.work, "book.done")
	if _, err := os.Stat(done); (b.keep || b.bigMade) && err == nil {
		return dir, nil
	}
	file, err := bookFile(ctx, b.cache, b.scaled(bookOrders), b.now)
	if err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := b.importFile(ctx, file, dir, "book"); err != nil {
		return "", err
	}
	b.bigMade = true
	return dir, os.WriteFile(done, nil, 0o644)
}

// watcher samples RssAnon of a process until it is stopped.
type watcher struct {
	stop    chan struct{}
	wait    sync.WaitGroup
	samples []float64
}

func watch(pid int) *watcher {
	w := &watcher{stop: make(chan struct{})}
	w.wait.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if rss, err := statusOf(pid, "RssAnon"); err == nil { // a process that has ended has no RssAnon
				w.samples = append(w.samples, rss)
			}
			select {
			case <-w.stop:
				return
			case <-tick.C:
			}
		}
	})
	return w
}

// peak ends the watch and returns the highest and the last sample, in bytes.
func (w *watcher) peak() (most, last float64) {
	close(w.stop)
	w.wait.Wait()
	if len(w.samples) == 0 {
		return 0, 0
	}
	return slices.Max(w.samples), w.samples[len(w.samples)-1]
}

// memory starts the relay on the book twice. During the first start the indexes are
// built. The second start measures the start time and the memory of a server that
// answers queries.
func (b *bench) memory(ctx context.Context) error {
	dir, err := b.bigDir(ctx)
	if err != nil {
		return err
	}
	figures := []string{"first start", "start"}
	if _, err := os.Stat(filepath.Join(dir, "search")); err == nil {
		figures = figures[1:] // an earlier run kept the directory with complete indexes
	}
	for _, figure := range figures {
		if err := b.startBig(ctx, dir, figure); err != nil {
			return fmt.Errorf("%s: %w", figure, err)
		}
	}
	return nil
}

func (b *bench) startBig(ctx context.Context, dir, figure string) error {
	srv, err := b.serveMostrodex(ctx, dir)
	if err != nil {
		return err
	}
	defer srv.stop()
	w := watch(srv.pid())
	m, err := newMeter(srv)
	if err != nil {
		return err
	}
	s, err := dial(ctx, srv.addr)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.say(`["COUNT","n",{"kinds":[%d]}]`, kindOrder); err != nil {
		return err
	}
	live, err := s.readCount()
	if err != nil {
		return err
	}
	answered := srv.ready + time.Since(m.began)
	startCPU, err := record.CPU(srv.pid())
	if err != nil {
		return err
	}
	caughtUp, err := srv.awaitReady(ctx)
	if err != nil {
		return err
	}
	// The queries of a busy book load the data into memory that a server needs in
	// operation.
	events, raw, err := bookSample(ctx, b.cache, b.scaled(bookOrders), b.now)
	if err != nil {
		return err
	}
	for _, r := range rowsOf(newOracle(events, raw)) {
		if _, err := closedLoop(ctx, srv.addr, askAll("REQ", r.filters), connections, b.slice); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	most, last := w.peak()
	u, err := m.read()
	if err != nil {
		return err
	}
	if want := b.scaled(bookOrders); live < want {
		return fmt.Errorf("%d live orders, want at least %d", live, want)
	}
	size, err := sizeOf(dir)
	if err != nil {
		return err
	}
	return b.Add(result{Scenario: "memory", Figure: figure, Subject: "mostrodex", Values: map[string]float64{
		"live_orders": float64(live), "serving_s": srv.ready.Seconds(), "answered_s": answered.Seconds(), "caught_up_s": (answered + caughtUp).Seconds(),
		"rss_anon_peak_mib": most / (1 << 20), "rss_anon_mib": last / (1 << 20), "data_mb": size / 1e6, "cpu_s": u.CPU[srv], "start_cpu_s": startCPU,
	}}, u.record())
}

// bookSample returns the first events of the book, from which rowsOf draws filters.
func bookSample(ctx context.Context, cache string, orders int, now time.Time) ([]*nostr.Event, [][]byte, error) {
	file, err := bookFile(ctx, cache, orders, now)
	if err != nil {
		return nil, nil, err
	}
	return readEvents(file, 20_000)
}

// awaitReady waits until /readyz reports that the followers have caught up, and returns
// the time of the wait. If the server is not ready after an hour, awaitReady returns an
// error.
func (s *server) awaitReady(ctx context.Context) (time.Duration, error) {
	began, report := time.Now(), time.Now()
	for {
		status, body, err := get(ctx, http.DefaultClient, "http://"+s.addr+"/readyz")
		switch {
		case err != nil:
			return 0, err
		case status == http.StatusOK:
			return time.Since(began), nil
		case status == http.StatusNotFound:
			return 0, errors.New("the server has no /readyz")
		case time.Since(began) > time.Hour:
			return 0, fmt.Errorf("not ready after an hour: %s", body)
		}
		if time.Since(report) > 10*time.Second {
			report = time.Now()
			fmt.Fprintf(os.Stderr, "waiting for the indexes, %v: %s\n", time.Since(began).Round(time.Second), firstLine(body))
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return string(line)
}

// get performs one GET request.
func get(ctx context.Context, client *http.Client, url string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

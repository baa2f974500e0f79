package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/mostrodex/mostrodex/tools/bench/record"
)

const (
	connections = 8
	window      = 32 // unacknowledged events per connection
)

// delivery is the result of publishing events.
type delivery struct {
	acked, refused int
	latencies      []time.Duration // from send to OK, sorted
	reasons        map[string]int
}

// publish sends events over conns connections with at most inFlight unacknowledged
// events on each. All versions of an address go over the same connection, in order.
func publish(ctx context.Context, addr string, events []*nostr.Event, raw [][]byte, conns, inFlight int) (delivery, error) {
	lanes := make([]*lane, conns)
	for i := range lanes {
		s, err := dial(ctx, addr)
		if err != nil {
			return delivery{}, err
		}
		defer s.close()
		lanes[i] = &lane{s: s, free: inFlight, index: make(map[string]int), reasons: make(map[string]int)}
		lanes[i].room.L = &lanes[i].mu
	}
	for i, evt := range events {
		h := fnv.New32a()
		h.Write([]byte(addressOf(evt)))
		l := lanes[h.Sum32()%uint32(conns)]
		l.index[evt.ID] = len(l.frames)
		msg := append(append([]byte(`["EVENT",`), raw[i]...), ']')
		l.frames = append(l.frames, appendFrame(nil, opText, msg))
	}
	errs := make([]error, 2*conns)
	var wait sync.WaitGroup
	for i, l := range lanes {
		l.sent = make([]atomic.Int64, len(l.frames))
		l.took = make([]time.Duration, 0, len(l.frames))
		wait.Go(func() { errs[2*i] = l.write() })
		wait.Go(func() { errs[2*i+1] = l.read() })
	}
	wait.Wait()
	d := delivery{reasons: make(map[string]int)}
	for _, l := range lanes {
		d.acked += len(l.took)
		d.refused += l.refused
		d.latencies = append(d.latencies, l.took...)
		for reason, n := range l.reasons {
			d.reasons[reason] += n
		}
	}
	slices.Sort(d.latencies)
	return d, errors.Join(errs...)
}

// lane is one connection of a publisher.
type lane struct {
	s      *socket
	frames [][]byte
	index  map[string]int // event id -> position in frames
	sent   []atomic.Int64 // send time, in Unix nanoseconds

	took    []time.Duration // owned by the reader
	refused int
	reasons map[string]int

	mu   sync.Mutex
	room sync.Cond
	free int
	dead error
}

func (l *lane) write() error {
	var batch []byte
	for from := 0; from < len(l.frames); {
		l.mu.Lock()
		for l.free == 0 && l.dead == nil {
			l.room.Wait()
		}
		n, dead := min(l.free, len(l.frames)-from), l.dead
		l.free -= n
		l.mu.Unlock()
		if dead != nil {
			return nil // the reader returns the error
		}
		batch = batch[:0]
		now := time.Now().UnixNano()
		for i := from; i < from+n; i++ {
			l.sent[i].Store(now)
			batch = append(batch, l.frames[i]...)
		}
		if err := l.s.send(batch); err != nil {
			return err
		}
		from += n
	}
	return nil
}

func (l *lane) read() (err error) {
	defer func() {
		l.mu.Lock()
		l.dead = err
		l.room.Broadcast()
		l.mu.Unlock()
	}()
	for range l.frames {
		id, ok, reason, err := l.s.readOK()
		if err != nil {
			return err
		}
		i, known := l.index[id]
		if !known {
			return fmt.Errorf("an OK for %s, which was not sent", id)
		}
		if ok {
			l.took = append(l.took, time.Duration(time.Now().UnixNano()-l.sent[i].Load()))
		} else {
			l.refused++
			if len(l.reasons) < 10 {
				l.reasons[reason]++
			}
		}
		l.mu.Lock()
		l.free++
		l.room.Signal()
		l.mu.Unlock()
	}
	return nil
}

// ingestTurns is the number of times that each relay takes the load. The machine's
// speed changes from minute to minute, which would distort the ratio of relays that are
// measured one after the other. The turn with the median CPU time is kept.
const ingestTurns = 3

// ingest publishes the load to each relay, starts the relay again, and compares its
// events with the oracle.
func (b *bench) ingest(ctx context.Context) error {
	if err := b.signatures(ctx); err != nil {
		return err
	}
	var subjects []string
	for _, subject := range []string{"mostrodex", "relay", "stock"} {
		if !b.skips(subject) && !b.holdsLoad(subject) {
			subjects = append(subjects, subject)
		}
	}
	if len(subjects) == 0 {
		return nil
	}
	return b.takeTurns(ctx, subjects)
}

// takeTurns publishes the load to the relays in turn. At the end each relay has a data
// directory that holds the load.
func (b *bench) takeTurns(ctx context.Context, subjects []string) error {
	o, err := b.theLoad(ctx)
	if err != nil {
		return err
	}
	err = b.undisturbed(ctx, func() (out []sample, err error) {
		turns := make(map[string][]sample)
		for turn := range ingestTurns {
			for _, subject := range subjects {
				dir, _ := b.loadDir(subject)
				if err := os.RemoveAll(dir); err != nil {
					return nil, err
				}
				s, err := b.ingestOnce(ctx, subject, dir, o)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", subject, err)
				}
				fmt.Fprintf(os.Stderr, "turn %d of %d: %s used %.1f µs of CPU per event\n", turn+1, ingestTurns, subject, s.result.Values["cpu_us_per_event"])
				turns[subject] = append(turns[subject], s)
			}
		}
		for _, subject := range subjects {
			all := turns[subject]
			slices.SortFunc(all, func(a, b sample) int {
				return cmp.Compare(a.result.Values["cpu_us_per_event"], b.result.Values["cpu_us_per_event"])
			})
			out = append(out, all[len(all)/2])
		}
		return out, nil
	})
	if err != nil {
		return err
	}
	for _, subject := range subjects {
		dir, done := b.loadDir(subject)
		b.filled[subject] = dir
		if err := os.WriteFile(done, nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// loadDir returns the directory of a subject's data with the load, and the file that
// marks the data as complete.
func (b *bench) loadDir(subject string) (dir, done string) {
	dir = filepath.Join(b.work, "load-"+subject)
	return dir, dir + ".done"
}

// holdsLoad reports whether an earlier scenario or run has filled the subject's
// directory.
func (b *bench) holdsLoad(subject string) bool {
	dir, done := b.loadDir(subject)
	if _, ok := b.filled[subject]; ok {
		return true
	}
	if _, err := os.Stat(done); !b.keep || err != nil {
		return false
	}
	b.filled[subject] = dir
	return true
}

// fill returns a data directory of the subject that holds the load. If the directory
// does not exist, fill measures the ingest first.
func (b *bench) fill(ctx context.Context, subject string) (string, error) {
	dir, _ := b.loadDir(subject)
	if b.holdsLoad(subject) {
		return dir, nil
	}
	return dir, b.takeTurns(ctx, []string{subject})
}

func (b *bench) ingestOnce(ctx context.Context, subject, dir string, o *oracle) (out sample, err error) {
	srv, err := b.serve(ctx, subject, dir)
	if err != nil {
		return out, err
	}
	runtime.GC()
	m, err := newMeter(srv)
	if err != nil {
		srv.stop()
		return out, err
	}
	d, err := publish(ctx, srv.addr, o.events, o.raw, connections, window)
	if err != nil {
		srv.stop()
		return out, err
	}
	u, err := m.read()
	rss, rssErr := statusOf(srv.pid(), "RssAnon")
	srv.stop()
	if err := errors.Join(err, rssErr); err != nil {
		return out, err
	}
	// The events must still be there after a restart.
	if srv, err = b.serve(ctx, subject, dir); err != nil {
		return out, err
	}
	defer srv.stop()
	s, err := dial(ctx, srv.addr)
	if err != nil {
		return out, err
	}
	defer s.close()
	st, err := o.examine(s)
	if err != nil {
		return out, fmt.Errorf("compare with the oracle: %w", err)
	}
	size, err := sizeOf(dir)
	if err != nil {
		return out, err
	}
	cpu := u.CPU[m.server()]
	n := float64(d.acked)
	out.usage = u
	out.result = result{Scenario: "ingest", Figure: "load", Subject: subject, Clients: connections, Values: map[string]float64{
		"events": float64(len(o.events)), "acked": n, "refused": float64(d.refused), "acked_per_s": n / u.Wall,
		"p50_ms": record.Percentile(d.latencies, .5), "p99_ms": record.Percentile(d.latencies, .99),
		"cpu_us_per_event": cpu / n * 1e6, "events_per_cpu_s": n / cpu, "generator_cpu_s": u.Self,
		"orders": float64(st.Orders), "wrong_orders": float64(st.WrongOrders), "missing": float64(st.Missing), "stale": float64(st.Stale),
		"doubled": float64(st.Doubled), "foreign": float64(st.Others), "written_mb": u.Wrote[m.server()] / 1e6, "data_mb": size / 1e6, "rss_anon_mb": rss / 1e6,
	}}
	for reason, count := range d.reasons {
		out.result.Note += fmt.Sprintf("%d x %s; ", count, reason)
	}
	return out, nil
}

// server returns the server of a meter that measures one server.
func (m *meter) server() *server {
	for s := range m.subject {
		return s
	}
	return nil
}

// signatures measures signature checking alone: go-nostr's CheckSignature with
// libsecp256k1, which includes the computation of the id, over the parsed events of the
// load, on all cores. The result is an upper limit for every relay that checks each
// event.
func (b *bench) signatures(ctx context.Context) error {
	o, err := b.theLoad(ctx)
	if err != nil {
		return err
	}
	return b.undisturbed(ctx, func() ([]sample, error) {
		runtime.GC()
		m, err := newMeter()
		if err != nil {
			return nil, err
		}
		err = parallel(len(o.events), func(i int) error {
			if ok, err := o.events[i].CheckSignature(); !ok || err != nil {
				return fmt.Errorf("signature of %s: %w", o.events[i].ID, err)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		u, err := m.read()
		n := float64(len(o.events))
		return []sample{{result{Scenario: "signatures", Figure: "limit", Subject: "signatures", Clients: runtime.GOMAXPROCS(0),
			Values: map[string]float64{"per_s": n / u.Wall, "per_cpu_s": n / u.Self, "cpu_us": u.Self / n * 1e6}}, u}}, err
	})
}

// durable counts the sync system calls while events are published one by one. If a
// relay's OK means that the event is durable, the relay makes at least one call per
// event.
func (b *bench) durable(ctx context.Context) error {
	o, err := b.theLoad(ctx)
	if err != nil {
		return err
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		return fmt.Errorf("count syncs: %w", err)
	}
	events := min(200, len(o.events))
	for _, subject := range []string{"mostrodex", "stock"} {
		if b.skips(subject) {
			continue
		}
		dir, err := os.MkdirTemp(b.work, "durable")
		if err != nil {
			return err
		}
		if err := b.countSyncs(ctx, strace, subject, dir, o, events); err != nil {
			return fmt.Errorf("%s: %w", subject, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) countSyncs(ctx context.Context, strace, subject, dir string, o *oracle, events int) error {
	srv, err := b.serve(ctx, subject, dir)
	if err != nil {
		return err
	}
	defer srv.stop()
	trace := exec.CommandContext(ctx, strace, "-f", "-c", "-U", "calls,name", "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-p", strconv.Itoa(srv.pid()))
	said, err := trace.StderrPipe()
	if err != nil {
		return err
	}
	if err := trace.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(said)
	if !lines.Scan() || !strings.Contains(lines.Text(), "attached") {
		trace.Wait()
		return fmt.Errorf("strace: %s", lines.Text())
	}
	m, err := newMeter(srv)
	if err != nil {
		return err
	}
	d, publishErr := publish(ctx, srv.addr, o.events[:events], o.raw[:events], 1, 1)
	u, err := m.read()
	trace.Process.Signal(os.Interrupt)
	var table bytes.Buffer
	for lines.Scan() {
		table.Write(append(lines.Bytes(), '\n'))
	}
	trace.Wait() // the exit code reports the interruption only
	if err := errors.Join(publishErr, err); err != nil {
		return err
	}
	values := map[string]float64{"acked": float64(d.acked)}
	for line := range strings.Lines(table.String()) {
		f := strings.Fields(line)
		if len(f) == 2 && strings.Contains(f[1], "sync") {
			if values[f[1]], err = strconv.ParseFloat(f[0], 64); err != nil {
				return err
			}
			values["syncs"] += values[f[1]]
		}
	}
	values["syncs_per_ok"] = values["syncs"] / values["acked"]
	return b.Add(result{Scenario: "durable", Figure: "syncs", Subject: subject, Clients: 1, Values: values, Note: "one event in flight"}, u.record())
}

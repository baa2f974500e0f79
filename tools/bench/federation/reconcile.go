package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/tools/bench/record"
	"github.com/nbd-wtf/go-nostr"
)

// fullReconcile is the number of events in each relay at scale 1.
const fullReconcile = 1_000_000

// reconciling is the scenario in which two relays converge by NIP-77. Each relay holds
// n events, and apart/2 of them are missing in the other one. Both follow each other
// over proxies that count bytes. If fill is set, a third, empty relay then receives all
// events of the first one.
type reconciling struct {
	*world
	n, apart int
	corpus   string // NDJSON file whose newest versions are imported; "": generated events
	cache    string // directory for prepared data directories; "": not kept
	fill     bool
	within   time.Duration
	*record.Journal
}

func (r *reconciling) run(ctx context.Context, seed int64) error {
	base, err := r.base(ctx, seed)
	if err != nil {
		return err
	}
	own, err := r.newest(ctx, seed+1000, 4*r.apart+100) // a different seed, because the corpora have the seeds 1 to 3
	if err != nil {
		return err
	}
	if len(own) < r.apart {
		return fmt.Errorf("%d events for one relay only, want %d", len(own), r.apart)
	}
	for i, name := range []string{"a", "b"} {
		p := &process{name: name, binary: r.ours, lanes: 1, data: filepath.Join(r.dir, name)}
		r.relays[name] = p
		if out, err := exec.CommandContext(ctx, "cp", "-r", base, p.data).CombinedOutput(); err != nil {
			return fmt.Errorf("copy the data directory: %w: %s", err, out)
		}
		if err := r.load(ctx, p.data, own[i*r.apart/2:(i+1)*r.apart/2]); err != nil {
			return err
		}
	}
	defer r.stopAll()
	var links [2]*link // links[0] leads from a to b
	for i, name := range []string{"a", "b"} {
		l, err := r.link(r.relays[[]string{"b", "a"}[i]])
		if err != nil {
			return err
		}
		l.set(true)
		links[i] = l
		if err := r.config(r.relays[name], l.l.Addr().String()); err != nil {
			return err
		}
	}
	meters := make([]*websocket.Conn, 2)
	for i, name := range []string{"a", "b"} {
		p := r.relays[name]
		began := time.Now()
		if err := p.start(ctx); err != nil {
			return err
		}
		if meters[i], _, err = websocket.Dial(ctx, "ws://"+p.address(), nil); err != nil {
			return err
		}
		defer meters[i].CloseNow()
		n, err := served(ctx, meters[i])
		if err != nil {
			return err
		}
		r.say("%s serves %d events %.1fs after its start", name, n, time.Since(began).Seconds())
		if n != r.n {
			return fmt.Errorf("%s holds %d events, want %d", name, n, r.n)
		}
	}
	meter, err := record.NewMeter(r.relays["a"].cmd.Process.Pid, r.relays["b"].cmd.Process.Pid)
	if err != nil {
		return err
	}
	for _, l := range links {
		l.set(false)
	}
	healed := time.Now()
	var took [2]time.Duration
	for done := 0; done < 2; {
		for i := range links {
			if took[i] > 0 {
				continue
			}
			n, err := served(ctx, meters[i])
			if err != nil {
				return err
			}
			if n == r.n+r.apart/2 {
				took[i] = time.Since(links[i].opened())
				done++
				r.say("%s holds all %d, %.2fs after its first connection to the other", []string{"a", "b"}[i], n, took[i].Seconds())
			} else if time.Since(healed) > r.within {
				return fmt.Errorf("the relays do not agree: %d of %d", n, r.n+r.apart/2)
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// Messages that are still in flight count as traffic too, for example events that
	// both relays sent at the same time.
	time.Sleep(2 * time.Second)
	u, cpu, err := meter.Read()
	if err != nil {
		return err
	}
	traffic := links[0].moved.Load() + links[1].moved.Load()
	a, err := r.relays["a"].sum(ctx)
	if err != nil {
		return err
	}
	b, err := r.relays["b"].sum(ctx)
	if err != nil {
		return err
	}
	if a != b {
		return fmt.Errorf("the relays have the same count but different events: %s and %s", a, b)
	}
	r.say("both hold %s; %d bytes went over both connections", a, traffic)
	err = r.Add(record.Result{Scenario: "reconcile", Figure: "apart", Subject: "mostrodex", Clients: 2, Values: map[string]float64{
		"events_each": float64(r.n), "apart": float64(r.apart), "seconds": max(took[0], took[1]).Seconds(), "seconds_a": took[0].Seconds(), "seconds_b": took[1].Seconds(),
		"traffic_mb": float64(traffic) / 1e6, "cpu_s": cpu[0] + cpu[1],
	}}, u)
	if err != nil || !r.fill {
		return err
	}
	if err := r.relays["b"].stop(); err != nil {
		return err
	}
	return r.filling(ctx, r.n+r.apart/2)
}

// filling measures how an empty relay receives all events of the first one.
func (r *reconciling) filling(ctx context.Context, want int) error {
	l, err := r.link(r.relays["a"])
	if err != nil {
		return err
	}
	p := &process{name: "c", binary: r.ours, lanes: 1, data: filepath.Join(r.dir, "c")}
	r.relays["c"] = p
	if err := r.config(p, l.l.Addr().String()); err != nil {
		return err
	}
	if err := p.start(ctx); err != nil {
		return err
	}
	ws, _, err := websocket.Dial(ctx, "ws://"+p.address(), nil)
	if err != nil {
		return err
	}
	defer ws.CloseNow()
	meter, err := record.NewMeter(r.relays["a"].cmd.Process.Pid, p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	for began := time.Now(); ; {
		n, err := served(ctx, ws)
		if err != nil {
			return err
		}
		if n == want {
			break
		}
		if time.Since(began) > r.within+time.Duration(want)*time.Millisecond {
			return fmt.Errorf("c holds %d of %d", n, want)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	took := time.Since(l.opened())
	u, cpu, err := meter.Read()
	if err != nil {
		return err
	}
	r.say("c received %d events in %.1fs", want, took.Seconds())
	return r.Add(record.Result{Scenario: "fill", Figure: "an empty relay", Subject: "mostrodex", Values: map[string]float64{
		"events": float64(want), "seconds": took.Seconds(), "per_s": float64(want) / took.Seconds(), "cpu_us": cpu[1] / float64(want) * 1e6, "source_cpu_us": cpu[0] / float64(want) * 1e6,
		"traffic_mb": float64(l.moved.Load()) / 1e6,
	}}, u)
}

// config writes the config of a relay with one upstream.
func (r *reconciling) config(p *process, follow string) error {
	path := filepath.Join(r.dir, p.name+".toml")
	p.args = []string{"serve", "-c", path, "--data", p.data}
	return os.WriteFile(path, fmt.Appendf(nil, "[indexer]\nenabled = false\n[relay]\nlisten = \"127.0.0.1:0\"\n[relay.quota]\nlive_addresses_per_key = -1\n"+
		"[relay.federation]\ndiscover = 0\n[[upstream]]\nurl = \"ws://%s\"\n", follow), 0o600)
}

// base returns a data directory with the events that both relays hold. If cache is set,
// the directory is kept there.
func (r *reconciling) base(ctx context.Context, seed int64) (string, error) {
	shared := r.n - r.apart/2
	dir := filepath.Join(r.dir, "base")
	if r.cache != "" {
		dir = filepath.Join(r.cache, fmt.Sprintf("relay-%d", shared))
	}
	done := filepath.Join(dir, "complete")
	if _, err := os.Stat(done); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	if err := os.RemoveAll(dir); err != nil { // removes an incomplete directory
		return "", err
	}
	r.say("importing %d events", shared)
	if r.corpus == "" {
		events, err := r.newest(ctx, seed, 4*shared+100)
		if err != nil {
			return "", err
		}
		if len(events) < shared {
			return "", fmt.Errorf("%d events were generated, want %d", len(events), shared)
		}
		if err := r.load(ctx, dir, events[:shared]); err != nil {
			return "", err
		}
	} else if err := r.loadNewest(ctx, dir, shared); err != nil {
		return "", err
	}
	return dir, os.WriteFile(done, nil, 0o600)
}

// newest generates events and returns the newest version of each order.
func (r *reconciling) newest(ctx context.Context, seed int64, n int) ([]*nostr.Event, error) {
	all, err := r.sign(ctx, seed, n)
	if err != nil {
		return nil, err
	}
	keep := map[string]bool{}
	for _, id := range mustHold(all) {
		keep[id] = true
	}
	var events []*nostr.Event
	for _, evt := range all {
		if keep[evt.ID] && evt.Kind == 38383 {
			events = append(events, evt)
		}
	}
	return events, nil
}

// load imports events into a data directory.
func (r *reconciling) load(ctx context.Context, dir string, events []*nostr.Event) error {
	return r.importing(ctx, dir, func(w io.Writer) error {
		for _, evt := range events {
			if _, err := fmt.Fprintln(w, evt.String()); err != nil {
				return err
			}
		}
		return nil
	})
}

// loadNewest imports the newest versions of n addresses of the corpus file.
func (r *reconciling) loadNewest(ctx context.Context, dir string, n int) error {
	last := map[string]int{} // address -> number of its last line
	lines := 0
	err := eachLine(r.corpus, func(line []byte) error {
		last[addressIn(line)] = lines
		lines++
		return nil
	})
	if err != nil {
		return err
	}
	if len(last) < n {
		return fmt.Errorf("%s has %d addresses, want %d", r.corpus, len(last), n)
	}
	return r.importing(ctx, dir, func(w io.Writer) error {
		at, wrote := -1, 0
		return eachLine(r.corpus, func(line []byte) error {
			if at++; wrote == n || last[addressIn(line)] != at {
				return nil
			}
			wrote++
			_, err := w.Write(append(line, '\n'))
			return err
		})
	})
}

// addressIn returns the author and the d tag of a line, which identify an order.
func addressIn(line []byte) string {
	part := func(before string, n int) string {
		i := bytes.Index(line, []byte(before))
		if i < 0 {
			return ""
		}
		rest := line[i+len(before):]
		return string(rest[:min(len(rest), n)])
	}
	d, _, _ := strings.Cut(part(`["d","`, 80), `"`)
	return part(`"pubkey":"`, 64) + d
}

func (r *reconciling) importing(ctx context.Context, dir string, write func(io.Writer) error) error {
	cmd := exec.CommandContext(ctx, r.ours, "import", "-", "--data", dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return err
	}
	w := bufio.NewWriterSize(in, 1<<20)
	err = errors.Join(write(w), w.Flush(), in.Close())
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("import: %w: %s", err, out.Bytes())
	}
	if !bytes.Contains(out.Bytes(), []byte("archived 0 rejected 0")) {
		return fmt.Errorf("some events were not imported: %s", out.Bytes())
	}
	return nil
}

// eachLine calls fn for each line of a file. The slice is valid until fn returns.
func eachLine(path string, fn func(line []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		if err := fn(lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// served returns the number of events that a relay serves.
func served(ctx context.Context, ws *websocket.Conn) (int, error) {
	if err := ws.Write(ctx, websocket.MessageText, []byte(`["COUNT","n",{}]`)); err != nil {
		return 0, err
	}
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			return 0, err
		}
		var words []json.RawMessage
		var n struct{ Count int }
		if json.Unmarshal(b, &words) != nil || len(words) < 3 || string(words[0]) == `"CLOSED"` {
			if len(words) > 1 && string(words[0]) == `"AUTH"` {
				continue
			}
			return 0, fmt.Errorf("unexpected answer to COUNT: %s", b)
		}
		return n.Count, json.Unmarshal(words[2], &n)
	}
}

// sum returns the number of events that a relay serves and the sum of their ids, which
// does not depend on the order.
func (p *process) sum(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address()+"/api/v1/export/events?live=true", nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("export of %s: %s", p.name, res.Status)
	}
	var total [32]byte
	n := 0
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for lines.Scan() {
		var id [32]byte
		i := bytes.Index(lines.Bytes(), []byte(`"id":"`))
		if i < 0 || len(lines.Bytes()) < i+6+64 {
			return "", fmt.Errorf("export of %s: not an event: %.100s", p.name, lines.Bytes())
		}
		if _, err := hex.Decode(id[:], lines.Bytes()[i+6:i+6+64]); err != nil {
			return "", err
		}
		carry := 0
		for k := 31; k >= 0; k-- {
			carry += int(total[k]) + int(id[k])
			total[k] = byte(carry)
			carry >>= 8
		}
		n++
	}
	return fmt.Sprintf("%d events, sum %x", n, total[:8]), lines.Err()
}

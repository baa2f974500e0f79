// Command sockets measures the cost of many sockets: live delivery to a thousand
// subscriptions while one subscriber never reads, ten thousand idle connections, and a
// flood by one key while others trade. The generator is a separate process. If the
// stock relay can sustain a case, it is measured in the same run.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/tools/bench/record"
	"github.com/nbd-wtf/go-nostr"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sockets:", err)
		os.Exit(1)
	}
}

// The sizes at scale 1.
const (
	fullSpan = 15 * time.Second
	fullIdle = 10_000
)

type settings struct {
	ours, stock string
	span        time.Duration
	rounds      int
	idle, flood int
	profile     string
	*record.Journal
}

func run(ctx context.Context) error {
	var s settings
	flag.StringVar(&s.ours, "mostrodex", "../../bin/mostrodex", "our binary")
	flag.StringVar(&s.stock, "stock", "bin/stock", "binary of the stock relay; empty: not measured")
	flag.DurationVar(&s.span, "span", fullSpan, "duration of the live part")
	flag.IntVar(&s.rounds, "rounds", 3, "number of turns of each relay at the fan-out")
	results := flag.String("results", "results.jsonl", "file to which results are appended")
	flag.IntVar(&s.idle, "idle", fullIdle, "idle connections")
	flag.IntVar(&s.flood, "flood", 50_000, "number of orders of the flood")
	flag.StringVar(&s.profile, "profile", "", "file for a CPU profile of mostrodex during fanout")
	flag.Parse()
	var err error
	if s.Journal, err = record.Open(*results, "sockets", min(1, s.span.Seconds()/fullSpan.Seconds(), float64(s.idle)/fullIdle)); err != nil {
		return err
	}
	defer s.Close()
	for _, name := range flag.Args() {
		switch name {
		case "fanout":
			err = s.fanouts(ctx)
		case "idle":
			err = s.idling(ctx)
		case "flood":
			err = s.flooding(ctx)
		default:
			err = fmt.Errorf("unknown scenario %q, want fanout, idle or flood", name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

type relay struct {
	addr, private string
	cmd           *exec.Cmd
	done          chan struct{}
}

var (
	servesAt  = regexp.MustCompile(`relay=ws://([0-9.:]+)/`)
	privateAt = regexp.MustCompile(`private=([0-9.]+:[0-9]+)`)
)

// start runs a relay on an empty directory and returns a function that stops it. If the
// relay does not serve within a minute, start returns an error.
func (s *settings) start(which, config string) (*relay, func(), error) {
	dir, err := os.MkdirTemp("", "sockets")
	if err != nil {
		return nil, nil, err
	}
	binary, args := s.stock, []string{"-data", dir}
	if which == "mostrodex" {
		path := filepath.Join(dir, "config.toml")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			return nil, nil, err
		}
		binary, args = s.ours, []string{"serve", "-c", path, "--listen", "127.0.0.1:0", "--private", "127.0.0.1:0", "--data", dir, "--upstream", "none"}
	}
	cmd := exec.Command(binary, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	r := &relay{cmd: cmd, done: make(chan struct{})}
	serving := make(chan struct{}, 1)
	go func() {
		defer close(r.done)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if m := servesAt.FindStringSubmatch(lines.Text()); m != nil {
				r.addr = m[1]
				if p := privateAt.FindStringSubmatch(lines.Text()); p != nil {
					r.private = p[1]
				}
				serving <- struct{}{}
				break
			}
		}
		io.Copy(io.Discard, stderr)
		cmd.Wait()
	}()
	stop := func() {
		cmd.Process.Kill()
		<-r.done
		os.RemoveAll(dir)
	}
	select {
	case <-serving:
		return r, stop, nil
	case <-time.After(time.Minute):
		stop()
		return nil, nil, errors.New("the relay does not serve")
	}
}

func (r *relay) dial(ctx context.Context) (*websocket.Conn, error) {
	ws, _, err := websocket.Dial(ctx, "ws://"+r.addr, nil)
	if err == nil {
		ws.SetReadLimit(-1)
	}
	return ws, err
}

// status returns a field of /proc/PID/status, in kB.
func (r *relay) status(field string) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
		}
	}
	return 0, fmt.Errorf("/proc/PID/status has no %s", field)
}

// keepProfile writes a CPU profile of the given duration to a file.
func (r *relay) keepProfile(file string, span time.Duration) {
	res, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", r.private, int(span.Seconds())))
	if err == nil {
		defer res.Body.Close()
		var b []byte
		if b, err = io.ReadAll(res.Body); err == nil {
			err = os.WriteFile(file, b, 0o600)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
	}
}

func order(secret string, d string) (*nostr.Event, error) {
	evt := &nostr.Event{Kind: 38383, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", d}, {"k", "sell"}, {"f", "VES"}, {"s", "pending"},
		{"amt", "0"}, {"fa", "1000"}, {"pm", "Pago Móvil"}, {"premium", "1"}, {"network", "mainnet"}, {"layer", "lightning"},
		{"expiration", fmt.Sprint(time.Now().Add(24 * time.Hour).Unix())}, {"y", "mostro"}, {"z", "order"}}}
	return evt, evt.Sign(secret)
}

func send(ctx context.Context, ws *websocket.Conn, words ...any) error {
	b, err := json.Marshal(words)
	if err != nil {
		return err
	}
	return ws.Write(ctx, websocket.MessageText, b)
}

// acked publishes one event and returns the relay's OK and its latency.
func acked(ctx context.Context, ws *websocket.Conn, evt *nostr.Event) (ok bool, took time.Duration, err error) {
	began := time.Now()
	if err := send(ctx, ws, "EVENT", evt); err != nil {
		return false, 0, err
	}
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			return false, 0, err
		}
		if bytes.HasPrefix(b, []byte(`["OK","`+evt.ID)) {
			return bytes.Contains(b[:min(len(b), 85)], []byte(`true`)), time.Since(began), nil
		}
	}
}

func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(q*float64(len(all))))]
}

// fanEach has the number of subscriptions that receive an event, for each case. Every
// subscription follows one Mostro.
var fanEach = []int{50, 10}

// fanned is the sum of all rounds of one relay's fan-out.
type fanned struct {
	took                          []time.Duration
	events, wanted, got, repeated int
	cpu, eventCPU                 float64 // CPU seconds: with subscribers, and for as many events without subscribers
	record.Usage
}

// fanouts runs the fan-out on all relays in turn, so that a disturbance affects all of
// them.
func (s *settings) fanouts(ctx context.Context) error {
	for _, each := range fanEach {
		if err := s.turns(ctx, each); err != nil {
			return err
		}
	}
	return nil
}

func (s *settings) turns(ctx context.Context, each int) error {
	subjects := []string{"mostrodex", "stock"}
	if s.stock == "" {
		subjects = subjects[:1]
	}
	figure := "200/s to 1,000"
	if each != fanEach[0] {
		figure = fmt.Sprintf("%s, %d an event", figure, each)
	}
	sums := map[string]*fanned{}
	for range s.rounds {
		for _, which := range subjects {
			if sums[which] == nil {
				sums[which] = new(fanned)
			}
			if err := s.fanout(ctx, which, each, sums[which]); err != nil {
				return err
			}
		}
	}
	for _, which := range subjects {
		f := sums[which]
		slices.Sort(f.took)
		got := float64(max(f.got, 1))
		err := s.Add(record.Result{Scenario: "fanout", Figure: figure, Subject: which, Clients: fanSockets, Values: map[string]float64{
			"events": float64(f.events), "deliveries": float64(f.got), "missing": float64(f.wanted - f.got), "repeated": float64(f.repeated), "rounds": float64(s.rounds),
			"p50_ms": record.Percentile(f.took, .5), "p99_ms": record.Percentile(f.took, .99), "max_ms": record.Percentile(f.took, 1),
			"cpu_us": f.cpu / got * 1e6, "event_cpu_us": f.eventCPU / float64(f.events) * 1e6, "delivery_cpu_us": (f.cpu - f.eventCPU) / got * 1e6,
		}}, f.Usage)
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	fanSockets = 100
	fanSubs    = 10  // per socket
	fanRate    = 200 // events per second
)

// fanout runs one round. It has 100 sockets with ten subscriptions each. Each
// subscription follows one author, and each author has the given number of
// subscriptions. The authors publish 200 events per second in total. If the relay is
// mostrodex, one more subscriber follows all events and never reads. Before that, the
// same number of events is published without subscribers, to measure the cost of the
// events alone.
func (s *settings) fanout(ctx context.Context, which string, each int, sum *fanned) error {
	authors := fanSockets * fanSubs / each
	r, stop, err := s.start(which, "[indexer]\nenabled = false\n")
	if err != nil {
		return err
	}
	defer stop()
	secrets, keys := make([]string, authors), make([]string, authors)
	for i := range secrets {
		secrets[i] = fmt.Sprintf("%064x", i+1)
		keys[i], _ = nostr.GetPublicKey(secrets[i])
	}
	pub, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer pub.CloseNow()
	var acked atomic.Int64
	go func() {
		for {
			if _, _, err := pub.Read(ctx); err != nil {
				return
			}
			acked.Add(1)
		}
	}()
	n := int(s.span.Seconds() * fanRate)
	events := make([]*nostr.Event, 2*n)
	for i := range events {
		if events[i], err = order(secrets[i%authors], fmt.Sprint(i)); err != nil {
			return err
		}
	}
	var sentAt sync.Map // id -> time.Time
	publish := func(events []*nostr.Event) (cpu float64, u record.Usage, err error) {
		meter, err := record.NewMeter(r.cmd.Process.Pid)
		if err != nil {
			return 0, u, err
		}
		tick := time.NewTicker(time.Second / fanRate)
		defer tick.Stop()
		want := acked.Load() + int64(len(events))
		for _, evt := range events {
			<-tick.C
			sentAt.Store(evt.ID, time.Now())
			if err := send(ctx, pub, "EVENT", evt); err != nil {
				return 0, u, err
			}
		}
		for end := time.Now().Add(10 * time.Second); acked.Load() < want && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		u, all, err := meter.Read()
		if err != nil {
			return 0, u, err
		}
		return all[0], u, nil
	}
	alone, _, err := publish(events[:n])
	if err != nil {
		return err
	}
	if which == "mostrodex" { // if one client does not read, a stock relay stops serving the others
		mute, err := r.dial(ctx)
		if err != nil {
			return err
		}
		defer mute.CloseNow()
		if err := send(ctx, mute, "REQ", "mute", map[string]any{"limit": 0}); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	var took []time.Duration
	repeated := 0
	ready := make(chan error, fanSockets)
	for i := range fanSockets {
		ws, err := r.dial(ctx)
		if err != nil {
			return err
		}
		defer ws.CloseNow()
		for j := range fanSubs {
			if err := send(ctx, ws, "REQ", fmt.Sprint("s", j), map[string]any{"kinds": []int{38383}, "authors": []string{keys[(i*fanSubs+j)%authors]}, "limit": 0}); err != nil {
				return err
			}
		}
		go func() {
			eose, seen := 0, map[string]bool{}
			for {
				_, b, err := ws.Read(ctx)
				now := time.Now()
				if err != nil {
					if eose < fanSubs {
						ready <- err
					}
					return
				}
				switch {
				case bytes.HasPrefix(b, []byte(`["EOSE"`)):
					if eose++; eose == fanSubs {
						ready <- nil
					}
				case bytes.HasPrefix(b, []byte(`["EVENT"`)):
					var words []json.RawMessage
					var evt struct{ ID string }
					if json.Unmarshal(b, &words) != nil || json.Unmarshal(words[2], &evt) != nil {
						continue
					}
					at, ok := sentAt.Load(evt.ID)
					if !ok {
						continue
					}
					key := string(words[1]) + evt.ID
					mu.Lock()
					if seen[key] {
						repeated++
					} else {
						took = append(took, now.Sub(at.(time.Time)))
					}
					mu.Unlock()
					seen[key] = true
				}
			}
		}()
	}
	for range fanSockets {
		if err := <-ready; err != nil {
			return err
		}
	}
	if s.profile != "" && r.private != "" {
		go r.keepProfile(s.profile, s.span)
	}
	meter, err := record.NewMeter(r.cmd.Process.Pid)
	if err != nil {
		return err
	}
	if _, _, err := publish(events[n:]); err != nil {
		return err
	}
	want := n * each
	delivered := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(took)
	}
	for end := time.Now().Add(10 * time.Second); delivered() < want && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	u, cpu, err := meter.Read()
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	got := float64(max(len(took), 1))
	fmt.Printf("  %s: p99 %v, %.1f us CPU per delivery, %.1f without the events' own %.0f us, noise %.1f CPU-s of %.1f s\n",
		which, quantile(took, .99), cpu[0]/got*1e6, (cpu[0]-alone)/got*1e6, alone/float64(n)*1e6, u.Noise, u.Wall)
	sum.took = append(sum.took, took...)
	sum.events, sum.wanted, sum.got, sum.repeated = sum.events+n, sum.wanted+want, sum.got+len(took), sum.repeated+repeated
	sum.cpu, sum.eventCPU = sum.cpu+cpu[0], sum.eventCPU+alone
	sum.Wall, sum.Noise, sum.Stolen = sum.Wall+u.Wall, sum.Noise+u.Noise, sum.Stolen+u.Stolen
	return nil
}

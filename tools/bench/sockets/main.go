// Command sockets measures what many sockets cost: live delivery to a thousand
// subscriptions while one of them never reads, ten thousand idle connections,
// and a flood by one key while others trade. The generator is a process of its
// own; the stock relay is measured in the same run where it can stand it.
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

type settings struct {
	ours, stock string
	span        time.Duration
	idle, flood int
	profile     string
}

func run(ctx context.Context) error {
	var s settings
	flag.StringVar(&s.ours, "mostrodex", "../../bin/mostrodex", "our binary")
	flag.StringVar(&s.stock, "stock", "bin/stock", "the stock relay's binary; empty: left out")
	flag.DurationVar(&s.span, "span", 15*time.Second, "length of the live part")
	flag.IntVar(&s.idle, "idle", 10_000, "idle connections")
	flag.IntVar(&s.flood, "flood", 50_000, "orders of the flood")
	flag.StringVar(&s.profile, "profile", "", "file for a CPU profile of our relay during fanout")
	flag.Parse()
	for _, name := range flag.Args() {
		var err error
		switch name {
		case "fanout":
			if err = s.fanout(ctx, "mostrodex"); err == nil && s.stock != "" {
				err = s.fanout(ctx, "stock")
			}
		case "idle":
			err = s.idling(ctx)
		case "flood":
			err = s.flooding(ctx)
		default:
			err = fmt.Errorf("scenario %q is not known: fanout, idle, flood", name)
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

// start runs a relay on an empty directory.
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

// cpu is what the relay's process has used, in seconds.
func (r *relay) cpu() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b)[strings.LastIndex(string(b), ") ")+2:])
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100 // USER_HZ
}

func (r *relay) status(field string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "unknown"
}

// keepProfile writes a CPU profile of so long.
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

func (r *relay) metrics(names ...string) {
	res, err := http.Get("http://" + r.private + "/metrics")
	if err != nil {
		return
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(lines.Text(), n) }) {
			fmt.Println("   ", lines.Text())
		}
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

// acked publishes one event and waits for its OK.
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

// fanout: 100 sockets of ten subscriptions each, to one of twenty authors a
// subscription, 200 events a second, and for ours one subscriber to everything
// that never reads.
func (s *settings) fanout(ctx context.Context, which string) error {
	r, stop, err := s.start(which, "[indexer]\nenabled = false\n")
	if err != nil {
		return err
	}
	defer stop()
	const sockets, each, authors, rate = 100, 10, 20, 200
	secrets, keys := make([]string, authors), make([]string, authors)
	for i := range secrets {
		secrets[i] = fmt.Sprintf("%064x", i+1)
		keys[i], _ = nostr.GetPublicKey(secrets[i])
	}
	if which == "mostrodex" { // a stock relay stops for everybody
		mute, err := r.dial(ctx)
		if err != nil {
			return err
		}
		defer mute.CloseNow()
		if err := send(ctx, mute, "REQ", "mute", map[string]any{"limit": 0}); err != nil {
			return err
		}
	}
	var sentAt sync.Map // id -> time.Time
	var mu sync.Mutex
	var took []time.Duration
	var delivered, repeated atomic.Int64
	ready := make(chan error, sockets)
	for i := range sockets {
		ws, err := r.dial(ctx)
		if err != nil {
			return err
		}
		defer ws.CloseNow()
		for j := range each {
			if err := send(ctx, ws, "REQ", fmt.Sprint("s", j), map[string]any{"kinds": []int{38383}, "authors": []string{keys[(i*each+j)%authors]}, "limit": 0}); err != nil {
				return err
			}
		}
		go func() {
			eose, seen := 0, map[string]bool{}
			for {
				_, b, err := ws.Read(ctx)
				now := time.Now()
				if err != nil {
					if eose < each {
						ready <- err
					}
					return
				}
				switch {
				case bytes.HasPrefix(b, []byte(`["EOSE"`)):
					if eose++; eose == each {
						ready <- nil
					}
				case bytes.HasPrefix(b, []byte(`["EVENT"`)):
					var words []json.RawMessage
					var evt struct{ ID string }
					if json.Unmarshal(b, &words) != nil || json.Unmarshal(words[2], &evt) != nil {
						continue
					}
					if key := string(words[1]) + evt.ID; seen[key] {
						repeated.Add(1)
					} else {
						seen[key] = true
					}
					at, ok := sentAt.Load(evt.ID)
					if !ok {
						continue
					}
					delivered.Add(1)
					mu.Lock()
					took = append(took, now.Sub(at.(time.Time)))
					mu.Unlock()
				}
			}
		}()
	}
	for range sockets {
		if err := <-ready; err != nil {
			return err
		}
	}
	pub, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer pub.CloseNow()
	go func() {
		for {
			if _, _, err := pub.Read(ctx); err != nil {
				return
			}
		}
	}()
	n := int(s.span.Seconds() * rate)
	events := make([]*nostr.Event, n)
	for i := range events {
		if events[i], err = order(secrets[i%authors], fmt.Sprint(i)); err != nil {
			return err
		}
	}
	if s.profile != "" && r.private != "" {
		go r.keepProfile(s.profile, s.span)
	}
	before := r.cpu()
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for _, evt := range events {
		<-tick.C
		sentAt.Store(evt.ID, time.Now())
		if err := send(ctx, pub, "EVENT", evt); err != nil {
			return err
		}
	}
	want := int64(n * sockets * each / authors)
	for end := time.Now().Add(10 * time.Second); delivered.Load() < want && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	used := r.cpu() - before
	mu.Lock()
	defer mu.Unlock()
	fmt.Printf("fanout %s: %d events, %d of %d deliveries, %d repeated, p50 %v p99 %v max %v, %.1f us CPU a delivery (events' own cost included)\n",
		which, n, delivered.Load(), want, repeated.Load(), quantile(took, .5), quantile(took, .99), quantile(took, 1), used/float64(max(delivered.Load(), 1))*1e6)
	if r.private != "" { // how much of the tail is the disk's
		r.metrics("mostrodex_relay_commit_duration_seconds_bucket", "mostrodex_relay_commit_duration_seconds_sum")
	}
	return nil
}

// idling: so many connections with one subscription each.
func (s *settings) idling(ctx context.Context) error {
	r, stop, err := s.start("mostrodex", "[indexer]\nenabled = false\n")
	if err != nil {
		return err
	}
	defer stop()
	before := r.status("RssAnon")
	conns := make([]*websocket.Conn, 0, s.idle)
	defer func() {
		for _, ws := range conns {
			ws.CloseNow()
		}
	}()
	for i := range s.idle {
		ws, err := r.dial(ctx)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		conns = append(conns, ws)
		if err := send(ctx, ws, "REQ", "s", map[string]any{"kinds": []int{1059}, "#p": []string{fmt.Sprintf("%064x", i)}}); err != nil {
			return err
		}
		for {
			_, b, err := ws.Read(ctx)
			if err != nil {
				return err
			}
			if bytes.HasPrefix(b, []byte(`["EOSE"`)) {
				break
			}
		}
	}
	time.Sleep(2 * time.Second)
	fmt.Printf("idle: %d connections with a subscription each: RssAnon %s, %s before\n", len(conns), r.status("RssAnon"), before)
	return nil
}

// flooding: one key publishes orders as fast as it can, while two hundred
// clients trade. Its quota is 10,000; rates are not in the way, because the
// generator is on this machine.
func (s *settings) flooding(ctx context.Context) error {
	r, stop, err := s.start("mostrodex", "[indexer]\nenabled = false\n[relay.quota]\nlive_addresses_per_key = 10000\n")
	if err != nil {
		return err
	}
	defer stop()
	const clients = 200
	trade := func(span time.Duration) (all []time.Duration, refused int, err error) {
		ctx, cancel := context.WithTimeout(ctx, span)
		defer cancel()
		var mu sync.Mutex
		var wait sync.WaitGroup
		var first error
		for i := range clients {
			wait.Go(func() {
				ws, err := r.dial(ctx)
				if err != nil {
					return
				}
				defer ws.CloseNow()
				for n := 0; ctx.Err() == nil; n++ {
					evt, err := order(fmt.Sprintf("%064x", 0x10000+i), fmt.Sprint(span, n%5))
					if err != nil {
						return
					}
					evt.CreatedAt += nostr.Timestamp(n / 5)
					evt.Sign(fmt.Sprintf("%064x", 0x10000+i))
					ok, took, err := acked(ctx, ws, evt)
					if err != nil {
						if ctx.Err() == nil {
							mu.Lock()
							first = err
							mu.Unlock()
						}
						return
					}
					mu.Lock()
					all = append(all, took)
					if !ok {
						refused++
					}
					mu.Unlock()
					select {
					case <-time.After(time.Second): // a trader acts now and then
					case <-ctx.Done():
					}
				}
			})
		}
		wait.Wait()
		return all, refused, first
	}
	flood := make([]*nostr.Event, s.flood)
	var wait sync.WaitGroup
	for w := range 2 {
		wait.Go(func() {
			for i := w; i < len(flood); i += 2 {
				flood[i], _ = order(fmt.Sprintf("%064x", 0xf100d), fmt.Sprint(i))
			}
		})
	}
	wait.Wait()
	quiet, _, err := trade(s.span)
	if err != nil {
		return err
	}
	var took, refused atomic.Int64
	flooded := make(chan error, 1)
	go func() {
		var errs [8]error
		var wait sync.WaitGroup
		for c := range 8 {
			wait.Go(func() {
				ws, err := r.dial(ctx)
				if err != nil {
					errs[c] = err
					return
				}
				defer ws.CloseNow()
				for i := c; i < len(flood); i += 8 {
					ok, _, err := acked(ctx, ws, flood[i])
					if err != nil {
						errs[c] = err
						return
					}
					if ok {
						took.Add(1)
					} else {
						refused.Add(1)
					}
				}
			})
		}
		wait.Wait()
		flooded <- errors.Join(errs[:]...)
	}()
	loud, others, err := trade(s.span)
	if err != nil {
		return err
	}
	during := took.Load() + refused.Load()
	if err := <-flooded; err != nil {
		return err
	}
	fmt.Printf("flood: %d orders of one key, %d taken, %d refused (%d while the others traded); the others: quiet p50 %v p99 %v (%d), in the flood p50 %v p99 %v (%d, %d refused); peak %s\n",
		len(flood), took.Load(), refused.Load(), during, quantile(quiet, .5), quantile(quiet, .99), len(quiet), quantile(loud, .5), quantile(loud, .99), len(loud), others, r.status("VmHWM"))
	r.metrics("mostrodex_relay_events_total", "mostrodex_relay_live_events")
	return nil
}

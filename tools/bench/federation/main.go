// Command federation proves that relays converge to the same events. It has three
// scenarios; partition is the default.
//
//	partition  three mostrodex relays and two stock relays that cap their answers
//	reconcile  two mostrodex relays converge by NIP-77: see reconciling
//	hostile    a mostrodex relay follows a relay that lies: see hostile
//
// In partition, events are spread over the relays with overlaps, links are cut and
// healed, and processes are killed and started again. If one of the three mostrodex
// relays does not hold exactly the expected events in time, the exit code is 1.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/mostrodex/mostrodex/mostro/corpus"
	"github.com/mostrodex/mostrodex/tools/bench/record"
	"github.com/nbd-wtf/go-nostr"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "federation:", err)
		os.Exit(1)
	}
}

// world is the five relays and the links between them.
type world struct {
	dir         string
	ours, stock string // paths of binaries
	cap         int
	relays      map[string]*process
	links       []*link
	began       time.Time
}

// process is one relay. Its address changes when it is started again.
type process struct {
	name, data string
	args       []string
	binary     string
	lanes      int

	mu   sync.Mutex
	addr string
	cmd  *exec.Cmd
	done chan struct{}
}

func run(ctx context.Context) error {
	w := &world{relays: map[string]*process{}, began: time.Now()}
	events := flag.Int("events", 100_000, "number of events")
	seed := flag.Int64("seed", 1, "seed of the events and of their distribution")
	within := flag.Duration("within", 20*time.Minute, "maximum time until the relays agree")
	flag.IntVar(&w.cap, "cap", 300, "maximum number of events in one answer of a stock relay")
	flag.StringVar(&w.ours, "mostrodex", "../../bin/mostrodex", "our binary")
	flag.StringVar(&w.stock, "stock", "bin/stock", "binary of the stock relay")
	r := &reconciling{world: w}
	flag.IntVar(&r.n, "each", 20_000, "reconcile: number of events in each relay")
	flag.IntVar(&r.apart, "apart", 1000, "reconcile: number of events in which the relays differ")
	flag.StringVar(&r.corpus, "corpus", "", "reconcile: NDJSON file whose newest versions are imported; empty: generated events")
	flag.StringVar(&r.cache, "cache", "", "reconcile: directory for the imported data; empty: not kept")
	flag.BoolVar(&r.fill, "fill", true, "reconcile: then fill an empty relay")
	results := flag.String("results", "results.jsonl", "file to which results are appended")
	flag.Parse()
	var err error
	if name := flag.Arg(0); name != "" && name != "reconcile" && name != "partition" && name != "hostile" {
		return fmt.Errorf("unknown scenario %q, want partition, reconcile or hostile", name)
	}
	if flag.Arg(0) == "reconcile" {
		if r.Journal, err = record.Open(*results, "federation", min(1, float64(r.n)/fullReconcile)); err != nil {
			return err
		}
		defer r.Close()
		r.within = *within
	}
	if w.dir, err = os.MkdirTemp("", "federation"); err != nil {
		return err
	}
	defer os.RemoveAll(w.dir)
	if r.Journal != nil {
		return r.run(ctx, *seed)
	}
	if flag.Arg(0) == "hostile" {
		modes := hostileModes
		if flag.NArg() > 1 {
			modes = flag.Args()[1:]
		}
		for _, mode := range modes {
			if !slices.Contains(hostileModes, mode) {
				return fmt.Errorf("unknown hostile mode %q, want one of %s", mode, strings.Join(hostileModes, ", "))
			}
			if err := (&hostile{world: w, mode: mode, within: min(*within, time.Minute)}).run(ctx, min(*events, 600)); err != nil {
				return err
			}
		}
		w.say("all modes held")
		return nil
	}

	all, err := w.sign(ctx, *seed, *events)
	if err != nil {
		return err
	}
	want := mustHold(all)
	w.say("%d events, %d of them live", len(all), len(want))

	// Upstreams of each relay. The stock relays have none.
	follows := map[string][]string{"a": {"s", "t", "b"}, "b": {"s", "c"}, "c": {"t", "a"}}
	for _, name := range []string{"s", "t"} {
		w.relays[name] = &process{name: name, binary: w.stock, lanes: 1, data: filepath.Join(w.dir, name)}
		w.relays[name].args = []string{"-data", w.relays[name].data, "-cap", fmt.Sprint(w.cap)}
	}
	for _, name := range []string{"a", "b", "c"} {
		w.relays[name] = &process{name: name, binary: w.ours, lanes: 4, data: filepath.Join(w.dir, name)}
	}
	defer w.stopAll()
	for _, name := range []string{"a", "b", "c"} {
		p := w.relays[name]
		config := "[indexer]\nenabled = false\n[relay]\nlisten = \"127.0.0.1:0\"\n[relay.quota]\nlive_addresses_per_key = -1\n[relay.federation]\ndiscover = 0\nresync_seconds = 5\nrewalk_seconds = 15\n"
		for _, to := range follows[name] {
			l, err := w.link(w.relays[to])
			if err != nil {
				return err
			}
			config += fmt.Sprintf("[[upstream]]\nurl = \"ws://%s\"\n", l.l.Addr())
		}
		path := filepath.Join(w.dir, name+".toml")
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			return err
		}
		p.args = []string{"serve", "-c", path, "--data", p.data}
	}
	for _, p := range w.relays {
		if err := p.start(ctx); err != nil {
			return err
		}
	}

	// Every event goes to at least one relay, and a third of the events go to two.
	places := rand.New(rand.NewPCG(uint64(*seed), 5))
	names := []string{"a", "b", "c", "s", "t"}
	place := func(part []*nostr.Event) map[string][]*nostr.Event {
		at := map[string][]*nostr.Event{}
		for _, evt := range part {
			first := places.IntN(5)
			at[names[first]] = append(at[names[first]], evt)
			if places.IntN(3) == 0 {
				second := names[(first+1+places.IntN(4))%5]
				at[second] = append(at[second], evt)
			}
		}
		return at
	}
	cutAt := len(all) * 6 / 10
	w.say("publishing the first %d events while the relays follow each other", cutAt)
	publishing := make(chan error, 1)
	go func() { publishing <- w.publishAll(ctx, place(all[:cutAt])) }()
	select {
	case <-time.After(3 * time.Second):
	case err := <-publishing:
		publishing <- err
	}
	if err := <-publishing; err != nil {
		return err
	}
	w.say("kill -9 of b during catch-up")
	if err := w.relays["b"].kill(); err != nil {
		return err
	}
	w.say("all links are cut")
	for _, l := range w.links {
		l.set(true)
	}
	if err := w.relays["b"].start(ctx); err != nil {
		return err
	}
	w.say("publishing the other %d events into the partition", len(all)-cutAt)
	if err := w.publishAll(ctx, place(all[cutAt:])); err != nil {
		return err
	}
	w.say("kill -9 of a and c; the links are healed")
	for _, name := range []string{"a", "c"} {
		if err := w.relays[name].kill(); err != nil {
			return err
		}
	}
	for _, l := range w.links {
		l.set(false)
	}
	for _, name := range []string{"a", "c"} {
		if err := w.relays[name].start(ctx); err != nil {
			return err
		}
	}
	healed := time.Now()
	return w.agree(ctx, want, healed, *within)
}

func (w *world) say(format string, args ...any) {
	fmt.Printf("%7.1fs  %s\n", time.Since(w.began).Seconds(), fmt.Sprintf(format, args...))
}

// sign returns n signed events of a market, without expired ones.
func (w *world) sign(ctx context.Context, seed int64, n int) (all []*nostr.Event, err error) {
	c, err := corpus.New(corpus.Config{Seed: seed, Events: n, Unexpired: true, Now: time.Now().UTC().Truncate(time.Hour)})
	if err != nil {
		return nil, err
	}
	err = c.Each(ctx, func(evt *nostr.Event) error {
		all = append(all, evt)
		return nil
	})
	return all, err
}

// mustHold returns the ids that a relay with all events serves: the newest version of
// each address; if the times are equal, the one with the lowest id.
func mustHold(all []*nostr.Event) (ids []string) {
	newest := map[string]*nostr.Event{}
	for _, evt := range all {
		key := evt.ID
		switch {
		case nostr.IsAddressableKind(evt.Kind):
			key = fmt.Sprintf("%d:%s:%s", evt.Kind, evt.PubKey, evt.Tags.GetD())
		case nostr.IsReplaceableKind(evt.Kind):
			key = fmt.Sprintf("%d:%s", evt.Kind, evt.PubKey)
		}
		if have := newest[key]; have == nil || evt.CreatedAt > have.CreatedAt || evt.CreatedAt == have.CreatedAt && evt.ID < have.ID {
			newest[key] = evt
		}
	}
	for _, evt := range newest {
		ids = append(ids, evt.ID)
	}
	sort.Strings(ids)
	return ids
}

func digest(ids []string) string {
	h := sha256.Sum256([]byte(strings.Join(ids, "")))
	return fmt.Sprintf("%x", h[:8])
}

// agree waits until the three relays hold exactly the events of want, and verifies
// their logs. If they do not within the given time, agree returns an error.
func (w *world) agree(ctx context.Context, want []string, since time.Time, within time.Duration) error {
	agreed := map[string]bool{}
	for {
		for _, name := range []string{"a", "b", "c"} {
			if agreed[name] {
				continue
			}
			got, err := w.relays[name].held(ctx)
			if err != nil {
				return err
			}
			if slices.Equal(got, want) {
				agreed[name] = true
				w.say("%s holds all %d, digest %s, %.1fs after the links were healed", name, len(got), digest(got), time.Since(since).Seconds())
			} else if time.Since(since) > within {
				missing, extra := compare(want, got)
				for _, stock := range []string{"s", "t"} {
					n, err := w.relays[stock].count(ctx, missing)
					w.say("%s holds %d of the missing events %v", stock, n, err)
				}
				health, err := w.relays[name].get(ctx, "/api/v1/relays")
				w.say("%s holds %d of %d: %d are missing, %d too many; first missing %v; %s %v", name, len(got), len(want), len(missing), len(extra), first(missing), health, err)
			}
		}
		if len(agreed) == 3 {
			break
		}
		if time.Since(since) > within {
			return errors.New("the relays do not agree")
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		p := w.relays[name]
		health, err := p.get(ctx, "/api/v1/relays")
		if err != nil {
			return err
		}
		var answer struct {
			Items []struct {
				URL, State string
				Method     *string
				Events     map[string]int64
			}
		}
		if err := json.Unmarshal(health, &answer); err != nil {
			return err
		}
		for _, it := range answer.Items {
			how := ""
			if it.Method != nil {
				how = *it.Method
			}
			w.say("%s <- %s: %s by %s, %d kept, %d held already, %d incomplete seconds", name, w.nameOf(it.URL), it.State, how, it.Events["kept"], it.Events["held_already"], it.Events["incomplete_seconds"])
		}
		if err := p.stop(); err != nil {
			return err
		}
		out, err := exec.Command(w.ours, "log", "verify", "--data", p.data).CombinedOutput()
		if err != nil {
			return fmt.Errorf("log verify of %s: %w\n%s", name, err, out)
		}
		w.say("%s: log verified", name)
	}
	return nil
}

func (w *world) nameOf(url string) string {
	for _, l := range w.links {
		if strings.HasSuffix(url, l.l.Addr().String()) {
			return l.to.name
		}
	}
	return url
}

func compare(want, got []string) (missing, extra []string) {
	have := map[string]bool{}
	for _, id := range got {
		have[id] = true
	}
	for _, id := range want {
		if !have[id] {
			missing = append(missing, id)
		}
		delete(have, id)
	}
	for id := range have {
		extra = append(extra, id)
	}
	return missing, extra
}

func first(ids []string) []string { return ids[:min(3, len(ids))] }

// publishAll publishes each relay's events, to all relays at the same time.
func (w *world) publishAll(ctx context.Context, at map[string][]*nostr.Event) error {
	errs := make([]error, 0, len(at))
	var mu sync.Mutex
	var wait sync.WaitGroup
	for name, events := range at {
		wait.Go(func() {
			err := w.relays[name].publish(ctx, events)
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

package relay

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

var overtakingRounds = flag.Int("overtaking.rounds", 1000, "requests and replies of the overtaking rig")

var updateClients = flag.Bool("update-clients", false, "rewrite testdata/clients.golden")

// clientWorld is the data that real wallets read: one busy Mostro, one quiet one, the mail
// of their users, and their competitors.
type clientWorld struct {
	node, quiet, maker, solver string // secret keys
	N, Q, K, S                 string // public keys of the secret keys
	T                          []string
	at                         int64
	events                     []*nostr.Event
	names                      map[string]string // id -> name in the golden file
}

func newClientWorld(tb testing.TB, at int64) *clientWorld {
	w := &clientWorld{at: at, names: map[string]string{}}
	for i, s := range []*string{&w.node, &w.quiet, &w.maker, &w.solver} {
		*s = fmt.Sprintf("%064x", 0x5000+i)
	}
	w.N, w.Q, w.K, w.S = testkit.PubkeyOf(tb, w.node), testkit.PubkeyOf(tb, w.quiet), testkit.PubkeyOf(tb, w.maker), testkit.PubkeyOf(tb, w.solver)
	for i := range 200 {
		w.T = append(w.T, fmt.Sprintf("%064x", 0x7000+i))
	}
	put := func(name, secret string, kind int, at int64, tags ...nostr.Tag) *nostr.Event {
		evt := testkit.SignedBy(tb, secret, kind, at, "", tags...)
		w.events = append(w.events, evt)
		w.names[evt.ID] = name
		return evt
	}
	day := int64(86400)
	order := func(name, secret, d, status, fiat string, at int64) {
		put(name, secret, mostro.KindOrder, at, nostr.Tag{"d", d}, nostr.Tag{"k", "sell"}, nostr.Tag{"f", fiat}, nostr.Tag{"s", status},
			nostr.Tag{"y", "mostro"}, nostr.Tag{"z", "order"}, nostr.Tag{"network", "mainnet"}, nostr.Tag{"expiration", fmt.Sprint(w.at + 30*day)})
	}
	for i := range 620 { // more than the 500 that clients ask for
		status := []string{"pending", "in-progress", "success", "canceled"}[i%4]
		order(fmt.Sprintf("N-order-%d", i), w.node, fmt.Sprintf("n%d", i), status, "VES", w.at-int64(i)*600-10)
	}
	order("N-order-7-old", w.node, "n7", "pending", "VES", w.at-9*day) // superseded on arrival
	for i := range 3 {
		order(fmt.Sprintf("Q-order-%d", i), w.quiet, fmt.Sprintf("q%d", i), "pending", "EUR", w.at-int64(i)*day-5)
	}
	for i := range 4 {
		put(fmt.Sprintf("N-dispute-%d", i), w.node, mostro.KindDispute, w.at-int64(i)*day-7, nostr.Tag{"d", fmt.Sprintf("dis%d", i)},
			nostr.Tag{"s", "initiated"}, nostr.Tag{"y", "mostro"}, nostr.Tag{"z", "dispute"})
	}
	put("N-info", w.node, mostro.KindInfo, w.at-200, nostr.Tag{"d", w.N}, nostr.Tag{"y", "mostro"}, nostr.Tag{"z", "info"})
	put("Q-info", w.quiet, mostro.KindInfo, w.at-3*day, nostr.Tag{"d", w.Q}, nostr.Tag{"y", "mostro"}, nostr.Tag{"z", "info"})
	put("N-relays", w.node, mostro.KindRelayList, w.at-60, nostr.Tag{"r", "wss://relay.example"})
	put("N-profile", w.node, mostro.KindProfile, w.at-5*day)
	put("Q-profile", w.quiet, mostro.KindProfile, w.at-6*day)
	put("N-rates", w.node, mostro.KindAppData, w.at-100, nostr.Tag{"d", "mostro-rates"})
	put("N-other-data", w.node, mostro.KindAppData, w.at-90, nostr.Tag{"d", "else"})
	for i := range 5 {
		put(fmt.Sprintf("N-to-T%d", i), w.node, mostro.KindMessage, w.at-int64(i)*3600-3, nostr.Tag{"p", w.T[i]})
	}
	put("N-to-T199", w.node, mostro.KindMessage, w.at-20*day, nostr.Tag{"p", w.T[199]})
	for i := range 3 { // NIP-59 dates gift wraps back by up to two days
		put(fmt.Sprintf("wrap-to-T%d", i), fmt.Sprintf("%064x", 0x9000+i), mostro.KindGiftWrap, w.at-2*day+int64(i), nostr.Tag{"p", w.T[i]})
	}
	put("wrap-to-N", fmt.Sprintf("%064x", 0x9100), mostro.KindGiftWrap, w.at-day, nostr.Tag{"p", w.N})
	put("T-to-N", fmt.Sprintf("%064x", 0x9200), mostro.KindMessage, w.at-day, nostr.Tag{"p", w.N})
	for i := range 3 {
		put(fmt.Sprintf("chat-%d", i), w.maker, mostro.KindMessage, w.at-int64(i)*2*day-1, nostr.Tag{"p", w.S})
	}
	put("chat-too-old", w.maker, mostro.KindMessage, w.at-10*day, nostr.Tag{"p", w.S})
	put("wrap-to-solver", fmt.Sprintf("%064x", 0x9300), mostro.KindGiftWrap, w.at-day, nostr.Tag{"p", w.S})
	put("rating-of-N", fmt.Sprintf("%064x", 0x9400), mostro.KindHostRating, w.at-30*day, nostr.Tag{"d", w.N + ":x"}, nostr.Tag{"p", w.N}, nostr.Tag{"rating", "0.9"})
	return w
}

// clientRow is one request that clients send. live is an event that must arrive after the
// stored ones; nil: no event.
type clientRow struct {
	name    string
	filters nostr.Filters
	live    func(w *clientWorld, n int) *nostr.Event
}

func (w *clientWorld) rows(tb testing.TB) []clientRow {
	since := func(d time.Duration) *nostr.Timestamp {
		t := nostr.Timestamp(w.at - int64(d/time.Second))
		return &t
	}
	day := 24 * time.Hour
	tag := func(k string, v ...string) nostr.TagMap { return nostr.TagMap{k: v} }
	one := func(f nostr.Filter) nostr.Filters { return nostr.Filters{f} }
	zero := func(f nostr.Filter) nostr.Filter { f.LimitZero = true; return f }
	order := func(w *clientWorld, n int) *nostr.Event {
		return testkit.SignedBy(tb, w.node, mostro.KindOrder, testkit.Now(), "", nostr.Tag{"d", fmt.Sprint("live", n)}, nostr.Tag{"s", "pending"}, nostr.Tag{"z", "order"})
	}
	reply := func(w *clientWorld, n int) *nostr.Event {
		return testkit.SignedBy(tb, w.node, mostro.KindMessage, testkit.Now(), fmt.Sprint("reply ", n), nostr.Tag{"p", w.T[0]})
	}
	wrap := func(w *clientWorld, n int) *nostr.Event { // dated back
		return testkit.SignedBy(tb, fmt.Sprintf("%064x", 0xa000+n), mostro.KindGiftWrap, testkit.Now()-47*3600, "", nostr.Tag{"p", w.T[0]})
	}
	chat := func(w *clientWorld, n int) *nostr.Event {
		return testkit.SignedBy(tb, w.maker, mostro.KindMessage, testkit.Now(), fmt.Sprint("chat ", n), nostr.Tag{"p", w.S})
	}
	toNode := func(w *clientWorld, n int) *nostr.Event {
		return testkit.SignedBy(tb, fmt.Sprintf("%064x", 0xb000+n), mostro.KindMessage, testkit.Now(), "", nostr.Tag{"p", w.N})
	}
	N, K := []string{w.N}, []string{w.K}
	k := func(kinds ...int) []int { return kinds }
	return []clientRow{
		{"mobile: book and info", one(nostr.Filter{Kinds: k(38383, 38385), Authors: N, Since: since(2 * day)}), order},
		{"mobile: relay list", one(nostr.Filter{Kinds: k(10002), Authors: N, Limit: 1}), nil},
		{"mobile: profiles of all", one(nostr.Filter{Kinds: k(0), Authors: []string{w.N, w.Q}}), nil},
		{"mobile: one profile", one(nostr.Filter{Kinds: k(0), Authors: N, Limit: 1}), nil},
		{"mobile: rates", one(nostr.Filter{Kinds: k(30078), Authors: N, Tags: tag("d", "mostro-rates"), Limit: 1}), nil},
		{"mobile: trade messages v2", one(nostr.Filter{Kinds: k(14), Authors: N, Tags: tag("p", w.T...)}), reply},
		{"mobile: trade messages v1", one(nostr.Filter{Kinds: k(1059), Tags: tag("p", w.T...)}), wrap},
		{"mobile: chat", one(nostr.Filter{Kinds: k(14), Authors: K, Since: since(7 * day), Limit: 100}), chat},
		{"mobile: restore", nostr.Filters{zero(nostr.Filter{Kinds: k(1059), Tags: tag("p", w.T[0])}), zero(nostr.Filter{Kinds: k(14), Authors: N, Tags: tag("p", w.T[0])})}, reply},
		{"mobile: deep link by d", one(nostr.Filter{Kinds: k(38383), Tags: tag("d", "n7")}), nil},
		{"mobile: deep link by id", one(nostr.Filter{Kinds: k(38383), IDs: []string{w.events[3].ID}}), nil},
		{"mobile: add-relay probe", one(nostr.Filter{Kinds: k(1), Limit: 1}), nil},
		{"mostrix: info", one(nostr.Filter{Kinds: k(38385), Authors: N, Tags: tag("d", w.N), Limit: 1}), nil},
		{"mostrix: book snapshot", one(nostr.Filter{Kinds: k(38383), Authors: N, Limit: 500}), nil},
		{"mostrix: disputes snapshot", one(nostr.Filter{Kinds: k(38386), Authors: N, Limit: 500}), nil},
		{"mostrix: live", one(nostr.Filter{Kinds: k(38383), Authors: N, Since: since(0)}), order},
		{"mostrix: one order", one(nostr.Filter{Kinds: k(38383), Authors: N, Tags: tag("d", "n11"), Limit: 10}), nil},
		{"mostrix: messages, newest", one(nostr.Filter{Kinds: k(14), Authors: N, Tags: tag("p", w.T[1]), Limit: 1}), nil},
		{"mostrix: messages, since", one(nostr.Filter{Kinds: k(14), Authors: N, Tags: tag("p", w.T[0]), Since: since(day)}), reply},
		{"mostrix: messages, live", one(zero(nostr.Filter{Kinds: k(14), Authors: N, Tags: tag("p", w.T[0])})), reply},
		{"mostrix: admin, no p", one(nostr.Filter{Kinds: k(14), Authors: N, Since: since(day)}), reply},
		{"mostrix: chat live", one(zero(nostr.Filter{Kinds: k(14), Authors: K})), chat},
		{"mostrix: chat observer", one(nostr.Filter{Kinds: k(14), Tags: tag("p", w.S), Since: since(7 * day), Limit: 100}), chat},
		{"mostro-cli: list orders", one(nostr.Filter{Kinds: k(38383), Authors: N, Tags: tag("z", "order"), Since: since(7 * day), Limit: 50}), nil},
		{"mostro-cli: list disputes", one(nostr.Filter{Kinds: k(38386), Authors: N, Tags: tag("z", "dispute"), Since: since(7 * day), Limit: 50}), nil},
		{"mostro-cli: info", one(nostr.Filter{Kinds: k(38385), Authors: N}), nil},
		{"mostro-cli: history v2", one(nostr.Filter{Kinds: k(14), Authors: N, Tags: tag("p", w.T[2]), Since: since(2 * day)}), nil},
		{"mostro-cli: history v1", one(nostr.Filter{Kinds: k(1059), Tags: tag("p", w.T[2]), Since: since(2*day + time.Hour)}), nil},
		{"mostro-cli: wait for the answer", one(zero(nostr.Filter{Kinds: k(1059), Tags: tag("p", w.T[0])})), wrap},
		{"mostro-cli: solver chat", one(nostr.Filter{Kinds: k(1059), Tags: tag("p", w.S), Since: since(7 * day), Limit: 100}), nil},
		{"ts-client: info", one(nostr.Filter{Kinds: k(38385), Authors: N, Limit: 1}), nil},
		{"ts-client: book", one(nostr.Filter{Kinds: k(38383), Authors: N, Limit: 500}), nil},
		{"ts-client: messages", one(nostr.Filter{Kinds: k(14), Authors: N, Tags: tag("p", w.T[3])}), nil},
		{"mostro-web: book", one(nostr.Filter{Kinds: k(38383), Authors: N, Since: since(14 * day)}), order},
		{"mostro-web: messages", one(nostr.Filter{Kinds: k(1059), Tags: tag("p", w.T[0]), Since: since(14 * day)}), wrap},
		{"app: book", one(nostr.Filter{Kinds: k(38383), Authors: N}), order},
		{"app: one order", one(nostr.Filter{Kinds: k(38383), Authors: N, Tags: tag("d", "n12")}), nil},
		{"app: messages live", one(zero(nostr.Filter{Kinds: k(14), Authors: N, Tags: tag("p", w.T...)})), reply},
		{"robosats: book", one(nostr.Filter{Kinds: k(38383), Authors: append([]string{w.N, w.Q}, w.T[:40]...), Since: since(30 * time.Hour)}), order},
		{"robosats: ratings", one(nostr.Filter{Kinds: k(31986), Tags: tag("p", w.N, w.Q), Since: since(180 * day)}), nil},
		{"robosats: notifications", one(nostr.Filter{Kinds: k(1059), Tags: tag("p", w.T[:50]...)}), wrap},
		{"mostrod: inbox v2", one(zero(nostr.Filter{Kinds: k(14), Tags: tag("p", w.N)})), toNode},
		{"mostrod: inbox v1", one(zero(nostr.Filter{Kinds: k(1059), Tags: tag("p", w.N)})), nil},
		{"mostroweb: discovery by an old tag", one(nostr.Filter{Kinds: k(38383), Tags: tag("y", "mostrop2p")}), nil},
	}
}

// clientDriver is the relay client of a library.
type clientDriver interface {
	open(sub string, filters nostr.Filters)
	// next returns the next event or answer of sub: an event's id, "EOSE" or "CLOSED".
	next(sub string) string
	publish(evt *nostr.Event)
	close(sub string)
}

func TestRequestsOfRealClients(t *testing.T) {
	at := testkit.Now()
	w := newClientWorld(t, at)
	drivers := map[string]func(tb testing.TB, url string) clientDriver{"go-nostr": func(tb testing.TB, url string) clientDriver { return newGoNostrDriver(tb, url) }}
	dir := os.Getenv("MOSTRODEX_INTEROP_CLIENTS")
	for _, lib := range []string{"nostr-tools", "ndk"} {
		if dir == "" {
			t.Run(lib, func(t *testing.T) { t.Skip("MOSTRODEX_INTEROP_CLIENTS is not set: make interop-clients prepares it") })
			continue
		}
		drivers[lib] = func(tb testing.TB, url string) clientDriver { return newNodeDriver(tb, dir, lib, url) }
	}
	for lib, start := range drivers {
		t.Run(lib, func(t *testing.T) {
			r := startRelay(t, nil)
			seed := r.Dial()
			for _, evt := range w.events {
				if ok, reason := seed.Publish(evt); !ok {
					t.Fatalf("%s: %s", w.names[evt.ID], reason)
				}
			}
			liveMade := 0
			var golden strings.Builder
			d := start(t, r.URL())
			for i, row := range w.rows(t) {
				// 64 characters, as long as NIP-01 allows.
				sub := fmt.Sprintf("%-64s", fmt.Sprintf("%s-%d-", lib, i))
				sub = strings.ReplaceAll(sub, " ", "x")
				d.open(sub, row.filters)
				var got []string
				for {
					id := d.next(sub)
					if id == "EOSE" {
						break
					}
					if id == "CLOSED" {
						t.Fatalf("%s: closed", row.name)
					}
					got = append(got, id)
				}
				if lib == "go-nostr" {
					w.sort(got) // the library delivers each event by a goroutine of its own
				}
				checkClientAnswer(t, w, row, got)
				fmt.Fprintf(&golden, "%s: %d: %s\n", row.name, len(namesOf(w, got)), summary(namesOf(w, got)))
				if row.live != nil {
					liveMade++
					evt := row.live(w, liveMade)
					if liveMade%2 == 0 {
						d.publish(evt)
					} else {
						seed.MustPublish(evt)
					}
					if id := d.next(sub); id != evt.ID {
						t.Errorf("%s: live came %s, want %s", row.name, id, evt.ID)
					}
				}
				d.close(sub)
			}
			path := filepath.Join("testdata", "clients.golden")
			if *updateClients && lib == "go-nostr" {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(golden.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if golden.String() != string(want) {
				t.Errorf("answers differ from %s (run with -update-clients and look at the change):\n%s", path, golden.String())
			}
		})
	}
}

// sort puts ids into the order of NIP-01.
func (w *clientWorld) sort(ids []string) {
	at := map[string]nostr.Timestamp{}
	for _, evt := range w.events {
		at[evt.ID] = evt.CreatedAt
	}
	slices.SortFunc(ids, func(a, b string) int {
		if at[a] != at[b] {
			return int(at[b] - at[a])
		}
		return strings.Compare(a, b)
	})
}

// namesOf leaves out the events that earlier rows have published live.
func namesOf(w *clientWorld, ids []string) (names []string) {
	for _, id := range ids {
		if name, ok := w.names[id]; ok {
			names = append(names, name)
		}
	}
	return names
}

func summary(names []string) string {
	if len(names) <= 6 {
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s ... %s", strings.Join(names[:3], " "), strings.Join(names[len(names)-2:], " "))
}

// checkClientAnswer checks that every event arrives once, newest first, that none is
// superseded, and that all matching events arrive if the filter has no limit.
func checkClientAnswer(t *testing.T, w *clientWorld, row clientRow, got []string) {
	t.Helper()
	byID := map[string]*nostr.Event{}
	for _, evt := range w.events {
		byID[evt.ID] = evt
	}
	seen := map[string]bool{}
	last := nostr.Timestamp(1 << 40)
	for _, id := range got {
		if seen[id] {
			t.Errorf("%s: %s comes twice", row.name, w.names[id])
		}
		seen[id] = true
		evt := byID[id]
		if evt == nil {
			continue // published by an earlier row
		}
		if w.names[id] == "N-order-7-old" || !row.filters.Match(evt) {
			t.Errorf("%s: %s is no answer", row.name, w.names[id])
		}
		if evt.CreatedAt > last {
			t.Errorf("%s: %s is out of order", row.name, w.names[id])
		}
		last = evt.CreatedAt
	}
	for _, f := range row.filters {
		if f.LimitZero && len(got) > 0 {
			t.Errorf("%s: %d stored events for limit 0", row.name, len(got))
		}
		if f.Limit > 0 || f.LimitZero {
			continue
		}
		for _, evt := range w.events {
			if f.Matches(evt) && !seen[evt.ID] && w.names[evt.ID] != "N-order-7-old" {
				t.Errorf("%s: %s is missing", row.name, w.names[evt.ID])
			}
		}
	}
}

// happenings sorts events and answers by subscription.
type happenings struct {
	tb  testing.TB
	mu  sync.Mutex
	all map[string]chan string
}

func (h *happenings) of(sub string) chan string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[string]chan string{}
	}
	if h.all[sub] == nil {
		h.all[sub] = make(chan string, 8192) // more than any row has; if full, the test hangs and says so
	}
	return h.all[sub]
}

func (h *happenings) next(sub string) string {
	h.tb.Helper()
	select {
	case s := <-h.of(sub):
		return s
	case <-time.After(15 * time.Second):
		h.tb.Fatalf("nothing comes for %s", sub)
		return ""
	}
}

// goNostrDriver uses the relay client of go-nostr.
type goNostrDriver struct {
	happenings
	relay *nostr.Relay
	subs  map[string]*nostr.Subscription
}

func newGoNostrDriver(tb testing.TB, url string) *goNostrDriver {
	tb.Helper()
	if raceDetector {
		tb.Skip("go-nostr v0.52.3 races with itself when a connection ends (relay.go, ConnectWithTLS and close)")
	}
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)
	relay := nostr.NewRelay(ctx, url)
	if err := relay.Connect(ctx); err != nil {
		tb.Fatal(err)
	}
	return &goNostrDriver{happenings: happenings{tb: tb}, relay: relay, subs: map[string]*nostr.Subscription{}}
}

func (d *goNostrDriver) open(sub string, filters nostr.Filters) {
	d.tb.Helper()
	// The library makes its own ids, which are longer than its label.
	s, err := d.relay.Subscribe(context.Background(), filters, nostr.WithLabel(strings.TrimRight(sub, "x")))
	if err != nil {
		d.tb.Fatal(err)
	}
	d.subs[sub] = s
	c := d.of(sub)
	go func() {
		eose := s.EndOfStoredEvents
		for {
			select {
			case evt, ok := <-s.Events:
				if !ok {
					return
				}
				c <- evt.ID
			case <-eose:
				// The library has two channels and no order between them.
				for more := true; more; {
					select {
					case evt, ok := <-s.Events:
						if !ok {
							return
						}
						c <- evt.ID
					default:
						more = false
					}
				}
				c <- "EOSE"
				eose = nil
			case <-s.ClosedReason:
				c <- "CLOSED"
				return
			}
		}
	}()
}

func (d *goNostrDriver) publish(evt *nostr.Event) {
	d.tb.Helper()
	if err := d.relay.Publish(context.Background(), *evt); err != nil {
		d.tb.Fatal(err)
	}
}

func (d *goNostrDriver) close(sub string) { d.subs[sub].Unsub() }

// nodeDriver uses a JavaScript library.
type nodeDriver struct {
	happenings
	lib, url string
	in       io.WriteCloser
}

func newNodeDriver(tb testing.TB, dir, lib, url string) *nodeDriver {
	tb.Helper()
	cmd := exec.Command("node", "clients.mjs")
	cmd.Dir = dir
	in, out := testkit.StartPiped(tb, cmd)
	d := &nodeDriver{happenings: happenings{tb: tb}, lib: lib, url: url, in: in}
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var h struct {
				Sub, Event, Error string
				Eose              bool
				Closed            *string
				OK                string
			}
			if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
				continue // other output of the library
			}
			switch {
			case h.Error != "":
				d.of(h.Sub + h.OK) <- "error: " + h.Error
			case h.OK != "":
				d.of(h.OK) <- "OK"
			case h.Event != "":
				d.of(h.Sub) <- h.Event
			case h.Eose:
				d.of(h.Sub) <- "EOSE"
			case h.Closed != nil:
				d.of(h.Sub) <- "CLOSED"
			}
		}
	}()
	tb.Cleanup(func() {
		in.Close()
		<-done
		cmd.Wait()
	})
	return d
}

func (d *nodeDriver) say(request map[string]any) {
	d.tb.Helper()
	request["lib"], request["url"] = d.lib, d.url
	b, err := json.Marshal(request)
	if err != nil {
		d.tb.Fatal(err)
	}
	if _, err := d.in.Write(append(b, '\n')); err != nil {
		d.tb.Fatal(err)
	}
}

func (d *nodeDriver) open(sub string, filters nostr.Filters) {
	d.say(map[string]any{"op": "open", "sub": sub, "filters": filters})
}

func (d *nodeDriver) publish(evt *nostr.Event) {
	d.tb.Helper()
	d.say(map[string]any{"op": "publish", "event": evt})
	if s := d.next(evt.ID); s != "OK" {
		d.tb.Fatal(s)
	}
}

func (d *nodeDriver) close(sub string) { d.say(map[string]any{"op": "close", "sub": sub}) }

// TestOvertakingRigLosesNothing repeats the pattern in which plain khatru loses 839
// replies of 1,500: a wallet subscribes with limit 0, sends its request without waiting
// for EOSE, and the answer comes at once.
func TestOvertakingRigLosesNothing(t *testing.T) {
	rounds := *overtakingRounds
	r := startRelay(t, nil)
	node := testkit.PubkeyOf(t, fmt.Sprintf("%064x", 0x5000))
	const pairs = 4
	var wait sync.WaitGroup
	for p := range pairs {
		daemon, wallet := r.Dial(), r.Dial()
		secret := fmt.Sprintf("%064x", 0xc000+p)
		key := testkit.PubkeyOf(t, secret)
		daemon.Send("REQ", "inbox", testkit.Object{"kinds": []int{14}, "#p": []string{node}, "authors": []string{key}, "limit": 0})
		daemon.Expect("EOSE", "inbox")
		wait.Go(func() {
			for n := range rounds / pairs {
				sub := fmt.Sprint("wait", n)
				ask := testkit.SignedBy(t, secret, 14, testkit.Now(), fmt.Sprint("ask ", n), nostr.Tag{"p", node})
				answer := testkit.SignedBy(t, fmt.Sprintf("%064x", 0x5000), 14, testkit.Now(), fmt.Sprint("answer ", p, n), nostr.Tag{"p", key}, nostr.Tag{"n", fmt.Sprint(n)})
				// Both frames are sent together.
				wallet.Send("REQ", sub, testkit.Object{"kinds": []int{14}, "authors": []string{node}, "#p": []string{key}, "limit": 0})
				wallet.Send("EVENT", ask)
				if words, err := daemon.Read(); err != nil || words[0] != "EVENT" {
					t.Errorf("pair %d round %d: the daemon got %v %v", p, n, words, err)
					return
				}
				daemon.Send("EVENT", answer)
				if words, err := daemon.Read(); err != nil || words[0] != "OK" {
					t.Errorf("the daemon's OK: %v %v", words, err)
					return
				}
				var got []string
				for len(got) < 3 {
					words, err := wallet.Read()
					if err != nil {
						t.Errorf("pair %d round %d: a reply was lost: got %v", p, n, got)
						return
					}
					got = append(got, words[0])
				}
				slices.Sort(got)
				if !slices.Equal(got, []string{"EOSE", "EVENT", "OK"}) {
					t.Errorf("pair %d round %d: %v", p, n, got)
				}
				wallet.Send("CLOSE", sub)
			}
		})
	}
	wait.Wait()
}

package relay

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestDispatchEqualsMatches checks that any set of subscriptions gets exactly the events
// for which nostr.Filter.Matches returns true, for every condition that a filter may be
// indexed under.
func TestDispatchEqualsMatches(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	st := relaytest.OpenStore(t, t.TempDir(), testkit.NewClock().Now)
	srv, err := New(Config{Store: st})
	if err != nil {
		t.Fatal(err)
	}
	d := srv.dispatch
	d.keep = 20
	word := func(n int) string { return fmt.Sprint("w", rng.IntN(n)) }
	hex := func(n int) string { return strings.Repeat(fmt.Sprintf("%02x", rng.IntN(n)), 32) }
	some := func(of func() string) []string {
		out := []string{}
		for range []int{0, 1, 1, 2, 20}[rng.IntN(5)] {
			out = append(out, of())
		}
		return out
	}
	randomFilter := func() (f nostr.Filter) {
		if rng.IntN(8) == 0 {
			f.IDs = some(func() string { return hex(50) })
		}
		if rng.IntN(3) == 0 {
			f.Authors = some(func() string { return hex(5) })
		}
		if rng.IntN(2) == 0 {
			f.Kinds = []int{}
			for range []int{0, 1, 2, 30}[rng.IntN(4)] {
				f.Kinds = append(f.Kinds, 38380+rng.IntN(25))
			}
		}
		for _, letter := range []string{"d", "p", "s", "f", "X"} {
			if rng.IntN(4) == 0 {
				if f.Tags == nil {
					f.Tags = nostr.TagMap{}
				}
				n := []int{4, 60}[rng.IntN(2)]
				f.Tags[letter] = some(func() string { return word(n) })
			}
		}
		if rng.IntN(4) == 0 {
			at := nostr.Timestamp(rng.IntN(100))
			f.Since = &at
		}
		if rng.IntN(4) == 0 {
			at := nostr.Timestamp(rng.IntN(100))
			f.Until = &at
		}
		return f
	}
	type watch struct {
		sub     *subscription
		filters nostr.Filters
	}
	var open []watch
	for round := range 600 {
		if len(open) < 40 || rng.IntN(2) == 0 {
			c := &writer{queues: &srv.queues, wake: make(chan struct{}, 1)}
			c.room.L = &c.mu
			w := watch{sub: &subscription{w: c, prefix: []byte("p")}}
			for range 1 + rng.IntN(3) {
				f := randomFilter()
				w.filters = append(w.filters, f)
				w.sub.filters = append(w.sub.filters, newLiveFilter(f))
			}
			d.register(w.sub)
			open = append(open, w)
		} else {
			i := rng.IntN(len(open))
			d.unregister(open[i].sub)
			open[i] = open[len(open)-1]
			open = open[:len(open)-1]
		}
		evt := &nostr.Event{ID: hex(50), PubKey: hex(5), Kind: 38380 + rng.IntN(5), CreatedAt: nostr.Timestamp(rng.IntN(100))}
		for range []int{0, 1, 3, 6, 40, 150}[rng.IntN(6)] {
			tag := nostr.Tag{[]string{"d", "p", "s", "f", "X", "name"}[rng.IntN(6)]}
			for range rng.IntN(3) {
				tag = append(tag, word([]int{4, 60}[rng.IntN(2)]))
			}
			evt.Tags = append(evt.Tags, tag)
		}
		for i := range open {
			open[i].sub.w.out = nil
		}
		d.dispatch(evt, []byte("{}"), uint64(round+1), &flushes{})
		for _, w := range open {
			want := 0
			if w.filters.Match(evt) {
				want = len(appendEvent(nil, w.sub.prefix, []byte("{}")))
			}
			if got := len(w.sub.w.out); got != want {
				t.Fatalf("seed %d: %v\n%v\ngot %d bytes, want %d", seed, w.filters, evt, got, want)
			}
		}
	}
	for _, w := range open {
		d.unregister(w.sub)
	}
	if len(d.index) > d.keep || len(d.index) != len(d.empty) {
		t.Errorf("%d keys left after the last subscription, of which %d are known to be empty", len(d.index), len(d.empty))
	}
}

func TestArchivedEntriesAreNotBroadcast(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	c.Req("s", testkit.Object{"kinds": []int{38383}})
	at := testkit.Now()
	newest := testkit.Order(t, "a", at, "success")
	r.importAll(t, testkit.NDJSON(t, newest, testkit.Order(t, "a", at-5, "pending"),
		testkit.Signed(t, 38383, at-5, nostr.Tag{"d", "b"}, nostr.Tag{"expiration", fmt.Sprint(at - 1)})))
	if got := c.Expect("EVENT", "s"); testkit.EventID(t, got[2]) != newest.ID {
		t.Errorf("got %s", got[2])
	}
	c.Quiet()
	if r.Store.Head() != 3 {
		t.Errorf("head %d", r.Store.Head())
	}
}

func TestMetricsPassTheLinter(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	c.MustPublish(testkit.Order(t, "a", testkit.Now(), "pending"))
	c.MustRefuse(testkit.Signed(t, 1, testkit.Now()), "blocked:")
	c.Req("s", testkit.Object{"kinds": []int{38383}})
	r.importAll(t, testkit.NDJSON(t, testkit.Order(t, "b", testkit.Now(), "pending")))
	problems, err := testutil.GatherAndLint(r.reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for name, want := range map[string]float64{
		"mostrodex_relay_connections": 1, "mostrodex_relay_subscriptions": 1, "mostrodex_relay_events_total": 2,
		"mostrodex_relay_refusals_total": 1, "mostrodex_relay_import_lines_total": 1, "mostrodex_relay_frames_total": 3,
	} {
		if got := relaytest.Gauge(t, r.reg, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// BenchmarkDispatch measures the dispatch of one order to a typical set of subscriptions:
// 2,000 wallets that watch their trades, and 200 order books.
func BenchmarkDispatch(b *testing.B) {
	clock := testkit.NewClock()
	st, err := eventlog.Open(eventlog.Config{Dir: b.TempDir(), Now: clock.Now})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	srv, err := New(Config{Store: st, Now: clock.Now})
	if err != nil {
		b.Fatal(err)
	}
	events := testkit.Market(1000, clock.Now().Unix())
	var writers []*writer
	watch := func(filters ...nostr.Filter) {
		c := &writer{queues: &srv.queues, wake: make(chan struct{}, 1)}
		c.room.L = &c.mu
		sub := &subscription{w: c, prefix: []byte("p")}
		for _, f := range filters {
			sub.filters = append(sub.filters, newLiveFilter(f))
		}
		srv.dispatch.register(sub)
		writers = append(writers, c)
	}
	for i := range 2000 {
		watch(nostr.Filter{Kinds: []int{1059, 14}, Tags: nostr.TagMap{"p": {fmt.Sprintf("%064x", i)}}})
	}
	for i := range 200 {
		since := nostr.Timestamp(clock.Now().Unix() - int64(3600*i))
		watch(nostr.Filter{Kinds: []int{38383}, Since: &since, Tags: nostr.TagMap{
			"s": {"pending"}, "f": {[]string{"VES", "EUR", "USD", "CUP"}[i%4]}, "k": {[]string{"buy", "sell"}[i%2]}}})
	}
	body, due := []byte("{}"), &flushes{}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if due.events%flushEvents == flushEvents-1 {
			b.StopTimer()
			for _, c := range writers {
				c.out = c.out[:0]
			}
			clear(due.writers)
			due.writers, due.events = due.writers[:0], 0
			b.StartTimer()
		}
		srv.dispatch.dispatch(events[i%len(events)], body, uint64(i+1), due)
	}
}

package federation

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// otherRelay is a fake of a relay of another operator: it caps its answers, lacks NIP-77,
// and tests make it misbehave.
type otherRelay struct {
	tb   testing.TB
	http *httptest.Server
	cap  int
	nip  []int // supported_nips of its NIP-11 document; nil: no document

	// onFrame may answer a message instead of the relay. done is true if it did.
	onFrame func(c *otherConn, verb string, words []json.RawMessage) (done bool)

	mu       sync.Mutex
	events   []*nostr.Event
	conns    map[*otherConn]bool
	received []*nostr.Event
	dials    int
	reqs     int
}

type otherConn struct {
	r    *otherRelay
	ws   *websocket.Conn
	ctx  context.Context
	subs map[string]nostr.Filters
}

func startOther(tb testing.TB, cap int, events ...*nostr.Event) *otherRelay {
	tb.Helper()
	r := &otherRelay{tb: tb, cap: cap, events: events, conns: map[*otherConn]bool{}}
	r.http = httptest.NewServer(http.HandlerFunc(r.serve))
	tb.Cleanup(func() {
		r.drop()
		r.http.Close()
	})
	return r
}

func (r *otherRelay) url() string { return "ws" + strings.TrimPrefix(r.http.URL, "http") }

// drop closes all connections.
func (r *otherRelay) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.ws.CloseNow()
	}
}

func (r *otherRelay) serve(w http.ResponseWriter, q *http.Request) {
	if q.Header.Get("Accept") == "application/nostr+json" {
		if r.nip == nil {
			http.NotFound(w, q)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"supported_nips": r.nip})
		return
	}
	ws, err := websocket.Accept(w, q, nil)
	if err != nil {
		return
	}
	ws.SetReadLimit(-1)
	c := &otherConn{r: r, ws: ws, ctx: q.Context(), subs: map[string]nostr.Filters{}}
	r.mu.Lock()
	r.conns[c] = true
	r.dials++
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.conns, c)
		r.mu.Unlock()
		ws.CloseNow()
	}()
	for {
		_, b, err := ws.Read(c.ctx)
		if err != nil {
			return
		}
		var words []json.RawMessage
		var verb string
		if json.Unmarshal(b, &words) != nil || len(words) < 2 || json.Unmarshal(words[0], &verb) != nil {
			c.say("NOTICE", "what?")
			continue
		}
		if r.onFrame != nil && r.onFrame(c, verb, words) {
			continue
		}
		c.handle(verb, words)
	}
}

func (c *otherConn) handle(verb string, words []json.RawMessage) {
	var id string
	json.Unmarshal(words[1], &id)
	switch verb {
	case "REQ":
		var f nostr.Filter
		json.Unmarshal(words[2], &f)
		c.r.mu.Lock()
		c.r.reqs++
		c.subs[id] = nostr.Filters{f}
		found := c.r.find(f)
		c.r.mu.Unlock()
		for _, evt := range found {
			c.say("EVENT", id, evt)
		}
		c.say("EOSE", id)
	case "CLOSE":
		c.r.mu.Lock()
		delete(c.subs, id)
		c.r.mu.Unlock()
	case "EVENT":
		var evt nostr.Event
		json.Unmarshal(words[1], &evt)
		c.r.mu.Lock()
		c.r.received = append(c.r.received, &evt)
		c.r.mu.Unlock()
		c.say("OK", evt.ID, true, "")
	default:
		c.say("NOTICE", "bad msg: unknown cmd "+verb)
	}
}

// find returns the events that match a filter, newest first, up to the cap. mu is held.
func (r *otherRelay) find(f nostr.Filter) (found []*nostr.Event) {
	for _, evt := range r.events {
		if f.Matches(evt) {
			found = append(found, evt)
		}
	}
	slices.SortStableFunc(found, func(a, b *nostr.Event) int { return int(b.CreatedAt - a.CreatedAt) })
	n := r.cap
	if f.Limit > 0 || f.LimitZero {
		n = min(n, f.Limit)
	}
	return found[:min(n, len(found))]
}

func (c *otherConn) say(words ...any) {
	b, err := json.Marshal(words)
	if err != nil {
		panic(err)
	}
	c.ws.Write(c.ctx, websocket.MessageText, b) // a client that is gone gets nothing
}

// publish adds an event and sends it to the subscriptions that match.
func (r *otherRelay) publish(evt *nostr.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, evt)
	for c := range r.conns {
		for id, filters := range c.subs {
			if filters.Match(evt) {
				go c.say("EVENT", id, evt)
			}
		}
	}
}

// follow runs Upstreams for a test relay. The test waits for Upstreams when it ends.
func (r *testRelay) follow(cfg Config, urls ...string) (*Upstreams, *testkit.LogLines, func()) {
	r.TB.Helper()
	lines := &testkit.LogLines{}
	cfg.Server, cfg.Store, cfg.Logger = r.srv, r.Store, slog.New(slog.NewTextHandler(lines, nil))
	for _, u := range urls {
		cfg.Follow = append(cfg.Follow, Upstream{URL: u})
	}
	cfg.Resync = cmp.Or(cfg.Resync, time.Hour)
	cfg.Backoff = cmp.Or(cfg.Backoff, 10*time.Millisecond)
	us, err := New(cfg)
	if err != nil {
		r.TB.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- us.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			r.TB.Errorf("Run: %v", err)
		}
	})
	r.TB.Cleanup(stop)
	return us, lines, stop
}

func healthOf(tb testing.TB, us *Upstreams, url string) RelayHealth {
	tb.Helper()
	for _, h := range us.Health() {
		if h.URL == url {
			return h
		}
	}
	tb.Fatalf("no health of %s", url)
	return RelayHealth{}
}

// orders returns signed orders of a dozen keys, several per second.
func orders(tb testing.TB, n, aSecond int) (list []*nostr.Event) {
	tb.Helper()
	at := testkit.Now() - 7200
	for i := range n {
		secret := fmt.Sprintf("%064x", 0x1000+i%12)
		list = append(list, testkit.SignedBy(tb, secret, mostro.KindOrder, at-int64(i/aSecond), "",
			nostr.Tag{"d", fmt.Sprint("o", i)}, nostr.Tag{"s", []string{"pending", "success"}[i%2]}, nostr.Tag{"f", []string{"USD", "EUR", "VES"}[i%3]}))
	}
	return list
}

func sortedIDs(events []*nostr.Event) (ids []string) {
	for _, evt := range events {
		ids = append(ids, evt.ID)
	}
	slices.Sort(ids)
	return ids
}

func (r *testRelay) awaitIDs(what string, want []string) {
	r.TB.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got := relaytest.IDs(r.TB, r.Store, nostr.Filter{}, 1<<20)
		slices.Sort(got)
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			r.TB.Fatalf("%s: %d events, want %d", what, len(got), len(want))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestPagingTakesAllThatACappedRelayHolds(t *testing.T) {
	for _, c := range []struct {
		name            string
		n, cap, aSecond int
	}{
		{"many pages", 900, 100, 7},
		{"the cap below our limit", 650, 300, 3},
		{"seconds as large as a page", 300, 30, 30},
		{"seconds larger than a page", 400, 30, 130},
		{"all in one second", 200, 50, 1000},
		{"one event a page", 12, 1, 1},
		{"nothing", 0, 10, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			events := orders(t, c.n, c.aSecond)
			other := startOther(t, c.cap, events...)
			r := startRelay(t, nil)
			us, _, stop := r.follow(Config{}, other.url())
			testkit.Eventually(t, "caught up", func() bool { return healthOf(t, us, other.url()).State == "live" })
			r.awaitIDs("all pages", sortedIDs(events))
			h := healthOf(t, us, other.url())
			if *h.Method != "paging" || h.Events.Refused != 0 || h.Events.Outside != 0 ||
				h.Events.Incomplete != 0 && c.cap > 1 { // if a page has one event, no event is known to be the last of its second
				t.Errorf("health %+v", h)
			}
			stop()
		})
	}
}

// A relay that caps its answers cannot return a whole second of events that differ in no
// value that a filter can name. The second is counted as incomplete.
func TestSecondThatCannotBeSplitIsCounted(t *testing.T) {
	var twins []*nostr.Event
	for i := range 20 {
		twins = append(twins, testkit.Signed(t, mostro.KindDevFee, testkit.Now()-9000, nostr.Tag{"nonce", fmt.Sprint(i)}))
	}
	other := startOther(t, 5, twins...)
	r := startRelay(t, nil)
	us, _, _ := r.follow(Config{}, other.url())
	testkit.Eventually(t, "live", func() bool { return healthOf(t, us, other.url()).State == "live" })
	if h := healthOf(t, us, other.url()); h.Events.Incomplete == 0 || h.Events.Kept != 5 {
		t.Errorf("health %+v", h)
	}
}

func TestOriginsOfUpstreamEvents(t *testing.T) {
	old := testkit.Order(t, "old", testkit.Now()-7200, "pending")
	other := startOther(t, 100, old)
	r := startRelay(t, nil)
	c := r.Dial()
	c.Send("REQ", "live", map[string]any{"limit": 0})
	c.Expect("EOSE", "live")
	us, _, _ := r.follow(Config{}, other.url())
	testkit.Eventually(t, "live", func() bool { return healthOf(t, us, other.url()).State == "live" })
	fresh := testkit.Order(t, "fresh", testkit.Now(), "pending")
	late := testkit.Order(t, "late", testkit.Now()-7200, "pending")
	other.publish(fresh)
	other.publish(late)
	r.awaitIDs("live events", sortedIDs([]*nostr.Event{old, fresh, late}))
	origins := map[string]mostro.Source{}
	if err := r.Store.Read(context.Background(), 0, func(e mostro.Entry) error {
		origins[e.Event.ID] = e.Source
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]mostro.Origin{old.ID: mostro.OriginBackfill, fresh.ID: mostro.OriginLive, late.ID: mostro.OriginBackfill} {
		if got := origins[id]; got.Origin != want || got.Relay != other.url() {
			t.Errorf("source %v, want %v", got, want)
		}
	}
	for range 3 { // our own subscribers get all events
		c.Expect("EVENT", "live")
	}
	if h := healthOf(t, us, other.url()); h.LastLiveAt == nil || h.LagSeconds == nil {
		t.Errorf("no lag is known: %+v", h)
	}
}

func TestTwoRelaysAgreeByNegentropy(t *testing.T) {
	a, b := startRelay(t, nil), startRelay(t, nil)
	events := orders(t, 700, 5)
	ca, cb := a.Dial(), b.Dial()
	for i, evt := range events {
		if i%3 != 0 {
			ca.MustPublish(evt)
		}
		if i%3 != 1 {
			cb.MustPublish(evt)
		}
	}
	// An older version at b does not replace the newer version at a.
	older, newer := testkit.Order(t, "v", testkit.Now()-500, "pending"), testkit.Order(t, "v", testkit.Now()-400, "success")
	cb.MustPublish(older)
	ca.MustPublish(newer)
	// An event that its author deleted at a stays deleted.
	gone := testkit.Signed(t, mostro.KindDevFee, testkit.Now()-300)
	cb.MustPublish(gone)
	ca.MustPublish(gone)
	ca.MustPublish(testkit.Signed(t, mostro.KindDeletion, testkit.Now(), nostr.Tag{"e", gone.ID}))

	ua, _, _ := a.follow(Config{}, b.URL())
	ub, _, _ := b.follow(Config{}, a.URL())
	all := append(slices.Clone(events), newer)
	testkit.Eventually(t, "both live", func() bool {
		return healthOf(t, ua, b.URL()).State == "live" && healthOf(t, ub, a.URL()).State == "live"
	})
	onlyOrders := func(r *testRelay) []string {
		ids := relaytest.IDs(t, r.Store, nostr.Filter{Kinds: []int{mostro.KindOrder}}, 1<<20)
		slices.Sort(ids)
		return ids
	}
	testkit.Eventually(t, "equal sets", func() bool {
		return slices.Equal(onlyOrders(a), sortedIDs(all)) && slices.Equal(onlyOrders(b), sortedIDs(all))
	})
	// 235 events are fetched. As many arrive again by the live subscription, because b
	// broadcasts the events that it takes from a. They are already stored and not verified
	// again.
	if h := healthOf(t, ua, b.URL()); *h.Method != "negentropy" || h.Events.Kept > 240 || h.Events.Received > 480 {
		t.Errorf("%d events for a difference of 235: %+v", h.Events.Received, h)
	}
	if n := len(relaytest.IDs(t, a.Store, nostr.Filter{IDs: []string{gone.ID, older.ID}}, 10)); n != 0 {
		t.Errorf("%d dead events came back", n)
	}
}

func TestCursorSurvivesAndIsResumed(t *testing.T) {
	events := orders(t, 600, 2)
	other := startOther(t, 50, events...)
	dir := t.TempDir()
	st, err := eventlog.Open(eventlog.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	r := startRelayOn(t, st, nil)
	// The relay fails in the middle of the walk.
	pages := 0
	other.onFrame = func(c *otherConn, verb string, words []json.RawMessage) bool {
		if verb == "REQ" && strings.Contains(string(words[2]), `"until"`) && !strings.Contains(string(words[2]), `"kinds":[5]`) {
			other.mu.Lock()
			defer other.mu.Unlock()
			if pages++; pages == 6 || pages == 7 {
				c.ws.CloseNow()
				return true
			}
		}
		return false
	}
	us, _, stop := r.follow(Config{}, other.url())
	testkit.Eventually(t, "live", func() bool { return healthOf(t, us, other.url()).State == "live" })
	r.awaitIDs("all", sortedIDs(events))
	stop()
	// 24 pages, plus at most one lost page per broken connection. A walk from the
	// beginning would take five more.
	if pages > 26 {
		t.Errorf("%d pages: the walk was not resumed", pages)
	}
	// After a restart few pages are requested again, and no event is verified again.
	other.mu.Lock()
	pages = 100
	other.events = append(other.events, testkit.Order(t, "new", testkit.Now(), "pending"))
	other.mu.Unlock()
	us, _, _ = r.follow(Config{}, other.url())
	testkit.Eventually(t, "live again", func() bool { return healthOf(t, us, other.url()).State == "live" })
	if h := healthOf(t, us, other.url()); h.Events.Kept != 1 {
		t.Errorf("kept %d, want 1", h.Events.Kept)
	}
}

func TestRelayAsksForProofOfIdentity(t *testing.T) {
	evt := testkit.Order(t, "x", testkit.Now()-60, "pending")
	other := startOther(t, 50, evt)
	var mu sync.Mutex
	authed := map[*otherConn]bool{}
	other.onFrame = func(c *otherConn, verb string, words []json.RawMessage) bool {
		mu.Lock()
		defer mu.Unlock()
		switch verb {
		case "REQ":
			if !authed[c] {
				var id string
				json.Unmarshal(words[1], &id)
				c.say("AUTH", "riddle")
				c.say("CLOSED", id, "auth-required: who are you?")
				return true
			}
		case "AUTH":
			var proof nostr.Event
			json.Unmarshal(words[1], &proof)
			ok, _ := proof.CheckSignature()
			authed[c] = ok && firstValue(proof.Tags, "challenge") == "riddle" && firstValue(proof.Tags, "relay") == other.url()
			c.say("OK", proof.ID, authed[c], "")
			return true
		}
		return false
	}
	r := startRelay(t, nil)
	us, _, _ := r.follow(Config{Key: nostr.GeneratePrivateKey()}, other.url())
	testkit.Eventually(t, "live", func() bool { return healthOf(t, us, other.url()).State == "live" })
	r.awaitIDs("behind the proof", []string{evt.ID})
}

func TestRateLimitIsWaitedOut(t *testing.T) {
	evt := testkit.Order(t, "x", testkit.Now()-60, "pending")
	other := startOther(t, 50, evt)
	refused := 0
	other.onFrame = func(c *otherConn, verb string, words []json.RawMessage) bool {
		var id string
		json.Unmarshal(words[1], &id)
		other.mu.Lock()
		defer other.mu.Unlock()
		if verb == "REQ" && refused < 2 {
			refused++
			c.say("CLOSED", id, "rate-limited: slow down")
			return true
		}
		return false
	}
	r := startRelay(t, nil)
	us, _, _ := r.follow(Config{}, other.url())
	testkit.Eventually(t, "the relay is live", func() bool { return healthOf(t, us, other.url()).State == "live" })
	r.awaitIDs("after the wait", []string{evt.ID})
	if other.dials != 1 {
		t.Errorf("%d connections for a request to wait", other.dials)
	}
}

func TestMetricsOfOtherRelaysPassTheLinter(t *testing.T) {
	other := startOther(t, 10, testkit.Order(t, "x", testkit.Now()-60, "pending"))
	r := startRelay(t, nil)
	reg := prometheus.NewPedanticRegistry()
	us, _, _ := r.follow(Config{Metrics: reg}, other.url(), "ws://127.0.0.1:1")
	testkit.Eventually(t, "one is live and one is down", func() bool {
		return healthOf(t, us, other.url()).State == "live" && healthOf(t, us, "ws://127.0.0.1:1").State == "down"
	})
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if n := relaytest.Gauge(t, reg, "mostrodex_relay_upstream_lag_seconds"); n != 0 {
		t.Errorf("a lag of %v is claimed", n)
	}
}

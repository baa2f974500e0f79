package relay

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

// testRelay is a relaytest.Rig with the server inside.
type testRelay struct {
	*relaytest.Rig
	srv *Server
	reg *prometheus.Registry
}

func startRelay(tb testing.TB, change func(*Config)) *testRelay {
	tb.Helper()
	return startRelayOn(tb, relaytest.TempStore(tb), change)
}

func startRelayOn(tb testing.TB, st *eventlog.Store, change func(*Config)) *testRelay {
	tb.Helper()
	reg := prometheus.NewPedanticRegistry()
	cfg := Config{Store: st, Metrics: reg}
	if change != nil {
		change(&cfg)
	}
	var srv *Server
	var err error
	routes := http.NewServeMux()
	routes.HandleFunc("POST /api/v1/import", func(w http.ResponseWriter, r *http.Request) { srv.ServeImport(w, r) })
	if cfg.Fallback != nil {
		routes.Handle("/", cfg.Fallback)
	}
	cfg.Fallback = routes
	if srv, err = New(cfg); err != nil {
		tb.Fatal(err)
	}
	return &testRelay{Rig: relaytest.Start(tb, st, srv), srv: srv, reg: reg}
}

func TestPublishQueryCountClose(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	at := testkit.Now()
	older, newer := testkit.Order(t, "a", at-10, "pending"), testkit.Order(t, "b", at, "pending")
	c.MustPublish(older)
	c.MustPublish(newer)
	if got := c.Req("s", testkit.Object{"kinds": []int{38383}}); !slices.Equal(got, []string{newer.ID, older.ID}) {
		t.Errorf("newest first: got %v", got)
	}
	if got := c.Req("d", testkit.Object{"#d": []string{"a"}}); !slices.Equal(got, []string{older.ID}) {
		t.Errorf("by d: %v", got)
	}
	if got := c.Req("unheld", testkit.Object{"kinds": []int{1}, "limit": 1}); len(got) != 0 {
		t.Errorf("kind 1: %v", got)
	}
	c.Send("COUNT", "n", testkit.Object{"kinds": []int{38383}}, testkit.Object{"#d": []string{"a"}})
	if got := c.Expect("COUNT", "n"); got[2] != `{"count":2}` {
		t.Errorf("count: %s", got[2])
	}
	for _, sub := range []string{"s", "d", "unheld"} {
		c.Send("CLOSE", sub)
	}
	c.MustPublish(testkit.Order(t, "c", at, "pending")) // only the OK comes back
	c.Quiet()
}

func TestOKNamesWhatBecameOfAnEvent(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	at := testkit.Now()
	live := testkit.Order(t, "a", at, "pending")
	c.MustPublish(live)
	if ok, reason := c.Publish(live); !ok || !strings.HasPrefix(reason, "duplicate:") {
		t.Errorf("again: %v %q", ok, reason)
	}
	watcher := r.Dial()
	watcher.Req("w", testkit.Object{"kinds": []int{38383}, "limit": 0})
	// khatru would answer OK to an older version and broadcast it.
	if ok, reason := c.Publish(testkit.Order(t, "a", at-5, "pending")); !ok || !strings.HasPrefix(reason, "duplicate: a newer") {
		t.Errorf("older version: %v %q", ok, reason)
	}
	newest := testkit.Order(t, "a", at+1, "success")
	c.MustPublish(newest)
	if got := watcher.Expect("EVENT", "w"); testkit.EventID(t, got[2]) != newest.ID {
		t.Errorf("the watcher got %s", got[2])
	}
	if got := c.Req("q", testkit.Object{"#d": []string{"a"}}); !slices.Equal(got, []string{newest.ID}) {
		t.Errorf("served: %v", got)
	}
}

func TestDeletionsStick(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	at := testkit.Now()
	byID := testkit.Signed(t, mostro.KindDevFee, at-20)
	byAddress := testkit.Order(t, "x", at-20, "pending")
	c.MustPublish(byID)
	c.MustPublish(byAddress)
	c.MustPublish(testkit.Signed(t, 5, at-10, nostr.Tag{"e", byID.ID}, nostr.Tag{"a", "38383:" + byID.PubKey + ":x"}))
	if got := c.Req("q", testkit.Object{"kinds": []int{38383, mostro.KindDevFee}}); len(got) != 0 {
		t.Errorf("still served: %v", got)
	}
	other := r.Dial()
	other.MustRefuse(byID, "blocked:")
	other.MustRefuse(byAddress, "blocked:")
	newer := testkit.Order(t, "x", at, "pending")
	other.MustPublish(newer)
	// The deletion request of another author deletes nothing.
	stranger := testkit.SignedBy(t, strings.Repeat("2", 64), 5, at, "", nostr.Tag{"e", newer.ID})
	other.MustPublish(stranger)
	if got := other.Req("q", testkit.Object{"kinds": []int{38383}}); !slices.Equal(got, []string{newer.ID}) {
		t.Errorf("after a stranger's request: %v", got)
	}
}

func TestExpiryToTheSecond(t *testing.T) {
	clock := testkit.NewClock()
	st := relaytest.OpenStore(t, t.TempDir(), clock.Now)
	r := startRelayOn(t, st, func(c *Config) { c.Now = clock.Now })
	c := r.Dial()
	at := clock.Now().Unix()
	tag := func(in int64) nostr.Tag { return nostr.Tag{"expiration", fmt.Sprint(at + in)} }
	c.MustRefuse(testkit.Signed(t, mostro.KindOrder, at-10, nostr.Tag{"d", "a"}, tag(0)), "invalid: expired")
	soon := testkit.Signed(t, mostro.KindOrder, at-10, nostr.Tag{"d", "b"}, tag(2))
	c.MustPublish(soon)
	clock.Advance(time.Second)
	if got := c.Req("q", testkit.Object{"kinds": []int{38383}}); !slices.Equal(got, []string{soon.ID}) {
		t.Errorf("a second before: %v", got)
	}
	clock.Advance(time.Second)
	if got := c.Req("q", testkit.Object{"kinds": []int{38383}}); len(got) != 0 {
		t.Errorf("at its second: %v", got)
	}
	c.Send("COUNT", "n", testkit.Object{"kinds": []int{38383}})
	if got := c.Expect("COUNT", "n"); got[2] != `{"count":0}` {
		t.Errorf("count: %s", got[2])
	}
}

func TestGoodbye(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	st, err := eventlog.Open(eventlog.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	r := startRelayOn(t, st, nil)
	c := r.Dial()
	c.Req("s", testkit.Object{"kinds": []int{38383}})
	at := testkit.Now()
	const n = 20
	for i := range n {
		c.Send("EVENT", testkit.Order(t, fmt.Sprint(i), at, "pending"))
	}
	for range n {
		c.Next()
	}
	closed := make(chan error, 1)
	go func() {
		for {
			if _, err := c.Read(); err != nil {
				closed <- err
				return
			}
		}
	}()
	r.Stop()
	if err := <-closed; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("closed with %v", err)
	}
	resp, err := http.Get(r.HTTP.URL)
	if err == nil {
		resp.Body.Close()
		t.Error("still listening")
	}
	if got := r.srv.dispatch.open(); got != 0 {
		t.Errorf("%d subscriptions left", got)
	}
	r.Shut()
	http.DefaultClient.CloseIdleConnections()
	goleak.VerifyNone(t, ignore)
}

func TestPublishInProcess(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.Policy.MinPow = 10 })
	c := r.Dial()
	c.Req("s", testkit.Object{"kinds": []int{38383, 20001}, "limit": 0})
	evt := testkit.Order(t, "a", testkit.Now(), "pending")
	for range 2 { // the second CLOSE of the same id is no error
		if err := r.srv.Publish(context.Background(), evt); err != nil {
			t.Fatal(err)
		}
	}
	c.Expect("EVENT", "s")
	eph := testkit.Signed(t, 20001, testkit.Now())
	if err := r.srv.Publish(context.Background(), eph); err != nil {
		t.Fatal(err)
	}
	c.Expect("EVENT", "s")
	c.Quiet()
	var origins []string
	if err := r.Store.Read(context.Background(), 0, func(e mostro.Entry) error {
		origins = append(origins, e.Source.String())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(origins, []string{"self"}) {
		t.Errorf("log: %v", origins)
	}
	bad := *evt
	bad.Content = "changed"
	if err := r.srv.Publish(context.Background(), &bad); err == nil {
		t.Error("a wrong id was published")
	}
}

func TestEphemeralEventsAreDeliveredAndNeverLogged(t *testing.T) {
	r := startRelay(t, nil)
	c := r.Dial()
	c.Req("s", testkit.Object{"kinds": []int{20001}})
	evt := testkit.Signed(t, 20001, testkit.Now())
	c.Send("EVENT", evt)
	var verbs []string
	for range 2 {
		verbs = append(verbs, c.Next()[0])
	}
	slices.Sort(verbs)
	if !slices.Equal(verbs, []string{"EVENT", "OK"}) {
		t.Errorf("got %v", verbs)
	}
	if got := c.Req("again", testkit.Object{"ids": []string{evt.ID}}); len(got) != 0 || r.Store.Head() != 0 {
		t.Errorf("served %v, head %d", got, r.Store.Head())
	}
	forged := *evt
	forged.Sig = strings.Repeat("0", 128)
	c.MustRefuse(&forged, "invalid: the signature")
	for _, kind := range []int{22242, 27235} {
		c.MustRefuse(testkit.Signed(t, kind, testkit.Now()), "invalid:")
	}
}

func TestFullEphemeralLaneRefuses(t *testing.T) {
	st := relaytest.OpenStore(t, t.TempDir(), testkit.NewClock().Now)
	srv, err := New(Config{Store: st}) // Run is not called, so the queue of ephemeral events is never emptied
	if err != nil {
		t.Fatal(err)
	}
	evt := testkit.Signed(t, 20001, testkit.Now())
	for range ephemeralLane {
		if err := srv.Publish(context.Background(), evt); err != nil {
			t.Fatal(err)
		}
	}
	if err := srv.Publish(context.Background(), evt); err == nil || !strings.Contains(err.Error(), "rate-limited:") {
		t.Errorf("got %v", err)
	}
}

// failingStore is the real store, and returns errors if the test sets them.
type failingStore struct {
	*eventlog.Store
	query, enqueue, wait, panics atomic.Bool
}

func (f *failingStore) Hits(ctx context.Context, dst []eventlog.Hit, flt nostr.Filter, limit int, upTo uint64) ([]eventlog.Hit, error) {
	if f.panics.Load() {
		panic("impossible")
	}
	if f.query.Load() {
		return dst, fmt.Errorf("disk on fire")
	}
	return f.Store.Hits(ctx, dst, flt, limit, upTo)
}

func (f *failingStore) Enqueue(ctx context.Context, a eventlog.Arrival) (eventlog.Pending, error) {
	if f.panics.Load() {
		panic("impossible")
	}
	if f.enqueue.Load() {
		return nil, fmt.Errorf("disk on fire")
	}
	p, err := f.Store.Enqueue(ctx, a)
	if err == nil && f.wait.Load() {
		return failingPending{p}, nil
	}
	return p, err
}

// failingPending persists the event and returns an error.
type failingPending struct{ eventlog.Pending }

func (f failingPending) Wait(ctx context.Context) (uint64, eventlog.Outcome, error) {
	f.Pending.Wait(ctx)
	return 0, 0, fmt.Errorf("disk on fire")
}

func TestStoreErrorsAreToldWithoutDetail(t *testing.T) {
	var fs *failingStore
	r := startRelay(t, func(c *Config) { fs = &failingStore{Store: c.Store.(*eventlog.Store)}; c.Store = fs })
	c := r.Dial()
	at := testkit.Now()
	c.MustPublish(testkit.Order(t, "a", at, "pending"))
	fs.query.Store(true)
	c.Send("REQ", "s", testkit.Object{"kinds": []int{38383}})
	c.Expect("CLOSED", "s", "error: the store could not be asked")
	if n := r.srv.dispatch.open(); n != 0 {
		t.Errorf("%d subscriptions open after CLOSED", n)
	}
	fs.query.Store(false)
	fs.enqueue.Store(true)
	c.MustRefuse(testkit.Order(t, "b", at, "pending"), reasonStore)
	fs.enqueue.Store(false)
	fs.wait.Store(true)
	lost := testkit.Order(t, "c", at, "pending")
	c.MustRefuse(lost, reasonStore)
	fs.wait.Store(false)
	if ok, reason := c.Publish(lost); !ok || !strings.HasPrefix(reason, "duplicate:") {
		t.Errorf("an event that had persisted: %v %q", ok, reason)
	}
}

func TestPanicsCostTheirCauseAlone(t *testing.T) {
	var fs *failingStore
	r := startRelay(t, func(c *Config) {
		fs = &failingStore{Store: c.Store.(*eventlog.Store)}
		c.Store = fs
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.Quota = func(netip.Addr, *nostr.Event) string { panic("quota") }
	})
	c, other := r.Dial(), r.Dial()
	at := testkit.Now()
	other.MustPublish(testkit.Order(t, "a", at, "pending"))
	fs.panics.Store(true)
	c.MustRefuse(testkit.Order(t, "b", at, "pending"), "error: internal error")
	if err := r.srv.Publish(context.Background(), testkit.Order(t, "b", at, "pending")); err == nil {
		t.Error("published")
	}
	c.Send("REQ", "s", testkit.Object{"kinds": []int{38383}})
	c.Expect("NOTICE", "error: internal error")
	if _, err := c.Read(); websocket.CloseStatus(err) != websocket.StatusInternalError {
		t.Errorf("closed with %v", err)
	}
	fs.panics.Store(false)
	far := dialRaw(t, r, "Upgrade: websocket\r\nConnection: Upgrade\r\nX-Forwarded-For: 9.9.9.9\r\n")
	body, _ := testkit.Order(t, "c", at, "pending").MarshalJSON()
	far.text(`["EVENT",` + string(body) + `]`)
	if _, got := far.next(); !strings.Contains(got, `false,"error: internal error"`) {
		t.Errorf("got %s", got)
	}
	other.MustPublish(testkit.Order(t, "b", at, "pending"))
	if n := relaytest.Gauge(t, r.reg, "mostrodex_relay_panics_total"); n != 4 {
		t.Errorf("%v panics counted", n)
	}
}

func appendTo(tb testing.TB, st *eventlog.Store, evt *nostr.Event, at time.Time) eventlog.Outcome {
	tb.Helper()
	_, out, err := st.Append(context.Background(), eventlog.Arrival{Event: evt, ReceivedAt: at, Source: mostro.Source{Origin: mostro.OriginClient}})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

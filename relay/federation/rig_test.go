package federation

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

// testRelay is a relay on a loopback port with a real store. Tests make it follow other
// relays.
type testRelay struct {
	tb    testing.TB
	srv   *relay.Server
	store *eventlog.Store
	http  *httptest.Server
	stop  func() // ends Run and waits for Run to return; may be called early
	shut  func() // checks and closes the store; may be called early
	reg   *prometheus.Registry
}

func startRelay(tb testing.TB, change func(*relay.Config)) *testRelay {
	tb.Helper()
	st, err := eventlog.Open(eventlog.Config{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	return startRelayOn(tb, st, change)
}

func startRelayOn(tb testing.TB, st *eventlog.Store, change func(*relay.Config)) *testRelay {
	tb.Helper()
	reg := prometheus.NewPedanticRegistry()
	cfg := relay.Config{Store: st, Registerer: reg}
	if change != nil {
		change(&cfg)
	}
	srv, err := relay.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- srv.Run(ctx) }()
	hs := httptest.NewServer(srv)
	r := &testRelay{tb: tb, srv: srv, store: st, http: hs, reg: reg}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			tb.Errorf("Run: %v", err)
		}
		hs.Close()
	})
	r.shut = sync.OnceFunc(func() {
		if err := st.Settle(context.Background()); err != nil {
			tb.Errorf("settle the store: %v", err)
		}
		report, err := st.Check(context.Background(), false, nil)
		if err != nil {
			tb.Errorf("check: %v", err)
		}
		for _, p := range report.Problems {
			tb.Errorf("check: %s", p)
		}
		st.Close()
	})
	tb.Cleanup(func() {
		r.stop()
		r.shut()
	})
	return r
}

func (r *testRelay) url() string { return "ws" + strings.TrimPrefix(r.http.URL, "http") }

func (r *testRelay) dial() *testkit.Client { return testkit.Dial(r.tb, r.url(), nil) }

// idsOf returns the ids of the events that a query finds, in order.
func idsOf(tb testing.TB, st *eventlog.Store, f nostr.Filter, limit int) (ids []string) {
	tb.Helper()
	found, err := st.Query(context.Background(), nil, f, limit, 0)
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range found {
		var evt nostr.Event
		if err := json.Unmarshal(f.JSON, &evt); err != nil {
			tb.Fatal(err)
		}
		ids = append(ids, evt.ID)
	}
	return ids
}

// gauge returns the sum of a metric over its labels.
func gauge(tb testing.TB, reg prometheus.Gatherer, name string) float64 {
	tb.Helper()
	families, err := reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			sum := 0.0
			for _, m := range f.GetMetric() {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
			return sum
		}
	}
	tb.Fatalf("there is no metric %s", name)
	return 0
}

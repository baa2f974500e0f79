// Package relaytest runs a relay with a real store for the tests of relay and of
// relay/federation. It does not import package relay, because the tests inside relay use
// it too.
package relaytest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

// Server is the part of relay.Server that a Rig runs.
type Server interface {
	http.Handler
	Run(ctx context.Context) error
}

// Rig is a whole relay on a loopback port with a real store. Its clients use
// coder/websocket, so that an independent library reads the frames of the relay.
type Rig struct {
	TB    testing.TB
	Store *eventlog.Store
	HTTP  *httptest.Server
	Stop  func() // ends Run and waits for Run to return; may be called early
	Shut  func() // checks and closes the store; may be called early
}

// Start runs srv, which uses the store st. The Rig ends with the test.
func Start(tb testing.TB, st *eventlog.Store, srv Server) *Rig {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- srv.Run(ctx) }()
	hs := httptest.NewServer(srv)
	r := &Rig{TB: tb, Store: st, HTTP: hs}
	r.Stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			tb.Errorf("Run: %v", err)
		}
		hs.Close()
	})
	r.Shut = sync.OnceFunc(func() {
		// An import that ended early may have left events in the queue.
		if err := st.Settle(context.Background()); err != nil {
			tb.Errorf("settle the store: %v", err)
		}
		CheckStore(tb, st)
		st.Close()
	})
	tb.Cleanup(func() {
		r.Stop()
		r.Shut()
	})
	return r
}

// URL returns the ws:// address of the relay.
func (r *Rig) URL() string { return "ws" + strings.TrimPrefix(r.HTTP.URL, "http") }

// Dial connects a client.
func (r *Rig) Dial() *testkit.Client {
	r.TB.Helper()
	return r.DialAs(nil)
}

// DialFrom connects as a client of another address, behind a trusted proxy.
func (r *Rig) DialFrom(ip string) *testkit.Client {
	r.TB.Helper()
	return r.DialAs(http.Header{"X-Forwarded-For": {ip}})
}

// DialAs connects with headers.
func (r *Rig) DialAs(headers http.Header) *testkit.Client {
	r.TB.Helper()
	return testkit.Dial(r.TB, r.URL(), headers)
}

// TempStore opens a store in a new directory.
func TempStore(tb testing.TB) *eventlog.Store {
	tb.Helper()
	st, err := eventlog.Open(eventlog.Config{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	return st
}

// OpenStore opens a store. The store is closed when the test ends.
func OpenStore(tb testing.TB, dir string, now func() time.Time) *eventlog.Store {
	tb.Helper()
	st, err := eventlog.Open(eventlog.Config{Dir: dir, Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { st.Close() })
	return st
}

// CheckStore fails the test if the store's own check finds a problem.
func CheckStore(tb testing.TB, st *eventlog.Store) {
	tb.Helper()
	report, err := st.Check(context.Background(), false, nil)
	if err != nil {
		tb.Errorf("check: %v", err)
	}
	for _, p := range report.Problems {
		tb.Errorf("check: %s", p)
	}
}

// IDs returns the ids of the events that a query finds, in order.
func IDs(tb testing.TB, st *eventlog.Store, f nostr.Filter, limit int) (ids []string) {
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

// Gauge returns the sum of a gauge or counter over its labels.
func Gauge(tb testing.TB, reg prometheus.Gatherer, name string) float64 {
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

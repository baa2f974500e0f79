package federation

import (
	"testing"

	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/prometheus/client_golang/prometheus"
)

// testRelay is a relaytest.Rig with its server. Tests make it follow other relays.
type testRelay struct {
	*relaytest.Rig
	srv *relay.Server
	reg *prometheus.Registry
}

func startRelay(tb testing.TB, change func(*relay.Config)) *testRelay {
	tb.Helper()
	return startRelayOn(tb, relaytest.TempStore(tb), change)
}

func startRelayOn(tb testing.TB, st *eventlog.Store, change func(*relay.Config)) *testRelay {
	tb.Helper()
	reg := prometheus.NewPedanticRegistry()
	cfg := relay.Config{Store: st, Metrics: reg}
	if change != nil {
		change(&cfg)
	}
	srv, err := relay.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return &testRelay{Rig: relaytest.Start(tb, st, srv), srv: srv, reg: reg}
}

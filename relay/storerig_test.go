package relay

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// openStore opens a store. The test checks and closes the store when it ends.
func openStore(tb testing.TB, dir string, clock *testkit.Clock) *eventlog.Store {
	tb.Helper()
	st, err := eventlog.Open(eventlog.Config{Dir: dir, Now: clock.Now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { st.Close() })
	return st
}

// checkStore fails the test if the store's own check finds a problem.
func checkStore(tb testing.TB, st *eventlog.Store) {
	tb.Helper()
	report, err := st.Check(context.Background(), false, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range report.Problems {
		tb.Errorf("check: %s", p)
	}
}

func appendTo(tb testing.TB, st *eventlog.Store, evt *nostr.Event, at time.Time) eventlog.Outcome {
	tb.Helper()
	_, out, err := st.Append(context.Background(), eventlog.Arrival{Event: evt, ReceivedAt: at, Source: mostro.Source{Road: mostro.RoadClient}})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

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

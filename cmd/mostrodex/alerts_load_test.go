//go:build unix

package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/alerts"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/nbd-wtf/go-nostr"
)

var alertLoad = flag.Int("alerts.load", 0, "alerts of TestAlertLoad, for example 10000")

// TestAlertLoad measures with many alerts beside none: how long an import of 20,000 orders
// takes until the index has them, and the processor time of 200 changes a second. In each run
// each alert fits a fifth of the orders by currency and none by premium.
func TestAlertLoad(t *testing.T) {
	if *alertLoad == 0 {
		t.Skip("SKIPPED: -alerts.load 10000 runs it")
	}
	fiats := []string{"VES", "USD", "ARS", "EUR", "CUP"}
	order := func(i int, at int64) *nostr.Event {
		return testkit.Signed(t, mostro.KindOrder, at, nostr.Tag{"d", fmt.Sprint(i)}, nostr.Tag{"k", "sell"}, nostr.Tag{"f", fiats[i%5]}, nostr.Tag{"s", "pending"}, nostr.Tag{"amt", "0"},
			nostr.Tag{"fa", "100"}, nostr.Tag{"pm", "Pago Movil"}, nostr.Tag{"premium", "1"}, nostr.Tag{"y", "mostro"}, nostr.Tag{"z", "order"})
	}
	var events []*nostr.Event
	for i := range 20_000 {
		events = append(events, order(i, testkit.Now()-10))
	}
	text := testkit.NDJSON(t, events...)
	for _, n := range []int{0, *alertLoad, 0, *alertLoad} {
		m := mustRunConfig(t, t.TempDir(), func(c *Config) { c.Alerts.Enabled = n > 0 })
		ready(t, m)
		for i := range n {
			if _, err := m.alerts.service.Save(fmt.Sprintf("%064x", i/10+1), "", alerts.Request{Filter: fmt.Sprintf("fiat:%s side:sell premium:<=-%d", fiats[i%5], i%9+1)}); err != nil {
				t.Fatal(err)
			}
		}
		began, cpu := time.Now(), processorTime(t)
		if _, err := m.relay.Import(context.Background(), strings.NewReader(text), relay.ImportOptions{}, nil); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the index", func() bool { return m.index.Position() >= 20_000 })
		wall, used := time.Since(began), processorTime(t)-cpu
		var changes []*nostr.Event
		for i := range 2000 {
			changes = append(changes, order(i, testkit.Now()+int64(i%5)))
		}
		began, cpu = time.Now(), processorTime(t)
		for i, evt := range changes {
			if err := m.relay.Publish(context.Background(), evt); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Until(began.Add(time.Duration(i+1) * 5 * time.Millisecond)))
		}
		t.Logf("%6d alerts: import %s, %s of processor; 200 changes a second for %s: %s of processor", n, wall.Round(time.Millisecond), used.Round(time.Millisecond), time.Since(began).Round(time.Second), (processorTime(t) - cpu).Round(time.Millisecond))
	}
}

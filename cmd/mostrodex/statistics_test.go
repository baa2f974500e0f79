package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/bestiario"
	"github.com/nbd-wtf/go-nostr"
)

// TestStatisticsDocuments: the program signs and publishes the documents of the statistics once, again
// only if a figure changed, and anew after a crash before the state was written.
func TestStatisticsDocuments(t *testing.T) {
	m := mustRunConfig(t, t.TempDir(), func(c *Config) { c.Indexer.Publish = "1h" })
	key := strings.Repeat("02", 32)
	order := func(d, state string) {
		now := nostr.Now()
		evt := nostr.Event{Kind: 38383, CreatedAt: now - 10, Tags: nostr.Tags{{"d", d}, {"k", "sell"}, {"f", "EUR"}, {"s", state}, {"amt", "0"}, {"fa", "100"}, {"pm", "SEPA"},
			{"premium", "1"}, {"network", "mainnet"}, {"layer", "lightning"}, {"expiration", "9999999999"}, {"y", "mostro"}, {"z", "order"}}}
		if err := evt.Sign(key); err != nil {
			t.Fatal(err)
		}
		if err := m.relay.Publish(t.Context(), &evt); err != nil {
			t.Fatal(err)
		}
	}
	published := func() (index *nostr.Event, n int) {
		t.Helper()
		_, _, body := getBody(t, "http://"+m.Addr()+"/api/v1/export/events?kinds=30666&live=true")
		for line := range strings.Lines(body) {
			var evt nostr.Event
			if err := json.Unmarshal([]byte(line), &evt); err != nil {
				t.Fatal(err)
			}
			if ok, err := evt.CheckSignature(); err != nil || !ok || evt.Kind != bestiario.Kind {
				t.Fatalf("%v %v in %s", ok, err, line)
			}
			if n++; evt.Tags.GetD() == "index" {
				index = &evt
			}
		}
		return index, n
	}
	order("00000000-0000-4000-8000-000000000001", "pending")
	until := time.Now().Add(time.Minute)
	want := len(bestiario.Windows)*len(bestiario.Reports) + 1
	for {
		if index, n := published(); index != nil && n == want {
			break
		}
		if time.Now().After(until) {
			t.Fatal("no documents were published within a minute")
		}
		if err := m.documents.publish(t.Context()); err != nil { // the first round may have come before the order
			t.Log(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	first, _ := published()
	if err := m.documents.publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, n := published(); n != want || again.ID != first.ID {
		t.Errorf("without a change %d documents are published, the index %s", n, again.ID)
	}
	state := filepath.Join(m.Config.Data, "published-statistics")
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	anew := *m.documents
	anew.now = func() time.Time { return time.Now().Add(time.Minute) } // created_at has seconds
	if err := anew.publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, n := published(); n != want || again.ID == first.ID || again.CreatedAt <= first.CreatedAt {
		t.Errorf("after the loss of the state %d documents are published, the index %+v", n, again)
	}
}

package bestiario

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

const until = 1_780_000_000

// collector returns the statistics of a few orders.
func collector(t testing.TB) *stats.Collector {
	t.Helper()
	c, seq := stats.New(), uint64(0)
	author := strings.Repeat("ab", 32)
	order := func(d, fiat, state string, at int64, amount string) {
		seq++
		c.Apply(&mostro.Entry{Seq: seq, ReceivedAt: time.Unix(at, 0), Source: mostro.Source{Origin: mostro.OriginLive}, Event: &nostr.Event{
			ID: hashOf([]byte(d + state)), PubKey: author, Kind: mostro.KindOrder, CreatedAt: nostr.Timestamp(at), Tags: nostr.Tags{{"d", d}, {"k", "sell"}, {"f", fiat}, {"s", state},
				{"amt", "200000"}, {"fa", amount}, {"pm", "SEPA"}, {"premium", "2"}, {"network", "mainnet"}, {"y", "mostro"}, {"z", "order"}}}})
	}
	for i, d := range []string{"a", "b", "c"} {
		order(d, "EUR", "pending", until-9000+int64(i), "100.5")
		order(d, "EUR", "in-progress", until-8000+int64(i), "100.5")
		order(d, "EUR", "success", until-7000+int64(i), "100.5")
	}
	order("v", "VES", "pending", until-600_000, "7000")
	order("v", "VES", "success", until-500_000, "7000")
	order("x<>&\u2028", "USD", "pending", until-100, "1")
	return c
}

func snapshot(t testing.TB, c *stats.Collector, at int64) *Snapshot {
	t.Helper()
	s := &Snapshot{At: at, Publisher: "mostrodex", Version: "test", FirstEvent: until - 600_000, LastEvent: until}
	for _, w := range Windows {
		from := w.From(until, s.FirstEvent)
		doc, err := c.Document(stats.Query{From: from, Until: until})
		if err != nil {
			t.Fatal(err)
		}
		for i := range Reports {
			one, err := Reports[i].Document(w, from, until, doc.Metrics)
			if err != nil {
				t.Fatal(err)
			}
			s.Documents = append(s.Documents, one)
		}
	}
	return s
}

// TestHashIsOfTheBytes: the hash that the index names is that of the payload exactly as it is in
// the content, and each document has one revision more than the one before.
func TestHashIsOfTheBytes(t *testing.T) {
	s := snapshot(t, collector(t), until+60)
	events, after, err := s.Events(State{})
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != len(Windows)*len(Reports)+1 || events[len(events)-1].Tags.GetD() != "index" {
		t.Fatalf("%d events, the last is %s", len(events), events[len(events)-1].Tags.GetD())
	}
	var index struct {
		Publisher struct{ Name string }
		Documents []struct {
			D, Hash  string
			Revision int
		}
	}
	if err := json.Unmarshal([]byte(events[len(events)-1].Content), &index); err != nil {
		t.Fatal(err)
	}
	hashes := map[string]string{}
	for _, d := range index.Documents {
		hashes[d.D] = d.Hash
	}
	for _, evt := range events[:len(events)-1] {
		var envelope struct {
			Revision int
			Payload  json.RawMessage
		}
		if err := json.Unmarshal([]byte(evt.Content), &envelope); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(envelope.Payload)
		if d := evt.Tags.GetD(); hashes[d] != hex.EncodeToString(sum[:]) || envelope.Revision != 1 {
			t.Errorf("%s: the index names %s, revision %d", d, hashes[d], envelope.Revision)
		}
	}
	again := snapshot(t, collector(t), until+120)
	if events, _, err := again.Events(after); err != nil || len(events) > 0 {
		t.Errorf("the same figures lead to %d events, %v", len(events), err)
	}
	again.Documents[3].Payload, again.Documents[3].Hash = []byte("{}"), hashOf([]byte("{}"))
	events, third, err := again.Events(after)
	if err != nil || len(events) != 2 || third.Documents[again.Documents[3].D].Revision != 2 || third.Index != 2 {
		t.Errorf("one other figure leads to %d events, %v, %+v", len(events), err, third.Documents[again.Documents[3].D])
	}
}

// TestPayload compares one payload byte by byte.
func TestPayload(t *testing.T) {
	c := collector(t)
	w := Windows[0]
	doc, err := c.Document(stats.Query{From: w.From(until, 0), Until: until})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Reports[0].Document(w, w.From(until, 0), until, doc.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"range":{"from":"2026-05-27T20:26:40+00:00","until":"2026-05-28T20:26:40+00:00"},"metrics":[` +
		`{"name":"orders.created","kind":"observed","unit":"count","value":4},{"name":"orders.completed","kind":"observed","unit":"count","value":3},` +
		`{"name":"orders.canceled","kind":"observed","unit":"count","value":0},{"name":"orders.completion_rate","kind":"observed","unit":"ratio","value":1.0},` +
		`{"name":"orders.abandonment_rate","kind":"observed","unit":"ratio","value":0.0},{"name":"orders.created_delta","kind":"observed","unit":"missing","value":null},` +
		`{"name":"orders.completed_delta","kind":"observed","unit":"missing","value":null},{"name":"orders.open_now","kind":"observed","unit":"count","value":1},` +
		`{"name":"orders.in_progress_now","kind":"observed","unit":"count","value":0}]}`
	if string(got.Payload) != want || got.D != "orders:24h" {
		t.Errorf("%s is\n%s\nwant\n%s", got.D, got.Payload, want)
	}
}

func TestFloat(t *testing.T) {
	for x, want := range map[float64]string{0: "0.0", math.Copysign(0, -1): "-0.0", 1: "1.0", 0.1: "0.1", 318400: "318400.0", 1735.7142857142858: "1735.7142857142858",
		1e21: "1e+21", 1e-7: "1e-7", 1.5e-10: "1.5e-10", 123456789012345680000: "123456789012345680000.0", 0.000001: "0.000001"} {
		if got := float(x); got != want {
			t.Errorf("%v is %s, want %s", x, got, want)
		}
	}
}

// TestManyCurrencies: a document never exceeds its bound.
func TestManyCurrencies(t *testing.T) {
	var figures []stats.Figure
	for _, f := range Reports[1].fields {
		figures = append(figures, stats.Figure{Name: f.metric, Unit: stats.UnitCount})
	}
	for i := range 26 * 26 * 2 {
		code := string([]byte{byte('A' + i%26), byte('A' + i/26%26), byte('A' + i/676)})
		for _, f := range Reports[1].perFiat {
			figures = append(figures, stats.Figure{Name: strings.ReplaceAll(f.metric, "{code}", code), Unit: stats.UnitCount})
		}
	}
	d, err := Reports[1].Document(Windows[4], 0, until, figures)
	if err != nil || len(d.Payload) > MaxContent-1024 {
		t.Errorf("%d bytes, %v", len(d.Payload), err)
	}
	s := &Snapshot{At: until, Documents: []Document{d}}
	if _, _, err := s.Events(State{}); err != nil {
		t.Error(err)
	}
}

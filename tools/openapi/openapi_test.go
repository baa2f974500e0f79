package openapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/indexer/partitions"
	"github.com/mostrodex/mostrodex/indexer/web"
	"github.com/mostrodex/mostrodex/indexer/web/downloads"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
)

// memLog is a log in memory.
type memLog struct {
	mu      sync.Mutex
	entries []mostro.Entry
}

func (l *memLog) add(evt nostr.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	evt.ID = evt.GetID()
	evt.Sig = strings.Repeat("0", 128)
	l.entries = append(l.entries, mostro.Entry{Seq: uint64(len(l.entries) + 1), Event: &evt, ReceivedAt: evt.CreatedAt.Time().UTC(), Source: mostro.Source{Origin: mostro.OriginLive, Relay: "wss://relay.example"}})
}

func (l *memLog) Head() uint64 { return uint64(len(l.entries)) }

func (l *memLog) Read(_ context.Context, after uint64, fn func(mostro.Entry) error) error {
	for _, e := range l.entries[min(after, l.Head()):] {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (l *memLog) ReadEvidence(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	return l.Read(ctx, after, fn)
}

func (l *memLog) EntryAt(_ context.Context, seq uint64) (mostro.Entry, error) {
	if seq == 0 || seq > l.Head() {
		return mostro.Entry{}, mostro.ErrNotFound
	}
	return l.entries[seq-1], nil
}

func (l *memLog) Wait(ctx context.Context, _ uint64) error { <-ctx.Done(); return ctx.Err() }

func (l *memLog) Event(_ context.Context, id string) (*nostr.Event, error) {
	for _, e := range l.entries {
		if e.Event.ID == id {
			return e.Event, nil
		}
	}
	return nil, mostro.ErrNotFound
}

const t0 = 1_790_000_000

var (
	node   = strings.Repeat("0a", 32)
	bare   = strings.Repeat("0b", 32)
	silent = strings.Repeat("0c", 32)
)

func order(d, side, status, amt, premium string, at int64, fa ...string) nostr.Event {
	return nostr.Event{PubKey: node, Kind: mostro.KindOrder, CreatedAt: nostr.Timestamp(at), Tags: nostr.Tags{
		{"d", d}, {"k", side}, {"f", "USD"}, {"s", status}, {"amt", amt}, append(nostr.Tag{"fa"}, fa...), {"pm", "cash", "PIX"}, {"premium", premium},
		{"rating", `["rating",{"days":41,"total_rating":4.5,"total_reviews":7}]`}, {"network", "mainnet"}, {"layer", "lightning"},
		{"expires_at", fmt.Sprint(t0 + 5000)}, {"y", "mostro", "Node"}, {"z", "order"}}}
}

// site returns the handler of a site with a few orders and its document.
func site(t *testing.T) http.Handler {
	t.Helper()
	l := &memLog{}
	l.add(nostr.Event{PubKey: node, Kind: mostro.KindInfo, CreatedAt: t0 - 90000, Tags: nostr.Tags{{"d", node}, {"mostro_version", "0.20.0"}, {"max_order_amount", "1000000"},
		{"min_order_amount", "100"}, {"fiat_currencies_accepted", "USD"}, {"fee", "0.006"}, {"pow", "0"}, {"protocol_version", "2"}, {"y", "mostro", "Node"}, {"z", "info"}}})
	for i, status := range []string{"pending", "in-progress", "success"} {
		l.add(order("done", "sell", status, "1000", "0", t0-80000+int64(i)*600, "100"))
	}
	l.add(order("sell", "sell", "pending", "0", "1", t0-5000, "100"))
	l.add(order("buy", "buy", "pending", "0", "3", t0-4000, "10", "200"))
	// an instance and an order that state as little as possible
	l.add(nostr.Event{PubKey: bare, Kind: mostro.KindInfo, CreatedAt: t0 - 3500, Tags: nostr.Tags{{"d", bare}, {"y", "mostro"}, {"z", "info"}}})
	l.add(nostr.Event{PubKey: silent, Kind: mostro.KindOrder, CreatedAt: t0 - 3000, Tags: nostr.Tags{{"d", "bare"}, {"k", "sell"}, {"f", "EUR"}, {"s", "pending"}, {"amt", "0"}, {"fa", "10"}, {"z", "order"}}})
	l.add(nostr.Event{PubKey: node, Kind: mostro.KindAppData, CreatedAt: t0 - 100, Tags: nostr.Tags{{"d", "mostro-rates"}}, Content: `{"BTC":{"USD":100000}}`})
	x, err := indexer.Open(indexer.Config{Dir: t.TempDir(), Log: l, Events: l, Now: func() time.Time { return time.Unix(t0, 0).UTC() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := x.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := web.New(web.Config{Index: x})
	files, err := partitions.Open(partitions.Config{Dir: t.TempDir(), Source: x.Archive(), Now: x.Now})
	if err != nil {
		t.Fatal(err)
	}
	table := route.Table(s.Routes())
	table = append(table, downloads.New(downloads.Config{Source: x.Archive(), Store: files, API: s.API, Compress: func(h http.Handler) http.Handler { return h }, Bundles: new(downloads.Bundles)}).Routes()...)
	row, err := s.OpenAPI(table)
	if err != nil {
		t.Fatal(err)
	}
	table = append(table, row)
	return s.Mux().Public(append(table, s.NotFound(table)...))
}

func get(h http.Handler, target string) (*http.Request, *httptest.ResponseRecorder) {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return r, w
}

// closed forbids fields that a schema does not name, so that a field without a description fails
// the test. The published document allows such fields, because later versions may add some.
func closed(t *testing.T, raw []byte) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	for _, s := range doc["components"].(map[string]any)["schemas"].(map[string]any) {
		if one := s.(map[string]any); one["properties"] != nil {
			one["additionalProperties"] = false
		}
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLiveAnswers(t *testing.T) {
	h := site(t)
	_, w := get(h, "/api/v1/openapi.json")
	doc, err := libopenapi.NewDocument(closed(t, w.Body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, errs := v.ValidateDocument(); !ok {
		for _, e := range errs {
			t.Errorf("the document: %s: %s", e.Message, e.Reason)
		}
	}
	var paths struct{ Paths map[string]any }
	if err := json.Unmarshal(w.Body.Bytes(), &paths); err != nil {
		t.Fatal(err)
	}
	_, list := get(h, "/api/v1/orders?limit=1")
	var first struct {
		Items []struct {
			EventID string `json:"event_id"`
		}
	}
	if err := json.Unmarshal(list.Body.Bytes(), &first); err != nil || len(first.Items) != 1 {
		t.Fatalf("%v in %s", err, list.Body)
	}
	asked := map[string]bool{"/api/v1/stream": true, "/api/v1/orders.atom": true, "/api/v1/openapi.json": true} // no JSON, or the document itself
	// no JSON, or JSON of another standard; make interop-data reads these
	for _, name := range []string{"datapackage.json", "croissant.json", "SHA256SUMS"} {
		asked["/api/v1/export/"+name] = true
	}
	for path, targets := range map[string][]string{
		"/api/v1/orders":                   {"?fiat_amount=100&sort=cost", "?open=any", "?at=1789999000", "?limit=0"},
		"/api/v1/orders/{pubkey}/{d}":      {"/" + node + "/done", "/" + node + "/none", "/" + silent + "/bare"},
		"/api/v1/instances":                {"", "?at=1789999000", "?sort=x"},
		"/api/v1/instances/{pubkey}":       {"/" + node, "/" + bare, "/" + silent, "/xyz"},
		"/api/v1/instances/{pubkey}/stats": {"/" + node + "/stats"},
		"/api/v1/events/{id}":              {"/" + first.Items[0].EventID, "/12"},
		"/api/v1/stats":                    {"", "?in=USD&clock=witnessed", "?metric=volume.fiat.USD.total&fiat=USD", "?from=NaN"},
		"/api/v1/stats/metrics":            {""},
		"/api/v1/stats/series":             {"?metric=orders.created&by=day", "?metric=volume.fiat.USD.total"},
		"/api/v1/stats/groups":             {"?metric=orders.created&split=instance"},
		"/api/v1/stats/events":             {"?metric=orders.created&limit=1"},
		"/api/v1/stats/survival":           {""},
		"/api/v1/market":                   {"", "?at=1789000000"},
		"/api/v1/market/{fiat}":            {"/USD", "/EUR", "/USD?step=0"},
		"/api/v1/market/{fiat}/series":     {"/USD/series", "/USD/series?metric=orders.created&by=week"},
		"/api/v1/markets/offers":           {"?market=btc_usd"},
		"/api/v1/markets/depth":            {"?market=btc_usd"},
		"/api/v1/markets/ticker":           {"", "?market=btc_eur"},
		"/api/v1/markets/trades":           {""},
		"/api/v1/markets/hloc":             {"?market=btc_usd"},
		"/api/v1/markets/volumes":          {""},
		"/api/v1/export":                   {"", "?x=1"},
		"/api/v1/export/orders":            {"?format=xml"}, // rows are no JSON document
		"/api/v1/export/history":           {"?from=NaN"},
		"/api/v1/export/trades":            {"?x=1"},
		"/api/v1/export/stats":             {"?by=year"},
		"/api/v1/export/instances":         {"?month=13"},

		"/api/v1/export/{set}/{year}/{month}/{file}": {"/orders/year=2026/month=01/orders.parquet"},
		"/api/v1/instances/{pubkey}/bundle":          {"/xyz/bundle"},
	} {
		asked[path] = true
		base, _, _ := strings.Cut(path, "/{")
		for _, target := range targets {
			r, w := get(h, base+target)
			resp := w.Result()
			if ok, errs := v.ValidateHttpResponse(r, resp); !ok {
				for _, e := range errs {
					t.Errorf("GET %s (%d): %s: %s", base+target, w.Code, e.Message, e.Reason)
					for _, s := range e.SchemaValidationErrors {
						t.Errorf("    %s: %s", s.FieldPath, s.Reason)
					}
				}
			}
		}
	}
	for path := range paths.Paths {
		if !asked[path] {
			t.Errorf("%s was not asked", path)
		}
	}
}

// TestValidatorSeesFaults checks that the comparison can fail.
func TestValidatorSeesFaults(t *testing.T) {
	h := site(t)
	_, w := get(h, "/api/v1/openapi.json")
	doc, err := libopenapi.NewDocument(closed(t, w.Body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for name, body := range map[string]string{"a field of another type": `{"items":5}`, "a field that is not described": `{"items":[],"more":1}`, "a missing field": `{}`} {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/stats/metrics", nil)
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "application/json")
		w.WriteString(body)
		if ok, _ := v.ValidateHttpResponse(r, w.Result()); ok {
			t.Errorf("%s is not noticed", name)
		}
	}
}

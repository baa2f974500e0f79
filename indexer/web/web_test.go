package web

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/internal/webpage"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Answers about orders are tested in package indexer with the same site
// (indexer/site_test.go). The tests here need no orders.

// emptyLog is a log without entries.
type emptyLog struct{}

func (emptyLog) Head() uint64                                                 { return 0 }
func (emptyLog) Read(context.Context, uint64, func(mostro.Entry) error) error { return nil }
func (emptyLog) ReadEvidence(context.Context, uint64, func(mostro.Entry) error) error {
	return nil
}
func (emptyLog) EntryAt(context.Context, uint64) (mostro.Entry, error) {
	return mostro.Entry{}, mostro.ErrNotFound
}
func (emptyLog) Wait(ctx context.Context, _ uint64) error            { <-ctx.Done(); return ctx.Err() }
func (emptyLog) Event(context.Context, string) (*nostr.Event, error) { return nil, mostro.ErrNotFound }

func testSite(t *testing.T, cfg Config) http.Handler {
	t.Helper()
	x, err := indexer.Open(indexer.Config{Dir: t.TempDir(), Log: emptyLog{}, Events: emptyLog{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg.Index = x
	site := New(cfg)
	table := route.Table(append(site.Routes(), site.Health()...))
	return site.Mux().Public(append(table, site.NotFound(table)...))
}

func ask(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func TestErrorsAreProblemDocuments(t *testing.T) {
	h := testSite(t, Config{})
	for _, c := range []struct {
		method, target string
		status         int
		param          string
	}{
		{"GET", "/api/v1/nothing", 404, ""},
		{"GET", "/api/v1/orders?limit=0", 400, "limit"},
		{"GET", "/api/v1/instances?sort=x", 400, "sort"},
		{"GET", "/api/v1/instances/x", 400, "pubkey"},
		{"GET", "/api/v1/events/" + strings.Repeat("0", 64), 404, ""},
		{"POST", "/api/v1/orders", 405, ""},
		{"POST", "/instances", 405, ""},
	} {
		w := ask(h, c.method, c.target)
		var p problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatalf("%s %s: %v in %s", c.method, c.target, err, w.Body)
		}
		if w.Code != c.status || p.Status != c.status || p.Type != "about:blank" || p.Param != c.param || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d with %+v", c.method, c.target, w.Code, p)
		}
	}
}

func TestReadyNamesEveryReason(t *testing.T) {
	scores := "the scores have not caught up with the log yet"
	h := testSite(t, Config{Unready: func() string { return scores }, Notes: func() []string { return []string{"escrow: no new orders: paused"} }})
	w := ask(h, "GET", "/readyz")
	if want := "the index has not caught up with the log yet\nescrow: no new orders: paused\n"; w.Code != http.StatusServiceUnavailable || w.Body.String() != want {
		t.Errorf("before the index is ready: %d %q", w.Code, w.Body)
	}
	if w := ask(h, "GET", "/healthz"); w.Code != http.StatusOK || w.Body.String() != "ok\n" {
		t.Errorf("/healthz: %d %q", w.Code, w.Body)
	}
}

func TestPagesAllowNoScript(t *testing.T) {
	h := testSite(t, Config{})
	for _, target := range []string{"/", "/instances", "/nothing", "/orders/x/y"} {
		policy := ask(h, "GET", target).Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "script-src") {
			t.Errorf("%s: policy is %q", target, policy)
		}
	}
}

// TestPagesHaveALanguage checks the language of pages, the links to the other languages, and the
// redirect of a first visit.
func TestPagesHaveALanguage(t *testing.T) {
	h := testSite(t, Config{})
	for target, want := range map[string][]string{
		"/":             {`<html lang="en">`, `hreflang="es" href="/es/"`, `hreflang="x-default" href="/"`, `href="/instances"`},
		"/es/":          {`<html lang="es">`, `hreflang="pt" href="/pt/"`, `href="/es/instances"`, "Ir al contenido", `<a href="/es/" hreflang="es" lang="es" aria-current="true">Español</a>`},
		"/pt/instances": {`<html lang="pt">`, `hreflang="en" href="/en/instances"`, "Ir para o conteúdo"},
		"/en/nothing":   {`<html lang="en">`, `href="/en/instances"`},
		"/es/?q=a%26b":  {`hreflang="en" href="/en/?q=a%26b"`},
	} {
		w := ask(h, "GET", target)
		for _, part := range want {
			if !strings.Contains(w.Body.String(), part) {
				t.Errorf("%s does not contain %s\n%s", target, part, w.Body)
			}
		}
		if code := w.Header().Get("Content-Language"); !strings.Contains(w.Body.String(), `<html lang="`+code+`"`) {
			t.Errorf("%s: Content-Language is %q", target, code)
		}
	}
	visit := func(target, accept string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", target, nil)
		r.Header.Set("Accept-Language", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := visit("/?fiat=VES", "es-VE,es;q=0.9"); w.Code != http.StatusFound || w.Header().Get("Location") != "/es/?fiat=VES" || w.Header().Get("Vary") != "Accept-Language" {
		t.Errorf("a first visit in Spanish: %d %v", w.Code, w.Header())
	}
	for _, target := range []string{"/en/", "/pt/", "/api/v1/orders", "/es/"} {
		if w := visit(target, "es"); w.Code != http.StatusOK {
			t.Errorf("%s with Accept-Language es: %d", target, w.Code)
		}
	}
	if w := visit("/", strings.Repeat("es;", 30_000)); w.Code != http.StatusOK {
		t.Errorf("a broken header: %d", w.Code)
	}
	if w := ask(h, "GET", "/es/api/v1/orders"); w.Code != http.StatusNotFound {
		t.Errorf("the API below a language: %d", w.Code)
	}
}

func TestNumbersAsPeopleReadThem(t *testing.T) {
	for in, want := range map[string]string{"5": "5", "1234": "1\u202f234", "-1234567.5": "-1\u202f234\u202f567.5"} {
		if got := webpage.Grouped(in); got != want {
			t.Errorf("grouped(%s) is %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"0.006": "0.6 %", "0": "0 %", "1.25": "125 %", "x": "x"} {
		if got := percent(in); got != want {
			t.Errorf("percent(%s) is %q, want %q", in, got, want)
		}
	}
}

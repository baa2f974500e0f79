package indexer

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// captured returns real events that were captured from public relays.
func captured(t testing.TB) []*nostr.Event {
	t.Helper()
	shared := os.Getenv("MOSTRODEX_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "shared")
	}
	f, err := os.Open(filepath.Join(shared, "fixtures", "real-events.ndjson"))
	if err != nil {
		t.Skipf("captured events are not here (set MOSTRODEX_SHARED): %v", err)
	}
	defer f.Close()
	var out []*nostr.Event
	for s := bufio.NewScanner(f); s.Scan(); {
		evt := &nostr.Event{}
		if err := json.Unmarshal(s.Bytes(), evt); err != nil {
			t.Fatal(err)
		}
		out = append(out, evt)
	}
	return out
}

// fetch sends a GET request to the handler.
func fetch(t testing.TB, h http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func decode(t testing.TB, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	return out
}

// real returns an index of the captured events, with a clock at the time of most of them.
func real(t testing.TB) *opened {
	t.Helper()
	events := captured(t)
	l, clk := newMemLog(), newClock()
	clk.set(1_787_741_000)
	for _, evt := range events {
		l.add(evt, evt.CreatedAt.Time(), mostro.OriginLive, false)
	}
	o := openTest(t, l, clk, "")
	o.catchUp(t)
	return o
}

func TestCapturedEventsOverHTTP(t *testing.T) {
	o := real(t)
	h := o.Handler()
	const bra = "00037abd44e7a846689e230d5446abcd0d56a344fa81fff85c09d1929feda486"
	for _, c := range []struct {
		name, query string
		total       int
	}{
		{"all open", "", 7},
		{"by currency", "fiat=EUR", 2},
		{"currency in lower case", "fiat=eur,brl", 3},
		{"side", "side=buy", 2},
		{"accents folded in the question", "q=efectivo+movil", 1},
		{"accents in both", "q=" + url.QueryEscape("Códigos teléfono"), 1},
		{"a beginning", "q=santan", 1},
		{"country", "q=argentina", 1},
		{"language", "q=" + url.QueryEscape("portugués"), 3}, // BRL, and EUR for Portugal
		{"instance name", "q=nostromostro", 1},
		{"emoji parts words", "q=" + url.QueryEscape("🇪🇸"), 0},
		{"method", "method=mercado+pago", 1},
		{"method and currency", "method=cvu&fiat=ARS", 1},
		{"instance", "instance=" + bra, 1},
		{"platform", "platform=hodlhodl", 1},
		{"fiat amount inside a range", "fiat_amount=150", 4},
		{"fiat amounts meet", "fiat_amount=4-6", 1},
		{"premium", "min_premium=3", 3},
		{"past", "open=false", 5},
		{"all", "open=any", 12},
		{"past by status", "open=any&status=success", 1},
		{"regtest", "open=any&network=regtest", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := fetch(t, h, "/api/v1/orders?"+c.query)
			if w.Code != http.StatusOK {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			list := decode(t, w)
			if got := int(list["total"].(float64)); got != c.total || len(list["items"].([]any)) != c.total {
				t.Errorf("total %d with %d items, want %d: %s", got, len(list["items"].([]any)), c.total, w.Body)
			}
		})
	}
	t.Run("shape of an order", func(t *testing.T) {
		w := fetch(t, h, "/api/v1/orders/"+bra+"/e442b92a-127f-4535-8254-4d8ba57efe71")
		order := decode(t, w)
		for key, want := range map[string]any{"kind": "38383", "side": "buy", "status": "pending", "fiat": "BRL", "amount_sats": nil, "premium_pct": "0",
			"platform": "mostro", "network": "mainnet", "expires_at": float64(1787824523), "expires_at_rfc3339": "2026-08-27T09:55:23Z", "updated_at": float64(1787738626),
			"event_id": "283cf66fede69d8b8eeb4861b77342c210b8df359a9fb87bfc9c7251781b5821"} {
			if order[key] != want {
				t.Errorf("%s is %v, want %v", key, order[key], want)
			}
		}
		if got := order["fiat_amount"].(map[string]any); got["min"] != "10" || got["max"] != "1500" {
			t.Errorf("fiat_amount is %v", got)
		}
		history := order["history"].([]any)
		if len(history) != 1 || history[0].(map[string]any)["received_by"] != "live" {
			t.Errorf("history is %v", history)
		}
	})
	t.Run("d with slashes", func(t *testing.T) {
		const rob = "e489cdb0b24fa416a49b524625e0edab0f7235f3a0261a3cdfc64c4efdc14afd"
		d := "robosats:http://2enoseg66hme76khjjn2qvrhipnzwgwa44mewgrdphrxbhzcxd2vdiqd.onion:204"
		for _, path := range []string{"/api/v1/orders/", "/orders/"} {
			if w := fetch(t, h, path+rob+"/"+url.PathEscape(d)); w.Code != http.StatusOK {
				t.Errorf("%s: status %d: %s", path, w.Code, w.Body)
			}
		}
	})
	t.Run("instances", func(t *testing.T) {
		list := decode(t, fetch(t, h, "/api/v1/instances?sort=age"))
		if list["total"].(float64) != 5 {
			t.Errorf("%v instances, want 5: the one of another application is none", list["total"])
		}
		one := decode(t, fetch(t, h, "/api/v1/instances/0000cc02101ec29eea9ce623258752b9d7da66c27845ed26846dd0b0fc736b40"))
		if one["fee"] != "0.006" || one["name"] != "NostroMostro 🇪🇸" || one["orders"].(map[string]any)["pending"] != 1.0 {
			t.Errorf("instance is %v", one)
		}
	})
	t.Run("raw event", func(t *testing.T) {
		w := fetch(t, h, "/api/v1/events/283cf66fede69d8b8eeb4861b77342c210b8df359a9fb87bfc9c7251781b5821")
		var evt nostr.Event
		if err := json.Unmarshal(w.Body.Bytes(), &evt); err != nil {
			t.Fatal(err)
		}
		if ok, err := evt.CheckSignature(); !ok || err != nil || !evt.CheckID() {
			t.Errorf("the event's signature is not valid: %v", err)
		}
	})
}

func TestHTTPContract(t *testing.T) {
	l, clk := newMemLog(), newClock()
	o := openTest(t, l, clk, "")
	for i := range 60 {
		l.add(draft{d: fmt.Sprint(i), at: t0 + int64(i), expiry: t0 + 1000, methods: []string{"Zelle"}}.event(), clk.now(), mostro.OriginClient, false)
	}
	mail := signless(nostr.Event{PubKey: pubkeyOf(1), Kind: mostro.KindGiftWrap, CreatedAt: t0, Content: "secret"})
	l.add(mail, clk.now(), mostro.OriginClient, false)
	h := o.Handler()
	if w := fetch(t, h, "/readyz"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("ready before the log was read: status %d", w.Code)
	}
	o.catchUp(t)
	for _, c := range []struct {
		target string
		code   int
		says   string
	}{
		{"/healthz", 200, "ok"},
		{"/readyz", 200, "ready"},
		{"/api/v1/orders", 200, `"total":60`},
		{"/api/v1/orders?limit=500", 200, `"next_cursor":null`},
		{"/api/v1/orders?limit=501", 400, "from 1 to 500"},
		{"/api/v1/orders?limit=0", 400, `"param":"limit"`},
		{"/api/v1/orders?limit=x", 400, `"status":400`},
		{"/api/v1/orders?fait=USD", 400, "unknown parameter"},
		{"/api/v1/orders?side=both", 400, "not buy or sell"},
		{"/api/v1/orders?status=open", 400, "pending, in-progress"},
		{"/api/v1/orders?amount=a-b", 400, "1000-50000"},
		{"/api/v1/orders?amount=9-1", 400, "end is below"},
		{"/api/v1/orders?min_premium=high", 400, "-1.5"},
		{"/api/v1/orders?min_maker_rating=6", 400, "from 0 to 5"},
		{"/api/v1/orders?at=yesterday", 400, "RFC 3339"},
		{"/api/v1/orders?at=2090-01-01T00:00:00Z", 400, "future"},
		{"/api/v1/orders?open=maybe", 400, "true, false or any"},
		{"/api/v1/orders?sort=rank", 400, "newest"},
		{"/api/v1/orders?cursor=abc", 400, "start again"},
		{"/api/v1/orders?instance=abc", 400, "npub"},
		{"/api/v1/orders?q=&fiat=&side=", 200, `"total":60`},
		{"/api/v1/orders/" + pubkeyOf(0) + "/7", 200, `"history":[{`},
		{"/api/v1/orders/" + pubkeyOf(0) + "/nope", 404, "No order with this author"},
		{"/api/v1/orders/xyz/7", 400, "64 hex digits"},
		{"/api/v1/instances?sort=rank", 400, "switched off here"},
		{"/api/v1/instances", 200, `"publishers":[{"pubkey":"` + pubkeyOf(0)},
		{"/api/v1/instances/" + pubkeyOf(0), 404, "no instance of Mostro"},
		{"/api/v1/instances/" + pubkeyOf(9), 404, "Not held"},
		{"/api/v1/events/" + mail.ID, 404, "Not held"},
		{"/api/v1/events/12", 400, "64 hex digits"},
		{"/api/v1/nothing", 404, "/api/v1/orders"},
		{"/nothing", 404, "no page at this address"},
		{"/", 200, "60 offers"},
		{"/?limit=0", 400, "from 1 to 500"},
		{"/?q=absent", 200, "No offer fits exactly. The nearest 10"},
		{"/?q=absent&open=any", 200, "No offer fits<"},
		{"/instances?sort=rank", 400, "switched off here"},
	} {
		w := fetch(t, h, c.target)
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("GET %s: %d, want %d with %q\n%s", c.target, w.Code, c.code, c.says, w.Body)
		}
		kind := w.Header().Get("Content-Type")
		if c.code >= 400 && strings.HasPrefix(c.target, "/api/") && kind != "application/problem+json" {
			t.Errorf("GET %s: %s is not a problem document", c.target, kind)
		}
		if strings.HasPrefix(c.target, "/api/") && w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("GET %s cannot be read from other origins", c.target)
		}
	}
	t.Run("etag", func(t *testing.T) {
		for _, target := range []string{"/api/v1/orders", "/"} {
			tag := fetch(t, h, target).Header().Get("ETag")
			if w := fetch(t, h, target, "If-None-Match", tag); tag == "" || w.Code != http.StatusNotModified || w.Body.Len() > 0 {
				t.Errorf("%s: %q returns status %d", target, tag, w.Code)
			}
			clk.set(clk.now().Unix() + 1)
			l.add(draft{d: "new" + target}.event(), clk.now(), mostro.OriginClient, false)
			o.catchUp(t)
			if w := fetch(t, h, target, "If-None-Match", tag); w.Code != http.StatusOK {
				t.Errorf("%s: changed, but the status is %d", target, w.Code)
			}
		}
	})
	t.Run("writes are refused", func(t *testing.T) {
		for _, target := range []string{"/api/v1/orders", "/"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, target, strings.NewReader("x")))
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
				t.Errorf("POST %s: %d", target, w.Code)
			}
		}
	})
	t.Run("preflight", func(t *testing.T) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodOptions, "/api/v1/orders", nil))
		if w.Code != http.StatusNoContent || !strings.Contains(w.Header().Get("Access-Control-Allow-Methods"), "GET") {
			t.Errorf("OPTIONS: %d", w.Code)
		}
	})
}

func TestHistoryShowsWhenWeReceived(t *testing.T) {
	l, clk := newMemLog(), newClock()
	o := openTest(t, l, clk, "")
	at := func(s int64) time.Time { return time.Unix(t0+s, 0) }
	l.add(draft{d: "x", at: t0 + 10, status: "in-progress", amt: "900"}.event(), at(12), mostro.OriginClient, false)
	l.add(draft{d: "x", at: t0}.event(), at(13), mostro.OriginBackfill, true) // older, but received later
	l.add(draft{d: "x", at: t0 + 20, status: "success", amt: "900", expiry: t0 + 25}.event(), at(21), mostro.OriginLive, false)
	clk.set(t0 + 22)
	o.catchUp(t)
	h := o.Handler()
	order := decode(t, fetch(t, h, "/api/v1/orders/"+pubkeyOf(0)+"/x"))
	var got []string
	for _, v := range order["history"].([]any) {
		m := v.(map[string]any)
		got = append(got, fmt.Sprint(m["status"], " ", m["created_at"].(float64)-t0, " ", m["received_at"].(float64)-t0, " ", m["received_by"], " ", m["archived"], " ", m["amount_sats"]))
	}
	want := "pending 0 13 backfill true <nil>|in-progress 10 12 client false 900|success 20 21 live false 900"
	if strings.Join(got, "|") != want {
		t.Errorf("history is\n%s, want\n%s", strings.Join(got, "|"), want)
	}
	if order["first_seen_at"].(float64) != t0+12 || order["status"] != "success" {
		t.Errorf("first seen %v, status %v", order["first_seen_at"], order["status"])
	}
	for _, c := range []struct {
		at     int64
		status string
		total  float64
	}{{t0 - 1, "", 0}, {t0, "pending", 1}, {t0 + 9, "pending", 1}, {t0 + 10, "in-progress", 1}, {t0 + 22, "success", 1}} {
		list := decode(t, fetch(t, h, fmt.Sprintf("/api/v1/orders?open=any&at=%d", c.at)))
		if list["total"].(float64) != c.total {
			t.Errorf("at +%d: %v orders", c.at-t0, list["total"])
			continue
		}
		if c.total > 0 && list["items"].([]any)[0].(map[string]any)["status"] != c.status {
			t.Errorf("at +%d: %v, want %s", c.at-t0, list["items"], c.status)
		}
	}
}

var quoted = regexp.MustCompile(`"[^"]*"`)

// bookScript is the only script of the book.
var bookScript = regexp.MustCompile(`<script src="/assets/book-[0-9a-f]+\.js" defer></script>`)

var tags = regexp.MustCompile(`<\s*(/?[a-zA-Z]+)`)

func TestPagesEscapeWhatPublishersWrite(t *testing.T) {
	l, clk := newMemLog(), newClock()
	o := openTest(t, l, clk, "")
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	pk := pubkeyOf(0)
	evt := draft{d: evil, at: t0, expiry: t0 + 100, methods: []string{evil, "javascript:alert(1)"}, name: evil, content: evil, network: evil, platform: evil, fiat: "<B>"}.event()
	evt.Tags = append(evt.Tags, nostr.Tag{"source", "javascript:alert(1)//" + evil}, nostr.Tag{"name", evil})
	l.add(signless(*evt), clk.now(), mostro.OriginClient, false)
	ok := draft{d: "ok", at: t0, expiry: t0 + 100}.event()
	ok.Tags = append(ok.Tags, nostr.Tag{"source", "mostro:ok?relays=wss://relay.example&mostro=" + pk})
	l.add(signless(*ok), clk.now(), mostro.OriginClient, false)
	l.add(infoEvent(0, t0, evil), clk.now(), mostro.OriginClient, false)
	about, err := json.Marshal(map[string]string{"name": evil, "about": evil, "website": "javascript:alert(1)"})
	if err != nil {
		t.Fatal(err)
	}
	l.add(signless(nostr.Event{PubKey: pk, Kind: 0, CreatedAt: t0, Content: string(about)}), clk.now(), mostro.OriginClient, false)
	o.catchUp(t)
	h := o.Handler()
	for _, target := range []string{"/", "/?q=" + url.QueryEscape(evil), "/?sort=" + url.QueryEscape(evil), "/?method=" + url.QueryEscape(evil), "/orders/" + pk + "/" + url.PathEscape(evil), "/instances", "/instances/" + pk} {
		w := fetch(t, h, target)
		body := w.Body.String()
		ours := bookScript.FindAllString(body, -1)
		if len(ours) > 1 {
			t.Errorf("%s has %d scripts", target, len(ours))
		}
		body = bookScript.ReplaceAllString(body, "")
		for _, m := range tags.FindAllStringSubmatch(body, -1) {
			if name := strings.ToLower(m[1]); name == "script" || name == "img" || name == "b" {
				t.Errorf("%s contains <%s>", target, name)
			}
		}
		if strings.Contains(body, `href="javascript:`) || regexp.MustCompile(`(?i)<[^>]* on[a-z]+=`).MatchString(quoted.ReplaceAllString(body, `""`)) {
			t.Errorf("%s contains a script", target)
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src 'self'") != (len(ours) == 1) {
			t.Errorf("%s: policy is %q", target, policy)
		}
		if strings.Contains(body, "style=") {
			t.Errorf("%s has an inline style, which its policy forbids", target)
		}
	}
	if body := fetch(t, h, "/").Body.String(); !strings.Contains(body, `href="mostro:ok?relays=wss://relay.example`) {
		t.Errorf("the link of a good order is missing: %s", body)
	}
	css := regexp.MustCompile(`/assets/style-[0-9a-f]+\.css`).FindString(fetch(t, h, "/").Body.String())
	if w := fetch(t, h, css); css == "" || w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/css") {
		t.Errorf("style %q: %d", css, w.Code)
	}
}

// TestTextsOfPublishersAreInert shows texts that change the direction of a page, that are invisible,
// or that have no space, in all languages.
func TestTextsOfPublishersAreInert(t *testing.T) {
	l, clk := newMemLog(), newClock()
	o := openTest(t, l, clk, "")
	const turned, hidden = "\u202eredro\u2066x", "pa\u200bgo\ufeff m\u00e1vil"
	long := strings.Repeat("W", 10<<10)
	pk := pubkeyOf(0)
	evt := draft{d: "a" + turned, at: t0, expiry: t0 + 100, methods: []string{turned, hidden, long}, name: turned, content: turned + long, network: turned, platform: turned, fiat: "VES"}.event()
	l.add(signless(*evt), clk.now(), mostro.OriginClient, false)
	l.add(signless(*draft{author: 1, d: "b", at: t0, expiry: t0 + 100, name: long, platform: long, fiat: "VES", methods: []string{"e" + strings.Repeat("\u0301", 500)}}.event()), clk.now(), mostro.OriginClient, false)
	o.catchUp(t)
	h := o.Handler()
	for _, prefix := range []string{"", "/es", "/en", "/pt"} {
		for _, target := range []string{"/", "/?q=" + url.QueryEscape(hidden), "/?method=" + url.QueryEscape(long[:1000]), "/orders/" + pk + "/" + url.PathEscape("a"+turned)} {
			w := fetch(t, h, prefix+target)
			if w.Code != http.StatusOK {
				t.Errorf("%s%.60s: %d %s", prefix, target, w.Code, regexp.MustCompile(`(?s)<main.*</main>`).FindString(w.Body.String()))
			}
			body := w.Body.String()
			if at := strings.IndexAny(regexp.MustCompile(`(href|value|data-id|content)="[^"]*"`).ReplaceAllString(body, ""), "\u202e\u2066\u200b\ufeff"); at >= 0 {
				t.Errorf("%s%.60s shows an invisible character: %q", prefix, target, body[max(0, at-60):at+20])
			}
			if strings.Contains(body, strings.Repeat("\u0301", 10)) {
				t.Errorf("%s%.60s shows a pile of marks", prefix, target)
			}
			if len(body) > 40<<10 {
				t.Errorf("%s%.60s has %d bytes", prefix, target, len(body))
			}
		}
	}
}

// TestSearchesOfPeople searches as people write: with typing errors, words that say nothing, and
// words written as one. If no order fits, the nearest ones are shown.
func TestSearchesOfPeople(t *testing.T) {
	l, clk := newMemLog(), newClock()
	o := openTest(t, l, clk, "")
	for i, d := range []draft{
		{d: "movil", side: "sell", fiat: "VES", fa: []string{"100", "500"}, methods: []string{"Pago Móvil"}},
		{d: "zelle", side: "sell", fiat: "USD", fa: []string{"50"}, methods: []string{"Zelle"}},
		{d: "pix", side: "buy", fiat: "BRL", fa: []string{"200"}, methods: []string{"PIX", "Transferência"}},
	} {
		d.author, d.at, d.expiry = 1, t0+int64(i), t0+1000
		l.add(d.event(), clk.now(), mostro.OriginClient, false)
	}
	o.catchUp(t)
	h := o.Handler()
	for query, want := range map[string]string{
		"q=pago+movl": "movil", "q=PagoMovil": "movil", "q=pagomovl": "movil", "q=comprar+bitcoin+con+zelle": "zelle", "q=quiero+comprar+300+ves": "movil", "q=zele": "zelle", "q=pgao+m%C3%B3vil+barato": "movil",
		"q=bolibares": "movil", "q=vender+bitcoin": "pix", "q=sell+by+transferensia": "pix", "method=PagoMovil": "movil", "want=buy&method=zele": "zelle", "want=sell": "pix", "q=fiat:BRL": "pix",
		"want=buy&fiat=VES&fiat_amount=900": "movil", // nearest
	} {
		body := fetch(t, h, "/es/?"+query).Body.String()
		var got []string
		for _, m := range regexp.MustCompile(`class="deal" href="/es/orders/[0-9a-f]+/([a-z]+)"`).FindAllStringSubmatch(body, -1) {
			got = append(got, m[1])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s finds %q, want %s", query, got, want)
		}
		if nearest := strings.Contains(body, "más cercana"); nearest != strings.Contains(query, "900") {
			t.Errorf("%s: nearest orders: %t", query, nearest)
		}
	}
	// Text with key:value pairs, and the API, are searched as they are written.
	if body := fetch(t, h, "/api/v1/orders?q=PagoMovil").Body.String(); !strings.Contains(body, `"total":0`) {
		t.Errorf("the API corrects: %s", body)
	}
}

func TestMetricsRegisterOnce(t *testing.T) {
	o := real(t)
	families, err := o.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"mostrodex_indexer_live_orders": false, "mostrodex_indexer_lag_entries": false, "mostrodex_indexer_lag_seconds": false, "mostrodex_indexer_applied_total": false}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "mostrodex_indexer_") {
			t.Errorf("%s does not belong to the index", f.GetName())
		}
		if _, ok := want[f.GetName()]; ok {
			want[f.GetName()] = true
		}
	}
	for name, there := range want {
		if !there {
			t.Errorf("%s is missing", name)
		}
	}
}

package indexer

import (
	"encoding/xml"
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// plainText returns the text of a page.
func plainText(page string) string {
	return strings.Join(strings.Fields(html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " "))), " ")
}

// TestMarketPage: the page of a currency shows the figures of the API, in the words of a visitor.
func TestMarketPage(t *testing.T) {
	o := smallMarket(t, nil)
	h := o.Handler()
	w := fetch(t, h, "/market/usd") // in any case of letters
	body := html.UnescapeString(w.Body.String())
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, body)
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	for _, bad := range []string{"<script", " style=", "<style", "NaN", "Inf"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	plain := plainText(body)
	for _, want := range []string{
		"Bitcoin in USD", "101,000 USD / BTC", "To buy bitcoin, from +1 % 102,010 USD / BTC", "To sell bitcoin, up to +3 % 104,030 USD / BTC",
		"Depth by premium", "Time until an order is taken", "Crossed pairs", "+2 % cash", "Zelle", "One bitcoin in USD, 30 days",
	} {
		if !strings.Contains(plain, want) {
			t.Errorf("no %q in %s", want, plain)
		}
	}
	if n := strings.Count(body, `<svg class="chart"`); n != 3 || strings.Count(body, `<details class="numbers">`) != n {
		t.Errorf("%d charts, each of which needs a table", n)
	}
	for _, link := range []string{`href="/orders/` + pubkeyOf(1) + `/sell"`, `href="/orders/` + pubkeyOf(1) + `/buy"`, `href="/?fiat=USD&method=cash"`, `href="/instances/` + pubkeyOf(2) + `"`} {
		if !strings.Contains(body, link) {
			t.Errorf("no %s", link)
		}
	}
	if list := html.UnescapeString(fetch(t, h, "/market").Body.String()); !strings.Contains(list, `href="/market/USD"`) || !strings.Contains(list, "+1 %") {
		t.Errorf("the list of markets is %s", list)
	}
	w = fetch(t, h, "/market/XYZ")
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "No order and no rate in XYZ") {
		t.Errorf("an unknown currency: %d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/market/%3Cb%3E", "/market/" + strings.Repeat("A", 200), "/market/%E2%80%AE"} {
		if w := fetch(t, h, path); w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "<b>") {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// TestMarketPageIsBounded: texts of strangers stay inert and inside their cells, and the number
// of rows has a bound.
func TestMarketPageIsBounded(t *testing.T) {
	l, clk := newMemLog(), newClock()
	hostile := []string{"<script>alert(1)</script>", "\u202Eevil\u202C", "a\u200bb", strings.Repeat("x", 10_000), `"><img src=x onerror=y>`}
	l.add(infoEvent(1, t0-90000, hostile[1]+hostile[0]), clk.now(), mostro.OriginLive, false)
	for i := range 400 {
		side, premium := "buy", "-5"
		if i%2 == 0 {
			side, premium = "sell", strings.Repeat("9", 1+i%12)
		}
		l.add(draft{author: 1 + i%90, d: "o" + strings.Repeat("d", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26)), at: t0 - 500, side: side, amt: "0", fa: []string{"100"}, premium: premium, fiat: "ZZZ", methods: append([]string{"cash"}, hostile[i%5]+string(rune('a'+i%26)))}.event(), clk.now(), mostro.OriginLive, false)
	}
	l.add(ratesEvent(1, t0-100, 1e300), clk.now(), mostro.OriginLive, false)
	o := openTest(t, l, clk, "")
	o.catchUp(t)
	w := fetch(t, o.Handler(), "/market/ZZZ")
	body := w.Body.String()
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, body)
	}
	for _, bad := range []string{"<script", "<img", "NaN", "Inf"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	if len(body) > 300_000 {
		t.Errorf("%d bytes", len(body))
	}
	if n := strings.Count(body, "<tr"); n > 250 {
		t.Errorf("%d rows", n)
	}
	if list := fetch(t, o.Handler(), "/market").Body.String(); strings.Contains(list, "<script") || !strings.Contains(list, "/market/ZZZ") {
		t.Error("the list of markets")
	}
}

// TestMarketPageIsComputedOnce: visitors within a minute share one computation, and an order that
// is gone leaves the page in the next minute.
func TestMarketPageIsComputedOnce(t *testing.T) {
	o := smallMarket(t, nil)
	h := o.Handler()
	if body := fetch(t, h, "/market/USD").Body.String(); !strings.Contains(body, "offers: 2") {
		t.Fatalf("the page begins as %s", body)
	}
	o.log.add(draft{author: 1, d: "sell", at: t0 + 1, status: "canceled", amt: "0", fa: []string{"100"}, premium: "1", methods: []string{"cash"}}.event(), o.clock.now(), mostro.OriginLive, false)
	o.catchUp(t)
	if body := fetch(t, h, "/market/USD").Body.String(); !strings.Contains(body, "offers: 2") {
		t.Error("the page was computed again in the same minute")
	}
	o.clock.set(t0 + 61)
	if body := fetch(t, h, "/market/USD").Body.String(); strings.Contains(body, "offers: 2") {
		t.Error("the page has a canceled order a minute later")
	}
}

func TestDisputesPage(t *testing.T) {
	o := smallMarket(t, nil)
	for i, state := range []string{"initiated", "settled"} {
		o.log.add(signless(nostr.Event{PubKey: pubkeyOf(1), Kind: mostro.KindDispute, CreatedAt: nostr.Timestamp(t0 - 3600 + int64(i)*600), Tags: nostr.Tags{{"d", "q"}, {"s", state}, {"y", "mostro"}, {"z", "dispute"}}}), o.clock.now(), mostro.OriginLive, false)
	}
	o.catchUp(t)
	body := fetch(t, o.Handler(), "/disputes").Body.String()
	plain := plainText(body)
	for _, want := range []string{"Opened by the time that the Mostro states, else by the first event 1 1 1", "Settled for the buyer", "Time to a solution, median from the opening to the first final state 10 min", "One " + pubkeyOf(1)[:8] + "… 1 0"} {
		if !strings.Contains(plain, want) {
			t.Errorf("no %q in %s", want, plain)
		}
	}
}

// TestSitemap: the map is well-formed, and no header of a stranger is copied into it.
func TestSitemap(t *testing.T) {
	o := smallMarket(t, nil)
	w := fetch(t, o.Handler(), "/sitemap.xml")
	d := xml.NewDecoder(strings.NewReader(w.Body.String()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
	}
	for _, want := range []string{"/market/USD</loc>", "/instances/" + pubkeyOf(1) + "</loc>", "/disputes</loc>"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
	for _, path := range []string{"/sitemap.xml", "/robots.txt", "/", "/market"} {
		r, got := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
		r.Host = `evil"><script>`
		if o.Handler().ServeHTTP(got, r); strings.Contains(got.Body.String(), "evil") {
			t.Errorf("%s repeats the header Host: %s", path, got.Body)
		}
	}
}

// TestDataPagesInThreeLanguages: a page in a language has its texts and numbers, and its links
// stay in the language.
func TestDataPagesInThreeLanguages(t *testing.T) {
	o := smallMarket(t, nil)
	h := o.Handler()
	for prefix, want := range map[string][]string{
		"/es": {"Bitcoin en USD", "Para comprar bitcoin, desde", "102.010", "Profundidad por prima"},
		"/pt": {"Bitcoin em USD", "Para comprar bitcoin, a partir de", "102.010", "Profundidade por prêmio"},
		"/en": {"Bitcoin in USD", "To buy bitcoin, from", "102,010", "Depth by premium"},
	} {
		for _, path := range []string{"/market", "/market/USD", "/disputes", "/card/" + pubkeyOf(1)} {
			w := fetch(t, h, prefix+path)
			body := html.UnescapeString(w.Body.String())
			if w.Code != http.StatusOK || strings.Contains(body, "⟦") || strings.Contains(body, "%!") || !strings.Contains(body, `<html lang="`+prefix[1:]+`"`) {
				t.Errorf("%s%s: %d, %s", prefix, path, w.Code, body)
			}
			for _, m := range regexp.MustCompile(`<a [^>]*href="(/[^"]*)"( hreflang)?`).FindAllStringSubmatch(body, -1) {
				if m[2] == "" && !strings.HasPrefix(m[1], prefix+"/") && !strings.HasPrefix(m[1], "/api/v1/") {
					t.Errorf("%s%s has a link to %s", prefix, path, m[1])
				}
			}
			if path != "/market/USD" {
				continue
			}
			for _, text := range want {
				if !strings.Contains(plainText(body), text) {
					t.Errorf("%s%s has no %q", prefix, path, text)
				}
			}
		}
	}
}

package indexer

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// sse is a reader of server-sent events.
type sse struct {
	t      *testing.T
	resp   *http.Response
	lines  chan string
	lastID string
}

// listen opens a stream. The stream is closed at the end of the test.
func listen(t *testing.T, base, query, lastID string) *sse {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/stream?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	s := &sse{t: t, resp: resp, lines: make(chan string, 10_000)}
	t.Cleanup(func() { resp.Body.Close() })
	go func() {
		defer close(s.lines)
		for in := bufio.NewScanner(resp.Body); in.Scan(); {
			s.lines <- in.Text()
		}
	}()
	return s
}

// next returns the next event and its data.
func (s *sse) next() (name string, data map[string]any) {
	s.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return "closed", nil
			}
			key, value, _ := strings.Cut(line, ": ")
			switch {
			case key == "event":
				name = value
			case key == "id":
				s.lastID = value
			case key == "data":
				if err := json.Unmarshal([]byte(value), &data); err != nil {
					s.t.Fatalf("%v in %s", err, line)
				}
			case line == "" && name != "":
				return name, data
			}
		case <-deadline:
			s.t.Fatal("no event after 30 s")
		}
	}
}

// running returns a server over a running index.
func running(t *testing.T, o *opened) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	srv := httptest.NewServer(o.Handler())
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return srv.URL
}

func TestStream(t *testing.T) {
	o := smallMarket(t, nil)
	base := running(t, o)
	add := func(d draft) { o.log.add(d.event(), o.clock.now(), mostro.OriginLive, false) }
	all, ves := listen(t, base, "", ""), listen(t, base, "fiat=VES&side=sell", "")
	if kind := all.resp.Header.Get("Content-Type"); all.resp.StatusCode != 200 || !strings.HasPrefix(kind, "text/event-stream") {
		t.Fatalf("%d, %s", all.resp.StatusCode, kind)
	}
	add(draft{author: 1, d: "n1", fiat: "VES", at: t0 - 9, methods: []string{"<script>\n\"x\""}})
	name, data := all.next()
	if name != "order" || data["d"] != "n1" || data["fiat"] != "VES" || all.lastID != fmt.Sprint(o.log.Head()) {
		t.Errorf("%s %v with id %s", name, data, all.lastID)
	}
	if name, data = ves.next(); name != "order" || data["methods"].([]any)[0] != "<script> \"x\"" {
		t.Errorf("%s %v", name, data)
	}
	add(draft{author: 1, d: "n2", fiat: "EUR", at: t0 - 8})
	add(draft{author: 1, d: "n1", fiat: "VES", at: t0 - 7, status: "in-progress"})
	if name, data = all.next(); name != "order" || data["d"] != "n2" {
		t.Errorf("%s %v", name, data)
	}
	if name, data = all.next(); name != "gone" || data["d"] != "n1" || data["status"] != "in-progress" {
		t.Errorf("a taken order is %s %v", name, data)
	}
	if name, data = ves.next(); name != "gone" || data["d"] != "n1" {
		t.Errorf("the reader of VES has %s %v", name, data)
	}
	at := all.lastID
	all.resp.Body.Close()
	add(draft{author: 2, d: "n3", fiat: "VES", at: t0 - 6})
	del := signless(nostr.Event{PubKey: pubkeyOf(2), Kind: mostro.KindDeletion, CreatedAt: t0 - 5, Tags: nostr.Tags{{"a", "38383:" + pubkeyOf(2) + ":sell2"}}})
	o.log.add(del, o.clock.now(), mostro.OriginLive, false)
	waitFor(t, func() bool { return o.Position() == o.log.Head() })
	again := listen(t, base, "", at)
	if name, data = again.next(); name != "order" || data["d"] != "n3" {
		t.Errorf("after the resumption: %s %v", name, data)
	}
	if name, data = again.next(); name != "gone" || data["d"] != "sell2" || data["deleted"] != true {
		t.Errorf("a deleted order is %s %v", name, data)
	}
	for query, param := range map[string]string{"limit=5": "limit", "at=1790000000": "at", "fait=USD": "fait", "side=both": "side", "last_event_id=-1": "last_event_id", "last_event_id=99999": "last_event_id", "q=cash": "q", "min_rank=5": "min_rank"} {
		w := fetch(t, o.Handler(), "/api/v1/stream?"+query)
		if w.Code != 400 || !strings.Contains(w.Body.String(), `"param":"`+param+`"`) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

// TestStreamLimits checks the number of streams of one address, and that a place is free again
// when a stream ends.
func TestStreamLimits(t *testing.T) {
	o := smallMarket(t, nil)
	base := running(t, o)
	var open []*sse
	for range 8 {
		open = append(open, listen(t, base, "", ""))
	}
	if s := listen(t, base, "", ""); s.resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the ninth stream: %d", s.resp.StatusCode)
	}
	open[0].resp.Body.Close()
	o.log.add(draft{author: 1, d: "wake", at: t0 - 3}.event(), o.clock.now(), mostro.OriginLive, false)
	waitFor(t, func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/stream", nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// TestFeed checks that a feed is well-formed XML whatever the texts of orders are.
func TestFeed(t *testing.T) {
	o := smallMarket(t, nil)
	evil := "</summary><script>alert(1)</script>&amp;\x00\x1b]]>"
	o.log.add(draft{author: 1, d: "evil", at: t0 - 3, methods: []string{evil}, content: evil, premium: "4"}.event(), o.clock.now(), mostro.OriginLive, false)
	o.catchUp(t)
	h := o.Handler()
	w := fetch(t, h, "/api/v1/orders.atom?fiat=USD")
	var feed struct {
		ID      string `xml:"id"`
		Updated string `xml:"updated"`
		Entries []struct {
			ID, Title, Summary string
			Links              []struct {
				Href string `xml:"href,attr"`
			} `xml:"link"`
		} `xml:"entry"`
	}
	if err := xml.Unmarshal(w.Body.Bytes(), &feed); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/atom+xml") || len(feed.Entries) != 4 || feed.Updated != "2026-09-21T14:13:17Z" {
		t.Fatalf("%+v", feed)
	}
	if strings.Contains(w.Body.String(), "<script") || strings.ContainsAny(w.Body.String(), "\x00\x1b") {
		t.Errorf("the text of an event is not inert: %s", w.Body)
	}
	tag := w.Header().Get("ETag")
	if w := fetch(t, h, "/api/v1/orders.atom?fiat=USD", "If-None-Match", tag); w.Code != http.StatusNotModified {
		t.Errorf("the tag makes %d", w.Code)
	}
	r := httptest.NewRequest(http.MethodGet, "/api/v1/orders.atom", nil)
	r.Host = `foreign"><x`
	w = httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 200 || strings.Contains(w.Body.String(), "foreign") {
		t.Errorf("an unsafe Host header is copied: %d", w.Code)
	}
	for query, param := range map[string]string{"limit=101": "limit", "sort=cost": "sort", "at=5": "at", "cursor=x": "cursor", "x=1": "x"} {
		if w := fetch(t, h, "/api/v1/orders.atom?"+query); w.Code != 400 || !strings.Contains(w.Body.String(), `"param":"`+param+`"`) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

func TestBisqMarkets(t *testing.T) {
	h := smallMarket(t, nil).Handler()
	type side = []struct {
		ID        string `json:"offer_id"`
		Date      int64  `json:"offer_date"`
		Direction string
		Min       string `json:"min_amount"`
		Amount    string
		Price     string
		Method    string `json:"payment_method"`
	}
	offers := answer[map[string]struct{ Buys, Sells side }](t, h, "/api/v1/markets/offers?market=btc_usd")["btc_usd"]
	if len(offers.Buys) != 1 || len(offers.Sells) != 2 || offers.Buys[0].Price != "104030.00000000" || offers.Buys[0].Date != (t0-4000)*1000 ||
		offers.Sells[0].Price != "102010.00000000" || offers.Sells[0].Direction != "SELL" || offers.Buys[0].Method != "cash, PIX" || offers.Buys[0].Min != "0.00009613" {
		t.Errorf("offers are %+v", offers)
	}
	if d := answer[map[string]map[string][]string](t, h, "/api/v1/markets/depth?market=BTC_USD")["btc_usd"]; len(d["buys"]) != 1 || len(d["sells"]) != 2 {
		t.Errorf("depth is %v", d)
	}
	if d := answer[map[string]struct{ Buys, Sells side }](t, h, "/api/v1/markets/offers?market=btc_usd&direction=buy")["btc_usd"]; len(d.Buys) != 1 || len(d.Sells) != 0 {
		t.Errorf("offers to buy are %+v", d)
	}
	tick := answer[map[string]map[string]*string](t, h, "/api/v1/markets/ticker")["btc_usd"]
	for name, want := range map[string]string{"last": "10000000.00000000", "high": "10000000.00000000", "low": "10000000.00000000", "volume_left": "0.00001000", "volume_right": "100.00000000", "buy": "104030.00000000", "sell": "102010.00000000"} {
		if tick[name] == nil || *tick[name] != want {
			t.Errorf("%s is %v, want %s", name, tick[name], want)
		}
	}
	if none := answer[map[string]map[string]*string](t, h, "/api/v1/markets/ticker?market=btc_eur")["btc_eur"]; none["last"] != nil || *none["volume_left"] != "0.00000000" {
		t.Errorf("a market without trades is %v", none)
	}
	trades := answer[[]map[string]any](t, h, "/api/v1/markets/trades?market=btc_usd")
	if len(trades) != 1 || trades[0]["amount"] != "0.00001000" || trades[0]["direction"] != "SELL" || trades[0]["trade_date"] != float64((t0-78800)*1000) || trades[0]["market"] != "btc_usd" {
		t.Errorf("trades are %v", trades)
	}
	if evt := answer[nostr.Event](t, h, "/api/v1/events/"+trades[0]["trade_id"].(string)); evt.Tags.GetD() != "done" {
		t.Errorf("the trade is %s", evt.String())
	}
	hloc := answer[[]map[string]any](t, h, "/api/v1/markets/hloc?market=btc_usd&interval=hour")
	if len(hloc) != 1 || hloc[0]["open"] != "10000000.00000000" || hloc[0]["avg"] != "10000000.00000000" || hloc[0]["period_start"] != float64((t0-78800)/3600*3600) {
		t.Errorf("hloc is %v", hloc)
	}
	volumes := answer[[]map[string]any](t, h, "/api/v1/markets/volumes?interval=month")
	if len(volumes) != 1 || volumes[0]["num_trades"] != 1.0 || volumes[0]["volume"] != "0.00001000" {
		t.Errorf("volumes are %v", volumes)
	}
	for target, param := range map[string]string{
		"offers": "market", "offers?market=usd": "market", "offers?market=btc_": "market", "depth?market=btc_u$d": "market", "hloc": "market",
		"trades?direction=up": "direction", "trades?limit=1e9": "limit", "trades?limit=501": "limit", "trades?timestamp_to=NaN": "timestamp_to",
		"trades?timestamp_to=99999999999": "timestamp_to", "trades?timestamp_from=-5": "timestamp_from", "trades?timestamp_from=1790000000&timestamp_to=1780000000": "timestamp_from",
		"hloc?market=btc_usd&interval=minute": "interval", "hloc?market=btc_usd&interval=hour&timestamp_from=0": "interval", "volumes?x=1": "x", "ticker?market=btc_usd&market=btc_eur": "market",
	} {
		if w := fetch(t, h, "/api/v1/markets/"+target); w.Code != 400 || !strings.Contains(w.Body.String(), `"param":"`+param+`"`) {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}

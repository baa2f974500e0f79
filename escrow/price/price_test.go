package price

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// fakeSource returns the rates and the error that a test sets.
type fakeSource struct {
	name   string
	prices map[string]float64
	err    error
	asked  int
}

func (s *fakeSource) Name() string { return s.name }

func (s *fakeSource) Fetch(context.Context) (map[string]float64, error) {
	s.asked++
	return s.prices, s.err
}

func TestAggregate(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
		kept   int
	}{
		{[]float64{100}, 100, 1},
		{[]float64{100, 200}, 150, 2},
		{[]float64{100, 101, 500}, 100.5, 2},
		{[]float64{100, 105, 95}, 100, 3},         // all prices are exactly at the limit
		{[]float64{100, 105.01, 95}, 97.5, 2},     // one price is just beyond the limit
		{[]float64{10, 100, 1000, 10000}, 550, 0}, // if no price is near the median, the median is the result
		{[]float64{100, 102, 98, 1}, 100, 3},
	} {
		var list []offer
		for i, v := range c.values {
			list = append(list, offer{fmt.Sprint(i), v})
		}
		got, from := aggregate(list, 5)
		if math.Abs(got-c.want) > 1e-9 || len(from) != c.kept {
			t.Errorf("%v: %v of %d, want %v of %d", c.values, got, len(from), c.want, c.kept)
		}
	}
}

func TestQuoteIsStaleAfterAWhile(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	source := &fakeSource{name: "a", prices: map[string]float64{"usd": 50_000, "EUR": math.Inf(1), "GBP": -1, "VEF": 3, "BTC": 1, "XAU": 20, "XOF": 7, "IRT": 9}}
	p := New(Config{Sources: []Source{source}, Now: func() time.Time { return now }})
	if q := p.Quote("USD", now.Unix()); q != (trade.Quote{}) {
		t.Errorf("the quote before any poll is %+v", q)
	}
	p.Poll(t.Context())
	for code, want := range map[string]float64{"USD": 50_000, "EUR": 0, "GBP": 0, "VEF": 0, "BTC": 0, "XAU": 0, "XOF": 7, "IRT": 9} {
		if q := p.Quote(code, now.Unix()); q.Price != want || q.Stale {
			t.Errorf("%s: %+v, want %v", code, q, want)
		}
	}
	if q := p.Quote("USD", now.Unix()+1800); q.Stale {
		t.Error("the quote is stale after exactly half an hour")
	}
	if q := p.Quote("USD", now.Unix()+1801); !q.Stale {
		t.Error("the quote is not stale after half an hour")
	}
	// A poll without the currency keeps the last price and its age.
	now = now.Add(10 * time.Minute)
	source.prices = map[string]float64{"XOF": 8}
	p.Poll(t.Context())
	if q := p.Quote("USD", now.Unix()); q.Price != 50_000 || q.Stale {
		t.Errorf("the quote after a poll without the currency is %+v", q)
	}
	if q := p.Quote("USD", now.Add(21*time.Minute).Unix()); !q.Stale {
		t.Error("a poll without the currency made the quote fresh")
	}
}

func TestBreakerLeavesAFailingSourceAlone(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	bad := &fakeSource{name: "bad", err: errors.New("down")}
	good := &fakeSource{name: "good", prices: map[string]float64{"USD": 1}}
	p := New(Config{Sources: []Source{bad, good}, Now: func() time.Time { return now }})
	for range 3 {
		p.Poll(t.Context())
	}
	if bad.asked != 3 {
		t.Fatalf("asked %d times", bad.asked)
	}
	wait := 2 * time.Minute
	for range 6 {
		now = now.Add(wait - time.Second)
		before := bad.asked
		if p.Poll(t.Context()); bad.asked != before {
			t.Fatalf("the source was polled %s after it failed", wait-time.Second)
		}
		now = now.Add(time.Second)
		if p.Poll(t.Context()); bad.asked != before+1 {
			t.Fatalf("the source was not polled %s after it failed", wait)
		}
		wait = min(2*wait, 30*time.Minute)
	}
	now = now.Add(wait)
	bad.err, bad.prices = nil, map[string]float64{"USD": 3}
	p.Poll(t.Context())
	if q := p.Quote("USD", now.Unix()); q.Price != 2 {
		t.Errorf("the recovered source does not count: %+v", q)
	}
	bad.err = errors.New("down")
	before := bad.asked
	p.Poll(t.Context())
	p.Poll(t.Context())
	if bad.asked != before+2 {
		t.Error("one success does not close the breaker")
	}
}

func TestRatesOfTrustedNodes(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	trusted, stranger := strings.Repeat("a", 64), strings.Repeat("b", 64)
	table := func(author string, at time.Time, expires time.Time, content string) *nostr.Event {
		evt := &nostr.Event{Kind: mostro.KindAppData, PubKey: author, CreatedAt: nostr.Timestamp(at.Unix()), Content: content,
			Tags: nostr.Tags{{"d", "mostro-rates"}, {"expiration", fmt.Sprint(expires.Unix())}}}
		evt.ID = evt.GetID()
		return evt
	}
	for name, c := range map[string]struct {
		evt  *nostr.Event
		want float64
	}{
		"fresh":            {table(trusted, now.Add(-time.Minute), now.Add(time.Hour), `{"BTC":{"CUP":7000000,"USD":1}}`), 7_000_000},
		"of a stranger":    {table(stranger, now.Add(-time.Minute), now.Add(time.Hour), `{"BTC":{"CUP":7000000}}`), 0},
		"of the future":    {table(trusted, now.Add(time.Minute), now.Add(time.Hour), `{"BTC":{"CUP":7000000}}`), 0},
		"too old":          {table(trusted, now.Add(-31*time.Minute), now.Add(time.Hour), `{"BTC":{"CUP":7000000}}`), 0},
		"expired":          {table(trusted, now.Add(-time.Minute), now, `{"BTC":{"CUP":7000000}}`), 0},
		"without a number": {table(trusted, now.Add(-time.Minute), now.Add(time.Hour), `{"BTC":{"CUP":null,"USD":2}}`), 0},
	} {
		t.Run(name, func(t *testing.T) {
			own := &fakeSource{name: "own", prices: map[string]float64{"USD": 50_000}}
			p := New(Config{Sources: []Source{own}, Nodes: []string{trusted}, Now: func() time.Time { return now }, Publish: true})
			p.Hear(c.evt)
			p.Poll(t.Context())
			if q := p.Quote("CUP", now.Unix()); q.Price != c.want {
				t.Errorf("CUP at %v, want %v", q.Price, c.want)
			}
			if q := p.Quote("USD", now.Unix()); q.Price != 50_000 {
				t.Errorf("the prices of a node overrule our own source: USD at %v", q.Price)
			}
			r, ok := p.Rates(now)
			if _, has := r.BTC["CUP"]; !ok || has || r.BTC["USD"] != 50_000 || !reflect.DeepEqual(r.Sources, []string{"own"}) {
				t.Errorf("published: %+v", r)
			}
			if r.Expiration != nostr.Timestamp(now.Add(10*time.Minute).Unix()) {
				t.Errorf("the event expires at %d", r.Expiration)
			}
		})
	}
}

// An address that hangs, before or during its answer, leaves enough time for the mirrors
// after it.
func TestHangingAddressLeavesTimeForItsMirrors(t *testing.T) {
	hang := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer hang.Close()
	stall := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"btc":{`))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer stall.Close()
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"btc":{"usd":50000}}`))
	}))
	defer good.Close()
	source := HTTPSource{Provider: CurrencyAPI, URL: hang.URL, Mirrors: []string{stall.URL, good.URL}}
	p := New(Config{Sources: []Source{source}, Timeout: 1200 * time.Millisecond})
	p.Poll(t.Context())
	if q := p.Quote("USD", time.Now().Unix()); q.Price != 50_000 {
		t.Errorf("the price after two hanging addresses and a good mirror is %+v", q)
	}
	// All addresses together stay within the time limit of the source.
	source.Mirrors = []string{stall.URL, hang.URL}
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
	defer cancel()
	began := time.Now()
	if prices, err := source.Fetch(ctx); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("%v, %v after %s", prices, err, time.Since(began))
	}
}

// TestHTTPSources serves the format of every provider from a server on loopback.
func TestHTTPSources(t *testing.T) {
	var header http.Header
	var path string
	answers := map[string]string{
		"/exrates/BTC":                    `{"BTC":{"USD":50000.5,"VES":null,"EUR":45000},"base":"BTC","timestamp":1}`,
		"/simple/price":                   `{"bitcoin":{"usd":50000,"eur":"many"}}`,
		"/currencies/btc.min.json":        `{"date":"2026-11-20","btc":{"usd":50000,"eth":30,"cup":1300000}}`,
		"/ticker":                         `{"USD":{"15m":1,"last":50000,"buy":2},"EUR":{"last":null},"JPY":7}`,
		"/broken/exrates/BTC":             `{"BTC":`,
		"/empty/exrates/BTC":              `{"BTC":null}`,
		"/long/exrates/BTC":               `{"BTC":{"USD":1},"pad":"` + strings.Repeat("x", maxPriceBody) + `"}`,
		"/mirror/currencies/btc.min.json": `{"btc":{"usd":40000}}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header, path = r.Header, r.URL.String()
		body, ok := answers[r.URL.Path]
		if !ok {
			http.Redirect(w, r, "/ticker", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte(body))
	}))
	defer server.Close()
	for name, c := range map[string]struct {
		source HTTPSource
		want   map[string]float64 // nil if an error is expected
	}{
		"yadio, a null among them":     {HTTPSource{Provider: Yadio, URL: server.URL}, map[string]float64{"USD": 50000.5, "EUR": 45000}},
		"coingecko, a text among them": {HTTPSource{Provider: CoinGecko, URL: server.URL, APIKey: "secret"}, map[string]float64{"usd": 50000}},
		"currency-api, only":           {HTTPSource{Provider: CurrencyAPI, URL: server.URL, Only: []string{"CUP"}}, map[string]float64{"cup": 1300000}},
		"currency-api, except":         {HTTPSource{Provider: CurrencyAPI, URL: server.URL, Except: []string{"cup", "ETH"}}, map[string]float64{"usd": 50000}},
		"currency-api, by its mirror":  {HTTPSource{Provider: CurrencyAPI, URL: server.URL + "/gone", Mirrors: []string{server.URL + "/mirror"}}, map[string]float64{"usd": 40000}},
		"blockchain":                   {HTTPSource{Provider: Blockchain, URL: server.URL + "/"}, map[string]float64{"USD": 50000}},
		"broken JSON":                  {HTTPSource{Provider: Yadio, URL: server.URL + "/broken"}, nil},
		"nothing in it":                {HTTPSource{Provider: Yadio, URL: server.URL + "/empty"}, nil},
		"endless":                      {HTTPSource{Provider: Yadio, URL: server.URL + "/long"}, nil},
		"redirected":                   {HTTPSource{Provider: Yadio, URL: server.URL + "/elsewhere"}, nil},
		"unknown":                      {HTTPSource{Provider: "tarot", URL: server.URL}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.source.Fetch(t.Context())
			if c.want == nil {
				if err == nil {
					t.Fatalf("believed: %v", got)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Fatalf("%v %v, want %v", got, err, c.want)
			}
			if c.source.APIKey != "" && (header.Get("x-cg-demo-api-key") != "secret" || !strings.Contains(path, "vs_currencies=usd")) {
				t.Errorf("asked %s with %v", path, header)
			}
		})
	}
	for _, s := range []HTTPSource{{Provider: "x"}, {Provider: Yadio, Only: []string{"A"}, Except: []string{"B"}}, {Provider: Yadio, URL: "ftp://x"}} {
		if s.Check() == nil {
			t.Errorf("%+v passes", s)
		}
	}
}

func TestIsMoney(t *testing.T) {
	for code, want := range map[string]bool{
		"VES": true, "ARS": true, "CUP": true, "MLC": true, "SLE": true, "XAF": true, "XCG": true, "EUR": true, "IRT": true,
		"VEF": false, "XAU": false, "XDR": false, "BTC": false, "ETH": false, "": false, "ves": false,
	} {
		if got := isMoney(code); got != want {
			t.Errorf("%q: %v, want %v", code, got, want)
		}
	}
}

// A price of another node is dated by its event: no poll renews it, and an older table of
// another node does not bring an older price back.
func TestRatesOfNodesAreDatedByTheirEvent(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	one, two := strings.Repeat("a", 64), strings.Repeat("b", 64)
	p := New(Config{Nodes: []string{one, two}, Now: func() time.Time { return now }})
	hear := func(author string, age time.Duration, price int) {
		evt := &nostr.Event{Kind: mostro.KindAppData, PubKey: author, CreatedAt: nostr.Timestamp(now.Add(-age).Unix()), Content: fmt.Sprintf(`{"BTC":{"CUP":%d}}`, price),
			Tags: nostr.Tags{{"d", "mostro-rates"}, {"expiration", fmt.Sprint(now.Add(time.Hour).Unix())}}}
		evt.ID = evt.GetID()
		p.Hear(evt)
	}
	quote := func(price float64, stale bool) {
		t.Helper()
		p.Poll(t.Context())
		if q := p.Quote("CUP", now.Unix()); q.Price != price || q.Stale != stale {
			t.Errorf("CUP at %+v, want %v, stale %v", q, price, stale)
		}
	}
	hear(one, 20*time.Minute, 7_000_000)
	quote(7_000_000, false)
	now = now.Add(11 * time.Minute)
	quote(7_000_000, true) // the table is 31 minutes old, however often it was polled
	hear(one, time.Minute, 8_000_000)
	quote(8_000_000, false)
	clear(p.heard)
	hear(two, 10*time.Minute, 5_000_000)
	quote(8_000_000, false)
	now = now.Add(5 * time.Minute)
	hear(two, 0, 6_000_000)
	quote(6_000_000, false)
	// A table of the future does not keep out those that follow.
	hear(two, -time.Hour, 1_000_000)
	now = now.Add(time.Minute)
	hear(two, 0, 6_500_000)
	quote(6_500_000, false)
	// The clock is set back by a day: the price is of a time that has not come.
	now = now.Add(-24 * time.Hour)
	quote(6_500_000, true)
}

// A table that arrives between two polls is used at once. Without sources of its own, a
// program that started before the table arrived would have no price until the next poll.
func TestRatesOfNodesAreUsedAtOnce(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	node := strings.Repeat("a", 64)
	own := &fakeSource{name: "own", prices: map[string]float64{"USD": 50_000}}
	p := New(Config{Sources: []Source{own}, Nodes: []string{node}, Now: func() time.Time { return now }})
	hear := func(cup int) {
		evt := &nostr.Event{Kind: mostro.KindAppData, PubKey: node, CreatedAt: nostr.Timestamp(now.Unix()), Content: fmt.Sprintf(`{"BTC":{"CUP":%d,"USD":1}}`, cup),
			Tags: nostr.Tags{{"d", "mostro-rates"}, {"expiration", fmt.Sprint(now.Add(time.Hour).Unix())}}}
		evt.ID = evt.GetID()
		p.Hear(evt)
	}
	hear(6_000_000)
	if q := p.Quote("USD", now.Unix()); q.Price != 0 {
		t.Errorf("before the first poll, a node sets the price of a currency that the own source has: %+v", q)
	}
	p.Poll(t.Context())
	now = now.Add(time.Minute)
	hear(7_000_000)
	if q := p.Quote("CUP", now.Unix()); q.Price != 7_000_000 || q.Stale {
		t.Errorf("CUP at %+v", q)
	}
	if q := p.Quote("USD", now.Unix()); q.Price != 50_000 {
		t.Errorf("USD at %+v", q)
	}
}

func TestPeggedCodes(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	own := &fakeSource{name: "own", prices: map[string]float64{"USD": 50_000, "USDT": 1, "BTC": 1}}
	p := New(Config{Sources: []Source{own}, Pegged: []string{"USDT", "DOC", "LBTC"}, Now: func() time.Time { return now }})
	for code, want := range map[string]trade.Quote{"LBTC": {Price: 100_000_000}, "USDT": {}, "RBTC": {}} {
		if q := p.Quote(code, now.Unix()); q != want {
			t.Errorf("%s at %+v before the first poll", code, q)
		}
	}
	p.Poll(t.Context())
	for code, want := range map[string]float64{"USDT": 50_000, "usdt": 50_000, "DOC": 50_000, "LBTC": 100_000_000, "USDC": 0, "BTC": 0, "RBTC": 0} {
		if q := p.Quote(code, now.Unix()); q.Price != want || q.Stale {
			t.Errorf("%s at %+v, want %v", code, q, want)
		}
	}
	later := now.Add(31 * time.Minute).Unix()
	if !p.Quote("USDT", later).Stale || p.Quote("LBTC", later).Stale {
		t.Error("a peg to the dollar is as old as the dollar, and a peg to bitcoin never old")
	}
	if CheckPegged([]string{"USDT", "BTC"}) != nil || CheckPegged([]string{"USDD"}) == nil || CheckPegged([]string{"USD"}) == nil {
		t.Error("the codes are not checked")
	}
}

// El Toque knows the dollar, not bitcoin. It fails alone, and its token goes to it alone.
func TestElToque(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	var leaked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked.Store(r.Header.Get("Authorization") != "") }))
	defer other.Close()
	answer := `{"tasas":{"USD":490.0,"MLC":200.0,"ECU":null,"BTC":1},"date":"2026-11-30","hour":7}`
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		from, err := time.Parse(time.DateTime, r.URL.Query().Get("date_from"))
		to, err2 := time.Parse(time.DateTime, r.URL.Query().Get("date_to"))
		if err != nil || err2 != nil || !to.Equal(now) || to.Sub(from) >= 24*time.Hour || to.Sub(from) < 20*time.Hour {
			t.Errorf("asked from %s to %s", from, to)
		}
		if r.Header.Get("Authorization") != "Bearer secret-token" || r.URL.Path != "/v1/trmi" {
			t.Errorf("%s with %q", r.URL.Path, r.Header.Get("Authorization"))
		}
		if status == http.StatusFound {
			http.Redirect(rw, r, other.URL, status)
			return
		}
		rw.WriteHeader(status)
		fmt.Fprint(rw, answer)
	}))
	defer server.Close()
	own := &fakeSource{name: "own", prices: map[string]float64{"USD": 50_000}}
	toque := HTTPSource{Provider: ElToque, URL: server.URL, Token: "secret-token", Now: func() time.Time { return now }}
	p := New(Config{Sources: []Source{toque, own}, Now: func() time.Time { return now }, Failures: 100})
	quotes := func(usd, cup, mlc float64) {
		t.Helper()
		p.Poll(t.Context())
		for code, want := range map[string]float64{"USD": usd, "CUP": cup, "MLC": mlc, "EUR": 0} {
			if q := p.Quote(code, now.Unix()); math.Abs(q.Price-want) > 1e-6*want {
				t.Errorf("%s at %+v, want %v", code, q, want)
			}
		}
	}
	quotes(50_000, 24_500_000, 122_500)
	own.prices["USD"] = 60_000
	quotes(60_000, 29_400_000, 147_000)
	own.err = errors.New("down") // no dollar in this poll: the last prices stay
	answer = `{"tasas":{"USD":500.0,"MLC":200.0}}`
	quotes(60_000, 29_400_000, 147_000)
	own.err, own.prices["USD"] = nil, 70_000
	for _, bad := range []string{"nonsense", `{"tasas":{"MLC":200.0}}`, `{"tasas":{"USD":-1}}`, `{}`} {
		answer = bad
		quotes(70_000, 29_400_000, 147_000)
	}
	for _, s := range []int{http.StatusUnauthorized, http.StatusFound} {
		status = s
		quotes(70_000, 29_400_000, 147_000)
	}
	if leaked.Load() {
		t.Error("the token went to another host")
	}
	if (HTTPSource{Provider: ElToque}).Check() == nil || toque.Check() != nil {
		t.Error("the token is not checked")
	}
}

func TestPast24NullRateSpoilsNothing(t *testing.T) { // #748
	prices, err := readNested("BTC")([]byte(`{"BTC":{"USD":50000,"VES":null}}`))
	if err != nil || prices["USD"] != 50_000 || len(prices) != 1 {
		t.Fatalf("%v %v", prices, err)
	}
	now := time.Unix(1_790_000_000, 0)
	source := &fakeSource{name: "a", prices: map[string]float64{"USD": 50_000}}
	p := New(Config{Sources: []Source{source}, Now: func() time.Time { return now }})
	p.Poll(t.Context())
	source.prices, source.err = nil, errors.New("down")
	p.Poll(t.Context())
	if q := p.Quote("USD", now.Unix()); q.Price != 50_000 || q.Stale {
		t.Errorf("the last good price was lost: %+v", q)
	}
}

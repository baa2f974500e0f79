package indexer

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

func ratesEvent(author int, at int64, usd float64) *nostr.Event {
	return signless(nostr.Event{PubKey: pubkeyOf(author), Kind: mostro.KindAppData, CreatedAt: nostr.Timestamp(at), Tags: nostr.Tags{{"d", "mostro-rates"}},
		Content: fmt.Sprintf(`{"BTC":{"USD":%g}}`, usd)})
}

// smallMarket returns an index of two instances with a few orders in USD, and the log.
//
//	node 1: a sell at +1 % and a buy at +3 %, both cash; one order that was completed (1000 sats,
//	        100 USD), and one that was canceled
//	node 2: a sell at +2 %, cash and Zelle
func smallMarket(t testing.TB, rules Rules) *opened {
	t.Helper()
	l, clk := newMemLog(), newClock()
	add := func(evt *nostr.Event, at int64) { clk.set(at); l.add(evt, clk.now(), mostro.OriginLive, false) }
	add(infoEvent(1, t0-90000, "One"), t0-90000)
	add(infoEvent(2, t0-90000, "Two"), t0-90000)
	for i, status := range []string{"pending", "in-progress", "success"} {
		at := t0 - 80000 + int64(i)*600
		add(draft{author: 1, d: "done", at: at, status: status, amt: "1000", fa: []string{"100"}, premium: "0", methods: []string{"cash"}}.event(), at)
	}
	add(draft{author: 1, d: "dropped", at: t0 - 70000, amt: "0", fa: []string{"50"}, premium: "5"}.event(), t0-70000)
	add(draft{author: 1, d: "dropped", at: t0 - 69000, status: "canceled", amt: "0", fa: []string{"50"}, premium: "5"}.event(), t0-69000)
	add(draft{author: 1, d: "sell", at: t0 - 5000, amt: "0", fa: []string{"100"}, premium: "1", methods: []string{"cash"}}.event(), t0-5000)
	add(draft{author: 1, d: "buy", at: t0 - 4000, side: "buy", amt: "0", fa: []string{"10", "200"}, premium: "3", methods: []string{"cash", "PIX"}}.event(), t0-4000)
	add(draft{author: 2, d: "sell2", at: t0 - 3000, amt: "0", fa: []string{"400"}, premium: "2", methods: []string{"cash", "Zelle"}}.event(), t0-3000)
	add(ratesEvent(1, t0-120, 100_000), t0-120)
	add(ratesEvent(2, t0-100, 102_000), t0-100)
	// An event of another application on a kind of Mostro's never counts.
	add(signless(nostr.Event{PubKey: pubkeyOf(5), Kind: mostro.KindOrder, CreatedAt: t0 - 50, Tags: nostr.Tags{{"d", "x"}, {"z", "offer"}, {"y", "other"}}}), t0-50)
	clk.set(t0)
	x, err := Open(Config{Dir: t.TempDir(), Log: l, Events: l, Rules: rules, Now: clk.now})
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{Index: x, log: l, clock: clk}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	o.catchUp(t)
	return o
}

// answer decodes the answer to a request that must succeed.
func answer[T any](t testing.TB, h http.Handler, target string) (out T) {
	t.Helper()
	w := fetch(t, h, target)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", target, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("GET %s: %v in %s", target, err, w.Body)
	}
	return out
}

type figureJSON struct {
	Name, Kind, Unit string
	Value            any
	Error            *string
	Events           int
	Witnessed        int
	Source           *string
}

type statsJSON struct {
	GeneratedAt string `json:"generated_at"`
	Range       struct{ From, Until string }
	Coverage    struct {
		Complete      bool
		WitnessedFrom int64 `json:"witnessed_from"`
		Sources       []map[string]any
	}
	Metrics []figureJSON
}

func (s *statsJSON) find(t testing.TB, name string) figureJSON {
	t.Helper()
	for _, m := range s.Metrics {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no figure is named %s", name)
	return figureJSON{}
}

func TestStatsOverHTTP(t *testing.T) {
	o := smallMarket(t, nil)
	h := o.Handler()
	doc := answer[statsJSON](t, h, "/api/v1/stats")
	for name, want := range map[string]any{
		"orders.created": 5.0, "orders.completed": 1.0, "orders.canceled": 1.0, "orders.completion_rate": 0.5, "orders.open_now": 3.0,
		"volume.sats": 1000.0, "market.premium_buy_p50": 0.03, "timing.fill_p50": 600.0, "instances.active": 2.0, "disputes.rate": 0.0,
		"orders.created_delta": nil,
	} {
		if got := doc.find(t, name); got.Value != want {
			t.Errorf("%s is %v, want %v", name, got.Value, want)
		}
	}
	total := doc.find(t, "volume.fiat.USD.total")
	if v, ok := total.Value.(map[string]any); !ok || v["amount"] != "100" || v["code"] != "USD" || total.Unit != "fiat" || total.Kind != "observed" {
		t.Errorf("an amount of fiat is %+v", total)
	}
	if doc.Range.Until != "2026-09-21T14:14:00Z" || !strings.HasPrefix(doc.GeneratedAt, "2026-09-21T14:13:20") {
		t.Errorf("the window ends at %s, the answer is of %s", doc.Range.Until, doc.GeneratedAt)
	}
	if doc.Coverage.WitnessedFrom != t0-90000 || doc.Coverage.Complete || len(doc.Coverage.Sources) != 1 {
		t.Errorf("coverage is %+v", doc.Coverage)
	}
	one := answer[statsJSON](t, h, "/api/v1/stats?metric=orders.created&metric=volume.sats&instance="+pubkeyOf(2))
	if len(one.Metrics) != 2 || one.Metrics[0].Value != 1.0 || one.Metrics[1].Value != 0.0 || one.Metrics[0].Events != 1 {
		t.Errorf("two metrics of node 2 are %+v", one.Metrics)
	}
	if w := answer[statsJSON](t, h, "/api/v1/stats?clock=witnessed&metric=orders.created").Metrics[0]; w.Kind != "witnessed" || w.Value != 5.0 {
		t.Errorf("witnessed: %+v", w)
	}
	t.Run("each figure leads to its signed events", func(t *testing.T) {
		for _, m := range doc.Metrics {
			if m.Source == nil {
				continue
			}
			list := answer[struct {
				Items []struct {
					EventID string `json:"event_id"`
					Event   string
				}
			}](t, h, *m.Source)
			if len(list.Items) > m.Events {
				t.Errorf("%s counts %d events, and %s lists %d", m.Name, m.Events, *m.Source, len(list.Items))
			}
			if m.Name == "orders.completed" {
				if len(list.Items) != 1 {
					t.Fatalf("%d completed", len(list.Items))
				}
				evt := answer[nostr.Event](t, h, list.Items[0].Event)
				if evt.ID != list.Items[0].EventID || evt.Tags.GetD() != "done" || !evt.CheckID() {
					t.Errorf("the completed order is %s", evt.String())
				}
			}
		}
	})
	t.Run("pages of sources", func(t *testing.T) {
		type page struct {
			Items []struct {
				EventID string `json:"event_id"`
			}
			Next *string `json:"next_cursor"`
		}
		seen, target := map[string]bool{}, "/api/v1/stats/events?metric=orders.created&limit=2"
		cursor := ""
		for range 10 {
			p := answer[page](t, h, target+cursor)
			for _, i := range p.Items {
				seen[i.EventID] = true
			}
			if p.Next == nil {
				break
			}
			cursor = "&cursor=" + *p.Next
			o.clock.set(o.clock.now().Unix() + 61) // the default window moves on between the pages
		}
		if len(seen) != 5 {
			t.Errorf("%d events on all pages, want 5", len(seen))
		}
		first := answer[page](t, h, target)
		if w := fetch(t, h, "/api/v1/stats/events?metric=orders.completed&limit=2&cursor="+*first.Next); w.Code != 400 || !strings.Contains(w.Body.String(), `"param":"cursor"`) {
			t.Errorf("the cursor of another query: %d %s", w.Code, w.Body)
		}
		o.clock.set(t0)
	})
	t.Run("series", func(t *testing.T) {
		s := answer[struct {
			Points []struct {
				From  int64
				Value any
			}
		}](t, h, fmt.Sprintf("/api/v1/stats/series?metric=orders.created&by=hour&from=%d&until=%d", t0-7200, t0))
		sum := 0.0
		for _, p := range s.Points {
			sum += p.Value.(float64)
		}
		if len(s.Points) != 3 || sum != 3 {
			t.Errorf("%+v", s.Points)
		}
	})
	t.Run("groups", func(t *testing.T) {
		g := answer[struct {
			Groups []struct {
				Group string
				Value any
			}
		}](t, h, "/api/v1/stats/groups?metric=orders.created&split=instance")
		if len(g.Groups) != 2 || g.Groups[0].Group != pubkeyOf(1) || g.Groups[0].Value != 4.0 {
			t.Errorf("%+v", g)
		}
	})
	t.Run("survival", func(t *testing.T) {
		s := answer[struct{ Orders, Taken, Censored int }](t, h, "/api/v1/stats/survival")
		if s.Orders != 5 || s.Taken != 1 || s.Censored != 4 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("metrics", func(t *testing.T) {
		d := answer[struct {
			Items []struct{ Name, Unit, Formula string }
		}](t, h, "/api/v1/stats/metrics")
		if len(d.Items) < 100 || d.Items[0].Name != "orders.created" || d.Items[0].Formula == "" {
			t.Errorf("%d definitions, the first is %+v", len(d.Items), d.Items[0])
		}
	})
	t.Run("instance", func(t *testing.T) {
		s := answer[struct {
			statsJSON
			Policies []struct {
				At      int64
				Fee     float64
				EventID string `json:"event_id"`
			}
		}](t, h, "/api/v1/instances/"+pubkeyOf(1)+"/stats")
		if got := s.find(t, "orders.created"); got.Value != 4.0 || len(s.Policies) != 1 || s.Policies[0].Fee != 0.006 || s.Policies[0].EventID == "" {
			t.Errorf("%v, policies %+v", got.Value, s.Policies)
		}
		past := answer[statsJSON](t, h, fmt.Sprintf("/api/v1/instances/%s/stats?at=%d", pubkeyOf(1), t0-75000))
		if got := past.find(t, "orders.created"); got.Value != 1.0 {
			t.Errorf("orders.created at a past time is %v", got.Value)
		}
	})
}

type bestJSON struct {
	Pubkey  string
	Level   float64 `json:"level_pct"`
	Price   string
	EventID string `json:"event_id"`
	Order   string
}

type marketJSON struct {
	At             int64
	BeforeCoverage bool `json:"before_coverage"`
	Offers         int
	Bid, Ask       *bestJSON
	Spread         *float64 `json:"spread_pct"`
	Rate           *struct {
		Price     string
		Low, High string
		Nodes     int
		Age       int `json:"age_seconds"`
	}
	Bids, Asks []struct {
		Level      float64 `json:"level_pct"`
		Orders     int
		Sats       int64
		Cumulative int64
	}
	Crossed []struct {
		Buy     string `json:"buy_event_id"`
		Sell    string `json:"sell_event_id"`
		Methods []string
		Gap     float64 `json:"gap_pct"`
	}
	Implied *struct {
		Rate     string
		Samples  int
		Parallel bool
	} `json:"implied_rate"`
}

func TestMarketOverHTTP(t *testing.T) {
	o := smallMarket(t, nil)
	h := o.Handler()
	m := answer[marketJSON](t, h, "/api/v1/market/usd")
	if m.Offers != 3 || m.Bid == nil || m.Bid.Level != 3 || m.Ask == nil || m.Ask.Level != 1 || m.Spread == nil || *m.Spread != -2 {
		t.Errorf("best offers are %+v, %+v, spread %v", m.Bid, m.Ask, m.Spread)
	}
	if m.Bid.Order != "/api/v1/orders/"+pubkeyOf(1)+"/buy" || m.Bid.Price != "104030" {
		t.Errorf("the bid is %+v: the price is the median of both rates, 101000, and 3 %%", m.Bid)
	}
	if m.Rate == nil || m.Rate.Price != "101000" || m.Rate.Nodes != 2 || m.Rate.Age != 100 || m.Rate.Low != "100000" || m.Rate.High != "102000" {
		t.Errorf("the rate is %+v", m.Rate)
	}
	if len(m.Bids) != 1 || len(m.Asks) != 2 || m.Asks[0].Level != 1 || m.Asks[1].Cumulative != m.Asks[0].Sats+m.Asks[1].Sats {
		t.Errorf("depth is %+v and %+v", m.Bids, m.Asks)
	}
	if len(m.Crossed) != 2 || m.Crossed[0].Gap != 2 || fmt.Sprint(m.Crossed[0].Methods) != "[cash]" || m.Crossed[0].Buy != m.Bid.EventID || m.Crossed[0].Sell != m.Ask.EventID {
		t.Errorf("crossed pairs are %+v", m.Crossed)
	}
	if m.BeforeCoverage || m.At != t0 {
		t.Errorf("at %d, before coverage %t", m.At, m.BeforeCoverage)
	}
	past := answer[marketJSON](t, h, fmt.Sprintf("/api/v1/market/USD?at=%d", t0-4500))
	if past.Offers != 1 || past.Bid != nil || past.Rate != nil || past.BeforeCoverage {
		t.Errorf("the book at a past time is %+v", past)
	}
	if before := answer[marketJSON](t, h, fmt.Sprintf("/api/v1/market/USD?at=%d", t0-100_000)); !before.BeforeCoverage || before.Offers != 0 {
		t.Errorf("before coverage: %+v", before)
	}
	list := answer[struct {
		Items []struct {
			Fiat   string
			Offers int
			Market string
		}
	}](t, h, "/api/v1/market")
	if len(list.Items) != 1 || list.Items[0].Fiat != "USD" || list.Items[0].Offers != 3 || list.Items[0].Market != "/api/v1/market/USD" {
		t.Errorf("markets are %+v", list.Items)
	}
	s := answer[struct {
		Kind  string
		Rates []struct {
			Rate     *string
			Executed int
			Parallel bool
		}
	}](t, h, fmt.Sprintf("/api/v1/market/USD/series?by=day&from=%d", t0-86400*2))
	executed := 0
	for _, p := range s.Rates {
		executed += p.Executed
	}
	if s.Kind != "inferred" || len(s.Rates) < 2 || executed != 1 {
		t.Errorf("implied rates are %+v", s)
	}
	of := answer[struct {
		Kind   string
		Points []figureJSON
	}](t, h, "/api/v1/market/USD/series?metric=volume.sats&by=month")
	if of.Kind != "observed" || len(of.Points) != 2 || of.Points[1].Value != 1000.0 {
		t.Errorf("volume of USD is %+v", of)
	}
	type directory struct {
		Total int
		Items []struct {
			Pubkey    string
			Policy    struct{ Fee float64 }
			Completed int
			Open      int `json:"open_orders"`
		}
	}
	d := answer[directory](t, h, fmt.Sprintf("/api/v1/instances?at=%d", t0-4500))
	if d.Total != 2 || d.Items[0].Pubkey != pubkeyOf(1) || d.Items[0].Completed != 1 || d.Items[0].Open != 1 || d.Items[0].Policy.Fee != 0.006 || d.Items[1].Open != 0 {
		t.Errorf("the directory at a past time is %+v", d)
	}
	if d := answer[directory](t, h, fmt.Sprintf("/api/v1/instances?at=%d", t0-95000)); d.Total != 0 {
		t.Errorf("the directory before all infos is %+v", d)
	}
}

func TestStatsTags(t *testing.T) {
	o := smallMarket(t, nil)
	h := o.Handler()
	for _, target := range []string{"/api/v1/stats", "/api/v1/market/USD", "/api/v1/market", "/api/v1/stats/series?metric=orders.created", "/api/v1/instances/" + pubkeyOf(1) + "/stats"} {
		tag := fetch(t, h, target).Header().Get("ETag")
		if w := fetch(t, h, target, "If-None-Match", tag); tag == "" || w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("%s: the tag %q returns %d", target, tag, w.Code)
		}
		// An event that does not count leaves the tag, an order changes it.
		o.log.add(signless(nostr.Event{PubKey: pubkeyOf(3), Kind: 1, CreatedAt: t0, Content: target}), o.clock.now(), mostro.OriginLive, false)
		o.catchUp(t)
		if w := fetch(t, h, target, "If-None-Match", tag); w.Code != http.StatusNotModified {
			t.Errorf("%s: an event that does not count makes %d", target, w.Code)
		}
		o.log.add(draft{author: 1, d: "new" + target}.event(), o.clock.now(), mostro.OriginLive, false)
		o.catchUp(t)
		if w := fetch(t, h, target, "If-None-Match", tag); w.Code != http.StatusOK {
			t.Errorf("%s: a new order makes %d", target, w.Code)
		}
	}
}

func TestStatsBadInput(t *testing.T) {
	h := smallMarket(t, nil).Handler()
	long := strings.Repeat("x", 10<<10)
	for target, param := range map[string]string{
		"/api/v1/stats?from=-62135596800&until=1790000000":                               "from",
		"/api/v1/stats?from=0&until=33000000000":                                         "until",
		"/api/v1/stats?from=0001-01-01T00:00:00Z":                                        "from",
		"/api/v1/stats?until=NaN":                                                        "until",
		"/api/v1/stats?from=1e9":                                                         "from",
		"/api/v1/stats?until=" + fmt.Sprint(t0+10_000):                                   "until",
		"/api/v1/stats?from=1790000000&until=1780000000":                                 "until",
		"/api/v1/stats?fait=USD":                                                         "fait",
		"/api/v1/stats?" + long + "=1":                                                   long[:64],
		"/api/v1/stats?method=" + long:                                                   "method",
		"/api/v1/stats?metric=orders":                                                    "metric",
		"/api/v1/stats?metric=volume.fiat.{code}.total":                                  "metric",
		"/api/v1/stats?side=both":                                                        "side",
		"/api/v1/stats?instance=abc":                                                     "instance",
		"/api/v1/stats?clock=sundial":                                                    "clock",
		"/api/v1/stats?clock=signed&clock=witnessed":                                     "clock",
		"/api/v1/stats?in=" + strings.Repeat("X", 20):                                    "in",
		"/api/v1/stats?include=all":                                                      "include",
		"/api/v1/stats?" + strings.Repeat("metric=orders.created&", 51):                  "metric",
		"/api/v1/stats?" + strings.Repeat("fiat=USD&", 501):                              "fiat",
		"/api/v1/stats/metrics?limit=1":                                                  "limit",
		"/api/v1/stats/series":                                                           "metric",
		"/api/v1/stats/series?metric=orders.created&by=hour&from=0":                      "by",
		"/api/v1/stats/series?metric=orders.created&by=second":                           "by",
		"/api/v1/stats/series?metric=disputes.open_now":                                  "metric",
		"/api/v1/stats/groups?metric=orders.created":                                     "split",
		"/api/v1/stats/groups?metric=orders.created&split=colour":                        "split",
		"/api/v1/stats/groups?metric=instances.mean&split=fiat":                          "metric",
		"/api/v1/stats/events?metric=orders.created&limit=1e9":                           "limit",
		"/api/v1/stats/events?metric=orders.created&limit=1000000000":                    "limit",
		"/api/v1/stats/events?metric=orders.created&limit=0":                             "limit",
		"/api/v1/stats/events?metric=orders.created&cursor=AAAA":                         "cursor",
		"/api/v1/stats/events?metric=instances.silent":                                   "metric",
		"/api/v1/market/US-D":                                                            "fiat",
		"/api/v1/market/" + strings.Repeat("A", 17):                                      "fiat",
		"/api/v1/market/USD?step=NaN":                                                    "step",
		"/api/v1/market/USD?step=0":                                                      "step",
		"/api/v1/market/USD?step=1e-9":                                                   "step",
		"/api/v1/market/USD?step=Inf":                                                    "step",
		"/api/v1/market/USD?at=" + fmt.Sprint(t0+10):                                     "at",
		"/api/v1/market/USD?at=soon":                                                     "at",
		"/api/v1/market?limit=5":                                                         "limit",
		"/api/v1/market/USD/series?trim=0.5":                                             "trim",
		"/api/v1/market/USD/series?trim=NaN":                                             "trim",
		"/api/v1/market/USD/series?by=week":                                              "by",
		"/api/v1/market/USD/series?by=hour&from=" + fmt.Sprint(t0-86400*1000):            "by",
		"/api/v1/instances/xyz/stats":                                                    "pubkey",
		"/api/v1/instances?at=" + fmt.Sprint(t0+10):                                      "at",
		"/api/v1/instances?at=1790000000&sort=rank":                                      "sort",
		"/api/v1/instances/" + pubkeyOf(1) + "/stats?instance=" + url.QueryEscape("abc"): "instance",
	} {
		w := fetch(t, h, target)
		var p struct {
			Status int
			Param  string
			Detail string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusBadRequest || p.Status != w.Code || p.Param != param || p.Detail == "" ||
			w.Header().Get("Content-Type") != "application/problem+json" || w.Body.Len() > 4<<10 {
			t.Errorf("GET %.100s: %d %.300s, want 400 that names %.20s", target, w.Code, w.Body, param)
		}
	}
}

// hiding is a set of rules that hides one key and one event.
type hiding struct {
	never, onDemand, events map[[32]byte]struct{}
}

func (h *hiding) Hidden() (uint64, map[[32]byte]struct{}, map[[32]byte]struct{}, map[[32]byte]struct{}) {
	return uint64(1 + len(h.never) + 10*len(h.onDemand) + 100*len(h.events)), h.never, h.onDemand, h.events
}

func TestHiddenKeysDoNotCount(t *testing.T) {
	rules := &hiding{never: map[[32]byte]struct{}{}, onDemand: map[[32]byte]struct{}{}, events: map[[32]byte]struct{}{}}
	h := smallMarket(t, rules).Handler()
	created := func(query string) any {
		return answer[statsJSON](t, h, "/api/v1/stats?metric=orders.created"+query).Metrics[0].Value
	}
	tag := fetch(t, h, "/api/v1/market/USD").Header().Get("ETag")
	if created("") != 5.0 {
		t.Fatalf("%v orders before the ban", created(""))
	}
	rules.never[keyOf(t, pubkeyOf(1))] = struct{}{}
	if got := created(""); got != 1.0 {
		t.Errorf("%v orders after the ban, want 1", got)
	}
	if w := fetch(t, h, "/api/v1/market/USD", "If-None-Match", tag); w.Code != http.StatusOK {
		t.Errorf("the tag from before the ban makes %d", w.Code)
	}
	m := answer[marketJSON](t, h, "/api/v1/market/USD")
	if m.Offers != 1 || m.Bid != nil || m.Rate == nil || m.Rate.Nodes != 1 || m.Rate.Price != "102000" || len(m.Crossed) != 0 {
		t.Errorf("the market after the ban is %+v", m)
	}
	if w := fetch(t, h, "/api/v1/instances/"+pubkeyOf(1)+"/stats"); w.Code != http.StatusNotFound {
		t.Errorf("the figures of a banned key: %d", w.Code)
	}
	if g := answer[struct{ Groups []struct{ Group string } }](t, h, "/api/v1/stats/groups?metric=orders.created&split=instance"); len(g.Groups) != 1 || g.Groups[0].Group != pubkeyOf(2) {
		t.Errorf("groups name %+v", g.Groups)
	}
	clear(rules.never)
	rules.onDemand[keyOf(t, pubkeyOf(1))] = struct{}{}
	if got, spam := created(""), created("&include=spam"); got != 1.0 || spam != 5.0 {
		t.Errorf("quarantined: %v orders, with spam %v", got, spam)
	}
	clear(rules.onDemand)
	sell := answer[marketJSON](t, h, "/api/v1/market/USD").Ask.EventID
	rules.events[keyOf(t, sell)] = struct{}{}
	m = answer[marketJSON](t, h, "/api/v1/market/USD")
	if m.Offers != 2 || m.Ask.EventID == sell || m.Ask.Level != 2 || len(m.Crossed) != 1 {
		t.Errorf("a banned event is shown: %+v, %+v", m.Ask, m.Crossed)
	}
	if got := created(""); got != 4.0 {
		t.Errorf("%v orders after the ban of one event, want 4", got)
	}
	clear(rules.events)
	if got := created(""); got != 5.0 {
		t.Errorf("%v orders after the ban was lifted, want 5", got)
	}
	if m = answer[marketJSON](t, h, "/api/v1/market/USD"); m.Offers != 3 || m.Ask.EventID != sell {
		t.Errorf("the market after the ban was lifted is %+v", m)
	}
}

func keyOf(t testing.TB, text string) (key [32]byte) {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	copy(key[:], raw)
	return key
}

func TestStatsBehind(t *testing.T) {
	l, clk := newMemLog(), newClock()
	l.add(draft{d: "1"}.event(), clk.now(), mostro.OriginLive, false)
	o := openTest(t, l, clk, "")
	for _, target := range []string{"/api/v1/stats", "/api/v1/market/USD"} {
		if w := fetch(t, o.Handler(), target); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "caught up") {
			t.Errorf("%s before the log was read: %d %s", target, w.Code, w.Body)
		}
	}
}

type priceJSON struct {
	FiatAmount *string `json:"fiat_amount"`
	Sats       *int64
	Fee        *int64   `json:"fee_sats"`
	Cost       *float64 `json:"cost_pct"`
	Reason     *string
	Rate       *struct {
		BTC, Source string
		Nodes       int
		Age         int `json:"age_seconds"`
	}
}

type listJSON struct {
	Items []struct {
		D     string
		Price *priceJSON
	}
	Next           *string `json:"next_cursor"`
	Total          int
	At             int64
	BeforeCoverage bool           `json:"before_coverage"`
	Coverage       map[string]any `json:"coverage"`
}

func (l listJSON) of(t testing.TB, d string) *priceJSON {
	t.Helper()
	for _, i := range l.Items {
		if i.D == d {
			return i.Price
		}
	}
	t.Fatalf("order %s is not in the list", d)
	return nil
}

// TestPricesOfOrders compares the price in each row with amounts that were computed by hand:
// the reference rate is 101,000, the median of 100,000 and 102,000, and half of the fee is
// 0.3 %.
func TestPricesOfOrders(t *testing.T) {
	o := smallMarket(t, nil)
	o.log.add(draft{author: 1, d: "fixed", amt: "200000", fa: []string{"202"}, premium: "0", at: t0 - 60}.event(), o.clock.now(), mostro.OriginLive, false)
	o.log.add(draft{author: 4, d: "other", amt: "0", fa: []string{"100"}, premium: "-9", platform: "robosats", at: t0 - 50}.event(), o.clock.now(), mostro.OriginLive, false)
	o.catchUp(t)
	h := o.Handler()
	list := answer[listJSON](t, h, "/api/v1/orders?fiat_amount=100&sort=cost")
	p := list.of(t, "sell") // 100 / (101000 * 1.01) = 98,030 sats, minus 294
	if p.Sats == nil || *p.Sats != 98030-294 || *p.Fee != 294 || *p.Cost != 1.3 || *p.FiatAmount != "100" || p.Reason != nil ||
		p.Rate.BTC != "101000" || p.Rate.Source != "nodes" || p.Rate.Nodes != 2 || p.Rate.Age != 120 {
		t.Errorf("the price of a sell is %+v at %+v", p, p.Rate)
	}
	if p = list.of(t, "buy"); *p.Sats != 96126+288 || *p.Cost != -2.7 { // 100 / (101000 * 1.03)
		t.Errorf("the price of a buy is %d at %v %%", *p.Sats, *p.Cost)
	}
	if p = list.of(t, "other"); p.Sats != nil || *p.Reason != "no_fee" || p.Cost != nil {
		t.Errorf("the price without a fee is %+v", p)
	}
	all := answer[listJSON](t, h, "/api/v1/orders?sort=cost")
	var order []string
	for _, i := range all.Items {
		order = append(order, i.D)
	}
	if got := fmt.Sprint(order); got != "[buy fixed sell sell2 other]" { // 202 / 200,000 sats is the rate: 0.3 %
		t.Errorf("by cost: %s", got)
	}
	if p := all.of(t, "fixed"); *p.Sats != 200000-600 || *p.Cost != 0.3 {
		t.Errorf("a fixed price is %d at %v %%", *p.Sats, *p.Cost)
	}
	if p := all.of(t, "buy"); *p.FiatAmount != "10" {
		t.Errorf("a range is priced at %s", *p.FiatAmount)
	}
	t.Run("pages by cost", func(t *testing.T) {
		var got []string
		for target := "/api/v1/orders?sort=cost&limit=2"; ; {
			page := answer[listJSON](t, h, target)
			for _, i := range page.Items {
				got = append(got, i.D)
			}
			if page.Next == nil {
				break
			}
			target = "/api/v1/orders?sort=cost&limit=2&cursor=" + *page.Next
		}
		if fmt.Sprint(got) != fmt.Sprint(order) {
			t.Errorf("pages list %v, want %v", got, order)
		}
	})
	t.Run("history has no price", func(t *testing.T) {
		if p := answer[listJSON](t, h, "/api/v1/orders?open=any&status=success").of(t, "done"); p != nil {
			t.Errorf("%+v", p)
		}
		past := answer[listJSON](t, h, fmt.Sprintf("/api/v1/orders?at=%d", t0-3500))
		if past.of(t, "sell") != nil || past.At != t0-3500 || past.BeforeCoverage || past.Coverage == nil {
			t.Errorf("%+v", past)
		}
		if before := answer[listJSON](t, h, fmt.Sprintf("/api/v1/orders?at=%d", t0-95_000)); !before.BeforeCoverage || before.Total != 0 {
			t.Errorf("before coverage: %+v", before)
		}
	})
	t.Run("an impostor's rate does not count", func(t *testing.T) {
		o.log.add(infoEvent(7, t0-10, "One"), o.clock.now(), mostro.OriginLive, false)
		o.log.add(ratesEvent(7, t0-5, 1), o.clock.now(), mostro.OriginLive, false)
		o.log.add(ratesEvent(8, t0-5, 1), o.clock.now(), mostro.OriginLive, false) // no instance
		o.catchUp(t)
		if p := answer[listJSON](t, h, "/api/v1/orders?fiat_amount=100").of(t, "sell"); p.Rate.BTC != "101000" {
			t.Errorf("the rate is %s", p.Rate.BTC)
		}
	})
	t.Run("old rates do not count", func(t *testing.T) {
		o.clock.set(t0 + 3700)
		if p := answer[listJSON](t, h, "/api/v1/orders?fiat_amount=100").of(t, "sell"); p.Rate != nil || p.Sats != nil || *p.Reason != "no_rate" {
			t.Errorf("%+v", p)
		}
	})
	for target, param := range map[string]string{
		"/api/v1/orders?sort=cost&open=any":                 "sort",
		"/api/v1/orders?sort=cost&at=" + fmt.Sprint(t0-100): "sort",
		"/api/v1/orders?min_rank=0":                         "min_rank",
		"/api/v1/orders?min_rank=1e9":                       "min_rank",
		"/api/v1/orders?min_rank=50":                        "min_rank", // no reputation here
		"/api/v1/orders?min_maker_days=NaN":                 "min_maker_days",
		"/api/v1/orders?min_maker_days=-1":                  "min_maker_days",
	} {
		if w := fetch(t, h, target); w.Code != 400 || !strings.Contains(w.Body.String(), `"param":"`+param+`"`) {
			t.Errorf("GET %s: %d %s", target, w.Code, w.Body)
		}
	}
}

func TestMinRank(t *testing.T) {
	ranks := map[string]int{pubkeyOf(1): 40, pubkeyOf(2): 80}
	RanksForTest = func(pubkey string) (s mostro.ReputationSummary, ok bool) {
		rank, ok := ranks[pubkey]
		return mostro.ReputationSummary{Rank: rank, WatchDays: 30}, ok
	}
	defer func() { RanksForTest = nil }()
	o := smallMarket(t, nil)
	h := o.Handler()
	for query, want := range map[string]int{"min_rank=40": 3, "min_rank=41": 1, "min_rank=81": 0, "min_rank=41&instance=" + pubkeyOf(1): 0, "min_rank=40&instance=" + pubkeyOf(1): 2} {
		if list := answer[listJSON](t, h, "/api/v1/orders?"+query); list.Total != want || len(list.Items) != want {
			t.Errorf("%s: %d orders, want %d", query, list.Total, want)
		}
	}
	rows := answer[struct {
		Items []struct {
			Instance struct {
				Pubkey string
				Rank   *int
			}
		}
	}](t, h, "/api/v1/orders")
	for _, i := range rows.Items {
		if i.Instance.Rank == nil || *i.Instance.Rank != ranks[i.Instance.Pubkey] {
			t.Errorf("the row of %s has the rank %v", i.Instance.Pubkey, i.Instance.Rank)
		}
	}
	first := answer[listJSON](t, h, "/api/v1/orders?min_rank=40&limit=1")
	ranks[pubkeyOf(3)] = 99 // the set of instances changes between the pages
	o.log.add(infoEvent(3, t0-10, "Three"), o.clock.now(), mostro.OriginLive, false)
	o.catchUp(t)
	if second := answer[listJSON](t, h, "/api/v1/orders?min_rank=40&limit=1&cursor="+*first.Next); len(second.Items) != 1 || second.Items[0].D == first.Items[0].D {
		t.Errorf("the second page is %+v", second.Items)
	}
	if w := fetch(t, h, "/api/v1/orders?min_rank=41&limit=1&cursor="+*first.Next); w.Code != 400 {
		t.Errorf("the cursor of another rank: %d", w.Code)
	}
}

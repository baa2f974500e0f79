package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// fair is a market with a past that this relay received live.
type fair struct {
	tb    testing.TB
	m     *Main
	nodes map[string]*envelope.Keys
	last  eventlog.Pending
	stop  func()
}

func testKeys(tb testing.TB, name string) *envelope.Keys {
	tb.Helper()
	sum := sha256.Sum256([]byte(name))
	keys, err := keysOf(hex.EncodeToString(sum[:]))
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

func signAs(tb testing.TB, keys *envelope.Keys, evt nostr.Event) *nostr.Event {
	tb.Helper()
	if err := (signer{keys}).Sign(&evt); err != nil {
		tb.Fatal(err)
	}
	return &evt
}

// put appends an event with a receipt time equal to its creation time.
func (f *fair) put(keys *envelope.Keys, evt nostr.Event, when time.Time) *nostr.Event {
	f.tb.Helper()
	evt.CreatedAt = nostr.Timestamp(when.Unix())
	signed := signAs(f.tb, keys, evt)
	var err error
	if f.last, err = f.m.store.Enqueue(context.Background(), eventlog.Arrival{Event: signed, ReceivedAt: when.Add(time.Second), Source: mostro.Source{Origin: mostro.OriginLive, Relay: "wss://relay.example"}}); err != nil {
		f.tb.Fatal(err)
	}
	return signed
}

func (f *fair) info(name string, when time.Time, change func(*mostro.Info)) {
	keys := f.nodes[name]
	least, most, fee := int64(100), int64(500_000), mustDecimal(f.tb, "0.006")
	i := mostro.Info{Pubkey: keys.Pubkey(), Name: name, Version: "0.18.5", ProtocolVersion: 2, MinOrderSats: &least, MaxOrderSats: &most, Fee: &fee, AnyCurrency: true}
	if change != nil {
		change(&i)
	}
	f.put(keys, i.Event(), when)
}

func mustDecimal(tb testing.TB, s string) mostro.Decimal {
	tb.Helper()
	d, err := mostro.ParseDecimal(s)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func fairOrderID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func (f *fair) order(name string, n int, status mostro.Status, sats int64, when, end time.Time, change func(*mostro.Order)) {
	keys := f.nodes[name]
	lo, hi, premium := mustDecimal(f.tb, "10"), mustDecimal(f.tb, "500"), mustDecimal(f.tb, "2")
	o := mostro.Order{Pubkey: keys.Pubkey(), D: fairOrderID(n), Platform: mostro.PlatformMostro, InstanceName: name, Side: mostro.SideSell, Status: status, Fiat: "VES",
		FiatAmount: mostro.Range{Min: &lo, Max: &hi}, PremiumPct: &premium, AmountSats: &sats, Methods: []string{"Pago Móvil"}, Network: "mainnet", Layers: []string{"lightning"},
		ExpiresAt: nostr.Timestamp(end.Unix())}
	if change != nil {
		change(&o)
	}
	f.put(keys, o.Event(), when)
}

const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>`

// newFair runs the program with sixty days of a market: alfa traded and was rated, beta is
// new and has a hostile name, gamma takes only euros, and delta signed two versions of an
// order for one second.
func newFair(tb testing.TB, change func(*Config)) *fair {
	tb.Helper()
	m := mustRunConfig(tb, tb.TempDir(), change)
	return fillFair(tb, m, func() {})
}

// newFairIn is newFair with a data directory and a function that stops the program.
func newFairIn(tb testing.TB, dir string) *fair {
	tb.Helper()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private, cfg.Reputation.Publish = dir, "127.0.0.1:0", "", false
	m := &Main{Config: cfg}
	return fillFair(tb, m, startMainUntil(tb, m))
}

func fillFair(tb testing.TB, m *Main, stop func()) *fair {
	tb.Helper()
	f := &fair{tb: tb, m: m, nodes: map[string]*envelope.Keys{}, stop: stop}
	for _, name := range []string{"alfa", "beta", "gamma", "delta"} {
		f.nodes[name] = testKeys(tb, name)
	}
	now := m.Now()
	const days = 60
	at := func(d float64) time.Time { return now.Add(time.Duration((d - days) * 24 * float64(time.Hour))) }
	for d := range days {
		for h := range 8 {
			f.info("alfa", at(float64(d)+float64(h)/8), nil)
		}
		f.order("alfa", d, mostro.StatusPending, 50_000, at(float64(d)+0.1), at(float64(d)+0.9), nil)
		f.order("alfa", d, mostro.StatusInProgress, 50_000, at(float64(d)+0.12), at(float64(d)+0.9), nil)
		end := mostro.StatusSuccess
		if d%15 == 14 {
			end = mostro.StatusCanceled
		}
		f.order("alfa", d, end, 50_000, at(float64(d)+0.15), at(float64(d)+0.9), nil)
		if end == mostro.StatusSuccess && d%2 == 0 {
			text, stars := "", "1"
			if d == 10 {
				text, stars = hostile, "0.2"
			}
			f.rate(d, stars, text, at(float64(d)+0.2), true)
		}
	}
	f.rate(3, "0.2", "never traded here", at(days-0.1), false)
	f.info("delta", at(days-0.003), func(i *mostro.Info) { i.Currencies, i.AnyCurrency = []string{"USD"}, false })
	for sats := range int64(2) {
		f.order("delta", 2000, mostro.StatusPending, 1000+sats, at(days-0.0029), at(days+1), func(o *mostro.Order) { o.Fiat = "USD" })
	}
	f.info("beta", at(days-0.001), func(i *mostro.Info) { i.Name = hostile })
	f.info("gamma", at(days-0.001), func(i *mostro.Info) { i.Currencies, i.AnyCurrency = []string{"EUR"}, false })
	for i, name := range []string{"alfa", "alfa", "beta"} {
		f.order(name, 1000+i, mostro.StatusPending, 0, at(days-0.002), at(days+1), nil)
	}
	f.put(f.nodes["alfa"], mostro.Rates{Pubkey: f.nodes["alfa"].Pubkey(), BTC: map[string]float64{"VES": 500_000}, Sources: []string{"yadio"},
		PublishedAt: nostr.Timestamp(now.Unix()), Expiration: nostr.Timestamp(now.Add(time.Hour).Unix())}.Event(), now.Add(-time.Minute))
	if _, _, err := f.last.Wait(context.Background()); err != nil {
		tb.Fatal(err)
	}
	ready(tb, m)
	eventually(tb, "scores", func() bool { return f.score("gamma") && f.score("alfa") })
	return f
}

func (f *fair) score(name string) bool {
	_, ok := f.m.scores.Score(f.nodes[name].Pubkey())
	return ok
}

// rate publishes a rating of alfa by a trader, with a token that alfa signed or without any
// proof.
func (f *fair) rate(n int, rating, text string, when time.Time, proven bool) {
	trader := testKeys(f.tb, fmt.Sprint("trader ", n, proven))
	r := mostro.HostRating{Pubkey: trader.Pubkey(), D: "mostro:" + fairOrderID(n), Platform: mostro.PlatformMostro, Host: f.nodes["alfa"].Pubkey(),
		Rating: mustDecimal(f.tb, rating), Role: "buyer", Order: "38383:" + f.nodes["alfa"].Pubkey() + ":" + fairOrderID(n), Text: text}
	if proven {
		var err error
		if r.Token, err = receipt.SignToken(f.nodes["alfa"], r.Pubkey, fairOrderID(n), rand.Reader); err != nil {
			f.tb.Fatal(err)
		}
	}
	f.put(trader, r.Event(), when)
}

func TestPagesOfTheWholeProgram(t *testing.T) {
	key := writeKey(t, "reputation")
	f := newFair(t, func(c *Config) { c.Reputation.Key = key })
	base := "http://" + f.m.Addr()
	alfa, beta := f.nodes["alfa"].Pubkey(), f.nodes["beta"].Pubkey()

	t.Run("instances by rank", func(t *testing.T) {
		var list struct {
			Items []struct {
				Name       string
				Rank       *int
				Reputation struct {
					Lo, Hi *float64
					Trades mostro.Evidence
					Why    string
				}
			}
		}
		getJSON(t, base+"/api/v1/instances?sort=rank", &list)
		if len(list.Items) != 4 || list.Items[0].Name != "alfa" || list.Items[0].Rank == nil || *list.Items[0].Rank < 20 {
			t.Fatalf("by rank: %+v", list.Items)
		}
		first := list.Items[0].Reputation
		if first.Lo == nil || first.Hi == nil || *first.Lo >= *first.Hi || first.Trades.Witnessed != 56 || first.Trades.Costed != 0 || first.Why != "/api/v1/instances/"+alfa+"/score" {
			t.Errorf("the reputation of the first is %+v", first)
		}
	})
	t.Run("score", func(t *testing.T) {
		var s struct {
			Rank       *int
			Components []struct {
				Name  string
				Costs *float64
			}
			Evidence struct{ Proven mostro.Evidence }
			Links    struct{ Assertion *string }
		}
		getJSON(t, base+"/api/v1/instances/"+alfa+"/score", &s)
		if s.Rank == nil || len(s.Components) != 6 || s.Components[0].Costs == nil || s.Evidence.Proven.Claimed != 28 {
			t.Errorf("score: %+v", s)
		}
		if s.Links.Assertion == nil {
			t.Fatal("no assertion is named although there is a key")
		}
		parts := strings.SplitN(*s.Links.Assertion, ":", 3)
		eventually(t, "assertion", func() bool {
			_, _, lines := getBody(t, base+"/api/v1/export/events?kinds=30382&authors="+parts[1])
			return strings.Contains(lines, `["d","`+alfa+`"]`)
		})
	})
	t.Run("ratings", func(t *testing.T) {
		var list struct {
			Items []struct {
				EventID string `json:"event_id"`
				Counted bool
				Receipt *string
				Reason  *string
				Moves   float64
				Text    *string
			}
			Total, Counted int
			NextCursor     *string `json:"next_cursor"`
		}
		seen := map[string]bool{}
		for cursor := ""; ; cursor = *list.NextCursor {
			list.NextCursor = nil
			if code, _, _ := getBody(t, base+"/api/v1/instances/"+f.nodes["gamma"].Pubkey()+"/ratings?cursor="+cursor); (code == http.StatusOK) != (cursor == "") {
				t.Errorf("a cursor of another node is answered %d", code)
			}
			getJSON(t, base+"/api/v1/instances/"+alfa+"/ratings?limit=7&cursor="+cursor, &list)
			for _, r := range list.Items {
				if seen[r.EventID] {
					t.Fatalf("%s twice", r.EventID)
				}
				seen[r.EventID] = true
				if r.Counted != (r.Receipt != nil) || !r.Counted && (r.Reason == nil || r.Moves != 0) {
					t.Errorf("rating: %+v", r)
				}
				if r.Text != nil && *r.Text == hostile && r.Moves >= 0 {
					t.Errorf("one star changes the rank by %v", r.Moves)
				}
			}
			if list.NextCursor == nil {
				break
			}
		}
		if len(seen) != 29 || list.Total != 29 || list.Counted != 28 {
			t.Errorf("%d ratings, total %d, %d counted", len(seen), list.Total, list.Counted)
		}
		code, _, body := getBody(t, base+"/api/v1/instances/"+alfa+"/ratings?limit=0")
		if code != 400 || !strings.Contains(body, `"param":"limit"`) {
			t.Errorf("limit 0: %d %s", code, body)
		}
	})
	t.Run("choose", func(t *testing.T) {
		var c struct {
			AmountSats *int64 `json:"amount_sats"`
			Candidates []struct {
				Name    string
				Rank    *int
				Secured *bool
				Offers  int
				FeeSats *int64 `json:"fee_sats"`
			}
			Excluded []struct {
				Name    string
				Reasons []string
			}
		}
		getJSON(t, base+"/api/v1/choose?fiat=ves&amount=100&side=buy", &c)
		if c.AmountSats == nil || *c.AmountSats != 20_000 {
			t.Errorf("amount in sats: %v, want 20000 at 500000 VES", c.AmountSats)
		}
		if len(c.Candidates) != 2 || c.Candidates[0].Name != "alfa" || c.Candidates[0].Offers != 2 || c.Candidates[0].Secured == nil || *c.Candidates[0].Secured || *c.Candidates[0].FeeSats != 60 {
			t.Errorf("candidates: %+v", c.Candidates)
		}
		why := map[string]string{}
		for _, x := range c.Excluded {
			why[x.Name] = strings.Join(x.Reasons, "; ")
		}
		if len(why) != 2 || why["gamma"] != "it does not take VES, only EUR" || why["delta"] != "it does not take VES, only USD" {
			t.Errorf("excluded: %+v", c.Excluded)
		}
		text := mustProgram(t, "", "choose", "--fiat", "VES", "--amount", "100", "--side", "buy", "--method", "pago movil", "--url", base)
		if !strings.Contains(text, "2 of 4 Mostros fit") || !strings.Contains(text, "1. alfa  rank") || !strings.Contains(text, "does not take VES") {
			t.Errorf("the verb printed\n%s", text)
		}
		if _, errs, code := runProgram(t, "", "choose", "--fiat", "VES"); code != 2 || !strings.Contains(errs, "--side") {
			t.Errorf("without a side: exit %d, %s", code, errs)
		}
	})
	t.Run("reputation show", func(t *testing.T) {
		text := mustProgram(t, "", "reputation", "show", alfa, "--url", base)
		if !strings.Contains(text, "alfa  "+alfa) || !strings.Contains(text, "rank ") || !strings.Contains(text, "29 ratings") && !strings.Contains(text, "no receipt") {
			t.Errorf("the verb printed\n%s", text)
		}
		var both struct {
			Score   struct{ Rank *int }
			Ratings struct{ Total int }
		}
		if err := json.Unmarshal([]byte(mustProgram(t, "", "reputation", "show", alfa, "--url", base, "--json")), &both); err != nil || both.Score.Rank == nil || both.Ratings.Total != 29 {
			t.Errorf("as JSON: %+v %v", both, err)
		}
	})
	t.Run("pages", func(t *testing.T) {
		for path, says := range map[string]string{
			"/instances": "secures 0 sats", "/instances/" + alfa: "What the rank is made of", "/instances/" + beta: "Rate this Mostro",
			"/choose": "Say what you want to trade", "/choose?fiat=VES&amount=100&side=buy": "2 Mostros fit", "/choose?fiat=VES&side=x": "not understood", "/method": "Two numbers, not one",
		} {
			code, h, body := getBody(t, base+path)
			if code != http.StatusOK || !strings.Contains(body, says) {
				t.Errorf("%s: %d, without %q\n%s", path, code, says, body)
			}
			policy := h.Get("Content-Security-Policy")
			if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
				t.Errorf("%s: policy is %q", path, policy)
			}
			scripts := strings.Count(body, "<script")
			if allowed := strings.Contains(policy, "script-src 'self'"); allowed != strings.HasPrefix(path, "/instances/") || allowed && scripts != 1 || !allowed && scripts != 0 {
				t.Errorf("%s: %d scripts under %q", path, scripts, policy)
			}
			if strings.Contains(body, hostile) || strings.Contains(body, "<img src=x") || strings.Contains(body, "style=") {
				t.Errorf("%s is not escaped", path)
			}
		}
		if _, _, body := getBody(t, base+"/instances/"+alfa); !strings.Contains(body, "alert(1)") {
			t.Error("the hostile rating is not shown, so this test cannot check its escaping")
		}
	})
	t.Run("watched for too few days", func(t *testing.T) {
		var s struct {
			Rank, Lo, Value *float64
			Reason          string
			WatchedDays     int    `json:"watched_days"`
			ReasonText      string `json:"reason_text"`
			Links           struct{ Assertion *string }
		}
		getJSON(t, base+"/api/v1/instances/"+beta+"/score", &s)
		words := fmt.Sprintf("watched %d of 30 days", s.WatchedDays)
		if s.Rank != nil || s.Lo != nil || s.Value != nil || s.Reason != "watching" || s.WatchedDays < 1 || s.WatchedDays >= 30 || s.ReasonText != words || s.Links.Assertion != nil {
			t.Errorf("score: %+v", s)
		}
		var one struct {
			Rank       *int
			Reputation struct {
				Rank        *int
				Reason      string
				WatchedDays int `json:"watched_days"`
				WatchDays   int `json:"watch_days"`
			}
		}
		getJSON(t, base+"/api/v1/instances/"+beta, &one)
		if one.Rank != nil || one.Reputation.Rank != nil || one.Reputation.Reason != "watching" || one.Reputation.WatchedDays != s.WatchedDays || one.Reputation.WatchDays != 30 {
			t.Errorf("instance: %+v", one)
		}
		for _, path := range []string{"/instances", "/instances/" + beta, "/badge/" + beta + ".svg", "/choose?fiat=VES&amount=100&side=buy"} {
			if _, _, body := getBody(t, base+path); !strings.Contains(body, words) {
				t.Errorf("%s does not contain %q", path, words)
			}
		}
		if _, _, lines := getBody(t, base+"/api/v1/export/events?kinds=30382"); strings.Contains(lines, `["d","`+beta+`"]`) {
			t.Error("an assertion about the node was published")
		}
	})
	t.Run("both stories of an order", func(t *testing.T) {
		delta := f.nodes["delta"].Pubkey()
		var s struct {
			Evidence struct {
				Equivocations []struct{ Proofs []string }
			}
			Flags []struct{ Name string }
		}
		getJSON(t, base+"/api/v1/instances/"+delta+"/score", &s)
		if len(s.Evidence.Equivocations) != 1 || len(s.Flags) == 0 || s.Flags[0].Name != "equivocation" {
			t.Fatalf("score: %+v", s)
		}
		_, _, page := getBody(t, base+"/instances/"+delta)
		for _, proof := range s.Evidence.Equivocations[0].Proofs {
			var evt nostr.Event
			getJSON(t, base+proof, &evt)
			if ok, err := evt.CheckSignature(); !ok || err != nil || evt.PubKey != delta || !strings.Contains(page, `href="`+proof+`"`) {
				t.Errorf("proof %s: signed %v, %v", proof, ok, err)
			}
		}
	})
	t.Run("manners", func(t *testing.T) {
		npub := f.nodes["alfa"].Npub()
		nobody := testKeys(t, "nobody").Pubkey()
		for _, c := range []struct {
			method, path string
			code         int
			says         string
		}{
			{"GET", "/api/v1/instances/" + npub + "/score", 200, `"pubkey":"` + alfa},
			{"GET", "/api/v1/instances/xyz/score", 400, `"param":"pubkey"`},
			{"GET", "/api/v1/instances/" + nobody + "/score", 404, "never described itself"},
			{"GET", "/api/v1/instances/" + nobody + "/ratings", 404, "never described itself"},
			{"GET", "/api/v1/instances/" + alfa + "/score?x=1", 400, `"param":"x"`},
			{"GET", "/api/v1/instances/" + alfa + "/ratings?cursor=abc", 400, "start again"},
			{"GET", "/api/v1/choose", 400, `"param":"fiat"`},
			{"POST", "/api/v1/choose?fiat=VES&side=buy", 405, "only read"},
			{"OPTIONS", "/api/v1/choose", 204, ""},
			{"POST", "/choose", 405, "only read"},
			{"GET", "/badge/xyz.svg", 404, "64 hex digits"},
			{"GET", "/badge/" + alfa, 404, "64 hex digits"},
			{"POST", "/badge/" + alfa + ".svg", 405, "only read"},
		} {
			req, err := http.NewRequest(c.method, base+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != c.code || !strings.Contains(string(body), c.says) {
				t.Errorf("%s %s: %d, want %d with %q\n%s", c.method, c.path, resp.StatusCode, c.code, c.says, body)
			}
			isAPI := strings.HasPrefix(c.path, "/api/")
			if isAPI && resp.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s does not allow other origins", c.path)
			}
			if isAPI && c.code >= 400 && resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: %s is not the type of a problem document", c.path, resp.Header.Get("Content-Type"))
			}
		}
		path := base + "/api/v1/instances/" + f.nodes["gamma"].Pubkey() + "/ratings"
		_, h, _ := getBody(t, path)
		if code, _, _ := getBody(t, path, "If-None-Match", h.Get("ETag")); code != http.StatusNotModified {
			t.Errorf("the same ratings again: %d", code)
		}
	})
	t.Run("badge", func(t *testing.T) {
		for who, says := range map[string]string{alfa: "–", testKeys(t, "nobody").Pubkey(): "unknown"} {
			code, h, body := getBody(t, base+"/badge/"+who+".svg")
			if code != 200 || h.Get("Content-Type") != "image/svg+xml; charset=utf-8" || !strings.Contains(body, says) || h.Get("ETag") == "" {
				t.Errorf("badge of %s: %d %v\n%s", who, code, h, body)
			}
			if code, _, _ := getBody(t, base+"/badge/"+who+".svg", "If-None-Match", h.Get("ETag")); code != http.StatusNotModified {
				t.Errorf("the same badge again: %d", code)
			}
		}
	})
}

func writeKey(t *testing.T, name string) string {
	t.Helper()
	file := t.TempDir() + "/key"
	if err := writeSecret(file, testKeys(t, name).Nsec()); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestChooseOfCapturedEvents imports real events. None was witnessed, so no Mostro has a
// rank, but choose finds the offers.
func TestChooseOfCapturedEvents(t *testing.T) {
	file := sharedFile(t, "fixtures/real-events.ndjson")
	m := MustRunMain(t, t.TempDir())
	ready(t, m)
	mustProgram(t, "", "import", file, "--url", "http://"+m.Addr())
	ready(t, m)
	base := "http://" + m.Addr()
	var list struct {
		Items []struct {
			Rank       *int
			Reputation *struct {
				Provisional  bool
				ClaimedValue *float64 `json:"claimed_value"`
			}
		}
	}
	eventually(t, "scores of all instances", func() bool {
		getJSON(t, base+"/api/v1/instances?sort=rank", &list)
		for _, i := range list.Items {
			if i.Reputation == nil {
				return false
			}
		}
		return len(list.Items) > 0
	})
	last := 101.0
	for _, i := range list.Items {
		if i.Rank != nil || !i.Reputation.Provisional || i.Reputation.ClaimedValue == nil || *i.Reputation.ClaimedValue > last {
			t.Errorf("imported, and not as claimed: %+v", i)
			continue
		}
		last = *i.Reputation.ClaimedValue
	}
	var c struct{ Notes []string }
	getJSON(t, base+"/api/v1/choose?fiat=EUR&amount=50&side=buy", &c)
	if len(c.Notes) == 0 || !strings.Contains(c.Notes[0], "There is no price of bitcoin in EUR") {
		t.Errorf("the notes without prices are %v", c.Notes)
	}
}

// TestFacesOfAStoppedServer sends the same queries to a data directory.
func TestFacesOfAStoppedServer(t *testing.T) {
	file := sharedFile(t, "fixtures/real-events.ndjson")
	dir := t.TempDir()
	mustProgram(t, "", "import", file, "--data", dir)
	text := mustProgram(t, "", "choose", "--fiat", "EUR", "--side", "buy", "--data", dir)
	if !strings.Contains(text, "0 of 5 Mostros fit: to buy bitcoin for EUR") || !strings.Contains(text, "CharroNegro  unrated\n   - nobody there sells bitcoin for EUR") {
		t.Errorf("choose printed\n%s", text)
	}
	text = mustProgram(t, "", "reputation", "show", "0000cc02101ec29eea9ce623258752b9d7da66c27845ed26846dd0b0fc736b40", "--data", dir)
	if !strings.Contains(text, "provisional: nothing of this node was witnessed yet") {
		t.Errorf("show printed\n%s", text)
	}
}

// TestFacePreview serves the fair for the duration in TEST_MOSTRODEX_PREVIEW.
func TestFacePreview(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv("TEST_MOSTRODEX_PREVIEW"))
	if err != nil {
		t.Skip("set TEST_MOSTRODEX_PREVIEW=10m to look at the pages")
	}
	f := newFair(t, nil)
	f.pretend()
	known := map[string]string{"url": "http://" + f.m.Addr()}
	for name, keys := range f.nodes {
		known[name] = keys.Pubkey()
	}
	keys, err := json.Marshal(known)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(keys))
	time.Sleep(d)
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/demomarket"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
)

var demoShots = flag.String("demo.shots", "", "directory for pictures of the demo's pages")

// openDemo returns a demo with a market on free ports.
func openDemo(t *testing.T, dir string, days int, speed float64) *Main {
	t.Helper()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = dir, "127.0.0.1:0", "127.0.0.1:0"
	m, err := demoMain(cfg, 1, days, speed)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func waitServing(t *testing.T, m *Main) {
	t.Helper()
	select {
	case <-m.serving:
	case <-time.After(2 * time.Minute):
		t.Fatal("the demo does not open")
	}
}

// TestDemoMarket plays forty days and looks at the result as a visitor does.
func TestDemoMarket(t *testing.T) {
	dir, began := t.TempDir(), time.Now()
	m := openDemo(t, dir, 40, 1)
	stop := startMainUntil(t, m)
	defer func() { stop() }()
	waitServing(t, m)
	t.Logf("open after %s with %d events", time.Since(began).Round(time.Millisecond), m.store.Head())
	base := "http://" + m.Addr()
	hosts := m.Demo.Market.script.Hosts()

	t.Run("no event is from the future", func(t *testing.T) {
		last, n, now := time.Time{}, 0, time.Now()
		days := map[string]bool{}
		err := m.store.ReadEvidence(context.Background(), 0, func(e mostro.Entry) error {
			n++
			if e.ReceivedAt.Before(last) || e.ReceivedAt.After(time.Now()) {
				return fmt.Errorf("entry %d was received at %s, the entry before it at %s", e.Seq, e.ReceivedAt, last)
			}
			last = e.ReceivedAt
			if at := e.Event.CreatedAt.Time(); at.After(e.ReceivedAt.Add(time.Second)) || e.Source.Origin == mostro.OriginClient && e.ReceivedAt.Sub(at) > 10*time.Minute && now.Sub(at) > 10*time.Minute {
				return fmt.Errorf("entry %d of kind %d: created at %s, received at %s", e.Seq, e.Event.Kind, at, e.ReceivedAt)
			}
			if e.Source.Origin == mostro.OriginImport || e.Source.Origin == mostro.OriginBackfill {
				return fmt.Errorf("entry %d came by %s", e.Seq, e.Source)
			}
			days[e.ReceivedAt.Format(time.DateOnly)] = true
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if n < 5000 || len(days) < 40 {
			t.Errorf("%d events on %d days", n, len(days))
		}
	})

	t.Run("ranks are in the order of quality", func(t *testing.T) {
		scores := map[string]score.Score{}
		for id, key := range hosts {
			s, ok := m.scores.Score(key)
			if !ok {
				t.Fatalf("the Mostro %s has no score", id)
			}
			scores[id] = s
			t.Logf("%-8s rank %d, from %.1f to %.1f, unranked %q, flags %v, days %d, disputes %+v", id, s.Rank, float64(s.Lo)/1e6, float64(s.Hi)/1e6, s.Unranked, flagNames(s), s.Evidence.WitnessedDays, s.Evidence.Disputes)
		}
		for _, pair := range [][2]string{{"good", "small"}, {"small", "slow"}, {"slow", "scammer"}} {
			// The lower bound has no limit. No rank is above 70 before 90 days.
			if a, b := scores[pair[0]], scores[pair[1]]; a.Unranked != "" || b.Unranked != "" || a.Rank < b.Rank || a.Lo <= b.Lo {
				t.Errorf("%s has rank %d (%q), from %d; %s has %d (%q), from %d", pair[0], a.Rank, a.Unranked, a.Lo, pair[1], b.Rank, b.Unranked, b.Lo)
			}
		}
		if n := scores["newcomer"]; n.Unranked != score.UnrankedWatching || n.Evidence.WitnessedDays < 13 {
			t.Errorf("the newcomer: %q, witnessed on %d days", n.Unranked, n.Evidence.WitnessedDays)
		}
		if names := flagNames(scores["scammer"]); !slices.Contains(names, score.FlagEquivocation) {
			t.Errorf("the scammer's flags: %v", names)
		}
		if names := flagNames(scores["good"]); len(names) > 0 {
			t.Errorf("the good Mostro's flags: %v", names)
		}
	})

	t.Run("figures of forty days", func(t *testing.T) {
		from := time.Now().Add(-40 * 24 * time.Hour).UTC().Truncate(24 * time.Hour)
		for _, metric := range []string{"orders.completed", "volume.sats"} {
			var series struct {
				Points []struct{ Value json.Number }
			}
			getJSON(t, fmt.Sprintf("%s/api/v1/stats/series?metric=%s&by=day&from=%d&until=%d", base, metric, from.Unix(), time.Now().Unix()), &series)
			filled := 0
			for _, p := range series.Points {
				if v, _ := p.Value.Float64(); v > 0 {
					filled++
				}
			}
			if filled < 39 {
				t.Errorf("%s: %d of %d days have a value", metric, filled, len(series.Points))
			}
		}
		if list := mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindDispute}, Limit: 500}); len(list) < 15 {
			t.Errorf("%d disputes are on the relay", len(list))
		}
		var list struct{ Total int }
		getJSON(t, base+"/api/v1/orders", &list)
		if list.Total < 10 {
			t.Errorf("%d orders are on offer", list.Total)
		}
	})

	t.Run("choose finds offers", func(t *testing.T) {
		var answer struct {
			Candidates []struct{ Pubkey string }
		}
		getJSON(t, base+"/api/v1/choose?fiat=VES&amount=500&side=buy&method=Pago+M%C3%B3vil", &answer)
		if len(answer.Candidates) == 0 || answer.Candidates[0].Pubkey != hosts["small"] {
			t.Errorf("to buy for 500 VES: %+v", answer)
		}
	})

	t.Run("every answer says that it is simulated", func(t *testing.T) {
		order := mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindOrder}, Limit: 1})[0]
		fill := strings.NewReplacer("{$}", "", "{pubkey}", order.PubKey, "{id}", order.Tags.GetD(), "{d}", order.Tags.GetD(), "{fiat}", "VES", "{address}", "38383:"+order.PubKey+":"+order.Tags.GetD(), "{d...}", order.Tags.GetD(), "{file}", hosts["good"]+".svg")
		pages := 0
		check := func(url string) {
			code, header, body := getBody(t, url)
			if header.Get(simulatedHeader) == "" {
				t.Errorf("%s has no %s header", url, simulatedHeader)
			}
			if strings.HasPrefix(header.Get("Content-Type"), "text/html") {
				pages++
				if strings.Count(body, demoNotice) != 1 {
					t.Errorf("%s (%d) does not say that it is simulated", url, code)
				}
			}
		}
		for _, r := range m.routes {
			if r.Media == "text/event-stream" || strings.HasPrefix(r.Path, "/debug/") || r.Method == http.MethodPost {
				continue
			}
			at := base
			if r.Listener == route.Private {
				at = "http://" + m.PrivateAddr()
			}
			path := regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(fill.Replace(r.Path), "1") // the answer to other values says so too
			check(at + path)
			if path == "/" {
				check(at + "/no/such/page")
			}
		}
		if pages < 8 {
			t.Errorf("only %d pages were seen", pages)
		}
		for _, path := range []string{"", "/datapackage.json", "/croissant.json"} {
			code, _, body := getBody(t, base+"/api/v1/export"+path) // the descriptions of files exist when a month is closed
			if strings.Count(body, demoNotice) != 1 && (code != http.StatusNotFound || path == "") {
				t.Errorf("the description of the exports %s does not say that they are simulated: %s", path, body)
			}
		}
		if _, header, _ := getBody(t, base+"/api/v1/export/orders?format=csv"); !strings.Contains(header.Get("Content-Disposition"), "simulated-") {
			t.Errorf("a file has the name %q", header.Get("Content-Disposition"))
		}
		_, _, body := getBody(t, base+"/", "Accept", "application/nostr+json")
		var info struct{ Name, Description string }
		if err := json.Unmarshal([]byte(body), &info); err != nil || !strings.Contains(info.Name, "simulated") || !strings.Contains(info.Description, demoNotice) {
			t.Errorf("NIP-11: %v, %+v", err, info)
		}
	})

	t.Run("real clients trade, and an alert tells of their order", func(t *testing.T) {
		alice := mustKeys(t)
		if code, answer, _ := signedRequest(t, alice, "POST", base+"/api/v1/alerts", `{"filter":"fiat:VES method:\"pago movil\""}`, ""); code != 200 {
			t.Fatalf("save an alert: %d %s", code, answer)
		}
		if code, answer, _ := signedRequest(t, alice, "POST", base+"/api/v1/alerts", `{"filter":"fiat:VES","webhook":"https://example.org/"}`, ""); code != 400 {
			t.Errorf("a webhook in a demo: %d %s", code, answer)
		}
		sub, err := dialNostr(t, t.Context(), m).Subscribe(t.Context(), nostr.Filters{{Kinds: []int{mostro.KindGiftWrap}, Tags: nostr.TagMap{"p": {alice.Pubkey()}}}})
		if err != nil {
			t.Fatal(err)
		}
		x := newDemoTrade(t, m, envelope.TransportV2)
		x.toTaken()
		x.toFiatSent()
		x.finish()
		select {
		case evt := <-sub.Events:
			if d, err := envelope.OpenDirect(evt, alice); err != nil || !strings.Contains(d.Text, "VES") {
				t.Errorf("the alert: %v, %+v", err, d)
			}
		case <-time.After(20 * time.Second):
			t.Error("no alert came")
		}
	})

	t.Run("no other relay is followed", func(t *testing.T) {
		// A stranger names a relay, in the way in which relays are discovered.
		evt := nostr.Event{Kind: mostro.KindRelayList, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"r", "wss://relay.example"}}}
		if err := evt.Sign(nostr.GeneratePrivateKey()); err != nil {
			t.Fatal(err)
		}
		if err := dialNostr(t, context.Background(), m).Publish(context.Background(), evt); err != nil {
			t.Fatal(err)
		}
		if health := m.upstreams.Health(); len(health) > 0 || m.Config.Relay.Federation.Discover != 0 || len(m.Config.Relay.Federation.Forward) > 0 {
			t.Errorf("the demo follows %v", health)
		}
	})

	t.Run("the market moves", func(t *testing.T) {
		head := m.store.Head()
		testkit.WaitLong(t, "an event of the market", func() bool {
			list := mustREQ(t, m, nostr.Filter{Authors: slices.Collect(maps.Values(hosts)), Limit: 1})
			return m.store.Head() > head && len(list) > 0 && time.Since(list[0].CreatedAt.Time()) < time.Minute
		})
	})

	if *demoShots != "" {
		t.Run("pictures", func(t *testing.T) { shootDemo(t, base, hosts) })
	}

	t.Run("a second start plays nothing again", func(t *testing.T) {
		stop()
		before := time.Now()
		m = openDemo(t, dir, 40, 1)
		stop = startMainUntil(t, m)
		waitServing(t, m)
		if m.events() > 50 || !m.Demo.Market.clock.Met() {
			t.Errorf("%d events were played, the clock shows %s", m.events(), m.Now())
		}
		if m.Now().Before(before) {
			t.Errorf("the clock went back to %s", m.Now())
		}
	})

	t.Run("serve refuses the directory", func(t *testing.T) {
		stop()
		stop = func() {}
		cfg := defaultConfig()
		cfg.Data, cfg.Relay.Listen = dir, "127.0.0.1:0"
		other := &Main{Config: cfg}
		if err := other.Open(); err == nil || !strings.Contains(err.Error(), "mostrodex demo") {
			t.Errorf("serve opens a demo's directory: %v", err)
		}
	})
}

func (m *Main) events() int { return m.Demo.Market.events }

func flagNames(s score.Score) (names []string) {
	for _, f := range s.Flags {
		names = append(names, f.Name)
	}
	return names
}

// shootDemo takes pictures of the pages on a phone and on a desk.
func shootDemo(t *testing.T, base string, hosts map[string]string) {
	b := testkit.NewBrowser(t)
	for _, width := range []int{360, 1280} {
		for name, path := range map[string]string{"book": "/", "instances": "/instances", "good": "/instances/" + hosts["good"], "scammer": "/instances/" + hosts["scammer"], "choose": "/choose?fiat=VES&amount=500&side=buy", "method": "/method"} {
			b.Size(width, 900)
			b.Open(base + path)
			if wide := b.Eval(`String(document.documentElement.scrollWidth > innerWidth)`); wide != "false" {
				t.Errorf("%s at %d px scrolls sideways", path, width)
			}
			b.Shot(filepath.Join(*demoShots, fmt.Sprintf("%s-%d.png", name, width)))
		}
	}
}

// TestDemoPastIsContinued stops a demo in the middle of its past. The next start plays the rest,
// each event once.
func TestDemoPastIsContinued(t *testing.T) {
	dir := t.TempDir()
	m := openDemo(t, dir, 3, 1)
	if err := m.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	eventually(t, "some events", func() bool { return m.store.Head() > 200 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	head := m.store.Head()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.serving:
		t.Skip("the past was played before the test could stop it")
	default:
	}
	m = openDemo(t, dir, 3, 1)
	defer startMainUntil(t, m)()
	waitServing(t, m)
	if m.store.Head() < head || !m.Demo.Market.state.Played {
		t.Fatalf("%d events, before %d", m.store.Head(), head)
	}
	// Every event of the script up to the stop is there.
	s := m.Demo.Market.state
	end := time.Unix(s.End, 0)
	script := demomarket.New(s.script())
	missing, n := 0, 0
	for step := script.Next(); step.At.Before(end); step = script.Next() {
		held, err := m.store.Has(context.Background(), step.Event.GetID())
		if err != nil {
			t.Fatal(err)
		}
		if n++; !held && step.Event.Kind != mostro.KindHealth {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d events of the script are missing", missing, n)
	}
}

// TestDemoClock checks that the clock never goes back and never shows a moment to come.
func TestDemoClock(t *testing.T) {
	start := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	real := start
	c := newDemoClock(start.Add(-2 * time.Hour))
	c.real = func() time.Time { return real }
	want := func(at time.Time) {
		t.Helper()
		if got := c.Now(); !got.Equal(at) {
			t.Fatalf("the clock shows %s, want %s", got, at)
		}
	}
	want(start.Add(-2 * time.Hour))
	real = real.Add(time.Minute)
	want(start.Add(-2 * time.Hour)) // it stands
	c.Set(start.Add(-time.Hour))
	c.Set(start.Add(-90 * time.Minute))
	want(start.Add(-time.Hour))
	c.Start(31)
	if left := c.Until(start); left != time.Hour/31 {
		t.Errorf("%s until the start", left)
	}
	real = real.Add(time.Minute)
	want(start.Add(-29 * time.Minute))
	c.Set(start)
	want(start.Add(-29 * time.Minute))
	real = real.Add(time.Minute)
	want(start.Add(2 * time.Minute))
	if c.Met() {
		t.Error("the clock has met the real time too early")
	}
	real = real.Add(time.Minute)
	want(real) // and not 33 minutes after the start
	real = real.Add(time.Minute)
	want(real)
	if !c.Met() {
		t.Error("the clock has not met the real time")
	}
	ahead := newDemoClock(real.Add(time.Hour))
	ahead.real = c.real
	if got := ahead.Now(); got.After(real) {
		t.Errorf("a clock shows %s at %s", got, real)
	}
}

// TestDemoSpeed checks that the clock of a fast demo runs and stays behind the real time, and that
// events of that future are refused.
func TestDemoSpeed(t *testing.T) {
	m := openDemo(t, t.TempDir(), 1, 60)
	defer startMainUntil(t, m)()
	waitServing(t, m)
	first, began := m.Now(), time.Now()
	if lag := time.Since(first); lag < 58*time.Hour || lag > 60*time.Hour {
		t.Fatalf("the clock is %s behind", lag)
	}
	eventually(t, "a minute of the clock", func() bool { return m.Now().Sub(first) > time.Minute })
	if ran := m.Now().Sub(first); ran > time.Duration(61*float64(time.Since(began))) {
		t.Errorf("the clock ran %s in %s", ran, time.Since(began))
	}
	evt := nostr.Event{Kind: mostro.KindProfile, CreatedAt: nostr.Now(), Content: "{}"}
	if err := evt.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	if err := dialNostr(t, context.Background(), m).Publish(context.Background(), evt); err == nil || !strings.Contains(err.Error(), "future") {
		t.Errorf("an event of the clock's future: %v", err)
	}
	head := m.store.Head()
	eventually(t, "an event of the market", func() bool { return m.store.Head() > head })
}

// TestOnlyDemoIsSimulated checks that nothing but the verb demo can give the program another clock
// or an invented market: no key of the configuration, no variable, no flag of another verb, no
// other place in the code.
func TestOnlyDemoIsSimulated(t *testing.T) {
	suspicious := func(name string) bool {
		return slices.ContainsFunc([]string{"demo", "simul", "clock", "speed", "fake", "market"}, func(w string) bool { return strings.Contains(strings.ToLower(name), w) })
	}
	var keys func(prefix string, typ reflect.Type)
	keys = func(prefix string, typ reflect.Type) {
		for f := range typ.Fields() {
			if suspicious(f.Name) || suspicious(f.Tag.Get("toml")) {
				t.Errorf("the configuration has %s%s", prefix, f.Name)
			}
			if f.Type.Kind() == reflect.Struct {
				keys(prefix+f.Name+".", f.Type)
			}
			if f.Type.Kind() == reflect.Func || f.Type == reflect.TypeFor[time.Time]() {
				t.Errorf("the configuration has %s%s of type %s", prefix, f.Name, f.Type)
			}
		}
	}
	keys("", reflect.TypeFor[Config]())
	for _, verb := range newRoot().Commands() {
		for _, name := range []string{"speed", "days", "clock", "now", "simulate", "demo", "seed"} {
			if verb.Name() != "demo" && verb.Flags().Lookup(name) != nil {
				t.Errorf("%s has the flag --%s", verb.Name(), name)
			}
		}
	}
	if _, _, code := runProgram(t, "", "serve", "--speed", "60"); code != exitUsage {
		t.Errorf("serve --speed ends with %d", code)
	}

	// Only demo.go sets the clock and the demo of a Main.
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if id, ok := n.Type.(*ast.Ident); !ok || id.Name != "Main" {
					break
				}
				for _, e := range n.Elts {
					kv, ok := e.(*ast.KeyValueExpr)
					if !ok {
						t.Errorf("%s makes a Main without names of fields", file)
						break
					}
					if name := kv.Key.(*ast.Ident).Name; name == "Demo" || name == "Now" {
						found++
						if file != "demo.go" {
							t.Errorf("%s sets %s of a Main", file, name)
						}
					}
				}
			case *ast.AssignStmt:
				for i, l := range n.Lhs {
					sel, ok := l.(*ast.SelectorExpr)
					if !ok || sel.Sel.Name != "Demo" && sel.Sel.Name != "Now" && sel.Sel.Name != "now" {
						continue
					}
					text := fmt.Sprint(sel.X, ".", sel.Sel.Name)
					if file == "demo.go" {
						found++
					} else if file != "serve.go" || i != 1 { // Open replaces nil by time.Now
						t.Errorf("%s sets %s", file, text)
					}
				}
			}
			return true
		})
	}
	if found != 2 {
		t.Errorf("demo.go sets the demo or the clock of a Main %d times, want 2", found)
	}
}

// TestDemoKeepsOffRealData checks that a demo does not touch a directory of real events, and that
// a demo of an earlier version goes on without a market.
func TestDemoKeepsOffRealData(t *testing.T) {
	dir := t.TempDir()
	_, stop := mustServe(t, dir)
	stop()
	before := files(t, dir)
	if _, err := openMarket(dir, "127.0.0.1:7777", 1, 40, 1, time.Now()); err == nil || !strings.Contains(err.Error(), "another directory") {
		t.Errorf("a demo opens a directory of real events: %v", err)
	}
	if _, err := openMarket(dir, "127.0.0.1:7777", 1, 0, 1, time.Now()); err == nil {
		t.Error("a demo without a market opens a directory of real events")
	}
	if after := files(t, dir); !slices.Equal(before, after) {
		t.Errorf("the directory changed from %v to %v", before, after)
	}
	if err := os.WriteFile(filepath.Join(dir, "lnsim.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if market, err := openMarket(dir, "127.0.0.1:7777", 1, 40, 1, time.Now()); market != nil || err != nil {
		t.Errorf("a demo of an earlier version: %v, %v", market, err)
	}
	if _, known, err := readSimulated(dir); !known || err != nil {
		t.Errorf("the directory is not marked: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, simulatedFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := refuseSimulated(dir); err == nil {
		t.Error("a damaged mark is no mark")
	}
	if _, err := openMarket(dir, "127.0.0.1:7777", 1, 40, 1, time.Now()); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("a damaged mark: %v", err)
	}
	if demomarket.FundListD != score.FundListD {
		t.Errorf("the fund's lists have d %q, the score reads %q", demomarket.FundListD, score.FundListD)
	}
}

func mustServe(t *testing.T, dir string) (*Main, func()) {
	t.Helper()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen = dir, "127.0.0.1:0"
	m := &Main{Config: cfg}
	return m, startMainUntil(t, m)
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		names = append(names, f.Name())
	}
	return names
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

func TestNearestKey(t *testing.T) {
	for unknown, want := range map[string]string{
		"relay.lissten": "relay.listen", "relay.ulr": "relay.url", "escrow.macaroon": "escrow.lnd.macaroon", "escrow.lnd.macaron": "escrow.lnd.macaroon",
		"relay.pow": "escrow.pow", "escrow.currency": "escrow.currencies", "Data": "data", "upstream.ulr": "upstream.url", "escrow.lnd.adress": "escrow.lnd.address",
		"relay.quite_something_else": "", "x": "", strings.Repeat("relay.listen.x", 1000): "",
	} {
		if got := nearestKey(unknown); got != want {
			t.Errorf("%.40s: %q, want %q", unknown, got, want)
		}
	}
	if keys := knownKeys(); !slices.Contains(keys, "escrow.lnd.max_inflight_payouts_per_destination") || !slices.Contains(keys, "upstream.url") {
		t.Errorf("the known keys are %v", keys)
	}
}

func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "mostrodex.toml")
	check := func(text string) (out, errs string, code int) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return runProgram(t, "", "config", "check", file)
	}
	if out, errs, code := check("data = \"" + dir + "\"\n"); code != exitOK || !strings.Contains(out, "is valid, with 0 warnings") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if out, errs, code := check("[relay]\nlissten = \"127.0.0.1:1\"\n"); code != exitConfig || !strings.Contains(errs, "line 2: relay.lissten (is relay.listen meant?)") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if out, errs, code := check("[relay]\nlisten = 7\n"); code != exitConfig || !strings.Contains(errs, "line 2") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if out, errs, code := check("[relay]\nurl = \"ws://relay.example.com:7777/x\"\n"); code != exitOK || strings.Count(out, "warn") < 3 {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if _, _, code := runProgram(t, "", "config", "check", "a", "b"); code != exitUsage {
		t.Errorf("two files: exit code %d", code)
	}
}

// said returns the lines of one check that are not fine.
func said(list []finding, check string) (text string) {
	for _, f := range list {
		if f.Check == check && f.State != isFine {
			text += f.Text + "\n"
		}
	}
	return text
}

// soundConfig returns a configuration of a Mostro without a warning.
func soundConfig(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	cfg := defaultConfig()
	cfg.Data = filepath.Join(dir, "data")
	cfg.Relay.URL, cfg.Relay.TrustedProxies = "wss://relay.example.com", []string{"127.0.0.1"}
	cfg.Escrow.Enabled = true
	cfg.Escrow.Key, cfg.Escrow.LND.Cert, cfg.Escrow.LND.Macaroon = filepath.Join(dir, "key"), filepath.Join(dir, "tls.cert"), filepath.Join(dir, "macaroon")
	cfg.Escrow.LND.Address = "127.0.0.1:1" // a port without a listener
	cfg.Escrow.Publish.Relays = []string{"wss://other.example"}
	cfg.Operator.Nostr = mustKeys(t).Pubkey()
	if err := ensureKey(cfg.Escrow.Key); err != nil {
		t.Fatal(err)
	}
	writeCert(t, cfg.Escrow.LND.Cert)
	if err := os.WriteFile(cfg.Escrow.LND.Macaroon, []byte("none"), 0o640); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestAdvice(t *testing.T) {
	for _, f := range advice(ptr(soundConfig(t))) {
		if f.State != isFine {
			t.Errorf("a sound configuration: %+v", f)
		}
	}
	for _, c := range []struct {
		change      func(c *Config)
		check, want string
	}{
		{func(c *Config) { c.Relay.URL = "" }, "public address", "announces ws://127.0.0.1:7777"},
		{func(c *Config) { c.Relay.URL = "ws://localhost:7777" }, "public address", "its own machine"},
		{func(c *Config) { c.Relay.URL = "wss://[::ffff:127.0.0.1]" }, "public address", "its own machine"},
		{func(c *Config) { c.Relay.URL = "wss://192.168.1.4" }, "public address", "local network only"},
		{func(c *Config) { c.Relay.URL = "wss://203.0.113.7" }, "public address", "bare address"},
		{func(c *Config) { c.Relay.URL = "ws://relay.example.com" }, "public address", "not wss://"},
		{func(c *Config) { c.Relay.URL = "wss://relay.example.com:7777" }, "public address", "port 7777"},
		{func(c *Config) { c.Relay.URL = "wss://example.com/relay" }, "public address", "the path"},
		{func(c *Config) { c.Relay.URL = "wss://mostro" }, "public address", "no full domain name"},
		{func(c *Config) { c.Relay.TrustedProxies = nil }, "listeners", "without limits"},
		{func(c *Config) { c.Relay.TrustedProxies, c.Relay.ImportLocal = nil, false }, "listeners", "share the limits"},
		{func(c *Config) { c.Relay.Private = "0.0.0.0:7778" }, "listeners", "other machines"},
		{func(c *Config) { c.Escrow.PowFirstContact = 8 }, "proof of work", "dropped without an answer"},
		{func(c *Config) { c.Escrow.Pow = 30 }, "proof of work", "minutes"},
		{func(c *Config) { c.Relay.MinPow = 4 }, "proof of work", "the relay refuses"},
		{func(c *Config) { c.Escrow.Publish.Relays = nil }, "relays", "its own relay only"},
		{func(c *Config) { c.Escrow.Transports = []string{"v1"} }, "transports", "v2 is off"},
		{func(c *Config) { _ = os.Chmod(c.Escrow.Key, 0o644) }, "file modes", "escrow.key: other users can read"},
		{func(c *Config) { _ = os.Chmod(c.Escrow.LND.Macaroon, 0o644) }, "file modes", "escrow.lnd.macaroon: other users"},
		{func(c *Config) { _ = os.MkdirAll(filepath.Join(c.Data, "escrow"), 0o755) }, "file modes", "other users can read the trades"},
		{func(c *Config) { c.Escrow.Witness = filepath.Join(c.Data, "w", "witness") }, "witness", "a backup contains it"},
		{func(c *Config) {
			_ = os.MkdirAll(filepath.Join(c.Data, "keys"), 0o700)
			_ = os.WriteFile(filepath.Join(c.Data, "keys", "relay"), []byte("x"), 0o640)
		}, "file modes", "data: other users can read"},
		{func(c *Config) { c.Reputation.Key = c.Escrow.Key + "2" }, "file modes", "reputation.key: "},
		{func(c *Config) { _ = os.Remove(c.Escrow.Key) }, "file modes", "no such file"},
	} {
		cfg := soundConfig(t)
		c.change(&cfg)
		list := advice(&cfg)
		if got := said(list, c.check); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.check, got, c.want)
		}
		for _, f := range list {
			if f.State != isFine && f.Check != c.check {
				t.Errorf("%s: %q also warns of %s: %s", c.check, c.want, f.Check, f.Text)
			}
		}
	}
}

// TestServeWarns checks that serve logs what config check prints.
func TestServeWarns(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "mostrodex.toml")
	text := fmt.Sprintf("data = %q\n[relay]\nlisten = \"127.0.0.1:0\"\nurl = \"ws://localhost:1\"\ntrusted_proxies = [\"127.0.0.1\"]\n[[upstream]]\nurl = \"none\"\n", filepath.Join(dir, "data"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs syncBuffer
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"serve", "-c", file}, strings.NewReader(""), &out, &errs) }()
	eventually(t, "the warning", func() bool { return strings.Contains(errs.String(), "its own machine") })
	cancel()
	if code := <-done; code != exitOK || strings.Count(errs.String(), "level=WARN") != 1 {
		t.Errorf("%d: %s", code, errs.String())
	}
}

func ptr[T any](v T) *T { return &v }

// TestDoctor asks a running relay, a relay whose clock is wrong and that refuses our kinds, one
// that is down, and a Lightning node that does not answer.
func TestDoctor(t *testing.T) {
	own := defaultConfig()
	own.Data, own.Relay.Listen = t.TempDir(), "127.0.0.1:0"
	if err := own.chooseUpstreams([]string{"none"}); err != nil {
		t.Fatal(err)
	}
	m := &Main{Config: own}
	defer startMainUntil(t, m)()
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		fmt.Fprint(w, `{"name":"x","limitation":{"restricted_writes":true,"min_pow_difficulty":20},"retention":[{"kinds":[1,[38000,39000]],"time":0},{"kinds":[14],"time":60}]}`)
	}))
	defer bad.Close()
	cfg := soundConfig(t)
	cfg.Relay.URL = "ws://" + m.Addr()
	badURL := "ws" + strings.TrimPrefix(bad.URL, "http")
	cfg.Escrow.Publish.Relays = []string{badURL, "ws://127.0.0.1:1"}
	list := (&doctor{config: &cfg, client: http.DefaultClient, now: time.Now, limit: doctorTimeout}).examine(t.Context())
	for check, wants := range map[string][]string{
		"relay":          {badURL + ": accepts events of some keys only", "asks for 20 bits", "does not keep the kinds [38383 38385 38386]", badURL + ": no websocket", "ws://127.0.0.1:1: no websocket"},
		"lightning node": {"LND at 127.0.0.1:1"},
		"macaroon":       {"no macaroon of LND"},
		"clock":          {"differs by"},
	} {
		for _, want := range wants {
			if got := said(list, check); !strings.Contains(got, want) {
				t.Errorf("%s: %q, want %q", check, got, want)
			}
		}
	}
	if i := slices.IndexFunc(list, func(f finding) bool {
		return f.State == isFine && strings.Contains(f.Text, "relay.url ws://"+m.Addr()+": answers")
	}); i < 0 {
		t.Errorf("the running relay is not found to be fine: %+v", list)
	}
	// A relay that holds neither own events nor orders of others may refuse them in silence.
	cfg.Escrow.Publish.Relays = []string{"ws://" + m.Addr()}
	evidence := func(want string) {
		t.Helper()
		list := (&doctor{config: &cfg, client: http.DefaultClient, now: time.Now, limit: doctorTimeout}).relays(t.Context())
		if text, _ := json.Marshal(list); !strings.Contains(string(text), "publish ws://"+m.Addr()+": "+want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	evidence("holds no order of any Mostro")
	order := nostr.Event{Kind: mostro.KindOrder, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", "x"}, {"z", "order"}}}
	if err := dialNostr(t, t.Context(), m).Publish(t.Context(), *signAs(t, testKeys(t, "other"), order)); err != nil {
		t.Fatal(err)
	}
	evidence("holds orders of other Mostros")
	node, err := loadKeys(cfg.Escrow.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := dialNostr(t, t.Context(), m).Publish(t.Context(), *signAs(t, node, order)); err != nil {
		t.Fatal(err)
	}
	evidence("holds events of this Mostro")

	text, err := json.Marshal(list)
	key, _ := os.ReadFile(cfg.Escrow.Key)
	if err != nil || strings.Contains(string(text), strings.TrimSpace(string(key))) {
		t.Error("the findings contain the key")
	}
}

// TestDoctorOfHostileRelays asks a relay that never answers, one that describes itself without an
// end, and one whose answer would control the terminal.
func TestDoctorOfHostileRelays(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat("[", 4096))); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	rude := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(c, "HTTP/1.1 500 \x1b[2J\x1b]0;owned\r\nDate: \x1b[2J\r\nContent-Length: 0\r\n\r\n")
		c.Close()
	}))
	defer rude.Close()
	cfg := soundConfig(t)
	cfg.Relay.URL = ""
	cfg.Escrow.Publish.Relays = []string{"ws://" + silent.Addr().String(), "ws" + strings.TrimPrefix(endless.URL, "http"), "ws" + strings.TrimPrefix(rude.URL, "http")}
	list := (&doctor{config: &cfg, client: http.DefaultClient, now: time.Now, limit: 500 * time.Millisecond}).examine(t.Context())
	if n := strings.Count(said(list, "relay"), "no websocket"); n != 3 {
		t.Errorf("%d relays have no websocket: %+v", n, list)
	}
	var out strings.Builder
	if err := printFindings(&out, list); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsFunc(out.String(), func(r rune) bool { return unicode.IsControl(r) && r != '\n' }) {
		t.Errorf("the output controls the terminal: %q", out.String())
	}
}

func TestClockOf(t *testing.T) {
	of := func(seconds ...int) (list []*time.Duration) {
		for _, s := range seconds {
			list = append(list, ptr(time.Duration(s)*time.Second))
		}
		return append(list, nil)
	}
	for _, c := range []struct {
		skews []*time.Duration
		want  gravity
	}{{of(), isWarn}, {of(1), isFine}, {of(-1, 2, 4000), isFine}, {of(40, 41, 0), isWarn}, {of(-700), isFail}} {
		if got := clockOf(c.skews)[0]; got.State != c.want {
			t.Errorf("%+v, want %s", got, c.want)
		}
	}
}

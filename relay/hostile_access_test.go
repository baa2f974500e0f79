package relay

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/relaytest"
	"github.com/nbd-wtf/go-nostr"
)

// A page in the operator's browser can connect to ws://127.0.0.1, so rates apply to it. If
// NobodyIsLocal is set, rates apply to all clients on this machine.
func TestPagesOfTheBrowserAreHeldToRates(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Config)
		headers http.Header
		exempt  bool
	}{
		"a program":        {func(*Config) {}, nil, true},
		"a page":           {func(*Config) {}, http.Header{"Origin": {"http://evil.example"}}, false},
		"nobody is":        {func(c *Config) { c.NobodyIsLocal = true }, nil, false},
		"a sandboxed page": {func(*Config) {}, http.Header{"Origin": {"null"}}, false},
	} {
		r := startRelay(t, func(cfg *Config) {
			cfg.Limits.RequestsPerMinutePerIP = 3
			c.change(cfg)
		})
		client := r.DialAs(c.headers)
		var last []string
		for i := range 4 {
			client.Send("REQ", fmt.Sprint(i), testkit.Object{"kinds": []int{1}, "limit": 1})
			last = client.Next()
		}
		if exempt := last[0] == "EOSE"; exempt != c.exempt {
			t.Errorf("%s: %q", name, last)
		}
	}
	r := startRelay(t, func(c *Config) { c.NobodyIsLocal = true })
	if status, lines := postImport(t, r.HTTP.URL, testkit.NDJSON(t, testkit.Order(t, "x", testkit.Now(), "pending")), nil); status != http.StatusUnauthorized {
		t.Errorf("an import where nobody is local: %d %q", status, lines)
	}
}

// The private listener refuses pages for every host name that resolves to it.
func TestPrivateListenerAnswersNoPages(t *testing.T) {
	private := httptest.NewServer(GuardPrivate(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metrics") }), "metrics.lan"))
	defer private.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(private.URL, "http://"), ":")
	for _, c := range []struct {
		host, origin string
		want         int
	}{
		{"127.0.0.1:" + port, "", 200}, {"localhost:" + port, "", 200}, {"[::1]:" + port, "", 200}, {"10.0.0.7", "", 200}, {"metrics.lan:9", "", 200},
		{"rebound.evil.example:" + port, "", 403}, {"127.0.0.1.evil.example", "", 403}, {"", "", 200}, // Go fills in an empty Host
		{"127.0.0.1:" + port, "http://evil.example", 403}, {"localhost", "null", 403},
		{"127.0.0.1:" + port, "http://127.0.0.1:" + port, 200}, {"metrics.lan", "https://metrics.lan", 200}, {"127.0.0.1:" + port, "http://localhost:" + port, 403},
		{"127.0.0.1:" + port, "http://127.0.0.1:9", 403}, {"rebound.evil.example", "http://rebound.evil.example", 403}, {"127.0.0.1:" + port, "http://127.0.0.1:" + port + ".evil.example", 403},
	} {
		req, err := http.NewRequest(http.MethodGet, private.URL+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if req.Host = c.host; c.origin != "" {
			req.Header.Set("Origin", c.origin)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("Host %q Origin %q: %d, want %d", c.host, c.origin, resp.StatusCode, c.want)
		}
	}
}

// If no URL is configured, a proof made for another relay is refused here. Each proof is
// accepted once.
func TestProofsHoldOnceAndHere(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.Admins, c.NobodyIsLocal = []string{testkit.Signed(t, 1, 0).PubKey}, true })
	body := testkit.NDJSON(t, testkit.Order(t, "x", testkit.Now(), "pending"))
	hash := sha256.Sum256([]byte(body))
	proof := func(u string) string {
		evt := testkit.Signed(t, kindHTTPAuth, testkit.Now(), nostr.Tag{"u", u}, nostr.Tag{"method", "POST"}, nostr.Tag{"payload", hex.EncodeToString(hash[:])}, nostr.Tag{"n", u})
		return "Nostr " + base64.StdEncoding.EncodeToString(mostro.EncodeEvent(evt))
	}
	post := func(host, authorization string) int {
		req, err := http.NewRequest(http.MethodPost, r.HTTP.URL+"/api/v1/import", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Authorization", authorization)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	own := strings.TrimPrefix(r.HTTP.URL, "http://")
	if got := post("other.example", proof("http://other.example/api/v1/import")); got != http.StatusUnauthorized {
		t.Errorf("a proof for another relay: %d", got)
	}
	here := proof("http://" + own + "/api/v1/import")
	if got := post(own, here); got != http.StatusOK {
		t.Errorf("a proof for this address: %d", got)
	}
	if got := post(own, here); got != http.StatusUnauthorized {
		t.Errorf("the same proof again: %d", got)
	}
	named := startRelay(t, func(c *Config) {
		c.Admins, c.NobodyIsLocal, c.URL = []string{testkit.Signed(t, 1, 0).PubKey}, true, "ws://other.example"
	})
	r = named
	if got := post("other.example", proof("http://other.example/api/v1/import")); got != http.StatusOK {
		t.Errorf("a proof for the configured URL: %d", got)
	}
}

func TestProofsOfKeysAreRated(t *testing.T) {
	r := startRelay(t, func(cfg *Config) {
		cfg.Limits.RequestsPerMinutePerIP = 3 * authCost
		cfg.NobodyIsLocal = true
	})
	c := r.Dial()
	for i := range 4 {
		evt := testkit.Signed(t, 22242, testkit.Now()-int64(i), nostr.Tag{"relay", r.URL()}, nostr.Tag{"challenge", "guessed"})
		c.Send("AUTH", evt)
		want := "restricted:"
		if i == 3 {
			want = "rate-limited:"
		}
		if got := c.Expect("OK", evt.ID, "false"); !strings.HasPrefix(got[3], want) {
			t.Errorf("proof %d: %q", i, got)
		}
	}
}

// The public export holds no event that the rules hide, and has a rate limit.
func TestPublicExport(t *testing.T) {
	r := startRelay(t, func(cfg *Config) { cfg.NobodyIsLocal = true })
	banned := strings.Repeat("2", 64)
	orderOf := func(secret, d string) *nostr.Event {
		return testkit.SignedBy(t, secret, mostro.KindOrder, testkit.Now(), "", nostr.Tag{"d", d}, nostr.Tag{"s", "pending"})
	}
	c := r.Dial()
	kept, hidden, single := orderOf(testkit.Secret, "kept"), orderOf(banned, "hidden"), orderOf(testkit.Secret, "single")
	for _, evt := range []*nostr.Event{kept, hidden, single} {
		c.MustPublish(evt)
	}
	if err := r.srv.moderation.change(func(rules *Rules) error {
		rules.BlockedKeys, rules.BlockedEvents = map[string]string{hidden.PubKey: ""}, map[string]string{single.ID: ""}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	get := func() (int, []string) {
		w := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "/api/v1/export/events", nil)
		req.RemoteAddr = "203.0.113.9:5"
		r.srv.ServeExport(w, req)
		var ids []string
		for lines := bufio.NewScanner(w.Body); w.Code == 200 && lines.Scan(); {
			ids = append(ids, testkit.EventID(t, lines.Text()))
		}
		return w.Code, ids
	}
	if code, ids := get(); code != 200 || len(ids) != 1 || ids[0] != kept.ID {
		t.Errorf("%d: %v are exported", code, ids)
	}
	for range DefaultRequestsPerIP/exportCost - 1 {
		if code, _ := get(); code != 200 {
			t.Fatalf("within the rate: %d", code)
		}
	}
	if code, _ := get(); code != http.StatusTooManyRequests {
		t.Errorf("beyond the rate: %d", code)
	}
}

// A client cannot keep half a message alive by pings.
func TestHalfMessagesEnd(t *testing.T) {
	r := startRelay(t, func(cfg *Config) { cfg.IdleAfter, cfg.PingEvery = 300*time.Millisecond, 100*time.Millisecond })
	c := dialRaw(t, r, "")
	c.frame(ws.OpText, false, []byte(`["REQ","`))
	ping, err := ws.CompileFrame(ws.MaskFrame(ws.NewPingFrame(nil)))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for err := error(nil); err == nil; time.Sleep(50 * time.Millisecond) {
			_, err = c.nc.Write(ping) // until the test closes the connection
		}
	}()
	testkit.Eventually(t, "the connection ends", func() bool { return relaytest.Gauge(t, r.reg, "mostrodex_relay_connections") == 0 })
}

// The times of this program's own events are not checked.
func TestOwnEventsAreNotRefusedForTheirTime(t *testing.T) {
	at := time.Unix(1_790_000_000, 0)
	evt := &nostr.Event{ID: strings.Repeat("a", 64), PubKey: strings.Repeat("b", 64), Sig: strings.Repeat("c", 128), Kind: mostro.KindOrder, Tags: nostr.Tags{{"d", "x"}}}
	evt.CreatedAt = nostr.Timestamp(at.Unix() + 901)
	for origin, refused := range map[mostro.Origin]bool{mostro.OriginSelf: false, mostro.OriginClient: true} {
		if reason := (Policy{}).Refuse(evt, 0, at, origin); (reason != "") != refused {
			t.Errorf("an event dated 901 s ahead by %v: %q", origin, reason)
		}
	}
	evt.CreatedAt = nostr.Timestamp(at.Unix())
	evt.Tags = append(evt.Tags, nostr.Tag{"expiration", "1790000000"})
	for origin, refused := range map[mostro.Origin]bool{mostro.OriginSelf: false, mostro.OriginClient: true} {
		if reason := (Policy{}).Refuse(evt, 0, at, origin); (reason != "") != refused {
			t.Errorf("an event that expires at this second by %v: %q", origin, reason)
		}
	}
	r := startRelay(t, nil)
	if err := r.srv.Publish(t.Context(), testkit.Signed(t, 38383, testkit.Now(), nostr.Tag{"d", "x"}, nostr.Tag{"expiration", fmt.Sprint(testkit.Now() - 1)})); err != nil {
		t.Error(err)
	}
	if r.Store.Live() != 0 {
		t.Error("an expired event is served")
	}
}

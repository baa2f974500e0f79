package relay

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

func authenticate(c *testkit.Client, url, challenge string, change func(*nostr.Event)) (ok bool, reason string) {
	c.TB.Helper()
	evt := &nostr.Event{Kind: 22242, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"relay", url}, {"challenge", challenge}}}
	if change != nil {
		change(evt)
	}
	if err := evt.Sign(testkit.Secret); err != nil {
		c.TB.Fatal(err)
	}
	c.Send("AUTH", evt)
	got := c.Expect("OK", evt.ID)
	return got[2] == "true", got[3]
}

func TestAuthIsOfferedAndNeverRequired(t *testing.T) {
	r := startRelay(t, nil)
	at := testkit.Now()
	protected := testkit.Signed(t, mostro.KindDevFee, at, nostr.Tag{"-"})

	nobody := r.Dial()
	wrap := testkit.Signed(t, mostro.KindGiftWrap, at, nostr.Tag{"p", strings.Repeat("a", 64)})
	nobody.MustPublish(wrap)
	if got := nobody.Req("mail", testkit.Object{"kinds": []int{1059}}); !slices.Equal(got, []string{wrap.ID}) {
		t.Errorf("mail without AUTH: %v", got)
	}
	nobody.Send("EVENT", protected)
	nobody.Challenge = nobody.Expect("AUTH")[1]
	if got := nobody.Expect("OK", protected.ID, "false"); !strings.HasPrefix(got[3], "auth-required:") {
		t.Errorf("got %q", got)
	}

	c := r.Dial()
	c.Quiet() // the relay sends no challenge unless it refuses an event
	c.NeedChallenge()
	if c.Challenge == nobody.Challenge || len(c.Challenge) < 32 {
		t.Errorf("challenges %q and %q", c.Challenge, nobody.Challenge)
	}
	for name, change := range map[string]func(*nostr.Event){
		"another relay":     func(e *nostr.Event) { e.Tags[0][1] = "wss://elsewhere.example" },
		"another challenge": func(e *nostr.Event) { e.Tags[1][1] = nobody.Challenge },
		"another kind":      func(e *nostr.Event) { e.Kind = 22243 },
		"too old":           func(e *nostr.Event) { e.CreatedAt -= 3600 },
		"bare relay tag":    func(e *nostr.Event) { e.Tags[0] = nostr.Tag{"relay"} },
		"bare challenge":    func(e *nostr.Event) { e.Tags[1] = nostr.Tag{"challenge"} },
		"no tags":           func(e *nostr.Event) { e.Tags = nostr.Tags{} },
	} {
		if ok, reason := authenticate(c, r.URL(), c.Challenge, change); ok || !strings.HasPrefix(reason, "restricted:") {
			t.Errorf("%s: OK %v %q", name, ok, reason)
		}
	}
	forged := *testkit.Signed(t, 22242, at, nostr.Tag{"relay", r.URL()}, nostr.Tag{"challenge", c.Challenge})
	forged.Sig = strings.Repeat("0", 128)
	c.Send("AUTH", &forged)
	c.Expect("OK", forged.ID, "false")
	c.Send("EVENT", protected)
	c.Expect("AUTH")
	c.Expect("OK", protected.ID, "false")

	if ok, reason := authenticate(c, r.URL()+"/", c.Challenge, nil); !ok {
		t.Fatalf("a right proof: %q", reason)
	}
	c.MustPublish(protected)
	c.MustRefuse(testkit.SignedBy(t, strings.Repeat("2", 64), 14, at, "", nostr.Tag{"-"}), "restricted:")
}

func TestAuthAgainstTheConfiguredURL(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.URL = "wss://relay.example" })
	c := r.Dial()
	c.NeedChallenge()
	if ok, reason := authenticate(c, r.URL(), c.Challenge, nil); ok || !strings.Contains(reason, "wss://relay.example, which is the configured relay.url") {
		t.Errorf("a proof for the address used: OK %v %q", ok, reason)
	}
	if ok, reason := authenticate(c, "wss://relay.example/", c.Challenge, nil); !ok {
		t.Error(reason)
	}
}

func TestInfoDocument(t *testing.T) {
	fallback := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "explorer") })
	r := startRelay(t, func(c *Config) {
		c.Name, c.Fallback, c.MaxLimit, c.Policy.MinPow = "test relay", fallback, 777, 0
		c.Search = searchFunc(nil)
	})
	get := func(accept ...string) (string, http.Header) {
		req, _ := http.NewRequest("GET", r.HTTP.URL, nil)
		req.Header["Accept"] = accept
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b strings.Builder
		fmt.Fprint(&b)
		buf := make([]byte, 64<<10)
		n := 0
		for {
			k, err := resp.Body.Read(buf[n:])
			n += k
			if err != nil {
				return string(buf[:n]), resp.Header
			}
		}
	}
	for _, accept := range [][]string{
		{"application/nostr+json"}, {"application/nostr+json, */*"}, {"text/html, application/nostr+json;q=0.9"},
		{"*/*", "Application/Nostr+JSON"},
	} {
		body, h := get(accept...)
		var doc struct {
			Name          string `json:"name"`
			SupportedNIPs []int  `json:"supported_nips"`
			Limitation    map[string]any
			Retention     []struct {
				Kinds []any
				Time  *float64
			}
		}
		if err := json.Unmarshal([]byte(body), &doc); err != nil {
			t.Fatalf("%v: %v in %s", accept, err, body)
		}
		if h.Get("Content-Type") != "application/nostr+json" || h.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("headers %v", h)
		}
		if doc.Name != "test relay" || !slices.Equal(doc.SupportedNIPs, []int{1, 9, 11, 13, 40, 42, 45, 50, 70, 77, 86}) {
			t.Errorf("%+v", doc)
		}
		for name, want := range map[string]any{"max_limit": 777., "default_limit": 500., "max_subscriptions": 1024.,
			"auth_required": false, "created_at_upper_limit": 900., "min_pow_difficulty": 0., "max_message_length": 524288.} {
			if doc.Limitation[name] != want {
				t.Errorf("%s is %v, want %v", name, doc.Limitation[name], want)
			}
		}
		if len(doc.Retention) != 3 || doc.Retention[0].Time != nil || *doc.Retention[1].Time != 0 || *doc.Retention[2].Time != 30*86400 ||
			!slices.Equal(doc.Retention[2].Kinds, []any{4., 14., 1059.}) {
			t.Errorf("retention %+v", doc.Retention)
		}
		if _, ok := doc.Limitation["created_at_lower_limit"]; ok {
			t.Error("a lower limit is claimed")
		}
	}
	if body, _ := get("text/html"); body != "explorer" {
		t.Errorf("the fallback gave %q", body)
	}
	req, _ := http.NewRequest("POST", r.HTTP.URL, strings.NewReader("{}"))
	req.Header.Set("Content-Type", "application/nostr+json+rpc")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("NIP-86: %s", resp.Status)
	}
}

func TestProofOfWork(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.Policy.MinPow = 8 })
	c := r.Dial()
	at := testkit.Now()
	cheap, dear := 0, 0
	for i := 0; cheap == 0 || dear == 0; i++ {
		evt := testkit.SignedBy(t, testkit.Secret, 14, at, fmt.Sprint(i))
		if strings.HasPrefix(evt.ID, "00") {
			c.MustPublish(evt)
			dear++
		} else if cheap == 0 {
			c.MustRefuse(evt, "pow:")
			cheap++
		}
	}
}

func TestClientAddress(t *testing.T) {
	_, ten, _ := strings.Cut("x 10.0.0.0/8", " ")
	s := &peers{proxies: []netip.Prefix{netip.MustParsePrefix(ten), netip.MustParsePrefix("127.0.0.1/32")}}
	for name, tc := range map[string]struct {
		remote, forwarded, ip string
		local                 bool
	}{
		"no proxy":                   {"8.8.8.8:1", "", "8.8.8.8", false},
		"a stranger's word":          {"8.8.8.8:1", "1.1.1.1", "8.8.8.8", false},
		"a proxy's word":             {"10.0.0.1:1", "1.1.1.1", "1.1.1.1", false},
		"a chain, lies at the far":   {"10.0.0.1:1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1", false},
		"a proxy's nonsense":         {"10.0.0.1:1", "unknown", "10.0.0.1", false},
		"loopback":                   {"127.0.0.1:1", "", "127.0.0.1", true},
		"loopback, IPv6":             {"[::1]:1", "", "::1", true},
		"loopback as IPv4 in IPv6":   {"[::ffff:127.0.0.1]:1", "", "127.0.0.1", true},
		"loopback for another":       {"127.0.0.1:1", "1.1.1.1", "1.1.1.1", false},
		"loopback claims loopback":   {"127.0.0.1:1", "127.0.0.1", "127.0.0.1", false},
		"a stranger claims loopback": {"8.8.8.8:1", "127.0.0.1", "8.8.8.8", false},
	} {
		t.Run(name, func(t *testing.T) {
			req := httptest.NewRequest("GET", "/", nil)
			req.RemoteAddr = tc.remote
			if tc.forwarded != "" {
				req.Header.Set("X-Forwarded-For", tc.forwarded)
			}
			ip, local := s.clientIP(req)
			if ip.String() != tc.ip || local != tc.local {
				t.Errorf("got %s %v", ip, local)
			}
		})
	}
}

type searchFunc func(f nostr.Filter) ([]string, error)

func (s searchFunc) Search(_ context.Context, f nostr.Filter) ([]string, error) { return s(f) }

func TestSearchKeepsTheIndexsOrderAndProvesTheRest(t *testing.T) {
	var ids []string
	var fail error
	asked := nostr.Filter{}
	r := startRelay(t, func(c *Config) {
		c.Search = searchFunc(func(f nostr.Filter) ([]string, error) { asked = f; return ids, fail })
	})
	c := r.Dial()
	at := testkit.Now()
	a, b, done := testkit.Order(t, "a", at-9, "pending"), testkit.Order(t, "b", at, "pending"), testkit.Order(t, "c", at, "success")
	for _, evt := range []*nostr.Event{a, b, done} {
		c.MustPublish(evt)
	}
	ids = []string{a.ID, strings.Repeat("f", 64), done.ID, b.ID}
	filter := testkit.Object{"kinds": []int{38383}, "#s": []string{"pending"}, "search": "bizum madrid", "limit": 10}
	if got := c.Req("s", filter); !slices.Equal(got, []string{a.ID, b.ID}) {
		t.Errorf("got %v", got)
	}
	if asked.Search != "bizum madrid" || asked.Limit != 10 {
		t.Errorf("asked %v", asked)
	}
	// The answer of the other filter follows, without repetitions.
	if got := c.Req("s", filter, testkit.Object{"kinds": []int{38383}}); len(got) != 3 || got[0] != a.ID || got[1] != b.ID || got[2] != done.ID {
		t.Errorf("got %v", got)
	}
	// Words are not matched live.
	c.Req("s", filter)
	r.Dial().MustPublish(testkit.Order(t, "d", at, "pending"))
	c.Quiet()
	fail = fmt.Errorf("index is closed")
	c.Send("REQ", "s", filter)
	c.Expect("CLOSED", "s", "error: the store could not be asked")
}

func TestQuotaIsAskedBeforeTheSignatureAndNotForOurselves(t *testing.T) {
	var ips []string
	r := startRelay(t, func(c *Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.Quota = func(ip netip.Addr, evt *nostr.Event) string {
			ips = append(ips, ip.String())
			return "rate-limited: slow down"
		}
	})
	r.Dial().MustPublish(testkit.Order(t, "a", testkit.Now(), "pending"))
	raw := dialRaw(t, r, "Upgrade: websocket\r\nConnection: Upgrade\r\nX-Forwarded-For: 9.9.9.9\r\n")
	evt := testkit.Order(t, "b", testkit.Now(), "pending")
	evt.Sig = strings.Repeat("0", 128)
	body, _ := evt.MarshalJSON()
	raw.text(`["EVENT",` + string(body) + `]`)
	if _, got := raw.next(); !strings.Contains(got, "rate-limited: slow down") {
		t.Errorf("got %s", got)
	}
	if !slices.Equal(ips, []string{"9.9.9.9"}) {
		t.Errorf("asked for %v", ips)
	}
}

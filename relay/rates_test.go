package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

const adminSecret = "00000000000000000000000000000000000000000000000000000000000000ad"

// manage sends a NIP-86 request and returns its status, result and error.
func (r *testRelay) manage(secret, method string, params ...any) (status int, result any, problem string) {
	r.TB.Helper()
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"method": method, "params": params})
	if err != nil {
		r.TB.Fatal(err)
	}
	req, _ := http.NewRequest("POST", r.HTTP.URL+"/", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/nostr+json+rpc; charset=utf-8")
	if secret != "" {
		h := sha256.Sum256(body)
		proof := testkit.SignedBy(r.TB, secret, kindHTTPAuth, testkit.Now(), "", nostr.Tag{"u", r.HTTP.URL + "/"}, nostr.Tag{"method", "POST"}, nostr.Tag{"payload", hex.EncodeToString(h[:])})
		req.Header.Set("Authorization", "Nostr "+base64.StdEncoding.EncodeToString(mostro.EncodeEvent(proof)))
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.TB.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Result any
		Error  string
	}
	if res.StatusCode == http.StatusOK {
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
			r.TB.Fatal(err)
		}
	}
	return res.StatusCode, answer.Result, answer.Error
}

func (r *testRelay) mustManage(method string, params ...any) any {
	r.TB.Helper()
	status, result, problem := r.manage(adminSecret, method, params...)
	if status != http.StatusOK || problem != "" {
		r.TB.Fatalf("%s: %d %s", method, status, problem)
	}
	return result
}

func TestManagement(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.json")
	admin := func(c *Config) { c.Admins, c.RulesFile = []string{testkit.PubkeyOf(t, adminSecret)}, file }
	r := startRelay(t, admin)
	c := r.Dial()
	troll := fmt.Sprintf("%064x", 0xbad)
	trollKey := testkit.PubkeyOf(t, troll)
	spam := func(d string) *nostr.Event {
		return testkit.SignedBy(t, troll, mostro.KindOrder, testkit.Now(), "", nostr.Tag{"d", d})
	}
	mine := testkit.Order(t, "mine", testkit.Now(), "pending")
	first := spam("1")
	c.MustPublish(mine)
	c.MustPublish(first)
	all := func(f testkit.Object) int { return len(c.Req("q", f)) }

	for _, secret := range []string{"", troll} {
		if status, _, _ := r.manage(secret, "supportedmethods"); status != http.StatusUnauthorized {
			t.Errorf("without an admin's proof: %d", status)
		}
	}
	if n := len(r.mustManage("supportedmethods").([]any)); n < 20 {
		t.Errorf("%d methods", n)
	}
	r.mustManage("banpubkey", trollKey, "spam")
	c.MustRefuse(spam("2"), "blocked:")
	if all(testkit.Object{}) != 1 || all(testkit.Object{"ids": []string{first.ID}}) != 0 {
		t.Error("a banned key's events are served")
	}
	c.Send("COUNT", "n", testkit.Object{})
	if got := c.Expect("COUNT", "n"); got[2] != `{"count":1}` {
		t.Errorf("count %s", got[2])
	}
	if list := fmt.Sprint(r.mustManage("listbannedpubkeys")); !strings.Contains(list, trollKey) || !strings.Contains(list, "spam") {
		t.Errorf("list %s", list)
	}
	r.mustManage("unbanpubkey", trollKey)
	if all(testkit.Object{}) != 2 {
		t.Error("an unbanned key's events are not served")
	}
	r.mustManage("quarantinepubkey", trollKey, "suspicious")
	watcher := r.Dial()
	watcher.Send("REQ", "live", testkit.Object{"limit": 0})
	watcher.Expect("EOSE", "live")
	c.Send("CLOSE", "q")
	c.MustPublish(spam("3")) // taken
	seen := testkit.Order(t, "seen", testkit.Now(), "pending")
	c.MustPublish(seen)
	if got := watcher.Expect("EVENT", "live"); testkit.EventID(t, got[2]) != seen.ID {
		t.Errorf("the quarantined event comes live: %s", got[2])
	}
	if all(testkit.Object{}) != 2 {
		t.Error("quarantined events are served")
	}
	r.mustManage("unquarantinepubkey", trollKey)
	r.mustManage("banevent", mine.ID)
	if all(testkit.Object{"ids": []string{mine.ID}}) != 0 {
		t.Error("a banned event is served")
	}
	r.mustManage("disallowkind", mostro.KindDispute)
	c.MustRefuse(testkit.Signed(t, mostro.KindDispute, testkit.Now(), nostr.Tag{"d", "x"}), "blocked:")
	r.mustManage("allowkind", 1)
	c.MustPublish(testkit.Signed(t, 1, testkit.Now()))
	r.mustManage("changerelayname", "another")
	r.mustManage("blockip", "203.0.113.0/24")
	for _, bad := range [][]any{{"banpubkey", "zz"}, {"blockip", "nowhere"}, {"allowkind", 1 << 20}, {"frobnicate"}, {"banevent"}} {
		if _, _, problem := r.manage(adminSecret, bad[0].(string), bad[1:]...); problem == "" {
			t.Errorf("%v is taken", bad)
		}
	}

	// The rules are kept over a restart.
	r.Stop()
	lines := &testkit.LogLines{}
	r2 := startRelay(t, func(c *Config) {
		admin(c)
		c.Logger = slog.New(slog.NewTextHandler(lines, nil))
	})
	if rules := r2.srv.Rules(); rules.Name != "another" || len(rules.BlockedIPs) != 1 || len(rules.BlockedEvents) != 1 {
		t.Errorf("rules %+v", rules)
	}
	res, err := http.NewRequest("GET", r2.HTTP.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Header.Set("Accept", "application/nostr+json")
	doc, err := http.DefaultClient.Do(res)
	if err != nil {
		t.Fatal(err)
	}
	defer doc.Body.Close()
	var info struct{ Name string }
	if json.NewDecoder(doc.Body).Decode(&info); info.Name != "another" {
		t.Errorf("name %q", info.Name)
	}

	// An operator may edit the file of rules. An invalid file changes nothing.
	future := time.Now().Add(time.Minute)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		future = future.Add(time.Minute)
		if err := os.Chtimes(file, future, future); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"name":"edited"}`)
	testkit.Eventually(t, "the file is read again", func() bool { return r2.srv.Rules().Name == "edited" })
	write(`{"name":`)
	testkit.Eventually(t, "the broken file is read", func() bool { return lines.Count("rules not loaded") == 1 })
	if r2.srv.Rules().Name != "edited" {
		t.Error("a broken file is in force")
	}
}

func TestRatesOfEvents(t *testing.T) {
	clock := testkit.NewClock()
	r := startRelay(t, func(c *Config) {
		c.Limits = Limits{EventsPerMinutePerIP: 10, EventsPerMinutePerKey: 4}
		c.Now = clock.Now
	})
	ask := func(ip, secret, d string, local bool) string {
		t.Helper()
		evt := testkit.SignedBy(t, secret, mostro.KindOrder, clock.Now().Unix(), "", nostr.Tag{"d", d})
		a := &Admission{Context: context.Background(), evt: evt, ip: netip.MustParseAddr(ip), local: local, source: mostro.Source{Origin: mostro.OriginClient}}
		if r.srv.Check(a) {
			return ""
		}
		return a.reason
	}
	key := func(n int) string { return fmt.Sprintf("%064x", n+1) }
	for i := range 4 {
		if reason := ask("198.51.100.1", key(1), fmt.Sprint("a", i), false); reason != "" {
			t.Fatal(reason)
		}
	}
	if reason := ask("198.51.100.1", key(1), "b", false); !strings.Contains(reason, "by this key") {
		t.Errorf("the fifth by one key: %q", reason)
	}
	for i := range 5 {
		if reason := ask("198.51.100.1", key(10+i), "c", false); reason != "" {
			t.Fatal(i, reason)
		}
	}
	if reason := ask("198.51.100.1", key(20), "d", false); !strings.Contains(reason, "from this address") {
		t.Errorf("the eleventh from one address: %q", reason)
	}
	if reason := ask("198.51.100.2", key(20), "d", false); reason != "" {
		t.Errorf("another address: %q", reason)
	}
	if reason := ask("127.0.0.1", key(1), "e", true); reason != "" {
		t.Errorf("this machine: %q", reason)
	}
	for i := range 10 { // one customer of a provider has many addresses
		ask(fmt.Sprintf("2001:db8:0:1::%x", i+1), key(30+i), "f", false)
	}
	if reason := ask("2001:db8:0:1:ffff::9", key(50), "f", false); !strings.Contains(reason, "from this address") {
		t.Errorf("another address of the same /64: %q", reason)
	}
	clock.Advance(time.Minute)
	if reason := ask("198.51.100.1", key(1), "g", false); reason != "" {
		t.Errorf("a minute later: %q", reason)
	}
}

func TestBucketsAreBounded(t *testing.T) {
	var b buckets[int]
	at := time.Unix(1_800_000_000, 0)
	for i := range 3 * maxBuckets {
		b.take(i, 1, 5, at.Add(time.Duration(i)*time.Millisecond))
		if len(b.all) > maxBuckets {
			t.Fatalf("%d buckets", len(b.all))
		}
	}
}

func TestMailOfKnownKeysOnly(t *testing.T) {
	node := strings.Repeat("ab", 32)
	r := startRelay(t, func(c *Config) { c.KnownMail = func(key string) bool { return key == node } })
	c := r.Dial()
	c.MustPublish(testkit.Signed(t, mostro.KindGiftWrap, testkit.Now(), nostr.Tag{"p", node}))
	c.MustRefuse(testkit.Signed(t, mostro.KindGiftWrap, testkit.Now(), nostr.Tag{"p", strings.Repeat("cd", 32)}), "blocked:")
	c.MustPublish(testkit.Order(t, "x", testkit.Now(), "pending"))
}

func TestQuotaOverTheSocket(t *testing.T) {
	r := startRelay(t, func(c *Config) { c.Limits.LiveAddressesPerKey = 3 })
	c := r.Dial()
	for i := range 3 {
		c.MustPublish(testkit.Order(t, fmt.Sprint(i), testkit.Now(), "pending"))
	}
	c.MustRefuse(testkit.Order(t, "4", testkit.Now(), "pending"), "blocked:")
	c.MustPublish(testkit.Order(t, "2", testkit.Now()+1, "success"))
	if n := gaugeOf(t, r, "mostrodex_relay_events_total", "over_quota"); n != 1 {
		t.Errorf("%v events over quota in the metrics", n)
	}
}

// gaugeOf returns the value of one labelled metric.
func gaugeOf(tb testing.TB, r *testRelay, name, label string) float64 {
	tb.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name && len(m.Label) > 0 && m.Label[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// If a client asks too often, each verb returns its own refusal, and the client is served
// again after a minute. A client on this machine is not counted.
func TestRatesOfRequests(t *testing.T) {
	clock := testkit.NewClock()
	r := startRelay(t, func(c *Config) {
		c.Limits = Limits{RequestsPerMinutePerIP: 3}
		c.Now = clock.Now
	})
	far := dialRaw(t, r, "Upgrade: websocket\r\nConnection: Upgrade\r\nX-Forwarded-For: 9.9.9.9\r\n")
	ask := func(frame, want string) {
		t.Helper()
		far.text(frame)
		for {
			_, got := far.next()
			if strings.HasPrefix(got, `["AUTH"`) {
				continue
			}
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s, want %s", frame, got, want)
			}
			return
		}
	}
	ask(`["REQ","a",{"kinds":[38383]}]`, `["EOSE","a"]`)
	ask(`["COUNT","b",{"kinds":[38383]}]`, `["COUNT","b",`)
	ask(`["REQ","c",{"kinds":[38383]}]`, `["EOSE","c"]`)
	ask(`["REQ","a",{"kinds":[38384]}]`, `["CLOSED","a","rate-limited:`)
	ask(`["COUNT","d",{}]`, `["CLOSED","d","rate-limited:`)
	ask(`["NEG-OPEN","e",{},"6100000200"]`, `["NEG-ERR","e","rate-limited:`)
	clock.Advance(time.Minute)
	ask(`["NEG-OPEN","e",{},"6100000200"]`, `["NEG-MSG","e",`)
	near := r.Dial()
	for i := range 10 {
		near.Req(fmt.Sprint("n", i), nostr.Filter{Kinds: []int{38383}}) // fails on CLOSED
	}
}

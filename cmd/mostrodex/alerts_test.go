package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/alerts"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
)

// signedRequest sends a request with a NIP-98 authorization and returns the status, the answer
// and the authorization.
func signedRequest(tb testing.TB, k *envelope.Keys, method, url, body, proof string) (int, string, string) {
	tb.Helper()
	if proof == "" {
		tags := nostr.Tags{{"u", url}, {"method", method}}
		if body != "" {
			sum := sha256.Sum256([]byte(body))
			tags = append(tags, nostr.Tag{"payload", hex.EncodeToString(sum[:])})
		}
		evt := testkit.SignedBy(tb, hexOf(k), 27235, testkit.Now(), "", tags...)
		proof = "Nostr " + base64.StdEncoding.EncodeToString(mostro.EncodeEvent(evt))
	}
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Authorization", proof)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, string(b), proof
}

// orderIn publishes an order on offer and returns the time before its publication.
func orderIn(tb testing.TB, c *testkit.Client, d, fiat string) time.Time {
	tb.Helper()
	began := time.Now()
	c.MustPublish(testkit.Signed(tb, mostro.KindOrder, testkit.Now(), nostr.Tag{"d", d}, nostr.Tag{"k", "sell"}, nostr.Tag{"f", fiat}, nostr.Tag{"s", "pending"}, nostr.Tag{"amt", "0"},
		nostr.Tag{"fa", "100"}, nostr.Tag{"pm", "Pago \u202eMovil\nSECOND LINE"}, nostr.Tag{"premium", "1"}, nostr.Tag{"y", "mostro"}, nostr.Tag{"z", "order"}))
	return began
}

// TestAlertsOverSockets sets alerts over HTTP and by message, gets each order once by message
// and by webhook, also over a restart, and none after the deletion.
func TestAlertsOverSockets(t *testing.T) {
	var mu sync.Mutex
	var posts []string
	var secret string
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		posts = append(posts, string(body))
		at, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Mostrodex-Signature"), "t="), ",")
		if unix, err := time.ParseDuration(at + "s"); secret != "" && (err != nil || r.Header.Get("Mostrodex-Signature") != alerts.Sign(secret, time.Unix(int64(unix.Seconds()), 0), body)) {
			t.Errorf("signature %s", r.Header.Get("Mostrodex-Signature"))
		}
		w.Write(body)
	}))
	defer hook.Close()
	posted := func(part string) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, p := range posts {
			n += strings.Count(p, part)
		}
		return n
	}
	dir := t.TempDir()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = dir, "127.0.0.1:0", ""
	cfg.Alerts.Enabled, cfg.Alerts.AllowNetworks = true, []string{"127.0.0.1"}
	start := func() (*Main, func()) {
		m := &Main{Config: cfg}
		stop := startMainUntil(t, m)
		ready(t, m)
		return m, stop
	}
	m, stop := start()
	defer func() { stop() }()
	base := "http://" + m.Addr()

	_, _, info := getBody(t, base, "Accept", "application/nostr+json")
	var nip11 struct{ Self string }
	if err := json.Unmarshal([]byte(info), &nip11); err != nil || len(nip11.Self) != 64 {
		t.Fatalf("%v: %s", err, info)
	}
	alice, bob := mustKeys(t), mustKeys(t)
	var got sync.Map // texts to alice, by the id of the wrap
	inbox := func(m *Main) {
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		sub, err := dialNostr(t, ctx, m).Subscribe(ctx, nostr.Filters{{Kinds: []int{mostro.KindGiftWrap}, Tags: nostr.TagMap{"p": {alice.Pubkey()}}}})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for evt := range sub.Events {
				if d, err := envelope.OpenDirect(evt, alice); err == nil {
					got.Store(evt.ID, d.Text)
				}
			}
		}()
	}
	told := func(part string) (n int) {
		got.Range(func(_, text any) bool { n += strings.Count(text.(string), part); return true })
		return n
	}
	inbox(m)

	body := `{"filter":"fiat:VES side:sell","webhook":"` + hook.URL + `/x"}`
	code, answer, proof := signedRequest(t, alice, "POST", base+"/api/v1/alerts", body, "")
	var a struct{ ID, Secret string }
	if err := json.Unmarshal([]byte(answer), &a); code != 200 || err != nil || len(a.Secret) != 64 {
		t.Fatalf("%d %s", code, answer)
	}
	mu.Lock()
	secret = a.Secret
	mu.Unlock()
	if code, answer, _ := signedRequest(t, alice, "POST", base+"/api/v1/alerts", body, proof); code != 401 || !strings.Contains(answer, "used before") {
		t.Errorf("a replayed proof: %d %s", code, answer)
	}
	if code, answer, _ := signedRequest(t, alice, "DELETE", base+"/api/v1/alerts/"+a.ID, "", proof); code != 401 {
		t.Errorf("the proof of another request: %d %s", code, answer)
	}
	for _, bad := range []string{`{"filter":"venezuela"}`, `{"filter":"fiat:VES","x":1}`, `[]`, `{"filter":"` + strings.Repeat("x", 5000) + `"}`, `{"filter":"fiat:VES"}{}`} {
		if code, answer, _ := signedRequest(t, alice, "POST", base+"/api/v1/alerts", bad, ""); code != 400 && code != 413 {
			t.Errorf("%.40s: %d %s", bad, code, answer)
		}
	}
	if code, answer, _ := signedRequest(t, bob, "GET", base+"/api/v1/alerts", "", ""); code != 200 || strings.Contains(answer, a.ID) {
		t.Errorf("bob sees %d %s", code, answer)
	}
	if code, _, _ := signedRequest(t, bob, "DELETE", base+"/api/v1/alerts/"+a.ID, "", ""); code != 404 {
		t.Errorf("bob deletes: %d", code)
	}
	if code, _, answer := getBody(t, base+"/api/v1/alerts"); code != 401 {
		t.Errorf("without a proof: %d %s", code, answer)
	}
	eventually(t, "the challenge", func() bool {
		_, answer, _ := signedRequest(t, alice, "GET", base+"/api/v1/alerts", "", "")
		return strings.Contains(answer, `"webhook_state":"active"`)
	})

	client := testkit.Dial(t, "ws://"+m.Addr(), nil)
	began := orderIn(t, client, "one", "VES")
	orderIn(t, client, "other", "USD")
	eventually(t, "the message and the call", func() bool { return told(`Order: "one"`) == 1 && posted(`"d":"one"`) == 1 })
	t.Logf("the order arrived after %s", time.Since(began))
	if told("SECOND LINE") != 1 || told("\nSECOND") != 0 || told("\u202e") != 0 {
		t.Error("a text of the order breaks the lines of the message")
	}

	stop()
	m, stop = start()
	base = "http://" + m.Addr()
	inbox(m)
	client = testkit.Dial(t, "ws://"+m.Addr(), nil)
	orderIn(t, client, "two", "VES")
	eventually(t, "the second order", func() bool { return told(`Order: "two"`) == 1 && posted(`"d":"two"`) == 1 })

	wrap, err := envelope.SealDirect(alice, nip11.Self, "delete all", time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	client.MustPublish(wrap)
	eventually(t, "the answer", func() bool { return told("1 alerts deleted") == 1 })
	orderIn(t, client, "three", "VES")
	if _, answer, _ := signedRequest(t, alice, "GET", base+"/api/v1/alerts", "", ""); strings.Contains(answer, a.ID) {
		t.Errorf("after the deletion: %s", answer)
	}
	// A later alert of bob shows that the matcher has passed the order.
	wrap, err = envelope.SealDirect(alice, nip11.Self, "alert fiat:EUR", time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	client.MustPublish(wrap)
	eventually(t, "the new alert", func() bool { return told("Saved as") == 1 })
	orderIn(t, client, "four", "EUR")
	eventually(t, "the fourth order", func() bool { return told(`Order: "four"`) == 1 })
	for text, n := range map[string]int{"one": 1, "two": 1, "three": 0, "other": 0} {
		if told(`Order: "`+text+`"`) != n || posted(`"d":"`+text+`"`) != n {
			t.Errorf("order %s: %d messages, %d calls", text, told(`Order: "`+text+`"`), posted(`"d":"`+text+`"`))
		}
	}
	if code, answer, _ := signedRequest(t, alice, "POST", base+"/api/v1/alerts", body, proof); code != 401 {
		t.Errorf("a proof from before the restart: %d %s", code, answer)
	}
}

func mustKeys(tb testing.TB) *envelope.Keys {
	tb.Helper()
	k, err := envelope.NewKeys(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// TestAlertsAreOff checks that nothing of the alerts is there by default.
func TestAlertsAreOff(t *testing.T) {
	m := MustRunMain(t, t.TempDir())
	if code, _, _ := getBody(t, "http://"+m.Addr()+"/api/v1/alerts"); code != 404 {
		t.Errorf("status %d", code)
	}
	if _, _, info := getBody(t, "http://"+m.Addr(), "Accept", "application/nostr+json"); bytes.Contains([]byte(info), []byte(`"self"`)) {
		t.Errorf("%s", info)
	}
}

// TestAlertsSurviveKill kills the program while it delivers. Each order is told once.
func TestAlertsSurviveKill(t *testing.T) {
	t.Setenv("MOSTRODEX_ALERTS_ENABLED", "true")
	dir, alice := t.TempDir(), mustKeys(t)
	told := func(url string) map[string]int {
		orders := map[string]int{}
		c := testkit.Dial(t, "ws://"+url, nil)
		c.Send("REQ", "all", map[string]any{"kinds": []int{mostro.KindGiftWrap}, "#p": []string{alice.Pubkey()}, "limit": 1000})
		for {
			got := c.Next()
			if got[0] == "EOSE" {
				return orders
			}
			evt := &nostr.Event{}
			if err := json.Unmarshal([]byte(got[2]), evt); err != nil {
				t.Fatal(err)
			}
			d, err := envelope.OpenDirect(evt, alice)
			if err != nil {
				t.Fatal(err)
			}
			if _, d, ok := strings.Cut(d.Text, `Order: "`); ok {
				orders[d]++
			}
		}
	}
	const cycles, each = 4, 8
	for i := range cycles {
		child, url := startChild(t, dir)
		if i == 0 {
			if code, answer, _ := signedRequest(t, alice, "POST", "http://"+url+"/api/v1/alerts", `{"filter":"fiat:VES"}`, ""); code != 200 {
				t.Fatalf("%d %s", code, answer)
			}
		}
		c := testkit.Dial(t, "ws://"+url, nil)
		for j := range each {
			orderIn(t, c, fmt.Sprintf("o-%d-%d", i, j), "VES")
		}
		if i%2 == 0 { // in the middle of the deliveries; else before them
			testkit.Eventually(t, "some deliveries", func() bool { return len(told(url)) >= each*i+each/2 })
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		child.Wait() //nolint:errcheck // it was killed
	}
	_, url := startChild(t, dir)
	testkit.Eventually(t, "all deliveries", func() bool { return len(told(url)) == cycles*each })
	for order, n := range told(url) {
		if n != 1 {
			t.Errorf("order %s was told %d times", order, n)
		}
	}
}

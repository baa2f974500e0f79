package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/nbd-wtf/go-nostr"
)

// The orders of a key that is banned or in quarantine disappear from every page and route
// that shows orders, and return when the rule is lifted. The same applies to a banned event.
func TestBansReachTheBook(t *testing.T) {
	secrets := []string{fmt.Sprintf("%064x", 11), fmt.Sprintf("%064x", 12), fmt.Sprintf("%064x", 13)}
	keys := make([]string, len(secrets))
	for i, s := range secrets {
		keys[i], _ = nostr.GetPublicKey(s)
	}
	admin, _ := nostr.GetPublicKey(secrets[2])
	m := mustRunConfig(t, t.TempDir(), func(c *Config) {
		c.Upstream, c.Relay.Admins, c.Relay.URL = nil, []string{admin}, "wss://relay.example"
	})
	base := "http://" + m.Addr()
	var events []*nostr.Event
	for i, secret := range secrets[:2] {
		for n, status := range []string{"pending", "pending", "success"} {
			evt := &nostr.Event{Kind: 38383, CreatedAt: nostr.Now() - 10, Tags: nostr.Tags{{"d", fmt.Sprintf("order-%d-%d", i, n)}, {"k", "sell"}, {"f", "VES"}, {"s", status},
				{"amt", "0"}, {"fa", "1000"}, {"pm", "Zelle"}, {"premium", "1"}, {"network", "mainnet"}, {"layer", "lightning"},
				{"expiration", fmt.Sprint(time.Now().Add(time.Hour).Unix())}, {"y", "mostro"}, {"z", "order"}}}
			if err := evt.Sign(secret); err != nil {
				t.Fatal(err)
			}
			events = append(events, evt)
		}
		info := &nostr.Event{Kind: 38385, CreatedAt: nostr.Now() - 10, Tags: nostr.Tags{{"d", keys[i]}, {"mostro_version", "0.15.1"}, {"y", "mostro"}, {"z", "info"}}}
		if err := info.Sign(secret); err != nil {
			t.Fatal(err)
		}
		events = append(events, info)
	}
	mustProgram(t, testkit.NDJSON(t, events...), "import", "-", "--url", base)
	ready(t, m)

	manage := func(method string, params ...string) {
		t.Helper()
		body, _ := json.Marshal(map[string]any{"method": method, "params": params})
		hash := sha256.Sum256(body)
		proof := &nostr.Event{Kind: 27235, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"u", "https://relay.example/"}, {"method", "POST"}, {"payload", hex.EncodeToString(hash[:])}}}
		if err := proof.Sign(secrets[2]); err != nil {
			t.Fatal(err)
		}
		b, _ := proof.MarshalJSON()
		req, _ := http.NewRequest(http.MethodPost, base+"/", bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/nostr+json+rpc")
		req.Header.Set("Authorization", "Nostr "+base64.StdEncoding.EncodeToString(b))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer struct {
			Result any
			Error  string
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Result != true {
			t.Fatalf("%s: %d %v %+v", method, resp.StatusCode, err, answer)
		}
	}
	// by counts the entries of each of the two authors in a list.
	by := func(list []string) (n [2]int) {
		for _, k := range list {
			for i := range n {
				if k == keys[i] {
					n[i]++
				}
			}
		}
		return n
	}
	orders := func(query string) [2]int {
		t.Helper()
		var page struct {
			Total  int
			Facets struct{ Fiat map[string]int }
			Items  []struct{ Pubkey string }
		}
		getJSON(t, base+"/api/v1/orders?"+query, &page)
		var list []string
		for _, it := range page.Items {
			list = append(list, it.Pubkey)
		}
		if page.Total != len(list) || page.Facets.Fiat["VES"] != len(list) {
			t.Errorf("%s: %d orders, a total of %d and facets %v", query, len(list), page.Total, page.Facets.Fiat)
		}
		return by(list)
	}
	search := func(words string) [2]int {
		t.Helper()
		var list []string
		for _, evt := range mustREQ(t, m, nostr.Filter{Kinds: []int{38383}, Search: words}) {
			list = append(list, evt.PubKey)
		}
		return by(list)
	}
	instances := func() [2]int {
		t.Helper()
		var page struct {
			Items []struct{ Pubkey string }
		}
		getJSON(t, base+"/api/v1/instances", &page)
		var list []string
		for _, it := range page.Items {
			list = append(list, it.Pubkey)
		}
		return by(list)
	}
	status := func(path string) int {
		code, _, _ := getBody(t, base+path)
		return code
	}
	at := "at=" + url.QueryEscape(fmt.Sprint(time.Now().Unix()))
	check := func(when string, open, all, instance int, spam int) {
		t.Helper()
		for what, c := range map[string]struct{ got, want [2]int }{
			"the book":               {orders(""), [2]int{open, 2}},
			"all orders":             {orders("open=any"), [2]int{all, 3}},
			"a text":                 {orders("q=zelle"), [2]int{open, 2}},
			"the past":               {orders(at + "&open=any"), [2]int{all, 3}},
			"NIP-50":                 {search("zelle"), [2]int{all, 3}},
			"NIP-50 without words":   {search("fiat:VES"), [2]int{all, 3}},
			"NIP-50 with spam":       {search("zelle include:spam"), [2]int{spam, 3}},
			"all orders with spam":   {orders("open=any&include=spam"), [2]int{spam, 3}},
			"the list of instances":  {instances(), [2]int{instance, 1}},
			"the relay's own filter": {by(authorsOf(mustREQ(t, m, nostr.Filter{Kinds: []int{38383}}))), [2]int{all, 3}},
		} {
			if c.got != c.want {
				t.Errorf("%s: %s shows %v, want %v", when, what, c.got, c.want)
			}
		}
		code := http.StatusNotFound
		if instance > 0 {
			code = http.StatusOK
		}
		for _, path := range []string{"/api/v1/orders/" + keys[0] + "/order-0-1", "/api/v1/instances/" + keys[0], "/api/v1/events/" + events[1].ID} {
			if got := status(path); got != code {
				t.Errorf("%s: GET %s: %d, want %d", when, path, got, code)
			}
		}
		if _, _, page := getBody(t, base+"/?open=any"); strings.Contains(page, "order-0-1") != (instance > 0) {
			t.Errorf("%s: the explorer's book shows the order: %v", when, instance == 0)
		}
	}
	eventually(t, "the words are indexed", func() bool { return search("zelle") == [2]int{3, 3} && orders("q=zelle") == [2]int{2, 2} })
	check("before", 2, 3, 1, 3)
	manage("banpubkey", keys[0], "a test")
	check("banned", 0, 0, 0, 0)
	manage("unbanpubkey", keys[0])
	check("unbanned", 2, 3, 1, 3)
	manage("quarantinepubkey", keys[0], "a test")
	check("in quarantine", 0, 0, 0, 3)
	if got := status("/api/v1/events/" + events[1].ID + "?include=spam"); got != http.StatusOK {
		t.Errorf("the status for an event in quarantine is %d", got)
	}
	manage("unquarantinepubkey", keys[0])
	manage("banevent", events[0].ID)
	check("one event banned", 1, 2, 1, 2)
	manage("allowevent", events[0].ID)
	check("all lifted", 2, 3, 1, 3)
}

func authorsOf(events []*nostr.Event) (keys []string) {
	for _, evt := range events {
		keys = append(keys, evt.PubKey)
	}
	return keys
}

// TestBansReachTheExport checks that hidden events are not in the public export. The
// operator's own export of the data directory contains all events.
func TestBansReachTheExport(t *testing.T) {
	dir := t.TempDir()
	banned, spam, plain := testKeys(t, "banned"), testKeys(t, "spam"), testKeys(t, "plain")
	note := func(keys *envelope.Keys, text string) *nostr.Event {
		return signAs(t, keys, nostr.Event{Kind: 1985, CreatedAt: nostr.Now(), Tags: nostr.Tags{}, Content: text})
	}
	events := []*nostr.Event{note(banned, "one"), note(spam, "two"), note(plain, "three"), note(plain, "four")}
	rules, err := json.Marshal(relay.Rules{BlockedKeys: map[string]string{banned.Pubkey(): "fraud"}, Quarantined: map[string]string{spam.Pubkey(): "spam"},
		BlockedEvents: map[string]string{events[3].ID: "a lie"}})
	if err != nil {
		t.Fatal(err)
	}
	mustProgram(t, testkit.NDJSON(t, events...), "import", "-", "--data", dir)
	if err := os.WriteFile(filepath.Join(dir, "rules.json"), rules, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private, cfg.Reputation.Publish = dir, "127.0.0.1:0", "", false
	m := &Main{Config: cfg}
	stop := startMainUntil(t, m)
	for _, live := range []string{"", "?live=true"} {
		if _, _, body := getBody(t, "http://"+m.Addr()+"/api/v1/export/events"+live); strings.Count(body, "\n") != 1 || !strings.Contains(body, events[2].ID) {
			t.Errorf("the public export%s has\n%s", live, body)
		}
	}
	stop()
	if out := mustProgram(t, "", "export", "--data", dir); strings.Count(out, "\n") != len(events) {
		t.Errorf("the operator's export has\n%s", out)
	}
}

package main

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// configOf decodes a configuration and applies its role, as loadConfig does.
func configOf(t *testing.T, text string) (Config, error) {
	t.Helper()
	cfg := defaultConfig()
	if err := decodeConfig([]byte(text), &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg, cfg.settle()
}

// withRole starts the program with one line of configuration besides its places.
func withRole(t *testing.T, line string) *Main {
	t.Helper()
	cfg, err := configOf(t, line+"\n")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	if err := cfg.chooseUpstreams([]string{"none"}); err != nil {
		t.Fatal(err)
	}
	m := &Main{Config: cfg}
	startMain(t, m)
	return m
}

func TestRoleRelay(t *testing.T) {
	m := withRole(t, `role = "relay"`)
	evt := signAs(t, testKeys(t, "a"), nostr.Event{Kind: mostro.KindOrder, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", "x"}, {"z", "order"}}})
	if err := dialNostr(t, t.Context(), m).Publish(t.Context(), *evt); err != nil {
		t.Error(err)
	}
	if got := mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindOrder}}); len(got) != 1 {
		t.Errorf("%d events", len(got))
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/api/v1/kinds": 200, "/api/v1/orders": 404, "/": 404} {
		if code, _, body := getBody(t, "http://"+m.Addr()+path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if m.scores != nil || m.index != nil || m.escrow != nil {
		t.Error("more than the relay runs")
	}
}

func TestRoleIndex(t *testing.T) {
	m := withRole(t, `role = "index"`)
	evt := signAs(t, testKeys(t, "a"), nostr.Event{Kind: mostro.KindOrder, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", "x"}, {"z", "order"}}})
	relay := dialNostr(t, t.Context(), m)
	if err := relay.Publish(t.Context(), *evt); err == nil || !strings.Contains(err.Error(), "only reads") {
		t.Errorf("an index takes the event of a client: %v", err)
	}
	evt.Kind = 20001
	evt = signAs(t, testKeys(t, "a"), *evt)
	if err := relay.Publish(t.Context(), *evt); err == nil {
		t.Error("an index takes the ephemeral event of a client")
	}
	if code, _, _ := getBody(t, "http://"+m.Addr()+"/api/v1/orders"); code != http.StatusOK {
		t.Errorf("the API answers %d", code)
	}
	if _, _, body := getBody(t, "http://"+m.Addr()+"/", "Accept", "application/nostr+json"); !strings.Contains(body, `"restricted_writes":true`) {
		t.Errorf("the description says nothing about writes: %s", body)
	}
	// Events of other relays are taken: an import stands for them here.
	if out := mustProgram(t, mustLine(t, signAs(t, testKeys(t, "b"), nostr.Event{Kind: mostro.KindOrder, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", "y"}, {"z", "order"}}})), "import", "-", "--url", "http://"+m.Addr()); !strings.Contains(out, "added 1") {
		t.Errorf("an import: %s", out)
	}
}

func mustLine(t *testing.T, evt *nostr.Event) string {
	t.Helper()
	b, err := evt.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// TestRoleEscrow runs a relay, and an escrow behind it, and trades over the relay alone.
func TestRoleEscrow(t *testing.T) {
	front := withRole(t, `role = "relay"`)
	dir := t.TempDir()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = filepath.Join(dir, "data"), "127.0.0.1:0", "127.0.0.1:0"
	m, err := demoMain(cfg, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.Config.Role, m.Config.Alerts.Enabled = roleEscrow, false
	m.Config.Escrow.Publish.Relays = []string{"ws://" + front.Addr()}
	if err := m.Config.applyRole(); err != nil {
		t.Fatal(err)
	}
	if err := m.Config.chooseUpstreams(nil); err != nil {
		t.Fatal(err)
	}
	startMain(t, m)

	// A client that knows the relay alone: the users below speak with front, and take the key and
	// the wallet from the escrow.
	client := &Main{Now: m.Now, public: front.public, private: m.private, escrow: m.escrow}
	honestTrade(t, client)

	if _, _, body := getBody(t, "http://"+m.Addr()+"/readyz"); !strings.HasPrefix(body, "ready") {
		t.Errorf("/readyz of the escrow: %s", body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if r, err := nostr.RelayConnect(ctx, "ws://"+m.Addr()); err == nil {
		r.Close()
		t.Error("the escrow alone takes websockets")
	}
	if code, _, _ := getBody(t, "http://"+m.Addr()+"/api/v1/kinds"); code != http.StatusNotFound {
		t.Errorf("the escrow alone answers the API: %d", code)
	}
	var list nostr.Tags
	for _, evt := range mustREQ(t, front, nostr.Filter{Kinds: []int{mostro.KindRelayList}, Authors: []string{m.escrow.pubkey}}) {
		list = evt.Tags
	}
	if len(list) == 0 || list[0][1] != "ws://"+front.Addr() {
		t.Errorf("the Mostro announces %v", list)
	}
	// Orders of other Mostros stay out of the log of the escrow.
	other := signAs(t, testKeys(t, "a"), nostr.Event{Kind: mostro.KindOrder, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", "x"}, {"z", "order"}}})
	if err := dialNostr(t, t.Context(), front).Publish(t.Context(), *other); err != nil {
		t.Fatal(err)
	}
	honestTrade(t, client) // later events have arrived
	if ok, err := m.store.Has(t.Context(), other.ID); err != nil || ok {
		t.Errorf("the escrow alone follows other Mostros: %v", err)
	}
}

func TestRoleContradictions(t *testing.T) {
	for text, want := range map[string]string{
		"role = \"banana\"\n":                                        "none of relay, index, escrow",
		"role = \"relay\"\n[escrow]\nenabled = true\n":               "escrow.enabled",
		"role = \"relay\"\n[alerts]\nenabled = true\n":               "alerts.enabled",
		"role = \"index\"\n[escrow]\nenabled = true\n":               "escrow.enabled",
		"role = \"escrow\"\n":                                        "escrow.publish.relays",
		"role = \"escrow\"\n[alerts]\nenabled = true\n":              "alerts.enabled",
		"role = \"escrow\"\n[escrow.publish]\nrelays=[\"ws://x\"]\n": "escrow.key",
	} {
		if _, err := configOf(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

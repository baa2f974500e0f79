package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

func TestChooseUpstreams(t *testing.T) {
	for _, c := range []struct {
		name   string
		config []string
		flags  []string
		want   string // joined, or "error" for an error
	}{
		{"defaults", nil, nil, "wss://relay.mostro.network wss://nos.lol wss://relay.damus.io wss://mostro-p2p.tech"},
		{"none by flag", nil, []string{"none"}, ""},
		{"none by config", []string{"none"}, nil, ""},
		{"config", []string{"wss://a.example"}, nil, "wss://a.example"},
		{"flags replace the config", []string{"wss://a.example"}, []string{"ws://127.0.0.1:1", "wss://b.example"}, "ws://127.0.0.1:1 wss://b.example"},
		{"none over the config", []string{"wss://a.example"}, []string{"none"}, ""},
		{"none beside others", nil, []string{"none", "wss://b.example"}, "error"},
		{"not a relay", nil, []string{"https://b.example"}, "error"},
		{"nonsense", nil, []string{"b"}, "error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := defaultConfig()
			for _, u := range c.config {
				cfg.Upstream = append(cfg.Upstream, UpstreamConfig{URL: u})
			}
			err := cfg.chooseUpstreams(c.flags)
			var got []string
			for _, u := range cfg.Upstream {
				got = append(got, u.URL)
			}
			if joined := strings.Join(got, " "); (err != nil) != (c.want == "error") || err == nil && joined != c.want {
				t.Errorf("got %q, %v", joined, err)
			}
		})
	}
}

func TestRelayKeyIsMadeOnceAndPrivate(t *testing.T) {
	dir := t.TempDir()
	first, err := relayKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := relayKey(dir)
	if err != nil || again != first || len(first) != 64 {
		t.Errorf("keys %d and %d characters long, equal %t, %v", len(first), len(again), first == again, err)
	}
	fi, err := os.Stat(filepath.Join(dir, "keys", "relay"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keys", "relay"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := relayKey(dir); err == nil {
		t.Error("a broken key file was accepted")
	}
}

func TestOneProgramFollowsAnother(t *testing.T) {
	first := MustRunMain(t, t.TempDir())
	second := mustRunConfig(t, t.TempDir(), func(c *Config) {
		c.Upstream = []UpstreamConfig{{URL: "ws://" + first.Addr()}}
		c.Relay.Federation.ResyncSeconds = 1
	})
	relay := dialNostr(t, t.Context(), first)
	evt := nostr.Event{Kind: 38383, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", "x"}, {"s", "pending"}}}
	if err := evt.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	if err := relay.Publish(t.Context(), evt); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event arrives", func() bool {
		_, err := second.store.Find(t.Context(), evt.ID)
		return err == nil
	})
	res, err := http.Get("http://" + second.Addr() + "/api/v1/relays")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Items []struct {
			URL, Method string
			Reachable   bool
		}
		Total int
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if answer.Total != 1 || answer.Items[0].URL != "ws://"+first.Addr() || !answer.Items[0].Reachable {
		t.Errorf("relays %+v", answer)
	}
}

// The escrow's own list of relays feeds the queue while the escrow is enabled.
func TestPublishRelaysFeedTheQueue(t *testing.T) {
	cfg := defaultConfig()
	if err := decodeConfig([]byte("[relay.federation]\nforward = ['wss://a.example']\n[escrow.publish]\nrelays = ['wss://b.example', 'wss://a.example']\n"), &cfg); err != nil {
		t.Fatal(err)
	}
	if got := cfg.forwardTo(); !slices.Equal(got, []string{"wss://a.example"}) {
		t.Errorf("the relays without an escrow are %v", got)
	}
	cfg.Escrow.Enabled = true
	if got := cfg.forwardTo(); !slices.Equal(got, []string{"wss://a.example", "wss://b.example", "wss://a.example"}) {
		t.Errorf("the relays with an escrow are %v", got)
	}
	if relayCfg, err := relayConfig(&cfg, new(stores), newMail(nil), ambient{}); err != nil || !relayCfg.Forwarding {
		t.Error("own events are not queued")
	}
	cfg.Escrow.Publish.Relays = []string{"https://b.example"}
	if err := cfg.validateUpstreams(); err == nil || !strings.Contains(err.Error(), "escrow.publish.relays") {
		t.Errorf("the error for an address that is no relay is %v", err)
	}
}

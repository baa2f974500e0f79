package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestHealthIsServed holds that a Mostro's relay serves the Mostro's own health, by default, and
// that the setting turns it off.
func TestHealthIsServed(t *testing.T) {
	m, stop := runDemo(t, t.TempDir(), slog.New(slog.DiscardHandler))
	defer stop()
	filter := nostr.Filter{Kinds: []int{mostro.KindHealth}, Authors: []string{m.escrow.pubkey}}
	var h mostro.Health
	eventually(t, "the health is served", func() bool {
		found := mustREQ(t, m, filter)
		if len(found) != 1 {
			return false
		}
		var err error
		if h, err = mostro.ParseHealth(found[0]); err != nil {
			t.Fatal(err)
		}
		return h.Status == mostro.HealthOK
	})
	if h.LND == nil || *h.IntervalSeconds != 60 || h.Expiration != h.CreatedAt+180 || len(h.Checks) != 4 {
		t.Errorf("%+v", h)
	}
	for seconds, want := range map[int64]string{0: "", 30: "", 3600: "", 29: "health_seconds", 3601: "health_seconds", -60: "health_seconds"} {
		cfg := m.Config.Escrow
		cfg.HealthSeconds, cfg.LND.Address, cfg.LND.Cert, cfg.LND.Macaroon = seconds, "127.0.0.1:1", "x", "x"
		if err := cfg.validate(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d seconds: %v", seconds, err)
		}
	}
}

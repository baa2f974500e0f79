package main

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestServeComparesTheClock follows a relay with a clock that is ten minutes behind. /readyz and
// the log say so, and the program goes on.
func TestServeComparesTheClock(t *testing.T) {
	front := MustRunMain(t, t.TempDir())
	var log syncBuffer
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen = t.TempDir(), "127.0.0.1:0"
	cfg.Upstream = []UpstreamConfig{{URL: "ws://" + front.Addr()}}
	m := &Main{Config: cfg, Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return time.Now().Add(-10 * time.Minute) }}
	startMain(t, m)
	eventually(t, "/readyz names the clock", func() bool {
		code, _, body := getBody(t, "http://"+m.Addr()+"/readyz")
		return code == http.StatusOK && strings.Contains(body, "the clock is 10m0s behind those of 1 relays: set the clock") ||
			strings.Contains(body, "the clock is 10m1s behind") || strings.Contains(body, "the clock is 9m59s behind")
	})
	if notes := clockNotes(front.upstreams); len(notes) != 0 {
		t.Errorf("a program that follows no relay says %v", notes)
	}
}

package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestReadyWaitsForScores checks that /readyz fails until the index and the scores have read
// the log.
func TestReadyWaitsForScores(t *testing.T) {
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	m := &Main{Config: cfg}
	if err := m.Open(); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	h := m.web
	asked := func(want int, says string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if w.Code != want || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%d %q, want %d and %q", w.Code, w.Body, want, says)
		}
	}
	asked(http.StatusServiceUnavailable, "the index")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.index.Run(ctx) }()
	eventually(t, "the index", m.index.Ready)
	asked(http.StatusServiceUnavailable, "the scores")
	if err := m.scores.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked(http.StatusOK, "ready")
	stop()
	if err := <-done; err != nil && ctx.Err() == nil {
		t.Error(err)
	}
}

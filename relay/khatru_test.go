package relay

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// TestEveryEventPassesKhatru checks that the hooks of khatru's AddEvent see every accepted
// event, for every origin.
func TestEveryEventPassesKhatru(t *testing.T) {
	r := startRelay(t, nil)
	var mu sync.Mutex
	seen := map[string]bool{}
	r.srv.admit.khatru.RejectEvent = append(r.srv.admit.khatru.RejectEvent, func(_ context.Context, evt *nostr.Event) (bool, string) {
		mu.Lock()
		defer mu.Unlock()
		seen[evt.ID] = true
		return evt.Content == "refused by khatru", "blocked: by khatru"
	})
	passed := func(way string, evt *nostr.Event) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !seen[evt.ID] {
			t.Errorf("%s: accepted without khatru's AddEvent", way)
		}
	}
	c := r.Dial()
	for way, kind := range map[string]int{"regular": 8383, "replaceable": 10002, "addressable": 38383, "ephemeral": 20001} {
		evt := testkit.SignedBy(t, testkit.Secret, kind, testkit.Now(), "", nostr.Tag{"d", way}, nostr.Tag{"s", "pending"})
		if ok, reason := c.Publish(evt); !ok {
			t.Fatalf("%s: %s", way, reason)
		}
		passed(way, evt)
	}
	own := testkit.Order(t, "own", testkit.Now(), "pending")
	if err := r.srv.Publish(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	passed("own", own)
	imported := testkit.Order(t, "imported", testkit.Now(), "pending")
	if _, err := r.srv.Import(t.Context(), strings.NewReader(testkit.NDJSON(t, imported)), ImportOptions{}, func(ImportResult) error { return nil }); err != nil {
		t.Fatal(err)
	}
	passed("imported", imported)
	c.MustRefuse(testkit.SignedBy(t, testkit.Secret, 8383, testkit.Now(), "refused by khatru"), "blocked: by khatru")
}

// TestPlainHTTPPassesKhatru: requests that are not the relay's reach Fallback as
// they came, and its answer the client. khatru would answer preflights itself,
// and open every answer to pages of other origins.
func TestPlainHTTPPassesKhatru(t *testing.T) {
	r := startRelay(t, func(c *Config) {
		c.Fallback = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	})
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
		req, err := http.NewRequest(method, r.HTTP.URL+"/page", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://other.example")
		req.Header.Set("Access-Control-Request-Method", "PUT")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusTeapot || resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d, open to %q", method, resp.StatusCode, resp.Header.Get("Access-Control-Allow-Origin"))
		}
	}
}

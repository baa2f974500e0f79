package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/corpus"
)

// status sends a request as a client behind a proxy, whose rate is counted.
func status(t *testing.T, url string, header ...string) (int, http.Header) {
	t.Helper()
	code, h, _ := getBody(t, url, append([]string{"X-Forwarded-For", "203.0.113.7"}, header...)...)
	return code, h
}

// TestHTTPHasRates checks that the requests of an address are charged by their cost, and that
// programs on this machine and other addresses are not affected.
func TestHTTPHasRates(t *testing.T) {
	m := mustRunConfig(t, t.TempDir(), func(c *Config) {
		c.Relay.Quota.RequestsPerMinutePerIP = 100
		c.Relay.TrustedProxies = []string{"127.0.0.1"}
	})
	base := "http://" + m.Addr()
	for _, c := range []struct {
		path string
		cost int
	}{{"/api/v1/orders", costPage}, {"/api/v1/choose?fiat=VES&side=buy", costChoose}, {"/choose", costChoose}, {"/es/choose", costChoose}, {"/api/v1/orders?at=1700000000", costWalk}, {"/api/v1/export/events", costWalk}, {"/", costPage}} {
		client := fmt.Sprintf("198.51.100.%d", len(c.path))
		allowed := 0
		var h http.Header
		for range 100 {
			code, _, _ := getBody(t, base+c.path, "X-Forwarded-For", client)
			if code == http.StatusTooManyRequests {
				_, h, _ = getBody(t, base+c.path, "X-Forwarded-For", client)
				break
			}
			allowed++
		}
		if most := max(1, 100/c.cost) + 1; allowed < max(1, 100/c.cost) || allowed > most {
			t.Errorf("%s: %d requests were answered, want %d: each costs %d of 100", c.path, allowed, most-1, c.cost)
		}
		if h.Get("Retry-After") == "" || h.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: the headers of the refusal are %v", c.path, h)
		}
	}
	// A header that claims a WebSocket handshake does not bypass the limit of the expensive
	// routes.
	answered := 0
	for range 10 {
		if code, _, _ := getBody(t, base+"/api/v1/export/events", "X-Forwarded-For", "198.51.100.200", "Upgrade", "websocket", "Connection", "Upgrade"); code == http.StatusOK {
			answered++
		}
		if code, _, _ := getBody(t, base+"/choose", "X-Forwarded-For", "198.51.100.201", "Upgrade", "other"); code == http.StatusOK {
			answered++
		}
	}
	if answered > 4 {
		t.Errorf("%d of 20 requests that claim to be handshakes were answered", answered)
	}
	for range 120 {
		if code, _, _ := getBody(t, base+"/healthz"); code != http.StatusOK {
			t.Fatalf("the status for a program on this machine is %d", code)
		}
	}
	if code, _ := status(t, base+"/api/v1/orders"); code != http.StatusOK {
		t.Errorf("the status for another address is %d", code)
	}
}

// TestAnswersAreCompressed checks that pages and lists are compressed for clients that accept
// compression, and that an ETag holds for both forms.
func TestAnswersAreCompressed(t *testing.T) {
	m := MustRunMain(t, t.TempDir())
	events := mustCorpus(t, corpus.Config{Orders: 200})
	mustProgram(t, testkit.NDJSON(t, events...), "import", "-", "--url", "http://"+m.Addr())
	ready(t, m)
	orders := map[string]bool{}
	for _, evt := range events {
		if _, err := mostro.ParseOrder(evt); err == nil {
			orders[evt.PubKey+evt.Tags.GetD()] = true
		}
	}
	eventually(t, "all orders", func() bool { _, n := allOrders(t, m, "open=any"); return n == len(orders) })
	for _, path := range []string{"/?open=any", "/api/v1/orders?open=any&limit=200", "/api/v1/export/events"} {
		_, plainHeader, plain := getBody(t, "http://"+m.Addr()+path, "Accept-Encoding", "identity")
		req, err := http.NewRequest(http.MethodGet, "http://"+m.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.Header.Get("Content-Encoding") != "gzip" || !slices.Contains(resp.Header.Values("Vary"), "Accept-Encoding") {
			t.Errorf("%s: headers %v", path, resp.Header)
			continue
		}
		z, err := gzip.NewReader(strings.NewReader(string(raw)))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		isPage := strings.HasPrefix(path, "/?") // pages contain the age of events
		if 3*len(raw) > len(plain) || len(text) != len(plain) && !isPage {
			t.Errorf("%s: %d bytes, compressed %d, unpacked %d", path, len(plain), len(raw), len(text))
		}
		t.Logf("%s: %d bytes, compressed %d", path, len(plain), len(raw))
		if strings.HasPrefix(path, "/api/v1/orders") { // a page contains the second, and an export has no ETag
			tag := resp.Header.Get("ETag")
			if tag == "" || tag != plainHeader.Get("ETag") {
				t.Errorf("%s: ETag %q, uncompressed %q", path, tag, plainHeader.Get("ETag"))
			}
			if code, _, _ := getBody(t, "http://"+m.Addr()+path, "If-None-Match", tag); code != http.StatusNotModified {
				t.Errorf("%s: status %d for its own ETag", path, code)
			}
		}
	}
}

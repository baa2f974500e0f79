package main

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"
	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/relay"
)

// The costs of HTTP requests are in tokens of relay.quota.requests_per_minute_per_ip. A token
// stands for about ten milliseconds of one core.
const (
	costLight   = 1   // files, single events, health
	costPage    = 4   // an order, a list, a page
	costPast    = 20  // a list that includes past orders, or ratings with the effect of each
	costFigures = 10  // statistics, which are kept for a minute and made two at a time
	costChoose  = 40  // choose reads all offers of a currency
	costWalk    = 200 // a former state of the book, or an export, reads all of the history
)

// costOf returns the cost of an HTTP request.
func costOf(r *http.Request) int {
	path, _ := lang.Trim(r.URL.Path)
	query := r.URL.Query()
	switch {
	case strings.HasPrefix(path, "/api/v1/stats") || strings.HasPrefix(path, "/api/v1/market") || strings.HasPrefix(path, "/api/v1/instances/") && strings.HasSuffix(path, "/stats"):
		return costFigures // also with at
	case strings.HasPrefix(path, "/api/v1/export/") && strings.Contains(path, "/year="): // a range of a file
		return costLight
	case strings.HasPrefix(path, "/api/v1/instances/") && strings.HasSuffix(path, "/bundle"),
		strings.HasPrefix(path, "/api/v1/export/") && !isDescription(path) || query.Get("at") != "":
		return costWalk
	case strings.EqualFold(r.Header.Get("Upgrade"), "websocket"): // the relay opens a socket or refuses, for any path
		return costLight
	case path == "/choose" || path == "/api/v1/choose":
		return costChoose
	case strings.HasSuffix(path, "/ratings") || query.Get("open") != "" && query.Get("open") != "true":
		return costPast
	case strings.HasPrefix(path, "/assets/") || strings.HasPrefix(path, "/badge/") || strings.HasPrefix(path, "/api/v1/events/") || path == "/healthz" || path == "/readyz":
		return costLight
	}
	return costPage
}

// isDescription reports whether a path below /api/v1/export/ is a description of files.
func isDescription(path string) bool {
	return strings.HasSuffix(path, ".json") || strings.HasSuffix(path, "/SHA256SUMS")
}

// rated charges every HTTP request to the rate of its address, including the handshakes of
// sockets. The cost depends on the path, the query and the Upgrade header. A request that
// only claims to be a handshake is charged too, and cannot reach an expensive route for less.
func rated(rates *relay.HTTPRates, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !rates.Take(r, costOf(r)) {
			refuseHTTP(w, http.StatusTooManyRequests, "Too many requests from this address. Wait a minute, ask for longer pages, or run a relay of your own.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// maxExports is the maximum number of concurrent exports, because each export reads the log
// from the disk.
const maxExports = 4

// atMost allows n concurrent requests and refuses others.
func atMost(n int, next http.Handler) http.Handler {
	places := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next.ServeHTTP(w, r)
		default:
			refuseHTTP(w, http.StatusServiceUnavailable, "As many exports as this server allows are under way. Try again in a minute.")
		}
	})
}

// refuseHTTP answers with a problem document (RFC 9457) and a time to wait.
func refuseHTTP(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail})
	if err != nil {
		panic(err) // impossible, because the values are strings and a number
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Retry-After", "60")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // a client that has disconnected needs no answer
}

// compressed compresses the answers for clients that accept compression.
func compressed(next http.Handler) http.Handler { return gzhttp.GzipHandler(next) }

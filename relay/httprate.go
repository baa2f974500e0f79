package relay

import (
	"net/http"
	"net/netip"
	"time"
)

// HTTPRates limits the HTTP requests of each address, at the same rate as REQ and COUNT on
// sockets (RequestsPerMinutePerIP). Its token buckets are separate from those of sockets.
type HTTPRates struct {
	peers   *peers
	rules   *moderation
	now     func() time.Time
	buckets buckets[netip.Addr]
}

// NewHTTPRates returns rates that follow the server's rules.
func NewHTTPRates(s *Server) *HTTPRates {
	return &HTTPRates{peers: &s.peers, rules: &s.moderation, now: s.cfg.Now}
}

// Take charges a request to its address. cost is the number of requests of the cheapest
// kind that the request counts as. Take returns false if the address has used up its rate.
// A program on this machine, which sends no forwarding header and no Origin, is not
// charged.
func (h *HTTPRates) Take(r *http.Request, cost int) bool {
	ip, local := h.peers.clientIP(r)
	if !ip.IsValid() || local && r.Header.Get("Origin") == "" {
		return true
	}
	limits := h.rules.current().limits
	return h.buckets.take(rateKey(ip), cost, limits.RequestsPerMinutePerIP, h.now())
}

package relay

import (
	"net/http"
	"net/netip"
)

// HTTPRates bounds the HTTP requests of each address, at the same rate as
// REQ and COUNT on sockets (RequestsPerMinutePerIP), in buckets of its own.
type HTTPRates struct {
	srv     *Server
	buckets buckets[netip.Addr]
}

// NewHTTPRates returns rates that follow the server's rules.
func NewHTTPRates(s *Server) *HTTPRates { return &HTTPRates{srv: s} }

// Take charges a request, which is worth cost requests of the cheapest kind, to
// the address that it comes from. It returns false if the address has used up
// its rate. A program on this machine, which sends neither a forwarding header
// nor an Origin, is not charged.
func (h *HTTPRates) Take(r *http.Request, cost int) bool {
	ip, local := h.srv.clientIP(r)
	if !ip.IsValid() || local && r.Header.Get("Origin") == "" {
		return true
	}
	limits := h.srv.rules.Load().limits
	return h.buckets.take(rateKey(ip), cost, limits.RequestsPerMinutePerIP, h.srv.cfg.Now())
}

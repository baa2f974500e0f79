package relay

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// peers tells which address a request comes from, and whether a program on this machine
// sends the request. Its fields do not change.
type peers struct {
	proxies       []netip.Prefix // Config.TrustedProxies
	nobodyIsLocal bool           // Config.NobodyIsLocal
}

// clientIP returns the address that a request is charged to. local is true if a program on
// this machine sends the request for itself: not through a proxy, and not from a page in a
// browser, which sends an Origin. A forwarding header is believed only from a configured
// proxy. The chain of addresses is read from the near end.
func (p *peers) clientIP(r *http.Request) (ip netip.Addr, local bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	ip = peer.Addr().Unmap().WithZone("")
	chain := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(chain) - 1; i >= 0 && p.trusts(ip); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(chain[i]))
		if err != nil {
			break
		}
		ip = next.Unmap().WithZone("")
	}
	return ip, ip.IsLoopback() && !isForwarded(r.Header) && !p.nobodyIsLocal && r.Header.Get("Origin") == ""
}

func (p *peers) trusts(ip netip.Addr) bool {
	for _, proxy := range p.proxies {
		if proxy.Contains(ip) {
			return true
		}
	}
	return false
}

// importIsLocal reports whether a program on this machine sends the request for itself. A
// page in a browser on this machine sends an Origin, and is not trusted.
func (p *peers) importIsLocal(r *http.Request) bool {
	_, local := p.clientIP(r)
	if !local || r.Header.Get("Origin") != "" {
		return false
	}
	at, ok := r.Context().Value(http.LocalAddrContextKey).(interface{ String() string })
	if !ok {
		return false
	}
	listener, err := netip.ParseAddrPort(at.String())
	return err == nil && listener.Addr().Unmap().IsLoopback()
}

// namesThisMachine reports whether a Host is an address or localhost. Any other name that
// resolves to this machine may belong to a page that changed its DNS record (DNS
// rebinding).
func namesThisMachine(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}

// GuardPrivate refuses requests of browser pages to a listener that serves this machine or
// its network. A request is refused if its Origin is not this listener under the host of the
// request, or if its host is not an address, not localhost and not in names.
func GuardPrivate(next http.Handler, names ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		named := slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, host) })
		if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host && origin != "https://"+r.Host || !named && !namesThisMachine(r.Host) {
			refuseHTTP(w, http.StatusForbidden, "this listener answers no pages but its own: ask it by its address or localhost, without an Origin")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuseHTTP answers with a problem document (RFC 9457).
func refuseHTTP(w http.ResponseWriter, status int, detail string) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Nostr")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	doc, err := json.Marshal(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
	if err == nil { // strings and a number always encode
		w.Write(doc)
	}
}

// ClientAddress returns the address that a request is charged to, as text. A forwarding header
// is believed only from a trusted proxy.
func (s *Server) ClientAddress(r *http.Request) string {
	ip, _ := s.peers.clientIP(r)
	return ip.String()
}

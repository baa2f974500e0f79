package relay

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/mostrodex/mostrodex/internal/clip"
)

// ownURL is the address of this relay that proofs of keys (NIP-42, NIP-98) have to name.
type ownURL struct {
	url  string // Config.URL
	log  *slog.Logger
	warn sync.Once // guards the warning that proofs are refused because no URL is set
}

// base returns the http:// or https:// address that a proof has to name (NIP-98,
// NIP-42): Config.URL, or the address of the socket that the request arrived on. known is
// false if there is neither. The client of a request chooses its Host header. If any Host
// were believed, a proof made for another relay would be valid here under the name of that
// relay.
func (o *ownURL) base(r *http.Request) (base string, known bool) {
	switch {
	case o.url != "":
		return "http" + strings.TrimPrefix(strings.TrimSuffix(o.url, "/"), "ws"), true // wss becomes https
	case !isOwnAddress(r):
		return "", false
	case r.TLS != nil:
		return "https://" + r.Host, true
	}
	return "http://" + r.Host, true
}

// isOwnAddress reports whether the Host of a request is the address of the socket that the
// request arrived on: the same IP and port, or localhost on a loopback address.
// isOwnAddress returns false for a request that a proxy forwards.
//
// BUG: a proxy that sends no forwarding header and rewrites Host looks like a client of
// this machine. Behind such a proxy a proof that a key made for the same loopback address
// elsewhere is valid here.
func isOwnAddress(r *http.Request) bool {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok || isForwarded(r.Header) {
		return false
	}
	local, err := netip.ParseAddrPort(at.String())
	if err != nil {
		return false
	}
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil { // a Host without a port
		host, port = strings.TrimSuffix(strings.TrimPrefix(r.Host, "["), "]"), "80"
		if r.TLS != nil {
			port = "443"
		}
	}
	if port != strconv.Itoa(int(local.Port())) {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return local.Addr().Unmap().IsLoopback()
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap() == local.Addr().Unmap().WithZone("")
}

// isForwarded reports whether a header says that a proxy forwards the request.
func isForwarded(h http.Header) bool {
	for _, name := range [...]string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "X-Forwarded-Host"} {
		if len(h.Values(name)) > 0 {
			return true
		}
	}
	return false
}

// refuse returns the refusal of a proof if the relay does not know its own address. The
// first refusal is logged, because the operator does not see the refusal of a NIP-42
// proof.
func (o *ownURL) refuse(host string) string {
	o.warn.Do(func() {
		o.log.Warn("proofs of keys are refused: relay.url is not set, and the Host of a request is not the listener's own address", "host", clip.Text(host, 200))
	})
	return "this relay does not know its public address: its operator must set relay.url in the configuration"
}

// hint returns a hint at the setting relay.url, for the refusal of a proof for another
// address.
func (o *ownURL) hint() string {
	if o.url != "" {
		return ", which is the configured relay.url"
	}
	return ": behind a proxy the operator must set relay.url in the configuration"
}

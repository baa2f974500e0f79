// Package publicnet connects to hosts that strangers have named. A connection is made to a
// public address only, and to the address that was checked, so a name that changes between two
// lookups does not lead into the operator's own network.
package publicnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// ErrForbidden reports that an address must not be reached.
var ErrForbidden = errors.New("the address is not allowed")

// Limits of one request.
const (
	lookupTimeout  = 2 * time.Second
	connectTimeout = 3 * time.Second
	// RequestTimeout is for a request in total.
	RequestTimeout = 8 * time.Second
	maxHeader      = 16 << 10
)

// public refuses every address that is not a public unicast address, and all ranges that IANA
// lists.
var public = ssrf.New(ssrf.WithAnyPort())

// Net connects to public addresses, and to those that the operator allows in addition. The zero
// value allows public addresses alone. The methods may be called concurrently.
type Net struct {
	// Allowed are networks that may be reached although they are not public. Plain http is
	// possible only there.
	Allowed []netip.Prefix
	// Resolver looks up the addresses of a host. nil: the system's resolver.
	Resolver interface {
		LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	}
}

func (n *Net) isAllowed(a netip.Addr) bool {
	return slices.ContainsFunc(n.Allowed, func(p netip.Prefix) bool { return p.Contains(a) })
}

// check returns nil if an address may be reached. An IPv6 address that contains an IPv4 address
// counts as that address.
func (n *Net) check(a netip.Addr, plain bool) error {
	a = a.Unmap().WithZone("")
	if n.isAllowed(a) || !plain && public.SafeAddr(a) == nil {
		return nil
	}
	return ErrForbidden
}

// dial connects to a host if all of its addresses may be reached. plain says that the
// connection is not encrypted.
func (n *Net) dial(ctx context.Context, hostport string, plain bool) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, ErrForbidden
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, ErrForbidden
	}
	addresses, err := n.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	pick := addresses[0].Unmap()
	for _, a := range addresses {
		if err := n.check(a, plain); err != nil {
			return nil, err // one forbidden address is enough to refuse the host
		}
		if a.Unmap().Is4() && !pick.Is4() { // more hosts can reach IPv4
			pick = a.Unmap()
		}
	}
	dialer := net.Dialer{Timeout: connectTimeout,
		// This checks the address to which the kernel will connect, independently of the
		// checks above.
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return ErrForbidden
			}
			return n.check(at.Addr(), plain)
		}}
	return dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(pick, uint16(port)).String())
}

func (n *Net) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var found []netip.Addr
	var err error
	if n.Resolver != nil {
		found, err = n.Resolver.LookupNetIP(ctx, "ip", host)
	} else {
		found, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	if err == nil && len(found) == 0 {
		err = errors.New("no address")
	}
	return found, err
}

// Client returns a client for one request to a URL. The client follows no redirect, uses no
// proxy and keeps no connection, so that the next request is checked again. plain says that
// the scheme is http or ws.
func (n *Net) Client(plain bool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            func(ctx context.Context, _, hostport string) (net.Conn, error) { return n.dial(ctx, hostport, plain) },
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: maxHeader,
			TLSHandshakeTimeout:    connectTimeout,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Plain reports whether a URL has the scheme http or ws. The error is ErrForbidden for a URL
// with another scheme than these and https and wss, or with a user.
func Plain(text string) (bool, error) {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.Opaque != "" || u.Hostname() == "" {
		return false, ErrForbidden
	}
	switch u.Scheme {
	case "https", "wss":
		return false, nil
	case "http", "ws":
		return true, nil
	}
	return false, ErrForbidden
}

// Get returns the status and at most max bytes of the answer of a URL.
func (n *Net) Get(ctx context.Context, from string, max int64) (status int, answer []byte, err error) {
	plain, err := Plain(from)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return 0, nil, ErrForbidden
	}
	client := n.Client(plain)
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("get: %w", err)
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(io.LimitReader(resp.Body, max)); err != nil {
		return 0, nil, fmt.Errorf("get: %w", err)
	}
	return resp.StatusCode, answer, nil
}

// Post sends a body and returns the status and at most maxAnswer bytes of the answer.
func (n *Net) Post(ctx context.Context, to string, header http.Header, body io.Reader, maxAnswer int64) (status int, answer []byte, err error) {
	plain, err := Plain(to)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, body)
	if err != nil {
		return 0, nil, ErrForbidden
	}
	req.Header = header
	client := n.Client(plain)
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("post: %w", err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("post: %w", err)
	}
	return resp.StatusCode, answer, nil
}

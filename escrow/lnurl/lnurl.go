// Package lnurl requests invoices from the services of Lightning addresses and LNURLs. A user
// chooses the service, so a Client trusts neither the address nor an answer. The package does
// not parse invoices.
package lnurl

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"code.dny.dev/ssrf"
	"github.com/btcsuite/btcd/btcutil/bech32"
)

var (
	// ErrUnusable is the refusal of a Lightning address or LNURL. The text is malformed,
	// or points to a forbidden host, or its service does not return an invoice for the
	// requested amount.
	ErrUnusable = errors.New("no usable payment service")
	// ErrUnreachable reports that the service could not be reached or did not answer in
	// time. A later call may succeed.
	ErrUnreachable = errors.New("payment service unreachable")
)

// Limits of one conversation with a payment service. A user chooses the address of the
// service, and its answers may be hostile.
const (
	lookupTimeout  = 2 * time.Second // for the DNS lookup
	connectTimeout = 2 * time.Second // for the connection
	requestTimeout = 4 * time.Second // for one request in total
	maxServiceBody = 64 << 10
	maxLNURL       = 2000 // characters in bech32 form
)

// A Client requests invoices from the services of Lightning addresses (LUD-16) and
// LNURLs (LUD-01, LUD-06). It connects only to public addresses, over TLS, on port 443,
// follows no redirect and uses no proxy. The zero value is ready for use. The methods may
// be called concurrently.
type Client struct {
	// Resolver looks up the addresses of a host. If nil, the system's resolver is used.
	Resolver interface {
		LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	}
	// AllowForTest permits addresses that the rules refuse, for servers on loopback. It is
	// called for every address that would be refused. If AllowForTest is set, http and any
	// port are permitted. Never set it outside of tests.
	AllowForTest func(netip.AddrPort) bool
}

// Valid reports whether a payout destination has the form of a Lightning address or
// an LNURL. Otherwise the destination may be an invoice.
func Valid(destination string) bool {
	_, err := URL(destination)
	return err == nil
}

// URL returns the URL of the first request to the service of a payout destination. The
// error is ErrUnusable.
func URL(destination string) (*url.URL, error) {
	text := strings.TrimSpace(destination)
	if len(text) > len("lightning:") && strings.EqualFold(text[:len("lightning:")], "lightning:") {
		text = text[len("lightning:"):]
	}
	if user, host, ok := strings.Cut(text, "@"); ok {
		return addressURL(user, host)
	}
	return lnurlURL(text)
}

// addressURL converts user@host to the URL of LUD-16.
func addressURL(user, host string) (*url.URL, error) {
	if user == "" || len(user) > 64 || host == "" || len(host) > 253 {
		return nil, fmt.Errorf("%w: not a Lightning address", ErrUnusable)
	}
	for _, c := range []byte(strings.ToLower(user)) {
		// LUD-16 allows only these characters. A mobile keyboard may write upper case. "+"
		// is for tags.
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' && c != '+' {
			return nil, fmt.Errorf("%w: not a Lightning address", ErrUnusable)
		}
	}
	u, err := url.Parse("https://" + host + "/.well-known/lnurlp/" + url.PathEscape(strings.ToLower(user)))
	// The parsed host must equal the given host, so that the host adds no path, query or
	// second user.
	if err != nil || !strings.EqualFold(u.Host, host) || u.User != nil || !validHost(u.Hostname()) {
		return nil, fmt.Errorf("%w: not a Lightning address", ErrUnusable)
	}
	return u, nil
}

// lnurlURL decodes the bech32 form of LUD-01.
func lnurlURL(text string) (*url.URL, error) {
	if len(text) > maxLNURL || len(text) < len("lnurl1") || !strings.EqualFold(text[:len("lnurl1")], "lnurl1") {
		return nil, fmt.Errorf("%w: neither an address nor an LNURL", ErrUnusable)
	}
	_, data, err := bech32.DecodeNoLimit(text)
	if err != nil {
		return nil, fmt.Errorf("%w: malformed LNURL", ErrUnusable)
	}
	raw, err := bech32.ConvertBits(data, 5, 8, false)
	if err != nil || !utf8.Valid(raw) {
		return nil, fmt.Errorf("%w: malformed LNURL", ErrUnusable)
	}
	u, err := url.Parse(string(raw))
	if err != nil || !validHost(u.Hostname()) || u.User != nil || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%w: malformed LNURL", ErrUnusable)
	}
	return u, nil
}

// validHost reports whether a host may be looked up: letters, digits, dots and hyphens, or
// an IP address.
func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if host == "" {
		return false
	}
	for _, c := range []byte(strings.ToLower(host)) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// payRequest is a service's first answer (LUD-06).
type payRequest struct {
	Status         string `json:"status"`
	Tag            string `json:"tag"`
	Callback       string `json:"callback"`
	MinSendable    int64  `json:"minSendable"` // msat
	MaxSendable    int64  `json:"maxSendable"` // msat
	CommentAllowed int    `json:"commentAllowed"`
	Metadata       string `json:"metadata"`
}

// Probe returns nil if the destination has a payment service. Before a payment is due, the
// service receives no other request.
func (s Client) Probe(ctx context.Context, destination string) error {
	_, err := s.ask(ctx, destination)
	return err
}

// Invoice requests an invoice for exactly that many sats and returns the service's text. The
// comment is sent only if the service accepts a comment of its length. The caller parses
// the invoice and checks its amount.
func (s Client) Invoice(ctx context.Context, destination string, sats int64, comment string) (string, error) {
	a, err := s.Request(ctx, destination, sats, comment)
	return a.Invoice, err
}

// Answer is the answer of a service to the request for an invoice. The invoice is not checked.
type Answer struct {
	Invoice string
	// Metadata is the SHA-256 of the service's metadata. An invoice with a description hash
	// must have this hash (LUD-06).
	Metadata [sha256.Size]byte
	// Verify is the URL at which anyone can ask whether the invoice is paid (LUD-21); "" if
	// there is none, or none that may be published.
	Verify string
}

// Request is like Invoice, and returns the whole answer.
func (s Client) Request(ctx context.Context, destination string, sats int64, comment string) (Answer, error) {
	if sats <= 0 || sats > 21_000_000*100_000_000 {
		return Answer{}, fmt.Errorf("%w: amount of %d sats", ErrUnusable, sats)
	}
	offer, err := s.ask(ctx, destination)
	if err != nil {
		return Answer{}, err
	}
	msat := sats * 1000
	if msat < offer.MinSendable || msat > offer.MaxSendable {
		return Answer{}, fmt.Errorf("%w: the service does not accept this amount", ErrUnusable)
	}
	callback, err := url.Parse(offer.Callback)
	if err != nil {
		return Answer{}, fmt.Errorf("%w: malformed callback", ErrUnusable)
	}
	// Our parameters replace the service's parameters of the same name. Other parameters
	// stay.
	query := callback.Query()
	query.Del("amount")
	query.Del("comment")
	query.Set("amount", strconv.FormatInt(msat, 10))
	if comment != "" && utf8.RuneCountInString(comment) <= offer.CommentAllowed {
		query.Set("comment", comment)
	}
	callback.RawQuery = query.Encode()
	callback.Fragment = ""
	var answer struct {
		Status string `json:"status"`
		PR     string `json:"pr"`
		Verify any    `json:"verify"` // not trusted to be a text: a service with another value still has an invoice
	}
	if err := s.get(ctx, callback, &answer); err != nil {
		return Answer{}, err
	}
	if strings.EqualFold(answer.Status, "ERROR") || answer.PR == "" {
		return Answer{}, fmt.Errorf("%w: the service made no invoice", ErrUnusable)
	}
	verify, _ := answer.Verify.(string)
	return Answer{Invoice: answer.PR, Metadata: sha256.Sum256([]byte(offer.Metadata)), Verify: verifyURL(verify)}, nil
}

// maxVerify is the length of the longest URL of LUD-21 that is kept.
const maxVerify = 512

// verifyURL returns a URL of LUD-21 that may be published, or "".
func verifyURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxVerify || u.Scheme != "https" || u.User != nil || !validHost(u.Hostname()) {
		return ""
	}
	return text
}

func (s Client) ask(ctx context.Context, destination string) (payRequest, error) {
	u, err := URL(destination)
	if err != nil {
		return payRequest{}, err
	}
	if s.AllowForTest != nil && strings.Contains(destination, "@") {
		u.Scheme = "http" // a test server has no certificate
	}
	var out payRequest
	if err := s.get(ctx, u, &out); err != nil {
		return payRequest{}, err
	}
	switch {
	case strings.EqualFold(out.Status, "ERROR"):
		return payRequest{}, fmt.Errorf("%w: the service answered with an error", ErrUnusable)
	case out.Tag != "payRequest":
		return payRequest{}, fmt.Errorf("%w: the service is not a pay service", ErrUnusable)
	case out.Callback == "", out.MinSendable < 0, out.MaxSendable < out.MinSendable, out.MaxSendable == 0:
		return payRequest{}, fmt.Errorf("%w: the service's offer is malformed", ErrUnusable)
	}
	return out, nil
}

// get fetches one JSON document under all the rules.
func (s Client) get(ctx context.Context, u *url.URL, into any) error {
	if err := s.allowURL(u); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("%w: malformed address", ErrUnusable)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "mostrodex")
	transport := &http.Transport{
		DialContext: s.dial,
		// Each connection is used once, so that the next one is checked again.
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxServiceBody,
		TLSHandshakeTimeout:    connectTimeout,
	}
	defer transport.CloseIdleConnections()
	client := http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		// The error quotes the URL, which names a user.
		if errors.Is(err, ErrUnusable) {
			return fmt.Errorf("%w: the service's address is not allowed", ErrUnusable)
		}
		return ErrUnreachable
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w: status %d", ErrUnreachable, resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: status %d", ErrUnusable, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxServiceBody+1))
	if err != nil {
		return ErrUnreachable
	}
	if len(body) > maxServiceBody {
		return fmt.Errorf("%w: the service's answer is too long", ErrUnusable)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: the service's answer is not the JSON of LUD-06", ErrUnusable)
	}
	return nil
}

// allowURL returns an error if a URL, from the user or from the service's callback, must
// not be fetched. Over plain http, an attacker on the path could insert an invoice of its
// own. LUD-01 permits http only for onion services, and this client does not reach onion
// services.
func (s Client) allowURL(u *url.URL) error {
	switch {
	case u.User != nil, u.Opaque != "", !validHost(u.Hostname()):
		return fmt.Errorf("%w: malformed address", ErrUnusable)
	case s.AllowForTest != nil && u.Scheme == "http":
	case u.Scheme != "https":
		return fmt.Errorf("%w: the service does not use https", ErrUnusable)
	}
	return nil
}

// public refuses every address that is not a public unicast address. The refused ranges
// include 64:ff9b::/96, the documentation and benchmark networks, and all ranges that IANA
// lists.
var public = ssrf.New(ssrf.WithAnyPort())

// dial connects to a host if all of its addresses are public. The dialled address is the
// address that was checked, so a name that changes between two lookups cannot pass the
// check.
func (s Client) dial(ctx context.Context, _, hostport string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, fmt.Errorf("%w: malformed address", ErrUnusable)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%w: malformed port", ErrUnusable)
	}
	addresses, err := s.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	for i, a := range addresses {
		addresses[i] = a.Unmap().WithZone("")
		if err := s.allowAddress(netip.AddrPortFrom(addresses[i], uint16(port))); err != nil {
			return nil, err // one forbidden address is enough to refuse the host
		}
	}
	// IPv4 is preferred, because more hosts can reach it.
	pick := addresses[0]
	for _, a := range addresses {
		if a.Is4() {
			pick = a
			break
		}
	}
	dialer := net.Dialer{
		Timeout: connectTimeout,
		// This checks the address to which the kernel will connect, independently of the
		// checks above.
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: malformed address", ErrUnusable)
			}
			return s.allowAddress(at)
		},
	}
	conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(pick, uint16(port)).String())
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (s Client) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	resolver := s.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	found, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("no address")
	}
	return append([]netip.Addr(nil), found...), nil
}

func (s Client) allowAddress(at netip.AddrPort) error {
	if at.Port() == 443 && public.SafeAddr(at.Addr().Unmap()) == nil {
		return nil
	}
	if s.AllowForTest != nil && s.AllowForTest(at) {
		return nil
	}
	return fmt.Errorf("%w: forbidden address", ErrUnusable)
}

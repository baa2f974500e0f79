package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"code.dny.dev/ssrf"
	"github.com/mostrodex/mostrodex/internal/clip"
)

// normalRelayURL returns the normal form of a relay's URL. Relays are stored and compared
// in this form. An invalid URL returns an error.
func normalRelayURL(raw string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	switch {
	case err != nil:
		return "", fmt.Errorf("relay %q: %w", raw, err)
	case u.Scheme != "ws" && u.Scheme != "wss":
		return "", fmt.Errorf("relay %q does not begin with ws:// or wss://", raw)
	case u.Hostname() == "":
		return "", fmt.Errorf("relay %q names no host", raw)
	case u.User != nil:
		return "", fmt.Errorf("relay %q: a user name is not allowed", raw)
	case len(raw) > 256:
		return "", fmt.Errorf("relay %.40q...: too long", raw)
	}
	u.Host = strings.ToLower(u.Host)
	if u.Scheme == "wss" {
		u.Host = strings.TrimSuffix(u.Host, ":443")
	} else {
		u.Host = strings.TrimSuffix(u.Host, ":80")
	}
	u.Fragment = ""
	u.Path = strings.TrimRight(u.Path, "/")
	return u.String(), nil
}

// relayClient returns a client that dials relays. A configured relay is dialled at any
// address, through the operator's proxy. A relay from an event is dialled only at public
// addresses. The address is checked when the connection is made, so that a name cannot
// resolve to another address after the check.
func relayClient(configured bool) *http.Client {
	d := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: dialTimeout,
		MaxResponseHeaderBytes: 32 << 10, DisableKeepAlives: true}
	if !configured {
		d.Control = ssrf.New(ssrf.WithAnyPort()).Safe
		t.Proxy = nil // a proxy would resolve the name itself
	}
	t.DialContext = d.DialContext
	// Redirects are not followed. A relay could redirect to an address on this machine
	// that trusts local requests.
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// relayInfo is the part of another relay's NIP-11 document that is used here.
type relayInfo struct {
	Name          string `json:"name"`
	Software      string `json:"software"`
	SupportedNIPs []int  `json:"supported_nips"`
	Limitation    struct {
		MaxLimit         int  `json:"max_limit"`
		MaxMessageLength int  `json:"max_message_length"`
		AuthRequired     bool `json:"auth_required"`
	} `json:"limitation"`

	// skew is the difference between our clock and the clock of the relay's server, from the
	// header Date; nil if unknown.
	skew *time.Duration
}

const maxInfoBytes = 64 << 10

// fetchInfo requests the NIP-11 document of a relay. fetchInfo returns nil if there is no
// readable document. The document is a hint, so its absence is not an error.
func fetchInfo(ctx context.Context, client *http.Client, relay string, now func() time.Time) *relayInfo {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http"+strings.TrimPrefix(relay, "ws"), nil)
	if err != nil {
		return nil
	}
	req.Header.Set("Accept", "application/nostr+json")
	req.Header.Set("User-Agent", "mostrodex")
	began := now()
	res, err := client.Do(req)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	var skew *time.Duration
	if at, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		// The header has whole seconds, of a moment between the request and the response.
		middle := began.Add(now().Sub(began) / 2)
		d := middle.Sub(at.Add(500 * time.Millisecond))
		skew = &d
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxInfoBytes))
	var info relayInfo
	if err != nil || res.StatusCode != http.StatusOK || json.Unmarshal(b, &info) != nil {
		return nil
	}
	info.skew = skew
	info.Name, info.Software = clip.Text(info.Name, 80), clip.Text(info.Software, 200)
	return &info
}

package publicnet

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// answers resolves every name to the next list of addresses.
type answers struct {
	lists [][]netip.Addr
	asked atomic.Int32
}

func (a *answers) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	n := int(a.asked.Add(1)) - 1
	return a.lists[min(n, len(a.lists)-1)], nil
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// TestForbiddenAddresses checks that no address but a public one is connected to, however it is
// written.
func TestForbiddenAddresses(t *testing.T) {
	hits := atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1",
		"[fe80::1]", "[fc00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1", "255.255.255.255", "198.18.0.1", "2130706433", "0x7f.1", "127.1"} {
		for _, scheme := range []string{"http", "https"} {
			_, _, err := (&Net{}).Post(t.Context(), scheme+"://"+host+":"+port+"/", nil, nil, 10)
			if err == nil {
				t.Errorf("%s://%s was reached", scheme, host)
			}
		}
	}
	if hits.Load() != 0 {
		t.Errorf("%d requests arrived", hits.Load())
	}
	for _, u := range []string{"file:///etc/passwd", "gopher://example.org", "https://user:pw@example.org/", "https:example.org", "//example.org", "https://"} {
		if _, _, err := (&Net{}).Post(t.Context(), u, nil, nil, 10); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// TestNamesWithForbiddenAddresses checks that one forbidden address among public ones refuses a
// name, and that a name is looked up once, so that a second answer cannot differ.
func TestNamesWithForbiddenAddresses(t *testing.T) {
	mixed := &answers{lists: [][]netip.Addr{addrs("93.184.215.14", "127.0.0.1")}}
	if _, _, err := (&Net{Resolver: mixed}).Post(t.Context(), "https://mixed.example/", nil, nil, 10); !errors.Is(err, ErrForbidden) {
		t.Errorf("mixed addresses: %v", err)
	}
	changing := &answers{lists: [][]netip.Addr{addrs("10.1.2.3"), addrs("93.184.215.14")}}
	if _, _, err := (&Net{Resolver: changing}).Post(t.Context(), "https://changing.example/", nil, nil, 10); !errors.Is(err, ErrForbidden) || changing.asked.Load() != 1 {
		t.Errorf("a changing name: %v, asked %d times", err, changing.asked.Load())
	}
	plain := &answers{lists: [][]netip.Addr{addrs("93.184.215.14")}}
	if _, _, err := (&Net{Resolver: plain}).Post(t.Context(), "http://plain.example/", nil, nil, 10); !errors.Is(err, ErrForbidden) {
		t.Errorf("http to a public address: %v", err)
	}
}

// TestAllowedNetwork checks the operator's exception: requests arrive there, redirects are not
// followed, answers are cut and slow servers are left.
func TestAllowedNetwork(t *testing.T) {
	hits := atomic.Int32{}
	private := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer private.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, private.URL, http.StatusTemporaryRedirect)
		case "/slow":
			<-r.Context().Done()
		default:
			w.Write([]byte(r.Header.Get("X-A") + string(body) + strings.Repeat("x", 1000)))
		}
	}))
	defer server.Close()
	n := &Net{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	status, answer, err := n.Post(t.Context(), server.URL+"/", http.Header{"X-A": {"a"}}, strings.NewReader("b"), 12)
	if err != nil || status != 200 || string(answer) != "ab"+strings.Repeat("x", 10) {
		t.Errorf("%d %q %v", status, answer, err)
	}
	if status, _, err := n.Post(t.Context(), server.URL+"/redirect", nil, nil, 10); err != nil || status != http.StatusTemporaryRedirect || hits.Load() != 0 {
		t.Errorf("redirect: %d %v, followed %d times", status, err, hits.Load())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, _, err := n.Post(ctx, server.URL+"/slow", nil, nil, 10); err == nil {
		t.Error("a slow server answered")
	}
}

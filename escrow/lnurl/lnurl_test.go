package lnurl_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcutil/bech32"
	"github.com/mostrodex/mostrodex/escrow/lnurl"
)

// names is a resolver that returns the addresses of a map.
type names map[string][]string

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range n[host] {
		out = append(out, netip.MustParseAddr(text))
	}
	if out == nil {
		return nil, errors.New("no such host")
	}
	return out, nil
}

func encode(t testing.TB, text string) string {
	data, err := bech32.ConvertBits([]byte(text), 8, 5, true)
	if err != nil {
		t.Fatal(err)
	}
	out, err := bech32.Encode("lnurl", data)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// payService is a service on loopback whose answers a test can change.
type payService struct {
	*httptest.Server
	offer   func(map[string]any)                  // changes the first answer
	invoice func(http.ResponseWriter, url.Values) // replaces the second answer
	asked   url.Values                            // parameters of the callback
}

func newPayService(t *testing.T) *payService {
	s := new(payService)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/lnurlp/alice", func(w http.ResponseWriter, r *http.Request) {
		offer := map[string]any{
			"tag": "payRequest", "callback": s.URL + "/cb?id=7&amount=1&comment=theirs", "metadata": "[]",
			"minSendable": 1000, "maxSendable": 10_000_000, "commentAllowed": 5,
		}
		if s.offer != nil {
			s.offer(offer)
		}
		_ = json.NewEncoder(w).Encode(offer)
	})
	mux.HandleFunc("GET /cb", func(w http.ResponseWriter, r *http.Request) {
		s.asked = r.URL.Query()
		if s.invoice != nil {
			s.invoice(w, s.asked)
			return
		}
		var msat int64
		_, _ = fmt.Sscan(s.asked.Get("amount"), &msat)
		_ = json.NewEncoder(w).Encode(map[string]any{"pr": s.sign(msat), "routes": []string{}})
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// sign returns the text that stands for an invoice of an amount.
func (s *payService) sign(msat int64) string { return fmt.Sprintf("lnbcrt%d", msat) }

// client returns a Client that connects to loopback, which only tests allow.
func (s *payService) client() lnurl.Client {
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	return lnurl.Client{AllowForTest: func(a netip.AddrPort) bool { return a == at }}
}

func (s *payService) address() string { return "Alice@" + s.Listener.Addr().String() }

func TestPayServiceMakesAnInvoice(t *testing.T) {
	s := newPayService(t)
	for _, destination := range []string{
		s.address(),
		" " + s.address() + " ",
		encode(t, s.URL+"/.well-known/lnurlp/alice"),
		strings.ToUpper(encode(t, s.URL+"/.well-known/lnurlp/alice")),
		"lightning:" + encode(t, s.URL+"/.well-known/lnurlp/alice"),
	} {
		if !lnurl.Valid(destination) {
			t.Errorf("%s: not recognized as a pay service", destination)
		}
		if err := s.client().Probe(t.Context(), destination); err != nil {
			t.Errorf("%s: probe: %v", destination, err)
		}
		invoice, err := s.client().Invoice(t.Context(), destination, 1234, "hallo")
		if err != nil {
			t.Errorf("%s: %v", destination, err)
			continue
		}
		if invoice != s.sign(1_234_000) {
			t.Errorf("%s: %s", destination, invoice)
		}
		if got := s.asked.Encode(); got != "amount=1234000&comment=hallo&id=7" {
			t.Errorf("%s: asked for %s", destination, got)
		}
	}
	// A comment that does not fit is omitted, never truncated. The limit counts letters, not
	// bytes.
	for comment, want := range map[string]string{"": "", "äöüßé": "äöüßé", "sechs!": ""} {
		if _, err := s.client().Invoice(t.Context(), s.address(), 1234, comment); err != nil {
			t.Error(err)
		}
		if got := s.asked.Get("comment"); got != want || !s.asked.Has("amount") {
			t.Errorf("comment %q: asked for %s", comment, s.asked.Encode())
		}
	}
}

func TestPayServiceThatMisbehavesIsRefused(t *testing.T) {
	set := func(key string, value any) func(map[string]any) {
		return func(offer map[string]any) { offer[key] = value }
	}
	answer := func(body string) func(http.ResponseWriter, url.Values) {
		return func(w http.ResponseWriter, _ url.Values) { _, _ = w.Write([]byte(body)) }
	}
	for name, c := range map[string]struct {
		offer   func(map[string]any)
		invoice func(*payService) func(http.ResponseWriter, url.Values)
		want    error
	}{
		"error":                {offer: set("status", "ERROR"), want: lnurl.ErrUnusable},
		"withdraw request":     {offer: set("tag", "withdrawRequest"), want: lnurl.ErrUnusable},
		"amount too small":     {offer: set("minSendable", 2_000_000), want: lnurl.ErrUnusable},
		"amount too large":     {offer: set("maxSendable", 999_999), want: lnurl.ErrUnusable},
		"negative minimum":     {offer: set("minSendable", -1), want: lnurl.ErrUnusable},
		"maximum in words":     {offer: set("maxSendable", "lots"), want: lnurl.ErrUnusable},
		"no callback":          {offer: set("callback", ""), want: lnurl.ErrUnusable},
		"callback elsewhere":   {offer: set("callback", "http://127.0.0.2:1/cb"), want: lnurl.ErrUnusable},
		"callback to a file":   {offer: set("callback", "file:///etc/passwd"), want: lnurl.ErrUnusable},
		"callback with a user": {offer: set("callback", "https://user@example.com/"), want: lnurl.ErrUnusable},
		"callback broken":      {offer: set("callback", "http://[::1"), want: lnurl.ErrUnusable},
		"no invoice": {invoice: func(*payService) func(http.ResponseWriter, url.Values) { return answer(`{"pr":""}`) },
			want: lnurl.ErrUnusable},
		"invoice refused": {invoice: func(*payService) func(http.ResponseWriter, url.Values) {
			return answer(`{"status":"error","reason":"x","pr":"y"}`)
		}, want: lnurl.ErrUnusable},
		"no JSON": {invoice: func(*payService) func(http.ResponseWriter, url.Values) { return answer(`<html>`) },
			want: lnurl.ErrUnusable},
		"endless": {invoice: func(*payService) func(http.ResponseWriter, url.Values) {
			return answer(`{"pr":"` + strings.Repeat("x", 1<<20) + `"}`)
		}, want: lnurl.ErrUnusable},
		"redirect": {invoice: func(s *payService) func(http.ResponseWriter, url.Values) {
			return func(w http.ResponseWriter, _ url.Values) {
				w.Header().Set("Location", s.URL+"/.well-known/lnurlp/alice")
				w.WriteHeader(http.StatusFound)
			}
		}, want: lnurl.ErrUnusable},
		"not found": {invoice: func(*payService) func(http.ResponseWriter, url.Values) {
			return func(w http.ResponseWriter, _ url.Values) { w.WriteHeader(http.StatusNotFound) }
		}, want: lnurl.ErrUnusable},
		"out of order": {invoice: func(*payService) func(http.ResponseWriter, url.Values) {
			return func(w http.ResponseWriter, _ url.Values) { w.WriteHeader(http.StatusBadGateway) }
		}, want: lnurl.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			s := newPayService(t)
			s.offer = c.offer
			if c.invoice != nil {
				s.invoice = c.invoice(s)
			}
			invoice, err := s.client().Invoice(t.Context(), s.address(), 1000, "")
			if !errors.Is(err, c.want) || invoice != "" {
				t.Fatalf("got %q, %v; want %v", invoice, err, c.want)
			}
			if strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(strings.ToLower(err.Error()), "alice") {
				t.Errorf("the error names the user or the service: %v", err)
			}
		})
	}
	for _, sats := range []int64{0, -1, 21_000_000*100_000_000 + 1, 1 << 62} {
		s := newPayService(t)
		if _, err := s.client().Invoice(t.Context(), s.address(), sats, ""); !errors.Is(err, lnurl.ErrUnusable) {
			t.Errorf("%d sats: %v", sats, err)
		}
	}
}

func TestPayServiceThatIsSlowIsLeft(t *testing.T) {
	stop := make(chan struct{})
	s := newPayService(t)
	s.invoice = func(w http.ResponseWriter, _ url.Values) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-stop // the headers were sent, and the body is never sent
	}
	defer close(stop)
	began := time.Now()
	_, err := s.client().Invoice(t.Context(), s.address(), 1000, "")
	if took := time.Since(began); !errors.Is(err, lnurl.ErrUnreachable) || took < 3*time.Second || took > 6*time.Second {
		t.Errorf("after %s: %v", took, err)
	}
}

// A Client never connects to an address that is not public, in any notation, and also if
// only one of several addresses is not public.
func TestPayServiceAddressesAreForbidden(t *testing.T) {
	var hits atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			hits.Add(1)
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())

	forbidden := []string{
		"0.0.0.0", "255.255.255.255", "224.0.0.1", "169.254.169.254", "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1",
		"192.168.1.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "100.64.0.1", "198.18.0.1", "240.0.0.1",
		"::", "::1", "ff02::1", "fe80::1", "fc00::1", "fd12::1", "64:ff9b::7f00:1", "2001:db8::1", "2002:7f00:1::",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "fec0::1",
	}
	var s lnurl.Client // the settings of production
	for _, address := range forbidden {
		host := address
		if strings.Contains(address, ":") {
			host = "[" + address + "]"
		}
		for _, text := range []string{"https://" + host + "/x", "https://" + host + ":" + port + "/x"} {
			if err := s.Probe(t.Context(), encode(t, text)); !errors.Is(err, lnurl.ErrUnusable) {
				t.Errorf("%s: %v", text, err)
			}
		}
		if !strings.Contains(address, ":") {
			if err := s.Probe(t.Context(), "alice@"+address); !errors.Is(err, lnurl.ErrUnusable) {
				t.Errorf("alice@%s: %v", address, err)
			}
		}
		// The same addresses are given by name, alone and next to a public address.
		s := lnurl.Client{Resolver: names{"alone.example": {address}, "mixed.example": {"1.1.1.1", address}}}
		for _, host := range []string{"alone.example", "mixed.example"} {
			if err := s.Probe(t.Context(), "alice@"+host); !errors.Is(err, lnurl.ErrUnusable) {
				t.Errorf("%s at %s: %v", host, address, err)
			}
		}
	}
	for _, text := range []string{
		"http://1.1.1.1/x",          // unencrypted HTTP
		"https://1.1.1.1:22/x",      // a port that is not 443
		"https://1.1.1.1:8443/x",    // a port that is not 443
		"https://127.1/x",           // a short form of 127.0.0.1
		"https://2130706433/x",      //
		"https://0x7f.0.0.1/x",      //
		"ftp://1.1.1.1/x",           //
		"https://user@1.1.1.1/x",    //
		"https://user:pw@1.1.1.1/x", //
		"https:///x",                //
		"https:1.1.1.1",             //
		"javascript:alert(1)",       //
	} {
		err := lnurl.Client{Resolver: names{"127.1": {"127.0.0.1"}, "2130706433": {"127.0.0.1"}, "0x7f.0.0.1": {"127.0.0.1"}}}.Probe(t.Context(), encode(t, text))
		if !errors.Is(err, lnurl.ErrUnusable) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d connections were made to loopback", n)
	}
}

// fickle returns another address each time a name is resolved.
type fickle struct {
	asked atomic.Int64
	first netip.Addr
}

func (f *fickle) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	if f.asked.Add(1)%2 == 1 {
		return []netip.Addr{f.first}, nil
	}
	return []netip.Addr{netip.MustParseAddr("127.0.0.99")}, nil
}

// A Client dials the address that it checked: a name is resolved once per connection.
func TestPayServiceNameIsAskedOnce(t *testing.T) {
	s := newPayService(t)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	client := s.client()
	f := &fickle{first: netip.MustParseAddr("127.0.0.1")}
	client.Resolver = f
	if err := client.Probe(t.Context(), "alice@rebinding.example:"+port); err != nil {
		t.Fatal(err)
	}
	if n := f.asked.Load(); n != 1 {
		t.Fatalf("the name was resolved %d times", n)
	}
	// The next connection resolves to the other address, which is not allowed.
	if err := client.Probe(t.Context(), "alice@rebinding.example:"+port); !errors.Is(err, lnurl.ErrUnusable) {
		t.Fatal(err)
	}
}

// A certificate that no known authority signed makes the service fail, even if its address is
// allowed.
func TestPayServiceCertificateIsChecked(t *testing.T) {
	var hits atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // discards the log of the failed handshake
	server.StartTLS()
	defer server.Close()
	at := netip.MustParseAddrPort(server.Listener.Addr().String())
	s := lnurl.Client{AllowForTest: func(a netip.AddrPort) bool { return a == at }}
	if err := s.Probe(t.Context(), encode(t, server.URL+"/x")); !errors.Is(err, lnurl.ErrUnreachable) || hits.Load() != 0 {
		t.Errorf("%d requests reached the service, %v", hits.Load(), err)
	}
}

func TestPayServiceUnknownHostIsDown(t *testing.T) {
	s := lnurl.Client{Resolver: names{}}
	if err := s.Probe(t.Context(), "alice@nowhere.example"); !errors.Is(err, lnurl.ErrUnreachable) {
		t.Error(err)
	}
}

func TestValid(t *testing.T) {
	for text, want := range map[string]bool{
		"alice@example.com":                 true,
		"Alice.B-c_d+tag@Example.COM":       true,
		"":                                  false,
		"@example.com":                      false,
		"alice@":                            false,
		"alice@example.com/path":            false,
		"alice@example.com?q":               false,
		"alice@example.com#f":               false,
		"alice@b@example.com":               false,
		"al ice@example.com":                false,
		"../x@example.com":                  false,
		"alice@exa mple.com":                false,
		"älice@example.com":                 false,
		"alice@[::1]":                       true, // parsed, and refused when probed
		"lnbc2500u1pvjluezsp5zyg3zyg3zyg":   false,
		"lnurl1":                            false,
		"lnurl1qqqqqq":                      false,
		strings.Repeat("a", 65) + "@x":      false,
		"alice@" + strings.Repeat("a", 254): false,
	} {
		if got := lnurl.Valid(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func FuzzValid(f *testing.F) {
	f.Add("alice@example.com")
	f.Add(encode(f, "https://example.com/lnurl?x=1"))
	f.Add("lightning:LNURL1")
	f.Fuzz(func(t *testing.T, text string) { lnurl.Valid(text) })
}

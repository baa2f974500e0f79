package effect_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnurl"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// loopbackService serves a Lightning address on loopback. first and second are the bodies of
// the service's answers.
func loopbackService(tb testing.TB, first, second *[]byte) (s effect.Services, url, address string) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/lnurlp/alice", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*first) })
	mux.HandleFunc("GET /cb", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*second) })
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	at := netip.MustParseAddrPort(server.Listener.Addr().String())
	s = effect.Services{Client: lnurl.Client{AllowForTest: func(a netip.AddrPort) bool { return a == at }}}
	return s, server.URL, "alice@" + at.String()
}

// Mint refuses an invoice of a service that is not for exactly the requested amount.
func TestMintChecksTheInvoiceOfAService(t *testing.T) {
	payeeKey, _ := btcec.PrivKeyFromBytes([]byte{31: 1})
	sign := func(msat int64) string {
		text, err := lightning.InvoiceDraft{Hash: trade.Hash{9}, AmountMsat: msat, Network: lightning.Regtest, CreatedAt: time.Now(), Expiry: time.Minute, MinFinalCLTV: 18}.Sign(payeeKey)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	right := sign(1_000_000)
	for name, c := range map[string]struct{ invoice, want string }{
		"invoice of the amount":     {right, right},
		"invoice in upper case":     {strings.ToUpper(right), right},
		"invoice broken":            {"lnbc1x", ""},
		"invoice for less":          {sign(999_000), ""},
		"invoice for more":          {sign(1_000_001), ""},
		"invoice without amount":    {sign(0), ""},
		"invoice of another amount": {otherInvoice, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var first, second []byte
			s, url, address := loopbackService(t, &first, &second)
			first = []byte(`{"tag":"payRequest","callback":"` + url + `/cb","minSendable":1,"maxSendable":100000000}`)
			second = []byte(`{"pr":"` + c.invoice + `"}`)
			got, err := s.Mint(t.Context(), address, 1000)
			if got != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, lnurl.ErrUnusable) {
				t.Fatalf("got %q, %v; want %q", got, err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "alice") || strings.Contains(err.Error(), "lnbc")) {
				t.Errorf("the error names the user, the service or the invoice: %v", err)
			}
		})
	}
}

// For any answer of a service, Mint returns either an invoice of the right amount or one of
// two errors.
func FuzzPayServiceAnswer(f *testing.F) {
	var first, second []byte
	s, url, address := loopbackService(f, &first, &second)
	f.Add([]byte(`{"tag":"payRequest","callback":"`+url+`/cb","minSendable":1,"maxSendable":100000000}`), []byte(`{"pr":"`+otherInvoice+`"}`))
	f.Add([]byte(`{"tag":"payRequest","callback":"x","minSendable":1e999}`), []byte(`[]`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		first, second = a, b
		text, err := s.Mint(t.Context(), address, 1000)
		if err != nil && !errors.Is(err, lnurl.ErrUnusable) && !errors.Is(err, lnurl.ErrUnreachable) {
			t.Fatal(err)
		}
		if err != nil {
			return
		}
		if in, err := lightning.ParseInvoice(text); err != nil || in.AmountMsat != 1_000_000 {
			t.Fatalf("%+v, %v", in, err)
		}
	})
}

// otherInvoice is an example of BOLT 11, for 250,000 sats.
const otherInvoice = "lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh"

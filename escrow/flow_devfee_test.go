//go:build unix

package escrow_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/lndtest"
	"github.com/mostrodex/mostrodex/escrow/lnurl"
)

// loopbackFund returns the development fund as a process on this machine reaches it.
func loopbackFund(string) fund.Service {
	return effect.Services{Client: lnurl.Client{AllowForTest: func(a netip.AddrPort) bool { return a.Addr().IsLoopback() }}}
}

// fundServer serves a Lightning address on loopback whose invoices are made by invoice.
func fundServer(tb testing.TB, invoice func(ctx context.Context, sats int64) (string, error)) (address string, asked func() int) {
	var n atomic.Int64
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	mux.HandleFunc("GET /.well-known/lnurlp/dev", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"tag": "payRequest", "callback": server.URL + "/cb", "metadata": `[["text/plain","development fund"]]`, "minSendable": 1000, "maxSendable": 1_000_000_000, "commentAllowed": 200})
	})
	mux.HandleFunc("GET /cb", func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		msat, err := strconv.ParseInt(r.URL.Query().Get("amount"), 10, 64)
		if comment := r.URL.Query().Get("comment"); err != nil || !strings.HasPrefix(comment, "mostro-dev-fee order=") || !strings.Contains(comment, " node=npub1") {
			tb.Errorf("the fund is asked for %d msat with %q", msat, comment) // #820: the comment of the reference node
		}
		text, err := invoice(r.Context(), msat/1000)
		if err != nil {
			tb.Error(err)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"pr": text, "routes": []string{}, "verify": fmt.Sprintf("https://fund.example/verify/%d", n.Load())})
	})
	return "dev@" + strings.TrimPrefix(server.URL, "http://"), func() int { return int(n.Load()) }
}

// testFeeKilled kills our process with signal 9 at each point of the payment of a development
// fee on real nodes. The fee is paid once and published once.
func testFeeKilled(t *testing.T, n *lndtest.Network) {
	child := childOf(t, n)
	address, asked := fundServer(t, func(ctx context.Context, sats int64) (string, error) {
		return n.Seller.AddInvoice(ctx, sats, "development fund", time.Hour)
	})
	escrow.RunFeeKilled(t, flowNet(n), asked, func(dir, secret, killAt string, ahead int) *exec.Cmd {
		cmd := child(dir, secret, killAt)
		cmd.Env = append(cmd.Env, "MOSTRODEX_FUND="+address, "MOSTRODEX_AHEAD="+strconv.Itoa(ahead))
		return cmd
	})
}

package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// heard is a buffer for all log lines of a program at every level.
type heard struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}

// TestDemoKeepsSecrets trades over the demo's sockets in every transport. It searches all
// output for preimages, invoices and keys: the log at debug level, the metrics, the answers
// and errors for the operator, the API and the errors of the wallet.
func TestDemoKeepsSecrets(t *testing.T) {
	dir, log := t.TempDir(), &heard{}
	m, stop := runDemo(t, dir, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	secrets := map[string]string{}
	keep := func(name, text string) {
		t.Helper()
		if text == "" {
			t.Fatalf("the test produced no %s", name)
		}
		secrets[text] = name
	}
	keepKeys := func(name string, k *envelope.Keys) {
		raw := k.Secret()
		keep(name, hex.EncodeToString(raw[:]))
		keep(name, k.Nsec())
	}
	node, err := loadKeys(m.Config.Escrow.Key)
	if err != nil {
		t.Fatal(err)
	}
	keepKeys("node's key", node)

	said := &bytes.Buffer{}
	operator := func(args ...string) {
		out, errs, _ := runProgram(t, "", append(args, "--data", dir)...)
		fmt.Fprintln(said, out, errs)
	}
	get := func(url string) {
		_, _, body := getBody(t, url)
		fmt.Fprintln(said, body)
	}
	wallet := "http://" + m.PrivateAddr() + "/lnsim/"
	for _, transport := range []envelope.Transport{envelope.TransportV2, envelope.TransportV1, envelope.TransportLegacy} {
		x := newDemoTrade(t, m, transport)
		keepKeys("user's key", x.seller.keys)
		keepKeys("user's key", x.buyer.keys)
		x.toTaken()
		x.toFiatSent()
		x.buyer.send(message.ActionAddInvoice, &x.id, message.PaymentRequest{Invoice: x.payoutInvoice}) // this message is too late
		x.buyer.expect(message.ActionCantDo)
		id := x.id.String()
		for _, args := range [][]string{{"trade", "list"}, {"trade", "show", id}, {"trade", "journal", id}, {"trade", "journal", id, "--json"}, {"trade", "pay", id, "--yes"}} {
			operator(args...)
		}
		x.finish()
		trade, err := m.escrow.engine.Trade(t.Context(), x.id)
		if err != nil {
			t.Fatal(err)
		}
		keep("preimage", trade.Preimage.Hex())
		keep("hold invoice", x.holdInvoice)
		keep("payout's invoice", x.payoutInvoice)
		for _, args := range [][]string{{"trade", "list", "--all", "--json"}, {"trade", "show", id, "--json"}, {"trade", "journal", id, "--json"}, {"pause"}, {"resume"}} {
			operator(args...)
		}
		get("http://" + m.Addr() + "/api/v1/orders/" + m.escrow.pubkey + "/" + id)
		// The wallet gets an invoice that is already paid, and an invalid invoice.
		for _, bolt11 := range []string{x.holdInvoice, x.payoutInvoice + "q"} {
			resp, err := http.Post(wallet+"pay", "application/json", strings.NewReader(fmt.Sprintf(`{"bolt11":%q}`, bolt11)))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = said.ReadFrom(resp.Body)
			resp.Body.Close()
		}
	}
	get("http://" + m.PrivateAddr() + "/metrics")
	get("http://" + m.Addr() + "/api/v1/orders?open=any")
	m.Logger.Debug("a program that has nothing to complain about may say nothing at all, so the test itself says this at the lowest level that is heard")
	stop()
	for where, text := range map[string]string{"the log": log.String(), "answers": said.String()} {
		if len(text) < 100 {
			t.Errorf("%s: the output is nearly empty: %q", where, text)
		}
		for secret, name := range secrets {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s: a %s is in it: %.200q", where, name, text[max(0, at-80):])
			}
		}
	}
}

package lnsim_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnsim"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

func TestWallet(t *testing.T) {
	w := lnsim.New(lnsim.Config{Now: time.Now(), Delay: 20 * time.Millisecond})
	mostro := w.AddNode("mostro", 1_000_000)
	w.AddNode("wallet", 500_000)
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- w.Run(ctx, time.Now) }()
	defer func() { cancel(); <-ran }()
	server := httptest.NewServer(w.Wallet("wallet"))
	defer server.Close()

	ask := func(method, path, body string, wantStatus int) map[string]any {
		t.Helper()
		req, err := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != wantStatus {
			t.Fatalf("%s %s: %s", path, body, resp.Status)
		}
		var out map[string]any
		if wantStatus != http.StatusMethodNotAllowed && wantStatus != http.StatusNotFound {
			if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	balance := func(wallet, node, held float64) {
		t.Helper()
		deadline := time.Now().Add(5 * time.Second)
		for {
			got := ask("GET", "/lnsim/balance", "", 200)
			if got["wallet_sats"].(float64)+got["node_sats"].(float64)+got["held_sats"].(float64) != 1_500_000 || len(got) != 3 {
				t.Fatalf("sats were created or lost: %v", got)
			}
			if got["wallet_sats"] == wallet && got["node_sats"] == node && got["held_sats"] == held {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("balance is %v, want %v, %v, %v", got, wallet, node, held)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	balance(500_000, 1_000_000, 0)

	// A seller's wallet pays the hold. The response comes once the payment is held.
	p := trade.Preimage{1}
	bolt11, err := mostro.CreateHold(ctx, lightning.HoldRequest{Hash: p.Hash(), AmountSats: 10_000, CLTVBlocks: 144})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the request may be repeated
		if got := ask("POST", "/lnsim/pay", `{"bolt11":"`+bolt11+`"}`, 200); got["state"] != "accepted" || len(got) != 1 {
			t.Fatalf("pay: %v", got)
		}
	}
	balance(490_000, 1_000_000, 10_000)
	if err := mostro.Settle(ctx, p); err != nil {
		t.Fatal(err)
	}
	balance(490_000, 1_010_000, 0)
	if got := ask("POST", "/lnsim/pay", `{"bolt11":"`+bolt11+`"}`, 200); got["state"] != "succeeded" {
		t.Fatalf("pay: %v", got)
	}

	// A buyer's wallet receives a payment.
	out := ask("POST", "/lnsim/invoice", `{"amount_sats":9000,"memo":"payout"}`, 200)["bolt11"].(string)
	invoice, err := lightning.ParseInvoice(out)
	if err != nil || invoice.AmountMsat != 9_000_000 || invoice.Description != "payout" || time.Until(invoice.ExpiresAt) < 23*time.Hour {
		t.Fatalf("%+v, %v", invoice, err)
	}
	if err := mostro.Pay(ctx, lightning.Payment{Bolt11: out}); err != nil {
		t.Fatal(err)
	}
	balance(499_000, 1_001_000, 0)

	// One hold is canceled by the escrow, the other one by new blocks.
	for i, end := range []func(trade.Hash){
		func(h trade.Hash) { _ = mostro.Cancel(ctx, h) },
		func(trade.Hash) { ask("POST", "/lnsim/blocks", `{"n":200}`, 200) },
	} {
		p := trade.Preimage{2, byte(i)}
		bolt11, err := mostro.CreateHold(ctx, lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: 144})
		if err != nil {
			t.Fatal(err)
		}
		ask("POST", "/lnsim/pay", `{"bolt11":"`+bolt11+`"}`, 200)
		balance(498_000, 1_001_000, 1_000)
		end(p.Hash())
		balance(499_000, 1_001_000, 0)
		if got := ask("POST", "/lnsim/pay", `{"bolt11":"`+bolt11+`"}`, 200); got["state"] != "failed" {
			t.Fatalf("pay: %v", got)
		}
	}
	if got := ask("POST", "/lnsim/blocks", `{"n":3}`, 200); got["height"] != 703.0 {
		t.Fatalf("blocks: %v", got)
	}

	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/lnsim/invoice", `{}`, 400},
		{"POST", "/lnsim/invoice", `{"amount_sats":-1}`, 400},
		{"POST", "/lnsim/invoice", `{"amount_sats":1.5}`, 400},
		{"POST", "/lnsim/invoice", `{"amount_sats":"1"}`, 400},
		{"POST", "/lnsim/invoice", `{"amount_sats":1,"memo":"` + strings.Repeat("x", 640) + `"}`, 400},
		{"POST", "/lnsim/invoice", `{"amount_sats":1}{}`, 400},
		{"POST", "/lnsim/invoice", `{"amount_sats":1,"more":1}`, 400},
		{"POST", "/lnsim/invoice", ``, 400},
		{"POST", "/lnsim/invoice", strings.Repeat(" ", 70_000) + `{"amount_sats":1}`, 400},
		{"POST", "/lnsim/pay", `{"bolt11":"nothing"}`, 400},
		{"POST", "/lnsim/pay", `{"bolt11":"` + out + `"}`, 400}, // the node's own invoice
		{"POST", "/lnsim/blocks", `{"n":0}`, 400},
		{"POST", "/lnsim/blocks", `{"n":1000000000}`, 400},
		{"GET", "/lnsim/blocks", ``, 405},
		{"POST", "/lnsim/balance", ``, 405},
		{"GET", "/lnsim/else", ``, 404},
	} {
		ask(c.method, c.path, c.body, c.want)
	}
	balance(499_000, 1_001_000, 0)
	if err := w.Check(); err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// The operator checks the ledger of a running escrow: after a trade, with invoices of other
// software on the node, and after the node has forgotten the trade's invoice.
func TestLedgerCheck(t *testing.T) {
	dir := t.TempDir()
	m, stop := runDemo(t, dir, nil)
	defer stop()
	check := func(args ...string) (out string, code int) {
		t.Helper()
		out, errs, code := runProgram(t, "", append([]string{"ledger", "check", "--data", dir}, args...)...)
		if code != 0 && !strings.Contains(errs, "the ledger has faults") {
			t.Errorf("exit %d: %s", code, errs)
		}
		return out, code
	}
	if out, code := check(); code != 0 || !strings.Contains(out, "the ledger is sound; 0 trades") {
		t.Errorf("an empty store: exit %d: %s", code, out)
	}
	x := newDemoTrade(t, m, envelope.TransportV2)
	x.toTaken()
	x.toFiatSent()
	type report struct {
		Trades, Over int
		Owned        int64 `json:"owned_msat"`
		Balances     map[string]int64
		Node         struct {
			Invoices, Payments int
			Foreign            int   `json:"foreign_invoices"`
			Held               int64 `json:"held_msat"`
			Paid               int64 `json:"paid_msat"`
		}
	}
	read := func(args ...string) (r report) {
		t.Helper()
		out, code := check(append(args, "--json")...)
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
			t.Fatalf("exit %d, %v: %s", code, err, out)
		}
		return r
	}
	if r := read(); r.Trades != 1 || r.Over != 0 || r.Node.Held == 0 || r.Node.Invoices != 1 {
		t.Errorf("with a trade under way: %+v", r)
	}
	x.seller.send(message.ActionRelease, &x.id, nil)
	x.buyer.expect(message.ActionPurchaseCompleted)
	node := m.escrow.world.Node("mostro")
	if _, err := node.AddInvoice(t.Context(), 77, "coffee", time.Hour); err != nil {
		t.Fatal(err)
	}
	r := read()
	stored, err := m.escrow.engine.Trade(t.Context(), x.id)
	if err != nil {
		t.Fatal(err)
	}
	if want := (2*stored.FeeSats-stored.DevFeeSats)*1000 - stored.Payout.FeeMsat; r.Over != 1 || r.Owned != want || r.Node.Payments != 1 || r.Node.Foreign != 1 || r.Node.Paid != stored.PayoutSats()*1000 {
		t.Errorf("after the trade: %+v, and the node owns %d msat", r, want)
	}
	out, code := check()
	if code != 0 || !strings.Contains(out, "the ledger is sound; 1 trades, 1 over") {
		t.Errorf("exit %d: %s", code, out)
	}
	for name, secret := range map[string]string{"preimage": stored.Preimage.Hex(), "hold invoice": stored.HoldInvoice, "payout invoice": x.payoutInvoice} {
		if secret == "" || strings.Contains(out, secret) {
			t.Errorf("the report contains the %s", name)
		}
	}
	eventually(t, "the node forgets the invoice", func() bool { return node.Forget(stored.Hash) })
	if out, code := check(); code != exitError || !strings.Contains(out, "missing invoice: hash "+stored.Hash.String()+", trade "+x.id.String()) {
		t.Errorf("the node has lost the invoice: exit %d: %s", code, out)
	}
	if out, code := check("--no-node"); code != 0 || !strings.Contains(out, "the node was not compared") {
		t.Errorf("without the node: exit %d: %s", code, out)
	}
}

// The verb about an amount in suspense checks its flags, and refuses a hold that is not in
// suspense. The status names the sats that the node holds.
func TestTradeSuspense(t *testing.T) {
	dir := t.TempDir()
	m, stop := runDemo(t, dir, nil)
	defer stop()
	x := newDemoTrade(t, m, envelope.TransportV2)
	x.toTaken()
	x.toFiatSent()
	stored, err := m.escrow.engine.Trade(t.Context(), x.id)
	if err != nil {
		t.Fatal(err)
	}
	if sats, err := m.escrow.engine.HeldSats(t.Context()); err != nil || sats != stored.HeldMsat()/1000 || sats == 0 {
		t.Errorf("%d sats are held, want %d, %v", sats, stored.HeldMsat()/1000, err)
	}
	eventually(t, "the comparison after the start", func() bool { return m.escrow.auditor.Last().At != 0 })
	if last := m.escrow.auditor.Last(); last.Err != nil || last.Faults != 0 {
		t.Errorf("%+v", last)
	}
	h := stored.Hash.String()
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no reason":       {[]string{"--hash", h, "--outcome", "kept", "--yes"}, exitUsage, "needs --reason"},
		"no hash":         {[]string{"--outcome", "kept", "--reason", "x", "--yes"}, exitUsage, "--hash"},
		"no outcome":      {[]string{"--hash", h, "--reason", "x", "--yes"}, exitUsage, "--outcome"},
		"no destination":  {[]string{"--hash", h, "--outcome", "refund", "--reason", "x", "--yes"}, exitUsage, "--to"},
		"two outcomes":    {[]string{"--hash", h, "--outcome", "kept", "--to", "a@b", "--reason", "x", "--yes"}, exitUsage, "--to"},
		"not confirmed":   {[]string{"--hash", h, "--outcome", "kept", "--reason", "x"}, exitUsage, "--yes"},
		"not in suspense": {[]string{"--hash", h, "--outcome", "kept", "--reason", "x", "--yes"}, exitError, "no amount of this trade is in suspense"},
	} {
		args := append([]string{"trade", "suspense", x.id.String(), "--data", dir}, c.args...)
		if _, errs, code := runProgram(t, "", args...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit %d: %s", name, code, errs)
		}
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/lnsim"
	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// runDemo runs a demo on a data directory and returns a function that stops the demo.
func runDemo(t *testing.T, dir string, log *slog.Logger) (m *Main, stop func()) {
	t.Helper()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = dir, "127.0.0.1:0", "127.0.0.1:0"
	m, err := demoMain(cfg, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.Logger = log
	return m, startMainUntil(t, m)
}

// The operator can list, show and resume a frozen trade over the control socket. The withheld
// payout is then made without a restart.
func TestOperatorVerbs(t *testing.T) {
	dir := t.TempDir()
	m, stop := runDemo(t, dir, nil)
	info, err := os.Stat(filepath.Join(dir, controlFile))
	if err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Fatalf("the socket: %v %v, want mode 0600", info, err)
	}
	verb, refused := verbsOn(t, dir)
	x := newDemoTrade(t, m, envelope.TransportV2)

	// While the escrow is paused, no order is accepted, also after a restart.
	if out := verb("pause"); !strings.Contains(out, "no new trades are taken") {
		t.Errorf("pause: %s", out)
	}
	x.seller.send(message.ActionNewOrder, nil, x.order())
	x.seller.expect(message.ActionCantDo)
	stop()
	refused(exitError, "no escrow runs on", "trade", "list")
	m, stop = runDemo(t, dir, nil)
	x = newDemoTrade(t, m, envelope.TransportV2)
	x.seller.send(message.ActionNewOrder, nil, x.order())
	x.seller.expect(message.ActionCantDo)
	if out := verb("resume"); !strings.Contains(out, "new trades are taken; 0 open") || strings.Contains(out, "no new") {
		t.Errorf("resume: %s", out)
	}
	// In maintenance no order is accepted either, with a reason of its own.
	if out := verb("maintenance", "on", "--reason", "the node moves"); !strings.Contains(out, "on since") || !strings.Contains(out, "the node moves") || !strings.Contains(out, "true") {
		t.Errorf("maintenance on: %s", out)
	}
	x.seller.send(message.ActionNewOrder, nil, x.order())
	if c, ok := x.seller.expect(message.ActionCantDo).Payload.(message.CantDo); !ok || c.Reason != message.ReasonMaintenanceMode {
		t.Errorf("in maintenance: %+v", c)
	}
	refused(exitUsage, "lnd_unsynced", "maintenance", "on", "--reason", "lnd_unsynced")
	if out := verb("maintenance", "status", "--json"); !strings.Contains(out, `"on": true`) || !strings.Contains(out, `"drained": true`) {
		t.Errorf("maintenance status: %s", out)
	}
	if out := verb("maintenance", "off"); strings.Contains(out, "on since") {
		t.Errorf("maintenance off: %s", out)
	}

	// The payout of this trade is sent and never answered.
	m.escrow.world.Node("mostro").Faults(func(op lnsim.Op) lnsim.Fault {
		if op == lnsim.OpPay {
			return lnsim.LoseRequest
		}
		return lnsim.NoFault
	})
	x.toTaken()
	x.toFiatSent()
	id := x.id.String()
	if out := verb("trade", "list"); !strings.Contains(out, id) || !strings.Contains(out, "fiat-sent") {
		t.Errorf("trade list: %s", out)
	}
	refused(exitError, "not in a state for this", "trade", "resume", id, "--yes")
	refused(exitError, "not in a state for this", "trade", "pay", id, "--yes")
	refused(exitError, "no such trade", "trade", "show", "7dd204d2-d06c-4406-a3d9-4415f4a8b9c9")
	refused(exitUsage, "not the id of a trade", "trade", "show", "x")
	x.seller.send(message.ActionRelease, &x.id, nil)
	x.buyer.expect(message.ActionReleased)
	stop()

	// The store appears to be an older copy, so the trade freezes.
	witness := rollback.Guard{Path: filepath.Join(dir, "escrow.witness")}
	commits, known, err := witness.Load()
	if err != nil || !known {
		t.Fatal(known, err)
	}
	if err := witness.Store(commits + 100); err != nil {
		t.Fatal(err)
	}
	m, stop = runDemo(t, dir, nil)
	defer stop()
	var before purse
	getJSON(t, "http://"+m.PrivateAddr()+"/lnsim/balance", &before)
	// The escrow looks up its holds and payments before it freezes the trade.
	eventually(t, "the trade is frozen", func() bool {
		out := verb("trade", "show", id)
		return strings.Contains(out, "FROZEN") && strings.Contains(out, "settled-hold-invoice")
	})
	refused(exitUsage, "nothing is done without --yes", "trade", "resume", id)
	if out := verb("trade", "resume", id, "--yes"); strings.Contains(out, "FROZEN") {
		t.Errorf("trade resume: %s", out)
	}
	eventually(t, "the buyer is paid", func() bool {
		var now purse
		getJSON(t, "http://"+m.PrivateAddr()+"/lnsim/balance", &now)
		return now.WalletSats == before.WalletSats+x.payout()
	})
	eventually(t, "the trade is over", func() bool { return !strings.Contains(verb("trade", "list"), id) })

	var all struct{ Items []trade.Trade }
	if err := json.Unmarshal([]byte(verb("trade", "list", "--all", "--json")), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Items) != 1 || all.Items[0].Status != message.TradeSuccess || all.Items[0].ID != x.id {
		t.Errorf("the list of all trades is %+v", all.Items)
	}
	journal := verb("trade", "journal", id)
	for _, want := range []string{"new-order", "take-sell", "hold-made", "accepted", "fiat-sent", "release", "settled", "reconcile", "resume", "payment"} {
		if !strings.Contains(journal, want) {
			t.Errorf("the journal does not mention %s:\n%s", want, journal)
		}
	}
	stored, err := m.escrow.engine.Trade(t.Context(), x.id)
	if err != nil {
		t.Fatal(err)
	}
	shown := verb("trade", "list", "--all", "--json") + verb("trade", "show", id, "--json") + verb("trade", "journal", id, "--json") + journal
	for name, secret := range map[string]string{"preimage": stored.Preimage.Hex(), "hold invoice": stored.HoldInvoice, "payout invoice": x.payoutInvoice} {
		if secret == "" || strings.Contains(shown, secret) {
			t.Errorf("the operator's output contains the %s", name)
		}
	}
	if zero := (trade.Preimage{}); stored.Preimage == zero {
		t.Error("the trade had no preimage to hide")
	}
}

// A socket file that a killed process left is replaced. A path that is too long for a socket
// returns an error.
func TestControlSocketFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, controlFile)
	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	left.Close()
	l, err := listenControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	rest, err := os.ReadDir(dir)
	if err != nil || len(rest) != 0 {
		t.Errorf("files were left: %v %v", rest, err)
	}
	long := filepath.Join(dir, strings.Repeat("x", 100))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := listenControl(long); err == nil || !strings.Contains(err.Error(), fmt.Sprint(maxSocketPath)) {
		t.Errorf("a path of %d bytes: %v", len(long), err)
	}
}

// The escrow refuses a margin that is smaller than the margin of its node.
func TestMarginBelowTheNodes(t *testing.T) {
	for blocks, ok := range map[uint32]bool{24: true, 21: true, 20: false, 18: false} {
		cfg := defaultConfig()
		cfg.Data, cfg.Relay.Listen, cfg.Escrow.MarginBlocks = t.TempDir(), "127.0.0.1:0", blocks
		m, err := demoMain(cfg, 1, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		err = m.Open()
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "18 blocks before: the margin has to be 21 blocks at least") {
			t.Errorf("margin of %d blocks: %v", blocks, err)
		}
		if err == nil {
			err = m.Close()
		}
		if ok && err != nil {
			t.Error(err)
		}
	}
	for name, spoil := range map[string]func(*EscrowConfig){
		"margin of the whole hold": func(c *EscrowConfig) { c.HoldBlocks = 24 },
		"margin of any node":       func(c *EscrowConfig) { c.MarginBlocks, c.LND.HoldExpiryDelta = 17, 6 },
		"no time for the buyer":    func(c *EscrowConfig) { c.HoldBlocks = 25 },
	} {
		cfg := defaultConfig().Escrow
		if spoil(&cfg); cfg.validate() == nil || !strings.Contains(cfg.validate().Error(), "hold") {
			t.Errorf("%s: %v", name, cfg.validate())
		}
	}
}

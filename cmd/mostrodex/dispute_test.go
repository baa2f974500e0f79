package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// toDispute runs the trade to a dispute of the buyer, after fiat was sent, and returns the id of
// the dispute.
func (x *demoTrade) toDispute() string {
	x.t.Helper()
	x.toTaken()
	x.toFiatSent()
	x.buyer.send(message.ActionDispute, &x.id, nil)
	x.seller.expect(message.ActionDisputeInitiatedByPeer)
	x.buyer.expect(message.ActionDisputeInitiatedByYou)
	t, err := x.m.escrow.engine.Trade(x.t.Context(), x.id)
	if err != nil {
		x.t.Fatal(err)
	}
	return t.Dispute.ID.String()
}

// shownDispute waits until the relay serves the dispute in a state.
func (x *demoTrade) shownDispute(id, state string) {
	x.t.Helper()
	eventually(x.t, "the dispute is shown as "+state, func() bool {
		return len(mustREQ(x.t, x.m, nostr.Filter{Kinds: []int{mostro.KindDispute}, Tags: nostr.TagMap{"d": {id}, "s": {state}}})) == 1
	})
}

// verbsOn returns two functions that run a verb on the escrow of a data directory: verb
// returns its output, and refused expects an exit code and an error.
func verbsOn(t *testing.T, dir string) (verb func(args ...string) string, refused func(code int, want string, args ...string)) {
	verb = func(args ...string) string { t.Helper(); return mustProgram(t, "", append(args, "--data", dir)...) }
	refused = func(code int, want string, args ...string) {
		t.Helper()
		if _, errs, got := runProgram(t, "", append(args, "--data", dir)...); got != code || !strings.Contains(errs, want) {
			t.Errorf("%v: exit %d: %s; want %d with %q", args, got, errs, code, want)
		}
	}
	return verb, refused
}

// TestDisputeVerbs ends disputes by the operator's verbs over the control socket, with every
// refusal.
func TestDisputeVerbs(t *testing.T) {
	dir := t.TempDir()
	m, stop := runDemo(t, dir, nil)
	defer stop()
	verb, refused := verbsOn(t, dir)
	purseNow := func() (p purse) {
		t.Helper()
		getJSON(t, "http://"+m.PrivateAddr()+"/lnsim/balance", &p)
		return p
	}
	before := purseNow()
	x := newDemoTrade(t, m, envelope.TransportV2)
	dispute := x.toDispute()
	order := x.id.String()
	if out := verb("dispute", "list"); !strings.Contains(out, dispute) || !strings.Contains(out, order) || !strings.Contains(out, "initiated") {
		t.Errorf("dispute list: %s", out)
	}
	if out := verb("dispute", "show", dispute); !strings.Contains(out, order) || !strings.Contains(out, ": cancel") {
		t.Errorf("dispute show: %s", out)
	}
	if verb("dispute", "show", dispute) != verb("dispute", "show", order) {
		t.Error("the id of the dispute and of the order show different trades")
	}
	refused(exitUsage, "--reason", "dispute", "settle", dispute, "--yes")
	refused(exitUsage, "nothing is done without --yes", "dispute", "settle", dispute, "--reason", "x")
	refused(exitUsage, "at most 500 bytes", "dispute", "cancel", dispute, "--yes", "--reason", strings.Repeat("x", 501))
	refused(exitUsage, "not the id of a dispute", "dispute", "cancel", "x", "--yes", "--reason", "x")
	refused(exitError, "no such trade", "dispute", "cancel", disputeCases.id, "--yes", "--reason", "x")
	refused(exitError, "no such trade", "dispute", "show", disputeCases.id)
	refused(exitUsage, "refunded or paid", "trade", "close", order, "--yes", "--reason", "x")
	refused(exitError, "not in a state for this", "trade", "close", order, "--outcome", "refunded", "--yes", "--reason", "x")
	if out := verb("dispute", "take", dispute); !strings.Contains(out, "in-progress") {
		t.Errorf("dispute take: %s", out)
	}
	if p := x.buyer.expect(message.ActionAdminTookDispute).Payload.(message.Peer); p.Pubkey != m.escrow.pubkey {
		t.Errorf("the buyer is told the solver %s", p.Pubkey)
	}
	x.shownDispute(dispute, "in-progress")
	verb("dispute", "settle", dispute, "--reason", "the bank statement is real", "--yes")
	x.buyer.expect(message.ActionAdminSettled)
	x.seller.expect(message.ActionAdminSettled)
	x.buyer.expect(message.ActionPurchaseCompleted)
	x.shownDispute(dispute, "settled")
	x.shown("success")
	if now := purseNow(); now.HeldSats != 0 || now.NodeSats != before.NodeSats+2*demoFeeSats {
		t.Errorf("before %+v, after %+v", before, now)
	}
	refused(exitError, "the dispute is over", "dispute", "take", order)
	refused(exitError, "not in a state for this", "dispute", "cancel", order, "--reason", "x", "--yes")

	before = purseNow()
	x = newDemoTrade(t, m, envelope.TransportV2)
	dispute = x.toDispute()
	verb("dispute", "cancel", x.id.String(), "--reason", "the buyer does not answer", "--yes", "--json")
	x.seller.expect(message.ActionAdminCanceled)
	x.buyer.expect(message.ActionAdminCanceled)
	x.shownDispute(dispute, "seller-refunded")
	x.shown("canceled")
	eventually(t, "the seller has the sats back", func() bool { return purseNow() == before })
	if out := verb("dispute", "list"); strings.Contains(out, dispute) {
		t.Errorf("dispute list: %s", out)
	}
	if out := verb("dispute", "list", "--all"); !strings.Contains(out, dispute) {
		t.Errorf("dispute list --all: %s", out)
	}
	if out := verb("trade", "journal", x.id.String()); !strings.Contains(out, `"the buyer does not answer"`) || !strings.Contains(out, "admin-cancel") || !strings.Contains(out, "node") {
		t.Errorf("the journal does not say who decided, and why:\n%s", out)
	}
	if out := verb("dispute", "show", dispute); !strings.Contains(out, "by the key of this Mostro") || !strings.Contains(out, "does not answer") {
		t.Errorf("dispute show: %s", out)
	}
	var all struct{ Items []trade.Trade }
	if err := json.Unmarshal([]byte(verb("dispute", "list", "--all", "--json")), &all); err != nil || len(all.Items) != 2 {
		t.Fatalf("%v: %d disputes", err, len(all.Items))
	}
	for _, one := range all.Items {
		stored, err := m.escrow.engine.Trade(t.Context(), one.ID)
		if err != nil {
			t.Fatal(err)
		}
		shown := verb("dispute", "list", "--all", "--json") + verb("dispute", "show", one.ID.String(), "--json") + verb("dispute", "show", one.ID.String())
		for name, secret := range map[string]string{"preimage": stored.Preimage.Hex(), "hold invoice": stored.HoldInvoice, "payout invoice": stored.BuyerInvoice.Text} {
			if secret == "" || strings.Contains(shown, secret) {
				t.Errorf("the operator's output contains the %s", name)
			}
		}
	}
}

// TestSolverVerbs adds and removes solvers, who take and decide disputes over the relay in each
// transport.
func TestSolverVerbs(t *testing.T) {
	dir := t.TempDir()
	m, stop := runDemo(t, dir, nil)
	defer stop()
	verb, refused := verbsOn(t, dir)
	refused(exitUsage, "not a public key", "solver", "add", "x")
	refused(exitUsage, "not the node's own key", "solver", "add", m.escrow.pubkey)
	refused(exitError, "no solver of the list", "solver", "remove", testKeys(t, "nobody").Pubkey())
	for _, transport := range []envelope.Transport{envelope.TransportV2, envelope.TransportV1, envelope.TransportLegacy} {
		t.Run(fmt.Sprint(transport), func(t *testing.T) {
			solver := newDemoUser(t, m, transport)
			key := solver.keys.Pubkey()
			x := newDemoTrade(t, m, transport)
			dispute, err := message.ParseUUID(x.toDispute())
			if err != nil {
				t.Fatal(err)
			}
			solver.send(message.ActionAdminTakeDispute, &dispute, nil)
			solver.expect(message.ActionCantDo)
			if out := verb("solver", "add", key, "--read"); !strings.Contains(out, key+"  read  ") {
				t.Errorf("solver add: %s", out)
			}
			solver.send(message.ActionAdminTakeDispute, &dispute, nil)
			took := solver.expect(message.ActionAdminTookDispute)
			if ref, ok := took.Payload.(message.DisputeRef); ok && (ref.Info == nil || ref.Info.Preimage != nil) {
				t.Errorf("the solver receives %+v", ref.Info)
			} else if o, isOrder := took.Payload.(*message.SmallOrder); !ok && (!isOrder || transport != envelope.TransportLegacy || *o.ID != x.id) {
				t.Errorf("the solver receives %+v", took)
			}
			x.seller.expect(message.ActionAdminTookDispute)
			// Party and solver derive the keys of a chat from what they were sent.
			peer := x.buyer.expect(message.ActionAdminTookDispute).Payload.(message.Peer)
			mine, err := envelope.NewChat(x.buyer.keys, peer.Pubkey)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := envelope.NewChat(solver.keys, x.buyer.keys.Pubkey())
			if err != nil {
				t.Fatal(err)
			}
			evt, err := mine.Seal(x.buyer.keys, "here is the receipt", time.Now(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := theirs.Open(evt, time.Now()); err != nil || got.Text != "here is the receipt" || peer.Pubkey != key {
				t.Errorf("the solver reads %+v: %v", got, err)
			}
			x.shownDispute(dispute.String(), "in-progress")
			solver.send(message.ActionAdminSettle, &x.id, nil)
			solver.expect(message.ActionCantDo)
			verb("solver", "add", key)
			if out := verb("solver", "list"); !strings.Contains(out, key+"  read-write") {
				t.Errorf("solver list: %s", out)
			}
			solver.send(message.ActionAdminSettle, &x.id, nil)
			settled := message.ActionAdminSettled
			if transport == envelope.TransportLegacy {
				settled = message.ActionAdminSettle // 2023 had one verb for both
			}
			solver.expect(settled)
			x.seller.expect(settled)
			x.buyer.expect(message.ActionPurchaseCompleted)
			x.shownDispute(dispute.String(), "settled")
			x.shown("success")
			if out := verb("solver", "remove", key, "--json"); strings.Contains(out, key) {
				t.Errorf("solver remove: %s", out)
			}
			refused(exitError, "no solver of the list", "solver", "remove", key)
		})
	}
}

// TestAssistantOfTheConfig checks which keys escrow.assistant may name.
func TestAssistantOfTheConfig(t *testing.T) {
	dir := t.TempDir()
	helper := testKeys(t, "helper")
	with := func(dir string, key func(*Main) string) *Main {
		cfg := defaultConfig()
		cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = dir, "127.0.0.1:0", "127.0.0.1:0"
		m, err := demoMain(cfg, 1, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		m.Config.Escrow.Assistant = key(m)
		return m
	}
	named := func(key string) func(*Main) string { return func(*Main) string { return key } }
	refused := func(want, dir string, key func(*Main) string) {
		t.Helper()
		m := with(dir, key)
		err := m.Open()
		if err == nil {
			err = fmt.Errorf("opened: %v", m.Close())
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	refused("not a public key", t.TempDir(), named("helper"))
	refused("the node's own key", t.TempDir(), func(m *Main) string {
		keys, err := loadKeys(m.Config.Escrow.Key)
		if err != nil {
			t.Fatal(err)
		}
		return keys.Npub()
	})

	m := with(dir, named(helper.Npub()))
	stop := startMainUntil(t, m)
	list, err := m.escrow.engine.Solvers(t.Context())
	if err != nil || len(list) != 1 || list[0].Key != helper.Pubkey() || list[0].Role != trade.RoleRead || !list[0].Static {
		t.Errorf("%v %+v", err, list)
	}
	if _, errs, code := runProgram(t, "", "solver", "add", helper.Npub(), "--data", dir); code != exitUsage || !strings.Contains(errs, "escrow.assistant") {
		t.Errorf("exit %d: %s", code, errs)
	}
	stop()

	m = with(dir, named(""))
	stop = startMainUntil(t, m)
	mustProgram(t, "", "solver", "add", helper.Npub(), "--data", dir)
	trader := newDemoTrade(t, m, envelope.TransportV2)
	trader.toTaken()
	stop()
	refused("a solver who decides disputes", dir, named(helper.Npub()))
}

// TestOverdueOfTheConfig checks the values of escrow.overdue.
func TestOverdueOfTheConfig(t *testing.T) {
	for value, ok := range map[string]bool{"cancel": true, "settle": true, "": false, "chain": false} {
		cfg := defaultConfig().Escrow
		cfg.Overdue = value
		terms, err := cfg.terms()
		if (err == nil) != ok || ok && string(terms.Overdue) != value || !ok && !strings.Contains(err.Error(), "neither cancel nor settle") {
			t.Errorf("%q: %v, %q", value, err, terms.Overdue)
		}
	}
}

// TestWatchdogOfTheConfig checks the values of escrow.watchdog.
func TestWatchdogOfTheConfig(t *testing.T) {
	dog := testKeys(t, "watchdog")
	for value, want := range map[string]string{"": "", dog.Npub(): dog.Pubkey(), dog.Pubkey(): dog.Pubkey(), "dog": "error", strings.Repeat("f", 64): "error"} {
		cfg := defaultConfig().Escrow
		cfg.Watchdog = value
		got, err := cfg.watchdog()
		if want == "error" != (err != nil) || err == nil && got != want {
			t.Errorf("%q: %q, %v", value, got, err)
		}
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnsim"
	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/attestation"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// fundFunc is a development fund of a test.
type fundFunc func(sats int64) (fund.Invoice, error)

func (f fundFunc) FundInvoice(_ context.Context, _ string, sats int64, _ string) (fund.Invoice, error) {
	return f(sats)
}

// tunedDemo returns a demo on a data directory whose escrow is changed before it is opened.
func tunedDemo(t *testing.T, dir string, tune func(*escrow.Config), change func(*Config)) *Main {
	t.Helper()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = dir, "127.0.0.1:0", "127.0.0.1:0"
	if change != nil {
		change(&cfg)
	}
	m, err := demoMain(cfg, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	m.tune = tune
	return m
}

// toOlderCopy makes the store of a stopped program look like an older copy of itself.
func toOlderCopy(t *testing.T, dir string) {
	t.Helper()
	witness := rollback.Guard{Path: dir + "/escrow.witness"}
	commits, known, err := witness.Load()
	if err != nil || !known {
		t.Fatal(known, err)
	}
	if err := witness.Store(commits + 100); err != nil {
		t.Fatal(err)
	}
}

// TestDevFeeVerbs lists a development fee, and tries a parked one again.
func TestDevFeeVerbs(t *testing.T) {
	dir := t.TempDir()
	var m *Main
	var open atomic.Bool
	tune := func(c *escrow.Config) {
		c.Fund = fund.Fund{Address: "dev@fund.test", Network: string(lightning.Regtest), Node: "test", Service: fundFunc(func(sats int64) (fund.Invoice, error) {
			if !open.Load() {
				return fund.Invoice{}, errors.New("no answer")
			}
			text, err := m.escrow.world.Node("wallet").AddInvoice(t.Context(), sats, "fund", time.Hour)
			if err != nil {
				return fund.Invoice{}, err
			}
			in, err := lightning.ParseInvoice(text)
			return fund.Invoice{Bolt11: text, Hash: in.Hash, AmountMsat: sats * 1000}, err
		})}
	}
	m = tunedDemo(t, dir, tune, nil)
	stop := startMainUntil(t, m)
	verb, refused := verbsOn(t, dir)
	if out := verb("devfee", "list"); strings.Count(out, "\n") != 1 || !strings.Contains(out, "LAST ERROR") {
		t.Errorf("devfee list without a fee: %s", out)
	}
	x := newDemoTrade(t, m, envelope.TransportV2)
	x.toTaken()
	x.toFiatSent()
	x.finish()
	id := x.id.String()
	if out := verb("devfee", "list"); !strings.Contains(out, id) || !strings.Contains(out, "owed") {
		t.Errorf("devfee list: %s", out)
	}
	refused(exitUsage, "not the id of a trade", "devfee", "retry", "x", "--yes")
	refused(exitUsage, "read 'mostrodex devfee retry --help' first", "devfee", "retry", id)
	refused(exitError, "only a parked fee is tried again", "devfee", "retry", id, "--yes")
	refused(exitError, "no such trade", "devfee", "retry", tradeCases.id, "--yes")
	refused(exitUsage, "not the id of a trade", "devfee", "settled", "x", "--reason", "x", "--yes")
	refused(exitUsage, "needs --reason", "devfee", "settled", id, "--yes")
	refused(exitUsage, "read 'mostrodex devfee settled --help' first", "devfee", "settled", id, "--reason", "x")
	refused(exitUsage, "--hash is the payment hash", "devfee", "settled", id, "--hash", "x", "--reason", "x", "--yes")
	refused(exitError, "only a parked fee is settled by hand", "devfee", "settled", id, "--reason", "x", "--yes")
	refused(exitError, "no such trade", "devfee", "settled", tradeCases.id, "--reason", "x", "--yes")
	refused(exitUsage, "needs --reason", "trade", "overpaid", id, "--yes")
	refused(exitUsage, "nothing is done without --yes", "trade", "overpaid", id, "--reason", "x")
	refused(exitError, "says of no settled hold of this trade", "trade", "overpaid", id, "--reason", "x", "--yes")
	refused(exitError, "no such trade", "trade", "overpaid", tradeCases.id, "--reason", "x", "--yes")
	y := newDemoTrade(t, m, envelope.TransportV2)
	y.toTaken()
	y.toFiatSent()
	y.finish()
	byHand := y.id.String()
	stop()
	toOlderCopy(t, dir)
	m = tunedDemo(t, dir, tune, nil)
	stop = startMainUntil(t, m)
	defer stop()
	eventually(t, "the fee is parked", func() bool { return strings.Contains(verb("devfee", "list"), "parked: the store is an older copy") })
	if out := verb("resume"); !strings.Contains(out, "36 sats of development fees are due") {
		t.Errorf("resume: %s", out)
	}
	eventually(t, "the store is compared", func() bool {
		_, errs, code := runProgram(t, "", "devfee", "settled", byHand, "--hash", strings.Repeat("ab", 32), "--reason", "x", "--yes", "--data", dir)
		return code != 0 && strings.Contains(errs, "no successful payment of exactly this fee")
	})
	if out := verb("devfee", "settled", byHand, "--reason", "paid by the shop's wallet", "--yes"); strings.Contains(out, byHand) || !strings.Contains(out, id) {
		t.Errorf("devfee settled: %s", out)
	}
	refused(exitError, "only a parked fee is settled by hand", "devfee", "settled", byHand, "--reason", "again", "--yes")
	if out := verb("ledger", "check"); !strings.Contains(out, "settled by hand") {
		t.Errorf("ledger check: %s", out)
	}
	if out := verb("trade", "journal", byHand); !strings.Contains(out, `"paid by the shop's wallet"`) {
		t.Errorf("the journal: %s", out)
	}
	open.Store(true)
	var before, after purse
	getJSON(t, "http://"+m.PrivateAddr()+"/lnsim/balance", &before)
	eventually(t, "the store is compared", func() bool {
		_, errs, code := runProgram(t, "", "devfee", "retry", id, "--yes", "--data", dir)
		if code != 0 && !strings.Contains(errs, "/readyz") {
			t.Fatalf("devfee retry: %s", errs)
		}
		return code == 0
	})
	eventually(t, "the fee is paid", func() bool { return !strings.Contains(verb("devfee", "list"), id) })
	getJSON(t, "http://"+m.PrivateAddr()+"/lnsim/balance", &after)
	if got := after.WalletSats - before.WalletSats; got != 18 {
		t.Errorf("the fund has received %d sats", got)
	}
	eventually(t, "the payment is published", func() bool {
		list := mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindDevFee}})
		return len(list) == 1 && list[0].Tags.FindWithValue("order-id", id) != nil
	})
	refused(exitError, "only a parked fee is tried again", "devfee", "retry", id, "--yes")
}

// TestUserVerbs shows an identity, takes imports of a stolen key back, and moves a binding.
func TestUserVerbs(t *testing.T) {
	dir := t.TempDir()
	issuer, identity, bound := testKeys(t, "issuer"), testKeys(t, "identity"), testKeys(t, "bound")
	m := tunedDemo(t, dir, nil, func(c *Config) {
		c.Escrow.Reputation.Import, c.Escrow.Reputation.Issuers = true, []string{"bot " + issuer.Npub()}
	})
	defer startMainUntil(t, m)()
	verb, refused := verbsOn(t, dir)
	key := identity.Pubkey()
	refused(exitUsage, "name an npub, or 64 hex digits", "user", "show", "alice")
	refused(exitError, "trade keys are not identities", "user", "show", key)
	refused(exitError, "trade keys are not identities", "user", "rebind", key, bound.Pubkey(), "--reason", "x", "--yes")
	x := newDemoTrade(t, m, envelope.TransportV2)
	x.seller.identity = identity
	x.toTaken()
	x.toFiatSent()
	x.finish()
	if out := verb("user", "show", identity.Npub()); !strings.Contains(out, key) || !strings.Contains(out, "1 in success") || !strings.Contains(out, "0 votes") {
		t.Errorf("user show: %s", out)
	}
	evt, err := attestation.Attestation{Issuer: issuer.Pubkey(), Destination: key, Subject: "alice", Figures: attestation.Figures{Reviews: 20, Hundredths: 450, Since: 1_700_006_400},
		CreatedAt: nostr.Now() - 60, Expiration: nostr.Now() + 3600}.Event()
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(signAs(t, issuer, evt))
	if err != nil {
		t.Fatal(err)
	}
	x.seller.send(message.ActionImportReputation, nil, message.ReputationAttestation(document))
	x.seller.expect(message.ActionReputationImported)
	if out := verb("user", "show", key); !strings.Contains(out, "20 votes, mean 4.50, from bot") || !strings.Contains(out, "signed by "+issuer.Pubkey()) {
		t.Errorf("user show after an import: %s", out)
	}
	refused(exitUsage, "--reason", "user", "revoke", issuer.Pubkey(), "--yes")
	refused(exitUsage, "read 'mostrodex user revoke --help' first", "user", "revoke", issuer.Pubkey(), "--reason", "stolen")
	refused(exitUsage, "2026-11-01T00:00:00Z", "user", "revoke", issuer.Pubkey(), "--after", "yesterday", "--reason", "stolen", "--yes")
	refused(exitUsage, "name an npub, or 64 hex digits", "user", "revoke", "x", "--reason", "stolen", "--yes")
	refused(exitUsage, "at most 500 bytes", "user", "revoke", issuer.Pubkey(), "--reason", strings.Repeat("x", 501), "--yes")
	if out := verb("user", "revoke", issuer.Pubkey(), "--after", time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "--reason", "later", "--yes"); out != "0 imports are revoked\n" {
		t.Errorf("a later revocation: %s", out)
	}
	if out := verb("user", "revoke", issuer.Npub(), "--reason", "the key is published", "--yes"); out != "1 imports are revoked\n" {
		t.Errorf("user revoke: %s", out)
	}
	if out := verb("user", "show", key); strings.Contains(out, "from bot") {
		t.Errorf("user show after the revocation: %s", out)
	}
	refused(exitUsage, "--reason", "user", "rebind", key, bound.Pubkey(), "--yes")
	refused(exitUsage, "name an npub, or 64 hex digits", "user", "rebind", key, "x", "--reason", "x", "--yes")
	if out := verb("user", "rebind", key, bound.Npub(), "--reason", "lost phone", "--yes"); !strings.Contains(out, "bound to    "+bound.Pubkey()) {
		t.Errorf("user rebind: %s", out)
	}
}

// toSuspense brings a trade to an amount in suspense: both parties cancel, the node does not
// hear of it, and settles the hold. It returns the hash of the hold.
func (x *demoTrade) toSuspense() trade.Hash {
	t := x.t
	t.Helper()
	node := x.m.escrow.world.Node("mostro")
	node.Faults(func(op lnsim.Op) lnsim.Fault {
		if op == lnsim.OpCancel {
			return lnsim.LoseRequest
		}
		return lnsim.NoFault
	})
	x.toTaken()
	x.toFiatSent()
	stored, err := x.m.escrow.engine.Trade(t.Context(), x.id)
	if err != nil {
		t.Fatal(err)
	}
	x.buyer.send(message.ActionCancel, &x.id, nil)
	x.seller.expect(message.ActionCooperativeCancelInitiatedByPeer)
	x.seller.send(message.ActionCancel, &x.id, nil)
	x.seller.expect(message.ActionCooperativeCancelAccepted)
	if err := node.Settle(t.Context(), stored.Preimage); err != nil {
		t.Fatal(err)
	}
	node.Faults(nil)
	return stored.Hash
}

// TestSuspenseVerb gives an amount in suspense to its owner.
func TestSuspenseVerb(t *testing.T) {
	dir := t.TempDir()
	m, stop := runDemo(t, dir, nil)
	defer stop()
	verb, refused := verbsOn(t, dir)
	x := newDemoTrade(t, m, envelope.TransportV2)
	h, id := x.toSuspense().String(), x.id.String()
	decide := func(more ...string) []string {
		return append([]string{"trade", "suspense", id, "--hash", h, "--reason", "looked at the node", "--yes"}, more...)
	}
	eventually(t, "the amount is in suspense", func() bool {
		out, _, code := runProgram(t, "", "ledger", "check", "--data", dir)
		return code == exitError && strings.Contains(out, "suspense: the node has claimed") && strings.Contains(out, id)
	})
	if out := verb("trade", "show", id); !strings.Contains(out, "FROZEN") {
		t.Errorf("trade show: %s", out)
	}
	var invoice struct{ Bolt11 string }
	postJSON(t, x.wallet()+"invoice", map[string]any{"amount_sats": demoTradeSats, "memo": "too small"}, &invoice)
	refused(exitUsage, "name an invoice of the whole sats", decide("--outcome", "refund", "--to", invoice.Bolt11)...)
	refused(exitError, "no amount of this trade is in suspense", "trade", "suspense", id, "--hash", strings.Repeat("0", 64), "--reason", "x", "--outcome", "kept", "--yes")
	postJSON(t, x.wallet()+"invoice", map[string]any{"amount_sats": demoTradeSats + demoFeeSats, "memo": "refund"}, &invoice)
	var before, after purse
	getJSON(t, x.wallet()+"balance", &before)
	verb(decide("--outcome", "refund", "--to", invoice.Bolt11)...)
	eventually(t, "the seller has the refund", func() bool {
		getJSON(t, x.wallet()+"balance", &after)
		return after.WalletSats == before.WalletSats+demoTradeSats+demoFeeSats
	})
	eventually(t, "the ledger is sound", func() bool {
		_, _, code := runProgram(t, "", "ledger", "check", "--data", dir)
		return code == 0
	})
	refused(exitError, "no amount of this trade is in suspense", decide("--outcome", "kept")...)
	if out := verb("trade", "journal", id); !strings.Contains(out, `"looked at the node"`) || strings.Contains(out, invoice.Bolt11) {
		t.Errorf("the journal: %s", out)
	}

	// The other outcomes move nothing.
	for outcome, account := range map[string]string{"refunded": "sellers", "paid": "buyers", "kept": "forfeits"} {
		x = newDemoTrade(t, m, envelope.TransportV2)
		h, id = x.toSuspense().String(), x.id.String()
		eventually(t, "the amount is in suspense", func() bool {
			out, _, _ := runProgram(t, "", "ledger", "check", "--data", dir)
			return strings.Contains(out, "suspense: the node has claimed") && strings.Contains(out, id)
		})
		getJSON(t, x.wallet()+"balance", &before)
		verb(decide("--outcome", outcome)...)
		if out, _, code := runProgram(t, "", "ledger", "check", "--data", dir); code != 0 {
			t.Errorf("%s: %s", outcome, out)
		}
		getJSON(t, x.wallet()+"balance", &after)
		if before != after {
			t.Errorf("%s, for %s, moves sats: %+v, then %+v", outcome, account, before, after)
		}
	}
}

// TestClosedDisputeVerb lists disputes that are over.
func TestClosedDisputeVerb(t *testing.T) {
	dir := t.TempDir()
	m, stop := runDemo(t, dir, nil)
	defer stop()
	verb, refused := verbsOn(t, dir)
	x := newDemoTrade(t, m, envelope.TransportV2)
	dispute := x.toDispute()
	if out := verb("dispute", "list", "--closed"); strings.Contains(out, dispute) || !strings.Contains(out, "DECIDED BY") {
		t.Errorf("an open dispute is closed: %s", out)
	}
	refused(exitUsage, "exclude each other", "dispute", "list", "--closed", "--all")
	refused(exitUsage, "unknown flag", "trade", "list", "--closed")
	verb("dispute", "cancel", dispute, "--reason", "the buyer does not answer", "--yes")
	x.shownDispute(dispute, "seller-refunded")
	y := newDemoTrade(t, m, envelope.TransportV2)
	second := y.toDispute()
	y.finish()
	out := verb("dispute", "list", "--closed")
	if !strings.Contains(out, "the key of this Mostro") || !strings.Contains(out, `"the buyer does not answer"`) || !strings.Contains(out, "released") || !strings.Contains(out, "the parties") {
		t.Errorf("dispute list --closed: %s", out)
	}
	if strings.Index(out, second) > strings.Index(out, dispute) {
		t.Errorf("the newest is not the first: %s", out)
	}
	var list struct{ Items []trade.Trade }
	if err := json.Unmarshal([]byte(verb("dispute", "list", "--closed", "--json")), &list); err != nil || len(list.Items) != 2 || list.Items[0].Preimage != (trade.Preimage{}) || list.Items[0].HoldInvoice != "" {
		t.Errorf("%v: %+v", err, list.Items)
	}
}

// TestInboxWritesToAParty has the operator write from the page: the party finds the message at the
// relay, in the chat of its key with that of the Mostro.
func TestInboxWritesToAParty(t *testing.T) {
	dir := t.TempDir()
	m, stop := runDemo(t, dir, nil)
	defer stop()
	x := newDemoTrade(t, m, envelope.TransportV2)
	x.toDispute()
	base := "http://" + m.PrivateAddr()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	visit := func(path string, form url.Values) string {
		t.Helper()
		method := http.MethodGet
		if form != nil {
			method = http.MethodPost
		}
		req, err := http.NewRequest(method, base+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", base)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %v\n%s", path, resp.StatusCode, err, body)
		}
		return string(body)
	}
	link, err := url.Parse(strings.TrimSpace(mustProgram(t, "", "dispute", "inbox", "--data", dir)))
	if err != nil {
		t.Fatal(err)
	}
	visit("/disputes/login", url.Values{"link": {link.Query().Get("link")}})
	page := visit("/disputes/"+x.id.String(), nil)
	_, page, _ = strings.Cut(page, `/write" class="write"`)
	form := url.Values{"to": {"buyer"}, "text": {"Send me the receipt of the bank."}}
	for _, field := range regexp.MustCompile(`name="(token|seen|nonce)" value="([0-9a-f]+)"`).FindAllStringSubmatch(page, 3) {
		form.Set(field[1], field[2])
	}
	if page := visit("/disputes/"+x.id.String()+"/write", form); !strings.Contains(page, "The message is sent.") || !strings.Contains(page, "Send me the receipt of the bank.") {
		t.Errorf("the page after the message:\n%s", page)
	}
	chat, err := envelope.NewChat(x.buyer.keys, m.escrow.pubkey)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, evt := range mustREQ(t, m, chat.Filters()[0]) {
		msg, err := chat.Open(evt, time.Now())
		if err != nil || msg.Sender != m.escrow.pubkey {
			t.Fatalf("%+v, %v", msg, err)
		}
		got = append(got, msg.Text)
	}
	if len(got) != 1 || got[0] != form.Get("text") {
		t.Errorf("the buyer reads %q", got)
	}
	if page := visit("/disputes/closed", nil); !strings.Contains(page, "No closed dispute") {
		t.Errorf("the closed disputes:\n%s", page)
	}
}

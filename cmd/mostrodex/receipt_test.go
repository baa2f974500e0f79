package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
)

// keyFile writes a user's trade key, or a new key if keys is nil, to a file.
func keyFile(t *testing.T, dir, name string, keys *envelope.Keys) string {
	t.Helper()
	if keys == nil {
		var err error
		if keys, err = envelope.NewKeys(nil); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, name)
	if err := writeSecret(file, keys.Nsec()); err != nil {
		t.Fatal(err)
	}
	return file
}

// mail returns the event that carried a message to a user.
func (u *demoUser) mail(action message.Action) *nostr.Event {
	u.t.Helper()
	var found *nostr.Event
	eventually(u.t, string(action)+" can be read again", func() bool {
		for _, evt := range mustREQ(u.t, u.m, nostr.Filter{Kinds: []int{u.transport.Kind()}, Tags: nostr.TagMap{"p": {u.keys.Pubkey()}}}) {
			if env, err := envelope.Open(evt, u.keys); err == nil && env.Message.Action == action {
				found = evt
				return true
			}
		}
		return false
	})
	return found
}

// TestDemoReceipts trades over the demo's sockets. Both sides get every kind of receipt with
// the program's own verbs, and rate with the receipts. The ratings are read back from the
// relay and checked as a third party would.
func TestDemoReceipts(t *testing.T) {
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = t.TempDir(), "127.0.0.1:0", "127.0.0.1:0"
	m, err := demoMain(cfg, 1, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	startMain(t, m)
	node := m.escrow.engine.Events.Pubkey
	url := "ws://" + m.Addr()
	eventually(t, "the keyset is public", func() bool {
		return len(mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindReceiptKeys}, Authors: []string{node}})) > 0
	})
	for _, transport := range []envelope.Transport{envelope.TransportV2, envelope.TransportV1} {
		t.Run(transport.String(), func(t *testing.T) {
			x := newDemoTrade(t, m, transport)
			x.toTaken()
			x.toFiatSent()
			x.finish()
			id, seller, buyer, holdInvoice := &x.id, x.seller, x.buyer, x.holdInvoice
			for role, side := range map[string]struct {
				user *demoUser
				said message.Action
			}{receipt.RoleBuyer: {buyer, message.ActionPurchaseCompleted}, receipt.RoleSeller: {seller, message.ActionHoldInvoicePaymentSettled}} {
				s := rater{t: t, m: m, dir: t.TempDir(), node: node, url: url, user: side.user, order: *id}
				s.key = keyFile(t, s.dir, "trade.key", side.user.keys)

				s.verb(string(mostro.EncodeEvent(side.user.mail(side.said))), "message", "open", "--key", s.key, "--receipt", s.file("r0"))
				if r := s.rate("r0", s.key, 5); r.Kind != receipt.R0 || r.Role != role || r.Action != side.said || r.Order != id.String() {
					t.Errorf("%s, r0: %+v", role, r)
				}
				s.verb("", "receipt", "ask", node, "--order", id.String(), "--key", s.key, "--transport", transport.String(), "--url", url, "--out", s.file("r1"))
				if f := s.read("r1"); !receipt.VerifyToken(node, side.user.keys.Pubkey(), id.String(), f.Token) {
					t.Errorf("%s: no token for readers of RoboSats", role)
				}
				if r := s.rate("r1", s.key, 4); r.Kind != receipt.R1 || r.Role != role || r.BandSats != 10_000 || r.Day == "" {
					t.Errorf("%s, r1: %+v", role, r)
				}
				blindKey := keyFile(t, s.dir, "blind.key", nil)
				s.verb("", "receipt", "ask", node, "--order", id.String(), "--key", s.key, "--blind-key", blindKey, "--transport", transport.String(), "--url", url, "--out", s.file("r2"))
				if r := s.rate("r2", blindKey, 3); r.Kind != receipt.R2 || r.Order != "" || r.Role != "" || r.Rater == side.user.keys.Pubkey() {
					t.Errorf("%s, r2: %+v", role, r)
				}
				// An answer that was lost can be requested again.
				s.verb("", "receipt", "ask", node, "--order", id.String(), "--key", s.key, "--blind-key", blindKey, "--transport", transport.String(), "--url", url, "--out", s.file("r2-again"))
				if first, again := s.read("r2"), s.read("r2-again"); first.Receipt[2] != again.Receipt[2] {
					t.Errorf("%s: the second answer has another blind receipt", role)
				}
				otherKey := keyFile(t, s.dir, "other.key", nil)
				if _, errs, code := runProgram(t, "", "receipt", "ask", node, "--order", id.String(), "--key", s.key, "--blind-key", otherKey,
					"--transport", transport.String(), "--url", url, "--out", s.file("again")); code != exitError || !strings.Contains(errs, "invalid_parameters") {
					t.Errorf("%s: a second blind receipt: exit code %d, %s", role, code, errs)
				}
				if _, err := os.Stat(s.file("again")); err == nil {
					t.Error("a refused request left a file")
				}
				if role == receipt.RoleSeller {
					trade, err := m.escrow.engine.Trade(context.Background(), *id)
					if err != nil {
						t.Fatal(err)
					}
					// The seller's wallet learns the preimage when the hold is settled.
					s.verb("", "receipt", "ask", node, "--order", id.String(), "--key", s.key, "--payment", "--transport", transport.String(), "--url", url, "--out", s.file("payment"))
					s.verb("", "receipt", "open", "--receipt", s.file("payment"), "--invoice", holdInvoice, "--preimage", hex.EncodeToString(trade.Preimage[:]), "--out", s.file("r3"))
					r := s.rate("r3", s.key, 5)
					if r.Kind != receipt.R3 || r.PaidSats == nil || *r.PaidSats != trade.LockSats() || len(r.Payee) != 66 || r.PaidNetwork == "" || r.PaidNetwork == "mainnet" {
						t.Errorf("r3: %+v", r)
					}
				}
			}
		})
	}
	// Without a receipt, a rating is published and reported as unproven. With an invalid
	// receipt, a rating is not published.
	dir := t.TempDir()
	key := keyFile(t, dir, "k", nil)
	order := "308e1272-d5f4-47e6-bd97-3504baea9c23"
	if out := mustProgram(t, "", "rate", node, "--stars", "1", "--key", key, "--order", order, "--url", url); !strings.Contains(out, "unproven") {
		t.Errorf("rate printed %s", out)
	}
	keys, err := loadKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	ratings := nostr.Filter{Kinds: []int{mostro.KindHostRating}, Authors: []string{keys.Pubkey()}}
	before := mustREQ(t, m, ratings)
	bad := filepath.Join(dir, "bad.json")
	text, err := json.Marshal(receiptFile{Node: node, Rater: keys.Pubkey(), Order: order, Receipt: []string{"r1", "buyer", "10000", "2026-11-22", "-", strings.Repeat("0", 128)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bad, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := runProgram(t, "", "rate", node, "--stars", "1", "--key", key, "--receipt", bad, "--url", url); code != exitError || !strings.Contains(errs, "not published: receipt: signature") {
		t.Errorf("a forged receipt: exit code %d, %s", code, errs)
	}
	if after := mustREQ(t, m, ratings); len(before) != 1 || len(after) != 1 || after[0].ID != before[0].ID {
		t.Errorf("%d ratings before, %d after", len(before), len(after))
	}
	if err := m.escrow.db.Check(); err != nil {
		t.Error(err)
	}
}

// rater is one side of a trade with its files.
type rater struct {
	t                   *testing.T
	m                   *Main
	dir, node, url, key string
	user                *demoUser
	order               message.UUID
}

func (s rater) file(name string) string { return filepath.Join(s.dir, name+".json") }

func (s rater) read(name string) receiptFile {
	s.t.Helper()
	f, err := readReceipt(s.file(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

func (s rater) verb(stdin string, args ...string) string {
	s.t.Helper()
	return mustProgram(s.t, stdin, args...)
}

// rate publishes a rating with a receipt, and returns the receipt that the relay's copy of
// the rating proves to a third party.
func (s rater) rate(kind, key string, stars int) receipt.Receipt {
	s.t.Helper()
	out := s.verb("", "rate", s.node, "--stars", string(rune('0'+stars)), "--key", key, "--receipt", s.file(kind), "--url", s.url, "--json", "--text", "Fast and fair.")
	var said checkedReceipt
	if err := json.Unmarshal([]byte(out), &said); err != nil || said.Kind != kind {
		s.t.Fatalf("rate printed %s", out)
	}
	events := mustREQ(s.t, s.m, nostr.Filter{IDs: []string{said.EventID}})
	if len(events) != 1 {
		s.t.Fatalf("the relay has %d ratings %s", len(events), said.EventID)
	}
	rating, err := mostro.ParseHostRating(events[0])
	if err != nil {
		s.t.Fatal(err)
	}
	if rating.Rating.Cmp(starsOf(int64(stars))) != 0 || rating.Text != "Fast and fair." {
		s.t.Errorf("the rating is %s, %q", rating.Rating, rating.Text)
	}
	sets := func(node, id string) *nostr.Event {
		for _, evt := range mustREQ(s.t, s.m, nostr.Filter{Kinds: []int{mostro.KindReceiptKeys}, Authors: []string{node}}) {
			if k, err := receipt.ParseKeyset(evt); err == nil && k.ID == id {
				return evt
			}
		}
		return nil
	}
	r, err := receipt.Check(events[0], rating, sets)
	if err != nil {
		s.t.Fatal(err)
	}
	text := string(mostro.EncodeEvent(events[0]))
	if kind == "r2" && (strings.Contains(text, s.order.String()) || strings.Contains(text, s.user.keys.Pubkey())) {
		s.t.Error("a blind rating names the trade")
	}
	if out := s.verb(text, "receipt", "check", "--url", s.url); !strings.Contains(out, "proven by "+kind) {
		s.t.Errorf("receipt check printed %s", out)
	}
	return r
}

// TestRateMistakes checks that rate reports a wrong command line before it publishes any
// event.
func TestRateMistakes(t *testing.T) {
	dir := t.TempDir()
	key := keyFile(t, dir, "k", nil)
	node := "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9"
	order := "308e1272-d5f4-47e6-bd97-3504baea9c23"
	blind := filepath.Join(dir, "blind.json")
	foreign := filepath.Join(dir, "foreign.json")
	broken := filepath.Join(dir, "broken.json")
	keys, err := loadKeys(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		blind:   `{"node":"` + node + `","rater":"` + keys.Pubkey() + `","receipt":["r2","x","y","z"]}`,
		foreign: `{"node":"` + node + `","rater":"` + node + `","order":"` + order + `","receipt":["r1"]}`,
		broken:  `{"node":1}`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"rate", node, "--stars", "6", "--key", key, "--order", order}, exitUsage, "1 to 5"},
		{[]string{"rate", node, "--stars", "0", "--key", key, "--order", order}, exitUsage, "1 to 5"},
		{[]string{"rate", "x", "--stars", "5", "--key", key, "--order", order}, exitUsage, "PUBKEY"},
		{[]string{"rate", "--stars", "5", "--key", key, "--order", order}, exitUsage, "PUBKEY"},
		{[]string{"rate", node, "--stars", "5", "--key", key}, exitUsage, "--order"},
		{[]string{"rate", node, "--stars", "5", "--key", key, "--order", "7"}, exitUsage, "--order"},
		{[]string{"rate", node, "--stars", "5", "--key", key, "--order", order, "--role", "maker"}, exitUsage, "buyer or seller"},
		{[]string{"rate", node, "--stars", "5", "--key", key, "--order", order, "--text", strings.Repeat("x", 501)}, exitUsage, "500"},
		{[]string{"rate", node, "--stars", "5", "--key", filepath.Join(dir, "none"), "--order", order}, exitError, "--key"},
		{[]string{"rate", node, "--stars", "5", "--key", key, "--receipt", foreign}, exitUsage, "can be spent by"},
		{[]string{"rate", node, "--stars", "5", "--key", key, "--receipt", blind, "--order", order}, exitUsage, "blind receipt"},
		{[]string{"rate", node, "--stars", "5", "--key", key, "--receipt", broken}, exitError, "no receipt file"},
		{[]string{"rate", node, "--stars", "5", "--key", key, "--order", order, "--url", "127.0.0.1:7777"}, exitUsage, "--url"},
		{[]string{"rate", node, "--stars", "5", "--key", key, "--order", order, "--url", "ws://127.0.0.1:1"}, exitError, "no relay answers"},
		{[]string{"receipt", "ask", node, "--order", order, "--key", key, "--blind-key", key, "--out", filepath.Join(dir, "o")}, exitUsage, "trade key"},
		{[]string{"receipt", "ask", node, "--order", order, "--key", key, "--transport", "legacy", "--out", filepath.Join(dir, "o")}, exitUsage, "v2 or v1"},
		{[]string{"receipt", "ask", node, "--order", order, "--key", key, "--out", blind}, exitError, "exists"},
		{[]string{"receipt", "open", "--receipt", blind, "--invoice", "x", "--preimage", "y", "--out", filepath.Join(dir, "o")}, exitError, "only r1"},
	} {
		_, errs, code := runProgram(t, "", c.args...)
		if code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("%v: exit code %d, %s; want %d and %q", c.args, code, errs, c.code, c.says)
		}
	}
}

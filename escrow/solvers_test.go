package escrow

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// node returns the node's own key as a sender.
func (r *rig) nodeKey() trade.Party {
	return trade.Party{Key: simNodeKey, Identity: simNodeKey, Transport: envelope.TransportV2}
}

// solver returns a new key with a role. It writes under its identity.
func (r *rig) solver(role trade.Role) trade.Party {
	r.tb.Helper()
	p := r.someone()
	p.Identity, p.Index = p.Key, 0
	r.setSolver(p.Key, role)
	return p
}

func (r *rig) setSolver(key string, role trade.Role) {
	r.tb.Helper()
	if err := r.book.SetSolver(key, role, r.node.now); err != nil {
		r.tb.Fatal(err)
	}
	r.commit()
	r.settle()
}

// toDispute brings a trade to a dispute of the buyer, after fiat was sent.
func (r *rig) toDispute() (id, dispute trade.OrderID, seller, buyer trade.Party) {
	r.tb.Helper()
	id, seller, buyer = r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.must(buyer, message.ActionDispute, &id, nil)
	return id, r.trade(id).Dispute.ID, seller, buyer
}

// anyID is the id of a message whose id means nothing.
var anyID = trade.OrderID{0xff}

// TestAddSolver holds admin-add-solver against daemon.md 5.7.
func TestAddSolver(t *testing.T) {
	r := newRig(t)
	key := r.someone().Key
	npub, err := nip19.EncodePublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		want message.Reason
		role trade.Role
	}{
		{npub, "", trade.RoleWrite}, {npub + ":read", "", trade.RoleRead}, {npub + ":read-write", "", trade.RoleWrite}, {npub + ":write", "", trade.RoleWrite},
		{"  " + npub + " ", "", trade.RoleWrite}, {key, "", trade.RoleWrite}, {key + ":read", "", trade.RoleRead},
		{"", message.ReasonInvalidTextMessage, ""}, {"   ", message.ReasonInvalidTextMessage, ""},
		{npub + ":", message.ReasonInvalidParameters, ""}, {npub + ":admin", message.ReasonInvalidParameters, ""}, {npub + ":read:x", message.ReasonInvalidParameters, ""},
		{":read", message.ReasonInvalidParameters, ""}, {npub[:len(npub)-1], message.ReasonInvalidParameters, ""}, {"npub1", message.ReasonInvalidParameters, ""},
		{simNodeKey, message.ReasonInvalidParameters, ""}, {strings.Repeat("é", 30_000), message.ReasonInvalidParameters, ""},
	} {
		delete(r.book.solvers, key)
		delete(r.store.solvers, key)
		got := r.say(r.nodeKey(), message.ActionAdminAddSolver, &anyID, message.TextMessage(c.text))
		r.settle()
		if got != string(c.want) || r.store.solvers[key].Role != c.role {
			t.Errorf("%.80q: %q, role %q, want %q, %q", c.text, got, r.store.solvers[key].Role, c.want, c.role)
		}
		if c.want == "" {
			if m := r.last(r.nodeKey(), message.ActionAdminAddSolver); m.Wrapper != message.WrapperDispute || m.ID != nil || m.Payload != nil || m.RequestID == nil {
				t.Errorf("%q: the echo is %+v", c.text, m)
			}
		}
	}
	r.refused(message.ReasonInvalidTextMessage, r.nodeKey(), message.ActionAdminAddSolver, &anyID, message.Amount(1))
	before := len(r.store.solvers)
	for _, p := range []trade.Party{r.someone(), r.solver(trade.RoleWrite), {Key: simAssistant, Identity: simAssistant, Transport: envelope.TransportV2}} {
		if got := r.say(p, message.ActionAdminAddSolver, &anyID, message.TextMessage(npub)); got != "dropped" {
			t.Errorf("add-solver of %s: %q", p.Key, got)
		}
	}
	if got := len(r.store.solvers); got != before+1 { // the solver of this test
		t.Errorf("%d solvers, want %d", got, before+1)
	}
}

// TestSolverChanges checks what a demotion, a removal and a promotion do to a dispute, that a
// restart keeps the roles, and that the prefilter knows the present solvers.
func TestSolverChanges(t *testing.T) {
	r := newRig(t)
	ann, bob := r.solver(trade.RoleWrite), r.solver(trade.RoleWrite)
	id, dispute, _, _ := r.toDispute()
	r.must(ann, message.ActionAdminTakeDispute, &dispute, nil)
	r.refused(message.ReasonInvalidPubkey, bob, message.ActionAdminTakeDispute, &dispute, nil)
	r.setSolver(ann.Key, trade.RoleRead)
	if got := r.trade(id).Dispute; got.Solver.Identity != ann.Key || got.Status != message.DisputeStatusInProgress {
		t.Errorf("a demoted solver lost the dispute: %+v", got)
	}
	r.refused(message.ReasonNotAuthorized, ann, message.ActionAdminSettle, &id, nil)
	r.start()
	r.refused(message.ReasonNotAuthorized, ann, message.ActionAdminCancel, &id, nil)
	r.must(bob, message.ActionAdminTakeDispute, &dispute, nil) // the holder may only read
	r.refused(message.ReasonIsNotYourDispute, ann, message.ActionAdminCancel, &id, nil)
	r.setSolver(bob.Key, "")
	if got := r.trade(id).Dispute; got.Solver != (trade.Party{}) || got.Status != message.DisputeStatusInitiated {
		t.Errorf("the removed solver keeps the dispute: %+v", got)
	}
	if r.book.keys.has(bob.Key) || !r.book.keys.has(ann.Key) {
		t.Error("the prefilter does not follow the roles")
	}
	r.refused(message.ReasonIsNotYourDispute, bob, message.ActionAdminSettle, &id, nil)
	r.refused(message.ReasonInvalidPubkey, bob, message.ActionAdminTakeDispute, &dispute, nil)
	r.start()
	if r.book.keys.has(bob.Key) || !r.book.keys.has(ann.Key) {
		t.Error("the prefilter does not follow the roles after a restart")
	}
	r.refused(message.ReasonInvalidPubkey, bob, message.ActionAdminTakeDispute, &dispute, nil)
	if err := r.book.SetSolver(bob.Key, "", r.node.now); !errors.Is(err, mostro.ErrNotFound) {
		t.Errorf("a second removal: %v", err)
	}
	r.setSolver(ann.Key, trade.RoleWrite)
	r.must(ann, message.ActionAdminTakeDispute, &dispute, nil)
	r.must(ann, message.ActionAdminCancel, &dispute, nil)
	r.status(message.TradeCanceledByAdmin, id)
	list := r.book.Solvers()
	if len(list) != 2 {
		t.Fatalf("%+v", list)
	}
	for _, s := range list {
		if s.Key == ann.Key && (s.Role != trade.RoleWrite || s.Static) || s.Key == simAssistant && (s.Role != trade.RoleRead || !s.Static) || s.Key == bob.Key {
			t.Errorf("%+v", s)
		}
	}
	for key, role := range map[string]trade.Role{"": trade.RoleRead, simNodeKey: trade.RoleWrite, ann.Key: "admin", bob.Key: trade.RoleNode} {
		if err := r.book.SetSolver(key, role, r.node.now); !errors.Is(err, ErrSolverKey) && !errors.Is(err, ErrSolverRole) {
			t.Errorf("role %q of %q: %v", role, key, err)
		}
	}
}

// TestAssistant checks that the announced assistant may take and see disputes, and decides
// nothing.
func TestAssistant(t *testing.T) {
	r := newRig(t)
	p := trade.Party{Key: simAssistant, Identity: simAssistant, Transport: envelope.TransportV2}
	id, dispute, _, _ := r.toDispute()
	r.must(p, message.ActionAdminTakeDispute, &dispute, nil)
	if info := r.last(p, message.ActionAdminTookDispute).Payload.(message.DisputeRef).Info; info == nil || info.Preimage != nil || info.ID != id {
		t.Errorf("%+v", info)
	}
	for _, action := range []message.Action{message.ActionAdminSettle, message.ActionAdminCancel} {
		r.refused(message.ReasonNotAuthorized, p, action, &id, nil)
		r.refused(message.ReasonNotAuthorized, p, action, &dispute, nil)
	}
	r.must(r.solver(trade.RoleWrite), message.ActionAdminTakeDispute, &dispute, nil)
}

// TestAssistantsKey checks which keys the assistant may have.
func TestAssistantsKey(t *testing.T) {
	r := newRig(t)
	ann, bob, user := r.solver(trade.RoleWrite), r.solver(trade.RoleRead), r.someone()
	r.order(user, message.SmallOrder{})
	for key, want := range map[string]string{
		"": "", simAssistant: "", bob.Key: "", ann.Key: "decides disputes", simNodeKey: "node's own key", user.Identity: "has traded here",
	} {
		r.book.Assistant = key
		if err := r.book.checkAssistant(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", key, err, want)
		}
	}
	r.book.Assistant = bob.Key
	if err := r.book.SetSolver(bob.Key, trade.RoleWrite, r.node.now); !errors.Is(err, ErrAssistant) {
		t.Errorf("the assistant becomes a solver that may decide: %v", err)
	}
}

// TestSolverIDs checks which verb may name the order, and which the dispute.
func TestSolverIDs(t *testing.T) {
	r := newRig(t)
	ann := r.solver(trade.RoleWrite)
	id, dispute, _, buyer := r.toDispute()
	unknown := trade.OrderID{9, 9}
	r.refused(message.ReasonNotFound, ann, message.ActionAdminTakeDispute, &id, nil)
	r.refused(message.ReasonNotFound, ann, message.ActionAdminTakeDispute, &unknown, nil)
	r.refused(message.ReasonNotFound, r.nodeKey(), message.ActionAdminSettle, &unknown, nil)
	r.must(ann, message.ActionAdminTakeDispute, &dispute, nil)
	r.must(ann, message.ActionAdminSettle, &dispute, nil)
	r.status(message.TradeSettledHoldInvoice, id)
	r.resolves(id, true)
	r.status(message.TradeSuccess, id)
	if r.got(buyer, message.ActionAdminSettled) != 1 || r.got(buyer, message.ActionPurchaseCompleted) != 1 {
		t.Errorf("the buyer receives %v", actions(r.mail[buyer.Key]))
	}
	// The trade is over, and its dispute id names nothing that can change.
	r.refused(message.ReasonNotFound, ann, message.ActionAdminCancel, &dispute, nil)
	r.refused(message.ReasonNotAllowedByStatus, ann, message.ActionAdminCancel, &id, nil)
}

// TestOperatorDecides checks the operator's own decisions, which come without a message.
func TestOperatorDecides(t *testing.T) {
	r := newRig(t)
	decide := func(id trade.OrderID, action message.Action, reason string) error {
		err := r.book.Decide(id, action, reason, r.node.now)
		r.commit()
		r.settle()
		return err
	}
	id, dispute, seller, _ := r.toDispute()
	if err := decide(id, message.ActionAdminCancel, ""); !errors.Is(err, ErrReason) {
		t.Errorf("without a reason: %v", err)
	}
	if err := decide(id, message.ActionAdminCancel, strings.Repeat("x", maxReason+1)); !errors.Is(err, ErrReason) {
		t.Errorf("with a reason that is too long: %v", err)
	}
	if err := decide(trade.OrderID{7}, message.ActionAdminCancel, "x"); !errors.Is(err, mostro.ErrNotFound) {
		t.Errorf("of no trade: %v", err)
	}
	if err := decide(id, message.ActionAdminTakeDispute, ""); err != nil {
		t.Error(err)
	}
	if got := r.trade(id).Dispute; got.Solver.Identity != simNodeKey || got.SolverRole != trade.RoleNode {
		t.Errorf("%+v", got)
	}
	if err := decide(dispute, message.ActionAdminCancel, "the buyer does not answer"); err != nil {
		t.Error(err)
	}
	r.status(message.TradeCanceledByAdmin, id)
	if v := r.trade(id).Dispute.Verdict; v.By != simNodeKey || v.Role != trade.RoleNode || v.Reason != "the buyer does not answer" || v.At != r.node.now {
		t.Errorf("%+v", v)
	}
	if r.got(seller, message.ActionAdminCanceled) != 1 {
		t.Error("the seller is not told")
	}
	var refusal message.CantDo
	if err := decide(id, message.ActionAdminSettle, "x"); !errors.As(err, &refusal) {
		t.Errorf("of a trade that is over: %v", err)
	}

	// An operator who trades at the own node cannot decide the own dispute.
	own, own2 := r.someone(), r.someone()
	own.Identity = simNodeKey
	mine := r.order(own, message.SmallOrder{})
	r.must(own2, message.ActionTakeSell, &mine, nil)
	r.must(own2, message.ActionAddInvoice, &mine, r.bolt11(mine))
	r.pays(own)
	r.must(own2, message.ActionDispute, &mine, nil)
	for _, action := range []message.Action{message.ActionAdminTakeDispute, message.ActionAdminCancel, message.ActionAdminSettle} {
		if err := decide(mine, action, "mine"); !errors.As(err, &refusal) || refusal.Reason != message.ReasonInvalidPubkey {
			t.Errorf("%s of the own trade: %v", action, err)
		}
	}
	r.status(message.TradeDispute, mine)
}

// TestSolverWhoTrades checks that a solver never decides a trade of its own, whichever of its
// keys it trades with.
func TestSolverWhoTrades(t *testing.T) {
	r := newRig(t)
	id, dispute, seller, buyer := r.toDispute()
	for _, key := range []string{seller.Identity, buyer.Identity, seller.Key, buyer.Key} {
		r.setSolver(key, trade.RoleWrite)
		p := trade.Party{Key: key, Identity: key, Transport: envelope.TransportV2}
		r.refused(message.ReasonInvalidPubkey, p, message.ActionAdminTakeDispute, &dispute, nil)
		r.refused(message.ReasonInvalidPubkey, p, message.ActionAdminCancel, &id, nil)
		r.refused(message.ReasonInvalidPubkey, p, message.ActionAdminSettle, &id, nil)
		r.setSolver(key, "")
	}
	r.status(message.TradeDispute, id)
}

// TestTextsOfSolvers checks that no text of a solver is stored. The wire has no text in a
// verdict, so a verdict with one is dropped.
func TestTextsOfSolvers(t *testing.T) {
	for name, text := range map[string]string{
		"60 kB": strings.Repeat("a", 60_000), "escapes": strings.Repeat("\x00\"\\\n<", 12_000), "wide characters": strings.Repeat("€", 20_000),
	} {
		r := newRig(t)
		ann := r.solver(trade.RoleWrite)
		id, dispute, _, _ := r.toDispute()
		r.must(ann, message.ActionAdminTakeDispute, &dispute, message.TextMessage(text))
		for _, action := range []message.Action{message.ActionAdminCancel, message.ActionAdminSettle} {
			if got := r.say(ann, action, &id, message.TextMessage(text)); got != "dropped" {
				t.Errorf("%s: %s: %q", name, action, got)
			}
		}
		r.refused(message.ReasonInvalidPayload, ann, message.ActionAdminCancel, &id, message.BondResolution{SlashSeller: true})
		r.status(message.TradeDispute, id)
		r.must(ann, message.ActionAdminCancel, &id, message.BondResolution{})
		r.status(message.TradeCanceledByAdmin, id)
		for _, in := range r.store.journal[id] {
			if b, err := trade.Encode(in); err != nil || len(b) > 4<<10 {
				t.Errorf("%s: an input has %d bytes: %v", name, len(b), err)
			}
		}
	}
}

// TestLateAndReplayedVerdicts checks that a verdict counts once, and that a verdict from before
// the trade's hold, or of another day, does not count.
func TestLateAndReplayedVerdicts(t *testing.T) {
	r := newRig(t)
	ann := r.solver(trade.RoleWrite)
	id, dispute, seller, buyer := r.toDispute()
	take := r.message(ann, message.ActionAdminTakeDispute, &dispute, nil)
	if got := r.receive(take); got != "" {
		t.Fatal(got)
	}
	r.settle()
	verdict := r.message(ann, message.ActionAdminCancel, &id, nil)
	old := verdict
	old.ReplayID, old.CreatedAt = "old", r.node.now-3600
	if got := r.receive(old); got != "dropped" {
		t.Errorf("a live message of an hour ago: %q", got)
	}
	old.ReplayID, old.Late, old.CreatedAt = "older", true, r.trade(id).HeldAt-7200
	if got := r.receive(old); got != "dropped" {
		t.Errorf("a late message from before the trade: %q", got)
	}
	r.status(message.TradeDispute, id)
	// A late message within the time of the hold counts, also by the id of the dispute.
	late := r.message(ann, message.ActionAdminTakeDispute, &dispute, nil)
	late.Late = true
	if got := r.receive(late); got != "" {
		t.Errorf("a late take: %q", got)
	}
	r.settle()
	if got := r.receive(verdict); got != "" {
		t.Fatal(got)
	}
	r.settle()
	r.status(message.TradeCanceledByAdmin, id)
	after := r.trade(id)
	for _, msg := range []InboundMessage{verdict, take, late} {
		if got := r.receive(msg); got != "replayed" {
			t.Errorf("a replay: %q", got)
		}
	}
	r.start()
	if got := r.receive(verdict); got != "replayed" || !reflect.DeepEqual(after, r.trade(id)) {
		t.Errorf("a replay after a restart: %q", got)
	}
	if r.got(seller, message.ActionAdminCanceled) != 1 || r.got(buyer, message.ActionAdminCanceled) != 1 {
		t.Error("a party is told more than once")
	}
}

// TestStrangersAndSolvers checks that admin messages of strangers change nothing and do not grow
// the store by more than the answers.
func TestStrangersAndSolvers(t *testing.T) {
	r := newRig(t)
	id, dispute, _, _ := r.toDispute()
	before := r.trade(id)
	journal := len(r.store.journal[id])
	for n := range 300 {
		p := r.someone()
		if n%2 == 0 {
			p.Identity = simNodeKey[:63] + "f"
		}
		action := []message.Action{message.ActionAdminTakeDispute, message.ActionAdminSettle, message.ActionAdminCancel, message.ActionAdminAddSolver}[n%4]
		named := []trade.OrderID{id, dispute, {byte(n), 1}}[n%3]
		if got := r.say(p, action, &named, message.TextMessage(p.Key)); got == "" {
			t.Errorf("%s of a stranger is accepted", action)
		}
	}
	r.settle()
	if !reflect.DeepEqual(before, r.trade(id)) || len(r.store.journal[id]) != journal || len(r.store.solvers) != 0 || len(r.store.rows) != 0 {
		t.Errorf("strangers changed the store: %d rows, %d solvers", len(r.store.rows), len(r.store.solvers))
	}
}

// TestCheapDisputes checks that one identity opens at most five disputes at a time.
func TestCheapDisputes(t *testing.T) {
	r := newRig(t)
	identity := r.someone()
	var first trade.OrderID
	for n := range maxOpenDisputes + 1 {
		seller, buyer := r.someone(), identity
		buyer.Key, buyer.Index = r.someone().Key, int64(n+1)
		id := r.order(seller, message.SmallOrder{})
		r.must(buyer, message.ActionTakeSell, &id, nil)
		r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
		r.pays(seller)
		if n == maxOpenDisputes {
			r.refused(message.ReasonTooManyRequests, buyer, message.ActionDispute, &id, nil)
			r.must(r.nodeKey(), message.ActionAdminCancel, &first, nil)
			r.must(buyer, message.ActionDispute, &id, nil)
			return
		}
		r.must(buyer, message.ActionDispute, &id, nil)
		if n == 0 {
			first = id
		}
	}
}

// TestOverdueOnTheNode checks that the hold is really cancelled, or settled and paid out, at the
// margin, while the node's own limit is not reached.
func TestOverdueOnTheNode(t *testing.T) {
	for _, rule := range []trade.Overdue{"", trade.OverdueCancel, trade.OverdueSettle} {
		r := newRig(t)
		r.policy.Terms.Overdue = rule
		r.start()
		id, _, seller, buyer := r.toDispute()
		h := r.trade(id).Hash
		expiry := r.node.holds[h].state.ExpiryHeight
		for r.trade(id).Status == message.TradeDispute && r.node.height < expiry {
			r.node.height++
			r.pass(600)
		}
		if left := expiry - r.node.height; left != marginBlocks(r.policy.Terms) {
			t.Errorf("rule %q: decided %d blocks before the expiry", rule, left)
		}
		if hold := r.node.holds[h]; rule != trade.OverdueSettle && (hold.state.Phase != trade.HoldCanceled || !hold.byUs) {
			t.Errorf("rule %q: the hold is %s", rule, hold.state.Phase)
		}
		if rule == trade.OverdueSettle {
			r.status(message.TradeSettledHoldInvoice, id)
			r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id)) // the first one has expired
			r.resolves(id, true)
			r.status(message.TradeSuccess, id)
		} else {
			r.status(message.TradeCanceledByAdmin, id)
		}
		if v := r.trade(id).Dispute.Verdict; v == nil || !v.Overdue {
			t.Errorf("rule %q: the verdict is %+v", rule, v)
		}
		// The rule and two warnings: 60 of the 72 blocks are left when the lock begins.
		for _, p := range []trade.Party{seller, buyer} {
			if got := r.got(p, message.ActionSendDM); got != 4 {
				t.Errorf("rule %q: %d texts to a party", rule, got)
			}
		}
	}
}

// TestCloseWithRows checks that a trade is not closed while its calls are under way, and that
// the calls which were held back are removed.
func TestCloseWithRows(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.hold[trade.FxSettle] = true
	r.must(seller, message.ActionRelease, &id, nil)
	r.applyInput(id, trade.Input{Kind: trade.InUncommitted})
	r.commit()
	if err := r.book.Close(id, trade.OutcomeRefunded, "x", false, r.node.now); !errors.Is(err, ErrUnderWay) {
		t.Errorf("with a settlement under way: %v", err)
	}
	if err := r.book.Close(id, trade.OutcomeRefunded, "", true, r.node.now); !errors.Is(err, ErrReason) {
		t.Errorf("without a reason: %v", err)
	}
	if err := r.book.Close(trade.OrderID{9}, trade.OutcomeRefunded, "x", true, r.node.now); !errors.Is(err, mostro.ErrNotFound) {
		t.Errorf("no trade: %v", err)
	}
	if err := r.book.Close(id, trade.OutcomeRefunded, "x", true, r.node.now); err != nil {
		t.Fatal(err)
	}
	delete(r.hold, trade.FxSettle)
	r.commit()
	r.settle()
	r.status(message.TradeCanceledByAdmin, id)
	if r.node.settledMsat != 0 || r.node.heldMsat != 0 {
		t.Errorf("settled %d, held %d msat", r.node.settledMsat, r.node.heldMsat)
	}
}

// TestSchemas checks that a store of schema 1 opens and becomes one of schema 2, and that a
// store of a later schema is refused, as a program of schema 1 refuses one of schema 2.
func TestSchemas(t *testing.T) {
	set := func(dir string, version byte) {
		t.Helper()
		b, err := badger.Open(badger.DefaultOptions(filepath.Join(dir, "escrow")).WithLogger(nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Update(func(txn *badger.Txn) error { return txn.Set([]byte{spaceSchema}, []byte{version}) }); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	get := func(db *DB) (v []byte) {
		t.Helper()
		err := db.b.View(func(txn *badger.Txn) error {
			item, err := txn.Get([]byte{spaceSchema})
			if err != nil {
				return err
			}
			v, err = item.ValueCopy(nil)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "escrow"), 0o700); err != nil {
		t.Fatal(err)
	}
	set(dir, 1)
	db, err := OpenDB(filepath.Join(dir, "escrow"))
	if err != nil {
		t.Fatal(err)
	}
	c := &Commit{Solvers: []Solver{{Key: "a", Role: trade.RoleRead, AddedAt: 5}, {Key: "b", GoneAt: 6}}, Head: Head{Commits: 1}}
	if err := db.Commit(c); err != nil {
		t.Fatal(err)
	}
	if got := get(db); !bytes.Equal(got, []byte{schemaVersion}) {
		t.Errorf("the schema is %x", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = OpenDB(filepath.Join(dir, "escrow")); err != nil {
		t.Fatal(err)
	}
	var list []Solver
	if err := db.Solvers(func(s Solver) error { list = append(list, s); return nil }); err != nil || !reflect.DeepEqual(list, c.Solvers) {
		t.Errorf("%v %+v", err, list)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	set(dir, schemaVersion+1)
	if db, err := OpenDB(filepath.Join(dir, "escrow")); err == nil {
		t.Error("a store of a later schema opens")
		_ = db.Close()
	} else if !strings.Contains(err.Error(), fmt.Sprintf("schema %02x", schemaVersion+1)) {
		t.Error(err)
	}
}

package trade

import (
	"errors"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

const disputeAt = 1_790_000_000

func partyNamed(name string) Party {
	return Party{Key: name + "-key", Identity: name, Index: 1, Transport: envelope.TransportV2}
}

// solverNamed returns a solver as it writes: under its identity.
func solverNamed(name string) Party {
	return Party{Key: name, Identity: name, Transport: envelope.TransportV2}
}

// inStatus returns a trade with an accepted hold.
func inStatus(status message.TradeStatus) Trade {
	t := Trade{
		ID: OrderID{1}, Kind: mostro.SideSell, Status: status, Terms: DefaultTerms(), Seller: partyNamed("seller"), Buyer: partyNamed("buyer"),
		Fiat: "EUR", FiatAmount: 100, PaymentMethod: "SEPA", AmountSats: 100_000, FeeSats: 300,
		BuyerInvoice: PayTo{Text: "lnbc-of-the-buyer", Hash: Hash{5}, ExpiresAt: disputeAt + 86400},
		CreatedAt:    disputeAt - 3600, ExpiresAt: disputeAt + 86400, TakenAt: disputeAt - 1800, Deadline: disputeAt + 40_000,
		Lock:    Lock{Preimage: Preimage{9}, HoldInvoice: "lnbc-of-the-hold", HeldAt: disputeAt - 600, SafeUntil: disputeAt + 120*BlockSeconds},
		Dispute: Dispute{ID: OrderID{2}}, Bucket: Public(status), StampedAt: disputeAt - 600,
	}
	t.Hash = t.Preimage.Hash()
	return t
}

// disputed returns a trade in dispute, opened by the buyer after fiat was sent.
func disputed() Trade {
	t := inStatus(message.TradeDispute)
	t.Dispute.Status, t.Dispute.By, t.Dispute.Previous = message.DisputeStatusInitiated, message.InitiatorBuyer, message.TradeFiatSent
	t.Dispute.OpenedAt, t.Dispute.StampedAt = disputeAt-60, disputeAt-60
	return t
}

// taken returns a trade in dispute that a solver has taken.
func taken(by string, role Role) Trade {
	t := disputed()
	t.Dispute.Status, t.Dispute.Solver, t.Dispute.SolverRole, t.Dispute.TakenAt = message.DisputeStatusInProgress, solverNamed(by), role, disputeAt-30
	return t
}

// from returns the input of a message.
func from(p Party, action message.Action) Input {
	request := uint64(77)
	return Input{At: disputeAt, Kind: InMessage, Rules: CurrentRules, Request: &Request{From: p, Message: message.Message{
		Wrapper: message.WrapperOrder, Version: 2, RequestID: &request, ID: &OrderID{1}, Action: action,
	}}}
}

// sent returns the actions that are sent to a key.
func sent(effects []Effect, to Party) (list []message.Action) {
	for _, e := range effects {
		if e.Kind == FxSend && e.To.Key == to.Key {
			list = append(list, e.Message.Action)
		}
	}
	return list
}

func has(effects []Effect, kind EffectKind) bool {
	for _, e := range effects {
		if e.Kind == kind {
			return true
		}
	}
	return false
}

// TestSolverRights holds every combination of a sender, a state and a verb of solvers against
// daemon.md 5.3 to 5.5 and 12.2.
func TestSolverRights(t *testing.T) {
	const take, settle, cancel = message.ActionAdminTakeDispute, message.ActionAdminSettle, message.ActionAdminCancel
	pubkey, yours, byAdmin := message.ReasonInvalidPubkey, message.ReasonIsNotYourDispute, message.ReasonDisputeTakenByAdmin
	ok := message.Reason("")
	seller, buyer := partyNamed("seller"), partyNamed("buyer")
	released := taken("ann", RoleWrite)
	released.Settling = true
	gone := taken("ann", RoleWrite)
	gone.EscrowGone = true
	frozen := taken("ann", RoleWrite)
	frozen.Frozen = true
	closed := func(status message.TradeStatus, d message.DisputeStatus) Trade {
		tr := taken("ann", RoleWrite)
		tr.Status, tr.Dispute.Status = status, d
		return tr
	}
	agreed := closed(message.TradeCooperativelyCanceled, message.DisputeStatusCooperativelyCanceled)
	again := disputed() // a dispute that the parties resolved while the trade went on
	again.Status, again.Dispute.Status = message.TradeFiatSent, message.DisputeStatusSettled
	for _, c := range []struct {
		name         string
		t            Trade
		from         Party
		role, holder Role
		action       message.Action
		want         message.Reason
	}{
		{"a solver takes", disputed(), solverNamed("ann"), RoleWrite, "", take, ok},
		{"a read-only solver takes", disputed(), solverNamed("ann"), RoleRead, "", take, ok},
		{"the node takes", disputed(), solverNamed("node"), RoleNode, "", take, ok},
		{"the node takes over", taken("ann", RoleWrite), solverNamed("node"), RoleNode, RoleWrite, take, ok},
		{"a solver takes over from a read-only one", taken("ann", RoleRead), solverNamed("bob"), RoleWrite, RoleRead, take, ok},
		{"a solver takes again", taken("ann", RoleWrite), solverNamed("ann"), RoleWrite, RoleWrite, take, ok},
		{"a solver takes over from a solver", taken("ann", RoleWrite), solverNamed("bob"), RoleWrite, RoleWrite, take, pubkey},
		{"a solver takes over from the node", taken("node", RoleNode), solverNamed("bob"), RoleWrite, RoleNode, take, pubkey},
		{"a read-only solver takes over", taken("ann", RoleRead), solverNamed("bob"), RoleRead, RoleRead, take, pubkey},
		{"a solver takes over from one that may write by now", taken("ann", RoleRead), solverNamed("bob"), RoleWrite, RoleWrite, take, pubkey},
		{"a stranger takes", disputed(), solverNamed("eve"), "", "", take, pubkey},
		{"the seller takes, as a solver", disputed(), seller, RoleWrite, "", take, pubkey},
		{"the buyer's identity takes", disputed(), solverNamed("buyer"), RoleWrite, "", take, pubkey},
		{"the buyer's trade key takes", disputed(), solverNamed("buyer-key"), RoleRead, "", take, pubkey},
		{"the operator takes the own trade", disputed(), solverNamed("seller"), RoleNode, "", take, pubkey},
		{"a solver takes an active trade", inStatus(message.TradeActive), solverNamed("ann"), RoleWrite, "", take, pubkey},
		{"a solver takes a closed dispute", agreed, solverNamed("ann"), RoleWrite, RoleWrite, take, pubkey},
		{"the node takes a closed dispute", agreed, solverNamed("node"), RoleNode, RoleWrite, take, pubkey},
		{"a solver takes a resolved dispute", again, solverNamed("ann"), RoleWrite, "", take, pubkey},
		{"a solver takes a frozen trade", frozen, solverNamed("ann"), RoleWrite, RoleWrite, take, message.ReasonNotAllowedByStatus},

		{"the solver settles", taken("ann", RoleWrite), solverNamed("ann"), RoleWrite, RoleWrite, settle, ok},
		{"the solver cancels", taken("ann", RoleWrite), solverNamed("ann"), RoleWrite, RoleWrite, cancel, ok},
		{"the node settles what nobody took", disputed(), solverNamed("node"), RoleNode, "", settle, ok},
		{"the node cancels what a solver took", taken("ann", RoleWrite), solverNamed("node"), RoleNode, RoleWrite, cancel, ok},
		{"a solver settles what nobody took", disputed(), solverNamed("ann"), RoleWrite, "", settle, yours},
		{"another solver settles", taken("ann", RoleWrite), solverNamed("bob"), RoleWrite, RoleWrite, settle, yours},
		{"another solver cancels", taken("ann", RoleWrite), solverNamed("bob"), RoleWrite, RoleWrite, cancel, yours},
		{"a stranger cancels", taken("ann", RoleWrite), solverNamed("eve"), "", RoleWrite, cancel, yours},
		{"a solver settles what the node took", taken("node", RoleNode), solverNamed("bob"), RoleWrite, RoleNode, settle, byAdmin},
		{"a solver cancels what the node took", taken("node", RoleNode), solverNamed("bob"), RoleWrite, RoleNode, cancel, byAdmin},
		{"a read-only solver settles", taken("ann", RoleRead), solverNamed("ann"), RoleRead, RoleRead, settle, message.ReasonNotAuthorized},
		{"a read-only solver cancels", taken("ann", RoleRead), solverNamed("ann"), RoleRead, RoleRead, cancel, message.ReasonNotAuthorized},
		{"a demoted solver settles", taken("ann", RoleWrite), solverNamed("ann"), RoleRead, RoleRead, settle, message.ReasonNotAuthorized},
		{"a removed solver cancels", taken("ann", RoleWrite), solverNamed("ann"), "", "", cancel, message.ReasonNotAuthorized},
		{"a promoted solver settles", taken("ann", RoleRead), solverNamed("ann"), RoleWrite, RoleWrite, settle, ok},
		{"the operator settles the own trade", disputed(), solverNamed("buyer"), RoleNode, "", settle, pubkey},
		{"the operator cancels the own trade", disputed(), solverNamed("seller"), RoleNode, "", cancel, pubkey},
		{"a solver settles after the release", released, solverNamed("ann"), RoleWrite, RoleWrite, settle, message.ReasonInvalidOrderStatus},
		{"a solver cancels after the release", released, solverNamed("ann"), RoleWrite, RoleWrite, cancel, message.ReasonNotAllowedByStatus},
		{"the node cancels after the release", released, solverNamed("node"), RoleNode, RoleWrite, cancel, message.ReasonNotAllowedByStatus},
		{"a solver settles an escrow that is gone", gone, solverNamed("ann"), RoleWrite, RoleWrite, settle, message.ReasonInvalidOrderStatus},
		{"a solver cancels an escrow that is gone", gone, solverNamed("ann"), RoleWrite, RoleWrite, cancel, ok},
		{"the node settles an escrow that is gone", gone, solverNamed("node"), RoleNode, RoleWrite, settle, message.ReasonInvalidOrderStatus},
		{"the node settles an active trade", inStatus(message.TradeActive), solverNamed("node"), RoleNode, "", settle, message.ReasonInvalidOrderStatus},
		{"the node cancels an active trade", inStatus(message.TradeActive), solverNamed("node"), RoleNode, "", cancel, message.ReasonNotAllowedByStatus},
		{"the node settles a paid trade", inStatus(message.TradeSuccess), solverNamed("node"), RoleNode, "", settle, message.ReasonInvalidOrderStatus},
		{"the node cancels a frozen trade", frozen, solverNamed("node"), RoleNode, RoleWrite, cancel, message.ReasonNotAllowedByStatus},

		{"the buyer disputes", inStatus(message.TradeActive), buyer, "", "", message.ActionDispute, ok},
		{"the seller disputes after fiat-sent", inStatus(message.TradeFiatSent), seller, "", "", message.ActionDispute, ok},
		{"a resolved dispute is opened again", again, buyer, "", "", message.ActionDispute, ok},
		{"an open dispute is opened again", disputed(), seller, "", "", message.ActionDispute, message.ReasonDisputeCreationError},
		{"a stranger disputes", inStatus(message.TradeActive), partyNamed("eve"), "", "", message.ActionDispute, pubkey},
		{"a waiting trade is disputed", inStatus(message.TradeWaitingPayment), buyer, "", "", message.ActionDispute, message.ReasonNotAllowedByStatus},
		{"a paid trade is disputed", inStatus(message.TradeSettledHoldInvoice), buyer, "", "", message.ActionDispute, message.ReasonNotAllowedByStatus},
	} {
		in := from(c.from, c.action)
		in.Role, in.Holder = c.role, c.holder
		next, effects, err := Step(c.t, in)
		var refusal message.CantDo
		switch {
		case err != nil && !errors.As(err, &refusal):
			t.Errorf("%s: %v", c.name, err)
		case refusal.Reason != c.want:
			t.Errorf("%s: %q, want %q", c.name, refusal.Reason, c.want)
		case err != nil && (len(effects) > 0 || next.Steps != c.t.Steps):
			t.Errorf("%s: the refusal has an effect", c.name)
		}
	}
	for _, action := range []message.Action{settle, cancel} {
		in := from(solverNamed("ann"), action)
		in.Role = RoleWrite
		var answered Answered
		if _, _, err := Step(agreed, in); !errors.As(err, &answered) || answered.Action != message.ActionCooperativeCancelAccepted {
			t.Errorf("%s after the parties agreed: %v", action, err)
		}
	}
	limited := from(buyer, message.ActionDispute)
	limited.Limited = true
	if _, _, err := Step(inStatus(message.TradeActive), limited); !errors.Is(err, Refuse(message.ReasonTooManyRequests)) {
		t.Errorf("a dispute above the limit: %v", err)
	}
	settling := inStatus(message.TradeFiatSent)
	settling.Settling = true
	if _, _, err := Step(settling, from(buyer, message.ActionDispute)); !errors.Is(err, Refuse(message.ReasonNotAllowedByStatus)) {
		t.Errorf("a dispute after the release: %v", err)
	}
}

// TestTakeDispute checks the messages of a take, and that no preimage is in them.
func TestTakeDispute(t *testing.T) {
	in := from(solverNamed("ann"), message.ActionAdminTakeDispute)
	in.Role, in.BuyerRecord = RoleRead, &message.UserInfo{OperatingDays: 3}
	next, effects, err := Step(disputed(), in)
	if err != nil {
		t.Fatal(err)
	}
	if d := next.Dispute; d.Status != message.DisputeStatusInProgress || d.Solver.Identity != "ann" || d.SolverRole != RoleRead || d.TakenAt != disputeAt || next.Last != OnSolverTake {
		t.Errorf("%+v after %q", d, next.Last)
	}
	if !has(effects, FxPublishDispute) || len(sent(effects, next.Buyer)) != 1 || len(sent(effects, next.Seller)) != 1 {
		t.Errorf("%+v", effects)
	}
	for _, e := range effects {
		if e.Kind != FxSend {
			continue
		}
		if b := e.Message.JSON(); strings.Contains(string(b), next.Preimage.Hex()) {
			t.Errorf("a preimage is sent: %s", b)
		}
		if e.To.Key != "ann" {
			continue
		}
		ref := e.Message.Payload.(message.DisputeRef)
		if e.Message.Wrapper != message.WrapperDispute || *e.Message.ID != next.Dispute.ID || *e.Message.RequestID != 77 || ref.Info == nil || ref.Info.Preimage != nil {
			t.Errorf("the solver receives %s", e.Message.JSON())
		}
		if i := ref.Info; i.InitiatorPubkey != "buyer-key" || *i.SellerPubkey != "seller-key" || i.InitiatorInfo == nil || i.InitiatorInfo.OperatingDays != 3 || i.CounterpartInfo != nil ||
			i.OrderPreviousStatus != "fiat-sent" || *i.BuyerInvoice != "lnbc-of-the-buyer" {
			t.Errorf("the solver receives %+v", i)
		}
	}
	// The solver that lost the answer asks again. The parties are not told twice.
	in.At++
	again, effects, err := Step(next, in)
	if err != nil || len(effects) != 1 || effects[0].To.Key != "ann" || again.Dispute.TakenAt != disputeAt {
		t.Errorf("%v %+v", err, effects)
	}
}

// TestLegacyDispute holds the messages of 2023 against the seed, steps 2, 3 and 7.
func TestLegacyDispute(t *testing.T) {
	tr := inStatus(message.TradeActive)
	tr.Buyer.Transport, tr.Seller.Transport = envelope.TransportLegacy, envelope.TransportLegacy
	opener := tr.Seller
	next, effects, err := Step(tr, from(opener, message.ActionDispute))
	if err != nil {
		t.Fatal(err)
	}
	text := func(to Party) string {
		for _, e := range effects {
			if e.Kind == FxSend && e.To.Key == to.Key {
				m := e.Message.Message
				m.Version = 1 // as the seal sets it
				b, err := message.AppendLegacy(nil, m, "")
				if err != nil {
					t.Errorf("%s has no form of 2023: %v", e.Message.Action, err)
				}
				return string(b)
			}
		}
		return ""
	}
	id := tr.ID.String()
	if got, want := text(next.Seller), `{"Order":{"version":1,"id":"`+id+`","pubkey":null,"action":"DisputeInitiatedByYou","content":null}}`; got != want {
		t.Errorf("the seller receives\n%s, want\n%s", got, want)
	}
	if got, want := text(next.Buyer), `{"Order":{"version":1,"id":"`+id+`","pubkey":null,"action":"DisputeInitiatedByPeer","content":null}}`; got != want {
		t.Errorf("the buyer receives\n%s, want\n%s", got, want)
	}
	if n := len(sent(effects, next.Seller)) + len(sent(effects, next.Buyer)); n != 2 {
		t.Errorf("%d messages to the parties", n)
	}
	solver := solverNamed("ann")
	solver.Transport = envelope.TransportLegacy
	in := from(solver, message.ActionAdminTakeDispute)
	in.Role = RoleWrite
	if _, effects, err = Step(next, in); err != nil {
		t.Fatal(err)
	}
	want := `{"Dispute":{"version":1,"id":"` + id + `","pubkey":null,"action":"AdminTakeDispute","content":{"Order":{"id":"` + id +
		`","kind":"Sell","status":"Active","amount":100000,"fiat_code":"EUR","fiat_amount":100,"payment_method":"SEPA","premium":0,"master_buyer_pubkey":"buyer-key",` +
		`"master_seller_pubkey":"seller-key","buyer_invoice":"lnbc-of-the-buyer","created_at":1789996400}}}}`
	if got := text(solver); got != want {
		t.Errorf("the solver receives\n%s, want\n%s", got, want)
	}
}

// held is the state of the hold with so many blocks left above the margin.
func heldWith(t Trade, left int64) Input {
	return Input{At: disputeAt, Kind: InHold, Rules: CurrentRules, Hash: t.Hash, Hold: Hold{
		Phase: HoldAccepted, Height: 1000, ExpiryHeight: uint32(1000 + int64(t.Terms.margin()) + left), AmountSats: t.LockSats(),
	}}
}

// TestDueDispute checks the warnings, each once, and the decision at the margin.
func TestDueDispute(t *testing.T) {
	tr := taken("ann", RoleWrite)
	tr.Terms.CLTVBlocks = 432
	for _, c := range []struct {
		left int64
		told uint32 // 0: no warning is sent
	}{{100, 0}, {73, 0}, {72, 72}, {71, 0}, {49, 0}, {48, 48}, {48, 0}, {36, 36}, {30, 0}, {1, 0}} {
		next, effects, err := Step(tr, heldWith(tr, c.left))
		if err != nil && !errors.Is(err, ErrNothing) {
			t.Fatal(err)
		}
		warned := len(sent(effects, tr.Buyer)) == 1 && len(sent(effects, tr.Seller)) == 1 && len(sent(effects, tr.Dispute.Solver)) == 1
		if warned != (c.told != 0) || warned && next.Dispute.Told != c.told || next.Status != message.TradeDispute || has(effects, FxCancel) || has(effects, FxSettle) {
			t.Errorf("%d blocks before the margin: warned %v, %+v", c.left, warned, effects)
		}
		tr = next
	}
	// A program that was down at 72 and 48 blocks sends one warning.
	late := disputed()
	next, effects, err := Step(late, heldWith(late, 40))
	if err != nil || next.Dispute.Told != 48 || len(sent(effects, late.Buyer)) != 1 {
		t.Errorf("%v: told %d, %+v", err, next.Dispute.Told, effects)
	}

	end, effects, err := Step(tr, heldWith(tr, 0))
	if v := end.Dispute.Verdict; err != nil || end.Status != message.TradeCanceledByAdmin || !has(effects, FxCancel) || has(effects, FxSettle) || end.Last != OnOverdueCancel ||
		v == nil || !v.Overdue || v.Reason != "overdue" || v.By != "" || v.At != disputeAt || end.Dispute.Status != message.DisputeStatusSellerRefunded {
		t.Errorf("%v: %s after %q, %+v", err, end.Status, end.Last, v)
	}
	for _, p := range []Party{tr.Buyer, tr.Seller, tr.Dispute.Solver} {
		if got := sent(effects, p); len(got) != 1 || got[0] != message.ActionAdminCanceled {
			t.Errorf("%s receives %v", p.Key, got)
		}
	}
	pays := tr
	pays.Terms.Overdue = OverdueSettle
	end, effects, err = Step(pays, heldWith(pays, 0))
	if err != nil || end.Status != message.TradeDispute || !end.Settling || !has(effects, FxSettle) || has(effects, FxCancel) || end.Last != OnOverdueSettle || !end.Dispute.Verdict.Overdue {
		t.Errorf("%v: %s after %q", err, end.Status, end.Last)
	}

	// The clock alone decides nothing, however late it is: it may be wrong.
	unknown := Input{At: tr.SafeUntil + 1_000_000, Kind: InHoldUnknown, Rules: CurrentRules, Hash: tr.Hash}
	end, effects, err = Step(tr, unknown)
	if err != nil && !errors.Is(err, ErrNothing) || end.Status != message.TradeDispute || has(effects, FxCancel) || has(effects, FxSettle) {
		t.Errorf("%v: the clock alone made the trade %s", err, end.Status)
	}
	// A verdict that is on its way to the node is not overtaken.
	settling := tr
	settling.Settling = true
	if end, effects, _ := Step(settling, heldWith(settling, 0)); end.Status != message.TradeDispute || has(effects, FxCancel) {
		t.Errorf("the rule overtook a settlement: %s", end.Status)
	}
	// A trade of a store that may be a copy is left to the operator.
	doubtful := tr
	doubtful.Doubtful = true
	if end, effects, _ := Step(doubtful, heldWith(doubtful, 0)); end.Status == message.TradeCanceledByAdmin && !end.Sighted || has(effects, FxSettle) {
		t.Errorf("a doubtful trade became %s", end.Status)
	}
}

// TestDisputeOpensInTime checks that fiat-sent becomes a dispute 72 blocks before the margin, or
// in the middle of the usable time of a short lock.
func TestDisputeOpensInTime(t *testing.T) {
	for _, c := range []struct {
		lock uint32
		lead int64
	}{{432, 72}, {144, 60}, {60, 18}, {26, 1}} {
		tr := inStatus(message.TradeFiatSent)
		tr.Terms.CLTVBlocks = c.lock
		if next, _, _ := Step(tr, heldWith(tr, c.lead+1)); next.Status != message.TradeFiatSent {
			t.Errorf("a lock of %d blocks: %s too early", c.lock, next.Status)
		}
		next, effects, err := Step(tr, heldWith(tr, c.lead))
		if err != nil || next.Status != message.TradeDispute || next.Last != OnGuardFiatSent || next.Dispute.By != message.InitiatorBuyer || has(effects, FxCancel) {
			t.Errorf("a lock of %d blocks: %v, %s", c.lock, err, next.Status)
		}
		// The rule for a dispute that nobody decides is told to both when it opens.
		for _, p := range []Party{tr.Buyer, tr.Seller} {
			told := false
			for _, e := range effects {
				if e.Kind == FxSend && e.To.Key == p.Key && e.Message.Action == message.ActionSendDM {
					told = strings.Contains(string(e.Message.JSON()), "returns the sats to the seller")
				}
			}
			if !told {
				t.Errorf("a lock of %d blocks: %s is not told the rule", c.lock, p.Identity)
			}
		}
	}
}

// TestDoubtfulTradeIsDisputedInTime checks that an active trade of a store that may be a copy
// becomes a dispute as early as one with fiat sent: the message may be lost.
func TestDoubtfulTradeIsDisputedInTime(t *testing.T) {
	tr := inStatus(message.TradeActive)
	if next, _, _ := Step(tr, heldWith(tr, 60)); next.Status != message.TradeActive {
		t.Errorf("an active trade becomes %s", next.Status)
	}
	tr.Doubtful = true
	next, effects, err := Step(tr, heldWith(tr, 60))
	if err != nil || next.Status != message.TradeDispute || has(effects, FxCancel) {
		t.Errorf("%v: %s", err, next.Status)
	}
}

// TestReopenedDispute checks that a dispute which the parties resolved is opened again without
// its solver, its warnings and its verdict (daemon.md 5.9).
func TestReopenedDispute(t *testing.T) {
	tr := taken("ann", RoleWrite)
	tr.Status, tr.Dispute.Status, tr.Dispute.Told = message.TradeFiatSent, message.DisputeStatusSettled, 48
	tr.Dispute.Verdict = &Verdict{Action: message.ActionAdminSettle}
	for name, in := range map[string]Input{"by a party": from(tr.Seller, message.ActionDispute), "by the guard": heldWith(tr, 60)} {
		next, effects, err := Step(tr, in)
		d := next.Dispute
		if err != nil || next.Status != message.TradeDispute || d.ID != tr.Dispute.ID || d.Status != message.DisputeStatusInitiated || d.Solver != (Party{}) || d.SolverRole != "" ||
			d.TakenAt != 0 || d.Told != 0 || d.Verdict != nil || d.StampedAt <= tr.Dispute.StampedAt || !has(effects, FxPublishDispute) {
			t.Errorf("%s: %v, %+v", name, err, d)
		}
	}
}

// TestVerdicts checks the outcome of each verdict, and its record.
func TestVerdicts(t *testing.T) {
	decide := func(tr Trade, action message.Action) (Trade, []Effect) {
		t.Helper()
		in := from(solverNamed("ann"), action)
		in.Role, in.Holder, in.Reason = RoleWrite, RoleWrite, "the receipt is real"
		next, effects, err := Step(tr, in)
		if err != nil {
			t.Fatal(err)
		}
		return next, effects
	}
	tr := taken("ann", RoleWrite)
	next, effects := decide(tr, message.ActionAdminSettle)
	if !next.Settling || next.Status != message.TradeDispute || !has(effects, FxSettle) || len(sent(effects, tr.Buyer)) != 0 {
		t.Errorf("%s, %+v", next.Status, effects)
	}
	if v := next.Dispute.Verdict; v == nil || v.By != "ann" || v.Role != RoleWrite || v.At != disputeAt || v.Reason != "the receipt is real" || v.Action != message.ActionAdminSettle || v.Overdue {
		t.Errorf("the record is %+v", v)
	}
	// A solver that is removed meanwhile is no reason to stop the settlement.
	if _, _, err := Step(next, Input{At: disputeAt, Kind: InSolverGone, Rules: CurrentRules, Solver: "ann"}); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
	settled, effects, err := Step(next, Input{At: disputeAt + 1, Kind: InSettled, Rules: CurrentRules, Hash: tr.Hash})
	if err != nil || settled.Status != message.TradeSettledHoldInvoice || settled.Dispute.Status != message.DisputeStatusSettled || !has(effects, FxPay) {
		t.Fatalf("%v: %s", err, settled.Status)
	}
	for _, p := range []Party{tr.Buyer, tr.Seller, tr.Dispute.Solver} {
		if got := sent(effects, p); len(got) != 1 || got[0] != message.ActionAdminSettled {
			t.Errorf("%s receives %v", p.Key, got)
		}
	}
	// If the hold ended before, the verdict is void, the solver learns it, and another verdict
	// may follow.
	void, effects, err := Step(next, Input{At: disputeAt + 1, Kind: InSettleRefused, Rules: CurrentRules, Hash: tr.Hash})
	if err != nil || void.Status != message.TradeDispute || !void.EscrowGone || void.Settling || void.Dispute.Verdict != nil || len(sent(effects, tr.Dispute.Solver)) != 1 {
		t.Errorf("%v: %s, %+v", err, void.Status, void.Dispute)
	}
	if next, effects = decide(void, message.ActionAdminCancel); next.Status != message.TradeCanceledByAdmin || has(effects, FxCancel) {
		t.Errorf("%s, %+v", next.Status, effects)
	}

	next, effects = decide(tr, message.ActionAdminCancel)
	if next.Status != message.TradeCanceledByAdmin || !has(effects, FxCancel) || next.Dispute.Status != message.DisputeStatusSellerRefunded || len(next.Closing) != 1 ||
		next.Dispute.Verdict.Reason != "the receipt is real" || len(sent(effects, tr.Buyer)) != 1 || len(sent(effects, tr.Seller)) != 1 || len(sent(effects, tr.Dispute.Solver)) != 1 {
		t.Errorf("%s, %+v", next.Status, effects)
	}
	// A trade of a store that may be a copy is frozen: the hold may be settled and paid out.
	for _, action := range []message.Action{message.ActionAdminSettle, message.ActionAdminCancel} {
		copied := tr
		copied.Doubtful = true
		if next, effects = decide(copied, action); !next.Frozen || has(effects, FxCancel) || has(effects, FxSettle) {
			t.Errorf("%s of a doubtful trade: %s, frozen %v", action, next.Status, next.Frozen)
		}
		copied.Sighted = true
		if next, effects = decide(copied, action); next.Frozen || !has(effects, FxCancel) && !has(effects, FxSettle) {
			t.Errorf("%s of a doubtful trade whose hold was seen: frozen %v", action, next.Frozen)
		}
	}
}

// TestPartiesEndADispute checks that the solver is told if the parties end the dispute.
func TestPartiesEndADispute(t *testing.T) {
	tr := taken("ann", RoleWrite)
	next, _, err := Step(tr, from(tr.Seller, message.ActionRelease))
	if err != nil {
		t.Fatal(err)
	}
	end, effects, err := Step(next, Input{At: disputeAt + 1, Kind: InSettled, Rules: CurrentRules, Hash: tr.Hash})
	if got := sent(effects, tr.Dispute.Solver); err != nil || len(got) != 1 || got[0] != message.ActionReleased || end.Dispute.Status != message.DisputeStatusReleased {
		t.Errorf("%v: the solver receives %v, %s", err, got, end.Dispute.Status)
	}
	next, _, err = Step(tr, from(tr.Seller, message.ActionCancel))
	if err != nil {
		t.Fatal(err)
	}
	end, effects, err = Step(next, from(tr.Buyer, message.ActionCancel))
	if got := sent(effects, tr.Dispute.Solver); err != nil || len(got) != 1 || got[0] != message.ActionCooperativeCancelAccepted || end.Dispute.Status != message.DisputeStatusCooperativelyCanceled {
		t.Errorf("%v: the solver receives %v, %s", err, got, end.Dispute.Status)
	}
	for _, e := range effects {
		if e.Kind == FxSend && e.To.Key == "ann" {
			if ref, ok := e.Message.Payload.(message.DisputeRef); !ok || ref.ID != tr.Dispute.ID || ref.Info != nil || *e.Message.ID != tr.ID || e.Message.RequestID != nil {
				t.Errorf("the solver receives %s", e.Message.JSON())
			}
		}
	}
}

// TestSolverGone checks that a removed solver loses the disputes that it has taken.
func TestSolverGone(t *testing.T) {
	gone := Input{At: disputeAt, Kind: InSolverGone, Rules: CurrentRules, Solver: "ann"}
	next, effects, err := Step(taken("ann", RoleWrite), gone)
	if d := next.Dispute; err != nil || d.Solver != (Party{}) || d.SolverRole != "" || d.Status != message.DisputeStatusInitiated || !has(effects, FxPublishDispute) {
		t.Errorf("%v: %+v", err, d)
	}
	for name, tr := range map[string]Trade{"another's": taken("bob", RoleWrite), "nobody's": disputed(), "no dispute": inStatus(message.TradeActive)} {
		if _, _, err := Step(tr, gone); !errors.Is(err, ErrNothing) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCloseByHand checks which trades an operator may close, and how.
func TestCloseByHand(t *testing.T) {
	frozen := func(status message.TradeStatus) Trade {
		tr := inStatus(status)
		tr.Frozen = true
		return tr
	}
	gone := disputed()
	gone.EscrowGone = true
	fiatGone := inStatus(message.TradeFiatSent)
	fiatGone.EscrowGone = true
	for _, c := range []struct {
		name    string
		t       Trade
		outcome Outcome
		want    message.TradeStatus // "": nothing happens
		cancels bool
	}{
		{"escrow gone, refunded", gone, OutcomeRefunded, message.TradeCanceledByAdmin, false},
		{"escrow gone after fiat-sent, refunded", fiatGone, OutcomeRefunded, message.TradeCanceledByAdmin, false},
		{"escrow gone, paid", gone, OutcomePaid, "", false},
		{"frozen dispute, refunded", func() Trade { d := disputed(); d.Frozen = true; return d }(), OutcomeRefunded, message.TradeCanceledByAdmin, true},
		{"frozen dispute, paid", func() Trade { d := disputed(); d.Frozen = true; return d }(), OutcomePaid, message.TradeCompletedByAdmin, false},
		{"frozen payout, paid", frozen(message.TradeSettledHoldInvoice), OutcomePaid, message.TradeCompletedByAdmin, false},
		{"frozen payout, refunded", frozen(message.TradeSettledHoldInvoice), OutcomeRefunded, "", false},
		{"frozen order, paid", frozen(message.TradePending), OutcomePaid, "", false},
		{"frozen waiting, refunded", frozen(message.TradeWaitingPayment), OutcomeRefunded, message.TradeCanceledByAdmin, true},
		{"dispute", disputed(), OutcomeRefunded, "", false},
		{"active", inStatus(message.TradeActive), OutcomeRefunded, "", false},
		{"over", inStatus(message.TradeSuccess), OutcomeRefunded, "", false},
		{"no outcome", gone, "", "", false},
	} {
		in := Input{At: disputeAt, Kind: InClose, Rules: CurrentRules, Outcome: c.outcome, Reason: "looked at the node"}
		next, effects, err := Step(c.t, in)
		if c.want == "" {
			if !errors.Is(err, ErrNothing) {
				t.Errorf("%s: %v, %s", c.name, err, next.Status)
			}
			continue
		}
		if err != nil || next.Status != c.want || next.Frozen || has(effects, FxCancel) != c.cancels || has(effects, FxSettle) || has(effects, FxPay) {
			t.Errorf("%s: %v, %s, %+v", c.name, err, next.Status, effects)
		}
		if c.t.Status == message.TradeDispute && (next.Dispute.Verdict == nil || next.Dispute.Verdict.Reason != "looked at the node" || !has(effects, FxPublishDispute)) {
			t.Errorf("%s: the verdict is %+v", c.name, next.Dispute.Verdict)
		}
		in.Reason = ""
		if _, _, err := Step(c.t, in); err == nil || errors.Is(err, ErrNothing) {
			t.Errorf("%s without a reason: %v", c.name, err)
		}
	}
}

// TestOperatorCancelsAnOrder checks that only the node's key cancels an order that nobody took.
func TestOperatorCancelsAnOrder(t *testing.T) {
	tr := inStatus(message.TradePending)
	tr.Buyer, tr.Hash, tr.Preimage, tr.HoldInvoice = Party{}, Hash{}, Preimage{}, ""
	for role, want := range map[Role]message.TradeStatus{RoleNode: message.TradeCanceledByAdmin, RoleWrite: message.TradePending, RoleRead: message.TradePending, "": message.TradePending} {
		in := from(solverNamed("ann"), message.ActionAdminCancel)
		in.Role = role
		next, effects, err := Step(tr, in)
		if next.Status != want || (err == nil) != (want != message.TradePending) || has(effects, FxCancel) {
			t.Errorf("role %q: %v, %s", role, err, next.Status)
		}
	}
}

// TestDisputedRangeDoesNotComeBack holds that a verdict ends a range order, and that a release by
// the seller does not.
func TestDisputedRangeDoesNotComeBack(t *testing.T) {
	tr := taken("ann", RoleWrite)
	tr.MinFiat, tr.MaxFiat, tr.FiatAmount, tr.ExpiresAt = 10, 100, 20, disputeAt+3600
	tr.Next = message.NextTrade{Pubkey: "next", Index: 9}
	settled := func(in Input) []Effect {
		t.Helper()
		next, _, err := Step(tr, in)
		if err != nil {
			t.Fatal(err)
		}
		next, effects, err := Step(next, Input{At: disputeAt + 1, Kind: InSettled, Rules: CurrentRules, Hash: tr.Hash})
		if err != nil || next.Status != message.TradeSettledHoldInvoice {
			t.Fatalf("%v: %s", err, next.Status)
		}
		return effects
	}
	verdict := from(solverNamed("ann"), message.ActionAdminSettle)
	verdict.Role, verdict.Holder, verdict.Reason = RoleWrite, RoleWrite, "x"
	if has(settled(verdict), FxSpawn) {
		t.Error("the rest of a range order comes back after a verdict")
	}
	if !has(settled(from(tr.Seller, message.ActionRelease)), FxSpawn) {
		t.Error("the rest of a range order does not come back after a release")
	}
}

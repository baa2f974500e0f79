package escrow

import (
	"errors"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// TestTakingAgainChangesNothing has a solver take its own dispute again and again. Each request
// is answered, and the journal has no row of it.
func TestTakingAgainChangesNothing(t *testing.T) {
	r := newRig(t)
	ann := r.solver(trade.RoleRead)
	id, dispute, _, buyer := r.toDispute()
	r.must(ann, message.ActionAdminTakeDispute, &dispute, nil)
	before, rows := r.trade(id), len(r.store.journal[id])
	for range 50 {
		r.must(ann, message.ActionAdminTakeDispute, &dispute, nil)
	}
	if after := r.trade(id); after.Steps != before.Steps || len(r.store.journal[id]) != rows {
		t.Errorf("%d steps and %d rows more", after.Steps-before.Steps, len(r.store.journal[id])-rows)
	}
	if got := r.got(ann, message.ActionAdminTookDispute); got != 51 {
		t.Errorf("the solver has %d answers of 51", got)
	}
	if info := r.last(ann, message.ActionAdminTookDispute).Payload.(message.DisputeRef).Info; info == nil || info.ID != id {
		t.Errorf("%+v", info)
	}
	if got := r.got(buyer, message.ActionAdminTookDispute); got != 1 {
		t.Errorf("the buyer is told %d times", got)
	}
	// A new role is a change.
	if err := r.book.SetSolver(ann.Key, trade.RoleWrite, r.node.now); err != nil {
		t.Fatal(err)
	}
	r.must(ann, message.ActionAdminTakeDispute, &dispute, nil)
	if after := r.trade(id); after.Steps != before.Steps+1 || after.Dispute.SolverRole != trade.RoleWrite {
		t.Errorf("%+v", after.Dispute)
	}
	// A dispute that is over cannot be taken again.
	r.must(ann, message.ActionAdminCancel, &id, nil)
	r.refused(message.ReasonNotFound, ann, message.ActionAdminTakeDispute, &dispute, nil)
}

// TestRemovedSolverOfManyDisputes removes a solver with more disputes than one commit frees. The
// others are free after the next ticks, also across a restart, and the solver decides none of
// them in between.
func TestRemovedSolverOfManyDisputes(t *testing.T) {
	r := newRig(t)
	ann, bob := r.solver(trade.RoleWrite), r.solver(trade.RoleWrite)
	const disputes = 138 // of which a commit frees 64
	var ids, names []trade.OrderID
	for range disputes {
		id, dispute, _, _ := r.toDispute()
		r.must(ann, message.ActionAdminTakeDispute, &dispute, nil)
		ids, names = append(ids, id), append(names, dispute)
	}
	held := func() (n int) {
		for _, id := range ids {
			if r.trade(id).Dispute.Solver.Identity == ann.Identity {
				n++
			}
		}
		return n
	}
	if err := r.book.SetSolver(ann.Key, "", r.node.now); err != nil {
		t.Fatal(err)
	}
	if n := len(r.book.batch.commit.Trades); n != 64 {
		t.Errorf("one commit frees %d disputes", n)
	}
	r.commit()
	if n := held(); n != disputes-64 {
		t.Errorf("%d disputes are held", n)
	}
	for i, id := range ids {
		if r.trade(id).Dispute.Solver.Identity == ann.Identity {
			r.refused(message.ReasonNotAuthorized, ann, message.ActionAdminSettle, &ids[i], nil)
			break
		}
	}
	r.start()
	for tick := 1; held() > 0; tick++ {
		if tick > 3 {
			t.Fatalf("%d disputes are held after %d ticks", held(), tick)
		}
		if err := r.book.freeDisputes(r.node.now); err != nil {
			t.Fatal(err)
		}
		r.commit()
	}
	r.settle()
	steps := r.trade(ids[0]).Steps
	if err := r.book.freeDisputes(r.node.now); err != nil || len(r.book.batch.commit.Trades) != 0 {
		t.Errorf("%v: free disputes are freed again", err)
	}
	if r.commit(); r.trade(ids[0]).Steps != steps {
		t.Error("a free dispute changes")
	}
	r.must(bob, message.ActionAdminTakeDispute, &names[disputes-1], nil)
}

// TestSolverDecidesInTheInbox holds decisions that come by the page and not by a message. The
// solver's client is told the outcome, and the role counts.
func TestSolverDecidesInTheInbox(t *testing.T) {
	r := newRig(t)
	ann, bob := r.solver(trade.RoleWrite), r.solver(trade.RoleRead)
	id, dispute, _, buyer := r.toDispute()
	decide := func(by trade.Party, action message.Action, reason string) error {
		err := r.book.DecideAs(by.Key, dispute, action, reason, r.node.now)
		r.commit()
		r.settle()
		return err
	}
	refused := func(what string, want message.Reason, err error) {
		t.Helper()
		var refusal message.CantDo
		if !errors.As(err, &refusal) || refusal.Reason != want {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	refused("a stranger takes", message.ReasonInvalidPubkey, decide(r.someone(), message.ActionAdminTakeDispute, ""))
	refused("the buyer takes", message.ReasonInvalidPubkey, decide(buyer, message.ActionAdminTakeDispute, ""))
	refused("a solver decides what is free", message.ReasonIsNotYourDispute, decide(ann, message.ActionAdminSettle, "x"))
	if err := decide(bob, message.ActionAdminTakeDispute, ""); err != nil {
		t.Error(err)
	}
	if r.got(bob, message.ActionAdminTookDispute) != 1 || r.trade(id).Dispute.Solver.Key != bob.Key {
		t.Errorf("%+v", r.trade(id).Dispute)
	}
	refused("a read-only solver decides", message.ReasonNotAuthorized, decide(bob, message.ActionAdminSettle, "x"))
	if err := decide(ann, message.ActionAdminTakeDispute, ""); err != nil {
		t.Error(err)
	}
	if err := decide(ann, message.ActionAdminSettle, ""); !errors.Is(err, ErrReason) {
		t.Errorf("without a reason: %v", err)
	}
	if err := r.book.DecideAs(ann.Key, trade.OrderID{9}, message.ActionAdminSettle, "x", r.node.now); !errors.Is(err, mostro.ErrNotFound) {
		t.Errorf("of no trade: %v", err)
	}
	if err := decide(ann, message.ActionAdminSettle, "the receipt is right"); err != nil {
		t.Error(err)
	}
	r.status(message.TradeSettledHoldInvoice, id)
	if v := r.trade(id).Dispute.Verdict; v.By != ann.Key || v.Role != trade.RoleWrite || v.Reason != "the receipt is right" {
		t.Errorf("%+v", v)
	}
	if r.got(ann, message.ActionAdminSettled) != 1 || r.got(buyer, message.ActionAdminSettled) != 1 {
		t.Error("the outcome is not told")
	}
	r.resolves(id, true)
}

// TestClockAloneDecidesNoDispute has a node that does not state when a hold ends, and a clock
// that is far ahead. The rule for overdue disputes acts only on what the chain proves.
func TestClockAloneDecidesNoDispute(t *testing.T) {
	for name, accepted := range map[string]bool{"the height of the acceptance is known": true, "no height is known": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id, _, _, _ := r.toDispute()
			tr := r.trade(id)
			at := uint32(1000)
			state := func(height uint32) trade.Input {
				in := trade.Input{Kind: trade.InHold, Hash: tr.Hash, Hold: trade.Hold{Phase: trade.HoldAccepted, Height: height, AmountSats: tr.LockSats()}}
				if accepted {
					in.Hold.AcceptHeight = at
				}
				return in
			}
			last := at + tr.Terms.CLTVBlocks - marginBlocks(tr.Terms)
			r.node.now += 10 * 86_400 // the clock is ahead
			r.applyInput(id, state(at+5))
			r.applyInput(id, state(last-1))
			r.commit()
			r.status(message.TradeDispute, id)
			if told := r.trade(id).Dispute.Told; told != 36 {
				t.Errorf("told at %d blocks, want the last warning", told)
			}
			r.applyInput(id, state(last))
			r.commit()
			if got, decided := r.trade(id), r.trade(id).Status == message.TradeCanceledByAdmin; decided != accepted {
				t.Errorf("at the last block the trade is %s", got.Status)
			}
			if !accepted {
				// The node states the expiry later: the rule acts.
				in := state(last)
				in.Hold.AcceptHeight, in.Hold.ExpiryHeight = at, last+marginBlocks(tr.Terms)
				r.applyInput(id, in)
				r.commit()
				r.status(message.TradeCanceledByAdmin, id)
			}
			r.settle()
		})
	}
}

package escrow

import (
	"errors"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// simNodeKey and simAssistant are the node's own key and the key of its assistant.
var simNodeKey, simAssistant = simKey(1 << 50), simKey(1<<50 + 1)

// simSolvers are the keys that are sometimes solvers. The last one is also the identity of a
// trader.
func simSolverKey(n int) string {
	if n == 4 {
		return simKey(1 << 40)
	}
	return simKey(uint64(1<<50 + 10 + n))
}

// solver is one random action of a solver or of the operator.
func (s *sim) solver() {
	switch s.rng.IntN(10) {
	case 0, 1:
		s.changeSolver()
		return
	case 2:
		s.operate()
		return
	}
	var ids []trade.OrderID
	for _, id := range s.order {
		if t := s.book.open[id]; t != nil && t.Dispute.Status != "" {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return
	}
	t := *s.book.open[ids[s.rng.IntN(len(ids))]]
	p := trade.Party{Key: simSolverKey(s.rng.IntN(5)), Transport: envelope.TransportV2}
	switch s.rng.IntN(12) {
	case 0:
		p.Key = simNodeKey
	case 1:
		p.Key = simAssistant
	case 2:
		p = t.Buyer // a party without any right
	case 3:
		p.Key = simKey(1<<51 + s.rng.Uint64N(5)) // a stranger
	case 4, 5, 6, 7:
		if t.Dispute.Solver.Identity != "" {
			p.Key = t.Dispute.Solver.Identity
		}
	}
	if p.Identity == "" {
		p.Identity = p.Key
	}
	id, dispute := t.ID, t.Dispute.ID
	switch s.rng.IntN(4) {
	case 0, 1:
		s.send(p, nil, message.ActionAdminTakeDispute, &dispute, nil)
	case 2:
		s.send(p, nil, message.ActionAdminSettle, []*trade.OrderID{&id, &dispute}[s.rng.IntN(2)], nil)
	default:
		s.send(p, nil, message.ActionAdminCancel, []*trade.OrderID{&id, &dispute}[s.rng.IntN(2)], nil)
	}
}

// changeSolver adds a solver, changes its role, or removes it.
func (s *sim) changeSolver() {
	if s.stopped || s.reconciling {
		return
	}
	role := []trade.Role{"", trade.RoleRead, trade.RoleWrite, trade.RoleWrite}[s.rng.IntN(4)]
	s.batch() // the roles of a batch are those of its beginning
	if err := s.book.SetSolver(simSolverKey(s.rng.IntN(5)), role, s.clock()); err != nil && !errors.Is(err, mostro.ErrNotFound) {
		s.fail("set solver: %v", err)
	}
	s.commit()
}

// operate is a verb of the operator: a decision about a dispute or an order, or the closing of
// a trade whose escrow is gone.
func (s *sim) operate() {
	s.batch() // as the engine, which looks at the clock before a verb
	open := s.unfinished()
	if len(open) == 0 || s.stopped || s.reconciling {
		return
	}
	t := *s.book.open[open[s.rng.IntN(len(open))]]
	for range 8 {
		if t.Status == message.TradeDispute || s.rng.IntN(4) == 0 {
			break
		}
		t = *s.book.open[open[s.rng.IntN(len(open))]]
	}
	if t.EscrowGone && !t.Frozen && s.rng.IntN(3) == 0 {
		s.close(t, trade.OutcomeRefunded)
		return
	}
	if t.Status == message.TradePending && s.rng.IntN(8) > 0 {
		return
	}
	action := []message.Action{message.ActionAdminTakeDispute, message.ActionAdminSettle, message.ActionAdminCancel}[s.rng.IntN(3)]
	// The page of the inbox decides under the role of the key that has logged in. Several persons
	// decide at once, also one who is a party, and one whose role is gone since.
	by := []string{simNodeKey, simNodeKey, simAssistant, t.Buyer.Identity, simKey(1<<51 + 7)}
	for n := range 5 {
		by = append(by, simSolverKey(n))
	}
	if holder := t.Dispute.Solver.Identity; holder != "" {
		by = append(by, holder, holder, holder)
	}
	for range 1 + s.rng.IntN(3) {
		key, reason := by[s.rng.IntN(len(by))], "by the inbox"
		if s.rng.IntN(20) == 0 {
			reason = ""
		}
		rows := len(s.book.batch.commit.Journal)
		err := s.book.DecideAs(key, t.ID, action, reason, s.clock())
		var refusal message.CantDo
		switch {
		case errors.Is(err, ErrReason) && (reason != "" || action == message.ActionAdminTakeDispute), err == nil && reason == "" && action != message.ActionAdminTakeDispute:
			s.fail("%s with the reason %q: %v", action, reason, err)
		case err != nil && !errors.Is(err, ErrReason) && !errors.Is(err, mostro.ErrNotFound) && !errors.As(err, &refusal) && !errors.As(err, new(trade.Answered)):
			s.fail("the inbox: %v", err)
		case err == nil && key != simNodeKey && action != message.ActionAdminTakeDispute && len(s.book.batch.commit.Journal) > rows:
			s.count.inInbox++
		}
		if s.rng.IntN(2) == 0 {
			s.commit()
		}
		if s.err != nil || s.stopped || s.reconciling {
			return
		}
	}
	s.commit()
}

// close closes a trade by hand.
func (s *sim) close(t trade.Trade, outcome trade.Outcome) {
	s.noticeClock()
	err := s.book.Close(t.ID, outcome, "looked at the node", s.withheld[t.ID], s.clock())
	if err != nil && !errors.Is(err, ErrUnderWay) && !errors.Is(err, trade.ErrNothing) {
		s.fail("close: %v", err)
	}
	s.commit()
}

// roleOf returns the present role of a key by the committed rows.
func (s *sim) roleOf(key string) trade.Role {
	switch {
	case key == simNodeKey:
		return trade.RoleNode
	case s.store.solvers[key].Role != "":
		return s.store.solvers[key].Role
	case key == simAssistant:
		return trade.RoleRead
	}
	return ""
}

// judgeSolver checks that a message of a solver was decided by a key with the right for it.
func (s *sim) judgeSolver(row JournalRow, was trade.Trade) {
	from, action := row.Input.Request.From, row.Input.Request.Message.Action
	role := s.roleOf(from.Identity)
	if role != row.Input.Role || role == "" {
		s.fail("%s of %s by %q, whose role is %q and was taken for %q", action, row.Trade, from.Identity, role, row.Input.Role)
	}
	for _, p := range []trade.Party{was.Buyer, was.Seller} {
		if p.Key != "" && (p.Identity == from.Identity || p.Key == from.Identity || p.Key == from.Key) {
			s.fail("%s of %s by one of its parties", action, row.Trade)
		}
	}
	if action == message.ActionAdminTakeDispute {
		return
	}
	switch {
	case role != trade.RoleWrite && role != trade.RoleNode:
		s.fail("%s of %s by a solver who may only read", action, row.Trade)
	case role != trade.RoleNode && was.Dispute.Solver.Identity != from.Identity:
		s.fail("%s of %s by a solver who has not taken it", action, row.Trade)
	case was.Status != message.TradeDispute && !(was.Status == message.TradePending && role == trade.RoleNode):
		s.fail("%s of %s, which is %s", action, row.Trade, was.Status)
	case was.Settling:
		s.fail("%s of %s, which the seller has released", action, row.Trade)
	}
	if action == message.ActionAdminSettle {
		s.truth[row.Trade].released[was.Hash] = s.generation
	}
}

// judgeOverdue checks that the rule for overdue disputes acts at the margin and not before,
// and records a settlement that it orders.
func (s *sim) judgeOverdue(row JournalRow, was trade.Trade) {
	next, _, err := trade.Step(was, row.Input)
	if err != nil || next.Last != trade.OnOverdueCancel && next.Last != trade.OnOverdueSettle {
		return
	}
	h := row.Input.Hold
	if row.Input.Kind != trade.InHold {
		s.fail("dispute of %s decided by the clock alone", row.Trade)
	}
	if left := int64(h.ExpiryHeight) - int64(h.Height) - int64(marginBlocks(was.Terms)); h.ExpiryHeight != 0 && left > 0 {
		s.fail("dispute of %s decided %d blocks before the margin", row.Trade, left)
	}
	if next.Last == trade.OnOverdueSettle {
		s.truth[row.Trade].released[was.Hash] = s.generation
	}
}

package escrow

import (
	"errors"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// owes reports whether a trade owes a payment besides the payout.
func owes(t trade.Trade) bool {
	return slices.ContainsFunc(t.Outflows, func(o trade.Outflow) bool { return !o.Done() })
}

// moneyOf returns the number of settled holds of a trade at the node, and the number of its
// payments that have succeeded or are in flight.
func (s *sim) moneyOf(id trade.OrderID) (settled, paid int) {
	for _, h := range s.truth[id].holds {
		if hold := s.node.holds[h]; hold != nil && hold.state.Phase == trade.HoldSettled {
			settled++
		}
	}
	for _, p := range s.node.pays {
		if p.order == id.String() && (p.state.Status == trade.PaymentSucceeded || p.state.Status == trade.PaymentInFlight) {
			paid++
		}
	}
	return settled, paid
}

// resolveSuspense acts as an operator who looks at the node and decides about the amounts in
// suspense of a trade.
func (s *sim) resolveSuspense(id trade.OrderID) {
	t, ok := s.store.trades[id]
	if !ok || s.reconciling {
		return
	}
	settled, paid := s.moneyOf(id)
	if t.Status == "settled-hold-invoice" || t.Settling {
		return // the payout of another take may be sent at any moment
	}
	for _, u := range t.Suspended {
		n := t.Refund(u.Hash)
		if u.Outcome != "" && n == 0 {
			continue
		}
		r := Resolution{Hash: u.Hash, Msat: u.PaidMsat, Reason: "looked at the node", Outcome: trade.OutcomePaid}
		switch {
		case u.Outcome != "" && s.rng.IntN(3) > 0:
			continue // the refund is left alone
		case u.Outcome != "" && paid >= settled && !t.Frozen:
			continue // its own payment
		case u.Outcome == "" && s.rng.IntN(3) > 0:
			continue // later
		case paid >= settled && s.rng.IntN(2) == 0:
			r.Outcome = trade.OutcomeKept
		case paid >= settled:
		case s.rng.IntN(4) == 0:
			r.Outcome = trade.OutcomeRefunded
		default:
			r.Outcome = trade.OutcomeRefund
			var h trade.Hash
			_, _ = simReader{s.rng}.Read(h[:])
			r.To = []string{id.String() + "@home", simInvoice(h, u.PaidMsat/1000*1000, s.node.now+7200, id.String())}[s.rng.IntN(2)]
		}
		s.noticeClock()
		last := trade.PaymentUnknown
		if p := s.node.pays[lastRefund(t, u.Hash)]; p != nil {
			last = p.state.Status
		}
		err := s.book.Resolve(id, r, true, s.withheld[id], last, s.clock())
		switch {
		case err == nil:
			s.count.resolved++
			if r.Outcome == trade.OutcomeRefund {
				s.count.refunds++
			}
		case errors.Is(err, ErrUnderWay), errors.Is(err, ErrRefundMoves), errors.Is(err, trade.ErrNothing), errors.Is(err, ErrRefundTo):
		default:
			s.fail("resolve: %v", err)
		}
		s.inputs = append(s.inputs, simInput{trade: id, kind: trade.InResolve})
		s.commit()
		return
	}
}

// settleElsewhere has the node settle a hold that a copied store is about to cancel, as if the
// seller had released in the time that the copy has lost. In half of the cases the buyer was
// paid in that time.
func (s *sim) settleElsewhere(row OutboxRow) {
	hold := s.node.holds[row.Effect.Hash]
	if row.Effect.Kind != trade.FxCancel || !s.copied(row.Trade) || hold == nil || hold.state.Phase != trade.HoldAccepted || s.calm || s.rng.IntN(4) == 0 {
		return
	}
	hold.state.Phase = trade.HoldSettled
	s.node.heldMsat -= hold.state.PaidMsat
	s.node.settledMsat += hold.state.PaidMsat
	if s.rng.IntN(2) == 0 {
		return
	}
	var h trade.Hash
	_, _ = simReader{s.rng}.Read(h[:])
	s.node.pays[h] = &simPay{order: row.Trade.String(), state: lightning.PaymentState{Hash: h, Status: trade.PaymentInFlight, AmountMsat: hold.state.PaidMsat / 100 * 99, FeeMsat: 7}}
	s.node.resolve(h, true)
}

// suspended reports whether an amount in suspense has no owner yet, or its refund is not over.
func (s *sim) suspended() bool {
	for _, t := range s.store.trades {
		if s.undecided(t) {
			return true
		}
	}
	return false
}

func (s *sim) undecided(t trade.Trade) bool {
	return slices.ContainsFunc(t.Suspended, func(u trade.Suspended) bool { return u.Outcome == "" || t.Refund(u.Hash) != 0 })
}

// judgeSuspense checks at the end of a world that each amount in suspense has an owner, and
// that each refund was paid once or withdrawn.
func (s *sim) judgeSuspense(id trade.OrderID) {
	t := s.store.trades[id]
	for _, u := range t.Suspended {
		if u.Outcome == "" || t.Refund(u.Hash) != 0 {
			s.fail("the amount of hold %s of trade %s is in suspense at the end: %+v; %s, frozen %v, %+v", u.Hash, id, u, t.Status, t.Frozen, t.Outflows)
		}
		if hold := s.node.holds[u.Hash]; hold == nil || hold.state.Phase != trade.HoldSettled || hold.state.PaidMsat != u.PaidMsat {
			s.fail("trade %s has %d msat in suspense under hold %s, and the node does not", id, u.PaidMsat, u.Hash)
		}
	}
	for _, o := range t.Outflows {
		p := s.node.pays[o.LastHash]
		if !o.Withdrawn && (p == nil || p.state.Status != trade.PaymentSucceeded || p.state.AmountMsat != o.AmountSats*1000 || p.state.FeeMsat != o.FeeMsat) {
			s.fail("trade %s has an outflow that is over and was not paid: %+v", id, o)
		}
	}
}

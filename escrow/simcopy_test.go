package escrow

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// putBack makes a copy of the store, or replaces the store by the last copy. The Lightning
// node and the log have continued meanwhile. The engine detects a copy by its rollback guard
// or by the node's invoices; the simulation assumes that detection.
func (s *sim) putBack() {
	switch {
	case !s.fragile:
		return
	case s.backup == nil || s.rng.IntN(3) == 0:
		s.backup, s.backupAnswered = s.store.clone(), maps.Clone(s.answered)
		return
	}
	s.count.rollbacks++
	s.store, s.backup = s.backup, nil
	s.store.head.Copied = true
	s.operators = s.store.head.Maintenance.On && !s.store.head.Maintenance.Automatic
	s.store.failBefore, s.store.failAfter = false, false
	s.generation++
	s.behind = uint64(len(s.log))
	for _, id := range s.order {
		s.mayFreeze[id] = true
		truth := s.truth[id]
		truth.frozen, truth.stamp, truth.copied = s.store.trades[id].Frozen, 0, true
	}
	clear(s.undeliver) // new rows are numbered from the last row of the copy
	clear(s.probed)
	clear(s.stale) // a message that waited too long is read again
	for _, row := range s.store.outbox {
		if row.Inbound != nil {
			s.probed[row.ID] = row.Inbound.ProbedAt
		}
	}
	clear(s.abandoned)
	clear(s.past)
	clear(s.votes)
	s.answered = s.backupAnswered
	clear(s.ratedAt)
	_ = rating.Votes(s.store, func(v rating.Vote) error { s.votes[s.voteOf(v)] = true; return nil })
	s.outage = s.node.now
	s.start()
}

// copied reports whether a trade existed when the store was last replaced by a copy. The
// store may not know the changes of that trade since the copy.
func (s *sim) copied(id trade.OrderID) bool { return s.truth[id] != nil && s.truth[id].copied }

// lookUp looks one open hash up, as Engine.lookUp does, and ends the comparison after the
// last hash.
func (s *sim) lookUp() {
	s.outage = s.node.now
	if len(s.lookups) == 0 {
		s.reconciling = false
		s.book.Reconciling, s.book.head.Copied, s.book.changed = false, false, true
		s.commit()
		return
	}
	id := s.lookups[0]
	if t := s.book.open[id]; t != nil && t.Hash != (trade.Hash{}) {
		state, err := s.node.LookupHold(context.Background(), t.Hash)
		in := trade.Input{}
		if err == nil {
			in, err = effect.SightedInput(context.Background(), s.node.Info, state)
		}
		switch {
		case err == nil:
			s.applyInput(id, in)
		case !errors.Is(err, lightning.ErrNotFound):
			s.node.down = s.node.down && s.rng.IntN(5) > 0
			return // the lookup is repeated
		}
	}
	s.lookups = s.lookups[1:]
	s.batch()
}

// verdict returns an operator's decision about a frozen trade, based on the state of the
// node. The trade continues, or its buyer is paid after all, or neither if a payment of the
// trade is in flight or was made.
func (s *sim) verdict(t trade.Trade) trade.InputKind {
	settled, paid := 0, 0
	for _, h := range s.truth[t.ID].holds {
		if hold := s.node.holds[h]; hold != nil && hold.state.Phase == trade.HoldSettled {
			settled++
		}
	}
	for _, p := range s.node.pays {
		if p.order != t.ID.String() {
			continue
		}
		switch p.state.Status {
		case trade.PaymentSucceeded:
			paid++
		case trade.PaymentInFlight:
			if s.copied(t.ID) {
				return ""
			}
		}
	}
	live := s.node.holds[t.Hash]
	debts, own := s.debts(t)
	switch {
	case !s.copied(t.ID):
		return trade.InResume
	case paid > own && paid-own+debts > settled:
		// One of the debts was paid in the lost time, and a resumed trade pays all of them.
		if !s.abandoned[t.ID] {
			s.count.abandoned++
		}
		s.abandoned[t.ID] = true
		return ""
	case s.refunded(t):
		return trade.InResume // the call is repeated, and the node answers that it has paid
	case paid > 0 && paid >= settled, live != nil && live.state.Phase == trade.HoldSettled && !trade.Escrowed(t.Status) && t.Status != message.TradeSettledHoldInvoice:
		// The payout was already made, or the order was not taken in this store.
		if !s.abandoned[t.ID] {
			s.count.abandoned++
		}
		s.abandoned[t.ID] = true
		return ""
	case live != nil && live.state.Phase == trade.HoldSettled && (t.Status == message.TradeFiatSent || t.Status == message.TradeDispute):
		return trade.InPayAfterAll
	case live != nil && live.state.Phase == trade.HoldSettled && t.Status == message.TradeActive:
		if !s.abandoned[t.ID] {
			s.count.abandoned++
		}
		s.abandoned[t.ID] = true
		return ""
	}
	return trade.InResume
}

// debts returns the number of payments that a trade owes, and how many of them the node has made
// under the hash that the store knows.
func (s *sim) debts(t trade.Trade) (owed, own int) {
	made := func(h trade.Hash) {
		owed++
		if p := s.node.pays[h]; p != nil && p.state.Status == trade.PaymentSucceeded {
			own++
		}
	}
	if t.Status == message.TradeSettledHoldInvoice {
		made(t.Payout.LastHash)
	}
	for _, o := range t.Outflows {
		if !o.Done() {
			made(o.LastHash)
		}
	}
	return owed, own
}

// refunded reports whether the node has paid a refund that the store does not know as paid,
// because a process in the time that a copy has lost sent it.
func (s *sim) refunded(t trade.Trade) bool {
	return slices.ContainsFunc(t.Outflows, func(o trade.Outflow) bool {
		p := s.node.pays[o.LastHash]
		return !o.Done() && o.Purpose == trade.OutflowRefund && p != nil && p.state.Status == trade.PaymentSucceeded
	})
}

// simDerived holds the values that are derived from a message.
type simDerived struct {
	order    trade.OrderID
	preimage trade.Preimage
}

// judgeDerived checks that a replayed message results in the same order and the same
// preimage. rows is the length of the journal before the message.
func (s *sim) judgeDerived(replayID string, rows int) {
	s.judgeNextKeys(rows)
	for _, row := range s.book.batch.commit.Journal[rows:] {
		if row.Input.Kind != trade.InMessage {
			continue
		}
		now := simDerived{row.Trade, row.Input.Preimage}
		before, again := s.known[replayID]
		if again && before != now {
			s.fail("a message is read again, and comes to another order or preimage")
		}
		if again {
			s.count.twice++
		}
		s.known[replayID] = now
	}
}

// judgeCopied checks the end of a trade of which the store may have lost a part: no payment
// was made without a settled hold of the same trade.
func (s *sim) judgeCopied(id trade.OrderID) {
	if s.err != nil {
		return
	}
	t, kept := s.store.trades[id]
	if !kept {
		s.count.lost++
	} else if !s.abandoned[id] {
		s.countEnd(t)
	}
	settled, paid := 0, 0
	for _, h := range s.truth[id].holds {
		if hold := s.node.holds[h]; hold != nil && hold.state.Phase == trade.HoldSettled {
			settled++
		}
	}
	for _, p := range s.node.pays {
		if p.order == id.String() && p.state.Status == trade.PaymentSucceeded {
			paid++
		}
	}
	// A copy has lost the claims on the payment hashes of the lost period, so a buyer may
	// name an invoice that was paid for another trade in that period. The node pays the
	// invoice once, and that buyer named an invoice that was already paid.
	named := s.node.pays[t.Payout.LastHash]
	elsewhere := named != nil && named.order != id.String() && named.state.Status == trade.PaymentSucceeded
	if paid > settled || t.Status == message.TradeSuccess && paid == 0 && !elsewhere {
		s.fail("trade %s is %s: %d payments of %d settled holds", id, t.Status, paid, settled)
	}
}

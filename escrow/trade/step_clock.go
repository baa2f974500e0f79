package trade

import (
	"errors"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// clock decides about a deadline that has passed. An early or late tick is harmless,
// because the deadline in the trade decides.
func (s *step) clock() error {
	t := &s.t
	if t.Deadline == 0 || s.in.At < t.Deadline {
		if n := t.dueOutflow(s.in.At); n != 0 {
			return s.outflowDue(n)
		}
		return ErrNothing
	}
	if t.Frozen {
		t.Deadline = s.in.At + remindFirst
		return s.stay(OnContradiction)
	}
	switch t.Status {
	case message.TradePending:
		return s.end(OnExpired, message.TradeExpired)
	case message.TradeWaitingBuyerInvoice:
		return s.timeout(mostro.SideBuy)
	case message.TradeWaitingPayment:
		return s.lookBeforeTimeout()
	case message.TradeActive, message.TradeFiatSent, message.TradeDispute:
		return s.lookAtHold()
	case message.TradeSettledHoldInvoice:
		return s.payoutDue()
	}
	return ErrNothing
}

// lookBeforeTimeout asks the node whether the seller has paid, because a payment of the last
// moment must not be given back. Without an answer the trade waits until the invoice cannot be
// paid any more.
func (s *step) lookBeforeTimeout() error {
	t := &s.t
	ended := t.TakenAt + t.Terms.HoldSeconds() + guardPoll
	if !s.rules(rules2) || t.HoldInvoice == "" || t.Doubtful || s.in.At >= ended {
		return s.timeout(mostro.SideSell)
	}
	t.Expiring, t.Deadline = true, min(s.in.At+guardPoll, ended)
	if err := s.stay(OnGuard); err != nil {
		return err
	}
	s.do(Effect{Kind: FxCheckHold, Hash: t.Hash})
	return nil
}

// timeout ends the time of a party that owes an action: the buyer an invoice, or the
// seller the payment. If the taker owes it, the taker loses the order. If the maker owes
// it, the order is canceled. A seller that never received an invoice owes nothing.
func (s *step) timeout(owes mostro.Side) error {
	t := &s.t
	if t.Doubtful && t.HeldAt != 0 {
		return s.contradiction() // the trade may have continued in the lost time
	}
	t.Expiring = false
	shown := owes == mostro.SideBuy || t.HoldInvoice != ""
	if t.Kind == owes && shown {
		s.say(t.Maker(), message.ActionCanceled, nil)
		s.say(t.Taker(), message.ActionCanceled, nil)
		s.closeHold()
		return s.end(OnTimeoutMaker, message.TradeCanceled)
	}
	s.say(t.Taker(), message.ActionCanceled, nil)
	return s.backToBook(OnTimeoutTaker, nil)
}

// lookAtHold asks the node how long the hold is still safe.
func (s *step) lookAtHold() error {
	t := &s.t
	if t.EscrowGone {
		t.Deadline = s.in.At + remindFirst
		return s.stay(OnGuard)
	}
	t.Deadline = s.in.At + guardPoll
	if err := s.stay(OnGuard); err != nil {
		return err
	}
	s.do(Effect{Kind: FxCheckHold, Hash: t.Hash})
	return nil
}

// holdUnknown decides by the clock if the node cannot report the hold. The clock never
// proves that a hold has ended.
func (s *step) holdUnknown() error {
	t := &s.t
	if !Escrowed(t.Status) || t.Hash != s.in.Hash || t.Settling || t.EscrowGone || t.Frozen {
		return ErrNothing
	}
	if err := s.watchDispute((t.safeUntil()-s.in.At)/BlockSeconds, s.in.Kind == InHold); !errors.Is(err, ErrNothing) {
		return err
	}
	return s.guard(t.safeUntil() <= s.in.At)
}

// guard acts before the node would. If a hold is near its time lock and no party says that
// fiat was paid, the hold is cancelled. If a party says that fiat was paid, the trade
// becomes a dispute for a solver. The escrow alone never cancels a hold after fiat was
// sent.
func (s *step) guard(due bool) error {
	t := &s.t
	if !due {
		return ErrNothing
	}
	switch t.Status {
	case message.TradeActive:
		if t.Doubtful {
			return s.openDispute(OnGuardFiatSent, message.InitiatorBuyer, nil)
		}
		s.say(t.Buyer, message.ActionCanceled, nil)
		s.say(t.Seller, message.ActionCanceled, nil)
		s.closeHold()
		return s.end(OnGuardActive, message.TradeCanceled)
	case message.TradeFiatSent:
		return s.openDispute(OnGuardFiatSent, message.InitiatorBuyer, nil)
	}
	return ErrNothing
}

// payoutDue continues a payout whose deadline has passed.
func (s *step) payoutDue() error {
	t := &s.t
	p := &t.Payout
	switch {
	case p.Hash != Hash{}:
		t.Deadline = s.in.At + trackPoll
		if err := s.stay(OnTrack); err != nil {
			return err
		}
		if p.Sent {
			s.do(Effect{Kind: FxTrack, Hash: p.Hash, Attempt: p.Attempt})
		}
		return nil
	case p.Minting:
		t.Deadline = s.in.At + trackPoll // the outbox is still asking the address
		return s.stay(OnTrack)
	case t.AwaitsInvoice(s.in.At):
		if err := s.stay(OnRemind); err != nil {
			return err
		}
		s.ask()
		return nil
	}
	if err := s.stay(OnRetry); err != nil {
		return err
	}
	s.pay()
	return nil
}

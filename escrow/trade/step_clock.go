package trade

import (
	"github.com/mostrodex/mostrodex/mostro"
)

// clock decides what a deadline means. An early or late tick is harmless: the
// deadline in the trade is what counts.
func (s *step) clock() error {
	t := &s.t
	if t.Deadline == 0 || s.in.At < t.Deadline {
		return ErrNothing
	}
	if t.Frozen {
		t.Deadline = s.in.At + remindFirst
		return s.stay(OnContradiction)
	}
	switch t.Status {
	case mostro.TradePending:
		return s.end(OnExpired, mostro.TradeExpired)
	case mostro.TradeWaitingBuyerInvoice:
		return s.timeout(mostro.SideBuy)
	case mostro.TradeWaitingPayment:
		return s.timeout(mostro.SideSell)
	case mostro.TradeActive, mostro.TradeFiatSent, mostro.TradeDispute:
		return s.lookAtHold()
	case mostro.TradeSettledHoldInvoice:
		return s.payoutDue()
	}
	return ErrNothing
}

// timeout ends the time of whoever owed something: the buyer an invoice, the
// seller the payment. A taker who let the time pass loses the order, a maker
// loses it too. A seller who was never shown an invoice owes nothing.
func (s *step) timeout(owes mostro.Side) error {
	t := &s.t
	if t.Doubtful && t.HeldAt != 0 {
		return s.contradiction() // the trade may have gone on in the lost time
	}
	shown := owes == mostro.SideBuy || t.HoldInvoice != ""
	if t.Kind == owes && shown {
		s.say(t.Maker(), mostro.ActionCanceled, nil)
		s.say(t.Taker(), mostro.ActionCanceled, nil)
		s.closeHold()
		return s.end(OnTimeoutMaker, mostro.TradeCanceled)
	}
	s.say(t.Taker(), mostro.ActionCanceled, nil)
	return s.backToBook(OnTimeoutTaker, nil)
}

// lookAtHold has the node say how long the hold is still safe.
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

// holdUnknown decides by the clock what the node cannot say. The clock never
// proves that an escrow is gone.
func (s *step) holdUnknown() error {
	t := &s.t
	if !Escrowed(t.Status) || t.Hash != s.in.Hash || t.Settling || t.EscrowGone || t.Frozen {
		return ErrNothing
	}
	return s.guard(t.safeUntil() <= s.in.At)
}

// safeUntil is when a hold comes within the margin of its time lock, as far as
// the clock can say.
func (t Trade) safeUntil() int64 {
	if t.SafeUntil != 0 {
		return t.SafeUntil
	}
	return t.HeldAt + t.Terms.guardSeconds()
}

// guard acts before the node would: a hold near its time lock is given back
// while nobody has paid fiat for it, and becomes a solver's case once somebody
// says so. A hold behind which fiat was sent is never given back by us alone.
func (s *step) guard(due bool) error {
	t := &s.t
	if !due {
		return ErrNothing
	}
	switch t.Status {
	case mostro.TradeActive:
		if t.Doubtful {
			return s.openDispute(OnGuardFiatSent, mostro.InitiatorBuyer, nil)
		}
		s.say(t.Buyer, mostro.ActionCanceled, nil)
		s.say(t.Seller, mostro.ActionCanceled, nil)
		s.closeHold()
		return s.end(OnGuardActive, mostro.TradeCanceled)
	case mostro.TradeFiatSent:
		return s.openDispute(OnGuardFiatSent, mostro.InitiatorBuyer, nil)
	}
	return ErrNothing
}

// payoutDue goes on with a payout that waits for the clock.
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
		t.Deadline = s.in.At + trackPoll // the outbox still asks the address
		return s.stay(OnTrack)
	case p.Failures >= max(t.Terms.PaymentAttempts, 1) || !t.BuyerInvoice.usable(s.in.At):
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

package trade

import (
	"github.com/mostrodex/mostrodex/mostro"
)

// cancel decides about a cancel, whose effect depends on the status.
func (s *step) cancel() error {
	t := &s.t
	switch t.Status {
	case mostro.TradeCanceled, mostro.TradeCanceledByAdmin, mostro.TradeCooperativelyCanceled:
		return Refuse(mostro.ReasonOrderAlreadyCanceled)
	case mostro.TradePending:
		if !s.isMaker() {
			return Refuse(mostro.ReasonIsNotYourOrder)
		}
		s.answer(t.Maker(), mostro.ActionCanceled, nil)
		return s.end(OnCancelMaker, mostro.TradeCanceled)
	case mostro.TradeWaitingPayment, mostro.TradeWaitingBuyerInvoice:
		switch {
		case !s.isParty():
			return Refuse(mostro.ReasonInvalidPubkey)
		case s.rules(rules1) && t.Doubtful && t.HeldAt != 0:
			return s.contradiction() // fiat may have been sent in the lost time
		case s.isMaker():
			s.answer(t.Maker(), mostro.ActionCanceled, nil)
			s.say(t.Taker(), mostro.ActionCanceled, nil)
			s.closeHold()
			return s.end(OnCancelMaker, mostro.TradeCanceled)
		}
		s.answer(t.Taker(), mostro.ActionCanceled, nil)
		return s.backToBook(OnCancelTaker, s.in.Request.Message.RequestID)
	case mostro.TradeActive, mostro.TradeFiatSent, mostro.TradeDispute:
		return s.cooperate()
	}
	return Refuse(mostro.ReasonNotAllowedByStatus)
}

// cooperate cancels a trade after both parties have asked for it, one after the other.
func (s *step) cooperate() error {
	t := &s.t
	switch {
	case !s.isParty():
		return Refuse(mostro.ReasonInvalidPubkey)
	case t.Settling:
		return Refuse(mostro.ReasonNotAllowedByStatus) // the seller has released already
	case t.CancelBy == s.role():
		return Refuse(mostro.ReasonInvalidPubkey) // the same party twice is not an agreement
	case t.CancelBy == "":
		t.CancelBy = s.role()
		s.answer(s.partyOf(t.CancelBy), mostro.ActionCooperativeCancelInitiatedByYou, nil)
		s.say(s.other(), mostro.ActionCooperativeCancelInitiatedByPeer, nil)
		return s.stay(OnCancelAsked)
	}
	s.answer(s.partyOf(s.role()), mostro.ActionCooperativeCancelAccepted, nil)
	s.say(s.other(), mostro.ActionCooperativeCancelAccepted, nil)
	if !t.EscrowGone {
		s.closeHold()
	}
	if t.Status == mostro.TradeDispute {
		s.showDispute(mostro.DisputeStatusSellerRefunded)
	}
	return s.end(OnCancelAgreed, mostro.TradeCooperativelyCanceled)
}

// partyOf returns the party with a role. Its transport is the one that follow keeps up to
// date.
func (s *step) partyOf(role mostro.Initiator) Party {
	if role == mostro.InitiatorBuyer {
		return s.t.Buyer
	}
	return s.t.Seller
}

// dispute stops the trade until a solver decides. The seller can still release, and both
// parties together can still cancel.
func (s *step) dispute() error {
	t := &s.t
	switch {
	case t.Dispute.Status != "":
		return Refuse(mostro.ReasonDisputeCreationError)
	case t.Status != mostro.TradeActive && t.Status != mostro.TradeFiatSent || t.Settling:
		return Refuse(mostro.ReasonNotAllowedByStatus)
	case !s.isParty():
		return Refuse(mostro.ReasonInvalidPubkey)
	}
	return s.openDispute(OnDispute, s.role(), s.in.Request.Message.RequestID)
}

// openDispute opens the dispute. A trade has at most one dispute.
func (s *step) openDispute(on Trigger, by mostro.Initiator, request *uint64) error {
	t := &s.t
	previous := t.Status
	if err := s.move(on, mostro.TradeDispute); err != nil {
		return err
	}
	t.Dispute.By, t.Dispute.Previous, t.Dispute.OpenedAt = by, previous, s.in.At
	if s.rules(rules1) {
		t.CancelBy = "" // a consent from before the dispute does not count in it
	}
	ref := mostro.DisputeRef{ID: t.Dispute.ID}
	mine, theirs := t.Buyer, t.Seller
	if by == mostro.InitiatorSeller {
		mine, theirs = theirs, mine
	}
	s.say(theirs, mostro.ActionDisputeInitiatedByPeer, ref).RequestID = request
	s.say(mine, mostro.ActionDisputeInitiatedByYou, ref).RequestID = request
	s.showDispute(mostro.DisputeStatusInitiated)
	return nil
}

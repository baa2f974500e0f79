package trade

import (
	"github.com/mostrodex/mostrodex/mostro/message"
)

// cancel decides about a cancel, whose effect depends on the status.
func (s *step) cancel() error {
	t := &s.t
	switch t.Status {
	case message.TradeCanceled, message.TradeCanceledByAdmin, message.TradeCooperativelyCanceled:
		return Refuse(message.ReasonOrderAlreadyCanceled)
	case message.TradePending:
		if !s.isMaker() {
			return Refuse(message.ReasonIsNotYourOrder)
		}
		s.answer(t.Maker(), message.ActionCanceled, nil)
		return s.end(OnCancelMaker, message.TradeCanceled)
	case message.TradeWaitingPayment, message.TradeWaitingBuyerInvoice:
		switch {
		case !s.isParty():
			return Refuse(message.ReasonInvalidPubkey)
		case s.rules(rules2) && (s.in.Hold.Phase == HoldAccepted || s.in.Hold.Phase == HoldSettled):
			return Refuse(message.ReasonNotAllowedByStatus) // the seller has just paid
		case s.rules(rules1) && t.Doubtful && t.HeldAt != 0:
			return s.contradiction() // fiat may have been sent in the lost time
		case s.isMaker():
			s.answer(t.Maker(), message.ActionCanceled, nil)
			s.say(t.Taker(), message.ActionCanceled, nil)
			s.closeHold()
			return s.end(OnCancelMaker, message.TradeCanceled)
		}
		s.answer(t.Taker(), message.ActionCanceled, nil)
		return s.backToBook(OnCancelTaker, s.in.Request.Message.RequestID)
	case message.TradeActive, message.TradeFiatSent, message.TradeDispute:
		return s.cooperate()
	}
	return Refuse(message.ReasonNotAllowedByStatus)
}

// cooperate cancels a trade after both parties have asked for it, one after the other.
func (s *step) cooperate() error {
	t := &s.t
	switch {
	case !s.isParty():
		return Refuse(message.ReasonInvalidPubkey)
	case t.Settling:
		return Refuse(message.ReasonNotAllowedByStatus) // the seller has released already
	case t.CancelBy == s.role():
		return Refuse(message.ReasonInvalidPubkey) // the same party twice is not an agreement
	case t.CancelBy == "":
		t.CancelBy = s.role()
		s.answer(s.partyOf(t.CancelBy), message.ActionCooperativeCancelInitiatedByYou, nil)
		s.say(s.other(), message.ActionCooperativeCancelInitiatedByPeer, nil)
		return s.stay(OnCancelAsked)
	}
	s.answer(s.partyOf(s.role()), message.ActionCooperativeCancelAccepted, nil)
	s.say(s.other(), message.ActionCooperativeCancelAccepted, nil)
	if !t.EscrowGone {
		s.closeHold()
	}
	if t.Status == message.TradeDispute {
		s.closeDispute(message.DisputeStatusCooperativelyCanceled, message.DisputeStatusSellerRefunded, message.ActionCooperativeCancelAccepted)
	}
	return s.end(OnCancelAgreed, message.TradeCooperativelyCanceled)
}

// partyOf returns the party with a role. Its transport is the one that follow keeps up to
// date.
func (s *step) partyOf(role message.Initiator) Party {
	if role == message.InitiatorBuyer {
		return s.t.Buyer
	}
	return s.t.Seller
}

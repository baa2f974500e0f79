package trade

import (
	"github.com/mostrodex/mostrodex/mostro/message"
)

// pay begins an attempt to pay the buyer. The claim (Payout.Hash) is committed before the
// node receives the payment. While the claim is set, no other payment of this trade can
// begin. If the buyer named an address, the address is asked for an invoice first.
func (s *step) pay() {
	t := &s.t
	p := &t.Payout
	p.Attempt++
	t.Deadline = s.in.At + trackPoll
	if t.BuyerInvoice.Address() {
		p.Minting = true
		s.do(Effect{Kind: FxMint, Text: t.BuyerInvoice.Text, AmountSats: t.PayoutSats(), Attempt: p.Attempt})
		return
	}
	s.claim(t.BuyerInvoice)
}

// claim sends one payment under one hash.
func (s *step) claim(i PayTo) {
	p := &s.t.Payout
	p.Minting, p.Sent = false, false
	p.Hash, p.LastHash, p.Bolt11, p.Open = i.Hash, i.Hash, i.Text, i.Open
	s.do(s.t.payEffect())
}

// current reports whether the input is about the current attempt of the payout.
func (s *step) current() bool {
	return s.t.Status == message.TradeSettledHoldInvoice && s.in.Attempt == s.t.Payout.Attempt
}

// withheld reports that the trade is frozen, so that no result may begin another call that
// moves money. Before rules1, two kinds of result did begin one.
func (s *step) withheld() bool { return s.t.Frozen && s.rules(rules1) }

// minted sends the payment to the invoice that the buyer's address returned.
func (s *step) minted() error {
	t, d := &s.t, s.in.Invoice
	if !s.current() || !t.Payout.Minting || s.withheld() {
		return ErrNothing
	}
	if !d.Payable(t.Terms, s.in.At) || d.AmountMsat != t.PayoutSats()*1000 {
		return s.payFailed()
	}
	if err := s.stay(OnMinted); err != nil {
		return err
	}
	s.claim(d.payTo())
	return nil
}

func (s *step) mintFailed() error {
	if !s.current() || !s.t.Payout.Minting {
		return ErrNothing
	}
	return s.payFailed()
}

// paySent records that the node has accepted the payment.
func (s *step) paySent() error {
	if !s.current() || s.t.Payout.Hash != s.in.Hash || s.t.Payout.Sent {
		return ErrNothing
	}
	s.t.Payout.Sent = true
	s.t.Deadline = s.in.At + trackPoll
	return s.stay(OnPaySent)
}

// payRefused records that the node will never attempt this payment.
func (s *step) payRefused() error {
	if !s.current() || s.t.Payout.Hash != s.in.Hash || s.t.Payout.Sent {
		return ErrNothing
	}
	return s.payFailed()
}

// payment decides about the state of a payment. A success counts for any attempt, because
// the hash belongs to this trade. A failure counts once, and only for the current attempt:
// the failure of an older attempt says nothing about the current one.
func (s *step) payment() error {
	t := &s.t
	p := &t.Payout
	if t.Status != message.TradeSettledHoldInvoice || s.in.Hash == (Hash{}) {
		return ErrNothing
	}
	switch s.in.Payment.Status {
	case PaymentSucceeded:
		if s.in.Hash != p.Hash && !(p.Hash == Hash{} && s.in.Hash == p.LastHash) {
			return ErrNothing
		}
		if err := s.end(OnPaid, message.TradeSuccess); err != nil {
			return err
		}
		p.Hash, p.LastHash, p.Sent, p.Minting, p.Bolt11 = Hash{}, s.in.Hash, false, false, ""
		p.FeeMsat = s.in.Payment.FeeMsat
		s.say(t.Buyer, message.ActionPurchaseCompleted, nil)
		s.say(t.Buyer, message.ActionRate, nil)
		return nil
	case PaymentFailed:
		if !s.current() || p.Hash != s.in.Hash || !p.Sent {
			return ErrNothing
		}
		return s.payFailed()
	case PaymentUnknown:
		if !s.current() || p.Hash != s.in.Hash || !p.Sent || s.withheld() {
			return ErrNothing
		}
		// The node accepted the payment and no longer knows it. The claim stays set, and
		// the same payment is sent again under the same hash.
		p.Sent = false
		t.Deadline = s.in.At + trackPoll
		if err := s.stay(OnRetry); err != nil {
			return err
		}
		s.do(t.payEffect())
		return nil
	}
	return ErrNothing
}

// payFailed removes the claim and decides about the next attempt. A failure whose cause is
// this node does not count, so that the buyer keeps the attempts and the invoice.
func (s *step) payFailed() error {
	t := &s.t
	p := &t.Payout
	if err := s.stay(OnPayFailed); err != nil {
		return err
	}
	p.Hash, p.Sent, p.Minting, p.Bolt11 = Hash{}, false, false, ""
	most := max(t.Terms.PaymentAttempts, 1)
	counts := !s.in.Deferred || !s.rules(rules2)
	if counts {
		p.Failures = min(p.Failures+1, most)
	}
	if s.withheld() {
		t.Deadline = s.in.At + remindFirst // the operator's decision begins the next attempt
		return nil
	}
	if counts && p.Failures == 1 && most > 1 {
		s.say(t.Buyer, message.ActionPaymentFailed, message.PaymentFailed{
			Attempts: most - 1, IntervalSeconds: uint32(t.Terms.PaymentRetrySecs),
		})
	}
	if p.Failures >= most || !t.BuyerInvoice.usable(s.in.At) {
		p.Failures = most
		s.ask()
		return nil
	}
	t.Deadline = s.in.At + t.Terms.PaymentRetrySecs
	return nil
}

// ask asks the buyer for another invoice, and repeats the request at growing intervals.
// The sats stay the buyer's for ever.
func (s *step) ask() {
	t := &s.t
	wait := int64(remindMost)
	if t.Payout.Asked < 4 {
		wait = remindFirst << t.Payout.Asked
	}
	t.Payout.Asked++
	t.Deadline = s.in.At + wait
	o := t.SmallOrder(t.Status, t.PayoutSats())
	s.say(t.Buyer, message.ActionAddInvoice, o)
}

// devFeePaid records that the development fund has received the fee of the trade. The fee is
// owed since the settlement, and no step waits for its payment, so the record may arrive at any
// time after the settlement, also when the trade is over or frozen. A second payment is never
// recorded. A record without a hash is a decision of an operator, and has a reason.
func (s *step) devFeePaid() error {
	t := &s.t
	byHand := s.in.Hash == (Hash{})
	if !t.OwesDevFee() || byHand && s.in.Reason == "" {
		return ErrNothing
	}
	t.DevFeePaid = DevFeePaid{Hash: s.in.Hash, FeeMsat: s.in.Payment.FeeMsat, ByHand: byHand}
	return s.stay(OnDevFeePaid)
}

// Settled reports whether a status follows the settlement of the hold.
func Settled(status message.TradeStatus) bool {
	switch status {
	case message.TradeSettledHoldInvoice, message.TradeSettledByAdmin, message.TradeSuccess, message.TradeCompletedByAdmin:
		return true
	}
	return false
}

// overpaid records the whole amount that was paid for a settled hold, as an operator has seen at
// the node. Journals from before December 2026 do not have the amounts of holds. The amount above
// the invoice belongs to the node, as in a hold whose amount is known from the beginning.
func (s *step) overpaid() error {
	t, in := &s.t, s.in
	switch {
	case in.Reason == "":
		return errReason
	case !Settled(t.Status), in.Hash == Hash{}, in.Hash != t.Hash, in.Hold.Phase != HoldSettled,
		in.Hold.PaidMsat <= t.HeldMsat(), in.Hold.PaidMsat > MaxSats*1000:
		return ErrNothing
	}
	t.PaidMsat = in.Hold.PaidMsat
	return s.stay(OnOverpaid)
}

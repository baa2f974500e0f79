package trade

import (
	"errors"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// holdMade sends the hold invoice to the seller.
func (s *step) holdMade() error {
	t := &s.t
	if t.Status != message.TradeWaitingPayment || t.Hash != s.in.Hash || t.HoldInvoice != "" || s.in.Bolt11 == "" || s.withheld() {
		return ErrNothing
	}
	t.HoldInvoice = s.in.Bolt11
	if s.rules(rules1) {
		s.newDuty() // the seller owes nothing before there is an invoice to pay
	}
	if err := s.stay(OnHoldMade); err != nil {
		return err
	}
	wait := s.say(t.Buyer, message.ActionWaitingSellerToPay, nil)
	wait.RequestID, wait.TradeIndex = t.TakeRequest, index(t.Buyer)
	if t.Kind == mostro.SideSell && t.TakerReputation != nil {
		s.say(t.Seller, message.ActionPayInvoice, message.Peer{Reputation: t.TakerReputation})
		t.TakerReputation = nil
	}
	pay := s.say(t.Seller, message.ActionPayInvoice, message.PaymentRequest{
		Order: t.SmallOrder(t.Status, t.LockSats()), Invoice: t.HoldInvoice,
	})
	pay.RequestID, pay.TradeIndex = t.TakeRequest, index(t.Seller)
	t.TakeRequest = nil
	return nil
}

// holdRefused makes the order pending again, because the seller cannot pay an invoice that
// the node will not make.
func (s *step) holdRefused() error {
	t := &s.t
	if t.Status != message.TradeWaitingPayment || t.Hash != s.in.Hash || t.HoldInvoice != "" || s.withheld() {
		return ErrNothing
	}
	taker, request := t.Taker(), t.TakeRequest
	s.say(taker, message.ActionCanceled, nil).RequestID = request
	return s.backToBook(OnHoldImpossible, nil)
}

// hold decides about a state of the live hold invoice. A state of any other hash is out of
// date: the code that cancelled that hash follows it to its end.
func (s *step) hold() error {
	t := &s.t
	if (t.Hash == Hash{}) || t.Hash != s.in.Hash || Terminal(t.Status) || t.Frozen {
		return ErrNothing
	}
	if t.Expiring && t.Status == message.TradeWaitingPayment && (s.in.Hold.Phase == HoldOpen || s.in.Hold.Phase == HoldCanceled) {
		return s.timeout(mostro.SideSell)
	}
	switch s.in.Hold.Phase {
	case HoldAccepted:
		sighted := t.Doubtful && !t.Sighted && s.rules(rules1)
		if sighted {
			t.Sighted = true
		}
		err := s.held()
		if sighted && errors.Is(err, ErrNothing) {
			return s.stay(OnSighted)
		}
		return err
	case HoldSettled:
		if t.Settling || t.Status == message.TradeSettledHoldInvoice {
			return s.settled()
		}
		return s.contradiction()
	case HoldCanceled:
		return s.escrowGone()
	}
	return ErrNothing
}

// held decides about a hold that the seller has paid.
func (s *step) held() error {
	t := &s.t
	if t.Status == message.TradeWaitingPayment && t.HeldAt == 0 {
		if asked := s.in.Hold.AmountSats; s.rules(rules1) && asked != 0 && asked != t.LockSats() {
			// The invoice dates from a time that this store has lost, at another price.
			// The held amount is not the amount that this trade would pay out.
			return s.contradiction()
		}
		t.HeldAt, t.PaidMsat, t.Expiring = s.in.At, s.in.Hold.PaidMsat, false
		if s.rules(rules1) && !s.dateHold() {
			return s.holdTooShort()
		}
		if t.HoldInvoice == "" {
			// The node's answer was lost, but the seller obtained the invoice elsewhere
			// and paid it. The hold counts.
			t.HoldInvoice = s.in.Bolt11
		}
		if t.BuyerInvoice.usable(s.in.At) {
			return s.activate(OnHeld, nil)
		}
		t.BuyerInvoice = PayTo{}
		if err := s.move(OnHeldNoInvoice, message.TradeWaitingBuyerInvoice); err != nil {
			return err
		}
		s.newDuty()
		s.say(t.Buyer, message.ActionAddInvoice, t.askInvoice())
		if t.Kind == mostro.SideBuy && t.TakerReputation != nil {
			s.say(t.Buyer, message.ActionAddInvoice, message.Peer{Reputation: t.TakerReputation})
			t.TakerReputation = nil
		}
		s.say(t.Seller, message.ActionWaitingBuyerInvoice, nil)
		return nil
	}
	// While the trade waits for the buyer's invoice, a time that an older copy of the store has lost
	// may have taken most of the blocks.
	waits := s.rules(rules3) && t.Status == message.TradeWaitingBuyerInvoice && t.HeldAt != 0
	if s.in.Hold.Height == 0 || !Escrowed(t.Status) && !waits || t.Settling || t.EscrowGone {
		return ErrNothing
	}
	if s.in.Hold.ExpiryHeight == 0 {
		if waits {
			return ErrNothing
		}
		return s.holdUnknown()
	}
	left := int64(s.in.Hold.ExpiryHeight) - int64(s.in.Hold.Height) - int64(t.Terms.margin())
	if !waits {
		if err := s.watchDispute(left, true); !errors.Is(err, ErrNothing) {
			return err
		}
		if left <= 0 {
			return s.guard(true)
		}
	}
	if s.rules(rules1) {
		// The chain is slower or faster than ten minutes a block, or the clock was set.
		if until := s.in.At + left*BlockSeconds; until < t.SafeUntil-safeDrift || until > t.SafeUntil+safeDrift {
			t.SafeUntil = until
			return s.stay(OnGuard)
		}
	}
	return ErrNothing
}

// safeDrift is the error of SafeUntil above which SafeUntil is corrected, in seconds.
const safeDrift = 3600

// dateHold dates an accepted hold by the chain, and reports whether its time lock leaves
// enough blocks for a trade. The program may have been down when the seller paid, so the
// time at which the program hears of the payment says nothing.
func (s *step) dateHold() bool {
	t, h := &s.t, s.in.Hold
	if h.Height == 0 || h.ExpiryHeight == 0 {
		return true // unknown: the clock must decide
	}
	if h.AcceptHeight != 0 && h.AcceptHeight < h.Height {
		t.HeldAt -= int64(h.Height-h.AcceptHeight) * BlockSeconds
	}
	left := int64(h.ExpiryHeight) - int64(h.Height) - int64(t.Terms.margin())
	t.SafeUntil = s.in.At + left*BlockSeconds
	return left >= int64(t.Terms.leastBlocks())
}

// holdTooShort cancels a hold that was accepted, or reported, too late for a trade. The
// order becomes pending again.
func (s *step) holdTooShort() error {
	t := &s.t
	if t.Doubtful {
		return s.contradiction() // fiat may have been sent in the lost time
	}
	s.say(t.Seller, message.ActionHoldInvoicePaymentCanceled, nil)
	s.say(t.Taker(), message.ActionCanceled, nil)
	return s.backToBook(OnHoldTooShort, nil)
}

// activate begins the active trade: the hold is accepted, and the buyer's destination is
// known.
func (s *step) activate(on Trigger, request *uint64) error {
	t := &s.t
	if err := s.move(on, message.TradeActive); err != nil {
		return err
	}
	t.Deadline = t.HeldAt + t.Terms.guardSeconds()/2
	if t.SafeUntil != 0 {
		t.Deadline = s.in.At + max((t.SafeUntil-s.in.At)/2, guardPoll)
	}
	s.say(t.Buyer, message.ActionHoldInvoicePaymentAccepted, t.WithKeys(t.SmallOrder(t.Status, t.PayoutSats()))).RequestID = request
	s.say(t.Seller, message.ActionBuyerTookOrder, t.WithKeys(t.SmallOrder(t.Status, t.LockSats())))
	return nil
}

// addInvoice decides about the buyer's payout destination.
func (s *step) addInvoice() error {
	t, at := &s.t, s.in.At
	if !s.isBuyer() {
		return Refuse(message.ReasonInvalidPeer)
	}
	switch t.Status {
	case message.TradeWaitingBuyerInvoice:
	case message.TradeSettledHoldInvoice:
		if t.Payout.Hash != (Hash{}) || t.Payout.Minting {
			return Refuse(message.ReasonNotAllowedByStatus)
		}
	default:
		return Refuse(message.ReasonNotAllowedByStatus)
	}
	if !s.in.Invoice.pays(t.PayoutSats(), false, t.Terms, at) || t.Hash != (Hash{}) && s.in.Invoice.Hash == t.Hash {
		return Refuse(message.ReasonInvalidInvoice)
	}
	t.BuyerInvoice = s.in.Invoice.payTo()
	request := s.in.Request.Message.RequestID
	if t.Status == message.TradeSettledHoldInvoice {
		if err := s.stay(OnAddInvoice); err != nil {
			return err
		}
		t.Payout.Failures, t.Payout.Asked = 0, 0
		s.answer(t.Buyer, message.ActionInvoiceUpdated, nil)
		s.pay()
		return nil
	}
	if t.HeldAt != 0 {
		if s.rules(rules1) && t.safeUntil() < at+t.Terms.leastHoldSeconds() {
			return s.holdTooShort()
		}
		return s.activate(OnAddInvoice, request)
	}
	t.TakeRequest = nil
	s.newDuty()
	return s.orderHold(OnAddInvoice)
}

// next reads the key that the maker of a range order announces for the rest. A key from
// any other sender is ignored, because it could replace the maker's key.
func (s *step) next() error {
	p, ok := s.in.Request.Message.Payload.(message.NextTrade)
	if !ok || !s.isMaker() {
		return nil
	}
	// A key that is not a point of the curve could never receive a message.
	if key, err := message.ParsePubkey(p.Pubkey); err != nil || key != p.Pubkey || p.Index == 0 || p.Pubkey == s.t.Buyer.Key || p.Pubkey == s.t.Seller.Key {
		return Refuse(message.ReasonInvalidParameters)
	}
	if s.in.KeyInUse {
		return Refuse(message.ReasonInvalidParameters) // the next order's messages would go to another user
	}
	if s.t.Range() {
		s.t.Next = p
	}
	return nil
}

// fiatSent records the buyer's statement that fiat was sent.
func (s *step) fiatSent() error {
	t := &s.t
	if t.Status != message.TradeActive {
		return Refuse(message.ReasonInvalidOrderStatus)
	}
	if !s.isBuyer() {
		return Refuse(message.ReasonInvalidPubkey)
	}
	if err := s.next(); err != nil {
		return err
	}
	if err := s.move(OnFiatSent, message.TradeFiatSent); err != nil {
		return err
	}
	if s.rules(rules1) {
		t.CancelBy = "" // a consent from before the payment is void
	}
	s.say(t.Seller, message.ActionFiatSentOk, message.Peer{Pubkey: t.Buyer.Key})
	s.answer(t.Buyer, message.ActionFiatSentOk, message.Peer{Pubkey: t.Seller.Key})
	return nil
}

// release orders the node to settle the hold. No party receives a message before the node
// has settled, because until then the hold may end on chain.
func (s *step) release() error {
	t := &s.t
	if !s.isSeller() {
		return Refuse(message.ReasonInvalidPeer)
	}
	if t.Status != message.TradeFiatSent && t.Status != message.TradeDispute || t.Settling || t.EscrowGone {
		return Refuse(message.ReasonNotAllowedByStatus)
	}
	if err := s.next(); err != nil {
		return err
	}
	if s.rules(rules1) && t.Doubtful && !t.Sighted {
		// The hold may have been settled and paid out in the lost time.
		return s.contradiction()
	}
	if err := s.stay(OnRelease); err != nil {
		return err
	}
	t.Settling, t.ReleaseRequest = true, s.in.Request.Message.RequestID
	s.do(Effect{Kind: FxSettle, Hash: t.Hash, Preimage: t.Preimage, SafeUntil: t.safeUntil()})
	return nil
}

// settled begins the payout. From here no input may stop the payout: the seller's sats
// belong to the buyer.
func (s *step) settled() error {
	t := &s.t
	if t.Hash != s.in.Hash || !t.Settling || t.Status != message.TradeFiatSent && t.Status != message.TradeDispute {
		return ErrNothing
	}
	if s.rules(rules1) && t.Doubtful && !t.Sighted {
		return s.contradiction() // settled, and perhaps paid out, in the lost time
	}
	disputed := t.Status == message.TradeDispute
	if err := s.move(OnSettled, message.TradeSettledHoldInvoice); err != nil {
		return err
	}
	t.Settling, t.CancelBy = false, ""
	if t.Dispute.Verdict != nil {
		s.verdictSettled()
	} else {
		s.say(t.Buyer, message.ActionReleased, nil)
		s.say(t.Seller, message.ActionHoldInvoicePaymentSettled, nil).RequestID = t.ReleaseRequest
		s.say(t.Seller, message.ActionRate, nil)
		if disputed {
			s.closeDispute(message.DisputeStatusReleased, message.DisputeStatusSettled, message.ActionReleased)
		}
		s.rest()
	}
	t.ReleaseRequest = nil
	if s.withheld() {
		t.Deadline = s.in.At + remindFirst
		return nil
	}
	s.pay()
	return nil
}

// rest makes an order of the rest of a range order.
func (s *step) rest() {
	t := &s.t
	if !t.Range() || t.Next.Pubkey == "" || t.ExpiresAt <= s.in.At {
		return
	}
	left := t.MaxFiat - t.FiatAmount
	if left < t.MinFiat || left <= 0 {
		return
	}
	maker := t.Maker()
	next := Party{Key: t.Next.Pubkey, Identity: maker.Identity, Index: int64(t.Next.Index), Transport: maker.Transport}
	if maker.Private() {
		next.Identity = next.Key
	}
	c := &Child{
		Parent: t.ID, Kind: t.Kind, Terms: t.Terms, Maker: next, Fiat: t.Fiat, Method: t.PaymentMethod,
		Premium: t.Premium, ExpiresAt: t.ExpiresAt,
	}
	if t.Kind == mostro.SideSell {
		c.RequestID = t.ReleaseRequest // the maker waits for the order under this request id
	}
	if left == t.MinFiat {
		c.Fixed = left
	} else {
		c.Min, c.Max = t.MinFiat, left
	}
	t.Next = message.NextTrade{}
	s.do(Effect{Kind: FxSpawn, Child: c})
}

// settleRefused records that the hold had ended before it could be settled.
func (s *step) settleRefused() error {
	if s.t.Hash != s.in.Hash || !s.t.Settling {
		return ErrNothing
	}
	return s.gone(OnSettleImpossible)
}

// gone tells both parties that the hold has ended.
func (s *step) gone(on Trigger) error {
	t := &s.t
	t.Settling, t.EscrowGone, t.ReleaseRequest = false, true, nil
	t.Deadline = s.in.At + remindFirst
	if err := s.stay(on); err != nil {
		return err
	}
	s.say(t.Buyer, message.ActionHoldInvoicePaymentCanceled, nil)
	s.say(t.Seller, message.ActionHoldInvoicePaymentCanceled, nil)
	s.verdictFailed()
	return nil
}

// escrowGone decides about a live hold that ended without an action of this node. A hold
// that this node cancels is not handled here, because its hash moves to Closing first.
func (s *step) escrowGone() error {
	t := &s.t
	switch t.Status {
	case message.TradeWaitingPayment:
		if s.rules(rules1) && t.HoldInvoice == "" {
			return s.holdRefused() // the hold ended before the seller received the invoice
		}
		return ErrNothing // an unpaid invoice has expired, and the seller's time will end too
	case message.TradeWaitingBuyerInvoice, message.TradeActive:
		s.say(t.Buyer, message.ActionHoldInvoicePaymentCanceled, nil)
		s.say(t.Seller, message.ActionHoldInvoicePaymentCanceled, nil)
		s.say(t.Buyer, message.ActionCanceled, nil)
		s.say(t.Seller, message.ActionCanceled, nil)
		t.EscrowGone = true
		return s.end(OnEscrowGone, message.TradeCanceled)
	case message.TradeFiatSent, message.TradeDispute:
		if t.EscrowGone {
			return ErrNothing
		}
		return s.gone(OnEscrowGone)
	}
	return ErrNothing
}

// contradiction freezes a trade whose hold is settled although no seller released it in
// this store: the store is older than the node's state. A payout from such a store could
// pay the buyer twice, so an operator must examine the trade.
func (s *step) contradiction() error {
	if s.t.Frozen {
		return ErrNothing
	}
	s.t.Frozen = true
	s.t.Deadline = s.in.At + remindFirst
	return s.stay(OnContradiction)
}

// canceled records that the node confirmed a cancelled hold.
func (s *step) canceled() error {
	t := &s.t
	var left []Hash
	for _, h := range t.Closing {
		if h != s.in.Hash {
			left = append(left, h)
		}
	}
	if len(left) == len(t.Closing) {
		return ErrNothing
	}
	t.Closing = left
	return s.stay(OnHoldClosed)
}

// cancelRefused records that a hold that this node cancelled is in fact settled.
func (s *step) cancelRefused() error {
	if err := s.canceled(); err != nil {
		return err
	}
	s.t.Frozen = true
	s.suspend()
	if !Terminal(s.t.Status) {
		s.t.Deadline = s.in.At + remindFirst
	}
	return s.stay(OnContradiction)
}

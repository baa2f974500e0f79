package trade

import (
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// newOrder decides about a maker's order. The checks have the same order as in the
// reference node.
func (s *step) newOrder() error {
	m, in := s.in.Request.Message, s.in
	o, ok := m.Payload.(*message.SmallOrder)
	if !ok || o == nil || in.Terms == nil {
		return Refuse(message.ReasonInvalidParameters)
	}
	terms := *in.Terms
	ranged := o.MinAmount != nil && o.MaxAmount != nil
	fee := terms.Fee.SideFee(o.AmountSats)
	if o.BuyerInvoice != nil && o.Kind == mostro.SideBuy && *o.BuyerInvoice != "" {
		if !in.Invoice.pays(o.AmountSats-fee, o.AmountSats == 0, terms, in.At) {
			return Refuse(message.ReasonInvalidInvoice)
		}
	}
	switch {
	case in.Limited:
		return Refuse(message.ReasonTooManyRequests)
	case in.Refused || !currencyCode(o.FiatCode):
		return Refuse(message.ReasonInvalidFiatCurrency)
	case !ranged && o.FiatAmount <= 0:
		return Refuse(message.ReasonInvalidAmount)
	case o.AmountSats < 0:
		return Refuse(message.ReasonInvalidAmount)
	case ranged && (*o.MinAmount < 0 || *o.MinAmount >= *o.MaxAmount || o.AmountSats != 0):
		return Refuse(message.ReasonInvalidAmount)
	case !ranged && (o.MinAmount != nil || o.MaxAmount != nil):
		return Refuse(message.ReasonInvalidAmount) // half a range is not a range
	case o.Premium != 0 && o.AmountSats != 0:
		return Refuse(message.ReasonInvalidParameters)
	case o.Premium <= -maxPremium || o.Premium >= maxPremium || len(o.PaymentMethod) > maxPaymentMethod:
		return Refuse(message.ReasonInvalidParameters)
	}
	if err := s.withinLimits(o, ranged, terms); err != nil {
		return err
	}
	if o.Kind != mostro.SideBuy && o.Kind != mostro.SideSell {
		return Refuse(message.ReasonInvalidOrderKind)
	}
	if m.TradeIndex == nil && !s.sender().Private() {
		return Refuse(message.ReasonInvalidTradeIndex)
	}
	expires := in.At + terms.LifeSeconds
	if in.SentAt != 0 {
		expires = in.SentAt + terms.LifeSeconds // an order that arrives late, or is read again, has no longer life
	}
	if o.ExpiresAt != nil && *o.ExpiresAt != 0 {
		expires = min(*o.ExpiresAt, in.At+terms.MaxLifeSeconds)
		if s.rules(rules1) && expires < in.At+LeastLifeSeconds {
			return Refuse(message.ReasonInvalidParameters)
		}
	}
	if expires <= in.At {
		return Refuse(message.ReasonInvalidParameters) // the order would be shown as pending and could not be taken
	}
	t := &s.t
	t.ID, t.Kind, t.Terms = in.OrderID, o.Kind, terms
	t.Fiat, t.PaymentMethod, t.Premium = o.FiatCode, o.PaymentMethod, o.Premium
	t.MarketPrice = o.AmountSats == 0
	if ranged {
		t.MinFiat, t.MaxFiat = *o.MinAmount, *o.MaxAmount
	} else {
		t.FiatAmount = o.FiatAmount
	}
	t.AmountSats, t.FeeSats = o.AmountSats, fee
	t.CreatedAt, t.ExpiresAt, t.Deadline = in.At, expires, expires
	t.Dispute.ID = in.DisputeID
	t.setMaker(s.sender())
	if o.Kind == mostro.SideBuy && in.Invoice != nil {
		t.MakerInvoice = in.Invoice.payTo()
		t.BuyerInvoice = t.MakerInvoice
	}
	if err := s.move(OnNewOrder, message.TradePending); err != nil {
		return err
	}
	ack := t.SmallOrder(t.Status, t.AmountSats)
	if t.BuyerInvoice.Text != "" {
		text := t.BuyerInvoice.Text
		ack.BuyerInvoice = &text
	}
	s.answer(s.sender(), message.ActionNewOrder, ack).TradeIndex = m.TradeIndex
	return nil
}

// withinLimits refuses an order if any of its possible amounts of sats is outside the
// operator's limits, at the current price and with the premium. Before rules2 the premium was
// left out, so an order near a limit could be accepted and then not be taken.
func (s *step) withinLimits(o *message.SmallOrder, ranged bool, terms Terms) error {
	if o.AmountSats > 0 {
		if o.AmountSats < terms.MinSats || o.AmountSats > terms.MaxSats || o.AmountSats <= terms.Fee.SideFee(o.AmountSats) {
			return Refuse(message.ReasonOutOfRangeSatsAmount)
		}
		return nil
	}
	amounts := []int64{o.FiatAmount}
	if ranged {
		amounts = []int64{*o.MinAmount, *o.MaxAmount}
	}
	var premium int64
	if s.rules(rules2) {
		premium = o.Premium
	}
	for _, fiat := range amounts {
		sats, err := s.quote(fiat, premium)
		if err != nil {
			return err
		}
		if sats < terms.MinSats || sats > terms.MaxSats {
			return Refuse(message.ReasonOutOfRangeSatsAmount)
		}
	}
	return nil
}

// quote returns the sats of a fiat amount at the price of the input. If there is no price,
// the reference node does not answer. This node answers that the price is too old.
func (s *step) quote(fiat, premium int64) (int64, error) {
	if s.in.Quote.Price <= 0 || s.in.Quote.Stale {
		return 0, Refuse(message.ReasonPriceTooStale)
	}
	sats, ok := quoteSats(fiat, s.in.Quote.Price, premium, s.in.Rules)
	if !ok {
		return 0, Refuse(message.ReasonOutOfRangeSatsAmount)
	}
	return sats, nil
}

// spawn makes an order of the rest of a range order.
func (s *step) spawn() error {
	c := s.in.Child
	if c == nil {
		return ErrNothing
	}
	t := &s.t
	t.ID, t.Parent, t.Kind, t.Terms = s.in.OrderID, c.Parent, c.Kind, c.Terms
	t.Fiat, t.PaymentMethod, t.Premium, t.MarketPrice = c.Fiat, c.Method, c.Premium, true
	t.FiatAmount, t.MinFiat, t.MaxFiat = c.Fixed, c.Min, c.Max
	t.CreatedAt, t.ExpiresAt, t.Deadline = s.in.At, c.ExpiresAt, c.ExpiresAt
	t.Dispute.ID = s.in.DisputeID
	t.setMaker(c.Maker)
	if err := s.move(OnSpawn, message.TradePending); err != nil {
		return err
	}
	ack := s.say(c.Maker, message.ActionNewOrder, t.SmallOrder(t.Status, t.AmountSats))
	index := c.Maker.Index
	ack.RequestID, ack.TradeIndex = c.RequestID, &index
	return nil
}

// take decides about a taker of an order of the given side.
func (s *step) take(side mostro.Side) error {
	m, t, in := s.in.Request.Message, &s.t, s.in
	switch {
	case in.Limited:
		return Refuse(message.ReasonTooManyRequests)
	case in.Busy:
		return Refuse(message.ReasonPendingOrderExists)
	case t.Kind != side:
		return Refuse(message.ReasonInvalidOrderKind)
	case t.Status != message.TradePending:
		return Refuse(message.ReasonInvalidOrderStatus)
	case t.ExpiresAt <= in.At:
		return Refuse(message.ReasonInvalidOrderStatus)
	case s.isMaker():
		return Refuse(message.ReasonInvalidPubkey)
	case m.TradeIndex == nil && !s.sender().Private():
		return Refuse(message.ReasonInvalidTradeIndex)
	}
	var invoice string
	var fiat *int64
	switch p := m.Payload.(type) {
	case message.Amount:
		n := int64(p)
		fiat = &n
	case message.PaymentRequest:
		invoice, fiat = p.Invoice, p.Amount
		if s.rules(rules1) && side == mostro.SideSell && strings.TrimSpace(invoice) == "" {
			return Refuse(message.ReasonInvalidInvoice) // as in the reference node
		}
	}
	if t.Range() {
		if fiat == nil || *fiat < t.MinFiat || *fiat > t.MaxFiat || *fiat <= 0 {
			return Refuse(message.ReasonOutOfRangeSatsAmount)
		}
		t.FiatAmount = *fiat
	}
	if t.MarketPrice {
		sats, err := s.quote(t.FiatAmount, t.Premium)
		if err != nil {
			return err
		}
		if sats < t.Terms.MinSats || sats > t.Terms.MaxSats || sats <= t.Terms.Fee.SideFee(sats) {
			return Refuse(message.ReasonOutOfRangeSatsAmount)
		}
		t.AmountSats, t.FeeSats = sats, t.Terms.Fee.SideFee(sats)
	}
	t.DevFeeSats = t.Terms.DevFee.DevFee(t.FeeSats)
	if side == mostro.SideSell && invoice != "" {
		if !in.Invoice.pays(t.PayoutSats(), false, t.Terms, in.At) {
			return Refuse(message.ReasonInvalidInvoice)
		}
		t.BuyerInvoice = in.Invoice.payTo()
	}
	t.setTaker(s.sender())
	t.TakerReputation = in.Reputation
	t.TakeRequest = m.RequestID
	s.newDuty()
	if side == mostro.SideBuy {
		return s.orderHold(OnTakeBuy)
	}
	if t.BuyerInvoice.Text != "" {
		t.TakerReputation = nil // sent only if the taker had a duty before the seller
		return s.orderHold(OnTakeSellInvoice)
	}
	if err := s.move(OnTakeSell, message.TradeWaitingBuyerInvoice); err != nil {
		return err
	}
	ask := s.answer(t.Buyer, message.ActionAddInvoice, t.askInvoice())
	ask.TradeIndex = index(t.Buyer)
	s.answer(t.Seller, message.ActionWaitingBuyerInvoice, nil).TradeIndex = index(t.Seller)
	return nil
}

// index returns the party's trade index as messages carry it.
func index(p Party) *int64 {
	if p.Index == 0 {
		return nil
	}
	n := p.Index
	return &n
}

// newDuty starts the time of the party that must act next. Each duty has the full time.
func (s *step) newDuty() {
	s.t.TakenAt, s.t.Expiring = s.in.At, false
	s.t.Deadline = s.in.At + s.t.Terms.WaitSeconds
}

// orderHold sets the preimage and orders the hold invoice. Both are committed before the
// node receives the order, and the seller receives the invoice after that.
func (s *step) orderHold(on Trigger) error {
	if err := s.move(on, message.TradeWaitingPayment); err != nil {
		return err
	}
	t := &s.t
	t.Preimage, t.Hash = s.in.Preimage, s.in.Preimage.Hash()
	t.HoldInvoice, t.HeldAt, t.SafeUntil, t.PaidMsat = "", 0, 0, 0
	s.do(Effect{
		Kind: FxCreateHold, Hash: t.Hash, AmountSats: t.LockSats(), CLTVBlocks: t.Terms.CLTVBlocks,
		Seconds: t.Terms.HoldSeconds(), Memo: t.memo(),
	})
	return nil
}

// rotate replaces the trade key of the maker of an order that is not taken.
func (s *step) rotate() error {
	if s.t.Status != message.TradePending {
		return Refuse(message.ReasonInvalidOrderStatus)
	}
	maker, sender := s.t.Maker(), s.sender()
	if maker.Identity != sender.Identity || maker.Private() {
		return Refuse(message.ReasonInvalidPubkey)
	}
	if maker.Key == sender.Key {
		return Refuse(message.ReasonInvalidTradeIndex)
	}
	if sender.Index == 0 {
		sender.Index = maker.Index
	}
	s.t.setMaker(sender)
	if err := s.stay(OnRotate); err != nil {
		return err
	}
	s.answer(sender, message.ActionTradePubkey, nil)
	return nil
}

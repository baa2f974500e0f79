package trade

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// Answered is an error that answers a request with an action and changes nothing: the
// request asks for something that has happened already.
type Answered struct{ Action message.Action }

// Error returns the action of the answer.
func (a Answered) Error() string { return "answered with " + string(a.Action) }

// dispute stops the trade until a solver decides. The seller can still release, and both
// parties together can still cancel.
func (s *step) dispute() error {
	t := &s.t
	switch {
	case t.Dispute.Status != "" && (!s.rules(rules2) || !t.Dispute.closed()):
		return Refuse(message.ReasonDisputeCreationError)
	case t.Status != message.TradeActive && t.Status != message.TradeFiatSent || t.Settling:
		return Refuse(message.ReasonNotAllowedByStatus)
	case !s.isParty():
		return Refuse(message.ReasonInvalidPubkey)
	case s.rules(rules2) && s.in.Limited:
		return Refuse(message.ReasonTooManyRequests)
	}
	return s.openDispute(OnDispute, s.role(), s.in.Request.Message.RequestID)
}

// closed reports whether the dispute was decided or resolved.
func (d Dispute) closed() bool {
	switch d.Status {
	case "", message.DisputeStatusInitiated, message.DisputeStatusInProgress:
		return false
	}
	return true
}

// openDispute opens the dispute. A trade has at most one dispute. A dispute that was closed
// while the trade went on is opened again under its id, as mostrod does.
func (s *step) openDispute(on Trigger, by message.Initiator, request *uint64) error {
	t := &s.t
	previous := t.Status
	if err := s.move(on, message.TradeDispute); err != nil {
		return err
	}
	d := &t.Dispute
	d.By, d.Previous, d.OpenedAt = by, previous, s.in.At
	if s.rules(rules1) {
		t.CancelBy = "" // a consent from before the dispute does not count in it
	}
	ref := message.DisputeRef{ID: d.ID}
	mine, theirs := t.Buyer, t.Seller
	if by == message.InitiatorSeller {
		mine, theirs = theirs, mine
	}
	s.say(theirs, message.ActionDisputeInitiatedByPeer, refFor(theirs, ref)).RequestID = request
	s.say(mine, message.ActionDisputeInitiatedByYou, refFor(mine, ref)).RequestID = request
	if s.rules(rules2) {
		d.Solver, d.SolverRole, d.TakenAt, d.Told, d.Verdict = Party{}, "", 0, 0, nil
		// The first warning is due this many blocks before the margin. Until then the
		// deadline of the trade stands if it is earlier.
		t.Deadline = min(t.Deadline, max(t.safeUntil()-int64(warnBlocks[0])*BlockSeconds, s.in.At+guardPoll))
		s.tellBoth(fmt.Sprintf("If the dispute about order %s is not resolved in time, %s. You are told before.", t.ID, t.Terms.overdueText()))
	}
	s.showDispute(message.DisputeStatusInitiated)
	return nil
}

// refFor returns the payload that names a dispute to a party. In 2023 there was none.
func refFor(to Party, ref message.DisputeRef) message.Payload {
	if to.Transport == envelope.TransportLegacy {
		return nil
	}
	return ref
}

// closeDispute publishes the end of a dispute that the parties resolved, and tells the
// solver that has taken it. Before rules2 the public status was that of a solver's decision.
func (s *step) closeDispute(status, before message.DisputeStatus, action message.Action) {
	if !s.rules(rules2) {
		s.showDispute(before)
		return
	}
	d := s.t.Dispute
	if d.Solver.Key != "" {
		s.say(d.Solver, action, message.DisputeRef{ID: d.ID})
	}
	s.showDispute(status)
}

// takeDispute assigns the dispute to the solver that asks for it. The checks are those of
// mostrod 0.20.2, and a solver that is a party of the trade is refused.
func (s *step) takeDispute() error {
	t := &s.t
	d := &t.Dispute
	key := s.sender().Identity
	again := d.Solver.Identity == key
	if t.Status != message.TradeDispute || d.closed() || !s.mayTake() {
		return Refuse(message.ReasonInvalidPubkey)
	}
	if err := s.stay(OnSolverTake); err != nil {
		return err
	}
	if !again {
		d.Solver = Party{Key: key, Identity: key, Transport: s.sender().Transport}
		d.TakenAt = s.in.At
	}
	d.SolverRole = s.in.Role
	took := s.answer(d.Solver, message.ActionAdminTookDispute, message.DisputeRef{ID: d.ID, Info: s.solverInfo()})
	took.Wrapper, took.ID = message.WrapperDispute, &d.ID
	if d.Solver.Transport == envelope.TransportLegacy {
		took.ID, took.Payload = &t.ID, s.solverOrder()
	}
	if again {
		return nil // the solver lost the answer; the parties know the solver already
	}
	peer := message.Peer{Pubkey: key}
	s.answer(t.Buyer, message.ActionAdminTookDispute, peer)
	s.answer(t.Seller, message.ActionAdminTookDispute, peer)
	s.showDispute(message.DisputeStatusInProgress)
	return nil
}

// mayTake reports whether the sender may take the dispute.
func (s *step) mayTake() bool {
	d := s.t.Dispute
	switch {
	case s.in.Role == "" || s.concerned():
		return false
	case s.in.Role == RoleNode, d.Status == message.DisputeStatusInitiated, d.Solver.Identity == s.sender().Identity:
		return true
	}
	return s.in.Role == RoleWrite && s.in.Holder == RoleRead
}

// concerned reports whether the sender is a party of the trade, by its identity or by its
// trade key.
func (s *step) concerned() bool {
	from := s.sender()
	for _, p := range []Party{s.t.Buyer, s.t.Seller} {
		if p.Key != "" && (p.Key == from.Key || p.Key == from.Identity || p.Identity == from.Identity || p.Identity == from.Key) {
			return true
		}
	}
	return false
}

// solverInfo returns the facts about the trade that its solver receives. The preimage is
// left out: no solver needs it, and it would let any reader of the message take the hold.
func (s *step) solverInfo() *message.SolverDisputeInfo {
	t := s.t
	hash, buyer, seller := t.Hash.String(), t.Buyer.Key, t.Seller.Key
	info := &message.SolverDisputeInfo{
		ID: t.ID, Kind: string(t.Kind), Status: string(t.Status), Hash: &hash, OrderPreviousStatus: string(t.Dispute.Previous),
		InitiatorPubkey: buyer, BuyerPubkey: &buyer, SellerPubkey: &seller,
		InitiatorFullPrivacy: t.Buyer.Private(), CounterpartFullPrivacy: t.Seller.Private(),
		InitiatorInfo: s.in.BuyerRecord, CounterpartInfo: s.in.SellerRecord,
		Premium: t.Premium, PaymentMethod: t.PaymentMethod, AmountSats: t.AmountSats, FiatAmount: t.FiatAmount, FeeSats: t.FeeSats,
		InvoiceHeldAt: t.HeldAt, TakenAt: t.TakenAt, CreatedAt: t.CreatedAt,
	}
	if t.Dispute.By == message.InitiatorSeller {
		info.InitiatorPubkey = seller
		info.InitiatorFullPrivacy, info.CounterpartFullPrivacy = info.CounterpartFullPrivacy, info.InitiatorFullPrivacy
		info.InitiatorInfo, info.CounterpartInfo = info.CounterpartInfo, info.InitiatorInfo
	}
	if t.BuyerInvoice.Text != "" {
		info.BuyerInvoice = &t.BuyerInvoice.Text
	}
	return info
}

// solverOrder returns the facts about a trade in the form of 2023: the order with the status
// that it had before the dispute, both keys and the buyer's invoice.
func (s *step) solverOrder() *message.SmallOrder {
	t := s.t
	o := t.WithKeys(t.SmallOrder(t.Dispute.Previous, t.AmountSats))
	o.ExpiresAt = nil
	if t.BuyerInvoice.Text != "" {
		o.BuyerInvoice = &t.BuyerInvoice.Text
	}
	return o
}

// mayDecide returns nil if the sender may decide the dispute now. closed is the reason of a
// refusal if the trade has no open dispute.
func (s *step) mayDecide(closed message.Reason) error {
	t := &s.t
	d := t.Dispute
	switch {
	case s.concerned():
		return Refuse(message.ReasonInvalidPubkey)
	case s.in.Role == RoleNode:
	case d.Solver.Identity == "" || d.Solver.Identity != s.sender().Identity:
		if d.Status == message.DisputeStatusInProgress && d.SolverRole == RoleNode {
			return Refuse(message.ReasonDisputeTakenByAdmin)
		}
		return Refuse(message.ReasonIsNotYourDispute)
	case !s.in.Role.decides():
		return Refuse(message.ReasonNotAuthorized)
	}
	if t.Status == message.TradeCooperativelyCanceled {
		return Answered{message.ActionCooperativeCancelAccepted}
	}
	if t.Status != message.TradeDispute || t.Settling {
		return Refuse(closed)
	}
	return nil
}

// verdict returns the record of the sender's decision.
func (s *step) verdict(action message.Action) *Verdict {
	return &Verdict{
		Action: action, By: s.sender().Identity, Role: s.in.Role, At: s.in.At, Reason: s.in.Reason,
		Sender: s.sender(), Request: s.in.Request.Message.RequestID,
	}
}

// solverSettle orders the node to settle the hold for the buyer. As after a release, no
// party receives a message before the node has settled.
func (s *step) solverSettle() error {
	t := &s.t
	if err := s.mayDecide(message.ReasonInvalidOrderStatus); err != nil {
		return err
	}
	if t.EscrowGone {
		return Refuse(message.ReasonInvalidOrderStatus) // the seller has the sats back
	}
	if t.Doubtful && !t.Sighted {
		return s.contradiction() // the hold may have been settled and paid out in the lost time
	}
	return s.settleBy(OnSolverSettle, s.verdict(message.ActionAdminSettle))
}

// settleBy orders the node to settle the hold by a verdict.
func (s *step) settleBy(on Trigger, v *Verdict) error {
	t := &s.t
	if err := s.stay(on); err != nil {
		return err
	}
	t.Dispute.Verdict, t.Settling = v, true
	s.do(Effect{Kind: FxSettle, Hash: t.Hash, Preimage: t.Preimage, SafeUntil: t.safeUntil()})
	return nil
}

// verdictSettled reports a settlement that a verdict ordered.
func (s *step) verdictSettled() {
	t := &s.t
	s.sayVerdict(message.ActionAdminSettled)
	s.showDispute(message.DisputeStatusSettled)
	t.Next = message.NextTrade{} // the rest of a disputed range order does not come back to the book
}

// sayVerdict sends the outcome to the deciding key, the seller and the buyer. A solver that
// holds the dispute and did not decide it is told as well.
func (s *step) sayVerdict(action message.Action) {
	t := &s.t
	v, holder := t.Dispute.Verdict, t.Dispute.Solver
	if v.Sender.Key != "" {
		s.say(v.Sender, action, nil).RequestID = v.Request
	}
	if holder.Key != "" && holder.Identity != v.By {
		s.say(holder, action, message.DisputeRef{ID: t.Dispute.ID})
	}
	s.say(t.Seller, action, nil)
	s.say(t.Buyer, action, nil)
}

// verdictFailed withdraws a verdict whose settlement was impossible, so that another verdict
// can follow, and tells the solver.
func (s *step) verdictFailed() {
	d := &s.t.Dispute
	if d.Verdict == nil {
		return
	}
	if v := d.Verdict; v.Sender.Key != "" {
		s.say(v.Sender, message.ActionHoldInvoicePaymentCanceled, nil).RequestID = v.Request
	}
	d.Verdict = nil
}

// solverCancel returns the sats to the seller. The node's own key may also cancel an order
// that nobody has taken.
func (s *step) solverCancel() error {
	t := &s.t
	if t.Status == message.TradePending {
		if s.in.Role != RoleNode {
			return Refuse(message.ReasonNotAuthorized)
		}
		s.say(t.Maker(), message.ActionAdminCanceled, nil)
		return s.end(OnNodeCancel, message.TradeCanceledByAdmin)
	}
	if err := s.mayDecide(message.ReasonNotAllowedByStatus); err != nil {
		return err
	}
	if t.Doubtful && !t.Sighted && !t.EscrowGone {
		return s.contradiction() // the hold may have been settled and paid out in the lost time
	}
	return s.cancelBy(OnSolverCancel, s.verdict(message.ActionAdminCancel))
}

// cancelBy ends a disputed trade by a verdict for the seller.
func (s *step) cancelBy(on Trigger, v *Verdict) error {
	t := &s.t
	t.Dispute.Verdict = v
	s.sayVerdict(message.ActionAdminCanceled)
	if !t.EscrowGone {
		s.closeHold()
	}
	s.showDispute(message.DisputeStatusSellerRefunded)
	return s.end(on, message.TradeCanceledByAdmin)
}

// solverGone makes a dispute free again after its solver was removed.
func (s *step) solverGone() error {
	d := &s.t.Dispute
	if s.t.Status != message.TradeDispute || d.Solver.Identity == "" || d.Solver.Identity != s.in.Solver || s.t.Settling {
		return ErrNothing
	}
	if err := s.stay(OnSolverGone); err != nil {
		return err
	}
	d.Solver, d.SolverRole, d.TakenAt = Party{}, "", 0
	s.showDispute(message.DisputeStatusInitiated)
	return nil
}

// warnBlocks lists the distances to the margin at which a due dispute is announced, in
// blocks: twelve, eight and six hours.
var warnBlocks = [...]uint32{72, 48, 36}

// leadBlocks returns the number of blocks before the margin at which a trade becomes a
// dispute by itself if fiat was sent, so that a solver has time. It is 72, or half of the
// usable time of a shorter lock. Before rules2 the dispute opened at the margin.
func (t Terms) leadBlocks() int64 { return int64(min(warnBlocks[0], (t.CLTVBlocks-t.margin())/2)) }

// overdueText says the rule of Overdue as part of a sentence.
func (t Terms) overdueText() string {
	if t.OverdueRule() == OverdueSettle {
		return "the escrow pays the buyer"
	}
	return "the escrow returns the sats to the seller"
}

// watchDispute opens, announces or decides a dispute by the blocks that the hold has left
// before the margin. known reports that the node answered, so that an action reaches it:
// without an answer the program only warns, because the clock may be wrong.
func (s *step) watchDispute(left int64, known bool) error {
	t := &s.t
	if !s.rules(rules2) {
		return ErrNothing
	}
	switch {
	case t.Status == message.TradeFiatSent, t.Status == message.TradeActive && t.Doubtful: // fiat may have been sent in the lost time
		if left <= t.Terms.leadBlocks() {
			return s.openDispute(OnGuardFiatSent, message.InitiatorBuyer, nil)
		}
	case t.Status == message.TradeDispute:
		if left <= 0 && known {
			return s.overdue()
		}
		return s.warn(left)
	}
	return ErrNothing
}

// warn announces once at each distance of warnBlocks that the dispute is due.
func (s *step) warn(left int64) error {
	d := &s.t.Dispute
	i := slices.IndexFunc(warnBlocks[:], func(blocks uint32) bool { return d.Told == 0 || blocks < d.Told })
	due := uint32(0)
	for ; i >= 0 && i < len(warnBlocks) && left <= int64(warnBlocks[i]); i++ {
		due = warnBlocks[i]
	}
	if due == 0 {
		return ErrNothing
	}
	if err := s.stay(OnWarn); err != nil {
		return err
	}
	d.Told = due
	text := fmt.Sprintf("The dispute about order %s has some %d blocks left. If it is not resolved by then, %s.", s.t.ID, max(left, 0), s.t.Terms.overdueText())
	s.tellBoth(text)
	if d.Solver.Key != "" {
		s.tell(d.Solver, text)
	}
	return nil
}

// overdue decides a dispute that no solver has decided. The chain must not decide: it would
// return the sats to the seller by closing a channel.
func (s *step) overdue() error {
	t := &s.t
	if t.Doubtful && !t.Sighted {
		return s.contradiction()
	}
	v := &Verdict{Action: message.ActionAdminCancel, At: s.in.At, Overdue: true, Reason: "overdue"}
	if t.Terms.OverdueRule() == OverdueSettle {
		v.Action = message.ActionAdminSettle
		return s.settleBy(OnOverdueSettle, v)
	}
	return s.cancelBy(OnOverdueCancel, v)
}

// tell sends a text of the node about the trade. The protocol of 2023 has no such message.
func (s *step) tell(to Party, text string) {
	if to.Transport == envelope.TransportLegacy {
		return
	}
	m := s.say(to, message.ActionSendDM, message.TextMessage(text))
	m.Wrapper = message.WrapperDM
}

func (s *step) tellBoth(text string) {
	s.tell(s.t.Buyer, text)
	s.tell(s.t.Seller, text)
}

// errReason reports a closing without a reason.
var errReason = errors.New("a reason is needed to close a trade by hand")

// closeByHand ends a trade whose escrow is gone, or that is frozen, after an operator has
// found out where its money is. The node settles nothing by it. A hold that may still exist
// is cancelled if the seller is to have the sats; if it is settled, the trade freezes again.
func (s *step) closeByHand() error {
	t := &s.t
	if t.Over() || Terminal(t.Status) || !t.Frozen && !t.EscrowGone {
		return ErrNothing
	}
	if s.in.Reason == "" {
		return errReason
	}
	on, to, action, status := OnClosedRefunded, message.TradeCanceledByAdmin, message.ActionAdminCanceled, message.DisputeStatusSellerRefunded
	v := &Verdict{Action: message.ActionAdminCancel, At: s.in.At, Reason: s.in.Reason}
	switch {
	case s.in.Outcome == OutcomePaid && t.Frozen:
		on, to, action, status = OnClosedPaid, message.TradeCompletedByAdmin, message.ActionAdminSettled, message.DisputeStatusSettled
		v.Action = message.ActionAdminSettle
	case s.in.Outcome != OutcomeRefunded:
		return ErrNothing
	}
	if err := allowed(t.Status, on, to); err != nil {
		return ErrNothing // a settled escrow cannot be refunded; an order that was not taken cannot be paid
	}
	for _, p := range []Party{t.Buyer, t.Seller} {
		if p.Key != "" {
			s.say(p, action, nil)
		}
	}
	if on == OnClosedRefunded && !t.EscrowGone {
		s.closeHold()
	}
	t.Frozen, t.Doubtful, t.Sighted = false, false, false
	if t.Status == message.TradeDispute {
		t.Dispute.Verdict = v
		s.showDispute(status)
	}
	return s.end(on, to)
}

package trade

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// ErrNothing reports that an input changes nothing about a trade, because the input is a
// repetition or is out of date. Such an input is not journaled.
var ErrNothing = errors.New("nothing to decide")

// Step decides about one input of a trade. Step is pure: the same trade and input return
// the same trade and effects at any time and on any machine.
//
// The zero Trade means a trade that does not exist yet. If Step returns an error, the
// trade is unchanged: a message.CantDo is the refusal for the sender, ErrNothing needs no
// record, ErrTable is a bug.
func Step(t Trade, in Input) (Trade, []Effect, error) {
	s := step{t: t, in: in}
	if err := s.decide(); err != nil {
		return t, nil, err
	}
	if s.trigger == "" {
		return t, nil, fmt.Errorf("%w: decision about %s without a trigger", ErrTable, in.Kind)
	}
	s.show()
	s.t.Last = s.trigger
	s.t.Steps++
	return s.t, s.effects, nil
}

// step is a decision in progress.
type step struct {
	t       Trade
	in      Input
	effects []Effect
	trigger Trigger
	// reshow publishes the order again even if its bucket is unchanged.
	reshow bool
}

func (s *step) decide() error {
	in := s.in
	if s.t.Status == none {
		switch in.Kind {
		case InMessage:
			if in.Request != nil && in.Request.Message.Action == message.ActionNewOrder {
				return s.newOrder()
			}
			return Refuse(message.ReasonNotFound)
		case InSpawn:
			return s.spawn()
		}
		return ErrNothing
	}
	if in.Outflow != 0 {
		return s.outflow()
	}
	switch in.Kind {
	case InMessage:
		return s.message()
	case InClock:
		return s.clock()
	case InRestart:
		return s.restart()
	case InReconcile:
		return s.reconcile()
	case InClockBack:
		return s.clockBack()
	case InResume:
		return s.resume()
	case InPayAfterAll:
		return s.payAfterAll()
	case InClose:
		return s.closeByHand()
	case InResolve:
		return s.resolve()
	case InOverpaid:
		return s.overpaid()
	case InSolverGone:
		return s.solverGone()
	case InUncommitted:
		return s.uncommitted()
	case InReshow:
		return s.reshown()
	case InHoldMade:
		return s.holdMade()
	case InHoldRefused:
		return s.holdRefused()
	case InHold:
		return s.hold()
	case InHoldUnknown:
		return s.holdUnknown()
	case InSettled:
		return s.settled()
	case InSettleRefused:
		return s.settleRefused()
	case InCanceled:
		return s.canceled()
	case InCancelRefused:
		return s.cancelRefused()
	case InMinted:
		return s.minted()
	case InMintFailed:
		return s.mintFailed()
	case InPaySent:
		return s.paySent()
	case InPayRefused:
		return s.payRefused()
	case InPayment:
		return s.payment()
	case InDevFeePaid:
		return s.devFeePaid()
	}
	return ErrNothing
}

// rules reports whether this version of the rules, or a newer one, decides about the
// input.
func (s *step) rules(version Rules) bool { return s.in.Rules >= version }

// message decides about a request of a user.
func (s *step) message() error {
	if s.in.Request == nil {
		return ErrNothing
	}
	if s.t.Frozen {
		return Refuse(message.ReasonNotAllowedByStatus)
	}
	s.follow()
	switch s.in.Request.Message.Action {
	case message.ActionTakeSell:
		return s.take(mostro.SideSell)
	case message.ActionTakeBuy:
		return s.take(mostro.SideBuy)
	case message.ActionAddInvoice:
		return s.addInvoice()
	case message.ActionFiatSent:
		return s.fiatSent()
	case message.ActionRelease:
		return s.release()
	case message.ActionCancel:
		return s.cancel()
	case message.ActionDispute:
		return s.dispute()
	case message.ActionTradePubkey:
		return s.rotate()
	case message.ActionAdminTakeDispute:
		return s.takeDispute()
	case message.ActionAdminSettle:
		return s.solverSettle()
	case message.ActionAdminCancel:
		return s.solverCancel()
	}
	return Refuse(message.ReasonInvalidAction)
}

// follow sends the answers to a party over the transport of the party's newest message, if
// the party changes between the current transports. A client that cannot read the node's
// description for a moment falls back to gift wraps. The transport of 2023 proves less
// about a sender, so no party can change to or from it in the middle of a trade.
func (s *step) follow() {
	to := s.sender().Transport
	for _, p := range []*Party{&s.t.Buyer, &s.t.Seller} {
		if p.Key != "" && p.Key == s.sender().Key && p.Transport != envelope.TransportLegacy && to != envelope.TransportLegacy {
			p.Transport = to
		}
	}
}

// Refuse returns the error that becomes a cant-do message.
func Refuse(reason message.Reason) error { return message.CantDo{Reason: reason} }

// move changes the status, if the table has the transition.
func (s *step) move(on Trigger, to message.TradeStatus) error {
	if err := allowed(s.t.Status, on, to); err != nil {
		return err
	}
	s.trigger, s.t.Status = on, to
	return nil
}

// stay records a change that leaves the status unchanged.
func (s *step) stay(on Trigger) error { return s.move(on, s.t.Status) }

func (s *step) do(e Effect) { s.effects = append(s.effects, e) }

// show publishes the order if the public status has changed. created_at is set here,
// together with the commit, and is never used twice: if two events have the same
// created_at, a relay keeps the one with the lower id, which is chance.
func (s *step) show() {
	bucket := Public(s.t.Status)
	if bucket == mostro.StatusUnknown || bucket == s.t.Bucket && !s.reshow {
		return
	}
	s.t.Bucket = bucket
	s.t.StampedAt = max(s.in.At, s.t.StampedAt+1)
	s.do(Effect{Kind: FxPublishOrder})
}

// showDispute publishes the dispute's event in the same way.
func (s *step) showDispute(status message.DisputeStatus) {
	s.t.Dispute.Status = status
	s.t.Dispute.StampedAt = max(s.in.At, s.t.Dispute.StampedAt+1)
	s.do(Effect{Kind: FxPublishDispute})
}

// say sends a message about the trade.
func (s *step) say(to Party, action message.Action, payload message.Payload) *message.Message {
	id := s.t.ID
	s.do(Effect{Kind: FxSend, To: to, Message: Outgoing{message.Message{
		Wrapper: message.WrapperOrder, ID: &id, Action: action, Payload: payload,
	}}})
	return &s.effects[len(s.effects)-1].Message.Message
}

// answer is like say, but with the id of the request, because clients wait for that id.
func (s *step) answer(to Party, action message.Action, payload message.Payload) *message.Message {
	m := s.say(to, action, payload)
	m.RequestID = s.in.Request.Message.RequestID
	return m
}

// sender returns the sender of the request.
func (s *step) sender() Party { return s.in.Request.From }

// isBuyer and isSeller compare trade keys. A side without a key never matches.
func (s *step) isBuyer() bool {
	return s.t.Buyer.Key != "" && s.sender().Key == s.t.Buyer.Key
}

func (s *step) isSeller() bool {
	return s.t.Seller.Key != "" && s.sender().Key == s.t.Seller.Key
}

func (s *step) isParty() bool { return s.isBuyer() || s.isSeller() }

func (s *step) isMaker() bool { return s.sender().Key == s.t.Maker().Key }

// other returns the party that did not send the request.
func (s *step) other() Party {
	if s.isBuyer() {
		return s.t.Seller
	}
	return s.t.Buyer
}

// role returns the role of the party that sent the request.
func (s *step) role() message.Initiator {
	if s.isBuyer() {
		return message.InitiatorBuyer
	}
	return message.InitiatorSeller
}

// closeHold starts the cancellation of the current hold. From here the hold's preimage is
// never used. The hash stays in Closing until the node confirms.
func (s *step) closeHold() {
	if (s.t.Hash == Hash{}) {
		return
	}
	s.t.Closing = append(slices.Clone(s.t.Closing), s.t.Hash)
	s.do(Effect{Kind: FxCancel, Hash: s.t.Hash})
}

// end changes to a final status.
func (s *step) end(on Trigger, to message.TradeStatus) error {
	if err := s.move(on, to); err != nil {
		return err
	}
	s.t.Deadline = 0
	s.t.Settling = false
	return nil
}

// backToBook makes a taken order pending again. The taker's data are deleted, and the
// maker's data stay.
func (s *step) backToBook(on Trigger, request *uint64) error {
	if err := s.move(on, message.TradePending); err != nil {
		return err
	}
	t := &s.t
	s.closeHold()
	t.setTaker(Party{})
	t.TakerReputation = nil
	t.Hash, t.Preimage, t.HoldInvoice = Hash{}, Preimage{}, ""
	t.TakenAt, t.HeldAt, t.SafeUntil, t.PaidMsat, t.Expiring = 0, 0, 0, 0, false
	t.BuyerInvoice = t.MakerInvoice
	t.TakeRequest, t.ReleaseRequest, t.CancelBy = nil, nil, ""
	t.DevFeeSats = 0
	if s.rules(rules1) {
		t.Doubtful, t.Sighted = false, false // the next taker's trade has no lost time
	}
	if t.MarketPrice {
		t.AmountSats, t.FeeSats = 0, 0
	}
	if t.Range() {
		t.FiatAmount = 0
	}
	if t.ExpiresAt <= s.in.At {
		// A pending order past its expiry could not be taken, so the order expires here.
		s.say(t.Maker(), message.ActionCanceled, nil).RequestID = nil
		return s.end(OnExpired, message.TradeExpired)
	}
	t.Deadline = t.ExpiresAt
	s.reshow = true
	s.say(t.Maker(), message.ActionNewOrder, t.SmallOrder(t.Status, t.AmountSats)).RequestID = request
	return nil
}

// SmallOrder returns the trade as messages show it. The amount depends on the reader. The
// caller adds the keys and the invoice, for a reader that may see them.
func (t Trade) SmallOrder(status message.TradeStatus, amountSats int64) *message.SmallOrder {
	id, created, expires := t.ID, t.CreatedAt, t.ExpiresAt
	o := &message.SmallOrder{
		ID: &id, Kind: t.Kind, Status: status, AmountSats: amountSats,
		FiatCode: t.Fiat, FiatAmount: t.FiatAmount, PaymentMethod: t.PaymentMethod, Premium: t.Premium,
		CreatedAt: &created, ExpiresAt: &expires,
	}
	if t.Range() {
		low, high := t.MinFiat, t.MaxFiat
		o.MinAmount, o.MaxAmount = &low, &high
	}
	return o
}

// WithKeys adds both trade keys. WithKeys is called only after both parties are committed
// to the trade.
func (t Trade) WithKeys(o *message.SmallOrder) *message.SmallOrder {
	buyer, seller := t.Buyer.Key, t.Seller.Key
	o.BuyerTradePubkey, o.SellerTradePubkey = &buyer, &seller
	return o
}

// restart extends a deadline that passed while the program was down, so that messages
// still on their way count.
func (s *step) restart() error {
	if s.t.Deadline == 0 || s.t.Deadline > s.in.At+s.in.Grace || s.in.Grace <= 0 {
		return ErrNothing
	}
	switch s.t.Status {
	case message.TradeWaitingBuyerInvoice, message.TradeWaitingPayment:
	default:
		return ErrNothing // the expiry of an order is public, and the chain does not wait
	}
	if s.rules(rules1) {
		// The extension happens once for each duty. Without this rule a program that
		// restarts every few minutes would extend the deadline for ever.
		if s.t.GracedAt == s.t.TakenAt {
			return ErrNothing
		}
		s.t.GracedAt = s.t.TakenAt
	}
	s.t.Deadline = s.in.At + s.in.Grace
	return s.stay(OnRestart)
}

// clockBack reduces times that a fast clock has set too far ahead. A hold is looked up
// now, because its time lock follows the chain and not the clock.
func (s *step) clockBack() error {
	t, at, was := &s.t, s.in.At, s.t
	if t.Frozen || t.Over() {
		return ErrNothing
	}
	if t.SafeUntil != 0 {
		t.SafeUntil -= s.in.Grace
	}
	switch t.Status {
	case message.TradeWaitingBuyerInvoice, message.TradeWaitingPayment:
		t.TakenAt, t.HeldAt = min(t.TakenAt, at), min(t.HeldAt, at)
		t.Deadline = min(t.Deadline, at+t.Terms.WaitSeconds)
	case message.TradeActive, message.TradeFiatSent, message.TradeDispute:
		t.HeldAt, t.Deadline = min(t.HeldAt, at), min(t.Deadline, at)
		t.SafeUntil = min(t.SafeUntil, at+int64(t.Terms.CLTVBlocks)*BlockSeconds)
	case message.TradeSettledHoldInvoice:
		t.Deadline = min(t.Deadline, at+trackPoll)
	}
	if t.TakenAt == was.TakenAt && t.HeldAt == was.HeldAt && t.Deadline == was.Deadline && t.SafeUntil == was.SafeUntil {
		return ErrNothing
	}
	return s.stay(OnClockBack)
}

// reconcile marks a trade of a store that was rolled back. The payout of the trade may
// have been made already, to an invoice that this store never saw.
func (s *step) reconcile() error {
	t := &s.t
	owing := t.owes() && !t.Frozen
	if owing {
		t.Frozen = true // the amount may have been paid under a hash that this store never saw
		if !Terminal(t.Status) {
			t.Deadline = s.in.At + remindFirst
		}
	}
	if Terminal(t.Status) || t.Status == message.TradePending || t.Doubtful && !t.Sighted {
		if owing {
			return s.stay(OnReconcile)
		}
		return ErrNothing
	}
	t.Doubtful, t.Sighted = true, false // rules before rules1 never set Sighted
	if t.Status == message.TradeSettledHoldInvoice {
		t.Frozen = true
		t.Deadline = s.in.At + remindFirst
	}
	return s.stay(OnReconcile)
}

// resume lets a frozen trade continue, after an operator has checked that the store is
// right about the trade.
func (s *step) resume() error {
	t := &s.t
	if !t.Frozen {
		return ErrNothing
	}
	t.Frozen, t.Doubtful, t.Sighted = false, false, false
	if !Terminal(t.Status) {
		t.Deadline = s.in.At
	}
	if err := s.stay(OnResume); err != nil {
		return err
	}
	if p := &t.Payout; s.rules(rules1) && t.Status == message.TradeSettledHoldInvoice {
		// Results that arrived while the trade was frozen started no further call.
		switch {
		case p.Minting:
			p.Minting = false
		case p.Hash != (Hash{}) && !p.Sent:
			s.do(t.payEffect())
		}
	}
	s.thawOutflows()
	return nil
}

// reshown publishes a pending order again, because its event shows the maker's rating.
func (s *step) reshown() error {
	if s.t.Status != message.TradePending {
		return ErrNothing
	}
	s.reshow = true
	return s.stay(OnReshow)
}

// uncommitted freezes a trade if one of its inputs could not be written to the store. The
// input is not lost: an operator sees the trade and decides.
func (s *step) uncommitted() error {
	if s.t.Frozen || s.t.Over() {
		return ErrNothing
	}
	s.t.Frozen = true
	if !Terminal(s.t.Status) {
		s.t.Deadline = s.in.At + remindFirst
	}
	return s.stay(OnUncommitted)
}

// payAfterAll lets the payout of a frozen trade begin, after an operator has checked that
// the node has settled the hold and the buyer is not paid. payAfterAll settles nothing.
// The payout begins when the node reports the hold as settled.
func (s *step) payAfterAll() error {
	t := &s.t
	if !t.Frozen || t.Status != message.TradeFiatSent && t.Status != message.TradeDispute {
		return ErrNothing
	}
	t.Frozen, t.Doubtful, t.Sighted, t.Settling = false, false, false, true
	t.Deadline = s.in.At + guardPoll
	return s.stay(OnPayAfterAll)
}

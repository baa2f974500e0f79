package trade

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mostrodex/mostrodex/mostro"
)

// ErrNothing says that an input changes nothing about a trade: a repetition,
// or news of the past. It is journaled nowhere.
var ErrNothing = errors.New("nothing to decide")

// Step decides what an input makes of a trade. It is pure: the same trade and
// input give the same trade and effects, whenever and wherever.
//
// The zero Trade stands for one that does not exist yet. Errors leave the
// trade as it was: a mostro.CantDo is the refusal that its sender shall read,
// ErrNothing needs no record, ErrTable is a bug.
func Step(t Trade, in Input) (Trade, []Effect, error) {
	s := step{t: t, in: in}
	if err := s.decide(); err != nil {
		return t, nil, err
	}
	if s.trigger == "" {
		return t, nil, fmt.Errorf("%w: %s decided without a trigger", ErrTable, in.Kind)
	}
	s.show()
	s.t.Last = s.trigger
	s.t.Steps++
	return s.t, s.effects, nil
}

// step is the decision in the making.
type step struct {
	t       Trade
	in      Input
	effects []Effect
	trigger Trigger
	// reshow has the order published again though its bucket is the same.
	reshow bool
}

func (s *step) decide() error {
	in := s.in
	if s.t.Status == none {
		switch in.Kind {
		case InMessage:
			if in.Request != nil && in.Request.Message.Action == mostro.ActionNewOrder {
				return s.newOrder()
			}
			return Refuse(mostro.ReasonNotFound)
		case InSpawn:
			return s.spawn()
		}
		return ErrNothing
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
	case InUncommitted:
		return s.uncommitted()
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
	}
	return ErrNothing
}

// rules says whether the input is decided by a version of the rules or a newer
// one.
func (s *step) rules(version Rules) bool { return s.in.Rules >= version }

// message decides about a user's request.
func (s *step) message() error {
	if s.in.Request == nil {
		return ErrNothing
	}
	if s.t.Frozen {
		return Refuse(mostro.ReasonNotAllowedByStatus)
	}
	s.follow()
	switch s.in.Request.Message.Action {
	case mostro.ActionTakeSell:
		return s.take(mostro.SideSell)
	case mostro.ActionTakeBuy:
		return s.take(mostro.SideBuy)
	case mostro.ActionAddInvoice:
		return s.addInvoice()
	case mostro.ActionFiatSent:
		return s.fiatSent()
	case mostro.ActionRelease:
		return s.release()
	case mostro.ActionCancel:
		return s.cancel()
	case mostro.ActionDispute:
		return s.dispute()
	case mostro.ActionTradePubkey:
		return s.rotate()
	}
	return Refuse(mostro.ReasonInvalidAction)
}

// follow has a party that changes between the transports of today answered
// where it listens now: a client that cannot read the node's description for a
// moment falls back to gift wraps. 2023's transport proves less, so nobody
// comes to it, or leaves it, in the middle of a trade.
func (s *step) follow() {
	to := s.sender().Transport
	for _, p := range []*Party{&s.t.Buyer, &s.t.Seller} {
		if p.Key != "" && p.Key == s.sender().Key && p.Transport != mostro.TransportLegacy && to != mostro.TransportLegacy {
			p.Transport = to
		}
	}
}

// Refuse gives the error that becomes a cant-do message.
func Refuse(reason mostro.Reason) error { return mostro.CantDo{Reason: reason} }

// move changes the status, if the table has it so.
func (s *step) move(on Trigger, to mostro.TradeStatus) error {
	if err := allowed(s.t.Status, on, to); err != nil {
		return err
	}
	s.trigger, s.t.Status = on, to
	return nil
}

// stay notes a change that leaves the status as it is.
func (s *step) stay(on Trigger) error { return s.move(on, s.t.Status) }

func (s *step) do(e Effect) { s.effects = append(s.effects, e) }

// show publishes the order when what the book should show has changed.
// created_at is stamped here, beside the commit, and never repeats: relays
// break a tie by the lower id, and that would be chance.
func (s *step) show() {
	bucket := Public(s.t.Status)
	if bucket == mostro.StatusUnknown || bucket == s.t.Bucket && !s.reshow {
		return
	}
	s.t.Bucket = bucket
	s.t.StampedAt = max(s.in.At, s.t.StampedAt+1)
	s.do(Effect{Kind: FxPublishOrder})
}

// showDispute does the same for the dispute's event.
func (s *step) showDispute(status mostro.DisputeStatus) {
	s.t.Dispute.Status = status
	s.t.Dispute.StampedAt = max(s.in.At, s.t.Dispute.StampedAt+1)
	s.do(Effect{Kind: FxPublishDispute})
}

// say sends a message about the trade.
func (s *step) say(to Party, action mostro.Action, payload mostro.Payload) *mostro.Message {
	id := s.t.ID
	s.do(Effect{Kind: FxSend, To: to, Message: Outgoing{mostro.Message{
		Wrapper: mostro.WrapperOrder, ID: &id, Action: action, Payload: payload,
	}}})
	return &s.effects[len(s.effects)-1].Message.Message
}

// answer is say with the request's id, which clients wait for.
func (s *step) answer(to Party, action mostro.Action, payload mostro.Payload) *mostro.Message {
	m := s.say(to, action, payload)
	m.RequestID = s.in.Request.Message.RequestID
	return m
}

// sender gives who wrote the request.
func (s *step) sender() Party { return s.in.Request.From }

// isBuyer and isSeller compare trade keys; a side that nobody fills is nobody.
func (s *step) isBuyer() bool {
	return s.t.Buyer.Key != "" && s.sender().Key == s.t.Buyer.Key
}

func (s *step) isSeller() bool {
	return s.t.Seller.Key != "" && s.sender().Key == s.t.Seller.Key
}

func (s *step) isParty() bool { return s.isBuyer() || s.isSeller() }

func (s *step) isMaker() bool { return s.sender().Key == s.t.Maker().Key }

// other gives the party that did not write the request.
func (s *step) other() Party {
	if s.isBuyer() {
		return s.t.Seller
	}
	return s.t.Buyer
}

// role gives which party wrote the request.
func (s *step) role() mostro.Initiator {
	if s.isBuyer() {
		return mostro.InitiatorBuyer
	}
	return mostro.InitiatorSeller
}

// closeHold decides that the present hold is given back, and forgets it: from
// here its preimage is never used. The hash is kept until the node confirms.
func (s *step) closeHold() {
	if (s.t.Hash == Hash{}) {
		return
	}
	s.t.Closing = append(slices.Clone(s.t.Closing), s.t.Hash)
	s.do(Effect{Kind: FxCancel, Hash: s.t.Hash})
}

// end puts the trade in a final status.
func (s *step) end(on Trigger, to mostro.TradeStatus) error {
	if err := s.move(on, to); err != nil {
		return err
	}
	s.t.Deadline = 0
	s.t.Settling = false
	return nil
}

// backToBook puts a taken order back: what the taker brought is wiped, what
// the maker brought stays.
func (s *step) backToBook(on Trigger, request *uint64) error {
	if err := s.move(on, mostro.TradePending); err != nil {
		return err
	}
	t := &s.t
	s.closeHold()
	t.setTaker(Party{})
	t.TakerReputation = nil
	t.Hash, t.Preimage, t.HoldInvoice = Hash{}, Preimage{}, ""
	t.TakenAt, t.HeldAt, t.SafeUntil = 0, 0, 0
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
		// Shown as pending it could not be taken: it expires on the spot.
		s.say(t.Maker(), mostro.ActionCanceled, nil).RequestID = nil
		return s.end(OnExpired, mostro.TradeExpired)
	}
	t.Deadline = t.ExpiresAt
	s.reshow = true
	s.say(t.Maker(), mostro.ActionNewOrder, t.SmallOrder(t.Status, t.AmountSats)).RequestID = request
	return nil
}

// SmallOrder gives the trade as messages show it, with an amount that depends on
// who reads it. Keys and invoice are added by those who may.
func (t Trade) SmallOrder(status mostro.TradeStatus, amountSats int64) *mostro.SmallOrder {
	id, created, expires := t.ID, t.CreatedAt, t.ExpiresAt
	o := &mostro.SmallOrder{
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

// WithKeys adds both trade keys: only once both parties are committed.
func (t Trade) WithKeys(o *mostro.SmallOrder) *mostro.SmallOrder {
	buyer, seller := t.Buyer.Key, t.Seller.Key
	o.BuyerTradePubkey, o.SellerTradePubkey = &buyer, &seller
	return o
}

// restart puts off a deadline that passed while nobody could be heard, so
// that mail still on its way counts.
func (s *step) restart() error {
	if s.t.Deadline == 0 || s.t.Deadline > s.in.At+s.in.Grace || s.in.Grace <= 0 {
		return ErrNothing
	}
	switch s.t.Status {
	case mostro.TradeWaitingBuyerInvoice, mostro.TradeWaitingPayment:
	default:
		return ErrNothing // an order's expiry is public, and the chain does not wait
	}
	if s.rules(rules1) {
		// Once for each duty: a program that restarts every few minutes would
		// put the deadline off for ever.
		if s.t.GracedAt == s.t.TakenAt {
			return ErrNothing
		}
		s.t.GracedAt = s.t.TakenAt
	}
	s.t.Deadline = s.in.At + s.in.Grace
	return s.stay(OnRestart)
}

// clockBack brings near what a clock that was ahead has put too far off. A hold
// is looked at now: the chain has its own time.
func (s *step) clockBack() error {
	t, at, was := &s.t, s.in.At, s.t
	if t.Frozen || t.Over() {
		return ErrNothing
	}
	if t.SafeUntil != 0 {
		t.SafeUntil -= s.in.Grace
	}
	switch t.Status {
	case mostro.TradeWaitingBuyerInvoice, mostro.TradeWaitingPayment:
		t.TakenAt, t.HeldAt = min(t.TakenAt, at), min(t.HeldAt, at)
		t.Deadline = min(t.Deadline, at+t.Terms.WaitSeconds)
	case mostro.TradeActive, mostro.TradeFiatSent, mostro.TradeDispute:
		t.HeldAt, t.Deadline = min(t.HeldAt, at), min(t.Deadline, at)
		t.SafeUntil = min(t.SafeUntil, at+int64(t.Terms.CLTVBlocks)*BlockSeconds)
	case mostro.TradeSettledHoldInvoice:
		t.Deadline = min(t.Deadline, at+trackPoll)
	}
	if t.TakenAt == was.TakenAt && t.HeldAt == was.HeldAt && t.Deadline == was.Deadline && t.SafeUntil == was.SafeUntil {
		return ErrNothing
	}
	return s.stay(OnClockBack)
}

// reconcile marks a trade of a store that was rolled back. Its payout may have
// been made already, to an invoice that this store never saw.
func (s *step) reconcile() error {
	t := &s.t
	if Terminal(t.Status) || t.Status == mostro.TradePending || t.Doubtful && !t.Sighted {
		return ErrNothing
	}
	t.Doubtful, t.Sighted = true, false // Sighted was never set before rules1
	if t.Status == mostro.TradeSettledHoldInvoice {
		t.Frozen = true
		t.Deadline = s.in.At + remindFirst
	}
	return s.stay(OnReconcile)
}

// resume has a frozen trade go on: an operator has seen that the store is
// right about it.
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
	if p := &t.Payout; s.rules(rules1) && t.Status == mostro.TradeSettledHoldInvoice {
		// Results that came while the trade was frozen began nothing.
		switch {
		case p.Minting:
			p.Minting = false
		case p.Hash != (Hash{}) && !p.Sent:
			s.do(t.payEffect())
		}
	}
	return nil
}

// uncommitted freezes a trade one of whose inputs could not be written to the
// store. The input is not lost: an operator sees the trade and decides.
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

// payAfterAll has a frozen trade paid out whose hold the node has settled: an
// operator has seen that the buyer is not paid. Nothing is settled by it; the
// payout begins when the node says that the hold is.
func (s *step) payAfterAll() error {
	t := &s.t
	if !t.Frozen || t.Status != mostro.TradeFiatSent && t.Status != mostro.TradeDispute {
		return ErrNothing
	}
	t.Frozen, t.Doubtful, t.Sighted, t.Settling = false, false, false, true
	t.Deadline = s.in.At + guardPoll
	return s.stay(OnPayAfterAll)
}

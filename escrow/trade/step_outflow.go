package trade

import (
	"slices"

	"github.com/mostrodex/mostrodex/mostro/message"
)

// owe adds an outflow that the node owes now. The clock begins it.
func (s *step) owe(o Outflow) {
	o.Deadline = s.in.At
	s.t.Outflows = append(slices.Clone(s.t.Outflows), o)
}

// owes reports whether an outflow other than the buyer's is not paid yet.
func (t Trade) owes() bool {
	return slices.ContainsFunc(t.Outflows, func(o Outflow) bool { return !o.Done() })
}

// Outflow returns an outflow by its number in the trade, and whether it exists.
func (t *Trade) Outflow(n uint32) (*Outflow, bool) {
	if n == 0 {
		return &t.Payout, true
	}
	if int(n) > len(t.Outflows) {
		return nil, false
	}
	return &t.Outflows[n-1], true
}

// Claims calls fn for each outflow of which a payment may be in flight under o.Hash, or for
// which an address is being asked.
func (t *Trade) Claims(fn func(n uint32, o *Outflow)) {
	if t.Status == message.TradeSettledHoldInvoice && t.Payout.claimed() {
		fn(0, &t.Payout)
	}
	for i := range t.Outflows {
		if o := &t.Outflows[i]; !o.Done() && o.claimed() {
			fn(uint32(i)+1, o)
		}
	}
}

// Due returns the next time at which the clock decides about the trade or one of its
// outflows; 0 if there is none. The outflows of a frozen trade wait.
func (t Trade) Due() int64 {
	due := t.Deadline
	if t.Frozen {
		return due
	}
	for i := range t.Outflows {
		if d := t.Outflows[i].Deadline; d != 0 && (due == 0 || d < due) {
			due = d
		}
	}
	return due
}

// dueOutflow returns the number of the first outflow whose deadline has passed, or 0.
func (t Trade) dueOutflow(at int64) uint32 {
	for i := range t.Outflows {
		if d := t.Outflows[i].Deadline; d != 0 && d <= at && !t.Frozen {
			return uint32(i) + 1
		}
	}
	return 0
}

// mine returns the outflow of a number for a change. The memory of the trade before the step
// is not written.
func (s *step) mine(n uint32) *Outflow {
	s.t.Outflows = slices.Clone(s.t.Outflows)
	return &s.t.Outflows[n-1]
}

// outflow decides about the result of a call for an outflow other than the buyer's. The rules
// are those of the buyer's payout: one payment is in flight at a time, a success counts for
// any attempt, and a failure counts once and only for the current attempt. The status of the
// trade does not matter, because an amount may be owed after the trade has ended.
func (s *step) outflow() error {
	t, in, n := &s.t, s.in, s.in.Outflow
	if int(n) > len(t.Outflows) || t.Outflows[n-1].Done() {
		return ErrNothing
	}
	o := s.mine(n)
	current := in.Attempt == o.Attempt
	claim := current && o.Hash == in.Hash && in.Hash != Hash{}
	switch in.Kind {
	case InMinted:
		switch d := in.Invoice; {
		case !current || !o.Minting || t.Frozen:
			return ErrNothing
		case !d.Payable(t.Terms, in.At) || d.AmountMsat != o.AmountSats*1000:
			return s.outflowFailed(o)
		default:
			s.claimOutflow(o, n, d.payTo())
			return s.stay(OnOutflow)
		}
	case InMintFailed:
		if current && o.Minting {
			return s.outflowFailed(o)
		}
	case InPaySent:
		if claim && !o.Sent {
			o.Sent, o.Deadline = true, in.At+trackPoll
			return s.stay(OnOutflow)
		}
	case InPayRefused:
		if claim && !o.Sent {
			return s.outflowFailed(o)
		}
	case InPayment:
		switch in.Payment.Status {
		case PaymentSucceeded:
			if (in.Hash == Hash{}) || in.Hash != o.Hash && (o.Hash != Hash{} || in.Hash != o.LastHash) {
				return ErrNothing
			}
			o.Hash, o.LastHash, o.Sent, o.Minting, o.Bolt11, o.Deadline = Hash{}, in.Hash, false, false, "", 0
			o.FeeMsat, o.PaidAt = in.Payment.FeeMsat, in.At
			return s.stay(OnOutflowPaid)
		case PaymentFailed:
			if claim && o.Sent {
				return s.outflowFailed(o)
			}
		case PaymentUnknown:
			if claim && o.Sent && !t.Frozen {
				// The node accepted the payment and no longer knows it. The claim stays set.
				o.Sent, o.Deadline = false, in.At+trackPoll
				s.do(t.outflowEffect(n))
				return s.stay(OnOutflow)
			}
		}
	}
	return ErrNothing
}

// outflowDue begins or continues an outflow whose deadline has passed.
func (s *step) outflowDue(n uint32) error {
	at, o := s.in.At, s.mine(n)
	o.Deadline = at + trackPoll
	switch {
	case o.Sent:
		s.do(Effect{Kind: FxTrack, Hash: o.Hash, Attempt: o.Attempt, Outflow: n})
	case o.claimed(): // the outbox is still performing the call
	case !o.To.usable(at):
		o.Deadline = at + remindFirst // until there is another destination
		if (o.LastHash != Hash{}) {
			// In a time that an older copy of the store has lost, the same invoice may have been
			// tried once more.
			s.do(Effect{Kind: FxTrack, Hash: o.LastHash, Attempt: o.Attempt, Outflow: n})
		}
	default:
		o.Attempt++
		if o.To.Address() {
			o.Minting = true
			s.do(Effect{Kind: FxMint, Text: o.To.Text, AmountSats: o.AmountSats, Attempt: o.Attempt, Outflow: n})
			break
		}
		s.claimOutflow(o, n, o.To)
	}
	return s.stay(OnOutflow)
}

// claimOutflow sends one payment under one hash.
func (s *step) claimOutflow(o *Outflow, n uint32, i PayTo) {
	o.Minting, o.Sent, o.Deadline = false, false, s.in.At+trackPoll
	o.Hash, o.LastHash, o.Bolt11, o.Open = i.Hash, i.Hash, i.Text, i.Open
	s.do(s.t.outflowEffect(n))
}

// outflowFailed removes the claim. The next attempt follows at growing intervals, for ever.
func (s *step) outflowFailed(o *Outflow) error {
	o.Hash, o.Sent, o.Minting, o.Bolt11 = Hash{}, false, false, ""
	if !s.in.Deferred {
		o.Failures++
	}
	o.Deadline = s.in.At + min(s.t.Terms.PaymentRetrySecs<<min(o.Failures, 16), remindFirst)
	return s.stay(OnOutflowFailed)
}

// outflowEffect returns the payment of a claim. The node needs the amount only if the invoice
// states none.
func (t Trade) outflowEffect(n uint32) Effect {
	o := t.Outflows[n-1]
	e := Effect{
		Kind: FxPay, Hash: o.Hash, Text: o.Bolt11, Attempt: o.Attempt, Outflow: n,
		MaxFeeSats: t.Terms.MaxRoutingFee.RoutingCap(o.AmountSats),
	}
	if o.Open {
		e.AmountSats = o.AmountSats
	}
	return e
}

// Suspended is a hold that this trade had cancelled and that the node has settled: the store
// was an older copy of itself. The amount belongs to no party until an operator has decided.
type Suspended struct {
	Hash     Hash    `json:"hash"`
	PaidMsat int64   `json:"paid_msat"`
	Outcome  Outcome `json:"outcome,omitempty"` // "" until an operator has decided
	At       int64   `json:"at,omitzero"`       // time of the decision
	Reason   string  `json:"reason,omitempty"`
}

// suspend records an amount in suspense. Journals before December 2026 do not contain it.
func (s *step) suspend() {
	if s.in.Hold.PaidMsat > 0 {
		s.t.Suspended = append(slices.Clone(s.t.Suspended), Suspended{Hash: s.in.Hash, PaidMsat: s.in.Hold.PaidMsat})
	}
}

// resolve records an operator's decision about an amount in suspense. A trade that has ended
// is no longer frozen after its last such decision.
func (s *step) resolve() error {
	t, in := &s.t, s.in
	if in.Reason == "" {
		return errReason
	}
	switch in.Outcome {
	case OutcomeRefunded, OutcomePaid, OutcomeKept, OutcomeRefund:
	default:
		return ErrNothing
	}
	i := slices.IndexFunc(t.Suspended, func(u Suspended) bool { return u.Hash == in.Hash })
	t.Suspended = slices.Clone(t.Suspended)
	n := t.Refund(in.Hash)
	switch {
	case i >= 0 && t.Suspended[i].Outcome == "":
	case i >= 0 && n != 0 && (!t.Outflows[n-1].claimed() || t.Frozen && !t.Outflows[n-1].Sent):
		// Another decision may replace a refund that has no payment in flight. The claim of
		// a frozen trade was not sent by this process: its call is withheld, and removed.
	case i >= 0:
		return ErrNothing // two decisions would move the amount twice
	case in.Hash == Hash{} || in.Hash == t.Hash && !refunded(t.Status) || slices.Contains(t.Closing, in.Hash) || in.Hold.PaidMsat <= 0:
		return ErrNothing
	default: // the amount went into suspense before trades recorded such amounts
		i = len(t.Suspended)
		t.Suspended = append(t.Suspended, Suspended{Hash: in.Hash, PaidMsat: in.Hold.PaidMsat})
	}
	u := &t.Suspended[i]
	u.Outcome, u.At, u.Reason = in.Outcome, in.At, in.Reason
	sats := u.PaidMsat / 1000
	switch {
	case in.Outcome == OutcomeRefund && !in.Invoice.pays(sats, false, t.Terms, in.At):
		return Refuse(message.ReasonInvalidInvoice)
	case in.Outcome == OutcomeRefund && n != 0:
		o := s.mine(n)
		o.Hash, o.Minting, o.Bolt11 = Hash{}, false, ""
		o.To, o.Failures, o.Deadline = in.Invoice.payTo(), 0, in.At
	case in.Outcome == OutcomeRefund:
		s.owe(Outflow{Purpose: OutflowRefund, For: in.Hash, AmountSats: sats, To: in.Invoice.payTo()})
	case n != 0:
		o := s.mine(n)
		o.Hash, o.Minting, o.Bolt11 = Hash{}, false, ""
		o.PaidAt, o.Deadline, o.Withdrawn = in.At, 0, true
	}
	if err := s.stay(OnResolved); err != nil {
		return err
	}
	if Terminal(t.Status) && !slices.ContainsFunc(t.Suspended, func(u Suspended) bool { return u.Outcome == "" }) {
		t.Frozen, t.Doubtful, t.Sighted = false, false, false
		s.thawOutflows()
	}
	return nil
}

// refunded reports whether a status means that the seller has the sats back.
func refunded(s message.TradeStatus) bool {
	return Terminal(s) && s != message.TradeSuccess && s != message.TradeCompletedByAdmin
}

// Refund returns the number of the open refund of a hold, or 0.
func (t Trade) Refund(h Hash) uint32 {
	i := slices.IndexFunc(t.Outflows, func(o Outflow) bool { return o.Purpose == OutflowRefund && o.For == h && !o.Done() })
	return uint32(i + 1)
}

// Refunded reports whether the program has paid the refund of a hold in suspense.
func (t Trade) Refunded(h Hash) bool {
	return slices.ContainsFunc(t.Outflows, func(o Outflow) bool {
		return o.Purpose == OutflowRefund && o.For == h && o.Done() && !o.Withdrawn
	})
}

// thawOutflows lets outflows go on after the trade was frozen. Results that arrived meanwhile
// started no further call.
func (s *step) thawOutflows() {
	for i := range s.t.Outflows {
		n := uint32(i) + 1
		switch o := s.t.Outflows[i]; {
		case o.Minting:
			m := s.mine(n)
			m.Minting, m.Deadline = false, s.in.At
		case o.Hash != Hash{} && !o.Sent:
			s.do(s.t.outflowEffect(n))
		}
	}
}

package ledger

import (
	"fmt"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// Step is one step of a trade's journal, with the facts that a posting needs.
type Step struct {
	Before, After trade.Trade
	Input         trade.Input
	// HeldMsat is the balance of the hold account of Step.Hold before the step. A trade that
	// went back to the book no longer knows the amount of the hold that is being returned.
	HeldMsat int64
	// SuspenseMsat is the amount in Suspense under the hash of Step.Hold before the step.
	SuspenseMsat int64
}

// Hold returns the hash of the hold that the step is about.
func (s Step) Hold() trade.Hash {
	switch {
	case s.Input.Kind == trade.InCanceled, s.Input.Kind == trade.InCancelRefused, s.Input.Kind == trade.InResolve:
		return s.Input.Hash
	case s.outflow() != nil:
		return s.outflow().For
	}
	return s.Before.Hash
}

// source returns the journal row of the step, for transactions about a hash.
func (s Step) source(h trade.Hash) Source {
	return Source{Trade: s.After.ID, Step: s.After.Steps, At: s.Input.At, Trigger: s.After.Last, Hash: h}
}

// accepted reports whether the step is the first to know that the seller has paid. A hold
// that arrives too late for a trade is accepted and cancelled in one step.
func (s Step) accepted() bool {
	return s.Input.Kind == trade.InHold && s.Before.Status == message.TradeWaitingPayment && s.Before.HeldAt == 0 &&
		(s.After.HeldAt != 0 || s.After.Last == trade.OnHoldTooShort)
}

// settled reports whether the node has claimed the hold, and the buyer must be paid.
func (s Step) settled() bool { return !trade.Settled(s.Before.Status) && trade.Settled(s.After.Status) }

// ended reports whether the hold has ended without an action of this node, or ended before
// the node could settle the hold.
func (s Step) ended() bool { return !s.Before.EscrowGone && s.After.EscrowGone }

// closed reports whether the node has confirmed the end of a hold that the trade had
// cancelled.
func (s Step) closed() bool {
	return slices.Contains(s.Before.Closing, s.Input.Hash) && !slices.Contains(s.After.Closing, s.Input.Hash)
}

// outflow returns the outflow other than the buyer's that the step is about, after the step,
// or nil.
func (s Step) outflow() *trade.Outflow {
	if o, ok := s.After.Outflow(s.Input.Outflow); ok && s.Input.Outflow != 0 {
		return o
	}
	return nil
}

// resolved reports whether an operator has decided about an amount in Suspense and nothing
// must be paid by this node.
func (s Step) resolved() bool {
	return s.Input.Kind == trade.InResolve && s.After.Last == trade.OnResolved && s.Input.Outcome != trade.OutcomeRefund
}

// refunded reports whether a seller has received an amount that was in Suspense.
func (s Step) refunded() bool {
	o := s.outflow()
	return o != nil && o.Purpose == trade.OutflowRefund && s.After.Last == trade.OnOutflowPaid
}

// paid reports whether the buyer has received the payout.
func (s Step) paid() bool { return !paid(s.Before.Status) && paid(s.After.Status) }

func paid(status message.TradeStatus) bool {
	return status == message.TradeSuccess || status == message.TradeCompletedByAdmin
}

// devFeePaid reports whether the development fund has received the fee of the trade.
func (s Step) devFeePaid() bool {
	return s.Before.DevFeePaid != s.After.DevFeePaid
}

// found reports whether an operator has recorded that more was paid for a settled hold.
func (s Step) found() bool {
	return s.After.Last == trade.OnOverpaid && s.Input.Kind == trade.InOverpaid
}

// Post returns the transactions of one step. Most steps have none. Post is pure: the same
// step returns the same transactions. Post returns ErrAmount if the step moves more than an
// account holds.
func Post(s Step) ([]Transaction, error) {
	var list []Transaction
	h := s.Hold()
	if s.accepted() {
		// BOLT 4 allows a payer to send more than the amount of the invoice.
		paid := max(s.Input.Hold.PaidMsat, s.Before.LockSats()*1000)
		list = append(list, s.source(h).transaction(HoldAccepted, Entry{SellerWallet, -paid}, Entry{Hold, paid}))
		s.HeldMsat += paid
	}
	if suspends := s.closed() && s.Input.Kind == trade.InCancelRefused; suspends && s.Input.Hold.PaidMsat > s.HeldMsat {
		// The journal of a store that was rolled back does not contain the whole payment.
		list = append(list, s.source(h).transaction(HoldAccepted, Entry{SellerWallet, s.HeldMsat - s.Input.Hold.PaidMsat}, Entry{Hold, s.Input.Hold.PaidMsat - s.HeldMsat}))
		s.HeldMsat = s.Input.Hold.PaidMsat
	}
	switch {
	case s.resolved():
		list = append(list, s.source(h).transaction(SuspenseResolved, Entry{Suspense, -s.SuspenseMsat}, Entry{owner(s.Input.Outcome), s.SuspenseMsat}))
	case s.refunded():
		o := s.outflow()
		if o.FeeMsat < 0 || o.FeeMsat > maxMsat || o.AmountSats*1000 > s.SuspenseMsat {
			return nil, fmt.Errorf("%w: trade %s, step %d: a refund of %d sats with a fee of %d msat, and %d msat are in suspense", ErrAmount, s.After.ID, s.After.Steps, o.AmountSats, o.FeeMsat, s.SuspenseMsat)
		}
		list = append(list, s.source(o.LastHash).transaction(RefundPaid, Entry{Suspense, -s.SuspenseMsat}, Entry{SellerWallet, o.AmountSats * 1000},
			Entry{Forfeits, s.SuspenseMsat - o.AmountSats*1000}, Entry{Income, -o.FeeMsat}, Entry{Routing, o.FeeMsat}))
	case s.settled():
		t := s.After
		payout, fees, dev := t.PayoutSats()*1000, feesMsat(t), t.DevFeeSats*1000
		over := s.HeldMsat - payout - fees
		if over < 0 {
			return nil, fmt.Errorf("%w: trade %s, step %d: %d msat are held, and %d are settled", ErrAmount, t.ID, t.Steps, s.HeldMsat, payout+fees)
		}
		list = append(list, s.source(h).transaction(HoldSettled,
			Entry{Hold, -s.HeldMsat}, Entry{Claim, payout}, Entry{Income, fees - dev}, Entry{DevFund, dev}, Entry{Overpayments, over}))
	case s.HeldMsat == 0:
		// A hold that was never paid ends without a transaction.
	case s.closed() && s.Input.Kind == trade.InCancelRefused:
		list = append(list, s.source(h).transaction(HoldSuspended, Entry{Hold, -s.HeldMsat}, Entry{Suspense, s.HeldMsat}))
	case s.closed(), s.ended():
		list = append(list, s.source(h).transaction(HoldReturned, Entry{Hold, -s.HeldMsat}, Entry{SellerWallet, s.HeldMsat}))
	}
	if s.paid() {
		fee, payout := s.After.Payout.FeeMsat, s.After.PayoutSats()*1000
		if fee < 0 || fee > maxMsat {
			return nil, fmt.Errorf("%w: trade %s, step %d: a routing fee of %d msat", ErrAmount, s.After.ID, s.After.Steps, fee)
		}
		list = append(list, s.source(s.After.Payout.LastHash).transaction(BuyerPaid,
			Entry{Claim, -payout}, Entry{BuyerWallet, payout}, Entry{Income, -fee}, Entry{Routing, fee}))
	}
	if s.found() {
		over := s.After.HeldMsat() - s.Before.HeldMsat()
		list = append(list, s.source(h).transaction(OverpaymentFound, Entry{SellerWallet, -over}, Entry{Overpayments, over}))
	}
	if s.devFeePaid() && s.After.DevFeePaid.ByHand {
		dev := s.After.DevFeeSats * 1000
		list = append(list, s.source(trade.Hash{}).transaction(DevFeeByHand, Entry{DevFund, -dev}, Entry{ByHand, dev}))
	} else if s.devFeePaid() {
		p := s.After.DevFeePaid
		t, err := PayDevFee(s.source(p.Hash), s.After.DevFeeSats*1000, p.FeeMsat)
		if err != nil {
			return nil, fmt.Errorf("trade %s, step %d: %w", s.After.ID, s.After.Steps, err)
		}
		list = append(list, t)
	}
	return list, nil
}

// owner returns the account of the party to which an operator has given an amount.
func owner(o trade.Outcome) Kind {
	switch o {
	case trade.OutcomeRefunded:
		return SellerWallet
	case trade.OutcomePaid:
		return BuyerWallet
	}
	return Forfeits
}

// feesMsat returns the fees of both sides: the seller locks more than the buyer receives.
func feesMsat(t trade.Trade) int64 { return (t.LockSats() - t.PayoutSats()) * 1000 }

// PayDevFee returns the transaction of a payment to the development fund.
func PayDevFee(from Source, msat, feeMsat int64) (Transaction, error) {
	if err := inRange(msat, feeMsat); err != nil {
		return Transaction{}, err
	}
	return from.transaction(DevFeePaid, Entry{DevFund, -msat}, Entry{DevWallet, msat}, Entry{Income, -feeMsat}, Entry{Routing, feeMsat}), nil
}

func inRange(amounts ...int64) error {
	for _, msat := range amounts {
		if msat < 0 || msat > maxMsat {
			return fmt.Errorf("%w: %d msat", ErrAmount, msat)
		}
	}
	return nil
}

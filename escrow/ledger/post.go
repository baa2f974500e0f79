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
	// PaidMsat is the amount that the node received under the hash of an accepted hold. If
	// 0, the amount is the amount of the invoice. BOLT 4 allows a payer to send more.
	PaidMsat int64
}

// Hold returns the hash of the hold that the step is about.
func (s Step) Hold() trade.Hash {
	if s.Input.Kind == trade.InCanceled || s.Input.Kind == trade.InCancelRefused {
		return s.Input.Hash
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
func (s Step) settled() bool { return !settled(s.Before.Status) && settled(s.After.Status) }

// settled reports whether a status follows the settlement of the hold.
func settled(status message.TradeStatus) bool {
	switch status {
	case message.TradeSettledHoldInvoice, message.TradeSettledByAdmin, message.TradeSuccess, message.TradeCompletedByAdmin:
		return true
	}
	return false
}

// ended reports whether the hold has ended without an action of this node, or ended before
// the node could settle the hold.
func (s Step) ended() bool { return !s.Before.EscrowGone && s.After.EscrowGone }

// closed reports whether the node has confirmed the end of a hold that the trade had
// cancelled.
func (s Step) closed() bool {
	return slices.Contains(s.Before.Closing, s.Input.Hash) && !slices.Contains(s.After.Closing, s.Input.Hash)
}

// paid reports whether the buyer has received the payout.
func (s Step) paid() bool { return !paid(s.Before.Status) && paid(s.After.Status) }

func paid(status message.TradeStatus) bool {
	return status == message.TradeSuccess || status == message.TradeCompletedByAdmin
}

// devFeePaid reports whether the development fund has received the fee of the trade.
func (s Step) devFeePaid() bool {
	return s.Before.DevFeePaid.Hash != s.After.DevFeePaid.Hash
}

// Post returns the transactions of one step. Most steps have none. Post is pure: the same
// step returns the same transactions. Post returns ErrAmount if the step moves more than an
// account holds.
func Post(s Step) ([]Transaction, error) {
	var list []Transaction
	h := s.Hold()
	if s.accepted() {
		paid := max(s.PaidMsat, s.Before.LockSats()*1000)
		list = append(list, s.source(h).transaction(HoldAccepted, Entry{SellerWallet, -paid}, Entry{Hold, paid}))
		s.HeldMsat += paid
	}
	switch {
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
	if s.devFeePaid() {
		p := s.After.DevFeePaid
		t, err := PayDevFee(s.source(p.Hash), s.After.DevFeeSats*1000, p.FeeMsat)
		if err != nil {
			return nil, fmt.Errorf("trade %s, step %d: %w", s.After.ID, s.After.Steps, err)
		}
		list = append(list, t)
	}
	return list, nil
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

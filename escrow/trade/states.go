package trade

import (
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/mostro/message"
)

//go:generate go run ../statesdoc -o ../../docs/escrow-states.md

// Trigger is the reason why a trade changes its status, or changes without a new status.
type Trigger string

// The triggers.
const (
	OnNewOrder         Trigger = "new-order"
	OnSpawn            Trigger = "rest of a range order"
	OnTakeSell         Trigger = "take-sell"
	OnTakeSellInvoice  Trigger = "take-sell with invoice"
	OnTakeBuy          Trigger = "take-buy"
	OnRotate           Trigger = "trade-pubkey"
	OnHoldMade         Trigger = "hold invoice made"
	OnHoldImpossible   Trigger = "hold invoice impossible"
	OnHoldTooShort     Trigger = "hold's time lock leaves no room"
	OnAddInvoice       Trigger = "add-invoice"
	OnHeld             Trigger = "seller paid"
	OnHeldNoInvoice    Trigger = "seller paid, no usable buyer invoice"
	OnFiatSent         Trigger = "fiat-sent"
	OnRelease          Trigger = "release"
	OnSettled          Trigger = "hold settled"
	OnSettleImpossible Trigger = "hold gone before settlement"
	OnMinted           Trigger = "payout invoice fetched"
	OnPaySent          Trigger = "payout under way"
	OnPaid             Trigger = "payout succeeded"
	OnPayFailed        Trigger = "payout failed"
	OnRetry            Trigger = "payout due again"
	OnRemind           Trigger = "buyer owes an invoice"
	OnTrack            Trigger = "payout asked after"
	OnCancelMaker      Trigger = "cancel by maker"
	OnCancelTaker      Trigger = "cancel by taker"
	OnCancelAsked      Trigger = "cancel by one party"
	OnCancelAgreed     Trigger = "cancel by the other party"
	OnTimeoutTaker     Trigger = "taker's time is up"
	OnTimeoutMaker     Trigger = "maker's time is up"
	OnExpired          Trigger = "order expired"
	OnDispute          Trigger = "dispute"
	OnGuard            Trigger = "hold's time lock is looked at"
	OnGuardActive      Trigger = "hold near its time lock"
	OnGuardFiatSent    Trigger = "hold near its time lock, fiat sent"
	OnEscrowGone       Trigger = "hold ended without us"
	OnContradiction    Trigger = "node contradicts the store"
	OnReconcile        Trigger = "store was rolled back"
	OnSighted          Trigger = "hold of a rolled back store looked up as accepted"
	OnUncommitted      Trigger = "input could not be written"
	OnReshow           Trigger = "maker's rating changed"
	OnClockBack        Trigger = "clock was set back"
	OnResume           Trigger = "operator resumes"
	OnPayAfterAll      Trigger = "operator has the buyer paid"
	OnHoldClosed       Trigger = "hold given back"
	OnRestart          Trigger = "restart"
	OnResolved         Trigger = "operator resolves an amount in suspense"
	OnOverpaid         Trigger = "operator records an overpayment"
	OnOutflow          Trigger = "another payment goes on"
	OnOutflowPaid      Trigger = "another payment succeeded"
	OnOutflowFailed    Trigger = "another payment failed"
	OnSolverTake       Trigger = "admin-take-dispute"
	OnSolverSettle     Trigger = "admin-settle"
	OnSolverCancel     Trigger = "admin-cancel"
	OnSolverGone       Trigger = "solver removed"
	OnWarn             Trigger = "dispute is due"
	OnOverdueCancel    Trigger = "dispute is overdue: cancel"
	OnOverdueSettle    Trigger = "dispute is overdue: settle"
	OnNodeCancel       Trigger = "cancel by the node's key"
	OnClosedRefunded   Trigger = "operator closes: refunded"
	OnClosedPaid       Trigger = "operator closes: paid"
	OnDevFeePaid       Trigger = "development fee paid"
	OnMakerBond        Trigger = "maker's bond locked"
	OnTakerBond        Trigger = "taker's bond asked"
)

// Transition is one row of the table. A trade changes only as a row allows.
type Transition struct {
	From message.TradeStatus // "" if the trade does not exist yet
	On   Trigger
	By   string // the party or component that causes the transition
	To   message.TradeStatus
	Does string
	// Later marks a transition of the protocol that is not implemented yet.
	Later bool
}

const (
	byMaker  = "maker"
	byTaker  = "taker"
	byBuyer  = "buyer"
	bySeller = "seller"
	byParty  = "either party"
	byNode   = "Lightning node"
	byClock  = "clock"
	bySolver = "solver"
	byEngine = "engine"

	byOperator = "operator"
)

// none is the status of a trade that does not exist yet.
const none message.TradeStatus = ""

// Transitions is the table. Step returns ErrTable for a transition that is not in the
// table, for any sender.
var Transitions = []Transition{
	{none, OnNewOrder, byMaker, message.TradePending, "order published; new-order to the maker", false},
	{none, OnSpawn, byEngine, message.TradePending, "order published; new-order to the maker's next key", false},

	{message.TradePending, OnTakeSell, byTaker, message.TradeWaitingBuyerInvoice, "add-invoice to the buyer, waiting-buyer-invoice to the seller", false},
	{message.TradePending, OnTakeSellInvoice, byTaker, message.TradeWaitingPayment, "hold invoice ordered", false},
	{message.TradePending, OnTakeBuy, byTaker, message.TradeWaitingPayment, "hold invoice ordered", false},
	{message.TradePending, OnRotate, byMaker, message.TradePending, "the maker's trade key changes", false},
	{message.TradePending, OnCancelMaker, byMaker, message.TradeCanceled, "canceled to the maker", false},
	{message.TradePending, OnExpired, byClock, message.TradeExpired, "taken off the book", false},
	{message.TradePending, OnNodeCancel, byOperator, message.TradeCanceledByAdmin, "admin-canceled to the maker", false},
	{message.TradePending, OnClosedRefunded, byOperator, message.TradeCanceledByAdmin, "frozen: admin-canceled to the maker", false},

	{message.TradeWaitingBuyerInvoice, OnAddInvoice, byBuyer, message.TradeWaitingPayment, "sell order: hold invoice ordered", false},
	{message.TradeWaitingBuyerInvoice, OnAddInvoice, byBuyer, message.TradeActive, "buy order, escrow held: hold-invoice-payment-accepted, buyer-took-order", false},
	{message.TradeWaitingBuyerInvoice, OnCancelMaker, byMaker, message.TradeCanceled, "hold cancelled; canceled to both", false},
	{message.TradeWaitingBuyerInvoice, OnCancelTaker, byTaker, message.TradePending, "hold cancelled; canceled to the taker, new-order to the maker", false},
	{message.TradeWaitingBuyerInvoice, OnClosedRefunded, byOperator, message.TradeCanceledByAdmin, "frozen: hold cancelled; admin-canceled to both", false},
	{message.TradeWaitingBuyerInvoice, OnTimeoutTaker, byClock, message.TradePending, "sell order: canceled to the taker, new-order to the maker", false},
	{message.TradeWaitingBuyerInvoice, OnTimeoutMaker, byClock, message.TradeCanceled, "buy order: hold cancelled; canceled to both", false},
	{message.TradeWaitingBuyerInvoice, OnEscrowGone, byNode, message.TradeCanceled, "hold-invoice-payment-canceled and canceled to both", false},
	{message.TradeWaitingBuyerInvoice, OnHoldTooShort, byClock, message.TradePending, "hold cancelled; hold-invoice-payment-canceled to the seller, canceled to the taker, new-order to the maker", false},
	{message.TradeWaitingBuyerInvoice, OnGuard, byNode, message.TradeWaitingBuyerInvoice, "time lock noted", false},

	{message.TradeWaitingPayment, OnHoldMade, byNode, message.TradeWaitingPayment, "pay-invoice to the seller, waiting-seller-to-pay to the buyer", false},
	{message.TradeWaitingPayment, OnHoldImpossible, byNode, message.TradePending, "canceled to the taker, new-order to the maker", false},
	{message.TradeWaitingPayment, OnHeld, byNode, message.TradeActive, "hold-invoice-payment-accepted to the buyer, buyer-took-order to the seller", false},
	{message.TradeWaitingPayment, OnHoldTooShort, byNode, message.TradePending, "hold cancelled; hold-invoice-payment-canceled to the seller, canceled to the taker, new-order to the maker", false},
	{message.TradeWaitingPayment, OnHeldNoInvoice, byNode, message.TradeWaitingBuyerInvoice, "add-invoice to the buyer, waiting-buyer-invoice to the seller", false},
	{message.TradeWaitingPayment, OnCancelMaker, byMaker, message.TradeCanceled, "hold cancelled; canceled to both", false},
	{message.TradeWaitingPayment, OnCancelTaker, byTaker, message.TradePending, "hold cancelled; canceled to the taker, new-order to the maker", false},
	{message.TradeWaitingPayment, OnGuard, byClock, message.TradeWaitingPayment, "the seller's time is up: the hold is looked up", false},
	{message.TradeWaitingPayment, OnClosedRefunded, byOperator, message.TradeCanceledByAdmin, "frozen: hold cancelled; admin-canceled to both", false},
	{message.TradeWaitingPayment, OnTimeoutTaker, byClock, message.TradePending, "buy order, or no invoice could be shown: hold cancelled; canceled to the taker, new-order to the maker", false},
	{message.TradeWaitingPayment, OnTimeoutMaker, byClock, message.TradeCanceled, "sell order: hold cancelled; canceled to both", false},

	{message.TradeActive, OnFiatSent, byBuyer, message.TradeFiatSent, "fiat-sent-ok to both", false},
	{message.TradeActive, OnCancelAsked, byParty, message.TradeActive, "cooperative-cancel-initiated-by-you and -by-peer", false},
	{message.TradeActive, OnCancelAgreed, byParty, message.TradeCooperativelyCanceled, "hold cancelled; cooperative-cancel-accepted to both", false},
	{message.TradeActive, OnDispute, byParty, message.TradeDispute, "dispute-initiated-by-you and -by-peer; dispute published", false},
	{message.TradeActive, OnGuard, byNode, message.TradeActive, "the hold is looked up, or its time lock noted", false},
	{message.TradeActive, OnGuardFiatSent, byNode, message.TradeDispute, "only in a store that was rolled back: fiat may have been sent", false},
	{message.TradeActive, OnGuardActive, byNode, message.TradeCanceled, "hold cancelled; canceled to both", false},
	{message.TradeActive, OnClosedRefunded, byOperator, message.TradeCanceledByAdmin, "frozen: hold cancelled; admin-canceled to both", false},
	{message.TradeActive, OnClosedPaid, byOperator, message.TradeCompletedByAdmin, "frozen: admin-settled to both", false},
	{message.TradeActive, OnEscrowGone, byNode, message.TradeCanceled, "hold-invoice-payment-canceled and canceled to both", false},

	{message.TradeFiatSent, OnRelease, bySeller, message.TradeFiatSent, "hold being settled", false},
	{message.TradeFiatSent, OnSettled, byNode, message.TradeSettledHoldInvoice, "released to the buyer, hold-invoice-payment-settled and rate to the seller; payout begins; rest of a range order made", false},
	{message.TradeFiatSent, OnSettleImpossible, byNode, message.TradeFiatSent, "hold-invoice-payment-canceled to both", false},
	{message.TradeFiatSent, OnCancelAsked, byParty, message.TradeFiatSent, "cooperative-cancel-initiated-by-you and -by-peer", false},
	{message.TradeFiatSent, OnCancelAgreed, byParty, message.TradeCooperativelyCanceled, "hold cancelled; cooperative-cancel-accepted to both", false},
	{message.TradeFiatSent, OnDispute, byParty, message.TradeDispute, "dispute-initiated-by-you and -by-peer; dispute published", false},
	{message.TradeFiatSent, OnGuard, byNode, message.TradeFiatSent, "the hold is looked up, or its time lock noted", false},
	{message.TradeFiatSent, OnGuardFiatSent, byNode, message.TradeDispute, "dispute opened for the buyer; the hold is left alone", false},
	{message.TradeFiatSent, OnEscrowGone, byNode, message.TradeFiatSent, "hold-invoice-payment-canceled to both", false},
	{message.TradeFiatSent, OnClosedRefunded, byOperator, message.TradeCanceledByAdmin, "frozen, or the escrow is gone: admin-canceled to both", false},
	{message.TradeFiatSent, OnClosedPaid, byOperator, message.TradeCompletedByAdmin, "frozen: admin-settled to both", false},

	{message.TradeDispute, OnRelease, bySeller, message.TradeDispute, "hold being settled", false},
	{message.TradeDispute, OnSettled, byNode, message.TradeSettledHoldInvoice, "as from fiat-sent; dispute published as released", false},
	{message.TradeDispute, OnSettleImpossible, byNode, message.TradeDispute, "hold-invoice-payment-canceled to both", false},
	{message.TradeDispute, OnCancelAsked, byParty, message.TradeDispute, "cooperative-cancel-initiated-by-you and -by-peer", false},
	{message.TradeDispute, OnCancelAgreed, byParty, message.TradeCooperativelyCanceled, "hold cancelled; cooperative-cancel-accepted to both; dispute published as cooperatively-canceled", false},
	{message.TradeDispute, OnGuard, byNode, message.TradeDispute, "the hold is looked up, or its time lock noted", false},
	{message.TradeDispute, OnEscrowGone, byNode, message.TradeDispute, "hold-invoice-payment-canceled to both", false},
	{message.TradeDispute, OnSolverTake, bySolver, message.TradeDispute, "admin-took-dispute to the solver and both; dispute published as in-progress", false},
	{message.TradeDispute, OnSolverGone, byOperator, message.TradeDispute, "dispute published as initiated", false},
	{message.TradeDispute, OnSolverSettle, bySolver, message.TradeDispute, "hold being settled; then admin-settled to the solver and both, dispute published as settled, payout begins", false},
	{message.TradeDispute, OnSolverCancel, bySolver, message.TradeCanceledByAdmin, "hold cancelled; admin-canceled to the solver and both; dispute published as seller-refunded", false},
	{message.TradeDispute, OnWarn, byClock, message.TradeDispute, "72, 48 and 36 blocks before the margin: send-dm to both and the solver", false},
	{message.TradeDispute, OnOverdueCancel, byClock, message.TradeCanceledByAdmin, "at the margin: hold cancelled; admin-canceled to both and the solver; dispute published as seller-refunded, overdue", false},
	{message.TradeDispute, OnOverdueSettle, byClock, message.TradeDispute, "at the margin, if the terms say so: hold being settled, as by a solver", false},
	{message.TradeDispute, OnClosedRefunded, byOperator, message.TradeCanceledByAdmin, "frozen, or the escrow is gone: admin-canceled to both", false},
	{message.TradeDispute, OnClosedPaid, byOperator, message.TradeCompletedByAdmin, "frozen: admin-settled to both", false},

	{message.TradeSettledHoldInvoice, OnMinted, byNode, message.TradeSettledHoldInvoice, "payout claimed under the invoice's hash, then sent", false},
	{message.TradeSettledHoldInvoice, OnPaySent, byNode, message.TradeSettledHoldInvoice, "its outcome is watched", false},
	{message.TradeSettledHoldInvoice, OnPaid, byNode, message.TradeSuccess, "purchase-completed and rate to the buyer", false},
	{message.TradeSettledHoldInvoice, OnPayFailed, byNode, message.TradeSettledHoldInvoice, "first: payment-failed to the buyer; last: add-invoice", false},
	{message.TradeSettledHoldInvoice, OnRetry, byClock, message.TradeSettledHoldInvoice, "payout claimed and sent again", false},
	{message.TradeSettledHoldInvoice, OnTrack, byClock, message.TradeSettledHoldInvoice, "the node is asked", false},
	{message.TradeSettledHoldInvoice, OnRemind, byClock, message.TradeSettledHoldInvoice, "add-invoice to the buyer again", false},
	{message.TradeSettledHoldInvoice, OnClosedPaid, byOperator, message.TradeCompletedByAdmin, "frozen: admin-settled to both", false},
	{message.TradeSettledHoldInvoice, OnAddInvoice, byBuyer, message.TradeSettledHoldInvoice, "no payout in flight: invoice-updated to the buyer; payout begins", false},

	{none, OnMakerBond, byMaker, message.TradeWaitingMakerBond, "", true},
	{message.TradePending, OnTakerBond, byTaker, message.TradeWaitingTakerBond, "", true},
}

// anywhere lists the triggers that are allowed in every status and leave the status
// unchanged.
var anywhere = []Transition{
	{On: OnRestart, By: byEngine, Does: "deadlines missed while we were down are put off"},
	{On: OnClockBack, By: byEngine, Does: "deadlines that lie too far ahead are counted from now"},
	{On: OnResume, By: byOperator, Does: "a frozen trade goes on as it stands"},
	{On: OnPayAfterAll, By: byOperator, Does: "a frozen trade whose hold the node has settled is paid out, once the node says so again"},
	{On: OnReconcile, By: byEngine, Does: "the trade is doubtful: nothing that cannot be undone happens by the clock; one that was being paid out is frozen"},
	{On: OnDevFeePaid, By: byNode, Does: "after the settlement: the payment is recorded, and kind 8383 published; without a payment of this node only recorded"},
	{On: OnHoldClosed, By: byNode, Does: "a cancelled hold is confirmed as given back"},
	{On: OnSighted, By: byNode, Does: "a doubtful trade's hold is accepted: a release may settle it"},
	{On: OnReshow, By: byOperator, Does: "an order that is not taken is published with the maker's present rating"},
	{On: OnUncommitted, By: byEngine, Does: "the trade is frozen until an operator looks"},
	{On: OnContradiction, By: byNode, Does: "the trade is frozen until an operator looks"},
	{On: OnResolved, By: byOperator, Does: "an amount in suspense has an owner; an ended trade is no longer frozen"},
	{On: OnOverpaid, By: byOperator, Does: "a settled hold is recorded with the whole amount that was paid"},
	{On: OnOutflow, By: byNode, Does: "a payment besides the buyer's is fetched, sent, or asked after"},
	{On: OnOutflowPaid, By: byNode, Does: "a payment besides the buyer's is over"},
	{On: OnOutflowFailed, By: byNode, Does: "a payment besides the buyer's is tried again later"},
}

type edge struct {
	from message.TradeStatus
	on   Trigger
	to   message.TradeStatus
}

// edges is the index of the table. It is built once and then only read.
var edges = func() map[edge]bool {
	m := make(map[edge]bool, len(Transitions))
	for _, t := range Transitions {
		if !t.Later {
			m[edge{t.From, t.On, t.To}] = true
		}
	}
	return m
}()

// ErrTable reports that a step tried a transition that is not in the table. This error is
// a bug of this program: no message of a user can cause it.
var ErrTable = errors.New("no such transition")

// allowed returns nil if the table has the transition, and ErrTable otherwise.
func allowed(from message.TradeStatus, on Trigger, to message.TradeStatus) error {
	if edges[edge{from, on, to}] {
		return nil
	}
	if from == to {
		for _, t := range anywhere {
			if t.On == on {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: from %q on %q to %q", ErrTable, from, on, to)
}

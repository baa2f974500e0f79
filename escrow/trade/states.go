package trade

import (
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/mostro"
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
	OnClockBack        Trigger = "clock was set back"
	OnResume           Trigger = "operator resumes"
	OnPayAfterAll      Trigger = "operator has the buyer paid"
	OnHoldClosed       Trigger = "hold given back"
	OnRestart          Trigger = "restart"
	OnSolverSettle     Trigger = "admin-settle"
	OnSolverCancel     Trigger = "admin-cancel"
	OnMakerBond        Trigger = "maker's bond locked"
	OnTakerBond        Trigger = "taker's bond asked"
)

// Transition is one row of the table. A trade changes only as a row allows.
type Transition struct {
	From mostro.TradeStatus // "" if the trade does not exist yet
	On   Trigger
	By   string // the party or component that causes the transition
	To   mostro.TradeStatus
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
const none mostro.TradeStatus = ""

// Transitions is the table. Step returns ErrTable for a transition that is not in the
// table, for any sender.
var Transitions = []Transition{
	{none, OnNewOrder, byMaker, mostro.TradePending, "order published; new-order to the maker", false},
	{none, OnSpawn, byEngine, mostro.TradePending, "order published; new-order to the maker's next key", false},

	{mostro.TradePending, OnTakeSell, byTaker, mostro.TradeWaitingBuyerInvoice, "add-invoice to the buyer, waiting-buyer-invoice to the seller", false},
	{mostro.TradePending, OnTakeSellInvoice, byTaker, mostro.TradeWaitingPayment, "hold invoice ordered", false},
	{mostro.TradePending, OnTakeBuy, byTaker, mostro.TradeWaitingPayment, "hold invoice ordered", false},
	{mostro.TradePending, OnRotate, byMaker, mostro.TradePending, "the maker's trade key changes", false},
	{mostro.TradePending, OnCancelMaker, byMaker, mostro.TradeCanceled, "canceled to the maker", false},
	{mostro.TradePending, OnExpired, byClock, mostro.TradeExpired, "taken off the book", false},

	{mostro.TradeWaitingBuyerInvoice, OnAddInvoice, byBuyer, mostro.TradeWaitingPayment, "sell order: hold invoice ordered", false},
	{mostro.TradeWaitingBuyerInvoice, OnAddInvoice, byBuyer, mostro.TradeActive, "buy order, escrow held: hold-invoice-payment-accepted, buyer-took-order", false},
	{mostro.TradeWaitingBuyerInvoice, OnCancelMaker, byMaker, mostro.TradeCanceled, "hold cancelled; canceled to both", false},
	{mostro.TradeWaitingBuyerInvoice, OnCancelTaker, byTaker, mostro.TradePending, "hold cancelled; canceled to the taker, new-order to the maker", false},
	{mostro.TradeWaitingBuyerInvoice, OnTimeoutTaker, byClock, mostro.TradePending, "sell order: canceled to the taker, new-order to the maker", false},
	{mostro.TradeWaitingBuyerInvoice, OnTimeoutMaker, byClock, mostro.TradeCanceled, "buy order: hold cancelled; canceled to both", false},
	{mostro.TradeWaitingBuyerInvoice, OnEscrowGone, byNode, mostro.TradeCanceled, "hold-invoice-payment-canceled and canceled to both", false},
	{mostro.TradeWaitingBuyerInvoice, OnHoldTooShort, byClock, mostro.TradePending, "hold cancelled; hold-invoice-payment-canceled to the seller, canceled to the taker, new-order to the maker", false},
	{mostro.TradeWaitingBuyerInvoice, OnGuard, byNode, mostro.TradeWaitingBuyerInvoice, "time lock noted", false},

	{mostro.TradeWaitingPayment, OnHoldMade, byNode, mostro.TradeWaitingPayment, "pay-invoice to the seller, waiting-seller-to-pay to the buyer", false},
	{mostro.TradeWaitingPayment, OnHoldImpossible, byNode, mostro.TradePending, "canceled to the taker, new-order to the maker", false},
	{mostro.TradeWaitingPayment, OnHeld, byNode, mostro.TradeActive, "hold-invoice-payment-accepted to the buyer, buyer-took-order to the seller", false},
	{mostro.TradeWaitingPayment, OnHoldTooShort, byNode, mostro.TradePending, "hold cancelled; hold-invoice-payment-canceled to the seller, canceled to the taker, new-order to the maker", false},
	{mostro.TradeWaitingPayment, OnHeldNoInvoice, byNode, mostro.TradeWaitingBuyerInvoice, "add-invoice to the buyer, waiting-buyer-invoice to the seller", false},
	{mostro.TradeWaitingPayment, OnCancelMaker, byMaker, mostro.TradeCanceled, "hold cancelled; canceled to both", false},
	{mostro.TradeWaitingPayment, OnCancelTaker, byTaker, mostro.TradePending, "hold cancelled; canceled to the taker, new-order to the maker", false},
	{mostro.TradeWaitingPayment, OnTimeoutTaker, byClock, mostro.TradePending, "buy order, or no invoice could be shown: hold cancelled; canceled to the taker, new-order to the maker", false},
	{mostro.TradeWaitingPayment, OnTimeoutMaker, byClock, mostro.TradeCanceled, "sell order: hold cancelled; canceled to both", false},

	{mostro.TradeActive, OnFiatSent, byBuyer, mostro.TradeFiatSent, "fiat-sent-ok to both", false},
	{mostro.TradeActive, OnCancelAsked, byParty, mostro.TradeActive, "cooperative-cancel-initiated-by-you and -by-peer", false},
	{mostro.TradeActive, OnCancelAgreed, byParty, mostro.TradeCooperativelyCanceled, "hold cancelled; cooperative-cancel-accepted to both", false},
	{mostro.TradeActive, OnDispute, byParty, mostro.TradeDispute, "dispute-initiated-by-you and -by-peer; dispute published", false},
	{mostro.TradeActive, OnGuard, byNode, mostro.TradeActive, "the hold is looked up, or its time lock noted", false},
	{mostro.TradeActive, OnGuardFiatSent, byNode, mostro.TradeDispute, "only in a store that was rolled back: fiat may have been sent", false},
	{mostro.TradeActive, OnGuardActive, byNode, mostro.TradeCanceled, "hold cancelled; canceled to both", false},
	{mostro.TradeActive, OnEscrowGone, byNode, mostro.TradeCanceled, "hold-invoice-payment-canceled and canceled to both", false},

	{mostro.TradeFiatSent, OnRelease, bySeller, mostro.TradeFiatSent, "hold being settled", false},
	{mostro.TradeFiatSent, OnSettled, byNode, mostro.TradeSettledHoldInvoice, "released to the buyer, hold-invoice-payment-settled and rate to the seller; payout begins; rest of a range order made", false},
	{mostro.TradeFiatSent, OnSettleImpossible, byNode, mostro.TradeFiatSent, "hold-invoice-payment-canceled to both", false},
	{mostro.TradeFiatSent, OnCancelAsked, byParty, mostro.TradeFiatSent, "cooperative-cancel-initiated-by-you and -by-peer", false},
	{mostro.TradeFiatSent, OnCancelAgreed, byParty, mostro.TradeCooperativelyCanceled, "hold cancelled; cooperative-cancel-accepted to both", false},
	{mostro.TradeFiatSent, OnDispute, byParty, mostro.TradeDispute, "dispute-initiated-by-you and -by-peer; dispute published", false},
	{mostro.TradeFiatSent, OnGuard, byNode, mostro.TradeFiatSent, "the hold is looked up, or its time lock noted", false},
	{mostro.TradeFiatSent, OnGuardFiatSent, byNode, mostro.TradeDispute, "dispute opened for the buyer; the hold is left alone", false},
	{mostro.TradeFiatSent, OnEscrowGone, byNode, mostro.TradeFiatSent, "hold-invoice-payment-canceled to both", false},

	{mostro.TradeDispute, OnRelease, bySeller, mostro.TradeDispute, "hold being settled", false},
	{mostro.TradeDispute, OnSettled, byNode, mostro.TradeSettledHoldInvoice, "as from fiat-sent; dispute published as settled", false},
	{mostro.TradeDispute, OnSettleImpossible, byNode, mostro.TradeDispute, "hold-invoice-payment-canceled to both", false},
	{mostro.TradeDispute, OnCancelAsked, byParty, mostro.TradeDispute, "cooperative-cancel-initiated-by-you and -by-peer", false},
	{mostro.TradeDispute, OnCancelAgreed, byParty, mostro.TradeCooperativelyCanceled, "hold cancelled; cooperative-cancel-accepted to both; dispute published as seller-refunded", false},
	{mostro.TradeDispute, OnGuard, byNode, mostro.TradeDispute, "the hold is looked up, or its time lock noted", false},
	{mostro.TradeDispute, OnEscrowGone, byNode, mostro.TradeDispute, "hold-invoice-payment-canceled to both", false},
	{mostro.TradeDispute, OnSolverSettle, bySolver, mostro.TradeSettledHoldInvoice, "", true},
	{mostro.TradeDispute, OnSolverCancel, bySolver, mostro.TradeCanceledByAdmin, "", true},

	{mostro.TradeSettledHoldInvoice, OnMinted, byNode, mostro.TradeSettledHoldInvoice, "payout claimed under the invoice's hash, then sent", false},
	{mostro.TradeSettledHoldInvoice, OnPaySent, byNode, mostro.TradeSettledHoldInvoice, "its outcome is watched", false},
	{mostro.TradeSettledHoldInvoice, OnPaid, byNode, mostro.TradeSuccess, "purchase-completed and rate to the buyer", false},
	{mostro.TradeSettledHoldInvoice, OnPayFailed, byNode, mostro.TradeSettledHoldInvoice, "first: payment-failed to the buyer; last: add-invoice", false},
	{mostro.TradeSettledHoldInvoice, OnRetry, byClock, mostro.TradeSettledHoldInvoice, "payout claimed and sent again", false},
	{mostro.TradeSettledHoldInvoice, OnTrack, byClock, mostro.TradeSettledHoldInvoice, "the node is asked", false},
	{mostro.TradeSettledHoldInvoice, OnRemind, byClock, mostro.TradeSettledHoldInvoice, "add-invoice to the buyer again", false},
	{mostro.TradeSettledHoldInvoice, OnAddInvoice, byBuyer, mostro.TradeSettledHoldInvoice, "no payout in flight: invoice-updated to the buyer; payout begins", false},

	{none, OnMakerBond, byMaker, mostro.TradeWaitingMakerBond, "", true},
	{mostro.TradePending, OnTakerBond, byTaker, mostro.TradeWaitingTakerBond, "", true},
}

// anywhere lists the triggers that are allowed in every status and leave the status
// unchanged.
var anywhere = []Transition{
	{On: OnRestart, By: byEngine, Does: "deadlines missed while we were down are put off"},
	{On: OnClockBack, By: byEngine, Does: "deadlines that lie too far ahead are counted from now"},
	{On: OnResume, By: byOperator, Does: "a frozen trade goes on as it stands"},
	{On: OnPayAfterAll, By: byOperator, Does: "a frozen trade whose hold the node has settled is paid out, once the node says so again"},
	{On: OnReconcile, By: byEngine, Does: "the trade is doubtful: nothing that cannot be undone happens by the clock; one that was being paid out is frozen"},
	{On: OnHoldClosed, By: byNode, Does: "a cancelled hold is confirmed as given back"},
	{On: OnSighted, By: byNode, Does: "a doubtful trade's hold is accepted: a release may settle it"},
	{On: OnUncommitted, By: byEngine, Does: "the trade is frozen until an operator looks"},
	{On: OnContradiction, By: byNode, Does: "the trade is frozen until an operator looks"},
}

type edge struct {
	from mostro.TradeStatus
	on   Trigger
	to   mostro.TradeStatus
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
func allowed(from mostro.TradeStatus, on Trigger, to mostro.TradeStatus) error {
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

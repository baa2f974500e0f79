package lightning

import (
	"context"
	"errors"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Node is the set of calls of a Lightning node that a trade needs. Package lnd
// implements it for a real node, and package lnsim for a simulated node. Package
// lncontract tests that both have the same meaning.
//
// Every method is safe for concurrent use. Every error wraps exactly one of the errors of
// this file, except the errors of the context and of a callback. ErrUnavailable leaves the
// outcome unknown. ErrRefused is an answer whose text is not known: the caller looks up
// the state before it relies on the refusal. Each of the other errors is a definite
// answer. No error text contains a preimage, an invoice or a macaroon.
//
// The caller commits its intent (hash and preimage, "settle", the hash of a payout) before
// the call. Every operation has a hash as its key and may be repeated without harm after a
// crash.
type Node interface {
	// Info returns the state of the node.
	Info(ctx context.Context) (NodeInfo, error)

	// CreateHold registers a hold invoice for in.Hash and returns its BOLT11. CreateHold
	// returns ErrExists if the node already has an invoice for that hash; the caller then
	// reads the invoice with LookupHold. CreateHold returns ErrInvoice if the node will
	// never accept such a request.
	CreateHold(ctx context.Context, in HoldRequest) (bolt11 string, err error)

	// LookupHold returns the current state of the invoice with that hash, or ErrNotFound.
	LookupHold(ctx context.Context, h trade.Hash) (HoldState, error)

	// ListHolds calls fn for every invoice of the node that was created at or after since,
	// in whole seconds, in the order of creation and in any phase. Invoices of other
	// software on the same node are included, and ordinary invoices as well: LND does not
	// distinguish a settled hold invoice from an ordinary one. The caller recognizes its
	// own invoices by their hashes. Invoices that the node lists without a hash are
	// omitted. The list is read in pages, so invoices that are made during the call may be
	// missing. If fn returns an error, the call ends and returns that error unchanged.
	// After any other error the list is incomplete.
	ListHolds(ctx context.Context, since time.Time, fn func(HoldState) error) error

	// WatchHold calls fn with the current state at once, and again after every change. The
	// watch is level-triggered: a state may be skipped or repeated, but the last state is
	// never skipped. After ErrUnavailable and ErrRefused the watch reconnects by itself
	// and looks up the state first. WatchHold returns nil after a final state, ErrNotFound
	// for an unknown hash, ErrPermission if the credentials do not suffice, and otherwise
	// the first error of fn or the context's error. Calls of fn never overlap, and fn is
	// never called after WatchHold has returned.
	WatchHold(ctx context.Context, h trade.Hash, fn func(HoldState) error) error

	// Settle claims the accepted payment. Settle returns nil if the invoice is settled
	// now, or was settled before. Otherwise Settle returns ErrOpen (not paid), ErrCanceled
	// or ErrNotFound.
	Settle(ctx context.Context, p trade.Preimage) error

	// Cancel cancels the invoice and returns an accepted payment to its payer. Cancel
	// returns nil if the invoice is cancelled now, or was cancelled before. Otherwise
	// Cancel returns ErrSettled or ErrNotFound.
	Cancel(ctx context.Context, h trade.Hash) error

	// Pay starts a payment, and returns nil after the node has accepted it. From then on
	// TrackPayment knows the payment under the invoice's hash, and only TrackPayment
	// reports the outcome. Pay returns ErrExists if a payment of that hash is in flight or
	// has succeeded. Pay returns ErrInvoice if the node will not attempt to pay this
	// invoice at all. A hash whose payment failed may be paid again.
	//
	// After ErrUnavailable the payment may still appear, even if TrackPayment returns
	// PaymentUnknown. The caller must repeat Pay with the same invoice, or wait until that
	// invoice has expired, before it pays another invoice instead. After ErrRefused the
	// result of TrackPayment decides: a node registers a payment before it answers, and
	// may refuse after that.
	Pay(ctx context.Context, p Payment) error

	// TrackPayment returns the current state of an outgoing payment. The state of a hash
	// that the node never attempted to pay is PaymentUnknown, with a nil error.
	TrackPayment(ctx context.Context, h trade.Hash) (PaymentState, error)

	// ListPayments calls fn for every outgoing payment of the node that was created at or
	// after since, in whole seconds, in the order of creation and in any status. Payments of
	// other software and of the operator are included. The list is read in pages, so payments
	// that are made during the call may be missing. A node may delete failed payments.
	//
	// ListPayments returns ErrPermission before the first call of fn if the credentials do not
	// permit the list: the permission is optional, and the caller then asks TrackPayment for
	// each payment that it knows. If fn returns an error, the call ends and returns that error
	// unchanged. After any other error the list is incomplete.
	ListPayments(ctx context.Context, since time.Time, fn func(PaymentState) error) error

	// WatchPayment is like WatchHold, for an outgoing payment. WatchPayment returns
	// ErrNotFound if the hash is PaymentUnknown. PaymentFailed is final for this watch,
	// although the hash may be paid again.
	WatchPayment(ctx context.Context, h trade.Hash, fn func(PaymentState) error) error
}

var (
	// ErrUnavailable reports that no answer arrived, or none that could be understood. The
	// operation may or may not have taken effect, so the caller must look up the state.
	ErrUnavailable = errors.New("lightning node unavailable, outcome unknown")
	// ErrRefused reports that the node answered with an error whose text is not known.
	// According to the node, this call changed nothing. The caller asks again, and looks
	// up the state before it relies on the refusal.
	ErrRefused = errors.New("refused by the lightning node for an unknown reason")
	// ErrExists reports that the hash is already in use. The call changed nothing.
	ErrExists = errors.New("payment hash already in use")
	// ErrNotFound reports that the node does not know the hash.
	ErrNotFound = errors.New("payment hash unknown to the lightning node")
	// ErrInvoice reports that the node refuses to make or to pay this invoice, and will
	// refuse it again. The call changed nothing.
	ErrInvoice = errors.New("invoice refused by the lightning node")
	// ErrOpen reports that there is no payment to settle yet.
	ErrOpen = errors.New("hold invoice not paid yet")
	// ErrSettled reports that the invoice is already settled and cannot be cancelled.
	ErrSettled = errors.New("hold invoice already settled")
	// ErrCanceled reports that the invoice is already cancelled and cannot be settled.
	ErrCanceled = errors.New("hold invoice already canceled")
	// ErrPermission reports that the node's credentials do not permit the operation. The
	// call changed nothing. Only the operator can correct the credentials.
	ErrPermission = errors.New("lightning credentials lack a permission")
)

// Network is a chain, by the name that Lightning nodes use.
type Network string

const (
	Mainnet  Network = "mainnet"
	Testnet  Network = "testnet"
	Testnet4 Network = "testnet4"
	Signet   Network = "signet"
	Regtest  Network = "regtest"
	Simnet   Network = "simnet"
)

// NodeInfo describes the node. The strings are taken from the node and are published
// unchanged. Only Network is used for decisions.
type NodeInfo struct {
	Pubkey  string // 33 bytes, lower-case hex
	Alias   string
	Version string // of the node's software: "0.21.2-beta commit=v0.21.2-beta"
	Commit  string // of the node's software
	Chain   string // "bitcoin"
	Network Network
	URIs    []string // pubkey@host:port, as the node advertises itself
	Height  uint32   // best known block
	Synced  bool     // with the chain; if false, heights and watches may lag

	// HoldExpiryDelta is the node's own safety margin in blocks. The node cancels an
	// accepted hold by itself when this number of blocks remains before the time lock of
	// the payment expires (18 for LND 0.21). A trade must be resolved before that block.
	HoldExpiryDelta uint32
}

// HoldRequest describes a new hold invoice.
type HoldRequest struct {
	Hash       trade.Hash
	AmountSats int64
	Memo       string // at most 639 bytes, the limit of BOLT 11
	// Expiry is the time in which the invoice can be paid, in whole seconds. Expiry does
	// not limit how long an accepted payment is held. 0 means one hour.
	Expiry time.Duration
	// CLTVBlocks is the least number of blocks that the time lock of the payment has left
	// on arrival: min_final_cltv_expiry_delta. CLTVBlocks must exceed the node's
	// HoldExpiryDelta, or the node would cancel the payment at once.
	CLTVBlocks uint32
}

// DefaultHoldExpiry is the Expiry of a HoldRequest with Expiry 0.
const DefaultHoldExpiry = time.Hour

// HoldState is the state of a hold invoice as the node reports it.
type HoldState struct {
	Hash       trade.Hash
	Phase      trade.HoldPhase
	Bolt11     string // the invoice, so that the payer can see it again
	AmountSats int64  // amount of the invoice
	// PaidMsat is the amount that is held (HoldAccepted) or was claimed (HoldSettled),
	// else 0. BOLT 4 allows a payer to send up to twice the amount of the invoice.
	PaidMsat int64
	// ExpiryHeight is the block height at which the first of the held parts can be
	// reclaimed on chain. ExpiryHeight is set only in HoldAccepted, else 0. The node
	// cancels the hold HoldExpiryDelta blocks before this height.
	ExpiryHeight uint32
	// AcceptHeight is the height at which the first held part arrived. AcceptHeight is set
	// only in HoldAccepted, else 0.
	AcceptHeight uint32
	ExpiresAt    time.Time // time at which an open invoice cancels itself
	Memo         string    // memo of the HoldRequest
}

// BlocksLeft returns for how many more blocks an accepted payment stays held, at the given
// height, before the node cancels it by itself. At 0 or less, the payment is on its way
// back. ok is false if no payment is held. A trade is resolved well before.
func (s HoldState) BlocksLeft(height, holdExpiryDelta uint32) (blocks int64, ok bool) {
	if s.Phase != trade.HoldAccepted || s.ExpiryHeight == 0 {
		return 0, false
	}
	return int64(s.ExpiryHeight) - int64(holdExpiryDelta) - int64(height), true
}

// Payment describes a payout.
type Payment struct {
	Bolt11 string
	// AmountSats is set only if the invoice states no amount; else it is 0.
	AmountSats int64
	// MaxFeeSats is the limit of the routing fee. 0 allows no fee.
	MaxFeeSats int64
	// MaxCLTVBlocks is the largest number of blocks for which a payment may be locked,
	// over all hops. 0 means the node's own limit, 2016 for LND. If the node's own limit
	// is lower, the lower limit holds. If the last hop of an invoice alone needs more
	// blocks, Pay returns ErrInvoice. If there is no route within the limit, the payment
	// fails with FailureNoRoute.
	MaxCLTVBlocks uint32
	// Timeout limits the search for a route. Timeout does not limit how long a part that
	// is already on its way may stay in flight. 0 means one minute.
	Timeout time.Duration
}

// DefaultPayTimeout is the Timeout of a Payment with Timeout 0.
const DefaultPayTimeout = time.Minute

// PaymentFailure is the reason why an attempt failed, for the operator and for metrics. No
// decision may depend on it.
type PaymentFailure string

const (
	FailureTimeout      PaymentFailure = "timeout"
	FailureNoRoute      PaymentFailure = "no_route" // also if there is no route within the fee limit
	FailureDetails      PaymentFailure = "incorrect_payment_details"
	FailureBalance      PaymentFailure = "insufficient_balance"
	FailureCanceled     PaymentFailure = "canceled"
	FailureOther        PaymentFailure = "error"
	FailureNotSpecified PaymentFailure = ""
)

// PaymentState is the state of an outgoing payment as the node reports it.
type PaymentState struct {
	Hash       trade.Hash
	Status     trade.PaymentStatus
	AmountMsat int64          // amount that the payee receives; 0 while unknown
	FeeMsat    int64          // the routing fee; only after success
	Preimage   trade.Preimage // the proof of payment; only after success
	Failure    PaymentFailure // only after a failure
}

package escrow

import (
	"context"
	"errors"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Lightning is what a trade needs of a Lightning node, and no more. It is
// implemented by lnd (a real node) and lnsim (a simulated one); lncontract
// proves that both mean the same.
//
// Every method is safe for concurrent use. Every error other than the context's
// own and that of a callback wraps exactly one of the errors of this file.
// ErrUnavailable leaves the outcome unknown. ErrRefused is an answer whose words
// are not known: the caller looks up before it relies on the refusal. Each of the
// other errors is a definite answer. No error text holds a preimage, an invoice
// or a macaroon.
//
// The caller commits its intent (hash and preimage, "settle", the hash of a
// payout) before it calls: every operation is keyed by a hash and may be
// repeated after a crash without harm.
type Lightning interface {
	// Info describes the node at this moment.
	Info(ctx context.Context) (NodeInfo, error)

	// CreateHold registers a hold invoice for in.Hash and returns its BOLT11.
	// ErrExists when the node already has an invoice for that hash: the caller
	// takes the invoice from LookupHold. ErrInvoice when the node will never
	// accept such a request.
	CreateHold(ctx context.Context, in HoldRequest) (bolt11 string, err error)

	// LookupHold gives the present state of the invoice with that hash, or
	// ErrNotFound.
	LookupHold(ctx context.Context, h trade.Hash) (HoldState, error)

	// ListHolds calls fn for every invoice of the node that was created at or
	// after since, in whole seconds, in the order of creation and in any phase.
	// Invoices of other software on the same node are included, ordinary ones
	// as well: LND does not tell a settled hold invoice from an ordinary one. The
	// caller recognizes its own by their hashes. Invoices that the node lists
	// without a hash are left out. The list is read in pages: invoices that are
	// made during the call may be missing. fn's error ends the call and is
	// returned as it is. After any other error the list is incomplete.
	ListHolds(ctx context.Context, since time.Time, fn func(HoldState) error) error

	// WatchHold calls fn with the present state at once and again whenever it
	// has changed. It is level-triggered: states may be skipped or told twice,
	// the last one never. It reconnects by itself after ErrUnavailable and
	// ErrRefused, looking up first. It returns nil after it has told a final
	// state, ErrNotFound for an unknown hash, ErrPermission when the credentials
	// do not suffice, else fn's first error or the context's. fn is never called
	// concurrently with itself, nor after WatchHold has returned.
	WatchHold(ctx context.Context, h trade.Hash, fn func(HoldState) error) error

	// Settle takes the accepted payment. nil when it is, or already was,
	// settled. Otherwise ErrOpen (nobody has paid), ErrCanceled or ErrNotFound.
	Settle(ctx context.Context, p trade.Preimage) error

	// Cancel refuses the invoice and gives an accepted payment back. nil when
	// it is, or already was, canceled. Otherwise ErrSettled or ErrNotFound.
	Cancel(ctx context.Context, h trade.Hash) error

	// Pay hands a payment over for sending, and returns nil once the node has
	// taken it: the payment is known from then on to TrackPayment under the
	// invoice's hash, and its outcome is found there alone. ErrExists when a
	// payment of that hash is in flight or has succeeded. ErrInvoice when the
	// node will not try to pay this invoice at all. A hash whose payment failed
	// may be paid again.
	//
	// After ErrUnavailable the payment may yet appear, even when TrackPayment
	// says PaymentUnknown: repeat Pay with the same invoice, or wait until it
	// has expired, before paying another one in its place. After ErrRefused
	// TrackPayment decides: a node registers a payment before it answers, and
	// may refuse after that.
	Pay(ctx context.Context, p Payment) error

	// TrackPayment gives the present state of an outgoing payment. A hash that
	// the node never tried to pay is PaymentUnknown, with a nil error.
	TrackPayment(ctx context.Context, h trade.Hash) (PaymentState, error)

	// WatchPayment is to an outgoing payment what WatchHold is to an invoice.
	// It returns ErrNotFound for a hash that is PaymentUnknown. PaymentFailed
	// is final for this watch, though the hash may be paid again.
	WatchPayment(ctx context.Context, h trade.Hash, fn func(PaymentState) error) error
}

var (
	// ErrUnavailable says that no answer came, or none that could be
	// understood: the operation may or may not have taken effect. Look up.
	ErrUnavailable = errors.New("lightning node unavailable, outcome unknown")
	// ErrRefused says that the node itself answered with an error whose words
	// are not known. As far as the node says, this call changed nothing. The
	// caller asks again, and looks up before it relies on the refusal.
	ErrRefused = errors.New("refused by the lightning node for an unknown reason")
	// ErrExists says that the hash is already in use; nothing was changed.
	ErrExists = errors.New("payment hash already in use")
	// ErrNotFound says that the node knows nothing of the hash.
	ErrNotFound = errors.New("payment hash unknown to the lightning node")
	// ErrInvoice says that the node refuses to make or to pay this invoice, and
	// will refuse it again; nothing was changed.
	ErrInvoice = errors.New("invoice refused by the lightning node")
	// ErrOpen says that there is nothing to settle yet.
	ErrOpen = errors.New("hold invoice not paid yet")
	// ErrSettled says that it is too late to cancel.
	ErrSettled = errors.New("hold invoice already settled")
	// ErrCanceled says that it is too late to settle.
	ErrCanceled = errors.New("hold invoice already canceled")
	// ErrPermission says that the node's credentials do not cover the
	// operation; nothing was changed. Only the operator can mend it.
	ErrPermission = errors.New("lightning credentials lack a permission")
)

// Network is a chain, by the name that Lightning nodes use for it.
type Network string

const (
	Mainnet  Network = "mainnet"
	Testnet  Network = "testnet"
	Testnet4 Network = "testnet4"
	Signet   Network = "signet"
	Regtest  Network = "regtest"
	Simnet   Network = "simnet"
)

// NodeInfo describes the node. The strings are the node's own words and are
// published as such; nothing is decided by them but by Network.
type NodeInfo struct {
	Pubkey  string // 33 bytes, lower-case hex
	Alias   string
	Version string // of the node's software: "0.21.2-beta commit=v0.21.2-beta"
	Commit  string // of the node's software
	Chain   string // "bitcoin"
	Network Network
	URIs    []string // pubkey@host:port, as the node advertises itself
	Height  uint32   // best block known
	Synced  bool     // to the chain; while false, heights and watches may lag

	// HoldExpiryDelta is the node's own safety margin in blocks: it cancels an
	// accepted hold by itself when that many blocks remain before the expiry
	// of the payment's time lock (18 for LND 0.21). A trade must be resolved
	// before.
	HoldExpiryDelta uint32
}

// HoldRequest is the hold invoice to be made.
type HoldRequest struct {
	Hash       trade.Hash
	AmountSats int64
	Memo       string // at most 639 bytes, the room that BOLT 11 leaves
	// Expiry is how long the invoice can be paid, in whole seconds; it does
	// not bound how long an accepted payment is held. 0: one hour.
	Expiry time.Duration
	// CLTVBlocks is the least number of blocks that the payment's time lock
	// has left when it arrives: min_final_cltv_expiry_delta. It must exceed
	// the node's HoldExpiryDelta, or the node would cancel at once.
	CLTVBlocks uint32
}

// DefaultHoldExpiry is the Expiry of a HoldRequest that names none.
const DefaultHoldExpiry = time.Hour

// HoldState is a hold invoice as the node sees it.
type HoldState struct {
	Hash       trade.Hash
	Phase      trade.HoldPhase
	Bolt11     string // the invoice, to be shown to the payer again
	AmountSats int64  // what the invoice asks for
	// PaidMsat is what is held (HoldAccepted) or was taken (HoldSettled). BOLT
	// 4 lets a payer send up to twice the amount asked for. Else 0.
	PaidMsat int64
	// ExpiryHeight is the block height at which the first of the held parts
	// could be taken back on chain; only in HoldAccepted, else 0. The node
	// cancels HoldExpiryDelta blocks before it.
	ExpiryHeight uint32
	// AcceptHeight is the height at which the first held part arrived; only
	// in HoldAccepted, else 0.
	AcceptHeight uint32
	ExpiresAt    time.Time // when an open invoice cancels itself
	Memo         string    // of the HoldRequest
}

// BlocksLeft says how many more blocks an accepted payment stays held, seen at
// that height, before the node gives it back by itself; 0 or less: it is on its
// way back. ok is false when nothing is held. A trade is resolved well before.
func (s HoldState) BlocksLeft(height, holdExpiryDelta uint32) (blocks int64, ok bool) {
	if s.Phase != trade.HoldAccepted || s.ExpiryHeight == 0 {
		return 0, false
	}
	return int64(s.ExpiryHeight) - int64(holdExpiryDelta) - int64(height), true
}

// Payment is a payout to be sent.
type Payment struct {
	Bolt11 string
	// AmountSats is given for an invoice without an amount, and only then;
	// else it is 0.
	AmountSats int64
	// MaxFeeSats bounds the routing fee. 0 allows none.
	MaxFeeSats int64
	// MaxCLTVBlocks is the largest number of blocks for which a payment may be
	// locked, all hops together. 0: the node's own limit, 2016 for LND. The
	// node's own limit holds as well if it is lower. An invoice whose last hop
	// alone needs more is ErrInvoice; a payment without a route within the
	// limit fails with FailureNoRoute.
	MaxCLTVBlocks uint32
	// Timeout bounds the search for a route, not how long a part that is on
	// its way may stay there. 0: one minute.
	Timeout time.Duration
}

// DefaultPayTimeout is the Timeout of a Payment that names none.
const DefaultPayTimeout = time.Minute

// PaymentFailure is why an attempt failed, for the operator and for metrics:
// nothing may be decided by it.
type PaymentFailure string

const (
	FailureTimeout      PaymentFailure = "timeout"
	FailureNoRoute      PaymentFailure = "no_route" // also: none within the fee limit
	FailureDetails      PaymentFailure = "incorrect_payment_details"
	FailureBalance      PaymentFailure = "insufficient_balance"
	FailureCanceled     PaymentFailure = "canceled"
	FailureOther        PaymentFailure = "error"
	FailureNotSpecified PaymentFailure = ""
)

// PaymentState is an outgoing payment as the node sees it.
type PaymentState struct {
	Hash       trade.Hash
	Status     trade.PaymentStatus
	AmountMsat int64          // what the payee gets; 0 while unknown
	FeeMsat    int64          // the routing fee; only when succeeded
	Preimage   trade.Preimage // the proof of payment; only when succeeded
	Failure    PaymentFailure // only when failed
}

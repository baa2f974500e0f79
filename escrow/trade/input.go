package trade

import (
	"encoding/json"
	"fmt"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// Input is one event in the life of a trade, with every fact that the decision needs. Step
// reads nothing else. The journal stores inputs, so a replay of the journal makes the same
// decisions.
type Input struct {
	At   int64     `json:"at"` // unix seconds, never less than the At of an earlier input of the trade
	Kind InputKind `json:"kind"`
	// Rules is the version of the rules that decided about the input. The journal keeps
	// the version, so that a newer program replays an old journal to the same trade.
	Rules Rules `json:"rules,omitzero"`

	Request *Request `json:"request,omitempty"` // InMessage

	Hash    Hash   `json:"hash,omitzero"`    // the hold or payment that the input is about
	Attempt uint32 `json:"attempt,omitzero"` // the payout attempt that the input is about
	Outflow uint32 `json:"outflow,omitzero"` // number of the outflow that the input is about; 0: the payout
	// Deferred reports that an attempt failed because of the state of this node, so that the
	// failure does not count.
	Deferred bool   `json:"deferred,omitzero"`
	Hold     Hold   `json:"hold,omitzero"`
	Payment  Result `json:"payment,omitzero"`
	Bolt11   string `json:"bolt11,omitzero"` // InHoldMade, InMinted
	Child    *Child `json:"child,omitempty"` // InSpawn

	// Facts that the engine looked up or derived.
	OrderID    OrderID           `json:"order_id,omitzero"`   // new: InSpawn, new-order
	DisputeID  OrderID           `json:"dispute_id,omitzero"` // new: InSpawn, new-order
	Preimage   Preimage          `json:"preimage,omitzero"`   // new: if a hold invoice may be needed
	Terms      *Terms            `json:"terms,omitempty"`     // new-order
	SentAt     int64             `json:"sent_at,omitzero"`    // new-order: arrival time in unix seconds, if the order arrived long ago
	Refused    bool              `json:"refused,omitzero"`    // new-order: the operator does not accept this currency
	Quote      Quote             `json:"quote,omitzero"`
	Invoice    *Destination      `json:"invoice,omitempty"`
	Busy       bool              `json:"busy,omitzero"`        // take: the identity has another trade in a waiting state
	Limited    bool              `json:"limited,omitzero"`     // new-order: the identity has too many orders; take: the taker must wait
	KeyInUse   bool              `json:"key_in_use,omitzero"`  // next_trade names a key of an open trade
	Reputation *message.UserInfo `json:"reputation,omitempty"` // take: the sender's reputation
	// Grace is in seconds. InRestart: the extension of deadlines that passed while the program
	// was down. InClockBack: the seconds by which the clock was set back, 0 if unknown.
	Grace int64 `json:"grace,omitzero"`

	// Facts about solvers. Role is the sender's present role: admin-take-dispute,
	// admin-settle, admin-cancel. Holder is the present role of the solver that has taken the
	// dispute. The records are those of the identities, nil for a party without one:
	// admin-take-dispute.
	Role         Role              `json:"role,omitempty"`
	Holder       Role              `json:"holder,omitempty"`
	BuyerRecord  *message.UserInfo `json:"buyer_record,omitempty"`
	SellerRecord *message.UserInfo `json:"seller_record,omitempty"`
	Solver       string            `json:"solver,omitempty"`  // InSolverGone: the removed solver's identity
	Reason       string            `json:"reason,omitempty"`  // of a verdict, or of InClose; text of a person
	Outcome      Outcome           `json:"outcome,omitempty"` // InClose, InResolve
}

// Dated completes the state of a held payment whose expiry the node does not state. The clock
// alone must not end a trade, because the clock may be wrong. The payment was accepted with at
// least the blocks of the invoice, so the chain proves a lower bound of its expiry if the node
// states the height of the acceptance. Otherwise the state counts as unknown, and the trade only
// warns.
func (in Input) Dated(t Trade) Input {
	h := &in.Hold
	if in.Kind != InHold || h.Phase != HoldAccepted || h.ExpiryHeight != 0 || !Escrowed(t.Status) {
		return in
	}
	switch {
	case h.AcceptHeight != 0:
		h.ExpiryHeight = h.AcceptHeight + t.Terms.CLTVBlocks
	case t.Doubtful && !t.Sighted:
		h.Height = 0 // the hold exists, which is all that a store that was rolled back has to know
	default:
		in.Kind = InHoldUnknown
	}
	return in
}

// Role is the right of a key to decide disputes. The zero value is a key without any.
type Role string

// The roles, in order of their rights.
const (
	RoleRead  Role = "read"  // may take disputes that no solver has taken, and decides nothing
	RoleWrite Role = "write" // may also decide, and take over from a solver with RoleRead
	RoleNode  Role = "node"  // the node's own key: may take and decide every dispute
)

// decides reports whether the role may decide a dispute.
func (r Role) decides() bool { return r == RoleWrite || r == RoleNode }

// Outcome is the way in which an operator closes a trade by hand, or resolves an amount in
// suspense.
type Outcome string

// The outcomes.
const (
	OutcomeRefunded Outcome = "refunded" // the seller has, or receives, the sats
	OutcomePaid     Outcome = "paid"     // the buyer has received the sats, by a way that this store does not know
	OutcomeKept     Outcome = "kept"     // InResolve: the node keeps the amount
	OutcomeRefund   Outcome = "refund"   // InResolve: the program pays the amount to the destination in Invoice
)

// Rules is a version of the rules of Step.
type Rules uint8

// The versions of the rules. A change of a rule adds a version. Step keeps the older
// behaviour for inputs that an older version decided.
const (
	rules0 Rules = 0 // journals of version 1307280 and before name no version
	rules1 Rules = 1 // November 2026: the findings of the second audit
	rules2 Rules = 2 // December 2026: amounts as mostrod 0.20 computes them; solvers decide disputes

	rules3 Rules = 3 // December 2026: a hold that waits for the buyer's invoice is dated again when it is seen

	// CurrentRules decide about every new input, in trades of any age.
	CurrentRules = rules3
)

// InputKind names the event of an input.
type InputKind string

const (
	InMessage       InputKind = "message"        // a message of a user
	InSpawn         InputKind = "spawn"          // the rest of a range order becomes an order
	InClock         InputKind = "clock"          // the deadline has passed
	InRestart       InputKind = "restart"        // the program started while this trade was open
	InReconcile     InputKind = "reconcile"      // the store may be an old copy of itself
	InClockBack     InputKind = "clock-back"     // the clock was set back, so deadlines are too far ahead
	InResume        InputKind = "resume"         // an operator has examined a frozen trade and lets it continue
	InReshow        InputKind = "reshow"         // the maker of a pending order has another rating than the order shows
	InUncommitted   InputKind = "uncommitted"    // an input of the trade could not be written; an operator must examine the trade
	InClose         InputKind = "close"          // an operator closes a trade whose escrow is gone, or that is frozen
	InOverpaid      InputKind = "overpaid"       // an operator has seen at the node that more was paid for a settled hold than the journal says
	InResolve       InputKind = "resolve"        // an operator decides about an amount in suspense
	InSolverGone    InputKind = "solver-gone"    // the solver that has taken the dispute was removed
	InPayAfterAll   InputKind = "pay-after-all"  // an operator has seen that the hold is settled and the buyer is unpaid
	InHoldMade      InputKind = "hold-made"      // the node has made our hold invoice
	InHoldRefused   InputKind = "hold-refused"   // the node will not make the hold invoice
	InHold          InputKind = "hold"           // state of a hold invoice
	InHoldUnknown   InputKind = "hold-unknown"   // the node cannot report the state at present
	InSettled       InputKind = "settled"        // the hold is settled to us
	InSettleRefused InputKind = "settle-refused" // the hold had ended before it could be settled
	InCanceled      InputKind = "canceled"       // the hold is cancelled, or never existed
	InCancelRefused InputKind = "cancel-refused" // a hold that we cancelled is settled: this store is not the newest
	InMinted        InputKind = "minted"         // an address returned an invoice
	InMintFailed    InputKind = "mint-failed"
	InPaySent       InputKind = "pay-sent"     // the node has accepted a payout
	InPayRefused    InputKind = "pay-refused"  // the node will not attempt the payout
	InPayment       InputKind = "payment"      // state of a payout
	InDevFeePaid    InputKind = "dev-fee-paid" // the development fund has received the fee of the trade; without a hash, as an operator says
)

// Hold is the state of a hold invoice as the node reported it.
type Hold struct {
	Phase        HoldPhase `json:"phase"`
	ExpiryHeight uint32    `json:"expiry_height,omitzero"` // block height at which the first held part can be reclaimed on chain
	AcceptHeight uint32    `json:"accept_height,omitzero"` // block height at which the first held part arrived; 0 if unknown
	Height       uint32    `json:"height,omitzero"`        // height of the chain; 0 if the node was not asked
	AmountSats   int64     `json:"amount_sats,omitzero"`   // amount of the invoice; 0 if unknown
	PaidMsat     int64     `json:"paid_msat,omitzero"`     // amount that is held or was claimed; 0 if unknown, and in journals before December 2026
}

// Result is the state of a payout as the node reported it.
type Result struct {
	Status  PaymentStatus `json:"status"`
	FeeMsat int64         `json:"fee_msat,omitzero"`
}

// Quote is the price of a bitcoin in the order's currency. The zero value means that no
// price was ever known.
type Quote struct {
	Price float64 `json:"price"`
	Stale bool    `json:"stale,omitzero"`
}

// Destination holds the facts about a payout destination that do not depend on the trade.
type Destination struct {
	Text       string `json:"text"`
	Address    bool   `json:"address,omitzero"`   // Lightning address or LNURL
	Reachable  bool   `json:"reachable,omitzero"` // address: the server answered as a Lightning address
	Parsed     bool   `json:"parsed,omitzero"`    // a valid BOLT11 invoice
	ChainOK    bool   `json:"chain_ok,omitzero"`
	Taken      bool   `json:"taken,omitzero"` // the hash belongs to another trade or to an invoice of this node
	Hash       Hash   `json:"hash,omitzero"`
	AmountMsat int64  `json:"amount_msat,omitzero"` // 0 if the invoice states no amount
	ExpiresAt  int64  `json:"expires_at,omitzero"`
	FinalCLTV  uint32 `json:"final_cltv,omitzero"`
}

// Child is the order that is made from the rest of a range order.
type Child struct {
	Parent    OrderID     `json:"parent"`
	Kind      mostro.Side `json:"kind"`
	Terms     Terms       `json:"terms"`
	Maker     Party       `json:"maker"`
	Fiat      string      `json:"fiat"`
	Fixed     int64       `json:"fixed,omitzero"` // the rest is one amount; 0 if it is a range
	Min       int64       `json:"min,omitzero"`
	Max       int64       `json:"max,omitzero"`
	Method    string      `json:"method"`
	Premium   int64       `json:"premium,omitzero"`
	ExpiresAt int64       `json:"expires_at"`
	RequestID *uint64     `json:"request_id,omitempty"`
}

// Request is a message whose sender is verified.
type Request struct {
	From    Party // the sender, as stated in this message
	Message message.Message
}

// requestJSON keeps the message in the encoding of the wire.
type requestJSON struct {
	From    Party           `json:"from"`
	Message json.RawMessage `json:"message"`
}

// MarshalJSON returns the message in the encoding of the wire.
func (r Request) MarshalJSON() ([]byte, error) {
	return Encode(requestJSON{r.From, r.Message.JSON()})
}

// UnmarshalJSON parses the output of MarshalJSON.
func (r *Request) UnmarshalJSON(b []byte) error {
	var raw requestJSON
	if err := json.Unmarshal(b, &raw); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	m, err := message.ParseMessage(raw.Message)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	r.From, r.Message = raw.From, m
	return nil
}

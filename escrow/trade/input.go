package trade

import (
	"encoding/json"
	"fmt"

	"github.com/mostrodex/mostrodex/mostro"
)

// Input is one thing that happened, with every fact that deciding about it
// needs: Step looks nowhere else. It is what the journal keeps, so replaying
// the journal decides the same again.
type Input struct {
	At   int64     `json:"at"` // unix seconds, never less than the trade's inputs before
	Kind InputKind `json:"kind"`
	// Rules is the version of the rules that decided about the input. The
	// journal keeps it, so that a newer program replays an old journal to the
	// same trade.
	Rules Rules `json:"rules,omitzero"`

	Request *Request `json:"request,omitempty"` // InMessage

	Hash    Hash   `json:"hash,omitzero"`    // of the hold or payment that is spoken of
	Attempt uint32 `json:"attempt,omitzero"` // of the payout that is spoken of
	Hold    Hold   `json:"hold,omitzero"`
	Payment Result `json:"payment,omitzero"`
	Bolt11  string `json:"bolt11,omitzero"` // InHoldMade, InMinted
	Child   *Child `json:"child,omitempty"` // InSpawn

	// Facts, looked up or drawn by the engine.
	OrderID    OrderID          `json:"order_id,omitzero"`   // fresh: InSpawn, new-order
	DisputeID  OrderID          `json:"dispute_id,omitzero"` // fresh: InSpawn, new-order
	Preimage   Preimage         `json:"preimage,omitzero"`   // fresh: where a hold invoice may be wanted
	Terms      *Terms           `json:"terms,omitempty"`     // new-order
	SentAt     int64            `json:"sent_at,omitzero"`    // new-order: when it came, if that is long ago; unix seconds
	Refused    bool             `json:"refused,omitzero"`    // new-order: the operator does not take this currency
	Quote      Quote            `json:"quote,omitzero"`
	Invoice    *Destination     `json:"invoice,omitempty"`
	Busy       bool             `json:"busy,omitzero"`        // take: the identity leaves another trade waiting
	Limited    bool             `json:"limited,omitzero"`     // new-order: the identity has too many orders; take: the taker has to wait
	KeyInUse   bool             `json:"key_in_use,omitzero"`  // next_trade names a key of an open trade
	Reputation *mostro.UserInfo `json:"reputation,omitempty"` // take: of the sender
	Grace      int64            `json:"grace,omitzero"`       // InRestart: seconds by which deadlines missed while we were down are put off; InClockBack: by which the clock was set back, 0 if unknown
}

// Rules is a version of the rules by which Step decides.
type Rules uint8

// The versions. A change of a rule adds one; Step keeps the older behaviour for
// the inputs that were decided by it.
const (
	rules0 Rules = 0 // journals of 1307280 and before name no version
	rules1 Rules = 1 // November 2026: the findings of the second audit

	// CurrentRules decide about everything new, in trades of any age.
	CurrentRules = rules1
)

// InputKind says what happened.
type InputKind string

const (
	InMessage       InputKind = "message"        // a user wrote
	InSpawn         InputKind = "spawn"          // the rest of a range order comes to be
	InClock         InputKind = "clock"          // the deadline has come
	InRestart       InputKind = "restart"        // the program started with this trade open
	InReconcile     InputKind = "reconcile"      // the store may be an old copy of itself
	InClockBack     InputKind = "clock-back"     // the clock was set back: deadlines lie too far ahead
	InResume        InputKind = "resume"         // an operator has looked at a frozen trade: it goes on
	InUncommitted   InputKind = "uncommitted"    // an input of the trade could not be written: an operator has to look
	InPayAfterAll   InputKind = "pay-after-all"  // an operator has seen that the hold is settled, and the buyer unpaid
	InHoldMade      InputKind = "hold-made"      // the node has our hold invoice
	InHoldRefused   InputKind = "hold-refused"   // the node will not make it
	InHold          InputKind = "hold"           // where a hold invoice stands
	InHoldUnknown   InputKind = "hold-unknown"   // the node cannot say at present
	InSettled       InputKind = "settled"        // the hold is ours
	InSettleRefused InputKind = "settle-refused" // there was nothing to settle any more
	InCanceled      InputKind = "canceled"       // a hold is given back, or never was
	InCancelRefused InputKind = "cancel-refused" // a hold we gave back is settled: this store is not the newest
	InMinted        InputKind = "minted"         // an address gave an invoice
	InMintFailed    InputKind = "mint-failed"
	InPaySent       InputKind = "pay-sent"    // the node has taken a payout
	InPayRefused    InputKind = "pay-refused" // the node will not try it
	InPayment       InputKind = "payment"     // where a payout stands
)

// Hold is a hold invoice as the node saw it.
type Hold struct {
	Phase        HoldPhase `json:"phase"`
	ExpiryHeight uint32    `json:"expiry_height,omitzero"` // the first held part can be taken back on chain
	AcceptHeight uint32    `json:"accept_height,omitzero"` // the first held part arrived; 0 when unknown
	Height       uint32    `json:"height,omitzero"`        // of the chain; 0 when it was not asked
	AmountSats   int64     `json:"amount_sats,omitzero"`   // what the invoice asks for; 0 when unknown
}

// Result is a payout as the node saw it.
type Result struct {
	Status  PaymentStatus `json:"status"`
	FeeMsat int64         `json:"fee_msat,omitzero"`
}

// Quote is the price of a bitcoin in the order's currency. The zero value is
// a price that nobody has ever stated.
type Quote struct {
	Price float64 `json:"price"`
	Stale bool    `json:"stale,omitzero"`
}

// Destination is what can be told of a payout destination without the trade.
type Destination struct {
	Text       string `json:"text"`
	Address    bool   `json:"address,omitzero"`   // Lightning address or LNURL
	Reachable  bool   `json:"reachable,omitzero"` // address: it answered as one
	Parsed     bool   `json:"parsed,omitzero"`    // BOLT11
	ChainOK    bool   `json:"chain_ok,omitzero"`
	Taken      bool   `json:"taken,omitzero"` // its hash belongs to another trade, or to ourselves
	Hash       Hash   `json:"hash,omitzero"`
	AmountMsat int64  `json:"amount_msat,omitzero"` // 0: states none
	ExpiresAt  int64  `json:"expires_at,omitzero"`
	FinalCLTV  uint32 `json:"final_cltv,omitzero"`
}

// Child says what becomes of the rest of a range order.
type Child struct {
	Parent    OrderID     `json:"parent"`
	Kind      mostro.Side `json:"kind"`
	Terms     Terms       `json:"terms"`
	Maker     Party       `json:"maker"`
	Fiat      string      `json:"fiat"`
	Fixed     int64       `json:"fixed,omitzero"` // the rest is one amount
	Min       int64       `json:"min,omitzero"`
	Max       int64       `json:"max,omitzero"`
	Method    string      `json:"method"`
	Premium   int64       `json:"premium,omitzero"`
	ExpiresAt int64       `json:"expires_at"`
	RequestID *uint64     `json:"request_id,omitempty"`
}

// Request is a message whose sender is proven.
type Request struct {
	From    Party // the sender, as this message shows it
	Message mostro.Message
}

// requestJSON keeps the message in the wire's own encoding.
type requestJSON struct {
	From    Party           `json:"from"`
	Message json.RawMessage `json:"message"`
}

// MarshalJSON writes the message as the wire does.
func (r Request) MarshalJSON() ([]byte, error) {
	return Encode(requestJSON{r.From, r.Message.JSON()})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Request) UnmarshalJSON(b []byte) error {
	var raw requestJSON
	if err := json.Unmarshal(b, &raw); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	m, err := mostro.ParseMessage(raw.Message)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	r.From, r.Message = raw.From, m
	return nil
}

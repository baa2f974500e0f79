package trade

import (
	"encoding/json"
	"fmt"

	"github.com/mostrodex/mostrodex/mostro/message"
)

// Effect is one action that follows from a step. An effect is committed with the step and
// performed after the commit. An effect may be performed again without harm.
type Effect struct {
	Kind EffectKind `json:"kind"`

	To      Party    `json:"to,omitzero"` // FxSend
	Message Outgoing `json:"message,omitzero"`

	Hash       Hash     `json:"hash,omitzero"`
	Preimage   Preimage `json:"preimage,omitzero"`    // FxSettle
	AmountSats int64    `json:"amount_sats,omitzero"` // FxCreateHold, FxMint, FxPay (if the invoice states no amount)
	MaxFeeSats int64    `json:"max_fee_sats,omitzero"`
	CLTVBlocks uint32   `json:"cltv,omitzero"`
	Seconds    int64    `json:"seconds,omitzero"`    // FxCreateHold: time in which the invoice can be paid
	SafeUntil  int64    `json:"safe_until,omitzero"` // FxSettle: unix seconds; before this time the hold is not near its expiry, by the clock alone
	Memo       string   `json:"memo,omitzero"`
	Text       string   `json:"text,omitzero"` // FxMint: address; FxPay: BOLT11
	Attempt    uint32   `json:"attempt,omitzero"`
	Outflow    uint32   `json:"outflow,omitzero"` // FxMint, FxPay, FxTrack: number of the outflow; 0: the payout

	Child *Child `json:"child,omitempty"` // FxSpawn
}

// EffectKind names an action. The comment of each kind says why a repeated action is
// harmless.
type EffectKind string

const (
	FxSend           EffectKind = "send"            // signed before the commit: a repeat publishes the same event
	FxPublishOrder   EffectKind = "publish-order"   // as FxSend; addressable, the newest version wins
	FxPublishDispute EffectKind = "publish-dispute" // as FxPublishOrder
	FxPublish        EffectKind = "publish"         // as FxSend; the node's own events
	FxCreateHold     EffectKind = "create-hold"     // keyed by hash; the answer "exists" counts as done
	FxSettle         EffectKind = "settle"          // the node returns success if the hold is already settled
	FxCancel         EffectKind = "cancel"          // the node returns success if the hold is already cancelled
	FxCheckHold      EffectKind = "check-hold"      // only reads
	FxMint           EffectKind = "mint"            // an invoice that is never paid costs nothing
	FxPay            EffectKind = "pay"             // keyed by hash; tracked before it is sent
	FxTrack          EffectKind = "track"           // only reads
	FxSpawn          EffectKind = "spawn"           // becomes an input in the same transaction
	FxProbe          EffectKind = "probe"           // only reads; the message in the record waits for the answer
	FxLook           EffectKind = "look"            // as FxProbe: looks a hold up before a message about it is decided
)

// Outgoing is a message that is not sealed yet. Its JSON is the JSON of the wire.
type Outgoing struct{ message.Message }

// IsZero reports whether there is no message, so that omitzero omits the field.
func (o Outgoing) IsZero() bool { return o.Action == "" }

// MarshalJSON returns the message as written on the wire.
func (o Outgoing) MarshalJSON() ([]byte, error) { return o.Message.JSON(), nil }

// UnmarshalJSON parses the output of MarshalJSON.
func (o *Outgoing) UnmarshalJSON(b []byte) error {
	m, err := message.ParseMessage(json.RawMessage(b))
	if err != nil {
		return fmt.Errorf("outgoing message: %w", err)
	}
	o.Message = m
	return nil
}

package trade

import (
	"encoding/json"
	"fmt"

	"github.com/mostrodex/mostrodex/mostro"
)

// Effect is one thing to be done because of a step: committed with the step,
// done afterwards, safe to do again.
type Effect struct {
	Kind EffectKind `json:"kind"`

	To      Party    `json:"to,omitzero"` // FxSend
	Message Outgoing `json:"message,omitzero"`

	Hash       Hash     `json:"hash,omitzero"`
	Preimage   Preimage `json:"preimage,omitzero"`    // FxSettle
	AmountSats int64    `json:"amount_sats,omitzero"` // FxCreateHold, FxMint, FxPay (an invoice without an amount)
	MaxFeeSats int64    `json:"max_fee_sats,omitzero"`
	CLTVBlocks uint32   `json:"cltv,omitzero"`
	Seconds    int64    `json:"seconds,omitzero"`    // FxCreateHold: how long it can be paid
	SafeUntil  int64    `json:"safe_until,omitzero"` // FxSettle: until when the clock alone says that the hold is not near its expiry
	Memo       string   `json:"memo,omitzero"`
	Text       string   `json:"text,omitzero"` // FxMint: address; FxPay: BOLT11
	Attempt    uint32   `json:"attempt,omitzero"`

	Child *Child `json:"child,omitempty"` // FxSpawn
}

// EffectKind says what is to be done, and why doing it again is harmless.
type EffectKind string

const (
	FxSend           EffectKind = "send"            // signed before it is committed: the same event is a duplicate
	FxPublishOrder   EffectKind = "publish-order"   // likewise; addressable, the newest wins
	FxPublishDispute EffectKind = "publish-dispute" // likewise
	FxPublish        EffectKind = "publish"         // likewise; the node's own events
	FxCreateHold     EffectKind = "create-hold"     // keyed by hash; "exists" is done
	FxSettle         EffectKind = "settle"          // answers success when already so
	FxCancel         EffectKind = "cancel"          // answers success when already so
	FxCheckHold      EffectKind = "check-hold"      // reads
	FxMint           EffectKind = "mint"            // an invoice nobody pays costs nothing
	FxPay            EffectKind = "pay"             // keyed by hash; tracked before it is sent
	FxTrack          EffectKind = "track"           // reads
	FxSpawn          EffectKind = "spawn"           // becomes an input in the same transaction
	FxProbe          EffectKind = "probe"           // reads; the message in the row waits for it
)

// Outgoing is a message to be sealed. Its JSON is the wire's.
type Outgoing struct{ mostro.Message }

// IsZero lets omitzero leave it out.
func (o Outgoing) IsZero() bool { return o.Action == "" }

// MarshalJSON writes the message as the wire does.
func (o Outgoing) MarshalJSON() ([]byte, error) { return o.Message.JSON(), nil }

// UnmarshalJSON reads what MarshalJSON writes.
func (o *Outgoing) UnmarshalJSON(b []byte) error {
	m, err := mostro.ParseMessage(json.RawMessage(b))
	if err != nil {
		return fmt.Errorf("outgoing message: %w", err)
	}
	o.Message = m
	return nil
}

package trade

// Lock is a hold invoice of the node with the payment that the node holds under its hash. A
// lock belongs to a trade and is identified by its hash. The seller's lock is stored in its
// trade, under the names that a trade had before there was this type. Bonds will be further
// locks of a trade.
type Lock struct {
	Preimage    Preimage `json:"preimage,omitzero"`
	Hash        Hash     `json:"hash,omitzero"` // of the live hold invoice; zero if none
	HoldInvoice string   `json:"hold_invoice,omitzero"`
	HeldAt      int64    `json:"held_at,omitzero"` // time of the hold's acceptance, by the height of the chain if it is known
	// SafeUntil is the time at which the hold's time lock comes within the margin, by the
	// heights that the node reported and ten minutes a block; 0 if unknown.
	SafeUntil int64 `json:"safe_until,omitzero"`
	// Settling reports that the seller has released and the node was ordered to settle.
	// Only a settlement ends this state, or proof that the hold had ended before.
	Settling bool `json:"settling,omitzero"`
	// PaidMsat is the amount that the node received; 0 if not paid or unknown. Journals
	// before December 2026 do not contain this amount. BOLT 4 allows a payer to send up to
	// twice the amount of the invoice.
	PaidMsat int64 `json:"paid_msat,omitzero"`
}

// OutflowPurpose is the reason of an outflow.
type OutflowPurpose string

// The purposes.
const (
	OutflowPayout OutflowPurpose = ""       // the payment to the buyer
	OutflowRefund OutflowPurpose = "refund" // an amount that the node has claimed by mistake
)

// Outflow is a payment of the node, from the moment at which the node owes the payment until
// it has succeeded. A trade has one outflow for its buyer, Trade.Payout, and may have others.
// An outflow is identified by its number in the trade, because its hash is not known before
// an address has returned an invoice, and because each invoice has another hash.
type Outflow struct {
	// Hash is the claim. While the hash is set, one payment may be in flight under this
	// hash and no other, and the destination cannot be replaced.
	Hash   Hash   `json:"hash,omitzero"`
	Bolt11 string `json:"bolt11,omitzero"`
	Open   bool   `json:"open,omitzero"` // Bolt11 states no amount
	Sent   bool   `json:"sent,omitzero"` // the node accepted the payment; the outcome is not known yet
	// Minting reports that an address is being asked for an invoice.
	Minting  bool   `json:"minting,omitzero"`
	Attempt  uint32 `json:"attempt,omitzero"`  // number of the current or last attempt, over all invoices
	Failures uint32 `json:"failures,omitzero"` // with the current invoice
	Asked    uint32 `json:"asked,omitzero"`    // number of times the payee was asked for another invoice
	LastHash Hash   `json:"last_hash,omitzero"`
	FeeMsat  int64  `json:"fee_msat,omitzero"` // routing fee of a successful payment

	// The following fields are zero in Trade.Payout, because the trade itself says them.
	Purpose    OutflowPurpose `json:"purpose,omitempty"`
	For        Hash           `json:"for,omitzero"` // OutflowRefund: the hold whose amount is refunded
	AmountSats int64          `json:"amount_sats,omitzero"`
	To         PayTo          `json:"to,omitzero"`
	Deadline   int64          `json:"deadline,omitzero"` // next time at which the clock decides about the outflow; 0 after success
	PaidAt     int64          `json:"paid_at,omitzero"`  // time of the success
	// Withdrawn reports that nothing is owed any more although no payment succeeded.
	Withdrawn bool `json:"withdrawn,omitzero"`
}

// OutflowKey identifies an outflow by its trade and its number in the trade.
type OutflowKey struct {
	Trade OrderID
	N     uint32
}

// claimed reports whether a payment may be in flight or an address is being asked.
func (o *Outflow) claimed() bool { return o.Hash != Hash{} || o.Minting }

// Done reports whether an outflow other than the buyer's has succeeded, or was withdrawn.
func (o *Outflow) Done() bool { return o.PaidAt != 0 }

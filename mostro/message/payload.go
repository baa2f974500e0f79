package message

import "github.com/mostrodex/mostrodex/mostro"

// Payload is the content of a message besides its action: one of the types below. The
// set is closed. Payload values are shared and must not be changed.
type Payload interface {
	// PayloadKey returns the one key of the payload's JSON object.
	PayloadKey() string

	appendBody(dst []byte) []byte
}

// SmallOrder is the order inside a message. As a payload it is a *SmallOrder. The
// parser refuses unknown fields in its JSON.
type SmallOrder struct {
	ID                *UUID
	Kind              mostro.Side // "" for null
	Status            TradeStatus // "" for null
	AmountSats        int64       // 0: at market price
	FiatCode          string
	MinAmount         *int64 // fiat; both set: a range order
	MaxAmount         *int64
	FiatAmount        int64 // 0 for a range order
	PaymentMethod     string
	Premium           int64 // percent
	BuyerTradePubkey  *string
	SellerTradePubkey *string
	BuyerInvoice      *string // BOLT11, Lightning address or LNURL
	CreatedAt         *int64  // unix seconds
	ExpiresAt         *int64  // unix seconds; the reference node takes 0 literally
	CashuMintURL      *string // mint of the escrow on a Cashu node; nil on a Lightning node
}

// PaymentRequest is an invoice to pay, or the destination of a payment.
type PaymentRequest struct {
	Order   *SmallOrder
	Invoice string // BOLT11, Lightning address or LNURL
	Amount  *int64 // fiat amount if a range sell order is taken
}

// TextMessage is free text.
type TextMessage string

// Peer names the other party of a trade. Pubkey is "" in a reputation notice.
type Peer struct {
	Pubkey     string
	Reputation *UserInfo
}

// UserInfo is a node's statement about a user's past trades. As a payload it answers
// user-info.
type UserInfo struct {
	Rating        float64
	Reviews       int64
	OperatingDays uint64
	// Since is the time of the user's first trade, in unix seconds. The parser and the
	// writer cut Since to the start of its day, because the value is part of every trade
	// of the user: seconds would link the user's trade keys. nil: not stated.
	Since *uint64 `json:",omitempty"`
}

// RatingUser is the number of stars. A node accepts 1 to 5.
type RatingUser uint8

// Amount is the fiat amount with which a range order is taken.
type Amount int64

// DisputeRef names a dispute. Only the solver of the dispute receives Info.
type DisputeRef struct {
	ID   UUID
	Info *SolverDisputeInfo
}

// SolverDisputeInfo is the information about a trade that its solver receives. Kind,
// statuses and keys are plain text here, as on the wire.
type SolverDisputeInfo struct {
	ID                     UUID // of the order
	Kind                   string
	Status                 string
	Hash                   *string
	Preimage               *string // nodes of this project omit the preimage
	OrderPreviousStatus    string
	InitiatorPubkey        string
	BuyerPubkey            *string
	SellerPubkey           *string
	InitiatorFullPrivacy   bool
	CounterpartFullPrivacy bool
	InitiatorInfo          *UserInfo
	CounterpartInfo        *UserInfo
	Premium                int64
	PaymentMethod          string
	AmountSats             int64
	FiatAmount             int64
	FeeSats                int64
	RoutingFeeSats         int64
	BuyerInvoice           *string
	InvoiceHeldAt          int64
	TakenAt                int64
	CreatedAt              int64
}

// CantDo is a refusal: the payload of a cant-do message, and an error that can be sent
// as one. Reason is "" for null.
type CantDo struct{ Reason Reason }

// Error returns the reason in the spelling of the wire.
func (c CantDo) Error() string {
	if c.Reason == "" {
		return "cant do"
	}
	return "cant do: " + string(c.Reason)
}

// NextTrade announces key and index of the trade for the rest of a range order.
type NextTrade struct {
	Pubkey string
	Index  uint32
}

// PaymentFailed tells the buyer how often and at which interval the node will retry.
type PaymentFailed struct {
	Attempts        uint32
	IntervalSeconds uint32
}

// RestoreData lists the open trades of a user, as the node stores them.
type RestoreData struct {
	Orders   []RestoredOrder
	Disputes []RestoredDispute
}

// RestoredOrder is one trade in RestoreData.
type RestoredOrder struct {
	OrderID    UUID
	TradeIndex int64
	Status     string
	// CounterpartyTradePubkey lets a client derive the keys of the chat again. nil: the
	// order has no second party, or the node is older than November 2026.
	CounterpartyTradePubkey *string
}

// RestoredDispute is one dispute in RestoreData.
type RestoredDispute struct {
	DisputeID    UUID
	OrderID      UUID
	TradeIndex   int64
	Status       string
	Initiator    Initiator // "" for null
	SolverPubkey *string
}

// IDs asks for orders.
type IDs []UUID

// OrderList answers IDs.
type OrderList []SmallOrder

// BondResolution names the bonds that a solver slashes.
type BondResolution struct {
	SlashSeller bool
	SlashBuyer  bool
}

// BondPayoutRequest asks the winner of a bond for an invoice.
type BondPayoutRequest struct {
	Order     SmallOrder
	SlashedAt int64 // unix seconds
}

// CashuLockProof is the seller's escrow on a Cashu node.
type CashuLockProof struct {
	Token        string
	MintURL      string
	BuyerPubkey  string
	SellerPubkey string
	MostroPubkey string
	FeeToken     *string
}

// CashuSignatures are the node's signatures for the winner of a dispute.
type CashuSignatures []CashuSignature

// CashuSignature signs one proof.
type CashuSignature struct {
	Secret    string
	Signature string
}

// PayerDeclaration commits a buyer to the fiat account that pays for an order.
type PayerDeclaration struct {
	PaymentHash string // PayerHash or OrderPayerHash; the parser does not check the form
}

// BuyerMode states whether the counters of a PaymentHistory have a meaning.
type BuyerMode string

// The modes of a buyer.
const (
	BuyerModeReputation  BuyerMode = "reputation"
	BuyerModeFullPrivacy BuyerMode = "full_privacy" // all counters are 0

	// BuyerModeUnknown stands for every mode that this package does not know. Only the
	// parser returns it. A client treats it as BuyerModeFullPrivacy.
	BuyerModeUnknown BuyerMode = "unknown"
)

// PaymentHistory counts the trades that a buyer completed with the fiat account of a
// PayerDeclaration. It counts only trades without a dispute.
type PaymentHistory struct {
	PaymentHash               string
	BuyerMode                 BuyerMode
	SuccessfulTrades          uint32
	DistinctCounterparties    uint32
	ExperiencedCounterparties uint32
	FirstSuccessAt            *int64 // unix seconds
	LastSuccessAt             *int64 // unix seconds
}

// ReputationExportRequest asks for an attestation of the proved identity's reputation.
type ReputationExportRequest struct {
	Destination string  // identity at the other node, 64 lower-case hex digits; the parser does not check the form
	Rebind      *string // event JSON of a rebind (mostro/attestation)
}

// ReputationAttestation is the event JSON of an attestation (mostro/attestation). A client
// forwards it unchanged.
type ReputationAttestation string

// PayloadKey of each payload type.
func (*SmallOrder) PayloadKey() string             { return "order" }
func (PaymentRequest) PayloadKey() string          { return "payment_request" }
func (TextMessage) PayloadKey() string             { return "text_message" }
func (Peer) PayloadKey() string                    { return "peer" }
func (RatingUser) PayloadKey() string              { return "rating_user" }
func (Amount) PayloadKey() string                  { return "amount" }
func (DisputeRef) PayloadKey() string              { return "dispute" }
func (CantDo) PayloadKey() string                  { return "cant_do" }
func (NextTrade) PayloadKey() string               { return "next_trade" }
func (PaymentFailed) PayloadKey() string           { return "payment_failed" }
func (RestoreData) PayloadKey() string             { return "restore_data" }
func (IDs) PayloadKey() string                     { return "ids" }
func (OrderList) PayloadKey() string               { return "orders" }
func (BondResolution) PayloadKey() string          { return "bond_resolution" }
func (BondPayoutRequest) PayloadKey() string       { return "bond_payout_request" }
func (CashuLockProof) PayloadKey() string          { return "cashu_lock_proof" }
func (CashuSignatures) PayloadKey() string         { return "cashu_signatures" }
func (PayerDeclaration) PayloadKey() string        { return "payer_declaration" }
func (PaymentHistory) PayloadKey() string          { return "payment_history" }
func (ReputationExportRequest) PayloadKey() string { return "reputation_export_request" }
func (ReputationAttestation) PayloadKey() string   { return "reputation_attestation" }
func (UserInfo) PayloadKey() string                { return "user_info" }

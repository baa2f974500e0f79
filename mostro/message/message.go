package message

import (
	"encoding/hex"
)

// Message is a message between a client and a Mostro, in the current vocabulary on
// every transport. Message is a value. Payload and the pointers are shared and must not
// be changed.
//
// AppendJSON writes the only valid JSON form, because signatures cover these bytes.
// encoding/json writes other bytes.
type Message struct {
	Wrapper    Wrapper
	Version    uint8   // 1 on gift wrap and in 2023's form, 2 on kind 14; Seal sets it
	RequestID  *uint64 // the direct answer repeats it
	TradeIndex *int64
	ID         *UUID // order, or dispute for admin-take-dispute
	Action     Action
	Payload    Payload // nil for null
}

// Wrapper is the name of the one key around a message.
type Wrapper string

// The wrappers. A node dispatches only on the action and ignores the wrapper. Clients
// expect order, restore and cant-do.
const (
	WrapperOrder   Wrapper = "order"
	WrapperDispute Wrapper = "dispute"
	WrapperCantDo  Wrapper = "cant-do"
	WrapperRate    Wrapper = "rate"
	WrapperDM      Wrapper = "dm"
	WrapperRestore Wrapper = "restore"
)

var allWrappers = []Wrapper{WrapperOrder, WrapperDispute, WrapperCantDo, WrapperRate, WrapperDM, WrapperRestore}

var wrapperByName = byName(allWrappers)

// Refuse returns the refusal of a request, with the request id and the id of the
// request.
func (m Message) Refuse(reason Reason) Message {
	return Message{
		Wrapper: WrapperCantDo, Version: m.Version, RequestID: m.RequestID, ID: m.ID,
		Action: ActionCantDo, Payload: CantDo{Reason: reason},
	}
}

// Check returns nil if id and payload fit the action of a request, as the reference
// node requires of received messages. Otherwise Check returns a WireError with
// RuleStructure, or with RuleAction if the action is unknown.
//
// Check is only for requests. Several messages of a node fail the check by design of
// the protocol (add-invoice with an order, restore-session with data), so a client must
// not check answers.
func (m Message) Check() error {
	if !m.Action.Known() {
		return NewError(RuleAction, "unknown action")
	}
	if m.Action == ActionUserInfo && m.Wrapper != WrapperRestore {
		return NewError(RuleStructure, "user-info needs the wrapper restore")
	}
	if m.Action.refusesID() && m.ID != nil {
		return &WireError{Rule: RuleStructure, Path: "id", Detail: string(m.Action) + " takes no id"}
	}
	if m.Action.needsID() && m.ID == nil {
		return &WireError{Rule: RuleStructure, Path: "id", Detail: string(m.Action) + " needs an id"}
	}
	fits, want := true, ""
	switch m.Action {
	case ActionNewOrder:
		_, fits = m.Payload.(*SmallOrder)
		want = "order"
	case ActionPayInvoice, ActionPayBondInvoice, ActionAddInvoice:
		_, fits = m.Payload.(PaymentRequest)
		want = "payment_request"
	case ActionAddBondInvoice:
		switch m.Payload.(type) {
		case PaymentRequest, BondPayoutRequest:
		default:
			fits = false
		}
		want = "payment_request or bond_payout_request"
	case ActionAdminSettle, ActionAdminCancel:
		_, fits = m.Payload.(BondResolution)
		fits = fits || m.Payload == nil
		want = "bond_resolution or nothing"
	case ActionAddCashuEscrow:
		_, fits = m.Payload.(CashuLockProof)
		want = "cashu_lock_proof"
	case ActionCashuPmSignature:
		sigs, ok := m.Payload.(CashuSignatures)
		fits = ok && len(sigs) > 0
		want = "cashu_signatures, at least one"
	case ActionLastTradeIndex, ActionRestoreSession:
		fits = m.Payload == nil
		want = "nothing"
	case ActionPaymentFailed:
		_, fits = m.Payload.(PaymentFailed)
		want = "payment_failed"
	case ActionRateUser:
		_, fits = m.Payload.(RatingUser)
		want = "rating_user"
	case ActionCantDo:
		_, fits = m.Payload.(CantDo)
		want = "cant_do"
	case ActionOrders:
		switch m.Payload.(type) {
		case IDs, OrderList:
		default:
			fits = false
		}
		want = "ids or orders"
	case ActionUserInfo:
		_, fits = m.Payload.(UserInfo)
		fits = fits || m.Payload == nil
		want = "user_info or nothing"
	case ActionDeclarePayer, ActionPayerDeclared:
		_, fits = m.Payload.(PayerDeclaration)
		want = "payer_declaration"
	case ActionPaymentHistory:
		_, fits = m.Payload.(PaymentHistory)
		fits = fits || m.Payload == nil
		want = "payment_history or nothing"
	case ActionExportReputation:
		_, fits = m.Payload.(ReputationExportRequest)
		want = "reputation_export_request"
	case ActionReputationExported, ActionImportReputation:
		_, fits = m.Payload.(ReputationAttestation)
		want = "reputation_attestation"
	case ActionReputationImported:
		fits = m.Payload == nil
		want = "nothing"
	default:
		switch m.Payload.(type) {
		case BondResolution, BondPayoutRequest, PayerDeclaration, PaymentHistory, UserInfo:
			fits = false
		}
		want = "no payload of a bond, a payer or a user"
	}
	if !fits {
		have := "nothing"
		if m.Payload != nil {
			have = m.Payload.PayloadKey()
		}
		return &WireError{Rule: RuleStructure, Path: "payload", Detail: string(m.Action) + " takes " + want + ", has " + have}
	}
	return nil
}

// CheckReply returns nil if a message of a node can be the answer to a request with this
// id, as the reference client requires. nil as the id accepts every request id. If the
// message is a refusal, CheckReply returns its CantDo. If the request id is of another
// request, or is absent from an action that only answers requests, CheckReply returns a
// WireError with RuleStructure.
func (m Message) CheckReply(requestID *uint64) error {
	if refusal, ok := m.Payload.(CantDo); ok {
		return refusal
	}
	switch {
	case requestID == nil, m.RequestID == nil && m.Action.mayOmitRequestID():
		return nil
	case m.RequestID == nil:
		return &WireError{Rule: RuleStructure, Path: "request_id", Detail: string(m.Action) + " must repeat the request id"}
	case *m.RequestID != *requestID:
		return &WireError{Rule: RuleStructure, Path: "request_id", Detail: "of another request"}
	}
	return nil
}

// UUID identifies an order or a dispute. Its text is lower-case and hyphenated, as on
// the wire.
type UUID [16]byte

// ParseUUID parses the spellings that the reference node accepts: hyphenated, 32 hex
// digits, {braced} and urn:uuid:, in any case. For any other text it returns a
// WireError.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	in := s
	switch {
	case len(in) == 38 && in[0] == '{' && in[37] == '}':
		in = in[1:37]
	case len(in) == 45 && in[:9] == "urn:uuid:":
		in = in[9:]
	}
	var digits [32]byte
	switch len(in) {
	case 32:
		copy(digits[:], in)
	case 36:
		if in[8] != '-' || in[13] != '-' || in[18] != '-' || in[23] != '-' {
			return u, NewError(RuleUUID, "hyphens out of place")
		}
		n := copy(digits[:], in[:8])
		n += copy(digits[n:], in[9:13])
		n += copy(digits[n:], in[14:18])
		n += copy(digits[n:], in[19:23])
		copy(digits[n:], in[24:])
	default:
		return u, NewError(RuleUUID, "not the length of a UUID")
	}
	if _, err := hex.Decode(u[:], digits[:]); err != nil {
		return u, NewError(RuleUUID, "not hexadecimal")
	}
	return u, nil
}

// String returns the hyphenated lower-case form.
func (u UUID) String() string { return string(u.appendTo(make([]byte, 0, 36))) }

func (u UUID) appendTo(dst []byte) []byte {
	dst = hex.AppendEncode(dst, u[:4])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, u[4:6])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, u[6:8])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, u[8:10])
	dst = append(dst, '-')
	return hex.AppendEncode(dst, u[10:])
}

// MarshalText returns the form of String. MarshalText and UnmarshalText let a UUID be a
// JSON string or a map key in formats other than the wire.
func (u UUID) MarshalText() ([]byte, error) { return u.appendTo(nil), nil }

// UnmarshalText parses the spellings of ParseUUID.
func (u *UUID) UnmarshalText(b []byte) error {
	v, err := ParseUUID(string(b))
	if err == nil {
		*u = v
	}
	return err
}

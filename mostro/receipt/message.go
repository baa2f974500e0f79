package receipt

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// A trader requests receipts from a node, and the node answers, with the action
// send-dm. The protocol has this action, and nodes that do not know receipts ignore
// such a message. A node sends a receipt answer only to a client that sent a request,
// so no other client ever receives one. docs/receipts.md describes the conversation.

// Request is a request for the receipts of a settled trade. The message's id is
// the order's id. The sender of the message is the trade key that the receipts are for.
type Request struct {
	// Keyset and Blinded request a blind receipt in addition. Keyset is the id of the
	// node's keyset for the month of settlement, and Blinded is BlindRequest.Blinded.
	// Both are empty if no blind receipt is requested.
	Keyset  string
	Blinded []byte
	// Payment requests that the plain receipt names the payment hash of the hold
	// invoice, so that the receipt can be opened as R3. Every node that forwarded the
	// payment knows the hash, so a receipt has no hash unless the request sets Payment.
	Payment bool
}

// Answer is a node's answer to a Request.
type Answer struct {
	Token   string   // RoboSats' token, for the sig tag
	Receipt []string // R1, for the receipt tag
	// Keyset and Signed answer the Keyset and Blinded of the request. Signed is the
	// argument of BlindRequest.Unblind.
	Keyset string
	Signed []byte
}

type receiptRequestJSON struct {
	Version int    `json:"receipt_request"`
	Keyset  string `json:"keyset,omitempty"`
	Blinded string `json:"blinded,omitempty"`
	Payment bool   `json:"payment,omitempty"`
}

type receiptAnswerJSON struct {
	Version int      `json:"receipt_answer"`
	Token   string   `json:"token"`
	Receipt []string `json:"receipt"`
	Keyset  string   `json:"keyset,omitempty"`
	Signed  string   `json:"signed,omitempty"`
}

const (
	receiptRequestHead = `{"receipt_request":`
	receiptAnswerHead  = `{"receipt_answer":`
	receiptVersion     = 1
)

// Message returns the request about one order as a message.
func (q Request) Message(order message.UUID) message.Message {
	return message.Message{Wrapper: message.WrapperDM, ID: &order, Action: message.ActionSendDM, Payload: plainText(receiptRequestJSON{receiptVersion, q.Keyset, hex.EncodeToString(q.Blinded), q.Payment})}
}

// Message returns the answer to a request as a message.
func (a Answer) Message(request message.Message) message.Message {
	return message.Message{
		Wrapper: message.WrapperDM, RequestID: request.RequestID, ID: request.ID, Action: message.ActionSendDM,
		Payload: plainText(receiptAnswerJSON{receiptVersion, a.Token, a.Receipt, a.Keyset, hex.EncodeToString(a.Signed)}),
	}
}

func plainText(v any) message.TextMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return message.TextMessage(b)
}

// ErrUnrelated is returned if a message is not about receipts.
var ErrUnrelated = errors.New("not about receipts")

// ParseRequest parses a request. It returns ErrUnrelated if the message
// is not a receipt request, and a WireError if the request is malformed.
func ParseRequest(m message.Message) (q Request, err error) {
	var in receiptRequestJSON
	if err := aboutReceipts(m, receiptRequestHead, &in); err != nil {
		return q, err
	}
	if in.Version != receiptVersion {
		return q, message.NewError(message.RuleValue, "unknown version of a receipt request")
	}
	if (in.Keyset == "") != (in.Blinded == "") || in.Keyset != "" && (len(in.Keyset) != 32 || !hex32.IsLower(in.Keyset)) {
		return q, message.NewError(message.RuleStructure, "keyset and blinded must both be set or both be absent")
	}
	q.Keyset, q.Payment = in.Keyset, in.Payment
	if in.Blinded != "" {
		q.Blinded = make([]byte, blindLen)
		if !hex32.Decode(q.Blinded, in.Blinded) {
			return Request{}, message.NewError(message.RuleSize, "blinded is not 256 bytes in hex")
		}
	}
	return q, nil
}

// ParseAnswer parses an answer. It returns ErrUnrelated if the message is
// not a receipt answer, and a WireError if the answer is malformed. ParseAnswer
// verifies no signature: Check and BlindRequest.Unblind do.
func ParseAnswer(m message.Message) (a Answer, err error) {
	var in receiptAnswerJSON
	if err := aboutReceipts(m, receiptAnswerHead, &in); err != nil {
		return a, err
	}
	if in.Version != receiptVersion {
		return a, message.NewError(message.RuleValue, "unknown version of a receipt answer")
	}
	a = Answer{Token: in.Token, Receipt: in.Receipt, Keyset: in.Keyset}
	if in.Signed != "" {
		a.Signed = make([]byte, blindLen)
		if !hex32.Decode(a.Signed, in.Signed) {
			return Answer{}, message.NewError(message.RuleSize, "signed is not 256 bytes in hex")
		}
	}
	return a, nil
}

// aboutReceipts decodes the text of a message into v. Unknown fields and trailing text
// are errors.
func aboutReceipts(m message.Message, head string, v any) error {
	text, ok := m.Payload.(message.TextMessage)
	if m.Action != message.ActionSendDM || m.ID == nil || !ok || !strings.HasPrefix(string(text), head) {
		return ErrUnrelated
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return message.NewError(message.RuleJSON, "malformed receipt message")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return message.NewError(message.RuleJSON, "text after a receipt message")
	}
	return nil
}

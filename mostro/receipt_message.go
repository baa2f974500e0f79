package mostro

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// How a trader asks a node for receipts, and is answered: with the action
// send-dm, which the protocol has and which nodes that know nothing of
// receipts pass over in silence. A node answers so only who has asked so,
// so no other client ever sees it. docs/receipts.md has the conversation.

// ReceiptRequest asks for the receipts of a settled trade. The message's id
// names the order, its sender is the trade key that the receipts are for.
type ReceiptRequest struct {
	// Keyset and Blinded ask for a blind receipt as well: the id of the
	// node's keyset for the month of settlement, and BlindRequest.Blinded.
	Keyset  string
	Blinded []byte
	// Payment asks that the plain receipt names the hold's payment hash, so
	// that it can be opened. Who forwarded the payment knows the hash, so a
	// receipt names none that was not asked to.
	Payment bool
}

// ReceiptAnswer is what a node gives for it.
type ReceiptAnswer struct {
	Token   string   // RoboSats' token, for the sig tag
	Receipt []string // R1, for the receipt tag
	// Keyset and Signed answer Keyset and Blinded: for BlindRequest.Unblind.
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

// Message is the request, about one order.
func (q ReceiptRequest) Message(order UUID) Message {
	return Message{Wrapper: WrapperDM, ID: &order, Action: ActionSendDM, Payload: plainText(receiptRequestJSON{receiptVersion, q.Keyset, hex.EncodeToString(q.Blinded), q.Payment})}
}

// Message is the answer to a request.
func (a ReceiptAnswer) Message(request Message) Message {
	return Message{
		Wrapper: WrapperDM, RequestID: request.RequestID, ID: request.ID, Action: ActionSendDM,
		Payload: plainText(receiptAnswerJSON{receiptVersion, a.Token, a.Receipt, a.Keyset, hex.EncodeToString(a.Signed)}),
	}
}

func plainText(v any) TextMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return TextMessage(b)
}

// ErrNoReceiptMessage says that a message is about something else.
var ErrNoReceiptMessage = errors.New("not about receipts")

// ParseReceiptRequest reads a request: ErrNoReceiptMessage for what is none, a
// WireError for one that cannot be understood.
func ParseReceiptRequest(m Message) (q ReceiptRequest, err error) {
	var in receiptRequestJSON
	if err := aboutReceipts(m, receiptRequestHead, &in); err != nil {
		return q, err
	}
	if in.Version != receiptVersion {
		return q, broke(RuleValue, "unknown version of a receipt request")
	}
	if (in.Keyset == "") != (in.Blinded == "") || in.Keyset != "" && !isHex(in.Keyset, 32) {
		return q, broke(RuleStructure, "keyset and blinded come together")
	}
	q.Keyset, q.Payment = in.Keyset, in.Payment
	if in.Blinded != "" {
		q.Blinded = make([]byte, blindLen)
		if !decodeHex(q.Blinded, in.Blinded) {
			return ReceiptRequest{}, broke(RuleSize, "blinded is not 256 bytes in hex")
		}
	}
	return q, nil
}

// ParseReceiptAnswer reads an answer: ErrNoReceiptMessage for what is none, a
// WireError for one that cannot be understood. It proves nothing: CheckReceipt
// and BlindRequest.Unblind do.
func ParseReceiptAnswer(m Message) (a ReceiptAnswer, err error) {
	var in receiptAnswerJSON
	if err := aboutReceipts(m, receiptAnswerHead, &in); err != nil {
		return a, err
	}
	if in.Version != receiptVersion {
		return a, broke(RuleValue, "unknown version of a receipt answer")
	}
	a = ReceiptAnswer{Token: in.Token, Receipt: in.Receipt, Keyset: in.Keyset}
	if in.Signed != "" {
		a.Signed = make([]byte, blindLen)
		if !decodeHex(a.Signed, in.Signed) {
			return ReceiptAnswer{}, broke(RuleSize, "signed is not 256 bytes in hex")
		}
	}
	return a, nil
}

// aboutReceipts reads the text of a message strictly.
func aboutReceipts(m Message, head string, v any) error {
	text, ok := m.Payload.(TextMessage)
	if m.Action != ActionSendDM || m.ID == nil || !ok || !strings.HasPrefix(string(text), head) {
		return ErrNoReceiptMessage
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return broke(RuleJSON, "a receipt message that cannot be read")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return broke(RuleJSON, "text after a receipt message")
	}
	return nil
}

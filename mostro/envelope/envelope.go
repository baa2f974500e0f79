package envelope

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Transport is the protocol generation that carries a message. The kind of the event
// determines the transport; the version field inside the message does not.
type Transport uint8

// The three transports. The zero value is no transport.
const (
	TransportLegacy Transport = 1 // 2023: kind 4, NIP-04
	TransportV1     Transport = 2 // kind 1059: gift wrap, identity in the seal
	TransportV2     Transport = 3 // kind 14, signed: NIP-44, identity proof inside
)

// String returns "legacy", "v1" or "v2", and "none" for any other value.
func (t Transport) String() string {
	switch t {
	case TransportLegacy:
		return "legacy"
	case TransportV1:
		return "v1"
	case TransportV2:
		return "v2"
	}
	return "none"
}

// ParseTransport parses the text of String. It returns a WireError with RuleKind for
// any other text.
func ParseTransport(s string) (Transport, error) {
	for _, t := range []Transport{TransportLegacy, TransportV1, TransportV2} {
		if t.String() == s {
			return t, nil
		}
	}
	return 0, message.NewError(message.RuleKind, "unknown transport: want v2, v1 or legacy")
}

// TransportOf returns the transport of an event kind, or 0 if the kind carries no
// messages.
func TransportOf(kind int) Transport {
	switch kind {
	case mostro.KindLegacyDM:
		return TransportLegacy
	case mostro.KindGiftWrap:
		return TransportV1
	case mostro.KindMessage:
		return TransportV2
	}
	return 0
}

// Kind returns the event kind of the transport, or -1 for the zero value.
func (t Transport) Kind() int {
	switch t {
	case TransportLegacy:
		return mostro.KindLegacyDM
	case TransportV1:
		return mostro.KindGiftWrap
	case TransportV2:
		return mostro.KindMessage
	}
	return -1
}

// Version returns the protocol version that messages carry on this transport.
func (t Transport) Version() uint8 {
	if t == TransportV2 {
		return 2
	}
	return 1
}

// Envelope is a decrypted message together with the facts that its transport proves.
// Code that acts on Message may trust Sender and Identity. It must not trust a key
// inside the message.
type Envelope struct {
	Transport Transport
	// Sender is the trade key, hex, proven. Answers go to this key.
	Sender string
	// Identity is the key whose reputation the sender claims, hex, proven. Identity
	// equals Sender in full privacy, and if the sender is a node.
	Identity string
	// FullPrivacy is true if the sender claims no identity.
	FullPrivacy bool
	// Signed is true if the message itself carries a signature of the trade key. Open
	// has verified the signature.
	Signed bool
	// CreatedAt is the time that Freshness checks: the rumor's on v1, the event's on v2
	// and legacy.
	CreatedAt nostr.Timestamp
	// EventID is the outer event's id.
	EventID string
	// ReplayID identifies the message independently of the outer event: the seal's id
	// on v1, the event's id on v2 and legacy. Any key that can open a gift wrap can
	// wrap its seal again in a new event. A daemon must act only once on a ReplayID.
	ReplayID string
	// Message is in the current vocabulary on every transport.
	Message message.Message
	// RawMessage is the message as it was sent.
	RawMessage []byte
	// Contact is the pubkey field of a 2023 message. The field is a claim without
	// proof. Contact is "" on the other transports.
	Contact string
}

// Open checks an event's id and signature, decrypts the event with keys, parses the
// message strictly and checks every proof inside. Every error is a WireError, and its
// rule names the step that failed.
//
// Open does not check whether the message is fresh (Freshness), was seen before
// (ReplayID), or is a valid request (Message.Check). A daemon makes these three checks
// in this order before it acts on the message.
func Open(evt *nostr.Event, keys *Keys) (Envelope, error) {
	if TransportOf(evt.Kind) == 0 {
		return Envelope{}, message.NewError(message.RuleKind, "kind "+strconv.Itoa(evt.Kind)+" carries no messages")
	}
	if err := CheckEvent(evt); err != nil {
		return Envelope{}, err
	}
	return OpenVerified(evt, keys)
}

// OpenVerified is like Open, but does not check the event's id and signature. Use it
// only if the relay checked both before it stored the event.
func OpenVerified(evt *nostr.Event, keys *Keys) (Envelope, error) {
	switch TransportOf(evt.Kind) {
	case TransportV2:
		return openV2(evt, keys)
	case TransportV1:
		return openV1(evt, keys)
	case TransportLegacy:
		return openLegacy(evt, keys)
	}
	return Envelope{}, message.NewError(message.RuleKind, "kind "+strconv.Itoa(evt.Kind)+" carries no messages")
}

// SealOptions configures Seal: transport, keys, receiver and time of a message.
type SealOptions struct {
	Transport Transport
	To        string // receiver's public key, hex
	// Trade is the author of the message: a trade key, or the node's own key. Required.
	Trade *Keys
	// Identity is the key whose reputation the sender claims. nil means full privacy,
	// or a node. On the legacy transport Identity is only named as contact, without
	// proof.
	Identity *Keys
	// Unsigned omits the trade key's signature from the tuple, as nodes do. If Unsigned
	// is set, Identity must be nil or equal to Trade.
	Unsigned bool
	Now      time.Time
	// Expiration is the NIP-40 time of the outer event; 0 writes no expiration tag.
	Expiration nostr.Timestamp
	// Work is the number of leading zero bits to mine on the outer event. 0 mines
	// nothing.
	Work int
	// Rand is the source of nonces and of the ephemeral key. nil means crypto/rand. A
	// source that repeats its output reveals secret keys.
	Rand io.Reader

	contact string // legacy: the identity's key, "" if Identity was nil
}

// Seal sets the version of the message to the version of the transport, signs and
// encrypts the message, and returns the event to publish. If the receiver could not
// parse the message, Seal returns an error. Seal also returns an error if Trade is nil,
// if Unsigned is set for a separate identity, or if ctx ends before the proof of work
// is found.
func Seal(ctx context.Context, m message.Message, o SealOptions) (*nostr.Event, error) {
	if o.Trade == nil {
		return nil, errors.New("seal: no trade key")
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Identity == nil {
		o.Identity = o.Trade
	} else {
		o.contact = o.Identity.pubkey
	}
	if o.Unsigned && o.Identity.pubkey != o.Trade.pubkey {
		return nil, message.NewError(message.RuleUnsigned, "an identity other than the trade key needs the trade key's signature")
	}
	m.Version = o.Transport.Version()
	switch o.Transport {
	case TransportV2:
		return sealV2(ctx, m, o)
	case TransportV1:
		return sealV1(ctx, m, o)
	case TransportLegacy:
		return sealLegacy(ctx, m, o)
	}
	return nil, message.NewError(message.RuleKind, "no transport given")
}

// sendable returns the canonical bytes of a message, or an error if the receiver could
// not parse these bytes.
func sendable(m message.Message) ([]byte, error) {
	b := m.JSON()
	back, err := message.ParseMessage(b)
	if err != nil {
		return nil, fmt.Errorf("the receiver could not parse the message: %w", err)
	}
	if again := back.AppendJSON(make([]byte, 0, len(b))); !bytes.Equal(again, b) {
		return nil, message.NewError(message.RuleCanonical, "the message changes when it is encoded and parsed again")
	}
	return b, nil
}

// verified reports whether sig is a signature over prefix and the message of t. It tries three
// encodings of the message: the canonical bytes, which the reference implementation
// checks; the bytes as received; and the received bytes without white space. All three
// are sound, because the message was parsed from the received bytes by a parser that
// accepts only one meaning.
func verified(t *message.Tuple, pubkey *btcec.PublicKey, prefix []byte, sig string) bool {
	try := func(body []byte) bool {
		return verifyText(pubkey, append(prefix[:len(prefix):len(prefix)], body...), sig)
	}
	if try(t.Canonical) {
		return true
	}
	if bytes.Equal(t.Raw, t.Canonical) {
		return false
	}
	if try(t.Raw) {
		return true
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, t.Raw); err != nil || bytes.Equal(compact.Bytes(), t.Raw) || bytes.Equal(compact.Bytes(), t.Canonical) {
		return false
	}
	return try(compact.Bytes())
}

package mostro

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
	"github.com/nbd-wtf/go-nostr"
)

// Transport is the way in which a message travels. It is told from the kind
// of the event, never from the version inside.
type Transport uint8

// The three generations. The zero value is none.
const (
	TransportLegacy Transport = 1 // 2023: kind 4, NIP-04
	TransportV1     Transport = 2 // kind 1059: gift wrap, identity in the seal
	TransportV2     Transport = 3 // kind 14, signed: NIP-44, identity proof inside
)

// String gives "legacy", "v1" or "v2".
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

// ParseTransport reads what String writes.
func ParseTransport(s string) (Transport, error) {
	for _, t := range []Transport{TransportLegacy, TransportV1, TransportV2} {
		if t.String() == s {
			return t, nil
		}
	}
	return 0, broke(RuleKind, "transports are v2, v1 and legacy")
}

// TransportOf gives the transport of an event's kind, 0 for none.
func TransportOf(kind int) Transport {
	switch kind {
	case KindLegacyDM:
		return TransportLegacy
	case KindGiftWrap:
		return TransportV1
	case KindMessage:
		return TransportV2
	}
	return 0
}

// Kind is the kind of the transport's events.
func (t Transport) Kind() int {
	switch t {
	case TransportLegacy:
		return KindLegacyDM
	case TransportV1:
		return KindGiftWrap
	case TransportV2:
		return KindMessage
	}
	return -1
}

// Version is the protocol version that messages carry on this transport.
func (t Transport) Version() uint8 {
	if t == TransportV2 {
		return 2
	}
	return 1
}

// Envelope is a message and all that its transport proves of it. Whoever acts
// on Message may trust Sender and Identity, and no key inside the message.
type Envelope struct {
	Transport Transport
	// Sender is the trade key: hex, proven. Answers go to it.
	Sender string
	// Identity is whose reputation the sender claims: hex, proven. It equals
	// Sender in full privacy, and for a node.
	Identity string
	// FullPrivacy says that the sender claims no identity.
	FullPrivacy bool
	// Signed says that the trade key signed the message itself, which was
	// then checked.
	Signed bool
	// CreatedAt is the time that freshness counts: the rumor's on v1, the
	// event's on v2 and legacy.
	CreatedAt nostr.Timestamp
	// EventID is the outer event's id.
	EventID string
	// ReplayID names the sender's act, whatever event brings it: the seal's
	// id on v1 (anyone who can open a gift wrap can wrap its seal again), the
	// event's elsewhere. Who acted on it once must not do so again.
	ReplayID string
	// Message is in today's vocabulary on every transport.
	Message Message
	// RawMessage is the message as it was sent.
	RawMessage []byte
	// Contact is the pubkey field of a 2023 message: a claim, proven by
	// nothing. "" on the other transports.
	Contact string
}

// Open checks an event's id and signature, decrypts it with our keys, parses
// it strictly and checks every proof inside. Any failure is a WireError whose
// rule says at which step.
//
// It does not ask whether the message is fresh (Freshness), was seen before
// (ReplayID), or makes sense as a request (Message.Check): a daemon asks that
// next, in this order, before it acts.
func Open(evt *nostr.Event, keys *Keys) (Envelope, error) {
	if TransportOf(evt.Kind) == 0 {
		return Envelope{}, broke(RuleKind, "kind "+strconv.Itoa(evt.Kind)+" carries no messages")
	}
	if err := checkEvent(evt); err != nil {
		return Envelope{}, err
	}
	return OpenVerified(evt, keys)
}

// OpenVerified is Open for an event whose id and signature have been checked
// before, by the relay that stored it.
func OpenVerified(evt *nostr.Event, keys *Keys) (Envelope, error) {
	switch TransportOf(evt.Kind) {
	case TransportV2:
		return openV2(evt, keys)
	case TransportV1:
		return openV1(evt, keys)
	case TransportLegacy:
		return openLegacy(evt, keys)
	}
	return Envelope{}, broke(RuleKind, "kind "+strconv.Itoa(evt.Kind)+" carries no messages")
}

// SealOptions says how, from whom and to whom a message goes.
type SealOptions struct {
	Transport Transport
	To        string // receiver's public key, hex
	// Trade authors the message: a trade key, or the node's own key.
	Trade *Keys
	// Identity claims a reputation. nil: full privacy, or a node. On the
	// legacy transport it is named as contact, and nothing proves it.
	Identity *Keys
	// Unsigned leaves the trade key's signature out of the tuple, as nodes
	// do. It needs Identity to be nil or equal to Trade.
	Unsigned bool
	Now      time.Time
	// Expiration is the NIP-40 time of the outer event; 0 writes none.
	Expiration nostr.Timestamp
	// Work is the number of leading zero bits to mine on the outer event.
	Work int
	// Rand is the source of nonces and of the ephemeral key; nil is
	// crypto/rand. A source that repeats itself gives keys away.
	Rand io.Reader

	contact string // legacy: the identity's key, "" when none was given
}

// Seal stamps the message with its transport's version, signs what is to be
// signed, and gives the event to publish. It refuses a message that the
// receiver could not parse.
func Seal(ctx context.Context, m Message, o SealOptions) (*nostr.Event, error) {
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
		return nil, broke(RuleUnsigned, "an identity other than the trade key needs the trade key's signature")
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
	return nil, broke(RuleKind, "no transport given")
}

// sendable gives the canonical bytes of a message that its receiver will be
// able to read.
func sendable(m Message) ([]byte, error) {
	b := m.JSON()
	back, err := ParseMessage(b)
	if err != nil {
		return nil, fmt.Errorf("unreadable for its receiver: %w", err)
	}
	if again := back.AppendJSON(make([]byte, 0, len(b))); !bytes.Equal(again, b) {
		return nil, broke(RuleCanonical, "the message does not survive its own encoding")
	}
	return b, nil
}

// tuple is the array inside both current transports.
type tuple struct {
	message       Message
	raw           []byte // the message as sent
	sig           *string
	identity      *string // v2 only, with identitySig
	identitySig   string
	canonicalJSON []byte
}

// parseTuple reads the array: two elements on v1, three on v2.
func parseTuple(plain []byte, arity int) (*tuple, error) {
	r := jsonReader{b: plain}
	t := new(tuple)
	err := r.tuple(arity, func(i int) (err error) {
		switch i {
		case 0:
			r.space()
			start := r.pos
			t.message, err = r.message()
			t.raw = plain[start:r.pos]
		case 1:
			t.sig, err = r.stringOrNull()
		default:
			if null, err := r.null(); null || err != nil {
				return err
			}
			t.identity = new(string)
			err = r.tuple(2, func(i int) (err error) {
				if i == 0 {
					*t.identity, err = r.string()
				} else {
					t.identitySig, err = r.string()
				}
				return err
			})
		}
		return err
	})
	if err == nil {
		err = r.end()
	}
	if err != nil {
		return nil, err
	}
	t.canonicalJSON = t.message.AppendJSON(make([]byte, 0, len(t.raw)+64))
	return t, nil
}

// verified says whether sig signs prefix and message: the canonical bytes,
// which the reference implementation checks; else the bytes as they came;
// else those without white space. All three are sound: the message that is
// acted on was parsed from these very bytes, by a parser that gives them one
// meaning.
func (t *tuple) verified(pubkey *btcec.PublicKey, prefix []byte, sig string) bool {
	try := func(body []byte) bool {
		return verifyText(pubkey, append(prefix[:len(prefix):len(prefix)], body...), sig)
	}
	if try(t.canonicalJSON) {
		return true
	}
	if bytes.Equal(t.raw, t.canonicalJSON) {
		return false
	}
	if try(t.raw) {
		return true
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, t.raw); err != nil || bytes.Equal(compact.Bytes(), t.raw) || bytes.Equal(compact.Bytes(), t.canonicalJSON) {
		return false
	}
	return try(compact.Bytes())
}

package trade

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"regexp"

	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// NodeSecret is the key from which ids and preimages are derived. A store that was
// restored from a copy reads the same messages again. Derived values then return the same
// trades and the same hold invoices; random values would make new ones.
//
// If the hash of a hold invoice can be derived from the secret and the invoice's memo,
// this node made the invoice, and no other software did.
type NodeSecret [32]byte

// NodeSecretOf derives the secret from the node's Nostr key.
func NodeSecretOf(keys *envelope.Keys) NodeSecret {
	key := keys.Secret()
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte("mostrodex escrow secret 1"))
	return NodeSecret(mac.Sum(nil))
}

// Format prints a placeholder for every verb.
func (s NodeSecret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("node secret")) }

// derive returns the HMAC-SHA256 of a label and its parts. Each part is preceded by its
// length, so that two lists of parts never have the same input.
func (s NodeSecret) derive(label string, parts ...[]byte) [32]byte {
	mac := hmac.New(sha256.New, s[:])
	for _, p := range append([][]byte{[]byte(label)}, parts...) {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		mac.Write(p)
	}
	return [32]byte(mac.Sum(nil))
}

// ID derives a UUID of version 4 from a label and some bytes.
func (s NodeSecret) ID(label string, of []byte) (id OrderID) {
	sum := s.derive(label, of)
	copy(id[:], sum[:])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id
}

// HoldNonce distinguishes the hold invoices of one order. The invoice's memo contains the
// nonce.
type HoldNonce [8]byte

// Nonce derives the nonce of the hold invoice that a message may order.
func (s NodeSecret) Nonce(replayID string) (n HoldNonce) {
	sum := s.derive("hold nonce", []byte(replayID))
	copy(n[:], sum[:])
	return n
}

// Preimage derives the preimage of an order's hold invoice.
func (s NodeSecret) Preimage(id OrderID, n HoldNonce) Preimage {
	return Preimage(s.derive("hold preimage", id[:], n[:]))
}

// MemoOf returns memo with the nonce appended.
func MemoOf(memo string, n HoldNonce) string { return memo + " [" + hex.EncodeToString(n[:]) + "]" }

var memoPattern = regexp.MustCompile(`order ([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}).*\[([0-9a-f]{16})\]$`)

// Ours returns the order of a hold invoice that this node made, from the invoice's memo
// and hash. ok is false if other software made the invoice, or if the preimage was random,
// as before rules1.
func (s NodeSecret) Ours(memo string, hash Hash) (id OrderID, ok bool) {
	m := memoPattern.FindStringSubmatch(memo)
	if m == nil {
		return id, false
	}
	id, err := message.ParseUUID(m[1])
	if err != nil {
		return id, false
	}
	var n HoldNonce
	if _, err := hex.Decode(n[:], []byte(m[2])); err != nil {
		return id, false
	}
	if s.Preimage(id, n).Hash() != hash {
		return OrderID{}, false // of another Mostro that uses the same node
	}
	return id, true
}

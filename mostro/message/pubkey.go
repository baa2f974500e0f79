package message

import (
	"strings"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// ParsePubkey parses a public key as hex or npub and returns lower-case hex. It returns
// an error if the key is not a point of the curve.
func ParsePubkey(s string) (string, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(strings.ToLower(s), "npub1") {
		prefix, v, err := nip19.Decode(s)
		text, ok := v.(string)
		if err != nil || prefix != "npub" || !ok {
			return "", NewError(RuleKey, "broken npub")
		}
		s = text
	}
	s = strings.ToLower(s)
	if _, err := ParsePoint(s); err != nil {
		return "", err
	}
	return s, nil
}

// ParsePoint parses an x-only public key given as 64 lower-case hex digits. It returns a
// WireError with RuleKey if there is no such point.
func ParsePoint(pubkey string) (*btcec.PublicKey, error) {
	var x [32]byte
	if !hex32.Decode(x[:], pubkey) {
		return nil, NewError(RuleKey, "want 64 lower-case hex digits")
	}
	p, err := schnorr.ParsePubKey(x[:])
	if err != nil {
		return nil, NewError(RuleKey, "not a point of secp256k1")
	}
	return p, nil
}

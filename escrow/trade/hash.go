package trade

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
)

// Hash is the payment hash of an invoice. It is no secret, but it ties the
// two sides of a payment together: it is never used as a metrics label.
type Hash [32]byte

// Preimage is the secret that takes a held payment: its SHA-256 is the hash.
// It prints as "preimage" whatever the verb, and in slog; only Hex, MarshalText
// and the bytes themselves give it away.
type Preimage [32]byte

var errHex64 = errors.New("want 64 hexadecimal digits")

// ParseHash reads 64 hexadecimal digits of either case. The error does not
// repeat the input.
func ParseHash(s string) (Hash, error) {
	b, err := parseHex32(s)
	if err != nil {
		return Hash{}, fmt.Errorf("payment hash: %w", err)
	}
	return Hash(b), nil
}

// ParsePreimage reads 64 hexadecimal digits of either case. The error does
// not repeat the input.
func ParsePreimage(s string) (Preimage, error) {
	b, err := parseHex32(s)
	if err != nil {
		return Preimage{}, fmt.Errorf("preimage: %w", err)
	}
	return Preimage(b), nil
}

func parseHex32(s string) (out [32]byte, err error) {
	if len(s) != 64 {
		return out, errHex64
	}
	if _, err := hex.Decode(out[:], []byte(s)); err != nil {
		return [32]byte{}, errHex64 // hex's own error would quote the input
	}
	return out, nil
}

// String gives 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText gives 64 lower-case hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText reads what MarshalText writes.
func (h *Hash) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHash(string(text))
	return err
}

// Hash gives the payment hash that the preimage unlocks.
func (p Preimage) Hash() Hash { return sha256.Sum256(p[:]) }

// Hex gives 64 lower-case hexadecimal digits: the secret itself.
func (p Preimage) Hex() string { return hex.EncodeToString(p[:]) }

// Format prints "preimage" for every verb, so that no log and no error text
// can hold one by accident.
func (p Preimage) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("preimage")) }

// LogValue keeps the preimage out of structured logs.
func (p Preimage) LogValue() slog.Value { return slog.StringValue("preimage") }

// MarshalText gives the secret itself, for the escrow's own store.
func (p Preimage) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, p[:]), nil }

// UnmarshalText reads what MarshalText writes.
func (p *Preimage) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePreimage(string(text))
	return err
}

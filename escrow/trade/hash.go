package trade

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
)

// Hash is the payment hash of an invoice. A hash is not secret, but it links the two sides
// of a payment, so no metric has a hash as a label.
type Hash [32]byte

// Preimage is the secret that claims a held payment. The SHA-256 of a preimage is its
// payment hash. fmt prints "preimage" for every verb, and so does slog. Only Hex,
// MarshalText and the bytes themselves reveal the secret.
type Preimage [32]byte

var errHex64 = errors.New("want 64 hexadecimal digits")

// ParseHash parses 64 hexadecimal digits of either case. The error does not contain the
// input.
func ParseHash(s string) (Hash, error) {
	b, err := parseHex32(s)
	if err != nil {
		return Hash{}, fmt.Errorf("payment hash: %w", err)
	}
	return Hash(b), nil
}

// ParsePreimage parses 64 hexadecimal digits of either case. The error does not contain
// the input.
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
		return [32]byte{}, errHex64 // the error of package hex would quote the input
	}
	return out, nil
}

// String returns 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText returns 64 lower-case hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText parses the output of MarshalText.
func (h *Hash) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHash(string(text))
	return err
}

// Hash returns the payment hash of the preimage.
func (p Preimage) Hash() Hash { return sha256.Sum256(p[:]) }

// Hex returns the secret itself, as 64 lower-case hexadecimal digits.
func (p Preimage) Hex() string { return hex.EncodeToString(p[:]) }

// Format prints "preimage" for every verb, so that no log line and no error text contains
// a preimage by accident.
func (p Preimage) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("preimage")) }

// LogValue returns "preimage", which keeps the secret out of structured logs.
func (p Preimage) LogValue() slog.Value { return slog.StringValue("preimage") }

// MarshalText returns the secret itself, for the escrow's own store.
func (p Preimage) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, p[:]), nil }

// UnmarshalText parses the output of MarshalText.
func (p *Preimage) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePreimage(string(text))
	return err
}

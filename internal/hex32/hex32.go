// Package hex32 parses 32 bytes in the form of 64 hex digits: event ids, public keys
// and payment hashes.
package hex32

import (
	"encoding/hex"
	"fmt"
)

// OrZero parses 64 lower-case hex digits. If s has any other form, OrZero returns 32
// zero bytes, a value that no event has, because a public key of zeros is not on the
// curve.
func OrZero(s string) (out [32]byte) {
	if !Decode(out[:], s) {
		return [32]byte{}
	}
	return out
}

// hexDigits maps a lower-case hex digit to its value, and every other byte to notHex.
var hexDigits = func() (t [256]byte) {
	for i := range t {
		t[i] = notHex
	}
	for i, c := range []byte("0123456789abcdef") {
		t[c] = byte(i)
	}
	return t
}()

const notHex = 0xff

// Valid reports whether s is 64 lower-case hex digits.
func Valid(s string) bool { return len(s) == 64 && IsLower(s) }

// IsLower reports whether s has no bytes except lower-case hex digits.
func IsLower(s string) bool {
	var bad byte
	for i := range len(s) {
		bad |= hexDigits[s[i]]
	}
	return bad != notHex
}

// Parse parses 64 hex digits in either case. If s has any other form, Parse returns an error.
func Parse(s string) (out [32]byte, err error) {
	if len(s) != 64 {
		return out, fmt.Errorf("%d hex digits, want 64", len(s))
	}
	_, err = hex.Decode(out[:], []byte(s))
	return out, err
}

// Decode fills dst and returns true if s is exactly 2*len(dst) lower-case hex digits.
func Decode(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	var bad byte
	for i := range dst {
		hi, lo := hexDigits[s[2*i]], hexDigits[s[2*i+1]]
		bad |= hi | lo
		dst[i] = hi<<4 | lo
	}
	return bad != notHex
}

package message

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/mostrodex/mostrodex/internal/hex32"
)

// The domains of the two payer hashes, as the reference implementation fixes them. With
// another domain the same account has another hash, and its history would be split.
const (
	payerDomain      = "mostro-payer-v1|"
	orderPayerDomain = "mostro-payer-order-v1|"
)

// PayerHash returns the hash that a buyer with a reputation declares: the same hash for
// every order that the account pays. canonical is the account's canonical text. The
// clients agree on its form (https://mostro.network/protocol/payer_declaration.html);
// a node never sees the text.
func PayerHash(canonical string) string {
	sum := sha256.Sum256([]byte(payerDomain + canonical))
	return hex.EncodeToString(sum[:])
}

// OrderPayerHash returns the hash that a buyer in full privacy declares. It is bound to
// the order, so that a node cannot link the orders of the buyer.
func OrderPayerHash(order UUID, canonical string) string {
	sum := sha256.Sum256([]byte(orderPayerDomain + order.String() + "|" + canonical))
	return hex.EncodeToString(sum[:])
}

// ValidPayerHash reports whether a declared hash has 64 lower-case hex digits. Capitals
// are refused, because two spellings would be two histories of one account.
func ValidPayerHash(s string) bool { return hex32.Valid(s) }

package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
)

// NodeStatement is the text that a Lightning node signs to say that a Mostro is its own: the
// command is `lncli signmessage TEXT`, or `lightning-cli signmessage TEXT`.
func NodeStatement(mostro string) string { return "mostro-lightning-node/1 " + mostro }

// zbase32 is the alphabet of the signatures of Lightning nodes.
const zbase32 = "ybndrfg8ejkmcpqxot1uwisza345h769"

// compactLength is the length of a signature with its recovery byte, in characters of
// zbase32: 65 bytes are exactly 104 characters.
const compactLength = 104

// NodeSigned reports whether sig is the signature of a Lightning node over NodeStatement of a
// Mostro. node is the compressed public key of the node and mostro the key of the Mostro,
// both in hex. The form is that of signmessage of LND and Core Lightning.
func NodeSigned(node, mostro, sig string) bool {
	if len(sig) != compactLength || len(node) != 66 || len(mostro) != 64 {
		return false
	}
	raw, bits, n := make([]byte, 0, 65), uint32(0), 0
	for _, c := range []byte(sig) {
		v := strings.IndexByte(zbase32, c)
		if v < 0 {
			return false
		}
		bits, n = bits<<5|uint32(v), n+5
		if n >= 8 {
			n -= 8
			raw = append(raw, byte(bits>>n))
			bits &= 1<<n - 1
		}
	}
	var s btcec.ModNScalar
	if len(raw) != 65 || s.SetByteSlice(raw[33:]) || s.IsOverHalfOrder() { // the second form of a signature is not accepted
		return false
	}
	first := sha256.Sum256([]byte("Lightning Signed Message:" + NodeStatement(mostro)))
	digest := sha256.Sum256(first[:])
	key, _, err := ecdsa.RecoverCompact(raw, digest[:])
	return err == nil && hex.EncodeToString(key.SerializeCompressed()) == node
}

package receipt

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/ecdsa"
)

// nodeSignature signs as signmessage of LND does.
func nodeSignature(key *btcec.PrivateKey, text string) string {
	first := sha256.Sum256([]byte("Lightning Signed Message:" + text))
	digest := sha256.Sum256(first[:])
	raw := ecdsa.SignCompact(key, digest[:], true)
	var out strings.Builder
	bits, n := uint32(0), 0
	for _, b := range raw {
		for bits, n = bits<<8|uint32(b), n+8; n >= 5; {
			n -= 5
			out.WriteByte(zbase32[bits>>n&31])
		}
	}
	return out.String()
}

// TestNodeSigned: a signature holds for its Lightning node and its Mostro alone.
func TestNodeSigned(t *testing.T) {
	key, _ := btcec.PrivKeyFromBytes([]byte(strings.Repeat("k", 32)))
	other, _ := btcec.PrivKeyFromBytes([]byte(strings.Repeat("o", 32)))
	node, stranger := hex.EncodeToString(key.PubKey().SerializeCompressed()), hex.EncodeToString(other.PubKey().SerializeCompressed())
	mostro, thief := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	sig := nodeSignature(key, NodeStatement(mostro))
	if len(sig) != compactLength || !NodeSigned(node, mostro, sig) {
		t.Fatalf("the signature of the node does not hold: %s", sig)
	}
	for name, c := range map[string][3]string{
		"another Mostro": {node, thief, sig}, "another node": {stranger, mostro, sig}, "signed by another": {node, mostro, nodeSignature(other, NodeStatement(mostro))},
		"another text": {node, mostro, nodeSignature(key, mostro)}, "empty": {node, mostro, ""}, "long": {node, mostro, sig + "y"}, "upper case": {node, mostro, strings.ToUpper(sig)},
		"a changed letter": {node, mostro, sig[:50] + string(zbase32[(strings.IndexByte(zbase32, sig[50])+1)%32]) + sig[51:]}, "no key": {"", "", sig},
	} {
		if NodeSigned(c[0], c[1], c[2]) {
			t.Errorf("%s: the signature holds", name)
		}
	}
}

func FuzzNodeSigned(f *testing.F) {
	key, _ := btcec.PrivKeyFromBytes([]byte(strings.Repeat("k", 32)))
	mostro := strings.Repeat("ab", 32)
	sig := nodeSignature(key, NodeStatement(mostro))
	node := hex.EncodeToString(key.PubKey().SerializeCompressed())
	f.Add(node, mostro, sig)
	f.Fuzz(func(t *testing.T, n, m, s string) {
		if NodeSigned(n, m, s) && n == node && m == mostro && s != sig {
			t.Fatalf("a second signature holds: %q", s)
		}
	})
}

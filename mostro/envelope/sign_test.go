package envelope

import (
	"crypto/rand"
	"encoding/hex"
	"testing"

	"github.com/btcsuite/btcd/btcec/v2/schnorr"
)

// TestSignIsBIP340 compares our signatures byte for byte with btcec's. btcec's test
// vectors are BIP-340's own, and btcec verifies our signatures.
func TestSignIsBIP340(t *testing.T) {
	rounds, odd := 2000, 0
	if testing.Short() {
		rounds = 200
	}
	for range rounds {
		k, err := NewKeys(nil)
		if err != nil {
			t.Fatal(err)
		}
		var digest, aux [32]byte
		_, _ = rand.Read(digest[:])
		_, _ = rand.Read(aux[:])
		if k.signer.d != k.secret.Key {
			odd++
		}
		got, err := k.signer.sign(digest, aux)
		if err != nil {
			t.Fatal(err)
		}
		want, err := schnorr.Sign(k.secret, digest[:], schnorr.CustomNonce(aux))
		if err != nil {
			t.Fatal(err)
		}
		if got != [64]byte(want.Serialize()) {
			t.Fatalf("%x, want %x", got, want.Serialize())
		}
	}
	if odd < rounds/4 || odd > rounds*3/4 {
		t.Errorf("%d of %d keys have an odd y", odd, rounds)
	}
	// Vectors 0 to 2 of BIP-340.
	for _, v := range []struct{ secret, pubkey, aux, digest, sig string }{
		{"0000000000000000000000000000000000000000000000000000000000000003", "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9",
			"0000000000000000000000000000000000000000000000000000000000000000", "0000000000000000000000000000000000000000000000000000000000000000",
			"e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca821525f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0"},
		{"b7e151628aed2a6abf7158809cf4f3c762e7160f38b4da56a784d9045190cfef", "dff1d77f2a671c5f36183726db2341be58feae1da2deced843240f7b502ba659",
			"0000000000000000000000000000000000000000000000000000000000000001", "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
			"6896bd60eeae296db48a229ff71dfe071bde413e6d43f917dc8dcf8c78de33418906d11ac976abccb20b091292bff4ea897efcb639ea871cfa95f6de339e4b0a"},
		{"c90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b14e5c9", "dd308afec5777e13121fa72b9cc1b7cc0139715309b086c960e18fd969774eb8",
			"c87aa53824b4d7ae2eb035a2b5bbbccc080e76cdc6d1692c4b0b62d798e6d906", "7e2d58d8b3bcdf1abadec7829054f90dda9805aab56c77333024b9d0a508b75c",
			"5831aaeed7b44bb74e5eab94ba9d4294c49bcf2a60728d8b4c200f50dd313c1bab745879a5ad954a72c45a91c3a51d3c7adea98d82f8481e0e1e03674a6f3fb7"},
	} {
		k, err := ParseSecret(v.secret)
		if err != nil || k.Pubkey() != v.pubkey {
			t.Fatalf("%s: %v", v.pubkey, err)
		}
		sig, err := k.signer.sign(unhex32(t, v.digest), unhex32(t, v.aux))
		if err != nil || hex.EncodeToString(sig[:]) != v.sig {
			t.Errorf("%s: %x %v, want %s", v.pubkey, sig, err, v.sig)
		}
	}
}

func unhex32(t *testing.T, s string) (out [32]byte) {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || copy(out[:], b) != len(out) {
		t.Fatalf("%q is not 32 bytes in hex", s)
	}
	return out
}

package envelope

import (
	"encoding/hex"
	"errors"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// signer holds the precomputed parts of BIP-340 signing for one secret key. A library
// that receives only the secret multiplies a second time for each signature to compute
// the public key again.
type signer struct {
	d btcec.ModNScalar // the secret, negated if its public key has an odd y
	p [32]byte         // x of the public key
}

func newSigner(sk *btcec.PrivateKey) (signer, string) {
	s := signer{d: sk.Key}
	pub := sk.PubKey()
	if compressed := pub.SerializeCompressed(); compressed[0] == 3 {
		s.d.Negate()
	}
	copy(s.p[:], schnorr.SerializePubKey(pub))
	return s, hex.EncodeToString(s.p[:])
}

// errNonce is returned if the nonce is zero, which happens for one in 2^128 digests.
var errNonce = errors.New("the nonce is zero")

// sign follows BIP-340's default signing, without verifying the result:
// https://github.com/bitcoin/bips/blob/master/bip-0340.mediawiki
func (s *signer) sign(digest, aux [32]byte) (sig [64]byte, err error) {
	t := s.d.Bytes()
	for i, b := range chainhash.TaggedHash(chainhash.TagBIP0340Aux, aux[:]) {
		t[i] ^= b
	}
	var k, e btcec.ModNScalar
	k.SetByteSlice(chainhash.TaggedHash(chainhash.TagBIP0340Nonce, t[:], s.p[:], digest[:])[:])
	if k.IsZero() {
		return sig, errNonce
	}
	var r btcec.JacobianPoint
	btcec.ScalarBaseMultNonConst(&k, &r)
	r.ToAffine()
	if r.Y.IsOdd() {
		k.Negate()
	}
	r.X.PutBytesUnchecked(sig[:32])
	e.SetByteSlice(chainhash.TaggedHash(chainhash.TagBIP0340Challenge, sig[:32], s.p[:], digest[:])[:])
	e.Mul(&s.d).Add(&k)
	e.PutBytesUnchecked(sig[32:])
	k.Zero()
	clear(t[:])
	return sig, nil
}

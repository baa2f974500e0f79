package receipt

import (
	"encoding/hex"
	"fmt"
	"io"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// BIP-340 over messages of any length. The library signs and verifies only messages of
// 32 bytes, but RoboSats' token is a signature over raw text.

// rawChallenge returns the scalar e of BIP-340.
func rawChallenge(r, pubkey, msg []byte) *btcec.ModNScalar {
	e := new(btcec.ModNScalar)
	h := chainhash.TaggedHash(chainhash.TagBIP0340Challenge, r, pubkey, msg)
	e.SetByteSlice(h[:])
	return e
}

// signRaw signs a message without hashing it first.
func signRaw(k *envelope.Keys, msg []byte, random io.Reader) (sig [64]byte, err error) {
	var aux [32]byte
	if _, err := io.ReadFull(random, aux[:]); err != nil {
		return sig, fmt.Errorf("sign: %w", err)
	}
	d, own := evenSecret(k)
	pubkey := schnorr.SerializePubKey(own)
	t := d.Bytes()
	for i, b := range chainhash.TaggedHash(chainhash.TagBIP0340Aux, aux[:]) {
		t[i] ^= b
	}
	var nonce btcec.ModNScalar
	h := chainhash.TaggedHash(chainhash.TagBIP0340Nonce, t[:], pubkey, msg)
	nonce.SetByteSlice(h[:])
	if nonce.IsZero() {
		return sig, fmt.Errorf("sign: no nonce") // one in 2^256
	}
	var r btcec.JacobianPoint
	btcec.ScalarBaseMultNonConst(&nonce, &r)
	r.ToAffine()
	if r.Y.IsOdd() {
		nonce.Negate()
	}
	copy(sig[:32], r.X.Bytes()[:])
	s := rawChallenge(sig[:32], pubkey, msg)
	s.Mul(&d).Add(&nonce)
	s.PutBytesUnchecked(sig[32:])
	nonce.Zero()
	d.Zero()
	if !verifyRaw(own, msg, sig[:]) {
		return sig, fmt.Errorf("sign: the signature does not verify") // a fault of the machine
	}
	return sig, nil
}

// verifyRaw reports whether sig is a signature of signRaw.
func verifyRaw(pubkey *btcec.PublicKey, msg, sig []byte) bool {
	if len(sig) != 64 {
		return false
	}
	var s btcec.ModNScalar
	var rx btcec.FieldVal
	if rx.SetByteSlice(sig[:32]) || s.SetByteSlice(sig[32:]) {
		return false
	}
	x := schnorr.SerializePubKey(pubkey)
	e := rawChallenge(sig[:32], x, msg)
	even, err := schnorr.ParsePubKey(x)
	if err != nil {
		return false
	}
	var p, sg, ep, r btcec.JacobianPoint
	even.AsJacobian(&p)
	btcec.ScalarBaseMultNonConst(&s, &sg)
	btcec.ScalarMultNonConst(e.Negate(), &p, &ep)
	btcec.AddNonConst(&sg, &ep, &r)
	if r.X.IsZero() && r.Y.IsZero() || r.Z.IsZero() {
		return false
	}
	r.ToAffine()
	return !r.Y.IsOdd() && r.X.Equals(&rx)
}

// evenSecret returns the secret whose public key has an even y, and the public key of k
// as it is. An x-only public key stands for the key with an even y.
func evenSecret(k *envelope.Keys) (d btcec.ModNScalar, pubkey *btcec.PublicKey) {
	b := k.Secret()
	secret, pubkey := btcec.PrivKeyFromBytes(b[:])
	d = secret.Key
	if pubkey.SerializeCompressed()[0] == 3 {
		d.Negate()
	}
	secret.Zero()
	clear(b[:])
	return d, pubkey
}

// signature is a signature that has not been verified yet. It signs msg without
// hashing.
type signature struct {
	pubkey string // 64 lower-case hex digits, otherwise holds returns false
	msg    []byte
	sig    [64]byte
}

// holds verifies one signature alone.
func (s signature) holds() bool {
	p, err := message.ParsePoint(s.pubkey)
	return err == nil && verifyRaw(p, s.msg, s.sig[:])
}

func signRawHex(k *envelope.Keys, msg []byte, random io.Reader) (string, error) {
	sig, err := signRaw(k, msg, random)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(sig[:]), nil
}

package receipt

import (
	"crypto/sha256"
	"io"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/mostrodex/mostrodex/mostro/envelope"
)

// A Chaum-Pedersen proof shows that the same secret x belongs to two points: x·G = P
// and x·N = S. It proves a Diffie-Hellman point without revealing the secret.

// dleqContext binds a proof to R0 receipts of v1.
const dleqContext = "mostro-receipt/r0-v1"

// sharedPoint returns the Diffie-Hellman point of the key k and a peer's key, both
// with even y, and a proof for this point. The proof is bound to context.
func sharedPoint(k *envelope.Keys, peer *btcec.PublicKey, context []byte, random io.Reader) (point *btcec.PublicKey, proof [64]byte, err error) {
	var b [32]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, proof, err
	}
	x, own := evenSecret(k)
	own, err = schnorr.ParsePubKey(schnorr.SerializePubKey(own))
	if err != nil {
		return nil, proof, err
	}
	point = times(&x, peer)
	// The nonce also depends on the secret and on the proven values, so a random source
	// that repeats its output does not reveal the secret.
	h := sha256.New()
	h.Write([]byte(dleqContext + "/nonce"))
	xb := x.Bytes()
	h.Write(xb[:])
	h.Write(b[:])
	h.Write(peer.SerializeCompressed())
	h.Write(context)
	var nonce btcec.ModNScalar
	nonce.SetByteSlice(h.Sum(nil))
	var rg btcec.JacobianPoint
	btcec.ScalarBaseMultNonConst(&nonce, &rg)
	e := dleqChallenge(own, peer, point, affine(&rg), times(&nonce, peer), context)
	s := new(btcec.ModNScalar).Mul2(e, &x).Add(&nonce)
	e.PutBytesUnchecked(proof[:32])
	s.PutBytesUnchecked(proof[32:])
	nonce.Zero()
	x.Zero()
	return point, proof, nil
}

// provenShared reports whether proof is a proof of sharedPoint: point is the shared
// point of two keys with even y.
func provenShared(own, peer, point *btcec.PublicKey, proof [64]byte, context []byte) bool {
	var e, s btcec.ModNScalar
	if e.SetByteSlice(proof[:32]) || s.SetByteSlice(proof[32:]) {
		return false
	}
	minus := new(btcec.ModNScalar).NegateVal(&e)
	var sg btcec.JacobianPoint
	btcec.ScalarBaseMultNonConst(&s, &sg)
	a, ok := sum(affine(&sg), times(minus, own))
	if !ok {
		return false
	}
	b, ok := sum(times(&s, peer), times(minus, point))
	return ok && dleqChallenge(own, peer, point, a, b, context).Equals(&e)
}

// dleqChallenge hashes all values that the proof covers. A digest above the order of
// the curve practically never occurs.
func dleqChallenge(own, peer, point, a, b *btcec.PublicKey, context []byte) *btcec.ModNScalar {
	h := sha256.New()
	h.Write([]byte(dleqContext))
	for _, p := range []*btcec.PublicKey{own, peer, point, a, b} {
		h.Write(p.SerializeCompressed())
	}
	h.Write(context)
	e := new(btcec.ModNScalar)
	e.SetByteSlice(h.Sum(nil))
	return e
}

func affine(p *btcec.JacobianPoint) *btcec.PublicKey {
	p.ToAffine()
	return btcec.NewPublicKey(&p.X, &p.Y)
}

func times(k *btcec.ModNScalar, p *btcec.PublicKey) *btcec.PublicKey {
	var in, out btcec.JacobianPoint
	p.AsJacobian(&in)
	btcec.ScalarMultNonConst(k, &in, &out)
	return affine(&out)
}

// sum adds two points. ok is false if the sum is the point at infinity.
func sum(p, q *btcec.PublicKey) (r *btcec.PublicKey, ok bool) {
	var a, b, out btcec.JacobianPoint
	p.AsJacobian(&a)
	q.AsJacobian(&b)
	btcec.AddNonConst(&a, &b, &out)
	if out.X.IsZero() && out.Y.IsZero() || out.Z.IsZero() {
		return nil, false
	}
	return affine(&out), true
}

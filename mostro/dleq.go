package mostro

import (
	"crypto/sha256"
	"io"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
)

// A proof of Chaum and Pedersen that one secret stands behind two points:
// x·G = P and x·N = S. It shows a Diffie-Hellman point without the secret.

// dleqContext binds a proof to its one use.
const dleqContext = "mostro-receipt/r0-v1"

// sharedPoint gives the Diffie-Hellman point of our key and a peer's, both
// with even y, and the proof that it is that point. context is proven with it.
func (k *Keys) sharedPoint(peer *btcec.PublicKey, context []byte, random io.Reader) (point *btcec.PublicKey, proof [64]byte, err error) {
	var b [32]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, proof, err
	}
	x := k.evenSecret()
	own, err := schnorr.ParsePubKey(schnorr.SerializePubKey(k.secret.PubKey()))
	if err != nil {
		return nil, proof, err
	}
	point = times(&x, peer)
	// The nonce is of the secret and what is proven as well, so that a source
	// of randomness that repeats itself does not give the secret away.
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

// provenShared checks what sharedPoint made: that point is the shared one of
// two keys with even y.
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

// dleqChallenge hashes everything that the proof is about. A digest that is
// no scalar cannot be met with.
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

// sum adds two points; ok is false when they cancel each other out.
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

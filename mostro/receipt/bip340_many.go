package receipt

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/mostrodex/mostrodex/internal/hex32"
)

// Batch verification of BIP-340. Each signature gets a factor a that an attacker cannot
// predict before all signatures are fixed. The sum
//
//	(Σ a·s)·G - Σ a·R - Σ (a·e)·P
//
// is the point at infinity if every signature is valid. If one signature is invalid,
// the sum is the point at infinity with a probability of only 2^-128. A sum of many
// points costs a fraction of separate multiplications, and all signatures of one key
// share one term. The cost is about 40 microseconds for a signature, against 150 for a
// single verification.
// https://github.com/bitcoin/bips/blob/master/bip-0340.mediawiki#batch-verification

const (
	// manySignatures is the smallest batch for which the sum is faster.
	manySignatures = 64
	// looksForWrong bounds the search for invalid signatures in a batch. Each step of
	// the search splits a nonzero sum in two halves. The bound keeps the cost near that
	// of single verifications if an attacker sends invalid signatures.
	looksForWrong = 6
)

// proveMany reports for each signature whether it is proven valid. A signature that is
// not proven has to be verified alone: it is invalid, or it shared a part of the batch
// with an invalid one, or the list has fewer than manySignatures.
func proveMany(list []signature) []bool {
	proven := make([]bool, len(list))
	if len(list) < manySignatures {
		return proven
	}
	s := newSums(list)
	looked := 0
	var search func(parts []part, sum btcec.JacobianPoint)
	search = func(parts []part, sum btcec.JacobianPoint) {
		if isNothing(&sum) {
			for i := range parts {
				proven[parts[i].at] = true
			}
			return
		}
		if len(parts) < manySignatures || looked >= looksForWrong {
			return
		}
		looked++
		half := len(parts) / 2
		left := s.of(parts[:half])
		right := left // sum - left
		right.Y.Negate(1).Normalize()
		btcec.AddNonConst(&sum, &right, &right)
		search(parts[:half], left)
		search(parts[half:], right)
	}
	search(s.parts, s.of(s.parts))
	return proven
}

// sums holds the decomposed signatures of a batch.
type sums struct {
	parts []part
	keys  []btcec.JacobianPoint // -P of each key, affine
}

// part is the decomposition of one signature.
type part struct {
	at      int // in the list
	key     int
	a       [16]byte // little-endian
	as, ae  btcec.ModNScalar
	minusRX btcec.FieldVal
	minusRY btcec.FieldVal
}

// newSums omits signatures that cannot be valid: a scalar out of range, or an x
// coordinate that is not on the curve.
func newSums(list []signature) *sums {
	h := sha256.New()
	for i := range list {
		msg := sha256.Sum256(list[i].msg)
		h.Write(list[i].sig[:])
		h.Write(msg[:])
		h.Write([]byte(list[i].pubkey))
		h.Write([]byte{0})
	}
	seed := h.Sum(nil)
	s := &sums{parts: make([]part, 0, len(list))}
	known := map[string]int{}
	for i := range list {
		var x [32]byte
		if !hex32.Decode(x[:], list[i].pubkey) {
			continue
		}
		key, ok := known[list[i].pubkey]
		if !ok {
			key = -1
			if p, ok := oddPoint(x[:]); ok {
				key = len(s.keys)
				s.keys = append(s.keys, p)
			}
			known[list[i].pubkey] = key
		}
		p := part{at: i, key: key}
		r, ok := oddPoint(list[i].sig[:32])
		if key < 0 || !ok || p.as.SetByteSlice(list[i].sig[32:]) {
			continue
		}
		p.minusRX, p.minusRY = r.X, r.Y
		factor := sha256.Sum256(binary.BigEndian.AppendUint64(seed[:len(seed):len(seed)], uint64(i)))
		var a btcec.ModNScalar
		var wide [32]byte
		for k := range p.a {
			p.a[k] = factor[k]
			wide[31-k] = factor[k]
		}
		a.SetBytes(&wide)
		p.as.Mul(&a)
		p.ae = *rawChallenge(list[i].sig[:32], x[:], list[i].msg)
		p.ae.Mul(&a)
		s.parts = append(s.parts, p)
	}
	return s
}

// oddPoint returns the negative of the point that an x-only key or the first half of a
// signature encodes. Of the two points with this x, the negative is the one with the
// odd y.
func oddPoint(x []byte) (p btcec.JacobianPoint, ok bool) {
	if p.X.SetByteSlice(x) || !btcec.DecompressY(&p.X, true, &p.Y) {
		return p, false
	}
	p.Z.SetInt(1)
	p.X.Normalize()
	p.Y.Normalize()
	return p, true
}

// term is a point multiplied by a scalar. The scalar is written in signed bytes from
// -128 to 127, little-endian.
type term struct {
	point  btcec.JacobianPoint // affine
	digits [33]int8
}

// write sets the digits from little-endian bytes.
func (t *term) write(bytes []byte) {
	carry := 0
	for i := range t.digits {
		d := carry
		if i < len(bytes) {
			d += int(bytes[i])
		}
		carry = 0
		if d > 127 {
			d -= 256
			carry = 1
		}
		t.digits[i] = int8(d)
	}
}

func isNothing(p *btcec.JacobianPoint) bool { return p.X.IsZero() && p.Y.IsZero() || p.Z.IsZero() }

// of returns the sum over some parts.
func (s *sums) of(parts []part) btcec.JacobianPoint {
	var total btcec.ModNScalar
	of := make([]btcec.ModNScalar, len(s.keys)) // by key
	for i := range parts {
		total.Add(&parts[i].as)
		of[parts[i].key].Add(&parts[i].ae)
	}
	terms := make([]term, 0, len(s.keys)+len(parts)) // the terms of the keys come first
	for k := range s.keys {
		if of[k].IsZero() {
			continue
		}
		b := of[k].Bytes()
		for i := range 16 {
			b[i], b[31-i] = b[31-i], b[i]
		}
		t := term{point: s.keys[k]}
		t.write(b[:])
		terms = append(terms, t)
	}
	long := len(terms)
	for i := range parts {
		t := term{point: btcec.JacobianPoint{X: parts[i].minusRX, Y: parts[i].minusRY}}
		t.point.Z.SetInt(1)
		t.write(parts[i].a[:])
		terms = append(terms, t)
	}
	sum := sumOf(terms, long)
	var base btcec.JacobianPoint
	btcec.ScalarBaseMultNonConst(&total, &base)
	btcec.AddNonConst(&sum, &base, &sum)
	return sum
}

// sumOf adds the terms digit by digit. Within one digit it first adds all points with
// the same digit value. Only terms[:long] have digits beyond the 17th.
func sumOf(terms []term, long int) (sum btcec.JacobianPoint) {
	var buckets [128]btcec.JacobianPoint // points to be taken once, twice and so on
	for w := len(term{}.digits) - 1; w >= 0; w-- {
		for range 8 {
			btcec.DoubleNonConst(&sum, &sum)
		}
		clear(buckets[:])
		at := terms
		if w > 16 {
			at = terms[:long]
		}
		for i := range at {
			d := int(at[i].digits[w])
			switch {
			case d > 0:
				btcec.AddNonConst(&buckets[d-1], &at[i].point, &buckets[d-1])
			case d < 0:
				minus := at[i].point
				minus.Y.Negate(1).Normalize()
				btcec.AddNonConst(&buckets[-d-1], &minus, &buckets[-d-1])
			}
		}
		var run btcec.JacobianPoint
		for d := len(buckets) - 1; d >= 0; d-- {
			btcec.AddNonConst(&run, &buckets[d], &run)
			btcec.AddNonConst(&sum, &run, &sum)
		}
	}
	return sum
}

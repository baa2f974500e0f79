package mostro

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/btcsuite/btcd/btcec/v2"
)

// Many signatures of BIP-340 at once: with a factor a for each, drawn so that
// nobody can know it before all signatures stand,
//
//	(Σ a·s)·G - Σ a·R - Σ (a·e)·P
//
// is nothing when each holds, and something (but for one chance in 2^128) when
// one does not. A sum of many points costs a fraction of its parts, and all
// that one key signed is one part: some 40 microseconds for a signature where
// checking it alone takes 150.
// https://github.com/bitcoin/bips/blob/master/bip-0340.mediawiki#batch-verification

const (
	// manySignatures is how many are worth the sum.
	manySignatures = 64
	// looksForWrong bounds the search for the wrong ones among many: each halves
	// a sum that is not nothing. Who sends wrong signatures must not make it
	// much dearer than checking each alone.
	looksForWrong = 6
)

// proveMany says of which signatures it is proven that they hold. The others
// are to be checked alone: they are wrong, or had the bad luck to be among
// wrong ones.
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

// sums are signatures taken apart.
type sums struct {
	parts []part
	keys  []btcec.JacobianPoint // -P of each key, affine
}

// part is one signature's.
type part struct {
	at      int // in the list
	key     int
	a       [16]byte // little-endian
	as, ae  btcec.ModNScalar
	minusRX btcec.FieldVal
	minusRY btcec.FieldVal
}

// newSums leaves out what cannot hold: numbers out of range, and what is no
// point of the curve.
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
		if !decodeHex(x[:], list[i].pubkey) {
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

// oddPoint gives the negative of the point that an x-only key or half of a
// signature stands for: of the two with this x the one whose y is odd.
func oddPoint(x []byte) (p btcec.JacobianPoint, ok bool) {
	if p.X.SetByteSlice(x) || !btcec.DecompressY(&p.X, true, &p.Y) {
		return p, false
	}
	p.Z.SetInt(1)
	p.X.Normalize()
	p.Y.Normalize()
	return p, true
}

// term is a point times a number that is written in bytes from -128 to 127,
// little-endian.
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

// of gives the sum over some parts.
func (s *sums) of(parts []part) btcec.JacobianPoint {
	var total btcec.ModNScalar
	of := make([]btcec.ModNScalar, len(s.keys)) // by key
	for i := range parts {
		total.Add(&parts[i].as)
		of[parts[i].key].Add(&parts[i].ae)
	}
	terms := make([]term, 0, len(s.keys)+len(parts)) // those of the keys first
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

// sumOf adds terms up, digit by digit: within one digit all points that are
// taken equally often are added first. Only the first, long terms have digits
// behind the 17th.
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

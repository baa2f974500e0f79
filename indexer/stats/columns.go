package stats

import (
	"math"
	"math/bits"
	"slices"
)

// columns holds facts of the orders of one chunk. All times are unix seconds, 0 for none.
type columns struct {
	cohort [rows]uint32
	at     [2][moments][rows]uint32
	newest [rows]uint32 // created_at of the newest version
	ends   [rows]uint32 // end of the take window of the newest version
	fee    [rows]uint32 // index of the canonical fee + 1, 0 if no fee names the order

	sats    [rows]int64   // of the newest version; -1 unknown
	premium [rows]float64 // of the newest version, percent; NaN unknown
	// amount is the fiat amount of the newest version if flagFixed is set, or the width of
	// the first version's range, (max-min)/max, if flagRange is set.
	amount [rows]float64
	status [rows]status // of the newest version
	flags  [rows]uint16
}

// part names some of the columns. The columns of at depend on each other, so that a part with
// a time includes the times before it.
type part uint16

const (
	partSigned    part = 1 << iota // at[Signed]
	partWitnessed                  // at[Witnessed]; needs partSigned
	partNewest                     // needs partSigned
	partEnds                       // needs partSigned
	partSats
	partPremium
	partAmount
	partAll = 1<<iota - 1
	// cohort, status and flags are always included, and fee never.
)

// numbers is a column of whole numbers in as few bits as the greatest of them needs. The number
// 0 has the code 0, and another number n has the code n - base.
type numbers struct {
	base  uint64
	width uint8    // bits of a code
	words []uint64 // one more than the codes need, so that a read needs no branch
}

func packNumbers(all []uint64) numbers {
	low, high := uint64(math.MaxUint64), uint64(0)
	for _, n := range all {
		if n != 0 {
			low, high = min(low, n), max(high, n)
		}
	}
	if high == 0 {
		return numbers{}
	}
	p := numbers{base: low - 1, width: uint8(bits.Len64(high - low + 1))}
	p.words = make([]uint64, (len(all)*int(p.width)+63)/64+1)
	for i, n := range all {
		if n == 0 {
			continue
		}
		code, bit := n-p.base, i*int(p.width)
		p.words[bit>>6] |= code << (bit & 63)
		p.words[bit>>6+1] |= code >> 1 >> (63 - bit&63)
	}
	return p
}

func (p *numbers) get(i int) uint64 {
	if p.width == 0 {
		return 0
	}
	bit := i * int(p.width)
	code := (p.words[bit>>6]>>(bit&63) | p.words[bit>>6+1]<<1<<(63-bit&63)) & (1<<p.width - 1)
	if code == 0 {
		return 0
	}
	return code + p.base
}

// unpack reads the first numbers of a column into dst.
func unpack[T ~uint8 | ~uint16 | ~uint32 | ~uint64](p *numbers, dst []T) {
	if p.width == 0 {
		clear(dst)
		return
	}
	words, width, mask, base := p.words, uint(p.width), uint64(1)<<p.width-1, p.base
	bit := uint(0)
	for i := range dst {
		w := words[bit>>6:]
		code := (w[0]>>(bit&63) | w[1]<<1<<(63-bit&63)) & mask
		if code != 0 {
			code += base
		}
		dst[i] = T(code)
		bit += width
	}
}

// decimals is a column of floats: a decimal with at most six places is a whole number and the
// scale of the column, and any other float is kept as it is.
type decimals struct {
	codes  numbers   // 1 + index in others, or 1 + len(others) + the distance to least
	scale  float64   // a power of ten
	least  int64     // least whole number
	others []float64 // each once
}

// wholeOf returns f * scale if it is a whole number from which f can be restored.
func wholeOf(f, scale float64) (int64, bool) {
	n := f * scale
	if !(math.Abs(n) < 1<<49) || n != math.Trunc(n) || !sameFloat(n/scale, f) {
		return 0, false
	}
	return int64(n), true
}

func packDecimals(all []float64) (p decimals) {
	p.scale = 1
	for _, f := range all { // the least scale that fits every decimal
		for _, scale := range powers {
			if _, ok := wholeOf(f, scale); ok {
				p.scale = max(p.scale, scale)
				break
			}
		}
	}
	whole, isWhole, least := make([]int64, len(all)), make([]bool, len(all)), int64(math.MaxInt64)
	index := map[uint64]int{}
	for i, f := range all {
		if whole[i], isWhole[i] = wholeOf(f, p.scale); isWhole[i] {
			least = min(least, whole[i])
		} else if _, ok := index[math.Float64bits(f)]; !ok {
			index[math.Float64bits(f)] = len(p.others)
			p.others = append(p.others, f)
		}
	}
	p.least, p.others = least, slices.Clip(p.others)
	codes := make([]uint64, len(all))
	for i, f := range all {
		if isWhole[i] {
			codes[i] = 1 + uint64(len(p.others)) + uint64(whole[i]-least)
		} else {
			codes[i] = 1 + uint64(index[math.Float64bits(f)])
		}
	}
	p.codes = packNumbers(codes)
	return p
}

func (p *decimals) unpack(dst []float64, codes []uint64) {
	unpack(&p.codes, codes)
	n := uint64(len(p.others))
	for i := range dst {
		if code := codes[i] - 1; code < n {
			dst[i] = p.others[code]
		} else {
			dst[i] = float64(int64(code-n)+p.least) / p.scale
		}
	}
}

// packed is the columns of a chunk in as few bits as they need. Times are distances: a moment from
// the first version, a witnessed time from the signed one, the newest version from the last
// moment, and the end of the take window from the first version.
type packed struct {
	n                                 int // rows
	cohort, first, status, flags, fee numbers
	moments                           [moments - 1]numbers
	witnessed                         [moments]numbers
	newest, ends, sats                numbers
	premium, amount                   decimals
}

// away is the code of the distance of t from base: 0 if t is none.
func away(t, base uint32) uint64 {
	if t == 0 {
		return 0
	}
	return zigzag(int64(t)-int64(base)) + 1
}

// back is the time of a code.
func back(code uint64, base uint32) uint32 {
	if code == 0 {
		return 0
	}
	return uint32(int64(base) + unzigzag(code-1))
}

// lastMoment returns the last signed moment of row k.
func (c *columns) lastMoment(k int) uint32 {
	at := &c.at[Signed]
	return max(at[firstSeen][k], at[firstTaken][k], at[firstSuccess][k], at[firstCanceled][k])
}

// pack returns the first n rows.
func (c *columns) pack(n int) *packed {
	p, buf := &packed{n: n}, make([]uint64, n)
	column := func(value func(k int) uint64) numbers {
		for k := range buf {
			buf[k] = value(k)
		}
		return packNumbers(buf)
	}
	first := &c.at[Signed][firstSeen]
	p.cohort = column(func(k int) uint64 { return uint64(c.cohort[k]) })
	p.first = column(func(k int) uint64 { return uint64(first[k]) })
	p.status = column(func(k int) uint64 { return uint64(c.status[k]) })
	p.flags = column(func(k int) uint64 { return uint64(c.flags[k]) })
	p.fee = column(func(k int) uint64 { return uint64(c.fee[k]) })
	for m := range p.moments {
		at := &c.at[Signed][m+1]
		p.moments[m] = column(func(k int) uint64 { return away(at[k], first[k]) })
	}
	for m := range p.witnessed {
		at, signed := &c.at[Witnessed][m], &c.at[Signed][m]
		p.witnessed[m] = column(func(k int) uint64 { return away(at[k], signed[k]) })
	}
	p.newest = column(func(k int) uint64 { return away(c.newest[k], c.lastMoment(k)) })
	p.ends = column(func(k int) uint64 { return away(c.ends[k], first[k]) })
	p.sats = column(func(k int) uint64 { return uint64(c.sats[k] + 1) })
	p.premium, p.amount = packDecimals(c.premium[:n]), packDecimals(c.amount[:n])
	return p
}

// unpack fills columns of c. codes is a buffer.
func (p *packed) unpack(c *columns, want part, codes *[rows]uint64) {
	n := p.n
	unpack(&p.cohort, c.cohort[:n])
	unpack(&p.flags, c.flags[:n])
	unpack(&p.status, c.status[:n])
	first := &c.at[Signed][firstSeen]
	if want&partSigned != 0 {
		unpack(&p.first, first[:n])
		for m := range p.moments {
			unpack(&p.moments[m], codes[:n])
			at := &c.at[Signed][m+1]
			for k, code := range codes[:n] {
				at[k] = back(code, first[k])
			}
		}
	}
	if want&partWitnessed != 0 {
		for m := range p.witnessed {
			unpack(&p.witnessed[m], codes[:n])
			at, signed := &c.at[Witnessed][m], &c.at[Signed][m]
			for k, code := range codes[:n] {
				at[k] = back(code, signed[k])
			}
		}
	}
	if want&partNewest != 0 {
		unpack(&p.newest, codes[:n])
		for k, code := range codes[:n] {
			c.newest[k] = back(code, c.lastMoment(k))
		}
	}
	if want&partEnds != 0 {
		unpack(&p.ends, codes[:n])
		for k, code := range codes[:n] {
			c.ends[k] = back(code, first[k])
		}
	}
	if want&partSats != 0 {
		unpack(&p.sats, codes[:n])
		for k, code := range codes[:n] {
			c.sats[k] = int64(code) - 1
		}
	}
	if want&partPremium != 0 {
		p.premium.unpack(c.premium[:n], codes[:n])
	}
	if want&partAmount != 0 {
		p.amount.unpack(c.amount[:n], codes[:n])
	}
}

package stats

import (
	"encoding/binary"
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

// part names some of the columns. status and the times of the first versions are always
// included, and fee never.
type part uint16

const (
	partTaken part = 1 << iota // the times by the clock of the query
	partSuccess
	partCanceled
	partWitnessed // at[Witnessed] of the moments that are included
	partNewest
	partEnds
	partSats
	partPremium
	partAmount
	partFlags
	partCohort
	partMoments = partTaken | partSuccess | partCanceled
	partAll     = 1<<iota - 1
)

// has reports whether a part includes a moment.
func (p part) has(m moment) bool { return m == firstSeen || p&(partTaken<<(m-firstTaken)) != 0 }

// numbers is a column of whole numbers of 0, 1, 2 or 4 bits or of whole bytes, as the greatest of
// them needs. The number 0 has the code 0, and another number n has the code n - base.
type numbers struct {
	base  uint64
	width uint8 // bits of a code
	codes []byte
}

// pad is the number of bytes behind the codes, so that any code can be read as eight bytes.
const pad = 7

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
	switch {
	case p.width == 3:
		p.width = 4
	case p.width > 4:
		p.width = (p.width + 7) &^ 7
	}
	p.codes = make([]byte, (len(all)*int(p.width)+7)/8+pad)
	for i, n := range all {
		if n == 0 {
			continue
		}
		code := n - p.base
		if p.width < 8 {
			bit := i * int(p.width)
			p.codes[bit>>3] |= byte(code << (bit & 7))
			continue
		}
		size := int(p.width) / 8
		for k := range size {
			p.codes[i*size+k] = byte(code >> (8 * k))
		}
	}
	return p
}

func (p *numbers) get(i int) uint64 {
	bit := i * int(p.width)
	if p.width == 0 {
		return 0
	}
	code := binary.LittleEndian.Uint64(p.codes[bit>>3:]) >> (bit & 7) & (1<<p.width - 1)
	if code != 0 {
		code += p.base
	}
	return code
}

// unpackCodes reads the first codes of a column into dst.
func unpackCodes[T ~uint8 | ~uint16 | ~uint32 | ~uint64](p *numbers, dst []T) {
	b := p.codes
	switch width := int(p.width); width {
	case 0:
		clear(dst)
	case 1, 2, 4:
		mask := byte(1)<<width - 1
		for i := range dst {
			bit := i * width
			dst[i] = T(b[bit>>3] >> (bit & 7) & mask)
		}
	case 8:
		b = b[:len(dst)]
		for i := range dst {
			dst[i] = T(b[i])
		}
	case 16:
		for i := range dst {
			dst[i] = T(binary.LittleEndian.Uint16(b[2*i:]))
		}
	case 24:
		for i := range dst {
			dst[i] = T(binary.LittleEndian.Uint32(b[3*i:]) & (1<<24 - 1))
		}
	case 32:
		for i := range dst {
			dst[i] = T(binary.LittleEndian.Uint32(b[4*i:]))
		}
	default:
		size, mask := width/8, uint64(1)<<width-1
		for i := range dst {
			dst[i] = T(binary.LittleEndian.Uint64(b[size*i:]) & mask)
		}
	}
}

// unpack reads the first numbers of a column into dst.
func unpack[T ~uint8 | ~uint16 | ~uint32 | ~uint64](p *numbers, dst []T) {
	if p.base+1<<p.width-1 > uint64(^T(0)) || p.width >= 64 { // a sum of base and code does not fit, though each number does
		for i := range dst {
			dst[i] = T(p.get(i))
		}
		return
	}
	if unpackCodes(p, dst); p.width == 0 || p.base == 0 {
		return
	}
	base := T(p.base)
	for i, code := range dst {
		if code != 0 {
			dst[i] = code + base
		}
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

// packed is the columns of a chunk as numbers. Times are distances: a witnessed time from the
// signed one, and the others from the first version.
type packed struct {
	n                                 int // rows
	cohort, first, status, flags, fee numbers
	moments                           [moments - 1]numbers
	witnessed                         [moments]numbers
	newest, ends, sats                numbers
	premium, amount                   decimals
}

// nowhere is added to a distance, so that no distance is 0, which stands for no time.
const nowhere = 1 << 33

// away is the distance of t from base, or 0 if t is none.
func away(t, base uint32) uint64 {
	if t == 0 {
		return 0
	}
	return uint64(nowhere + int64(t) - int64(base))
}

// unpackTimes reads times that are stored as distances from base.
func unpackTimes(p *numbers, dst, base []uint32) {
	if p.width > 24 { // a code of 32 bits could be a greater distance
		for i := range dst {
			if dst[i] = 0; p.get(i) != 0 {
				dst[i] = uint32(p.get(i)) + base[i] // nowhere is 0 modulo 1<<32
			}
		}
		return
	}
	unpackCodes(p, dst)
	if p.width == 0 {
		return
	}
	start, base := uint32(p.base), base[:len(dst)]
	for i, code := range dst {
		if code != 0 {
			dst[i] = base[i] + code + start
		}
	}
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
	p.newest = column(func(k int) uint64 { return away(c.newest[k], first[k]) })
	p.ends = column(func(k int) uint64 { return away(c.ends[k], first[k]) })
	p.sats = column(func(k int) uint64 { return uint64(c.sats[k] + 1) })
	p.premium, p.amount = packDecimals(c.premium[:n]), packDecimals(c.amount[:n])
	return p
}

// unpack fills columns of c. codes is a buffer.
func (p *packed) unpack(c *columns, want part, codes *[rows]uint64) {
	n := p.n
	if want&partCohort != 0 {
		unpack(&p.cohort, c.cohort[:n])
	}
	if want&partFlags != 0 {
		unpack(&p.flags, c.flags[:n])
	}
	unpack(&p.status, c.status[:n])
	signed, witnessed := &c.at[Signed], &c.at[Witnessed]
	first := signed[firstSeen][:n]
	unpack(&p.first, first)
	for m := range moments {
		if !want.has(m) {
			continue
		}
		if m != firstSeen {
			unpackTimes(&p.moments[m-1], signed[m][:n], first)
		}
		if want&partWitnessed != 0 {
			unpackTimes(&p.witnessed[m], witnessed[m][:n], signed[m][:n])
		}
	}
	if want&partNewest != 0 {
		unpackTimes(&p.newest, c.newest[:n], first)
	}
	if want&partEnds != 0 {
		unpackTimes(&p.ends, c.ends[:n], first)
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

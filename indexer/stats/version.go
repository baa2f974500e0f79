package stats

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/mostrodex/mostrodex/mostro"
)

// status is an order's status in the encoding of a version.
type status uint8

const (
	statusNone status = iota
	statusPending
	statusInProgress
	statusSuccess
	statusCanceled // also expired: the node canceled the order at its end
	statusGone
)

var statuses = map[mostro.Status]status{
	mostro.StatusPending: statusPending, mostro.StatusInProgress: statusInProgress, mostro.StatusSuccess: statusSuccess,
	mostro.StatusCanceled: statusCanceled, mostro.StatusExpired: statusCanceled, mostro.StatusGone: statusGone,
}

// version is one signed version of an order.
type version struct {
	created  uint32 // created_at
	received uint32 // time of receipt by this relay, unix seconds
	seq      uint64
	id       uint64 // first bytes of the event id
	deleted  uint32 // time of the author's deletion of the version; 0 none
	status   status
	live     bool // received when it was published

	cohort   uint32
	sats     int64   // -1 unknown
	min, max float64 // fiat amount; NaN unknown
	premium  float64 // percent; NaN unknown
	ends     uint32  // end of the take window; 0 none
}

// before reports whether v comes before w: by created_at, and among equal times the
// greatest id first, because the lowest id replaces the others (NIP-01).
func (v *version) before(w *version) bool {
	if v.created != w.created {
		return v.created < w.created
	}
	return v.id > w.id
}

func sameFloat(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }

// Bits of the first byte of an encoded version, above its status.
const (
	headLive    = 1 << 3
	headDeleted = 1 << 4
	headTerms   = 1 << 5 // a byte with the bits below follows
)

// Bits of the terms that differ from the version before.
const (
	diffCohort = 1 << iota
	diffSats
	diffFiat
	diffPremium
	diffEnds
	diffRange // with diffFiat: the greatest amount is not the least
)

// blankVersion precedes the first version in the encoding.
var blankVersion = version{sats: -1, min: math.NaN(), max: math.NaN(), premium: math.NaN()}

// appendVersions appends the encoding of an order's versions to dst. Each version is
// encoded as the difference from the version before.
func appendVersions(dst []byte, versions []version) []byte {
	last := &blankVersion
	for i := range versions {
		v := &versions[i]
		head, diff := byte(v.status), byte(0)
		if v.live {
			head |= headLive
		}
		if v.deleted != 0 {
			head |= headDeleted
		}
		if v.cohort != last.cohort {
			diff |= diffCohort
		}
		if v.sats != last.sats {
			diff |= diffSats
		}
		if !sameFloat(v.min, last.min) || !sameFloat(v.max, last.max) {
			if diff |= diffFiat; !sameFloat(v.min, v.max) {
				diff |= diffRange
			}
		}
		if !sameFloat(v.premium, last.premium) {
			diff |= diffPremium
		}
		if v.ends != last.ends {
			diff |= diffEnds
		}
		if diff != 0 {
			head |= headTerms
		}
		dst = append(dst, head)
		dst = binary.AppendVarint(dst, int64(v.created)-int64(last.created))
		dst = binary.AppendVarint(dst, int64(v.received)-int64(v.created))
		dst = binary.AppendVarint(dst, int64(v.seq-last.seq))
		for i := range idBytes {
			dst = append(dst, byte(v.id>>(8*(idBytes-1-i))))
		}
		if v.deleted != 0 {
			dst = binary.AppendVarint(dst, int64(v.deleted)-int64(v.created))
		}
		if diff != 0 {
			dst = append(dst, diff)
		}
		if diff&diffCohort != 0 {
			dst = binary.AppendUvarint(dst, uint64(v.cohort))
		}
		if diff&diffSats != 0 {
			dst = binary.AppendVarint(dst, v.sats)
		}
		if diff&diffFiat != 0 {
			if dst = appendNumber(dst, v.min); diff&diffRange != 0 {
				dst = appendNumber(dst, v.max)
			}
		}
		if diff&diffPremium != 0 {
			dst = appendNumber(dst, v.premium)
		}
		if diff&diffEnds != 0 {
			dst = binary.AppendVarint(dst, int64(v.ends)-int64(v.created))
		}
		last = v
	}
	return dst
}

// powers are the scales of a number with up to six decimals.
var powers = [...]float64{1, 10, 100, 1e3, 1e4, 1e5, 1e6}

// rawNumber marks a number that is encoded as its eight bytes.
const rawNumber = 7

// appendNumber encodes a number. A decimal with at most six decimals is an integer and a
// scale: the division by the scale restores the same float64, because both are exact.
func appendNumber(dst []byte, f float64) []byte {
	for scale, power := range powers {
		if n := f * power; math.Abs(n) < 1<<49 && n == math.Trunc(n) && sameFloat(n/power, f) {
			return binary.AppendUvarint(dst, zigzag(int64(n))<<3|uint64(scale))
		}
	}
	return binary.LittleEndian.AppendUint64(append(dst, rawNumber), math.Float64bits(f))
}

func zigzag(n int64) uint64   { return uint64(n<<1) ^ uint64(n>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// errDamaged is returned if an encoding is not the output of this package.
var errDamaged = errors.New("damaged state of statistics")

// reader reads an encoding. After the first error, bad is true and all reads return 0.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) fail() { r.bad, r.rest = true, nil }

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail()
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) uvarint() uint64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 {
		b := r.rest[0]
		r.rest = r.rest[1:]
		return uint64(b)
	}
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) varint() int64 { return unzigzag(r.uvarint()) }

// seconds reads a time as the difference from base.
func (r *reader) seconds(base int64) uint32 {
	n := base + r.varint()
	if n < 0 || n > maxTime {
		r.fail()
		return 0
	}
	return uint32(n)
}

func (r *reader) fixed(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.fail()
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uint64() uint64 {
	if b := r.fixed(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) text() string { return string(r.fixed(int(min(r.uvarint(), 1<<30)))) }

func (r *reader) number() float64 {
	u := r.uvarint()
	if scale := u & 7; scale != rawNumber {
		return float64(unzigzag(u>>3)) / powers[scale]
	}
	return math.Float64frombits(r.uint64())
}

// decodeVersions appends the versions of an encoding to dst.
func decodeVersions(dst []version, raw []byte) ([]version, error) {
	r := reader{rest: raw}
	last := blankVersion
	for len(r.rest) > 0 {
		v := last
		v.deleted = 0
		head := r.byte()
		v.status, v.live = status(head&7), head&headLive != 0
		v.created = r.seconds(int64(last.created))
		v.received = r.seconds(int64(v.created))
		v.seq = last.seq + uint64(r.varint())
		v.id = 0
		for _, b := range r.fixed(idBytes) {
			v.id = v.id<<8 | uint64(b)
		}
		if head&headDeleted != 0 {
			v.deleted = r.seconds(int64(v.created))
		}
		if head&headTerms != 0 {
			diff := r.byte()
			if diff&diffCohort != 0 {
				v.cohort = uint32(r.uvarint())
			}
			if diff&diffSats != 0 {
				v.sats = r.varint()
			}
			if diff&diffFiat != 0 {
				v.min = r.number()
				if v.max = v.min; diff&diffRange != 0 {
					v.max = r.number()
				}
			}
			if diff&diffPremium != 0 {
				v.premium = r.number()
			}
			if diff&diffEnds != 0 {
				v.ends = r.seconds(int64(v.created))
			}
		}
		if r.bad || v.status == statusNone || v.status > statusGone {
			return nil, errDamaged
		}
		dst = append(dst, v)
		last = v
	}
	return dst, nil
}

// maxVersions bounds the versions of one order that a Collector keeps. A Mostro's order
// has about five.
const maxVersions = 512

// insertVersion inserts v into the sorted versions of an order. added is false if the
// version is already there.
func insertVersion(versions []version, v version) (out []version, added bool) {
	i := len(versions)
	for i > 0 && v.before(&versions[i-1]) {
		i--
	}
	if i > 0 && versions[i-1].created == v.created && versions[i-1].id == v.id {
		return versions, false
	}
	versions = slices.Insert(versions, i, v)
	if len(versions) > maxVersions {
		versions = dropRepeated(versions)
	}
	return versions, true
}

// dropRepeated removes the oldest version that has the status of the version before it,
// or else the second version. The facts of an order rest on the first version, on the
// first version of each status, and on the newest version.
func dropRepeated(versions []version) []version {
	for i := 1; i < len(versions)-1; i++ {
		if versions[i].status == versions[i-1].status && (versions[i].live == versions[i-1].live) {
			return slices.Delete(versions, i, i+1)
		}
	}
	return slices.Delete(versions, 1, 2)
}

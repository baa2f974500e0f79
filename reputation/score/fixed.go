package score

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Micro is a number in millionths. All computations of a score use Micro and integers.
// float64 is not used, because the fused multiply-add of float64 differs between
// processors.
type Micro int64

// One is 1 in Micro.
const One Micro = 1_000_000

// String returns the number with six decimals.
func (m Micro) String() string {
	sign, u := "", uint64(m)
	if m < 0 {
		sign, u = "-", uint64(-m)
	}
	return fmt.Sprintf("%s%d.%06d", sign, u/uint64(One), u%uint64(One))
}

// MarshalJSON returns a JSON number with six decimals.
func (m Micro) MarshalJSON() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalJSON parses a plain JSON number with at most six decimals. For any other input
// UnmarshalJSON returns an error.
func (m *Micro) UnmarshalJSON(b []byte) error {
	v, err := ParseMicro(string(b))
	*m = v
	return err
}

var errMicro = errors.New("not a number with at most six decimals")

// ParseMicro parses a plain decimal number, and drops the digits after six decimals.
func ParseMicro(s string) (Micro, error) {
	negative := strings.HasPrefix(s, "-")
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(s, "-"), ".")
	if fraction = fraction[:min(len(fraction), 6)]; whole == "" {
		return 0, errMicro
	}
	n, err := strconv.ParseUint(whole+fraction+strings.Repeat("0", 6-len(fraction)), 10, 62)
	if err != nil {
		return 0, errMicro
	}
	if negative {
		return -Micro(n), nil
	}
	return Micro(n), nil
}

// Float returns the number for display and metrics. A score must never use Float.
func (m Micro) Float() float64 { return float64(m) / float64(One) }

// saturated is the result of an operation that would overflow. saturated is far above all
// numbers of a score, and a few thousand of such results can be added without an overflow.
const saturated = int64(1) << 50

// mulDiv returns a*b/c, rounded toward zero, computed in 128 bits and saturated.
func mulDiv(a, b, c int64) int64 {
	negative := (a < 0) != (b < 0) != (c < 0)
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	d := magnitude(c)
	q := uint64(saturated)
	if hi < d {
		q, _ = bits.Div64(hi, lo, d)
		q = min(q, uint64(saturated))
	}
	if negative {
		return -int64(q)
	}
	return int64(q)
}

// mulDivU returns a*b/c, computed in 128 bits. The quotient must fit in 64 bits.
func mulDivU(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return uint64(saturated)
	}
	q, _ := bits.Div64(hi, lo, c)
	return q
}

func magnitude(a int64) uint64 {
	if a < 0 {
		return uint64(-a)
	}
	return uint64(a)
}

// times returns m*n.
func (m Micro) times(n Micro) Micro { return Micro(mulDiv(int64(m), int64(n), int64(One))) }

// over returns m/n, or 0 if n is 0.
func (m Micro) over(n Micro) Micro {
	if n == 0 {
		return 0
	}
	return Micro(mulDiv(int64(m), int64(One), int64(n)))
}

// ratio returns a/b of two whole numbers, or 0 if b is 0.
func ratio(a, b int64) Micro {
	if b == 0 {
		return 0
	}
	return Micro(mulDiv(a, int64(One), b))
}

func clamp(m, lo, hi Micro) Micro { return max(lo, min(m, hi)) }

// The functions below compute in units of 2^-60, and return nano (10^-9).
const (
	frac  = 60
	unit  = uint64(1) << frac
	nano  = 1_000_000_000
	ln2   = uint64(799144290325165979) // ln 2 * 2^60
	ln2n  = int64(693147181)           // ln 2 in nano
	ln10n = int64(2302585093)          // ln 10 in nano
)

// mul60 returns the product of two numbers in units of 2^-60.
func mul60(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi<<(64-frac) | lo>>frac
}

// lnNano returns the natural logarithm of a/b in nano, for a and b above 0.
func lnNano(a, b uint64) int64 { return ln60(a) - ln60(b) }

// ln60 returns ln n in nano. n is 2^e times a mantissa m in [1, 2), and the logarithm of m
// is 2 atanh((m-1)/(m+1)), a series in z < 1/3.
func ln60(n uint64) int64 {
	if n == 0 {
		return -saturated
	}
	e := bits.Len64(n) - 1
	var m uint64
	if e <= frac {
		m = n << (frac - e)
	} else {
		m = n >> (e - frac)
	}
	z, _ := bits.Div64((m-unit)>>(64-frac), (m-unit)<<frac, m+unit)
	zz := mul60(z, z)
	sum, term := uint64(0), z
	for k := uint64(1); term > 0; k += 2 {
		sum += term / k
		term = mul60(term, zz)
	}
	total := uint64(e)*(ln2>>4) + sum>>3 // 2*sum in units of 2^-56, as e*ln2
	hi, lo := bits.Mul64(total, nano)
	return int64(hi<<(64-56) | lo>>56)
}

// expNano returns e^x in units of 2^-60, for x in nano. x must be at most 2 (in nano).
func expNano(x int64) uint64 {
	k := x / ln2n
	r := x - k*ln2n
	if r < 0 {
		r, k = r+ln2n, k-1
	}
	t, _ := bits.Div64(uint64(r)>>(64-frac), uint64(r)<<frac, nano)
	sum, term := unit, unit
	for i := uint64(1); term > 0; i++ {
		term = mul60(term, t) / i
		sum += term
	}
	if k >= 0 {
		return sum << min(k, 3)
	}
	if k < -63 {
		return 0
	}
	return sum >> -k
}

// exp returns e^x for x in nano. x must not be above 0.
func exp(x int64) Micro {
	hi, lo := bits.Mul64(expNano(x), uint64(One))
	return Micro(hi<<(64-frac) | lo>>frac)
}

// lnOne and lnOfNano are the logarithms of the two units, against which most logarithms
// are taken.
var lnOne, lnOfNano = ln60(uint64(One)), ln60(nano)

// ln returns the natural logarithm in nano.
func (m Micro) ln() int64 { return ln60(uint64(max(m, 1))) - lnOne }

// log10Ratio returns log10(1+a/b) for whole numbers.
func log10Ratio(a, b int64) Micro {
	l := lnNano(uint64(a)+uint64(b), uint64(b))
	return Micro(mulDiv(l, int64(One), ln10n))
}

// halved returns 2^(-age/halfLife).
func halved(age, halfLife int64) Micro {
	if age <= 0 {
		return One
	}
	return exp(-mulDiv(age, ln2n, halfLife))
}

// root returns the integer square root.
func root(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	x := uint64(1) << ((bits.Len64(n) + 1) / 2)
	for {
		y := (x + n/x) / 2
		if y >= x {
			return x
		}
		x = y
	}
}

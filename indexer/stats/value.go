package stats

import (
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Value is a number or a text, or null. The zero Value is null.
type Value struct {
	kind valueKind
	n    int64
	f    float64
	text string
}

type valueKind uint8

const (
	null valueKind = iota
	whole
	float
	fiatAmount // a float64 that is written as a decimal text
	text
)

func intValue(n int64) Value { return Value{kind: whole, n: n} }

// floatValue returns a float, or null if f is not a finite number.
func floatValue(f float64) Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Value{}
	}
	return Value{kind: float, f: f}
}

func fiatValue(f float64) Value {
	v := floatValue(f)
	if v.kind == float {
		v.kind = fiatAmount
	}
	return v
}

// IsNull reports whether the value is unknown.
func (v Value) IsNull() bool { return v.kind == null }

// Float returns the value as a float64, NaN if it is null or a text.
func (v Value) Float() float64 {
	switch v.kind {
	case whole:
		return float64(v.n)
	case float, fiatAmount:
		return v.f
	}
	return math.NaN()
}

// String returns the value as in JSON, without quotation marks.
func (v Value) String() string {
	switch v.kind {
	case whole:
		return strconv.FormatInt(v.n, 10)
	case float:
		return strconv.FormatFloat(v.f, 'g', -1, 64)
	case fiatAmount:
		s := strconv.FormatFloat(v.f, 'f', 8, 64)
		return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	case text:
		return v.text
	}
	return "null"
}

// MarshalJSON returns null, a number, or a string for a text and for an amount of fiat.
func (v Value) MarshalJSON() ([]byte, error) {
	switch v.kind {
	case fiatAmount, text:
		return []byte(strconv.Quote(v.String())), nil
	}
	return []byte(v.String()), nil
}

// ratio returns a/b, or null if b is 0.
func ratio(a, b int64) Value {
	if b == 0 {
		return Value{}
	}
	return floatValue(float64(a) / float64(b))
}

// total is a sum of sats that may exceed an int64.
type total struct{ hi, lo uint64 }

func (t *total) add(n int64) {
	var carry uint64
	t.lo, carry = bits.Add64(t.lo, uint64(n), 0)
	t.hi += carry
}

func (t *total) addTotal(o total) {
	var carry uint64
	t.lo, carry = bits.Add64(t.lo, o.lo, 0)
	t.hi += o.hi + carry
}

func (t total) float() float64 { return float64(t.hi)*(1<<64) + float64(t.lo) }

// value returns the sum, or null if the sum exceeds an int64.
func (t total) value() Value {
	if t.hi != 0 || t.lo > math.MaxInt64 {
		return Value{}
	}
	return intValue(int64(t.lo))
}

// mean returns the integer mean of n amounts, rounded half up: floor((2*sum+n)/(2n)).
func (t total) mean(n int64) Value {
	if n == 0 || t.hi != 0 || t.lo > math.MaxInt64/2 {
		return Value{}
	}
	return intValue((2*int64(t.lo) + n) / (2 * n))
}

// sum adds floats with a running compensation, so that the result hardly depends on the order.
type sum struct{ s, c float64 }

func (s *sum) add(f float64) {
	t := s.s + f
	if math.Abs(s.s) >= math.Abs(f) {
		s.c += (s.s - t) + f
	} else {
		s.c += (f - t) + s.s
	}
	s.s = t
}

func (s *sum) value() float64 { return s.s + s.c }

func sumOf(sample []float64) (s sum) {
	for _, f := range sample {
		s.add(f)
	}
	return s
}

type number interface{ ~int64 | ~uint32 | ~float64 }

// nearestRank returns the p-th percentile of a sample by nearest rank: the element at index
// max(1, ceil(p*n/100)), counted from 1, of the sorted sample. It changes the order of the
// sample. ok is false if the sample is empty.
func nearestRank[T number](sample []T, p int) (v T, ok bool) {
	if len(sample) == 0 {
		return v, false
	}
	k := max(1, (p*len(sample)+99)/100) - 1
	return nth(sample, k), true
}

// nth returns the k-th smallest element, counted from 0, by quickselect with the median of
// three. It sorts small and unlucky ranges.
func nth[T number](s []T, k int) T {
	for budget := 64; len(s) > 16; budget-- {
		if budget == 0 {
			break
		}
		a, b, c := s[0], s[len(s)/2], s[len(s)-1]
		pivot := max(min(a, b), min(max(a, b), c))
		lo, i, hi := 0, 0, len(s)
		for i < hi { // s[:lo] < pivot, s[lo:i] == pivot, s[hi:] > pivot
			switch {
			case s[i] < pivot:
				s[i], s[lo] = s[lo], s[i]
				lo++
				i++
			case s[i] > pivot:
				hi--
				s[i], s[hi] = s[hi], s[i]
			default:
				i++
			}
		}
		switch {
		case k < lo:
			s = s[:lo]
		case k < hi:
			return pivot
		default:
			s, k = s[hi:], k-hi
		}
	}
	slices.Sort(s)
	return s[k]
}

// percentile returns nearestRank as a Value of whole numbers.
func percentile[T ~int64 | ~uint32](sample []T, p int) Value {
	v, ok := nearestRank(sample, p)
	if !ok {
		return Value{}
	}
	return intValue(int64(v))
}

// shares returns the sum of the squares of the shares (HHI), and the sum of the three
// greatest shares, both null if the total is 0. It sorts amounts.
func shares(amounts []float64) (hhi, top3 Value) {
	slices.Sort(amounts)
	slices.Reverse(amounts)
	var all, squares, top sum
	for _, a := range amounts {
		all.add(a)
	}
	if all.value() == 0 {
		return Value{}, Value{}
	}
	for i, a := range amounts {
		share := a / all.value()
		squares.add(share * share)
		if i < 3 {
			top.add(share)
		}
	}
	return floatValue(squares.value()), floatValue(top.value())
}

// median returns the median of a sample; of an even number, the mean of the middle two. It
// changes the order of the sample.
func median(sample []float64) float64 {
	n := len(sample)
	if n == 0 {
		return math.NaN()
	}
	return (nth(sample, (n-1)/2) + nth(sample, n/2)) / 2
}

// sigma returns the standard deviation of a population, NaN for fewer than two values.
func sigma(sample []float64) float64 {
	if len(sample) < 2 {
		return math.NaN()
	}
	var all, squares sum
	for _, v := range sample {
		all.add(v)
	}
	mean := all.value() / float64(len(sample))
	for _, v := range sample {
		squares.add((v - mean) * (v - mean))
	}
	return math.Sqrt(squares.value() / float64(len(sample)))
}

package mostro

import (
	"errors"
	"strconv"
	"strings"
)

// Decimal is an exact decimal number in the form of the wire, normalised: no leading
// zeros, no trailing fractional zeros, no exponent, and "0" for "-0". ParseDecimal and
// DecimalOf normalise, so two equal Decimals are also equal with ==. The zero value is
// 0.
type Decimal struct {
	text  string
	value float64
}

// maxDecimalText bounds the text that ParseDecimal accepts. It leaves room for any
// amount of any currency with the 17 digits that a float64 may print.
const maxDecimalText = 40

// ErrDecimal is returned if a text is not a plain decimal number.
var ErrDecimal = errors.New("not a decimal number")

// ParseDecimal parses an optional sign and digits with at most one point: "2", "-1.50",
// "+3", ".5", "100.00000000". For any other text (spaces, exponents, NaN, Inf,
// separators, more than 40 characters) it returns ErrDecimal.
func ParseDecimal(s string) (Decimal, error) {
	if s == "" || len(s) > maxDecimalText {
		return Decimal{}, ErrDecimal
	}
	negative := s[0] == '-'
	if negative || s[0] == '+' {
		s = s[1:]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	if whole == "" && fraction == "" || !allDigits(whole) || !allDigits(fraction) {
		return Decimal{}, ErrDecimal
	}
	whole = strings.TrimLeft(whole, "0")
	fraction = strings.TrimRight(fraction, "0")
	if whole == "" && fraction == "" {
		return Decimal{}, nil
	}
	text := whole
	if whole == "" {
		text = "0"
	}
	if fraction != "" {
		text += "." + fraction
	}
	if negative {
		text = "-" + text
	}
	if len(text) > maxDecimalText {
		return Decimal{}, ErrDecimal // ParseDecimal could not parse the normalised text
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return Decimal{}, ErrDecimal
	}
	return Decimal{text: text, value: value}, nil
}

// DecimalOf returns an integer as a Decimal.
func DecimalOf(n int64) Decimal {
	if n == 0 {
		return Decimal{}
	}
	return Decimal{text: strconv.FormatInt(n, 10), value: float64(n)}
}

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// String returns the normalised text, "0" for the zero value.
func (d Decimal) String() string {
	if d.text == "" {
		return "0"
	}
	return d.text
}

// Float returns the nearest float64, for comparing and sorting.
func (d Decimal) Float() float64 { return d.value }

// Sign returns -1, 0 or +1.
func (d Decimal) Sign() int {
	switch {
	case d.text == "":
		return 0
	case d.text[0] == '-':
		return -1
	}
	return 1
}

// Int64 returns the value if it is a whole number that fits in an int64; otherwise ok
// is false.
func (d Decimal) Int64() (n int64, ok bool) {
	if d.text == "" {
		return 0, true
	}
	n, err := strconv.ParseInt(d.text, 10, 64)
	return n, err == nil
}

// Cmp compares exactly. It returns -1 if d is less than e, 0 if both are equal, and +1
// if d is greater.
func (d Decimal) Cmp(e Decimal) int {
	if ds, es := d.Sign(), e.Sign(); ds != es {
		if ds < es {
			return -1
		}
		return 1
	} else if ds < 0 {
		return compareMagnitude(e.text[1:], d.text[1:])
	}
	return compareMagnitude(d.text, e.text)
}

// compareMagnitude compares two normalised unsigned texts.
func compareMagnitude(a, b string) int {
	aw, af, _ := strings.Cut(a, ".")
	bw, bf, _ := strings.Cut(b, ".")
	if len(aw) != len(bw) {
		if len(aw) < len(bw) {
			return -1
		}
		return 1
	}
	if c := strings.Compare(aw, bw); c != 0 {
		return c
	}
	// Fractions without trailing zeros sort like their texts.
	return strings.Compare(af, bf)
}

// MarshalText returns the normalised text. JSON then holds a string, so that no reader
// rounds the number.
func (d Decimal) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses the texts of ParseDecimal.
func (d *Decimal) UnmarshalText(text []byte) error {
	parsed, err := ParseDecimal(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

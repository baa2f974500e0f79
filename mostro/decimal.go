package mostro

import (
	"errors"
	"strconv"
	"strings"
)

// Decimal is an exact decimal number as the wire writes it, normalised: no
// leading zeros, no trailing fractional zeros, no exponent, "-0" is "0".
// It is built by ParseDecimal, so two Decimals are equal when == says so.
type Decimal struct {
	text  string
	value float64
}

// maxDecimalText bounds what ParseDecimal reads: room for any amount of any
// currency with the 17 digits that a float64 may print.
const maxDecimalText = 40

// ErrDecimal says that a text is not a plain decimal number.
var ErrDecimal = errors.New("not a decimal number")

// ParseDecimal reads an optional sign and digits with at most one point:
// "2", "-1.50", "+3", ".5", "100.00000000". Everything else (spaces, exponents,
// NaN, Inf, separators, more than 40 characters) is ErrDecimal.
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
		return Decimal{}, ErrDecimal // it could not be read back
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return Decimal{}, ErrDecimal
	}
	return Decimal{text: text, value: value}, nil
}

// DecimalOf gives an integer as a Decimal.
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

// String gives the normalised text, "0" for the zero value.
func (d Decimal) String() string {
	if d.text == "" {
		return "0"
	}
	return d.text
}

// Float gives the nearest float64, for comparing and sorting.
func (d Decimal) Float() float64 { return d.value }

// Sign gives -1, 0 or +1.
func (d Decimal) Sign() int {
	switch {
	case d.text == "":
		return 0
	case d.text[0] == '-':
		return -1
	}
	return 1
}

// Int64 gives the value of a whole number that fits; ok is false otherwise.
func (d Decimal) Int64() (n int64, ok bool) {
	if d.text == "" {
		return 0, true
	}
	n, err := strconv.ParseInt(d.text, 10, 64)
	return n, err == nil
}

// Cmp compares exactly: -1, 0 or +1 as d is less than, equal to or greater
// than e.
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
	// Fractions without trailing zeros order as their texts do.
	return strings.Compare(af, bf)
}

// MarshalText writes the normalised text: a string in JSON, so that no reader
// rounds it.
func (d Decimal) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDecimal reads.
func (d *Decimal) UnmarshalText(text []byte) error {
	parsed, err := ParseDecimal(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

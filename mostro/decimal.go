package mostro

// Decimal is an exact decimal number as the wire writes it, normalised: no
// leading zeros, no trailing fractional zeros, no exponent, "-0" is "0".
// It is built by ParseDecimal.
type Decimal struct {
	text  string
	value float64
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

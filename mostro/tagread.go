package mostro

import (
	"math"
	"strconv"
	"strings"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/nbd-wtf/go-nostr"
)

// TagReader reads the tags of a public event. A tag without a value counts as absent:
// `["d"]` is not an address and `["amt"]` is not an amount.
type TagReader nostr.Tags

// values returns all values of the first tag of a name, or nil if there is none.
func (t TagReader) values(name string) []string {
	for _, tag := range t {
		if len(tag) >= 2 && tag[0] == name {
			return tag[1:]
		}
	}
	return nil
}

// Value returns the first value of the first tag of a name, trimmed.
func (t TagReader) Value(name string) string {
	for _, tag := range t {
		if len(tag) >= 2 && tag[0] == name {
			return strings.TrimSpace(tag[1])
		}
	}
	return ""
}

// has reports whether a tag of that name exists, even without a value.
func (t TagReader) has(name string) bool { return t.count(name) > 0 }

func (t TagReader) count(name string) int {
	n := 0
	for _, tag := range t {
		if len(tag) >= 1 && tag[0] == name {
			n++
		}
	}
	return n
}

// Whole reads a non-negative whole number, and returns nil if the value is absent or
// anything else.
func (t TagReader) Whole(name string) *int64 { return wholeNumber(t.Value(name)) }

// decimal reads a decimal number, and returns nil if the value is absent or anything
// else.
func (t TagReader) decimal(name string) *Decimal { return decimalOrNil(t.Value(name)) }

// boolean reads "true" or "false", and returns nil if the value is absent or anything
// else.
func (t TagReader) boolean(name string) *bool {
	switch strings.ToLower(t.Value(name)) {
	case "true":
		return new(true)
	case "false":
		return new(false)
	}
	return nil
}

// float reads a finite, non-negative number as Rust's f64 Display writes it.
func (t TagReader) float(name string) *float64 { return finite(t.Value(name)) }

// pubkey reads a public key in lower-case hex, and returns "" for any other value.
func (t TagReader) pubkey(name string) string {
	if key := t.Value(name); hex32.Valid(key) {
		return key
	}
	return ""
}

// lastSecond is the end of the year 9999. A greater number is not a time in seconds.
const lastSecond = 253402300799

// time reads unix seconds, and returns 0 if the value is absent, not positive or beyond
// the year 9999.
func (t TagReader) time(name string) nostr.Timestamp {
	n := t.Whole(name)
	if n == nil || *n > lastSecond {
		return 0
	}
	return nostr.Timestamp(*n)
}

// list reads one comma-separated value. It trims the items and omits empty items.
func (t TagReader) list(name string) []string { return splitList(t.Value(name)) }

func splitList(s string) []string {
	var out []string
	for piece := range strings.SplitSeq(s, ",") {
		if piece = strings.TrimSpace(piece); piece != "" {
			out = append(out, piece)
		}
	}
	return out
}

// wholeNumber accepts "250000" and "250000.0", because some publishers print integers
// as floats.
func wholeNumber(s string) *int64 {
	d, err := ParseDecimal(s)
	if err != nil || d.Sign() < 0 {
		return nil
	}
	n, ok := d.Int64()
	if !ok {
		return nil
	}
	return &n
}

func decimalOrNil(s string) *Decimal {
	d, err := ParseDecimal(strings.TrimSpace(s))
	if err != nil {
		return nil
	}
	return &d
}

// Claim returns the claimed platform and the second value of the `y` tag. If there are
// several `y` tags, Claim returns "".
func (t TagReader) Claim() (platform, second string) {
	if t.count("y") != 1 {
		return "", ""
	}
	values := t.values("y")
	if len(values) == 0 {
		return "", ""
	}
	platform = platformName(values[0])
	if len(values) > 1 {
		second = strings.TrimSpace(values[1])
	}
	return platform, second
}

// kebab converts CamelCase, UPPER_SNAKE and kebab-case to kebab-case.
func kebab(s string) string {
	s = strings.TrimSpace(s)
	var b strings.Builder
	b.Grow(len(s) + 4)
	lowerBefore := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'A' && c <= 'Z':
			if lowerBefore {
				b.WriteByte('-')
			}
			b.WriteByte(c + 'a' - 'A')
			lowerBefore = false
		case c == '_' || c == ' ':
			b.WriteByte('-')
			lowerBefore = false
		default:
			b.WriteByte(c)
			lowerBefore = c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		}
	}
	return b.String()
}

// rustDisplay formats a float as Rust's Display does: the shortest digits that parse
// back to the same number, without an exponent, "5" for 5.0.
func rustDisplay(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// serdeFloat formats a float as Rust's serde_json does: "5.0" for 5, and an exponent
// without "+" outside 1e-5 <= |f| < 1e16. JSON has no NaN or infinity, so serde writes
// null.
func serdeFloat(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "null"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-5 || a >= 1e16) {
		mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
		sign := ""
		if exponent[0] == '-' {
			sign = "-"
		}
		return mantissa + "e" + sign + strings.TrimLeft(exponent[1:], "0")
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

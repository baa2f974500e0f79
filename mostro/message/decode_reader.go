package message

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds the nesting of values that the reader skips.
const maxDepth = 128

// jsonReader parses one JSON text. It is stricter than encoding/json: keys are
// case-sensitive, a key may occur once, an integer has no fraction or exponent, and
// lone surrogates and invalid UTF-8 are refused. Returned values keep no reference to
// the text, except raw bytes.
type jsonReader struct {
	b     []byte
	pos   int
	draft bool // the message may omit its version
}

func (r *jsonReader) fail(detail string) error {
	return &WireError{Rule: RuleJSON, Detail: fmt.Sprintf("%s at byte %d", detail, r.pos)}
}

func (r *jsonReader) space() {
	for r.pos < len(r.b) {
		switch r.b[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// peek returns the first byte of the next value, or 0 at the end.
func (r *jsonReader) peek() byte {
	r.space()
	if r.pos < len(r.b) {
		return r.b[r.pos]
	}
	return 0
}

func (r *jsonReader) end() error {
	if r.peek() != 0 || r.pos < len(r.b) {
		return r.fail("text after the value")
	}
	return nil
}

// kind names the type of the next value, for errors.
func (r *jsonReader) kind() string {
	switch c := r.peek(); {
	case c == '{':
		return "object"
	case c == '[':
		return "array"
	case c == '"':
		return "string"
	case c == 't' || c == 'f':
		return "boolean"
	case c == 'n':
		return "null"
	case c == '-' || (c >= '0' && c <= '9'):
		return "number"
	}
	return ""
}

func (r *jsonReader) want(what string) error {
	have := r.kind()
	if have == "" {
		return r.fail("no value")
	}
	return NewError(RuleType, "want "+what+", have "+have)
}

func (r *jsonReader) literal(word string) error {
	if !bytes.HasPrefix(r.b[r.pos:], []byte(word)) {
		return r.fail("no value")
	}
	r.pos += len(word)
	return nil
}

// null consumes a null and returns true if the next value is null. object calls visit
// once for each key. The reader then stands at the key's value, and visit must consume
// the value.
func (r *jsonReader) null() (bool, error) {
	if r.peek() != 'n' {
		return false, nil
	}
	return true, r.literal("null")
}

func (r *jsonReader) bool() (bool, error) {
	switch r.peek() {
	case 't':
		return true, r.literal("true")
	case 'f':
		return false, r.literal("false")
	}
	return false, r.want("a boolean")
}

// object calls visit for each key, at its value, which visit must consume.
func (r *jsonReader) object(visit func(key []byte) error) error {
	if r.peek() != '{' {
		return r.want("an object")
	}
	r.pos++
	if r.peek() == '}' {
		r.pos++
		return nil
	}
	var few [24][]byte
	seen := few[:0]
	var many map[string]bool
	for {
		if r.peek() != '"' {
			return r.fail("no key")
		}
		key, err := r.text()
		if err != nil {
			return err
		}
		switch {
		case many != nil:
			if many[string(key)] {
				return InPath(shortKey(key), NewError(RuleDuplicate, "the key occurs twice"))
			}
			many[string(key)] = true
		default:
			for _, k := range seen {
				if bytes.Equal(k, key) {
					return InPath(shortKey(key), NewError(RuleDuplicate, "the key occurs twice"))
				}
			}
			if len(seen) == cap(few[:]) {
				many = make(map[string]bool, 2*len(seen))
				for _, k := range seen {
					many[string(k)] = true
				}
				many[string(key)] = true
			} else {
				seen = append(seen, key)
			}
		}
		if r.peek() != ':' {
			return r.fail("no colon")
		}
		r.pos++
		if err := visit(key); err != nil {
			return InPath(shortKey(key), err)
		}
		switch r.peek() {
		case ',':
			r.pos++
		case '}':
			r.pos++
			return nil
		default:
			return r.fail("object not closed")
		}
	}
}

// shortKey shortens a key for the path of an error.
func shortKey(key []byte) string {
	if len(key) > 40 {
		return strconv.QuoteToASCII(string(key[:40])) + "…"
	}
	for _, c := range key {
		if c < 0x20 || c >= 0x7f || c == '.' {
			return strconv.QuoteToASCII(string(key))
		}
	}
	return string(key)
}

// array calls visit once for each element. The reader then stands at the element, and
// visit must consume the element.
func (r *jsonReader) array(visit func(i int) error) (n int, err error) {
	if r.peek() != '[' {
		return 0, r.want("an array")
	}
	r.pos++
	if r.peek() == ']' {
		r.pos++
		return 0, nil
	}
	for {
		if err := visit(n); err != nil {
			return n, InPath("["+strconv.Itoa(n)+"]", err)
		}
		n++
		switch r.peek() {
		case ',':
			r.pos++
		case ']':
			r.pos++
			return n, nil
		default:
			return n, r.fail("array not closed")
		}
	}
}

// tuple parses an array of exactly want elements. The error for a longer array has the
// number of all elements.
func (r *jsonReader) tuple(want int, visit func(i int) error) error {
	return r.tupleOf(want, want, visit)
}

func (r *jsonReader) tupleOf(least, most int, visit func(i int) error) error {
	n, err := r.array(func(i int) error {
		if i >= most {
			_, err := r.skip(0)
			return err
		}
		return visit(i)
	})
	if err != nil {
		return err
	}
	if n < least || n > most {
		want := strconv.Itoa(most)
		if least != most {
			want = strconv.Itoa(least) + " to " + want
		}
		return NewError(RuleArity, "want "+want+" elements, have "+strconv.Itoa(n))
	}
	return nil
}

// text parses a string. The result may share memory with the input.
func (r *jsonReader) text() ([]byte, error) {
	if r.peek() != '"' {
		return nil, r.want("a string")
	}
	start := r.pos + 1
	for i := start; i < len(r.b); i++ {
		switch c := r.b[i]; {
		case c == '"':
			s := r.b[start:i]
			if !utf8.Valid(s) {
				return nil, r.fail("not UTF-8")
			}
			r.pos = i + 1
			return s, nil
		case c == '\\':
			return r.escaped(start, i)
		case c < 0x20:
			r.pos = i
			return nil, r.fail("control character in a string")
		}
	}
	r.pos = len(r.b)
	return nil, r.fail("string not closed")
}

// escaped parses the rest of a string from its first backslash.
func (r *jsonReader) escaped(start, i int) ([]byte, error) {
	out := append(make([]byte, 0, i-start+32), r.b[start:i]...)
	for i < len(r.b) {
		c := r.b[i]
		switch {
		case c == '"':
			if !utf8.Valid(out) {
				return nil, r.fail("not UTF-8")
			}
			r.pos = i + 1
			return out, nil
		case c < 0x20:
			r.pos = i
			return nil, r.fail("control character in a string")
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		if i+1 >= len(r.b) {
			break
		}
		r.pos = i
		i += 2
		switch r.b[i-1] {
		case '"', '\\', '/':
			out = append(out, r.b[i-1])
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			u, ok := hex4(r.b, i)
			if !ok {
				return nil, r.fail("broken \\u escape")
			}
			i += 4
			if u >= 0xdc00 && u < 0xe000 {
				return nil, r.fail("lone surrogate")
			}
			if u >= 0xd800 && u < 0xdc00 {
				if i+1 >= len(r.b) || r.b[i] != '\\' || r.b[i+1] != 'u' {
					return nil, r.fail("lone surrogate")
				}
				low, ok := hex4(r.b, i+2)
				if !ok || low < 0xdc00 || low >= 0xe000 {
					return nil, r.fail("lone surrogate")
				}
				i += 6
				u = 0x10000 + (u-0xd800)<<10 + (low - 0xdc00)
			}
			out = utf8.AppendRune(out, u)
		default:
			return nil, r.fail("unknown escape")
		}
	}
	r.pos = len(r.b)
	return nil, r.fail("string not closed")
}

func hex4(b []byte, at int) (rune, bool) {
	if at+4 > len(b) {
		return 0, false
	}
	var u rune
	for _, c := range b[at : at+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		u = u<<4 | rune(c)
	}
	return u, true
}

func (r *jsonReader) string() (string, error) {
	b, err := r.text()
	return string(b), err
}

func (r *jsonReader) stringOrNull() (*string, error) {
	if null, err := r.null(); null || err != nil {
		return nil, err
	}
	s, err := r.string()
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// number returns the text of a number and whether it is an integer. "-0" is not an
// integer, because the reference implementation reads "-0" as a float.
func (r *jsonReader) number() (s []byte, integer bool, err error) {
	r.space()
	start, i := r.pos, r.pos
	digit := func() bool { return i < len(r.b) && r.b[i] >= '0' && r.b[i] <= '9' }
	if i < len(r.b) && r.b[i] == '-' {
		i++
	}
	if !digit() {
		if r.kind() != "number" {
			return nil, false, r.want("a number")
		}
		return nil, false, r.fail("broken number")
	}
	if r.b[i] == '0' {
		i++
		if digit() {
			return nil, false, r.fail("leading zero")
		}
	} else {
		for digit() {
			i++
		}
	}
	integer = true
	if i < len(r.b) && r.b[i] == '.' {
		integer = false
		i++
		if !digit() {
			return nil, false, r.fail("broken number")
		}
		for digit() {
			i++
		}
	}
	if i < len(r.b) && (r.b[i] == 'e' || r.b[i] == 'E') {
		integer = false
		i++
		if i < len(r.b) && (r.b[i] == '+' || r.b[i] == '-') {
			i++
		}
		if !digit() {
			return nil, false, r.fail("broken number")
		}
		for digit() {
			i++
		}
	}
	r.pos = i
	s = r.b[start:i]
	if string(s) == "-0" {
		integer = false
	}
	return s, integer, nil
}

func (r *jsonReader) int64() (int64, error) {
	s, integer, err := r.number()
	if err != nil {
		return 0, err
	}
	if !integer {
		return 0, NewError(RuleType, "want an integer")
	}
	n, err := strconv.ParseInt(string(s), 10, 64)
	if err != nil {
		return 0, NewError(RuleRange, "does not fit a signed integer of 64 bits")
	}
	return n, nil
}

func (r *jsonReader) intOrNull() (*int64, error) {
	if null, err := r.null(); null || err != nil {
		return nil, err
	}
	n, err := r.int64()
	if err != nil {
		return nil, err
	}
	return &n, nil
}

func (r *jsonReader) uint(bits int) (uint64, error) {
	s, integer, err := r.number()
	if err != nil {
		return 0, err
	}
	if !integer {
		return 0, NewError(RuleType, "want an integer")
	}
	n, err := strconv.ParseUint(string(s), 10, bits)
	if err != nil {
		return 0, NewError(RuleRange, "does not fit an unsigned integer of "+strconv.Itoa(bits)+" bits")
	}
	return n, nil
}

func (r *jsonReader) float() (float64, error) {
	s, _, err := r.number()
	if err != nil {
		return 0, err
	}
	f, err := strconv.ParseFloat(string(s), 64)
	if err != nil || math.IsInf(f, 0) {
		return 0, NewError(RuleRange, "does not fit a double")
	}
	return f, nil
}

// uuid parses a string that is a UUID.
func (r *jsonReader) uuid() (UUID, error) {
	s, err := r.text()
	if err != nil {
		return UUID{}, err
	}
	return ParseUUID(string(s))
}

// skip skips one value and returns its text.
func (r *jsonReader) skip(depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, r.fail("nested too deep")
	}
	r.space()
	start := r.pos
	var err error
	switch r.peek() {
	case '{':
		err = r.object(func([]byte) error { _, err := r.skip(depth + 1); return err })
	case '[':
		_, err = r.array(func(int) error { _, err := r.skip(depth + 1); return err })
	case '"':
		_, err = r.text()
	case 't', 'f':
		_, err = r.bool()
	case 'n':
		_, err = r.null()
	default:
		_, _, err = r.number()
	}
	if err != nil {
		return nil, err
	}
	return r.b[start:r.pos], nil
}

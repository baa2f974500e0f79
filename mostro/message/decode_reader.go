package message

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/internal/jsonscan"
)

// maxDepth bounds the nesting of values that the reader skips.
const maxDepth = 128

// jsonReader reads the values of one JSON text. It is stricter than encoding/json: keys
// are case-sensitive, a key may occur once, an integer has no fraction or exponent, and
// lone surrogates and invalid UTF-8 are refused. Returned values keep no reference to
// the text.
type jsonReader struct {
	scan  jsonscan.Scanner
	draft bool // the message may omit its version
}

func newReader(b []byte) jsonReader {
	return jsonReader{scan: jsonscan.Scanner{Text: string(b)}}
}

func (r *jsonReader) fail(detail string) error {
	return &WireError{Rule: RuleJSON, Detail: fmt.Sprintf("%s at byte %d", detail, r.scan.Pos)}
}

// syntax returns the WireError of an error of the scanner.
func (r *jsonReader) syntax(err error) error {
	if err == nil {
		return nil
	}
	return r.fail(r.scan.Detail)
}

func (r *jsonReader) end() error { return r.syntax(r.scan.AtEnd()) }

// kind names the type of the next value, for errors.
func (r *jsonReader) kind() string {
	switch c := r.scan.Next(); {
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

// null consumes a null and returns true if the next value is null.
func (r *jsonReader) null() (bool, error) {
	if r.scan.Next() != 'n' {
		return false, nil
	}
	return true, r.syntax(r.scan.Literal("null"))
}

func (r *jsonReader) bool() (bool, error) {
	switch r.scan.Next() {
	case 't':
		return true, r.syntax(r.scan.Literal("true"))
	case 'f':
		return false, r.syntax(r.scan.Literal("false"))
	}
	return false, r.want("a boolean")
}

// object calls visit for each key, at its value, which visit must consume.
func (r *jsonReader) object(visit func(key string) error) error {
	if !r.scan.Take('{') {
		return r.want("an object")
	}
	var few [24]string
	seen := few[:0]
	var many map[string]bool
	for first := true; ; first = false {
		more, err := r.scan.More(first, '}')
		if err != nil || !more {
			return r.syntax(err)
		}
		if r.scan.Next() != '"' {
			return r.fail("no key")
		}
		key, err := r.text()
		if err != nil {
			return err
		}
		if many[key] || slices.Contains(seen, key) {
			return InPath(shortKey(key), NewError(RuleDuplicate, "the key occurs twice"))
		}
		if len(seen) < len(few) {
			seen = append(seen, key)
		} else {
			if many == nil {
				many = make(map[string]bool)
			}
			many[key] = true
		}
		if !r.scan.Take(':') {
			return r.fail("no colon")
		}
		if err := visit(key); err != nil {
			return InPath(shortKey(key), err)
		}
	}
}

// single is object for an object of exactly one key. what names the value, for errors.
func (r *jsonReader) single(what string, visit func(key string) error) error {
	n := 0
	err := r.object(func(key string) error {
		if n++; n > 1 {
			return NewError(RuleArity, "a second "+what)
		}
		return visit(key)
	})
	if err == nil && n == 0 {
		err = NewError(RuleArity, "no "+what)
	}
	return err
}

// shortKey shortens a key for the path of an error.
func shortKey(key string) string {
	if len(key) > 40 {
		return strconv.QuoteToASCII(key[:40]) + "…"
	}
	for _, c := range []byte(key) {
		if c < 0x20 || c >= 0x7f || c == '.' {
			return strconv.QuoteToASCII(key)
		}
	}
	return key
}

// array calls visit for each element, which visit must consume, and returns their number.
func (r *jsonReader) array(visit func(i int) error) (n int, err error) {
	if !r.scan.Take('[') {
		return 0, r.want("an array")
	}
	for ; ; n++ {
		more, err := r.scan.More(n == 0, ']')
		if err != nil || !more {
			return n, r.syntax(err)
		}
		if err := visit(n); err != nil {
			return n, InPath("["+strconv.Itoa(n)+"]", err)
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
			return r.skip(0)
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

// text parses a string. The result may share memory with the text.
func (r *jsonReader) text() (string, error) {
	if r.scan.Next() != '"' {
		return "", r.want("a string")
	}
	start := r.scan.Pos
	s, err := r.scan.Str()
	if err != nil {
		return "", r.syntax(err)
	}
	if !utf8.ValidString(s) {
		r.scan.Pos = start
		return "", r.fail("not UTF-8")
	}
	return s, nil
}

func (r *jsonReader) string() (string, error) {
	s, err := r.text()
	return strings.Clone(s), err
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
func (r *jsonReader) number() (s string, integer bool, err error) {
	if r.kind() != "number" {
		return "", false, r.want("a number")
	}
	s, err = r.scan.Number()
	return s, s != "-0" && !strings.ContainsAny(s, ".eE"), r.syntax(err)
}

func (r *jsonReader) int64() (int64, error) {
	s, integer, err := r.number()
	if err != nil {
		return 0, err
	}
	if !integer {
		return 0, NewError(RuleType, "want an integer")
	}
	n, err := strconv.ParseInt(s, 10, 64)
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
	n, err := strconv.ParseUint(s, 10, bits)
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
	f, err := strconv.ParseFloat(s, 64)
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
	return ParseUUID(s)
}

func (r *jsonReader) uuidOrNull() (*UUID, error) {
	if null, err := r.null(); null || err != nil {
		return nil, err
	}
	id, err := r.uuid()
	return &id, err
}

// skip consumes one value of any type. Unlike the scanner's Skip it refuses all that the
// reader refuses elsewhere.
func (r *jsonReader) skip(depth int) (err error) {
	if depth > maxDepth {
		return r.fail("nested too deep")
	}
	switch r.scan.Next() {
	case '{':
		err = r.object(func(string) error { return r.skip(depth + 1) })
	case '[':
		_, err = r.array(func(int) error { return r.skip(depth + 1) })
	case '"':
		_, err = r.text()
	case 't', 'f':
		_, err = r.bool()
	case 'n':
		_, err = r.null()
	default:
		_, _, err = r.number()
	}
	return err
}

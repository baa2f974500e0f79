// Package jsonscan parses the JSON of client messages (NIP-01): events, filters and
// values of any type. It reads the id of a malformed event if it can, so that the relay
// can name the event in its refusal.
package jsonscan

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/nbd-wtf/go-nostr"
)

// Scanner parses a client's message from left to right. It replaces go-nostr's parser
// for two reasons: one pass without reflection takes a fifth of go-nostr's CPU time,
// and go-nostr refuses events with unknown fields.
//
// A returned string without escapes shares its memory with Text. If the caller keeps a
// short string for a long time, it should clone the string. A Scanner is not safe for
// concurrent use.
type Scanner struct {
	Text string
	Pos  int

	words []string // tag elements of the current event, reused
	ends  []int    // end of each tag in words, reused
}

// ErrSyntax is returned if the text is not JSON.
var ErrSyntax = errors.New("malformed JSON")

const maxJSONDepth = 64

// Reset starts the scan of a new message. It keeps the buffers unless they are large.
func (t *Scanner) Reset(text string) {
	t.Text, t.Pos = text, 0
	if cap(t.words) > 4096 {
		t.words, t.ends = nil, nil
	}
}

// Next skips white space and returns the next byte without consuming it. At the end of
// Text it returns 0.
func (t *Scanner) Next() byte {
	for t.Pos < len(t.Text) {
		switch c := t.Text[t.Pos]; c {
		case ' ', '\t', '\n', '\r':
			t.Pos++
		default:
			return c
		}
	}
	return 0
}

// Take consumes the next byte and returns true if that byte is c.
func (t *Scanner) Take(c byte) bool {
	if t.Next() != c {
		return false
	}
	t.Pos++
	return true
}

// More reports whether an array or object that ends with closer has another element. It
// consumes the comma or the closer. first must be true for the first element only.
func (t *Scanner) More(first bool, closer byte) (bool, error) {
	if t.Take(closer) {
		return false, nil
	}
	if first {
		return true, nil
	}
	if !t.Take(',') {
		return false, ErrSyntax
	}
	if t.Next() == closer {
		return false, ErrSyntax
	}
	return true, nil
}

// AtEnd returns ErrSyntax if any text except white space is left.
func (t *Scanner) AtEnd() error {
	if t.Next() != 0 || t.Pos < len(t.Text) {
		return ErrSyntax
	}
	return nil
}

// Str parses a string. If the next value is not a string, it returns ErrSyntax.
func (t *Scanner) Str() (string, error) {
	if !t.Take('"') {
		return "", ErrSyntax
	}
	start := t.Pos
	i := start
	for ; i+8 <= len(t.Text); i += 8 {
		if at := special8(t.Text[i : i+8]); at < 8 {
			i += at
			break
		}
	}
	for ; i < len(t.Text); i++ {
		c := t.Text[i]
		if c == '"' {
			t.Pos = i + 1
			return t.Text[start:i], nil
		}
		if c == '\\' {
			return t.strEscaped(start, i)
		}
		if c < 0x20 {
			break
		}
	}
	return "", ErrSyntax
}

// special8 returns the position of the first special byte in s, which has eight bytes:
// a quote, a backslash or a control character. If no byte is special, special8 returns
// 8. A borrow of the subtraction can mark a wrong byte, but only after a byte that is
// marked correctly.
func special8(s string) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	_ = s[7]
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	quote, slash := x^('"'*ones), x^('\\'*ones)
	found := (quote-ones)&^quote | (slash-ones)&^slash | (x-0x20*ones)&^x
	return bits.TrailingZeros64(found&tops) / 8
}

func (t *Scanner) strEscaped(start, i int) (string, error) {
	out := make([]byte, 0, i-start+32)
	out = append(out, t.Text[start:i]...)
	for i < len(t.Text) {
		c := t.Text[i]
		switch {
		case c == '"':
			t.Pos = i + 1
			return string(out), nil
		case c < 0x20:
			return "", ErrSyntax
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		if i+1 >= len(t.Text) {
			return "", ErrSyntax
		}
		e := t.Text[i+1]
		i += 2
		switch e {
		case '"', '\\', '/':
			out = append(out, e)
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
			r, ok := t.hex4(i)
			if !ok {
				return "", ErrSyntax
			}
			i += 4
			if utf16.IsSurrogate(r) {
				// An unpaired surrogate has no UTF-8 form, so the event's id cannot be
				// computed.
				low, ok := t.hex4(i + 2)
				if !ok || t.Text[i] != '\\' || t.Text[i+1] != 'u' {
					return "", ErrSyntax
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					return "", ErrSyntax
				}
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", ErrSyntax
		}
	}
	return "", ErrSyntax
}

func (t *Scanner) hex4(at int) (rune, bool) {
	if at+4 > len(t.Text) {
		return 0, false
	}
	var r rune
	for _, c := range []byte(t.Text[at : at+4]) {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// number parses a whole number. If the value is a fraction, has an exponent or is out
// of range, number consumes the text and returns errNotWhole.
func (t *Scanner) number() (int64, error) {
	t.Next()
	start := t.Pos
	for t.Pos < len(t.Text) {
		c := t.Text[t.Pos]
		if c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E' {
			t.Pos++
			continue
		}
		break
	}
	word := t.Text[start:t.Pos]
	if !jsonNumber(word) {
		t.Pos = start
		return 0, ErrSyntax
	}
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return 0, errNotWhole
	}
	return n, nil
}

var errNotWhole = errors.New("not a whole number in range")

// jsonNumber reports whether s is a number of RFC 8259.
func jsonNumber(s string) bool {
	i := 0
	digits := func() bool {
		from := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(s) && s[i] == '-' {
		i++
	}
	if i < len(s) && s[i] == '0' {
		i++
	} else if !digits() {
		return false
	}
	if i < len(s) && s[i] == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(s)
}

// Skip consumes one value of any type. depth is the depth of the value in its document;
// at more than maxJSONDepth levels Skip returns an error.
func (t *Scanner) Skip(depth int) error {
	if depth > maxJSONDepth {
		return errors.New("nested too deeply")
	}
	switch c := t.Next(); {
	case c == '"':
		_, err := t.Str()
		return err
	case c == '[' || c == '{':
		t.Pos++
		closer := c + 2 // in ASCII, ']' and '}' are two after '[' and '{'
		for first := true; ; first = false {
			more, err := t.More(first, closer)
			if err != nil || !more {
				return err
			}
			if c == '{' {
				if _, err := t.Str(); err != nil {
					return err
				}
				if !t.Take(':') {
					return ErrSyntax
				}
			}
			if err := t.Skip(depth + 1); err != nil {
				return err
			}
		}
	case c == '-' || c >= '0' && c <= '9':
		if _, err := t.number(); err == ErrSyntax {
			return err
		}
		return nil
	default:
		for _, word := range [...]string{"true", "false", "null"} {
			if len(t.Text)-t.Pos >= len(word) && t.Text[t.Pos:t.Pos+len(word)] == word {
				t.Pos += len(word)
				return nil
			}
		}
		return ErrSyntax
	}
}

// list calls elem for each element of an array.
func (t *Scanner) list(elem func() error) error {
	if !t.Take('[') {
		return ErrSyntax
	}
	for first := true; ; first = false {
		more, err := t.More(first, ']')
		if err != nil || !more {
			return err
		}
		if err := elem(); err != nil {
			return err
		}
	}
}

// field reads one member with read. If the value has the wrong type, field skips the
// value and returns the error as bad, so that the caller can read the rest of the
// object, in particular the id, and report the error at the end. If the syntax is
// malformed, field returns the error as broken, and the caller stops.
func (t *Scanner) field(name string, read func() error) (bad, broken error) {
	start := t.Pos
	err := read()
	if err == nil {
		return nil, nil
	}
	t.Pos = start
	if broken := t.Skip(0); broken != nil {
		return nil, broken
	}
	if err == ErrSyntax {
		return fmt.Errorf("%s has the wrong type", name), nil
	}
	return fmt.Errorf("%s is %w", name, err), nil
}

// Event parses an event object into evt. If Event returns an error, evt holds the
// members that were read. The refusal names evt.ID if the id was among the members.
func (t *Scanner) Event(evt *nostr.Event) error {
	if !t.Take('{') {
		return errors.New("the event is not an object")
	}
	const all = 1<<7 - 1
	var seen, bit uint8
	var problem error
	for first := true; ; first = false {
		more, err := t.More(first, '}')
		if err != nil {
			return err
		}
		if !more {
			break
		}
		name, err := t.Str()
		if err != nil {
			return err
		}
		if !t.Take(':') {
			return ErrSyntax
		}
		var bad, broken error
		switch name {
		case "id":
			bit = 1 << 0
			bad, broken = t.field(name, func() (err error) { evt.ID, err = t.Str(); return })
		case "pubkey":
			bit = 1 << 1
			bad, broken = t.field(name, func() (err error) { evt.PubKey, err = t.Str(); return })
		case "created_at":
			bit = 1 << 2
			bad, broken = t.field(name, func() error {
				n, err := t.number()
				evt.CreatedAt = nostr.Timestamp(n)
				return err
			})
		case "kind":
			bit = 1 << 3
			bad, broken = t.field(name, func() error {
				n, err := t.number()
				evt.Kind = int(n)
				return err
			})
		case "tags":
			bit = 1 << 4
			bad, broken = t.field(name, func() error { return t.tags(evt) })
		case "content":
			bit = 1 << 5
			bad, broken = t.field(name, func() (err error) { evt.Content, err = t.Str(); return })
		case "sig":
			bit = 1 << 6
			bad, broken = t.field(name, func() (err error) { evt.Sig, err = t.Str(); return })
		default:
			bit = 0
			broken = t.Skip(0)
		}
		if broken != nil {
			return broken
		}
		if bad == nil && seen&bit != 0 {
			bad = fmt.Errorf("%s is given twice", name)
		}
		seen |= bit
		if problem == nil {
			problem = bad
		}
	}
	if problem == nil && seen != all {
		for i, name := range [...]string{"id", "pubkey", "created_at", "kind", "tags", "content", "sig"} {
			if seen&(1<<i) == 0 {
				return fmt.Errorf("%s is missing", name)
			}
		}
	}
	return problem
}

// tags reads all tags into one shared array of strings, so an event takes two
// allocations.
func (t *Scanner) tags(evt *nostr.Event) error {
	t.words, t.ends = t.words[:0], t.ends[:0]
	err := t.list(func() error {
		err := t.list(func() error {
			word, err := t.Str()
			t.words = append(t.words, word)
			return err
		})
		t.ends = append(t.ends, len(t.words))
		return err
	})
	if err != nil {
		return err
	}
	words := make([]string, len(t.words))
	copy(words, t.words)
	clear(t.words) // otherwise the frame's memory would stay in use
	evt.Tags = make(nostr.Tags, len(t.ends))
	from := 0
	for i, to := range t.ends {
		evt.Tags[i] = words[from:to:to]
		from = to
	}
	return nil
}

// Filter parses a filter object into f. Members that are not in NIP-01 or NIP-50 are
// skipped. If a tag filter is one that this relay cannot apply, Filter returns an
// error, because the relay would otherwise return events that the filter excludes. The
// error text begins with an OK or CLOSED prefix of NIP-01.
func (t *Scanner) Filter(f *nostr.Filter) error {
	if !t.Take('{') {
		return errors.New("invalid: a filter is not an object")
	}
	for first := true; ; first = false {
		more, err := t.More(first, '}')
		if err != nil {
			return fmt.Errorf("invalid: %w", err)
		}
		if !more {
			return nil
		}
		name, err := t.Str()
		if err == nil && !t.Take(':') {
			err = ErrSyntax
		}
		if err != nil {
			return fmt.Errorf("invalid: %w", err)
		}
		switch name {
		case "ids":
			f.IDs, err = t.strings(hex32.Valid)
		case "authors":
			f.Authors, err = t.strings(hex32.Valid)
		case "kinds":
			f.Kinds = []int{}
			err = t.list(func() error {
				n, err := t.number()
				f.Kinds = append(f.Kinds, int(n))
				return err
			})
		case "since", "until":
			var n int64
			if n, err = t.number(); err == nil {
				at := nostr.Timestamp(n)
				if name == "since" {
					f.Since = &at
				} else {
					f.Until = &at
				}
			}
		case "limit":
			var n int64
			if n, err = t.number(); err == nil && n < 0 {
				err = errNotWhole
			}
			f.Limit, f.LimitZero = int(min(n, 1<<30)), n == 0
		case "search":
			f.Search, err = t.Str()
		default:
			if len(name) == 0 || name[0] != '#' && name[0] != '&' {
				err = t.Skip(0)
				break
			}
			if name[0] == '&' || len(name) != 2 || !IsTagLetter(name[1]) {
				return fmt.Errorf("unsupported: the tag filter %.20q is not one this relay can answer", name)
			}
			if f.Tags == nil {
				f.Tags = make(nostr.TagMap, 2)
			}
			f.Tags[name[1:]], err = t.strings(nil)
		}
		if err != nil {
			return fmt.Errorf("invalid: %.20s in a filter: %w", name, err)
		}
	}
}

func (t *Scanner) strings(valid func(string) bool) ([]string, error) {
	out := []string{}
	err := t.list(func() error {
		s, err := t.Str()
		if err == nil && valid != nil && !valid(s) {
			err = errors.New("not 64 lower-case hex digits")
		}
		out = append(out, s)
		return err
	})
	return out, err
}

// IsTagLetter reports whether c is an ASCII letter, the name of a tag that NIP-01 filters
// can select.
func IsTagLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

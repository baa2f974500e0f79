// Package words splits texts into the folded words by which orders are found, with bounds
// on their number and length. The package also maps names of countries and languages to
// currencies. The package does no I/O.
package words

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxWord bounds a word in runes. Longer words are cut, both in indexed texts and in
// queries.
const MaxWord = 40

// spelled maps letters that have no decomposition to ASCII.
var spelled = map[rune]string{
	'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'đ': "d", 'ð': "d", 'ł': "l", 'ı': "i", 'þ': "th", 'ħ': "h", 'ŧ': "t",
}

// Fold returns a text in the form in which texts are compared: compatibility
// decomposition, no accents, lower case, Latin letters in ASCII. For example, Fold
// returns "pago movil" for "Pago Móvil".
func Fold(s string) string {
	ascii := true
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			ascii = false
			break
		}
	}
	if ascii {
		return strings.ToLower(s)
	}
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range norm.NFKD.String(strings.ToValidUTF8(s, "\uFFFD")) { // NFKD does not decompose the text behind an invalid byte
		if unicode.Is(unicode.Mn, r) {
			continue
		}
		r = unicode.ToLower(r)
		if in, ok := spelled[r]; ok {
			b.WriteString(in)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Split appends the folded words of a text to dst and returns the result. A word is a run
// of letters and digits. In scripts without spaces, each character is a word. Signs and
// emoji separate words. The time is linear in the length of the text.
func Split(dst []string, text string) []string {
	folded := Fold(text)
	start, runes := -1, 0
	skip := false // skipping the rest of a run longer than MaxWord
	flush := func(end int) {
		if start >= 0 {
			dst = append(dst, folded[start:end])
		}
		start, runes = -1, 0
	}
	for i, r := range folded {
		var letter bool
		if r < utf8.RuneSelf {
			letter = r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
		} else {
			letter = unicode.IsLetter(r) || unicode.IsDigit(r)
		}
		if !letter {
			flush(i)
			skip = false
			continue
		}
		if skip {
			continue
		}
		if r >= utf8.RuneSelf && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai) {
			flush(i)
			dst = append(dst, string(r))
			continue
		}
		if start < 0 {
			start = i
		}
		if runes++; runes > MaxWord {
			flush(i)
			skip = true
		}
	}
	flush(len(folded))
	return dst
}

// Cut returns the first n bytes of s or fewer, so that no character is split.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// joins are words that are too common to search for. Asked leaves them out if the query
// has other words.
var joins = []string{"a", "and", "com", "con", "da", "das", "de", "del", "do", "dos", "e", "el", "em", "en", "for", "in", "la", "las", "los", "of", "o", "os", "para", "the", "with", "y"}

// MaxAsked bounds the words of one query.
const MaxAsked = 16

// Asked returns the distinct words of a query, in order. If a query is longer than
// MaxText bytes or has more than MaxAsked words, the rest is ignored.
func Asked(text string) []string {
	all := Split(nil, Cut(text, MaxText))
	out := make([]string, 0, MaxAsked)
	for _, skipJoins := range []bool{true, false} {
		for _, w := range all {
			_, common := slices.BinarySearch(sortedJoins, w)
			if common && skipJoins || slices.Contains(out, w) {
				continue
			}
			if out = append(out, w); len(out) == MaxAsked {
				return out
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}

var sortedJoins = slices.Sorted(slices.Values(joins))

// AnyBegins reports whether one of the words begins with prefix.
func AnyBegins(have []string, prefix string) bool {
	return slices.ContainsFunc(have, func(w string) bool { return strings.HasPrefix(w, prefix) })
}

// AllBegin reports whether each wanted word is a prefix of one of the words.
func AllBegin(have, wanted []string) bool {
	for _, w := range wanted {
		if !AnyBegins(have, w) {
			return false
		}
	}
	return true
}

// MaxText bounds the bytes of a NIP-50 search string. If a string is longer, the rest is
// ignored.
const MaxText = 4096

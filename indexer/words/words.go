// Package words takes texts apart into the words that orders are found by: folded,
// bounded, and with the countries and languages that stand for a currency. It
// does no I/O.
package words

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxWord bounds a word in runes: longer runs of letters are cut, in what is
// indexed and in what is asked alike.
const MaxWord = 40

// letters that no decomposition takes apart.
var spelled = map[rune]string{
	'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'đ': "d", 'ð': "d", 'ł': "l", 'ı': "i", 'þ': "th", 'ħ': "h", 'ŧ': "t",
}

// Fold brings a text to the form in which it is compared: compatibility
// decomposition, no accents, lower case, Latin letters spelled in ASCII.
// "Pago Móvil" is "pago movil".
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
	for _, r := range norm.NFKD.String(strings.ToValidUTF8(s, "\uFFFD")) { // of a broken rune it gives what follows undecomposed
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

// Split appends the folded words of a text: runs of letters and digits.
// Writings without spaces return one word a character. Signs and emoji part
// words and are none. The time is linear in the length of the text.
func Split(dst []string, text string) []string {
	folded := Fold(text)
	start, runes := -1, 0
	skip := false // the rest of a run that is longer than maxWord
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

// Cut returns the beginning of s, at most n bytes, without a torn character.
func Cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// joins are words too common to be asked for: they are left out of a question
// that has others.
var joins = []string{"a", "and", "com", "con", "da", "das", "de", "del", "do", "dos", "e", "el", "em", "en", "for", "in", "la", "las", "los", "of", "o", "os", "para", "the", "with", "y"}

// MaxAsked bounds the words of one question.
const MaxAsked = 16

// Asked returns the distinct words of a question, in order. Only the first
// maxSearch bytes and maxAsked words are looked at.
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

// AnyBegins says whether one of the words begins with prefix.
func AnyBegins(have []string, prefix string) bool {
	return slices.ContainsFunc(have, func(w string) bool { return strings.HasPrefix(w, prefix) })
}

// AllBegin says whether each asked word is the beginning of one of the words.
func AllBegin(have, wanted []string) bool {
	for _, w := range wanted {
		if !AnyBegins(have, w) {
			return false
		}
	}
	return true
}

// MaxText bounds a NIP-50 search string; what is behind is not read.
const MaxText = 4096

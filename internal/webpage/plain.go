package webpage

import (
	"strings"
	"unicode"
)

// maxMarks is the number of marks that may follow a character. More are a text that covers its
// neighbours.
const maxMarks = 3

// Plain returns a text of a user in a form that cannot change how the page around it looks or
// reads. Control characters and invisible characters, among them those that change the
// direction of text, are replaced by U+FFFD. Line breaks stay.
func Plain(s string) string {
	var b strings.Builder
	marks := 0
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me):
			if marks++; marks > maxMarks {
				continue
			}
		case r == '\n':
			marks = 0
		case r == '\u2028' || r == '\u2029', unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Co, unicode.Cs), hangulFiller(r):
			marks, r = 0, unicode.ReplacementChar
		default:
			marks = 0
		}
		b.WriteRune(r)
	}
	return b.String()
}

// hangulFiller reports the letters of Unicode that show nothing.
func hangulFiller(r rune) bool {
	return r == '\u115f' || r == '\u1160' || r == '\u3164' || r == '\uffa0'
}

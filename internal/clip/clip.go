// Package clip shortens text without breaking a character.
package clip

import "unicode/utf8"

// Text returns the longest beginning of s that has at most n bytes and ends
// with a whole character.
func Text(s string, n int) string {
	for len(s) > n {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

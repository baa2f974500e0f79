package lang

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// sentence is an English text with arguments that can be recognised.
type sentence struct {
	key     string
	pattern *regexp.Regexp
}

// sentences are the texts whose keys begin with "reason.", those with the most letters first.
var sentences = sync.OnceValue(func() []sentence {
	var out []sentence
	length := map[string]int{}
	for key, forms := range load().keys {
		if !strings.HasPrefix(key, "reason.") {
			continue
		}
		english := forms[English.Code][0]
		length[key] = len(strings.ReplaceAll(english, "%s", ""))
		pattern := strings.ReplaceAll(regexp.QuoteMeta(english), "%s", "(.+)")
		out = append(out, sentence{key, regexp.MustCompile(`(?s)^` + strings.ReplaceAll(pattern, "%%", "%") + `$`)})
	}
	slices.SortFunc(out, func(a, b sentence) int {
		return cmp.Or(cmp.Compare(length[b.key], length[a.key]), strings.Compare(a.key, b.key))
	})
	return out
})

// maxSentence bounds the bytes of a sentence that is translated. The longest reason names a
// value of 1,024 bytes, of which each byte may be escaped as four.
const maxSentence = 6 << 10

// Translate returns a sentence that the program wrote in English, such as the reason of an error,
// in this language. The English text is the code of the sentence, and its values are carried over.
// A sentence without a translation is returned as it is. Code is the last part of the key of the
// text, "" if there is none.
func (l *Lang) Translate(english string) (text, code string) {
	prepare()
	if len(english) > maxSentence {
		return english, ""
	}
	for _, s := range sentences() {
		m := s.pattern.FindStringSubmatch(english)
		if m == nil {
			continue
		}
		args := make([]any, len(m)-1)
		for i, arg := range m[1:] {
			args[i] = l.list(arg)
		}
		return l.T(s.key, args...), strings.TrimPrefix(s.key, "reason.")
	}
	return english, ""
}

// list translates the "and" or "or" before the last name of a list. A value that a visitor wrote
// stands in quotes, and is left alone.
func (l *Lang) list(names string) string {
	if strings.HasPrefix(names, `"`) {
		return names
	}
	for _, word := range []string{"and", "or"} {
		if i := strings.LastIndex(names, " "+word+" "); i >= 0 {
			return names[:i] + " " + l.T("list."+word) + " " + names[i+len(word)+2:]
		}
	}
	return names
}

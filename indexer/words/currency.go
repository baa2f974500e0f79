package words

import (
	_ "embed"
	"slices"
	"strings"
	"sync"
)

// currencyText is the table of the words of each currency: its code, its name, and the
// countries and languages of its users, in English, Spanish and Portuguese.
//
//go:embed data/currencies.txt
var currencyText string

type currencyWord struct {
	word  string
	codes []string
}

// currencyWords returns all folded words of the table, sorted, each with its currency
// codes.
var currencyWords = sync.OnceValue(func() []currencyWord {
	byWord := map[string][]string{}
	for line := range strings.Lines(currencyText) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		code, rest, _ := strings.Cut(line, "|")
		for _, w := range Split(nil, code+" "+rest) {
			if _, common := slices.BinarySearch(sortedJoins, w); common {
				continue
			}
			if !slices.Contains(byWord[w], code) {
				byWord[w] = append(byWord[w], code)
			}
		}
	}
	out := make([]currencyWord, 0, len(byWord))
	for w, codes := range byWord {
		slices.Sort(codes)
		out = append(out, currencyWord{w, codes})
	}
	slices.SortFunc(out, func(a, b currencyWord) int { return strings.Compare(a.word, b.word) })
	return out
})

// CurrenciesOf returns the codes of the currencies that a folded word, or a prefix of
// one, stands for. For example, "venez" returns VED and VES. If word is shorter than
// three letters, CurrenciesOf returns nil.
func CurrenciesOf(word string) []string {
	if len(word) < 3 {
		return nil
	}
	all := currencyWords()
	i, _ := slices.BinarySearchFunc(all, word, func(c currencyWord, w string) int { return strings.Compare(c.word, w) })
	var codes []string
	for ; i < len(all) && strings.HasPrefix(all[i].word, word); i++ {
		codes = append(codes, all[i].codes...)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// currencyCodes returns the codes of the table, sorted.
var currencyCodes = sync.OnceValue(func() []string {
	var out []string
	for line := range strings.Lines(currencyText) {
		if code, _, ok := strings.Cut(strings.TrimSpace(line), "|"); ok && code[0] != '#' {
			out = append(out, code)
		}
	}
	slices.Sort(out)
	return out
})

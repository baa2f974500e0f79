package words

import (
	"slices"
	"strings"
)

// Near returns the word of a vocabulary that a misspelled word stands for, and "" if there is
// none. A word of four to seven letters may have one mistake, a longer word two: a letter that
// is missing, wrong or too much, or two letters exchanged. Digits are not corrected. Among
// equally near words the first one in the vocabulary is returned, so a vocabulary lists the
// most frequent first.
func Near(word string, vocabulary []string) string {
	n := len(word)
	if n < 4 || n > MaxWord || strings.ContainsAny(word, "0123456789") {
		return ""
	}
	allowed := 1
	if n > 7 {
		allowed = 2
	}
	best := ""
	for _, v := range vocabulary {
		if d := len(v) - n; d > allowed || d < -allowed || len(v) < 3 {
			continue
		}
		if d := distance(word, v, allowed); d <= allowed {
			if best = v; d == 0 {
				return best
			}
			allowed = d - 1 // only a nearer word is better
		}
	}
	return best
}

// distance returns the number of mistakes between two words of at most MaxWord+2 bytes, or a
// number above limit if it is greater than limit.
func distance(a, b string, limit int) int {
	var rows [3][MaxWord + 3]int
	before, last, now := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, before[j-2]+1)
			}
			now[j] = d
			least = min(least, d)
		}
		if least > limit {
			return limit + 1
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}

// Wish is a question in the words of a person, such as "comprar bitcoin con zelle", in parts.
type Wish struct {
	Verb   string   // "buy" or "sell", what the person wants to do; "": not said
	Number string   // the only number of the text, such as "100"; "": none, or several
	Rest   []string // the folded words by which orders are found
}

// verbs and fillers are words of Spanish, English and Portuguese that say what a person wants
// to do, or nothing about an order.
var (
	verbs = map[string]string{
		"buy": "buy", "buying": "buy", "comprar": "buy", "compro": "buy", "compra": "buy", "comprando": "buy",
		"sell": "sell", "selling": "sell", "vender": "sell", "vendo": "sell", "venta": "sell", "vende": "sell", "vendendo": "sell", "vendiendo": "sell", "venda": "sell",
	}
	fillers = map[string]bool{
		"i": true, "want": true, "to": true, "need": true, "bitcoin": true, "bitcoins": true, "btc": true, "sats": true, "satoshis": true, "using": true, "via": true, "by": true, "my": true, "pay": true, "paying": true,
		"quiero": true, "necesito": true, "busco": true, "quisiera": true, "por": true, "usando": true, "mediante": true, "pagando": true, "pagar": true, "mi": true, "un": true, "una": true, "unos": true, "me": true,
		"quero": true, "preciso": true, "procuro": true, "um": true, "uma": true, "meu": true, "pelo": true, "pela": true, "no": true, "na": true, "al": true,
	}
)

// Understand splits a question of a person. Words that say nothing about an order are left out,
// unless nothing else is left.
func Understand(text string) Wish {
	var w Wish
	numbers := 0
	for _, word := range Split(nil, Cut(text, MaxText)) {
		verb := verbs[word]
		switch {
		case len(w.Rest) >= MaxAsked:
		case verb != "":
			if w.Verb == "" {
				w.Verb = verb
			}
		case fillers[word], IsJoin(word):
		case len(word) <= 9 && strings.Trim(word, "0123456789") == "":
			w.Number = word
			numbers++
		default:
			w.Rest = append(w.Rest, word)
		}
	}
	if numbers > 1 {
		w.Number = ""
	}
	return w
}

// IsJoin reports whether a folded word only joins others, such as "con".
func IsJoin(word string) bool {
	_, join := slices.BinarySearch(sortedJoins, word)
	return join
}

// CurrencyVocabulary returns the folded words of all currencies, sorted.
func CurrencyVocabulary() []string {
	all := currencyWords()
	out := make([]string, len(all))
	for i, c := range all {
		out[i] = c.word
	}
	return out
}

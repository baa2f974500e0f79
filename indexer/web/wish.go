package web

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/words"
)

// vocabulary is what the orders on offer hold: the currencies and payment methods of the form,
// and the words by which misspelled words are corrected.
type vocabulary struct {
	at             time.Time
	fiats, methods []countRow
	words          []string          // folded, the most frequent first
	joined         map[string]string // "pagomovil" to "pago movil"
	joinedWords    []string
}

// vocabularyAge is the time for which a vocabulary is used.
const vocabularyAge = 20 * time.Second

// vocabularies keeps the newest vocabulary. Requests share it, because making it counts the
// orders of the book.
type vocabularies struct {
	mu   sync.Mutex
	last *vocabulary
}

// get returns the vocabulary of the orders on offer.
func (c *vocabularies) get(ctx context.Context, x *views) (*vocabulary, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := x.index.Now()
	if c.last != nil && now.Sub(c.last.at).Abs() < vocabularyAge {
		return c.last, nil
	}
	a, err := x.find(ctx, orders.Query{Limit: 1})
	if err != nil {
		return nil, err
	}
	v := &vocabulary{at: now, fiats: most(a.Facets.Fiat, 120), methods: most(a.Facets.Method, 50), joined: map[string]string{}}
	known := map[string]bool{}
	add := func(name string) {
		all := words.Split(nil, name)
		for _, w := range all {
			if !known[w] && !words.IsJoin(w) {
				known[w] = true
				v.words = append(v.words, w)
			}
		}
		if joined := strings.Join(all, ""); len(all) > 1 && len(all) <= 4 && v.joined[joined] == "" {
			v.joined[joined] = strings.Join(all, " ")
			v.joinedWords = append(v.joinedWords, joined)
		}
	}
	for i := range v.methods {
		v.methods[i].Text = plainLine(x.index.MethodSpelling(v.methods[i].Name))
		add(v.methods[i].Name)
	}
	for _, p := range most(a.Facets.Platform, 20) {
		add(p.Name)
	}
	infos := x.index.Infos()
	for _, info := range infos[:min(len(infos), 500)] {
		add(info.Name)
	}
	c.last = v
	return v, nil
}

// correct returns words with the nearest words that orders on offer hold. Words that resemble
// none are left out, and dropped lists them.
func (v *vocabulary) correct(asked []string) (corrected, dropped []string) {
	for _, w := range asked {
		switch {
		case words.AnyBegins(v.words, w), words.CurrenciesOf(w) != nil:
			corrected = append(corrected, w)
			continue
		case v.joined[w] != "":
			corrected = append(corrected, v.joined[w])
			continue
		}
		near := words.Near(w, v.words)
		if near == "" {
			near = v.joined[words.Near(w, v.joinedWords)]
		}
		if near == "" {
			near = words.Near(w, words.CurrencyVocabulary())
		}
		if near == "" {
			dropped = append(dropped, w)
			continue
		}
		corrected = append(corrected, near)
	}
	return corrected, dropped
}

// understand puts the words of the form into the fields that they mean: "comprar 100 ves con
// zelle" sets what the visitor wants, the amount and the currency. Text with quotes or key:value
// pairs is left alone.
func (v *vocabulary) understand(form url.Values) {
	text := strings.Join(form["q"], " ")
	if strings.ContainsAny(text, `":`) || len(text) > maxParam {
		return
	}
	w := words.Understand(text)
	if w.Verb != "" && form.Get("side") == "" {
		form.Set("side", sideOf(w.Verb))
	}
	if w.Number != "" {
		if form.Get("fiat_amount") == "" && form.Get("amount") == "" {
			form.Set("fiat_amount", w.Number)
		} else {
			w.Rest = append(w.Rest, w.Number)
		}
	}
	w.Rest = slices.DeleteFunc(w.Rest, func(word string) bool {
		isCode := slices.ContainsFunc(v.fiats, func(c countRow) bool { return strings.EqualFold(c.Name, word) })
		if isCode && form.Get("fiat") == "" {
			form.Set("fiat", strings.ToUpper(word))
			return true
		}
		return false
	})
	if form.Del("q"); len(w.Rest) > 0 {
		form.Set("q", strings.Join(w.Rest, " "))
	}
}

// sideOf returns the side of the maker of orders for a visitor who wants to buy or sell.
func sideOf(want string) string {
	switch want {
	case "buy":
		return "sell"
	case "sell":
		return "buy"
	}
	return ""
}

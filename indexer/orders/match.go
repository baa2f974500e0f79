package orders

import (
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
)

// Matches reports whether an order meets all conditions of q, except its text, at a time.
// matches is the plain definition of the result that the column store and search compute
// from their indexes. Histories are filtered with matches, and a result from an index is
// checked with matches before it is shown.
func (q *Query) Matches(v *Version, now time.Time) bool {
	if v.Withdrawn || q.Hidden.Hides(v.Order.Pubkey, v.Order.EventID, q.Spam) {
		return false
	}
	o := &v.Order
	live := v.LiveAt(now)
	takeable := live && o.Status == mostro.StatusPending
	switch q.Open {
	case OpenTrue:
		if !live || len(q.Status) == 0 && !takeable {
			return false
		}
	case OpenFalse:
		if takeable {
			return false
		}
	}
	if created := ClampTime(int64(o.CreatedAt)); created < q.Since || q.Until != 0 && created > q.Until {
		return false
	}
	for _, f := range Filters {
		if f.Given(q) && !f.Matches(q, o) {
			return false
		}
	}
	return true
}

func (q *Query) methodMatches(methods []string) bool {
	for _, ask := range q.Method {
		wanted := words.Asked(ask)
		for _, m := range methods {
			if words.AllBegin(MethodWords(nil, m), wanted) {
				return true
			}
		}
	}
	return false
}

// TextMatches reports whether each wanted word is a prefix of a word of the order's text,
// stands for its currency, or is a prefix of a word of its instance.
func TextMatches(wanted []string, o *mostro.Order, instanceWords []string) bool {
	if len(wanted) == 0 {
		return true
	}
	text := OrderWords(o)
	for _, w := range wanted {
		if !words.AnyBegins(text, w) && !words.AnyBegins(instanceWords, w) && !slices.Contains(words.CurrenciesOf(w), o.Fiat) {
			return false
		}
	}
	return true
}

// OrderWords returns the words by which search finds an order: its payment methods, its
// description, the instance name that the order states, and its currency.
func OrderWords(o *mostro.Order) []string {
	var out []string
	for _, m := range o.Methods {
		out = MethodWords(out, m)
	}
	out = words.Split(out, o.Description)
	out = words.Split(out, o.InstanceName)
	return words.Split(out, o.Fiat)
}

// Statuses returns the statuses of the live orders that a query selects.
func (q *Query) Statuses() []mostro.Status {
	want := q.Status
	switch {
	case len(want) == 0 && q.Open == OpenTrue:
		want = []mostro.Status{mostro.StatusPending}
	case len(want) == 0:
		want = Statuses[:]
	}
	if q.Open == OpenFalse {
		want = slices.DeleteFunc(slices.Clone(want), func(s mostro.Status) bool { return s == mostro.StatusPending })
	}
	return want
}

// maxMethodWords bounds the words indexed of one payment method.
const maxMethodWords = 8

// MethodWords appends to dst the words by which a payment method is found, and returns
// the result.
func MethodWords(dst []string, method string) []string {
	n := len(dst)
	dst = words.Split(dst, method)
	return dst[:min(len(dst), n+maxMethodWords)]
}

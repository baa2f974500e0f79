package indexer

import (
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
)

// matches reports whether an order meets all conditions of q, except its text, at a time.
// matches is the plain definition of the result that the column store and search compute
// from their indexes. Histories are filtered with matches, and a result from an index is
// checked with matches before it is shown.
func (q *Query) matches(v *Version, now time.Time) bool {
	if v.Withdrawn || q.hidden.hides(v.Order.Pubkey, v.Order.EventID, q.Spam) {
		return false
	}
	o := &v.Order
	live := v.liveAt(now)
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
	if created := clampTime(int64(o.CreatedAt)); created < q.since || q.until != 0 && created > q.until {
		return false
	}
	for _, f := range filters {
		if f.given(q) && !f.matches(q, o) {
			return false
		}
	}
	return true
}

func (q *Query) methodMatches(methods []string) bool {
	for _, ask := range q.Method {
		wanted := words.Asked(ask)
		for _, m := range methods {
			if words.AllBegin(methodWords(nil, m), wanted) {
				return true
			}
		}
	}
	return false
}

// textMatches reports whether each wanted word is a prefix of a word of the order's text,
// stands for its currency, or is a prefix of a word of its instance.
func textMatches(wanted []string, o *mostro.Order, instanceWords []string) bool {
	if len(wanted) == 0 {
		return true
	}
	text := orderWords(o)
	for _, w := range wanted {
		if !words.AnyBegins(text, w) && !words.AnyBegins(instanceWords, w) && !slices.Contains(words.CurrenciesOf(w), o.Fiat) {
			return false
		}
	}
	return true
}

// orderWords returns the words by which search finds an order: its payment methods, its
// description, the instance name that the order states, and its currency.
func orderWords(o *mostro.Order) []string {
	var out []string
	for _, m := range o.Methods {
		out = methodWords(out, m)
	}
	out = words.Split(out, o.Description)
	out = words.Split(out, o.InstanceName)
	return words.Split(out, o.Fiat)
}

// markOf returns the sort position of an order in the results of the query.
func (q *Query) markOf(k Key, v *Version) mark {
	m := mark{id: k}
	switch sorts[q.sort()].order {
	case byCreated:
		m.key = uint64(clampTime(int64(v.Order.CreatedAt)))
	case byPremium:
		m.key = floatKey(floatOf(v.Order.PremiumPct))
	case byAmount:
		m.key = unknownKey
		if v.Order.AmountSats != nil {
			m.key = amountKey(*v.Order.AmountSats)
		}
	case byExpiry:
		m.key = expiryKey(v.endsAt())
	}
	return m
}

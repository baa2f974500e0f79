package orders

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bounds of a saved filter. It is compared with every change of the book, so it is smaller than
// a query may be.
const (
	MaxFilter       = 512 // bytes
	maxFilterValues = 20  // values of all lists together
)

// savedParams are the parameters of GET /api/v1/orders that a saved filter may have, besides
// the keys of the table of filters.
var savedParams = []string{"min_rank", "min_premium", "max_premium", "min_maker_rating", "min_maker_days"}

// ParseFilter parses a saved filter: pairs such as fiat:VES or premium:<=2, separated by
// spaces. A value with spaces is quoted, as in method:"pago movil". Words without a key are
// refused, because they are not compared, and so is status: a saved filter is for orders on
// offer. A filter without a condition is valid and matches every order on offer. The error is
// a *QueryError.
func ParseFilter(text string) (Query, error) {
	refuse := func(format string, args ...any) (Query, error) {
		return Query{}, &QueryError{"filter", fmt.Sprintf(format, args...)}
	}
	if len(text) > MaxFilter {
		return refuse("longer than %d bytes", MaxFilter)
	}
	q := Query{}
	for _, token := range splitSearch(text) {
		key, value, isPair := strings.Cut(token.text, ":")
		key, value = strings.ToLower(key), strings.TrimSpace(value)
		if token.quoted || !isPair {
			return refuse("%q is not a pair such as fiat:VES; words are not compared", token.text)
		}
		if value == "" {
			return refuse("%s has no value", key)
		}
		if err := setSaved(&q, key, value); err != nil {
			return refuse("%s: %s", key, err)
		}
	}
	if n := len(q.Fiat) + len(q.Side) + len(q.Method) + len(q.Platform) + len(q.Instance) + len(q.Network); n > maxFilterValues {
		return refuse("more than %d values", maxFilterValues)
	}
	return q, nil
}

var errUnknownKey = errors.New("unknown; known are " + strings.Join(SavedKeys(), ", "))

// setSaved sets one condition of a saved filter.
func setSaved(q *Query, key, value string) error {
	if f, ok := FilterOf(key); ok && f.Name != "status" {
		return f.set(q, value)
	}
	at := slices.IndexFunc(orderParams, func(p Param) bool { return p.Name == key })
	if at < 0 || !slices.Contains(savedParams, key) {
		return errUnknownKey
	}
	return orderParams[at].set(q, value)
}

// SavedKeys returns the keys of saved filters, without aliases.
func SavedKeys() (keys []string) {
	for _, key := range append(SearchKeys(), savedParams...) {
		if key != "status" {
			keys = append(keys, key)
		}
	}
	return keys
}

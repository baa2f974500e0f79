package livebook

import (
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
)

// countedFacets are the cached facets of a query. They are valid if the column store has
// not changed. If a query has manyResults or more, most of its cost is counting, so its
// facets may be up to facetAge old. Totals are always exact.
type countedFacets struct {
	changes uint64
	at      time.Time
	total   int
	facets  orders.Facets
}

const (
	maxCachedFacets = 256
	manyResults     = 50_000 // from this number of results on, facets may be up to facetAge old
	facetAge        = time.Second
)

// cachedFacets is Store.facets with a cache. The facets are shared and must not be changed. The
// caller holds mu.
func cachedFacets(s *Store, q *orders.Query, sel selection) orders.Facets {
	if sel.whole > 0 {
		return s.facets(sel)
	}
	asked := *q
	asked.Cursor, asked.Sort, asked.Limit = "", "", 0
	name := asked.CacheKey()
	n := sel.size()
	held, ok := s.counted.Get(name)
	if ok && (held.changes == s.changes && held.total == n || n >= manyResults && time.Since(held.at) < facetAge) {
		return held.facets
	}
	out := s.facets(sel)
	s.counted.Put(name, countedFacets{s.changes, time.Now(), n, out})
	return out
}

package livebook

import (
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
)

// facetCache caches the facets of recent queries. An entry is valid if the column store
// has not changed. If a query has manyResults or more, most of its cost is counting, so
// its facets may be up to facetAge old. Totals are always exact.
type facetCache struct {
	mu  sync.Mutex
	all map[string]countedFacets
}

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

// facets returns the facets of a selection. The facets are shared and must not be
// changed. The caller holds the lock of the column store.
func (c *facetCache) facets(q *orders.Query, s *Store, sel selection) orders.Facets {
	if sel.whole > 0 {
		return s.facets(sel)
	}
	asked := *q
	asked.Cursor, asked.Sort, asked.Limit = "", "", 0
	name := asked.CacheKey()
	n := sel.size()
	c.mu.Lock()
	held, ok := c.all[name]
	c.mu.Unlock()
	if ok && (held.changes == s.changes && held.total == n || n >= manyResults && time.Since(held.at) < facetAge) {
		return held.facets
	}
	out := s.facets(sel)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= maxCachedFacets {
		c.all = map[string]countedFacets{}
	}
	c.all[name] = countedFacets{s.changes, time.Now(), n, out}
	return out
}

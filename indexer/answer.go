package indexer

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/words"
)

// Answer is one page of orders.
type Answer struct {
	Orders []*Record
	Total  int // of all pages
	Facets Facets
	Next   string // cursor of the next page, "" on the last page
}

// Orders returns one page of the orders that match q. The error is a *QueryError, the
// error of ctx, or an error of a store.
func (x *Index) Orders(ctx context.Context, q Query) (*Answer, error) {
	start := time.Now()
	after, err := q.after()
	if err != nil {
		return nil, err
	}
	wanted := words.Asked(q.Text)
	if len(wanted) == 0 && q.Text != "" {
		return &Answer{Facets: newFacets()}, nil // a text without letters and digits matches no order
	}
	if q.hidden, err = x.moderation(ctx); err != nil {
		return nil, err
	}
	now := x.cfg.Now()
	if !q.At.IsZero() {
		defer func() { x.metrics.queries.WithLabelValues("history").Observe(time.Since(start).Seconds()) }()
		if q.At.After(now) {
			return nil, &QueryError{"at", "lies in the future; ask for a time that has been"}
		}
		return x.ordersAt(ctx, &q, wanted, after)
	}
	from := "memory"
	switch {
	case q.Open != OpenTrue:
		from = "past"
	case len(wanted) > 0:
		from = "text"
	}
	defer func() { x.metrics.queries.WithLabelValues(from).Observe(time.Since(start).Seconds()) }()
	x.sweep(now)
	all, err := x.resolve(ctx, wanted)
	if err != nil {
		return nil, err
	}
	hits, total, facets := x.liveHits(&q, all, after)
	limit := q.limit()
	if q.Open != OpenTrue {
		if hits, total, err = x.addPast(ctx, &q, all, after, hits, total, &facets); err != nil {
			return nil, err
		}
	}
	out := &Answer{Total: total, Facets: facets}
	if len(hits) > limit {
		hits = hits[:limit]
		out.Next = q.cursorAt(hits[limit-1].mark)
	}
	keys := make([]Key, len(hits))
	for i, h := range hits {
		keys[i] = h.id
	}
	records, err := x.book.records(keys)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		// The order may have changed or expired since the index was read.
		if r != nil && q.matches(&r.Version, now) {
			out.Orders = append(out.Orders, r)
		}
	}
	return out, nil
}

// resolve returns the words of a query with their meanings.
func (x *Index) resolve(ctx context.Context, wanted []string) ([]word, error) {
	out := make([]word, len(wanted))
	for i, w := range wanted {
		described, err := x.descriptionHits(ctx, w)
		if err != nil {
			return nil, err
		}
		out[i] = word{w, words.CurrenciesOf(w), x.book.authors.Load().named(w), described}
	}
	return out, nil
}

// liveHits queries the column store. The results are one page plus one more hit, the
// exact total, and the facets.
func (x *Index) liveHits(q *Query, all []word, after *mark) ([]hit, int, Facets) {
	s := x.book.live.Load()
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, text := s.findAll(all)
	sel := s.choose(q, text)
	return s.pageOfClasses(q, sel, after, q.limit()+1), sel.size(), x.counted.facets(q, s, sel)
}

// facetCache caches the facets of recent queries. An entry is valid if the column store
// has not changed. If a query has manyResults or more, most of its cost is counting, so
// its facets may be up to facetAge old. Totals are always exact.
type facetCache struct {
	mu  sync.Mutex
	all map[string]countedFacets
}

type countedFacets struct {
	store   *columnStore
	changes uint64
	at      time.Time
	total   int
	facets  Facets
}

const (
	maxCachedFacets = 256
	manyResults     = 50_000 // from this number of results on, facets may be up to facetAge old
	facetAge        = time.Second
)

// facets returns the facets of a selection. The facets are shared and must not be
// changed. The caller holds the lock of the column store.
func (c *facetCache) facets(q *Query, s *columnStore, sel selection) Facets {
	if sel.whole > 0 {
		return s.facets(sel)
	}
	asked := *q
	asked.Cursor, asked.Sort, asked.Limit = "", "", 0
	name := asked.name()
	n := sel.size()
	c.mu.Lock()
	held, ok := c.all[name]
	c.mu.Unlock()
	if ok && held.store == s && (held.changes == s.changes && held.total == n || n >= manyResults && time.Since(held.at) < facetAge) {
		return held.facets
	}
	out := s.facets(sel)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil || len(c.all) >= maxCachedFacets {
		c.all = map[string]countedFacets{}
	}
	c.all[name] = countedFacets{s, s.changes, time.Now(), n, out}
	return out
}

// name returns a text that is equal for two queries only if their conditions are equal.
func (q *Query) name() string {
	rules := uint64(0)
	if q.hidden != nil {
		rules = q.hidden.version
	}
	out := fmt.Appendf(nil, "%d %t %q", rules, q.Spam, q.Text)
	for _, f := range filters {
		out = append(append(out, ' '), f.text(q)...)
	}
	return string(fmt.Appendf(out, " %d", q.Open))
}

// addPast adds the hits, the total and the facets of orders that are not live, from
// search.
func (x *Index) addPast(ctx context.Context, q *Query, all []word, after *mark, hits []hit, total int, facets *Facets) ([]hit, int, error) {
	past, n, more, err := x.search.past(ctx, q, all, after, q.limit()+1)
	if err != nil {
		return nil, 0, err
	}
	*facets = facets.clone()
	facets.add(more)
	facets.trim()
	s := x.book.live.Load()
	for _, h := range past {
		if s.holds(h.id) {
			n-- // live again; search has not caught up yet
			continue
		}
		hits = append(hits, h)
	}
	descending := sorts[q.sort()].descending
	slices.SortFunc(hits, func(a, b hit) int {
		if behind(descending, a.mark, b.mark) {
			return 1
		}
		return -1
	})
	return hits, total + max(0, n), nil
}

// descriptionCache caches the description hits of recent words. The cache is valid until
// search writes a batch.
type descriptionCache struct {
	mu         sync.Mutex
	generation uint64
	hits       map[string][]descriptionHit
	size       int
}

// maxCachedHits bounds the cache to 32 MB.
const maxCachedHits = 1 << 20

// descriptionHits returns the live orders whose descriptions a word matches.
func (x *Index) descriptionHits(ctx context.Context, w string) ([]descriptionHit, error) {
	if !x.book.live.Load().describes() {
		return nil, nil
	}
	generation := x.generation.Load()
	c := &x.descriptions
	c.mu.Lock()
	if c.generation != generation || c.hits == nil {
		c.generation, c.hits, c.size = generation, map[string][]descriptionHit{}, 0
	}
	hits, ok := c.hits[w]
	c.mu.Unlock()
	if ok {
		return hits, nil
	}
	hits, err := x.search.descriptionHits(ctx, w)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(hits) + 1; c.generation == generation && c.size+n <= maxCachedHits {
		c.hits[w] = hits
		c.size += n
	}
	return hits, nil
}

// ordersAt answers a query about a past time. ordersAt reads every history and takes of
// each order the newest version that was signed by that time. The read takes seconds on a
// large book, so only one such query runs at a time.
func (x *Index) ordersAt(ctx context.Context, q *Query, wanted []string, after *mark) (*Answer, error) {
	select {
	case x.past <- struct{}{}:
		defer func() { <-x.past }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := &Answer{Facets: newFacets()}
	limit, descending := q.limit(), sorts[q.sort()].descending
	type found struct {
		mark
		r *Record
	}
	var best []found
	authors := x.book.authors.Load()
	err := x.book.eachAt(ctx, q.At, func(k Key, r *Record) {
		if !q.matches(&r.Version, q.At) || !textMatches(wanted, &r.Order, authors.wordsOf(r.Order.Pubkey)) {
			return
		}
		out.Total++
		out.Facets.count(&r.Order)
		m := q.markOf(k, &r.Version)
		if after != nil && !behind(descending, m, *after) || len(best) > limit && behind(descending, m, best[limit].mark) {
			return
		}
		at, _ := slices.BinarySearchFunc(best, m, func(f found, m mark) int {
			if behind(descending, m, f.mark) {
				return -1
			}
			return 1
		})
		best = slices.Insert(best, at, found{m, r})
		best = best[:min(len(best), limit+1)]
	})
	if err != nil {
		return nil, err
	}
	out.Facets.trim()
	if len(best) > limit {
		best = best[:limit]
		out.Next = q.cursorAt(best[limit-1].mark)
	}
	for _, f := range best {
		out.Orders = append(out.Orders, f.r)
	}
	return out, nil
}

// eachAt calls fn with every order in its newest version signed at or before a time.
// Versions that were history when they arrived count as well, because the query asks
// about the time of signing.
func (b *book) eachAt(ctx context.Context, at time.Time, fn func(Key, *Record)) error {
	limit := at.Unix()
	return b.view(func(txn *badger.Txn) error {
		older := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{keyOlder}, PrefetchValues: false})
		defer older.Close()
		older.Rewind()
		n := 0
		return eachHead(txn, func(k Key, packed []byte) error {
			if n++; n%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			var last []byte // key of the newest older version signed by then
			for older.Valid() {
				key := older.Item().Key()
				c := bytes.Compare(key[1:17], k[:])
				if c > 0 {
					break
				}
				if c == 0 && int64(binary.BigEndian.Uint64(key[17:25])) <= limit {
					last = older.Item().KeyCopy(last)
				}
				older.Next()
			}
			r, err := unpackRecord(packed)
			if err != nil {
				return err
			}
			if int64(r.Order.CreatedAt) > limit {
				if last == nil {
					return nil
				}
				raw, err := get(txn, last)
				if err != nil {
					return err
				}
				v, err := unpackVersion(raw)
				if err != nil {
					return err
				}
				r.Version = *v
			}
			r.Archived = false
			if !r.Withdrawn {
				fn(k, r)
			}
			return nil
		})
	})
}

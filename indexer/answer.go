package indexer

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/indexer/livebook"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/words"
)

// Answer is one page of orders.
type Answer struct {
	Orders []*orders.Record
	Total  int // of all pages
	Facets orders.Facets
	Next   string // cursor of the next page, "" on the last page
}

// Orders returns one page of the orders that match q. The error is a *QueryError, the
// error of ctx, or an error of a store.
func (x *Index) Orders(ctx context.Context, q orders.Query) (*Answer, error) {
	start := time.Now()
	after, err := q.After()
	if err != nil {
		return nil, err
	}
	wanted := words.Asked(q.Text)
	if len(wanted) == 0 && q.Text != "" {
		return &Answer{Facets: orders.NewFacets()}, nil // a text without letters and digits matches no order
	}
	if q.Hidden, err = x.moderation(ctx); err != nil {
		return nil, err
	}
	now := x.cfg.Now()
	if !q.At.IsZero() {
		defer func() { x.metrics.queries.WithLabelValues("history").Observe(time.Since(start).Seconds()) }()
		if q.At.After(now) {
			return nil, &orders.QueryError{Param: "at", Reason: "lies in the future; ask for a time that has been"}
		}
		return x.ordersAt(ctx, &q, wanted, after)
	}
	from := "memory"
	switch {
	case q.Open != orders.OpenTrue:
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
	hits, total, facets := x.book.live.Load().Search(&q, all, after)
	limit := q.PageSize()
	if q.Open != orders.OpenTrue {
		if hits, total, err = x.addPast(ctx, &q, all, after, hits, total, &facets); err != nil {
			return nil, err
		}
	}
	out := &Answer{Total: total, Facets: facets}
	if len(hits) > limit {
		hits = hits[:limit]
		out.Next = q.CursorAt(hits[limit-1])
	}
	keys := make([]orders.Key, len(hits))
	for i, h := range hits {
		keys[i] = h.ID
	}
	records, err := x.book.records(keys)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		// The order may have changed or expired since the index was read.
		if r != nil && q.Matches(&r.Version, now) {
			out.Orders = append(out.Orders, r)
		}
	}
	return out, nil
}

// resolve returns the words of a query with their meanings.
func (x *Index) resolve(ctx context.Context, wanted []string) ([]livebook.Word, error) {
	out := make([]livebook.Word, len(wanted))
	for i, w := range wanted {
		described, err := x.descriptionHits(ctx, w)
		if err != nil {
			return nil, err
		}
		out[i] = livebook.Word{Text: w, Codes: words.CurrenciesOf(w), Authors: x.book.authors.Load().named(w), Described: described}
	}
	return out, nil
}

// addPast adds the hits, the total and the facets of orders that are not live, from
// search.
func (x *Index) addPast(ctx context.Context, q *orders.Query, all []livebook.Word, after *orders.Mark, hits []orders.Mark, total int, facets *orders.Facets) ([]orders.Mark, int, error) {
	past, n, more, err := x.search.past(ctx, q, all, after, q.PageSize()+1)
	if err != nil {
		return nil, 0, err
	}
	*facets = facets.Clone()
	facets.Add(more)
	facets.Trim()
	s := x.book.live.Load()
	for _, h := range past {
		if s.Holds(h.ID) {
			n-- // live again; search has not caught up yet
			continue
		}
		hits = append(hits, h)
	}
	_, descending := q.Order()
	slices.SortFunc(hits, func(a, b orders.Mark) int {
		if orders.Behind(descending, a, b) {
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
	hits       map[string][]livebook.DescriptionHit
	size       int
}

// maxCachedHits bounds the cache to 32 MB.
const maxCachedHits = 1 << 20

// descriptionHits returns the live orders whose descriptions a word matches.
func (x *Index) descriptionHits(ctx context.Context, w string) ([]livebook.DescriptionHit, error) {
	if !x.book.live.Load().Describes() {
		return nil, nil
	}
	generation := x.generation.Load()
	c := &x.descriptions
	c.mu.Lock()
	if c.generation != generation || c.hits == nil {
		c.generation, c.hits, c.size = generation, map[string][]livebook.DescriptionHit{}, 0
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
func (x *Index) ordersAt(ctx context.Context, q *orders.Query, wanted []string, after *orders.Mark) (*Answer, error) {
	select {
	case x.past <- struct{}{}:
		defer func() { <-x.past }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := &Answer{Facets: orders.NewFacets()}
	limit := q.PageSize()
	_, descending := q.Order()
	type found struct {
		orders.Mark
		r *orders.Record
	}
	var best []found
	authors := x.book.authors.Load()
	err := x.book.eachAt(ctx, q.At, func(k orders.Key, r *orders.Record) {
		if !q.Matches(&r.Version, q.At) || !orders.TextMatches(wanted, &r.Order, authors.wordsOf(r.Order.Pubkey)) {
			return
		}
		out.Total++
		out.Facets.Count(&r.Order)
		m := q.MarkOf(k, &r.Version)
		if after != nil && !orders.Behind(descending, m, *after) || len(best) > limit && orders.Behind(descending, m, best[limit].Mark) {
			return
		}
		at, _ := slices.BinarySearchFunc(best, m, func(f found, m orders.Mark) int {
			if orders.Behind(descending, m, f.Mark) {
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
	out.Facets.Trim()
	if len(best) > limit {
		best = best[:limit]
		out.Next = q.CursorAt(best[limit-1].Mark)
	}
	for _, f := range best {
		out.Orders = append(out.Orders, f.r)
	}
	return out, nil
}

// eachAt calls fn with every order in its newest version signed at or before a time.
// Versions that were history when they arrived count as well, because the query asks
// about the time of signing.
func (b *book) eachAt(ctx context.Context, at time.Time, fn func(orders.Key, *orders.Record)) error {
	limit := at.Unix()
	return b.view(func(txn *badger.Txn) error {
		older := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{keyOlder}, PrefetchValues: false})
		defer older.Close()
		older.Rewind()
		n := 0
		return eachHead(txn, func(k orders.Key, packed []byte) error {
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
			r, err := orders.UnpackRecord(packed)
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
				v, err := orders.UnpackVersion(raw)
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

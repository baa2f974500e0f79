package indexer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Answer is one page of orders.
type Answer struct {
	Orders []*Record
	Total  int // of all pages
	Facets Facets
	Next   string // cursor of the next page, "" on the last
}

// Orders answers a query. Its errors are *QueryError, ctx's, or of a store.
func (x *Index) Orders(ctx context.Context, q Query) (*Answer, error) {
	start := time.Now()
	after, err := q.after()
	if err != nil {
		return nil, err
	}
	wanted := asked(q.Text)
	if len(wanted) == 0 && q.Text != "" {
		return &Answer{Facets: newFacets()}, nil // signs alone find nothing
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
	all := x.resolve(wanted)
	hits, total, facets, err := x.liveHits(ctx, &q, all, after)
	if err != nil {
		return nil, err
	}
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
		// It may have changed, or expired, since it was found.
		if r != nil && q.matches(&r.Version, now) {
			out.Orders = append(out.Orders, r)
		}
	}
	return out, nil
}

// resolve says what the words of a question stand for.
func (x *Index) resolve(wanted []string) []word {
	out := make([]word, len(wanted))
	for i, w := range wanted {
		out[i] = word{w, currenciesOf(w), x.book.authors.Load().named(w)}
	}
	return out
}

// liveHits asks the shelf: a page and one more, the exact total, and facets.
func (x *Index) liveHits(ctx context.Context, q *Query, all []word, after *mark) ([]hit, int, Facets, error) {
	var keys []Key
	if len(all) > 0 {
		var err error
		if keys, err = x.textKeys(ctx, all); err != nil {
			return nil, 0, Facets{}, err
		}
	}
	s := x.book.shelf.Load()
	s.mu.RLock()
	defer s.mu.RUnlock()
	var text *roaring.Bitmap
	if len(all) > 0 {
		text = s.slotsOf(keys)
	}
	sel := s.choose(q, text)
	return s.page(q, sel, after, q.limit()+1), sel.size(), x.counted.facets(q, s, sel), nil
}

// facetCache keeps the facets of recent queries as long as the shelf has not
// changed. Counting very many results is most of the work of a query, so for
// those, and only those, the counts may be a moment old; totals never are.
type facetCache struct {
	mu  sync.Mutex
	all map[string]countedFacets
}

type countedFacets struct {
	shelf   *shelf
	changes uint64
	at      time.Time
	total   int
	facets  Facets
}

const (
	maxCachedFacets = 256
	manyResults     = 50_000 // from here on facets may be aged
	facetAge        = time.Second
)

// facets gives the counts of a selection; they are shared and not changed.
// The caller holds the shelf's lock.
func (c *facetCache) facets(q *Query, s *shelf, sel selection) Facets {
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
	if ok && held.shelf == s && (held.changes == s.changes && held.total == n || n >= manyResults && time.Since(held.at) < facetAge) {
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

// name tells queries apart.
func (q *Query) name() string {
	bound := func(f *float64) string {
		if f == nil {
			return ""
		}
		return strconv.FormatFloat(*f, 'g', -1, 64)
	}
	return fmt.Sprintf("%q %q %q %q %q %q %q %q %s %s %s %s %s %s %d", q.Text, q.Fiat, q.Side, q.Status, q.Method, q.Platform, q.Instance, q.Network,
		bound(q.Amount.Min), bound(q.Amount.Max), bound(q.FiatAmount.Min), bound(q.FiatAmount.Max), bound(q.Premium.Min), bound(q.Premium.Max), q.Open)
}

// slotsOf gives the slots of those keys that are on the shelf. The caller
// holds mu.
func (s *shelf) slotsOf(keys []Key) *roaring.Bitmap {
	slots := make([]uint32, 0, len(keys))
	for _, k := range keys {
		if slot, ok := s.slots[k]; ok {
			slots = append(slots, slot)
		}
	}
	slices.Sort(slots)
	return roaring.BitmapOf(slots...)
}

// addPast merges what search has of orders that are not live.
func (x *Index) addPast(ctx context.Context, q *Query, all []word, after *mark, hits []hit, total int, facets *Facets) ([]hit, int, error) {
	past, n, more, err := x.search.past(ctx, q, all, after, q.limit()+1)
	if err != nil {
		return nil, 0, err
	}
	*facets = facets.clone()
	for _, f := range []struct{ to, from map[string]int }{{facets.Fiat, more.Fiat}, {facets.Side, more.Side}, {facets.Status, more.Status}, {facets.Platform, more.Platform}, {facets.Method, more.Method}} {
		for name, count := range f.from {
			f.to[name] += count
		}
	}
	trimFacet(facets.Method, maxMethodFacets)
	s := x.book.shelf.Load()
	for _, h := range past {
		if s.holds(h.id) {
			n-- // live again; search has not heard yet
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

// askCache keeps what the words of recent questions found, as long as search
// has not changed.
type askCache struct {
	mu      sync.Mutex
	version string
	keys    map[string][]Key
	size    int
}

// maxCachedKeys bounds the cache to 32 MB.
const maxCachedKeys = 2 << 20

// textKeys gives the live orders whose text answers the words.
func (x *Index) textKeys(ctx context.Context, all []word) ([]Key, error) {
	var name strings.Builder
	for _, w := range all {
		name.WriteString(w.text)
		name.WriteByte(' ')
	}
	version := fmt.Sprint(x.generation.Load(), x.book.authors.Load().wordsVersion())
	c := &x.asked
	c.mu.Lock()
	if c.version != version {
		c.version, c.keys, c.size = version, map[string][]Key{}, 0
	}
	keys, ok := c.keys[name.String()]
	c.mu.Unlock()
	if ok {
		return keys, nil
	}
	hits, err := x.search.live(ctx, all, false)
	if err != nil {
		return nil, err
	}
	keys = make([]Key, len(hits))
	for i, h := range hits {
		keys[i] = h.key
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version == version && c.size+len(keys) <= maxCachedKeys {
		c.keys[name.String()] = keys
		c.size += len(keys)
	}
	return keys, nil
}

func (s *authors) wordsVersion() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.versions
}

// ordersAt answers a query as of a time past, by reading every history: of
// each order the newest version that was signed by then. It takes seconds on
// a large book, so one such question is answered at a time.
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
		countIn(&out.Facets, &r.Order)
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
	trimFacet(out.Facets.Method, maxMethodFacets)
	if len(best) > limit {
		best = best[:limit]
		out.Next = q.cursorAt(best[limit-1].mark)
	}
	for _, f := range best {
		out.Orders = append(out.Orders, f.r)
	}
	return out, nil
}

// eachAt calls fn with every order as its newest version signed at or before
// a time says it was. What was history when it arrived counts as well: the
// question is about then.
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
			var last []byte // key of the newest older version by then
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

// MaxSearch bounds one NIP-50 answer.
const MaxSearch = 1000

// Search answers a NIP-50 filter with the ids of live events, the most
// relevant first, exactly those that the filter's other conditions admit: the
// infos of instances and the orders whose words match. Without words, only
// with keys, the newest come first.
func (x *Index) Search(ctx context.Context, f nostr.Filter) ([]string, error) {
	start := time.Now()
	defer func() { x.metrics.queries.WithLabelValues("nip50").Observe(time.Since(start).Seconds()) }()
	q, none := ParseSearch(f.Search)
	limit := f.Limit
	if limit <= 0 || limit > MaxSearch {
		limit = MaxSearch
	}
	if none || f.LimitZero {
		return nil, nil
	}
	wanted := asked(q.Text)
	if len(wanted) == 0 && q.Text != "" {
		return nil, nil
	}
	n := &nip50{x: x, ctx: ctx, filter: f, limit: limit, now: x.cfg.Now()}
	wantKind := func(kind int) bool { return len(f.Kinds) == 0 || slices.Contains(f.Kinds, kind) }
	if len(wanted) > 0 && q.onlyText() && (wantKind(mostro.KindInfo) || wantKind(mostro.KindOrder)) {
		if err := n.infos(wanted); err != nil {
			return nil, err
		}
	}
	if wantKind(mostro.KindOrder) {
		if err := n.orders(q, wanted); err != nil {
			return nil, err
		}
	}
	return n.ids, nil
}

// onlyText says whether a search has no keys, so that it may mean instances.
func (q *Query) onlyText() bool {
	return len(q.Fiat)+len(q.Side)+len(q.Status)+len(q.Method)+len(q.Platform)+len(q.Instance)+len(q.Network) == 0 &&
		q.Amount.empty() && q.FiatAmount.empty() && q.Premium.empty()
}

// nip50 is one answer on its way.
type nip50 struct {
	x      *Index
	ctx    context.Context
	filter nostr.Filter
	limit  int
	now    time.Time
	ids    []string
}

// offer adds an event if the filter admits it; full says that no more are
// wanted.
func (n *nip50) offer(id string) (full bool, err error) {
	evt, err := n.x.cfg.Events.Event(n.ctx, id)
	if errors.Is(err, mostro.ErrNotFound) {
		return false, nil // deleted a moment ago
	}
	if err != nil {
		return true, fmt.Errorf("event %s: %w", id, err)
	}
	if n.filter.Matches(evt) {
		n.ids = append(n.ids, id)
	}
	return len(n.ids) >= n.limit, nil
}

func (n *nip50) infos(wanted []string) error {
	for _, pubkey := range n.x.book.authors.Load().matching(wanted) {
		id := n.x.book.authors.Load().infoID(pubkey)
		if id == "" {
			continue
		}
		if full, err := n.offer(id); full || err != nil {
			return err
		}
	}
	return nil
}

func (s *authors) infoID(pubkey string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if a := s.byKey[pubkey]; a != nil && a.Info != nil {
		return a.Info.EventID
	}
	return ""
}

func (n *nip50) orders(q Query, wanted []string) error {
	if len(n.ids) >= n.limit {
		return nil
	}
	if a := n.filter.Authors; len(a) > 0 {
		if len(q.Instance) == 0 {
			q.Instance = a
		} else if q.Instance = slices.DeleteFunc(q.Instance, func(p string) bool { return !slices.Contains(a, p) }); len(q.Instance) == 0 {
			return nil
		}
	}
	if n.filter.Since != nil {
		q.since = clampTime(int64(*n.filter.Since))
	}
	if n.filter.Until != nil {
		if *n.filter.Until <= 0 {
			return nil
		}
		q.until = clampTime(int64(*n.filter.Until))
	}
	n.x.sweep(n.now)
	if len(wanted) == 0 {
		return n.newest(q)
	}
	hits, err := n.x.search.live(n.ctx, n.x.resolve(wanted), true)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(n.x.book.shelf.Load().ranked(&q, hits), 200) {
		if full, err := n.records(&q, chunk); full || err != nil {
			return err
		}
	}
	return nil
}

// newest goes through the live book from the newest order on.
func (n *nip50) newest(q Query) error {
	q.Sort = SortNewest
	var after *mark
	s := n.x.book.shelf.Load()
	for {
		s.mu.RLock()
		hits := s.page(&q, s.choose(&q, nil), after, 500)
		s.mu.RUnlock()
		if len(hits) == 0 {
			return nil
		}
		keys := make([]Key, len(hits))
		for i, h := range hits {
			keys[i] = h.id
		}
		if full, err := n.records(&q, keys); full || err != nil {
			return err
		}
		after = &hits[len(hits)-1].mark
	}
}

// records offers orders that were found, as they are now.
func (n *nip50) records(q *Query, keys []Key) (full bool, err error) {
	if n.ctx.Err() != nil {
		return true, n.ctx.Err()
	}
	records, err := n.x.book.records(keys)
	if err != nil {
		return true, err
	}
	for _, r := range records {
		if r == nil || !r.liveAt(n.now) || !q.matches(&r.Version, n.now) {
			continue
		}
		if full, err := n.offer(r.Order.EventID); full || err != nil {
			return true, err
		}
	}
	return false, nil
}

// ranked gives those of the hits that q chooses, the best first, of equally
// good ones the newest.
func (s *shelf) ranked(q *Query, hits []textHit) []Key {
	type scored struct {
		textHit
		created uint32
	}
	s.mu.RLock()
	sel := s.choose(q, nil)
	kept := make([]scored, 0, len(hits))
	for _, h := range hits {
		if slot, ok := s.slots[h.key]; ok && sel.has(slot) {
			kept = append(kept, scored{h, s.created[slot]})
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(kept, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(b.created, a.created), bytes.Compare(a.key[:], b.key[:]))
	})
	out := make([]Key, len(kept))
	for i, h := range kept {
		out[i] = h.key
	}
	return out
}

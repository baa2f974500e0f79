package indexer

import (
	"slices"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
)

// Live orders are found by the words of their methods, currency and instance
// where these stand anyway: in the column store, each distinct value once, so that a
// word costs a look at the values and not at the orders. What an order says at
// length, its description, is Bleve's, as is everything of past orders.

// word is one word of a question, with what it stands for.
type word struct {
	text      string
	codes     []string // currencies
	authors   []string // instances
	described []descriptionHit
}

// descriptionHit is a live order one of whose description's words begins with what
// was asked, or is it.
type descriptionHit struct {
	key   Key
	whole bool
}

// termMatch is the orders that one word of a question finds, and those of
// them that hold it whole. The bitmaps may be the column store's own and are not
// changed.
type termMatch struct{ any, whole *roaring.Bitmap }

// termCache keeps what recent words found, as long as the column store has not
// changed and the words mean the same.
type termCache struct {
	mu      sync.Mutex
	changes uint64
	words   map[string]cachedTerm
}

type cachedTerm struct {
	authors   []string
	described []descriptionHit
	termMatch
}

// maxFound bounds the cache to some sixteen megabytes with a million orders.
const maxFound = 64

// find gives what a word finds. The caller holds mu.
func (s *columnStore) find(w *word) termMatch {
	c := &s.found
	c.mu.Lock()
	if c.changes != s.changes || c.words == nil {
		c.changes, c.words = s.changes, map[string]cachedTerm{}
	}
	held, ok := c.words[w.text]
	c.mu.Unlock()
	if ok && slices.Equal(held.authors, w.authors) && sameSlice(held.described, w.described) {
		return held.termMatch
	}
	out := s.look(w)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == s.changes && len(c.words) < maxFound {
		c.words[w.text] = cachedTerm{w.authors, w.described, out}
	}
	return out
}

// sameSlice reports whether a and b are the same cached slice.
func sameSlice(a, b []descriptionHit) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// look is find without what is remembered. The caller holds mu.
func (s *columnStore) look(w *word) termMatch {
	var any, whole []*roaring.Bitmap
	for _, d := range []*dict{&s.methodNames, &s.names, &s.fiats} {
		begun, is := d.lexicon.find(w.text)
		for _, id := range begun {
			any = append(any, d.bits[id])
		}
		for _, id := range is {
			whole = append(whole, d.bits[id])
		}
	}
	for _, f := range []struct {
		d     *dict
		names []string
	}{{&s.fiats, w.codes}, {&s.authors, w.authors}} {
		for _, name := range f.names {
			if id, ok := f.d.ids[name]; ok {
				any = append(any, f.d.bits[id])
			}
		}
	}
	if len(w.described) > 0 {
		begun, is := roaring.New(), roaring.New()
		for _, h := range w.described {
			if slot, ok := s.slots[h.key]; ok {
				begun.Add(slot)
				if h.whole {
					is.Add(slot)
				}
			}
		}
		any, whole = append(any, begun), append(whole, is)
	}
	return termMatch{union(any), union(whole)}
}

// findAll gives what each word finds, and what all of them find; nil, nil
// where there are no words. The caller holds mu.
func (s *columnStore) findAll(all []word) (each []termMatch, both *roaring.Bitmap) {
	for i := range all {
		found := s.find(&all[i])
		each = append(each, found)
		if both == nil {
			both = found.any
		} else {
			both = roaring.And(both, found.any)
		}
	}
	return each, both
}

// tiers parts orders that all words find by how many of the words they hold
// whole: out[n] are those that hold n.
func tiers(from *roaring.Bitmap, each []termMatch) []*roaring.Bitmap {
	out := []*roaring.Bitmap{from}
	for _, w := range each {
		next := make([]*roaring.Bitmap, len(out)+1)
		for n := range next {
			switch {
			case n == 0:
				next[n] = roaring.AndNot(out[n], w.whole)
			case n == len(out):
				next[n] = roaring.And(out[n-1], w.whole)
			default:
				next[n] = roaring.AndNot(out[n], w.whole)
				next[n].Or(roaring.And(out[n-1], w.whole))
			}
		}
		out = next
	}
	return out
}

// ranked is a hit with the number of words that it holds whole.
type ranked struct {
	hit
	tier int
}

// best returns the live orders that q and its words choose: those that hold the
// most words whole first, of equally good ones the newest; orders of unknown
// authors behind all others. With after only what comes behind that.
func (s *columnStore) best(q *Query, all []word, after *ranked, limit int) (out []ranked) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	each, both := s.findAll(all)
	sel := s.choose(q, both)
	if sel.bits == nil {
		sel.bits = roaring.BitmapOf(sel.list...)
	}
	for _, part := range []struct {
		class uint8
		bits  *roaring.Bitmap
	}{{classKnown, roaring.AndNot(sel.bits, s.byClass[classUnknown])}, {classUnknown, roaring.And(sel.bits, s.byClass[classUnknown])}} {
		from := after
		if after != nil && after.class != part.class {
			if after.class > part.class {
				continue
			}
			from = nil
		}
		if len(out) < limit {
			out = append(out, s.bestOf(part.bits, part.class, each, from, limit-len(out))...)
		}
	}
	return out
}

// bestOf is best of a part of the orders. The caller holds mu.
func (s *columnStore) bestOf(from *roaring.Bitmap, class uint8, each []termMatch, after *ranked, limit int) (out []ranked) {
	newest := Query{Sort: SortNewest}
	take := func(tier int, from *roaring.Bitmap) {
		var behind *mark
		if after != nil {
			if tier > after.tier {
				return
			}
			if tier == after.tier {
				behind = &after.mark
			}
		}
		for _, h := range s.page(&newest, selection{bits: from}, behind, limit-len(out)) {
			h.class = class
			out = append(out, ranked{h, tier})
		}
	}
	// The best tier is most often enough, and all that is looked at then.
	top := from
	for _, w := range each {
		top = roaring.And(top, w.whole)
	}
	take(len(each), top)
	if len(out) == limit || len(each) == 0 {
		return out
	}
	parts := tiers(from, each)
	for tier := len(each) - 1; tier >= 0 && len(out) < limit; tier-- {
		take(tier, parts[tier])
	}
	return out
}

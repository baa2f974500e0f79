package livebook

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/mostrodex/mostrodex/indexer/orders"
)

// The words of payment methods, currencies and instances of live orders are matched in
// the column store, which holds each distinct value once: the cost of a word depends on
// the number of values, not on the number of orders. Descriptions of live orders, and all
// text of past orders, are matched in Bleve.

// Word is one word of a query, with its meanings.
type Word struct {
	Text      string
	Codes     []string // currencies that the word stands for
	Authors   []string // instances with a word that begins with the word
	Described []DescriptionHit
}

// DescriptionHit is a live order whose description has a word that begins with the
// query's word, or equals the word if whole is set.
type DescriptionHit struct {
	Key   orders.Key
	Whole bool
}

// termMatch is the orders that one word matches (any), and the orders that have the whole
// word (whole). The bitmaps may belong to the column store and must not be changed.
type termMatch struct{ any, whole *roaring.Bitmap }

// cachedTerm is the cached match of a word. It is valid if the column store has not
// changed and the word has the same meanings.
type cachedTerm struct {
	changes   uint64
	authors   []string
	described []DescriptionHit
	termMatch
}

// maxFound bounds the cache to about 16 MB with a million orders.
const maxFound = 64

// find returns the matches of a word. The caller holds mu.
func (s *Store) find(w *Word) termMatch {
	held, ok := s.found.Get(w.Text)
	if ok && held.changes == s.changes && slices.Equal(held.authors, w.Authors) && sameSlice(held.described, w.Described) {
		return held.termMatch
	}
	out := s.look(w)
	s.found.Put(w.Text, cachedTerm{s.changes, w.Authors, w.Described, out})
	return out
}

// sameSlice reports whether a and b are the same cached slice.
func sameSlice(a, b []DescriptionHit) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// look is find without the cache. The caller holds mu.
func (s *Store) look(w *Word) termMatch {
	var any, whole []*roaring.Bitmap
	for _, d := range []*dict{&s.methodNames, &s.names, &s.fiats} {
		begun, is := d.lexicon.find(w.Text)
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
	}{{&s.fiats, w.Codes}, {&s.authors, w.Authors}} {
		for _, name := range f.names {
			if id, ok := f.d.ids[name]; ok {
				any = append(any, f.d.bits[id])
			}
		}
	}
	if len(w.Described) > 0 {
		begun, is := roaring.New(), roaring.New()
		for _, h := range w.Described {
			if slot, ok := s.slots[h.Key]; ok {
				begun.Add(slot)
				if h.Whole {
					is.Add(slot)
				}
			}
		}
		any, whole = append(any, begun), append(whole, is)
	}
	return termMatch{union(any), union(whole)}
}

// findAll returns the matches of each word, and the orders that all words match. If there
// are no words, findAll returns nil, nil. The caller holds mu.
func (s *Store) findAll(all []Word) (each []termMatch, both *roaring.Bitmap) {
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

// tiers divides orders that match all words by the number of whole words: out[n] are the
// orders that have n of the words as whole words.
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

// Ranked is a live order with the number of words that the order has as whole words.
type Ranked struct {
	orders.Mark
	tier int
}

// Best returns the live orders that match q and its words. Orders with more whole words
// come first, and newer orders come first among equals. Orders of unknown authors come
// last. If after is not nil, best returns only orders behind after.
func (s *Store) Best(q *orders.Query, all []Word, after *Ranked, limit int) (out []Ranked) {
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
	}{{orders.ClassKnown, roaring.AndNot(sel.bits, s.byClass[orders.ClassUnknown])}, {orders.ClassUnknown, roaring.And(sel.bits, s.byClass[orders.ClassUnknown])}} {
		from := after
		if after != nil && after.Class != part.class {
			if after.Class > part.class {
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

// bestOf is best for a part of the orders. The caller holds mu.
func (s *Store) bestOf(from *roaring.Bitmap, class uint8, each []termMatch, after *Ranked, limit int) (out []Ranked) {
	newest := orders.Query{Sort: orders.SortNewest}
	take := func(tier int, from *roaring.Bitmap) {
		var behind *orders.Mark
		if after != nil {
			if tier > after.tier {
				return
			}
			if tier == after.tier {
				behind = &after.Mark
			}
		}
		for _, h := range s.page(&newest, selection{bits: from}, behind, limit-len(out)) {
			h.Class = class
			out = append(out, Ranked{h, tier})
		}
	}
	// The best tier alone usually fills the page, and no other tier is read if so.
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

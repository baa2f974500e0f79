package livebook

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/sorted"
	"github.com/mostrodex/mostrodex/indexer/words"
)

// selection is a set of slots: a bitmap, or a list if ranges were checked. The bitmap may
// belong to the column store and must not be changed.
type selection struct {
	bits  *roaring.Bitmap
	list  []uint32
	whole int // status code + 1 if bits are all orders of one status, else 0
}

func (sel *selection) size() int {
	if sel.bits != nil {
		return int(sel.bits.GetCardinality())
	}
	return len(sel.list)
}

func (sel *selection) has(slot uint32) bool {
	if sel.bits != nil {
		return sel.bits.Contains(slot)
	}
	_, ok := slices.BinarySearch(sel.list, slot)
	return ok
}

// chunks calls fn with all slots, ascending, up to 1024 at a time, in a buffer that fn
// may overwrite.
func (sel *selection) chunks(fn func([]uint32)) {
	var buf [1024]uint32
	if sel.bits == nil {
		for part := range slices.Chunk(sel.list, len(buf)) {
			fn(buf[:copy(buf[:], part)])
		}
		return
	}
	for it := sel.bits.ManyIterator(); ; {
		n := it.NextMany(buf[:])
		if n == 0 {
			return
		}
		fn(buf[:n])
	}
}

// each calls fn with every slot, ascending.
func (sel *selection) each(fn func(uint32)) {
	sel.chunks(func(slots []uint32) {
		for _, slot := range slots {
			fn(slot)
		}
	})
}

// choose returns the live orders that match q. If text is not nil, it holds the slots
// whose text matches. The caller holds mu.
func (s *Store) choose(q *orders.Query, text *roaring.Bitmap) selection {
	want := q.Statuses()
	var sets []*roaring.Bitmap
	if len(want) < len(orders.Statuses) {
		var all []*roaring.Bitmap
		for _, st := range want {
			all = append(all, s.byStatus[statusCode(st)])
		}
		sets = append(sets, union(all))
	}
	for _, f := range liveFilters {
		if f.postings != nil && f.given(q) {
			sets = append(sets, f.postings(s, q))
		}
	}
	if text != nil {
		sets = append(sets, text)
	}
	sel := selection{}
	switch len(sets) {
	case 0:
		sel.bits = union(s.byStatus[:])
	case 1:
		sel.bits = sets[0]
		if len(want) == 1 && len(want) < len(orders.Statuses) {
			sel.whole = int(statusCode(want[0])) + 1
		}
	default:
		slices.SortFunc(sets, func(a, b *roaring.Bitmap) int { return int(a.GetCardinality()) - int(b.GetCardinality()) })
		sel.bits = roaring.And(sets[0], sets[1])
		for _, more := range sets[2:] {
			sel.bits.And(more)
		}
	}
	if hidden := s.hidden(q); hidden != nil && sel.bits.Intersects(hidden) {
		sel.bits, sel.whole = roaring.AndNot(sel.bits, hidden), 0
	}
	return s.narrow(q, sel)
}

// narrow removes the orders outside the ranges of q.
func (s *Store) narrow(q *orders.Query, sel selection) selection {
	var steps []func([]uint32) []uint32
	for _, f := range liveFilters {
		if f.narrow != nil && f.given(q) {
			steps = append(steps, f.narrow(s, q))
		}
	}
	if q.Since != 0 || q.Until != 0 {
		steps = append(steps, s.createdWithin(q.Since, q.Until))
	}
	if len(steps) == 0 {
		return sel
	}
	var list []uint32
	var dense []uint64 // for many slots, a bitmap answers lookups of single slots faster than a list
	if sel.size() > s.DenseAbove {
		dense = make([]uint64, (len(s.ids)+63)/64)
	}
	sel.chunks(func(slots []uint32) {
		for _, step := range steps {
			slots = step(slots)
		}
		if dense == nil {
			list = append(list, slots...)
			return
		}
		for _, slot := range slots {
			dense[slot>>6] |= 1 << (slot & 63)
		}
	})
	if dense != nil {
		return selection{bits: roaring.FromDense(dense, false)}
	}
	return selection{list: list}
}

// createdWithin returns a function that removes slots of orders with a created_at outside
// the bounds. If until is 0, there is no upper bound.
func (s *Store) createdWithin(since, until uint32) func(slots []uint32) []uint32 {
	if until == 0 {
		until = math.MaxUint32
	}
	return func(slots []uint32) []uint32 {
		n := 0
		for _, slot := range slots {
			if at := s.created[slot]; at >= since && at <= until {
				slots[n] = slot
				n++
			}
		}
		return slots[:n]
	}
}

// union returns the union of bitmaps. The result may be one of the bitmaps in all and
// must not be changed.
func union(all []*roaring.Bitmap) *roaring.Bitmap {
	switch len(all) {
	case 0:
		return roaring.New()
	case 1:
		return all[0]
	}
	if len(all) < 64 {
		return roaring.FastOr(all...)
	}
	// Thousands of small bitmaps, as rare values make, are merged faster slot by slot.
	var few []uint32
	var many []*roaring.Bitmap
	for _, b := range all {
		if b.GetCardinality() > 64 {
			many = append(many, b)
			continue
		}
		b.Iterate(func(slot uint32) bool {
			few = append(few, slot)
			return true
		})
	}
	slices.Sort(few)
	out := roaring.FastOr(many...)
	out.AddMany(few)
	return out
}

// withMethods returns the slots with a payment method that matches one of asks.
func (s *Store) withMethods(asks []string) *roaring.Bitmap {
	var all []*roaring.Bitmap
	for _, ask := range asks {
		for _, id := range s.methodNames.lexicon.findAll(words.Asked(ask)) {
			all = append(all, s.methodNames.bits[id])
		}
	}
	return union(all)
}

// page returns up to limit orders of a selection, sorted as the query asks, behind its
// cursor. The caller holds mu.
func (s *Store) page(q *orders.Query, sel selection, after *orders.Mark, limit int) []orders.Mark {
	order, _ := q.Order()
	n := sel.size()
	if n == 0 {
		return nil
	}
	if order == orders.ByCost {
		return s.pick(q, sel, after, limit)
	}
	// A walk along the sorted list is faster if the selection is dense.
	if total := s.orders[order].Size; n > 2048 && n/limit > total/n {
		if hits, ok := s.walk(q, sel, after, limit, 8*limit*(total/n+1)); ok {
			return hits
		}
	}
	return s.pick(q, sel, after, limit)
}

// walk collects selected orders along the sorted list. If walk needs more than steps, it
// returns false.
func (s *Store) walk(q *orders.Query, sel selection, after *orders.Mark, limit, steps int) ([]orders.Mark, bool) {
	order, descending := q.Order()
	list := &s.orders[order]
	var hits []orders.Mark
	ok := true
	visit := func(wantUnknown bool) func(sorted.Place) bool {
		return func(p sorted.Place) bool {
			if (p.Key == orders.UnknownKey) != wantUnknown {
				return false
			}
			if steps--; steps < 0 {
				ok = false
				return false
			}
			if !sel.has(p.Slot) {
				return true
			}
			m := orders.Mark{Key: p.Key, ID: s.ids[p.Slot]}
			if after != nil && !orders.Behind(descending, m, *after) {
				return true
			}
			hits = append(hits, m)
			return len(hits) < limit
		}
	}
	from := func(key uint64, prefix uint32, wantUnknown bool) {
		if descending {
			list.Descend(key, prefix, visit(wantUnknown))
		} else {
			list.Ascend(key, prefix, visit(wantUnknown))
		}
	}
	var prefix uint32
	if after != nil {
		prefix = binary.BigEndian.Uint32(after.ID[:4])
	}
	switch {
	case after != nil && after.Key == orders.UnknownKey:
		from(orders.UnknownKey, prefix, true)
		return hits, ok
	case after != nil:
		from(after.Key, prefix, false)
	case descending:
		from(orders.UnknownKey-1, 1<<32-1, false)
	default:
		from(0, 0, false)
	}
	if ok && len(hits) < limit {
		if descending {
			from(orders.UnknownKey, 1<<32-1, true)
		} else {
			from(orders.UnknownKey, 0, true)
		}
	}
	return hits, ok
}

// pick reads every selected order and keeps the first ones in the sort order.
func (s *Store) pick(q *orders.Query, sel selection, after *orders.Mark, limit int) []orders.Mark {
	order, descending := q.Order()
	best := make([]orders.Mark, 0, limit+1)
	keyAt := func(slot uint32) uint64 { return s.keyAt(order, slot) }
	if order == orders.ByCost {
		keyAt = s.costs(q.Costs)
	}
	sel.each(func(slot uint32) {
		// The sort key decides most comparisons. The order's Key is in another column, so
		// it is read only if needed.
		m := orders.Mark{Key: keyAt(slot)}
		if len(best) == limit && m.Key != best[limit-1].Key && orders.Behind(descending, m, best[limit-1]) {
			return
		}
		m.ID = s.ids[slot]
		if after != nil && !orders.Behind(descending, m, *after) {
			return
		}
		if len(best) == limit && orders.Behind(descending, m, best[limit-1]) {
			return
		}
		at, _ := slices.BinarySearchFunc(best, m, func(h, m orders.Mark) int {
			if orders.Behind(descending, m, h) {
				return -1
			}
			return 1
		})
		best = slices.Insert(best, at, m)
		if len(best) > limit {
			best = best[:limit]
		}
	})
	return best
}

// costs returns a function that returns the sort key of the cost of a slot. Fees and rates are
// looked up once for each author and currency, because a selection may hold a million orders.
func (s *Store) costs(c *orders.Costs) func(slot uint32) uint64 {
	if c == nil {
		c = &orders.Costs{}
	}
	values := func(d *dict, of map[string]float64) []float64 {
		out := make([]float64, len(d.names))
		for id, name := range d.names {
			v, ok := of[name]
			if !ok {
				v = math.NaN()
			}
			out[id] = v
		}
		return out
	}
	fees, rates := values(&s.authors, c.Fees), values(&s.fiats, c.Rates)
	return func(slot uint32) uint64 {
		return orders.FloatKey(orders.Cost(sides[s.side[slot]], s.premium[slot], s.amount[slot], s.fiatMin[slot], s.fiatMax[slot], fees[s.author[slot]], rates[s.fiat[slot]]))
	}
}

// facets counts a selection by value. The caller holds mu.
func (s *Store) facets(sel selection) orders.Facets {
	if sel.whole > 0 {
		return s.wholeFacets(uint8(sel.whole - 1))
	}
	fiat := make([]int, len(s.fiats.names))
	platform := make([]int, len(s.platforms.names))
	sets := make([]int, len(s.sets.members))
	var both [len(sides)][len(orders.Statuses)]int
	sel.chunks(func(slots []uint32) {
		for _, slot := range slots {
			fiat[s.fiat[slot]]++
		}
		for _, slot := range slots {
			platform[s.platform[slot]]++
		}
		for _, slot := range slots {
			sets[s.methods[slot]]++
		}
		for _, slot := range slots {
			both[s.side[slot]][s.status[slot]]++
		}
	})
	out := orders.NewFacets()
	s.fiats.top(out.Fiat, orders.MaxFacets, func(id int) int { return fiat[id] })
	s.platforms.top(out.Platform, orders.MaxFacets, func(id int) int { return platform[id] })
	method := make([]int, len(s.methodNames.names))
	for id, n := range sets {
		if n == 0 {
			continue
		}
		for _, m := range s.sets.members[id] {
			method[m] += n
		}
	}
	s.methodNames.top(out.Method, orders.MaxMethodFacets, func(id int) int { return method[id] })
	for side := range both {
		for status, n := range both[side] {
			orders.AddCount(out.Side, string(sides[side]), n)
			orders.AddCount(out.Status, string(orders.Statuses[status]), n)
		}
	}
	return out
}

// wholeFacets returns the facets of all orders of a status from counts that are updated
// with each change.
func (s *Store) wholeFacets(status uint8) orders.Facets {
	out := orders.NewFacets()
	for _, f := range []struct {
		to map[string]int
		d  *dict
	}{{out.Fiat, &s.fiats}, {out.Platform, &s.platforms}} {
		f.d.top(f.to, orders.MaxFacets, func(id int) int { return f.d.counts[id][status] })
	}
	s.methodNames.top(out.Method, orders.MaxMethodFacets, func(id int) int { return s.methodNames.counts[id][status] })
	for side := range sides {
		orders.AddCount(out.Side, string(sides[side]), s.sideCount[side][status])
	}
	orders.AddCount(out.Status, string(orders.Statuses[status]), int(s.byStatus[status].GetCardinality()))
	return out
}

// top adds the most frequent values to a facet, the same values that trimFacet would
// leave. Very many values may occur only once, so top never holds more than limit of
// them.
func (d *dict) top(to map[string]int, limit int, counted func(id int) int) {
	type named struct{ id, n int }
	best := make([]named, 0, limit+1)
	after := func(a, b named) int {
		if a.n != b.n {
			return b.n - a.n
		}
		return strings.Compare(d.names[a.id], d.names[b.id])
	}
	for id := range d.names {
		c := named{id, counted(id)}
		if c.n <= 0 || d.names[id] == "" || len(best) == limit && after(c, best[limit-1]) > 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, c, after)
		best = slices.Insert(best, at, c)
		best = best[:min(len(best), limit)]
	}
	for _, b := range best {
		to[d.names[b.id]] = b.n
	}
}

// pageOfClasses is page with the classes sorted as the query asks. The caller holds mu.
func (s *Store) pageOfClasses(q *orders.Query, sel selection, after *orders.Mark, limit int) (out []orders.Mark) {
	groups := groupsOf(q)
	if groups == nil {
		return s.page(q, sel, after, limit)
	}
	order, descending := q.Order()
	page := func(class uint8, after *orders.Mark, limit int) []orders.Mark {
		of := s.ofClass(sel, class)
		if order == orders.ByCost {
			return cheapest(s, q, class, of, after, limit)
		}
		return s.page(q, of, after, limit)
	}
	for _, group := range groups {
		if after != nil && after.Class > group[len(group)-1] || len(out) == limit {
			continue
		}
		from := after
		if after != nil && after.Class < group[0] {
			from = nil
		}
		var found []orders.Mark
		for _, class := range group {
			for _, h := range page(class, seenBy(from, class, descending), limit-len(out)) {
				h.Class = class
				found = append(found, h)
			}
		}
		if len(group) > 1 {
			slices.SortFunc(found, func(a, b orders.Mark) int {
				if a.Class != b.Class && a.Key == b.Key {
					return cmp.Compare(a.Class, b.Class)
				}
				if orders.Behind(descending, a, b) {
					return 1
				}
				return -1
			})
		}
		out = append(out, found[:min(len(found), limit-len(out))]...)
	}
	return out
}

// ofClass returns the orders of a class in a selection.
func (s *Store) ofClass(sel selection, class uint8) selection {
	switch n := s.byClass[class].GetCardinality(); {
	case n == 0:
		return selection{}
	case n == uint64(len(s.slots)):
		return sel
	case sel.bits != nil:
		return selection{bits: roaring.And(sel.bits, s.byClass[class])}
	}
	out := make([]uint32, 0, len(sel.list))
	for _, slot := range sel.list {
		if s.class[slot] == class {
			out = append(out, slot)
		}
	}
	return selection{list: out}
}

// hidden returns the slots that are hidden from a query, or nil if there are none. The
// caller holds mu.
func (s *Store) hidden(q *orders.Query) *roaring.Bitmap {
	if q.Hidden == nil {
		return nil
	}
	var all []*roaring.Bitmap
	for _, k := range q.Hidden.Authors(q.Spam) {
		if id, ok := s.authors.ids[k]; ok {
			all = append(all, s.authors.bits[id])
		}
	}
	single := roaring.New()
	for k, created := range q.Hidden.Versions {
		if slot, ok := s.slots[k]; ok && s.created[slot] == created {
			single.Add(slot)
		}
	}
	if !single.IsEmpty() {
		all = append(all, single)
	}
	if len(all) == 0 {
		return nil
	}
	return union(all)
}

// Search returns the live orders that match q and its words: one page plus one more order,
// the exact total, and the facets, which are shared and must not be changed.
func (s *Store) Search(q *orders.Query, all []Word, after *orders.Mark) ([]orders.Mark, int, orders.Facets) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, text := s.findAll(all)
	sel := s.choose(q, text)
	return s.pageOfClasses(q, sel, after, q.PageSize()+1), sel.size(), cachedFacets(s, q, sel)
}

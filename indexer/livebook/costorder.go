package livebook

import (
	"hash/maphash"
	"math"
	"slices"

	"github.com/mostrodex/mostrodex/indexer/orders"
)

// cheapOrders is the beginning of a selection in the order of cost. The lists of a currency are
// kept, because a selection may hold a hundred thousand orders. A list stays valid while orders
// change: orders that changed since are removed and, if they still belong, inserted again.
type cheapOrders struct {
	changes uint64        // Store.changes up to which the list is valid
	marks   []orders.Mark // sorted
	whole   bool          // no order of the selection is missing
}

// costKey names a list: the conditions of the query, the fees and rates, and the class of the
// orders.
type costKey struct {
	query string
	costs uint64
	class uint8
}

// Bounds of the lists. A list that is shorter than minCheap, because orders left, is made anew.
const (
	maxCheapLists = 128
	maxCheap      = 512
	minCheap      = 128
	maxChanged    = 1 << 10 // changes after which a list is made anew
)

// cheapest returns up to limit orders of a class in the order of cost, behind a cursor. The caller
// holds mu.
func cheapest(s *Store, q *orders.Query, class uint8, sel selection, after *orders.Mark, limit int) []orders.Mark {
	if q.Text != "" || q.Since != 0 || q.Until != 0 || limit > minCheap || sel.size() < maxCheap {
		return s.pick(q, sel, after, limit) // the key does not hold the meanings of a text, nor the times
	}
	asked := *q
	asked.Cursor, asked.Sort, asked.Limit = "", "", 0
	key := costKey{asked.CacheKey(), versionOf(q.Costs), class}
	list, ok := s.cheap.Get(key)
	if ok && list.changes != s.changes {
		if list, ok = list.follow(s, q, sel); ok {
			s.cheap.Put(key, list)
		}
	}
	if !ok {
		marks := s.pick(q, sel, nil, maxCheap)
		list = cheapOrders{s.changes, marks, len(marks) < maxCheap}
		s.cheap.Put(key, list)
	}
	from := 0
	if after != nil {
		from, _ = slices.BinarySearchFunc(list.marks, *after, func(m, after orders.Mark) int {
			if orders.Behind(false, m, after) {
				return 1
			}
			return -1
		})
	}
	if found := list.marks[from:]; list.whole || len(found) >= limit {
		return found[:min(len(found), limit)]
	}
	return s.pick(q, sel, after, limit)
}

// follow returns the list with the present orders in place of those that changed. ok is false if
// the list must be made anew. Orders behind the last one of the list are not known, so the list
// can only become shorter, unless no order is missing.
func (l cheapOrders) follow(s *Store, q *orders.Query, sel selection) (_ cheapOrders, ok bool) {
	if l.changes < s.judgedAt || s.changes-l.changes > maxChanged {
		return l, false
	}
	changed := make(map[orders.Key]struct{}, s.changes-l.changes)
	for n := l.changes + 1; n <= s.changes; n++ {
		changed[s.changed[n%maxChanged]] = struct{}{}
	}
	out := cheapOrders{changes: s.changes, whole: l.whole, marks: make([]orders.Mark, 0, len(l.marks)+len(changed))}
	for _, m := range l.marks {
		if _, ok := changed[m.ID]; !ok {
			out.marks = append(out.marks, m)
		}
	}
	keyAt, kept := s.costs(q.Costs), len(out.marks)
	for k := range changed {
		slot, live := s.slots[k]
		if !live || !sel.has(slot) {
			continue
		}
		m := orders.Mark{Key: keyAt(slot), ID: k}
		if l.whole || !orders.Behind(false, m, l.marks[len(l.marks)-1]) {
			out.marks = append(out.marks, m)
		}
	}
	if len(out.marks) > kept {
		slices.SortFunc(out.marks, func(a, b orders.Mark) int {
			if orders.Behind(false, a, b) {
				return 1
			}
			return -1
		})
	}
	if len(out.marks) > maxCheap {
		out.marks, out.whole = out.marks[:maxCheap], false
	}
	return out, out.whole || len(out.marks) >= minCheap
}

// noteChange counts a change of an order. The caller holds mu for writing.
func noteChange(s *Store, k orders.Key) {
	s.changes++
	s.changed[s.changes%maxChanged] = k
}

var costSeed = maphash.MakeSeed()

// versionOf returns a number that is equal for equal fees and rates. Publishers choose their
// fees, so the hash has a seed that no publisher knows.
func versionOf(c *orders.Costs) (sum uint64) {
	if c == nil {
		return 0
	}
	type entry struct {
		rate bool
		name string
		bits uint64
	}
	for name, v := range c.Fees {
		sum += maphash.Comparable(costSeed, entry{false, name, math.Float64bits(v)})
	}
	for name, v := range c.Rates {
		sum += maphash.Comparable(costSeed, entry{true, name, math.Float64bits(v)})
	}
	return sum
}

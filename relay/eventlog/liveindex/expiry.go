package liveindex

import (
	"math"
	"sync/atomic"
)

// Hidden is an entry whose event has expired. seq tells its event from a later event in the same
// entry.
type Hidden struct {
	entry uint32
	seq   uint64
}

// expiries knows which events expire when, and which have expired. Its fields are guarded
// by the lock of the index, except next.
type expiries struct {
	entries *entryTable
	heap    expiryHeap
	hidden  []Hidden // hidden entries whose index entries the committer has not moved yet
	// next is the earliest time in heap. A query compares it with the clock without
	// taking the lock.
	next atomic.Int64
}

// add adds the expiration of an entry.
func (x *expiries) add(n uint32) {
	x.heap.push(makeItem(x.entries.At(n).expiration, n))
	x.setNext()
}

// due removes and returns an entry that has expired at now and is not hidden. ok is
// false if there is none. An equal expiration of an earlier event in the entry counts
// too.
func (x *expiries) due(now int64) (n uint32, ok bool) {
	for len(x.heap) > 0 && x.heap[0].createdAt() <= now {
		e := x.heap.pop()
		if s := x.entries.At(e.entry()); s.used && s.expiration == e.createdAt() && !s.hidden {
			return e.entry(), true
		}
	}
	x.setNext()
	return 0, false
}

// compact reduces the heap to one expiration per event. A live entry may have several
// equal expirations: versions of an order have the same end, and a new version often
// reuses the entry of the old one.
func (x *expiries) compact() {
	x.heap = x.heap[:0]
	for n := range x.entries.Len() {
		if s := x.entries.At(n); s.used && !s.hidden && s.expires() {
			x.heap = append(x.heap, makeItem(s.expiration, n))
		}
	}
	x.heap.order()
	x.setNext()
}

func (x *expiries) setNext() {
	if len(x.heap) == 0 {
		x.next.Store(math.MaxInt64)
	} else {
		x.next.Store(x.heap[0].createdAt())
	}
}

// expires reports whether an entry has an expiration that fits into an item.
func (e *liveEntry) expires() bool { return e.expiration > 0 && e.expiration <= MaxTime }

// expiryHeap is a binary heap of expirations with their live entries. If an event was
// removed otherwise, its expiration stays in the heap until it is popped or compacted.
type expiryHeap []item

func (h *expiryHeap) push(e item) {
	s := append(*h, e)
	*h = s
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if s[up] <= s[i] {
			break
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

func (h *expiryHeap) pop() item {
	s := *h
	top := s[0]
	last := len(s) - 1
	s[0] = s[last]
	*h = s[:last]
	(*h).down(0)
	return top
}

func (h expiryHeap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1] < h[child] {
			child++
		}
		if h[i] <= h[child] {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// order makes a heap of expirations in any order.
func (h expiryHeap) order() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

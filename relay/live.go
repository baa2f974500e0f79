package relay

import (
	"bytes"
	"math"
	"sync"
	"sync/atomic"
)

// live is the index of everything that is served, in memory. It is written by
// the committer alone, after each commit, and by whoever first notices that
// something has expired; both hold mu.
//
// The postings are by kind, author, single-letter tag, and the composites that
// order books ask for: (kind, author), (kind, s), (kind, author, s) and
// (kind, s, f).
type live struct {
	mu      sync.RWMutex
	slots   []slot
	free    []uint32
	byID    map[[32]byte]uint32
	authors intern[[32]byte]
	terms   intern[string]
	kinds   map[uint16]*posting
	combos  map[combo]*posting
	byAddr  map[slotAddress]uint32

	expiries expiryHeap
	hidden   []expiry // hidden slots, until the committer has moved their records
	// nextExpiry is the earliest time in expiries, so that queries can tell
	// without a lock that nothing has expired.
	nextExpiry atomic.Int64
	shun       atomic.Pointer[shunned] // nil: nothing
	bodies     bodyCache
	n          int
}

// slot is one live event.
type slot struct {
	id         [32]byte
	seq        uint64
	chain      uint64
	createdAt  int64
	expiration int64
	author     uint32
	kind       uint16
	used       bool
	// hidden: past its expiration and out of every posting, but still the
	// newest of its address until the committer has moved its record.
	hidden bool
	terms  []uint32
	body   []byte // nil when not cached
}

// slotAddress is an address in interned numbers.
type slotAddress struct {
	kind   uint16
	author uint32
	d      uint32 // term of the d tag, none where there is none
}

// combo is the key of a composite posting; none stands for what it leaves out.
type combo struct {
	kind   uint16
	author uint32
	s, f   uint32
}

const none = math.MaxUint32

// intern numbers the distinct values of one property and keeps the posting of
// each. Numbers are reused once no slot refers to them.
type intern[K comparable] struct {
	ids      map[K]uint32
	keys     []K
	postings []posting
	refs     []uint32
	free     []uint32
}

// number gives the number of a value, for one more slot to refer to.
func (in *intern[K]) number(k K) uint32 {
	if n, ok := in.ids[k]; ok {
		in.refs[n]++
		return n
	}
	var n uint32
	if last := len(in.free) - 1; last >= 0 {
		n = in.free[last]
		in.free = in.free[:last]
		in.keys[n] = k
	} else {
		n = uint32(len(in.keys))
		in.keys = append(in.keys, k)
		in.postings = append(in.postings, posting{})
		in.refs = append(in.refs, 0)
	}
	in.ids[k] = n
	in.refs[n] = 1
	return n
}

func (in *intern[K]) release(n uint32) {
	if in.refs[n]--; in.refs[n] == 0 {
		var zero K
		delete(in.ids, in.keys[n])
		in.keys[n] = zero
		in.postings[n] = posting{}
		in.free = append(in.free, n)
	}
}

func newLive(bodyBudget int) *live {
	l := &live{
		byID:    make(map[[32]byte]uint32),
		kinds:   make(map[uint16]*posting),
		combos:  make(map[combo]*posting),
		byAddr:  make(map[slotAddress]uint32),
		authors: intern[[32]byte]{ids: make(map[[32]byte]uint32)},
		terms:   intern[string]{ids: make(map[string]uint32)},
		bodies:  bodyCache{budget: bodyBudget},
	}
	l.nextExpiry.Store(math.MaxInt64)
	return l
}

// less orders items oldest first; within a second, greatest id first.
func (l *live) less(a, b item) bool {
	if ta, tb := a>>slotBits, b>>slotBits; ta != tb {
		return ta < tb
	}
	if a == b {
		return false
	}
	return bytes.Compare(l.slots[a.slot()].id[:], l.slots[b.slot()].id[:]) > 0
}

// fill takes a slot for a record and interns its properties; it touches no
// posting.
func (l *live) fill(r record, body []byte) uint32 {
	var n uint32
	if last := len(l.free) - 1; last >= 0 {
		n = l.free[last]
		l.free = l.free[:last]
	} else {
		n = uint32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	s := &l.slots[n]
	*s = slot{
		id: r.id, seq: r.seq, chain: r.chain, createdAt: r.createdAt, expiration: r.expiration,
		author: l.authors.number(r.pubkey), kind: uint16(r.kind), used: true,
	}
	s.terms = make([]uint32, len(r.terms))
	for i, t := range r.terms {
		s.terms[i] = l.terms.number(t)
	}
	l.byID[r.id] = n
	if a, ok := l.slotAddress(s, r); ok {
		l.byAddr[a] = n
	}
	if r.expiration > 0 {
		l.expiries.push(expiry{at: r.expiration, slot: n, seq: r.seq})
		l.nextExpiry.Store(l.expiries[0].at)
	}
	l.n++
	if body != nil {
		l.cache(n, body)
	}
	return n
}

// slotAddress is the address of a slot: replaceable kinds have no d, and an
// addressable event without d has the empty one, which is not interned either.
func (l *live) slotAddress(s *slot, r record) (slotAddress, bool) {
	switch kindClass(r.kind) {
	case replaceable:
		return slotAddress{s.kind, s.author, none}, true
	case addressable:
		for i, t := range r.terms {
			if t[0] == 'd' {
				if len(t) == 1 {
					break
				}
				return slotAddress{s.kind, s.author, s.terms[i]}, true
			}
		}
		return slotAddress{s.kind, s.author, none}, true
	}
	return slotAddress{}, false
}

// find gives the slot of an address, if it is held in memory.
func (l *live) find(kind int, pubkey [32]byte, d string) (uint32, bool) {
	author, ok := l.authors.ids[pubkey]
	if !ok {
		return 0, false
	}
	a := slotAddress{uint16(kind), author, none}
	if kindClass(kind) == addressable && d != "" {
		if a.d, ok = l.terms.ids["d"+d]; !ok {
			return 0, false
		}
	}
	n, ok := l.byAddr[a]
	return n, ok
}

// eachPosting calls fn for every posting that a slot belongs to.
func (l *live) eachPosting(s *slot, fn func(*posting)) {
	p, ok := l.kinds[s.kind]
	if !ok {
		p = &posting{}
		l.kinds[s.kind] = p
	}
	fn(p)
	fn(&l.authors.postings[s.author])
	fn(l.combo(combo{s.kind, s.author, none, none}))
	for _, t := range s.terms {
		fn(&l.terms.postings[t])
		if l.terms.keys[t][0] != 's' {
			continue
		}
		fn(l.combo(combo{s.kind, none, t, none}))
		fn(l.combo(combo{s.kind, s.author, t, none}))
		for _, f := range s.terms {
			if l.terms.keys[f][0] == 'f' {
				fn(l.combo(combo{s.kind, none, t, f}))
			}
		}
	}
}

func (l *live) combo(c combo) *posting {
	p, ok := l.combos[c]
	if !ok {
		p = &posting{}
		l.combos[c] = p
	}
	return p
}

// add puts a record in. The caller holds mu.
func (l *live) add(r record, body []byte) {
	n := l.fill(r, body)
	s := &l.slots[n]
	it := makeItem(s.createdAt, n)
	l.eachPosting(s, func(p *posting) { p.insert(it, l.less) })
}

// unlink takes a slot out of every posting.
func (l *live) unlink(n uint32) {
	s := &l.slots[n]
	it := makeItem(s.createdAt, n)
	l.eachPosting(s, func(p *posting) { p.remove(it, l.less) })
	for _, t := range s.terms {
		if l.terms.keys[t][0] != 's' {
			continue
		}
		l.dropEmpty(combo{s.kind, none, t, none})
		l.dropEmpty(combo{s.kind, s.author, t, none})
		for _, f := range s.terms {
			if l.terms.keys[f][0] == 'f' {
				l.dropEmpty(combo{s.kind, none, t, f})
			}
		}
	}
	l.dropEmpty(combo{s.kind, s.author, none, none})
	if l.kinds[s.kind].n == 0 {
		delete(l.kinds, s.kind)
	}
	l.n--
}

func (l *live) dropEmpty(c combo) {
	if p := l.combos[c]; p != nil && p.n == 0 {
		delete(l.combos, c)
	}
}

// remove takes a slot out altogether. The caller holds mu.
func (l *live) remove(n uint32) {
	s := &l.slots[n]
	if !s.hidden {
		l.unlink(n)
	}
	delete(l.byID, s.id)
	d := uint32(none)
	if kindClass(int(s.kind)) == addressable {
		for _, t := range s.terms {
			if k := l.terms.keys[t]; k[0] == 'd' && len(k) > 1 {
				d = t
				break
			} else if k[0] == 'd' {
				break
			}
		}
	}
	a := slotAddress{s.kind, s.author, d}
	if have, ok := l.byAddr[a]; ok && have == n {
		delete(l.byAddr, a)
	}
	for _, t := range s.terms {
		l.terms.release(t)
	}
	l.authors.release(s.author)
	l.bodies.size -= len(s.body)
	*s = slot{}
	l.free = append(l.free, n)
	if len(l.expiries) > 2*l.n+1024 {
		l.expiries.compact(func(e expiry) bool { return l.current(e) })
		l.setNextExpiry()
	}
}

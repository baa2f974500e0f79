package liveindex

import (
	"slices"
	"sort"

	"github.com/mostrodex/mostrodex/internal/arena"
)

// posting is the sorted list of the live events that share one property. An item packs
// created_at (36 bits) above the number of the live entry (28 bits). Events of the same
// second are ordered by id, so that a walk from the end visits events in NIP-01 order:
// newest first, then lowest id.
//
// Most postings hold a few items and are one slice. A long posting is a list of chunks,
// so that an insertion in the middle moves at most one chunk.
type posting struct {
	few    []item   // used while the posting is short
	chunks [][]item // used if the posting is long; no chunk is empty
	n      int
}

// list is a posting, or a single item if only one event has the property: most
// addresses need no posting.
type list struct {
	many *posting // nil if the list is the item one
	one  item
}

func (a list) size() int {
	if a.many == nil {
		return 1
	}
	return a.many.n
}

// before returns the number of items with created_at < t.
func (a list) before(t int64) int {
	switch {
	case a.many != nil:
		return a.many.before(t)
	case a.one.createdAt() < t:
		return 1
	}
	return 0
}

// newest returns a cursor at the newest item with created_at <= until.
func (a list) newest(until int64) cursor {
	if a.many != nil {
		return a.many.newest(until)
	}
	c := cursor{one: a.one}
	if a.one.createdAt() > until {
		c.i = -1
	}
	return c
}

// MaxTime is the greatest created_at that the index holds, in the year 4147.
const MaxTime = 1<<(64-entryBits) - 1

type item uint64

const (
	entryBits  = arena.NumberBits
	maxEntries = 1 << entryBits
	chunkMax   = 512
	chunkMin   = 64 // minimum capacity of a chunk
)

func makeItem(createdAt int64, entry uint32) item {
	return item(uint64(createdAt)<<entryBits | uint64(entry))
}

func (i item) entry() uint32    { return uint32(i) & (maxEntries - 1) }
func (i item) createdAt() int64 { return int64(i >> entryBits) }

// order compares two items. Ids are compared only within the same second.
type order func(a, b item) bool // reports whether a is older than b

func (p *posting) insert(it item, less order) {
	p.n++
	if p.chunks == nil {
		p.few = insertItem(p.few, it, less)
		if len(p.few) > chunkMax {
			half := len(p.few) / 2
			left := append(make([]item, 0, chunkMax*3/4), p.few[:half]...)
			right := append(make([]item, 0, chunkMax*3/4), p.few[half:]...)
			p.few, p.chunks = nil, [][]item{left, right}
		}
		return
	}
	c := p.chunkFor(it, less)
	if len(p.chunks[c]) < chunkMax {
		p.chunks[c] = insertItem(p.chunks[c], it, less)
		return
	}
	// The chunk is full. Events mostly arrive in order: at the end begin a new chunk
	// and leave the full one; elsewhere split the chunk.
	last := len(p.chunks) - 1
	if c == last && less(p.chunks[c][chunkMax-1], it) {
		p.chunks = append(p.chunks, append(make([]item, 0, chunkMin), it))
		return
	}
	half := chunkMax / 2
	right := append(make([]item, 0, chunkMax*3/4), p.chunks[c][half:]...)
	p.chunks[c] = append(make([]item, 0, chunkMax*3/4), p.chunks[c][:half]...)
	p.chunks = append(p.chunks, nil)
	copy(p.chunks[c+2:], p.chunks[c+1:])
	p.chunks[c+1] = right
	if less(it, right[0]) {
		p.chunks[c] = insertItem(p.chunks[c], it, less)
	} else {
		p.chunks[c+1] = insertItem(right, it, less)
	}
}

// chunkFor returns the index of the chunk that holds or would hold an item: the first
// chunk whose last item is not before the item, else the last chunk.
func (p *posting) chunkFor(it item, less order) int {
	last := len(p.chunks) - 1
	if ch := p.chunks[last]; !less(it, ch[0]) {
		return last
	}
	return sort.Search(last, func(i int) bool {
		ch := p.chunks[i]
		return !less(ch[len(ch)-1], it)
	})
}

func insertItem(s []item, it item, less order) []item {
	n := len(s)
	if n == cap(s) { // append would allocate more than a chunk may hold
		s = append(make([]item, 0, max(2, min(n*3/2, chunkMax), n+1)), s...)
	}
	if n == 0 || less(s[n-1], it) {
		return append(s, it)
	}
	i := sort.Search(n, func(i int) bool { return less(it, s[i]) })
	s = append(s, 0)
	copy(s[i+1:], s[i:])
	s[i] = it
	return s
}

// remove removes an item. It returns false if the item is not in the posting.
func (p *posting) remove(it item, less order) bool {
	if p.chunks == nil {
		i := findItem(p.few, it, less)
		if i < 0 {
			return false
		}
		p.few = append(p.few[:i], p.few[i+1:]...)
		if len(p.few) <= cap(p.few)/4 && cap(p.few) > 16 {
			p.few = append(make([]item, 0, cap(p.few)/2), p.few...)
		}
		p.n--
		return true
	}
	c := p.chunkFor(it, less)
	ch := p.chunks[c]
	i := findItem(ch, it, less)
	if i < 0 {
		return false
	}
	p.n--
	ch = append(ch[:i], ch[i+1:]...)
	p.chunks[c] = ch
	switch {
	case len(ch) == 0:
		p.dropChunk(c)
	case len(ch) < chunkMax/2 && p.mergeChunk(c):
	case len(ch) <= cap(ch)/2 && cap(ch) > chunkMin:
		p.chunks[c] = append(make([]item, 0, cap(ch)*5/8), ch...)
	}
	if len(p.chunks) == 1 && p.n <= chunkMax/4 {
		p.few = append([]item(nil), p.chunks[0]...)
		p.chunks = nil
	}
	return true
}

func (p *posting) dropChunk(c int) {
	copy(p.chunks[c:], p.chunks[c+1:])
	p.chunks[len(p.chunks)-1] = nil
	p.chunks = p.chunks[:len(p.chunks)-1]
	if len(p.chunks) == 0 {
		p.chunks = nil
	}
}

// mergeChunk merges a chunk with a neighbour if both fit, and reports whether it did.
// Orders are added at the end and removed from the middle; without merging, most of the
// memory would be unused capacity.
func (p *posting) mergeChunk(c int) bool {
	const room = chunkMax * 3 / 4
	switch {
	case c > 0 && len(p.chunks[c-1])+len(p.chunks[c]) <= room:
		c--
	case c+1 < len(p.chunks) && len(p.chunks[c])+len(p.chunks[c+1]) <= room:
	default:
		return false
	}
	p.chunks[c] = append(p.chunks[c], p.chunks[c+1]...)
	p.dropChunk(c + 1)
	return true
}

func findItem(s []item, it item, less order) int {
	i := sort.Search(len(s), func(i int) bool { return !less(s[i], it) })
	if i < len(s) && s[i] == it {
		return i
	}
	return -1
}

// load replaces the posting by items in any order. Open fills the index with load.
func (p *posting) load(items []item, less order) {
	slices.Sort(items) // by time; items of the same second are sorted below
	for from := 0; from < len(items); {
		to := from + 1
		for to < len(items) && items[to].createdAt() == items[from].createdAt() {
			to++
		}
		if same := items[from:to]; len(same) > 1 {
			sort.Slice(same, func(i, j int) bool { return less(same[i], same[j]) })
		}
		from = to
	}
	*p = posting{n: len(items)}
	if len(items) <= chunkMax {
		p.few = append([]item(nil), items...)
		return
	}
	for len(items) > 0 {
		n := min(len(items), chunkMax)
		p.chunks = append(p.chunks, append(make([]item, 0, n), items[:n]...))
		items = items[n:]
	}
}

// before returns the number of items with created_at < t.
func (p *posting) before(t int64) int {
	if t <= 0 {
		return 0
	}
	if t > MaxTime {
		return p.n
	}
	bound := makeItem(t, 0) &^ (maxEntries - 1)
	if p.chunks == nil {
		return sort.Search(len(p.few), func(i int) bool { return p.few[i] >= bound })
	}
	n := 0
	for _, ch := range p.chunks {
		if ch[len(ch)-1] < bound {
			n += len(ch)
			continue
		}
		return n + sort.Search(len(ch), func(i int) bool { return ch[i] >= bound })
	}
	return n
}

// cursor walks a posting backwards, from the newest item at or before a time.
type cursor struct {
	p     *posting // nil if the list is the item one
	one   item
	chunk int // -1 if the posting is short
	i     int
}

// newest returns a cursor at the newest item with created_at <= until.
func (p *posting) newest(until int64) cursor {
	c := cursor{p: p, chunk: -1}
	if p.chunks == nil {
		c.i = len(p.few) - 1
		if until < MaxTime && c.i >= 0 && p.few[c.i].createdAt() > until {
			c.i = p.before(until+1) - 1
		}
		return c
	}
	c.chunk = len(p.chunks) - 1
	c.i = len(p.chunks[c.chunk]) - 1
	if until >= MaxTime || p.chunks[c.chunk][c.i].createdAt() <= until {
		return c
	}
	bound := makeItem(until+1, 0)
	c.chunk = sort.Search(len(p.chunks), func(i int) bool {
		ch := p.chunks[i]
		return ch[len(ch)-1] >= bound
	})
	ch := p.chunks[c.chunk]
	c.i = sort.Search(len(ch), func(i int) bool { return ch[i] >= bound }) - 1
	if c.i < 0 {
		c.previousChunk()
	}
	return c
}

func (c *cursor) previousChunk() {
	c.chunk--
	if c.chunk >= 0 {
		c.i = len(c.p.chunks[c.chunk]) - 1
	} else {
		c.i = -1
	}
}

// item returns the current item. ok is false past the oldest item.
func (c *cursor) item() (item, bool) {
	if c.i < 0 {
		return 0, false
	}
	switch {
	case c.p == nil:
		return c.one, true
	case c.p.chunks == nil:
		return c.p.few[c.i], true
	}
	return c.p.chunks[c.chunk][c.i], true
}

// next moves to the next older item.
func (c *cursor) next() {
	c.i--
	if c.i < 0 && c.p != nil && c.p.chunks != nil {
		c.previousChunk()
	}
}

package liveindex

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/nbd-wtf/go-nostr"
)

// ErrBulk is returned by queries if the index has no postings.
var ErrBulk = errors.New("the store was opened for an import and answers no queries")

// ErrFilter is returned for a filter with a tag name that is not a single letter.
// NIP-01 indexes only single-letter tags.
var ErrFilter = errors.New("unsupported filter")

// condition is a filter in the interned numbers of the live index.
type condition struct {
	kinds        []uint16 // nil means any
	authors      []uint32 // nil means any
	tags         []tagCondition
	since, until int64
	upTo         uint64
	moderated    []uint32 // sorted numbers of authors whose events are not served
	moderatedIDs map[[32]byte]struct{}
}

type tagCondition struct {
	letter byte
	values []uint32
	set    map[uint32]struct{} // the same as values; set if there are many
	sides  [otherSide]bool     // for a condition on k: the sides that match
}

// manyValues is the number of values above which a set replaces a scan.
const manyValues = 16

// condition resolves a filter. none is true if no live event can match. The caller
// holds mu.
func (l *Index) condition(f nostr.Filter, upTo uint64) (c condition, none bool, err error) {
	c = condition{until: MaxTime, upTo: upTo}
	if f.Since != nil {
		c.since = int64(*f.Since)
	}
	if f.Until != nil {
		c.until = min(int64(*f.Until), MaxTime)
	}
	for name := range f.Tags {
		if len(name) != 1 || !isLetter(name[0]) {
			return c, false, fmt.Errorf("%w: #%.20s is not a single letter", ErrFilter, name)
		}
	}
	c.moderated = l.moderatedAuthors()
	if s := l.moderation.Load(); s != nil && len(s.ids) > 0 {
		c.moderatedIDs = s.ids
	}
	if c.since > c.until || f.IDs != nil && len(f.IDs) == 0 {
		return c, true, nil
	}
	if f.Kinds != nil {
		c.kinds = make([]uint16, 0, len(f.Kinds))
		for _, k := range f.Kinds {
			if k >= 0 && k <= 65535 && l.kinds[uint16(k)] != nil && !slices.Contains(c.kinds, uint16(k)) {
				c.kinds = append(c.kinds, uint16(k))
			}
		}
		none = none || len(c.kinds) == 0
	}
	if f.Authors != nil {
		c.authors = make([]uint32, 0, len(f.Authors))
		for _, a := range f.Authors {
			if n, ok := l.authors.find(hex32.OrZero(a)); ok {
				c.authors = append(c.authors, n)
			}
		}
		c.authors = distinct(c.authors)
		none = none || len(c.authors) == 0
	}
	for name, values := range f.Tags {
		if values == nil {
			continue
		}
		t := tagCondition{letter: name[0], values: make([]uint32, 0, len(values))}
		for _, v := range values {
			if n, ok := l.tags.find(name[0], v); ok {
				t.values = append(t.values, n)
			}
			switch {
			case t.letter != 'k':
			case v == "buy":
				t.sides[buySide] = true
			case v == "sell":
				t.sides[sellSide] = true
			}
		}
		t.values = distinct(t.values)
		if len(t.values) > manyValues {
			t.set = make(map[uint32]struct{}, len(t.values))
			for _, n := range t.values {
				t.set[n] = struct{}{}
			}
		}
		none = none || len(t.values) == 0
		c.tags = append(c.tags, t)
	}
	return c, none, nil
}

func distinct(s []uint32) []uint32 {
	if len(s) < 2 {
		return s
	}
	slices.Sort(s)
	return slices.Compact(s)
}

// plan is a set of postings whose union contains every match, together with the
// conditions that membership in the postings proves.
//
// Membership in a posting of several proves only the kind.
type plan struct {
	lists          []list
	several        []list // postings several of the kinds; set if the plan is by composites of s
	cost           int
	kinds, authors bool   // proven by membership
	letters        string // letters of the tag conditions that membership proves
	disjoint       bool   // no event is in two of the postings
}

// maxPostings bounds the postings that are merged for one filter. If a plan needs more,
// a coarser plan is used.
const maxPostings = 2048

// plan returns the cheapest plan: few items in few lists, because each doubling of the
// number of lists adds a merge level per item. If counting is set, a plan that proves
// every condition costs only its number of lists. The caller holds mu.
func (l *Index) plan(c *condition, counting bool) plan {
	var best plan
	consider := func(p plan) {
		size := 0
		for _, q := range p.lists {
			size += q.size()
		}
		checked := 0
		for _, q := range p.several {
			checked += q.size()
		}
		p.cost = (size + checked) * (3 + bits.Len(uint(len(p.lists)+len(p.several)))) // 3 is the cost of reading the entry, with or without merging
		if counting && p.countable(c) {
			p.cost = len(p.lists) + 4*checked
		}
		if best.lists == nil || p.cost < best.cost || p.cost == best.cost && p.proves() > best.proves() {
			best = p
		}
	}
	kinds := c.kinds
	if kinds == nil {
		kinds = make([]uint16, 0, len(l.kinds))
		for k := range l.kinds {
			kinds = append(kinds, k)
		}
	}
	all := plan{lists: make([]list, 0, len(kinds)), kinds: true, disjoint: true}
	for _, k := range kinds {
		all.lists = append(all.lists, list{many: l.kinds[k]})
	}
	consider(all)
	if n := l.pairs(c); c.authors != nil && (n <= maxPostings || c.kinds == nil && n <= l.n/8) {
		p := plan{lists: make([]list, 0, n), kinds: true, authors: true, disjoint: true}
		for _, a := range c.authors {
			for _, k := range l.kindsOf(c, a) {
				p.add(l.composite(composite{uint32(k), a, None, None}))
			}
		}
		consider(p)
	}
	var s, f *tagCondition
	for i := range c.tags {
		t := &c.tags[i]
		p := plan{lists: make([]list, 0, min(len(t.values), maxPostings)), letters: string(t.letter), disjoint: len(t.values) == 1}
		if len(t.values) <= maxPostings {
			for _, n := range t.values {
				p.add(l.tagList(n))
			}
			p.kinds = c.kinds == nil
			consider(p)
		}
		switch t.letter {
		case 's':
			s = t
		case 'f':
			f = t
		}
	}
	if s == nil {
		return best
	}
	var several []list
	for _, k := range kinds {
		if q := l.several[k]; q != nil {
			several = append(several, list{many: q})
		}
	}
	if len(kinds)*len(s.values) <= maxPostings {
		p := plan{lists: make([]list, 0, len(kinds)*len(s.values)), kinds: true, letters: "s", disjoint: len(s.values) == 1, several: several}
		for _, k := range kinds {
			for _, n := range s.values {
				p.add(l.composite(composite{uint32(k), None, n, None}))
			}
		}
		consider(p)
	}
	if c.authors != nil && len(kinds)*len(s.values)*len(c.authors) <= maxPostings {
		p := plan{lists: make([]list, 0, len(kinds)*len(s.values)*len(c.authors)), kinds: true, authors: true, letters: "s", disjoint: len(s.values) == 1, several: several}
		for _, k := range kinds {
			for _, a := range c.authors {
				for _, n := range s.values {
					p.add(l.composite(composite{uint32(k), a, n, None}))
				}
			}
		}
		consider(p)
	}
	if f != nil && len(kinds)*len(s.values)*len(f.values) <= maxPostings {
		p := plan{lists: make([]list, 0, len(kinds)*len(s.values)*len(f.values)), kinds: true, letters: "sf", disjoint: len(s.values) == 1 && len(f.values) == 1, several: several}
		for _, k := range kinds {
			for _, n := range s.values {
				for _, m := range f.values {
					p.add(l.composite(composite{uint32(k), None, n, m}))
				}
			}
		}
		consider(p)
	}
	return best
}

func (p *plan) add(a list, ok bool) {
	if ok {
		p.lists = append(p.lists, a)
	}
}

func (l *Index) composite(c composite) (list, bool) {
	a, ok := l.composites[c]
	return a, ok
}

// kindsOf returns the kinds to look up for an author: the kinds of the filter or, if
// the filter names none, the kinds of the author's live events.
func (l *Index) kindsOf(c *condition, author uint32) []uint16 {
	if c.kinds != nil {
		return c.kinds
	}
	return l.authors.list.At(author).kinds
}

// pairs returns the number of (kind, author) pairs to look up.
func (l *Index) pairs(c *condition) (n int) {
	if c.kinds != nil {
		return len(c.kinds) * len(c.authors)
	}
	for _, a := range c.authors {
		n += len(l.kindsOf(c, a))
	}
	return n
}

// proves returns the number of conditions that membership proves. Of two plans with the
// same cost, the plan that proves more is taken.
func (p *plan) proves() int {
	n := len(p.letters)
	if p.kinds {
		n++
	}
	if p.authors {
		n++
	}
	return n
}

// countable reports whether the number of matches equals the number of the plan's items
// within the time range.
func (p *plan) countable(c *condition) bool { return p.disjoint && p.exact(c) }

// exact reports whether every item of the plan within the time range matches.
func (p *plan) exact(c *condition) bool {
	return (p.kinds || c.kinds == nil) && (p.authors || c.authors == nil) && p.provesTags(c) && c.upTo == 0 && c.moderated == nil && c.moderatedIDs == nil
}

func (p *plan) provesTags(c *condition) bool {
	for i := range c.tags {
		if !slices.Contains([]byte(p.letters), c.tags[i].letter) {
			return false
		}
	}
	return true
}

// provesKind holds the only condition that membership in a posting of several proves.
var provesKind = plan{kinds: true}

// matches checks the conditions that the plan does not prove. The walk checks the time
// range.
func (l *Index) matches(c *condition, s *liveEntry, p *plan) bool {
	if c.upTo != 0 && s.seq > c.upTo {
		return false
	}
	if len(c.moderatedIDs) > 0 {
		if _, ok := c.moderatedIDs[s.id]; ok {
			return false
		}
	}
	if c.moderated != nil {
		if _, ok := slices.BinarySearch(c.moderated, s.author); ok {
			return false
		}
	}
	if s.several && p.several != nil {
		p = &provesKind
	}
	if !p.kinds && c.kinds != nil && !slices.Contains(c.kinds, s.kind) {
		return false
	}
	if !p.authors && c.authors != nil {
		if _, ok := slices.BinarySearch(c.authors, s.author); !ok {
			return false
		}
	}
tags:
	for i := range c.tags {
		t := &c.tags[i]
		if len(p.letters) > 0 && (p.letters[0] == t.letter || len(p.letters) > 1 && p.letters[1] == t.letter) {
			continue
		}
		if t.letter == 'k' && s.side != otherSide {
			if t.sides[s.side] {
				continue
			}
			return false
		}
		tags := l.entries.tagsOf(s)
		if t.set != nil {
			for _, n := range tags {
				if _, ok := t.set[n]; ok {
					continue tags
				}
			}
			return false
		}
		for _, want := range t.values {
			if slices.Contains(tags, want) {
				continue tags
			}
		}
		return false
	}
	return true
}

// walk calls fn for each match, newest first, until fn returns false. The caller holds
// mu.
func (l *Index) walk(ctx context.Context, c *condition, p *plan, fn func(item) bool) error {
	_, err := l.walkPart(ctx, c, p, walkPosition{}, math.MaxInt, fn)
	return err
}

// walkedAtOnce is the number of items that are read before the lock is released.
const walkedAtOnce = 16 << 10

// walkPosition is the last event that a walk in parts has visited.
type walkPosition struct {
	is bool
	at int64
	id [32]byte
}

// behind reports whether a walk visits an item after the position.
func (l *Index) behind(r *walkPosition, it item) bool {
	if at := it.createdAt(); at != r.at {
		return at < r.at
	}
	return bytes.Compare(l.entries.At(it.entry()).id[:], r.id[:]) > 0
}

// walkPart continues a walk behind a position and reads at most some items. It returns
// the new position, or the zero position if the walk has ended.
func (l *Index) walkPart(ctx context.Context, c *condition, p *plan, from walkPosition, some int, fn func(item) bool) (walkPosition, error) {
	until := c.until
	if from.is {
		until = min(until, from.at)
	}
	m := merge{less: l.less, heap: make([]head, 0, len(p.lists)+len(p.several))}
	for _, q := range p.lists {
		m.push(q.newest(until))
	}
	for _, q := range p.several {
		m.push(q.newest(until))
	}
	for from.is && len(m.heap) > 0 && !l.behind(&from, m.heap[0].item) {
		m.next()
	}
	var last item
	var any bool
	for n := 1; ; n++ {
		it, ok := m.next()
		if !ok || it.createdAt() < c.since {
			return walkPosition{}, nil
		}
		if n > some && !(any && it == last) {
			return walkPosition{true, last.createdAt(), l.entries.At(last.entry()).id}, ctx.Err()
		}
		if any && it == last { // the item is in two postings
			continue
		}
		last, any = it, true
		if l.matches(c, l.entries.At(it.entry()), p) && !fn(it) {
			return walkPosition{}, nil
		}
	}
}

// merge walks several cursors as one, newest first.
type merge struct {
	less order
	heap []head
}

type head struct {
	item item
	cur  cursor
}

func (m *merge) push(c cursor) {
	it, ok := c.item()
	if !ok {
		return
	}
	m.heap = append(m.heap, head{it, c})
	for i := len(m.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !m.less(m.heap[up].item, m.heap[i].item) {
			break
		}
		m.heap[up], m.heap[i] = m.heap[i], m.heap[up]
		i = up
	}
}

func (m *merge) next() (item, bool) {
	if len(m.heap) == 0 {
		return 0, false
	}
	top := &m.heap[0]
	it := top.item
	top.cur.next()
	if next, ok := top.cur.item(); ok {
		top.item = next
	} else {
		last := len(m.heap) - 1
		m.heap[0] = m.heap[last]
		m.heap = m.heap[:last]
	}
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(m.heap) {
			break
		}
		if child+1 < len(m.heap) && m.less(m.heap[child].item, m.heap[child+1].item) {
			child++
		}
		if !m.less(m.heap[i].item, m.heap[child].item) {
			break
		}
		m.heap[i], m.heap[child] = m.heap[child], m.heap[i]
		i = child
	}
	return it, true
}

// byIDs returns the matches of a filter with ids, newest first.
func (l *Index) byIDs(f nostr.Filter, c *condition) []item {
	items := make([]item, 0, len(f.IDs))
	for _, id := range f.IDs {
		n, ok := l.entries.find(hex32.OrZero(id))
		if !ok {
			continue
		}
		s := l.entries.At(n)
		if !s.hidden && s.createdAt >= c.since && s.createdAt <= c.until && l.matches(c, s, &plan{}) {
			items = append(items, makeItem(s.createdAt, n))
		}
	}
	slices.SortFunc(items, func(a, b item) int {
		switch {
		case a == b:
			return 0
		case l.less(a, b):
			return 1
		}
		return -1
	})
	return slices.Compact(items)
}

// Found is one stored event of an answer. JSON is the stored payload, which is sent
// unchanged and must not be modified.
type Found struct {
	Seq   uint64
	Entry uint32 // number of the live entry, or None
	JSON  []byte
}

// Hit is an event of an answer without its payload.
type Hit struct {
	Seq   uint64
	At    int64 // created_at, in seconds
	Entry uint32
}

// Query appends to dst the first matches of a filter. missing lists those whose payloads
// are not in memory.
func (l *Index) Query(ctx context.Context, dst []Found, f nostr.Filter, limit int, upTo uint64) (_ []Found, missing []Missing, err error) {
	first := len(dst)
	err = l.each(ctx, f, upTo, limit, func(it item) bool {
		s := l.entries.At(it.entry())
		body := l.bodies.get(s)
		if body == nil {
			missing = append(missing, Missing{len(dst), it.entry()})
		}
		dst = append(dst, Found{Seq: s.seq, Entry: it.entry(), JSON: body})
		return len(dst)-first < limit
	})
	if err != nil {
		return dst[:first], nil, err
	}
	return dst, missing, nil
}

// Hits appends to dst the matches that query returns, without their payloads.
func (l *Index) Hits(ctx context.Context, dst []Hit, f nostr.Filter, limit int, upTo uint64) ([]Hit, error) {
	first := len(dst)
	err := l.each(ctx, f, upTo, limit, func(it item) bool {
		s := l.entries.At(it.entry())
		dst = append(dst, Hit{s.seq, s.createdAt, it.entry()})
		return len(dst)-first < limit
	})
	if err != nil {
		return dst[:first], err
	}
	return dst, nil
}

// each calls take for the matches of a filter until take returns false. The lock is
// held during the calls.
func (l *Index) each(ctx context.Context, f nostr.Filter, upTo uint64, limit int, take func(item) bool) error {
	if l.noPostings {
		return ErrBulk
	}
	l.Expire(l.now().Unix())
	if limit <= 0 {
		return nil
	}
	for from := (walkPosition{}); ; {
		l.mu.RLock()
		c, none, err := l.condition(f, upTo)
		switch {
		case err != nil || none:
			from.is = false
		case f.IDs != nil:
			for _, it := range l.byIDs(f, &c) {
				if !take(it) {
					break
				}
			}
			from.is = false
		default:
			p := l.plan(&c, false)
			from, err = l.walkPart(ctx, &c, &p, from, l.walkedAtOnce, take)
		}
		l.mu.RUnlock()
		if err != nil || !from.is {
			return err
		}
	}
}

// Count returns the number of live events that match any of the filters. The lock is
// released between the filters and between parts of a long walk, so the result is exact
// only if no event is appended meanwhile.
func (l *Index) Count(ctx context.Context, filters nostr.Filters) (int, error) {
	if l.noPostings {
		return 0, ErrBulk
	}
	l.Expire(l.now().Unix())
	var seen entrySet // used if several filters may match the same event
	several := len(filters) > 1
	total := 0
	one := func(it item) bool {
		if !several || seen.add(it.entry()) {
			total++
		}
		return true
	}
	for _, f := range filters {
		for from := (walkPosition{}); ; {
			var err error
			if from, err = l.countPart(ctx, f, from, l.walkedAtOnce, several, &total, one); err != nil {
				return 0, err
			}
			if !from.is {
				break
			}
		}
	}
	return total, nil
}

// countPart counts a part of the matches of a filter. If the sizes of postings add up
// to the result, countPart counts all matches at once.
func (l *Index) countPart(ctx context.Context, f nostr.Filter, from walkPosition, some int, several bool, total *int, count func(item) bool) (walkPosition, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	c, none, err := l.condition(f, 0)
	if err != nil || none {
		return walkPosition{}, err
	}
	if f.IDs != nil {
		for _, it := range l.byIDs(f, &c) {
			count(it)
		}
		return walkPosition{}, nil
	}
	sizes := !several && !from.is
	p := l.plan(&c, sizes)
	if sizes && p.countable(&c) {
		for _, q := range p.lists {
			*total += q.before(c.until+1) - q.before(c.since)
		}
		if p.lists = nil; len(p.several) == 0 {
			return walkPosition{}, nil
		}
		return walkPosition{}, l.walk(ctx, &c, &p, count)
	}
	return l.walkPart(ctx, &c, &p, from, some, count)
}

// entrySet is a set of live entries with one bit per entry.
type entrySet []uint64

// add adds an entry and reports whether the entry is new to the set.
func (s *entrySet) add(n uint32) bool {
	for int(n/64) >= len(*s) {
		*s = append(*s, make([]uint64, max(64, len(*s)))...)
	}
	bit := uint64(1) << (n % 64)
	was := (*s)[n/64]&bit != 0
	(*s)[n/64] |= bit
	return !was
}

// moderated lists keys and event ids that queries skip. The maps are not modified after
// Moderate.
type moderated struct {
	keys, ids map[[32]byte]struct{}
}

// Moderate sets the keys and ids that queries skip.
func (l *Index) Moderate(keys, ids map[[32]byte]struct{}) { l.moderation.Store(&moderated{keys, ids}) }

// Hides reports whether the moderation rules hide an event from the public.
func (l *Index) Hides(evt *nostr.Event) bool {
	s := l.moderation.Load()
	if s == nil || len(s.keys)+len(s.ids) == 0 {
		return false
	}
	_, key := s.keys[hex32.OrZero(evt.PubKey)]
	_, id := s.ids[hex32.OrZero(evt.ID)]
	return key || id
}

// moderatedAuthors returns the sorted numbers of the moderated keys that have live events,
// or nil if there are none. The caller holds mu.
func (l *Index) moderatedAuthors() (list []uint32) {
	s := l.moderation.Load()
	if s == nil {
		return nil
	}
	for key := range s.keys {
		if n, ok := l.authors.find(key); ok {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}

package liveindex

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// CountOf returns the number of live events of one kind by one key.
func (l *Index) CountOf(kind int, key string) int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.countOf(kind, hex32.OrZero(key))
}

// Kinds returns the number of live events by kind. Kinds without live events are not
// in the map.
func (l *Index) Kinds() map[int]int {
	l.Expire(l.now().Unix())
	l.mu.RLock()
	defer l.mu.RUnlock()
	by := make(map[int]int, len(l.kinds))
	for kind, p := range l.kinds {
		by[int(kind)] = p.n
	}
	return by
}

// maxKnown bounds the lists that AuthorsOf and ValuesOf return.
const maxKnown = 4096

// AuthorsOf returns the keys that have live events of a kind, at most maxKnown.
func (l *Index) AuthorsOf(kind int) (keys []string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for n := range l.authors.list.Len() {
		if _, ok := l.composites[composite{uint32(kind), n, None, None}]; ok {
			if keys = append(keys, fmt.Sprintf("%x", l.authors.list.At(n).key)); len(keys) == maxKnown {
				break
			}
		}
	}
	slices.Sort(keys)
	return keys
}

// ValuesOf returns the values of a tag among live events, at most maxKnown.
func (l *Index) ValuesOf(tag string) (values []string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	l.tags.each(func(n uint32) bool {
		if key := string(l.tags.key(n)); key[:1] == tag {
			values = append(values, key[1:])
		}
		return len(values) < maxKnown
	})
	slices.Sort(values)
	return values
}

// AtMost returns an upper bound of the number of live events that match a filter.
func (l *Index) AtMost(f nostr.Filter) int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	c, none, err := l.condition(f, 0)
	if err != nil || none || l.noPostings {
		return 0
	}
	if f.IDs != nil {
		return min(len(f.IDs), l.n)
	}
	p := l.plan(&c, false)
	n := 0
	for _, list := range append(p.lists, p.several...) {
		n += list.before(c.until+1) - list.before(c.since)
	}
	return min(n, l.n)
}

// Items returns the items for a reconciliation: the live events that match a
// filter, except mail. The lock is released between parts, so that a list of a million
// events does not delay appends. An event that is added or removed meanwhile may be in
// the list or not; the next reconciliation corrects this.
func (l *Index) Items(ctx context.Context, f nostr.Filter) (items []LiveItem, err error) {
	const part = 8192
	if l.noPostings {
		return nil, ErrBulk
	}
	l.Expire(l.now().Unix())
	items = make([]LiveItem, 0, l.AtMost(f))
	for from := 0; ; from += part {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l.mu.RLock()
		if from >= int(l.entries.Len()) {
			l.mu.RUnlock()
			return items, nil
		}
		// The numbers of tags and authors may be reused between two parts.
		c, none, err := l.condition(f, 0)
		if err != nil {
			l.mu.RUnlock()
			return nil, err
		}
		var ids map[[32]byte]bool
		if f.IDs != nil {
			ids = make(map[[32]byte]bool, len(f.IDs))
			for _, id := range f.IDs {
				ids[hex32.OrZero(id)] = true
			}
		}
		for n := from; !none && n < min(from+part, int(l.entries.Len())); n++ {
			s := l.entries.At(uint32(n))
			if !s.used || s.hidden || s.createdAt < c.since || s.createdAt > c.until || mostro.IsMail(int(s.kind)) ||
				!l.matches(&c, s, &plan{}) || ids != nil && !ids[s.id] {
				continue
			}
			items = append(items, LiveItem{At: s.createdAt, ID: s.id})
		}
		l.mu.RUnlock()
	}
}

// LiveItem is an event of a reconciliation (NIP-77).
type LiveItem struct {
	At int64 // created_at, in seconds
	ID [32]byte
}

// Compare orders items by time, then by id, as NIP-77 requires.
func (a *LiveItem) Compare(b *LiveItem) int {
	switch {
	case a.At < b.At:
		return -1
	case a.At > b.At:
		return 1
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

// AuthorsWhere returns the authors of the live events that match a filter.
func (l *Index) AuthorsWhere(ctx context.Context, f nostr.Filter) (map[[32]byte]bool, error) {
	keys := make(map[[32]byte]bool)
	err := l.each(ctx, f, 0, math.MaxInt, func(it item) bool {
		keys[l.authors.list.At(l.entries.At(it.entry()).author).key] = true
		return true
	})
	return keys, err
}

// Len returns the number of events that are served.
func (l *Index) Len() int {
	l.Expire(l.now().Unix())
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.n
}

// Counts returns the number of live events of one kind by one key, and of one platform
// (tag y).
func (l *Index) Counts(kind int, pubkey [32]byte, platform string) (ofKey, ofPlatform int) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if n, ok := l.tags.find('y', platform); ok {
		if served, ok := l.tagList(n); ok {
			ofPlatform = served.size()
		}
	}
	return l.countOf(kind, pubkey), ofPlatform
}

// Bytes returns the bytes of the records of all entries in the log, and of the payloads
// in memory.
func (l *Index) Bytes() (records, bodies int64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.recordBytes, int64(l.bodies.size)
}

// CacheBodies caches the payloads of an answer that were read from the log, unless their
// entries were reused meanwhile.
func (l *Index) CacheBodies(found []Found, missing []Missing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range missing {
		f := &found[m.Index]
		if m.entry == None {
			continue // a full-text hit may be no live event
		}
		if s := l.entries.At(m.entry); f.JSON != nil && s.used && s.seq == f.Seq && !s.hidden {
			l.bodies.put(m.entry, f.JSON)
		}
	}
}

// Bodies appends to dst the first hits with their payloads, within the bounds, and
// returns the number of hits. missing lists the hits whose payloads are not in memory.
// recordBytes returns the length of a record.
func (l *Index) Bodies(dst []Found, hits []Hit, recordBytes func(seq uint64) int64) (_ []Found, n int, missing []Missing) {
	size := int64(0)
	l.mu.RLock()
	defer l.mu.RUnlock()
	for ; n < min(len(hits), BodiesAtOnce); n++ {
		h := hits[n]
		var body []byte
		if h.Entry != None {
			if s := l.entries.At(h.Entry); s.used && s.seq == h.Seq && !s.hidden {
				body = l.bodies.get(s)
			}
		}
		if body == nil {
			if size += recordBytes(h.Seq); size > bodyBytesAtOnce && n > 0 {
				break
			}
			missing = append(missing, Missing{len(dst), h.Entry})
		}
		dst = append(dst, Found{Seq: h.Seq, Entry: h.Entry, JSON: body})
	}
	return dst, n, missing
}

// typicalBody is the assumed size of a payload before it is read, in bytes.
const typicalBody = 1 << 10

// Newest returns the newest entries, as many as have room for their payloads.
func (l *Index) Newest() (newest []uint32, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	c := condition{until: MaxTime}
	p := l.plan(&c, false)
	room := l.bodies.budget / typicalBody
	err = l.walk(context.Background(), &c, &p, func(it item) bool {
		newest = append(newest, it.entry())
		return len(newest) < room
	})
	return newest, err
}

// WithoutBody returns those of the entries that are served and whose payloads are not in
// memory.
func (l *Index) WithoutBody(entries []uint32) (found []Found, missing []Missing) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, n := range entries {
		if s := l.entries.At(n); s.used && !s.hidden && s.body == noBody {
			missing = append(missing, Missing{len(found), n})
			found = append(found, Found{Seq: s.seq, Entry: n})
		}
	}
	return found, missing
}

// SortNewest sorts hits in NIP-01 order: newest first, then lowest id. If the live
// entry of a hit was reused meanwhile, hits of the same second are ordered by arrival.
func (l *Index) SortNewest(hits []Hit) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	slices.SortFunc(hits, func(a, b Hit) int {
		if a.At != b.At {
			return cmp.Compare(b.At, a.At)
		}
		s, t := l.entries.At(a.Entry), l.entries.At(b.Entry)
		if s.seq != a.Seq || t.seq != b.Seq {
			return cmp.Compare(a.Seq, b.Seq)
		}
		return bytes.Compare(s.id[:], t.id[:])
	})
}

// Check compares the live index with the index entries that it must hold, and the
// postings with the live entries. It calls problem for each difference, and returns the
// number of served events. recordBytes returns the length of a record.
func (l *Index) Check(entries []Entry, recordBytes func(seq uint64) int64, problem func(format string, args ...any)) (served int) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	bytes := int64(0)
	for n := range l.entries.Len() {
		if s := l.entries.At(n); s.used {
			bytes += recordBytes(s.seq)
		}
	}
	if l.recordBytes != bytes {
		problem("%d bytes of live records are counted, want %d", l.recordBytes, bytes)
	}
	if l.n != len(entries) {
		problem("%d events are served, want %d", l.n, len(entries))
	}
	for i := range entries {
		want := &entries[i]
		n, ok := l.entries.find(want.ID)
		if !ok || l.entries.At(n).hidden {
			problem("entry %d must be served, but is not in the live index", want.Seq)
			continue
		}
		if have := l.entry(n); !have.Same(want) || have.Chain != want.Chain || l.entries.At(n).side != sideOf(want.Tags) {
			problem("entry %d: its live entry belongs to another event", want.Seq)
		}
		if l.entries.At(n).hasAddress() {
			if m, ok := l.find(want.Kind, want.PubKey, want.FirstTag('d')); !ok || m != n {
				problem("entry %d: its address is indexed as another live entry", want.Seq)
			}
		}
	}
	if l.noPostings {
		return l.n
	}
	expect := make(map[*posting]int)
	for n := range l.entries.Len() {
		s := l.entries.At(n)
		if !s.used || s.hidden {
			continue
		}
		it := makeItem(s.createdAt, n)
		within := func(have list, ok bool) {
			if ok && have.many != nil {
				expect[have.many]++
				ok = have.many.holds(it, l.less)
			} else if ok {
				ok = have.one == it
			}
			if !ok {
				problem("entry %d is missing from one of its postings", s.seq)
			}
		}
		byKind, ok := l.kinds[s.kind]
		within(list{many: byKind}, ok)
		if s.several {
			p, ok := l.several[s.kind]
			within(list{many: p}, ok)
		}
		l.eachComposite(s, func(c composite) {
			have, ok := l.composites[c]
			within(have, ok)
		})
		for _, t := range l.entries.tagsOf(s) {
			within(l.tagList(t))
		}
		if !slices.Contains(l.authors.list.At(s.author).kinds, s.kind) {
			problem("entry %d: its kind is missing from the kinds of its author", s.seq)
		}
	}
	for p, n := range expect {
		if p.n != n {
			problem("a posting has the count %d, want %d", p.n, n)
		}
		items := 0
		last, first := item(math.MaxUint64), true
		for cur := p.newest(MaxTime); ; cur.next() {
			it, ok := cur.item()
			if !ok {
				break
			}
			if !first && !l.less(it, last) {
				problem("a posting is out of order")
			}
			last, first = it, false
			items++
		}
		if items != n {
			problem("a posting holds %d events, want %d", items, n)
		}
	}
	return l.n
}

// holds reports whether an item is in the posting.
func (p *posting) holds(it item, less order) bool {
	if p.chunks == nil {
		return findItem(p.few, it, less) >= 0
	}
	return findItem(p.chunks[p.chunkFor(it, less)], it, less) >= 0
}

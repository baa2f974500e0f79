package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// LiveOf returns the number of live events of one kind by one key.
func (q *queries) LiveOf(kind int, key string) int {
	q.live.mu.RLock()
	defer q.live.mu.RUnlock()
	return q.live.liveOfKey(kind, hex32.OrZero(key))
}

// LiveKinds returns the number of live events by kind. Kinds without live events are not
// in the map.
func (q *queries) LiveKinds() map[int]int {
	q.live.expire(q.now().Unix())
	q.live.mu.RLock()
	defer q.live.mu.RUnlock()
	by := make(map[int]int, len(q.live.kinds))
	for kind, p := range q.live.kinds {
		by[int(kind)] = p.n
	}
	return by
}

// maxKnown bounds the lists that AuthorsOf and ValuesOf return.
const maxKnown = 4096

// AuthorsOf returns the keys that have live events of a kind, at most maxKnown.
func (q *queries) AuthorsOf(kind int) (keys []string) {
	l := q.live
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
func (q *queries) ValuesOf(tag string) (values []string) {
	l := q.live
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
func (q *queries) AtMost(f nostr.Filter) int {
	l := q.live
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

// LiveItems returns the items for a reconciliation: the live events that match a
// filter, except mail. The lock is released between parts, so that a list of a million
// events does not delay appends. An event that is added or removed meanwhile may be in
// the list or not; the next reconciliation corrects this.
func (q *queries) LiveItems(ctx context.Context, f nostr.Filter) (items []LiveItem, head uint64, err error) {
	const part = 8192
	l := q.live
	if l.noPostings {
		return nil, 0, ErrBulk
	}
	l.expire(q.now().Unix())
	head = q.recent.head.Load()
	items = make([]LiveItem, 0, q.AtMost(f))
	for from := 0; ; from += part {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		l.mu.RLock()
		if from >= int(l.entries.Len()) {
			l.mu.RUnlock()
			return items, head, nil
		}
		// The numbers of tags and authors may be reused between two parts.
		c, none, err := l.condition(f, 0)
		if err != nil {
			l.mu.RUnlock()
			return nil, 0, err
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

type LiveItem struct {
	At int64
	ID [32]byte
}

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
func (q *queries) AuthorsWhere(ctx context.Context, f nostr.Filter) (map[[32]byte]bool, error) {
	keys := make(map[[32]byte]bool)
	err := q.each(ctx, f, 0, math.MaxInt, func(it item) bool {
		keys[q.live.authors.list.At(q.live.entries.At(it.entry()).author).key] = true
		return true
	})
	return keys, err
}

// Served reports whether an event is served and was appended at or before the current
// head.
func (q *queries) Served(id string) bool {
	head := q.recent.head.Load() // read first: during a commit the live index is ahead of the head
	q.live.mu.RLock()
	defer q.live.mu.RUnlock()
	n, ok := q.live.entries.find(hex32.OrZero(id))
	return ok && q.live.entries.At(n).seq <= head
}

// Live returns the number of events that are served.
func (q *queries) Live() int {
	q.live.expire(q.now().Unix())
	q.live.mu.RLock()
	defer q.live.mu.RUnlock()
	return q.live.n
}

func (q *queries) isLive(seq uint64, id string) bool {
	q.live.expire(q.now().Unix())
	q.live.mu.RLock()
	defer q.live.mu.RUnlock()
	n, ok := q.live.entries.find(hex32.OrZero(id))
	return ok && q.live.entries.At(n).seq == seq && !q.live.entries.At(n).hidden
}

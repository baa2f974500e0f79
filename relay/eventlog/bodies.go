package eventlog

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// bodyCache holds payloads in memory up to a budget. The oldest payload is evicted
// first, because order books ask for new events.
type bodyCache struct {
	budget, size int
	queue        []cachedBody
	first        int    // index of the oldest payload in queue
	base         uint32 // position of queue[0]; a live entry stores the position of its payload
	held         int    // number of payloads in queue
}

// cachedBody is a payload and the live entry that refers to it. body is nil if the
// entry has dropped the payload.
type cachedBody struct {
	entry uint32
	body  []byte
}

// noBody is the position of a payload that is not in memory.
const noBody = None

func (c *bodyCache) get(place uint32) []byte { return c.queue[place-c.base].body }

// body returns the payload of an entry, or nil if the payload is not in memory.
func (l *live) body(s *liveEntry) []byte {
	if s.body == noBody {
		return nil
	}
	return l.bodies.get(s.body)
}

// cache adds the payload of an entry and evicts the oldest payloads beyond the budget.
// The caller holds mu.
func (l *live) cache(n uint32, body []byte) {
	s, c := l.entries.At(n), &l.bodies
	if s.body != noBody || len(body) > c.budget {
		return
	}
	s.body = c.base + uint32(len(c.queue))
	c.queue = append(c.queue, cachedBody{n, body})
	c.size += len(body)
	c.held++
	for c.size > c.budget {
		l.uncache(l.entries.At(c.queue[c.first].entry))
	}
	switch {
	case len(c.queue)-c.first > 2*c.held+4096 || c.base > math.MaxUint32/2:
		l.compactQueue()
	case c.first > len(c.queue)/2 && c.first > 1024:
		kept := copy(c.queue, c.queue[c.first:])
		clear(c.queue[kept:])
		c.queue = c.queue[:kept]
		c.base += uint32(c.first)
		c.first = 0
	}
}

// uncache drops the payload of an entry.
func (l *live) uncache(s *liveEntry) {
	if s.body == noBody {
		return
	}
	c := &l.bodies
	e := &c.queue[s.body-c.base]
	c.size -= len(e.body)
	c.held--
	e.body = nil
	s.body = noBody
	for c.first < len(c.queue) && c.queue[c.first].body == nil {
		c.first++
	}
}

// compactQueue removes the gaps from the queue and restarts positions at 0.
func (l *live) compactQueue() {
	c := &l.bodies
	kept := c.queue[:0]
	for _, e := range c.queue[c.first:] {
		if e.body != nil {
			l.entries.At(e.entry).body = uint32(len(kept))
			kept = append(kept, e)
		}
	}
	clear(c.queue[len(kept):])
	c.queue, c.first, c.base = kept, 0, 0
}

// missingBody is the index of an answer whose payload is not in memory.
type missingBody struct {
	index int
	entry uint32
}

// loadBodies reads the missing payloads of an answer and caches them. It removes events
// from found[from:] that were deleted meanwhile or whose records are damaged.
func (q *queries) loadBodies(found []Found, from int, missing []missingBody) ([]Found, error) {
	gone := false
	for _, m := range missing {
		_, body, err := q.log.Read(found[m.index].Seq)
		if IsDamage(err) {
			q.damage.report(found[m.index].Seq, err)
			body, err = nil, nil
		}
		if err != nil {
			return found[:from], fmt.Errorf("read bodies: %w", err)
		}
		found[m.index].JSON = body
		gone = gone || body == nil
	}
	l := q.live
	l.mu.Lock()
	for _, m := range missing {
		f := &found[m.index]
		if m.entry == None {
			continue // a full-text hit may be no live event
		}
		if s := l.entries.At(m.entry); f.JSON != nil && s.used && s.seq == f.Seq && !s.hidden {
			l.cache(m.entry, f.JSON)
		}
	}
	l.mu.Unlock()
	if gone {
		kept := slices.DeleteFunc(found[from:], func(f Found) bool { return f.JSON == nil })
		found = found[:from+len(kept)]
	}
	return found, nil
}

// Bounds of the payloads that one answer holds in memory at once.
const (
	BodiesAtOnce    = 32
	bodyBytesAtOnce = 128 << 10
)

// Bodies appends to dst the payloads of the first hits, within the bounds, and returns
// the number of hits that it has consumed. Events that were deleted meanwhile or whose
// records are damaged are left out.
func (q *queries) Bodies(dst []Found, hits []Hit) ([]Found, int, error) {
	l, first := q.live, len(dst)
	var missing []missingBody
	n := 0
	size := int64(0)
	l.mu.RLock()
	for ; n < min(len(hits), BodiesAtOnce); n++ {
		h := hits[n]
		var body []byte
		if h.Entry != None {
			if s := l.entries.At(h.Entry); s.used && s.seq == h.Seq && !s.hidden {
				body = l.body(s)
			}
		}
		if body == nil {
			if size += q.log.RecordBytes(h.Seq); size > bodyBytesAtOnce && n > 0 {
				break
			}
			missing = append(missing, missingBody{len(dst), h.Entry})
		}
		dst = append(dst, Found{Seq: h.Seq, JSON: body})
	}
	l.mu.RUnlock()
	if missing == nil {
		return dst, n, nil
	}
	dst, err := q.loadBodies(dst, first, missing)
	return dst, n, err
}

// SortNewest sorts hits in NIP-01 order: newest first, then lowest id. If the live
// entry of a hit was reused meanwhile, hits of the same second are ordered by arrival.
func (q *queries) SortNewest(hits []Hit) {
	l := q.live
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

// typicalBody is the assumed size of a payload before it is read, in bytes.
const typicalBody = 1 << 10

// warmBodies reads the newest payloads into memory after Open. It reads the oldest of
// them first, so that the newest are evicted last.
func (q *queries) warmBodies() {
	l := q.live
	var newest []missingBody
	l.mu.RLock()
	c := condition{until: maxTime}
	p := l.plan(&c, false)
	room := l.bodies.budget / typicalBody
	err := l.walk(context.Background(), &c, &p, func(it item) bool {
		newest = append(newest, missingBody{entry: it.entry()})
		return len(newest) < room
	})
	l.mu.RUnlock()
	slices.Reverse(newest)
	for began := time.Now(); err == nil && len(newest) > 0; began = time.Now() {
		n := min(len(newest), readBatch)
		part := newest[:n]
		newest = newest[n:]
		found := make([]Found, 0, n)
		missing := part[:0]
		l.mu.RLock()
		for _, m := range part {
			if s := l.entries.At(m.entry); s.used && !s.hidden && s.body == noBody {
				missing = append(missing, missingBody{len(found), m.entry})
				found = append(found, Found{Seq: s.seq})
			}
		}
		l.mu.RUnlock()
		if _, err = q.loadBodies(found, 0, missing); !q.pace.idleAfter(began) {
			return
		}
	}
	if err != nil { // queries read the payloads that they need
		q.logger.Warn("warm-up failed: payloads are read from disk when they are needed", "err", err)
	}
}

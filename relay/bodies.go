package relay

import (
	"context"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// bodyCache bounds the bodies kept in memory: first in, first out, because
// order books ask for what is new.
type bodyCache struct {
	budget, size int
	queue        []cachedBody
	first        int // index of the oldest in queue
}

type cachedBody struct {
	slot uint32
	seq  uint64
}

// cache keeps a body with its slot and evicts the oldest beyond the budget.
// The caller holds mu.
func (l *live) cache(n uint32, body []byte) {
	s, c := &l.slots[n], &l.bodies
	if s.body != nil || len(body) > c.budget {
		return
	}
	s.body = body
	c.size += len(body)
	c.queue = append(c.queue, cachedBody{n, s.seq})
	for c.size > c.budget || c.first > len(c.queue)/2 && c.first > 1024 {
		if c.first > len(c.queue)/2 {
			c.queue = append(c.queue[:0], c.queue[c.first:]...)
			c.first = 0
			continue
		}
		l.evictOldest()
	}
	// Entries of events that have gone are skipped only when reached.
	if len(c.queue)-c.first > 4*l.n+4096 {
		l.compactQueue()
	}
}

func (l *live) evictOldest() {
	c := &l.bodies
	e := c.queue[c.first]
	c.first++
	if s := &l.slots[e.slot]; s.used && s.seq == e.seq && s.body != nil {
		c.size -= len(s.body)
		s.body = nil
	}
}

func (l *live) compactQueue() {
	c := &l.bodies
	kept := c.queue[:0]
	for _, e := range c.queue[c.first:] {
		if s := &l.slots[e.slot]; s.used && s.seq == e.seq && s.body != nil {
			kept = append(kept, e)
		}
	}
	c.queue, c.first = kept, 0
}

// missingBody is a place in an answer whose body was not in memory.
type missingBody struct {
	index int
	slot  uint32
}

// loadBodies reads the missing bodies of an answer, keeps them in memory
// within the budget, and drops from found[from:] what was deleted in the
// meantime.
func (st *Store) loadBodies(found []Found, from int, missing []missingBody) ([]Found, error) {
	gone := false
	err := st.db.View(func(txn *badger.Txn) error {
		for _, m := range missing {
			_, body, err := getRow(txn, found[m.index].Seq)
			if err != nil {
				return err
			}
			found[m.index].JSON = body
			gone = gone || body == nil
		}
		return nil
	})
	if err != nil {
		return found[:from], fmt.Errorf("read bodies: %w", err)
	}
	l := st.live
	l.mu.Lock()
	for _, m := range missing {
		f := &found[m.index]
		if s := &l.slots[m.slot]; f.JSON != nil && s.used && s.seq == f.Seq && !s.hidden {
			l.cache(m.slot, f.JSON)
		}
	}
	l.mu.Unlock()
	if gone {
		kept := slices.DeleteFunc(found[from:], func(f Found) bool { return f.JSON == nil })
		found = found[:from+len(kept)]
	}
	return found, nil
}

// typicalBody is what a body is taken to weigh before it is read, in bytes.
const typicalBody = 1 << 10

// warm reads the newest bodies into memory after opening, oldest first, so
// that the newest stay longest.
func (st *Store) warm() {
	defer st.done.Done()
	l := st.live
	var newest []missingBody
	l.mu.RLock()
	c := condition{until: maxTime}
	p := l.plan(&c)
	room := l.bodies.budget / typicalBody
	err := l.walk(context.Background(), &c, &p, func(it item) bool {
		newest = append(newest, missingBody{slot: it.slot()})
		return len(newest) < room
	})
	l.mu.RUnlock()
	slices.Reverse(newest)
	for err == nil && len(newest) > 0 {
		select {
		case <-st.closing:
			return
		default:
		}
		n := min(len(newest), readBatch)
		part := newest[:n]
		newest = newest[n:]
		found := make([]Found, 0, n)
		missing := part[:0]
		l.mu.RLock()
		for _, m := range part {
			if s := &l.slots[m.slot]; s.used && !s.hidden && s.body == nil {
				missing = append(missing, missingBody{len(found), m.slot})
				found = append(found, Found{Seq: s.seq})
			}
		}
		l.mu.RUnlock()
		_, err = st.loadBodies(found, 0, missing)
	}
	if err != nil { // queries will read what they need
		st.log.Warn("the newest events are not in memory", "err", err)
	}
}

package liveindex

import "math"

// bodyCache holds payloads in memory up to a budget. The oldest payload is evicted
// first, because order books ask for new events. Its fields, and the field body of the
// entries, are guarded by the lock of the live index.
type bodyCache struct {
	entries      *entryTable
	budget, size int // in bytes
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

// get returns the payload of an entry, or nil if the payload is not in memory.
func (c *bodyCache) get(e *liveEntry) []byte {
	if e.body == noBody {
		return nil
	}
	return c.queue[e.body-c.base].body
}

// put adds the payload of an entry and evicts the oldest payloads beyond the budget.
func (c *bodyCache) put(n uint32, body []byte) {
	e := c.entries.At(n)
	if e.body != noBody || len(body) > c.budget {
		return
	}
	e.body = c.base + uint32(len(c.queue))
	c.queue = append(c.queue, cachedBody{n, body})
	c.size += len(body)
	c.held++
	for c.size > c.budget {
		c.drop(c.entries.At(c.queue[c.first].entry))
	}
	switch {
	case len(c.queue)-c.first > 2*c.held+4096 || c.base > math.MaxUint32/2:
		c.compact()
	case c.first > len(c.queue)/2 && c.first > 1024:
		kept := copy(c.queue, c.queue[c.first:])
		clear(c.queue[kept:])
		c.queue = c.queue[:kept]
		c.base += uint32(c.first)
		c.first = 0
	}
}

// drop drops the payload of an entry.
func (c *bodyCache) drop(e *liveEntry) {
	if e.body == noBody {
		return
	}
	b := &c.queue[e.body-c.base]
	c.size -= len(b.body)
	c.held--
	b.body = nil
	e.body = noBody
	for c.first < len(c.queue) && c.queue[c.first].body == nil {
		c.first++
	}
}

// compact removes the gaps from the queue and restarts positions at 0.
func (c *bodyCache) compact() {
	kept := c.queue[:0]
	for _, b := range c.queue[c.first:] {
		if b.body != nil {
			c.entries.At(b.entry).body = uint32(len(kept))
			kept = append(kept, b)
		}
	}
	clear(c.queue[len(kept):])
	c.queue, c.first, c.base = kept, 0, 0
}

// Missing is an event of an answer whose payload is not in memory.
type Missing struct {
	Index int // index in the answer
	entry uint32
}

// BodiesAtOnce bounds the hits whose payloads one answer holds in memory at once.
const BodiesAtOnce = 32

// bodyBytesAtOnce bounds the payloads of one answer that are read from the log, in bytes.
const bodyBytesAtOnce = 128 << 10

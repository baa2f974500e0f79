package indexer

import "sync"

// recent keeps the records that were asked for last, unpacked: the first pages
// of a book are most of what is asked of it. Records in it are shared, and not
// changed.
type recent struct {
	mu       sync.Mutex
	changes  uint64 // times that records were dropped
	now, was map[Key]*Record
}

// recentRecords bounds each of the two halves: when one is full, the other,
// unasked for since, is forgotten.
const recentRecords = 4096

// get gives those that are held, nil for the others, and what put asks for.
func (c *recent) get(keys []Key) (out []*Record, missing int, changes uint64) {
	out = make([]*Record, len(keys))
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, k := range keys {
		r := c.now[k]
		if r == nil {
			if r = c.was[k]; r != nil {
				c.keep(k, r)
			}
		}
		if out[i] = r; r == nil {
			missing++
		}
	}
	return out, missing, c.changes
}

func (c *recent) keep(k Key, r *Record) {
	if c.now == nil || len(c.now) >= recentRecords {
		c.now, c.was = make(map[Key]*Record, recentRecords), c.now
	}
	c.now[k] = r
}

// put keeps records that were read since get gave changes, unless any record
// has changed meanwhile.
func (c *recent) put(keys []Key, records []*Record, changes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != changes {
		return
	}
	for i, k := range keys {
		if records[i] != nil {
			c.keep(k, records[i])
		}
	}
}

// drop forgets records that have changed.
func (c *recent) drop(changed map[Key]*Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	for k := range changed {
		delete(c.now, k)
		delete(c.was, k)
	}
}

// clear forgets all.
func (c *recent) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.now, c.was = nil, nil
}

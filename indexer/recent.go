package indexer

import (
	"sync"

	"github.com/mostrodex/mostrodex/indexer/orders"
)

// recent is a cache of the records read last, in unpacked form. Most queries ask for the
// first pages of a book. Records in the cache are shared and must not be changed. It differs
// from internal/cache in two ways: a page of keys takes the lock once, and a record that
// changes while it is read does not enter the cache.
type recent struct {
	mu       sync.Mutex
	changes  uint64 // calls of drop and clear so far
	now, was map[orders.Key]*orders.Record
}

// recentRecords bounds each of the two generations. If the newer one is full, the older
// one, unused since, is dropped.
const recentRecords = 4096

// get returns the cached records, nil for a record that is not cached, with the number of
// those, and the count of changes that put takes.
func (c *recent) get(keys []orders.Key) (out []*orders.Record, missing int, changes uint64) {
	out = make([]*orders.Record, len(keys))
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

func (c *recent) keep(k orders.Key, r *orders.Record) {
	if c.now == nil || len(c.now) >= recentRecords {
		c.now, c.was = make(map[orders.Key]*orders.Record, recentRecords), c.now
	}
	c.now[k] = r
}

// put caches records read from the store. If any record has changed since get returned
// changes, put does nothing, because the records may be out of date.
func (c *recent) put(keys []orders.Key, records []*orders.Record, changes uint64) {
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

// drop removes changed records from the cache.
func (c *recent) drop(changed map[orders.Key]*orders.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	for k := range changed {
		delete(c.now, k)
		delete(c.was, k)
	}
}

// clear empties the cache.
func (c *recent) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.now, c.was = nil, nil
}

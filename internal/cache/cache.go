// Package cache holds results that can be computed again, up to a limit.
package cache

import (
	"cmp"
	"sync"
)

// DefaultMax is the Max of a cache that sets none.
const DefaultMax = 64

// Cache maps keys to values. If a new value exceeds Max, arbitrary other entries are
// evicted. The zero value is an empty cache. A Cache is safe for concurrent use and must
// not be copied. Values are shared, so they must not be changed.
type Cache[K comparable, V any] struct {
	// Max bounds the sum of the costs of all entries. 0: DefaultMax.
	Max int
	// Cost returns the cost of a value. nil: each entry costs 1.
	Cost func(V) int

	mu      sync.RWMutex // guards the following fields
	size    int          // sum of the costs
	entries map[K]V
}

// Get returns the value of a key. ok is false if the key is not in the cache.
func (c *Cache[K, V]) Get(key K) (value V, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	value, ok = c.entries[key]
	return value, ok
}

// Put stores the value of a key, in place of an earlier value. If the value alone costs
// more than Max, the cache holds no value of the key. Put reports whether the key is new.
func (c *Cache[K, V]) Put(key K, value V) (added bool) {
	cost, most := c.cost(value), cmp.Or(c.Max, DefaultMax)
	c.mu.Lock()
	defer c.mu.Unlock()
	added = !c.remove(key)
	if cost > most {
		return added
	}
	for old := range c.entries {
		if c.size+cost <= most {
			break
		}
		c.remove(old)
	}
	if c.entries == nil {
		c.entries = make(map[K]V)
	}
	c.entries[key] = value
	c.size += cost
	return added
}

// remove removes a key and reports whether the key was in the cache. The caller holds mu.
func (c *Cache[K, V]) remove(key K) bool {
	value, ok := c.entries[key]
	if ok {
		c.size -= c.cost(value)
		delete(c.entries, key)
	}
	return ok
}

// Len returns the number of entries.
func (c *Cache[K, V]) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.entries)
}

func (c *Cache[K, V]) cost(value V) int {
	if c.Cost == nil {
		return 1
	}
	return c.Cost(value)
}

package indexer

import (
	"context"
	"sync"

	"github.com/mostrodex/mostrodex/indexer/livebook"
)

// descriptionCache caches the description hits of recent words. The cache is valid until
// search writes a batch.
type descriptionCache struct {
	mu         sync.Mutex // guards all fields
	generation uint64
	hits       map[string][]livebook.DescriptionHit
	size       int
}

// maxCachedHits bounds the cache to 32 MB.
const maxCachedHits = 1 << 20

// descriptionHits returns the live orders whose description has a word that begins with
// w. The slice is shared and must not be changed.
func (s *searchIndex) descriptionHits(ctx context.Context, w string) ([]livebook.DescriptionHit, error) {
	generation := s.generation.Load()
	c := &s.descriptions
	c.mu.Lock()
	if c.generation != generation || c.hits == nil {
		c.generation, c.hits, c.size = generation, map[string][]livebook.DescriptionHit{}, 0
	}
	hits, ok := c.hits[w]
	c.mu.Unlock()
	if ok {
		return hits, nil
	}
	hits, err := s.readDescriptionHits(ctx, w)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(hits) + 1; c.generation == generation && c.size+n <= maxCachedHits {
		c.hits[w] = hits
		c.size += n
	}
	return hits, nil
}

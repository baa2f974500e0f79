package indexer

import (
	"context"

	"github.com/mostrodex/mostrodex/indexer/livebook"
)

// cachedHits are the cached description hits of a word. They are valid until search
// writes a batch.
type cachedHits struct {
	generation uint64
	hits       []livebook.DescriptionHit
}

// maxCachedHits bounds the cache to 32 MB.
const maxCachedHits = 1 << 20

func (c cachedHits) cost() int { return len(c.hits) + 1 }

// descriptionHits returns the live orders whose description has a word that begins with
// w. The slice is shared and must not be changed.
func (s *searchIndex) descriptionHits(ctx context.Context, w string) ([]livebook.DescriptionHit, error) {
	generation := s.generation.Load()
	if held, ok := s.descriptions.Get(w); ok && held.generation == generation {
		return held.hits, nil
	}
	hits, err := s.readDescriptionHits(ctx, w)
	if err != nil {
		return nil, err
	}
	s.descriptions.Put(w, cachedHits{generation, hits})
	return hits, nil
}

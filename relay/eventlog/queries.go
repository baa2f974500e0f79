package eventlog

import (
	"context"

	"github.com/mostrodex/mostrodex/relay/eventlog/liveindex"
	"github.com/nbd-wtf/go-nostr"
)

// The answers of the live index.
type (
	Found    = liveindex.Found
	Hit      = liveindex.Hit
	LiveItem = liveindex.LiveItem
)

// BodiesAtOnce is the number of hits whose payloads Bodies returns at most.
const BodiesAtOnce = liveindex.BodiesAtOnce

// ErrFilter is returned for a filter with a tag name that is not a single letter.
// NIP-01 indexes only single-letter tags.
var ErrFilter = liveindex.ErrFilter

// queries answers filters from the live index. Its methods change only the payload cache
// and the moderated keys. It has no fields of its own.
type queries struct{ *parts }

// Query appends to dst the live events that match f and were appended at or before seq
// upTo (0 means the head), in NIP-01 order, at most limit of them. f.Limit and f.Search
// are ignored. If the store cannot answer the filter, Query returns ErrFilter.
//
// The lock is released between parts of a long walk. An event that is replaced
// meanwhile is left out; its new version has a seq greater than upTo.
func (q *queries) Query(ctx context.Context, dst []Found, f nostr.Filter, limit int, upTo uint64) ([]Found, error) {
	first := len(dst)
	dst, missing, err := q.live.Query(ctx, dst, f, limit, upTo)
	if err != nil || missing == nil {
		return dst, err
	}
	return q.loadBodies(dst, first, missing)
}

// Hits returns the same events as Query, without their payloads.
func (q *queries) Hits(ctx context.Context, dst []Hit, f nostr.Filter, limit int, upTo uint64) ([]Hit, error) {
	return q.live.Hits(ctx, dst, f, limit, upTo)
}

// Count returns the number of live events that match any of the filters. The lock is
// released between the filters and between parts of a long walk, so the result is exact
// only if no event is appended meanwhile.
func (q *queries) Count(ctx context.Context, filters nostr.Filters) (int, error) {
	return q.live.Count(ctx, filters)
}

// AtMost returns an upper bound of the number of live events that match a filter.
func (q *queries) AtMost(f nostr.Filter) int { return q.live.AtMost(f) }

// Live returns the number of events that are served.
func (q *queries) Live() int { return q.live.Len() }

// LiveOf returns the number of live events of one kind by one key.
func (q *queries) LiveOf(kind int, key string) int { return q.live.CountOf(kind, key) }

// LiveKinds returns the number of live events by kind. Kinds without live events are not
// in the map.
func (q *queries) LiveKinds() map[int]int { return q.live.Kinds() }

// AuthorsOf returns the keys that have live events of a kind, at most 4,096.
func (q *queries) AuthorsOf(kind int) []string { return q.live.AuthorsOf(kind) }

// ValuesOf returns the values of a tag among live events, at most 4,096.
func (q *queries) ValuesOf(tag string) []string { return q.live.ValuesOf(tag) }

// AuthorsWhere returns the authors of the live events that match a filter.
func (q *queries) AuthorsWhere(ctx context.Context, f nostr.Filter) (map[[32]byte]bool, error) {
	return q.live.AuthorsWhere(ctx, f)
}

// LiveItems returns the items for a reconciliation: the live events that match a
// filter, except mail. An event that is added or removed during the call may be in the
// list or not; the next reconciliation corrects this.
func (q *queries) LiveItems(ctx context.Context, f nostr.Filter) (items []LiveItem, head uint64, err error) {
	head = q.recent.head.Load()
	items, err = q.live.Items(ctx, f)
	return items, head, err
}

// Unserved deletes from ids, in place, each id whose event is served and was appended at or
// before the current head, and returns the rest.
func (q *queries) Unserved(ids []string) []string {
	head := q.recent.head.Load() // read first: during a commit the live index is ahead of the head
	return q.live.DeleteUpTo(head, ids)
}

// Moderate sets the keys and the event ids that queries, counts and reconciliations skip.
// The caller must not modify the maps afterwards.
func (q *queries) Moderate(keys, ids map[[32]byte]struct{}) { q.live.Moderate(keys, ids) }

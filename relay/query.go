package relay

import (
	"context"
	"errors"
	"slices"

	"github.com/mostrodex/mostrodex/internal/jsonscan"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// querier collects the stored events that answer a REQ. It has no state of its own.
type querier struct {
	cfg   *Config // not modified
	rules *moderation
}

// limitOf returns how many stored events answer a filter. A filter that names authors or
// recipients and has no limit asks for all of their events. The inboxes of the daemon and
// of wallets depend on this.
func (q *querier) limitOf(f *nostr.Filter) int {
	switch {
	case f.LimitZero:
		return 0
	case f.Limit > 0:
		return min(f.Limit, q.cfg.MaxLimit)
	case len(f.IDs) > 0 || len(f.Authors) > 0 || len(f.Tags["p"]) > 0:
		return q.cfg.MaxLimit
	default:
		return q.cfg.DefaultLimit
	}
}

// stored collects the stored answer of all filters of a REQ: newest first, each event
// once. Results of searches come first, in their own order.
func (q *querier) stored(ctx context.Context, dst []eventlog.Hit, filters []*liveFilter, upTo uint64) ([]eventlog.Hit, error) {
	parts := 0
	searched := 0
	for _, f := range filters {
		if f.Search == "" || q.limitOf(&f.Filter) == 0 || len(dst) >= maxAnswers*q.cfg.MaxLimit {
			continue
		}
		var err error
		if dst, err = q.search(ctx, dst, f, filters, upTo); err != nil {
			return dst, err
		}
		parts++
	}
	searched = len(dst)
	for _, f := range filters {
		limit := min(q.limitOf(&f.Filter), maxAnswers*q.cfg.MaxLimit-len(dst))
		if f.Search != "" || limit <= 0 {
			continue
		}
		if upTo == 0 {
			continue // the log was empty, and upTo 0 would mean the head
		}
		var err error
		if dst, err = q.cfg.Store.Hits(ctx, dst, f.Filter, limit, upTo); err != nil {
			return dst, err
		}
		parts++
	}
	if parts < 2 {
		return dst, nil
	}
	return q.mergeHits(dst, searched), nil
}

// mergeHits removes repetitions. mergeHits sorts the hits after the first keep into the
// order of NIP-01.
func (q *querier) mergeHits(all []eventlog.Hit, keep int) []eventlog.Hit {
	seen := make(map[uint64]bool, len(all))
	out, kept := all[:0], 0
	for i, h := range all {
		if seen[h.Seq] {
			continue
		}
		seen[h.Seq] = true
		if out = append(out, h); i < keep {
			kept = len(out)
		}
	}
	q.cfg.Store.SortNewest(out[kept:])
	return out
}

// search asks the index and compares each event that the index returns with the rest of
// the filter, because the index lags behind the log.
func (q *querier) search(ctx context.Context, dst []eventlog.Hit, f *liveFilter, all []*liveFilter, upTo uint64) ([]eventlog.Hit, error) {
	limit := q.limitOf(&f.Filter)
	ask := f.Filter
	ask.Limit = limit
	ids, err := q.cfg.Search.Search(ctx, ask)
	if err != nil {
		return dst, err
	}
	var t jsonscan.Scanner
	n := 0
	for _, id := range ids {
		if n == limit {
			break
		}
		found, err := q.cfg.Store.Find(ctx, id)
		if errors.Is(err, mostro.ErrNotFound) {
			continue
		}
		if err != nil {
			return dst, err
		}
		var evt nostr.Event
		t.Reset(string(found.JSON))
		if t.Event(&evt) != nil || !f.matches(&evt) || eventlog.ExpiredAt(evt.Tags, q.cfg.Now()) {
			continue
		}
		if !q.rules.current().serves(&evt, f.Search) {
			continue
		}
		// The event arrives live if another filter of the request matches.
		live := func(g *liveFilter) bool { return g.Search == "" && g.matches(&evt) }
		if found.Seq > upTo && slices.ContainsFunc(all, live) {
			continue
		}
		dst = append(dst, eventlog.Hit{Seq: found.Seq, At: int64(evt.CreatedAt), Entry: found.Entry})
		n++
	}
	return dst, nil
}

// eventStore is the part of eventlog.Store that the server uses.
type eventStore interface {
	mostro.Log

	// ReadRaw is Read with the stored body of each entry. The body is sent unchanged, and
	// must not be modified.
	ReadRaw(ctx context.Context, after uint64, fn func(e mostro.Entry, body []byte) error) error

	// Enqueue hands an arrival to the committer. Arrivals enqueued by one goroutine are
	// appended in that order. Enqueue blocks while the committer's queue is full. A
	// deletion request blocks also while the queued deletion requests name too many
	// targets.
	Enqueue(ctx context.Context, a eventlog.Arrival) (eventlog.Pending, error)

	// Query appends to dst the live events that match f and were appended at or before log
	// position upTo (0: the head), at most limit events. The order is newest first; events
	// of equal time are ordered by lowest id. f.Limit, f.Search and unknown extensions are
	// ignored.
	Query(ctx context.Context, dst []eventlog.Found, f nostr.Filter, limit int, upTo uint64) ([]eventlog.Found, error)

	// Hits is Query without the bodies. Bodies appends to dst the bodies of the first hits
	// and returns how many hits were read. SortNewest puts hits of several filters into
	// the order of NIP-01.
	Hits(ctx context.Context, dst []eventlog.Hit, f nostr.Filter, limit int, upTo uint64) ([]eventlog.Hit, error)
	Bodies(dst []eventlog.Found, hits []eventlog.Hit) ([]eventlog.Found, int, error)
	SortNewest(hits []eventlog.Hit)

	// Count returns the number of live events that match any of the filters. The number is
	// exact if no event is appended meanwhile.
	Count(ctx context.Context, filters nostr.Filters) (int, error)

	// Has reports whether an event is stored in any state: live, archived, expired, or
	// deleted and refused for good.
	Has(ctx context.Context, id string) (bool, error)

	// Unserved deletes from ids, in place, each id whose event is served and was appended at
	// or before the present head, and returns the rest. No later entry of the log has a
	// deleted id.
	Unserved(ids []string) []string

	// LiveItems returns the events that take part in reconciliation (NIP-77): live events
	// that match f, without mail. It also returns the head as of before the events were
	// listed.
	LiveItems(ctx context.Context, f nostr.Filter) ([]eventlog.LiveItem, uint64, error)

	// AtMost returns an upper bound for the live events that match a filter.
	AtMost(f nostr.Filter) int

	// Moderate hides the events of keys, and single events, from queries, counts and
	// reconciliations.
	Moderate(keys, ids map[[32]byte]struct{})

	// Find returns the stored event and JSON of an id if the body is readable, live or
	// archived. Otherwise Find returns mostro.ErrNotFound.
	Find(ctx context.Context, id string) (eventlog.Found, error)
}

var _ eventStore = (*eventlog.Store)(nil)

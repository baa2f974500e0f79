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
		dst = append(dst, eventlog.Hit{Seq: found.Seq, At: int64(evt.CreatedAt), Entry: eventlog.None})
		n++
	}
	return dst, nil
}

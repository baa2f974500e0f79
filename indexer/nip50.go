package indexer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/livebook"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// MaxSearch bounds the ids in one NIP-50 answer.
const MaxSearch = 1000

// Search returns the ids of live events that match a NIP-50 filter, the most relevant
// first: the infos of instances and the orders whose words match. Every returned event
// also matches the other conditions of the filter. If the search has only key:value pairs
// and no words, the newest orders come first.
func (f *Finder) Search(ctx context.Context, filter nostr.Filter) ([]string, error) {
	start := time.Now()
	defer func() { f.metrics.queries.WithLabelValues("nip50").Observe(time.Since(start).Seconds()) }()
	q, none := orders.ParseSearch(filter.Search)
	limit := filter.Limit
	if limit <= 0 || limit > MaxSearch {
		limit = MaxSearch
	}
	if none || filter.LimitZero {
		return nil, nil
	}
	wanted := words.Asked(q.Text)
	if len(wanted) == 0 && q.Text != "" {
		return nil, nil
	}
	mod, err := f.rules.hidden(ctx)
	if err != nil {
		return nil, err
	}
	q.Hidden = mod
	n := &nip50{finder: f, ctx: ctx, filter: filter, limit: limit, now: f.now()}
	wantKind := func(kind int) bool { return len(filter.Kinds) == 0 || slices.Contains(filter.Kinds, kind) }
	if len(wanted) > 0 && !q.Filtered() && // the words may name instances
		(wantKind(mostro.KindInfo) || wantKind(mostro.KindOrder)) {
		if err := n.infos(&q, wanted); err != nil {
			return nil, err
		}
	}
	if wantKind(mostro.KindOrder) {
		if err := n.orders(q, wanted); err != nil {
			return nil, err
		}
	}
	return n.ids, nil
}

// nip50 is one NIP-50 answer while it is collected.
type nip50 struct {
	finder *Finder
	ctx    context.Context
	filter nostr.Filter
	limit  int
	now    time.Time
	ids    []string
}

// offer adds an event if the filter matches the event. full is true if the answer needs
// no more events. If looked is set, the book has already checked kind, author and time,
// so offer reads the event only if the filter has tags or ids.
func (n *nip50) offer(id string, looked bool) (full bool, err error) {
	if looked && len(n.filter.Tags) == 0 && n.filter.IDs == nil {
		n.ids = append(n.ids, id)
		return len(n.ids) >= n.limit, nil
	}
	evt, err := n.finder.events.Event(n.ctx, id)
	if errors.Is(err, mostro.ErrNotFound) {
		return false, nil // deleted in the meantime
	}
	if err != nil {
		return true, fmt.Errorf("event %s: %w", id, err)
	}
	if n.filter.Matches(evt) {
		n.ids = append(n.ids, id)
	}
	return len(n.ids) >= n.limit, nil
}

func (n *nip50) infos(q *orders.Query, wanted []string) error {
	s := n.finder.book.authors.Load()
	found := s.matching(wanted)
	slices.SortStableFunc(found, func(a, b string) int { return cmp.Compare(s.marked(a), s.marked(b)) })
	for _, pubkey := range found {
		id := n.finder.book.authors.Load().infoID(pubkey)
		if id == "" || q.Hidden.Hides(pubkey, id, q.Spam) {
			continue
		}
		if full, err := n.offer(id, false); full || err != nil {
			return err
		}
	}
	return nil
}

func (n *nip50) orders(q orders.Query, wanted []string) error {
	if len(n.ids) >= n.limit {
		return nil
	}
	if a := n.filter.Authors; len(a) > 0 {
		if len(q.Instance) == 0 {
			q.Instance = a
		} else if q.Instance = slices.DeleteFunc(q.Instance, func(p string) bool { return !slices.Contains(a, p) }); len(q.Instance) == 0 {
			return nil
		}
	}
	if n.filter.Since != nil {
		q.Since = orders.ClampTime(int64(*n.filter.Since))
	}
	if n.filter.Until != nil {
		if *n.filter.Until <= 0 {
			return nil
		}
		q.Until = orders.ClampTime(int64(*n.filter.Until))
	}
	if !narrowByTags(&q, n.filter.Tags) {
		return nil
	}
	n.finder.book.sweep(n.now)
	all, err := n.finder.resolve(n.ctx, wanted)
	if err != nil {
		return err
	}
	return n.walk(&q, all)
}

// narrowByTags adds the filter's #s, #f and #k conditions to the query, so that fewer
// events are read only to be rejected. offer still checks the tags. narrowByTags returns
// false if no order can match.
//
// BUG: the book holds only the first f tag of an order, so a search with #f for another f
// tag of the order does not find the order. (A Peach bridge of 2024 wrote such events; a
// plain #f filter finds them.)
func narrowByTags(q *orders.Query, tags nostr.TagMap) bool {
	buckets := map[string][]mostro.Status{
		"pending": {mostro.StatusPending}, "in-progress": {mostro.StatusInProgress}, "canceled": {mostro.StatusCanceled},
		"success": {mostro.StatusSuccess, mostro.StatusGone}, "expired": {mostro.StatusExpired},
	}
	var want []mostro.Status
	for _, s := range tags["s"] {
		b, known := buckets[s]
		if !known { // the meaning of this spelling depends on the platform
			want = nil
			break
		}
		want = append(want, b...)
	}
	both := narrow(&q.Status, want)
	if f := tags["f"]; len(f) > 0 {
		upper := make([]string, len(f))
		for i, v := range f {
			upper[i] = strings.ToUpper(strings.TrimSpace(v))
		}
		both = narrow(&q.Fiat, upper) && both
	}
	var sides []mostro.Side
	for _, k := range tags["k"] {
		sides = append(sides, mostro.Side(strings.ToLower(strings.TrimSpace(k))))
	}
	return narrow(&q.Side, sides) && both
}

// narrow intersects the condition have with want. An empty list means no condition: if
// want is empty, have does not change, and if have is empty, have is set to want. narrow
// returns false if no value remains.
func narrow[T comparable](have *[]T, want []T) bool {
	switch {
	case len(want) == 0:
	case len(*have) == 0:
		*have = want
	default:
		*have = slices.DeleteFunc(slices.Clone(*have), func(v T) bool { return !slices.Contains(want, v) })
		return len(*have) > 0
	}
	return true
}

// walk offers the live orders that match q and its words, the best first. If there are no
// words, the newest come first.
func (n *nip50) walk(q *orders.Query, all []livebook.Word) error {
	var after *livebook.Ranked
	for size := max(16, n.limit-len(n.ids)); ; size = min(2*size, 500) {
		found := n.finder.book.live.Load().Best(q, all, after, size)
		keys := make([]orders.Key, len(found))
		for i, h := range found {
			keys[i] = h.ID
		}
		if full, err := n.records(q, keys); full || err != nil || len(found) < size {
			return err
		}
		after = &found[len(found)-1]
	}
}

// records offers the current versions of the orders with the given keys.
func (n *nip50) records(q *orders.Query, keys []orders.Key) (full bool, err error) {
	if n.ctx.Err() != nil {
		return true, n.ctx.Err()
	}
	records, err := n.finder.book.records(keys)
	if err != nil {
		return true, err
	}
	for _, r := range records {
		if r == nil || !r.LiveAt(n.now) || !q.Matches(&r.Version, n.now) {
			continue
		}
		if full, err := n.offer(r.Order.EventID, true); full || err != nil {
			return true, err
		}
	}
	return false, nil
}

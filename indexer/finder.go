package indexer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/indexer/livebook"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/words"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Answer is one page of orders.
type Answer struct {
	Orders []*orders.Record
	Total  int // of all pages
	Facets orders.Facets
	Next   string // cursor of the next page, "" on the last page
}

// Finder answers queries for orders. Its methods may be called concurrently.
type Finder struct {
	book      *book
	search    *searchIndex
	rules     *moderator
	directory *Directory
	figures   *Figures
	log       Log
	events    Events
	metrics   *metrics
	now       func() time.Time

	past chan struct{} // semaphore of one: only one query at a time reads the whole history
}

// Orders returns one page of the orders that match q. The error is a *QueryError, the
// error of ctx, or an error of a store.
func (f *Finder) Orders(ctx context.Context, q orders.Query) (*Answer, error) {
	start := time.Now()
	after, err := q.After()
	if err != nil {
		return nil, err
	}
	wanted := words.Asked(q.Text)
	if len(wanted) == 0 && q.Text != "" {
		return &Answer{Facets: orders.NewFacets()}, nil // a text without letters and digits matches no order
	}
	if q.Hidden, err = f.rules.hidden(ctx); err != nil {
		return nil, err
	}
	now := f.now()
	if q.Sort == orders.SortCost {
		q.Costs = f.costs(q.Fiat)
	}
	if !q.At.IsZero() {
		defer func() { f.metrics.queries.WithLabelValues("history").Observe(time.Since(start).Seconds()) }()
		if q.At.After(now) {
			return nil, &orders.QueryError{Param: "at", Reason: "lies in the future; ask for a time that has been"}
		}
		return f.ordersAt(ctx, &q, wanted, after)
	}
	from := "memory"
	switch {
	case q.Open != orders.OpenTrue:
		from = "past"
	case len(wanted) > 0:
		from = "text"
	}
	defer func() { f.metrics.queries.WithLabelValues(from).Observe(time.Since(start).Seconds()) }()
	f.book.sweep(now)
	all, err := f.resolve(ctx, wanted)
	if err != nil {
		return nil, err
	}
	hits, total, facets := f.book.live.Load().Search(&q, all, after)
	limit := q.PageSize()
	if q.Open != orders.OpenTrue {
		if hits, total, err = f.addPast(ctx, &q, all, after, hits, total, &facets); err != nil {
			return nil, err
		}
	}
	out := &Answer{Total: total, Facets: facets}
	if len(hits) > limit {
		hits = hits[:limit]
		out.Next = q.CursorAt(hits[limit-1])
	}
	keys := make([]orders.Key, len(hits))
	for i, h := range hits {
		keys[i] = h.ID
	}
	records, err := f.book.records(keys)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		// The order may have changed or expired since the index was read.
		if r != nil && q.Matches(&r.Version, now) {
			out.Orders = append(out.Orders, r)
		}
	}
	return out, nil
}

// resolve returns the words of a query with their meanings.
func (f *Finder) resolve(ctx context.Context, wanted []string) ([]livebook.Word, error) {
	out := make([]livebook.Word, len(wanted))
	describes := f.book.live.Load().Describes()
	for i, w := range wanted {
		var described []livebook.DescriptionHit
		if describes {
			var err error
			if described, err = f.search.descriptionHits(ctx, w); err != nil {
				return nil, err
			}
		}
		out[i] = livebook.Word{Text: w, Codes: words.CurrenciesOf(w), Authors: f.book.authors.Load().named(w), Described: described}
	}
	return out, nil
}

// addPast adds the hits, the total and the facets of orders that are not live, from
// search.
func (f *Finder) addPast(ctx context.Context, q *orders.Query, all []livebook.Word, after *orders.Mark, hits []orders.Mark, total int, facets *orders.Facets) ([]orders.Mark, int, error) {
	past, n, more, err := f.search.past(ctx, q, all, after, q.PageSize()+1)
	if err != nil {
		return nil, 0, err
	}
	*facets = facets.Clone()
	facets.Add(more)
	facets.Trim()
	s := f.book.live.Load()
	for _, h := range past {
		if s.Holds(h.ID) {
			n-- // live again; search has not caught up yet
			continue
		}
		hits = append(hits, h)
	}
	_, descending := q.Order()
	slices.SortFunc(hits, func(a, b orders.Mark) int {
		if orders.Behind(descending, a, b) {
			return 1
		}
		return -1
	})
	return hits, total + max(0, n), nil
}

// ordersAt answers a query about a past time. ordersAt reads every history and takes of
// each order the newest version that was signed by that time. The read takes seconds on a
// large book, so only one such query runs at a time.
func (f *Finder) ordersAt(ctx context.Context, q *orders.Query, wanted []string, after *orders.Mark) (*Answer, error) {
	select {
	case f.past <- struct{}{}:
		defer func() { <-f.past }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := &Answer{Facets: orders.NewFacets()}
	limit := q.PageSize()
	_, descending := q.Order()
	type found struct {
		orders.Mark
		r *orders.Record
	}
	var best []found
	authors := f.book.authors.Load()
	err := f.book.eachAt(ctx, q.At, func(k orders.Key, r *orders.Record) {
		if !q.Matches(&r.Version, q.At) || !orders.TextMatches(wanted, &r.Order, authors.wordsOf(r.Order.Pubkey)) {
			return
		}
		out.Total++
		out.Facets.Count(&r.Order)
		m := q.MarkOf(k, &r.Version)
		if after != nil && !orders.Behind(descending, m, *after) || len(best) > limit && orders.Behind(descending, m, best[limit].Mark) {
			return
		}
		at, _ := slices.BinarySearchFunc(best, m, func(f found, m orders.Mark) int {
			if orders.Behind(descending, m, f.Mark) {
				return -1
			}
			return 1
		})
		best = slices.Insert(best, at, found{m, r})
		best = best[:min(len(best), limit+1)]
	})
	if err != nil {
		return nil, err
	}
	out.Facets.Trim()
	if len(best) > limit {
		best = best[:limit]
		out.Next = q.CursorAt(best[limit-1].Mark)
	}
	for _, f := range best {
		out.Orders = append(out.Orders, f.r)
	}
	return out, nil
}

// Order returns an order by its author and d tag, with all its versions, oldest first. If
// the order is unknown, Order returns mostro.ErrNotFound.
func (f *Finder) Order(pubkey, d string) (*orders.Record, []*orders.Version, error) {
	k := orders.KeyOf(orders.Address(pubkey, d))
	record, err := f.book.record(k)
	if err != nil {
		return nil, nil, err
	}
	versions, err := f.book.history(k)
	if errors.Is(err, mostro.ErrNotFound) {
		return nil, nil, err
	}
	return record, versions, err
}

// History returns an order with up to limit of its versions, oldest first. The versions
// are the newest ones before cursor, or the newest of all if cursor is "". next is the
// cursor of the older versions, or "" if there are none. History returns
// mostro.ErrNotFound if the order is unknown or hidden by the rules. If spam is set,
// orders of quarantined keys are returned.
func (f *Finder) History(ctx context.Context, pubkey, d, cursor string, limit int, spam bool) (record *orders.Record, versions []*orders.Version, next string, err error) {
	k := orders.KeyOf(orders.Address(pubkey, d))
	if record, err = f.book.record(k); err != nil {
		return nil, nil, "", err
	}
	if err = f.Visible(ctx, pubkey, record.Order.EventID, spam); err != nil {
		return nil, nil, "", err
	}
	if versions, next, err = f.book.historyPage(k, cursor, limit); err != nil {
		return nil, nil, "", err
	}
	mod, err := f.rules.hidden(ctx)
	return record, slices.DeleteFunc(versions, func(v *orders.Version) bool { return mod.Hides(pubkey, v.Order.EventID, true) }), next, err
}

// Event returns a raw event. Event returns mostro.ErrNotFound for private messages, which
// only subscribers of the relay receive, and for events that the rules hide. If spam is
// set, events of quarantined keys are returned.
func (f *Finder) Event(ctx context.Context, id string, spam bool) (*nostr.Event, error) {
	evt, err := f.events.Event(ctx, id)
	if err != nil {
		return nil, err
	}
	if mostro.IsMail(evt.Kind) {
		return nil, mostro.ErrNotFound
	}
	return evt, f.Visible(ctx, evt.PubKey, evt.ID, spam)
}

// Visible returns mostro.ErrNotFound if the rules hide the event of an author. If id is
// "", Visible asks about the author alone. If spam is set, quarantined keys are visible.
func (f *Finder) Visible(ctx context.Context, pubkey, id string, spam bool) error {
	return f.rules.visible(ctx, pubkey, id, spam)
}

// maxOffers bounds the orders that one call of Offers reads.
const maxOffers = 10_000

// Offers returns the pending orders of instances in one currency and on one side (the
// maker's), newest first. If method is not "", only orders with this payment method are
// returned. whole is false if there are more orders than were returned.
func (f *Finder) Offers(ctx context.Context, fiat string, side mostro.Side, method string) (offers []mostro.Order, whole bool, err error) {
	q := orders.Query{Fiat: []string{fiat}, Side: []mostro.Side{side}, Limit: orders.MaxLimit}
	if method != "" {
		q.Method = []string{method}
	}
	for _, info := range f.directory.Infos() {
		q.Instance = append(q.Instance, info.Pubkey)
	}
	if len(q.Instance) == 0 { // an empty Query.Instance would match all authors
		return nil, true, nil
	}
	for {
		a, err := f.Orders(ctx, q)
		if err != nil {
			return nil, false, err
		}
		for _, r := range a.Orders {
			offers = append(offers, r.Order)
		}
		if a.Next == "" || len(offers) >= maxOffers {
			return offers, a.Next == "", nil
		}
		q.Cursor = a.Next
	}
}

// MethodSpelling returns the original spelling of a folded payment method.
func (f *Finder) MethodSpelling(folded string) string { return f.book.live.Load().Spelling(folded) }

// costs returns the fees of all instances and the references of currencies, or of all currencies
// on offer if fiats is empty.
func (f *Finder) costs(fiats []string) *orders.Costs {
	c := &orders.Costs{Fees: map[string]float64{}, Rates: map[string]float64{}}
	for _, info := range f.directory.Infos() {
		if info.Fee != nil {
			c.Fees[info.Pubkey] = info.Fee.Float()
		}
	}
	if len(fiats) == 0 {
		fiats = f.book.live.Load().Fiats()
	}
	for _, fiat := range fiats {
		if r, ok := f.figures.Reference(fiat); ok {
			c.Rates[fiat] = r.Price
		}
	}
	return c
}

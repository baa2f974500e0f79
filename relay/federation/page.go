package federation

import (
	"fmt"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

const (
	pageLimit = 500
	// maxBarren is how many consecutive pages may hold no event that can be kept.
	maxBarren = 20
	// maxAuthorWalks is up to how many authors are walked one by one.
	maxAuthorWalks = 64
)

// pager fetches the events of one relay page by page. One goroutine uses it.
type pager struct {
	srv    *relay.Server
	store  *eventlog.Store
	url    string
	health *health
	link   *link
	since  int64         // Config.Since
	rewalk time.Duration // Config.Rewalk
}

// page walks backwards through all events that a relay holds for a filter. A short page
// does not end the walk, because relays cap their answers at will.
//
// Kinds are walked one by one, and so are authors if they are few. Relays that merge
// several index scans for a filter, such as khatru with its Badger store, leave events out
// of a page of several kinds or authors: thousands of 30,000 in a measurement.
func (p *pager) page(f nostr.Filter) error {
	p.health.method("paging")
	for _, k := range f.Kinds {
		one := f
		one.Kinds = []int{k}
		if len(f.Authors) > maxAuthorWalks {
			if err := p.pageOne(one); err != nil {
				return err
			}
			continue
		}
		for _, a := range f.Authors {
			one.Authors = []string{a}
			if err := p.pageOne(one); err != nil {
				return err
			}
		}
		if len(f.Authors) == 0 {
			if err := p.pageOne(one); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pager) pageOne(f nostr.Filter) error {
	now := p.srv.Now()
	cur, err := p.store.UpstreamCursor(p.url, filterName(f))
	if err != nil {
		return err
	}
	floor := p.since
	top := now.Add(relay.DefaultMaxFuture).Unix()
	save := func() error { return p.link.push(&arrival{cursor: &cursorWrite{filterName(f), cur}}) }
	if cur.At > 0 {
		// Events newer than the unfinished walk come first, then the rest of that walk.
		if err := p.walk(f, top, cur.From-int64(resumeOverlap/time.Second), nil); err != nil {
			return err
		}
		cur.From = top
	} else {
		cur.From, cur.At = top, top
		cur.Whole = cur.Through == 0 || now.Sub(time.Unix(cur.WalkedAt, 0)) >= p.rewalk
	}
	bottom := floor
	if !cur.Whole {
		bottom = max(floor, cur.Through-int64(overlapWindow/time.Second))
	}
	err = p.walk(f, cur.At, bottom, func(at int64) error {
		cur.At = at
		return save()
	})
	if err != nil {
		return err
	}
	if cur.Whole {
		cur.WalkedAt = now.Unix()
	}
	cur = eventlog.UpstreamCursor{Through: now.Unix(), WalkedAt: cur.WalkedAt}
	return save()
}

// walk fetches all events between two times, newest first. walk calls reached with the
// time that it has reached. A cursor that reached writes is committed after the events.
func (p *pager) walk(f nostr.Filter, until, since int64, reached func(at int64) error) error {
	limit := p.health.pageLimit()
	largest, barren := 0, 0
	for until >= since {
		sub, err := p.fetch(f, since, until, limit)
		if err != nil {
			return err
		}
		if sub.n == 0 {
			if sub.outside > 0 {
				return fmt.Errorf("%w: a page has no event of the requested time", errLying)
			}
			return nil
		}
		largest = max(largest, sub.n)
		next := sub.oldest
		if next == until {
			// All events of the page have one second. That second may have more events
			// than one page, and the next page would be the same again.
			if sub.n >= min(limit, largest) {
				if err := p.second(f, until, min(limit, largest)); err != nil {
					return err
				}
			}
			next--
		}
		if err := p.link.barrierEvery(sub); err != nil {
			return err
		}
		if sub.stats.kept.Load()+sub.stats.held.Load() == 0 && sub.stats.refused.Load() > 0 {
			if barren++; barren >= maxBarren {
				return fmt.Errorf("%w: %d pages without an event that can be kept", errLying, barren)
			}
		} else {
			barren = 0
		}
		until = next
		if reached != nil {
			if err := reached(until); err != nil {
				return err
			}
		}
	}
	return nil
}

// barrierEvery waits for the events of a page only if they were all refused so far, so
// that the store works on honest pages while the next ones are fetched.
func (l *link) barrierEvery(sub *linkSub) error {
	if sub.stats.kept.Load()+sub.stats.held.Load() > 0 {
		return nil
	}
	return l.barrier()
}

// fetch requests one page.
func (p *pager) fetch(f nostr.Filter, since, until int64, limit int) (*linkSub, error) {
	s, t := nostr.Timestamp(since), nostr.Timestamp(until)
	f.Since, f.Until, f.Limit = &s, &t, limit
	sub, err := p.link.ask(f, false)
	if err != nil {
		return nil, err
	}
	p.health.pages.Add(1)
	return sub, p.link.close("CLOSE", sub)
}

// second fetches a second that has more events than one page. The request is split by
// kind, by author and by tags. Authors and tag values are those that the store knows. If a
// part cannot be split further, the second is counted as incomplete.
func (p *pager) second(f nostr.Filter, at int64, full int) error {
	if err := p.link.barrier(); err != nil { // afterwards the authors of the fetched events are in the store
		return err
	}
	parts := splitFilter(p.store, f)
	if len(parts) == 0 {
		p.health.incomplete.Add(1)
		return nil
	}
	for _, part := range parts {
		sub, err := p.fetch(part, at, at, full)
		if err != nil {
			return err
		}
		if sub.n >= full {
			if err := p.second(part, at, full); err != nil {
				return err
			}
		}
	}
	return nil
}

// secondTags are the tags by which orders of one second are split.
var secondTags = []string{"s", "k", "f", "d"}

// splitFilter splits a filter into smaller filters, by the authors and values that the
// store knows.
func splitFilter(st *eventlog.Store, f nostr.Filter) (parts []nostr.Filter) {
	halves := func(values []string, set func(*nostr.Filter, []string)) []nostr.Filter {
		// Eight parts at a time, because each part that is still too large is split again.
		size := max(1, (len(values)+7)/8)
		for part := range slices.Chunk(values, size) {
			g := f
			set(&g, part)
			parts = append(parts, g)
		}
		return parts
	}
	if len(f.Kinds) > 1 {
		for _, k := range f.Kinds {
			g := f
			g.Kinds = []int{k}
			parts = append(parts, g)
		}
		return parts
	}
	setAuthors := func(g *nostr.Filter, part []string) { g.Authors = part }
	switch {
	case len(f.Authors) > 1:
		return halves(f.Authors, setAuthors)
	case len(f.Authors) == 0 && len(f.Kinds) == 1:
		if authors := st.AuthorsOf(f.Kinds[0]); len(authors) > 0 {
			return halves(authors, setAuthors)
		}
	}
	for _, name := range secondTags {
		values, set := f.Tags[name]
		if set && len(values) == 1 {
			continue
		}
		if !set {
			if values = st.ValuesOf(name); len(values) == 0 {
				continue
			}
		}
		return halves(values, func(g *nostr.Filter, part []string) {
			tags := make(nostr.TagMap, len(f.Tags)+1)
			for k, v := range f.Tags {
				tags[k] = v
			}
			tags[name] = part
			g.Tags = tags
		})
	}
	return nil
}

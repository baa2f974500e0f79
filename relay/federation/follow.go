package federation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/nbd-wtf/go-nostr"
)

// followed is a filter for a relay: for new events, for stored events, or for both.
type followed struct {
	nostr.Filter
	live, stored bool
}

func (f followed) equal(g followed) bool {
	return f.live == g.live && f.stored == g.stored && nostr.FilterEqual(f.Filter, g.Filter)
}

// everyDeletion matches the deletions of all authors. A deletion that does not name the
// kind of its target can be recognized only by its author, and the author may be new here
// when the order arrives that is deleted next.
var everyDeletion = nostr.Filter{Kinds: []int{mostro.KindDeletion}}

// filters returns the filters to follow at this relay.
func (u *upstream) filters() (list []followed) {
	cfg := &u.owner.cfg
	both := func(f nostr.Filter) { list = append(list, followed{f, true, true}) }
	orders := nostr.Filter{Kinds: u.owner.kinds(followKinds)}
	if len(u.instances) > 0 {
		orders.Authors = u.instances
	}
	both(orders)
	authors := u.owner.disc.instances()
	deletions := slices.Contains(u.owner.kinds(ownKinds), mostro.KindDeletion)
	if len(u.instances) > 0 {
		authors = slices.Clone(u.instances)
	} else if deletions {
		if !u.narrow {
			list = append(list, followed{everyDeletion, true, false})
		}
		// A filter for stored deletions by any author that name a followed kind. Deletions
		// that name no kind are requested by author, below.
		f := nostr.Filter{Kinds: []int{mostro.KindDeletion}, Tags: nostr.TagMap{"k": nil}}
		for _, k := range orders.Kinds {
			f.Tags["k"] = append(f.Tags["k"], strconv.Itoa(k))
		}
		list = append(list, followed{f, u.narrow, true})
	}
	slices.Sort(authors)
	if kinds := u.owner.kinds(ownKinds); len(kinds) > 0 {
		for part := range slices.Chunk(authors, authorsPerFilter) {
			both(nostr.Filter{Kinds: kinds, Authors: part})
		}
	}
	if lists := u.owner.kinds([]int{mostro.KindAppData}); len(lists) > 0 {
		for part := range slices.Chunk(slices.Sorted(slices.Values(cfg.Lists)), authorsPerFilter) {
			both(nostr.Filter{Kinds: lists, Authors: part})
		}
	}
	if len(u.instances) == 0 && deletions {
		// The deletions of authors that have orders here and are not known Mostros.
		writers := u.store.AuthorsOf(mostro.KindOrder)
		writers = slices.DeleteFunc(writers, func(key string) bool {
			_, known := slices.BinarySearch(authors, key)
			return known
		})
		for part := range slices.Chunk(writers, authorsPerFilter) {
			list = append(list, followed{nostr.Filter{Kinds: []int{mostro.KindDeletion}, Authors: part}, u.narrow, true})
		}
	}
	if cfg.Mail != nil {
		if keys := cfg.Mail(); len(keys) > 0 {
			slices.Sort(keys)
			for part := range slices.Chunk(keys, authorsPerFilter) {
				both(nostr.Filter{Kinds: mailKinds, Tags: nostr.TagMap{"p": part}})
			}
		}
	}
	return list
}

// concerns reports whether a deletion request may be about a followed event: the request
// names a followed kind or address, or its author is a known Mostro or has orders here.
func (u *upstream) concerns(evt *nostr.Event) bool {
	kinds := u.owner.kinds(followKinds)
	for _, tag := range evt.Tags {
		if len(tag) < 2 || tag[0] != "k" && tag[0] != "a" {
			continue
		}
		kind, _, _ := strings.Cut(tag[1], ":")
		if k, err := strconv.Atoi(kind); err == nil && slices.Contains(kinds, k) {
			return true
		}
	}
	return slices.Contains(u.instances, evt.PubKey) || u.owner.Knows(evt.PubKey) || u.owner.writes(evt.PubKey)
}

// keepUp subscribes, catches up, and compares again at intervals.
func (u *upstream) keepUp(l *link) error {
	var live []*linkSub
	var filters []followed
	resync := u.owner.cfg.Resync
	for {
		if want := u.filters(); live == nil || !slices.EqualFunc(filters, want, followed.equal) {
			// New subscriptions are opened before old ones are closed, so that no event is
			// missed.
			old := live
			filters, live = want, nil
			for _, f := range filters {
				if !f.live {
					continue
				}
				f.Limit = 1 // of stored events; some relays refuse 0
				sub, err := l.ask(f.Filter, true)
				if err != nil {
					u.narrow = u.narrow || !f.stored && errors.As(err, new(refusedError)) // from the next connection on
					return err
				}
				sub.wide = !f.stored
				live = append(live, sub)
			}
			for _, sub := range old {
				if err := l.close("CLOSE", sub); err != nil {
					return err
				}
			}
		}
		u.health.state("catching up", nil, u.owner.log)
		for _, f := range filters {
			if !f.stored {
				continue
			}
			if err := u.catchUp(l, f.Filter); err != nil {
				return err
			}
		}
		if err := l.barrier(); err != nil {
			return err
		}
		u.health.caughtUp(u.srv.Now())
		u.health.state("live", nil, u.owner.log)
		until := time.Now().Add(jitter(resync))
		for {
			compare, err := u.followLive(l, live, until)
			if err != nil {
				return err
			}
			if compare {
				break
			}
			if err := u.askStrangers(l); err != nil {
				return err
			}
		}
	}
}

const (
	// strangersEvery is the shortest time between two requests for the deletions of new
	// authors. Each request has at most authorsPerFilter of them, so that a client that
	// makes many keys does not cause more requests.
	strangersEvery = 10 * time.Second
	// maxStrangerWalks is up to how many new authors are walked one by one.
	maxStrangerWalks = 8
)

// followLive waits until the next comparison is due, or until deletions of new authors are
// to be requested. If the relay closes a subscription, followLive returns an error. The
// subscription is then opened again on a new connection, after the backoff.
func (u *upstream) followLive(l *link, live []*linkSub, until time.Time) (compare bool, err error) {
	resync := u.owner.cfg.Resync
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	check := time.NewTicker(min(time.Second, resync))
	defer check.Stop()
	for {
		select {
		case <-timer.C:
			return true, nil
		case <-u.changed:
			// Mostros are found in bursts, so one comparison covers all of them.
			return true, pause(l.ctx, min(5*time.Second, resync))
		case <-l.ctx.Done():
			return false, context.Cause(l.ctx)
		case now := <-check.C:
			for _, sub := range live {
				select {
				case end := <-sub.done:
					if end.closed {
						u.narrow = u.narrow || sub.wide
						u.health.closed(end.reason)
						return false, refusedError("closed: " + end.reason)
					}
				default:
				}
			}
			if u.strangers.due(now) {
				return false, nil
			}
		}
	}
}

// askStrangers fetches the stored deletions of authors whose orders have arrived since the
// last comparison. askStrangers writes no cursor, because the next comparison includes
// these authors.
func (u *upstream) askStrangers(l *link) error {
	keys := slices.DeleteFunc(u.strangers.take(), u.owner.Knows) // requested with their profiles
	if len(keys) == 0 || !slices.Contains(u.owner.kinds(ownKinds), mostro.KindDeletion) {
		return nil
	}
	f := nostr.Filter{Kinds: []int{mostro.KindDeletion}, Authors: keys}
	if u.health.offersNeg() {
		if ok, err := u.reconciler(l).reconcile(f); ok || err != nil {
			return err
		}
	}
	size := len(keys)
	if size <= maxStrangerWalks {
		size = 1 // the comment of page has the reason
	}
	for part := range slices.Chunk(keys, size) {
		f.Authors = part
		if err := u.pager(l).walk(f, u.srv.Now().Add(relay.DefaultMaxFuture).Unix(), u.owner.cfg.Since.Unix(), nil); err != nil {
			return err
		}
	}
	return nil
}

// catchUp fetches all events that the relay holds for a filter.
func (u *upstream) catchUp(l *link, f nostr.Filter) error {
	mail := slices.ContainsFunc(f.Kinds, mostro.IsMail)
	if u.health.offersNeg() && !mail { // mail takes no part in reconciliation
		ok, err := u.reconciler(l).reconcile(f)
		if err != nil || ok {
			return err
		}
	}
	return u.pager(l).page(f)
}

// filterName returns the name of a filter in the key of a cursor.
func filterName(f nostr.Filter) string {
	f.Since, f.Until, f.Limit, f.LimitZero = nil, nil, 0, false
	b, err := f.MarshalJSON()
	if err != nil {
		b = []byte(f.String())
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:8])
}

package relay

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// discovery learns Mostros and their relays from the log: one more reader with
// a cursor, which begins at what is live when it starts.
type discovery struct {
	us *Upstreams

	mu    sync.Mutex
	known map[string]bool            // keys that published a description of themselves
	named map[string]map[string]bool // relay -> keys that named it
	lists map[string][]string        // relays of keys that are not known yet, from their 10002

	weakest []string  // known keys, the weakest last, as they were when weighed
	weighed time.Time // when that was
	grew    time.Time // when relays were last chosen; run's own
}

const (
	// maxNamed bounds the relays that are remembered, maxNamedByKey those that
	// one key may name, and maxLists the lists of keys not known yet.
	maxNamed      = 4096
	maxNamedByKey = 16
	maxLists      = 20_000
	// maxWeight is the most that one key counts, and weighEvery is how often the
	// known keys are weighed while there is no place for another.
	maxWeight  = 100
	weighEvery = 10 * time.Second
	// discoverStart bounds the orders that are looked through at the start.
	discoverStart = 5000
)

func newDiscovery(us *Upstreams) *discovery {
	return &discovery{us: us, known: map[string]bool{}, named: map[string]map[string]bool{}, lists: map[string][]string{}}
}

// instances lists the known keys.
func (d *discovery) instances() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys := make([]string, 0, len(d.known))
	for k := range d.known {
		keys = append(keys, k)
	}
	return keys
}

// run reads what is live, then the log, until ctx ends. found is told when
// there are new relays to follow.
func (d *discovery) run(ctx context.Context, found chan<- struct{}) error {
	st := d.us.cfg.Store
	pos := st.Head()
	for _, f := range []struct {
		nostr.Filter
		limit int
	}{
		{nostr.Filter{Kinds: []int{mostro.KindInfo}}, maxInstances},
		{nostr.Filter{Kinds: []int{mostro.KindOrder}, Tags: nostr.TagMap{"z": {"info"}}}, maxInstances},
		{nostr.Filter{Kinds: []int{mostro.KindRelayList}}, maxInstances},
		{nostr.Filter{Kinds: []int{mostro.KindOrder}}, discoverStart},
	} {
		all, err := st.Query(ctx, nil, f.Filter, f.limit, 0)
		if err != nil {
			return endOr(ctx, err)
		}
		for _, e := range all {
			if evt, err := eventlog.ParseBody(e.JSON); err == nil {
				d.learn(evt)
			}
		}
	}
	for {
		if d.grow() {
			select {
			case found <- struct{}{}:
			default: // it will look anyway
			}
		}
		if err := st.Wait(ctx, pos); err != nil {
			return endOr(ctx, err)
		}
		head := st.Head()
		err := st.Read(ctx, pos, func(e mostro.Entry) error {
			pos = e.Seq
			d.learn(e.Event)
			return nil
		})
		if err != nil {
			return endOr(ctx, err)
		}
		pos = max(pos, head) // unreadable entries are passed by
		if pause(ctx, 200*time.Millisecond) != nil {
			return nil
		}
	}
}

// endOr is nil when the error is only that ctx has ended.
func endOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// learn takes what an event tells of Mostros and relays.
func (d *discovery) learn(evt *nostr.Event) {
	switch evt.Kind {
	case mostro.KindInfo:
		d.addInstance(evt.PubKey)
	case mostro.KindOrder:
		if tagValue(evt.Tags, "z") == "info" {
			d.addInstance(evt.PubKey)
			return
		}
		d.tryAgain(evt.PubKey)
		if link := tagValue(evt.Tags, "source"); strings.HasPrefix(link, "mostro:") {
			d.addRelays(evt.PubKey, linkRelays(link))
		}
	case mostro.KindRelayList:
		list, err := mostro.ParseRelayList(evt)
		if err != nil {
			return
		}
		var urls []string
		for _, use := range list.Relays {
			if urls = append(urls, use.URL); len(urls) == maxNamedByKey {
				break
			}
		}
		d.mu.Lock()
		known := d.known[evt.PubKey]
		if !known {
			if len(d.lists) >= maxLists {
				clear(d.lists)
			}
			d.lists[evt.PubKey] = urls
		}
		d.mu.Unlock()
		if known {
			d.addRelays(evt.PubKey, urls)
		}
	}
}

func (d *discovery) addInstance(key string) {
	d.mu.Lock()
	isNew := !d.known[key] && (len(d.known) < maxInstances || d.displace(key))
	if isNew {
		d.known[strings.Clone(key)] = true
	}
	urls := d.lists[key]
	delete(d.lists, key)
	d.mu.Unlock()
	d.addRelays(key, urls)
	if !isNew {
		return
	}
	for _, u := range d.us.list() {
		select {
		case u.changed <- struct{}{}:
		default:
		}
	}
}

// weight is what a key counts among others: its live orders. A description
// costs its author nothing, and thousands of them would fill all places.
func (d *discovery) weight(key string) int {
	return min(d.us.cfg.Store.LiveOf(mostro.KindOrder, key), maxWeight)
}

// displace takes the place of the weakest known key for a stronger one. mu is
// held.
func (d *discovery) displace(key string) bool {
	w := d.weight(key)
	if w == 0 {
		return false
	}
	if now := time.Now(); len(d.weakest) == 0 && now.Sub(d.weighed) > weighEvery {
		weights := make(map[string]int, len(d.known))
		for k := range d.known {
			weights[k] = d.weight(k)
			d.weakest = append(d.weakest, k)
		}
		slices.SortFunc(d.weakest, func(a, b string) int { return weights[b] - weights[a] })
		d.weighed = now
	}
	for len(d.weakest) > 0 {
		last := len(d.weakest) - 1
		other := d.weakest[last]
		d.weakest = d.weakest[:last]
		if d.known[other] && d.weight(other) < w {
			delete(d.known, other)
			return true
		}
	}
	return false
}

// tryAgain looks for a place for a key that has described itself when there was
// none and has orders now.
func (d *discovery) tryAgain(key string) {
	d.mu.Lock()
	try := !d.known[key] && len(d.known) >= maxInstances
	d.mu.Unlock()
	if try && d.us.cfg.Store.LiveOf(mostro.KindInfo, key) > 0 {
		d.addInstance(key)
	}
}

// linkRelays reads the relays of a mostro: link.
func linkRelays(link string) []string {
	_, query, _ := strings.Cut(link, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil
	}
	var urls []string
	for part := range strings.SplitSeq(values.Get("relays"), ",") {
		if part != "" && len(urls) < maxNamedByKey {
			urls = append(urls, part)
		}
	}
	return urls
}

func (d *discovery) addRelays(key string, urls []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, raw := range urls {
		u, err := normalRelayURL(raw)
		if err != nil {
			continue
		}
		by := d.named[u]
		if by == nil {
			if len(d.named) >= maxNamed {
				return
			}
			by = map[string]bool{}
			d.named[strings.Clone(u)] = by
		}
		if len(by) < 64 {
			by[strings.Clone(key)] = true
		}
	}
}

// grow makes upstreams of the relays named by the Mostros with the most orders,
// up to the cap. A relay counts only when a known Mostro names it: anybody can
// sign a list. One that counts more than twice as much as the weakest that is
// followed takes its place.
func (d *discovery) grow() (grew bool) {
	room := d.us.cfg.Discover
	followed := make(map[string]*upstream)
	for _, u := range d.us.list() {
		if !u.configured {
			followed[u.url] = u
		}
	}
	if room -= len(followed); room <= 0 && time.Since(d.grew) < weighEvery {
		return false
	}
	d.grew = time.Now()
	type candidate struct {
		url           string
		votes, namers int
	}
	var list []candidate
	votes, weights := make(map[string]int), make(map[string]int)
	d.mu.Lock()
	for u, by := range d.named {
		namers := 0
		for key := range by {
			if !d.known[key] {
				continue
			}
			w, ok := weights[key]
			if !ok {
				w = d.weight(key)
				weights[key] = w
			}
			votes[u], namers = votes[u]+w, namers+1
		}
		if namers > 0 {
			list = append(list, candidate{u, votes[u], namers})
		}
	}
	d.mu.Unlock()
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.votes, a.votes), cmp.Compare(b.namers, a.namers), strings.Compare(a.url, b.url))
	})
	for _, c := range list {
		d.us.mu.Lock()
		_, have := d.us.relays[c.url]
		d.us.mu.Unlock()
		if have || c.url == d.us.self() {
			continue
		}
		if room <= 0 {
			var weakest *upstream
			for _, u := range followed {
				if weakest == nil || votes[u.url] < votes[weakest.url] {
					weakest = u
				}
			}
			if weakest == nil || 2*votes[weakest.url] >= c.votes {
				break
			}
			delete(followed, weakest.url)
			d.us.drop(weakest)
			d.us.log.Info("no longer following a relay found in events", "relay", weakest.url)
			room++
		}
		u, err := d.us.add(c.url, false)
		if err != nil {
			continue
		}
		u.follow = true
		d.us.log.Info("following a relay found in events", "relay", c.url, "orders_of_those_who_name_it", c.votes)
		grew = true
		room--
	}
	return grew
}

// drop ends following a relay that was found in events.
func (us *Upstreams) drop(u *upstream) {
	us.mu.Lock()
	delete(us.relays, u.url)
	us.mu.Unlock()
	close(u.gone)
}

// self is this relay's own public URL, which is not followed.
func (us *Upstreams) self() string {
	u, err := normalRelayURL(us.cfg.Server.cfg.URL)
	if err != nil {
		return ""
	}
	return u
}

// Knows says whether a key belongs to a Mostro that is known here. Without
// followers nobody is.
func (us *Upstreams) Knows(key string) bool {
	if us == nil {
		return false
	}
	us.disc.mu.Lock()
	defer us.disc.mu.Unlock()
	return us.disc.known[key]
}

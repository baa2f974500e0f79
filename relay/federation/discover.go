package federation

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"math"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// Trust is what this relay has witnessed of a key. The zero value is the trust in an
// unknown key.
type Trust struct {
	Score int       // 0 to 100; 0 if the key has no score
	Days  int       // days on which an event of the key was witnessed
	Sats  int64     // sats that the key demonstrably spent
	Since time.Time // time of the first witnessed event; zero: none
}

// standing ranks a key among others: first by trust, then by live orders. An info event
// and live orders cost an attacker nothing.
type standing struct {
	Trust
	orders int
}

// compare returns more than 0 if a ranks above b.
func (a standing) compare(b standing) int {
	day := func(t time.Time) int64 {
		if t.IsZero() {
			return math.MaxInt64
		}
		return t.Unix() / 86_400
	}
	return cmp.Or(cmp.Compare(a.Score, b.Score), cmp.Compare(a.Days, b.Days), cmp.Compare(a.Sats, b.Sats),
		cmp.Compare(day(b.Since), day(a.Since)), cmp.Compare(a.orders, b.orders))
}

// discovery finds Mostros and their relays in the log. It reads the live events at the
// start, and then the log with a cursor. It knows at most maxInstances Mostros: those that
// rank highest.
type discovery struct {
	us    *Upstreams
	every time.Duration // interval between two choices of the known keys

	// known are keys that published a description of themselves. Only run writes known; mu
	// guards it against readers. Trust is called without mu, because the call may take
	// long.
	mu    sync.Mutex
	known map[string]*naming

	// Owned by run.
	crowded bool      // more keys described themselves than maxInstances
	choice  time.Time // time of the next choice
	grew    time.Time // time of the last choice of relays
}

// naming lists the relays that a key names.
type naming struct {
	list []string // in its relay list (kind 10002)
	link []string // in the source link of its last order
}

const (
	// maxNamedByKey limits the relays that one key may name in a list or link.
	maxNamedByKey = 16
	// chooseEvery is the interval between two choices of the known keys if there are more
	// than maxInstances. growEvery is the interval between two choices of relays if all
	// slots are taken. chooseShare limits the part of the time that choosing takes.
	chooseEvery = time.Minute
	growEvery   = 10 * time.Second
	chooseShare = 50
	// maxOrders is the largest number of live orders that count for one key.
	maxOrders = 100
	// linkOrders is how many orders of a key are searched for a source link.
	linkOrders = 8
)

func newDiscovery(us *Upstreams) *discovery {
	return &discovery{us: us, every: chooseEvery, known: map[string]*naming{}}
}

// instances returns the known keys.
func (d *discovery) instances() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys := make([]string, 0, len(d.known))
	for k := range d.known {
		keys = append(keys, k)
	}
	return keys
}

// run reads the live events, then the log, until ctx ends. found receives a value when
// there are new relays to follow.
func (d *discovery) run(ctx context.Context, found chan<- struct{}) error {
	st := d.us.cfg.Store
	pos := st.Head()
	d.crowded = true // until the first choice
	for {
		if d.crowded && !time.Now().Before(d.choice) {
			if err := d.choose(ctx); err != nil {
				return endOr(ctx, err)
			}
		}
		if d.grow() {
			select {
			case found <- struct{}{}:
			default: // the receiver is about to look anyway
			}
		}
		// Scores change without an append to the log, so the wait ends after every.
		wait, cancel := context.WithTimeout(ctx, d.every)
		err := st.Wait(wait, pos)
		cancel()
		if err != nil {
			if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
				continue
			}
			return endOr(ctx, err)
		}
		head := st.Head()
		err = st.Read(ctx, pos, func(e mostro.Entry) error {
			pos = e.Seq
			return d.learn(ctx, e.Event)
		})
		if err != nil {
			return endOr(ctx, err)
		}
		pos = max(pos, head) // skips entries that cannot be read
		if pause(ctx, 200*time.Millisecond) != nil {
			return nil
		}
	}
}

// endOr returns nil if ctx has ended, and err otherwise.
func endOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// learn records the Mostros and relays that an event names.
func (d *discovery) learn(ctx context.Context, evt *nostr.Event) error {
	isInfo := evt.Kind == mostro.KindInfo || evt.Kind == mostro.KindOrder && firstValue(evt.Tags, "z") == "info"
	by := d.known[evt.PubKey]
	switch {
	case isInfo && by == nil && len(d.known) >= maxInstances:
		d.crowded = true
	case isInfo && by == nil:
		if err := d.admit(ctx, evt.PubKey); err != nil {
			return err
		}
		d.tellChange()
	case by == nil: // an unknown key; admit reads its events from the store if the key becomes known
	case evt.Kind == mostro.KindRelayList:
		list, err := mostro.ParseRelayList(evt)
		if err != nil {
			return nil // the event names no relay
		}
		by.list = by.list[:0]
		for _, use := range list.Relays {
			by.list = appendRelay(by.list, use.URL)
		}
	case evt.Kind == mostro.KindOrder:
		if link := firstValue(evt.Tags, "source"); strings.HasPrefix(link, "mostro:") {
			by.link = linkRelays(link)
		}
	}
	return nil
}

// admit makes a key known, with the relays that its live events name.
func (d *discovery) admit(ctx context.Context, key string) error {
	key = strings.Clone(key)
	d.mu.Lock()
	d.known[key] = &naming{}
	d.mu.Unlock()
	for kind, n := range map[int]int{mostro.KindRelayList: 1, mostro.KindOrder: linkOrders} {
		found, err := d.us.cfg.Store.Query(ctx, nil, nostr.Filter{Kinds: []int{kind}, Authors: []string{key}}, n, 0)
		if err != nil {
			return err
		}
		for _, e := range slices.Backward(found) { // newest last
			if evt, err := eventlog.ParseBody(e.JSON); err == nil {
				if err := d.learn(ctx, evt); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// tellChange makes each upstream request the events of the known keys again.
func (d *discovery) tellChange() {
	for _, u := range d.us.list() {
		select {
		case u.changed <- struct{}{}:
		default:
		}
	}
}

// standing returns the rank of a key.
func (d *discovery) standing(key string) standing {
	s := standing{orders: min(d.us.cfg.Store.LiveOf(mostro.KindOrder, key), maxOrders)}
	if d.us.cfg.Trust != nil {
		s.Trust = d.us.cfg.Trust(key)
	}
	return s
}

// choose selects the keys that rank highest, among all keys that are known or describe
// themselves in live events. A known key is replaced only by a key with a higher trust, or
// by a key of equal trust with more than twice its orders.
func (d *discovery) choose(ctx context.Context) error {
	began := time.Now()
	type candidate struct {
		key string
		standing
		known bool
	}
	var list []candidate
	for _, f := range []nostr.Filter{{Kinds: []int{mostro.KindInfo}}, {Kinds: []int{mostro.KindOrder}, Tags: nostr.TagMap{"z": {"info"}}}} {
		keys, err := d.us.cfg.Store.AuthorsWhere(ctx, f)
		if err != nil {
			return err
		}
		for key := range keys {
			if name := hex.EncodeToString(key[:]); d.known[name] == nil {
				list = append(list, candidate{key: name})
			}
		}
	}
	for key := range d.known {
		list = append(list, candidate{key: key, known: true})
	}
	slices.SortFunc(list, func(a, b candidate) int { return strings.Compare(a.key, b.key) })
	list = slices.CompactFunc(list, func(a, b candidate) bool { return a.key == b.key })
	if d.crowded = len(list) > maxInstances; d.crowded {
		for i := range list {
			c := &list[i]
			if c.standing = d.standing(c.key); c.known {
				c.orders *= 2
			}
		}
		slices.SortStableFunc(list, func(a, b candidate) int {
			if by := b.compare(a.standing); by != 0 || a.known == b.known {
				return by
			} else if a.known {
				return -1
			}
			return 1
		})
	}
	places, rest := list[:min(len(list), maxInstances)], list[min(len(list), maxInstances):]
	d.mu.Lock()
	for _, c := range rest {
		delete(d.known, c.key)
	}
	d.mu.Unlock()
	changed := false
	for _, c := range places {
		if !c.known {
			changed = true
			if err := d.admit(ctx, c.key); err != nil {
				return err
			}
		}
	}
	if changed {
		d.tellChange()
	}
	d.choice = time.Now().Add(max(d.every, chooseShare*time.Since(began)))
	return nil
}

// linkRelays parses the relays of a mostro: link.
func linkRelays(link string) (urls []string) {
	_, query, _ := strings.Cut(link, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil
	}
	for part := range strings.SplitSeq(values.Get("relays"), ",") {
		urls = appendRelay(urls, part)
	}
	return urls
}

// appendRelay appends the normal form of a relay's URL. An invalid URL, a repetition, and
// a URL beyond maxNamedByKey are left out.
func appendRelay(urls []string, raw string) []string {
	if len(urls) >= maxNamedByKey {
		return urls
	}
	u, err := normalRelayURL(raw)
	if err != nil || slices.Contains(urls, u) {
		return urls
	}
	return append(urls, strings.Clone(u))
}

// candidate is a relay that known Mostros name.
type candidate struct {
	url    string
	turn   int      // 0 for the first relays that a key names, 1 for the next
	best   standing // highest rank of the keys that name the relay
	namers int
}

// compare returns more than 0 if a is to be followed rather than b.
func (a *candidate) compare(b *candidate) int {
	return cmp.Or(cmp.Compare(b.turn, a.turn), a.best.compare(b.best), cmp.Compare(a.namers, b.namers), strings.Compare(b.url, a.url))
}

// candidates returns the relays that known Mostros name, best first. The rank of a relay
// is the highest rank of a key that names it, so many keys that cost nothing count no more
// than one of them. The first relays of a key, up to a quarter of the slots, come before
// its other relays, so that one key cannot fill all slots. A followed relay is replaced
// only by a relay whose keys have a higher trust, or by a relay of equal trust with more
// than twice the orders.
func (d *discovery) candidates(followed map[string]*upstream) []*candidate {
	byURL := make(map[string]*candidate)
	for key, by := range d.known {
		if len(by.list)+len(by.link) == 0 {
			continue
		}
		s := d.standing(key)
		seen := make(map[string]bool)
		for _, u := range slices.Concat(by.list, by.link) {
			if seen[u] {
				continue
			}
			turn := len(seen) / max(1, d.us.cfg.Discover/4)
			seen[u] = true
			c := byURL[u]
			if c == nil {
				c = &candidate{url: u, turn: turn, best: s}
				byURL[u] = c
			}
			if c.namers++; turn < c.turn || turn == c.turn && s.compare(c.best) > 0 {
				c.turn, c.best = turn, s
			}
		}
	}
	list := make([]*candidate, 0, len(byURL))
	for _, c := range byURL {
		if followed[c.url] != nil {
			c.best.orders *= 2
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *candidate) int { return b.compare(a) })
	return list
}

// grow starts to follow relays that Mostros name, up to Discover: the relays of the
// Mostros that rank highest. A relay counts only if a known Mostro names it, because any
// key can sign a relay list. A better relay replaces the weakest one that is followed.
// Configured relays take no slot and are never replaced.
func (d *discovery) grow() (grew bool) {
	room := d.us.cfg.Discover
	followed := make(map[string]*upstream)
	for _, u := range d.us.list() {
		if !u.configured {
			followed[u.url] = u
		}
	}
	if room -= len(followed); d.us.cfg.Discover == 0 || room <= 0 && time.Since(d.grew) < min(growEvery, d.every) {
		return false
	}
	d.grew = time.Now()
	list := d.candidates(followed)
	at := make(map[string]int, len(list)) // index in list, best first; absent: no key names the relay any more
	for i, c := range list {
		at[c.url] = i
	}
	for i, c := range list {
		d.us.mu.Lock()
		_, have := d.us.relays[c.url]
		d.us.mu.Unlock()
		if have || c.url == d.us.self() {
			continue
		}
		if room <= 0 {
			var weakest *upstream
			lowest := i
			for _, u := range followed {
				place, named := at[u.url]
				if !named {
					place = len(list)
				}
				if place > lowest {
					weakest, lowest = u, place
				}
			}
			if weakest == nil {
				break
			}
			delete(followed, weakest.url)
			d.us.drop(weakest)
			d.us.log.Info("stopped following a relay found in events", "relay", weakest.url)
			room++
		}
		u, err := d.us.add(c.url, false)
		if err != nil {
			continue
		}
		u.follow = true
		d.us.log.Info("following a relay found in events", "relay", c.url, "named_by", c.namers, "score", c.best.Score, "witnessed_days", c.best.Days)
		grew = true
		room--
	}
	return grew
}

// Knows reports whether a key belongs to a Mostro that discovery knows. If us is nil,
// Knows returns false.
func (us *Upstreams) Knows(key string) bool {
	if us == nil {
		return false
	}
	us.disc.mu.Lock()
	defer us.disc.mu.Unlock()
	return us.disc.known[key] != nil
}

// firstValue returns the value of the first tag of a name that has one, or "".
func firstValue(tags nostr.Tags, name string) string {
	if tag := tags.Find(name); tag != nil {
		return tag[1]
	}
	return ""
}

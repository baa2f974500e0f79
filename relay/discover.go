package relay

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
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
}

const (
	// maxNamed bounds the relays that are remembered, maxNamedByKey those that
	// one key may name, and maxLists the lists of keys not known yet.
	maxNamed      = 4096
	maxNamedByKey = 16
	maxLists      = 20_000
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
			if evt, err := parseBody(e.JSON); err == nil {
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
	isNew := !d.known[key] && len(d.known) < maxInstances
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

// grow makes upstreams of the relays named by most Mostros, up to the cap. A
// relay counts only when a known Mostro names it: anybody can sign a list.
func (d *discovery) grow() (grew bool) {
	room := d.us.cfg.Discover
	for _, u := range d.us.list() {
		if !u.configured {
			room--
		}
	}
	if room <= 0 {
		return false
	}
	type candidate struct {
		url   string
		votes int
	}
	var list []candidate
	d.mu.Lock()
	for u, by := range d.named {
		votes := 0
		for key := range by {
			if d.known[key] {
				votes++
			}
		}
		if votes > 0 {
			list = append(list, candidate{u, votes})
		}
	}
	d.mu.Unlock()
	slices.SortFunc(list, func(a, b candidate) int {
		if a.votes != b.votes {
			return b.votes - a.votes
		}
		return strings.Compare(a.url, b.url)
	})
	for _, c := range list {
		d.us.mu.Lock()
		_, have := d.us.relays[c.url]
		d.us.mu.Unlock()
		if have || c.url == d.us.self() {
			continue
		}
		u, err := d.us.add(c.url, false)
		if err != nil {
			continue
		}
		u.follow = true
		d.us.log.Info("following a relay found in events", "relay", c.url, "named_by", c.votes)
		grew = true
		if room--; room == 0 {
			break
		}
	}
	return grew
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

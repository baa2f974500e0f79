package relay

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// dispatcher sends live events to the subscriptions they match. It is one
// reader of the log with a cursor; ephemeral events come by a lane of their own.
//
// Each filter is filed under the values of one of its conditions, the most
// selective one, so that an event meets only filters that may match it.
type dispatcher struct {
	store eventStore
	now   func() time.Time
	met   *metrics
	// serves says whether an event may be shown to anyone; nil: all are.
	serves func(*nostr.Event) bool

	pos       uint64 // log position dispatched; owned by run
	ephemeral chan ephemeralEvent

	mu    sync.Mutex
	index map[filingKey]*place
	empty []*place // in the index still, the longest empty first
	keep  int      // so many of them: maxEmpty
	tick  uint64   // counts events, so that a subscription gets each once
	batch uint64   // counts flushes, so that a connection is in each once
	count int
}

// filingKey is a condition and one value of it. Conditions are the tag
// letters, and these.
type filingKey struct {
	by    byte
	kind  int
	value string
}

const (
	byID     = '1'
	byAuthor = '2'
	byKind   = '3'
	byAny    = '4'
)

type filing struct {
	sub    *subscription
	filter *liveFilter
}

// place holds what is filed under one key. An empty one stays in the index for
// a while, because clients ask the same again. Filters know their places, so
// that leaving them looks nothing up.
type place struct {
	key   filingKey
	filed []filing
	first [1]filing // room for the one that most places have
	empty bool      // it is among the dispatcher's empty places, whatever it holds by now
}

// maxEmpty is how many places are kept when nothing is filed there.
const maxEmpty = 4096

// subscription is one open REQ.
type subscription struct {
	conn    *conn
	id      string
	prefix  []byte
	filters []*liveFilter
	from    uint64 // live events are those after this log position
	bytes   int    // of the REQ, whose strings the filters are parts of

	tick uint64 // of the last event it got; guarded by the dispatcher's mu

	// guarded by conn.mu
	holding bool   // the stored events are still on their way
	held    []byte // frames that wait for them
	gone    bool
}

type ephemeralEvent struct {
	evt  *nostr.Event
	body []byte
}

// ephemeralLane is how many ephemeral events may wait; more are refused and
// counted.
const ephemeralLane = 1024

func newDispatcher(store eventStore, now func() time.Time, met *metrics) *dispatcher {
	return &dispatcher{
		store: store, now: now, met: met,
		pos:       store.Head(),
		ephemeral: make(chan ephemeralEvent, ephemeralLane),
		index:     make(map[filingKey]*place),
		keep:      maxEmpty,
	}
}

// run reads the log until ctx ends, which is no error.
func (d *dispatcher) run(ctx context.Context) error {
	var due flushes
	for {
		if err := d.store.Wait(ctx, d.pos); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		// Entries without a readable body are skipped by the log; the head of
		// before the read is behind us all the same.
		head := d.store.Head()
		err := d.store.ReadRaw(ctx, d.pos, func(e mostro.Entry, body []byte) error {
			if !e.Archived {
				d.dispatch(e.Event, body, e.Seq, &due)
			}
			d.pos = e.Seq
			return nil
		})
		due.flush()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		d.pos = max(d.pos, head)
	}
}

// runEphemeral empties the ephemeral lane until ctx ends.
func (d *dispatcher) runEphemeral(ctx context.Context) error {
	var due flushes
	for {
		select {
		case e := <-d.ephemeral:
			d.dispatch(e.evt, e.body, 0, &due)
			if len(d.ephemeral) == 0 {
				due.flush()
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// offer puts an ephemeral event on its lane, or says that it is full.
func (d *dispatcher) offer(evt *nostr.Event, body []byte) bool {
	select {
	case d.ephemeral <- ephemeralEvent{evt, body}:
		return true
	default:
		d.met.ephemeralDropped.Inc()
		return false
	}
}

// register files a subscription and says where its stored events end: what is
// appended after that position comes live. The log's head is read while
// nothing is being dispatched, so nothing lies between the two.
func (d *dispatcher) register(sub *subscription) (upTo uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range sub.filters {
		f.places = make([]*place, 0, len(f.filedUnder))
		for _, key := range f.filedUnder {
			p := d.index[key]
			if p == nil {
				p = &place{key: key}
				p.filed = p.first[:0]
				d.index[key] = p
			}
			p.filed = append(p.filed, filing{sub, f})
			f.places = append(f.places, p)
		}
	}
	sub.from = d.store.Head()
	d.count++
	d.met.subscriptions.Set(float64(d.count))
	return sub.from
}

func (d *dispatcher) unregister(sub *subscription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range sub.filters {
		for _, p := range f.places {
			i := slices.IndexFunc(p.filed, func(x filing) bool { return x.filter == f })
			if i < 0 {
				continue
			}
			last := len(p.filed) - 1
			p.filed[i] = p.filed[last]
			p.filed[last] = filing{}
			if p.filed = p.filed[:last]; last > 0 {
				continue
			}
			p.first[0] = filing{}
			if p.filed = p.first[:0]; !p.empty {
				p.empty = true
				d.empty = append(d.empty, p)
			}
		}
		f.places = nil
	}
	if len(d.empty) > d.keep {
		d.sweep(len(d.empty) - d.keep/2)
	}
	d.count--
	d.met.subscriptions.Set(float64(d.count))
}

// sweep takes the places that have been empty longest out of the index.
func (d *dispatcher) sweep(n int) {
	for _, p := range d.empty[:n] {
		if p.empty = false; len(p.filed) == 0 {
			delete(d.index, p.key)
		}
	}
	d.empty = slices.Delete(d.empty, 0, n)
}

// flushes are connections that have been given frames. A connection gets one
// write for all that a reader of the log found waiting, however many events
// and subscriptions those were.
type flushes struct {
	conns  []*conn
	events int
	batch  uint64 // connections in conns carry it
}

// flushEvents bounds how many events are gathered before they are sent.
const flushEvents = 64

func (f *flushes) flush() {
	for _, c := range f.conns {
		c.flush()
	}
	clear(f.conns)
	f.conns, f.events = f.conns[:0], 0
}

// dispatch delivers one event. seq is 0 for an ephemeral one. The connections
// that it is for are added to due, to be flushed by the caller.
func (d *dispatcher) dispatch(evt *nostr.Event, body []byte, seq uint64, due *flushes) {
	if due.events++; due.events > flushEvents {
		due.flush()
	}
	if expiredAt(evt.Tags, d.now()) || d.serves != nil && !d.serves(evt) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tick++
	if len(due.conns) == 0 {
		d.batch++
		due.batch = d.batch
	}
	delivered := 0
	meet := func(key filingKey) {
		p := d.index[key]
		if p == nil {
			return
		}
		for _, x := range p.filed {
			if x.sub.tick == d.tick || seq != 0 && seq <= x.sub.from || !x.filter.meets(evt, key.by) {
				continue
			}
			x.sub.tick = d.tick
			if c := x.sub.conn; c.deliver(x.sub, body) && c.batch != due.batch {
				c.batch = due.batch
				due.conns = append(due.conns, c)
			}
			delivered++
		}
	}
	meet(filingKey{by: byID, value: evt.ID})
	meet(filingKey{by: byAuthor, value: evt.PubKey})
	meet(filingKey{by: byKind, kind: evt.Kind})
	meet(filingKey{by: byAny})
	var seen map[filingKey]bool // a thousand equal tags are looked up once
	if len(evt.Tags) > 32 {
		seen = make(map[filingKey]bool, len(evt.Tags))
	}
	for _, tag := range evt.Tags {
		if len(tag) < 2 || len(tag[0]) != 1 || !isTagLetter(tag[0][0]) {
			continue
		}
		key := filingKey{by: tag[0][0], value: tag[1]}
		if seen[key] {
			continue
		}
		if seen != nil {
			seen[key] = true
		}
		meet(key)
	}
	d.met.deliveries.Add(float64(delivered))
}

// liveFilter is a filter made ready for matching many events.
type liveFilter struct {
	nostr.Filter
	ids, authors wordSet
	tags         []*liveTag
	filedUnder   []filingKey
	places       []*place // while registered; guarded by the dispatcher's mu
}

type liveTag struct {
	letter byte
	values wordSet
}

// wordSet is a list of words, and from the first question on a map where they
// are many: most filters are asked only about the words they are not filed
// under.
type wordSet struct {
	list []string
	once sync.Once
	many map[string]struct{}
}

func (s *wordSet) has(word string) bool {
	if len(s.list) <= 12 {
		return slices.Contains(s.list, word)
	}
	s.once.Do(func() {
		s.many = make(map[string]struct{}, len(s.list))
		for _, w := range s.list {
			s.many[w] = struct{}{}
		}
	})
	_, ok := s.many[word]
	return ok
}

func newLiveFilter(f nostr.Filter) *liveFilter {
	lf := &liveFilter{Filter: f, ids: wordSet{list: f.IDs}, authors: wordSet{list: f.Authors}}
	for letter, values := range f.Tags {
		lf.tags = append(lf.tags, &liveTag{letter: letter[0], values: wordSet{list: values}})
	}
	// By rank, so that the same filter is always filed alike.
	slices.SortFunc(lf.tags, func(a, b *liveTag) int { return tagRank(a.letter) - tagRank(b.letter) })
	lf.filedUnder = lf.file()
	return lf
}

// tagRank orders tag letters by how few events share a value: addresses and
// references, then what differs between orders, then what nearly all share.
func tagRank(letter byte) int {
	switch letter {
	case 'd', 'p', 'e', 'a', 'E', 'A', 'P', 'q', 'i', 'I':
		return int(letter)
	case 'k', 's', 'y', 'z', 'K':
		return 1000 + int(letter)
	default:
		return 500 + int(letter)
	}
}

// file chooses the condition under which a filter is found. An empty list
// matches nothing and is filed nowhere.
func (f *liveFilter) file() []filingKey {
	if f.Search != "" {
		return nil // words are matched by the index of stored orders alone
	}
	words := func(by byte, values []string) []filingKey {
		if len(values) > 64 { // fewer may repeat themselves
			values = slices.Compact(slices.Sorted(slices.Values(values)))
		}
		keys := make([]filingKey, len(values))
		for i, v := range values {
			keys[i] = filingKey{by: by, value: v}
		}
		return keys
	}
	switch {
	case f.IDs != nil:
		return words(byID, f.IDs)
	case len(f.tags) > 0 && tagRank(f.tags[0].letter) < 500:
		return words(f.tags[0].letter, f.tags[0].values.list)
	case f.Authors != nil:
		return words(byAuthor, f.Authors)
	case len(f.tags) > 0:
		return words(f.tags[0].letter, f.tags[0].values.list)
	case f.Kinds != nil:
		var keys []filingKey
		for _, k := range slices.Compact(slices.Sorted(slices.Values(f.Kinds))) {
			keys = append(keys, filingKey{by: byKind, kind: k})
		}
		return keys
	default:
		return []filingKey{{by: byAny}}
	}
}

// dropHeld takes out of a filter by ids those that cannot come any more: an
// id is appended once, so what is held already is answered from the store or
// not at all.
func (f *liveFilter) dropHeld(st eventStore) {
	if len(f.filedUnder) > 0 && f.filedUnder[0].by == byID {
		f.filedUnder = st.unsettled(f.filedUnder)
	}
}

// matches agrees with nostr.Filter.Matches.
func (f *liveFilter) matches(evt *nostr.Event) bool { return f.meets(evt, 0) }

// meets is matches for an event that was found by a condition of the filter.
func (f *liveFilter) meets(evt *nostr.Event, by byte) bool {
	if f.Kinds != nil && by != byKind && !slices.Contains(f.Kinds, evt.Kind) ||
		f.Since != nil && evt.CreatedAt < *f.Since ||
		f.Until != nil && evt.CreatedAt > *f.Until ||
		f.Authors != nil && by != byAuthor && !f.authors.has(evt.PubKey) ||
		f.IDs != nil && by != byID && !f.ids.has(evt.ID) {
		return false
	}
	for _, t := range f.tags {
		if t.letter != by && !t.matches(evt.Tags) {
			return false
		}
	}
	return true
}

func (c *liveTag) matches(tags nostr.Tags) bool {
	for _, tag := range tags {
		if len(tag) >= 2 && len(tag[0]) == 1 && tag[0][0] == c.letter && c.values.has(tag[1]) {
			return true
		}
	}
	return false
}

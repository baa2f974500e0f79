package relay

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
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
	index map[indexKey]*indexBucket
	empty []*indexBucket // in the index still, the longest empty first
	keep  int            // so many of them: maxEmptyBuckets
	tags  eventTags      // of the event being dispatched
	tick  uint64         // counts events, so that a subscription gets each once
	batch uint64         // counts flushes, so that a connection is in each once
	count int
}

// indexKey is a condition and one value of it. Conditions are the tag
// letters, and these.
type indexKey struct {
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

// filing is a filter in a place. nth says which of the filter's places that is.
type bucketEntry struct {
	sub    *subscription
	filter *liveFilter
	nth    int
}

// bucketSlot is where a filter is filed: at which of a place's filings.
type bucketSlot struct {
	bucket *indexBucket
	at     int
}

// indexBucket holds what is filed under one key. An empty one stays in the index for
// a while, because clients ask the same again. Filters know their places, so
// that leaving them looks nothing up.
type indexBucket struct {
	key     indexKey
	entries []bucketEntry
	first   [1]bucketEntry // room for the one that most places have
	empty   bool           // it is among the dispatcher's empty places, whatever it holds by now
}

// maxEmptyBuckets is how many places are kept when nothing is filed there.
const maxEmptyBuckets = 4096

// subscription is one open REQ.
type subscription struct {
	conn    *conn
	id      string
	prefix  []byte
	filters []*liveFilter
	from    uint64 // live events are those after this log position
	bytes   int    // of the REQ, whose strings the filters are parts of
	// of the filters, as liveFilter.cost counts them
	conditions, values int

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
		index:     make(map[indexKey]*indexBucket),
		keep:      maxEmptyBuckets,
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
		f.slots = make([]bucketSlot, len(f.indexKeys))
		for nth, key := range f.indexKeys {
			b := d.index[key]
			if b == nil {
				b = &indexBucket{key: key}
				b.entries = b.first[:0]
				d.index[key] = b
			}
			f.slots[nth] = bucketSlot{b, len(b.entries)}
			b.entries = append(b.entries, bucketEntry{sub, f, nth})
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
		for _, from := range f.slots {
			b, last := from.bucket, len(from.bucket.entries)-1
			moved := b.entries[last]
			b.entries[from.at] = moved
			moved.filter.slots[moved.nth].at = from.at
			b.entries[last] = bucketEntry{}
			if b.entries = b.entries[:last]; last > 0 {
				continue
			}
			b.first[0] = bucketEntry{}
			if b.entries = b.first[:0]; !b.empty {
				b.empty = true
				d.empty = append(d.empty, b)
			}
		}
		f.slots = nil
	}
	if len(d.empty) > d.keep {
		d.sweep(len(d.empty) - d.keep/2)
	}
	d.count--
	d.met.subscriptions.Set(float64(d.count))
}

// sweep takes the places that have been empty longest out of the index.
func (d *dispatcher) sweep(n int) {
	for _, b := range d.empty[:n] {
		if b.empty = false; len(b.entries) == 0 {
			delete(d.index, b.key)
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
	if eventlog.ExpiredAt(evt.Tags, d.now()) || d.serves != nil && !d.serves(evt) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tick++
	d.tags.fill(evt.Tags)
	if len(due.conns) == 0 {
		d.batch++
		due.batch = d.batch
	}
	delivered := 0
	visit := func(key indexKey) {
		b := d.index[key]
		if b == nil {
			return
		}
		for _, x := range b.entries {
			if x.sub.tick == d.tick || seq != 0 && seq <= x.sub.from || !x.filter.matchesExcept(evt, &d.tags, key.by) {
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
	visit(indexKey{by: byID, value: evt.ID})
	visit(indexKey{by: byAuthor, value: evt.PubKey})
	visit(indexKey{by: byKind, kind: evt.Kind})
	visit(indexKey{by: byAny})
	for _, letter := range d.tags.letters {
		for _, value := range d.tags.of(letter) {
			visit(indexKey{by: letter, value: value})
		}
	}
	d.met.deliveries.Add(float64(delivered))
}

// liveFilter is a filter made ready for matching many events. Its lists have no
// repetitions; those of more than manyWords are sorted.
type liveFilter struct {
	nostr.Filter
	kinds     []int // sorted
	tags      []liveTag
	indexKeys []indexKey
	slots     []bucketSlot // while registered; guarded by the dispatcher's mu
}

type liveTag struct {
	letter byte
	values []string
}

func newLiveFilter(f nostr.Filter) *liveFilter {
	f.IDs, f.Authors = distinctWords(f.IDs), distinctWords(f.Authors)
	lf := &liveFilter{Filter: f}
	if f.Kinds != nil {
		lf.kinds = slices.Compact(slices.Sorted(slices.Values(f.Kinds)))
		if lf.kinds == nil {
			lf.kinds = []int{}
		}
		lf.Kinds = lf.kinds
	}
	if len(f.Tags) > 0 {
		lf.tags, lf.Tags = make([]liveTag, 0, len(f.Tags)), make(nostr.TagMap, len(f.Tags))
	}
	for name, values := range f.Tags {
		values = distinctWords(values)
		lf.Tags[name] = values
		lf.tags = append(lf.tags, liveTag{letter: name[0], values: values})
	}
	// By rank, so that the same filter is always filed alike.
	slices.SortFunc(lf.tags, func(a, b liveTag) int { return tagRank(a.letter) - tagRank(b.letter) })
	lf.indexKeys = lf.chooseKeys()
	return lf
}

// cost is how many conditions a filter has, itself counted as one, and how many
// values they have in all.
func (f *liveFilter) cost() (conditions, values int) {
	conditions, values = 1, len(f.IDs)+len(f.Authors)+len(f.kinds)
	for _, n := range []int{len(f.IDs), len(f.Authors), len(f.kinds)} {
		if n > 0 {
			conditions++
		}
	}
	for _, t := range f.tags {
		conditions, values = conditions+1, values+len(t.values)
	}
	return conditions, values
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

// chooseKeys chooses the condition under which a filter is found. An empty list
// matches nothing and is filed nowhere.
func (f *liveFilter) chooseKeys() []indexKey {
	if f.Search != "" {
		return nil // words are matched by the index of stored orders alone
	}
	words := func(by byte, values []string) []indexKey {
		keys := make([]indexKey, len(values))
		for i, v := range values {
			keys[i] = indexKey{by: by, value: v}
		}
		return keys
	}
	switch {
	case f.IDs != nil:
		return words(byID, f.IDs)
	case len(f.tags) > 0 && tagRank(f.tags[0].letter) < 500:
		return words(f.tags[0].letter, f.tags[0].values)
	case f.Authors != nil:
		return words(byAuthor, f.Authors)
	case len(f.tags) > 0:
		return words(f.tags[0].letter, f.tags[0].values)
	case f.Kinds != nil:
		var keys []indexKey
		for _, k := range f.kinds {
			keys = append(keys, indexKey{by: byKind, kind: k})
		}
		return keys
	default:
		return []indexKey{{by: byAny}}
	}
}

// dropStored takes out of a filter by ids those that cannot come any more: an
// id is appended once, so what is held already is answered from the store or
// not at all.
func (f *liveFilter) dropStored(st eventStore) {
	if len(f.indexKeys) > 0 && f.indexKeys[0].by == byID {
		f.indexKeys = slices.DeleteFunc(f.indexKeys, func(k indexKey) bool { return st.Served(k.value) })
	}
}

// matches agrees with nostr.Filter.Matches.
func (f *liveFilter) matches(evt *nostr.Event) bool {
	var tags eventTags
	if len(f.tags) > 0 {
		tags.fill(evt.Tags)
	}
	return f.matchesExcept(evt, &tags, 0)
}

// matchesExcept is matches for an event that was found by a condition of the filter,
// and its tags.
func (f *liveFilter) matchesExcept(evt *nostr.Event, tags *eventTags, by byte) bool {
	if f.kinds != nil && by != byKind && !hasKind(f.kinds, evt.Kind) ||
		f.Since != nil && evt.CreatedAt < *f.Since ||
		f.Until != nil && evt.CreatedAt > *f.Until ||
		f.Authors != nil && by != byAuthor && !hasWord(f.Authors, evt.PubKey) ||
		f.IDs != nil && by != byID && !hasWord(f.IDs, evt.ID) {
		return false
	}
	for i := range f.tags {
		t := &f.tags[i]
		if t.letter != by && !shareWord(t.values, tags.of(t.letter)) {
			return false
		}
	}
	return true
}

func hasKind(sorted []int, kind int) bool {
	if len(sorted) <= manyWords {
		return slices.Contains(sorted, kind)
	}
	_, ok := slices.BinarySearch(sorted, kind)
	return ok
}

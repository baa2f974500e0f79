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

// dispatcher sends live events to the subscriptions that match them. It reads the log with
// a cursor. Ephemeral events, which are not in the log, come through a channel.
//
// The index holds each filter under the values of its most selective condition, so that an
// event is compared only with filters that may match.
type dispatcher struct {
	store eventStore
	now   func() time.Time
	met   *metrics
	// serves reports whether an event may be sent to a client. nil: all events are sent.
	serves func(*nostr.Event) bool

	pos       uint64 // log position dispatched; owned by run
	ephemeral chan ephemeralEvent

	mu    sync.Mutex
	index map[indexKey]*indexBucket
	empty []*indexBucket // empty buckets that are still in index, oldest first
	keep  int            // how many empty buckets are kept: maxEmptyBuckets
	tags  eventTags      // of the event being dispatched
	tick  uint64         // counts events, so that a subscription gets each event once
	batch uint64         // counts flushes, so that each flush has a connection once
	count int
}

// indexKey is one value of a condition of a filter. A condition is the letter of a tag, or
// one of the constants below.
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

// bucketEntry is a filter in a bucket. nth is the index into the slots of the filter.
type bucketEntry struct {
	sub    *subscription
	filter *liveFilter
	nth    int
}

// bucketSlot is the position of a filter in a bucket.
type bucketSlot struct {
	bucket *indexBucket
	at     int
}

// indexBucket lists the filters indexed under one key. An empty bucket stays in the index
// for a while, because clients repeat their requests. Filters know their slots, so that
// unregister needs no lookup.
type indexBucket struct {
	key     indexKey
	entries []bucketEntry
	first   [1]bucketEntry // storage for the one entry that most buckets have
	empty   bool           // in dispatcher.empty; the bucket may have entries again
}

// maxEmptyBuckets is how many empty buckets stay in the index.
const maxEmptyBuckets = 4096

// subscription is one open REQ.
type subscription struct {
	w       *writer // of the connection
	id      string
	prefix  []byte
	filters []*liveFilter
	from    uint64 // live events are those after this log position
	bytes   int    // of the REQ message, which the strings of the filters share memory with
	// Counts of the filters, as liveFilter.cost counts them.
	conditions, values int

	tick uint64 // last event that was delivered; guarded by the dispatcher's mu

	// Guarded by w.mu.
	holding bool   // the stored events are still being sent
	held    []byte // live frames that wait for the stored events
	gone    bool
}

type ephemeralEvent struct {
	evt  *nostr.Event
	body []byte
}

// ephemeralLane is how many ephemeral events may wait. If the channel is full, an event is
// refused and counted.
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

// run reads the log until ctx ends. run returns nil if ctx has ended, and an error if the
// store fails.
func (d *dispatcher) run(ctx context.Context) error {
	var due flushes
	for {
		if err := d.store.Wait(ctx, d.pos); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		// ReadRaw skips entries without a readable body. The head is read first, so that
		// pos moves past such entries too.
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

// runEphemeral delivers ephemeral events until ctx ends.
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

// offer queues an ephemeral event. offer returns false if the queue is full.
func (d *dispatcher) offer(evt *nostr.Event, body []byte) bool {
	select {
	case d.ephemeral <- ephemeralEvent{evt, body}:
		return true
	default:
		d.met.ephemeralDropped.Inc()
		return false
	}
}

// register adds a subscription to the index and returns the log position where its stored
// events end. Events after that position are delivered live. The head is read under mu,
// while no event is dispatched, so no event falls between stored and live.
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

// sweep removes the n buckets that have been empty longest from the index.
func (d *dispatcher) sweep(n int) {
	for _, b := range d.empty[:n] {
		if b.empty = false; len(b.entries) == 0 {
			delete(d.index, b.key)
		}
	}
	d.empty = slices.Delete(d.empty, 0, n)
}

// flushes collects connections that have frames to send. A connection gets one write for
// all events that the reader of the log found in one batch.
type flushes struct {
	writers []*writer
	events  int
	batch   uint64 // writers have this number in writer.batch
}

// flushEvents is how many events are collected at most before a flush.
const flushEvents = 64

func (f *flushes) flush() {
	for _, w := range f.writers {
		w.flush()
	}
	clear(f.writers)
	f.writers, f.events = f.writers[:0], 0
}

// dispatch delivers one event. seq is 0 if the event is ephemeral. Connections that got a
// frame are added to due, and the caller flushes due.
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
	if len(due.writers) == 0 {
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
			if w := x.sub.w; w.deliver(x.sub, body) && w.batch != due.batch {
				w.batch = due.batch
				due.writers = append(due.writers, w)
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

// liveFilter is a filter that is prepared for matching many events. Its lists have no
// repetitions, and a list of more than manyWords values is sorted. If anyIDs is set, this
// does not hold for IDs.
type liveFilter struct {
	nostr.Filter
	anyIDs    bool
	kinds     []int // sorted
	tags      []liveTag
	indexKeys []indexKey
	slots     []bucketSlot // set while registered; guarded by the dispatcher's mu
}

type liveTag struct {
	letter byte
	values []string
}

func newLiveFilter(f nostr.Filter) *liveFilter {
	f.IDs = distinctWords(f.IDs)
	lf := withoutKeys(f)
	lf.indexKeys = lf.chooseKeys()
	return lf
}

// newRequestFilter is newLiveFilter for a request, without index keys: chooseNewKeys adds
// them. The ids are sorted only for a search, which compares events with the whole filter.
// A request for 20 ids takes a tenth less time without the sorting.
func newRequestFilter(f nostr.Filter) *liveFilter {
	if f.Search != "" {
		f.IDs = distinctWords(f.IDs)
	}
	lf := withoutKeys(f)
	lf.anyIDs = f.Search == ""
	return lf
}

func withoutKeys(f nostr.Filter) *liveFilter {
	f.Authors = distinctWords(f.Authors)
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
	// Sorted by rank, so that equal filters get equal index keys.
	slices.SortFunc(lf.tags, func(a, b liveTag) int { return tagRank(a.letter) - tagRank(b.letter) })
	return lf
}

// cost returns the number of conditions of a filter, plus one for the filter, and the
// number of their values in total.
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

// tagRank orders tag letters by selectivity: first addresses and references, then values
// that differ between orders, then values that most orders share.
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

// indexKeys returns a key of one kind for each value.
func indexKeys(by byte, values []string) []indexKey {
	keys := make([]indexKey, len(values))
	for i, v := range values {
		keys[i] = indexKey{by: by, value: v}
	}
	return keys
}

// chooseKeys returns the index keys of a filter. A filter with an empty list matches no
// event and has no keys.
func (f *liveFilter) chooseKeys() []indexKey {
	if f.Search != "" {
		return nil // only the search index matches words, and only in stored orders
	}
	switch {
	case f.IDs != nil:
		return indexKeys(byID, f.IDs)
	case len(f.tags) > 0 && tagRank(f.tags[0].letter) < 500:
		return indexKeys(f.tags[0].letter, f.tags[0].values)
	case f.Authors != nil:
		return indexKeys(byAuthor, f.Authors)
	case len(f.tags) > 0:
		return indexKeys(f.tags[0].letter, f.tags[0].values)
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

// chooseNewKeys sets the index keys of the filter of a request. Ids that are already stored
// are left out, because they can never match a new event. The log holds each id once.
func (f *liveFilter) chooseNewKeys(st eventStore) {
	if f.IDs == nil || f.Search != "" {
		f.indexKeys = f.chooseKeys()
		return
	}
	f.indexKeys = indexKeys(byID, distinctWords(st.Unserved(slices.Clone(f.IDs))))
}

// hasID reports whether the ids of the filter contain id.
func (f *liveFilter) hasID(id string) bool {
	if f.anyIDs {
		return slices.Contains(f.IDs, id)
	}
	return hasWord(f.IDs, id)
}

// matches returns the same result as nostr.Filter.Matches.
func (f *liveFilter) matches(evt *nostr.Event) bool {
	var tags eventTags
	if len(f.tags) > 0 {
		tags.fill(evt.Tags)
	}
	return f.matchesExcept(evt, &tags, 0)
}

// matchesExcept reports whether an event with these tags matches the filter. The condition
// by is not compared, because the index has already matched it. by 0 compares all.
func (f *liveFilter) matchesExcept(evt *nostr.Event, tags *eventTags, by byte) bool {
	if f.kinds != nil && by != byKind && !hasKind(f.kinds, evt.Kind) ||
		f.Since != nil && evt.CreatedAt < *f.Since ||
		f.Until != nil && evt.CreatedAt > *f.Until ||
		f.Authors != nil && by != byAuthor && !hasWord(f.Authors, evt.PubKey) ||
		f.IDs != nil && by != byID && !f.hasID(evt.ID) {
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

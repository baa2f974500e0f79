// Package liveindex is the index of the served events of the event log, in memory.
//
// The index answers filters of NIP-01, newest first, and counts. It is filled from index
// entries (Entry), which hold all that the index needs of an event, and from changes that
// the committer applies. Payloads are cached up to a budget; of the others the index
// returns which are missing, and the caller reads them from the log. The index does no
// I/O, and nothing of it is on disk but the encoding of an Entry.
//
// All methods of Index may be called by several goroutines.
package liveindex

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/mostrodex/mostrodex/internal/hex32"
)

// Index is the index of served events. Two goroutines write the index, both under mu: the
// committer after each commit, and any goroutine that finds expired events.
//
// Postings exist per kind, per single-letter tag, and per composite that order books
// ask for: (kind, author), (kind, s), (kind, author, s) and (kind, s, f). The events of
// an author regardless of kind are the union over the author's kinds.
//
// If an event has several values of s or of f, it is in no composite of s, because the
// number of its combinations would grow with the square of its tags. The event is in
// the posting several of its kind instead. A plan by composites of s merges that
// posting and checks its items.
type Index struct {
	mu         sync.RWMutex // guards the following fields and what they point to
	entries    *entryTable
	authors    *authors
	tags       *tagDict
	kinds      map[uint16]*posting
	composites map[composite]list
	several    map[uint16]*posting

	expiries expiries
	bodies   bodyCache
	n        int // number of served events
	// recordBytes is the length of the records of all entries in the log. Expired events
	// count until the committer moves their index entries.
	recordBytes int64
	numbers     []uint32 // buffer for the tag numbers of the entry being filled

	// The following fields are not guarded by mu.
	moderation   atomic.Pointer[moderated] // nil if no event is moderated
	now          func() time.Time          // does not change
	noPostings   bool                      // set if the index answers no queries; does not change
	walkedAtOnce int                       // number of items that are read before the lock is released; does not change
}

// composite is the key of a composite posting. A field that does not apply is None. The
// struct has no padding, so that it is hashed in one step.
type composite struct {
	kind   uint32
	author uint32
	s, f   uint32
}

// None is the number of no entry, no author and no tag.
const None = math.MaxUint32

// Config configures an index.
type Config struct {
	BodyCache    int              // bytes of payloads in memory
	NoPostings   bool             // answer no queries, for an import
	WalkedAtOnce int              // number of items that are read before the lock is released; 0 means walkedAtOnce
	Now          func() time.Time // required
}

// New returns an empty index.
func New(cfg Config) *Index {
	l := &Index{
		entries: newEntryTable(), authors: newAuthors(), tags: newTagDict(),
		kinds:      make(map[uint16]*posting),
		composites: make(map[composite]list), several: make(map[uint16]*posting),
		noPostings: cfg.NoPostings, now: cfg.Now, walkedAtOnce: cmp.Or(cfg.WalkedAtOnce, walkedAtOnce),
	}
	l.bodies = bodyCache{entries: l.entries, budget: cfg.BodyCache}
	l.expiries.entries = l.entries
	l.expiries.setNext()
	return l
}

// less orders items by created_at ascending. Within one second it orders by id
// descending.
func (l *Index) less(a, b item) bool {
	if ta, tb := a>>entryBits, b>>entryBits; ta != tb {
		return ta < tb
	}
	if a == b {
		return false
	}
	return bytes.Compare(l.entries.At(a.entry()).id[:], l.entries.At(b.entry()).id[:]) > 0
}

// fill allocates an entry for an index entry and interns its author and tags. It
// changes no posting.
func (l *Index) fill(r Entry, body []byte) uint32 {
	n := l.entries.Take()
	s := liveEntry{
		id: r.ID, seq: r.Seq, createdAt: r.CreatedAt, expiration: r.Expiration,
		author: l.authors.number(r.PubKey), d: None, kind: uint16(r.Kind), body: noBody, side: sideOf(r.Tags),
		several: severalValues(r.Tags),
	}
	l.numbers = l.numbers[:0]
	for _, t := range r.Tags {
		l.numbers = append(l.numbers, l.tags.number(t))
	}
	if nostr.IsAddressableKind(r.Kind) {
		// An addressable event without a d tag has the empty d. An empty d and no d are
		// the same address.
		for i, t := range r.Tags {
			if t[0] == 'd' {
				if len(t) > 1 {
					s.d = l.numbers[i]
				}
				break
			}
		}
	}
	l.entries.fill(n, s, l.numbers)
	l.entries.setChain(n, r.Chain)
	if s.expires() {
		l.expiries.add(n)
	}
	l.n++
	if body != nil {
		l.bodies.put(n, body)
	}
	return n
}

// find returns the number of the live entry with an address. ok is false if memory
// holds none.
func (l *Index) find(kind int, pubkey [32]byte, d string) (uint32, bool) {
	author, ok := l.authors.find(pubkey)
	if !ok {
		return 0, false
	}
	a := internedAddress{uint16(kind), author, None}
	if nostr.IsAddressableKind(kind) && d != "" {
		if a.d, ok = l.tags.find('d', d); !ok {
			return 0, false
		}
	}
	return l.entries.findAddress(a)
}

// tagList returns the list of a tag. ok is false if no served event has the tag.
func (l *Index) tagList(n uint32) (list, bool) {
	switch at := l.tags.list.At(n).list; {
	case at == noList:
		return list{}, false
	case at < oneEntry:
		return list{many: l.tags.many[at]}, true
	default:
		return list{one: l.itemOf(at &^ oneEntry)}, true
	}
}

func (l *Index) itemOf(n uint32) item { return makeItem(l.entries.At(n).createdAt, n) }

// eachComposite calls fn for every composite of an entry, at most four. (kind, author)
// is the first.
func (l *Index) eachComposite(s *liveEntry, fn func(composite)) {
	fn(composite{uint32(s.kind), s.author, None, None})
	if s.several {
		return
	}
	status, currency := uint32(None), uint32(None)
	for _, t := range l.entries.tagsOf(s) {
		switch l.tags.letter(t) {
		case 's':
			status = t
		case 'f':
			currency = t
		}
	}
	if status == None {
		return
	}
	fn(composite{uint32(s.kind), None, status, None})
	fn(composite{uint32(s.kind), s.author, status, None})
	if currency != None {
		fn(composite{uint32(s.kind), None, status, currency})
	}
}

// link adds an entry to its postings. put inserts an item into a posting, in order or
// to be sorted later.
func (l *Index) link(n uint32, put func(*posting, item)) {
	if l.noPostings {
		return
	}
	s := l.entries.At(n)
	it := makeItem(s.createdAt, n)
	p, ok := l.kinds[s.kind]
	if !ok {
		p = &posting{}
		l.kinds[s.kind] = p
	}
	put(p, it)
	if s.several {
		p, ok := l.several[s.kind]
		if !ok {
			p = &posting{}
			l.several[s.kind] = p
		}
		put(p, it)
	}
	l.eachComposite(s, func(c composite) {
		have, ok := l.composites[c]
		switch {
		case !ok:
			l.composites[c] = list{one: it}
			if c.author != None && c.s == None {
				a := l.authors.list.At(c.author)
				a.kinds = append(a.kinds, uint16(c.kind))
			}
		case have.many != nil:
			put(have.many, it)
		default:
			p := &posting{}
			put(p, have.one)
			put(p, it)
			l.composites[c] = list{many: p}
		}
	})
	for _, t := range l.entries.tagsOf(s) {
		e := l.tags.list.At(t)
		switch {
		case e.list == noList:
			e.list = oneEntry | n
		case e.list < oneEntry:
			put(l.tags.many[e.list], it)
		default:
			p := &posting{}
			put(p, l.itemOf(e.list&^oneEntry))
			put(p, it)
			l.tags.setMany(e, p)
		}
	}
}

// Change is the effect of a committed event on the index.
type Change struct {
	Remove  [32]byte // id of the event to remove; zero if none
	Removed int64    // length of the removed record before a scrub; 0 if it is not scrubbed
	Add     *Entry
	Body    []byte
	ChainOf [32]byte // id of the entry whose chain is set to chain
	Chain   uint64
}

// Apply applies changes. recordBytes returns the length of a record.
func (l *Index) Apply(changes []Change, recordBytes func(seq uint64) int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range changes {
		c := &changes[i]
		if c.Remove != ([32]byte{}) {
			if n, ok := l.entries.find(c.Remove); ok {
				l.recordBytes -= cmp.Or(c.Removed, recordBytes(l.entries.At(n).seq))
				l.remove(n)
			}
		}
		if c.Add != nil {
			l.recordBytes += recordBytes(c.Add.Seq)
			l.add(*c.Add, c.Body)
		}
		if c.ChainOf != ([32]byte{}) {
			if n, ok := l.entries.find(c.ChainOf); ok {
				l.entries.setChain(n, c.Chain)
			}
		}
	}
}

// SeqOf returns the seq of the entry with an id. hidden is set if the event has expired.
func (l *Index) SeqOf(id [32]byte) (seq uint64, hidden, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n, ok := l.entries.find(id)
	if !ok {
		return 0, false, false
	}
	e := l.entries.At(n)
	return e.seq, e.hidden, true
}

// DeleteUpTo deletes from ids, in place, the ids of entries with a seq of at most head, and
// returns the rest. The lock is taken once for all ids, because a filter may name hundreds.
func (l *Index) DeleteUpTo(head uint64, ids []string) []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.DeleteFunc(ids, func(id string) bool {
		n, ok := l.entries.find(hex32.OrZero(id))
		return ok && l.entries.At(n).seq <= head
	})
}

// BodyOf returns the event with an id. ok is false if the event is not live or if its
// payload is not in memory.
func (l *Index) BodyOf(id [32]byte) (f Found, ok bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n, ok := l.entries.find(id)
	if !ok {
		return Found{Entry: None}, false
	}
	e := l.entries.At(n)
	return Found{Seq: e.seq, Entry: n, JSON: l.bodies.get(e)}, e.body != noBody
}

// add adds an event to the index. The caller holds mu.
func (l *Index) add(r Entry, body []byte) {
	l.link(l.fill(r, body), func(p *posting, it item) { p.insert(it, l.less) })
}

// unlink removes an entry from every posting.
func (l *Index) unlink(n uint32) {
	l.n--
	if l.noPostings {
		return
	}
	s := l.entries.At(n)
	it := makeItem(s.createdAt, n)
	if p := l.kinds[s.kind]; p.remove(it, l.less) && p.n == 0 {
		delete(l.kinds, s.kind)
	}
	if s.several {
		if p := l.several[s.kind]; p.remove(it, l.less) && p.n == 0 {
			delete(l.several, s.kind)
		}
	}
	l.eachComposite(s, func(c composite) {
		have, ok := l.composites[c]
		if !ok || have.many == nil && have.one != it ||
			have.many != nil && (!have.many.remove(it, l.less) || have.many.n > 0) {
			return
		}
		delete(l.composites, c)
		if c.author != None && c.s == None {
			l.authors.list.At(c.author).dropKind(uint16(c.kind))
		}
	})
	for _, t := range l.entries.tagsOf(s) {
		e := l.tags.list.At(t)
		switch {
		case e.list == noList:
		case e.list < oneEntry:
			if p := l.tags.many[e.list]; p.remove(it, l.less) && p.n == 0 {
				l.tags.setMany(e, nil)
			}
		case e.list == oneEntry|n:
			e.list = noList
		}
	}
}

// remove removes an entry from the index. The caller holds mu.
func (l *Index) remove(n uint32) {
	s := l.entries.At(n)
	if !s.hidden {
		l.unlink(n)
	}
	l.bodies.drop(s)
	for _, t := range l.entries.tagsOf(s) {
		l.tags.release(t)
	}
	author := s.author
	l.entries.clear(n)
	l.authors.release(author)
	if len(l.expiries.heap) > 2*l.n+1024 {
		l.expiries.compact()
	}
}

// countOf returns the number of live events of one kind by one key. The caller holds
// mu.
func (l *Index) countOf(kind int, pubkey [32]byte) int {
	author, ok := l.authors.find(pubkey)
	if !ok {
		return 0
	}
	if served, ok := l.composites[composite{uint32(kind), author, None, None}]; ok {
		return served.size()
	}
	return 0
}

// EntryAt returns the index entry of an address from memory, hidden or not.
func (l *Index) EntryAt(kind int, pubkey [32]byte, d string) (Entry, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n, ok := l.find(kind, pubkey, d)
	if !ok {
		return Entry{}, false
	}
	return l.entry(n), true
}

// EntryOf returns the index entry of an id from memory, hidden or not.
func (l *Index) EntryOf(id [32]byte) (Entry, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	n, ok := l.entries.find(id)
	if !ok {
		return Entry{}, false
	}
	return l.entry(n), true
}

// HiddenEntry returns the index entry of a hidden entry. ok is false if the entry was
// reused since.
func (l *Index) HiddenEntry(e Hidden) (Entry, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if s := l.entries.At(e.entry); !s.used || s.seq != e.seq || !s.hidden {
		return Entry{}, false
	}
	return l.entry(e.entry), true
}

// entry rebuilds the index entry that a live entry was filled from. The caller
// holds mu.
func (l *Index) entry(n uint32) Entry {
	s := l.entries.At(n)
	tags := l.entries.tagsOf(s)
	r := Entry{Seq: s.seq, Chain: l.entries.chain(n), ID: s.id, PubKey: l.authors.list.At(s.author).key, Kind: int(s.kind),
		CreatedAt: s.createdAt, Expiration: s.expiration, Tags: make([]string, len(tags))}
	size := 0
	for _, t := range tags {
		size += len(l.tags.key(t))
	}
	all := make([]byte, 0, size)
	for _, t := range tags {
		all = append(all, l.tags.key(t)...)
	}
	text := string(all) // the tags are substrings of one string
	for i, t := range tags {
		n := len(l.tags.key(t))
		r.Tags[i], text = text[:n], text[n:]
	}
	return r
}

// Expire hides the events that have expired at now (Unix seconds). It locks mu. If no
// event has expired, expire costs one atomic load.
func (l *Index) Expire(now int64) {
	if l.expiries.next.Load() > now {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		n, ok := l.expiries.due(now)
		if !ok {
			return
		}
		l.unlink(n)
		s := l.entries.At(n)
		s.hidden = true
		l.bodies.drop(s)
		l.expiries.hidden = append(l.expiries.hidden, Hidden{n, s.seq})
	}
}

// TakeHidden returns the entries hidden since the last call.
func (l *Index) TakeHidden() []Hidden {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.expiries.hidden
	l.expiries.hidden = nil
	return h
}

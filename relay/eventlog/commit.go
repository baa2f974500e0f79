package eventlog

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
	"github.com/nbd-wtf/go-nostr"
)

// Bounds of one group commit. Badger accepts 15% of a memtable in one transaction.
const (
	queueSize     = 4096
	maxGroup      = 1024
	maxGroupBytes = 2 << 20
	// maxDeletionBytes bounds a group of deletion requests: a byte of a deletion
	// request causes more work than a byte of another event.
	maxDeletionBytes = 1 << 20
)

// writeBytes returns an upper bound of the bytes that the group writes for a payload:
// the payload itself, its tags once more in the index entry, and some hundred bytes of
// record head and keys.
func writeBytes(body []byte) int { return 2*len(body) + 512 }

// MailLifetime is the time for which mail without an expiration stays readable.
const MailLifetime = 30 * 24 * time.Hour

// Enqueued is an arrival in the committer's queue.
type Enqueued struct {
	Arrival // Event is nil if only keys are written
	writes  []keyWrite
	expired bool // a replayed or restored event had expired, or was archived, at its arrival
	queue   *arrivalQueue
	done    chan struct{}
	seq     uint64
	out     Outcome
	err     error
	Walked  int // number of records that a deletion has read
}

// Wait returns once the event is durable, or once the committer has decided not to
// store it.
func (p *Enqueued) Wait(ctx context.Context) (uint64, Outcome, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	return p.seq, p.out, p.err
}

func (p *Enqueued) answer(seq uint64, out Outcome, err error) {
	p.seq, p.out, p.err = seq, out, err
	if p.IsDeletion() {
		p.queue.deleting.Release(DeletionWeight(p.Event))
	}
	close(p.done)
}

func (p *Enqueued) IsDeletion() bool { return p.Event != nil && p.Event.Kind == mostro.KindDeletion }

// maxDeleting bounds the events and addresses that the deletion requests in the queue
// name together. An append behind these requests waits for all of them.
const maxDeleting = 8192

// DeletionWeight returns the number of events and addresses that a deletion request
// names, at most maxDeleting.
func DeletionWeight(evt *nostr.Event) int64 {
	n := int64(1)
	for _, t := range evt.Tags {
		if len(t) > 1 && (t[0] == "e" || t[0] == "a") {
			n++
		}
	}
	return min(n, maxDeleting)
}

// Enqueue hands an arrival to the committer. Arrivals enqueued by one goroutine are
// appended in that order. Enqueue blocks only if the committer's queue is full or, for
// a deletion request, if the requests in the queue name too many events. It returns
// ErrClosed if the store is closed and ErrFull if the disk is full.
func (st *Store) Enqueue(ctx context.Context, a Arrival) (Pending, error) {
	if err := storable(a.Event); err != nil {
		return nil, err
	}
	if a.JSON == nil {
		a.JSON = mostro.EncodeEvent(a.Event)
	}
	return st.queue.put(ctx, &Enqueued{Arrival: a, expired: a.Restored && a.Archived, done: make(chan struct{})})
}

// Append calls Enqueue and waits for the result.
func (st *Store) Append(ctx context.Context, a Arrival) (uint64, Outcome, error) {
	p, err := st.Enqueue(ctx, a)
	if err != nil {
		return 0, 0, err
	}
	return p.Wait(ctx)
}

// Settle returns once everything that was enqueued before the call is committed.
func (st *Store) Settle(ctx context.Context) error { return st.queue.writeKeys(ctx) }

// storable returns an error if the store cannot represent the event. Admission refuses
// such events earlier, with a better reason.
func storable(evt *nostr.Event) error {
	switch {
	case evt.Kind < 0 || evt.Kind > 65535:
		return fmt.Errorf("kind %d is not in 0..65535", evt.Kind)
	case evt.CreatedAt < 0 || evt.CreatedAt > maxTime:
		return fmt.Errorf("created_at %d is not in 0..%d", evt.CreatedAt, int64(maxTime))
	case kindClass(evt.Kind) == ephemeral:
		return fmt.Errorf("kind %d is ephemeral: never stored", evt.Kind)
	}
	if len(evt.Tags) > math.MaxUint16 {
		return fmt.Errorf("%d tags, at most %d can be indexed", len(evt.Tags), math.MaxUint16)
	}
	for _, t := range evt.Tags {
		if len(t) > 0 && t[0] == "d" {
			if len(t) < 2 && kindClass(evt.Kind) == addressable {
				return errors.New("the d tag has no value")
			}
			break
		}
	}
	return nil
}

// committer is the only writer of the log, of the derived keys and of the live index. Its
// fields are owned by one goroutine, which calls run. Before that goroutine begins, Open
// owns the fields.
type committer struct {
	*parts
	walks walks  // results of earlier deletion requests
	buf   []byte // buffer for the records of a group
}

// flush commits the derived keys, unless the store is in doubt.
func (c *committer) flush() error {
	if c.failure.get() != nil {
		return nil
	}
	return c.keys.flush()
}

// run is the goroutine of the committer. It returns when the store closes and the queue
// is empty.
func (c *committer) run() {
	group := make([]*Enqueued, 0, maxGroup)
	var held *Enqueued       // taken from the queue, for the next group
	var due <-chan time.Time // time of the next flush of derived keys
	for {
		switch {
		case c.keys.size == 0:
			due = nil
		case due == nil:
			due = time.After(c.cfg.flushAfter)
		}
		if held == nil {
			var err error
			select {
			case held = <-c.queue.ch:
			case <-due:
				due, err = nil, c.flush()
			case <-c.sweep:
				err = c.moveHidden()
			case <-c.closing:
				// No goroutine can enqueue any more. Commit the rest of the queue.
				select {
				case held = <-c.queue.ch:
				default:
					if err := c.flush(); err != nil {
						c.failure.fail(err)
					}
					return
				}
			}
			if err != nil {
				c.failure.fail(err)
			}
			if held == nil {
				continue
			}
		}
		group = append(group[:0], held)
		size := writeBytes(held.JSON)
		deletions := held.IsDeletion()
		held = nil
	gather:
		for len(group) < maxGroup && size < maxGroupBytes {
			select {
			case p := <-c.queue.ch:
				// Deletions read back into the store, so they form groups of their own.
				if p.IsDeletion() != deletions {
					held = p
					break gather
				}
				if deletions && size+writeBytes(p.JSON) > maxDeletionBytes {
					held = p
					break gather
				}
				group = append(group, p)
				size += writeBytes(p.JSON)
			default:
				break gather
			}
		}
		c.commit(group)
	}
}

// commit appends a group to the log with one sync, then makes the group visible, then
// answers the callers. Derived keys are committed later (flush).
func (c *committer) commit(group []*Enqueued) {
	start := time.Now()
	c.space.MeasureWhileWriting()
	if group = c.refuseFull(group); len(group) == 0 {
		return
	}
	err := c.makeRoom(group)
	g := &commitGroup{c: c, now: c.now(), seq: c.recent.head.Load(), base: c.log.Head(),
		newest: make(map[address]*addressState, len(group)), ids: make(map[[32]byte]uint64, len(group)), buf: c.buf[:0]}
	for _, p := range group {
		if err == nil {
			err = g.ensureRoom()
		}
		if err != nil {
			break
		}
		if p.Event == nil {
			g.flushNow = true // the writer of keys reads the keys at once
			err = c.keys.write(p.writes)
			continue
		}
		g.flushNow = g.flushNow || p.Forward || p.IsDeletion()
		p.seq, p.out, err = g.append(p)
	}
	if err == nil {
		err = g.write()
	}
	c.buf, c.keys.applied = g.buf[:0], g.seq
	c.keys.uncommitted.add(g.ids)
	if err == nil && g.flushNow {
		err = c.flush()
	}
	if err == nil {
		err = c.updateMemory(g)
	}
	if err != nil {
		c.failure.fail(err)
		for _, p := range group {
			p.answer(0, 0, c.failure.err)
		}
		return
	}
	c.recent.publish(g.entries, !c.cfg.Bulk) // no reader keeps up with an import; readers use the disk
	c.metrics.committed(len(group), time.Since(start))
	for _, p := range group {
		if p.Event != nil {
			c.metrics.appended(p.out)
		}
		p.answer(p.seq, p.out, nil)
	}
}

// refuseFull answers ErrFull to the arrivals of a group that find no disk space, and
// returns the others.
func (c *committer) refuseFull(group []*Enqueued) []*Enqueued {
	size := int64(0)
	for _, p := range group {
		size += int64(writeBytes(p.JSON))
	}
	if err := c.log.ReserveSpace(size); err != nil && !c.space.Full() {
		c.space.MarkFull("err", err)
	}
	if !c.space.Full() {
		return group
	}
	kept := group[:0]
	for _, p := range group {
		if c.queue.refuses(p) {
			p.answer(0, 0, ErrFull)
		} else {
			kept = append(kept, p)
		}
	}
	return kept
}

// updateMemory applies a logged group to the live index and to the filters.
func (c *committer) updateMemory(g *commitGroup) error {
	g.apply()
	c.recent.forget(g.erased)
	for id := range g.ids {
		c.keys.ids.add(id[:])
	}
	return c.growFilters()
}

// commitGroup is one group commit in progress. A decision about an event sees the
// earlier events of the group. The live index changes only after the write to the log.
type commitGroup struct {
	c        *committer
	now      time.Time
	seq      uint64 // last assigned seq
	newest   map[address]*addressState
	ids      map[[32]byte]uint64 // ids appended by this group, with their seqs
	changes  []change
	entries  []recent
	erased   map[uint64]struct{}
	tombs    int64
	walked   int              // number of records that deletions have read
	claimed  map[quotaKey]int // addresses added by this group, per quota
	flushNow bool             // flush derived keys before the group is answered
	replay   bool             // the records are already in the log

	base    uint64             // seq before the first of records
	records []recordlog.Record // heads of the records to be written
	buf     []byte             // encoding of records, with payloads
	sizes   []int              // length of each record in buf
}

var errOverQuota = errors.New("over quota")

// addressState is the newest version of an address as seen by the group.
type addressState struct {
	entry indexEntry
	space byte // spaceNewest or spaceHidden; 0 if the address is free
}

// change is the effect of a committed event on the live index.
type change struct {
	remove  [32]byte // id of the event to remove; zero if none
	removed int64    // length of the removed record before a scrub; 0 if it is not scrubbed
	add     *indexEntry
	body    []byte
	chainOf [32]byte // id of the entry whose chain is set to chain
	chain   uint64
}

// stage adds a record to the group. During a replay the record is already in the log,
// and stage does nothing.
func (g *commitGroup) stage(r recordlog.Record, body []byte) {
	if g.replay {
		return
	}
	from := len(g.buf)
	r.FirstOfWrite = len(g.records) == 0
	g.buf = recordlog.AppendRecord(g.buf, r, body)
	g.sizes = append(g.sizes, len(g.buf)-from)
	g.records = append(g.records, r)
}

// write appends the staged records to the log and syncs the log.
func (g *commitGroup) write() error {
	if len(g.records) == 0 {
		return nil
	}
	err := g.c.log.Append(g.buf, g.sizes)
	g.base += uint64(len(g.records))
	g.buf, g.sizes, g.records = g.buf[:0], g.sizes[:0], g.records[:0]
	return err
}

// record returns the head of a record of the log or of this group. ok is false if the
// record is damaged.
func (g *commitGroup) record(seq uint64) (r recordlog.Record, ok bool, err error) {
	if seq > g.base && seq-g.base <= uint64(len(g.records)) {
		return g.records[seq-g.base-1], true, nil
	}
	r, err = g.c.log.ReadHead(seq)
	if IsDamage(err) {
		g.c.damage.report(seq, err)
		return r, false, nil
	}
	return r, err == nil, err
}

// append decides about one arrival, stages its record and writes its derived keys. An
// error is fatal to the store.
func (g *commitGroup) append(p *Enqueued) (uint64, Outcome, error) {
	evt := p.Event
	id, err1 := hex32.Parse(evt.ID)
	pubkey, err2 := hex32.Parse(evt.PubKey)
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, fmt.Errorf("an unverified event reached the log: %w", err)
	}
	if seq, held, err := g.held(id); err != nil || held {
		return seq, Duplicate, err
	}
	addr, hasAddr := addressOf(evt, pubkey)
	if deleted, err := g.deleted(evt, id, pubkey, addr); err != nil || deleted {
		return 0, Deleted, err
	}
	g.seq++
	ie := indexEntry{seq: g.seq, chain: g.seq, id: id, pubkey: pubkey, kind: evt.Kind,
		createdAt: int64(evt.CreatedAt), expiration: effectiveExpiration(p), tags: tagKeys(evt.Tags)}
	r := recordlog.Record{ReceivedAt: p.ReceivedAt.UnixMilli(), Source: p.Source, ID: id, PubKey: pubkey, Kind: evt.Kind,
		CreatedAt: ie.createdAt, Expiration: ie.expiration}
	r.Expired = p.expired || !g.replay && !p.Restored && ie.expiration > 0 && ie.expiration <= g.now.Unix()
	r.Archived = r.Expired
	r.PayloadErased = r.Expired && mostro.IsMail(evt.Kind)
	body := p.JSON
	if r.PayloadErased {
		body = nil
	}
	if p.IsDeletion() && !r.Expired {
		// The derived keys of a deletion may take several transactions. The request is
		// in the log before the first transaction, so that Open finishes the deletion
		// after a crash.
		r.Forward = p.Forward
		g.stage(r, body)
		walked := g.walked
		if err := g.delete(evt, pubkey); err != nil {
			return 0, 0, err
		}
		p.Walked = g.walked - walked
	}
	var err error
	switch {
	case hasAddr:
		err = g.appendVersion(evt, addr, &ie, &r, p.JSON, p.Quota)
	case !r.Expired:
		g.changes = append(g.changes, change{add: &ie, body: p.JSON})
		err = g.c.keys.set(seqKey(spaceRegular, g.seq), ie.encode())
	}
	if errors.Is(err, errOverQuota) {
		g.seq-- // the seq is free again: the event was not appended
		return 0, OverQuota, nil
	}
	if err == nil {
		r.Forward = p.Forward && !r.Archived
		if r.Forward {
			err = g.c.keys.set(forwardKey(g.seq), []byte{})
		}
	}
	if err == nil {
		err = g.c.keys.set(idKey(id), binary.BigEndian.AppendUint64(nil, g.seq))
	}
	if err != nil {
		return 0, 0, err
	}
	if !p.IsDeletion() || r.Expired {
		g.stage(r, body)
	}
	g.ids[id] = g.seq
	e := recent{body: p.JSON, entry: mostro.Entry{Seq: g.seq, Event: evt,
		ReceivedAt: time.UnixMilli(r.ReceivedAt).UTC(), Source: p.Source, Archived: r.Archived}.Shared()}
	if r.PayloadErased {
		e = recent{entry: mostro.Entry{Seq: g.seq}} // moves the head, but holds no event
	}
	g.entries = append(g.entries, e)
	if r.Archived {
		return g.seq, Archived, nil
	}
	return g.seq, Added, nil
}

// appendVersion decides whether a version of an address is the newest: the greatest
// created_at wins, of equal times the lowest id (NIP-01).
func (g *commitGroup) appendVersion(evt *nostr.Event, addr address, ie *indexEntry, r *recordlog.Record, body []byte, quota LiveQuotas) error {
	now, err := g.addressState(evt, addr, ie.pubkey)
	if err != nil {
		return err
	}
	if now.space != spaceNewest && !r.Expired && g.overQuota(quota, ie) {
		return errOverQuota
	}
	if now.space != 0 {
		r.Previous = now.entry.chain
		if ie.createdAt <= now.entry.createdAt {
			if err := g.keepProof(ie, now.entry.chain); err != nil {
				return err
			}
		}
		if !newer(ie, &now.entry) {
			r.Archived = true
			now.entry.chain = ie.seq
			if now.space == spaceNewest {
				g.changes = append(g.changes, change{chainOf: now.entry.id, chain: ie.seq})
			}
			return g.c.keys.set(addressKey(now.space, addr), now.entry.encode())
		}
	}
	c := change{}
	if now.space == spaceNewest {
		c.remove = now.entry.id
	}
	space := byte(spaceNewest)
	if r.Expired {
		space = spaceHidden
	} else {
		c.add, c.body = ie, body
	}
	g.changes = append(g.changes, c)
	if now.space != 0 && now.space != space {
		if err := g.c.keys.del(addressKey(now.space, addr)); err != nil {
			return err
		}
	}
	*now = addressState{entry: *ie, space: space}
	return g.c.keys.set(addressKey(space, addr), ie.encode())
}

func newer(a, b *indexEntry) bool {
	if a.createdAt != b.createdAt {
		return a.createdAt > b.createdAt
	}
	return string(a.id[:]) < string(b.id[:])
}

// addressState returns the newest version of an address: from this group, from memory,
// or from the hidden index entries on disk.
func (g *commitGroup) addressState(evt *nostr.Event, addr address, pubkey [32]byte) (*addressState, error) {
	if s, ok := g.newest[addr]; ok {
		return s, nil
	}
	s := &addressState{}
	g.newest[addr] = s
	if ie, ok := g.c.live.entryAt(evt.Kind, pubkey, firstD(evt.Tags)); ok {
		s.entry, s.space = ie, spaceNewest
		return s, nil
	}
	if !g.c.keys.hidden.mayContain([]byte(addr)) {
		return s, nil
	}
	item, err := g.c.keys.txn.Get(addressKey(spaceHidden, addr))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.space = spaceHidden
	return s, item.Value(func(v []byte) (err error) { s.entry, err = decodeIndexEntry(v); return err })
}

// held returns the seq of an id and reports whether the id is in the log. The seq is 0
// if the id was appended by this group.
func (g *commitGroup) held(id [32]byte) (uint64, bool, error) {
	if _, ok := g.ids[id]; ok {
		return 0, true, nil
	}
	g.c.live.mu.RLock()
	n, ok := g.c.live.entries.find(id)
	var seq uint64
	if ok {
		seq = g.c.live.entries.At(n).seq
	}
	g.c.live.mu.RUnlock()
	if ok {
		return seq, true, nil
	}
	if !g.c.keys.ids.mayContain(id[:]) {
		return 0, false, nil
	}
	item, err := g.c.keys.txn.Get(idKey(id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	return seq, true, item.Value(func(v []byte) error { seq = binary.BigEndian.Uint64(v); return nil })
}

// apply applies the committed changes to the live index.
func (g *commitGroup) apply() {
	g.c.keys.tombs.Add(g.tombs)
	l := g.c.live
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range g.changes {
		if c.remove != ([32]byte{}) {
			if n, ok := l.entries.find(c.remove); ok {
				l.recordBytes -= cmp.Or(c.removed, g.c.log.RecordBytes(l.entries.At(n).seq))
				l.remove(n)
			}
		}
		if c.add != nil {
			l.recordBytes += g.c.log.RecordBytes(c.add.seq)
			l.add(*c.add, c.body)
		}
		if c.chainOf != ([32]byte{}) {
			if n, ok := l.entries.find(c.chainOf); ok {
				l.entries.setChain(n, c.chain)
			}
		}
	}
}

// effectiveExpiration returns the NIP-40 expiration of an event. If mail has none, it
// returns the end of the mail's life. It returns 0 if the event does not expire.
func effectiveExpiration(p *Enqueued) int64 {
	if at := expirationOf(p.Event); at > 0 {
		return at
	}
	if mostro.IsMail(p.Event.Kind) {
		return p.ReceivedAt.Add(MailLifetime).Unix()
	}
	return 0
}

// expirationOf returns the value of the first expiration tag, or 0 if there is no
// readable one.
func expirationOf(evt *nostr.Event) int64 {
	for _, t := range evt.Tags {
		if len(t) > 1 && t[0] == "expiration" {
			at, err := strconv.ParseInt(t[1], 10, 64)
			if err != nil || at < 0 {
				return 0
			}
			return min(at, math.MaxInt64/2)
		}
	}
	return 0
}

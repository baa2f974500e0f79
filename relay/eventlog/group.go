package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/liveindex"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
	"github.com/nbd-wtf/go-nostr"
)

// commitGroup is one group commit in progress. A decision about an event sees the
// earlier events of the group. The live index changes only after the write to the log.
type commitGroup struct {
	c        *committer
	now      time.Time
	seq      uint64 // last assigned seq
	newest   map[address]*addressState
	ids      map[[32]byte]uint64 // ids appended by this group, with their seqs
	changes  []liveindex.Change
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
	entry liveindex.Entry
	space byte // spaceNewest or spaceHidden; 0 if the address is free
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
	ie := liveindex.Entry{Seq: g.seq, Chain: g.seq, ID: id, PubKey: pubkey, Kind: evt.Kind,
		CreatedAt: int64(evt.CreatedAt), Expiration: effectiveExpiration(p), Tags: liveindex.TagKeys(evt.Tags)}
	r := recordlog.Record{ReceivedAt: p.ReceivedAt.UnixMilli(), Source: p.Source, ID: id, PubKey: pubkey, Kind: evt.Kind,
		CreatedAt: ie.CreatedAt, Expiration: ie.Expiration}
	r.Expired = p.expired || !g.replay && !p.Restored && ie.Expiration > 0 && ie.Expiration <= g.now.Unix()
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
		g.changes = append(g.changes, liveindex.Change{Add: &ie, Body: p.JSON})
		err = g.c.keys.set(seqKey(spaceRegular, g.seq), ie.Encode())
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
func (g *commitGroup) appendVersion(evt *nostr.Event, addr address, ie *liveindex.Entry, r *recordlog.Record, body []byte, quota LiveQuotas) error {
	now, err := g.addressState(evt, addr, ie.PubKey)
	if err != nil {
		return err
	}
	if now.space != spaceNewest && !r.Expired && g.overQuota(quota, ie) {
		return errOverQuota
	}
	if now.space != 0 {
		r.Previous = now.entry.Chain
		if ie.CreatedAt <= now.entry.CreatedAt {
			if err := g.keepProof(ie, now.entry.Chain); err != nil {
				return err
			}
		}
		if !newer(ie, &now.entry) {
			r.Archived = true
			now.entry.Chain = ie.Seq
			if now.space == spaceNewest {
				g.changes = append(g.changes, liveindex.Change{ChainOf: now.entry.ID, Chain: ie.Seq})
			}
			return g.c.keys.set(addressKey(now.space, addr), now.entry.Encode())
		}
	}
	c := liveindex.Change{}
	if now.space == spaceNewest {
		c.Remove = now.entry.ID
		if evt.Kind == mostro.KindHealth && now.entry.Seq <= g.base {
			// A node states its health every minute, and no reader needs an older statement.
			c.Removed = g.c.log.RecordBytes(now.entry.Seq)
			if err := g.requestScrub(now.entry.Seq); err != nil {
				return err
			}
		}
	}
	space := byte(spaceNewest)
	if r.Expired {
		space = spaceHidden
	} else {
		c.Add, c.Body = ie, body
	}
	g.changes = append(g.changes, c)
	if now.space != 0 && now.space != space {
		if err := g.c.keys.del(addressKey(now.space, addr)); err != nil {
			return err
		}
	}
	*now = addressState{entry: *ie, space: space}
	return g.c.keys.set(addressKey(space, addr), ie.Encode())
}

func newer(a, b *liveindex.Entry) bool {
	if a.CreatedAt != b.CreatedAt {
		return a.CreatedAt > b.CreatedAt
	}
	return string(a.ID[:]) < string(b.ID[:])
}

// addressState returns the newest version of an address: from this group, from memory,
// or from the hidden index entries on disk.
func (g *commitGroup) addressState(evt *nostr.Event, addr address, pubkey [32]byte) (*addressState, error) {
	if s, ok := g.newest[addr]; ok {
		return s, nil
	}
	s := &addressState{}
	g.newest[addr] = s
	if ie, ok := g.c.live.EntryAt(evt.Kind, pubkey, firstD(evt.Tags)); ok {
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
	return s, item.Value(func(v []byte) (err error) { s.entry, err = liveindex.DecodeEntry(v); return err })
}

// held returns the seq of an id and reports whether the id is in the log. The seq is 0
// if the id was appended by this group.
func (g *commitGroup) held(id [32]byte) (uint64, bool, error) {
	if _, ok := g.ids[id]; ok {
		return 0, true, nil
	}
	seq, _, ok := g.c.live.SeqOf(id)
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
	g.c.live.Apply(g.changes, g.c.log.RecordBytes)
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

// quotaKey identifies a counter of quotas: the addresses of one kind by one key, or the
// addresses of one platform.
type quotaKey struct {
	kind     int
	pubkey   [32]byte
	platform string
}

// overQuota reports whether one more live address of the entry exceeds a quota. If not,
// overQuota counts the address.
func (g *commitGroup) overQuota(q LiveQuotas, ie *liveindex.Entry) bool {
	if q == (LiveQuotas{}) {
		return false
	}
	if g.claimed == nil {
		g.claimed = make(map[quotaKey]int)
	}
	key := quotaKey{kind: ie.Kind, pubkey: ie.PubKey}
	platform := quotaKey{platform: ie.FirstTag('y')}
	ofKey, ofPlatform := g.c.live.Counts(ie.Kind, ie.PubKey, platform.platform)
	if q.Key > 0 && ofKey+g.claimed[key] >= q.Key ||
		q.Platform > 0 && platform.platform != "" && ofPlatform+g.claimed[platform] >= q.Platform {
		return true
	}
	g.claimed[key]++
	g.claimed[platform]++
	return false
}

// maxEquivocationScan bounds the earlier versions that a new version is compared with.
const maxEquivocationScan = 32

// keepProof records an equivocation: an earlier arrival of the same address with the
// same created_at and another id. Both signed events are already in the log; the key
// makes the pair findable.
func (g *commitGroup) keepProof(ie *liveindex.Entry, chain uint64) error {
	for n := 0; chain != 0 && n < maxEquivocationScan; n++ {
		r, ok, err := g.record(chain)
		if err != nil || !ok {
			return err
		}
		if r.CreatedAt == ie.CreatedAt && r.ID != ie.ID {
			g.flushNow = true // the caller of Append may ask for the proof at once
			return g.c.keys.set(proofKey(chain, ie.Seq), []byte{1})
		}
		chain = r.Previous
	}
	return nil
}

// ensureRoom flushes the transaction if it has exceeded its limit. Earlier arrivals of
// the group may have grown the transaction by more than their own length: a large index
// entry is written again for every older version of its address.
func (g *commitGroup) ensureRoom() error {
	if g.c.keys.size <= g.c.keys.room {
		return nil
	}
	if err := g.write(); err != nil {
		return err
	}
	g.c.keys.applied = g.seq
	return g.c.flush()
}

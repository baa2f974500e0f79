package eventlog

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/liveindex"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
	"github.com/nbd-wtf/go-nostr"
)

// deleted reports whether the author of an arriving event has deleted it before.
// Deletions are permanent (NIP-09).
func (g *commitGroup) deleted(evt *nostr.Event, id, pubkey [32]byte, addr address) (bool, error) {
	if g.c.keys.tombs.Load()+g.tombs == 0 || evt.Kind == mostro.KindDeletion {
		return false, nil
	}
	_, err := g.c.keys.txn.Get(tombIDKey(id, pubkey))
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, badger.ErrKeyNotFound) {
		return false, err
	}
	if addr == "" {
		return false, nil
	}
	until, err := g.addressTomb(addr)
	return err == nil && int64(evt.CreatedAt) <= until, err
}

// addressTomb returns the created_at up to which an address is deleted, or -1 if there
// is no tombstone.
func (g *commitGroup) addressTomb(addr address) (int64, error) {
	item, err := g.c.keys.txn.Get(tombAddressKey(addr))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	until := int64(-1)
	err = item.Value(func(v []byte) error {
		if len(v) != 8 {
			return errCorrupt
		}
		until = int64(binary.BigEndian.Uint64(v))
		return nil
	})
	return until, err
}

// delete carries out a deletion request. Its group holds only deletion requests, so
// that the live index and the files agree while delete reads them.
//
// If the erasures exceed one transaction, delete commits in parts. The derived keys of
// one event are never split over two parts. The requests before this one are covered by
// applied at that time: after a crash between two parts, Open replays this request from
// its beginning.
func (g *commitGroup) delete(evt *nostr.Event, pubkey [32]byte) error {
	ids := make(map[[32]byte]struct{})
	addresses := make(map[address]struct{})
	for _, t := range evt.Tags {
		if len(t) < 2 {
			continue
		}
		var err error
		switch t[0] {
		case "e":
			id, bad := hex32.Parse(t[1])
			if _, twice := ids[id]; twice || bad != nil {
				continue
			}
			ids[id] = struct{}{}
			err = g.deleteID(id, pubkey)
		case "a":
			kind, d, ok := ownAddress(t[1], pubkey)
			addr := makeAddress(kind, pubkey, d)
			if _, twice := addresses[addr]; twice || !ok {
				continue
			}
			addresses[addr] = struct{}{}
			err = g.deleteAddress(addr, kind, d, pubkey, int64(evt.CreatedAt))
		}
		if err != nil {
			return fmt.Errorf("delete: %w", err)
		}
	}
	return nil
}

// deleteID erases one event. If the event is not in the log, its tombstone refuses it
// later. If the event is the newest version of its address, the older versions stay
// hidden.
//
// BUG: if the newest version is not in the log, a request that names only its id hides
// no older version, because no record tells that both have the same address. A request
// that names the address hides them.
func (g *commitGroup) deleteID(id, pubkey [32]byte) error {
	g.tombs++ // an existing tombstone is counted twice, which is harmless: the counter is only compared with 0
	if err := g.c.keys.set(tombIDKey(id, pubkey), binary.BigEndian.AppendUint64(nil, g.seq)); err != nil {
		return err
	}
	seq, held, err := g.held(id)
	if err != nil || !held || seq == 0 || seq == g.seq { // seq is 0 if the id belongs to a request of this group
		return err // not in the log yet: the tombstone stays
	}
	g.walked++
	r, ok, err := g.record(seq)
	if err != nil {
		return err
	}
	if !ok {
		ie, served := g.c.live.EntryOf(id)
		if !served {
			return nil // the author is unknown
		}
		r = recordlog.Record{ID: ie.ID, PubKey: ie.PubKey, Kind: ie.Kind, CreatedAt: ie.CreatedAt}
	}
	if r.PubKey != pubkey || r.Kind == mostro.KindDeletion {
		return nil
	}
	return g.eraseEvent(seq, r)
}

// ownAddress parses the value of an a tag. ok is false if the address is not one of
// pubkey.
func ownAddress(value string, pubkey [32]byte) (kind int, d string, ok bool) {
	parts := strings.SplitN(value, ":", 3)
	if len(parts) != 3 {
		return 0, "", false
	}
	kind, err := strconv.Atoi(parts[0])
	author, err2 := hex32.Parse(parts[1])
	c := kindClass(kind)
	if err != nil || err2 != nil || author != pubkey || kind < 0 || kind > 65535 || c != replaceable && c != addressable {
		return 0, "", false
	}
	if c == replaceable {
		return kind, "", true
	}
	return kind, parts[2], true
}

// walk is the result of a deletion request for an address. The next request for this
// address reads only newer records and the records that it erases itself. Without
// walks, a series of requests would read all records each time.
type walk struct {
	head uint64 // seq of the newest arrival that was read
	left []versionLeft
}

// versionLeft is a version that no request has erased.
type versionLeft struct {
	seq       uint64
	createdAt int64
}

// walks caches the walks of recent addresses in memory. If a walk is missing, as after
// a start, a request reads all versions. The cache is owned by the committer, which edits
// walks in place, so internal/cache does not fit.
type walks struct {
	by   map[address]walk
	size int // number of versions in all walks
}

const (
	minWalk  = 64      // shorter walks are not cached
	maxWalks = 1 << 17 // limit of size, 2 MiB
)

// keep caches the walk of an address. A walk without versions is not cached.
func (w *walks) keep(addr address, now walk) {
	w.size -= len(w.by[addr].left)
	delete(w.by, addr)
	if len(now.left) == 0 {
		return
	}
	if w.by == nil || w.size+len(now.left) > maxWalks {
		w.by, w.size = make(map[address]walk), 0
	}
	if len(now.left) <= maxWalks {
		w.by[addr] = now
		w.size += len(now.left)
	}
}

// deleteAddress erases the versions of an address up to a time. It walks from the
// newest arrival to the oldest, and stops at the arrival up to which an earlier request
// has erased all versions.
func (g *commitGroup) deleteAddress(addr address, kind int, d string, pubkey [32]byte, until int64) error {
	have, err := g.addressTomb(addr)
	if err != nil {
		return err
	}
	if have > until {
		return nil // an earlier request has erased these versions and refuses new ones
	}
	if have < 0 {
		g.tombs++
	}
	if err := g.c.keys.set(tombAddressKey(addr), binary.BigEndian.AppendUint64(nil, uint64(until))); err != nil {
		return err
	}
	now, err := g.addressState(&nostr.Event{Kind: kind, Tags: nostr.Tags{{"d", d}}}, addr, pubkey)
	if err != nil || now.space == 0 {
		return err
	}
	end, err := g.erasedUpTo(addr)
	if err != nil {
		return err
	}
	past, known := g.c.walks.by[addr]
	walked := g.walked
	var left []versionLeft
	bottom := uint64(0) // seq up to which all versions are erased
	look := func(seq uint64, r recordlog.Record) error {
		switch {
		case r.CreatedAt <= until:
			if err := g.eraseEvent(seq, r); err != nil {
				return err
			}
		case !r.PayloadErased && !g.isErased(seq):
			left, bottom = append(left, versionLeft{seq, r.CreatedAt}), 0
			return nil
		}
		bottom = cmp.Or(bottom, seq)
		return nil
	}
	for seq := now.entry.Chain; seq > max(end, past.head); {
		g.walked++
		r, ok, err := g.record(seq)
		if err != nil {
			return err
		}
		if !ok {
			return nil // the earlier versions cannot be found
		}
		if err := look(seq, r); err != nil {
			return err
		}
		seq = r.Previous
	}
	if len(left) == 0 {
		left = past.left[:0] // in place: the write index is behind the read index
	}
	for _, v := range past.left {
		if v.createdAt > until {
			left, bottom = append(left, v), 0
			continue
		}
		g.walked++
		r, ok, err := g.record(v.seq)
		if err != nil {
			return err
		}
		if !ok {
			g.c.walks.keep(addr, walk{})
			return nil
		}
		if err := look(v.seq, r); err != nil {
			return err
		}
	}
	if len(left) == 0 {
		bottom = now.entry.Chain
	}
	if known || g.walked-walked >= minWalk {
		g.c.walks.keep(addr, walk{now.entry.Chain, left})
	}
	if bottom == 0 {
		return nil
	}
	return g.c.keys.set(addressKey(spaceChain, addr), binary.BigEndian.AppendUint64(nil, bottom))
}

// erasedUpTo returns the seq up to which all versions of an address are erased, or 0 if
// there is none.
func (g *commitGroup) erasedUpTo(addr address) (seq uint64, err error) {
	item, err := g.c.keys.txn.Get(addressKey(spaceChain, addr))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return seq, item.Value(func(v []byte) error {
		if len(v) != 8 {
			return errCorrupt
		}
		seq = binary.BigEndian.Uint64(v)
		return nil
	})
}

// eraseEvent schedules the scrub of a payload and removes the event from the live
// index. The head of the record stays in the log.
func (g *commitGroup) eraseEvent(seq uint64, r recordlog.Record) error {
	if g.isErased(seq) {
		return nil
	}
	if r.PayloadErased {
		ie, live := g.c.live.EntryOf(r.ID)
		if !live || ie.Seq != seq {
			return nil
		}
		// A scrub follows a durable commit that hid the entry; that commit is lost. The
		// loss is harmless for mail and health, which leave no facts.
		if !fleeting(r.Kind) {
			return fmt.Errorf("entry %d is erased, but the index serves it: %w", seq, ErrIndex)
		}
	}
	if g.c.keys.half() {
		// The requests before this one are complete in the transaction.
		if err := g.write(); err != nil {
			return err
		}
		g.c.keys.applied = g.seq - 1
		if err := g.c.flush(); err != nil {
			return err
		}
	}
	if err := errors.Join(g.keepFact(seq), g.requestScrub(seq)); err != nil {
		return err
	}
	ie, ok := g.c.live.EntryOf(r.ID)
	if !ok || ie.Seq != seq {
		return nil // the event is not live
	}
	addr := addressOfEntry(&ie)
	// A compaction may shorten the record before the change is applied.
	g.changes = append(g.changes, liveindex.Change{Remove: r.ID, Removed: g.c.log.RecordBytes(seq)})
	if addr == "" {
		return g.c.keys.del(seqKey(spaceRegular, seq))
	}
	// The entry stays the newest of its address, so that an older version does not
	// return.
	if s, ok := g.newest[addr]; ok {
		s.space = spaceHidden
	}
	if err := g.c.keys.del(addressKey(spaceNewest, addr)); err != nil {
		return err
	}
	return g.c.keys.set(addressKey(spaceHidden, addr), ie.Encode())
}

func (g *commitGroup) isErased(seq uint64) bool {
	_, ok := g.erased[seq]
	return ok
}

// moveHidden moves the index entries of expired events out of the keyspaces that Open
// reads, and scrubs expired payloads of fleeting kinds.
func (c *committer) moveHidden() error {
	hidden := c.live.TakeHidden()
	for len(hidden) > 0 {
		n := min(len(hidden), maxGroup)
		if err := c.movePart(hidden[:n]); err != nil {
			return fmt.Errorf("move expired index entries: %w", err)
		}
		hidden = hidden[n:]
	}
	return nil
}

func (c *committer) movePart(part []liveindex.Hidden) error {
	if err := c.flush(); err != nil {
		return err
	}
	g := &commitGroup{c: c}
	for _, e := range part {
		ie, ok := c.live.HiddenEntry(e)
		if !ok {
			continue // replaced or deleted meanwhile
		}
		addr := addressOfEntry(&ie)
		var err error
		if c.keys.half() { // index entries may be large
			if err = c.flush(); err != nil {
				return err
			}
		}
		if addr == "" {
			err = c.keys.del(seqKey(spaceRegular, ie.Seq))
		} else if err = c.keys.del(addressKey(spaceNewest, addr)); err == nil {
			err = g.c.keys.set(addressKey(spaceHidden, addr), ie.Encode())
		}
		if err == nil {
			err = g.scrubFleeting(&ie)
		}
		if err != nil {
			return err
		}
		g.changes = append(g.changes, liveindex.Change{Remove: ie.ID, Removed: c.log.RecordBytes(ie.Seq)})
	}
	if err := c.flush(); err != nil {
		return err
	}
	g.apply()
	c.recent.forget(g.erased)
	return nil
}

// requestScrub schedules the scrub of a payload. The scrub follows the commit of the
// transaction, which holds the request durably.
func (g *commitGroup) requestScrub(seq uint64) error {
	g.c.keys.toScrub = append(g.c.keys.toScrub, seq)
	if g.erased == nil {
		g.erased = make(map[uint64]struct{})
	}
	g.erased[seq] = struct{}{}
	return g.c.keys.set(seqKey(spaceScrub, seq), []byte{})
}

// fleeting reports whether the payloads of a kind are erased without a request: mail at its
// expiry, and a node's health at its expiry or once there is a newer one. Neither leaves facts.
func fleeting(kind int) bool { return mostro.IsMail(kind) || kind == mostro.KindHealth }

// scrubFleeting schedules the scrub of an expired payload of a fleeting kind.
func (g *commitGroup) scrubFleeting(ie *liveindex.Entry) error {
	if !fleeting(ie.Kind) {
		return nil
	}
	return g.requestScrub(ie.Seq)
}

// maxFact bounds the facts of one event, in bytes.
const maxFact = 8 << 10

// keepFact stores the facts of an event in the transaction that requests its scrub. If
// the event is no evidence, only the head of its record stays.
func (g *commitGroup) keepFact(seq uint64) error {
	_, body, err := g.c.recordAt(seq)
	if IsDamage(err) {
		return nil // no facts are left; a reader of the entry reports the damage
	}
	if err != nil || body == nil {
		return err
	}
	evt, err := ParseBody(bytes.Clone(body))
	if err != nil {
		return nil // as above: an unreadable payload has no facts
	}
	tags, ok := mostro.FactTags(evt)
	if !ok {
		return nil
	}
	fact, err := json.Marshal(tags)
	if err != nil || len(fact) > maxFact {
		return err
	}
	return g.c.keys.set(seqKey(spaceFact, seq), fact)
}

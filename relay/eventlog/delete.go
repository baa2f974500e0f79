package eventlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// deleted says whether the author of an arriving event has asked for its
// deletion before (NIP-09; deletions are sticky).
func (g *commitGroup) deleted(evt *nostr.Event, id, pubkey [32]byte, addr address) (bool, error) {
	if g.st.tombs.Load()+g.tombs == 0 || evt.Kind == mostro.KindDeletion {
		return false, nil
	}
	_, err := g.st.txn.Get(tombIDKey(id, pubkey))
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

// addressTomb is the created_at up to which an address is deleted, -1 for not.
func (g *commitGroup) addressTomb(addr address) (int64, error) {
	item, err := g.st.txn.Get(tombAddressKey(addr))
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

// delete carries out a deletion request. Its group holds nothing but deletion
// requests, so that the live index and the files agree while it reads them.
//
// Where it erases more than one transaction holds, it commits in parts, none of
// which parts what becomes of one event. The store has applied the requests
// before it by then: after a crash in between it is carried out again.
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

// deleteID erases one event, and refuses it for good if it is not held. If it is
// the newest version of its address, older ones stay hidden.
//
// BUG: if the newest version was never held, a request that names its id alone
// hides no older version: nothing tells that they share an address. A request
// that names the address does.
func (g *commitGroup) deleteID(id, pubkey [32]byte) error {
	g.tombs++ // one that is there already is counted again: it is only asked whether there are any
	if err := g.set(tombIDKey(id, pubkey), binary.BigEndian.AppendUint64(nil, g.seq)); err != nil {
		return err
	}
	seq, held, err := g.held(id)
	if err != nil || !held || seq == 0 || seq == g.seq { // 0: a request of this group
		return err // not held yet: the tombstone waits for it
	}
	g.walked++
	r, ok, err := g.record(seq)
	if err != nil {
		return err
	}
	if !ok {
		ie, _, served := g.st.live.entryOf(id)
		if !served {
			return nil // its author is not known any more
		}
		r = logRecord{id: ie.id, pubkey: ie.pubkey, kind: ie.kind, createdAt: ie.createdAt}
	}
	if r.pubkey != pubkey || r.kind == mostro.KindDeletion {
		return nil
	}
	return g.eraseEvent(seq, r)
}

// ownAddress parses the value of an a tag that names an address of pubkey.
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

// walk is what a deletion request left of the versions of an address. The next
// request reads the rows that came since and those that it erases, so requests
// for one version each read each row twice, and not all rows each.
type walk struct {
	head uint64 // the newest arrival that was looked at
	left []versionLeft
}

// versionLeft is a version that no request has erased yet.
type versionLeft struct {
	seq       uint64
	createdAt int64
}

// walks keeps the walks of the last addresses, in memory alone: without one a
// request walks all versions, as after a start. They are the committer's.
type walks struct {
	by   map[address]walk
	size int // versions left in all of them
}

const (
	minWalk  = 64      // shorter ones are walked again
	maxWalks = 1 << 17 // versions of all, 2 MiB
)

// keep notes the walk of an address; none is kept where nothing is left.
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

// deleteAddress erases the versions of an address up to a time. The walk goes
// from the newest arrival to the oldest and ends where an earlier request left
// only erased ones.
func (g *commitGroup) deleteAddress(addr address, kind int, d string, pubkey [32]byte, until int64) error {
	have, err := g.addressTomb(addr)
	if err != nil {
		return err
	}
	if have > until {
		return nil // an earlier request has erased these, and refuses more of them
	}
	if have < 0 {
		g.tombs++
	}
	if err := g.set(tombAddressKey(addr), binary.BigEndian.AppendUint64(nil, uint64(until))); err != nil {
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
	past, known := g.st.walks.by[addr]
	walked := g.walked
	var left []versionLeft
	bottom := uint64(0) // it and all before it are erased
	look := func(seq uint64, r logRecord) error {
		switch {
		case r.createdAt <= until:
			if err := g.eraseEvent(seq, r); err != nil {
				return err
			}
		case !r.payloadErased && !g.isErased(seq):
			left, bottom = append(left, versionLeft{seq, r.createdAt}), 0
			return nil
		}
		bottom = cmp.Or(bottom, seq)
		return nil
	}
	for seq := now.entry.chain; seq > max(end, past.head); {
		g.walked++
		r, ok, err := g.record(seq)
		if err != nil {
			return err
		}
		if !ok {
			return nil // the versions before it cannot be found any more
		}
		if err := look(seq, r); err != nil {
			return err
		}
		seq = r.previous
	}
	if len(left) == 0 {
		left = past.left[:0] // in place: what is written lies behind what is read
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
			g.st.walks.keep(addr, walk{})
			return nil
		}
		if err := look(v.seq, r); err != nil {
			return err
		}
	}
	if len(left) == 0 {
		bottom = now.entry.chain
	}
	if known || g.walked-walked >= minWalk {
		g.st.walks.keep(addr, walk{now.entry.chain, left})
	}
	if bottom == 0 {
		return nil
	}
	return g.set(addressKey(spaceChain, addr), binary.BigEndian.AppendUint64(nil, bottom))
}

// erasedUpTo is the arrival of an address from which on back all are erased, 0
// for none.
func (g *commitGroup) erasedUpTo(addr address) (seq uint64, err error) {
	item, err := g.st.txn.Get(addressKey(spaceChain, addr))
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

// erase removes an event's body and its place in the live index; its row stays
// as the bare fact.
func (g *commitGroup) eraseEvent(seq uint64, r logRecord) error {
	if g.isErased(seq) {
		return nil
	}
	if r.payloadErased {
		ie, _, live := g.st.live.entryOf(r.id)
		if !live || ie.seq != seq {
			return nil
		}
		// The commit that hid the record was durable before the body went, and is
		// lost. Mail has no facts that went with it.
		if !mostro.IsMail(r.kind) {
			return fmt.Errorf("entry %d is erased and the index serves it: %w", seq, ErrIndex)
		}
	}
	if g.st.txnBytes > g.st.txnRoom/2 {
		// The requests before this one are complete in the transaction.
		if err := g.write(); err != nil {
			return err
		}
		g.st.appliedSeq = g.seq - 1
		if err := g.st.flush(); err != nil {
			return err
		}
	}
	if err := errors.Join(g.keepFact(seq), g.requestScrub(seq)); err != nil {
		return err
	}
	ie, addr, ok := g.st.live.entryOf(r.id)
	if !ok || ie.seq != seq {
		return nil // not live
	}
	g.changes = append(g.changes, change{remove: r.id})
	if addr == "" {
		return g.st.del(seqKey(spaceRegular, seq))
	}
	// Still the newest of its address: an older version must not come back.
	if s, ok := g.newest[addr]; ok {
		s.space = spaceHidden
	}
	if err := g.st.del(addressKey(spaceNewest, addr)); err != nil {
		return err
	}
	return g.set(addressKey(spaceHidden, addr), ie.encode())
}

func (g *commitGroup) isErased(seq uint64) bool {
	_, ok := g.erased[seq]
	return ok
}

// expiryLoop looks each second for what has expired, so that memory follows
// even when nobody asks, and has the committer move the records.
func (st *Store) expiryLoop() {
	defer st.done.Done()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-st.closing:
			return
		}
		st.live.expire(st.now().Unix())
		select {
		case st.sweep <- struct{}{}:
		case <-st.closing:
			return
		}
	}
}

// moveHidden takes the records of expired events out of the keyspaces that
// opening the store reads, and erases expired mail.
func (st *Store) moveHidden() error {
	hidden := st.live.takeHidden()
	for len(hidden) > 0 {
		n := min(len(hidden), maxGroup)
		if err := st.movePart(hidden[:n]); err != nil {
			return fmt.Errorf("move expired records: %w", err)
		}
		hidden = hidden[n:]
	}
	return nil
}

func (st *Store) movePart(part []expiry) error {
	if err := st.flush(); err != nil {
		return err
	}
	g := &commitGroup{st: st}
	for _, e := range part {
		ie, addr, ok := st.live.hiddenEntry(e)
		if !ok {
			continue // replaced or deleted since
		}
		var err error
		if st.txnBytes > st.txnRoom/2 { // records may be large
			if err = st.flush(); err != nil {
				return err
			}
		}
		if addr == "" {
			err = st.del(seqKey(spaceRegular, ie.seq))
		} else if err = st.del(addressKey(spaceNewest, addr)); err == nil {
			err = g.set(addressKey(spaceHidden, addr), ie.encode())
		}
		if err == nil {
			err = g.scrubMail(&ie)
		}
		if err != nil {
			return err
		}
		g.changes = append(g.changes, change{remove: ie.id})
	}
	if err := st.flush(); err != nil {
		return err
	}
	g.apply()
	st.forget(g.erased)
	return nil
}

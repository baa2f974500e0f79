package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// deleted says whether the author of an arriving event has asked for its
// deletion before (NIP-09; deletions are sticky).
func (g *grouping) deleted(evt *nostr.Event, id, pubkey [32]byte, addr address) (bool, error) {
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
func (g *grouping) addressTomb(addr address) (int64, error) {
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

// delete carries out a deletion request. It is alone in its group, so that the
// live index and the files agree while it reads them.
//
// Where it erases more than one transaction holds, it commits in parts, none of
// which parts what becomes of one event. What the store has applied moves with
// the last of them: after a crash in between the request is carried out again.
func (g *grouping) delete(evt *nostr.Event, pubkey [32]byte) error {
	for _, t := range evt.Tags {
		if len(t) < 2 {
			continue
		}
		var err error
		switch t[0] {
		case "e":
			err = g.deleteID(t[1], pubkey)
		case "a":
			err = g.deleteAddress(t[1], pubkey, int64(evt.CreatedAt))
		}
		if err != nil {
			return fmt.Errorf("delete: %w", err)
		}
	}
	return nil
}

func (g *grouping) deleteID(hexID string, pubkey [32]byte) error {
	id, err := parseHex32(hexID)
	if err != nil {
		return nil // names no event
	}
	if _, err := g.st.txn.Get(tombIDKey(id, pubkey)); errors.Is(err, badger.ErrKeyNotFound) {
		g.tombs++
	} else if err != nil {
		return err
	}
	if err := g.set(tombIDKey(id, pubkey), binary.BigEndian.AppendUint64(nil, g.seq)); err != nil {
		return err
	}
	item, err := g.st.txn.Get(idKey(id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil // not held yet: the tombstone waits for it
	}
	if err != nil {
		return err
	}
	var seq uint64
	if err := item.Value(func(v []byte) error { seq = binary.BigEndian.Uint64(v); return nil }); err != nil {
		return err
	}
	if seq == g.seq {
		return nil
	}
	r, err := g.row(seq)
	if err != nil {
		return err
	}
	if r.pubkey != pubkey || r.kind == mostro.KindDeletion {
		return nil
	}
	return g.erase(seq, r)
}

func (g *grouping) deleteAddress(value string, pubkey [32]byte, until int64) error {
	parts := strings.SplitN(value, ":", 3)
	if len(parts) != 3 {
		return nil
	}
	kind, err := strconv.Atoi(parts[0])
	author, err2 := parseHex32(parts[1])
	c := kindClass(kind)
	if err != nil || err2 != nil || author != pubkey || kind < 0 || kind > 65535 || c != replaceable && c != addressable {
		return nil
	}
	d := parts[2]
	if c == replaceable {
		d = ""
	}
	addr := makeAddress(kind, pubkey, d)
	have, err := g.addressTomb(addr)
	if err != nil {
		return err
	}
	if have < 0 {
		g.tombs++
	}
	if err := g.set(tombAddressKey(addr), binary.BigEndian.AppendUint64(nil, uint64(max(have, until)))); err != nil {
		return err
	}
	now, err := g.addressState(&nostr.Event{Kind: kind, Tags: nostr.Tags{{"d", d}}}, addr, pubkey)
	if err != nil || now.space == 0 {
		return err
	}
	for seq := now.rec.chain; seq != 0; {
		r, err := g.row(seq)
		if err != nil {
			return err
		}
		if r.createdAt <= until {
			if err := g.erase(seq, r); err != nil {
				return err
			}
		}
		seq = r.previous
	}
	return nil
}

// erase removes an event's body and its place in the live index; its row stays
// as the bare fact.
func (g *grouping) erase(seq uint64, r row) error {
	if r.gone || slices.Contains(g.erased, seq) {
		return nil
	}
	if g.st.txnBytes > g.st.txnRoom/2 {
		if err := g.st.flushPart(); err != nil {
			return err
		}
	}
	if err := errors.Join(g.keepFact(seq), g.erasure(seq)); err != nil {
		return err
	}
	rec, addr, ok := g.st.live.recordOf(r.id)
	if !ok || rec.seq != seq {
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
	return g.set(addressKey(spaceHidden, addr), rec.encode())
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
	g := &grouping{st: st}
	for _, e := range part {
		rec, addr, ok := st.live.recordIn(e)
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
			err = st.del(seqKey(spaceRegular, rec.seq))
		} else if err = st.del(addressKey(spaceNewest, addr)); err == nil {
			err = g.set(addressKey(spaceHidden, addr), rec.encode())
		}
		if err == nil {
			err = g.eraseMail(&rec)
		}
		if err != nil {
			return err
		}
		g.changes = append(g.changes, change{remove: rec.id})
	}
	if err := st.flush(); err != nil {
		return err
	}
	g.apply()
	st.forget(g.erased)
	return nil
}

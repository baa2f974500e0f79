package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
)

// The log is the source of truth and becomes durable first. Derived keys (ids, index
// entries, tombstones, the queue) of many groups are collected in one transaction,
// which is committed together with applied, the last seq that it covers. After a crash,
// Open replays the records behind applied.

// Time for which derived keys are collected before a commit, while serving and during
// an import.
const (
	flushAfter     = 100 * time.Millisecond
	bulkFlushAfter = time.Second
)

// set and del write to the open transaction. Only the committer calls these methods.
func (st *Store) set(key, value []byte) error {
	st.txnBytes += len(key) + len(value) + keyOverhead
	return st.txn.Set(key, value)
}

func (st *Store) del(key []byte) error {
	st.txnBytes += len(key) + keyOverhead
	return st.txn.Delete(key)
}

// keyOverhead is more than Badger's own overhead per key when it computes the size of a
// transaction.
const keyOverhead = 64

// derivedBytes returns an upper bound of the transaction's growth by one arrival.
func derivedBytes(p *Enqueued) int {
	size := 1024
	if p.Event != nil {
		size += len(p.JSON) // the tags, in the index entry
	}
	for _, r := range p.writes {
		size += len(r.key) + len(r.value) + keyOverhead
	}
	return size
}

// makeRoom flushes the transaction if a group would exceed its limit, and begins a new
// file of the log if the last file is full.
func (st *Store) makeRoom(group []*Enqueued) error {
	if err := st.Err(); err != nil {
		return err
	}
	size := 0
	for _, p := range group {
		size += derivedBytes(p)
	}
	// A deletion may be committed in parts. It reads the live index, which must contain
	// all records logged before the deletion.
	if st.txnBytes+size > st.txnRoom || st.log.Full() || group[0].IsDeletion() {
		if err := st.flush(); err != nil {
			return err
		}
	}
	if st.log.Full() {
		return st.log.Roll()
	}
	return nil
}

// ensureRoom flushes the transaction if it has exceeded its limit. Earlier arrivals of
// the group may have grown the transaction by more than their own length: a large index
// entry is written again for every older version of its address.
func (g *commitGroup) ensureRoom() error {
	if g.st.txnBytes <= g.st.txnRoom {
		return nil
	}
	if err := g.write(); err != nil {
		return err
	}
	g.st.appliedSeq = g.seq
	return g.st.flush()
}

// flush commits the derived keys up to appliedSeq, and keyApplied with them.
func (st *Store) flush() error {
	if st.txnBytes == 0 || st.Err() != nil {
		return nil
	}
	if err := st.txn.Set(keyApplied, binary.BigEndian.AppendUint64(nil, st.appliedSeq)); err != nil {
		return err
	}
	return st.flushPart()
}

// flushPart commits the transaction and then scrubs the payloads that the transaction
// asks to scrub. The next transaction deletes the requests. If a crash comes in
// between, Open finishes the scrub.
func (st *Store) flushPart() error {
	if err := st.txn.Commit(); err != nil {
		return fmt.Errorf("write the index in %s: %w", st.db.Opts().Dir, err)
	}
	st.txn, st.txnBytes = st.db.NewTransaction(true), 0
	st.uncommitted.clear()
	if st.cfg.committed != nil {
		if err := st.cfg.committed(); err != nil {
			return err
		}
	}
	seqs := st.toScrub
	st.toScrub = nil
	firsts, err := st.log.Scrub(seqs)
	if err != nil {
		return err
	}
	for _, seq := range seqs {
		if err := st.del(seqKey(spaceScrub, seq)); err != nil {
			return err
		}
	}
	for _, first := range firsts {
		if err := st.log.Compact(first); err != nil {
			return err
		}
		if err := st.set(seqKey(spaceErasedBytes, first), binary.BigEndian.AppendUint64(nil, uint64(st.log.ErasedBytes(first)))); err != nil {
			return err
		}
	}
	return nil
}

// loadErasedBytes sets erasedBytes of the log files from Badger. A value greater than
// the file was written before a compaction that a crash interrupted, and is deleted.
func (st *Store) loadErasedBytes() error {
	var stale [][]byte
	err := st.eachKey([]byte{spaceErasedBytes}, []byte{spaceErasedBytes}, func(key, value []byte) bool {
		if len(key) == 9 && len(value) == 8 {
			first, erased := binary.BigEndian.Uint64(key[1:]), int64(binary.BigEndian.Uint64(value))
			if !st.log.SetErasedBytes(first, erased) {
				stale = append(stale, key)
			}
		}
		return true
	})
	if err != nil || len(stale) == 0 {
		return err
	}
	return st.db.Update(func(txn *badger.Txn) error {
		for _, key := range stale {
			if err := txn.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
}

// uncommittedIDs holds the ids whose derived keys are not committed yet.
type uncommittedIDs struct {
	mu  sync.RWMutex
	seq map[[32]byte]uint64
}

func (f *uncommittedIDs) add(ids map[[32]byte]uint64) {
	f.mu.Lock()
	maps.Copy(f.seq, ids)
	f.mu.Unlock()
}

func (f *uncommittedIDs) clear() {
	f.mu.Lock()
	clear(f.seq)
	f.mu.Unlock()
}

func (f *uncommittedIDs) find(id [32]byte) (uint64, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	seq, ok := f.seq[id]
	return seq, ok
}

// seqOf returns the seq of an id. ok is false if the id is not in the log.
func (st *Store) seqOf(id [32]byte) (seq uint64, ok bool, err error) {
	if seq, ok := st.uncommitted.find(id); ok {
		return seq, true, nil
	}
	if !st.ids.mayContain(id[:]) {
		return 0, false, nil
	}
	err = st.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(idKey(id))
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error { seq = binary.BigEndian.Uint64(v); return nil })
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, false, nil
	}
	return seq, err == nil, err
}

// finishScrubs scrubs the payloads whose scrub a crash may have interrupted.
func (st *Store) finishScrubs() error {
	var seqs []uint64
	err := st.eachKey([]byte{spaceScrub}, []byte{spaceScrub}, func(key, _ []byte) bool {
		if len(key) == 9 {
			seqs = append(seqs, binary.BigEndian.Uint64(key[1:]))
		}
		return true
	})
	if err != nil || len(seqs) == 0 {
		return err
	}
	firsts, err := st.log.Scrub(seqs)
	if err != nil {
		return err
	}
	batch := st.db.NewWriteBatch()
	defer batch.Cancel()
	for _, first := range firsts {
		if err := batch.Set(seqKey(spaceErasedBytes, first), binary.BigEndian.AppendUint64(nil, uint64(st.log.ErasedBytes(first)))); err != nil {
			return err
		}
	}
	for _, seq := range seqs {
		if err := batch.Delete(seqKey(spaceScrub, seq)); err != nil {
			return err
		}
	}
	return batch.Flush()
}

// replay writes the derived keys of the records behind applied.
func (st *Store) replay(applied uint64) error {
	head := st.log.Head()
	group, size := make([]*Enqueued, 0, maxGroup), 0
	again := func() error {
		if len(group) == 0 {
			return nil
		}
		err := st.makeRoom(group)
		g := &commitGroup{st: st, replay: true, now: st.now(), seq: group[0].seq - 1, base: head,
			newest: make(map[address]*addressState), ids: make(map[[32]byte]uint64)}
		for _, p := range group {
			if err != nil {
				return err
			}
			var seq uint64
			g.seq = p.seq - 1
			if err = g.ensureRoom(); err != nil {
				return err
			}
			if seq, _, err = g.append(p); err == nil && seq != p.seq {
				err = fmt.Errorf("entry %d is in the log twice, or was refused at its arrival", p.seq)
			}
			st.appliedSeq = p.seq
		}
		if err == nil {
			err = st.updateMemory(g)
		}
		group, size = group[:0], 0
		return err
	}
	err := st.log.Each(applied, head, func(seq uint64, r recordlog.Record, body []byte, err error) error {
		if err != nil {
			return fmt.Errorf("entry %d: %w", seq, err)
		}
		p := &Enqueued{seq: seq, expired: r.Expired, Arrival: Arrival{
			ReceivedAt: time.UnixMilli(r.ReceivedAt).UTC(), Source: r.Source, Forward: r.Forward}}
		if r.PayloadErased && !mostro.IsMail(r.Kind) {
			// A payload is scrubbed only after the derived keys of its deletion are
			// committed, so these keys are lost.
			return fmt.Errorf("entry %d is erased, and the derived keys of its deletion are missing: %w", seq, ErrDamaged)
		}
		if r.PayloadErased {
			// Erased mail, and mail that was expired at its arrival, leaves only its id
			// and, if it was deleted, the effects of the deletion.
			if err := again(); err != nil {
				return err
			}
			st.appliedSeq = seq
			return st.set(idKey(r.ID), binary.BigEndian.AppendUint64(nil, seq))
		}
		p.JSON = bytes.Clone(body)
		if p.Event, err = ParseBody(p.JSON); err != nil {
			return fmt.Errorf("entry %d: %w", seq, err)
		}
		if p.IsDeletion() || len(group) == maxGroup || size+writeBytes(p.JSON) > maxGroupBytes {
			if err := again(); err != nil {
				return err
			}
		}
		group, size = append(group, p), size+writeBytes(p.JSON)
		if seq%50_000 == 0 && st.cfg.Progress != nil {
			st.cfg.Progress(int(seq))
		}
		if p.IsDeletion() {
			return again()
		}
		return nil
	})
	if err == nil {
		err = again()
	}
	if err == nil {
		err = st.flush()
	}
	return err
}

// requestScrub schedules the scrub of a payload. The scrub follows the commit of the
// transaction, which holds the request durably.
func (g *commitGroup) requestScrub(seq uint64) error {
	st := g.st
	st.toScrub = append(st.toScrub, seq)
	if g.erased == nil {
		g.erased = make(map[uint64]struct{})
	}
	g.erased[seq] = struct{}{}
	return g.set(seqKey(spaceScrub, seq), []byte{})
}

// scrubMail schedules the scrub of expired mail.
func (g *commitGroup) scrubMail(ie *indexEntry) error {
	if !mostro.IsMail(ie.kind) {
		return nil
	}
	return g.requestScrub(ie.seq)
}

package eventlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
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

// derivedKeys holds the keys of Badger and the transaction that is not committed yet.
type derivedKeys struct {
	db          *badger.DB
	log         *recordlog.Log // payloads are scrubbed after the commit of their requests
	committed   func() error   // Config.committed
	ids         *seenFilter    // filter of the ids in the log
	hidden      *seenFilter    // filter of the addresses whose newest version is not served
	tombs       atomic.Int64   // number of tombstones; if 0, lookups are skipped
	uncommitted uncommittedIDs

	// The following fields are owned by the committer.
	txn     *badger.Txn // keys that are not committed yet
	size    int         // size of txn in bytes; 0 if txn is empty
	room    int         // limit of size
	applied uint64      // last seq whose derived keys are in txn or committed
	toScrub []uint64    // seqs whose payloads are scrubbed after the commit of txn
	// copies is the number of open copies of the log. While it is not 0, no file is compacted,
	// and scrubbed collects the seqs whose payloads are scrubbed.
	copies   int
	scrubbed []uint64
}

func newDerivedKeys(db *badger.DB, committed func() error) *derivedKeys {
	return &derivedKeys{db: db, committed: committed, uncommitted: uncommittedIDs{seq: make(map[[32]byte]uint64)}}
}

// begin begins the first transaction. The keys up to applied are committed.
func (k *derivedKeys) begin(applied uint64) {
	k.txn, k.room = k.db.NewTransaction(true), int(min(k.db.MaxBatchSize(), keyOverhead*k.db.MaxBatchCount())*3/4)
	k.applied = applied
}

// half reports whether more than half of the transaction's limit is used.
func (k *derivedKeys) half() bool { return k.size > k.room/2 }

// set and del write to the open transaction. Only the committer calls set and del.
func (k *derivedKeys) set(key, value []byte) error {
	if key[0] == spaceHidden {
		k.hidden.add(key[1:]) // added before the commit: a false "maybe" does no harm
	}
	k.size += len(key) + len(value) + keyOverhead
	return k.txn.Set(key, value)
}

func (k *derivedKeys) del(key []byte) error {
	k.size += len(key) + keyOverhead
	return k.txn.Delete(key)
}

// write makes key writes that do not belong to an event.
func (k *derivedKeys) write(writes []keyWrite) error {
	for _, w := range writes {
		var err error
		if w.value == nil {
			err = k.del(w.key)
		} else {
			err = k.set(w.key, w.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keyOverhead is more than Badger's own overhead per key when it computes the size of a
// transaction.
const keyOverhead = 64

// flush commits the derived keys up to applied, and keyApplied with them.
func (k *derivedKeys) flush() error {
	if k.size == 0 {
		return nil
	}
	if err := k.txn.Set(keyApplied, binary.BigEndian.AppendUint64(nil, k.applied)); err != nil {
		return err
	}
	return k.flushPart()
}

// flushPart commits the transaction and then scrubs the payloads that the transaction
// asks to scrub. The next transaction deletes the requests. If a crash comes in
// between, Open finishes the scrub.
func (k *derivedKeys) flushPart() error {
	if err := k.txn.Commit(); err != nil {
		return fmt.Errorf("write the index in %s: %w", k.db.Opts().Dir, err)
	}
	k.txn, k.size = k.db.NewTransaction(true), 0
	k.uncommitted.clear()
	if k.committed != nil {
		if err := k.committed(); err != nil {
			return err
		}
	}
	seqs := k.toScrub
	k.toScrub = nil
	firsts, err := k.log.Scrub(seqs)
	if err != nil {
		return err
	}
	for _, seq := range seqs {
		if err := k.del(seqKey(spaceScrub, seq)); err != nil {
			return err
		}
	}
	if k.copies > 0 {
		k.scrubbed = append(k.scrubbed, seqs...)
	}
	for _, first := range firsts {
		if k.copies == 0 {
			if err := k.log.Compact(first); err != nil {
				return err
			}
		}
		if err := k.set(seqKey(spaceErasedBytes, first), binary.BigEndian.AppendUint64(nil, uint64(k.log.ErasedBytes(first)))); err != nil {
			return err
		}
	}
	return nil
}

// get returns the value of a key, or nil if the key does not exist.
func (k *derivedKeys) get(key []byte) (value []byte, err error) {
	err = k.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		value, err = item.ValueCopy(nil)
		return err
	})
	return value, err
}

// each calls fn for the keys with a prefix, from start on, ascending, until fn
// returns false. fn owns key and value.
func (k *derivedKeys) each(prefix, start []byte, fn func(key, value []byte) bool) error {
	return k.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 100, Prefix: prefix})
		defer it.Close()
		for it.Seek(start); it.Valid(); it.Next() {
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			if !fn(it.Item().KeyCopy(nil), value) {
				return nil
			}
		}
		return nil
	})
}

// loadErasedBytes sets erasedBytes of the log files from Badger. A value greater than
// the file was written before a compaction that a crash interrupted, and is deleted.
func (k *derivedKeys) loadErasedBytes() error {
	var stale [][]byte
	err := k.each([]byte{spaceErasedBytes}, []byte{spaceErasedBytes}, func(key, value []byte) bool {
		if len(key) == 9 && len(value) == 8 {
			first, erased := binary.BigEndian.Uint64(key[1:]), int64(binary.BigEndian.Uint64(value))
			if !k.log.SetErasedBytes(first, erased) {
				stale = append(stale, key)
			}
		}
		return true
	})
	if err != nil || len(stale) == 0 {
		return err
	}
	return k.db.Update(func(txn *badger.Txn) error {
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
func (k *derivedKeys) seqOf(id [32]byte) (seq uint64, ok bool, err error) {
	if seq, ok := k.uncommitted.find(id); ok {
		return seq, true, nil
	}
	if !k.ids.mayContain(id[:]) {
		return 0, false, nil
	}
	err = k.db.View(func(txn *badger.Txn) error {
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
func (k *derivedKeys) finishScrubs() error {
	var seqs []uint64
	err := k.each([]byte{spaceScrub}, []byte{spaceScrub}, func(key, _ []byte) bool {
		if len(key) == 9 {
			seqs = append(seqs, binary.BigEndian.Uint64(key[1:]))
		}
		return true
	})
	if err != nil || len(seqs) == 0 {
		return err
	}
	firsts, err := k.log.Scrub(seqs)
	if err != nil {
		return err
	}
	batch := k.db.NewWriteBatch()
	defer batch.Cancel()
	for _, first := range firsts {
		if err := batch.Set(seqKey(spaceErasedBytes, first), binary.BigEndian.AppendUint64(nil, uint64(k.log.ErasedBytes(first)))); err != nil {
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

package eventlog

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/ristretto/v2/z"
)

// seenFilter answers "surely not held" for most new keys of one keyspace
// without asking the disk: a Bloom filter over all of them. It is filled in the
// background after opening; until then it says "maybe" to everything.
type seenFilter struct {
	space byte
	hash  func(tail []byte) uint64 // of a key without its first byte

	ready atomic.Bool
	mu    sync.RWMutex
	bloom *z.Bloom
	n     int // keys added
	room  int // keys that it was sized for
}

const (
	falsePositives = 0.01 // share of new keys that are looked up in vain
	filterRoom     = 1_000_000
)

// newIDFilter is over the ids of the log.
func newIDFilter(held int) *seenFilter {
	f := &seenFilter{space: spaceID, hash: hashID}
	f.resize(held)
	return f
}

// newHiddenFilter is over the addresses whose newest version is not served.
func newHiddenFilter() *seenFilter {
	seed := maphash.MakeSeed()
	f := &seenFilter{space: spaceHidden, hash: func(tail []byte) uint64 { return maphash.Bytes(seed, tail) }}
	f.resize(0)
	return f
}

// The first half of a SHA-256 is as good a hash as any.
func hashID(id []byte) uint64 { return binary.LittleEndian.Uint64(id) }

func (f *seenFilter) resize(held int) {
	f.room, f.n = 2*held+filterRoom, 0
	f.bloom = z.NewBloomFilter(float64(f.room), falsePositives)
}

// mayHold is false only when a key is surely not there.
func (f *seenFilter) mayContain(tail []byte) bool {
	if !f.ready.Load() {
		return true
	}
	h := f.hash(tail)
	f.mu.RLock()
	defer f.mu.RUnlock()
	return !f.ready.Load() || f.bloom.Has(h) // it may have been made anew since
}

// add notes keys before they are looked for.
func (f *seenFilter) add(tail []byte) { f.addHashed(f.hash(tail)) }

func (f *seenFilter) addHashed(hashes ...uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range hashes {
		f.bloom.Add(h)
	}
	f.n += len(hashes)
}

// fill reads every key of the keyspace into the filter. New ones are added by
// the committer meanwhile.
func (st *Store) fill(f *seenFilter) {
	batch, began := make([]uint64, 0, 1024), time.Now()
	err := st.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{f.space}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if batch = append(batch, f.hash(it.Item().Key()[1:])); len(batch) < cap(batch) {
				continue
			}
			f.addHashed(batch...)
			if batch = batch[:0]; !st.idleAfter(began) {
				return ErrClosed
			}
			began = time.Now()
		}
		f.addHashed(batch...)
		return nil
	})
	if err == nil { // else it goes on saying "maybe"
		f.ready.Store(true)
	}
}

// growFilters begins a larger filter in place of one that is full. The
// committer calls it.
func (st *Store) growFilters() error {
	for _, f := range []*seenFilter{st.ids, st.hidden} {
		if !f.ready.Load() || f.n <= f.room {
			continue
		}
		if err := st.flush(); err != nil { // what is not in the files is not found there
			return err
		}
		f.mu.Lock()
		f.ready.Store(false)
		f.resize(f.n)
		f.mu.Unlock()
		st.done.Add(1)
		go func() {
			defer st.done.Done()
			st.fill(f)
		}()
	}
	return nil
}

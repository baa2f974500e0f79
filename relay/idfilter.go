package relay

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/ristretto/v2/z"
)

// idFilter answers "surely not held" for most new ids without asking the disk:
// a Bloom filter over the ids of the whole log. It is filled in the background
// after opening; until then it says "maybe" to everything.
type idFilter struct {
	ready atomic.Bool
	mu    sync.RWMutex
	bloom *z.Bloom
	n     int // ids added
	room  int // ids that it was sized for
}

// falsePositives is the share of new ids that are looked up on disk in vain.
const falsePositives = 0.01

func newIDFilter(held uint64) *idFilter {
	f := &idFilter{}
	f.resize(int(held))
	return f
}

func (f *idFilter) resize(held int) {
	f.room, f.n = 2*held+1_000_000, 0
	f.bloom = z.NewBloomFilter(float64(f.room), falsePositives)
}

// The first half of a SHA-256 is as good a hash as any.
func idHash(id [32]byte) uint64 { return binary.LittleEndian.Uint64(id[:8]) }

// mayHold is false only when an id is surely not in the log.
func (f *idFilter) mayHold(id [32]byte) bool {
	if !f.ready.Load() {
		return true
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.bloom.Has(idHash(id))
}

// add notes committed ids. It says whether the filter is too full to be of use
// and must be filled anew.
func (f *idFilter) add(ids ...[32]byte) (full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		f.bloom.Add(idHash(id))
	}
	f.n += len(ids)
	return f.n > f.room
}

// fillFilter reads every id of the log into the filter. New ids are added by
// the committer meanwhile.
func (st *Store) fillFilter() {
	defer st.done.Done()
	batch := make([][32]byte, 0, 1024)
	err := st.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{spaceID}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if batch = append(batch, [32]byte(it.Item().Key()[1:])); len(batch) == cap(batch) {
				st.ids.add(batch...)
				batch = batch[:0]
				select {
				case <-st.closing:
					return ErrClosed
				default:
				}
			}
		}
		st.ids.add(batch...)
		return nil
	})
	if err == nil { // else it goes on saying "maybe"
		st.ids.ready.Store(true)
	}
}

// growFilter begins a larger filter once the present one is full.
func (st *Store) growFilter() {
	st.ids.ready.Store(false)
	st.ids.mu.Lock()
	st.ids.resize(int(st.head.Load()))
	st.ids.mu.Unlock()
	st.done.Add(1)
	go st.fillFilter()
}

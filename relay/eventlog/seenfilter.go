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

// seenFilter is a Bloom filter over all keys of one keyspace. It answers "not there"
// for most new keys without a read from disk. The filter is filled in the background
// after Open; until then it answers "maybe" for every key.
type seenFilter struct {
	// The following fields do not change.
	db    *badger.DB
	pace  *pace                    // of fill
	space byte                     // keyspace of the keys
	hash  func(tail []byte) uint64 // hash of a key without its first byte

	ready atomic.Bool
	mu    sync.RWMutex // guards the following fields
	bloom *z.Bloom
	n     int // number of added keys
	room  int // number of keys that the filter is sized for
}

const (
	falsePositives = 0.01 // share of new keys that cause a useless lookup
	filterRoom     = 1_000_000
)

// newIDFilter returns a filter of the ids in the log.
func newIDFilter(db *badger.DB, p *pace, held int) *seenFilter {
	f := &seenFilter{db: db, pace: p, space: spaceID, hash: hashID}
	f.resize(held)
	return f
}

// newHiddenFilter returns a filter of the addresses whose newest version is not served.
func newHiddenFilter(db *badger.DB, p *pace) *seenFilter {
	seed := maphash.MakeSeed()
	f := &seenFilter{db: db, pace: p, space: spaceHidden, hash: func(tail []byte) uint64 { return maphash.Bytes(seed, tail) }}
	f.resize(0)
	return f
}

// hashID returns the first eight bytes of an id. An id is a SHA-256, so its bytes are
// already a hash.
func hashID(id []byte) uint64 { return binary.LittleEndian.Uint64(id) }

func (f *seenFilter) resize(held int) {
	f.room, f.n = 2*held+filterRoom, 0
	f.bloom = z.NewBloomFilter(float64(f.room), falsePositives)
}

// mayContain returns false only if the key is certainly not in the keyspace.
func (f *seenFilter) mayContain(tail []byte) bool {
	if !f.ready.Load() {
		return true
	}
	h := f.hash(tail)
	f.mu.RLock()
	defer f.mu.RUnlock()
	return !f.ready.Load() || f.bloom.Has(h) // the filter may have been replaced meanwhile
}

// add adds a key. The committer adds a key before any goroutine looks for it.
func (f *seenFilter) add(tail []byte) { f.addHashed(f.hash(tail)) }

func (f *seenFilter) addHashed(hashes ...uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range hashes {
		f.bloom.Add(h)
	}
	f.n += len(hashes)
}

// fill adds every key of the keyspace to the filter. The committer adds new keys at the
// same time.
func (f *seenFilter) fill() {
	batch, began := make([]uint64, 0, 1024), time.Now()
	err := f.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{f.space}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if batch = append(batch, f.hash(it.Item().Key()[1:])); len(batch) < cap(batch) {
				continue
			}
			f.addHashed(batch...)
			if batch = batch[:0]; !f.pace.idleAfter(began) {
				return ErrClosed
			}
			began = time.Now()
		}
		f.addHashed(batch...)
		return nil
	})
	if err == nil { // on an error the filter continues to answer "maybe"
		f.ready.Store(true)
	}
}

// outgrown reports whether the filter holds more keys than it is sized for. Only the
// committer calls outgrown and grow.
func (f *seenFilter) outgrown() bool { return f.ready.Load() && f.n > f.room }

// grow makes the filter larger and empties it. The caller then calls fill.
func (f *seenFilter) grow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ready.Store(false)
	f.resize(f.n)
}

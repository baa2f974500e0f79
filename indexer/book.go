package indexer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/mostrodex/mostrodex/indexer/livebook"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/nbd-wtf/go-nostr"
)

// book stores every version of every order, and the records of authors, in Badger. The
// live orders are held in the column store in memory as well.
//
// One goroutine applies entries; any number of goroutines read. The store is disposable.
// Badger does not sync the store, and the cursor is committed together with the data. If
// a crash loses the last batches, the cursor is lost with them, and the book reads the
// entries from the log again.
type book struct {
	dir string
	now func() time.Time

	life sync.RWMutex // read-locked while db is used; write-locked while db is replaced
	db   *badger.DB

	live    atomic.Pointer[livebook.Store] // replaced with db
	recent  recent
	authors atomic.Pointer[authors]

	cursor  atomic.Uint64
	moved   signal                 // raised when the cursor moves
	mark    atomic.Pointer[string] // random name of this build of the book; search belongs to the book with the same mark
	expired goneQueue

	bans     func() (version uint64, banned map[[32]byte]struct{}) // the operator's rules; nil: no key is banned
	judgedAt atomic.Int64                                          // time at which the classes of all orders were updated last, unix nanoseconds

	deletions bool // the book holds a deletion; owned by the writer
}

// openBook opens dir/book, or creates it.
func openBook(dir string, now func() time.Time, bans func() (uint64, map[[32]byte]struct{})) (*book, error) {
	b := &book{dir: filepath.Join(dir, "book"), now: now, bans: bans}
	b.moved.init()
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

var errOtherFormat = errors.New("book of another format")

// Options of Badger for the book. Keys are hashes, so each file of level 0 is merged with
// all of the next level. If both levels are larger, each version is written fewer times.
// Level 0 itself is kept short: merging many files at once halves the time in which a
// book is built, but then blocks the disk for a minute now and then.
const (
	memtableBytes  = 32 << 20
	baseLevelBytes = 64 << 20
)

func (b *book) open() error {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	db, err := badger.Open(badger.DefaultOptions(b.dir).
		WithLogger(nil).WithSyncWrites(false).WithDetectConflicts(false).
		WithCompression(options.None).WithBlockCacheSize(0).
		WithMemTableSize(memtableBytes).WithNumMemtables(2).WithBaseLevelSize(baseLevelBytes).WithValueLogFileSize(64 << 20).
		WithNumCompactors(2).WithMetricsEnabled(false))
	if err != nil {
		return fmt.Errorf("open book: %w", err)
	}
	b.db = db
	err = b.load()
	if err == nil {
		b.deletions, err = anyDeletion(db)
	}
	if err != nil {
		db.Close()
		return fmt.Errorf("load book: %w", err)
	}
	return nil
}

func (b *book) close() error {
	b.life.Lock()
	defer b.life.Unlock()
	if b.db == nil {
		return nil
	}
	err := b.db.Close()
	b.db = nil
	return err
}

// name returns the mark of this build of the book.
func (b *book) name() string { return *b.mark.Load() }

// reset deletes the book and creates an empty one.
func (b *book) reset() error {
	b.life.Lock()
	defer b.life.Unlock()
	if b.db != nil {
		b.db.Close() // the store is deleted next
		b.db = nil
	}
	b.recent.clear()
	if err := os.RemoveAll(b.dir); err != nil {
		return err
	}
	return b.open()
}

// view runs fn in a read transaction.
func (b *book) view(fn func(*badger.Txn) error) error {
	b.life.RLock()
	defer b.life.RUnlock()
	if b.db == nil {
		return ErrClosed
	}
	return b.db.View(fn)
}

// ErrClosed is returned if a store of the index is closed or being rebuilt.
var ErrClosed = errors.New("the index is closed")

// load reads the newest version of every order, and puts the live orders and the sums of
// all authors into memory.
func (b *book) load() error {
	live, authors := livebook.New(), newAuthors()
	var gone []expiry
	var cursorAt uint64
	var mark string
	now := b.now()
	err := b.db.View(func(txn *badger.Txn) error {
		format, err := get(txn, metaKey("format"))
		switch {
		case errors.Is(err, badger.ErrKeyNotFound):
			return nil // a new book
		case err != nil:
			return err
		case len(format) != 1 || format[0] != orders.RecordFormat:
			return errOtherFormat
		}
		cursor, err := get(txn, metaKey("cursor"))
		if err != nil {
			return err
		}
		name, err := get(txn, metaKey("mark"))
		if err != nil {
			return err
		}
		cursorAt, mark = binary.BigEndian.Uint64(cursor), string(name)
		if err := authors.load(txn, now); err != nil {
			return err
		}
		live.Judge(authors.judgements(nil, now))
		var failed error
		live.Load(func(add func(livebook.Item)) {
			failed = eachRecord(b.db, func(k orders.Key, r *orders.Record) {
				authors.count(&r.Version, r.FirstSeenAt, 1)
				if r.LiveAt(now) {
					add(livebook.Item{Key: k, Record: r})
				} else if !r.Withdrawn {
					gone = append(gone, expiry{k, r.Deadline()})
				}
			})
		}, now)
		return failed
	})
	if err != nil {
		return err
	}
	b.cursor.Store(cursorAt)
	b.mark.Store(&mark)
	if mark == "" {
		if err := b.begin(); err != nil {
			return err
		}
	}
	live.Judge(authors.judgements(nil, now))
	b.live.Store(live)
	b.authors.Store(authors)
	b.expired.reset(gone)
	return nil
}

// begin writes the first keys of a new book.
func (b *book) begin() error {
	mark := nostr.GeneratePrivateKey()[:16]
	b.mark.Store(&mark)
	return b.db.Update(func(txn *badger.Txn) error {
		for _, kv := range []struct {
			name  string
			value []byte
		}{{"format", []byte{orders.RecordFormat}}, {"mark", []byte(mark)}, {"cursor", make([]byte, 8)}} {
			if err := txn.Set(metaKey(kv.name), kv.value); err != nil {
				return err
			}
		}
		return nil
	})
}

func get(txn *badger.Txn, key []byte) ([]byte, error) {
	it, err := txn.Get(key)
	if err != nil {
		return nil, err
	}
	return it.ValueCopy(nil)
}

func has(txn *badger.Txn, key []byte) (bool, error) {
	_, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

// judge updates the classes of the orders of some keys.
func (b *book) judge(keys []string) {
	b.live.Load().Judge(b.authors.Load().judgements(keys, b.now()))
}

// rejudgeEvery is the interval at which keys are checked for age.
const rejudgeEvery = 30 * time.Second

// rejudge updates the classes of all orders, because keys grow older without an event. If
// force is set, rejudge does not wait for the interval.
func (b *book) rejudge(now time.Time, force bool) {
	last := b.judgedAt.Load()
	if passed := now.UnixNano() - last; !force && passed >= 0 && passed < int64(rejudgeEvery) || !b.judgedAt.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	b.authors.Load().reclash(now, force)
	b.judge(nil)
}

// sweep removes expired orders from the live book, queues them for search, and updates
// the classes of orders.
func (b *book) sweep(now time.Time) {
	changed := b.bans != nil && b.authors.Load().ban(b.bans())
	b.rejudge(now, changed)
	left := b.live.Load().Expire(now)
	if len(left) == 0 {
		return
	}
	all := make([]expiry, len(left))
	for i, k := range left {
		all[i] = expiry{k, orders.ClampTime(now.Unix())}
	}
	b.expired.add(all...)
}

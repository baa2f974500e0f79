package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// DefaultBodyCache bounds the bodies of live events kept in memory, in bytes.
const DefaultBodyCache = 128 << 20

// StoreConfig says where and how a Store keeps the log.
type StoreConfig struct {
	Dir       string           // data directory; the store uses Dir/events
	ReadOnly  bool             // for verifying: nothing is written, Enqueue refuses
	Bulk      bool             // much is going to be appended: memory is spent to write it with less work
	BodyCache int              // bytes; 0: DefaultBodyCache; negative: none
	Now       func() time.Time // nil: time.Now
	Logger    *slog.Logger     // nil: none
	Metrics   *StoreMetrics    // nil: none kept
	Progress  func(loaded int) // called now and then while opening; may be nil
	// Settled is closed when what was opened serves: reading ahead, which is seconds
	// of work in a large store, waits for it, and takes its time then. nil: it
	// begins at once and does not rest.
	Settled <-chan struct{}
}

// Store is the log of all accepted events and the index of those that are
// live. It is one of the two precious stores: every append is synced before it
// is acknowledged, and an error from the disk is fatal.
type Store struct {
	cfg     StoreConfig
	db      *badger.DB
	live    *live
	queue   chan *pending
	now     func() time.Time
	log     *slog.Logger
	metrics *StoreMetrics
	ids     *seenFilter  // ids of the log
	hidden  *seenFilter  // addresses whose newest version is not served
	tombs   atomic.Int64 // tombstones held; at 0 look-ups are skipped

	sweep chan struct{} // the ticker asks the committer to move expired records

	headMu    sync.Mutex // guards moved, ring, closed, enqueuing.Add and, for writing, head
	moved     chan struct{}
	head      atomic.Uint64
	ring      ring
	closed    bool
	enqueuing sync.WaitGroup

	fatalOnce sync.Once
	fatal     error         // set before dead is closed
	dead      chan struct{} // closed when the store can no longer be trusted
	closing   chan struct{}
	closeOnce sync.Once
	done      sync.WaitGroup // committer and ticker
}

// Errors of opening a store. Each is the whole sentence for the operator.
var (
	ErrNewerSchema = errors.New("the data was written by a newer version of mostrodex: upgrade, or use another --data directory")
	ErrLocked      = errors.New("the data directory is in use by another mostrodex process: stop it, or use another --data directory")
	ErrReadOnly    = errors.New("the data directory is not writable: mend its permissions, or use another --data directory")
	ErrClosed      = errors.New("the store is closed")
)

// OpenStore opens or creates the log and loads the live index.
func OpenStore(cfg StoreConfig) (*Store, error) {
	st := &Store{
		cfg: cfg, now: cfg.Now, log: cfg.Logger, metrics: cfg.Metrics,
		queue: make(chan *pending, queueSize), moved: make(chan struct{}), sweep: make(chan struct{}),
		dead: make(chan struct{}), closing: make(chan struct{}),
	}
	if st.now == nil {
		st.now = time.Now
	}
	if st.log == nil {
		st.log = slog.New(slog.DiscardHandler)
	}
	if st.metrics == nil {
		st.metrics = NewStoreMetrics()
	}
	budget := cfg.BodyCache
	if budget == 0 {
		budget = DefaultBodyCache
	}
	st.live = newLive(max(budget, 0))
	db, err := openBadger(filepath.Join(cfg.Dir, "events"), cfg.ReadOnly, cfg.Bulk)
	if err != nil {
		return nil, err
	}
	st.db = db
	if err := st.load(); err != nil {
		db.Close()
		return nil, err
	}
	st.ids, st.hidden = newIDFilter(int(st.head.Load())), newHiddenFilter()
	if !cfg.ReadOnly {
		st.done.Add(3)
		go st.readAhead()
		go st.commitLoop()
		go st.expiryLoop()
	}
	return st, nil
}

// readAhead reads what makes appends and queries quicker.
func (st *Store) readAhead() {
	defer st.done.Done()
	if st.cfg.Settled != nil {
		select {
		case <-st.cfg.Settled:
		case <-st.closing:
			return
		}
	}
	st.fill(st.hidden)
	st.fill(st.ids)
	st.warm()
}

// restShare is how much longer reading ahead rests than it works.
const restShare = 3

// rest leaves the cores to others after some reading ahead. It is false when
// the store closes.
func (st *Store) rest(began time.Time) bool {
	if st.cfg.Settled == nil {
		select {
		case <-st.closing:
			return false
		default:
			return true
		}
	}
	timer := time.NewTimer(restShare * time.Since(began))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-st.closing:
		return false
	}
}

// What Badger gathers in memory before it writes a file, while serving and
// during an import, and the size of the first level that it sorts. Each file of
// level 0 spans all keyspaces, so it is merged with all of that level: with
// Badger's own 10 MiB that was a third of the CPU of an import of half a million
// events. Memory is twice the first figure, or three times while one is written.
const (
	memtableBytes     = 16 << 20
	bulkMemtableBytes = 64 << 20
	baseLevelBytes    = 128 << 20
)

func openBadger(dir string, readOnly, bulk bool) (*badger.DB, error) {
	if !readOnly {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			if errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "read-only") {
				return nil, fmt.Errorf("%s: %w", dir, ErrReadOnly)
			}
			return nil, fmt.Errorf("create %s: %w", dir, err)
		}
	}
	memtable := int64(memtableBytes)
	if bulk || leftByBulk(dir) {
		memtable = bulkMemtableBytes
	}
	opt := badger.DefaultOptions(dir).
		WithLogger(nil).
		WithSyncWrites(true).
		WithReadOnly(readOnly).
		WithDetectConflicts(false). // one writer
		WithNumVersionsToKeep(1).
		WithCompression(options.Snappy).
		WithMemTableSize(memtable).
		WithNumMemtables(3).
		WithBaseLevelSize(baseLevelBytes).
		WithBlockCacheSize(64 << 20).
		WithIndexCacheSize(64 << 20).
		WithNumCompactors(2)
	db, err := badger.Open(opt)
	if err == nil {
		return db, nil
	}
	switch msg := err.Error(); {
	case strings.Contains(msg, "Cannot acquire directory lock"):
		return nil, fmt.Errorf("%s: %w", dir, ErrLocked)
	case errors.Is(err, fs.ErrPermission), strings.Contains(msg, "permission denied"), strings.Contains(msg, "read-only file system"):
		return nil, fmt.Errorf("%s: %w", dir, ErrReadOnly)
	}
	return nil, fmt.Errorf("open %s: %w", dir, err)
}

// leftByBulk says whether an import that did not end may have left a log of a
// memtable that is larger than while serving: Badger reads it back into one of
// the size it is opened with. Badger makes a log twice as long as its memtable
// and cuts it when it was read back.
func leftByBulk(dir string) bool {
	logs, _ := filepath.Glob(filepath.Join(dir, "*.mem")) // no error: the pattern is right
	return slices.ContainsFunc(logs, func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || info.Size() != 2*memtableBytes
	})
}

// load checks the schema and fills the live index from the records. Bodies
// stay on disk.
func (st *Store) load() error {
	if err := st.checkSchema(); err != nil {
		return err
	}
	now := st.now().Unix()
	bulk := newBulk(st.live)
	err := st.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: []byte{spaceRow}})
		if it.Seek(seqKey(spaceRow, math.MaxUint64)); it.Valid() {
			st.head.Store(binary.BigEndian.Uint64(it.Item().Key()[1:]))
		}
		it.Close()
		loaded := 0
		if err := eachRecord(txn, func(records []record) {
			for _, r := range records {
				bulk.add(r)
				if loaded++; loaded%50_000 == 0 && st.cfg.Progress != nil {
					st.cfg.Progress(loaded)
				}
			}
		}); err != nil {
			return err
		}
		tombs := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{spaceTomb}})
		defer tombs.Close()
		for tombs.Rewind(); tombs.Valid(); tombs.Next() {
			st.tombs.Add(1)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load the live index: %w", err)
	}
	bulk.finish()
	st.live.expire(now)
	st.ring = newRing(st.head.Load())
	return nil
}

// eachRecord gives all records of what is served to fn, some at a time, while
// the next ones are read.
func eachRecord(txn *badger.Txn, fn func([]record)) error {
	const some = 1024
	parts := make(chan []record, 4)
	var failed error
	go func() {
		defer close(parts)
		part := make([]record, 0, some)
		for _, space := range []byte{spaceNewest, spaceRegular} {
			it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 1000, Prefix: []byte{space}})
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				if failed = it.Item().Value(func(v []byte) error {
					r, err := decodeRecord(v)
					if err != nil {
						return fmt.Errorf("record %x: %w", it.Item().Key(), err)
					}
					part = append(part, r)
					return nil
				}); failed != nil {
					return
				}
				if len(part) == some {
					parts <- part
					part = make([]record, 0, some)
				}
			}
		}
		parts <- part
	}()
	for part := range parts {
		fn(part)
	}
	return failed
}

func (st *Store) checkSchema() error {
	var version uint32
	err := st.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(keySchema)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			if len(v) != 4 {
				return errCorrupt
			}
			version = binary.BigEndian.Uint32(v)
			return nil
		})
	})
	switch {
	case err != nil:
		return fmt.Errorf("read the schema: %w", err)
	case version > schemaVersion:
		return fmt.Errorf("schema %d, this program knows %d: %w", version, schemaVersion, ErrNewerSchema)
	case version == schemaVersion || st.cfg.ReadOnly:
		return nil
	}
	return st.db.Update(func(txn *badger.Txn) error {
		return txn.Set(keySchema, binary.BigEndian.AppendUint32(nil, schemaVersion))
	})
}

// Close waits for the appends under way and closes the files. Later calls to
// Enqueue answer ErrClosed.
func (st *Store) Close() error {
	var err error
	st.closeOnce.Do(func() {
		st.headMu.Lock()
		st.closed = true
		st.headMu.Unlock()
		st.enqueuing.Wait() // the committer still takes from the queue
		close(st.closing)
		st.done.Wait()
		err = st.db.Close()
	})
	return err
}

// Dead is closed when an error of the disk has put the store in doubt. Err
// says why. The process must stop; opening the store again repairs it.
func (st *Store) Dead() <-chan struct{} { return st.dead }

// Err is the fatal error once Dead is closed.
func (st *Store) Err() error {
	select {
	case <-st.dead:
		return st.fatal
	default:
		return nil
	}
}

func (st *Store) die(err error) {
	st.fatalOnce.Do(func() {
		st.fatal = fmt.Errorf("the event log is in doubt: %w", err)
		st.log.Error("event log in doubt", "err", err)
		close(st.dead)
	})
}

// Has says whether an event is held in any state: live, archived, expired, or
// deleted and refused for good.
func (st *Store) Has(_ context.Context, id string) (bool, error) {
	key, err := parseHex32(id)
	if err != nil {
		return false, nil
	}
	st.live.mu.RLock()
	_, ok := st.live.slots.find(key)
	st.live.mu.RUnlock()
	if ok {
		return true, nil
	}
	if !st.ids.mayHold(key[:]) {
		return false, nil
	}
	err = st.db.View(func(txn *badger.Txn) error {
		_, err := txn.Get(idKey(key))
		return err
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (st *Store) unsettled(keys []filingKey) []filingKey {
	head := st.head.Load() // before looking: the live index is ahead of the head while a commit is shown
	st.live.mu.RLock()
	defer st.live.mu.RUnlock()
	return slices.DeleteFunc(keys, func(k filingKey) bool {
		n, ok := st.live.slots.find(lowerHex32(k.value))
		return ok && st.live.slots.at(n).seq <= head
	})
}

// Find gives the stored event of an id while its body is readable, live or
// archived; mostro.ErrNotFound otherwise.
func (st *Store) Find(_ context.Context, id string) (Found, error) {
	key, err := parseHex32(id)
	if err != nil {
		return Found{}, mostro.ErrNotFound
	}
	st.live.expire(st.now().Unix())
	st.live.mu.RLock()
	if n, ok := st.live.slots.find(key); ok {
		if s := st.live.slots.at(n); s.body != noBody {
			f := Found{Seq: s.seq, JSON: st.live.bodies.get(s.body)}
			st.live.mu.RUnlock()
			return f, nil
		}
	}
	st.live.mu.RUnlock()
	var f Found
	err = st.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(idKey(key))
		if err != nil {
			return err
		}
		if err := item.Value(func(v []byte) error { f.Seq = binary.BigEndian.Uint64(v); return nil }); err != nil {
			return err
		}
		r, body, err := getRow(txn, f.Seq)
		if err != nil {
			return err
		}
		if body == nil || mostro.IsMail(r.kind) && r.expiration <= st.now().Unix() {
			return badger.ErrKeyNotFound // erased, or mail past its time, erased soon
		}
		f.JSON = body
		return nil
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		err = mostro.ErrNotFound
	}
	return f, err
}

// Event is Find, parsed.
func (st *Store) Event(ctx context.Context, id string) (*nostr.Event, error) {
	f, err := st.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	return parseBody(f.JSON)
}

// Live is the number of events that are served.
func (st *Store) Live() int {
	st.live.expire(st.now().Unix())
	st.live.mu.RLock()
	defer st.live.mu.RUnlock()
	return st.live.n
}

// getRow reads a row and a copy of its body, nil when that is gone.
func getRow(txn *badger.Txn, seq uint64) (r row, body []byte, err error) {
	item, err := txn.Get(seqKey(spaceRow, seq))
	if err != nil {
		return r, nil, err
	}
	err = item.Value(func(v []byte) error {
		r, body, err = decodeRow(v)
		body = bytes.Clone(body)
		return err
	})
	return r, body, err
}

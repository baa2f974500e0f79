package eventlog

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/mostrodex/mostrodex/internal/diskspace"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/semaphore"
)

// DefaultDiskReserve is the default number of bytes that stay free on the disk. The
// reserve is for the derived data of stored events: Badger's tables and the other
// indexes.
const DefaultDiskReserve = 512 << 20

// DefaultBodyCache is the default memory for payloads of live events, in bytes.
const DefaultBodyCache = 128 << 20

// Config configures a Store. Only Dir is required.
type Config struct {
	Dir       string           // data directory; the store uses Dir/events
	Bulk      bool             // optimise for many appends and no queries: more memory, and queries return ErrBulk
	BodyCache int              // bytes of payloads in memory; 0 means DefaultBodyCache; negative means none
	Now       func() time.Time // nil means time.Now
	Logger    *slog.Logger     // nil discards
	Metrics   *Metrics         // nil means metrics that are not registered
	Progress  func(loaded int) // called from time to time during Open; may be nil
	// Settled is closed by the program when it serves. The warm-up, which takes seconds
	// in a large store, waits for Settled and then yields to other work. If Settled is
	// nil, the warm-up begins at once and does not pause.
	Settled <-chan struct{}
	// DiskReserve is the number of bytes that stay free on the disk. If less is free,
	// the store refuses events with ErrFull. 0 means DefaultDiskReserve; if negative,
	// the store does not watch the disk.
	DiskReserve int64

	FreeSpace    func(dir string) (int64, error) // returns the free bytes of the disk that holds dir; nil means statfs
	flushAfter   time.Duration                   // 0 means flushAfter
	logFileBytes int64                           // 0 means logFileBytes
	walkedAtOnce int                             // 0 means walkedAtOnce
	committed    func() error                    // called between a commit of derived keys and the scrub of payloads; nil means no call
}

// Store is the log of all accepted events and the index of the live ones. It is one of
// the two precious stores: every append is synced before it is acknowledged, and an
// error of the disk is fatal.
type Store struct {
	cfg   Config
	log   *recordlog.Log
	db    *badger.DB // derived keys
	live  *live
	queue chan *Enqueued
	// deleting holds the total weight of the deletion requests in the queue
	// (DeletionWeight).
	deleting    *semaphore.Weighted
	now         func() time.Time
	logger      *slog.Logger
	metrics     *Metrics
	space       *diskspace.Watch
	ids         *seenFilter  // filter of the ids in the log
	hidden      *seenFilter  // filter of the addresses whose newest version is not served
	tombs       atomic.Int64 // number of tombstones; if 0, lookups are skipped
	uncommitted uncommittedIDs

	// The following fields are owned by the committer.
	txn        *badger.Txn // derived keys that are not committed yet
	txnBytes   int         // size of txn in bytes; 0 if txn is empty
	txnRoom    int         // limit of txnBytes
	appliedSeq uint64      // last seq whose derived keys are in txn or committed
	toScrub    []uint64    // seqs whose payloads are scrubbed after the commit of txn
	walks      walks       // results of earlier deletion requests
	buf        []byte

	sweep chan struct{} // the ticker asks the committer to move the index entries of expired events

	headMu    sync.Mutex // guards moved, ring, closed, enqueuing.Add and, for writing, head
	moved     chan struct{}
	head      atomic.Uint64
	ring      ring
	closed    bool
	enqueuing sync.WaitGroup

	damagedMu sync.Mutex // guards damaged
	damaged   map[uint64]struct{}

	fatalOnce sync.Once
	fatal     error         // set before dead is closed
	dead      chan struct{} // closed if the store can no longer be trusted
	closing   chan struct{}
	closeOnce sync.Once
	done      sync.WaitGroup // counts the store's goroutines
}

// Errors of Open. Each text is a complete sentence for the operator.
var (
	ErrNewerSchema = errors.New("the data was written by a newer version of mostrodex: upgrade, or use another --data directory")
	ErrLocked      = errors.New("the data directory is in use by another mostrodex process: stop it, or use another --data directory")
	ErrReadOnly    = errors.New("the data directory is not writable: correct its permissions, or use another --data directory")
	ErrDamaged     = recordlog.ErrDamaged
	ErrIndex       = errors.New("the index is damaged and cannot be rebuilt from the log: restore the data directory from a copy, or use an empty one, which upstream relays fill with live events")
	ErrFull        = diskspace.ErrFull // the store refuses new events; reads continue
	ErrClosed      = errors.New("the store is closed")
	ErrBulk        = errors.New("the store was opened for an import and answers no queries")
)

// Open opens or creates the log, repairs the effects of a crash, and loads the live
// index. It returns ErrLocked if another process uses the directory, ErrNewerSchema,
// ErrReadOnly or ErrFull if the directory cannot be used, and ErrDamaged or ErrIndex if
// acknowledged data is damaged or missing.
func Open(cfg Config) (*Store, error) {
	st := &Store{
		cfg: cfg, now: cfg.Now, logger: cfg.Logger, metrics: cfg.Metrics,
		queue: make(chan *Enqueued, queueSize), deleting: semaphore.NewWeighted(maxDeleting), moved: make(chan struct{}), sweep: make(chan struct{}),
		dead: make(chan struct{}), closing: make(chan struct{}), uncommitted: uncommittedIDs{seq: make(map[[32]byte]uint64)},
	}
	if st.now == nil {
		st.now = time.Now
	}
	if st.logger == nil {
		st.logger = slog.New(slog.DiscardHandler)
	}
	if st.metrics == nil {
		st.metrics = NewMetrics()
	}
	st.cfg.flushAfter = cmp.Or(cfg.flushAfter, flushAfter)
	st.cfg.walkedAtOnce = cmp.Or(cfg.walkedAtOnce, walkedAtOnce)
	st.cfg.DiskReserve = cmp.Or(cfg.DiskReserve, DefaultDiskReserve)
	if cfg.Bulk {
		cfg.BodyCache = -1 // no query reads payloads
		st.cfg.flushAfter = cmp.Or(cfg.flushAfter, bulkFlushAfter)
	}
	budget := cfg.BodyCache
	if budget == 0 {
		budget = DefaultBodyCache
	}
	st.live = newLive(max(budget, 0))
	st.live.noPostings = cfg.Bulk
	dir := filepath.Join(cfg.Dir, "events")
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	st.space = diskspace.New(diskspace.Config{Data: cfg.Dir, Store: dir, Reserve: st.cfg.DiskReserve, Free: cfg.FreeSpace, Logger: st.logger})
	if err := st.space.RoomToOpen(); err != nil {
		return nil, err
	}
	if err := st.checkIndexFiles(dir); err != nil {
		return nil, err
	}
	db, err := openBadger(dir, cfg.Bulk)
	if err != nil {
		return nil, err
	}
	st.db = db
	if err := st.load(filepath.Join(dir, "log")); err != nil {
		if st.txn != nil {
			st.txn.Discard()
		}
		if st.log != nil {
			st.log.Close()
		}
		db.Close()
		return nil, err
	}
	st.space.Measure()
	st.done.Go(func() { st.space.Run(st.closing) })
	st.done.Go(st.warmUp)
	st.done.Go(st.commitLoop)
	st.done.Go(st.expiryLoop)
	return st, nil
}

// warmUp fills the filters and the payload cache, which make appends and queries
// faster.
func (st *Store) warmUp() {
	if st.cfg.Settled != nil {
		select {
		case <-st.cfg.Settled:
		case <-st.closing:
			return
		}
	}
	st.fill(st.hidden)
	st.fill(st.ids)
	st.warmBodies()
}

// warmUpIdleRatio is the idle time per unit of warm-up work.
const warmUpIdleRatio = 3

// idleAfter pauses the warm-up in proportion to the time since began, so that other
// work gets the cores. It returns false if the store closes.
func (st *Store) idleAfter(began time.Time) bool {
	if st.cfg.Settled == nil {
		select {
		case <-st.closing:
			return false
		default:
			return true
		}
	}
	timer := time.NewTimer(warmUpIdleRatio * time.Since(began))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-st.closing:
		return false
	}
}

// Sizes of Badger's memtable while serving and during an import, and of the first level
// that Badger sorts. Each file of level 0 spans all keyspaces, so a merge rewrites all
// of the next level: with Badger's default of 10 MiB these merges took a third of the
// CPU of an import of half a million events. Badger uses twice the memtable size of
// memory, or three times while it writes a table.
const (
	memtableBytes     = 16 << 20
	bulkMemtableBytes = 64 << 20
	baseLevelBytes    = 128 << 20
)

// makeDir creates the store's directory and syncs its parents. Without the syncs a
// crash may lose the name of the directory, and the synced log with it.
func makeDir(dir string) error {
	var parents []string // parents of new names, and the last two parents in any case
	for at := dir; ; at = filepath.Dir(at) {
		_, err := os.Stat(at)
		if len(parents) >= 2 && err == nil || at == filepath.Dir(at) {
			break
		}
		parents = append(parents, filepath.Dir(at))
	}
	err := os.MkdirAll(dir, 0o700)
	for _, parent := range parents {
		// If a parent is not readable, it belongs to another user and existed before.
		if syncErr := recordlog.SyncDir(parent); err == nil && !errors.Is(syncErr, fs.ErrPermission) {
			err = syncErr
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s: %w", dir, ErrReadOnly)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%s: %w: free some disk space, then start again", dir, ErrFull)
	}
	return fmt.Errorf("create %s: %w", dir, err)
}

func openBadger(dir string, bulk bool) (*badger.DB, error) {
	memtable := int64(memtableBytes)
	if bulk || leftByBulk(dir) {
		memtable = bulkMemtableBytes
	}
	opt := badger.DefaultOptions(dir).
		WithLogger(nil).
		WithSyncWrites(true).
		WithDetectConflicts(false). // there is one writer
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

// leftByBulk reports whether an unfinished import may have left a write-ahead log of a
// larger memtable. Badger loads such a log into a memtable of the size that it is
// opened with. Badger makes a log twice as long as its memtable, and truncates the log
// after loading it.
func leftByBulk(dir string) bool {
	logs, _ := filepath.Glob(filepath.Join(dir, "*.mem")) // the only possible error is a bad pattern
	return slices.ContainsFunc(logs, func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || info.Size() != 2*memtableBytes
	})
}

// load checks the schema, loads the live index from the index entries, and replays the
// records that derived keys do not cover. Payloads stay on disk.
func (st *Store) load(logDir string) error {
	applied, err := st.checkSchema(logDir)
	if err != nil {
		return err
	}
	var cut int64
	if st.log, cut, err = recordlog.Open(logDir, applied, st.cfg.logFileBytes); err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	if cut > 0 {
		st.logger.Warn("truncated an unacknowledged partial record at the end of the log", "bytes", cut)
	}
	if err := st.checkDamaged(); err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	if err := st.loadErasedBytes(); err != nil {
		return fmt.Errorf("read the erased bytes: %w", err)
	}
	if err := st.finishScrubs(); err != nil {
		return fmt.Errorf("finish interrupted scrubs: %w", err)
	}
	bulk := newBulk(st.live)
	err = st.db.View(func(txn *badger.Txn) error {
		loaded := 0
		if err := eachIndexEntry(txn, func(records []indexEntry) {
			for _, r := range records {
				bulk.add(r)
				st.live.recordBytes += st.log.RecordBytes(r.seq)
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
	head := st.log.Head()
	st.ids, st.hidden = newIDFilter(int(head)), newHiddenFilter()
	st.txn, st.txnRoom = st.db.NewTransaction(true), int(min(st.db.MaxBatchSize(), keyOverhead*st.db.MaxBatchCount())*3/4)
	st.ring, st.appliedSeq = newRing(head), applied
	st.live.expire(st.now().Unix())
	if err := st.replay(applied); err != nil {
		return fmt.Errorf("replay the log: %w", err)
	}
	st.head.Store(head)
	return nil
}

// checkDamaged reports the damaged records that the scan of the log skipped. The id of
// the next record must be indexed with the next seq: this proves that the scan skipped
// exactly one record.
func (st *Store) checkDamaged() error {
	for _, path := range st.log.BadHeaders {
		st.logger.Error("log file header damaged: its entries are still read", "file", path)
	}
	for _, seq := range st.log.Damaged {
		st.reportDamage(seq, recordlog.ErrDamagedRecord)
		r, err := st.log.ReadHead(seq + 1)
		if errors.Is(err, recordlog.ErrNoRecord) || IsDamage(err) {
			continue // the last record, or a damaged one that is checked in its own turn
		}
		if err != nil {
			return err
		}
		value, err := st.getKey(idKey(r.ID))
		if err != nil {
			return err
		}
		if len(value) != 8 || binary.BigEndian.Uint64(value) != seq+1 {
			return fmt.Errorf("entries around %d: %w", seq, ErrDamaged)
		}
	}
	return nil
}

// eachIndexEntry calls fn with all index entries of served events, in batches. The next
// batch is read while fn runs.
func eachIndexEntry(txn *badger.Txn, fn func([]indexEntry)) error {
	const some = 1024
	parts := make(chan []indexEntry, 4)
	var failed error
	go func() {
		defer close(parts)
		part := make([]indexEntry, 0, some)
		for _, space := range []byte{spaceNewest, spaceRegular} {
			it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 1000, Prefix: []byte{space}})
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				if failed = it.Item().Value(func(v []byte) error {
					r, err := decodeIndexEntry(v)
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
					part = make([]indexEntry, 0, some)
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

// checkSchema returns applied, the last seq that derived keys cover. It migrates a
// store of an older schema, and returns ErrNewerSchema for a newer one.
func (st *Store) checkSchema(logDir string) (applied uint64, err error) {
	version, err := st.getKey(keySchema)
	if err == nil && version != nil && len(version) != 4 {
		err = errCorrupt
	}
	if err != nil {
		return 0, fmt.Errorf("read the schema: %w", err)
	}
	found := uint32(schemaVersion)
	if version == nil {
		err = st.db.Update(func(txn *badger.Txn) error {
			return txn.Set(keySchema, binary.BigEndian.AppendUint32(nil, schemaVersion))
		})
	} else {
		found = binary.BigEndian.Uint32(version)
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("write the schema: %w", err)
	case found > schemaVersion:
		return 0, fmt.Errorf("schema %d, this program knows %d: %w", found, schemaVersion, ErrNewerSchema)
	case found == 1:
		if err := st.migrateLog(logDir); err != nil {
			return 0, fmt.Errorf("migrate the log from schema 1 to 2: %w", err)
		}
	}
	if err := st.dropLogV1(); err != nil {
		return 0, err
	}
	value, err := st.getKey(keyApplied)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read the last applied seq: %w", err)
	case value == nil:
		return 0, nil
	case len(value) != 8:
		return 0, fmt.Errorf("read the last applied seq: %w", errCorrupt)
	}
	return binary.BigEndian.Uint64(value), nil
}

// Close waits for the pending appends and closes the files. Later calls of Enqueue
// return ErrClosed.
func (st *Store) Close() error {
	var err error
	st.closeOnce.Do(func() {
		st.headMu.Lock()
		st.closed = true
		st.headMu.Unlock()
		st.enqueuing.Wait() // the committer still takes from the queue
		close(st.closing)
		st.done.Wait()
		st.txn.Discard()
		err = errors.Join(st.closeBadger(), st.log.Close())
	})
	return err
}

// closeBadger closes Badger. If the disk has no room for its tables, Badger is left as
// after a crash, and the next Open finishes the work from Badger's write-ahead logs.
func (st *Store) closeBadger() error {
	if free, ok := st.space.RoomToClose(); !ok {
		st.logger.Error("disk full: the index was not closed; the next start finishes the work", "free_mib", free>>20)
		return nil
	}
	return st.db.Close()
}

// GiveUpRoom removes the reserve file if the disk is full. The program calls it before
// it closes the stores on that disk.
func (st *Store) GiveUpRoom() { st.space.GiveUpRoom() }

// Full reports whether the store refuses new events because the disk has less free
// space than the reserve.
func (st *Store) Full() bool { return st.space.Full() }

// Dead returns a channel that is closed if an error of the disk has put the store in
// doubt. Err returns the error. The process must stop; the next Open repairs the store.
func (st *Store) Dead() <-chan struct{} { return st.dead }

// Err returns the fatal error if Dead is closed, else nil.
func (st *Store) Err() error {
	select {
	case <-st.dead:
		return st.fatal
	default:
		return nil
	}
}

func (st *Store) fail(err error) {
	st.fatalOnce.Do(func() {
		st.fatal = fmt.Errorf("the event log is in doubt: %w", err)
		st.logger.Error("event log in doubt", "err", err)
		close(st.dead)
	})
}

// Has reports whether an event is in the log in any state: live, archived, expired or
// erased.
func (st *Store) Has(_ context.Context, id string) (bool, error) {
	key, err := hex32.Parse(id)
	if err != nil {
		return false, nil
	}
	st.live.mu.RLock()
	_, ok := st.live.entries.find(key)
	st.live.mu.RUnlock()
	if ok {
		return true, nil
	}
	_, held, err := st.seqOf(key)
	return held, err
}

// Served reports whether an event is served and was appended at or before the current
// head.
func (st *Store) Served(id string) bool {
	head := st.head.Load() // read first: during a commit the live index is ahead of the head
	st.live.mu.RLock()
	defer st.live.mu.RUnlock()
	n, ok := st.live.entries.find(hex32.OrZero(id))
	return ok && st.live.entries.At(n).seq <= head
}

// Find returns the stored event of an id, live or archived. It returns
// mostro.ErrNotFound if the event is missing or its payload is not readable; if the
// record is damaged, the error says so too.
func (st *Store) Find(_ context.Context, id string) (Found, error) {
	key, err := hex32.Parse(id)
	if err != nil {
		return Found{}, mostro.ErrNotFound
	}
	st.live.expire(st.now().Unix())
	st.live.mu.RLock()
	if n, ok := st.live.entries.find(key); ok {
		if s := st.live.entries.At(n); s.body != noBody {
			f := Found{Seq: s.seq, JSON: st.live.bodies.get(s.body)}
			st.live.mu.RUnlock()
			return f, nil
		}
	}
	st.live.mu.RUnlock()
	seq, held, err := st.seqOf(key)
	if err != nil {
		return Found{}, err
	}
	if !held {
		return Found{}, mostro.ErrNotFound
	}
	r, body, err := st.log.Read(seq)
	switch {
	case errors.Is(err, recordlog.ErrNoRecord):
		return Found{}, mostro.ErrNotFound // the record is being appended
	case IsDamage(err):
		st.reportDamage(seq, err)
		return Found{}, fmt.Errorf("%w: %w", mostro.ErrNotFound, err)
	case err != nil:
		return Found{}, err
	case body == nil || mostro.IsMail(r.Kind) && r.Expiration <= st.now().Unix():
		return Found{}, mostro.ErrNotFound // erased, or expired mail that is erased soon
	}
	return Found{Seq: seq, JSON: body}, nil
}

// Event returns the parsed event of an id. It returns the errors of Find.
func (st *Store) Event(ctx context.Context, id string) (*nostr.Event, error) {
	f, err := st.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	return ParseBody(f.JSON)
}

// Live returns the number of events that are served.
func (st *Store) Live() int {
	st.live.expire(st.now().Unix())
	st.live.mu.RLock()
	defer st.live.mu.RUnlock()
	return st.live.n
}

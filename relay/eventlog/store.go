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
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/mostrodex/mostrodex/internal/diskspace"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/relay/eventlog/liveindex"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
	"github.com/prometheus/client_golang/prometheus"
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
	Progress  func(loaded int) // called from time to time during Open; may be nil

	Logger  *slog.Logger          // nil: log lines are discarded
	Metrics prometheus.Registerer // nil: metrics are not registered
	Now     func() time.Time      // nil: time.Now

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
	walkedAtOnce int                             // 0 means the default of liveindex
	committed    func() error                    // called between a commit of derived keys and the scrub of payloads; nil means no call
}

// Store is the log of all accepted events and the index of the live ones. It is one of
// the two precious stores: every append is synced before it is acknowledged, and an
// error of the disk is fatal.
//
// A store consists of parts. Each part states which lock guards its fields, and which
// fields the committer owns. The methods of Store open and close the parts (store.go),
// read the log (read.go) and append to the log (arrival.go). The exported methods of
// queries, forwards and upstreamCursors are methods of Store too.
type Store struct {
	*parts
	*queries
	*forwards
	*upstreamCursors
	committer *committer
	closeOnce sync.Once
}

// parts are shared by the readers of a store and by its committer. The fields do not
// change after Open.
type parts struct {
	cfg     Config
	now     func() time.Time
	logger  *slog.Logger
	metrics *metrics
	space   *diskspace.Watch
	damage  *damageReport
	failure *failure
	log     *recordlog.Log
	keys    *derivedKeys
	live    *liveindex.Index
	recent  *recentEntries
	queue   *arrivalQueue
	pace    *pace

	sweep   chan struct{}  // the ticker asks the committer to move the index entries of expired events
	pings   chan struct{}  // Ping asks the committer to receive
	closing chan struct{}  // closed by Close after the last put
	done    sync.WaitGroup // counts the store's goroutines
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
	ErrBulk        = liveindex.ErrBulk
)

// Open opens or creates the log, repairs the effects of a crash, and loads the live
// index. It returns ErrLocked if another process uses the directory, ErrNewerSchema,
// ErrReadOnly or ErrFull if the directory cannot be used, and ErrDamaged or ErrIndex if
// acknowledged data is damaged or missing.
func Open(cfg Config) (*Store, error) {
	st := &Store{parts: &parts{cfg: cfg, now: room.Clock(cfg.Now), logger: room.Logger(cfg.Logger), metrics: newMetrics(cfg.Metrics), sweep: make(chan struct{}), pings: make(chan struct{}), closing: make(chan struct{})}}
	st.cfg.flushAfter = cmp.Or(cfg.flushAfter, flushAfter)
	st.cfg.DiskReserve = cmp.Or(cfg.DiskReserve, DefaultDiskReserve)
	if cfg.Bulk {
		cfg.BodyCache = -1 // no query reads payloads
		st.cfg.flushAfter = cmp.Or(cfg.flushAfter, bulkFlushAfter)
	}
	st.damage = &damageReport{logger: st.logger, metrics: st.metrics}
	st.failure = &failure{logger: st.logger, dead: make(chan struct{})}
	st.pace = &pace{settled: cfg.Settled, closing: st.closing}
	budget := cfg.BodyCache
	if budget == 0 {
		budget = DefaultBodyCache
	}
	st.live = liveindex.New(liveindex.Config{BodyCache: max(budget, 0), NoPostings: cfg.Bulk, WalkedAtOnce: st.cfg.walkedAtOnce, Now: st.now})
	dir := filepath.Join(cfg.Dir, "events")
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	st.space = diskspace.New(diskspace.Config{Data: cfg.Dir, Store: dir, Reserve: st.cfg.DiskReserve, Free: cfg.FreeSpace, Logger: st.logger})
	st.queue = newArrivalQueue(st.space, st.failure)
	if err := st.space.RoomToOpen(); err != nil {
		return nil, err
	}
	if err := checkIndexFiles(dir, st.cfg.logFileBytes, st.logger); err != nil {
		return nil, err
	}
	db, err := openBadger(dir, cfg.Bulk)
	if err != nil {
		return nil, err
	}
	st.keys = newDerivedKeys(db, cfg.committed)
	st.committer, st.queries, st.forwards, st.upstreamCursors = &committer{parts: st.parts}, &queries{st.parts}, &forwards{st.parts}, &upstreamCursors{st.parts}
	if err := st.load(filepath.Join(dir, "log")); err != nil {
		if st.keys.txn != nil {
			st.keys.txn.Discard()
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
	st.done.Go(st.committer.run)
	st.done.Go(st.expiryLoop)
	registerGauges(cfg.Metrics, st)
	return st, nil
}

// warmUp fills the filters and the payload cache, which make appends and queries
// faster.
func (st *Store) warmUp() {
	if st.pace.wait() {
		st.keys.hidden.fill()
		st.keys.ids.fill()
		st.warmBodies()
	}
}

// expiryLoop hides expired events each second, so that memory is released even without
// queries, and asks the committer to move their index entries.
func (st *Store) expiryLoop() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-st.closing:
			return
		}
		st.live.Expire(st.now().Unix())
		select {
		case st.sweep <- struct{}{}:
		case <-st.closing:
			return
		}
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
	st.keys.log = st.log
	if err := st.keys.loadErasedBytes(); err != nil {
		return fmt.Errorf("read the erased bytes: %w", err)
	}
	if err := st.keys.finishScrubs(); err != nil {
		return fmt.Errorf("finish interrupted scrubs: %w", err)
	}
	bulk := liveindex.NewLoader(st.live)
	err = st.keys.db.View(func(txn *badger.Txn) error {
		loaded := 0
		if err := eachIndexEntry(txn, func(records []liveindex.Entry) {
			for _, r := range records {
				bulk.Add(r, st.log.RecordBytes(r.Seq))
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
			st.keys.tombs.Add(1)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load the live index: %w", err)
	}
	bulk.Finish()
	head := st.log.Head()
	st.keys.ids, st.keys.hidden = newIDFilter(st.keys.db, st.pace, int(head)), newHiddenFilter(st.keys.db, st.pace)
	st.keys.begin(applied)
	st.recent = newRecentEntries(head)
	st.live.Expire(st.now().Unix())
	if err := st.committer.replay(applied); err != nil {
		return fmt.Errorf("replay the log: %w", err)
	}
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
		st.damage.report(seq, recordlog.ErrDamagedRecord)
		r, err := st.log.ReadHead(seq + 1)
		if errors.Is(err, recordlog.ErrNoRecord) || IsDamage(err) {
			continue // the last record, or a damaged one that is checked in its own turn
		}
		if err != nil {
			return err
		}
		value, err := st.keys.get(idKey(r.ID))
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
func eachIndexEntry(txn *badger.Txn, fn func([]liveindex.Entry)) error {
	const some = 1024
	parts := make(chan []liveindex.Entry, 4)
	var failed error
	go func() {
		defer close(parts)
		part := make([]liveindex.Entry, 0, some)
		for _, space := range []byte{spaceNewest, spaceRegular} {
			it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 1000, Prefix: []byte{space}})
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				if failed = it.Item().Value(func(v []byte) error {
					r, err := liveindex.DecodeEntry(v)
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
					part = make([]liveindex.Entry, 0, some)
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
	version, err := st.keys.get(keySchema)
	if err == nil && version != nil && len(version) != 4 {
		err = errCorrupt
	}
	if err != nil {
		return 0, fmt.Errorf("read the schema: %w", err)
	}
	found := uint32(schemaVersion)
	if version == nil {
		err = st.keys.db.Update(func(txn *badger.Txn) error {
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
		if err := migrateLog(st.keys.db, logDir, st.cfg.logFileBytes, st.cfg.Progress); err != nil {
			return 0, fmt.Errorf("migrate the log from schema 1 to 2: %w", err)
		}
	}
	if err := st.keys.dropLogV1(); err != nil {
		return 0, err
	}
	value, err := st.keys.get(keyApplied)
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
		st.queue.close()
		close(st.closing)
		st.done.Wait()
		st.keys.txn.Discard()
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
	return st.keys.db.Close()
}

// GiveUpRoom removes the reserve file if the disk is full. The program calls it before
// it closes the stores on that disk.
func (st *Store) GiveUpRoom() { st.space.GiveUpRoom() }

// Full reports whether the store refuses new events because the disk has less free
// space than the reserve.
func (st *Store) Full() bool { return st.space.Full() }

// Dead returns a channel that is closed if an error of the disk has put the store in
// doubt. Err returns the error. The process must stop; the next Open repairs the store.
func (st *Store) Dead() <-chan struct{} { return st.failure.dead }

// Err returns the fatal error if Dead is closed, else nil.
func (st *Store) Err() error { return st.failure.get() }

// Check verifies the store: every record, payload, id and index entry; the newest
// version of every address, computed again from the log; the live index against the
// index entries; tombstones, cursors, queue, outcomes and proofs. If signatures is set,
// Check verifies each event's signature too. No event may be appended meanwhile.
func (st *Store) Check(ctx context.Context, signatures bool, progress func(done, total uint64)) (CheckReport, error) {
	return newChecker(st, signatures).run(ctx, progress)
}

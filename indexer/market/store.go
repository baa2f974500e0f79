// Package market keeps the statistics of package indexer/stats up to date with the log.
//
// A Store follows the log, applies each entry to a stats.Collector, and writes the state of
// the Collector to one file, the checkpoint. The log is the source of truth: the checkpoint
// may be deleted at any time. If the checkpoint is missing, damaged, of another version or of
// another log, the Store rebuilds the statistics from the log and logs its progress.
//
// The Store reads the log with erased entries (Log.ReadEvidence), because the facts of a
// Mostro's deleted events count.
package market

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/mostro"
)

// Log is the part of the log that a Store uses.
type Log interface {
	// ReadEvidence calls fn for each entry after a position, ascending, up to the head at
	// the time of the call. Erased entries whose facts were kept are included.
	ReadEvidence(ctx context.Context, after uint64, fn func(mostro.Entry) error) error
	// Wait returns nil once the head is greater than seq.
	Wait(ctx context.Context, seq uint64) error
	// Head returns the last position of the log.
	Head() uint64
}

// Config is the configuration of a Store. Dir and Log are required.
type Config struct {
	Dir    string // data directory; the checkpoint is the file "statistics" in it
	Log    Log
	Logger *slog.Logger     // nil: discards
	Now    func() time.Time // nil: time.Now
	// Banned returns the ids of the events that do not count. version changes when the set
	// does, and the set is never modified. nil: every event counts.
	Banned func() (version uint64, ids map[[32]byte]struct{})
}

// Store is the statistics of one log. A caller opens a Store, calls Run once, and calls Close
// after Run has returned. View, Ready and Position may be called concurrently.
type Store struct {
	cfg  Config
	path string

	mu        sync.RWMutex     // guards the content of collector: View reads, the follower writes
	collector *stats.Collector // replaced by the follower only, under mu
	position  atomic.Uint64    // all entries up to here were applied
	ready     atomic.Bool
	rules     atomic.Pointer[uint64] // version of Config.Banned that the collector follows; nil: none yet

	// The follower owns the fields below.
	mark    mark
	saved   uint64 // position of the checkpoint
	savedAt time.Time
	buf     []byte
}

// mark names one entry of the log, so that a checkpoint of another log is noticed.
type mark struct {
	seq uint64
	id  [32]byte
}

// ErrBehind is returned by View while the statistics have not caught up with the log.
var ErrBehind = errors.New("the statistics have not caught up with the log yet")

// Name is the name of the checkpoint in Config.Dir.
const Name = "statistics"

// Open opens the statistics of a log. A checkpoint that cannot be used is reported to the
// logger and ignored.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Dir == "" || cfg.Log == nil {
		return nil, errors.New("market: Dir and Log are required")
	}
	cfg.Logger, cfg.Now = room.Logger(cfg.Logger), room.Clock(cfg.Now)
	s := &Store{cfg: cfg, path: filepath.Join(cfg.Dir, Name), collector: stats.New(), savedAt: cfg.Now()}
	err := s.load(ctx)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case ctx.Err() != nil:
		return nil, err
	case err != nil:
		cfg.Logger.Warn("checkpoint of the statistics cannot be used, rebuilding it from the log", "file", s.path, "error", err)
		s.reset()
	}
	return s, nil
}

// reset discards the state in memory. The follower calls it, or Open.
func (s *Store) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collector, s.mark, s.saved = stats.New(), mark{}, 0
	s.rules.Store(nil)
	s.position.Store(0)
	s.ready.Store(false)
}

// The checkpoint is a head of headLen bytes and the encoding of the Collector, which ends with
// a checksum of its own. The head holds magic, the mark and a checksum of both.
const (
	magic   = "mxstat01"
	headLen = len(magic) + 8 + 32 + 4
)

var errForeign = errors.New("the checkpoint belongs to another log")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s *Store) load(ctx context.Context) error {
	raw, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	if len(raw) < headLen || string(raw[:len(magic)]) != magic ||
		crc32.Checksum(raw[:headLen-4], castagnoli) != binary.LittleEndian.Uint32(raw[headLen-4:]) {
		return errors.New("the head of the checkpoint is damaged or of another version")
	}
	var m mark
	m.seq = binary.LittleEndian.Uint64(raw[len(magic):])
	copy(m.id[:], raw[len(magic)+8:])
	c, err := stats.Decode(raw[headLen:])
	if err != nil {
		return err
	}
	if c.Applied() > s.cfg.Log.Head() {
		return fmt.Errorf("%w: it ends at %d, the log at %d", errForeign, c.Applied(), s.cfg.Log.Head())
	}
	if err := s.verify(ctx, m); err != nil {
		return err
	}
	s.collector, s.mark, s.saved = c, m, c.Applied()
	s.position.Store(c.Applied())
	return nil
}

// verify returns errForeign if the log holds another event at the position of a mark. An
// entry that is gone proves nothing.
func (s *Store) verify(ctx context.Context, m mark) error {
	if m.seq == 0 {
		return nil
	}
	stop := errors.New("stop")
	err := s.cfg.Log.ReadEvidence(ctx, m.seq-1, func(e mostro.Entry) error {
		if e.Seq == m.seq && e.Event.ID != hex.EncodeToString(m.id[:]) {
			return fmt.Errorf("%w: event %d is another one", errForeign, m.seq)
		}
		return stop
	})
	if errors.Is(err, stop) {
		return nil
	}
	return err
}

// save writes the checkpoint. A crash at any point leaves the file before or the new file:
// the new file is complete on disk before it takes the name.
func (s *Store) save() error {
	head := append([]byte(magic), make([]byte, headLen-len(magic))...)
	binary.LittleEndian.PutUint64(head[len(magic):], s.mark.seq)
	copy(head[len(magic)+8:], s.mark.id[:])
	binary.LittleEndian.PutUint32(head[headLen-4:], crc32.Checksum(head[:headLen-4], castagnoli))
	s.mu.RLock() // ban writes too
	s.buf = s.collector.Encode(append(s.buf[:0], head...))
	s.mu.RUnlock()
	err := replaceFile(s.path, s.buf)
	if cap(s.buf) > maxKeptBuffer {
		s.buf = nil
	}
	if err != nil {
		return fmt.Errorf("write the checkpoint of the statistics: %w", err)
	}
	s.saved, s.savedAt = s.position.Load(), s.cfg.Now()
	return nil
}

// maxKeptBuffer bounds the buffer of save that is kept for the next one.
const maxKeptBuffer = 16 << 20

func replaceFile(path string, content []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) // a crash leaves at most one
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close writes the checkpoint if entries were applied since the last one.
func (s *Store) Close() error {
	if s.position.Load() == s.saved {
		return nil
	}
	return s.save()
}

// A checkpoint is written after saveEntries entries, or after saveEvery if any entry was
// applied. After a crash the rest is read from the log: 50,000 entries take half a second.
const (
	saveEntries = 50_000
	saveEvery   = 15 * time.Minute
	batchSize   = 256 // entries that are applied under one lock
	sayEvery    = 10 * time.Second
	pause       = 50 * time.Millisecond // before new entries are read, so that one read has many
)

// Run applies the log until ctx ends. The error is nil if ctx ended.
func (s *Store) Run(ctx context.Context) error {
	for {
		if err := s.CatchUp(ctx, nil); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if s.position.Load() >= s.saved+saveEntries || s.position.Load() > s.saved && s.cfg.Now().Sub(s.savedAt) >= saveEvery {
			if err := s.save(); err != nil {
				// A full disk must not end the program: the statistics go on in memory,
				// and the log holds everything that the checkpoint would.
				s.cfg.Logger.Error("statistics have no new checkpoint", "error", err)
				s.saved, s.savedAt = s.position.Load(), s.cfg.Now()
			}
		}
		if err := s.cfg.Log.Wait(ctx, s.position.Load()); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// CatchUp applies the current log. If many entries wait, the logger is told every ten seconds
// how many were applied. progress, which may be nil, is called after each batch.
func (s *Store) CatchUp(ctx context.Context, progress func(done, total uint64)) error {
	head := s.cfg.Log.Head()
	began, said := s.position.Load(), s.cfg.Now()
	batch, last := make([]mostro.Entry, 0, batchSize), began
	flush := func(upTo uint64) {
		s.mu.Lock()
		for i := range batch {
			s.collector.Apply(&batch[i])
		}
		s.mu.Unlock()
		if n := len(batch); n > 0 {
			s.mark = mark{batch[n-1].Seq, hex32.OrZero(batch[n-1].Event.ID)}
		}
		clear(batch)
		batch = batch[:0]
		s.position.Store(upTo)
		if progress != nil {
			progress(upTo, head)
		}
		if now := s.cfg.Now(); now.Sub(said) >= sayEvery {
			said = now
			s.cfg.Logger.Info("applying the log to the statistics", "position", upTo, "head", head)
		}
	}
	err := s.cfg.Log.ReadEvidence(ctx, began, func(e mostro.Entry) error {
		batch, last = append(batch, e), e.Seq
		if len(batch) == batchSize {
			flush(e.Seq)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	flush(max(head, last)) // entries behind the last one that was read are not readable
	s.ready.Store(true)
	return nil
}

// Rebuild discards the statistics and computes them from the whole log. Rebuild must not be
// called during Run.
func (s *Store) Rebuild(ctx context.Context, progress func(done, total uint64)) error {
	s.reset()
	if err := s.CatchUp(ctx, progress); err != nil {
		return err
	}
	return s.save()
}

// Ready reports whether the statistics have caught up with the log since Open.
func (s *Store) Ready() bool { return s.ready.Load() }

// Position returns the position up to which the log was applied.
func (s *Store) Position() uint64 { return s.position.Load() }

// View calls fn with the statistics, which do not change during the call and must not be used
// after it. View returns ErrBehind if the statistics have not caught up with the log yet, and
// otherwise the error of fn.
func (s *Store) View(fn func(*stats.Collector) error) error {
	if !s.Ready() {
		return ErrBehind
	}
	s.ban()
	s.mu.RLock()
	defer s.mu.RUnlock()
	return fn(s.collector)
}

// ban applies the present set of Config.Banned. Events that are banned no longer are read from
// the log again, with those whose facts alone are kept.
func (s *Store) ban() {
	if s.cfg.Banned == nil {
		return
	}
	version, _ := s.cfg.Banned()
	if have := s.rules.Load(); have != nil && *have == version {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	version, ids := s.cfg.Banned()
	if have := s.rules.Load(); have != nil && *have == version {
		return // another reader was faster
	}
	lifted := s.collector.Ban(ids, func(seq uint64) (id string, ok bool) {
		s.entry(seq, func(e *mostro.Entry) { id, ok = e.Event.ID, true })
		return id, ok
	})
	for _, seq := range lifted {
		s.entry(seq, s.collector.Restore)
	}
	s.rules.Store(&version)
}

// entry calls fn with the entry at a position, if the log has it. An event that cannot be read
// stays as it is until a rebuild.
func (s *Store) entry(seq uint64, fn func(*mostro.Entry)) {
	stop := errors.New("stop")
	err := s.cfg.Log.ReadEvidence(context.Background(), seq-1, func(e mostro.Entry) error {
		if e.Seq == seq {
			fn(&e)
		}
		return stop
	})
	if err != nil && !errors.Is(err, stop) {
		s.cfg.Logger.Error("an event that is banned, or no longer, cannot be read for the statistics", "position", seq, "error", err)
	}
}

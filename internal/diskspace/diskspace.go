// Package diskspace watches the free space of the disk that holds a data directory, and
// reserves disk space for files.
//
// A Watch says when a store must refuse writes, so that a part of the disk, the reserve,
// stays free for the derived data of earlier writes. The package deletes and shortens
// only the reserve files.
package diskspace

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/internal/room"
)

const (
	// A fraction 1/openingShare of the reserve must be free when a store is opened.
	// Badger writes through memory maps while it opens, and a full disk would end the
	// process there.
	openingShare = 16
	// every is the interval at which Run measures free space; while events are
	// appended, the interval is whileWriting.
	every        = time.Second
	whileWriting = 100 * time.Millisecond
)

// ErrFull is returned if the disk has less free space than the reserve.
var ErrFull = errors.New("the disk is full")

// A fraction 1/keptShare of the reserve is in a file. If other programs have filled the
// disk, the file is removed before a store is opened or closed, because Badger writes
// its tables at these times, through memory maps.
const keptShare = 4

const (
	// A fraction 1/spareShare of the reserve is in a second file. If other programs have filled
	// the disk while the store is open, the file is removed, so that trades under way go on.
	// It is removed if less than 1/spareBelow of the reserve is free.
	spareShare = 8
	spareBelow = 16
	// A fraction 1/urgentShare of the reserve is not used by urgent events of others.
	urgentShare = 2
)

// Config configures a Watch. All fields but Free and Logger are required.
type Config struct {
	Data    string                          // data directory; memory-mapped files are looked for one level below
	Store   string                          // directory of the store below Data; holds the reserve files
	Reserve int64                           // bytes that stay free; if negative, the disk is not watched
	Free    func(dir string) (int64, error) // returns the free bytes of the disk that holds dir; nil means Free
	Logger  *slog.Logger                    // nil: log lines are discarded
}

// Watch watches the free space of one disk. Its methods may be called by several
// goroutines.
type Watch struct {
	cfg  Config
	full atomic.Bool  // set if less than the reserve is free
	free atomic.Int64 // free bytes at the last measurement
	seen atomic.Int64 // Unix time in nanoseconds of the last measurement

	grown map[string]bool // memory-mapped files whose disk space is reserved; owned by Run
	kept  bool            // set if the reserve file exists; owned by Run
	spare atomic.Bool     // set if the second file exists
}

// New returns a Watch that has not measured yet.
func New(cfg Config) *Watch {
	if cfg.Free == nil {
		cfg.Free = Free
	}
	cfg.Logger = room.Logger(cfg.Logger)
	w := &Watch{cfg: cfg}
	_, err := os.Stat(w.sparePath())
	w.spare.Store(err == nil) // of the process before
	return w
}

// Full reports whether the disk has less free space than the reserve.
func (w *Watch) Full() bool { return w.full.Load() }

// FreeBytes returns the free bytes at the last measurement.
func (w *Watch) FreeBytes() int64 { return w.free.Load() }

// Urgent reports whether an urgent event of others may use the reserve, although the disk is
// full. Such events never use the last part of the reserve.
func (w *Watch) Urgent() bool { return w.free.Load() >= w.cfg.Reserve/urgentShare }

func (w *Watch) keptPath() string  { return filepath.Join(w.cfg.Store, "reserve") }
func (w *Watch) sparePath() string { return filepath.Join(w.cfg.Store, "reserve-open") }

// keepRoom creates the reserve files if there is enough free space.
func (w *Watch) keepRoom() {
	if w.cfg.Reserve < 0 || w.free.Load() < w.cfg.Reserve {
		return
	}
	if !w.kept {
		w.kept = allocate(w.keptPath(), w.cfg.Reserve/keptShare)
	}
	if !w.spare.Load() && !w.full.Load() {
		w.spare.Store(allocate(w.sparePath(), w.cfg.Reserve/spareShare))
	}
}

// allocate creates a file of n bytes of disk space. If it returns false, Run tries again in a
// second.
func allocate(path string, n int64) bool {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false
	}
	err = Reserve(f, 0, n)
	f.Close()
	return err == nil
}

// Spare removes the second reserve file, so that writes of this program find space. It reports
// whether there was one.
func (w *Watch) Spare() bool {
	if !w.spare.Swap(false) {
		return false
	}
	if err := os.Remove(w.sparePath()); err != nil {
		return false
	}
	w.cfg.Logger.Warn("disk full: the space that is kept for trades under way is used now", "data", w.cfg.Data, "mib", w.cfg.Reserve/spareShare>>20)
	return true
}

// GiveUpRoom removes the reserve file if the disk is full. The program calls GiveUpRoom
// before it closes the stores on that disk.
func (w *Watch) GiveUpRoom() {
	if free, err := w.cfg.Free(w.cfg.Data); err == nil && w.cfg.Reserve > 0 && free < w.cfg.Reserve/keptShare {
		os.Remove(w.sparePath())
		os.Remove(w.keptPath()) // on an error, RoomToClose returns false
	}
}

// RoomToOpen returns ErrFull if the disk has too little space to open the store.
func (w *Watch) RoomToOpen() error {
	if w.cfg.Reserve < 0 {
		return nil
	}
	w.GiveUpRoom()
	free, err := w.cfg.Free(w.cfg.Store)
	if err != nil {
		return nil // not a full disk; Run measures free space again each second
	}
	if need := w.cfg.Reserve / openingShare; free < need {
		return fmt.Errorf("%s: %w: %d MiB are free, %d MiB are needed: free some disk space, then start again", w.cfg.Store, ErrFull, free>>20, (need+1<<20-1)>>20)
	}
	return nil
}

// RoomToClose reports whether the disk has room for the tables that Badger writes when
// it is closed. free is the number of free bytes.
func (w *Watch) RoomToClose() (free int64, ok bool) {
	w.GiveUpRoom()
	free, err := w.cfg.Free(w.cfg.Data)
	return free, err != nil || w.cfg.Reserve <= 0 || free >= w.cfg.Reserve/openingShare
}

// Measure measures the free space and sets or clears full.
func (w *Watch) Measure() {
	if w.cfg.Reserve < 0 {
		return
	}
	free, err := w.cfg.Free(w.cfg.Store)
	if err != nil {
		return
	}
	w.seen.Store(time.Now().UnixNano())
	w.free.Store(free)
	if free < w.cfg.Reserve/spareBelow {
		w.Spare()
	}
	full := w.full.Load()
	switch reserve := w.cfg.Reserve; {
	case !full && free < reserve:
		w.MarkFull("free_mib", free>>20, "reserve_mib", reserve>>20)
	case full && free >= reserve+reserve/8:
		w.full.Store(false)
		w.cfg.Logger.Info("disk has free space again: events are accepted", "free_mib", free>>20)
	}
}

// MarkFull sets full until Measure finds free space. args are attributes of the log
// line.
func (w *Watch) MarkFull(args ...any) {
	if !w.full.Swap(true) {
		w.cfg.Logger.Error("disk full: new events are refused, reads continue", append([]any{"data", w.cfg.Data}, args...)...)
	}
}

// MeasureWhileWriting measures the free space before an append, at most once per
// whileWriting.
func (w *Watch) MeasureWhileWriting() {
	if time.Now().UnixNano()-w.seen.Load() > int64(whileWriting) {
		w.Measure()
	}
}

// Run measures the free space until closing is closed.
func (w *Watch) Run(closing <-chan struct{}) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.Measure()
			w.growMaps()
			w.keepRoom()
		case <-closing:
			return
		}
	}
}

// growMaps reserves the full length of the files that Badger writes through memory
// maps, in the whole data directory. A write to a map without disk space ends the
// process with SIGBUS.
func (w *Watch) growMaps() {
	paths, _ := filepath.Glob(filepath.Join(w.cfg.Data, "*", "*.mem")) // the only possible error is a bad pattern
	seen := make(map[string]bool, len(paths))
	for _, path := range paths {
		if seen[path] = true; w.grown[path] {
			continue
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue // the file was removed meanwhile
		}
		info, err := f.Stat()
		if err == nil {
			err = Reserve(f, 0, info.Size())
		}
		f.Close()
		if err != nil {
			w.MarkFull("file", path, "err", err)
			return
		}
	}
	w.grown = seen
}

package eventlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// DefaultDiskReserve is how many bytes stay free on the disk for what follows
// from events that are stored: Badger's tables and the indexes.
const DefaultDiskReserve = 512 << 20

const (
	// openingShare of the reserve must be free for the store to be opened:
	// Badger writes while it opens, through memory maps, and a full disk ends the
	// process there.
	openingShare = 16
	// spaceEvery is how often the disk is looked at, spaceWhileWriting while
	// events are appended.
	spaceEvery        = time.Second
	spaceWhileWriting = 100 * time.Millisecond
	// logAhead is how many bytes the log's file is grown ahead of use.
	logAhead = 4 << 20
)

// ErrFull says that the disk has less free space than its reserve: no event is
// taken, and reading goes on.
var ErrFull = errors.New("the disk is full")

// keptShare of the reserve lies in a file that is given up when the store is
// opened or closed on a disk that other programs have filled: Badger writes its
// tables then, through memory maps.
const keptShare = 4

func (st *Store) keptPath() string { return filepath.Join(st.cfg.Dir, "events", "reserve") }

// keepRoom makes the file that keeps room, while there is some.
func (st *Store) keepRoom() {
	if st.kept || st.cfg.DiskReserve < 0 || st.free.Load() < st.cfg.DiskReserve {
		return
	}
	f, err := os.OpenFile(st.keptPath(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return // tried again in a second
	}
	err = reserve(f, 0, st.cfg.DiskReserve/keptShare)
	f.Close()
	st.kept = err == nil
}

// GiveUpRoom removes the file that keeps room if the disk is full. The program
// calls it before it closes stores on that disk.
func (st *Store) GiveUpRoom() {
	if free, err := st.cfg.FreeSpace(st.cfg.Dir); err == nil && st.cfg.DiskReserve > 0 && free < st.cfg.DiskReserve/keptShare {
		os.Remove(st.keptPath()) // if it fails, Close leaves Badger as a crash would
	}
}

// spaceToOpen refuses to open a store where its files would not find room.
func (st *Store) spaceToOpen(dir string) error {
	if st.cfg.DiskReserve < 0 {
		return nil
	}
	st.GiveUpRoom()
	free, err := st.cfg.FreeSpace(dir)
	if err != nil {
		return nil // it is asked again each second; what fails is no full disk
	}
	if need := st.cfg.DiskReserve / openingShare; free < need {
		return fmt.Errorf("%s: %w: %d MiB are free and %d are needed to open it: make room, then start again", dir, ErrFull, free>>20, (need+1<<20-1)>>20)
	}
	return nil
}

// closeBadger closes Badger, or leaves it as a crash would where its tables
// would find no room: opening the store finishes what is in its logs.
func (st *Store) closeBadger() error {
	st.GiveUpRoom()
	if free, err := st.cfg.FreeSpace(st.cfg.Dir); err == nil && st.cfg.DiskReserve > 0 && free < st.cfg.DiskReserve/openingShare {
		st.logger.Error("the disk is full: the index of the log is left as it is, and finished at the next start", "free_mib", free>>20)
		return nil
	}
	return st.db.Close()
}

// lookAtSpace notices when the disk gets full, and when it has room again.
func (st *Store) lookAtSpace() {
	if st.cfg.DiskReserve < 0 {
		return
	}
	free, err := st.cfg.FreeSpace(filepath.Join(st.cfg.Dir, "events"))
	if err != nil {
		return
	}
	st.spaceSeen.Store(time.Now().UnixNano())
	st.free.Store(free)
	full := st.full.Load()
	switch reserve := st.cfg.DiskReserve; {
	case !full && free < reserve:
		st.markFull("free_mib", free>>20, "reserve_mib", reserve>>20)
	case full && free >= reserve+reserve/8:
		st.full.Store(false)
		st.logger.Info("the disk has room again: events are taken", "free_mib", free>>20)
	}
}

// markFull has no more events taken.
func (st *Store) markFull(args ...any) {
	if !st.full.Swap(true) {
		st.logger.Error("the disk is full: no event is taken, reading goes on", append([]any{"data", st.cfg.Dir}, args...)...)
	}
}

// lookWhileWriting is lookAtSpace for the committer, before it appends.
func (st *Store) lookWhileWriting() {
	if time.Now().UnixNano()-st.spaceSeen.Load() > int64(spaceWhileWriting) {
		st.lookAtSpace()
	}
}

// watchSpace looks at the disk until the store closes.
func (st *Store) watchSpace() {
	defer st.done.Done()
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			st.lookAtSpace()
			st.growMaps()
			st.keepRoom()
		case <-st.closing:
			return
		}
	}
}

// growMaps gives the files that Badger writes through memory maps their whole
// room, in all of the data directory: a write to a map that finds no room ends
// the process.
func (st *Store) growMaps() {
	paths, _ := filepath.Glob(filepath.Join(st.cfg.Dir, "*", "*.mem")) // no error: the pattern is right
	seen := make(map[string]bool, len(paths))
	for _, path := range paths {
		if seen[path] = true; st.grown[path] {
			continue
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue // gone meanwhile
		}
		info, err := f.Stat()
		if err == nil {
			err = reserve(f, 0, info.Size())
		}
		f.Close()
		if err != nil {
			st.markFull("file", path, "err", err)
			return
		}
	}
	st.grown = seen
}

// refuses says whether an arrival is not taken while the disk is full. What
// this program publishes itself goes on into the reserve. A cursor is not moved
// past events that were refused.
func (st *Store) refuses(p *Enqueued) bool {
	if !st.full.Load() {
		return false
	}
	if p.Event == nil {
		return len(p.writes) > 0 && p.writes[0].key[0] == spaceCursor
	}
	return p.Source.Road != mostro.RoadSelf
}

// growLog sees to it that rows of some length find room in the log's file.
func (l *recordLog) reserveSpace(n int64) error {
	lf := l.files[len(l.files)-1]
	if lf.size+n <= l.reserved {
		return nil
	}
	from := max(lf.size, l.reserved)
	to := lf.size + n + logAhead
	err := reserve(lf.f, from, to-from)
	if errors.Is(err, syscall.ENOSPC) && lf.size+n > l.reserved { // then without more than is needed
		to = lf.size + n
		err = reserve(lf.f, from, to-from)
	}
	if err == nil {
		l.reserved = to
	}
	return err
}

// Full reports whether the disk has less free space than the reserve, so that
// new events are refused.
func (st *Store) Full() bool { return st.full.Load() }

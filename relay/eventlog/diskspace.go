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

// DefaultDiskReserve is the default number of bytes that stay free on the disk. The
// reserve is for the derived data of stored events: Badger's tables and the other
// indexes.
const DefaultDiskReserve = 512 << 20

const (
	// A fraction 1/openingShare of the reserve must be free when the store is opened.
	// Badger writes through memory maps while it opens, and a full disk would end the
	// process there.
	openingShare = 16
	// spaceEvery is the interval at which free space is measured; while events are
	// appended, it is spaceWhileWriting.
	spaceEvery        = time.Second
	spaceWhileWriting = 100 * time.Millisecond
	// logAhead is the number of bytes by which the log file is reserved ahead of use.
	logAhead = 4 << 20
)

// ErrFull is returned if the disk has less free space than the reserve. The store
// refuses new events; reads continue.
var ErrFull = errors.New("the disk is full")

// A fraction 1/keptShare of the reserve is in a file. If other programs have filled the
// disk, the file is removed before the store is opened or closed, because Badger writes
// its tables at these times, through memory maps.
const keptShare = 4

func (st *Store) keptPath() string { return filepath.Join(st.cfg.Dir, "events", "reserve") }

// keepRoom creates the reserve file if there is enough free space.
func (st *Store) keepRoom() {
	if st.kept || st.cfg.DiskReserve < 0 || st.free.Load() < st.cfg.DiskReserve {
		return
	}
	f, err := os.OpenFile(st.keptPath(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return // watchSpace tries again in a second
	}
	err = reserve(f, 0, st.cfg.DiskReserve/keptShare)
	f.Close()
	st.kept = err == nil
}

// GiveUpRoom removes the reserve file if the disk is full. The program calls it before
// it closes the stores on that disk.
func (st *Store) GiveUpRoom() {
	if free, err := st.cfg.FreeSpace(st.cfg.Dir); err == nil && st.cfg.DiskReserve > 0 && free < st.cfg.DiskReserve/keptShare {
		os.Remove(st.keptPath()) // on an error, Close leaves Badger as a crash would
	}
}

// spaceToOpen returns ErrFull if the disk has too little space to open the store.
func (st *Store) spaceToOpen(dir string) error {
	if st.cfg.DiskReserve < 0 {
		return nil
	}
	st.GiveUpRoom()
	free, err := st.cfg.FreeSpace(dir)
	if err != nil {
		return nil // not a full disk; free space is measured again each second
	}
	if need := st.cfg.DiskReserve / openingShare; free < need {
		return fmt.Errorf("%s: %w: %d MiB are free, %d MiB are needed: free some disk space, then start again", dir, ErrFull, free>>20, (need+1<<20-1)>>20)
	}
	return nil
}

// closeBadger closes Badger. If the disk has no room for its tables, Badger is left as
// after a crash, and the next Open finishes the work from Badger's write-ahead logs.
func (st *Store) closeBadger() error {
	st.GiveUpRoom()
	if free, err := st.cfg.FreeSpace(st.cfg.Dir); err == nil && st.cfg.DiskReserve > 0 && free < st.cfg.DiskReserve/openingShare {
		st.logger.Error("disk full: the index was not closed; the next start finishes the work", "free_mib", free>>20)
		return nil
	}
	return st.db.Close()
}

// lookAtSpace measures the free space and sets or clears full.
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
		st.logger.Info("disk has free space again: events are accepted", "free_mib", free>>20)
	}
}

// markFull makes the store refuse events.
func (st *Store) markFull(args ...any) {
	if !st.full.Swap(true) {
		st.logger.Error("disk full: new events are refused, reads continue", append([]any{"data", st.cfg.Dir}, args...)...)
	}
}

// lookWhileWriting measures the free space before the committer appends, at most once
// per spaceWhileWriting.
func (st *Store) lookWhileWriting() {
	if time.Now().UnixNano()-st.spaceSeen.Load() > int64(spaceWhileWriting) {
		st.lookAtSpace()
	}
}

// watchSpace measures the free space until the store closes.
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

// growMaps reserves the full length of the files that Badger writes through memory
// maps, in the whole data directory. A write to a map without disk space ends the
// process with SIGBUS.
func (st *Store) growMaps() {
	paths, _ := filepath.Glob(filepath.Join(st.cfg.Dir, "*", "*.mem")) // the only possible error is a bad pattern
	seen := make(map[string]bool, len(paths))
	for _, path := range paths {
		if seen[path] = true; st.grown[path] {
			continue
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue // the file was removed meanwhile
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

// refuses reports whether an arrival is refused because the disk is full. Events of
// this program may use the reserve. A cursor is refused too, so that it does not pass
// events that were refused.
func (st *Store) refuses(p *Enqueued) bool {
	if !st.full.Load() {
		return false
	}
	if p.Event == nil {
		return len(p.writes) > 0 && p.writes[0].key[0] == spaceCursor
	}
	return p.Source.Road != mostro.RoadSelf
}

// reserveSpace reserves n bytes behind the end of the last file.
func (l *recordLog) reserveSpace(n int64) error {
	lf := l.files[len(l.files)-1]
	if lf.size+n <= l.reserved {
		return nil
	}
	from := max(lf.size, l.reserved)
	to := lf.size + n + logAhead
	err := reserve(lf.f, from, to-from)
	if errors.Is(err, syscall.ENOSPC) && lf.size+n > l.reserved { // try again without logAhead
		to = lf.size + n
		err = reserve(lf.f, from, to-from)
	}
	if err == nil {
		l.reserved = to
	}
	return err
}

// Full reports whether the store refuses new events because the disk has less free
// space than the reserve.
func (st *Store) Full() bool { return st.full.Load() }

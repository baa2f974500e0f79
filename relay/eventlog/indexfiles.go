package eventlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/mostrodex/mostrodex/internal/badgerfiles"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
)

// rebuildMark is a file that says that Badger's files are being set aside. The mark is
// durable before the first file moves, so that a crash leaves no half index.
const (
	rebuildMark = "rebuild"
	damagedDir  = "damaged"
)

// checkIndexFiles checks Badger's files before Badger opens them. If they are damaged
// and the index can be rebuilt from the log, checkIndexFiles sets the files aside, and
// load rebuilds the index. Else it returns ErrIndex.
func checkIndexFiles(dir string, logFileBytes int64, logger *slog.Logger) error {
	unlock, err := badgerfiles.Lock(dir)
	if errors.Is(err, badgerfiles.ErrInUse) {
		return fmt.Errorf("%s: %w", dir, ErrLocked)
	}
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, rebuildMark)); err == nil {
		return setAside(dir)
	}
	damage := badgerfiles.CheckFiles(dir)
	if damage == nil {
		return nil
	}
	if !errors.Is(damage, badgerfiles.ErrFile) && !errors.Is(damage, fs.ErrNotExist) {
		return fmt.Errorf("check the index: %w", damage)
	}
	if err := mayRebuild(filepath.Join(dir, "log"), logFileBytes); err != nil {
		return fmt.Errorf("%w: %w: %w", damage, err, ErrIndex)
	}
	logger.Error("index damaged: it is rebuilt from the log; the damaged files are kept", "err", damage, "kept", filepath.Join(dir, damagedDir))
	return setAside(dir)
}

// mayRebuild returns an error if the index holds data that the log has lost: the
// addresses and the facts of erased events. Mail has neither, and of a health another one
// follows.
func mayRebuild(logDir string, logFileBytes int64) error {
	log, _, err := recordlog.Open(logDir, 0, logFileBytes)
	if err != nil {
		return err
	}
	defer log.Close()
	return log.Each(0, log.Head(), func(seq uint64, r recordlog.Record, _ []byte, err error) error {
		if err == nil && r.PayloadErased && !fleeting(r.Kind) {
			err = errors.New("its payload is erased")
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", seq, err)
		}
		return nil
	})
}

// setAside moves Badger's files to another directory and replaces the files of an
// earlier damage there.
func setAside(dir string) error {
	mark, aside := filepath.Join(dir, rebuildMark), filepath.Join(dir, damagedDir)
	if _, err := os.Stat(mark); errors.Is(err, fs.ErrNotExist) {
		if err := os.RemoveAll(aside); err != nil {
			return err
		}
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			return err
		}
		if err := recordlog.SyncDir(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if isBadgers(e.Name()) {
			if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(aside, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := recordlog.SyncDir(dir); err != nil {
		return err
	}
	return errors.Join(os.Remove(mark), recordlog.SyncDir(dir))
}

// isBadgers reports whether a file in the store's directory belongs to Badger.
func isBadgers(name string) bool {
	switch filepath.Ext(name) {
	case ".sst", ".mem", ".vlog":
		return true
	}
	return strings.HasPrefix(name, "MANIFEST") || name == "KEYREGISTRY" || name == "DISCARD" || name == "LOCK"
}

package escrow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// RollbackGuard remembers outside of the store how far the store had come, in a
// file that is called the witness, so that an older copy put in its place is
// noticed. The file may lag behind by what a second commits: copies are older
// than that.
type RollbackGuard struct {
	// Path is a file that is not part of the store, nor of its backups.
	Path string
	// Old is where the file lay before, "" nowhere. It is read if there is none
	// at Path, and removed once there is.
	Old string
}

// Load gives the remembered number of commits. known is false when there is
// nothing to remember, or nothing legible.
func (g RollbackGuard) Load() (commits uint64, known bool, err error) {
	b, err := os.ReadFile(g.Path)
	if errors.Is(err, fs.ErrNotExist) && g.Old != "" {
		b, err = os.ReadFile(g.Old)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read witness: %w", err)
	}
	if len(b) != 12 || crc32.ChecksumIEEE(b[:8]) != binary.BigEndian.Uint32(b[8:]) {
		return 0, false, nil
	}
	return binary.BigEndian.Uint64(b), true, nil
}

// Store remembers a number of commits, durably and in one piece.
func (g RollbackGuard) Store(commits uint64) error {
	b := binary.BigEndian.AppendUint64(nil, commits)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	f, err := os.CreateTemp(filepath.Dir(g.Path), ".witness-*")
	if err != nil {
		return fmt.Errorf("write witness: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), g.Path)
	}
	if err != nil {
		return fmt.Errorf("write witness: %w", errors.Join(err, os.Remove(f.Name())))
	}
	if g.Old != "" && g.Old != g.Path {
		if err := os.Remove(g.Old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the old witness: %w", err)
		}
	}
	return nil
}

// rolledBack says whether a store is an older copy of itself. A store that has
// seen anything and of which nobody knows how far it had come might be one.
func rolledBack(head Head, commits uint64, known bool) bool {
	if !known {
		return head.Commits > 0
	}
	return head.Commits < commits
}

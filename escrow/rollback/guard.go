// Package rollback recognises a store that was replaced with an older copy of itself, by a
// number of commits in a file outside of the store. The package does not read the store.
package rollback

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

// Guard stores the number of commits of the store in a file outside of the store,
// the guard file. If the store is replaced with an older copy, the guard file reveals
// this. The file may lag by the commits of one second, because a copy is older than that.
type Guard struct {
	// Path is the guard file. It must not be part of the store or of the store's
	// backups.
	Path string
	// Old is the earlier path of the file, "" for none. Load reads Old if there is no file
	// at Path, and Store removes Old after it has written Path.
	Old string
}

// Load returns the stored number of commits. known is false if there is no file, or no
// legible one.
func (g Guard) Load() (commits uint64, known bool, err error) {
	b, err := os.ReadFile(g.Path)
	if errors.Is(err, fs.ErrNotExist) && g.Old != "" {
		b, err = os.ReadFile(g.Old)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read the witness file: %w", err)
	}
	if len(b) != 12 || crc32.ChecksumIEEE(b[:8]) != binary.BigEndian.Uint32(b[8:]) {
		return 0, false, nil
	}
	return binary.BigEndian.Uint64(b), true, nil
}

// Store writes a number of commits durably and atomically.
func (g Guard) Store(commits uint64) error {
	b := binary.BigEndian.AppendUint64(nil, commits)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	f, err := os.CreateTemp(filepath.Dir(g.Path), ".witness-*")
	if err != nil {
		return fmt.Errorf("write the witness file: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), g.Path)
	}
	if err != nil {
		return fmt.Errorf("write the witness file: %w", errors.Join(err, os.Remove(f.Name())))
	}
	if g.Old != "" && g.Old != g.Path {
		if err := os.Remove(g.Old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the old witness file: %w", err)
		}
	}
	return nil
}

package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Writer writes one backup. The parts are written one after another.
type Writer interface {
	// Create begins a part of size bytes, or of an unknown length if size is -1. The caller
	// closes the part, or discards it after an error.
	Create(name string, size int64) (PartWriter, error)
	// Keep makes a part of an earlier backup in the same directory a part of this one.
	Keep(p Part)
	// Commit writes the manifest. Before Commit returns, no reader sees the backup.
	Commit(m Manifest) (*Manifest, error)
}

// PartWriter writes one part.
type PartWriter interface {
	io.WriteCloser
	Discard()
}

// counted counts and hashes the bytes of a part.
type counted struct {
	io.Writer
	part    Part
	sum     hash.Hash
	close   func(Part) error
	discard func() // nil: nothing to do
}

// Discard ends a part that is not complete.
func (c *counted) Discard() {
	if c.discard != nil {
		c.discard()
	}
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.sum.Write(b[:n])
	c.part.Bytes += int64(n)
	return n, err
}

func (c *counted) Close() error {
	c.part.SHA256 = hex.EncodeToString(c.sum.Sum(nil))
	return c.close(c.part)
}

// stream is a Writer of a stream.
type stream struct {
	s     *Sender
	parts []Part
}

// NewStream returns a Writer that writes a tar file.
func NewStream(w io.Writer) Writer { return &stream{s: NewSender(w)} }

func (w *stream) Keep(Part) { panic("a stream has no earlier backup") }

func (w *stream) Create(name string, size int64) (PartWriter, error) {
	done := func(p Part) error { w.parts = append(w.parts, p); return nil }
	if size < 0 {
		p := w.s.Part(name)
		return &counted{Writer: p, part: Part{Name: name}, sum: sha256.New(), close: func(d Part) error { return errors.Join(p.Close(), done(d)) }}, nil
	}
	if err := w.s.header(name, size); err != nil {
		return nil, err
	}
	return &counted{Writer: w.s.tar, part: Part{Name: name}, sum: sha256.New(), close: func(d Part) error { return errors.Join(w.s.tar.Flush(), done(d)) }}, nil
}

func (w *stream) Commit(m Manifest) (*Manifest, error) {
	m.Format, m.Parts = Format, w.parts
	b, err := m.encode()
	if err == nil {
		err = w.s.Bytes(manifestName, b)
	}
	if err == nil {
		err = w.s.Close()
	}
	return &m, err
}

// Dir is a directory of backups.
type Dir struct {
	path  string
	lock  *os.File
	parts []Part
}

// ErrBusy is returned if another process writes to the directory.
var ErrBusy = errors.New("another backup writes to this directory: wait until it has ended, or use another directory")

const (
	partsDir     = "parts"
	manifestEnd  = ".backup"
	temporary    = ".tmp-"
	manifestTime = "20060102T150405Z"
	syncEvery    = 8 << 20
)

// OpenDir opens a directory of backups for writing, or creates it, and removes what an
// interrupted backup has left. Only one process at a time can have the directory open.
func OpenDir(path string) (*Dir, error) {
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(entries) > 0 && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == partsDir }) {
		return nil, fmt.Errorf("%s has other files and is no directory of backups: name an empty directory, or one that does not exist", path)
	}
	if err := os.MkdirAll(filepath.Join(path, partsDir), 0o700); err != nil {
		return nil, err
	}
	d := &Dir{path: path}
	if d.lock, err = os.Open(filepath.Join(path, partsDir)); err != nil {
		return nil, err
	}
	if err := Lock(d.lock); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), d.lock.Close())
	}
	for _, dir := range []string{path, filepath.Join(path, partsDir)} {
		left, err := filepath.Glob(filepath.Join(dir, temporary+"*"))
		for _, name := range left {
			err = errors.Join(err, os.Remove(name))
		}
		if err != nil {
			return nil, errors.Join(err, d.lock.Close())
		}
	}
	if err := d.sweep(); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

// Close releases the directory.
func (d *Dir) Close() error { return d.lock.Close() }

// Keep makes a part of an earlier backup a part of this one.
func (d *Dir) Keep(p Part) { d.parts = append(d.parts, p) }

// Has reports whether the directory has the bytes of a part.
func (d *Dir) Has(p Part) bool {
	info, err := os.Stat(filepath.Join(d.path, partsDir, p.SHA256))
	return err == nil && info.Mode().IsRegular() && info.Size() == p.Bytes
}

// Create begins a part. The part gets its name when it is closed, and is durable then.
func (d *Dir) Create(name string, _ int64) (PartWriter, error) {
	f, err := d.temporary(partsDir)
	if err != nil {
		return nil, err
	}
	return &counted{Writer: &synced{f: f}, part: Part{Name: name}, sum: sha256.New(), close: func(p Part) error {
		err := d.place(f, filepath.Join(partsDir, p.SHA256))
		if err == nil {
			d.parts = append(d.parts, p)
		}
		return err
	}, discard: func() {
		f.Close()
		os.Remove(f.Name()) // the next OpenDir tries again
	}}, nil
}

// synced writes a file and syncs it from time to time, so that a sync of another file on the
// disk, for example of the log, does not wait for all of it.
type synced struct {
	f *os.File
	n int
}

func (s *synced) Write(b []byte) (int, error) {
	n, err := s.f.Write(b)
	if s.n += n; err == nil && s.n >= syncEvery {
		s.n = 0
		err = s.f.Sync()
	}
	return n, err
}

func (d *Dir) temporary(in string) (*os.File, error) {
	return os.CreateTemp(filepath.Join(d.path, in), temporary)
}

// place syncs a temporary file, gives it its name, and syncs the directory of the name.
func (d *Dir) place(f *os.File, name string) error {
	to := filepath.Join(d.path, name)
	err := errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return SyncDir(filepath.Dir(to))
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// WriteFile writes a file of the directory durably: all of it, or nothing.
func (d *Dir) WriteFile(name string, write func(io.Writer) error) error {
	in := filepath.Dir(name)
	if err := os.MkdirAll(filepath.Join(d.path, in), 0o700); err != nil {
		return err
	}
	f, err := d.temporary(in)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return d.place(f, name)
}

// Abandon drops the parts of a backup that is not committed.
func (d *Dir) Abandon() error {
	d.parts = nil
	return d.sweep()
}

// Commit writes the manifest of the parts since the last Commit or Abandon.
func (d *Dir) Commit(m Manifest) (*Manifest, error) {
	m.Format, m.Parts, d.parts = Format, d.parts, nil
	// The newest backup has the greatest name, also after the clock was set back.
	names, err := Names(d.path)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		if last, err := time.Parse(manifestTime+manifestEnd, names[len(names)-1]); err == nil {
			m.At = max(m.At, last.Unix()+1)
		}
	}
	b, err := m.encode()
	if err != nil {
		return nil, err
	}
	return &m, d.WriteFile(NameOf(&m), func(w io.Writer) error { _, err := w.Write(b); return err })
}

// NameOf returns the name of a backup in its directory.
func NameOf(m *Manifest) string {
	return time.Unix(m.At, 0).UTC().Format(manifestTime) + manifestEnd
}

// Names returns the names of the backups in a directory, the newest last.
func Names(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if stamp, ok := strings.CutSuffix(e.Name(), manifestEnd); ok {
			if _, err := time.Parse(manifestTime, stamp); err == nil {
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// Prune removes all but the newest n backups, and the parts that no backup has.
func (d *Dir) Prune(n int) error {
	names, err := Names(d.path)
	if err != nil {
		return err
	}
	for _, name := range names[:max(0, len(names)-n)] {
		if err := os.RemoveAll(filepath.Join(d.path, FollowDir(name))); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(d.path, name)); err != nil {
			return err
		}
	}
	if err := SyncDir(d.path); err != nil {
		return err
	}
	return d.sweep()
}

// sweep removes the parts that no backup has. If a manifest is not legible, sweep keeps all.
func (d *Dir) sweep() error {
	names, err := Names(d.path)
	if err != nil {
		return err
	}
	used := make(map[string]bool)
	for _, name := range names {
		m, err := ReadManifest(d.path, name)
		if err != nil {
			return nil // the parts of this backup are not known; a reader of it says why
		}
		for _, p := range m.Parts {
			used[p.SHA256] = true
		}
	}
	entries, err := os.ReadDir(filepath.Join(d.path, partsDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if len(e.Name()) == 2*sha256.Size && !used[e.Name()] {
			if err := os.Remove(filepath.Join(d.path, partsDir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// FollowDir returns the name of the directory of the commits that follow a backup.
func FollowDir(name string) string { return strings.TrimSuffix(name, manifestEnd) + ".follow" }

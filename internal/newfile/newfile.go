// Package newfile creates files that did not exist before, in whole or not at all.
//
// A process that is killed leaves no file and no part of a file. On Linux the content is
// written to a file without a name, which gets its name after it was synced. On other systems
// and file systems, a temporary file with a dot in front may remain.
package newfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write creates the file path with a content and a mode, and syncs the file and its directory.
// If path exists, also as a dangling symbolic link, Write returns an error that wraps
// fs.ErrExist and changes nothing.
func Write(path string, content []byte, mode fs.FileMode) error {
	err := unnamed(path, content, mode)
	if errors.Is(err, errUnsupported) {
		err = temporary(path, content, mode)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// errUnsupported reports that the file system has no files without a name.
var errUnsupported = errors.New("files without a name are not supported here")

// fill writes the content of a file and syncs it.
func fill(f *os.File, content []byte, mode fs.FileMode) error {
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

// temporary writes a temporary file and links it to path. A link never replaces a file.
func temporary(path string, content []byte, mode fs.FileMode) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(fill(f, content, mode), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Link(f.Name(), path)
}

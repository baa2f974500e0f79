package backup

import (
	"context"
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
)

// ReadManifest reads the manifest of a backup in a directory.
func ReadManifest(dir, name string) (*Manifest, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := parseManifest(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// Read calls fn for each part of a backup. from is a directory of backups, of which the one
// that is named by at is read, or the newest if at is ""; or a file with a stream; or "-" for
// stdin. The manifest is returned after every part was compared with it: until then the bytes
// that fn has read may be wrong. name is the name of a backup in a directory, else "".
func Read(from, at string, stdin io.Reader, fn func(name string, r io.Reader) error) (m *Manifest, name string, err error) {
	if from == "-" {
		m, err = readStream(stdin, fn)
		return m, "", err
	}
	info, err := os.Stat(from)
	if err != nil {
		return nil, "", err
	}
	if !info.IsDir() {
		f, err := os.Open(from)
		if err != nil {
			return nil, "", err
		}
		defer f.Close()
		m, err = readStream(f, fn)
		return m, "", err
	}
	names, err := Names(from)
	if err != nil {
		return nil, "", err
	}
	if len(names) == 0 {
		return nil, "", fmt.Errorf("%s has no complete backup: name a directory or a file that 'mostrodex backup' has written", from)
	}
	name = names[len(names)-1]
	if at != "" {
		if name = strings.TrimSuffix(at, manifestEnd) + manifestEnd; !slices.Contains(names, name) {
			return nil, "", fmt.Errorf("%s has no backup %s: it has %s", from, at, strings.Join(names, ", "))
		}
	}
	if m, err = ReadManifest(from, name); err != nil {
		return nil, name, err
	}
	for _, p := range m.Parts {
		if err := readPart(from, p, fn); err != nil {
			return nil, name, err
		}
	}
	return m, name, nil
}

func readPart(dir string, p Part, fn func(name string, r io.Reader) error) error {
	f, err := os.Open(filepath.Join(dir, partsDir, p.SHA256))
	if errors.Is(err, fs.ErrNotExist) {
		return damagef("the file %s of %s is missing", p.SHA256, p.Name)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h := &hashed{in: f, sum: sha256.New()}
	// A wrong part is found by its hash, and its content may have confused fn before.
	failed := fn(p.Name, h)
	if isOfSystem(failed) {
		return failed
	}
	got, err := h.rest(p.Name)
	if err != nil {
		return err
	}
	if got != p {
		return damagef("%s in %s is not as it was written", p.Name, filepath.Join(partsDir, p.SHA256))
	}
	return failed
}

// isOfSystem reports whether an error has another cause than the bytes of the backup.
func isOfSystem(err error) bool {
	var call *fs.PathError
	return errors.As(err, &call) || errors.Is(err, context.Canceled) || errors.Is(err, ErrNoIdentity)
}

// hashed hashes the bytes of a part as they are read.
type hashed struct {
	in  io.Reader
	sum hash.Hash
	n   int64
	err error // of in
}

func (h *hashed) Read(b []byte) (int, error) {
	n, err := h.in.Read(b)
	h.sum.Write(b[:n])
	h.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		h.err = err
	}
	return n, err
}

// rest reads the rest of a part and describes the part.
func (h *hashed) rest(name string) (Part, error) {
	if h.err == nil {
		_, h.err = io.Copy(io.Discard, h)
	}
	return Part{Name: name, Bytes: h.n, SHA256: hex.EncodeToString(h.sum.Sum(nil))}, h.err
}

func readStream(r io.Reader, fn func(name string, r io.Reader) error) (*Manifest, error) {
	in := NewReceiver(r)
	var parts []Part
	var failed error // of fn: the manifest may say that the part was changed
	for {
		name, part, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil, damagef("it has no end")
		}
		if err != nil {
			return nil, errors.Join(err, failed)
		}
		if name == manifestName {
			m, err := parseManifest(part)
			if err != nil {
				return nil, err
			}
			if err := sameParts(parts, m.Parts); err != nil {
				return nil, err
			}
			return m, failed
		}
		h := &hashed{in: part, sum: sha256.New()}
		if failed == nil {
			if failed = fn(name, h); isOfSystem(failed) {
				return nil, failed
			}
		}
		p, err := h.rest(name)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
		if len(parts) > maxParts {
			return nil, damagef("it has more than %d parts", maxParts)
		}
	}
}

// maxParts bounds the parts of a stream.
const maxParts = 500_000

func sameParts(got, want []Part) error {
	for i, p := range want {
		if i >= len(got) {
			return damagef("%s is missing", p.Name)
		}
		if got[i] != p {
			return damagef("%s is not as it was written", p.Name)
		}
	}
	if len(got) > len(want) {
		return damagef("%s does not belong to it", got[len(want)].Name)
	}
	return nil
}

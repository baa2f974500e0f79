package backup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"filippo.io/age"
)

// Commit is a commit of the store of an escrow that came after a backup.
type Commit struct {
	N    uint64 // number of commits of the store with this one
	Body []byte
}

// MaxCommit bounds the length of a commit.
const MaxCommit = 64 << 20

// CommitName returns the name of the part that holds commit n.
func CommitName(n uint64) string { return fmt.Sprintf("commit/%020d", n) }

// ParseCommitName returns the number of a commit.
func ParseCommitName(name string) (n uint64, ok bool) {
	text, ok := strings.CutPrefix(name, "commit/")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil && CommitName(n) == name
}

const followEnd = ".age"

// Append writes commits that follow the backup of a name, in one encrypted file. The file is
// durable when Append returns nil.
func (d *Dir) Append(name string, to []age.Recipient, commits []Commit) error {
	if len(commits) == 0 {
		return nil
	}
	return d.WriteFile(filepath.Join(FollowDir(name), fmt.Sprintf("%020d%s", commits[0].N, followEnd)), func(w io.Writer) error {
		secret, err := Encrypt(w, to)
		if err != nil {
			return err
		}
		s := NewSender(secret)
		for _, c := range commits {
			if err := s.Bytes(CommitName(c.N), c.Body); err != nil {
				return err
			}
		}
		return errors.Join(s.Close(), secret.Close())
	})
}

// Following calls fn for the commits that follow a backup with after commits, in order. It
// returns the number of the last commit. If a commit is missing, the later ones cannot be
// used: missing is its number, else 0.
func Following(dir, name string, with []age.Identity, after uint64, fn func(Commit) error) (last, missing uint64, err error) {
	last = after
	entries, err := os.ReadDir(filepath.Join(dir, FollowDir(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return last, 0, nil
	}
	if err != nil {
		return last, 0, err
	}
	var files []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), followEnd) && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, e.Name())
		}
	}
	slices.Sort(files)
	for _, file := range files {
		if last, missing, err = followFile(filepath.Join(dir, FollowDir(name), file), with, last, fn); err != nil || missing != 0 {
			return last, missing, err
		}
	}
	return last, 0, nil
}

func followFile(path string, with []age.Identity, last uint64, fn func(Commit) error) (_, missing uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return last, 0, err
	}
	defer f.Close()
	plain, err := Decrypt(f, with)
	if err != nil {
		return last, 0, fmt.Errorf("%s: %w", path, err)
	}
	for in := NewReceiver(plain); ; {
		name, part, err := in.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, plain) // to the end, so that age has checked every byte
			return last, 0, err
		}
		if err != nil {
			return last, 0, fmt.Errorf("%s: %w", path, err)
		}
		n, ok := ParseCommitName(name)
		body, err := io.ReadAll(io.LimitReader(part, MaxCommit+1))
		if err != nil {
			return last, 0, fmt.Errorf("%s: %w", path, err)
		}
		if !ok || len(body) > MaxCommit {
			return last, 0, fmt.Errorf("%s: %w", path, damagef("%.40q is not a commit", name))
		}
		if n <= last {
			continue // a follower that began anew has written it again
		}
		if n != last+1 {
			return last, last + 1, nil
		}
		if err := fn(Commit{n, body}); err != nil {
			return last, 0, err
		}
		last = n
	}
}

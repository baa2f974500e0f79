package newfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestWrite checks both ways of writing: the content and the mode of a new file, and that a file
// or a link that exists is not changed. No other file remains.
func TestWrite(t *testing.T) {
	for name, write := range map[string]func(string, []byte, fs.FileMode) error{"write": Write, "temporary": temporary} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a")
			if err := write(path, []byte("first"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := write(path, []byte("second"), 0o644); !errors.Is(err, fs.ErrExist) {
				t.Errorf("a file that exists: %v", err)
			}
			link := filepath.Join(dir, "b")
			if err := os.Symlink(filepath.Join(dir, "nowhere"), link); err != nil {
				t.Fatal(err)
			}
			if err := write(link, []byte("third"), 0o644); !errors.Is(err, fs.ErrExist) {
				t.Errorf("a dangling link: %v", err)
			}
			if err := write(filepath.Join(dir, "none", "c"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a directory that does not exist: %v", err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != "first" {
				t.Errorf("%q, %v", b, err)
			}
			if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
				t.Errorf("the directory holds %v, %v", list, err)
			}
		})
	}
}

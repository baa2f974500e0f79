package badgerfiles

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

func mustOpen(tb testing.TB, dir string) *badger.DB {
	tb.Helper()
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithMemTableSize(16 << 20).WithValueLogFileSize(1 << 20))
	if err != nil {
		tb.Fatal(err)
	}
	return db
}

func set(tb testing.TB, db *badger.DB, key, value string) {
	tb.Helper()
	if err := db.Update(func(txn *badger.Txn) error { return txn.Set([]byte(key), []byte(value)) }); err != nil {
		tb.Fatal(err)
	}
}

// TestEmptyLogs opens a store in which a power cut has left logs without a byte. Badger alone
// does not open it.
func TestEmptyLogs(t *testing.T) {
	for _, name := range []string{"00009.mem", "000009.vlog"} {
		dir := t.TempDir()
		db := mustOpen(t, dir)
		set(t, db, "a", "1")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil)); err == nil {
			db.Close()
			t.Fatalf("Badger opens a store with an empty %s: the test does not apply", name)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 0); err != nil { // the failed open has set a length
			t.Fatal(err)
		}
		if err := CheckFiles(dir); err != nil {
			t.Fatal(err)
		}
		db = mustOpen(t, dir)
		if err := db.View(func(txn *badger.Txn) error { _, err := txn.Get([]byte("a")); return err }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDumpIsASnapshot dumps a store while it is changed, with more keys, and loads the dump.
func TestDumpIsASnapshot(t *testing.T) {
	db := mustOpen(t, t.TempDir())
	defer db.Close()
	for _, key := range []string{"b", "d", "f"} {
		set(t, db, key, "value of "+key)
	}
	s := Begin(db)
	set(t, db, "b", "changed")
	set(t, db, "z", "later")
	if err := db.Update(func(txn *badger.Txn) error { return txn.Delete([]byte("d")) }); err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	n, err := s.Dump(context.Background(), &dump, []byte("a"), []byte("d"), []byte("x"))
	s.Close()
	if err != nil || n != 5 {
		t.Fatalf("%d keys: %v", n, err)
	}
	dir := t.TempDir()
	if n, err := Load(dir, bytes.NewReader(dump.Bytes())); err != nil || n != 5 {
		t.Fatalf("%d keys: %v", n, err)
	}
	if err := CheckFiles(dir); err != nil {
		t.Error(err)
	}
	loaded := mustOpen(t, dir)
	defer loaded.Close()
	again := Begin(loaded)
	defer again.Close()
	var got bytes.Buffer
	if _, err := again.Dump(context.Background(), &got); err != nil || !bytes.Equal(got.Bytes(), dump.Bytes()) {
		t.Errorf("the loaded store has the dump %q, want %q: %v", got.Bytes(), dump.Bytes(), err)
	}
	for n := range dump.Len() {
		if _, err := EachOfDump(bytes.NewReader(dump.Bytes()[:n]), func(_, _ []byte) error { return nil }); !errors.Is(err, ErrDump) {
			t.Fatalf("a dump of %d bytes: %v", n, err)
		}
	}
	if _, err := EachOfDump(bytes.NewReader(append(dump.Bytes(), 0)), func(_, _ []byte) error { return nil }); !errors.Is(err, ErrDump) {
		t.Errorf("a dump with a byte more: %v", err)
	}
}

// FuzzDump reads arbitrary bytes as a dump.
func FuzzDump(f *testing.F) {
	f.Add([]byte("\x01a\x01b\x00\x01"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, in []byte) {
		total := 0
		keys, err := EachOfDump(bytes.NewReader(in), func(key, value []byte) error {
			total += len(key) + len(value)
			return nil
		})
		if total > len(in) {
			t.Fatalf("%d bytes of content from %d bytes", total, len(in))
		}
		if err != nil && !errors.Is(err, ErrDump) {
			t.Fatalf("after %d keys: %v", keys, err)
		}
	})
}

package escrow

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

var storeFlips = flag.Int("store.flips", 40, "bits to flip, each in a copy of the escrow's store")

// TestFlippedBitInTheStore flips one bit of the store's files at a time. The store then
// either holds all its data, or Open returns an error. Open never succeeds with a trade
// missing or changed.
func TestFlippedBitInTheStore(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	dir := t.TempDir()
	// Two runs ensure that there are tables and a memtable that was closed.
	for run := range 2 {
		db, err := openDB(dir, false)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			err := db.b.Update(func(txn *badger.Txn) error {
				for j := range 4 {
					value := make([]byte, 100+r.IntN(1500))
					for k := range value {
						value[k] = "abcdefgh"[r.IntN(8)]
					}
					if err := txn.Set(fmt.Appendf(nil, "j%08d%d", run*1000+i, j), value); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	all := func(db *DB) map[string]string {
		held := map[string]string{}
		err := db.b.View(func(txn *badger.Txn) error {
			it := txn.NewIterator(badger.DefaultIteratorOptions)
			defer it.Close()
			for it.Rewind(); it.Valid(); it.Next() {
				v, err := it.Item().ValueCopy(nil)
				if err != nil {
					return err
				}
				held[string(it.Item().Key())] = string(v)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	db, err := openDB(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	want := all(db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	refused, same := 0, 0
	flips := *storeFlips
	if testing.Short() {
		flips /= 8
	}
	for n := range flips {
		harmed := t.TempDir()
		if err := os.CopyFS(harmed, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(harmed, "*"))
		if err != nil || len(files) < 3 {
			t.Fatal(files, err)
		}
		path := files[r.IntN(len(files))]
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			continue
		}
		at := r.IntN(len(b))
		b[at] ^= 1 << r.IntN(8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		where := fmt.Sprintf("flip %d at %d of %s", n, at, filepath.Base(path))
		db, err := openDB(harmed, false)
		if err != nil {
			if refused++; !errors.Is(err, ErrStoreDamaged) {
				t.Errorf("%s: the store does not open: %v", where, err)
			}
			continue
		}
		if same++; !maps.Equal(all(db), want) {
			t.Errorf("%s: the store opens with different content", where)
		}
		if err := db.Close(); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
	t.Logf("%d flips: %d refused, %d without effect", flips, refused, same)
}

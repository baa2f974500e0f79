package badgerfiles

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/ristretto/v2/z"
)

// Snapshot is the content of a store at one moment. Later commits do not change the
// snapshot. Badger's own Backup is not used, because each of its goroutines begins a
// transaction of its own, so that its output may hold a part of a commit.
type Snapshot struct{ txn *badger.Txn }

// Begin returns a snapshot of db as it is now. The caller closes the snapshot before db.
func Begin(db *badger.DB) *Snapshot { return &Snapshot{db.NewTransaction(false)} }

// Close releases the snapshot.
func (s *Snapshot) Close() { s.txn.Discard() }

// Bounds of a dump. MaxKey is Badger's own bound; the stores write no value above MaxValue.
const (
	MaxKey   = 65000
	MaxValue = maxMemRecord
)

// ErrDump is returned if the bytes of a dump are not a complete dump.
var ErrDump = errors.New("the dump of a store is damaged or incomplete")

// Dump writes all keys and values, sorted by key: the length of a key, the key, the length
// of its value, the value. Lengths are uvarints. The end is a length of 0 and the number of
// keys. more are keys without a value, sorted, that are written too.
func (s *Snapshot) Dump(ctx context.Context, w io.Writer, more ...[]byte) (keys uint64, err error) {
	out := bufio.NewWriterSize(w, 256<<10)
	it := s.txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 100})
	defer it.Close()
	var head [2 * binary.MaxVarintLen64]byte
	put := func(b []byte) error {
		n := binary.PutUvarint(head[:], uint64(len(b)))
		_, err := out.Write(head[:n])
		if err == nil {
			_, err = out.Write(b)
		}
		return err
	}
	// morePut writes the keys of more before a key of the store.
	morePut := func(before func(key []byte) bool) error {
		for len(more) > 0 && before(more[0]) {
			keys++
			if err := errors.Join(put(more[0]), put(nil)); err != nil {
				return err
			}
			more = more[1:]
		}
		return nil
	}
	for it.Rewind(); it.Valid(); it.Next() {
		if keys++; keys%1024 == 0 && ctx.Err() != nil {
			return keys, ctx.Err()
		}
		item := it.Item()
		if err := morePut(func(key []byte) bool { return bytes.Compare(key, item.Key()) < 0 }); err != nil {
			return keys, err
		}
		if len(more) > 0 && bytes.Equal(more[0], item.Key()) {
			more = more[1:]
		}
		if err := put(item.Key()); err != nil {
			return keys, err
		}
		if err := item.Value(put); err != nil {
			return keys, err
		}
	}
	if err := morePut(func([]byte) bool { return true }); err != nil {
		return keys, err
	}
	n := binary.PutUvarint(head[:], 0)
	n += binary.PutUvarint(head[n:], keys)
	if _, err := out.Write(head[:n]); err != nil {
		return keys, err
	}
	return keys, out.Flush()
}

// EachOfDump calls fn for each key of a dump and its value, and checks that the dump is
// complete and sorted. fn owns key and value.
func EachOfDump(r io.Reader, fn func(key, value []byte) error) (keys uint64, err error) {
	in := bufio.NewReaderSize(r, 256<<10)
	get := func(limit uint64) ([]byte, error) {
		n, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, incomplete(err)
		}
		if n > limit {
			return nil, fmt.Errorf("%w: a length of %d", ErrDump, n)
		}
		b := make([]byte, 0, min(n, 64<<10)) // grows with the bytes that are there
		for uint64(len(b)) < n {
			more := int(min(n-uint64(len(b)), 1<<20))
			b = append(b, make([]byte, more)...)
			if _, err := io.ReadFull(in, b[len(b)-more:]); err != nil {
				return nil, incomplete(err)
			}
		}
		return b, nil
	}
	last := ""
	for {
		key, err := get(MaxKey)
		if err != nil {
			return keys, err
		}
		if len(key) == 0 {
			break
		}
		if string(key) <= last {
			return keys, fmt.Errorf("%w: its keys are not sorted", ErrDump)
		}
		last = string(key)
		value, err := get(MaxValue)
		if err != nil {
			return keys, err
		}
		keys++
		if err := fn(key, value); err != nil {
			return keys, err
		}
	}
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return keys, incomplete(err)
	}
	if _, err := in.ReadByte(); err == nil || n != keys {
		return keys, fmt.Errorf("%w: %d keys, and its end says %d", ErrDump, keys, n)
	} else if !errors.Is(err, io.EOF) {
		return keys, err
	}
	return keys, nil
}

func incomplete(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrDump)
	}
	if err.Error() == "binary: varint overflows a 64-bit integer" {
		return fmt.Errorf("%w: %w", ErrDump, err)
	}
	return err
}

// Load creates a store in dir from a dump. dir must be empty or not exist. If Load returns
// nil, the store is durable.
func Load(dir string, r io.Reader) (keys uint64, err error) {
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithNumVersionsToKeep(1).WithCompression(options.Snappy).
		WithMetricsEnabled(false).WithMemTableSize(16 << 20).WithBlockCacheSize(1 << 20).WithNumCompactors(2))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	w := db.NewStreamWriter()
	if err := w.Prepare(); err != nil {
		return 0, err
	}
	buf := z.NewBuffer(1<<20, "badgerfiles.Load")
	defer func() { err = errors.Join(err, buf.Release()) }()
	keys, err = EachOfDump(r, func(key, value []byte) error {
		if len(key) > 0 && key[0] == '!' { // Badger's own keys begin with "!badger!"
			return fmt.Errorf("%w: the key %.20q", ErrDump, key)
		}
		badger.KVToBuffer(&pb.KV{Key: key, Value: value, Version: 1, StreamId: 1}, buf)
		if buf.LenNoPadding() < 4<<20 {
			return nil
		}
		err := w.Write(buf)
		buf.Reset()
		return err
	})
	if err == nil && !buf.IsEmpty() {
		err = w.Write(buf)
	}
	if err != nil {
		w.Cancel()
		return keys, err
	}
	return keys, w.Flush()
}

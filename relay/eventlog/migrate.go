package eventlog

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
)

// spaceLogV1 is the keyspace of the log in schema 1: the value was the head of a
// record, then its payload.
const spaceLogV1 = 'l'

// migrateLog writes the log of schema 1 to files and then sets schema 2. After a crash
// in between, the store has schema 1, and the migration starts again.
func migrateLog(db *badger.DB, dir string, logFileBytes int64, progress func(loaded int)) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	log, _, err := recordlog.Open(dir, 0, logFileBytes)
	if err != nil {
		return err
	}
	defer log.Close()
	var buf []byte
	var sizes []int
	write := func() error {
		err := log.Append(buf, sizes)
		buf, sizes = buf[:0], sizes[:0]
		if err == nil && log.Full() {
			err = log.Roll()
		}
		return err
	}
	next := uint64(1)
	err = db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 100, Prefix: []byte{spaceLogV1}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if seq := binary.BigEndian.Uint64(it.Item().Key()[1:]); seq != next {
				return fmt.Errorf("entry %d is missing", next)
			}
			err := it.Item().Value(func(v []byte) error {
				r, body, err := splitRecordV1(v)
				from := len(buf)
				buf = recordlog.AppendRecord(buf, r, body)
				sizes = append(sizes, len(buf)-from)
				return err
			})
			if err == nil && len(buf) > maxGroupBytes {
				err = write()
			}
			if err != nil {
				return fmt.Errorf("entry %d: %w", next, err)
			}
			if next%50_000 == 0 && progress != nil {
				progress(int(next))
			}
			next++
		}
		return nil
	})
	if err == nil {
		err = write()
	}
	if err != nil {
		return err
	}
	return db.Update(func(txn *badger.Txn) error {
		if err := txn.Set(keyApplied, binary.BigEndian.AppendUint64(nil, next-1)); err != nil {
			return err
		}
		return txn.Set(keySchema, binary.BigEndian.AppendUint32(nil, 2))
	})
}

// splitRecordV1 splits a value of schema 1 into head and payload. The head had the
// encoding of today, without its length.
func splitRecordV1(v []byte) (recordlog.Record, []byte, error) {
	r, body, err := recordlog.SplitHead(v)
	if err == nil && r.PayloadErased != (len(body) == 0) {
		err = errCorrupt
	}
	return r, body, err
}

// dropLogV1 deletes the log of schema 1 from Badger after migrateLog has written the
// files.
func (k *derivedKeys) dropLogV1() error {
	left := false
	if err := k.each([]byte{spaceLogV1}, []byte{spaceLogV1}, func(_, _ []byte) bool { left = true; return false }); err != nil || !left {
		return err
	}
	return k.db.DropPrefix([]byte{spaceLogV1})
}

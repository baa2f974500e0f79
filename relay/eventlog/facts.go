package eventlog

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
	"github.com/nbd-wtf/go-nostr"
)

// A deletion request erases an event's payload. If the event is evidence about its
// author, the tags that are facts (mostro.FactTags) stay among the derived keys. An
// author that deletes the traces of its failures therefore has the same record as an
// author that does not.

// factsAfter returns the erased events with facts after one seq up to another. The
// facts are committed before the payload is scrubbed.
func (k *derivedKeys) factsAfter(after, last uint64) (list []mostro.Entry, err error) {
	err = k.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 100, Prefix: []byte{spaceFact}})
		defer it.Close()
		for it.Seek(seqKey(spaceFact, after+1)); it.Valid(); it.Next() {
			key := it.Item().Key()
			if len(key) != 9 {
				return errCorrupt
			}
			seq := binary.BigEndian.Uint64(key[1:])
			if seq > last {
				return nil
			}
			var tags nostr.Tags
			if err := it.Item().Value(func(v []byte) error { return json.Unmarshal(v, &tags) }); err != nil {
				return fmt.Errorf("the facts of entry %d: %w", seq, err)
			}
			r, _, err := k.log.Read(seq)
			if errors.Is(err, recordlog.ErrNoRecord) || IsDamage(err) {
				continue // behind the end of a truncated log, or reported by other readers
			}
			if err != nil {
				return fmt.Errorf("entry %d: %w", seq, err)
			}
			list = append(list, mostro.Entry{Seq: seq, ReceivedAt: time.UnixMilli(r.ReceivedAt).UTC(), Source: r.Source, Archived: r.Archived, Erased: true,
				Event: &nostr.Event{ID: hex.EncodeToString(r.ID[:]), PubKey: hex.EncodeToString(r.PubKey[:]), Kind: r.Kind, CreatedAt: nostr.Timestamp(r.CreatedAt), Tags: tags}})
		}
		return nil
	})
	return list, err
}

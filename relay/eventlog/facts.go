package eventlog

import (
	"bytes"
	"context"
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

// maxFact bounds the facts of one event, in bytes.
const maxFact = 8 << 10

// keepFact stores the facts of an event in the transaction that requests its scrub. If
// the event is no evidence, only the head of its record stays.
func (g *commitGroup) keepFact(seq uint64) error {
	_, body, err := g.c.recordAt(seq)
	if IsDamage(err) {
		return nil // no facts are left; a reader of the entry reports the damage
	}
	if err != nil || body == nil {
		return err
	}
	evt, err := ParseBody(bytes.Clone(body))
	if err != nil {
		return nil // as above: an unreadable payload has no facts
	}
	tags, ok := mostro.FactTags(evt)
	if !ok {
		return nil
	}
	fact, err := json.Marshal(tags)
	if err != nil || len(fact) > maxFact {
		return err
	}
	return g.c.keys.set(seqKey(spaceFact, seq), fact)
}

// ReadEvidence works like Read and also passes each erased event whose facts were kept.
// Such an entry is marked Erased; its event has the original id, author, kind and
// dates, only the tags of mostro.FactTags, and neither content nor signature.
func (st *Store) ReadEvidence(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	head := st.recent.head.Load()
	for after < head {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch, last, _, err := st.recentAfter(after, head)
		if err != nil {
			return err
		}
		var facts []mostro.Entry
		if uint64(len(batch)) < last-after { // some entries are not readable
			if facts, err = st.keys.factsAfter(after, last); err != nil {
				return err
			}
		}
		for _, e := range batch {
			for len(facts) > 0 && facts[0].Seq <= e.entry.Seq {
				// If an event was erased between the two reads, it is passed once.
				if facts[0].Seq < e.entry.Seq {
					if err := fn(facts[0]); err != nil {
						return err
					}
				}
				facts = facts[1:]
			}
			if err := fn(e.entry); err != nil {
				return err
			}
		}
		for _, e := range facts {
			if err := fn(e); err != nil {
				return err
			}
		}
		after = last
	}
	return nil
}

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

// fact checks the facts of an erased event.
func (c *checker) fact(key, value []byte, head uint64) {
	var tags nostr.Tags
	if len(key) != 9 || json.Unmarshal(value, &tags) != nil {
		c.report.problem("the facts %x are not readable", key)
		return
	}
	seq := binary.BigEndian.Uint64(key[1:])
	if _, body, err := c.st.log.Read(seq); seq == 0 || seq > head || err != nil || body != nil {
		c.report.problem("facts exist for entry %d, which was not erased", seq)
	}
}

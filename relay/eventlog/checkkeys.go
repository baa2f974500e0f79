package eventlog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/relay/eventlog/liveindex"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
	"github.com/nbd-wtf/go-nostr"
)

// otherKeys checks the keys that are not index entries: the number of ids, tombstones,
// cursors, the queue of own events with its outcomes, proofs of equivocation, and the
// state of the store. The keys of one event are checked with its record.
func (c *checker) otherKeys(txn *badger.Txn) error {
	head := c.st.Head()
	it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 100})
	defer it.Close()
	var ids uint64
	sent := map[string]uint64{} // seq up to which the queue was sent to a relay
	for it.Rewind(); it.Valid(); it.Next() {
		key := it.Item().Key()
		if len(key) == 0 {
			c.report.problem("a key is empty")
			continue
		}
		switch key[0] {
		case spaceNewest, spaceHidden, spaceRegular:
			continue // checked by logRecords and indexEntries
		case spaceID:
			ids++
			continue
		}
		value, err := it.Item().ValueCopy(nil)
		if err != nil {
			return err
		}
		switch key[0] {
		case spaceTomb:
			c.tombstone(key, value, head)
		case spaceChain:
			if len(value) != 8 || binary.BigEndian.Uint64(value) == 0 || binary.BigEndian.Uint64(value) > head {
				c.report.problem("the mark of erased versions %x names no entry of the log", key)
			}
		case spaceCursor:
			var cur UpstreamCursor
			if i := bytes.IndexByte(key, 0); i < 2 || json.Unmarshal(value, &cur) != nil {
				c.report.problem("the cursor %q is not readable", key[1:])
			}
		case spaceForward:
			c.forward(key, value, head, sent)
		case spaceProof:
			if err := c.proof(key); err != nil {
				return err
			}
		case spaceScrub:
			c.report.problem("the scrub requested by key %x was not carried out", key)
		case spaceErasedBytes:
			c.erasedBytes(key, value)
		case spaceFact:
			c.fact(key, value, head)
		case spaceMeta:
			c.meta(key, value, head)
		default:
			c.report.problem("the key %x belongs to no keyspace", key)
		}
	}
	if ids != c.report.Entries {
		c.report.problem("%d ids are indexed for %d entries", ids, c.report.Entries)
	}
	return nil
}

// erasedBytes checks the number of erased bytes recorded for a log file.
func (c *checker) erasedBytes(key, value []byte) {
	if len(key) != 9 || len(value) != 8 {
		c.report.problem("the key %x is not readable", key)
		return
	}
	first, erased := binary.BigEndian.Uint64(key[1:]), int64(binary.BigEndian.Uint64(value))
	if !slices.ContainsFunc(c.st.log.Sizes(), func(f recordlog.FileSize) bool { return f.First == first && 0 <= erased && erased <= f.Bytes }) {
		c.report.problem("%d erased bytes are recorded for the log file of entry %d, which does not exist or is shorter", erased, first)
	}
}

// meta checks the schema version and applied.
func (c *checker) meta(key, value []byte, head uint64) {
	switch {
	case bytes.Equal(key, keySchema) && len(value) == 4 && binary.BigEndian.Uint32(value) == schemaVersion:
	case bytes.Equal(key, keyApplied) && len(value) == 8:
		if applied := binary.BigEndian.Uint64(value); applied != head {
			c.report.problem("derived keys cover the log up to entry %d, but the log ends at %d", applied, head)
		}
	default:
		c.report.problem("the key %q does not belong to this schema", key)
	}
}

func (c *checker) tombstone(key, value []byte, head uint64) {
	if len(value) != 8 || len(key) < 2 {
		c.report.problem("the tombstone %x is not readable", key)
		return
	}
	at := binary.BigEndian.Uint64(value)
	switch {
	case key[1] == 'i' && len(key) == 66:
		if at == 0 || at > head {
			c.report.problem("the tombstone %x names request %d, which is not in the log", key, at)
		}
	case key[1] == 'a' && len(key) >= 2+2+32+1:
		if at > liveindex.MaxTime {
			c.report.problem("the tombstone %x has the time %d, which is out of range", key, at)
		}
	default:
		c.report.problem("the tombstone %x is not readable", key)
	}
}

// forward checks a key of the queue. Keys are sorted, so the cursor of a relay comes
// before its outcomes.
func (c *checker) forward(key, value []byte, head uint64, sent map[string]uint64) {
	switch {
	case len(key) == 10 && key[1] == 'q' && len(value) == 0:
		if seq := binary.BigEndian.Uint64(key[2:]); seq == 0 || seq > head {
			c.report.problem("entry %d is queued, but is not in the log", seq)
		}
	case len(key) > 2 && key[1] == 'c' && len(value) == 8:
		seq := binary.BigEndian.Uint64(value)
		if seq > head {
			c.report.problem("the queue was sent to %s up to entry %d, but the log ends at %d", key[2:], seq, head)
		}
		sent[string(key[2:])] = seq
	case len(key) > 10 && key[1] == 'o':
		seq, relay := binary.BigEndian.Uint64(key[2:]), string(key[10:])
		var o ForwardOutcome
		switch {
		case json.Unmarshal(value, &o) != nil || o.Relay != relay || o.Outcome == "":
			c.report.problem("entry %d: its outcome at %s is not readable", seq, relay)
		case seq == 0 || seq > head:
			c.report.problem("entry %d has an outcome at %s, but is not in the log", seq, relay)
		case sent[relay] < seq:
			c.report.problem("entry %d has an outcome at %s, but the queue was sent there only up to %d", seq, relay, sent[relay])
		}
	default:
		c.report.problem("the queue's key %x is not readable", key)
	}
}

// proof checks that two entries prove an equivocation: the same key, kind and
// created_at, and different ids. If both payloads are readable, the addresses must be
// equal.
func (c *checker) proof(key []byte) error {
	if len(key) != 17 {
		c.report.problem("the proof %x is not readable", key)
		return nil
	}
	a, b := binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:])
	first, body1, err1 := c.st.log.Read(a)
	second, body2, err2 := c.st.log.Read(b)
	for _, err := range []error{err1, err2} {
		if err != nil && !errors.Is(err, recordlog.ErrNoRecord) && !IsDamage(err) {
			return err
		}
	}
	if err := errors.Join(err1, err2); err != nil || a >= b || first.ID == second.ID || first.PubKey != second.PubKey ||
		first.Kind != second.Kind || first.CreatedAt != second.CreatedAt {
		c.report.problem("entries %d and %d prove no equivocation", a, b)
		return nil
	}
	if body1 == nil || body2 == nil {
		return nil // one payload was erased, and the proof is not shown any more
	}
	evt1, err1 := ParseBody(body1)
	evt2, err2 := ParseBody(body2)
	if errors.Join(err1, err2) != nil {
		return nil // reported with the record
	}
	addr1, _ := addressOf(evt1, first.PubKey)
	addr2, _ := addressOf(evt2, second.PubKey)
	if addr1 != addr2 || addr1 == "" {
		c.report.problem("entries %d and %d have different addresses and prove no equivocation", a, b)
	}
	return nil
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

package eventlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/relay/eventlog/liveindex"
	"github.com/nbd-wtf/go-nostr"
)

// TestCheckFinds damages a store in one way per case and expects Check to report the
// damage.
func TestCheckFinds(t *testing.T) {
	for name, harm := range map[string]func(*Store){
		"MissingBody": func(st *Store) {
			if _, err := st.log.Scrub([]uint64{2}); err != nil {
				panic(err)
			}
		},
		"ErasedByNobody": func(st *Store) {
			mustHarm(st.log.Scrub([]uint64{3}))
		},
		"ErasedByte": func(st *Store) {
			f, _, end := recordOnDisk(st, 3)
			defer f.Close()
			mustHarm(f.WriteAt([]byte{0xff}, end-5))
		},
		"GarbledBody":   func(st *Store) { damageRecord(st, 2, -1) },
		"GarbledHead":   func(st *Store) { damageRecord(st, 2, 16+3) },
		"MissingRow":    func(st *Store) { st.recent.head.Add(1) },
		"NotFollowed":   func(st *Store) { harmSet(st, keyApplied, seqKey(0, 1)[1:]) },
		"NotErased":     func(st *Store) { harmSet(st, seqKey(spaceScrub, 2), []byte{}) },
		"MissingID":     func(st *Store) { id, _ := hex32.Parse(testkit.Unsigned(1, 1, 1, "").ID); harmDelete(st, idKey(id)) },
		"MissingRecord": func(st *Store) { harmDelete(st, seqKey(spaceRegular, 1)) },
		"MissingNewest": func(st *Store) {
			pk, _ := hex32.Parse(testkit.Unsigned(1, 1, 1, "").PubKey)
			harmDelete(st, addressKey(spaceNewest, makeAddress(38383, pk, "x")))
		},
		"DanglingID":      func(st *Store) { harmSet(st, idKey([32]byte{1}), seqKey(0, 1)[1:]) },
		"UnknownKeyspace": func(st *Store) { harmSet(st, []byte("zebra"), []byte("1")) },
		"AnotherSchema":   func(st *Store) { harmSet(st, []byte("mother"), []byte("1")) },
		"TombWithoutRequest": func(st *Store) {
			harmSet(st, tombIDKey([32]byte{1}, [32]byte{2}), binary.BigEndian.AppendUint64(nil, 99))
		},
		"GarbledTomb":        func(st *Store) { harmSet(st, []byte("tx"), binary.BigEndian.AppendUint64(nil, 1)) },
		"GarbledCursor":      func(st *Store) { harmSet(st, cursorKey("wss://a", "f"), []byte("{")) },
		"QueuedBeyondTheEnd": func(st *Store) { harmSet(st, forwardKey(99), []byte{}) },
		"SentBeyondTheEnd": func(st *Store) {
			harmSet(st, forwardCursorKey("wss://a"), binary.BigEndian.AppendUint64(nil, 99))
		},
		"OutcomeBeforeCursor": func(st *Store) {
			harmSet(st, forwardOutcomeKey(2, "wss://a"), []byte(`{"relay":"wss://a","outcome":"accepted"}`))
		},
		"OutcomeOfAnotherRelay": func(st *Store) {
			harmSet(st, forwardCursorKey("wss://a"), binary.BigEndian.AppendUint64(nil, 2))
			harmSet(st, forwardOutcomeKey(2, "wss://a"), []byte(`{"relay":"wss://b","outcome":"accepted"}`))
		},
		"ProofOfNothing": func(st *Store) { harmSet(st, proofKey(1, 2), []byte{1}) },
		"ProofOfItself":  func(st *Store) { harmSet(st, proofKey(2, 2), []byte{1}) },
		"LostFromIndex": func(st *Store) {
			st.live.Apply([]liveindex.Change{{Remove: hex32.OrZero(testkit.Unsigned(1, 1, 1, "").ID)}}, st.log.RecordBytes)
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := mustOpenStore(t, t.TempDir(), testkit.NewClock())
			mustAppend(t, st, testkit.Unsigned(1, 1, 1, ""))
			mustAppend(t, st, testkit.Unsigned(1, 38383, 2, "", nostr.Tag{"d", "x"}, nostr.Tag{"s", "pending"}))
			mustAppend(t, st, testkit.Unsigned(1, 38383, 1, "an older version", nostr.Tag{"d", "x"}))
			mustCheck(t, st)
			harm(st)
			r, err := st.Check(context.Background(), false, nil)
			if err != nil {
				t.Fatal(err)
			}
			if r.Total == 0 {
				t.Error("Check finds nothing")
			}
		})
	}
}

func mustHarm(_ any, err error) {
	if err != nil {
		panic(err)
	}
}

// damageRecord changes one byte of a record. If at is negative, it counts from the end
// of the record.
func damageRecord(st *Store, seq int, at int64) {
	f, from, end := recordOnDisk(st, seq)
	defer f.Close()
	if at += from; at < from {
		at += end - from
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		panic(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		panic(err)
	}
}

// recordOnDisk opens the first file of the log and returns the offset and the end of a
// record.
func recordOnDisk(st *Store, seq int) (f *os.File, from, end int64) {
	path := filepath.Join(st.cfg.Dir, "events", "log", fmt.Sprintf("%020d.log", 1))
	raw, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	if f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		panic(err)
	}
	at := append(recordOffsets(raw), len(raw))
	return f, int64(at[seq-1]), int64(at[seq])
}

// recordOffsets returns the offsets of the records in a file of the log, read as FORMAT.md
// describes.
func recordOffsets(raw []byte) (at []int) {
	for i := 20; i < len(raw); {
		at = append(at, i)
		i += 16 + int(binary.LittleEndian.Uint32(raw[i:])) + int(binary.LittleEndian.Uint32(raw[i+4:]))
	}
	return at
}

func harmSet(st *Store, key, value []byte) {
	txn := st.keys.db.NewTransaction(true)
	if err := errors.Join(txn.Set(key, value), txn.Commit()); err != nil {
		panic(err)
	}
}

func harmDelete(st *Store, key []byte) {
	txn := st.keys.db.NewTransaction(true)
	if err := errors.Join(txn.Delete(key), txn.Commit()); err != nil {
		panic(err)
	}
}

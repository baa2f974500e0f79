package eventlog

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// TestCheckFinds damages a store in one way per case and expects Check to report the
// damage.
func TestCheckFinds(t *testing.T) {
	for name, harm := range map[string]func(*Store){
		"MissingBody": func(st *Store) {
			if _, err := st.log.scrub([]uint64{2}); err != nil {
				panic(err)
			}
		},
		"ErasedByNobody": func(st *Store) {
			mustHarm(st.log.scrub([]uint64{3}))
		},
		"ErasedByte": func(st *Store) {
			f, _, end := st.log.span(3, 3)
			mustHarm(f.WriteAt([]byte{scrubByte}, end-5))
		},
		"GarbledBody":   func(st *Store) { damageRecord(st, 2, -1) },
		"GarbledHead":   func(st *Store) { damageRecord(st, 2, recordHeader+3) },
		"MissingRow":    func(st *Store) { st.log.files[0].offsets = st.log.files[0].offsets[:1] },
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
		"LostFromIndex":  func(st *Store) { st.live.remove(0) },
		"LostFromPosting": func(st *Store) {
			p := st.live.kinds[1]
			p.few, p.n = nil, 0
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
func damageRecord(st *Store, seq uint64, at int64) {
	f, places, end := st.log.span(seq, seq)
	if at += int64(places[0]); at < int64(places[0]) {
		at += end - int64(places[0])
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

func harmSet(st *Store, key, value []byte) {
	txn := st.db.NewTransaction(true)
	if err := errors.Join(txn.Set(key, value), txn.Commit()); err != nil {
		panic(err)
	}
}

func harmDelete(st *Store, key []byte) {
	txn := st.db.NewTransaction(true)
	if err := errors.Join(txn.Delete(key), txn.Commit()); err != nil {
		panic(err)
	}
}

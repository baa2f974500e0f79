package score

import (
	"bytes"
	"encoding/gob"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
)

// TestSnapshotGivesTheSameScores encodes and decodes ledgers of random evidence. A decoded
// ledger must have the scores of the first ledger, also after further entries.
func TestSnapshotGivesTheSameScores(t *testing.T) {
	params := DefaultParams()
	params.Funds = []string{scoretest.KeyOf("fund")}
	for seed := range uint64(3) {
		w := &scoretest.World{T: t}
		randomEvidence(w, rand.New(rand.NewPCG(seed, 3)), 400, params.Funds[0])
		first, second := NewLedger(params, saysSoByKey{}), NewLedger(params, saysSoByKey{})
		half := len(w.Entries) / 2
		for _, e := range w.Entries[:half] {
			first.Apply(e)
		}
		var stored bytes.Buffer
		if err := first.Encode(&stored); err != nil {
			t.Fatal(err)
		}
		stored.WriteString("what follows")
		if err := second.Decode(&stored); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(&stored); err != nil || string(rest) != "what follows" {
			t.Fatalf("seed %d: %q remains of the data after the ledger", seed, rest)
		}
		for _, more := range [][2]int{{0, 0}, {half, len(w.Entries)}} {
			for _, e := range w.Entries[more[0]:more[1]] {
				first.Apply(e)
				second.Apply(e)
			}
			if got, want := scoretest.JSON(t, second.Compute(scoretest.At(21))), scoretest.JSON(t, first.Compute(scoretest.At(21))); got != want {
				t.Fatalf("seed %d: other scores:\n%.400s\n%.400s", seed, got, want)
			}
			if first.Cursor() != second.Cursor() {
				t.Errorf("seed %d: the cursor is %d, want %d", seed, second.Cursor(), first.Cursor())
			}
		}
	}
}

// TestDecodeKeepsTheFactsOnError decodes truncated and damaged streams.
func TestDecodeKeepsTheFactsOnError(t *testing.T) {
	w := &scoretest.World{T: t}
	w.Honest(scoretest.KeyOf("a"), 0, 3, "0.8")
	l := ledgerOf(w)
	want := scoretest.JSON(t, l.Compute(scoretest.At(3)))
	var stored bytes.Buffer
	if err := l.Encode(&stored); err != nil {
		t.Fatal(err)
	}
	var negative bytes.Buffer
	if err := gob.NewEncoder(&negative).Encode(snapshot{Nodes: -1}); err != nil {
		t.Fatal(err)
	}
	bad := [][]byte{nil, negative.Bytes()}
	for k := 1; k < stored.Len(); k += stored.Len() / 40 {
		bad = append(bad, stored.Bytes()[:k])
	}
	for _, raw := range bad {
		if err := l.Decode(bytes.NewReader(raw)); err == nil {
			t.Errorf("a stream of %d of %d bytes is decoded", len(raw), stored.Len())
		}
		if got := scoretest.JSON(t, l.Compute(scoretest.At(3))); got != want {
			t.Fatal("the facts changed")
		}
	}
}

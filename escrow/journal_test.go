package escrow

import (
	"compress/gzip"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

var writeJournals = flag.Bool("journals.write", false, "write testdata/rules1-journals.json.gz with the rules of this commit")

// pastTrade is a trade of a simulation with its journal.
type pastTrade struct {
	Trade   trade.Trade
	Journal []trade.Input
}

// Journals of version 1 of the rules replay to the trades that version 1 has stored. The file
// was written by the simulation of the last commit with those rules.
func TestPastJournalsReplay(t *testing.T) {
	const file = "testdata/rules1-journals.json.gz"
	if *writeJournals {
		writePastJournals(t, file)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var past []pastTrade
	if err := json.NewDecoder(text).Decode(&past); err != nil {
		t.Fatal(err)
	}
	rows, triggers := 0, make(map[trade.Trigger]int)
	for _, p := range past {
		var again trade.Trade
		for i, in := range p.Journal {
			next, _, err := trade.Step(again, in)
			if err != nil {
				t.Fatalf("journal of %s, row %d (%s): %v", p.Trade.ID, i+1, in.Kind, err)
			}
			again = next
			rows++
			triggers[next.Last]++
		}
		if !reflect.DeepEqual(again, p.Trade) {
			t.Errorf("the journal of %s gives\n%+v\nstored is\n%+v", p.Trade.ID, again, p.Trade)
		}
	}
	if len(past) < 100 || len(triggers) < 25 {
		t.Errorf("only %d trades with %d rows and %d triggers", len(past), rows, len(triggers))
	}
}

func writePastJournals(t *testing.T, file string) {
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	var past []pastTrade
	for _, seed := range []uint64{2, 3, 5, 7} {
		s := newSim(seed, nil)
		s.run()
		if s.err != nil {
			t.Fatal(seed, s.err)
		}
		for _, id := range s.order {
			if kept, ok := s.store.trades[id]; ok {
				past = append(past, pastTrade{kept, s.store.journal[id]})
			}
		}
	}
	w, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewEncoder(w).Encode(past); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

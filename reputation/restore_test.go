package reputation

import (
	"reflect"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
)

// TestRestoredScoresAreTheSame: after a restart the scores from the checkpoint equal the
// scores from the log, including the witnessed times.
func TestRestoredScoresAreTheSame(t *testing.T) {
	w := &scoretest.World{T: t}
	node := scoretest.KeyOf("node")
	for d := range 20 {
		w.Info(node, "ln", scoretest.At(float64(d)))
		w.Trade(node, d, 50_000, scoretest.At(float64(d)+0.1))
		w.Rate(node, scoretest.KeyOf("rater")[:63]+string("0123456789abcdef"[d%16]), d, "0.8", scoretest.At(float64(d)+0.2), "R1")
	}
	w.Event((mostro.UserRating{Pubkey: node, D: scoretest.KeyOf("user")}).Event(), scoretest.At(19.5), mostro.OriginLive)
	log, dir := &scoretest.MemLog{}, t.TempDir()
	log.Add(w.Entries...)
	open := func() *Service {
		s, err := Open(Config{Dir: dir, Log: log, Proofs: gradedProofs{}, Now: func() time.Time { return scoretest.At(20) }})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := open()
	if err := first.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	want, wantRatings := first.Scores(), first.Ratings(node)
	if len(want) != 1 || want[0].Provisional || want[0].N == 0 {
		t.Fatalf("scores before: %+v", want)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open()
	if err := second.restore(); err != nil {
		t.Fatal(err)
	}
	if got := second.ledger.Cursor(); got != uint64(len(w.Entries)) {
		t.Fatalf("restored up to %d of %d", got, len(w.Entries))
	}
	if err := second.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := second.Scores(); !reflect.DeepEqual(got, want) {
		t.Errorf("scores after: %+v\nwant %+v", got, want)
	}
	if got := second.Ratings(node); !reflect.DeepEqual(got, wantRatings) {
		t.Errorf("ratings after: %+v\nwant %+v", got, wantRatings)
	}
}

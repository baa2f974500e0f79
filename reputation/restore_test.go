package reputation

import (
	"reflect"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
)

// TestRestoredScoresAreTheSame: after a restart the checkpoint alone gives
// what the log gave, who was witnessed and when among it.
func TestRestoredScoresAreTheSame(t *testing.T) {
	w := &world{t: t}
	node := keyOf("node")
	for d := range 20 {
		w.info(node, "ln", at(float64(d)))
		w.trade(node, d, 50_000, at(float64(d)+0.1))
		w.rate(node, keyOf("rater")[:63]+string("0123456789abcdef"[d%16]), d, "0.8", at(float64(d)+0.2), "R1")
	}
	w.event((mostro.UserRating{Pubkey: node, D: keyOf("user")}).Event(), at(19.5), mostro.RoadLive)
	log, dir := &memLog{}, t.TempDir()
	log.add(w.entries...)
	open := func() *Service {
		s, err := Open(Config{Dir: dir, Log: log, Proofs: gradedProofs{}, Now: func() time.Time { return at(20) }})
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
	if got := second.ledger.Cursor(); got != uint64(len(w.entries)) {
		t.Fatalf("restored up to %d of %d", got, len(w.entries))
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

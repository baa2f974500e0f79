package score

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
)

// TestBundleOfTheMethodBefore: a bundle of mostrodex@2 is computed again by its own rules.
func TestBundleOfTheMethodBefore(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "bundle2.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := VerifyBundle(bytes.NewReader(raw), nil, nil)
	if err != nil || len(v.Scores) < 7 || v.Algo[:len(algoBefore)] != algoBefore {
		t.Errorf("%d scores by %s: %v", len(v.Scores), v.Algo, err)
	}
}

// TestDisputesThatOnlyReceiptsShow: a dispute that the node told its users of and did not
// publish counts, once for each order, and a published one is not counted again.
func TestDisputesThatOnlyReceiptsShow(t *testing.T) {
	node := scoretest.KeyOf("hides")
	const act = "dispute-initiated-by-you"
	base := func() *scoretest.World {
		w := &scoretest.World{T: t}
		w.Honest(node, 0, 30, "0.9")
		return w
	}
	order := func(d int) int { return scoretest.HonestOrder(node, d) }
	publish := func(w *scoretest.World, id string, day float64) {
		q := mostro.Dispute{Pubkey: node, D: id, Initiator: "buyer", State: mostro.DisputeStateInitiated}
		w.Event(q.Event(), scoretest.At(day), mostro.OriginLive)
	}
	rate := func(w *scoretest.World, rater string, order int, receipt ...string) {
		w.Rate(node, scoretest.KeyOf(rater), order, "0.2", scoretest.At(20), receipt...)
	}
	for name, c := range map[string]struct {
		play               func(w *scoretest.World)
		claimed, witnessed int64
	}{
		"none":   {func(*scoretest.World) {}, 0, 0},
		"hidden": {func(w *scoretest.World) { rate(w, "a", order(3), "R0", act, "id 1") }, 1, 1},
		"both sides tell of one": {func(w *scoretest.World) {
			rate(w, "a", order(3), "R0", act, "id 1")
			rate(w, "b", order(3), "R0", act, "id 1")
		}, 1, 1},
		"published as well": {func(w *scoretest.World) { publish(w, "id 1", 19); rate(w, "a", order(3), "R0", act, "id 1") }, 1, 1},
		"one published id for three": {func(w *scoretest.World) {
			publish(w, "id 1", 19)
			for i, rater := range []string{"a", "b", "c"} {
				rate(w, rater, order(3+i), "R0", act, "id 1")
			}
		}, 3, 3},
		"no id":              {func(w *scoretest.World) { rate(w, "a", order(3), "R0", act) }, 0, 0},
		"forged":             {func(w *scoretest.World) { rate(w, "a", order(3), "forged", act, "id 1") }, 0, 0},
		"of an unseen order": {func(w *scoretest.World) { rate(w, "a", 999_999, "R0", act, "id 1") }, 0, 0},
		"received late": {func(w *scoretest.World) {
			rate(w, "a", order(3), "R0", act, "id 1")
			w.Entries[len(w.Entries)-1].ReceivedAt = scoretest.At(29)
		}, 0, 0},
	} {
		w := base()
		c.play(w)
		s := ledgerOf(w).Compute(scoretest.At(30))[0]
		if got := s.Evidence.Disputes; got.Claimed != c.claimed || got.Witnessed != c.witnessed {
			t.Errorf("%s: %+v, want %d claimed and %d witnessed", name, got, c.claimed, c.witnessed)
		}
	}
	hidden, open := base(), base()
	for d := range 5 {
		rate(hidden, "a", order(d), "R0", act, scoretest.OrderID(d))
	}
	bad, good := ledgerOf(hidden).Compute(scoretest.At(30))[0], ledgerOf(open).Compute(scoretest.At(30))[0]
	if bad.Sub[SubDisputes].Mean >= good.Sub[SubDisputes].Mean {
		t.Errorf("five hidden disputes of 30 trades leave %s of %s", bad.Sub[SubDisputes].Mean, good.Sub[SubDisputes].Mean)
	}
}

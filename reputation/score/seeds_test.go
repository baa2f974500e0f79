package score

import (
	"fmt"
	"testing"

	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
)

// TestTrustFlowsOnlyFromSeeds: a Mostro with a thousand raters of its own gets no trust from a
// visitor, as long as no path leads from the visitor's keys to it. A bad rating is no path.
func TestTrustFlowsOnlyFromSeeds(t *testing.T) {
	good, fair, cheat := scoretest.KeyOf("good"), scoretest.KeyOf("fair"), scoretest.KeyOf("cheat")
	w := &scoretest.World{T: t}
	for _, node := range []string{good, fair, cheat} {
		w.Info(node, "", scoretest.At(0))
	}
	n := 0
	rate := func(node, rater, stars string, receipt ...string) {
		n++
		w.Rate(node, scoretest.KeyOf(rater), n, stars, scoretest.At(1), receipt...)
	}
	rate(good, "me", "1", "R1")
	rate(good, "friend", "1", "R1")
	rate(fair, "friend", "0.8", "R1")
	rate(cheat, "me", "0.2", "R1") // a bad opinion
	rate(cheat, "friend", "1")     // without a receipt
	rate(cheat, "friend", "1", "forged")
	rate(cheat, "friend", "1", "R0", "canceled") // of a cancelled order
	for i := range 1000 {
		rate(cheat, fmt.Sprint("fake ", i), "1", "R1")
	}
	g := ledgerOf(w).TrustGraph(scoretest.At(2).Unix())
	list, known := g.Personal([]string{scoretest.KeyOf("me"), scoretest.KeyOf("me"), scoretest.KeyOf("a stranger")})
	if known != 1 || len(list) != 2 || list[0].Pubkey != good || list[1].Pubkey != fair || list[0].Trust <= list[1].Trust {
		t.Errorf("%d seeds are known, order %+v", known, list)
	}
	if sum := list[0].Trust + list[1].Trust; sum > One || sum < One-2 {
		t.Errorf("the trust adds up to %s", sum)
	}
	if list, known := g.Personal([]string{scoretest.KeyOf("a stranger")}); known != 0 || list != nil {
		t.Errorf("a stranger's order is %+v", list)
	}
	if list, _ := g.Personal([]string{cheat}); len(list) != 1 || list[0].Pubkey != cheat {
		t.Errorf("trust in the cheat itself gives %+v", list)
	}
	// One real, good trade of a fake rater elsewhere opens a path. Its share is bounded by
	// the share of that rating among the ratings of the other Mostro.
	rate(good, "fake 1", "1", "R1")
	list, _ = ledgerOf(w).TrustGraph(scoretest.At(2).Unix()).Personal([]string{scoretest.KeyOf("me")})
	for _, x := range list {
		if x.Pubkey == cheat && x.Trust > 250_000 {
			t.Errorf("one rating of a fake rater moves %s of the trust to the cheat", x.Trust)
		}
	}
	if list[0].Pubkey != good {
		t.Errorf("order %+v", list)
	}
}

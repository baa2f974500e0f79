package relay

import (
	"fmt"
	"testing"
	"time"
)

// TestUsedProofsAreRemembered checks that a used authorization is refused for longer than it is
// valid, that old ones are forgotten, and that their number is bounded.
func TestUsedProofsAreRemembered(t *testing.T) {
	var p proofs
	begin := time.Unix(1_790_000_000, 0)
	for i := range 40 { // one every ten seconds, and the same again at the end of its validity
		now := begin.Add(time.Duration(i) * 10 * time.Second)
		if err := p.once(fmt.Sprint(i), now); err != nil {
			t.Fatalf("proof %d: %v", i, err)
		}
		for back := range 12 { // 60 seconds ahead to 60 seconds old: 120 seconds
			if i >= back && p.once(fmt.Sprint(i-back), now) == nil {
				t.Fatalf("proof %d is taken again after %d seconds", i-back, 10*back)
			}
		}
	}
	if n := len(p.ids) + len(p.earlier); n > 30 {
		t.Errorf("%d proofs are remembered", n)
	}
	now := begin.Add(time.Hour)
	for i := range maxProofIDs {
		if err := p.once(fmt.Sprint("x", i), now); err != nil {
			t.Fatal(i, err)
		}
	}
	if p.once("one more", now) == nil {
		t.Error("no bound")
	}
	if err := p.once("later", now.Add(4*proofWindow)); err != nil {
		t.Error(err)
	}
}

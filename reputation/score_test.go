package reputation

import (
	"encoding/json"
	"fmt"
	"testing"
)

// honest gives a node some days of presence and a trade a day, each rated.
func (w *world) honest(node string, from, days int, rating string) {
	for d := range days {
		for h := range 4 {
			w.info(node, node, at(float64(from+d)+float64(h)/4))
		}
		n := 1000*int(node[0]) + 10_000*int(node[1]) + d
		w.trade(node, n, int64(20_000+1777*d), at(float64(from+d)+.3))
		w.rate(node, keyOf(fmt.Sprint("rater", node, d)), n, rating, at(float64(from+d)+.5), "R1")
	}
}

func TestHonestNodeRises(t *testing.T) {
	w := &world{t: t}
	node := keyOf("a")
	w.honest(node, 0, 60, "1")
	l := w.ledger()
	last := -1
	for _, days := range []int{1, 10, 30, 60} {
		w2 := &world{t: t}
		w2.honest(node, 0, days, "1")
		s := scoreOf(t, w2.ledger(), node, at(float64(days)))
		if s.Rank <= last {
			t.Errorf("rank %d after %d days, %d before", s.Rank, days, last)
		}
		last = s.Rank
	}
	s := scoreOf(t, l, node, at(60))
	b, _ := json.MarshalIndent(s, "", " ")
	t.Log(string(b))
}

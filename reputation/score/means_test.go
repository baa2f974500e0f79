package score

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
)

// The median without one node must equal the median of the sorted list of the others.
func TestMeansWithoutOne(t *testing.T) {
	p := DefaultParams()
	l := &Ledger{params: p}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 9))
		all := map[string]*derived{}
		days := map[int64]bool{}
		for d := range int64(p.WatchDays) {
			days[d] = true
		}
		for i := range r.IntN(9) {
			d := &derived{rawMean: Micro(r.IntN(101)) * 10_000, sunk: Micro(1+r.IntN(40_000)) * One, seen: seen{days: days}}
			switch r.IntN(6) {
			case 0:
				d.rawMean = -1 // too few ratings of trades with confirmed cost
			case 1:
				d.sunk = 0
			case 2:
				d.seen.days = map[int64]bool{1: true}
			}
			all[scoretest.KeyOf(strconv.Itoa(i))] = d
		}
		m := newMeans(&l.params, all)
		for i := range 9 {
			own := scoretest.KeyOf(strconv.Itoa(i))
			others := []nodeMean{{mean: p.UsersMean, weight: Micro(p.UsersMeanSats) * One}}
			for key, d := range all {
				if key != own && d.rawMean >= 0 && d.sunk > 0 && len(d.seen.days) >= p.WatchDays {
					others = append(others, nodeMean{mean: d.rawMean, weight: d.sunk})
				}
			}
			// The weighted median is the least mean at which half of the weight is
			// reached.
			want, whole := One, Micro(0)
			for _, x := range others {
				whole += x.weight
			}
			for _, x := range others {
				below := Micro(0)
				for _, y := range others {
					if y.mean <= x.mean {
						below += y.weight
					}
				}
				if 2*below >= whole {
					want = min(want, x.mean)
				}
			}
			if len(others)-1 < p.UsersMinNodes {
				want = p.UsersMean
			}
			if got := m.without(own); got != want {
				t.Fatalf("seed %d, without %d: %s, want %s of %v", seed, i, got, want, others)
			}
		}
	}
}

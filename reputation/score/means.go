package score

import (
	"cmp"
	"slices"
	"sort"
)

// means are the mean ratings of all nodes with enough ratings, weighted by confirmed fees.
// The assumed mean (UsersMean) is one entry of the list, so that a few fees do not set the
// prior of all nodes.
type means struct {
	sorted []nodeMean
	place  map[string]int // index in sorted, by node
	p      *Params
}

type nodeMean struct {
	pubkey string // "" for the assumed mean
	mean   Micro
	weight Micro // confirmed fees, decayed, in micro-sats
	upTo   Micro // sum of the weights up to this entry
}

func newMeans(p *Params, all map[string]*derived) means {
	m := means{p: p, sorted: []nodeMean{{mean: p.UsersMean, weight: Micro(p.UsersMeanSats) * One}}, place: map[string]int{}}
	for pubkey, d := range all {
		if d.rawMean >= 0 && d.sunk > 0 && len(d.seen.days) >= p.WatchDays {
			m.sorted = append(m.sorted, nodeMean{pubkey: pubkey, mean: d.rawMean, weight: d.sunk})
		}
	}
	slices.SortFunc(m.sorted, func(a, b nodeMean) int {
		return cmp.Or(cmp.Compare(a.mean, b.mean), cmp.Compare(a.pubkey, b.pubkey))
	})
	sum := Micro(0)
	for i := range m.sorted {
		x := &m.sorted[i]
		sum += x.weight
		x.upTo = sum
		if x.pubkey != "" {
			m.place[x.pubkey] = i
		}
	}
	return m
}

// without returns the weighted median of the means of the other nodes, rounded down to the
// hundredth. The rounding keeps one rating of one node from moving every score.
func (m means) without(pubkey string) Micro {
	at, held := m.place[pubkey]
	nodes, own := len(m.place), Micro(0)
	if held {
		nodes--
		own = m.sorted[at].weight
	}
	if nodes < m.p.UsersMinNodes {
		return m.p.UsersMean
	}
	whole := m.sorted[len(m.sorted)-1].upTo - own
	i := sort.Search(len(m.sorted), func(i int) bool {
		sum := m.sorted[i].upTo
		if held && i >= at {
			sum -= own
		}
		return sum >= whole-sum
	})
	return m.sorted[i].mean / 10_000 * 10_000
}

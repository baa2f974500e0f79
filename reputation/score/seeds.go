package score

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Bounds of a personal order.
const (
	MaxSeeds     = 2000    // trusted keys of one question
	maxSeedEdges = 200_000 // good opinions in a graph; further ones are left out
	seedRounds   = 20      // steps of the walk
	// seedRestart is the share of the trust that returns to the seeds at each step. Trust that
	// reaches invented raters stays with the Mostro that they rate, so the share is large: with
	// 0.15, the share of EigenTrust's authors, one rating by an invented rater elsewhere moved
	// 0.45 of the trust (TestTrustFlowsOnlyFromSeeds), with 0.5 it moves 0.13.
	seedRestart   = 500_000
	seedPrecision = 1 << 40 // units in which trust is computed
)

// Trusted is a Mostro with the trust that flows to it from trusted keys.
type Trusted struct {
	Pubkey string
	Trust  Micro // share of the trust that reaches a Mostro; the sum over all is 1 at the most
}

// edge is the good opinion of a rater of a host.
type edge struct {
	host   int
	weight int64 // from 1 to One
}

// TrustGraph holds the good opinions that raters with a valid receipt have of Mostros. A
// TrustGraph does not change and is safe for concurrent use.
type TrustGraph struct {
	hosts  []string // sorted
	names  []string // raters, sorted
	number map[string]int
	edges  [][]edge // by rater
	sums   []int64  // by rater: the sum of the weights
	into   []int64  // by host: the sum of the weights
}

// trustGraph collects the proven good opinions of a book.
func trustGraph(b *book, asOf int64) *TrustGraph {
	g := &TrustGraph{number: map[string]int{}}
	for pubkey, n := range b.Nodes {
		if n.IsNode {
			g.hosts = append(g.hosts, pubkey)
		}
	}
	slices.Sort(g.hosts)
	raters, edges := map[string][]edge{}, 0
	for i, pubkey := range g.hosts {
		best := map[string]*rated{}
		for _, r := range b.Nodes[pubkey].Ratings {
			if r.Refusal != "" || r.Proof.Grade == "" || !r.Witness || endsTrade(r.Proof.Action) || r.Expires > 0 && r.Expires <= asOf || b.takenBack(r) {
				continue
			}
			if held := best[r.Rater]; held == nil || held.compare(r.Sighting) < 0 {
				best[r.Rater] = r
			}
		}
		for _, rater := range slices.Sorted(maps.Keys(best)) {
			if good := 2*best[rater].Rating - One; good > 0 && edges < maxSeedEdges {
				raters[rater] = append(raters[rater], edge{i, int64(good)})
				edges++
			}
		}
	}
	g.names, g.into = slices.Sorted(maps.Keys(raters)), make([]int64, len(g.hosts))
	for k, name := range g.names {
		g.number[name] = k
		sum := int64(0)
		for _, e := range raters[name] {
			g.into[e.host] += e.weight
			sum += e.weight
		}
		g.edges, g.sums = append(g.edges, raters[name]), append(g.sums, sum)
	}
	return g
}

// Personal returns the Mostros in the order of the trust that flows to them from trusted
// keys: EigenTrust with a return to the seeds, restricted to proven raters. known is the
// number of seeds that have a proven good rating, or are a Mostro.
//
// Trust flows from a rater to the hosts that the rater rated well with a valid receipt, and
// from a host to the raters that rated it well. Nothing flows from keys that no path joins
// to a seed, however many keys there are. The order is that of one visitor. No rank depends
// on it.
func (g *TrustGraph) Personal(seeds []string) (list []Trusted, known int) {
	// The start is the same share for each seed that is a rater or a host.
	startRater, startHost := make([]int64, len(g.names)), make([]int64, len(g.hosts))
	var at []*int64
	for _, seed := range slices.Compact(slices.Sorted(slices.Values(seeds))) {
		if k, ok := g.number[seed]; ok {
			at = append(at, &startRater[k])
		} else if i, ok := slices.BinarySearch(g.hosts, seed); ok {
			at = append(at, &startHost[i])
		}
	}
	if known = len(at); known == 0 {
		return nil, 0
	}
	for _, p := range at {
		*p = seedPrecision / int64(known)
	}
	trust, onHosts := slices.Clone(startRater), make([]int64, len(g.hosts))
	for range seedRounds {
		copy(onHosts, startHost)
		for k, edges := range g.edges {
			for _, e := range edges {
				onHosts[e.host] += mulDiv(trust[k], e.weight, g.sums[k])
			}
		}
		for k, edges := range g.edges {
			back := int64(0)
			for _, e := range edges {
				back += mulDiv(onHosts[e.host], e.weight, g.into[e.host])
			}
			trust[k] = mulDiv(startRater[k], seedRestart, int64(One)) + mulDiv(back, int64(One)-seedRestart, int64(One))
		}
	}
	whole := int64(0)
	for _, v := range onHosts {
		whole += v
	}
	for i, v := range onHosts {
		if v > 0 {
			list = append(list, Trusted{g.hosts[i], Micro(mulDiv(v, int64(One), whole))})
		}
	}
	slices.SortFunc(list, func(a, b Trusted) int {
		return cmp.Or(cmp.Compare(b.Trust, a.Trust), strings.Compare(a.Pubkey, b.Pubkey))
	})
	return list, known
}

package score

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// view reads the facts of a ledger and computes scores. A view changes no fact, but caches
// aggregates in the nodes.
type view struct {
	params *Params
	book   *book
	given  map[string]Micro // as Ledger.given
}

// deriveAll derives the wanted nodes on all cores.
func (v view) deriveAll(all map[string]*derived, wanted []string, asOf int64) {
	v.book.ready()
	list := make([]*derived, len(wanted))
	onAllCores(len(wanted), func(i int) { list[i] = v.derive(wanted[i], asOf) })
	for i, pubkey := range wanted {
		all[pubkey] = list[i]
	}
}

// onAllCores calls fn once for each of n indexes, and returns after all calls have
// returned.
func onAllCores(n int, fn func(i int)) {
	workers := min(runtime.NumCPU(), n)
	var next atomic.Int64
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				fn(i)
			}
		})
	}
	wait.Wait()
}

// scores computes the scores of the wanted nodes from the derived facts of all nodes.
func (v view) scores(all map[string]*derived, wanted []string, asOf int64) []Score {
	mus := newMeans(v.params, all)
	own := func(pubkey string) parts {
		mu := mus.without(pubkey)
		if v.given != nil {
			mu = v.given[pubkey]
		}
		return partsOf(all[pubkey], v.params, mu, asOf)
	}
	older := newLightningIndex(v.book)
	out := make([]Score, len(wanted))
	onAllCores(len(wanted), func(i int) {
		pubkey := wanted[i]
		d := all[pubkey]
		linked := older.before(pubkey, d.node)
		linked = slices.DeleteFunc(linked, func(other string) bool { return all[other] == nil })
		out[i] = v.score(d, own(pubkey), linked, asOf)
	})
	return out
}

// score builds the score of one node.
func (v view) score(d *derived, q parts, linked []string, asOf int64) Score {
	p := v.params
	s := Score{
		Pubkey: d.pubkey, Name: d.node.Name, AsOf: time.Unix(asOf, 0).UTC(), N: d.users.n, NEff: d.users.nEff(), Mu: q.mu,
		Linked: linked, Evidence: d.evidence, Facts: d.shown, Algo: p.Algo(), Root: d.node.root(),
		WatchDays: p.WatchDays, ExposureSats: int64(d.sunk / One), Gates: []string{}, Flags: []Flag{},
	}
	if s.Linked == nil {
		s.Linked = []string{}
	}
	m := q.means(p)
	s.Value = p.Value(m)
	var sub [subScores][2]Micro
	s.Lo, s.Hi, sub = q.interval(p)
	why := whyOf(d, q)
	for j := range s.Sub {
		s.Sub[j] = SubScore{Name: SubNames[j], Weight: p.Weights[j], Mean: m[j], Lo: sub[j][0], Hi: sub[j][1], Why: why[j]}
	}
	s.Rank = int(s.Lo / One)
	switch {
	case len(d.seen.days) == 0:
		s.Provisional, s.Rank, s.Unranked = true, 0, UnrankedUnwitnessed
		s.Claim = p.Value(claimedMeans(d, p, q.mu, asOf))
		s.Gates = append(s.Gates, "nothing of this node was witnessed yet")
	case len(d.seen.days) < p.WatchDays:
		s.Unranked = UnrankedWatching
		s.Gates = append(s.Gates, fmt.Sprintf("watched %d of %d days", len(d.seen.days), p.WatchDays))
	}
	if d.skew != 0 {
		if s.Provisional {
			s.Unranked = UnrankedClock
		}
		s.Gates = append(s.Gates, clockOff(d.skew, p))
	}
	if s.Rank > p.GateRank {
		for _, g := range []struct {
			short bool
			why   string
		}{
			{len(d.seen.days) < p.GateDays, fmt.Sprintf("witnessed on %d days, %d needed", len(d.seen.days), p.GateDays)},
			{s.NEff < p.GateNEff, fmt.Sprintf("ratings worth %s, %s needed", s.NEff, p.GateNEff)},
			{d.users.costedEff < p.GateCosted, fmt.Sprintf("ratings of trades with confirmed cost worth %s, %s needed", d.users.costedEff, p.GateCosted)},
		} {
			if g.short {
				s.Rank = p.GateRank
				s.Gates = append(s.Gates, fmt.Sprintf("at most %d: %s", p.GateRank, g.why))
			}
		}
	}
	// Counts can be bought with fees of one sat each. Therefore the top ranks need a sum
	// of sats.
	if s.Rank > p.GateTop && s.ExposureSats < p.GateTopSats {
		s.Rank = p.GateTop
		s.Gates = append(s.Gates, fmt.Sprintf("at most %d: confirmed fees of %d sats, %d needed", p.GateTop, s.ExposureSats, p.GateTopSats))
	}
	s.Flags = append(s.Flags, d.flags(p, &s, asOf)...)
	return s
}

// clockOff returns a sentence that says by how much the clock of a node is off.
func clockOff(skew int64, p *Params) string {
	minutes, way, most := (skew+30)/60, "after", p.LateSeconds/60
	if skew < 0 {
		minutes, way, most = (30-skew)/60, "before", p.AheadSeconds/60
	}
	return fmt.Sprintf("its clock is off: its events come %d minutes %s the time that they bear, and only what comes within %d minutes is witnessed", minutes, way, most)
}

// ByRank compares scores for display, by rank and then by value. Nodes that were not
// watched for long enough follow. Provisional nodes come last, in the order of their
// claims.
func ByRank(a, b Score) int {
	class := func(s Score) int {
		switch {
		case s.Provisional:
			return 2
		case s.Unranked != "":
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(class(a), class(b)), cmp.Compare(b.Rank, a.Rank), cmp.Compare(b.Claim, a.Claim),
		cmp.Compare(b.Value, a.Value), cmp.Compare(a.Pubkey, b.Pubkey))
}

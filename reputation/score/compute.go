package score

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// parts are the posteriors and numbers from which a score is computed.
type parts struct {
	users, completion, peace, solved, up posterior
	speed                                Micro // factor of half of D: 1 if solvers take disputes in time
	volume, longevity                    Micro
	mu                                   Micro
}

// Compute returns the scores of all nodes at a moment, sorted by pubkey. Compute changes
// no fact, but caches intermediate results for the next call.
func (l *Ledger) Compute(asOf time.Time) []Score {
	at := asOf.Unix()
	var wanted []string
	for pubkey, n := range l.book.Nodes {
		if n.IsNode {
			wanted = append(wanted, pubkey)
		}
	}
	slices.Sort(wanted)
	all := map[string]*derived{}
	v := l.view()
	v.deriveAll(all, wanted, at)
	return v.scores(all, wanted, at)
}

// Update returns the scores that changed since the last Update, sorted by pubkey. These
// are the scores of the nodes whose facts changed, or of all nodes if all is set. The
// results for the other nodes stay those of the Update that computed them last.
func (l *Ledger) Update(asOf time.Time, all bool) []Score {
	at := asOf.Unix()
	var wanted []string
	for pubkey, n := range l.book.Nodes {
		if n.IsNode && (all || l.dirty[pubkey] || l.derived[pubkey] == nil) {
			wanted = append(wanted, pubkey)
		}
	}
	clear(l.dirty)
	if len(wanted) == 0 {
		return nil
	}
	slices.Sort(wanted)
	v := l.view()
	v.deriveAll(l.derived, wanted, at)
	scores := v.scores(l.derived, wanted, at)
	for _, pubkey := range wanted {
		l.derived[pubkey].slim()
	}
	return scores
}

// view reads the facts of a ledger and computes scores. A view changes no fact, but caches
// aggregates in the nodes.
type view struct {
	params *Params
	book   *book
	given  map[string]Micro // as Ledger.given
}

func (l *Ledger) view() view { return view{&l.params, &l.book, l.given} }

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

// partsOf computes the posteriors from the facts.
func partsOf(d *derived, p *Params, mu Micro, asOf int64) parts {
	u := &d.users
	out := parts{mu: mu, speed: One}
	sum, good := u.sum.times(u.spread), u.good.times(u.spread)
	out.users = posterior{p.UsersPrior.times(mu) + good, p.UsersPrior.times(One-mu) + sum - good}

	out.completion = posterior{p.DonePrior + d.good, p.UndonePrior + d.bad}
	out.peace = posterior{p.PeacePrior + max(0, d.good+d.bad-d.disputed), p.DisputePrior + d.disputed}

	e := &d.evidence
	out.solved = posterior{p.SolvedPrior + Micro(e.Resolved.Witnessed)*One, p.UnsolvedPrior + Micro(e.Unresolved.Witnessed)*One}
	if late := e.TakeSecondsP90 - p.TakeHours*3600; late > 0 && len(d.takes) >= 3 {
		out.speed = max(0, One-ratio(late, (p.DisputeHours-p.TakeHours)*3600))
	}
	out.up = posterior{p.UpPrior + d.up, p.DownPrior + d.down}

	free := e.VolumeSats.Witnessed - e.VolumeSats.Costed
	top := p.VolumeFreeTop
	if d.costing > 0 {
		top = mulDiv(e.VolumeSats.Costed, int64(p.TradeShare), int64(One))
	}
	counted := e.VolumeSats.Costed + min(mulDiv(free, int64(p.VolumeFree), int64(One)), top)
	out.volume = min(One, log10Ratio(counted, p.VolumeUnit).over(log10Ratio(p.VolumeTop, p.VolumeUnit)))
	out.longevity = One - halved(int64(e.WitnessedDays), p.AgeFullDays)
	return out
}

// done returns the weights of good trades, bad trades and disputed trades. A trade without
// confirmed cost has little weight. Up to the first trade with confirmed cost, good and
// bad trades are scaled down together, to TradeFree at most. From then on a good trade
// needs a confirmed cost, except for a small share, and a bad trade always counts.
func (d *derived) done(p *Params) (good, bad, disputed Micro) {
	var oldGood, oldBad, oldDisputed, paid, unpaid, newBad, newDisputed Micro
	before := func(at int64) bool { return d.costing == 0 || at < d.costing }
	for _, t := range d.trades {
		switch {
		case before(t.end) && t.good:
			oldGood += One
		case before(t.end):
			oldBad += One
		case t.good && t.cost > 0:
			paid += One
		case t.good:
			unpaid += One
		default:
			newBad += One
		}
	}
	for _, at := range d.disputes {
		if before(at) {
			oldDisputed += One
		} else {
			newDisputed += One
		}
	}
	// An order without a published end counts against a node only as far as the node
	// usually publishes the ends of its orders.
	e := &d.evidence
	if e.Silent.Witnessed > 0 {
		habit := ratio(e.Expired.Witnessed, e.Expired.Witnessed+e.Silent.Witnessed)
		oldBad += (Micro(e.Silent.Witnessed) * One).times(habit)
	}
	if all := oldGood + oldBad; all > p.TradeFree {
		oldGood, oldBad, oldDisputed = shareOf(oldGood, p.TradeFree, all), shareOf(oldBad, p.TradeFree, all), shareOf(oldDisputed, p.TradeFree, all)
	}
	return oldGood + paid + min(unpaid, paid.times(p.TradeShare)), oldBad + newBad, oldDisputed + newDisputed
}

func shareOf(m, part, whole Micro) Micro { return Micro(mulDiv(int64(m), int64(part), int64(whole))) }

// Peace returns half of D for a share of trades without a dispute.
func (p *Params) Peace(share Micro) Micro { return One - min(One, (One-share).over(p.DisputeTop)) }

// means returns the means of the sub-scores.
func (q parts) means(p *Params) (m [subScores]Micro) {
	m[SubUsers] = q.users.mean()
	m[SubCompletion] = q.completion.mean()
	m[SubDisputes] = (p.Peace(q.peace.mean()) + q.solved.mean().times(q.speed)) / 2
	m[SubVolume] = q.volume
	m[SubLiveness] = q.up.mean()
	m[SubLongevity] = q.longevity
	return m
}

// Value returns 100 times the weighted geometric mean of the sub-scores. In a geometric
// mean no good sub-score makes up for a bad one.
func (p *Params) Value(m [subScores]Micro) Micro {
	sum := int64(0)
	for j, v := range m {
		sum += mulDiv(max(v, p.Floor).ln(), int64(p.Weights[j]), int64(One))
	}
	return 100 * exp(min(0, sum))
}

// interval draws from the posteriors, and returns the bounds of the value and of each
// sub-score.
func (q parts) interval(p *Params) (lo, hi Micro, sub [subScores][2]Micro) {
	n := p.Draws
	shuffled := shufflesFor(n, p.DrawSeed).order
	low, high := n/20, n-1-n/20
	values := make([]int64, n)
	weighed := func(j int, m Micro) int64 { return mulDiv(max(m, p.Floor).ln(), int64(p.Weights[j]), int64(One)) }
	for j, v := range map[int]Micro{SubVolume: q.volume, SubLongevity: q.longevity} {
		sub[j] = [2]Micro{v, v}
		for i, w := 0, weighed(j, v); i < n; i++ {
			values[i] += w
		}
	}
	for k, b := range []struct {
		j int
		posterior
	}{{SubUsers, q.users}, {SubCompletion, q.completion}, {SubLiveness, q.up}} {
		drawn := b.quantiles(n)
		sub[b.j] = [2]Micro{drawn[low], drawn[high]}
		logs := make([]int64, n)
		for i, m := range drawn {
			logs[i] = weighed(b.j, m)
		}
		for i, from := range shuffled[k] {
			values[i] += logs[from]
		}
	}
	peace, solved := q.peace.quantiles(n), q.solved.quantiles(n)
	drawn := make([]Micro, n)
	for i := range drawn {
		drawn[i] = (p.Peace(peace[shuffled[3][i]]) + solved[shuffled[4][i]].times(q.speed)) / 2
		values[i] += weighed(SubDisputes, drawn[i])
	}
	slices.Sort(drawn)
	sub[SubDisputes] = [2]Micro{drawn[low], drawn[high]}
	slices.Sort(values)
	return 100 * exp(min(0, values[low])), 100 * exp(min(0, values[high])), sub
}

// score builds the score of one node.
func (v view) score(d *derived, q parts, linked []string, asOf int64) Score {
	p := v.params
	s := Score{
		Pubkey: d.pubkey, Name: d.node.Name, AsOf: time.Unix(asOf, 0).UTC(), N: d.users.n, NEff: d.users.nEff(), Mu: q.mu,
		Linked: linked, Evidence: d.evidence, Algo: p.Algo(), Root: d.node.root(),
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

// claimedMeans returns the means that a node would have if all its claims were true. These
// means only order the nodes of which no event was witnessed.
func claimedMeans(d *derived, p *Params, mu Micro, asOf int64) (m [subScores]Micro) {
	e := &d.evidence
	m[SubUsers] = mu
	m[SubCompletion] = posterior{p.DonePrior + Micro(e.Successes.Claimed)*One, p.UndonePrior + Micro(e.Failures.Claimed)*One}.mean()
	taken := Micro(e.Taken.Claimed) * One
	disputes := Micro(e.Disputes.Claimed) * One
	m[SubDisputes] = (p.Peace(posterior{p.PeacePrior + max(0, taken-disputes), p.DisputePrior + disputes}.mean()) + p.SolvedPrior.over(p.SolvedPrior+p.UnsolvedPrior)) / 2
	m[SubVolume] = min(One, log10Ratio(min(e.VolumeSats.Claimed, saturated/2), p.VolumeUnit).over(log10Ratio(p.VolumeTop, p.VolumeUnit)))
	m[SubLiveness] = p.UpPrior.over(p.UpPrior + p.DownPrior)
	if !e.FirstClaimed.IsZero() {
		m[SubLongevity] = One - halved(max(0, asOf-e.FirstClaimed.Unix()), p.AgeFullDays*day)
	}
	return m
}

// whyOf returns for each sub-score a sentence with its numbers.
func whyOf(d *derived, q parts) (why [subScores]string) {
	e := &d.evidence
	why[SubUsers] = fmt.Sprintf("%d ratings count, together for %s; users of other nodes give %s", d.users.n, d.users.sum, q.mu)
	why[SubCompletion] = fmt.Sprintf("%d of %d witnessed trades ended well, %d were cancelled, %d never ended; not counted: %d cancelled soon after they were taken, %d whose end came here late",
		e.Successes.Witnessed, e.Successes.Witnessed+e.Failures.Witnessed+e.Omitted.Witnessed, e.Failures.Witnessed, e.Omitted.Witnessed,
		e.CancelledEarly.Witnessed, e.EndedLate.Witnessed)
	why[SubDisputes] = fmt.Sprintf("%d disputes witnessed, %d resolved in time, %d not", e.Disputes.Witnessed, e.Resolved.Witnessed, e.Unresolved.Witnessed)
	why[SubVolume] = fmt.Sprintf("%d sats traded with confirmed cost, %d without", e.VolumeSats.Costed, e.VolumeSats.Witnessed-e.VolumeSats.Costed)
	why[SubLiveness] = fmt.Sprintf("present for %s of %s recent days, newer ones weighing more", d.up, d.up+d.down)
	why[SubLongevity] = fmt.Sprintf("seen on %d days", e.WitnessedDays)
	return why
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

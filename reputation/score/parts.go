package score

import (
	"fmt"
	"slices"
)

// parts are the posteriors and numbers from which a score is computed.
type parts struct {
	users, completion, peace, solved, up posterior
	speed                                Micro // factor of half of D: 1 if solvers take disputes in time
	volume, longevity                    Micro
	mu                                   Micro
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

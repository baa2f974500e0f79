package score

import (
	"slices"
	"time"
)

const day = 86400

// derived holds the facts of one node at one moment, in the form that a score needs.
type derived struct {
	pubkey   string
	node     *node
	evidence Evidence

	seen                seen
	trades              []trade // sorted by end
	good, bad, disputed Micro   // weights of taken orders, see done
	disputes            []int64 // times at which witnessed disputes were opened
	takes               []int64 // seconds from the opening of a dispute to the take by a solver
	sunk                Micro   // confirmed fees, decayed, in micro-sats
	costing             int64   // end of the first trade with confirmed cost; 0 if there is none
	openMax             int64   // sats of the largest open order
	openNow             int64   // open sats, witnessed
	opens               []span  // open amounts of the last days, for the alarms
	confirmedMax        int64   // sats of the largest trade, as far as a fee confirms the amount
	skew                int64   // seconds by which the node's clock is behind ours; negative if ahead; 0 if not off
	test                bool

	users     users
	rawMean   Micro // mean rating over trades with confirmed cost; -1 if there are too few
	up, down  Micro // days of presence and days of absence, decayed
	upSum     Micro // days of presence, not decayed
	upOf      Micro // days of presence and absence, not decayed
	shown     Facts
	sparse    bool
	successes map[int64]int64 // by epoch
}

// slim drops the fields that only the score of this node needs.
func (d *derived) slim() {
	d.trades, d.opens, d.users.list = nil, nil, nil
}

// span is a time in which an order held some sats.
type span struct{ from, to, sats int64 }

// derive computes the derived facts of a node. derive caches results in the aggregates of
// the node. Therefore no other derivation of the same node may run at the same time.
func (v view) derive(pubkey string, asOf int64) *derived {
	n := v.book.Nodes[pubkey]
	t := aggregated(v.params, v.book, pubkey, n, asOf)
	d := &derived{pubkey: pubkey, node: n, evidence: t.evidence, seen: t.seen.clone(), trades: t.trades, test: t.test, successes: t.successes}
	e := &d.evidence
	for number := range t.claims {
		e.OpenSats.Claimed += v.book.orders.at(number).Sats
	}
	for number := range t.open {
		d.open(v.params, v.book.orders.at(number), asOf)
	}
	d.history(v.params, asOf)
	for _, q := range n.Disputes {
		for _, v := range q.Versions {
			d.seen.note(v.Sighting)
		}
	}
	for orderID, fees := range n.Fees {
		for _, f := range fees {
			d.seen.note(f.Sighting)
			cost := v.book.confirmed(pubkey, orderID, f)
			e.DevFees.add(1, f.Witness, cost > 0)
			e.DevFeeSats.Claimed += f.Sats
			if f.Witness {
				e.DevFeeSats.Witnessed += f.Sats
			}
			e.DevFeeSats.Costed += cost
		}
	}
	for _, s := range n.Infos {
		d.seen.note(s)
		e.Infos.add(1, s.Witness, false)
	}
	for _, q := range n.Disputes { // after all sightings, because seen.first must be final
		d.dispute(v.params, q.outcomeSince(d.seen.first), asOf)
	}
	if v.params.DisputeReceipts {
		countDisclosed(d, v.book, t.ratings)
	}
	e.UserRatings = t.users
	for _, r := range t.ratings {
		e.Ratings.add(1, r.Witness, false)
		if r.Refusal == "" {
			e.Proven.add(1, r.Witness, false)
		}
	}
	slices.Sort(d.takes)
	if k := len(d.takes); k > 0 {
		e.TakeSecondsP90 = d.takes[(k*9-1)/10]
	}
	e.FirstClaimed, e.FirstWitnessed, e.LastWitnessed = moment(d.seen.claimed), moment(d.seen.first), moment(d.seen.last)
	e.WitnessedDays = len(d.seen.days)
	e.Equivocations = slices.Clone(n.Equivocations)
	d.good, d.bad, d.disputed = d.done(v.params)
	d.presence(v.params, asOf)
	d.clock(v.params, asOf)
	d.weighRatings(v, t, asOf)
	d.shown = factsOf(d, t.claimed, asOf)
	return d
}

func moment(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(at, 0).UTC()
}

func (t *Triple) add(n int64, witnessed, costed bool) {
	t.Claimed += n
	if witnessed {
		t.Witnessed += n
	}
	if costed {
		t.Costed += n
	}
}

// open adds an order that is on offer or taken. The alarms look only at orders that stay
// taken for longer than an unpaid order can. An attacker can publish a large order and
// take the order with a second key.
func (d *derived) open(p *Params, o *order, asOf int64) {
	lf := o.lifecycle
	d.evidence.order(p, o, 1)
	if lf.Claimed == offered && o.Expires > asOf || lf.Claimed == underWay {
		d.evidence.OpenSats.Claimed += o.Sats
	}
	if lf.Witnessed == underWay || o.Expires == 0 || o.Expires > asOf {
		d.evidence.OpenSats.Witnessed += o.Sats
	}
	if lf.Witnessed == underWay && asOf-lf.TakenAt > p.NeutralSeconds {
		d.openNow += o.Sats
		d.openMax = max(d.openMax, o.Sats)
		d.opens = append(d.opens, span{lf.TakenAt, asOf + 1, o.Sats})
	}
}

// history computes the sums over the trades.
func (d *derived) history(p *Params, asOf int64) {
	for i := range d.trades {
		t := &d.trades[i]
		if t.cost > 0 {
			if d.costing == 0 {
				d.costing = t.end // the trades are sorted by end
			}
			d.sunk += (Micro(t.cost) * One).times(halved(asOf-t.end, p.ExposureHalf*day))
			d.confirmedMax = max(d.confirmedMax, p.confirmedSats(t.sats, t.cost))
		}
		if t.end > asOf-openDays*day && !t.omitted {
			d.opens = append(d.opens, span{t.start, t.end, t.sats})
		}
	}
}

func (d *derived) dispute(p *Params, q disputeOutcome, asOf int64) {
	e := &d.evidence
	e.Disputes.Claimed++
	if q.claimedEnd {
		e.Resolved.Claimed++
	}
	if q.opened == 0 {
		return
	}
	e.Disputes.Witnessed++
	d.disputes = append(d.disputes, q.opened)
	if q.taken > 0 {
		d.takes = append(d.takes, q.taken-q.opened)
	}
	limit := q.opened + p.DisputeHours*3600
	switch {
	case q.ended > 0 && q.ended <= limit:
		e.Resolved.Witnessed++
	case q.ended > 0 || q.lateEnd > 0 && (q.lateEndClaim > limit || d.watchedWithin(limit, q.lateEnd-lateEndSlack)):
		e.Unresolved.Witnessed++
	case asOf > limit && !q.claimedEnd:
		e.Unresolved.Witnessed++
	}
	if !q.claimedEnd && asOf > limit {
		e.Unresolved.Claimed++
	}
}

// lateEndSlack is the time that a relay may need after an outage to fetch missed events,
// while the relay already receives new events.
const lateEndSlack = 2 * 3600

// watchedWithin reports whether an info event of the node was witnessed between two
// moments. If so, this relay would have received the other events of the node in that
// time.
func (d *derived) watchedWithin(from, to int64) bool {
	for _, s := range d.node.Infos {
		if at := s.Received / 1000; s.Witness && at > from && at < to {
			return true
		}
	}
	return false
}

// A clock is off if at least skewInfos info events of the last skewDays days have offsets
// whose middle half lies within skewSpread. If the offsets vary more, the events were late
// for another reason.
const (
	skewDays   = 3
	skewInfos  = 6
	skewSpread = 120 // seconds
)

// clock computes by how much the clock of the node is off, if that is the reason why none
// of its newest info events was witnessed.
func (d *derived) clock(p *Params, asOf int64) {
	var off []int64
	for _, s := range d.node.Infos {
		switch at := s.Received / 1000; {
		case at <= asOf-skewDays*day:
		case s.Witness:
			return
		default:
			off = append(off, at-s.Created)
		}
	}
	if len(off) < skewInfos {
		return
	}
	slices.Sort(off)
	k := len(off)
	if off[k*3/4]-off[k/4] > skewSpread {
		return
	}
	if mid := off[k/2]; mid > p.LateSeconds || -mid > p.AheadSeconds {
		d.skew = mid
	}
}

// presence compares the received info events with the expected ones, day by day. The
// expected interval is the usual interval of the node.
func (d *derived) presence(p *Params, asOf int64) {
	from := asOf - p.LiveDays*day
	var at []int64
	first := asOf
	for _, s := range d.node.Infos {
		if !s.Witness || s.Received/1000 > asOf {
			continue
		}
		first = min(first, s.Received/1000)
		if s.Received/1000 >= from {
			at = append(at, s.Received/1000)
		}
	}
	start := max(first, from)
	if len(d.node.Infos) == 0 || start >= asOf {
		return
	}
	slices.Sort(at)
	var gaps []int64
	for i := 1; i < len(at); i++ {
		gaps = append(gaps, at[i]-at[i-1])
	}
	gap := int64(p.InfoSlotSecond)
	if len(gaps) > 0 {
		slices.Sort(gaps)
		gap = gaps[len(gaps)/2]
	}
	d.sparse = gap > day/2
	// A node that announces itself rarely must not count as present all the time.
	gap = max(p.InfoSlotSecond, min(gap, day/2))
	i := 0
	for from := start; from < asOf; from += day {
		to := min(from+day, asOf)
		n := int64(0)
		for ; i < len(at) && at[i] < to; i++ {
			n++
		}
		if to-from < day { // an unfinished day has the weight of its elapsed part
			if to-from < gap {
				continue
			}
		}
		share := min(One, ratio(n*gap, to-from))
		weight := ratio(to-from, day).times(halved(asOf-to, p.LiveHalfDays*day))
		d.up += share.times(weight)
		d.down += (One - share).times(weight)
		d.upSum += share.times(ratio(to-from, day))
		d.upOf += ratio(to-from, day)
	}
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

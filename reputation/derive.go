package reputation

import (
	"slices"
	"time"
)

const day = 86400

// trade is one witnessed end of an order.
type trade struct {
	end     int64
	sats    int64
	cluster uint32
	cost    int64 // confirmed fee
	good    bool
}

// derived is all that a score needs of one node's facts at one moment.
type derived struct {
	pubkey   string
	node     *node
	evidence Evidence

	trades   []trade          // witnessed, by end
	orders   map[string]trade // witnessed successes, by order id
	underWay map[string]bool  // orders that were witnessed in progress
	disputes []int64          // witnessed openings
	takes    []int64          // seconds from a dispute's opening to a solver's taking it
	sunk     Micro            // confirmed fees, faded, in micro-sats
	costing  int64            // end of the first trade with confirmed cost, 0 none
	days     map[int64]bool   // with something witnessed
	openMax  int64            // sats of the largest open order
	openNow  int64            // sats under way or on offer, witnessed
	opens    []span           // of the last days, for the alarms
	test     bool

	users     users
	rawMean   Micro // what its users say, -1 for too few
	up, down  Micro // days of presence and of absence, faded
	sparse    bool
	successes map[int64]int64 // by epoch
}

// span is a time in which some sats were in an order.
type span struct{ from, to, sats int64 }

// derive reads a node's facts.
func (l *Ledger) derive(pubkey string, asOf int64) *derived {
	n := l.book.Nodes[pubkey]
	d := &derived{pubkey: pubkey, node: n, orders: make(map[string]trade, len(n.Orders)), underWay: make(map[string]bool, len(n.Orders)), days: map[int64]bool{}, successes: map[int64]int64{}}
	e := &d.evidence
	var firstClaimed, firstSeen, lastSeen, lastDay int64
	note := func(s Sighting) {
		if firstClaimed == 0 || s.Created < firstClaimed {
			firstClaimed = s.Created
		}
		if !s.Witness {
			return
		}
		at := s.Received / 1000
		if firstSeen == 0 || at < firstSeen {
			firstSeen = at
		}
		lastSeen = max(lastSeen, at)
		if at/day != lastDay {
			lastDay = at / day
			d.days[lastDay] = true
		}
	}
	broken := map[string]bool{}
	for _, q := range n.Equivocations {
		broken[q.Address] = true
	}
	for orderID, o := range n.Orders {
		d.order(l, orderID, o, asOf, len(broken) > 0 && broken["38383:"+pubkey+":"+orderID], note)
	}
	for _, q := range n.Disputes {
		for _, v := range q.Versions {
			note(v.Sighting)
		}
		d.dispute(&l.params, q.live(), asOf)
	}
	for orderID, fees := range n.Fees {
		for _, f := range fees {
			note(f.Sighting)
			cost := int64(0)
			if f.Witness && l.book.Paid[f.Hash].Sats > 0 && l.book.Hashes[f.Hash].Order == pubkey+":"+orderID {
				cost = min(f.Sats, l.book.Paid[f.Hash].Sats)
			}
			e.DevFees.add(1, f.Witness, cost > 0)
			e.DevFeeSats.Claimed += f.Sats
			if f.Witness {
				e.DevFeeSats.Witnessed += f.Sats
			}
			e.DevFeeSats.Costed += cost
		}
	}
	for _, s := range n.Infos {
		note(s)
		e.Infos.add(1, s.Witness, false)
	}
	for _, u := range n.Users {
		e.UserRatings.add(1, u.Witness, false)
	}
	for _, r := range n.Ratings {
		good := r.Refusal == ""
		e.Ratings.add(1, r.Witness, false)
		if good {
			e.Proven.add(1, r.Witness, false)
		}
	}
	slices.SortFunc(d.trades, func(a, b trade) int {
		switch {
		case a.end != b.end:
			return int(max(-1, min(1, a.end-b.end)))
		case a.sats != b.sats:
			return int(max(-1, min(1, a.sats-b.sats)))
		}
		return int(a.cost - b.cost)
	})
	slices.Sort(d.takes)
	if k := len(d.takes); k > 0 {
		e.TakeSecondsP90 = d.takes[(k*9-1)/10]
	}
	e.FirstClaimed, e.FirstWitnessed, e.LastWitnessed = moment(firstClaimed), moment(firstSeen), moment(lastSeen)
	e.WitnessedDays = len(d.days)
	e.Equivocations = slices.Clone(n.Equivocations)
	e.OpenSats.Witnessed = d.openNow
	d.presence(&l.params, asOf)
	d.weigh(l, asOf)
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

func (d *derived) order(l *Ledger, orderID string, o *order, asOf int64, equivocated bool, note func(Sighting)) {
	for v := range o.Versions.all() {
		note(v.Sighting)
	}
	e := &d.evidence
	lf := o.live(&l.params, asOf, equivocated)
	e.Orders.add(1, lf.Start > 0, false)
	d.test = d.test || o.Test
	is := func(t *Triple, which outcome) {
		if lf.Claimed == which {
			t.Claimed++
		}
		if lf.Witnessed == which {
			t.Witnessed++
		}
	}
	is(&e.Failures, failed)
	is(&e.Expired, withdrawn)
	is(&e.Omitted, omitted)
	is(&e.Silent, silent)
	is(&e.Successes, succeeded)
	if lf.Claimed == succeeded || lf.Claimed == failed || lf.Claimed == underWay {
		e.Taken.Claimed++
	}
	if lf.Taken {
		e.Taken.Witnessed++
		d.underWay[orderID] = true
	}
	if lf.Claimed == succeeded {
		e.VolumeSats.Claimed += o.Sats
	}
	if lf.Claimed == offered && o.Expires > asOf || lf.Claimed == underWay {
		e.OpenSats.Claimed += o.Sats
	}
	t := trade{end: lf.End, sats: o.Sats, cluster: o.Cluster}
	switch lf.Witnessed {
	case succeeded:
		t.good = true
		if t.cost = l.cost(d.pubkey, orderID, d.node); t.cost > 0 {
			if d.costing == 0 || t.end < d.costing {
				d.costing = t.end
			}
			e.Successes.Costed++
			e.Taken.Costed++
			e.VolumeSats.Costed += o.Sats
			d.sunk += (Micro(t.cost) * One).times(halved(asOf-t.end, l.params.ExposureHalf*day))
		}
		e.VolumeSats.Witnessed += o.Sats
		d.trades = append(d.trades, t)
		d.orders[orderID] = t
		d.successes[t.end/day/l.params.EpochDays]++
	case failed, omitted:
		d.trades = append(d.trades, t)
	case offered, underWay:
		if lf.Witnessed == underWay || o.Expires == 0 || o.Expires > asOf {
			d.openNow += o.Sats
			d.openMax = max(d.openMax, o.Sats)
			d.opens = append(d.opens, span{lf.Start, asOf + 1, o.Sats})
		}
	}
	if lf.End > asOf-90*day && (lf.Witnessed == succeeded || lf.Witnessed == failed) {
		d.opens = append(d.opens, span{lf.Start, lf.End, o.Sats})
	}
}

func (d *derived) dispute(p *Params, q quarrel, asOf int64) {
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
	case q.ended > 0 || asOf > limit && !q.claimedEnd:
		e.Unresolved.Witnessed++
	}
	if !q.claimedEnd && asOf > limit {
		e.Unresolved.Claimed++
	}
}

// presence compares the infos that came with those that were due, by the
// node's own usual interval, day by day.
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
	// Who announces itself rarely is not thereby always there.
	gap = max(p.InfoSlotSecond, min(gap, day/2))
	i := 0
	for from := start; from < asOf; from += day {
		to := min(from+day, asOf)
		n := int64(0)
		for ; i < len(at) && at[i] < to; i++ {
			n++
		}
		if to-from < day { // a day that is not over weighs by its part
			if to-from < gap {
				continue
			}
		}
		share := min(One, ratio(n*gap, to-from))
		weight := ratio(to-from, day).times(halved(asOf-to, p.LiveHalfDays*day))
		d.up += share.times(weight)
		d.down += (One - share).times(weight)
	}
}

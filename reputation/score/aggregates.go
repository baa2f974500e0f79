package score

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
)

// aggregates are sums over the settled orders of a node. An order is settled if the
// passing of time alone cannot change its lifecycle. A node may have tens of thousands of
// settled orders, and one event touches one of them. Open orders are read again for each
// score.
//
// The aggregates hold no facts. If they are dropped, aggregated builds them again from all
// orders.
type aggregates struct {
	p         *Params
	from      int64               // the sums hold for this moment and later moments
	evidence  Evidence            // sums of the settled orders
	trades    []trade             // sorted
	successes map[int64]int64     // number of successes by epoch
	claimed   tradeDays           // number of claimed successes by day
	open      map[uint32]struct{} // numbers of open orders

	claims map[uint32]struct{} // settled orders that are still on offer by the node's claim, until expiry

	seen seen // sightings of all versions, including open orders: more versions only widen the range
	test bool // set if an order names a test network

	users   Triple           // ratings by the node
	ratings []numberedRating // ratings of the node, sorted by arrival; nil if not yet sorted
	numbers map[string]int32
}

// trade is one witnessed end of an order.
type trade struct {
	end, start int64
	sats       int64
	cost       int64 // confirmed fee
	good       bool
	omitted    bool // the trade has no published end
}

func (t trade) compare(b trade) int {
	kind := func(t trade) int {
		switch {
		case t.good:
			return 2
		case t.omitted:
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(t.end, b.end), cmp.Compare(t.start, b.start), cmp.Compare(t.sats, b.sats), cmp.Compare(t.cost, b.cost), cmp.Compare(kind(t), kind(b)))
}

// seen holds the times at which events of a node were claimed and witnessed. 0 means
// never.
type seen struct {
	claimed     int64
	first, last int64
	days        map[int64]bool
}

func (s *seen) note(v Sighting) {
	if v.Created > 0 && (s.claimed == 0 || v.Created < s.claimed) {
		s.claimed = v.Created
	}
	if !v.Witness {
		return
	}
	at := v.Received / 1000
	if s.first == 0 || at < s.first {
		s.first = at
	}
	s.last = max(s.last, at)
	s.days[at/day] = true
}

func (s seen) clone() seen {
	s.days = maps.Clone(s.days)
	return s
}

// aggregated returns the aggregates of a node, up to date at a moment.
func aggregated(p *Params, b *book, pubkey string, n *node, asOf int64) *aggregates {
	broken := map[string]bool{}
	for _, q := range n.Equivocations {
		broken[q.Address] = true
	}
	all := b.orders
	look := func(t *aggregates, o *order) {
		versions := all.versions(o)
		for v := range versions.all() {
			t.seen.note(v.Sighting)
		}
		t.test = t.test || o.Test
		o.lifecycle, o.cost = o.lifecycleAt(versions, t.p, asOf, len(broken) > 0 && broken["38383:"+pubkey+":"+all.id(o)]), 0
		if o.lifecycle.Witnessed == succeeded && len(n.Fees) > 0 {
			o.cost = b.cost(pubkey, all.id(o), n)
		}
	}
	t := n.aggregates
	if t != nil && asOf >= t.from {
		for number := range t.open {
			o := all.at(number)
			look(t, o)
			if o.lifecycle.settled() {
				t.settle(number, o)
				delete(t.open, number)
				if o.lifecycle.traded() {
					at, _ := slices.BinarySearchFunc(t.trades, o.trade(), trade.compare)
					t.trades = slices.Insert(t.trades, at, o.trade())
				}
			}
		}
	} else {
		t = newAggregates(p)
		for number, o := range n.orders.each() {
			look(t, o)
			if o.settled = false; !o.lifecycle.settled() {
				t.open[number] = struct{}{}
				continue
			}
			t.settle(number, o)
			if o.lifecycle.traded() {
				t.trades = append(t.trades, o.trade())
			}
		}
		slices.SortFunc(t.trades, trade.compare)
		for _, u := range n.Users {
			t.users.add(1, u.Witness, false)
		}
		n.aggregates = t
	}
	for number := range t.claims {
		if o := all.at(number); o.Expires <= asOf {
			t.from = max(t.from, o.Expires)
			delete(t.claims, number)
		}
	}
	if t.ratings == nil {
		t.numbers = map[string]int32{}
		for _, r := range n.Ratings {
			t.ratings = append(t.ratings, t.number(r))
		}
		slices.SortFunc(t.ratings, numberedRating.compareArrival)
	}
	return t
}

func newAggregates(p *Params) *aggregates {
	return &aggregates{p: p, successes: map[int64]int64{}, claimed: tradeDays{}, open: map[uint32]struct{}{}, claims: map[uint32]struct{}{}, seen: seen{days: map[int64]bool{}}}
}

// settled reports whether the passing of time alone cannot change the outcome of an order.
func (lf lifecycle) settled() bool { return lf.Witnessed != offered && lf.Witnessed != underWay }

// traded reports whether an order is a trade, good or bad.
func (lf lifecycle) traded() bool {
	return lf.Witnessed == succeeded || lf.Witnessed == failed || lf.Witnessed == omitted
}

// trade returns the trade of a settled order.
func (o *order) trade() trade {
	return trade{end: o.lifecycle.End, start: o.lifecycle.Start, sats: o.Sats, cost: o.cost, good: o.lifecycle.Witnessed == succeeded, omitted: o.lifecycle.Witnessed == omitted}
}

// settle adds a settled order to the sums, except for its trade.
func (t *aggregates) settle(number uint32, o *order) {
	o.settled = true
	t.count(o, 1)
	if o.lifecycle.Witnessed == omitted || o.lifecycle.Witnessed == silent {
		t.from = max(t.from, o.lifecycle.End+1)
	}
	if o.lifecycle.Claimed == offered {
		t.claims[number] = struct{}{}
	}
}

// count adds a settled order to the sums n times. If n is -1, the order is removed.
func (t *aggregates) count(o *order, n int64) {
	t.evidence.order(t.p, o, n)
	if o.lifecycle.Claimed == underWay {
		t.evidence.OpenSats.Claimed += n * o.Sats
	}
	if on := int64(o.lifecycle.ClaimedOn); on > 0 {
		if t.claimed[on] += n; t.claimed[on] == 0 {
			delete(t.claimed, on)
		}
	}
	if o.lifecycle.Witnessed == succeeded {
		epoch := o.lifecycle.End / day / t.p.EpochDays
		if t.successes[epoch] += n; t.successes[epoch] == 0 {
			delete(t.successes, epoch)
		}
	}
}

// reopen removes an order from the sums, before a fact of the order changes.
func (n *node) reopen(orderID string) {
	t := n.aggregates
	if t == nil {
		return
	}
	number, o := n.orders.find(orderID)
	if o == nil {
		return
	}
	if o.settled {
		o.settled = false
		t.count(o, -1)
		delete(t.claims, number)
		if o.lifecycle.traded() {
			at, ok := slices.BinarySearchFunc(t.trades, o.trade(), trade.compare)
			if !ok { // a bug of this program
				n.aggregates = nil
				return
			}
			t.trades = slices.Delete(t.trades, at, at+1)
		}
	}
	t.open[number] = struct{}{}
}

// numberedRating is a rating with numbers for its author, nullifier and order. Numbers are
// faster to compare than strings.
type numberedRating struct {
	*rated
	author, nullifier, order int32

	amount   Micro // the weight of amountOf sats; valid if amountOf is not -1
	amountOf int64
}

func (r numberedRating) compareArrival(b numberedRating) int {
	return cmp.Or(cmp.Compare(r.Received, b.Received), bytes.Compare(r.ID[:], b.ID[:]))
}

func (t *aggregates) number(r *rated) numberedRating {
	number := func(name string) int32 {
		k, ok := t.numbers[name]
		if !ok {
			k = int32(len(t.numbers))
			t.numbers[name] = k
		}
		return k
	}
	return numberedRating{rated: r, author: number("a" + r.Rater + "\n" + r.D), nullifier: number("n" + r.Proof.Nullifier), order: number("o" + r.OrderID), amountOf: -1}
}

// rate adds a new rating of the node.
func (t *aggregates) rate(r *rated) {
	if t == nil || t.ratings == nil {
		return
	}
	p := t.number(r)
	at, _ := slices.BinarySearchFunc(t.ratings, p, numberedRating.compareArrival)
	t.ratings = slices.Insert(t.ratings, at, p)
}

// order adds an order n times, in its current lifecycle.
func (e *Evidence) order(p *Params, o *order, n int64) {
	lf := o.lifecycle
	e.Orders.add(n, lf.Start > 0, false)
	if t := e.of(lf.Claimed); t != nil {
		t.Claimed += n
	}
	if t := e.of(lf.Witnessed); t != nil {
		t.Witnessed += n
	}
	if lf.Claimed == succeeded || lf.Claimed == failed || lf.Claimed == underWay {
		e.Taken.Claimed += n
	}
	if lf.Taken {
		e.Taken.Witnessed += n
	}
	if lf.Claimed == succeeded {
		e.VolumeSats.Claimed += n * o.Sats
	}
	if lf.Witnessed == succeeded {
		e.VolumeSats.Witnessed += n * o.Sats
		if o.cost > 0 {
			e.Successes.Costed += n
			e.Taken.Costed += n
			e.VolumeSats.Costed += n * p.confirmedSats(o.Sats, o.cost)
		}
	}
}

// of returns the counter of an outcome, or nil if the outcome is no end.
func (e *Evidence) of(which outcome) *Triple {
	switch which {
	case succeeded:
		return &e.Successes
	case failed:
		return &e.Failures
	case withdrawn:
		return &e.Expired
	case omitted:
		return &e.Omitted
	case silent:
		return &e.Silent
	case early:
		return &e.CancelledEarly
	case endedLate:
		return &e.EndedLate
	}
	return nil
}

package score

import (
	"cmp"
	"slices"
)

// weightedRating is one rating with its weight.
type weightedRating struct {
	*numberedRating
	weight Micro
	plain  bool // its trade was not witnessed
	costed bool
	epoch  int64
	day    int64
	sats   int64
	group  uint32
	reason string
}

// users is what the ratings of a node come to.
type users struct {
	list      []weightedRating // by receipt, then id; all of them
	n         int
	sum       Micro // of weights
	good      Micro // of weights times ratings
	squares   int64 // of weights, in millionths of millionths
	spread    Micro // how many votes the agreement makes of one
	costedEff Micro
	overIssue bool
	issued    int64 // receipts of the worst epoch
	possible  int64 // that its trades allow
}

func (u *users) nEff() Micro { return effective(u.sum, u.squares) }

// effective gives as many equal weights as have one sum and sum of squares.
func effective(sum Micro, squares int64) Micro {
	if squares == 0 {
		return 0
	}
	return Micro(mulDiv(int64(sum), int64(sum)*1000, squares)) * 1000
}

// weighRatings sets the weight of each rating.
func (d *derived) weighRatings(l *Ledger, t *aggregates, asOf int64) {
	p := &l.params
	u := &d.users
	u.list = make([]weightedRating, len(t.ratings))
	for i := range t.ratings {
		u.list[i].numberedRating = &t.ratings[i]
	}
	d.admit(l, len(t.numbers), asOf)
	for i := range u.list {
		if w := &u.list[i]; w.reason == "" {
			d.value(l, w, asOf)
		}
	}
	d.supply(p)
	u.cap(p.UsersPrior, p.DayCap, "more than a day may weigh", func(w *weightedRating) int64 { return w.day })
	u.cap(p.UsersPrior, p.ClusterCap, "more than one kind of trade may weigh", func(w *weightedRating) int64 { return int64(w.group) })
	sumOf := func(in func(*weightedRating) bool) (sum Micro) {
		for i := range u.list {
			if in(&u.list[i]) {
				sum += u.list[i].weight
			}
		}
		return sum
	}
	isPlain := func(w *weightedRating) bool { return w.plain }
	isCosted := func(w *weightedRating) bool { return w.costed }
	isFree := func(w *weightedRating) bool { return !w.plain && !w.costed }
	costed := sumOf(isCosted)
	allowed := costed.times(p.FreeShare)
	if d.costing == 0 {
		allowed += p.FreeCap
	}
	u.scale(isFree, sumOf(isFree), allowed, "no confirmed cost")
	u.scale(isPlain, sumOf(isPlain), (p.UsersPrior + costed + sumOf(isFree)).times(p.PlainCap), "trade not witnessed")
	u.total(p)
	d.rawMean = u.costedMean()
}

// admit refuses ratings that do not count at all, and says why. numbers is how
// many they have among them.
func (d *derived) admit(l *Ledger, numbers int, asOf int64) {
	list := d.users.list
	newest := make([]int32, numbers) // by author: one more than the place in the list
	arrived := make([]int64, numbers)
	for i := range list {
		w := &list[i]
		switch {
		case w.Refusal != "":
			w.reason = w.Refusal
		case l.takenBack(w.rated):
			w.reason = "taken back by its author"
		case w.Expires > 0 && w.Expires <= asOf:
			w.reason = "expired"
		case !w.Witness:
			w.reason = "not received when it was made"
		}
		if w.reason != "" {
			continue
		}
		if k := newest[w.author]; k == 0 {
			newest[w.author], arrived[w.author] = int32(i+1), w.Received
		} else if list[k-1].compare(w.Sighting) < 0 {
			list[k-1].reason, newest[w.author] = "replaced by a newer one", int32(i+1)
		} else {
			w.reason = "replaced by a newer one"
		}
	}
	// Who came first has the receipt, and one of the order's places.
	kept := make([]int32, 0, len(list))
	for i := range list {
		if list[i].reason == "" {
			kept = append(kept, int32(i))
		}
	}
	slices.SortFunc(kept, func(a, b int32) int {
		return cmp.Or(cmp.Compare(arrived[list[a].author], arrived[list[b].author]), cmp.Compare(a, b))
	})
	spent := make([]bool, numbers)
	places := make([]int, numbers)
	for _, i := range kept {
		w := &list[i]
		switch {
		case w.Proof.Nullifier != "" && spent[w.nullifier]:
			w.reason = "its receipt is spent already"
			continue
		case w.Proof.OfOrder && places[w.order] >= l.params.PerOrder:
			w.reason = "the order has its ratings"
			continue
		}
		spent[w.nullifier] = true
		if w.Proof.OfOrder {
			places[w.order]++
		}
	}
}

// value gives a rating its weight before any cap.
func (d *derived) value(l *Ledger, w *weightedRating, asOf int64) {
	p := &l.params
	w.day = w.Received / 1000 / day
	w.epoch = w.day / p.EpochDays
	if endsTrade(w.Proof.Action) {
		// Anybody may publish an order, take it with a second key, cancel it
		// without a payment and hold the node's word for that, twice.
		w.reason = "of a cancelled order: anybody can have that word for nothing"
		return
	}
	_, o := d.node.orders.find(w.OrderID)
	var c Micro
	switch {
	case !w.Proof.OfOrder: // a blind receipt names no order
		c = p.CWitnessed
		w.group = ^uint32(0)
	case o != nil && o.lifecycle.Witnessed == succeeded:
		c, w.sats, w.group = p.CWitnessed, o.Sats, o.Cluster
		cost := max(o.cost, l.opened(d.pubkey, w.rated))
		if cost > 0 {
			c = max(c, min(One, ratio(cost, p.CostFullSats)))
			w.sats = p.confirmedSats(w.sats, cost)
			w.costed = true
		}
	case o != nil && o.lifecycle.Witnessed == failed:
		// A failed trade costs nothing by nature, and the node that fails it is
		// the last to stuff ratings of it: it counts as the node's other trades,
		// and for no more than the largest of them.
		c, w.sats = p.CWitnessed, o.Sats
		w.group, w.costed = o.Cluster, d.costing > 0
		if w.costed {
			w.sats = min(w.sats, d.confirmedMax)
		}
	default:
		c, w.plain = p.CPlain, true
		w.group = ^uint32(1)
	}
	if w.amountOf != w.sats {
		w.amountOf, w.amount = w.sats, clamp(log10Ratio(w.sats, p.AmountUnit).over(p.AmountTop), p.AmountFloor, One)
	}
	w.weight = c.times(w.amount).times(halved(asOf-w.Received/1000, p.AgeHalfDays*day))
	if w.weight == 0 {
		w.reason = "too old"
	}
}

// endsTrade says whether a node's message is one that it also sends when
// nothing was traded.
func endsTrade(action string) bool {
	return action == "canceled" || action == "cooperative-cancel-accepted"
}

// supply compares the receipts of an epoch with the trades that were
// witnessed: two sides of each. What is too much is taken from the ratings
// whose trade nobody saw, and from blind ones, never from the others: a node
// must not be able to drown what its users say by issuing more receipts.
func (d *derived) supply(p *Params) {
	u := &d.users
	loose, bound := map[int64]int64{}, map[int64]int64{}
	for i := range u.list {
		w := &u.list[i]
		if w.reason != "" {
			continue
		}
		if w.plain || !w.Proof.OfOrder {
			loose[w.epoch]++
		} else {
			bound[w.epoch]++
		}
	}
	for epoch, n := range loose {
		// Ratings come some time after their trades: the epoch before counts.
		possible := max(0, 2*(d.successes[epoch]+d.successes[epoch-1])-bound[epoch])
		if n <= possible {
			continue
		}
		if !u.overIssue || n > u.issued || n == u.issued && possible < u.possible {
			u.issued, u.possible = n, possible
		}
		u.overIssue = true
		for i := range u.list {
			if w := &u.list[i]; w.reason == "" && w.epoch == epoch && (w.plain || !w.Proof.OfOrder) {
				w.weight = w.weight.times(ratio(possible, n))
				w.reason = lessened(w.weight, "more receipts than trades")
			}
		}
	}
}

// lessened is the reason of a rating that still counts, in part.
func lessened(weight Micro, why string) string {
	if weight > 0 {
		return "in part: " + why
	}
	return why
}

// cap bounds what one group (a day, a cluster) may weigh, as a share of all
// weight, the prior's included: without that a newcomer's first day would
// count for nothing.
func (u *users) cap(prior, share Micro, why string, group func(*weightedRating) int64) {
	sums := map[int64]Micro{}
	total := prior
	for i := range u.list {
		if w := &u.list[i]; w.weight > 0 {
			sums[group(w)] += w.weight
			total += w.weight
		}
	}
	ordered := make([]Micro, 0, len(sums))
	for _, s := range sums {
		ordered = append(ordered, s)
	}
	slices.SortFunc(ordered, func(a, b Micro) int { return cmp.Compare(b, a) })
	// The greatest limit such that no group holds more than its share of what
	// is left: the m largest groups are cut, the others stay whole.
	rest, limit := total, Micro(-1)
	for m := 0; m <= len(ordered); m++ {
		left := One - share*Micro(m)
		if left <= 0 {
			return // so many groups cannot each hold more than their share
		}
		limit = rest.times(share).over(left)
		if m == len(ordered) || ordered[m] <= limit {
			break
		}
		rest -= ordered[m]
	}
	for i := range u.list {
		w := &u.list[i]
		if s := sums[group(w)]; w.weight > 0 && s > limit {
			w.weight = Micro(mulDiv(int64(w.weight), int64(limit), int64(s)))
			w.reason = lessened(w.weight, why)
		}
	}
}

// scale brings a class of ratings down to an allowed weight.
func (u *users) scale(in func(*weightedRating) bool, sum, allowed Micro, why string) {
	if sum <= allowed {
		return
	}
	for i := range u.list {
		if w := &u.list[i]; w.weight > 0 && in(w) {
			w.weight = Micro(mulDiv(int64(w.weight), int64(allowed), int64(sum)))
			w.reason = lessened(w.weight, why)
		}
	}
}

// costedMean is what users of trades with confirmed cost say, -1 for fewer than
// five: what costs nothing must not set what is believed of other nodes.
func (u *users) costedMean() Micro {
	n, sum, good := 0, Micro(0), Micro(0)
	for i := range u.list {
		if w := &u.list[i]; w.costed && w.weight > 0 {
			n++
			sum += w.weight
			good += w.weight.times(w.Rating)
		}
	}
	if n < 5 || sum == 0 {
		return -1
	}
	return good.over(sum)
}

// total adds up what is left.
func (u *users) total(p *Params) {
	var costed Micro
	var costedSquares int64
	for i := range u.list {
		w := &u.list[i]
		if w.weight == 0 {
			continue
		}
		u.n++
		u.sum += w.weight
		u.good += w.weight.times(w.Rating)
		u.squares += int64(w.weight) * int64(w.weight)
		if w.costed {
			costed += w.weight
			costedSquares += int64(w.weight) * int64(w.weight)
		}
	}
	u.costedEff = effective(costed, costedSquares)
	u.spread = One
	if u.sum == 0 || u.nEff() < 5*One {
		return
	}
	// Ratings that agree say more than as many votes of yes and no would.
	mean := u.good.over(u.sum)
	var variance Micro
	for i := range u.list {
		if w := &u.list[i]; w.weight > 0 {
			off := w.Rating - mean
			variance += w.weight.times(off.times(off))
		}
	}
	variance = variance.over(u.sum)
	u.spread = clamp(mean.times(One-mean).over(max(variance, 1)), One, p.UsersSpread)
}

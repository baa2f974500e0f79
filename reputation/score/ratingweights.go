package score

import (
	"cmp"
	"slices"
)

// weightedRating is one rating with its weight.
type weightedRating struct {
	*numberedRating
	weight Micro
	plain  bool // set if the trade was not witnessed
	costed bool
	epoch  int64
	day    int64
	sats   int64
	group  uint32
	reason string
}

// users holds the ratings of a node and their sums.
type users struct {
	list      []weightedRating // all ratings, sorted by receipt and then id
	n         int
	sum       Micro // sum of the weights
	good      Micro // sum of weight times rating
	squares   int64 // sum of squared weights, in millionths of millionths
	spread    Micro // factor by which agreement among the ratings sharpens the posterior
	costedEff Micro
	overIssue bool
	issued    int64 // number of receipts in the worst epoch
	possible  int64 // number of receipts that the trades of that epoch allow
}

func (u *users) nEff() Micro { return effective(u.sum, u.squares) }

// effective returns the number of equal weights that have the same sum and the same sum of
// squares.
func effective(sum Micro, squares int64) Micro {
	if squares == 0 {
		return 0
	}
	return Micro(mulDiv(int64(sum), int64(sum)*1000, squares)) * 1000
}

// weighRatings sets the weight of each rating.
func (d *derived) weighRatings(v view, t *aggregates, asOf int64) {
	p := v.params
	u := &d.users
	u.list = make([]weightedRating, len(t.ratings))
	for i := range t.ratings {
		u.list[i].numberedRating = &t.ratings[i]
	}
	d.admit(v, len(t.numbers), asOf)
	for i := range u.list {
		if w := &u.list[i]; w.reason == "" {
			d.value(v, w, asOf)
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

// admit refuses the ratings that do not count, and records the reason. numbers is the size
// of the number space of the ratings (see numberedRating).
func (d *derived) admit(v view, numbers int, asOf int64) {
	list := d.users.list
	newest := make([]int32, numbers) // by author: the index in list plus one
	arrived := make([]int64, numbers)
	for i := range list {
		w := &list[i]
		switch {
		case w.Refusal != "":
			w.reason = w.Refusal
		case v.book.takenBack(w.rated):
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
	// The first rating to arrive gets the receipt, and one of the places of the order.
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
		case w.Proof.OfOrder && places[w.order] >= v.params.PerOrder:
			w.reason = "the order has its ratings"
			continue
		}
		spent[w.nullifier] = true
		if w.Proof.OfOrder {
			places[w.order]++
		}
	}
}

// value sets the weight of a rating before the caps.
func (d *derived) value(v view, w *weightedRating, asOf int64) {
	p := v.params
	w.day = w.Received / 1000 / day
	w.epoch = w.day / p.EpochDays
	if endsTrade(w.Proof.Action) {
		// An attacker can publish an order, take the order with a second key and cancel
		// without a payment. The node then signs a message for both sides.
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
		cost := max(o.cost, v.book.opened(p, d.pubkey, w.rated))
		if cost > 0 {
			c = max(c, min(One, ratio(cost, p.CostFullSats)))
			w.sats = p.confirmedSats(w.sats, cost)
			w.costed = true
		}
	case o != nil && o.lifecycle.Witnessed == failed:
		// A failed trade has no fee, and a node that fails a trade has no motive to add
		// ratings of that trade. Therefore the rating of a failed trade counts like the
		// other trades of the node, and for no more than the largest confirmed trade.
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

// endsTrade reports whether an action is one that a node also sends if no trade took
// place.
func endsTrade(action string) bool {
	return action == "canceled" || action == "cooperative-cancel-accepted"
}

// supply compares the receipts of an epoch with the witnessed trades, which have two sides
// each. If there are too many receipts, only ratings without a witnessed trade and blind
// ratings lose weight. The other ratings keep their weight, because a node must not be
// able to outweigh its users with additional receipts.
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
		// A rating arrives some time after its trade, so the trades of the previous epoch
		// count too.
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

// lessened returns the reason of a rating whose weight was reduced.
func lessened(weight Micro, why string) string {
	if weight > 0 {
		return "in part: " + why
	}
	return why
}

// cap bounds the weight of one group (a day, a cluster) to a share of the total weight.
// The total includes the prior. Without the prior, the first day of a new node would have
// no weight.
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
	// The limit is the greatest one at which no group exceeds its share of the remaining
	// weight. The m largest groups are cut. The other groups keep their weight.
	rest, limit := total, Micro(-1)
	for m := 0; m <= len(ordered); m++ {
		left := One - share*Micro(m)
		if left <= 0 {
			return // so many groups cannot each exceed their share
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

// scale reduces the total weight of a class of ratings to an allowed weight.
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

// costedMean returns the mean rating over the trades with confirmed cost, or -1 if there
// are fewer than five. Ratings without cost must not change the prior of other nodes.
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

// total computes the sums of the remaining weights.
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
	// Ratings that agree carry more information than the same number of yes-or-no votes.
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

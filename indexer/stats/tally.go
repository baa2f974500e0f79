package stats

import "iter"

// needs are the parts of a tally that a metric reads. A scan collects only these parts.
type needs uint32

const (
	needTickets   needs = 1 << iota // sats of each completed order
	needFiat                        // fiat amount of each completed order
	needPremiums                    // premium of each created order
	needTimes                       // gaps of timing.*
	needBreakdown                   // numbers and sats by cohort
	needOpen                        // the book at the end of the bucket
	needFirst                       // first sighting of currencies, methods and instances
	needFees
	needDisputes
	needIn        // signed rates of completed orders
	needInstances // silence
	needNetwork   // the same scan for all instances
	needScore     // the metrics of section 2.2, only for a whole window
	needWidths    // widths of ranges
	needFunnel    // ends of the created orders
	needSats      // sats of the completed orders, as sums
	needBefore    // the window before
	needPaid      // completed orders of nodes with a fee
	needFeeOrders // orders of fees, with needFees
	needPolicies  // policies of the authors of fees, with needFees

	// The parts of needScore.
	needNodeTrades
	needNodeSats
	needNodePremiums
	needNodeLabels // currencies and payment methods
	needNodeFees   // the first fee

	// The times of an order that a scan looks at.
	needCreated
	needCompleted
	needCanceled
	needLeft // the first time in progress, or else the success
)

const needMoments = needCreated | needCompleted | needCanceled | needLeft

// cell counts the orders of one cohort in one bucket.
type cell struct {
	created int64
	sats    total // of the completed orders
}

// seen counts events and how many of them this relay witnessed.
type seen struct{ n, witnessed int64 }

func (s *seen) add(witnessed bool) {
	s.n++
	if witnessed {
		s.witnessed++
	}
}

func (s seen) plus(o seen) seen { return seen{s.n + o.n, s.witnessed + o.witnessed} }

// tally holds the sums over the events of one group in one bucket.
type tally struct {
	created, completed, canceled, taken seen
	abandoned                           int64 // created here, canceled and never taken
	funnel                              struct{ taken, canceledUntaken, canceledTaken, completed, open int64 }
	market, ranged                      int64
	widths                              []float64
	left                                int64 // orders whose time of leaving pending is here

	sats                                              total
	priced                                            int64 // completed orders that state their sats
	buySats, sellSats                                 total
	sizes                                             [5]int64
	tickets                                           []int64
	fiat                                              map[uint32]*fiatTally
	premiums                                          [2][]float64 // by side of the maker: buy, sell
	fill, done, cycle                                 []uint32
	cancel                                            []uint32
	cells                                             map[uint32]*cell // by cohort
	createdOf                                         []uint32         // instead of cells, by cohort, if there is only one window and one group
	satsOf                                            []total
	open, inProgress                                  seen
	ages                                              int64 // sum of the ages of the open orders, in seconds
	newFiats, newMethods, newAuthors                  int64
	fees, duplicates                                  seen
	feeSats                                           total
	lateness                                          []int64 // of fees after the success
	chargeable, paid                                  int64   // completed orders of nodes with a fee, and those with a record of it
	implied                                           sum
	impliedError                                      sum
	settled                                           sum // implied volume of fees of completed orders
	settledSats                                       total
	opened, closed                                    seen
	openDisputes                                      int64
	resolvedDisputes, activeDisputes, unknownDisputes int64
	ends                                              [disputeCooperativeCancel + 1]int64
	resolution                                        []uint32
	in                                                []float64
	unpriced                                          total
	otherRates, maxAge                                int64
	rated                                             int64
	silent                                            int64
	knownInstances                                    int64
}

type fiatTally struct {
	total   sum       // of amounts, set by finish
	amounts []float64 // of orders without a range
	sats    total
	all     int64
}

func (t *tally) cell(id uint32) *cell {
	if t.cells == nil {
		t.cells = map[uint32]*cell{}
	}
	if t.cells[id] == nil {
		t.cells[id] = &cell{}
	}
	return t.cells[id]
}

func (t *tally) addCreated(id uint32) {
	if t.createdOf != nil {
		t.createdOf[id]++
		return
	}
	t.cell(id).created++
}

func (t *tally) addSats(id uint32, sats int64) {
	if t.satsOf != nil {
		t.satsOf[id].add(sats)
		return
	}
	t.cell(id).sats.add(sats)
}

// eachCell returns the cells that count an order, by cohort.
func (t *tally) eachCell() iter.Seq2[uint32, cell] {
	return func(yield func(uint32, cell) bool) {
		for id := range max(len(t.createdOf), len(t.satsOf)) {
			var c cell
			if t.createdOf != nil {
				c.created = int64(t.createdOf[id])
			}
			if t.satsOf != nil {
				c.sats = t.satsOf[id]
			}
			if (c.created > 0 || c.sats != total{}) && !yield(uint32(id), c) {
				return
			}
		}
		for id, cell := range t.cells {
			if !yield(id, *cell) {
				return
			}
		}
	}
}

// finish computes the sums of floats. A sum depends on the order of its terms in the last digits,
// so the terms of all workers are added in the order of the rows.
func (t *tally) finish() {
	for _, f := range t.fiat {
		f.total = sumOf(f.amounts)
	}
}

// addOrders adds the orders of another tally, whose rows follow those of t.
func (t *tally) addOrders(o *tally) {
	t.created, t.completed, t.canceled, t.taken = t.created.plus(o.created), t.completed.plus(o.completed), t.canceled.plus(o.canceled), t.taken.plus(o.taken)
	t.open, t.inProgress = t.open.plus(o.open), t.inProgress.plus(o.inProgress)
	for _, n := range [...][2]*int64{
		{&t.abandoned, &o.abandoned}, {&t.market, &o.market}, {&t.ranged, &o.ranged}, {&t.left, &o.left}, {&t.priced, &o.priced},
		{&t.funnel.taken, &o.funnel.taken}, {&t.funnel.canceledUntaken, &o.funnel.canceledUntaken}, {&t.funnel.canceledTaken, &o.funnel.canceledTaken},
		{&t.funnel.completed, &o.funnel.completed}, {&t.funnel.open, &o.funnel.open}, {&t.ages, &o.ages}, {&t.rated, &o.rated},
		{&t.otherRates, &o.otherRates}, {&t.chargeable, &o.chargeable}, {&t.paid, &o.paid},
	} {
		*n[0] += *n[1]
	}
	for _, n := range [...][2]*total{{&t.sats, &o.sats}, {&t.buySats, &o.buySats}, {&t.sellSats, &o.sellSats}, {&t.unpriced, &o.unpriced}} {
		n[0].addTotal(*n[1])
	}
	t.maxAge = max(t.maxAge, o.maxAge)
	for i := range t.sizes {
		t.sizes[i] += o.sizes[i]
	}
	for i := range t.premiums {
		t.premiums[i] = append(t.premiums[i], o.premiums[i]...)
	}
	t.tickets, t.widths, t.in = append(t.tickets, o.tickets...), append(t.widths, o.widths...), append(t.in, o.in...)
	for _, l := range [...][2]*[]uint32{{&t.fill, &o.fill}, {&t.done, &o.done}, {&t.cycle, &o.cycle}, {&t.cancel, &o.cancel}} {
		*l[0] = append(*l[0], *l[1]...)
	}
	for id, n := range o.createdOf {
		t.createdOf[id] += n
	}
	for id, n := range o.satsOf {
		t.satsOf[id].addTotal(n)
	}
	for id, f := range o.fiat {
		held := t.fiatOf(id)
		held.amounts, held.all = append(held.amounts, f.amounts...), held.all+f.all
		held.sats.addTotal(f.sats)
	}
}

func (t *tally) fiatOf(id uint32) *fiatTally {
	if t.fiat == nil {
		t.fiat = map[uint32]*fiatTally{}
	}
	f := t.fiat[id]
	if f == nil {
		f = &fiatTally{}
		t.fiat[id] = f
	}
	return f
}

package stats

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

	// The times of an order that a scan looks at.
	needCreated
	needCompleted
	needCanceled
	needLeft // the first time in progress, or else the success
)

const needMoments = needCreated | needCompleted | needCanceled | needLeft

// cell counts the orders of one cohort in one bucket.
type cell struct {
	created, completed int64
	sats               total // of the completed orders
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
	widths                              sum
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
	dense                                             []cell           // instead of cells, by cohort, if there is only one window and one group
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
	in                                                sum
	unpriced                                          total
	otherRates, maxAge                                int64
	rated                                             int64
	silent                                            int64
	knownInstances                                    int64
}

type fiatTally struct {
	total   sum
	amounts []float64 // of orders without a range
	sats    total
	all     int64
}

func (t *tally) cell(id uint32) *cell {
	if t.dense != nil {
		return &t.dense[id]
	}
	if t.cells == nil {
		t.cells = map[uint32]*cell{}
	}
	if t.cells[id] == nil {
		t.cells[id] = &cell{}
	}
	return t.cells[id]
}

package stats

import (
	"math"
	"slices"
	"strings"
)

// Kind says on which evidence a figure rests.
type Kind string

const (
	KindObserved  Kind = "observed"  // claims that authors signed, dated by created_at
	KindWitnessed Kind = "witnessed" // the same, but only events that this relay received live, dated by receipt
	KindInferred  Kind = "inferred"  // computed with an assumption that no event states
)

// Unit is the unit of a figure.
type Unit string

const (
	UnitCount   Unit = "count"
	UnitSats    Unit = "sats"
	UnitRatio   Unit = "ratio"
	UnitSeconds Unit = "seconds"
	UnitDays    Unit = "days"
	UnitFiat    Unit = "fiat" // a decimal text, in the currency that the name states
	UnitTime    Unit = "time" // unix seconds
	UnitPercent Unit = "percent"
	UnitText    Unit = "text"
)

// family is the events behind a metric.
type family uint8

const (
	famCreated family = iota
	famCompleted
	famCanceled
	famTaken
	famEnded // completed and canceled
	famOpen
	famProgress
	famFees
	famOpened // disputes
	famClosed
	famNone // no single events: silence, policies
)

// momentsOf are the times of orders that the metrics of a family look at.
var momentsOf = map[family]needs{
	famCreated: needCreated, famCompleted: needCompleted, famCanceled: needCanceled, famTaken: needLeft, famEnded: needCompleted | needCanceled,
}

// Definition describes a metric. A name with {code} or {method} stands for one metric for
// each currency or payment method.
type Definition struct {
	Name    string
	Kind    Kind // KindObserved or KindInferred
	Unit    Unit
	Events  string // kinds of the events
	Formula string

	family  family
	needs   needs
	oneOnly bool // only for a whole window, not for series and groups
	byNode  bool // the events have no dimension but instance
	value   func(*figures) Value
	each    func(*figures) map[string]Value // for a name with {code} or {method}
}

// HasSeries reports whether the metric has series and groups.
func (d *Definition) HasSeries() bool { return !d.oneOnly }

// HasSources reports whether Sources lists the events behind a metric.
func HasSources(name string) bool {
	d, _, ok := findDefinition(name)
	return ok && d.family != famNone
}

// figures is the input of a metric: one group in one bucket.
type figures struct {
	s         *scan
	t, before *tally
	from, now int64
	network   *tally // the tally of the same window for all instances
	node      *nodeStats
}

// breakdown sums cells by a property of their cohorts, as orders and as sats.
func (f *figures) breakdown(t *tally, dim Dimension) (orders, sats []float64) {
	size := len(f.s.c.authors)
	if dim == ByFiat {
		size = len(f.s.c.fiats.text)
	}
	created, volume := make([]int64, size), make([]total, size)
	for id, cell := range t.eachCell() {
		p := f.s.c.cohorts[id].property(dim)
		created[p] += cell.created
		volume[p].addTotal(cell.sats)
	}
	for p, n := range created {
		if n > 0 {
			orders = append(orders, float64(n))
		}
		if v := volume[p].float(); v > 0 {
			sats = append(sats, v)
		}
	}
	return orders, sats
}

func delta(now, before int64) Value { return ratio(now-before, before) }

// mean returns the mean of samples that follow each other.
func mean(samples ...[]float64) Value {
	var all sum
	n := 0
	for _, sample := range samples {
		for _, v := range sample {
			all.add(v)
		}
		n += len(sample)
	}
	return floatValue(all.value() / float64(n))
}

func middle(sample []float64) Value {
	v, ok := nearestRank(sample, 50)
	if !ok {
		return Value{}
	}
	return floatValue(v)
}

// byFiat returns a metric for each currency with a completed order.
func byFiat(fn func(*fiatTally) Value) func(*figures) map[string]Value {
	return func(f *figures) map[string]Value {
		out := map[string]Value{}
		for id, t := range f.t.fiat {
			out[f.s.c.fiats.text[id]] = fn(t)
		}
		return out
	}
}

func fiatRank(p int) func(*fiatTally) Value {
	return func(t *fiatTally) Value {
		v, ok := nearestRank(t.amounts, p)
		if !ok {
			return Value{}
		}
		return fiatValue(v)
	}
}

func fraction(counts map[uint32]int64, all int64, names *names) map[string]Value {
	out := map[string]Value{}
	for id, n := range counts {
		out[names.text[id]] = ratio(n, all)
	}
	return out
}

// share returns what part of the network's orders or sats the selected instances have.
func (f *figures) share(of func(*tally) float64) Value {
	if f.network == nil {
		return Value{}
	}
	return floatValue(of(f.t) / of(f.network))
}

// sizeNames are the names of the size buckets.
var sizeNames = [...]string{"le_9999", "le_50000", "le_200000", "le_1000000", "above"}

// Definitions returns the registry of all metrics, in the order of docs/statistics.md.
func Definitions() []Definition { return slices.Clone(definitions) }

var definitions = func() []Definition {
	var out []Definition
	add := func(d Definition) {
		if d.Kind == "" {
			d.Kind = KindObserved
		}
		d.needs |= momentsOf[d.family]
		if strings.HasPrefix(d.Name, "volume.") {
			d.needs |= needSats
		}
		out = append(out, d)
	}
	const order, feeEvents, disputeEvents = "38383", "8383", "38386"
	count := func(name, formula string, fam family, value func(*figures) Value) {
		add(Definition{Name: name, Unit: UnitCount, Events: order, Formula: formula, family: fam, value: value})
	}
	share := func(name, formula string, fam family, need needs, value func(*figures) Value) {
		add(Definition{Name: name, Unit: UnitRatio, Events: order, Formula: formula, family: fam, needs: need, value: value})
	}
	sats := func(name, formula string, need needs, value func(*figures) Value) {
		add(Definition{Name: name, Unit: UnitSats, Events: order, Formula: formula, family: famCompleted, needs: need, value: value})
	}
	seconds := func(name, formula string, fam family, need needs, value func(*figures) Value) {
		add(Definition{Name: name, Unit: UnitSeconds, Events: order, Formula: formula, family: fam, needs: need, value: value})
	}

	// Orders.
	count("orders.created", "orders whose first version is in the window", famCreated, func(f *figures) Value { return intValue(f.t.created.n) })
	count("orders.completed", "newest status success, first success in the window", famCompleted, func(f *figures) Value { return intValue(f.t.completed.n) })
	count("orders.canceled", "newest status canceled or expired, first such version in the window", famCanceled, func(f *figures) Value { return intValue(f.t.canceled.n) })
	share("orders.completion_rate", "completed / (completed + canceled)", famEnded, 0, func(f *figures) Value { return ratio(f.t.completed.n, f.t.completed.n+f.t.canceled.n) })
	share("orders.abandonment_rate", "of the created: newest status canceled and never in progress, / created", famCreated, needFunnel, func(f *figures) Value { return ratio(f.t.abandoned, f.t.created.n) })
	share("orders.created_delta", "(created - before) / before; before: the window before", famCreated, needBefore, func(f *figures) Value { return delta(f.t.created.n, f.before.created.n) })
	share("orders.completed_delta", "(completed - before) / before", famCompleted, needBefore, func(f *figures) Value { return delta(f.t.completed.n, f.before.completed.n) })
	add(Definition{Name: "orders.open_now", Unit: UnitCount, Events: order, Formula: "pending at the end of the window, and expires_at later or absent", family: famOpen, needs: needOpen, value: func(f *figures) Value { return intValue(f.t.open.n) }})
	add(Definition{Name: "orders.in_progress_now", Unit: UnitCount, Events: order, Formula: "in progress at the end of the window, of any age", family: famProgress, needs: needOpen, value: func(f *figures) Value { return intValue(f.t.inProgress.n) }})

	// Volume.
	sats("volume.sats", "sum of amt over the completed; null above 2^63-1", 0, func(f *figures) Value { return f.t.sats.value() })
	sats("volume.ticket_avg", "floor((2*sum + n) / (2n)) over the completed with an amount", 0, func(f *figures) Value { return f.t.sats.mean(f.t.priced) })
	sats("volume.ticket_p50", "50th percentile of amt", needTickets, func(f *figures) Value { return percentile(f.t.tickets, 50) })
	sats("volume.ticket_p90", "90th percentile of amt", needTickets, func(f *figures) Value { return percentile(f.t.tickets, 90) })
	sats("volume.largest", "greatest amt", needTickets, func(f *figures) Value { return percentile(f.t.tickets, 100) })
	for i, name := range sizeNames {
		formula := "completed with an amount above 1,000,000 sats"
		if i < len(sizeBounds) {
			formula = "completed with an amount up to " + intValue(sizeBounds[i]).String() + " sats and above the bucket before"
		}
		count("volume.size."+name, formula, famCompleted, func(f *figures) Value { return intValue(f.t.sizes[i]) })
	}
	sats("volume.buy_sats", "sum of amt over the completed of makers who buy", 0, func(f *figures) Value { return f.t.buySats.value() })
	sats("volume.sell_sats", "sum of amt over the completed of makers who sell", 0, func(f *figures) Value { return f.t.sellSats.value() })
	fiat := func(name, formula string, unit Unit, value func(*fiatTally) Value) {
		add(Definition{Name: "volume.fiat.{code}." + name, Unit: unit, Events: order, Formula: formula, family: famCompleted, needs: needFiat, each: byFiat(value)})
	}
	fiat("total", "sum of fa over the completed of a fixed amount", UnitFiat, func(t *fiatTally) Value {
		if len(t.amounts) == 0 {
			return Value{}
		}
		return fiatValue(t.total.value())
	})
	fiat("avg", "total / orders", UnitFiat, func(t *fiatTally) Value { return fiatValue(t.total.value() / float64(len(t.amounts))) })
	fiat("p50", "50th percentile of fa", UnitFiat, fiatRank(50))
	fiat("p90", "90th percentile of fa", UnitFiat, fiatRank(90))
	fiat("orders", "completed of a fixed amount", UnitCount, func(t *fiatTally) Value { return intValue(int64(len(t.amounts))) })
	fiat("sats", "sum of amt over all completed, ranges too", UnitSats, func(t *fiatTally) Value { return t.sats.value() })
	fiat("completed", "completed, ranges too", UnitCount, func(t *fiatTally) Value { return intValue(t.all) })
	in := func(name, formula string, unit Unit, value func(*figures) Value) {
		add(Definition{Name: "volume.in." + name, Kind: KindInferred, Unit: unit, Events: "38383, 30078", Formula: formula, family: famCompleted, needs: needIn, value: func(f *figures) Value {
			if f.s.q.In == "" {
				return Value{}
			}
			return value(f)
		}})
	}
	in("total", "sum over the completed of amt at the newest signed rate not after the success and at most 300 s old: of the own node, else of another", UnitFiat, func(f *figures) Value {
		if f.t.rated == 0 {
			return Value{}
		}
		in := sumOf(f.t.in)
		return fiatValue(in.value())
	})
	in("unpriced_sats", "sum of amt without such a rate", UnitSats, func(f *figures) Value { return f.t.unpriced.value() })
	in("other_rates", "completed that were priced by another node's rate", UnitCount, func(f *figures) Value { return intValue(f.t.otherRates) })
	in("max_rate_age", "greatest age of a rate that was used", UnitSeconds, func(f *figures) Value {
		if f.t.rated == 0 {
			return Value{}
		}
		return intValue(f.t.maxAge)
	})

	// Market: the book is the orders created in the window, trades are the completed.
	share("market.buy_orders_share", "created by makers who buy / created", famCreated, needBreakdown, func(f *figures) Value {
		n := int64(0)
		for id, cell := range f.t.eachCell() {
			if f.s.c.cohorts[id].buy {
				n += cell.created
			}
		}
		return ratio(n, f.t.created.n)
	})
	share("market.buy_volume_share", "volume.buy_sats / volume.sats", famCompleted, needSats, func(f *figures) Value {
		return floatValue(f.t.buySats.float() / f.t.sats.float())
	})
	share("market.premium_avg", "mean premium / 100 of the created that state one", famCreated, needPremiums, func(f *figures) Value { return mean(f.t.premiums[0], f.t.premiums[1]) })
	share("market.premium_p50", "50th percentile of the premium / 100", famCreated, needPremiums, func(f *figures) Value { return middle(slices.Concat(f.t.premiums[0], f.t.premiums[1])) })
	for i, side := range []string{"buy", "sell"} {
		share("market.premium_"+side+"_avg", "mean premium / 100 of makers who "+side, famCreated, needPremiums, func(f *figures) Value { return mean(f.t.premiums[i]) })
		share("market.premium_"+side+"_p50", "50th percentile of the premium / 100 of makers who "+side, famCreated, needPremiums, func(f *figures) Value { return middle(f.t.premiums[i]) })
	}
	share("market.spread", "market.premium_sell_p50 - market.premium_buy_p50", famCreated, needPremiums, func(f *figures) Value {
		return floatValue(middle(f.t.premiums[1]).Float() - middle(f.t.premiums[0]).Float())
	})
	share("market.market_price_share", "created whose first version has amt 0 / created", famCreated, 0, func(f *figures) Value { return ratio(f.t.market, f.t.created.n) })
	share("market.range_share", "created whose first version states a range / created", famCreated, 0, func(f *figures) Value { return ratio(f.t.ranged, f.t.created.n) })
	share("market.range_width_avg", "mean of (max - min) / max over the ranges", famCreated, needWidths, func(f *figures) Value {
		widths := sumOf(f.t.widths)
		return floatValue(widths.value() / float64(f.t.ranged))
	})
	concentration := func(prefix, of string, dim Dimension, bySats bool) {
		fam := famCreated
		if bySats {
			fam = famCompleted
		}
		compute := func(f *figures) (hhi, top Value) {
			orders, volume := f.breakdown(f.t, dim)
			if bySats {
				return shares(volume)
			}
			return shares(orders)
		}
		share(prefix+"_top3", "sum of the three greatest shares "+of, fam, needBreakdown, func(f *figures) Value { _, top := compute(f); return top })
		share(prefix+"_hhi", "sum of the squared shares "+of, fam, needBreakdown, func(f *figures) Value { hhi, _ := compute(f); return hhi })
	}
	concentration("market.fiat_orders", "of the currencies in the created", ByFiat, false)
	concentration("market.fiat_sats", "of the currencies in the sats of the completed", ByFiat, true)
	add(Definition{Name: "market.methods.{method}.orders", Unit: UnitCount, Events: order, Formula: "created that name the payment method; each order counts in full for each of its methods", family: famCreated, needs: needBreakdown, each: func(f *figures) map[string]Value {
		bySet := make([]int64, len(f.s.c.sets.text))
		for id, cell := range f.t.eachCell() {
			bySet[f.s.c.cohorts[id].methods] += cell.created
		}
		out := map[string]Value{}
		for label, n := range f.s.c.byLabel(bySet) {
			if n > 0 {
				out[f.s.c.labels.text[label]] = intValue(n)
			}
		}
		return out
	}})
	for _, m := range []struct {
		name, what string
		of         func(*tally) int64
	}{
		{"fiats", "currencies", func(t *tally) int64 { return t.newFiats }},
		{"methods", "payment methods", func(t *tally) int64 { return t.newMethods }},
		{"instances", "authors of orders", func(t *tally) int64 { return t.newAuthors }},
	} {
		add(Definition{Name: "market.new_" + m.name, Unit: UnitCount, Events: order, Formula: m.what + " whose first order of all is in the window", family: famCreated, needs: needFirst, value: func(f *figures) Value { return intValue(m.of(f.t)) }})
	}

	// Timing: a gap counts if it is above 0 and its end is in the window.
	gap := func(name, formula string, fam family, sample func(*tally) []uint32) {
		seconds("timing."+name+"_p50", "50th percentile of "+formula, fam, needTimes, func(f *figures) Value { return percentile(sample(f.t), 50) })
		seconds("timing."+name+"_p90", "90th percentile of "+formula, fam, needTimes, func(f *figures) Value { return percentile(sample(f.t), 90) })
	}
	gap("fill", "first in-progress - first version", famTaken, func(t *tally) []uint32 { return t.fill })
	gap("complete", "first success - first in-progress", famCompleted, func(t *tally) []uint32 { return t.done })
	gap("cycle", "first success - first version", famCompleted, func(t *tally) []uint32 { return t.cycle })
	gap("cancel", "first canceled - first version", famCanceled, func(t *tally) []uint32 { return t.cancel })
	add(Definition{Name: "timing.book_size", Unit: UnitCount, Events: order, Formula: "orders.open_now", family: famOpen, needs: needOpen, value: func(f *figures) Value { return intValue(f.t.open.n) }})
	seconds("timing.book_age_avg", "mean of the end of the window - first version, over the open orders", famOpen, needOpen, func(f *figures) Value { return ratio(f.t.ages, f.t.open.n) })
	for _, m := range []struct {
		name, formula string
		of            func(*tally) int64
	}{
		{"taken", "of the created: ever in progress", func(t *tally) int64 { return t.funnel.taken }},
		{"canceled_untaken", "of the created: newest status canceled, never in progress", func(t *tally) int64 { return t.funnel.canceledUntaken }},
		{"canceled_taken", "of the created: newest status canceled, once in progress", func(t *tally) int64 { return t.funnel.canceledTaken }},
		{"completed", "of the created: newest status success", func(t *tally) int64 { return t.funnel.completed }},
		{"open", "of the created: newest status pending or in progress", func(t *tally) int64 { return t.funnel.open }},
	} {
		add(Definition{Name: "timing.funnel." + m.name, Unit: UnitCount, Events: order, Formula: m.formula, family: famCreated, needs: needFunnel, value: func(f *figures) Value { return intValue(m.of(f.t)) }})
	}

	// Development fees. Each order has one canonical fee, the earliest.
	fees := func(name, formula string, kind Kind, unit Unit, fam family, need needs, value func(*figures) Value) {
		add(Definition{Name: "dev_fees." + name, Kind: kind, Unit: unit, Events: feeEvents + ", 38383, 38385", Formula: formula, family: fam, needs: need, value: value})
	}
	fees("count", "canonical fees in the window", KindObserved, UnitCount, famFees, needFees, func(f *figures) Value { return intValue(f.t.fees.n) })
	fees("sats", "sum of the canonical fees", KindObserved, UnitSats, famFees, needFees, func(f *figures) Value { return f.t.feeSats.value() })
	fees("duplicates", "later fees of the same orders", KindObserved, UnitCount, famFees, needFees, func(f *figures) Value { return intValue(f.t.duplicates.n) })
	fees("coverage", "completed with a fee / completed, of nodes whose fee in force was above 0", KindObserved, UnitRatio, famCompleted, needPaid, func(f *figures) Value { return ratio(f.t.paid, f.t.chargeable) })
	fees("latency_p50", "50th percentile of fee - first success, by the time of the fee", KindObserved, UnitSeconds, famFees, needFees|needFeeOrders, func(f *figures) Value { return percentile(f.t.lateness, 50) })
	fees("latency_p90", "90th percentile of fee - first success", KindObserved, UnitSeconds, famFees, needFees|needFeeOrders, func(f *figures) Value { return percentile(f.t.lateness, 90) })
	fees("implied_volume", "sum of fee / (fee in force * 0.30)", KindInferred, UnitSats, famFees, needFees|needPolicies, func(f *figures) Value {
		if f.t.implied.value() == 0 {
			return Value{}
		}
		return intValue(int64(math.Round(f.t.implied.value())))
	})
	fees("implied_volume_error", "ceil(sum of 1 / (fee in force * 0.30))", KindInferred, UnitSats, famFees, needFees|needPolicies, func(f *figures) Value {
		if f.t.impliedError.value() == 0 {
			return Value{}
		}
		return intValue(int64(math.Ceil(f.t.impliedError.value() - 1e-6)))
	})
	fees("implied_vs_observed", "implied / observed - 1 over the fees of completed orders", KindInferred, UnitRatio, famFees, needFees|needPolicies|needFeeOrders, func(f *figures) Value {
		return floatValue(f.t.settled.value()/f.t.settledSats.float() - 1)
	})

	// Disputes.
	dispute := func(name, formula string, unit Unit, fam family, value func(*figures) Value) {
		add(Definition{Name: "disputes." + name, Unit: unit, Events: disputeEvents, Formula: formula, family: fam, needs: needDisputes, byNode: true, value: value})
	}
	dispute("opened", "disputes opened in the window: published_at or created_at tag, else first version", UnitCount, famOpened, func(f *figures) Value { return intValue(f.t.opened.n) })
	add(Definition{Name: "disputes.rate", Unit: UnitRatio, Events: "38386, 38383", Formula: "opened / orders that left pending (first in-progress, else first success) in the window", family: famOpened, needs: needDisputes | needLeft, byNode: true, value: func(f *figures) Value { return ratio(f.t.opened.n, f.t.left) }})
	dispute("closed", "disputes whose first terminal version is in the window", UnitCount, famClosed, func(f *figures) Value { return intValue(f.t.closed.n) })
	for _, m := range []struct {
		name, formula string
		states        []disputeState
	}{
		{"settled", "closed as settled: by a solver for the buyer (before mostrod 0.19 also by the seller's release)", []disputeState{disputeSettled}},
		{"seller_refunded", "closed as seller-refunded: by a solver for the seller (before mostrod 0.19 also by a cooperative cancel)", []disputeState{disputeRefunded}},
		{"released", "closed as released: by the seller", []disputeState{disputeReleased}},
		{"cooperatively_canceled", "closed as cooperatively-canceled: by both parties", []disputeState{disputeCooperativeCancel}},
		{"by_solver", "settled + seller_refunded", []disputeState{disputeSettled, disputeRefunded}},
		{"by_parties", "released + cooperatively_canceled", []disputeState{disputeReleased, disputeCooperativeCancel}},
	} {
		dispute("outcome."+m.name, m.formula, UnitCount, famClosed, func(f *figures) Value {
			n := int64(0)
			for _, state := range m.states {
				n += f.t.ends[state]
			}
			return intValue(n)
		})
	}
	dispute("resolution_p50", "50th percentile of first terminal version - opening, by the time of the former", UnitSeconds, famClosed, func(f *figures) Value { return percentile(f.t.resolution, 50) })
	dispute("resolution_p90", "90th percentile of the same", UnitSeconds, famClosed, func(f *figures) Value { return percentile(f.t.resolution, 90) })
	add(Definition{Name: "disputes.open_now", Unit: UnitCount, Events: disputeEvents, Formula: "opened at or before the end of the window, and not closed by then", family: famNone, needs: needDisputes, byNode: true, oneOnly: true, value: func(f *figures) Value { return intValue(f.t.openDisputes) }})

	// Instances.
	add(Definition{Name: "instances.active", Unit: UnitCount, Events: order, Formula: "authors of at least one created order", family: famCreated, needs: needBreakdown, value: func(f *figures) Value {
		orders, _ := f.breakdown(f.t, ByInstance)
		return intValue(int64(len(orders)))
	}})
	add(Definition{Name: "instances.silent", Unit: UnitCount, Events: "38383, 38385, 38386, 38389, 8383, 30078", Formula: "authors without an event in the 7 days before the end of the window, but with an earlier one", family: famNone, needs: needInstances, byNode: true, oneOnly: true, value: func(f *figures) Value { return intValue(f.t.silent) }})
	concentration("instances.orders", "of the authors in the created", ByInstance, false)
	concentration("instances.sats", "of the authors in the sats of the completed", ByInstance, true)
	share("instances.orders_share", "created / created of all instances; null without a filter by instance", famCreated, needNetwork, func(f *figures) Value {
		return f.share(func(t *tally) float64 { return float64(t.created.n) })
	})
	share("instances.sats_share", "volume.sats / volume.sats of all instances; null without a filter by instance", famCompleted, needNetwork|needSats, func(f *figures) Value {
		return f.share(func(t *tally) float64 { return t.sats.float() })
	})

	// Section 2.2: the newest version of each order alone.
	nodeNeeds := func(need needs) func(name, formula string, unit Unit, value func(*figures) Value) {
		return func(name, formula string, unit Unit, value func(*figures) Value) {
			add(Definition{Name: "instances." + name, Unit: unit, Events: order, Formula: formula, family: famNone, needs: needScore | needNodeTrades | need, oneOnly: true, value: value})
		}
	}
	node, ofSats, ofPremiums, ofFees := nodeNeeds(0), nodeNeeds(needNodeSats), nodeNeeds(needNodePremiums), nodeNeeds(needNodeFees)
	ofFees("first_seen_at", "least created_at of a fee (8383) before the end of the window", UnitTime, func(f *figures) Value { return orNull(f.node.firstFee) })
	ofFees("days_active", "(end - first_seen_at) / 86400; without a fee from the first success", UnitDays, func(f *figures) Value { return f.node.age(f.now) })
	node("total_successful_trades", "orders with newest status success in the window", UnitCount, func(f *figures) Value { return intValue(f.node.trades) })
	ofSats("total_volume_sats", "sum of their amt", UnitSats, func(f *figures) Value { return f.node.sats.value() })
	ofSats("min", "least amt, 0 included", UnitSats, func(f *figures) Value { return f.node.min() })
	ofSats("max", "greatest amt", UnitSats, func(f *figures) Value { return f.node.max() })
	ofSats("mean", "mean of amt", UnitSats, func(f *figures) Value { return f.node.mean() })
	ofSats("median", "median of amt; of an even number the mean of the middle two", UnitSats, func(f *figures) Value { return floatValue(median(f.node.amounts)) })
	ofSats("std_dev", "population sigma of amt; null below two", UnitSats, func(f *figures) Value { return floatValue(sigma(f.node.amounts)) })
	ofSats("cv", "std_dev / median; null below two or at median 0", UnitRatio, func(f *figures) Value { return f.node.variation() })
	node("last_trade", "greatest created_at of a success before the end", UnitTime, func(f *figures) Value { return orNull(f.node.last) })
	node("days_since", "floor((end - last_trade) / 86400)", UnitDays, func(f *figures) Value {
		if f.node.last == 0 {
			return Value{}
		}
		return intValue((f.now - f.node.last) / 86400)
	})
	node("trades_7d", "successes in the 7 days before the end", UnitCount, func(f *figures) Value { return intValue(f.node.week) })
	node("trades_30d", "successes in the 30 days before the end", UnitCount, func(f *figures) Value { return intValue(f.node.month) })
	node("trades_90d", "successes in the 90 days before the end", UnitCount, func(f *figures) Value { return intValue(f.node.term) })
	node("active_days_last_30d", "UTC days with a success among the last day of the window and the 29 before", UnitCount, func(f *figures) Value { return intValue(f.node.activeDays) })
	node("max_consecutive_inactive_days", "longest run of those 30 days without a success", UnitCount, func(f *figures) Value { return intValue(f.node.longestPause) })
	for _, m := range []struct {
		name, formula string
		value         func(*figures) Value
	}{
		{"disputes_per_100_trades", "100 * disputes opened in the window / total_successful_trades", func(f *figures) Value {
			return floatValue(100 * float64(f.t.opened.n) / float64(f.node.trades))
		}},
		{"disputes_resolved", "disputes opened in the window with a terminal newest state", func(f *figures) Value { return intValue(f.t.resolvedDisputes) }},
		{"disputes_active", "the same, initiated or in progress", func(f *figures) Value { return intValue(f.t.activeDisputes) }},
		{"disputes_unknown", "the same, of an unknown state", func(f *figures) Value { return intValue(f.t.unknownDisputes) }},
	} {
		unit := UnitCount
		if m.name == "disputes_per_100_trades" {
			unit = UnitRatio
		}
		add(Definition{Name: "instances." + m.name, Unit: unit, Events: disputeEvents, Formula: m.formula, family: famOpened, needs: needScore | needNodeTrades | needDisputes, oneOnly: true, byNode: true, value: m.value})
	}
	add(Definition{Name: "instances.fiat.{code}.share", Unit: UnitRatio, Events: order, Formula: "successes in the currency / successes", family: famNone, needs: needScore | needNodeTrades | needNodeLabels, oneOnly: true, each: func(f *figures) map[string]Value {
		return fraction(f.node.fiats, f.node.fiatsAll, &f.s.c.fiats)
	}})
	add(Definition{Name: "instances.methods.{method}.share", Unit: UnitRatio, Events: order, Formula: "mentions in successes / all mentions, labels byte for byte", family: famNone, needs: needScore | needNodeTrades | needNodeLabels, oneOnly: true, each: func(f *figures) map[string]Value {
		return fraction(f.node.labels, f.node.allPM, &f.s.c.labels)
	}})
	ofPremiums("premium_baseline", "median premium of the successes", UnitPercent, func(f *figures) Value { return floatValue(median(f.node.premiums)) })
	ofPremiums("premium_dispersion", "population sigma of the premium; null below two", UnitPercent, func(f *figures) Value { return floatValue(sigma(f.node.premiums)) })
	add(Definition{Name: "instances.bond", Unit: UnitText, Events: "38385", Formula: "enabled, disabled or unknown by the info in force at the end; null without a filter by one instance", family: famNone, needs: needScore, oneOnly: true, byNode: true, value: func(f *figures) Value {
		switch bond := f.node.bond; {
		case onlyAuthor(f.s) == 0:
			return Value{}
		case bond == nil:
			return Value{kind: text, text: "unknown"}
		case *bond:
			return Value{kind: text, text: "enabled"}
		}
		return Value{kind: text, text: "disabled"}
	}})
	return out
}()

// find returns the definition of a metric and the label in its name, "" if the name has none.
func findDefinition(name string) (d *Definition, label string, ok bool) {
	for i := range definitions {
		d := &definitions[i]
		before, after, pattern := cutPattern(d.Name)
		if !pattern {
			if d.Name == name {
				return d, "", true
			}
			continue
		}
		if len(name) > len(before)+len(after) && strings.HasPrefix(name, before) && strings.HasSuffix(name, after) {
			return d, name[len(before) : len(name)-len(after)], true
		}
	}
	return nil, "", false
}

func cutPattern(name string) (before, after string, ok bool) {
	open, end := strings.IndexByte(name, '{'), strings.IndexByte(name, '}')
	if open < 0 || end < open {
		return name, "", false
	}
	return name[:open], name[end+1:], true
}

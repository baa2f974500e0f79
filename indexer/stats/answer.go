package stats

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
)

// Figure is the value of one metric.
type Figure struct {
	Name  string `json:"name"`
	Kind  Kind   `json:"kind"`
	Unit  Unit   `json:"unit"`
	Value Value  `json:"value"`
	Error string `json:"error,omitempty"` // the reason if the metric cannot answer the query
	// Events is the number of events that the figure counts, and Witnessed how many of these
	// events this relay received when they were published. Both are 0 for a metric without
	// single events.
	Events    int64 `json:"events"`
	Witnessed int64 `json:"witnessed"`
}

// Document holds all figures of one query.
type Document struct {
	From     int64    `json:"from"`
	Until    int64    `json:"until"`
	Clock    string   `json:"clock"`
	Coverage Coverage `json:"coverage"`
	Metrics  []Figure `json:"metrics"`
}

// maxLabels bounds the currencies or payment methods of one metric in a document. The
// greatest values are kept.
const maxLabels = 200

// Metric computes one metric. The error is a ParamError.
func (c *Collector) Metric(name string, q Query) (Figure, error) {
	all, err := c.Metrics([]string{name}, q)
	if err != nil {
		return Figure{}, err
	}
	return all[0], nil
}

// Metrics computes several metrics with one scan. The error is a ParamError.
func (c *Collector) Metrics(names []string, q Query) ([]Figure, error) {
	all, found, labels := needs(0), make([]*Definition, len(names)), make([]string, len(names))
	for i, name := range names {
		d, label, err := c.metric(name, &q)
		if err != nil {
			return nil, err
		}
		all, found[i], labels[i] = all|d.needs, d, label
	}
	s, _ := newScan(c, &q, windowBounds(q.From, q.Until), all, "")
	if all&needFiat != 0 { // all metrics by currency have a label
		fiats := make([]bool, len(c.fiats.text))
		for _, label := range labels {
			if id, ok := c.fiats.ids[label]; ok {
				fiats[id] = true
			}
		}
		s.labeled = newCohortSet(len(c.cohorts))
		for id := range c.cohorts {
			if fiats[c.cohorts[id].fiat] {
				s.labeled.add(uint32(id))
			}
		}
	}
	s.run()
	f := s.figures(0, 1)
	f.complete(all)
	out := make([]Figure, len(names))
	for i, d := range found {
		out[i] = d.absent(names[i], &q)
		for _, figure := range f.of(d) {
			if labels[i] == "" || figure.Name == names[i] {
				out[i] = figure
				break
			}
		}
	}
	return out, nil
}

func (c *Collector) metric(name string, q *Query) (d *Definition, label string, err error) {
	d, label, ok := findDefinition(name)
	if !ok || strings.Contains(label, "{") {
		return nil, "", badParam("metric", "%q is no metric", name)
	}
	return d, label, q.check()
}

// Document computes all metrics. The error is a ParamError.
func (c *Collector) Document(q Query) (Document, error) {
	if err := q.check(); err != nil {
		return Document{}, err
	}
	all := needs(0)
	for i := range definitions {
		if d := &definitions[i]; q.In != "" || d.needs&needIn == 0 {
			all |= d.needs
		}
	}
	s, _ := newScan(c, &q, windowBounds(q.From, q.Until), all, "")
	s.run()
	f := s.figures(0, 1)
	f.complete(all)
	out := Document{From: q.From, Until: q.Until, Clock: q.Clock.String(), Coverage: c.Coverage(q.From)}
	for i := range definitions {
		if d := &definitions[i]; q.In != "" || d.needs&needIn == 0 {
			figures := f.of(d)
			out.Metrics = append(out.Metrics, figures[:min(len(figures), maxLabels)]...)
		}
	}
	return out, nil
}

// Point is the value of a metric in one bucket of a series, or of one group.
type Point struct {
	From   int64  `json:"from,omitempty"` // start of the bucket
	Until  int64  `json:"until,omitempty"`
	Group  string `json:"group,omitempty"`
	Figure Figure `json:"figure"`
}

// Series computes a metric for each bucket that overlaps the window, oldest first. The
// outer buckets are whole buckets. The error is a ParamError.
func (c *Collector) Series(name string, q Query, by Every) ([]Point, error) {
	d, label, err := c.metric(name, &q)
	if err != nil {
		return nil, err
	}
	if d.oneOnly {
		return nil, badParam("metric", "%s has no series", name)
	}
	bounds, err := by.buckets(q.From, q.Until)
	if err != nil {
		return nil, err
	}
	s, _ := newScan(c, &q, bounds, d.needs, "")
	s.run()
	var network *scan
	if d.needs&needNetwork != 0 && s.ofInstances() {
		network = s.withoutInstances(d.needs)
	}
	var out []Point
	for b := 1; b < len(bounds)-1; b++ {
		f := s.figures(0, b)
		if network != nil {
			f.network = network.tally(0, b)
		}
		p := Point{From: bounds[b], Until: bounds[b+1], Figure: d.absent(name, &q)}
		for _, figure := range f.of(d) {
			if label == "" || figure.Name == name {
				p.Figure = figure
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// Groups computes a metric for each value of a dimension, sorted by value of the figure,
// greatest first. A group without an event that counts is left out. The error is a
// ParamError.
func (c *Collector) Groups(name string, q Query, dim Dimension) ([]Point, error) {
	d, label, err := c.metric(name, &q)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(Dimensions, dim) {
		return nil, badParam("split", "is no dimension")
	}
	if d.needs&needScore != 0 {
		return nil, badParam("metric", "%s has no groups: filter by %s instead", name, dim)
	}
	s, keys := newScan(c, &q, windowBounds(q.From, q.Until), d.needs, dim)
	s.run()
	var network *scan
	if d.needs&needNetwork != 0 && s.ofInstances() {
		network = s.withoutInstances(d.needs)
	}
	var out []Point
	for g, key := range keys {
		if s.tallies[g*2+1] == nil {
			continue
		}
		f := s.figures(int32(g), 1)
		if network != nil {
			f.network = network.tally(0, 1)
		}
		for _, figure := range f.of(d) {
			if label == "" || figure.Name == name {
				out = append(out, Point{Group: key, Figure: figure})
			}
		}
	}
	slices.SortFunc(out, func(a, b Point) int {
		x, y := a.Figure.Value.Float(), b.Figure.Value.Float() // NaN sorts first, so null sorts last here
		return cmp.Or(cmp.Compare(y, x), cmp.Compare(a.Group, b.Group))
	})
	return out, nil
}

// complete runs the scans that only a whole window has.
func (f *figures) complete(need needs) {
	if need&needNetwork != 0 && f.s.ofInstances() {
		f.network = f.s.withoutInstances(need).tally(0, 1)
	}
	if need&needScore != 0 {
		f.node = scoreOf(f.s)
	}
}

// absent returns the figure of a currency or method that no event names: 0 for a count or a
// sum of sats, else null.
func (d *Definition) absent(name string, q *Query) Figure {
	f := Figure{Name: name, Kind: d.kind(q), Unit: d.Unit}
	if d.Unit == UnitCount || d.Unit == UnitSats {
		f.Value = intValue(0)
	}
	return f
}

func (d *Definition) kind(q *Query) Kind {
	if d.Kind == KindObserved && q.Clock == Witnessed {
		return KindWitnessed
	}
	return d.Kind
}

// of computes the figures of a definition: one, or one for each currency or method.
func (f *figures) of(d *Definition) []Figure {
	blank := Figure{Name: d.Name, Kind: d.kind(f.s.q), Unit: d.Unit}
	if d.byNode {
		for _, dim := range Dimensions {
			if dim != ByInstance && (len(f.s.q.Filter[dim]) > 0 || f.s.split == dim) {
				blank.Error = "the events do not state their " + string(dim)
				return []Figure{blank}
			}
		}
	}
	counted := f.t.seen(d.family)
	blank.Events, blank.Witnessed = counted.n, counted.witnessed
	if d.each == nil {
		blank.Value = d.value(f)
		return []Figure{blank}
	}
	before, after, _ := cutPattern(d.Name)
	values := d.each(f)
	labels := slices.SortedFunc(maps.Keys(values), func(a, b string) int {
		x, y := values[a].Float(), values[b].Float()
		return cmp.Or(cmp.Compare(y, x), strings.Compare(a, b))
	})
	var out []Figure
	for _, label := range labels {
		one := blank
		one.Name, one.Value = before+label+after, values[label]
		out = append(out, one)
	}
	return out
}

// seen returns the events behind the metrics of a family.
func (t *tally) seen(f family) seen {
	switch f {
	case famCreated:
		return t.created
	case famCompleted:
		return t.completed
	case famCanceled:
		return t.canceled
	case famEnded:
		return t.completed.plus(t.canceled)
	case famTaken:
		return t.taken
	case famOpen:
		return t.open
	case famProgress:
		return t.inProgress
	case famFees:
		return t.fees.plus(t.duplicates)
	case famOpened:
		return t.opened
	case famClosed:
		return t.closed
	}
	return seen{}
}

// Policies returns the policies of a node that began in [from, until), oldest first, preceded by
// the policy in force at from.
func (c *Collector) Policies(pubkey string, from, until int64) ([]PolicyChange, error) {
	q := Query{From: from, Until: until, Filter: Filter{ByInstance: {pubkey}}}
	if err := q.check(); err != nil {
		return nil, err
	}
	id, ok := c.byKey[keyOf(pubkey)]
	if !ok {
		return nil, nil
	}
	var out []PolicyChange
	for _, r := range c.authors[id].policies {
		if int64(r.first) >= until {
			break
		}
		if int64(r.first) <= from {
			out = out[:0]
		}
		out = append(out, PolicyChange{int64(r.first), r.seq, r.policy})
	}
	return out, nil
}

// InstancePolicy is the policy of a node that was in force at a time.
type InstancePolicy struct {
	Pubkey string
	PolicyChange
}

// Instances returns the nodes that had published an info by the end of the window, with the
// policies in force then, sorted by public key. Of the filter only instances are read. The
// error is a ParamError.
func (c *Collector) Instances(q Query) (out []InstancePolicy, err error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	s, _ := newScan(c, &q, windowBounds(q.From, q.Until), 0, "")
	for id := 1; id < len(c.authors); id++ {
		a := &c.authors[id]
		if !passes(s.authors, uint32(id)) || len(a.policies) == 0 || int64(a.policies[0].first) > q.Until {
			continue
		}
		i := len(a.policies) - 1
		for int64(a.policies[i].first) > q.Until {
			i--
		}
		r := &a.policies[i]
		out = append(out, InstancePolicy{hexOf(a.pubkey), PolicyChange{int64(r.first), r.seq, r.policy}})
	}
	slices.SortFunc(out, func(a, b InstancePolicy) int { return cmp.Compare(a.Pubkey, b.Pubkey) })
	return out, nil
}

// BookAt returns the orders that were on offer at a time: the newest version of each order by
// the rules of NIP-01 among those not after the time, if the version is pending, not
// expired and not deleted by then. q.Until is the time, and q.From is ignored. The
// error is a ParamError.
func (c *Collector) BookAt(q Query) (Book, error) {
	at := q.Until
	q.From = max(0, at-1)
	if err := q.check(); err != nil {
		var p *ParamError
		if p, _ = err.(*ParamError); p != nil && (p.Param == "until" || p.Param == "from") {
			p.Param = "at"
		}
		return Book{}, err
	}
	s, _ := newScan(c, &q, windowBounds(q.From, at), needOpen, "")
	out := Book{At: at, Clock: q.Clock.String(), Coverage: c.Coverage(at), BeforeCoverage: c.coverage.total.WitnessedFrom == 0 || at < c.coverage.total.WitnessedFrom}
	skip := 0
	rates, signers := map[uint32]float64{}, newSigners(c, s.excluded, q.Distrust)
	s.reads(partMoments | partNewest | partEnds | partFlags)
	for i := range c.orders.n {
		if i%rows == 0 {
			if whole := c.orders.chunks[i/rows]; q.Clock == Signed && whole.offered != 0 && at >= whole.offered {
				skip = i + rows
			}
		}
		if i < skip {
			continue
		}
		chunk, k := s.view.of(i/rows), i%rows
		first := int64(chunk.at[q.Clock][firstSeen][k])
		if first == 0 || first > at || s.endedBefore(chunk, k) || chunk.final(k, at, q.Clock) {
			continue
		}
		v, ok := s.stateAt(i, at)
		if !ok || v.status != statusPending || expired(v.ends, at) || !s.counts(v.cohort) {
			continue
		}
		fiat := c.cohorts[v.cohort].fiat
		r, known := rates[fiat]
		if !known {
			if r, known = signers.median(fiat, at, maxBookRateAge); !known {
				r = math.NaN()
			}
			rates[fiat] = r
		}
		out.Offers = append(out.Offers, newOffer(c, i, first, &v, r))
	}
	slices.SortFunc(out.Offers, func(a, b Offer) int { return cmp.Or(cmp.Compare(a.FirstAt, b.FirstAt), cmp.Compare(a.Seq, b.Seq)) })
	return out, nil
}

// ImpliedRates computes the implied price of one bitcoin in a currency, by hour or by day,
// for the buckets that overlap the window.
//
// The price of an executed order is its fiat amount / its sats. The price of an order that
// is open at the end of a bucket is the same if it states both, or else the signed rate
// times (1 + premium/100). Of the sorted prices the share trim is cut off at each end. The
// filter's currencies are replaced by fiat. The error is a ParamError.
func (c *Collector) ImpliedRates(fiat string, q Query, by Every, trim float64) ([]RatePoint, error) {
	switch {
	case by != Hour && by != Day:
		return nil, badParam("by", "is neither hour nor day")
	case !(trim >= 0 && trim < 0.5): // also NaN
		return nil, badParam("trim", "is not between 0 and 0.5")
	case fiat == "" || len(fiat) > 16:
		return nil, badParam("fiat", "is no currency code")
	}
	filter := Filter{ByFiat: {fiat}}
	for dim, values := range q.Filter {
		if dim != ByFiat {
			filter[dim] = values
		}
	}
	q.Filter = filter
	if err := q.check(); err != nil {
		return nil, err
	}
	bounds, err := by.buckets(q.From, q.Until)
	if err != nil {
		return nil, err
	}
	if bounds = bounds[1:]; len(bounds)-1 > maxRatePoint {
		return nil, badParam("by", "the series has more than %d points", maxRatePoint)
	}
	s, _ := newScan(c, &q, bounds, needOpen, "")
	n, skip := len(bounds)-1, 0
	points, prices, newest := make([]RatePoint, n), make([][]float64, n), make([]uint32, n)
	signed, signers := make([]float64, n), newSigners(c, s.excluded, q.Distrust)
	for b := range points {
		p := &points[b]
		p.From, p.Until, p.Parallel = bounds[b], bounds[b+1], true
		if r, ok := signers.median(c.fiats.ids[fiat], bounds[b+1]-1, maxBookRateAge); ok {
			signed[b], p.Signed, p.Parallel = r, fiatValue(r), false
		}
	}
	add := func(b int, price float64, t uint32, executed bool) {
		if !(price > 0) || math.IsInf(price, 0) {
			return
		}
		prices[b], newest[b] = append(prices[b], price), max(newest[b], t)
		if executed {
			points[b].Executed++
		} else {
			points[b].Open++
		}
	}
	s.reads(partSuccess | partSats | partAmount | partFlags)
	for i := range c.orders.n {
		if i%rows == 0 && s.before(c.orders.chunks[i/rows]) {
			skip = i + rows
		}
		if i < skip {
			continue
		}
		chunk, k := s.view.of(i/rows), i%rows
		if chunk.at[q.Clock][firstSeen][k] == 0 || !s.counts(chunk.cohort[k]) {
			continue
		}
		if t := chunk.at[q.Clock][firstSuccess][k]; chunk.status[k] == statusSuccess && chunk.flags[k]&flagFixed != 0 && chunk.sats[k] > 0 {
			if b := s.bucket(t); b >= 0 {
				add(b, chunk.amount[k]/float64(chunk.sats[k])*1e8, t, true)
			}
		}
		s.eachPending(i, func(v *version, from, end int64) {
			end = min(end, from+maxOfferAge)
			b, _ := slices.BinarySearch(bounds[1:], max(from, bounds[0]))
			for ; b < n && bounds[b+1] < end; b++ {
				switch {
				case v.sats > 0 && v.min == v.max:
					add(b, v.max/float64(v.sats)*1e8, uint32(from), false)
				case v.sats == 0 && !points[b].Parallel:
					add(b, signed[b]*(1+v.premium/100), uint32(from), false)
				}
			}
		})
	}
	for b := range points {
		p := &points[b]
		if p.Samples = len(prices[b]); p.Samples == 0 {
			continue
		}
		p.Age = intValue(p.Until - int64(newest[b]))
		rate, half := trimmedMean(prices[b], trim)
		p.Rate = fiatValue(rate)
		if p.Samples >= minInterval {
			p.Low, p.High = fiatValue(rate-half), fiatValue(rate+half)
		}
	}
	return points, nil
}

// Survival estimates the time to the take over the orders created in the window. An order that
// was not taken is censored when it was canceled, when its take window ended, at its last
// other version if that version ends it, or at the end of the window. The error is a
// ParamError.
func (c *Collector) Survival(q Query) (Survival, error) {
	if err := q.check(); err != nil {
		return Survival{}, err
	}
	s, _ := newScan(c, &q, windowBounds(q.From, q.Until), 0, "")
	var taken, censored []uint32
	s.reads(partMoments | partNewest | partEnds | partFlags)
	for n := range c.orders.chunks {
		chunk := s.view.of(n)
		at := &chunk.at[q.Clock]
		for k := range c.orders.size(n) {
			first := at[firstSeen][k]
			if s.bucket(first) != 1 || !s.counts(chunk.cohort[k]) {
				continue
			}
			end := q.Until
			if t := int64(at[firstTaken][k]); t != 0 && t <= end {
				taken = append(taken, uint32(max(0, t-int64(first))))
				continue
			}
			for _, t := range [...]uint32{at[firstCanceled][k], at[firstSuccess][k], chunk.ends[k]} {
				if t != 0 {
					end = min(end, int64(t))
				}
			}
			if chunk.status[k] == statusGone {
				end = min(end, int64(chunk.newest[k]))
			}
			censored = append(censored, uint32(max(0, end-int64(first))))
		}
	}
	return kaplanMeier(taken, censored), nil
}

// Sources returns the seqs of the events behind a metric that are above after, ascending,
// at most limit of them. The log resolves a seq to its signed event. For a ratio the events
// are those of the denominator. The error is a ParamError.
func (c *Collector) Sources(name string, q Query, after uint64, limit int) ([]uint64, error) {
	d, label, err := c.metric(name, &q)
	if err != nil {
		return nil, err
	}
	if d.family == famNone {
		return nil, badParam("metric", "%s does not count single events", name)
	}
	if limit < 1 || limit > maxSeqs {
		return nil, badParam("limit", "is not between 1 and %d", maxSeqs)
	}
	s, _ := newScan(c, &q, windowBounds(q.From, q.Until), d.needs, "")
	if label != "" {
		s.onlyLabel(d.Name, label)
	}
	var out []uint64
	add := func(seq uint64) {
		if seq > after {
			out = append(out, seq)
		}
	}
	switch d.family {
	case famFees:
		s.eachFee(0, func(f *fee, _ uint32, _ *columns, _ int, _ []int32, _ int) { add(f.position()) })
	case famOpened, famClosed:
		for i := range c.disputes {
			d2 := &c.disputes[i]
			if !passes(s.authors, d2.author) || len(d2.versions) == 0 {
				continue
			}
			opened, closed, end := d2.times(q.Clock)
			if d.family == famOpened && s.bucket(opened) == 1 {
				add(d2.versions[0].seq)
			}
			if d.family == famClosed && s.bucket(closed) == 1 {
				add(end.seq)
			}
		}
	default:
		s.orderSeqs(d.family, add)
	}
	slices.Sort(out)
	return out[:min(len(out), limit)], nil
}

// SignedRates returns the newest price of each known signer (a node with an info event that
// q neither excludes nor distrusts) in a currency that was signed not after t and at most
// maxAge seconds before t, the newest first. Of q no other field is read.
func (c *Collector) SignedRates(fiat string, t, maxAge int64, q Query) (out []SignedRate) {
	newSigners(c, c.excluded(q.Exclude), q.Distrust).each(c.fiats.ids[fiat], t, maxAge, func(id uint32, price float64, at uint32) {
		out = append(out, SignedRate{hexOf(c.authors[id].pubkey), price, int64(at)})
	})
	return out
}

// excluded returns which authors are in any of the sets, or nil if none is.
func (c *Collector) excluded(sets []map[[32]byte]struct{}) (out []bool) {
	for _, set := range sets {
		for key := range set {
			if id, ok := c.byKey[key]; ok {
				if out == nil {
					out = make([]bool, len(c.authors))
				}
				out[id] = true
			}
		}
	}
	return out
}

// Trades returns the executed orders of a fixed amount in the window, oldest first. Orders
// without sats are left out. The error is a ParamError.
func (c *Collector) Trades(q Query) ([]Trade, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	s, _ := newScan(c, &q, windowBounds(q.From, q.Until), needCompleted, "")
	var out []Trade
	s.reads(partSuccess | partSats | partAmount | partFlags)
	for n, whole := range c.orders.chunks {
		if sp := whole.spans[q.Clock][firstSuccess]; sp.first == 0 || int64(sp.last) < q.From || int64(sp.first) >= q.Until {
			continue
		}
		chunk, i := s.view.of(n), n*rows
		for k := range c.orders.size(n) {
			t := chunk.at[q.Clock][firstSuccess][k]
			if chunk.status[k] != statusSuccess || chunk.flags[k]&flagFixed == 0 || chunk.sats[k] <= 0 || !(chunk.amount[k] > 0) ||
				s.bucket(t) != 1 || !s.counts(chunk.cohort[k]) {
				continue
			}
			h := &c.cohorts[chunk.cohort[k]]
			trade := Trade{Seq: s.seqOf(i+k, statusSuccess), At: int64(t), Side: mostro.Side(sideOf(h.buy)), Fiat: c.fiats.text[h.fiat], Amount: chunk.amount[k], Sats: chunk.sats[k]}
			for _, label := range c.methodsOf(h.methods) {
				trade.Methods = append(trade.Methods, c.labels.text[label])
			}
			out = append(out, trade)
		}
	}
	slices.SortFunc(out, func(a, b Trade) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq)) })
	return out, nil
}

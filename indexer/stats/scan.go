package stats

import (
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/mostrodex/mostrodex/mostro"
)

// devFeeShare is the share of a node's fee that goes to the development fund. The daemon's
// default is assumed for every node.
const devFeeShare = 0.30

// maxRateAge is the greatest age of a signed rate that prices a trade, in seconds.
const maxRateAge = 300

// scan walks over all orders once and adds them to tallies by group and bucket.
type scan struct {
	c       *Collector
	q       *Query
	bounds  []int64 // bucket k is [bounds[k], bounds[k+1])
	width   int64   // of every bucket; 0 if the widths differ
	needs   needs
	match   cohortSet // cohorts that count; nil: all
	targets [][]int32 // groups of a cohort, if split is set
	groups  int
	tallies []*tally  // by group and bucket
	labeled cohortSet // cohorts of the currency that needFiat looks at; nil: of all currencies

	split    Dimension        // of the groups; "" for one group
	authors  []bool           // authors whose events count; nil: all
	excluded []bool           // authors in Query.Exclude; nil: none
	byGroup  map[uint32]int32 // group of each property, if split is set
	buf      []version
	firstBy  []uint32     // first time of each cohort
	openDiff [][]openStep // by group
	rateHint int
	view     view
	views    views // of the orders of fees, which come in almost any order
}

// views keeps the columns of the last sealed chunks that were read.
type views [4]view

func (v *views) of(n int) *columns { return v[n%len(v)].of(n) }

// cohortSet is a set of cohorts, a bit for each.
type cohortSet []uint64

func newCohortSet(n int) cohortSet { return make(cohortSet, (n+63)/64) }

func (c cohortSet) add(id uint32) { c[id/64] |= 1 << (id % 64) }

func (c cohortSet) has(id uint32) bool { return c[id/64]&(1<<(id%64)) != 0 }

// view reads the columns of chunks. The columns that of returns are valid until its next call.
type view struct {
	t     *table
	want  part
	cols  *columns // of a sealed chunk
	codes *[rows]uint64
	n     int  // 1 + the chunk in cols
	have  part // in cols
}

func (v *view) of(n int) *columns { return v.with(n, v.want) }

// with returns some columns of a chunk. All others are undefined.
func (v *view) with(n int, want part) *columns {
	c := v.t.chunks[n]
	if c.open != nil {
		return c.open
	}
	if v.n != n+1 {
		v.have = 0
	} else if want &^= v.have; want == 0 {
		return v.cols
	}
	if v.cols == nil {
		v.cols, v.codes = new(columns), new([rows]uint64)
	}
	v.n, v.have = n+1, v.have|want
	c.sealed.unpack(v.cols, v.have, v.codes)
	return v.cols
}

// reads sets the columns that the scan reads.
func (s *scan) reads(want part) {
	if s.q.Clock == Witnessed {
		want |= partWitnessed
	}
	s.view = view{t: &s.c.orders, want: want | partCohort}
}

// openStep is a change of the open orders from one bucket to the next.
type openStep struct {
	open, openSeen, progress, progressSeen int64
	created                                int64 // sum of the first times of the open orders
}

var noGroup = []int32{0}

// matcher returns, for each dimension but method, whether a number of names matches.
func matcher(f Filter, dim Dimension, n *names) []bool {
	values := f[dim]
	if len(values) == 0 {
		return nil
	}
	out := make([]bool, len(n.text))
	for i, name := range n.text {
		out[i] = slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, name) })
	}
	return out
}

func passes(match []bool, id uint32) bool { return match == nil || match[id] }

// newScan prepares a scan. split is the dimension of the groups, or "" for one group.
func newScan(c *Collector, q *Query, bounds []int64, need needs, split Dimension) (*scan, []string) {
	s := &scan{c: c, q: q, bounds: bounds, needs: need, groups: 1, split: split, byGroup: map[uint32]int32{}}
	s.width = bounds[1] - bounds[0]
	for k := 1; k < len(bounds); k++ {
		if bounds[k]-bounds[k-1] != s.width {
			s.width = 0
			break
		}
	}
	if wanted := q.Filter[ByInstance]; len(wanted) > 0 {
		s.authors = make([]bool, len(c.authors))
		for _, pubkey := range wanted {
			if id, ok := c.byKey[keyOf(pubkey)]; ok {
				s.authors[id] = true
			}
		}
	}
	if s.excluded = c.excluded(q.Exclude); s.excluded != nil {
		if s.authors == nil {
			s.authors = make([]bool, len(c.authors))
			for id := range s.authors {
				s.authors[id] = true
			}
		}
		for id, out := range s.excluded {
			s.authors[id] = s.authors[id] && !out
		}
	}
	fiats, platforms := matcher(q.Filter, ByFiat, &c.fiats), matcher(q.Filter, ByPlatform, &c.platform)
	networks, labels := matcher(q.Filter, ByNetwork, &c.networks), matcher(q.Filter, ByMethod, &c.labels)
	var sets []bool
	if labels != nil {
		sets = make([]bool, len(c.sets.text))
		for i := range sets {
			sets[i] = slices.ContainsFunc(c.methodsOf(uint32(i)), func(id uint32) bool { return labels[id] })
		}
	}
	var order []uint32
	group := func(id uint32) int32 {
		g, ok := s.byGroup[id]
		if !ok {
			g = int32(len(order))
			s.byGroup[id], order = g, append(order, id)
		}
		return g
	}
	if split == ByInstance { // also nodes whose orders are not known
		for id := 1; id < len(c.authors); id++ {
			if passes(s.authors, uint32(id)) {
				group(uint32(id))
			}
		}
	}
	sides := q.Filter[BySide]
	all := s.authors == nil && fiats == nil && platforms == nil && networks == nil && sets == nil && len(sides) == 0
	if split != "" {
		s.targets = make([][]int32, len(c.cohorts))
	} else if !all {
		s.match = newCohortSet(len(c.cohorts))
	}
	for id := 1; id < len(c.cohorts) && (split != "" || !all); id++ {
		h := &c.cohorts[id]
		if !passes(s.authors, h.author) || !passes(fiats, h.fiat) || !passes(platforms, h.platform) || !passes(networks, h.network) || !passes(sets, h.methods) {
			continue
		}
		if len(sides) > 0 && !slices.Contains(sides, sideOf(h.buy)) {
			continue
		}
		switch split {
		case "":
			s.match.add(uint32(id))
		case ByMethod:
			for _, label := range c.methodsOf(h.methods) {
				s.targets[id] = append(s.targets[id], group(label))
			}
		default:
			s.targets[id] = []int32{group(h.property(split))}
		}
	}
	if split != "" && need&needPaid != 0 { // a node with a fee is a group
		s.needs |= needFees
	}
	var keys []string
	if split != "" {
		s.groups = len(order)
		for _, id := range order {
			keys = append(keys, nameOf(c, split, id))
		}
	}
	s.tallies = make([]*tally, s.groups*(len(bounds)-1))
	return s, keys
}

// groupsOfCohort returns the groups in which the orders of a cohort count, or nil.
func (s *scan) groupsOfCohort(id uint32) []int32 {
	switch {
	case s.targets != nil:
		return s.targets[id]
	case s.match == nil || s.match.has(id):
		return noGroup
	}
	return nil
}

// counts reports whether the orders of a cohort count.
func (s *scan) counts(id uint32) bool { return s.groupsOfCohort(id) != nil }

func sideOf(buy bool) string {
	if buy {
		return string(mostro.SideBuy)
	}
	return string(mostro.SideSell)
}

func (h *cohort) property(dim Dimension) uint32 {
	switch dim {
	case ByInstance:
		return h.author
	case ByFiat:
		return h.fiat
	case ByPlatform:
		return h.platform
	case ByNetwork:
		return h.network
	}
	if h.buy {
		return 1
	}
	return 0
}

func nameOf(c *Collector, dim Dimension, id uint32) string {
	switch dim {
	case ByInstance:
		return hexOf(c.authors[id].pubkey)
	case ByFiat:
		return c.fiats.text[id]
	case ByPlatform:
		return c.platform.text[id]
	case ByNetwork:
		return c.networks.text[id]
	case ByMethod:
		return c.labels.text[id]
	}
	return sideOf(id == 1)
}

// bucket returns the bucket that holds t, or -1.
func (s *scan) bucket(t uint32) int {
	at := int64(t)
	if t == 0 || at < s.bounds[0] || at >= s.bounds[len(s.bounds)-1] {
		return -1
	}
	if len(s.bounds) == 3 {
		if at < s.bounds[1] {
			return 0
		}
		return 1
	}
	if s.width > 0 {
		return int((at - s.bounds[0]) / s.width)
	}
	i, found := slices.BinarySearch(s.bounds, at)
	if found {
		return i
	}
	return i - 1
}

func (s *scan) tally(group int32, bucket int) *tally {
	i := int(group)*(len(s.bounds)-1) + bucket
	if s.tallies[i] == nil {
		s.tallies[i] = &tally{}
	}
	return s.tallies[i]
}

func (s *scan) run() {
	if s.needs&needFirst != 0 {
		s.firstBy = make([]uint32, len(s.c.cohorts))
	}
	series := len(s.bounds) > 3
	if s.needs&needOpen != 0 && series {
		s.openDiff = make([][]openStep, s.groups)
		for g := range s.openDiff {
			s.openDiff[g] = make([]openStep, len(s.bounds))
		}
	}
	switch {
	case s.needs&orderNeeds == 0:
	case s.split == "" && !series:
		s.window()
	default:
		s.eachOrder(series)
	}
	if s.openDiff != nil {
		s.sumIntervals()
	}
	if s.needs&needFirst != 0 {
		s.addFirst()
	}
	if s.needs&needFees != 0 {
		s.addFees()
	}
	if s.needs&needDisputes != 0 {
		s.addDisputes()
	}
	if s.needs&needInstances != 0 {
		s.addInstances()
	}
	for _, t := range s.tallies {
		if t != nil {
			t.finish()
		}
	}
}

// orderNeeds are the parts that walk over the orders.
const orderNeeds = needMoments | needOpen | needFirst

// parts returns the columns that needs read, without flags and cohorts.
func (n needs) parts() (p part) {
	add := func(need needs, want part) {
		if n&need != 0 {
			p |= want
		}
	}
	add(needOpen, partMoments|partNewest|partEnds)
	if n&needCreated != 0 {
		add(needFunnel, partTaken)
		add(needWidths, partAmount)
		add(needPremiums, partPremium)
	}
	if n&needCompleted != 0 {
		add(needCompleted, partSuccess)
		add(needSats|needTickets|needFiat|needBreakdown|needIn, partSats)
		add(needFiat, partAmount)
		add(needTimes, partTaken)
	}
	add(needCanceled, partCanceled)
	add(needLeft, partTaken|partSuccess)
	return p
}

// cohortNeeds are the parts for which the cohort of an order is looked up.
const cohortNeeds = needBreakdown | needFirst | needFiat | needIn | needPaid

// window adds the orders of one window and one group. Workers share the chunks: each has some that
// follow each other, and the tallies are added in the order of the chunks, so that the figures do
// not depend on the number of workers.
func (s *scan) window() {
	var todo []int
	for n, c := range s.c.orders.chunks {
		if s.needsOf(c) != 0 {
			todo = append(todo, n)
		}
	}
	limit := s.c.workers
	if limit == 0 {
		limit = min(runtime.GOMAXPROCS(0), maxWorkers)
	}
	workers := make([]*scan, max(1, min(limit, len(todo))))
	var wait sync.WaitGroup
	for i := range workers {
		w := *s
		w.tallies, w.buf, w.view = make([]*tally, len(s.tallies)), nil, view{t: &s.c.orders}
		if s.firstBy != nil && i > 0 {
			w.firstBy = make([]uint32, len(s.firstBy))
		}
		workers[i] = &w
		part := todo[len(todo)*i/len(workers) : len(todo)*(i+1)/len(workers)]
		if i == len(workers)-1 {
			w.sweep(part)
		} else {
			wait.Go(func() { w.sweep(part) })
		}
	}
	wait.Wait()
	for i, w := range workers {
		for b, t := range w.tallies {
			if t == nil {
				continue
			}
			if s.tallies[b] == nil {
				s.tallies[b] = t
			} else {
				s.tallies[b].addOrders(t)
			}
		}
		if i == 0 {
			continue
		}
		for id, t := range w.firstBy {
			if held := &s.firstBy[id]; t != 0 && (*held == 0 || t < *held) {
				*held = t
			}
		}
	}
}

// maxWorkers bounds the goroutines of one query.
const maxWorkers = 4

// needsOf returns the needs for which orders of a chunk may count. Orders arrive almost in the
// order of their times, so that a short window needs few chunks.
func (s *scan) needsOf(c *chunk) needs {
	need := s.needs &^ (needMoments | needOpen)
	lo, hi := s.window32()
	within := func(m moment) bool {
		span := &c.spans[s.q.Clock][m]
		return span.last != 0 && int64(span.last) >= lo && int64(span.first) < hi
	}
	for m, of := range [moments]needs{needCreated, needLeft, needCompleted | needLeft, needCanceled} {
		if of &= s.needs; of != 0 && within(moment(m)) {
			need |= of
		}
	}
	if s.needs&needOpen != 0 && !s.idle(c) {
		need |= needOpen
	}
	if need&orderNeeds == 0 {
		return 0
	}
	return need
}

// window32 returns the first time that counts, at least 1, and the first one that no longer does.
func (s *scan) window32() (lo, hi int64) {
	lo = s.bounds[1]
	if s.needs&needBefore != 0 {
		lo = s.bounds[0]
	}
	return max(lo, 1), s.bounds[2]
}

// sweep adds the orders of chunks to the tallies of one window, moment by moment.
func (s *scan) sweep(chunks []int) {
	if len(chunks) == 0 {
		return
	}
	s.reserve(len(chunks) * rows)
	before, t := s.tally(0, 0), s.tally(0, 1)
	lo, hi := s.window32()
	from := s.bounds[1]
	for _, n := range chunks {
		need := s.needsOf(s.c.orders.chunks[n])
		want := partFlags | (need &^ needOpen).parts()
		if s.match != nil || need&cohortNeeds != 0 {
			want |= partCohort
		}
		if need&needOpen != 0 {
			want |= partNewest | partEnds
		}
		if s.q.Clock == Witnessed {
			want |= partWitnessed
		}
		c, size := s.view.with(n, want), s.c.orders.size(n)
		at := &c.at[s.q.Clock]
		if s.firstBy != nil {
			for k, first := range at[firstSeen][:size] {
				id := c.cohort[k]
				if held := &s.firstBy[id]; first != 0 && (*held == 0 || first < *held) && (s.match == nil || s.match.has(id)) {
					*held = first
				}
			}
		}
		if need&needCreated != 0 {
			for k, first := range at[firstSeen][:size] {
				if int64(first) < lo || int64(first) >= hi || s.match != nil && !s.match.has(c.cohort[k]) {
					continue
				}
				if int64(first) < from {
					before.created.add(c.flags[k]&(1<<firstSeen) != 0)
				} else {
					s.addCreated(t, 1, c, at, k)
				}
			}
		}
		if need&needCompleted != 0 {
			for k, success := range at[firstSuccess][:size] {
				if int64(success) < lo || int64(success) >= hi || s.match != nil && !s.match.has(c.cohort[k]) {
					continue
				}
				if int64(success) >= from {
					s.addSuccess(t, 1, c, at, k)
				} else if c.status[k] == statusSuccess {
					before.completed.add(c.flags[k]&(1<<firstSuccess) != 0)
				}
			}
		}
		if need&needCanceled != 0 {
			for k, canceled := range at[firstCanceled][:size] {
				if int64(canceled) >= max(lo, from) && int64(canceled) < hi && (s.match == nil || s.match.has(c.cohort[k])) {
					s.addCanceled(t, 1, c, at, k)
				}
			}
		}
		if need&needLeft != 0 {
			for k, left := range at[firstTaken][:size] {
				if left == 0 {
					left = at[firstSuccess][k]
				}
				if int64(left) >= max(lo, from) && int64(left) < hi && (s.match == nil || s.match.has(c.cohort[k])) {
					s.addLeft(t, c, at, k)
				}
			}
		}
		if need&needOpen != 0 {
			s.sweepOpen(c, t, n, want)
		}
	}
}

// sweepOpen adds the orders of a chunk that are open at the end of the window.
func (s *scan) sweepOpen(c *columns, t *tally, n int, want part) {
	now, complete := s.bounds[2], false
	for k := range s.c.orders.size(n) {
		first := int64(c.at[s.q.Clock][firstSeen][k])
		if first == 0 || first > now || s.match != nil && !s.match.has(c.cohort[k]) {
			continue
		}
		if s.q.Clock == Signed && int64(c.newest[k]) <= now && c.flags[k]&flagDeleted == 0 { // the newest version is in force
			s.countOpen(t, c.status[k], c.ends[k], c.flags[k], first)
			continue
		}
		if !complete {
			c, complete = s.view.with(n, want|partMoments), true
		}
		if state, ends, ok := s.openState(c, n*rows+k); ok {
			s.countOpen(t, state, ends, c.flags[k], first)
		}
	}
}

// reserve allocates the samples of one window for the greatest number of orders.
func (s *scan) reserve(n int) {
	n = min(n, s.c.orders.n)
	t := s.tally(0, 1)
	if s.needs&needTickets != 0 {
		t.tickets = make([]int64, 0, n)
	}
	if s.needs&needPremiums != 0 {
		t.premiums = [2][]float64{make([]float64, 0, n), make([]float64, 0, n)}
	}
	if s.needs&needTimes != 0 {
		for need, list := range map[needs][]*[]uint32{needLeft: {&t.fill}, needCompleted: {&t.done, &t.cycle}, needCanceled: {&t.cancel}} {
			for _, sample := range list {
				if s.needs&need != 0 {
					*sample = make([]uint32, 0, n)
				}
			}
		}
	}
	if s.needs&needBreakdown != 0 && s.needs&needCreated != 0 {
		t.createdOf = make([]uint32, len(s.c.cohorts))
	}
	if s.needs&needBreakdown != 0 && s.needs&needCompleted != 0 {
		t.satsOf = make([]total, len(s.c.cohorts))
	}
}

// eachOrder adds the orders of a series or of groups.
func (s *scan) eachOrder(series bool) {
	s.reads(s.needs.parts() | partFlags)
	for n, whole := range s.c.orders.chunks {
		if !s.overlaps(whole) {
			continue
		}
		chunk, i := s.view.of(n), n*rows
		at := &chunk.at[s.q.Clock]
		for k := range s.c.orders.size(n) {
			first := at[firstSeen][k]
			if first == 0 {
				continue
			}
			targets := s.groupsOfCohort(chunk.cohort[k])
			if s.firstBy != nil && targets != nil {
				if held := &s.firstBy[chunk.cohort[k]]; *held == 0 || first < *held {
					*held = first
				}
			}
			for _, g := range targets {
				s.addOrder(g, chunk, at, k)
				if s.needs&needOpen == 0 {
					continue
				}
				if series {
					s.addIntervals(g, chunk, i+k)
				} else if state, ends, ok := s.openState(chunk, i+k); ok {
					s.countOpen(s.tally(g, 1), state, ends, chunk.flags[k], int64(first))
				}
			}
		}
	}
}

// overlaps reports whether a chunk may hold an order that counts in a series or in groups.
func (s *scan) overlaps(c *chunk) bool {
	if s.needs&needFirst != 0 || s.needs&needOpen != 0 && (len(s.bounds) > 3 || !s.idle(c)) {
		return true
	}
	from, until := s.bounds[0], s.bounds[len(s.bounds)-1]
	for m, need := range [moments]needs{needCreated, needLeft, needCompleted | needLeft, needCanceled} {
		span := &c.spans[s.q.Clock][m]
		if s.needs&need != 0 && span.last != 0 && int64(span.last) >= from && int64(span.first) < until {
			return true
		}
	}
	return false
}

// sizeBounds are the greatest amounts of the size buckets of a ticket, in sats.
var sizeBounds = [...]int64{9_999, 50_000, 200_000, 1_000_000}

func (s *scan) addOrder(g int32, c *columns, at *[moments][rows]uint32, k int) {
	if s.needs&needCreated != 0 {
		if b := s.bucket(at[firstSeen][k]); b >= 0 {
			s.addCreated(s.tally(g, b), b, c, at, k)
		}
	}
	if s.needs&needCompleted != 0 {
		if b := s.bucket(at[firstSuccess][k]); b >= 0 {
			s.addSuccess(s.tally(g, b), b, c, at, k)
		}
	}
	if s.needs&needCanceled != 0 {
		if b := s.bucket(at[firstCanceled][k]); b >= 0 {
			s.addCanceled(s.tally(g, b), b, c, at, k)
		}
	}
	if s.needs&needLeft != 0 {
		left := at[firstTaken][k]
		if left == 0 {
			left = at[firstSuccess][k]
		}
		if b := s.bucket(left); b > 0 {
			s.addLeft(s.tally(g, b), c, at, k)
		}
	}
}

// addSuccess adds an order whose first success is in bucket b.
func (s *scan) addSuccess(t *tally, b int, c *columns, at *[moments][rows]uint32, k int) {
	success := at[firstSuccess][k]
	if c.status[k] == statusSuccess {
		s.addCompleted(t, b, c, k, success, c.flags[k])
	}
	if b > 0 && s.needs&needTimes != 0 {
		if taken := at[firstTaken][k]; taken != 0 && success > taken {
			t.done = append(t.done, success-taken)
		}
		if first := at[firstSeen][k]; success > first {
			t.cycle = append(t.cycle, success-first)
		}
	}
}

// addCanceled adds an order whose first cancellation is in bucket b.
func (s *scan) addCanceled(t *tally, b int, c *columns, at *[moments][rows]uint32, k int) {
	if c.status[k] == statusCanceled {
		t.canceled.add(c.flags[k]&(1<<firstCanceled) != 0)
	}
	if first, canceled := at[firstSeen][k], at[firstCanceled][k]; b > 0 && s.needs&needTimes != 0 && canceled > first {
		t.cancel = append(t.cancel, canceled-first)
	}
}

// addLeft adds an order that left the book in the bucket of t.
func (s *scan) addLeft(t *tally, c *columns, at *[moments][rows]uint32, k int) {
	t.left++
	if taken := at[firstTaken][k]; taken != 0 {
		t.taken.add(c.flags[k]&(1<<firstTaken) != 0)
		if first := at[firstSeen][k]; s.needs&needTimes != 0 && taken > first {
			t.fill = append(t.fill, taken-first)
		}
	}
}

// addCreated adds an order whose first version is in bucket b.
func (s *scan) addCreated(t *tally, b int, c *columns, at *[moments][rows]uint32, k int) {
	flags := c.flags[k]
	t.created.add(flags&(1<<firstSeen) != 0)
	if b == 0 {
		return
	}
	if s.needs&needFunnel != 0 {
		taken, state := at[firstTaken][k], c.status[k]
		if taken != 0 {
			t.funnel.taken++
		}
		switch {
		case state == statusCanceled && taken == 0:
			t.abandoned++
			t.funnel.canceledUntaken++
		case state == statusCanceled:
			t.funnel.canceledTaken++
		case state == statusSuccess:
			t.funnel.completed++
		case state == statusPending || state == statusInProgress:
			t.funnel.open++
		}
	}
	if flags&flagMarket != 0 {
		t.market++
	}
	if flags&flagRange != 0 {
		t.ranged++
		if s.needs&needWidths != 0 {
			t.widths = append(t.widths, c.amount[k])
		}
	}
	if s.needs&needPremiums != 0 && !math.IsNaN(c.premium[k]) {
		side := 1
		if flags&flagBuy != 0 {
			side = 0
		}
		t.premiums[side] = append(t.premiums[side], c.premium[k]/100)
	}
	if s.needs&needBreakdown != 0 {
		t.addCreated(c.cohort[k])
	}
}

func (s *scan) addCompleted(t *tally, b int, c *columns, k int, success uint32, flags uint16) {
	t.completed.add(flags&(1<<firstSuccess) != 0)
	if b == 0 || s.needs&(needSats|needTickets|needFiat|needBreakdown|needIn|needPaid) == 0 {
		return
	}
	if s.needs&needPaid != 0 {
		if p := s.c.authors[s.c.cohorts[c.cohort[k]].author].policyAt(success); p != nil && p.Fee != nil && *p.Fee > 0 {
			t.chargeable++
			if flags&flagPaid != 0 {
				t.paid++
			}
		}
		if s.needs&(needSats|needTickets|needFiat|needBreakdown|needIn) == 0 { // sats is not read
			return
		}
	}
	sats := max(0, c.sats[k]) // amt 0 states no amount
	if sats > 0 {
		t.sats.add(sats)
		t.priced++
		if flags&flagBuy != 0 {
			t.buySats.add(sats)
		} else {
			t.sellSats.add(sats)
		}
		size := 0
		for size < len(sizeBounds) && sats > sizeBounds[size] {
			size++
		}
		t.sizes[size]++
		if s.needs&needTickets != 0 {
			t.tickets = append(t.tickets, sats)
		}
	}
	if s.needs&needBreakdown != 0 {
		t.addSats(c.cohort[k], sats)
	}
	if s.needs&needFiat != 0 && (s.labeled == nil || s.labeled.has(c.cohort[k])) {
		f := t.fiatOf(s.c.cohorts[c.cohort[k]].fiat)
		f.all++
		f.sats.add(sats)
		if flags&flagFixed != 0 {
			f.amounts = append(f.amounts, c.amount[k])
		}
	}
	if s.needs&needIn != 0 && sats > 0 {
		if r, ok := s.rateOf(s.c.cohorts[c.cohort[k]].author, success); ok {
			t.in = append(t.in, float64(sats)/1e8*r.price)
			t.rated++
			t.maxAge = max(t.maxAge, int64(r.age))
			if r.other {
				t.otherRates++
			}
		} else {
			t.unpriced.add(sats)
		}
	}
}

// rateOf returns the rate of the query's currency for a trade of a node. Most orders follow
// each other in time, so the search begins where the last one ended.
func (s *scan) rateOf(author, t uint32) (rate, bool) {
	series := s.c.rates[s.c.fiats.ids[s.q.In]]
	if series == nil {
		return rate{}, false
	}
	s.rateHint = series.after(t, s.rateHint)
	return series.newest(s.rateHint, author, t, maxRateAge, s.excluded)
}

// stateAt returns the version of row i that was in force at t: the newest one by the rules of
// NIP-01 among those that were signed (or witnessed, by the clock) not after t. ok is false
// if there is none, or if its author had deleted it.
func (s *scan) stateAt(i int, t int64) (v version, ok bool) {
	chunk, k := s.c.orders.at(i)
	versions, err := decodeVersions(s.buf[:0], s.c.blobs.get(chunk.blob[k]))
	if err != nil {
		return version{}, false
	}
	s.buf = versions
	for j := len(versions) - 1; j >= 0; j-- {
		w := &versions[j]
		if s.q.Clock == Signed && int64(w.created) <= t || s.q.Clock == Witnessed && w.live && int64(w.received) <= t {
			return *w, w.deleted == 0 || int64(w.deleted) > t
		}
	}
	return version{}, false
}

func expired(ends uint32, t int64) bool { return ends != 0 && int64(ends) <= t }

// openState returns the status and the end of the take window of the version of row i that is in
// force at the end of the window. ok is false if there is none or if the order has ended.
func (s *scan) openState(c *columns, i int) (state status, ends uint32, ok bool) {
	k, now := i%rows, s.bounds[len(s.bounds)-1]
	if int64(c.at[s.q.Clock][firstSeen][k]) > now || c.final(k, now, s.q.Clock) {
		return statusNone, 0, false
	}
	if s.q.Clock == Signed && int64(c.newest[k]) <= now && c.flags[k]&flagDeleted == 0 {
		return c.status[k], c.ends[k], true
	}
	v, ok := s.stateAt(i, now)
	return v.status, v.ends, ok
}

// countOpen counts an order by its state at the end of the window.
func (s *scan) countOpen(t *tally, state status, ends uint32, flags uint16, first int64) {
	now, live := s.bounds[len(s.bounds)-1], flags&(1<<firstSeen) != 0
	switch {
	case state == statusPending && !expired(ends, now):
		t.open.add(live)
		t.ages += now - first
	case state == statusInProgress:
		t.inProgress.add(live)
	}
}

// addIntervals adds the times during which an order was open to the steps of a series.
func (s *scan) addIntervals(g int32, c *columns, i int) {
	k := i % rows
	first := int64(c.at[s.q.Clock][firstSeen][k])
	live := c.flags[k]&(1<<firstSeen) != 0
	s.eachInterval(i, func(v *version, from, end int64) {
		s.addStep(g, from, v.status, live, first, 1)
		if end != math.MaxInt64 {
			s.addStep(g, end, v.status, live, first, -1)
		}
	})
}

// eachInterval calls fn for each version of row i that was pending or in progress, with the time
// from which it was in force and the time at which it no longer was, newest first.
func (s *scan) eachInterval(i int, fn func(v *version, from, end int64)) {
	c, k := s.c.orders.at(i)
	versions, err := decodeVersions(s.buf[:0], s.c.blobs.get(c.blob[k]))
	if err != nil {
		return
	}
	s.buf = versions
	// until is the time from which a newer version is in force.
	until := int64(math.MaxInt64)
	for j := len(versions) - 1; j >= 0; j-- {
		v := &versions[j]
		from := int64(v.created)
		if s.q.Clock == Witnessed {
			if from = int64(v.received); !v.live {
				continue
			}
		}
		end := until
		until = min(until, from)
		if v.deleted != 0 {
			end = min(end, int64(v.deleted))
		}
		if v.status == statusPending && v.ends != 0 {
			end = min(end, int64(v.ends))
		}
		if from < end && (v.status == statusPending || v.status == statusInProgress) {
			fn(v, from, end)
		}
	}
}

// addStep changes the open orders of all buckets that end at t or later.
func (s *scan) addStep(g int32, t int64, state status, live bool, first, by int64) {
	i, _ := slices.BinarySearch(s.bounds[1:], t)
	if i >= len(s.bounds)-1 {
		return
	}
	d := &s.openDiff[g][i]
	seen := int64(0)
	if live {
		seen = by
	}
	if state == statusPending {
		d.open, d.openSeen, d.created = d.open+by, d.openSeen+seen, d.created+by*first
	} else {
		d.progress, d.progressSeen = d.progress+by, d.progressSeen+seen
	}
}

func (s *scan) sumIntervals() {
	for g := range s.openDiff {
		var now openStep
		for b := range len(s.bounds) - 1 {
			d := &s.openDiff[g][b]
			now.open, now.openSeen, now.created = now.open+d.open, now.openSeen+d.openSeen, now.created+d.created
			now.progress, now.progressSeen = now.progress+d.progress, now.progressSeen+d.progressSeen
			t := s.tally(int32(g), b)
			t.open, t.inProgress = seen{now.open, now.openSeen}, seen{now.progress, now.progressSeen}
			t.ages = now.open*s.bounds[b+1] - now.created
		}
	}
}

// firstTimes is the first time of each currency, set of payment methods or author: a slice if
// there is one group, else a map.
type firstTimes struct {
	dense  []uint32
	sparse map[uint32]uint32
}

func newFirstTimes(n, groups int) firstTimes {
	if groups == 1 {
		return firstTimes{dense: make([]uint32, n)}
	}
	return firstTimes{sparse: map[uint32]uint32{}}
}

func (f *firstTimes) note(id, t uint32) {
	if f.dense != nil {
		if held := &f.dense[id]; *held == 0 || t < *held {
			*held = t
		}
	} else if held, ok := f.sparse[id]; !ok || t < held {
		f.sparse[id] = t
	}
}

func (f *firstTimes) each(fn func(id, t uint32)) {
	for id, t := range f.dense {
		if t != 0 {
			fn(uint32(id), t)
		}
	}
	for id, t := range f.sparse {
		fn(id, t)
	}
}

func (s *scan) addFirst() {
	type firsts struct{ fiats, sets, authors *firstTimes }
	by := make([]firsts, s.groups)
	times := func(n int) *firstTimes { f := newFirstTimes(n, s.groups); return &f }
	for id, t := range s.firstBy {
		if t == 0 {
			continue
		}
		h := &s.c.cohorts[id]
		for _, g := range s.groupsOfCohort(uint32(id)) {
			f := &by[g]
			if f.fiats == nil {
				*f = firsts{times(len(s.c.fiats.text)), times(len(s.c.sets.text)), times(len(s.c.authors))}
			}
			f.fiats.note(h.fiat, t)
			f.sets.note(h.methods, t)
			f.authors.note(h.author, t)
		}
	}
	for g, f := range by {
		if f.fiats == nil {
			continue
		}
		labels := times(len(s.c.labels.text))
		f.sets.each(func(set, t uint32) {
			for _, label := range s.c.methodsOf(set) {
				labels.note(label, t)
			}
		})
		note := func(firsts *firstTimes, count func(*tally) *int64) {
			firsts.each(func(_, t uint32) {
				if b := s.bucket(t); b > 0 {
					*count(s.tally(int32(g), b))++
				}
			})
		}
		note(f.fiats, func(t *tally) *int64 { return &t.newFiats })
		note(labels, func(t *tally) *int64 { return &t.newMethods })
		note(f.authors, func(t *tally) *int64 { return &t.newAuthors })
	}
}

// ofInstances reports whether the figures are of single instances, so that they have a share
// of the whole network.
func (s *scan) ofInstances() bool { return len(s.q.Filter[ByInstance]) > 0 || s.split == ByInstance }

// withoutInstances runs the scan of the same query for all instances.
func (s *scan) withoutInstances(need needs) *scan {
	q := *s.q
	q.Filter = maps.Clone(q.Filter)
	delete(q.Filter, ByInstance)
	out, _ := newScan(s.c, &q, s.bounds, need&(needMoments|needSats), "")
	out.run()
	return out
}

func (s *scan) figures(group int32, bucket int) *figures {
	return &figures{s: s, t: s.tally(group, bucket), before: s.tally(group, bucket-1), from: s.bounds[bucket], now: s.bounds[bucket+1]}
}

// endedBefore reports that the newest version of an order is in force at the end of the
// window and is no offer, so that its versions need not be decoded.
func (s *scan) endedBefore(c *columns, k int) bool {
	at := s.q.Until
	return s.q.Clock == Signed && int64(c.newest[k]) <= at && (c.status[k] != statusPending || expired(c.ends[k], at))
}

// before reports that no order of a chunk was on offer or executed in the window.
func (s *scan) before(c *chunk) bool {
	return s.q.Clock == Signed && c.offered != 0 && c.offered < s.bounds[0]
}

// idle reports that no order of a chunk is on offer or in progress at the end of the window.
func (s *scan) idle(c *chunk) bool {
	return s.q.Clock == Signed && c.busy != 0 && s.bounds[len(s.bounds)-1] >= c.busy
}

// eachPending calls fn for each version of row i that was on offer, with the time from
// which it was and the time at which it no longer was.
func (s *scan) eachPending(i int, fn func(v *version, from, end int64)) {
	s.eachInterval(i, func(v *version, from, end int64) {
		if v.status == statusPending {
			fn(v, from, end)
		}
	})
}

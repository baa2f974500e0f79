package stats

import (
	"cmp"
	"maps"
	"slices"
	"strings"
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
	d, label, err := c.metric(name, &q)
	if err != nil {
		return Figure{}, err
	}
	bounds := windowBounds(q.From, q.Until)
	s, _ := newScan(c, &q, bounds, d.needs, "")
	s.run()
	f := s.figures(0, 1)
	f.complete(d.needs)
	for _, figure := range f.of(d) {
		if label == "" || figure.Name == name {
			return figure, nil
		}
	}
	return d.absent(name, &q), nil
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

// ofInstances reports whether the figures are of single instances, so that they have a share
// of the whole network.
func (s *scan) ofInstances() bool { return len(s.q.Filter[ByInstance]) > 0 || s.split == ByInstance }

// withoutInstances runs the scan of the same query for all instances.
func (s *scan) withoutInstances(need needs) *scan {
	q := *s.q
	q.Filter = maps.Clone(q.Filter)
	delete(q.Filter, ByInstance)
	out, _ := newScan(s.c, &q, s.bounds, need&needMoments, "")
	out.run()
	return out
}

func (s *scan) figures(group int32, bucket int) *figures {
	return &figures{s: s, t: s.tally(group, bucket), before: s.tally(group, bucket-1), from: s.bounds[bucket], now: s.bounds[bucket+1]}
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

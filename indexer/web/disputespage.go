package web

import (
	"net/http"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/internal/lang"
	"github.com/mostrodex/mostrodex/internal/plot"
	"github.com/mostrodex/mostrodex/internal/webpage"
)

// Windows and bounds of the page about disputes.
var disputeDays = [...]int64{30, 90, 365}

const (
	disputeWeeks     = 26
	disputeInstances = 50
)

// disputeMetrics are the rows of the page, by the ends of their names.
var disputeMetrics = []string{"opened", "closed", "rate", "open_now", "outcome.settled", "outcome.seller_refunded", "outcome.released", "outcome.cooperatively_canceled", "resolution_p50", "resolution_p90"}

// disputeFigures is what the page shows. It is computed once a minute.
type disputeFigures struct {
	windows                [][]stats.Figure // by window, in the order of disputeMetrics
	opened, closed         []stats.Point    // by week
	ofInstance             []stats.Point    // opened in the second window
	rateOf, openOf, tradOf map[string]stats.Value
}

func disputeFiguresOf(c *stats.Collector, q stats.Query) (out *disputeFigures, err error) {
	out = &disputeFigures{}
	names := make([]string, len(disputeMetrics))
	for i, name := range disputeMetrics {
		names[i] = "disputes." + name
	}
	for _, days := range disputeDays {
		q.From = max(0, q.Until-days*86400)
		all, err := c.Metrics(names, q)
		if err != nil {
			return nil, err
		}
		out.windows = append(out.windows, all)
	}
	q.From = q.Until - disputeWeeks*7*86400
	if out.opened, err = c.Series("disputes.opened", q, stats.Week); err != nil {
		return nil, err
	}
	if out.closed, err = c.Series("disputes.closed", q, stats.Week); err != nil {
		return nil, err
	}
	q.From = q.Until - disputeDays[1]*86400
	if out.ofInstance, err = c.Groups("disputes.opened", q, stats.ByInstance); err != nil {
		return nil, err
	}
	for _, g := range []struct {
		metric string
		to     *map[string]stats.Value
	}{{"disputes.rate", &out.rateOf}, {"disputes.open_now", &out.openOf}, {"orders.completed", &out.tradOf}} {
		points, err := c.Groups(g.metric, q, stats.ByInstance)
		if err != nil {
			return nil, err
		}
		*g.to = map[string]stats.Value{}
		for _, p := range points {
			(*g.to)[p.Group] = p.Figure.Value
		}
	}
	return out, nil
}

type disputeRow struct {
	Name, Note string
	Values     []string // of the windows
}

type disputedRow struct {
	publisherCell
	Opened, Open, Rate, Trades string
}

func (x marketPages) disputesPage(r *http.Request) (string, any, error) {
	l := lang.Of(r)
	v, at, err := x.minuteOf(r.Context(), "/disputes", func(c *stats.Collector, q stats.Query) (any, error) { return disputeFiguresOf(c, q) })
	if err != nil {
		return "", nil, err
	}
	f, now := v.(*disputeFigures), x.index.Now()
	d := &struct {
		frame
		At      webpage.Moment
		Windows []string
		Rows    []disputeRow
		Weeks   *figure
		Of      []disputedRow
		OfLeft  int
	}{frame: frame{Page: "disputes"}, At: l.Moment(at, now)}
	d.Title, d.Description = l.T("disputes.title"), l.T("disputes.lede")
	for _, days := range disputeDays {
		d.Windows = append(d.Windows, l.T("figure.days", days))
	}
	for i, name := range disputeMetrics {
		key := strings.TrimPrefix(name, "outcome.")
		row := disputeRow{Name: l.T("disputes." + key), Note: l.T("disputes." + key + "_note")}
		for k := range f.windows {
			row.Values = append(row.Values, figureText(l, f.windows[k][i]))
		}
		d.Rows = append(d.Rows, row)
	}
	opened, closed := plot.Line{Name: l.T("disputes.opened")}, plot.Line{Name: l.T("disputes.closed")}
	var rows [][]string
	begun := false
	for i, p := range f.opened {
		if begun = begun || p.Figure.Value.Float() > 0; !begun { // nothing is known of the weeks before
			continue
		}
		opened.Points = append(opened.Points, plot.Point{At: p.From, Value: p.Figure.Value.Float()})
		text := ""
		if i < len(f.closed) {
			closed.Points = append(closed.Points, plot.Point{At: p.From, Value: f.closed[i].Figure.Value.Float()})
			text = figureText(l, f.closed[i].Figure)
		}
		rows = append([][]string{{time.Unix(p.From, 0).UTC().Format(time.DateOnly), figureText(l, p.Figure), text}}, rows...)
	}
	d.Weeks = figureOf(&plot.Chart{Title: l.T("disputes.weeks"), Lines: []plot.Line{opened, closed}, Shape: plot.Bars, Zero: true, Label: dayText, Description: l.T("disputes.weeks_desc", len(opened.Points))}, l.T("disputes.weeks_note"))
	d.Weeks.Head, d.Weeks.Rows = []string{l.T("disputes.week"), l.T("disputes.opened"), l.T("disputes.closed")}, rows
	text := func(m map[string]stats.Value, key string, otherwise string) string {
		if v, ok := m[key]; ok && !v.IsNull() {
			return l.Number(v.String())
		}
		return otherwise
	}
	for _, p := range f.ofInstance[:min(len(f.ofInstance), disputeInstances)] {
		row := disputedRow{Opened: figureText(l, p.Figure), Open: text(f.openOf, p.Group, "0"), Trades: text(f.tradOf, p.Group, "0"), Rate: "–"}
		row.publisherCell = x.publisherCell(l, p.Group, "mostro", now)
		if v, ok := f.rateOf[p.Group]; ok && !v.IsNull() {
			row.Rate = l.Float(v.Float()*100, 1)
		}
		d.Of = append(d.Of, row)
	}
	d.OfLeft = len(f.ofInstance) - len(d.Of)
	return "disputes", d, nil
}

// figureText returns the value of a figure by its unit.
func figureText(l *lang.Lang, f stats.Figure) string {
	if f.Value.IsNull() {
		return "–"
	}
	switch f.Unit {
	case stats.UnitRatio:
		return l.Float(f.Value.Float()*100, 1)
	case stats.UnitSeconds:
		return l.Span(time.Duration(f.Value.Float()) * time.Second)
	}
	return l.Number(f.Value.String())
}

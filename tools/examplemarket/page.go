package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/internal/plot"
	"github.com/mostrodex/mostrodex/mostro"
)

// page returns the files of the page by name.
func page() (map[string][]byte, error) {
	c, events := stats.New(), 0
	nodes := year(func(e *mostro.Entry) { events++; c.Apply(e) })
	names := map[string]string{}
	for _, n := range nodes {
		names[n.key] = n.name
	}
	all := stats.Query{From: begin, Until: end, In: "EUR"}
	var b strings.Builder
	fmt.Fprintf(&b, `# A year of a market in figures

This page shows how the figures of `+"`docs/statistics.md`"+` look. The market is generated: five Mostros
and three currencies, %d events from 1 November 2025 to 1 November 2026, with a fixed seed. No
person and no real node is in it. `+"`make example-market`"+` computes the page again, and a test compares
it with a new computation.

A running server answers with the same figures of real events; the line "Route" of each section
names the request.

## The year

`, events)
	b.WriteString("Route: `/api/v1/stats?from=2025-11-01T00:00:00Z&until=2026-11-01T00:00:00Z&in=EUR`\n\n| metric | unit | kind | value |\n|---|---|---|---:|\n")
	for _, name := range []string{
		"orders.created", "orders.completed", "orders.completion_rate", "orders.abandonment_rate", "volume.sats", "volume.in.total", "volume.ticket_p50", "volume.ticket_p90",
		"market.premium_buy_p50", "market.premium_sell_p50", "market.spread", "market.fiat_sats_hhi", "timing.fill_p50", "timing.fill_p90", "timing.complete_p50",
		"dev_fees.coverage", "dev_fees.implied_vs_observed", "disputes.rate", "disputes.outcome.by_solver", "disputes.resolution_p50", "instances.active", "instances.sats_hhi",
	} {
		f, err := c.Metric(name, all)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name, f.Unit, f.Kind, valueText(f.Value))
	}

	weeks, err := weekly(c, all, "volume.sats")
	if err != nil {
		return nil, err
	}
	volume := &plot.Chart{Title: "Completed volume by week", Unit: "sats", Lines: []plot.Line{{Name: "volume", Points: weeks}}}
	for _, k := range currencies {
		q := all
		q.Filter = stats.Filter{stats.ByFiat: {k.code}}
		points, err := weekly(c, q, "volume.sats")
		if err != nil {
			return nil, err
		}
		volume.Lines = append(volume.Lines, plot.Line{Name: k.code, Points: points})
	}
	fmt.Fprintf(&b, "\n## Volume\n\nRoute: `/api/v1/stats/series?metric=volume.sats&by=week`, the lines of currencies with `fiat=CODE`.\n\n![%s](market-volume.svg)\n\n<details><summary>The same as a table</summary>\n\n%s\n</details>\n", volume.Title, volume.Markdown())

	// VES has signed rates; CUP has none, so that its rate is known from trades alone.
	rate := &plot.Chart{Title: "Implied price of one bitcoin in CUP, a parallel rate", Unit: "CUP"}
	points, err := c.ImpliedRates("CUP", all, stats.Day, 0.1)
	if err != nil {
		return nil, err
	}
	line := plot.Line{Name: "implied rate with its 95 % interval"}
	samples, parallel := 0, true
	for _, p := range points {
		line.Points = append(line.Points, plot.Point{At: p.From, Value: p.Rate.Float()})
		line.Low = append(line.Low, plot.Point{At: p.From, Value: p.Low.Float()})
		line.High = append(line.High, plot.Point{At: p.From, Value: p.High.Float()})
		samples, parallel = samples+p.Samples, parallel && p.Parallel
	}
	rate.Lines = []plot.Line{line}
	if !parallel {
		return nil, fmt.Errorf("CUP has signed rates")
	}
	monthly := &plot.Chart{Title: rate.Title, Unit: rate.Unit, Lines: []plot.Line{{Name: "CUP per bitcoin, mean of the days"}}}
	for i := 0; i < len(line.Points); {
		month := stats.Month.Floor(line.Points[i].At)
		sum, n := 0.0, 0
		for ; i < len(line.Points) && stats.Month.Floor(line.Points[i].At) == month; i++ {
			if v := line.Points[i].Value; !math.IsNaN(v) {
				sum, n = sum+v, n+1
			}
		}
		monthly.Lines[0].Points = append(monthly.Lines[0].Points, plot.Point{At: month, Value: math.Round(sum / float64(n))})
	}
	fmt.Fprintf(&b, "\n## A rate that nobody signs\n\nRoute: `/api/v1/market/CUP/series?metric=implied_rate&by=day`. No node signs a rate of CUP, so the rate\nrests on the %d prices of executed and open orders alone (`parallel` is true).\n\n![%s](market-rate.svg)\n\n<details><summary>The same as a table, by month</summary>\n\n%s\n</details>\n", samples, rate.Title, monthly.Markdown())

	b.WriteString("\n## Instances\n\nRoute: `/api/v1/stats/groups?metric=volume.sats&split=instance`, and the same with other metrics.\n\n| instance | volume, sats | completion rate | fill, median | disputes / 100 trades |\n|---|---:|---:|---:|---:|\n")
	groups, err := c.Groups("volume.sats", all, stats.ByInstance)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		q := all
		q.Filter = stats.Filter{stats.ByInstance: {g.Group}}
		fmt.Fprintf(&b, "| %s | %s |", names[g.Group], g.Figure.Value)
		for _, name := range []string{"orders.completion_rate", "timing.fill_p50", "instances.disputes_per_100_trades"} {
			f, err := c.Metric(name, q)
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&b, " %s |", valueText(f.Value))
		}
		b.WriteString("\n")
	}
	survival, err := c.Survival(all)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&b, "\n## Time to fill\n\nRoute: `/api/v1/stats/survival`. Of %d orders %d were taken; the others are\ncensored. Half of the orders are taken after %s seconds (Kaplan-Meier).\n\n| seconds | share that is not taken |\n|---:|---:|\n", survival.Orders, survival.Taken, survival.Median)
	next := int64(0)
	for _, s := range survival.Steps {
		if s.Seconds >= next {
			fmt.Fprintf(&b, "| %d | %.3f |\n", s.Seconds, s.Survival)
			next = s.Seconds + 7200
		}
	}
	return map[string][]byte{"market.md": []byte(b.String()), "market-volume.svg": volume.SVG(), "market-rate.svg": rate.SVG()}, nil
}

// weekly returns the series of a metric by week, without the weeks that are not whole.
func weekly(c *stats.Collector, q stats.Query, metric string) (out []plot.Point, err error) {
	points, err := c.Series(metric, q, stats.Week)
	for _, p := range points {
		if p.From >= q.From && p.Until <= q.Until {
			out = append(out, plot.Point{At: p.From, Value: p.Figure.Value.Float()})
		}
	}
	return out, err
}

// valueText returns a value with at most four digits behind the point.
func valueText(v stats.Value) string {
	if f := v.Float(); !math.IsNaN(f) && f != math.Trunc(f) {
		if math.Abs(f) < 0.01 {
			return fmt.Sprintf("%.2g", f)
		}
		return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.4f", f), "0"), ".")
	}
	if v.IsNull() {
		return "unknown"
	}
	return v.String()
}

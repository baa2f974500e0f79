// Package plot draws charts as SVG and writes their numbers as tables. The package opens no
// file and no connection. An SVG needs no script and no other file, follows the reader's light
// or dark colours, and has a title and a description for readers without sight. A page shows
// the table beside the chart or instead of it.
package plot

import (
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Chart is a chart over time, or over another whole number.
type Chart struct {
	Title         string
	Unit          string // of the values
	Lines         []Line
	Width, Height int    // 0: 720 and 300
	Shape         Shape  // of the lines
	Zero          bool   // the axis of the values begins at 0
	Description   string // for readers without sight; "": the range of each line, in English
	// Label returns the text at a mark of the axis below. nil: the day or the hour in UTC.
	Label func(x int64) string
	// Number is true if the axis below is a number and not a time.
	Number bool
}

// Shape is the form in which the points of a line are drawn.
type Shape int

const (
	Curve Shape = iota // a line from point to point
	Steps              // a value holds until the next point; the area below is shaded
	Bars               // a bar for each point, of several lines side by side
)

// Line is one line of a chart. If Low and High are set, the band between both is shaded.
type Line struct {
	Name      string
	Points    []Point // sorted by time
	Low, High []Point
}

// Point is a value at a time. NaN is unknown: the line has a gap.
type Point struct {
	At    int64 // unix seconds, or the number of Chart.Number
	Value float64
}

// Bounds of a chart. A chart with more points is drawn with every n-th point.
const (
	maxLines  = 8
	maxPoints = 2000
	left      = 64 // pixels for the values of the axis
	right     = 16
	top       = 34
	bottom    = 44
)

// colours differ for people with colour blindness (Okabe and Ito).
var colours = [maxLines]string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#f0e442"}

func known(f float64) bool { return math.Abs(f) < 1e100 } // false for NaN, infinities and values without meaning

// escape returns a text that is inert in XML.
func escape(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return ""
	}
	return b.String()
}

// SVG returns the chart as an SVG document.
func (c *Chart) SVG() []byte {
	p := newPlane(c)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" font-family="sans-serif" font-size="12">`+"\n", p.width, p.height, p.width, p.height)
	fmt.Fprintf(&b, "<title>%s</title>\n<desc>%s</desc>\n", escape(c.Title), escape(c.describe()))
	b.WriteString("<style>.t{fill:#222}.g{stroke:#ddd}@media(prefers-color-scheme:dark){.t{fill:#ddd}.g{stroke:#444}}</style>\n")
	fmt.Fprintf(&b, `<text class="t" x="%d" y="18" font-size="14">%s</text>`+"\n", p.left, escape(c.Title))
	c.draw(&b, p, false)
	x := p.left
	for i, l := range c.Lines[:min(len(c.Lines), maxLines)] {
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="10" height="10" fill="%s"/><text class="t" x="%d" y="%d">%s</text>`+"\n", x, p.height-18, colours[i], x+14, p.height-9, escape(l.Name))
		x += 28 + 7*len([]rune(l.Name))
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// Inline returns the chart as an element of an HTML page. It has neither a style nor a heading
// nor a legend: the style sheet of the page colours the classes t (texts), g (grid) and l0 to l7
// (lines), and the page writes the heading and the legend. The page's policy may forbid styles
// in elements.
func (c *Chart) Inline() string {
	p := newPlane(c)
	p.top, p.bottom = 10, 24
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %d %d" role="img" aria-label="%s">`, p.width, p.height, escape(c.Title+". "+c.describe()))
	c.draw(&b, p, true)
	b.WriteString("</svg>")
	return b.String()
}

// draw writes the grid and the lines. classes is true if the lines have classes.
func (c *Chart) draw(b *strings.Builder, p *plane, classes bool) {
	for _, v := range p.values {
		y := p.y(v)
		fmt.Fprintf(b, `<line class="g" x1="%d" x2="%d" y1="%s" y2="%s"/><text class="t" x="%d" y="%s" text-anchor="end">%s</text>`+"\n",
			p.left, p.width-right, num(y), num(y), p.left-6, num(y+4), Short(v))
	}
	for _, t := range p.marks {
		x := p.x(t)
		fmt.Fprintf(b, `<line class="g" x1="%s" x2="%s" y1="%d" y2="%d"/><text class="t" x="%s" y="%d" text-anchor="middle">%s</text>`+"\n",
			num(x), num(x), p.top, p.height-p.bottom, num(x), p.height-p.bottom+16, escape(p.label(t)))
	}
	lines := c.Lines[:min(len(c.Lines), maxLines)]
	for i, l := range lines {
		colour, class := colours[i], ""
		if classes {
			class = fmt.Sprintf(`class="l%d" `, i)
		}
		shade := func(area string) {
			if area != "" {
				fmt.Fprintf(b, `<path %sd="%s" fill="%s" fill-opacity="0.18"/>`+"\n", strings.Replace(class, `" `, ` a" `, 1), area, colour)
			}
		}
		shade(p.band(l.Low, l.High))
		line := ""
		switch c.Shape {
		case Bars:
			fmt.Fprintf(b, `<path %sd="%s" fill="%s"/>`+"\n", strings.Replace(class, `" `, ` b" `, 1), p.bars(l.Points, i, len(lines)), colour)
			continue
		case Steps:
			var area string
			line, area = p.steps(l.Points)
			shade(area)
		default:
			line = p.path(l.Points)
		}
		fmt.Fprintf(b, `<path %sd="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", class, line, colour)
	}
}

// describe returns the range of each line as a sentence.
func (c *Chart) describe() string {
	if c.Description != "" {
		return c.Description
	}
	var parts []string
	for _, l := range c.Lines[:min(len(c.Lines), maxLines)] {
		low, high, n := math.Inf(1), math.Inf(-1), 0
		for _, p := range l.Points {
			if known(p.Value) {
				low, high, n = min(low, p.Value), max(high, p.Value), n+1
			}
		}
		if n == 0 {
			parts = append(parts, l.Name+": no value")
			continue
		}
		parts = append(parts, fmt.Sprintf("%s: %d values from %s to %s %s", l.Name, n, Short(low), Short(high), c.Unit))
	}
	return strings.Join(parts, "; ")
}

// Markdown returns the values of all lines as a table, a row for each time of the first line.
func (c *Chart) Markdown() string {
	lines := c.Lines[:min(len(c.Lines), maxLines)]
	var b strings.Builder
	b.WriteString("| from |")
	for _, l := range lines {
		b.WriteString(" " + strings.NewReplacer("|", `\|`, "\n", " ").Replace(l.Name) + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(lines)) + "\n")
	if len(lines) == 0 {
		return b.String()
	}
	at := make([]map[int64]float64, len(lines))
	for i, l := range lines {
		at[i] = map[int64]float64{}
		for _, p := range l.Points {
			at[i][p.At] = p.Value
		}
	}
	for _, p := range lines[0].Points {
		b.WriteString("| " + time.Unix(p.At, 0).UTC().Format("2006-01-02") + " |")
		for i := range lines {
			if v, ok := at[i][p.At]; ok && known(v) {
				b.WriteString(" " + strconv.FormatFloat(v, 'f', -1, 64) + " |")
			} else {
				b.WriteString(" unknown |")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// plane maps the two axes to pixels.
type plane struct {
	width, height     int
	left, top, bottom int
	from, until       int64
	low, high         float64
	values            []float64 // of the horizontal lines
	marks             []int64   // of the vertical lines
	name              func(int64) string
}

func newPlane(c *Chart) *plane {
	p := &plane{width: c.Width, height: c.Height, left: left, top: top, bottom: bottom, name: c.Label, from: math.MaxInt64, until: math.MinInt64, low: math.Inf(1), high: math.Inf(-1)}
	if p.width < 200 || p.width > 4000 {
		p.width = 720
	}
	if p.height < 120 || p.height > 4000 {
		p.height = 300
	}
	for _, l := range c.Lines[:min(len(c.Lines), maxLines)] {
		for _, list := range [][]Point{l.Points, l.Low, l.High} {
			for _, q := range list {
				if known(q.Value) {
					p.low, p.high = min(p.low, q.Value), max(p.high, q.Value)
					p.from, p.until = min(p.from, q.At), max(p.until, q.At)
				}
			}
		}
	}
	if p.from > p.until { // no value
		p.from, p.until, p.low, p.high = 0, 1, 0, 1
	}
	if p.until == p.from {
		p.until++
	}
	if p.low > 0 && (c.Zero || p.low < p.high/3) {
		p.low = 0
	}
	if c.Zero && p.high <= 0 {
		p.high = 1
	}
	p.values = ticks(p.low, p.high)
	p.low, p.high = min(p.low, p.values[0]), max(p.high, p.values[len(p.values)-1])
	if c.Width > 0 && c.Width < 500 { // fewer lines and narrower numbers in a small chart
		p.left = 46
		for n := len(p.values); n > 6; n = len(p.values) {
			kept := p.values[:0]
			for i, v := range p.values {
				if i%2 == 0 { // the first one stays, which is often 0
					kept = append(kept, v)
				}
			}
			p.values = kept
		}
	}
	if c.Number {
		for _, v := range ticks(float64(p.from), float64(p.until)) {
			if v >= float64(p.from) && v <= float64(p.until) {
				p.marks = append(p.marks, int64(v))
			}
		}
	} else {
		p.marks = calendar(p.from, p.until)
	}
	if most := p.width / 56; len(p.marks) > most { // texts must not overlap
		n, kept := (len(p.marks)+most-1)/most, p.marks[:0]
		for i, m := range p.marks {
			if i%n == 0 {
				kept = append(kept, m)
			}
		}
		p.marks = kept
	}
	return p
}

func (p *plane) x(t int64) float64 {
	return float64(p.left) + (float64(t)-float64(p.from))/(float64(p.until)-float64(p.from))*float64(p.width-p.left-right)
}

func (p *plane) y(v float64) float64 {
	return float64(p.top) + (p.high/2-v/2)/(p.high/2-p.low/2)*float64(p.height-p.top-p.bottom) // halves do not overflow
}

func (p *plane) label(t int64) string {
	if p.name != nil {
		return p.name(t)
	}
	if p.until-p.from > 3*86400 {
		return time.Unix(t, 0).UTC().Format("2 Jan")
	}
	return time.Unix(t, 0).UTC().Format("15:04")
}

func num(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

// path returns a line through the known points.
func (p *plane) path(points []Point) string {
	var b strings.Builder
	gap := true
	for _, q := range thinned(points) {
		if !known(q.Value) {
			gap = true
			continue
		}
		verb := "L"
		if gap {
			verb, gap = "M", false
		}
		b.WriteString(verb + num(p.x(q.At)) + " " + num(p.y(q.Value)))
	}
	return b.String()
}

// steps returns a line on which each known value holds until the next point, and the area
// between the line and the ground of the chart.
func (p *plane) steps(points []Point) (line, area string) {
	var b strings.Builder
	first, last := "", ""
	for _, q := range thinned(points) {
		if !known(q.Value) {
			continue
		}
		if last = num(p.x(q.At)); first == "" {
			first = last
			b.WriteString("V" + num(p.y(q.Value)))
			continue
		}
		b.WriteString("H" + last + "V" + num(p.y(q.Value)))
	}
	if first == "" {
		return "", ""
	}
	ground := num(p.ground())
	line = "M" + first + " " + ground + b.String()
	return line, line + "V" + ground + "Z"
}

// ground returns the place of 0, or of the least value if the axis has no 0.
func (p *plane) ground() float64 { return p.y(min(max(p.low, 0), p.high)) }

// bars returns a bar for each known point of the line with number i of n.
func (p *plane) bars(points []Point, i, n int) string {
	points = thinned(points)
	if len(points) == 0 {
		return ""
	}
	wide := float64(p.width-p.left-right) / float64(len(points)+1) * 0.8
	each, span, ground := wide/float64(n), float64(p.width-p.left-right), num(p.ground())
	var b strings.Builder
	for _, q := range points {
		if !known(q.Value) {
			continue
		}
		x := float64(p.left) + (p.x(q.At)-float64(p.left))*(span-wide)/span + float64(i)*each // the outer bars lie within the plane
		b.WriteString("M" + num(x) + " " + ground + "V" + num(p.y(q.Value)) + "h" + num(each) + "V" + ground + "Z")
	}
	return b.String()
}

// thinned returns every n-th point, so that at most maxPoints are left.
func thinned(points []Point) []Point {
	step := (len(points) + maxPoints - 1) / maxPoints
	if step <= 1 {
		return points
	}
	var out []Point
	for i := 0; i < len(points); i += step {
		out = append(out, points[i])
	}
	return out
}

// band returns the area between two lines with the same times, or "".
func (p *plane) band(low, high []Point) string {
	if len(low) != len(high) {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(low); {
		if !known(low[i].Value) || !known(high[i].Value) {
			i++
			continue
		}
		end := i
		for end < len(low) && known(low[end].Value) && known(high[end].Value) {
			end++
		}
		for k := i; k < end; k++ {
			verb := "L"
			if k == i {
				verb = "M"
			}
			b.WriteString(verb + num(p.x(high[k].At)) + " " + num(p.y(high[k].Value)))
		}
		for k := end - 1; k >= i; k-- {
			b.WriteString("L" + num(p.x(low[k].At)) + " " + num(p.y(low[k].Value)))
		}
		b.WriteString("Z")
		i = end
	}
	return b.String()
}

// ticks returns round values, at most twenty, the first not above low and the last not below high.
func ticks(low, high float64) []float64 {
	if low == high {
		pad := max(math.Abs(low)/2, 1)
		low, high = low-pad, high+pad
	}
	span := high - low
	if !known(span) { // beyond the range of a float64
		return []float64{low, high}
	}
	step := math.Pow(10, math.Floor(math.Log10(span/4)))
	for _, m := range []float64{1, 2, 5, 10} {
		if span/(step*m) <= 8 {
			step *= m
			break
		}
	}
	var out []float64
	first := math.Floor(low / step)
	for i := range 20 {
		v := (first + float64(i)) * step
		if !known(v) {
			return []float64{low, high}
		}
		if out = append(out, v); v >= high {
			break
		}
	}
	return out
}

// calendar returns at most ten begins of months, days or hours in a span.
func calendar(from, until int64) (out []int64) {
	const day = 86400
	span := until - from
	if span > 70*day {
		months := 1
		for span/(int64(months)*30*day) > 10 {
			months++
		}
		t := time.Unix(from, 0).UTC()
		for at := time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, time.UTC); at.Unix() <= until && len(out) < 12; at = at.AddDate(0, months, 0) {
			out = append(out, at.Unix())
		}
		return out
	}
	step := int64(3600)
	for _, s := range []int64{3600, 3 * 3600, 6 * 3600, day, 2 * day, 7 * day} {
		if step = s; span/s <= 10 {
			break
		}
	}
	for t := (from + step - 1) / step * step; t <= until && len(out) < 12; t += step {
		out = append(out, t)
	}
	return out
}

// Short returns a number with at most four digits and a letter for thousands, millions and
// billions.
func Short(v float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(v) >= unit.size {
			return strconv.FormatFloat(v/unit.size, 'g', 4, 64) + unit.name
		}
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

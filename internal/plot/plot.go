// Package plot draws line charts as SVG and writes their numbers as tables. The package opens no
// file and no connection. An SVG needs no script and nothing from elsewhere, follows the
// reader's light or dark colours, and has a title and a description for readers without sight
// it. A page shows the table beside it or instead of it.
package plot

import (
	"encoding/xml"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Chart is a chart over time.
type Chart struct {
	Title         string
	Unit          string // of the values
	Lines         []Line
	Width, Height int // 0: 720 and 300
}

// Line is one line of a chart. If Low and High are set, the band between both is shaded.
type Line struct {
	Name      string
	Points    []Point // sorted by time
	Low, High []Point
}

// Point is a value at a time. NaN is unknown: the line has a gap.
type Point struct {
	At    int64 // unix seconds
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
	fmt.Fprintf(&b, `<text class="t" x="%d" y="18" font-size="14">%s</text>`+"\n", left, escape(c.Title))
	for _, v := range p.values {
		y := p.y(v)
		fmt.Fprintf(&b, `<line class="g" x1="%d" x2="%d" y1="%s" y2="%s"/><text class="t" x="%d" y="%s" text-anchor="end">%s</text>`+"\n",
			left, p.width-right, num(y), num(y), left-6, num(y+4), Short(v))
	}
	for _, t := range p.times {
		x := p.x(t)
		fmt.Fprintf(&b, `<line class="g" x1="%s" x2="%s" y1="%d" y2="%d"/><text class="t" x="%s" y="%d" text-anchor="middle">%s</text>`+"\n",
			num(x), num(x), top, p.height-bottom, num(x), p.height-bottom+16, p.label(t))
	}
	x := left
	for i, l := range c.Lines[:min(len(c.Lines), maxLines)] {
		colour := colours[i]
		if area := p.band(l.Low, l.High); area != "" {
			fmt.Fprintf(&b, `<path d="%s" fill="%s" fill-opacity="0.18"/>`+"\n", area, colour)
		}
		fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", p.path(l.Points), colour)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="10" height="10" fill="%s"/><text class="t" x="%d" y="%d">%s</text>`+"\n", x, p.height-18, colour, x+14, p.height-9, escape(l.Name))
		x += 28 + 7*len([]rune(l.Name))
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// describe returns the range of each line as a sentence.
func (c *Chart) describe() string {
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

// plane maps times and values to pixels.
type plane struct {
	width, height int
	from, until   int64
	low, high     float64
	values        []float64 // of the horizontal lines
	times         []int64   // of the vertical lines
}

func newPlane(c *Chart) *plane {
	p := &plane{width: c.Width, height: c.Height, from: math.MaxInt64, until: math.MinInt64, low: math.Inf(1), high: math.Inf(-1)}
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
	if p.low > 0 && p.low < p.high/3 {
		p.low = 0
	}
	p.values = ticks(p.low, p.high)
	p.low, p.high = min(p.low, p.values[0]), max(p.high, p.values[len(p.values)-1])
	p.times = calendar(p.from, p.until)
	return p
}

func (p *plane) x(t int64) float64 {
	return left + float64(t-p.from)/float64(p.until-p.from)*float64(p.width-left-right)
}

func (p *plane) y(v float64) float64 {
	return top + (p.high/2-v/2)/(p.high/2-p.low/2)*float64(p.height-top-bottom) // halves do not overflow
}

func (p *plane) label(t int64) string {
	if p.until-p.from > 3*86400 {
		return time.Unix(t, 0).UTC().Format("2 Jan")
	}
	return time.Unix(t, 0).UTC().Format("15:04")
}

func num(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

// path returns a line through the known points.
func (p *plane) path(points []Point) string {
	var b strings.Builder
	step, gap := (len(points)+maxPoints-1)/maxPoints, true
	for i, q := range points {
		if step > 1 && i%step != 0 {
			continue
		}
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

package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// wellFormed fails if an SVG is no XML, or holds anything that runs or loads.
func wellFormed(t testing.TB, svg []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			switch e.Name.Local {
			case "svg", "title", "desc", "style", "text", "line", "path", "rect":
			default:
				t.Fatalf("the element %s", e.Name.Local)
			}
			for _, a := range e.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || strings.Contains(a.Name.Local, "href") {
					t.Fatalf("the attribute %s", a.Name.Local)
				}
			}
		}
	}
	if bytes.Contains(svg, []byte("NaN")) || bytes.Contains(svg, []byte("Inf")) {
		t.Fatalf("a coordinate is no number: %s", svg)
	}
}

func TestChart(t *testing.T) {
	c := &Chart{Title: "Volume <b> & more", Unit: "sats"}
	line := Line{Name: `"a" | b`}
	for i := range int64(100) {
		v := float64(i * i)
		if i == 50 {
			v = math.NaN()
		}
		line.Points = append(line.Points, Point{1_750_000_000 + 86400*i, v})
		line.Low = append(line.Low, Point{1_750_000_000 + 86400*i, v - 10})
		line.High = append(line.High, Point{1_750_000_000 + 86400*i, v + 10})
	}
	c.Lines = []Line{line}
	svg := c.SVG()
	wellFormed(t, svg)
	paths := regexp.MustCompile(`d="([^"]*)"`).FindAllSubmatch(svg, -1)
	if len(paths) != 2 || strings.Count(string(paths[1][1]), "M") != 2 || strings.Count(string(paths[0][1]), "Z") != 2 {
		t.Errorf("a gap does not split the line and its band: %s", svg)
	}
	// The last point is at the right edge, and the line rises.
	numbers := regexp.MustCompile(`[ML]([0-9.]+) ([0-9.]+)`).FindAllStringSubmatch(string(paths[1][1]), -1)
	first, last := numbers[0], numbers[len(numbers)-1]
	y0, _ := strconv.ParseFloat(first[2], 64)
	y1, _ := strconv.ParseFloat(last[2], 64)
	if last[1] != strconv.Itoa(720-right) || first[1] != strconv.Itoa(left) || y1 >= y0 {
		t.Errorf("the line goes from %v to %v", first, last)
	}
	table := c.Markdown()
	if !strings.Contains(table, "| 2025-08-04 | unknown |") || !strings.Contains(table, `"a" \| b`) || strings.Count(table, "\n") != 102 {
		t.Errorf("the table is\n%s", table)
	}
}

// TestInline holds the form that a page with a strict policy may include.
func TestInline(t *testing.T) {
	nan := math.NaN()
	c := &Chart{Title: `Depth "x" <b>`, Unit: "sats", Width: 400, Height: 240, Shape: Steps, Number: true, Zero: true, Description: "Bids & asks",
		Label: func(x int64) string { return strconv.FormatInt(x, 10) + " %" },
		Lines: []Line{{Name: "bids", Points: []Point{{-300, 50}, {-100, 20}}}, {Name: "asks", Points: []Point{{100, 10}, {200, nan}, {500, 90}}}}}
	got := c.Inline()
	wellFormed(t, []byte(got))
	for _, bad := range []string{"<style", "style=", "<b>"} {
		if strings.Contains(got, bad) {
			t.Errorf("%s in %s", bad, got)
		}
	}
	for _, want := range []string{`aria-label="Depth &#34;x&#34; &lt;b&gt;. Bids &amp; asks"`, `class="l0 a"`, `class="l1"`, "-100 %", "500 %", `viewBox="0 0 400 240"`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	paths := regexp.MustCompile(`d="([^"]*)"`).FindAllStringSubmatch(got, -1)
	if len(paths) != 4 || !strings.HasSuffix(paths[0][1], "Z") || strings.Count(paths[3][1], "H") != 1 {
		t.Errorf("the steps are %v", paths)
	}

	c.Shape, c.Number, c.Label = Bars, false, nil
	c.Lines = []Line{{Points: []Point{{0, 0}, {86400, 4}, {2 * 86400, nan}}}, {Points: []Point{{0, 1}, {86400, 2}, {2 * 86400, 3}}}}
	paths = regexp.MustCompile(`d="([^"]*)"`).FindAllStringSubmatch(c.Inline(), -1)
	if len(paths) != 2 || strings.Count(paths[0][1], "Z") != 2 || strings.Count(paths[1][1], "Z") != 3 {
		t.Errorf("the bars are %v", paths)
	}
	for _, m := range regexp.MustCompile(`M([0-9.]+) [0-9.]+V[0-9.]+h([0-9.]+)`).FindAllStringSubmatch(c.Inline(), -1) {
		x, _ := strconv.ParseFloat(m[1], 64)
		wide, _ := strconv.ParseFloat(m[2], 64)
		if x < 46-0.1 || x+wide > 400-right+0.2 {
			t.Errorf("a bar reaches from %v to %v", x, x+wide)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, span := range [][2]float64{{0, 1}, {0, 100}, {-3, 7}, {99_950, 100_020}, {5, 5}, {0, 0}, {1e-9, 2e-9}, {-1e300, 1e300}, {1e17, 1e17 + 16}, {0.1, 0.30000000000000004}} {
		got := ticks(span[0], span[1])
		if len(got) < 2 || len(got) > 20 || got[0] > span[0] || got[len(got)-1] < span[1] {
			t.Errorf("from %v to %v: %v", span[0], span[1], got)
		}
	}
}

// FuzzChart: any numbers and texts lead to a well-formed document.
func FuzzChart(f *testing.F) {
	f.Add("title", "name", int64(1_750_000_000), int64(86400), 1.5, -2.5, 40)
	f.Add("]]><script>", "\x00\xff", int64(0), int64(0), math.NaN(), math.Inf(1), 2)
	f.Add("", "", int64(math.MaxInt64), int64(1), math.MaxFloat64, -math.MaxFloat64, 3000)
	f.Fuzz(func(t *testing.T, title, name string, at, step int64, a, b float64, n int) {
		c := &Chart{Title: title, Unit: name, Width: n, Height: n}
		at, step = at%(1<<40), step%(1<<30)
		l := Line{Name: name}
		for i := range min(max(n, 0), 5000) {
			v := a
			if i%2 == 1 {
				v = b
			}
			l.Points = append(l.Points, Point{at + step*int64(i), v * float64(i)})
		}
		l.Low, l.High = l.Points, l.Points
		c.Lines = []Line{l, l, {}}
		svg := c.SVG()
		wellFormed(t, svg)
		for c.Shape = Curve; c.Shape <= Bars; c.Shape++ {
			c.Number, c.Zero, c.Description = !c.Number, c.Shape == Bars, title
			wellFormed(t, []byte(c.Inline()))
		}
		if len(svg) > 1<<20+50*(len(title)+len(name)) {
			t.Fatalf("%d bytes", len(svg))
		}
		c.Markdown()
	})
}

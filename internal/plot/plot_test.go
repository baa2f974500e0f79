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
		if len(svg) > 1<<20+50*(len(title)+len(name)) {
			t.Fatalf("%d bytes", len(svg))
		}
		c.Markdown()
	})
}

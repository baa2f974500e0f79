package main

import (
	"bytes"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/tools/bench/record"
)

// TestReport checks that the report marks figures that were not measured or missed
// their target, that a result at a smaller scale does not meet a target, and that only
// results of the same run are divided.
func TestReport(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	load := func(run, subject string, scale, acked, perCPU float64) result {
		return result{Time: at, Run: run, Scenario: "ingest", Figure: "load", Subject: subject, Clients: connections, Scale: scale, Wall: 10, Noise: 1,
			Values: map[string]float64{"acked_per_s": acked, "events_per_cpu_s": perCPU}}
	}
	of := func(figure string, clients int, value string, v float64) result {
		return result{Time: at, Run: "a", Scenario: "trades", Figure: figure, Subject: "mostrodex", Clients: clients, Scale: 1, Values: map[string]float64{value: v}}
	}
	limit := result{Time: at, Run: "a", Scenario: "signatures", Figure: "limit", Subject: "signatures", Scale: 1, Values: map[string]float64{"per_s": 20_000, "per_cpu_s": 10_000}}
	line := func(all []result, figure string) string {
		t.Helper()
		var b bytes.Buffer
		if err := report(&b, all); err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(b.String()) {
			if strings.HasPrefix(l, "| "+figure+" |") {
				return l
			}
		}
		t.Fatalf("no line %q in\n%s", figure, b.String())
		return ""
	}
	for _, c := range []struct {
		name, figure string
		all          []result
		want         []string
	}{
		{"nothing", "ingest: acknowledged a second", nil, []string{"not measured"}},
		{"met", "ingest: acknowledged a second", []result{limit, load("a", "mostrodex", 1, 8000, 5000), load("a", "stock", 1, 4000, 2000)}, []string{"8,000", "| yes |", "2 ×", "40 %", "| 5 % |"}},
		{"missed", "ingest: acknowledged a second", []result{load("a", "mostrodex", 1, 5999, 5000)}, []string{"5,999", "**no**"}},
		{"too small", "ingest: acknowledged a second", []result{load("a", "mostrodex", .1, 8000, 5000)}, []string{"at this scale", "| 0.1 |"}},
		{"full scale first", "ingest: acknowledged a second", []result{load("a", "mostrodex", 1, 8000, 5000), load("b", "mostrodex", .1, 9000, 1)}, []string{"8,000", "| yes |"}},
		{"per CPU", "ingest: events per CPU second of the server", []result{limit, load("a", "mostrodex", 1, 1, 5000), load("a", "stock", 1, 1, 2000)}, []string{"5,000", "| yes |", "2.5 ×", "50 %"}},
		{"just below", "ingest: events per CPU second of the server", []result{load("a", "mostrodex", 1, 1, 4999), load("a", "stock", 1, 1, 2000)}, []string{"**no**"}},
		{"trades met", "trades: complete trades a second over sockets, 16 at a time", []result{of("over sockets", 16, "trades_per_s", 61)}, []string{"61", "| yes |"}},
		{"trades missed", "trades: complete trades a second over sockets, 16 at a time", []result{of("over sockets", 16, "trades_per_s", 59), of("over sockets", 4, "trades_per_s", 90)}, []string{"59", "**no**"}},
		{"decisions missed", "trades: decisions of the engine a second, sealed and committed", []result{of("engine", 0, "decisions/s", 4999)}, []string{"4,999", "**no**"}},
		{"LND just missed", "trades: ten at a time on real LND, relative to the bare calls", []result{of("LND", 10, "percent", 89.9)}, []string{"89 %", "**no**"}},
		{"another run's stock", "ingest: events per CPU second of the server", []result{load("a", "mostrodex", 1, 1, 5000), load("b", "stock", 1, 1, 2000)}, []string{"not measured"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := line(c.all, c.figure)
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q lacks %q", got, want)
				}
			}
		})
	}
	// Each row is compared with the floor separately, so one slow row is enough to miss
	// the target.
	var rows []result
	for _, name := range rowNames {
		for _, clients := range []int{1, connections} {
			for subject, p50 := range map[string]float64{"mostrodex": .5, "canned": .3} {
				if name == "newest 500" && subject == "mostrodex" {
					p50 = .9
				}
				rows = append(rows, result{Time: at, Run: "a", Scenario: "query", Figure: name, Subject: subject, Clients: clients, Scale: 1, Values: map[string]float64{"p50_ms": p50, "p99_ms": 1, "right": 30, "asked": 30}})
			}
		}
	}
	if got := line(rows, "queries: p50, eight connections, over the floor's, worst row"); !strings.Contains(got, "3.00 × (newest 500)") || !strings.Contains(got, "**no**") {
		t.Error(got)
	}
	if got := line(rows, "queries: p99, eight connections, over the floor's, worst row"); !strings.Contains(got, "1.00 ×") || !strings.Contains(got, "yes") {
		t.Error(got)
	}
	for i := range rows {
		if rows[i].Subject == "mostrodex" && rows[i].Figure == "author" {
			rows[i].Values["right"] = 29
		}
	}
	if got := line(rows, "queries: rows with every answer identical"); !strings.Contains(got, "17 of 18") || !strings.Contains(got, "**no**") {
		t.Error(got)
	}
}

// TestBenchmarks checks that the output of Go's benchmarks becomes values by unit.
func TestBenchmarks(t *testing.T) {
	got := benchmarks([]byte("goos: linux\nBenchmarkFullRecompute-2   \t 1\t 492.0 MiB-peak\t 13.15 cpu-s-all\t 27.69 s-all\nBenchmarkOneNewEvent/largest-order-2 \t 1\t  30112222 ns/op\t 33.30 cpu-ms/op\nBenchmarkBroken-2\nPASS\n"))
	for name, want := range map[string]map[string]float64{
		"FullRecompute":             {"mib_peak": 492, "cpu_s_all": 13.15, "s_all": 27.69},
		"OneNewEvent/largest-order": {"ms": 30.112222, "cpu_ms": 33.3},
	} {
		if !maps.Equal(got[name], want) {
			t.Errorf("%s: %v, want %v", name, got[name], want)
		}
	}
	if len(got) != 2 {
		t.Errorf("%d benchmarks, want 2: %v", len(got), got)
	}
}

func TestNumbers(t *testing.T) {
	for x, want := range map[float64]string{1234567: "1,234,567", 999: "999", 0.04567: "0.0457", -1234: "-1,234", 1000: "1,000"} {
		if got := number(x); got != want {
			t.Errorf("%g: %q, want %q", x, got, want)
		}
	}
	sorted := []time.Duration{time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond, 4 * time.Millisecond}
	for p, want := range map[float64]float64{.5: 2, .99: 4, 1: 4, 0: 1} {
		if got := record.Percentile(sorted, p); got != want {
			t.Errorf("p%g is %g, want %g", p, got, want)
		}
	}
}

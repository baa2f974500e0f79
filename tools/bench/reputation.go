package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"
)

// reputation runs the benchmarks of package reputation, which hold a market of a
// million events in memory, and records their output: the computation of all scores,
// and one new event of the largest node and of a typical node.
func (b *bench) reputation(ctx context.Context) error {
	for _, run := range []struct {
		name, times string
		figures     map[string]string // by benchmark
	}{
		{"BenchmarkFullRecompute$", "1x", map[string]string{"FullRecompute": "all anew"}},
		{"BenchmarkOneNewEvent$", "100x", map[string]string{"OneNewEvent/largest-order": "largest node, an order",
			"OneNewEvent/largest-rating": "largest node, a rating", "OneNewEvent/usual-order": "usual node, an order"}},
	} {
		err := b.undisturbed(ctx, func() ([]sample, error) {
			m, err := newMeter()
			if err != nil {
				return nil, err
			}
			cmd := exec.CommandContext(ctx, b.reputationTest, "-test.run", "^$", "-test.bench", run.name, "-test.benchtime", run.times, "-test.timeout", "1h",
				"-bench.part", strconv.Itoa(int(math.Round(1/b.Scale))))
			out, err := cmd.CombinedOutput()
			if err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", b.reputationTest, err, out)
			}
			u, err := m.read()
			if err != nil {
				return nil, err
			}
			u.Noise = max(0, u.Noise-(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Seconds())
			var got []sample
			for name, values := range benchmarks(out) {
				if figure := run.figures[name]; figure != "" {
					got = append(got, sample{result{Scenario: "reputation", Figure: figure, Subject: "mostrodex", Values: values}, u})
				}
			}
			if len(got) != len(run.figures) {
				return nil, fmt.Errorf("the output of %s lacks a figure:\n%s", b.reputationTest, out)
			}
			return got, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// benchmarks parses the output of Go's benchmarks. The result has the values of each
// benchmark by unit. "ns/op" is converted to milliseconds as "ms".
func benchmarks(out []byte) map[string]map[string]float64 {
	all := make(map[string]map[string]float64)
	for line := range bytes.Lines(out) {
		f := strings.Fields(string(line))
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if at := strings.LastIndexByte(name, '-'); at > 0 { // removes the suffix with the number of cores
			if _, err := strconv.Atoi(name[at+1:]); err == nil {
				name = name[:at]
			}
		}
		values := make(map[string]float64)
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				continue
			}
			switch unit := f[i+1]; unit {
			case "ns/op":
				values["ms"] = v / 1e6
			default:
				values[strings.NewReplacer("-", "_", "/op", "", "MiB", "mib").Replace(unit)] = v
			}
		}
		all[name] = values
	}
	return all
}

package main

import (
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// TestGuardsAreThere holds that each guard of the table is still in the source, once, and that the
// source without the guard can be parsed. Whether a test notices the removal is the long run.
func TestGuardsAreThere(t *testing.T) {
	names := make(map[string]bool)
	for _, g := range guards {
		if names[g.area+g.name] || len(g.tests) == 0 {
			t.Errorf("%s: %s: the name is used twice, or no test is named", g.area, g.name)
		}
		names[g.area+g.name] = true
		file, text, err := g.find("../..")
		if err != nil {
			t.Error(err)
			continue
		}
		if strings.HasSuffix(file, ".go") {
			if _, err := parser.ParseFile(token.NewFileSet(), file, strings.Replace(text, g.old, g.new, 1), 0); err != nil {
				t.Errorf("%s: %s: %v", g.area, g.name, err)
			}
		}
	}
}

func TestFailure(t *testing.T) {
	for out, want := range map[string]string{
		"--- FAIL: TestA (0.1s)\n    --- FAIL: TestA/b (0s)\n":            "TestA",
		"--- FAIL: TestSimulation (9s)\n  x_test.go:78: seed 12: trade\n": "TestSimulation, seed 12",
		"panic: test timed out\n":                                         "a panic or a timeout",
	} {
		if got := failure(out); got != want {
			t.Errorf("%q: %s", out, got)
		}
	}
}

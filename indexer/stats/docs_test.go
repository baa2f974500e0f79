package stats

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the table of docs/statistics.md")

const (
	docsFile   = "../../docs/statistics.md"
	tableBegin = "<!-- metrics: begin -->\n"
	tableEnd   = "<!-- metrics: end -->\n"
)

// metricsTable returns the registry as a table.
func metricsTable() string {
	var b strings.Builder
	b.WriteString("| metric | unit | kind | events | definition |\n|---|---|---|---|---|\n")
	for _, d := range Definitions() {
		name := "`" + d.Name + "`"
		if d.oneOnly {
			name += " (no series)"
		}
		b.WriteString("| " + strings.Join([]string{name, string(d.Unit), string(d.Kind), d.Events, d.Formula}, " | ") + " |\n")
	}
	return b.String()
}

// TestDocumentedMetrics: docs/statistics.md lists exactly the metrics of the registry.
func TestDocumentedMetrics(t *testing.T) {
	raw, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(raw), tableBegin)
	table, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatal("docs/statistics.md has no table of metrics")
	}
	if *update {
		if err := os.WriteFile(docsFile, []byte(before+tableBegin+metricsTable()+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != metricsTable() {
		t.Error("the table of docs/statistics.md differs from the registry: run go test ./indexer/stats -run DocumentedMetrics -update")
	}
}

// TestRegistry: each metric has one name and a complete definition.
func TestRegistry(t *testing.T) {
	var names []string
	for _, d := range Definitions() {
		if slices.Contains(names, d.Name) {
			t.Errorf("%s is defined twice", d.Name)
		}
		names = append(names, d.Name)
		_, _, pattern := cutPattern(d.Name)
		if d.Unit == "" || d.Formula == "" || d.Events == "" || pattern != (d.each != nil) || pattern == (d.value != nil) {
			t.Errorf("the definition of %s is not complete", d.Name)
		}
		if strings.Contains(d.Formula, "|") {
			t.Errorf("the formula of %s breaks a table", d.Name)
		}
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAPIExamples holds the examples in docs/api.md against the files of docs/examples/api, which
// the tests of package indexer run. -update rewrites them in docs/api.md.
func TestAPIExamples(t *testing.T) {
	const file, begin, end = "../../docs/api.md", "<!-- examples: begin -->\n", "<!-- examples: end -->\n"
	var b strings.Builder
	for _, task := range []string{"orders", "market", "instances", "series", "stream"} {
		for i, ending := range []string{"sh", "mjs", "dart", "py"} {
			raw, err := os.ReadFile(filepath.Join("../../docs/examples/api", task+"."+ending))
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				fmt.Fprintf(&b, "### Example: %s\n\n", task)
			}
			fmt.Fprintf(&b, "`docs/examples/api/%s.%s`:\n\n```%s\n%s```\n\n", task, ending, map[string]string{"sh": "sh", "mjs": "js", "dart": "dart", "py": "python"}[ending], raw)
		}
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(raw), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no examples", file)
	}
	if got == b.String() {
		return
	}
	if !*update {
		t.Fatalf("the examples of %s differ from docs/examples/api; go test ./cmd/mostrodex -run %s -update rewrites them", file, t.Name())
	}
	if err := os.WriteFile(file, []byte(before+begin+b.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

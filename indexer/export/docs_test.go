package export

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite what is generated")

// TestDictionary holds the data dictionary of docs/export.md against the columns. -update rewrites
// the dictionary.
func TestDictionary(t *testing.T) {
	const file, begin, end = "../../docs/export.md", "<!-- columns: begin -->\n", "<!-- columns: end -->\n"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(raw), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no data dictionary", file)
	}
	var want strings.Builder
	for _, set := range Sets() {
		fmt.Fprintf(&want, "### %s\n\n%s.\n\n| column | type | unit | null if | meaning |\n|---|---|---|---|---|\n", set.Name, strings.ToUpper(set.Doc[:1])+set.Doc[1:])
		for _, c := range set.Columns {
			fmt.Fprintf(&want, "| `%s` | %s | %s | %s | %s |\n", c.Name, c.Type, c.Unit, c.Null, c.Doc)
		}
		want.WriteString("\n")
	}
	text := strings.TrimSuffix(want.String(), "\n")
	if got == text {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the columns; go test ./indexer/export -run %s -update rewrites it", file, t.Name())
	}
	if err := os.WriteFile(file, []byte(before+begin+text+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

package interopmostrod

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// The versions that docs/parity.md compares with.
const (
	coreVersion   = "0.17.3"
	daemonVersion = "0.20.2"
)

// sourceOf returns the text of a file of a crate, from the user's copy of the Rust
// registry. Cargo unpacks a crate there before it builds the crate. If the copy has no such
// crate, sourceOf skips the test.
func sourceOf(t *testing.T, crate, file string) string {
	t.Helper()
	home := os.Getenv("CARGO_HOME")
	if home == "" {
		dir, err := os.UserHomeDir()
		if err != nil {
			t.Skipf("SKIPPED: no home directory: %v", err)
		}
		home = filepath.Join(dir, ".cargo")
	}
	found, err := filepath.Glob(filepath.Join(home, "registry", "src", "*", crate, filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Skipf("SKIPPED: the Rust registry's copy below %s has no %s: make interop-mostrod and make interop-core fetch the crates", home, crate)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// firstColumn returns the names in the first column of a table of docs/parity.md.
func firstColumn(t *testing.T, heading string) (names []string) {
	t.Helper()
	for _, cells := range tableOf(t, heading) {
		name := strings.Trim(cells[0], "`")
		if slices.Contains(names, name) {
			t.Errorf("%s: %s has two rows", heading, name)
		}
		names = append(names, name)
	}
	return names
}

// same fails the test if the table and the reference do not have the same names.
func same(t *testing.T, heading string, table, reference []string) {
	t.Helper()
	if len(reference) == 0 {
		t.Fatalf("%s: the reference has no names", heading)
	}
	for _, name := range reference {
		if !slices.Contains(table, name) {
			t.Errorf("docs/parity.md, %s: no row for %s", heading, name)
		}
	}
	for _, name := range table {
		if !slices.Contains(reference, name) {
			t.Errorf("docs/parity.md, %s: the reference has no %s", heading, name)
		}
	}
}

// TestParityOfActions: each action of our vocabulary, and each of mostro-core's, has a
// row.
func TestParityOfActions(t *testing.T) {
	const heading = "## Actions"
	table := firstColumn(t, heading)
	var ours []string
	for _, a := range message.Actions() {
		ours = append(ours, string(a))
	}
	same(t, heading, table, ours)
	t.Run("mostro-core", func(t *testing.T) {
		same(t, heading, table, coreActions(t, sourceOf(t, "mostro-core-"+coreVersion, "src/message.rs")))
	})
}

// coreActions returns the variants of the enum Action as they are written on the wire.
func coreActions(t *testing.T, source string) (names []string) {
	t.Helper()
	_, body, ok := strings.Cut(source, "pub enum Action {")
	if !ok {
		t.Fatal("mostro-core has no enum Action")
	}
	body, _, _ = strings.Cut(body, "\n}")
	for _, m := range regexp.MustCompile(`(?m)^    ([A-Z][A-Za-z]*),`).FindAllStringSubmatch(body, -1) {
		var kebab strings.Builder
		for i, r := range m[1] {
			if unicode.IsUpper(r) && i > 0 {
				kebab.WriteByte('-')
			}
			kebab.WriteRune(unicode.ToLower(r))
		}
		names = append(names, kebab.String())
	}
	return names
}

// TestParityOfSettings: each setting of the template of mostrod has a row.
func TestParityOfSettings(t *testing.T) {
	const heading = "## Settings"
	template := sourceOf(t, "mostro-"+daemonVersion, "settings.tpl.toml")
	section := regexp.MustCompile(`^(?:# )?\[+([a-z_.]+)\]+\s*$`)
	setting := regexp.MustCompile(`^(?:# (?:# )?)?([a-z_]+) = `)
	var names []string
	at := ""
	for line := range strings.SplitSeq(template, "\n") {
		if m := section.FindStringSubmatch(line); m != nil {
			at = m[1]
		} else if m := setting.FindStringSubmatch(line); m != nil {
			name := at + "." + m[1]
			if name != "anti_abuse_bond.bond" && !slices.Contains(names, name) { // a formula in a comment
				names = append(names, name)
			}
		}
	}
	same(t, heading, firstColumn(t, heading), names)
}

// TestParityOfJobs: each job that mostrod starts has a row.
func TestParityOfJobs(t *testing.T) {
	const heading = "## Jobs"
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^async fn (job_[a-z_]+)`).FindAllStringSubmatch(sourceOf(t, "mostro-"+daemonVersion, "src/scheduler.rs"), -1) {
		names = append(names, m[1])
	}
	same(t, heading, firstColumn(t, heading), names)
}

// TestParityOfMethods: each method of mostrod's gRPC service has a row.
func TestParityOfMethods(t *testing.T) {
	const heading = "## gRPC methods"
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\s*rpc ([A-Za-z]+)\(`).FindAllStringSubmatch(sourceOf(t, "mostro-"+daemonVersion, "proto/admin.proto"), -1) {
		names = append(names, m[1])
	}
	same(t, heading, firstColumn(t, heading), names)
}

// TestParityOfVerdicts: the column ours of each table begins with one of the words that
// the document defines.
func TestParityOfVerdicts(t *testing.T) {
	verdict := regexp.MustCompile("^(yes|differs|partly|not yet|no)(: `?.*)?$")
	for heading, column := range map[string]int{"## Actions": 2, "## Settings": 1, "## Events": 2, "## Jobs": 1, "## gRPC methods": 1} {
		for _, cells := range tableOf(t, heading) {
			if len(cells) != column+2 {
				t.Errorf("%s: a row has %d cells, want %d: %v", heading, len(cells), column+2, cells)
				continue
			}
			ours, note := cells[column], cells[column+1]
			if !verdict.MatchString(ours) {
				t.Errorf("%s: %s: %q is no verdict", heading, cells[0], ours)
			}
			if (strings.HasPrefix(ours, "differs") || strings.HasPrefix(ours, "partly")) && note == "" && !strings.Contains(ours, ":") {
				t.Errorf("%s: %s: the row does not say what differs", heading, cells[0])
			}
		}
	}
	kinds := firstColumn(t, "## Events")
	for _, kind := range []int{mostro.KindProfile, mostro.KindMessage, mostro.KindDevFee, mostro.KindRelayList, mostro.KindAppData, mostro.KindOrder,
		mostro.KindUserRating, mostro.KindInfo, mostro.KindDispute, mostro.KindHealth} {
		if !slices.Contains(kinds, strconv.Itoa(kind)) {
			t.Errorf("no row for kind %d", kind)
		}
	}
}

// TestTablesAreRead: a star stands for any text, a bar can be part of a cell, and a line
// that no row allows is found.
func TestTablesAreRead(t *testing.T) {
	cells := cellsOf("| `a` | b \\| c |  |")
	if !slices.Equal(cells, []string{"`a`", `b \| c`, ""}) {
		t.Errorf("%q", cells)
	}
	a := &transcript{script: "trade", node: "mostrod", steps: []step{{"one", []string{"x", "x", "y"}}}}
	b := &transcript{script: "trade", node: "mostrodex", steps: []step{{"one", []string{"x", "z"}}, {"two", []string{"w"}}}}
	want := []difference{{"trade", "one", "mostrod", "x"}, {"trade", "one", "mostrod", "y"}, {"trade", "one", "mostrodex", "z"}, {"trade", "two", "mostrodex", "w"}}
	if got := compare(a, b); !slices.Equal(got, want) {
		t.Errorf("differences %v, want %v", got, want)
	}
	rows := []*allowed{allowedOf(cellsOf("| trade | one | mostrod | `*` | why |")), allowedOf(cellsOf("| * | one | * | z | why |")), allowedOf(cellsOf("| trade | two | mostrod | `w` | why |"))}
	if rest := unlisted(want, rows); !slices.Equal(rest, want[3:]) || !rows[0].met || !rows[1].met || rows[2].met {
		t.Errorf("not allowed: %v", rest)
	}
	if row := allowedOf(cellsOf("| a | b | c | `x \\| y*` | why |")); !row.line.MatchString("x | yz") || row.line.MatchString("x - yz") {
		t.Error("a bar in a line is not read")
	}
}

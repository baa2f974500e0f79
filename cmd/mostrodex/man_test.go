package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestManPages: the pages that the program writes have every verb, every flag and every example
// line of the help, and mandoc finds no mistake in them.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SOURCE_DATE_EPOCH", "1764547200")
	mustProgram(t, "", "man", "--dir", dir)
	verbs := 0
	plain := strings.NewReplacer(`\-`, "-", `\e`, `\`, `\(ga`, "`", `\(ha`, "^", `\(ti`, "~", `\&`, "")
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		verbs++
		path := filepath.Join(dir, manName(cmd)+".1")
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			return
		}
		page := plain.Replace(string(raw))
		if !strings.Contains(page, `"2025-12-01"`) {
			t.Errorf("%s does not have the date of SOURCE_DATE_EPOCH", path)
		}
		for _, line := range append(strings.Split(cmd.Long, "\n"), strings.Split(cmd.Example, "\n")...) {
			if !strings.Contains(page, line) {
				t.Errorf("%s has no line %q", path, line)
			}
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !strings.Contains(page, "--"+f.Name) {
				t.Errorf("%s has no --%s", path, f.Name)
			}
		})
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				walk(sub)
			}
		}
	}
	walk(newRoot())
	if verbs < 40 {
		t.Errorf("%d verbs found", verbs)
	}
	if _, err := exec.LookPath("mandoc"); err != nil {
		t.Skip("NOT TESTED: mandoc is not installed, so the syntax of the pages is not checked")
	}
	pages, err := filepath.Glob(dir + "/*.1")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mandoc", append([]string{"-T", "lint", "-W", "warning"}, pages...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestRoffEscapes: no text of a verb can become a request of troff.
func TestRoffEscapes(t *testing.T) {
	for in, want := range map[string]string{
		".so /etc/passwd":  `\&.so /etc/passwd`,
		"a\n'br\n.sp":      "a\n\\&'br\n\\&.sp",
		`\f(CW --x`:        `\ef(CW \-\-x`,
		"no change at all": "no change at all",
	} {
		if got := roff(in); got != want {
			t.Errorf("roff(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestCompletions: the completion script of each shell is written, and the shells that are
// installed accept it.
func TestCompletions(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := mustProgram(t, "", "completion", shell)
		if len(script) < 1000 {
			t.Errorf("%s: %d bytes", shell, len(script))
		}
		if _, err := exec.LookPath(shell); err != nil {
			t.Logf("NOT TESTED: %s is not installed", shell)
			continue
		}
		cmd := exec.Command(shell, "-n")
		cmd.Stdin = bytes.NewReader([]byte(script))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, out)
		}
	}
	// The scripts ask the program itself, so that a completion is never older than the verbs.
	if out := mustProgram(t, "", "__complete", "trade", "sh"); !strings.HasPrefix(out, "show\t") {
		t.Errorf("the completion of 'trade sh' is %q", out)
	}
}

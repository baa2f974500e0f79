package indexer

import (
	"context"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestExamplesRun runs the examples of docs/examples/api, which docs/api.md shows, against a server. Each
// language prints the same. A language that is not installed is left out.
func TestExamplesRun(t *testing.T) {
	o := smallMarket(t, nil)
	server := httptest.NewServer(o.Handler())
	defer server.Close()
	want := map[string]string{
		"orders":    "sell 97736 1.3\n", // 100 USD at 101,000 and 1 % are 98,030 sats, minus 294 of fee
		"market":    "bid 104030\nask 102010\nrate 101000\n",
		"instances": pubkeyOf(1)[:8] + " 0.5 2\n",
		"series":    "", // compared between the languages
		"stream":    "gone done\ngone dropped\n",
	}
	dir := filepath.Join("..", "docs", "examples", "api")
	tools := map[string][]string{".sh": {"sh"}, ".mjs": {"node"}, ".py": {"python3"}, ".dart": {"dart", "run"}}
	ran := 0
	for ending, tool := range tools {
		t.Run(tool[0], func(t *testing.T) {
			needed := []string{tool[0]}
			if ending == ".sh" {
				needed = []string{"sh", "curl", "jq"}
			}
			for _, name := range needed {
				if _, err := exec.LookPath(name); err != nil {
					t.Skipf("%s is not installed: the examples *%s were NOT run", name, ending)
				}
			}
			for task, text := range want {
				args := append(tool[1:len(tool):len(tool)], filepath.Join(dir, task+ending), server.URL)
				if task == "stream" {
					args = append(args, "0")
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				out, err := exec.CommandContext(ctx, tool[0], args...).CombinedOutput()
				cancel()
				got := string(out)
				switch {
				case err != nil:
					t.Errorf("%s%s: %v\n%s", task, ending, err, got)
				case task == "stream":
					changes, id, _ := strings.Cut(got, "go on after ")
					if changes != text || strings.TrimSpace(id) == "" {
						t.Errorf("stream%s prints\n%s\nwant\n%sgo on after ID", ending, got, text)
					}
				case text == "" && (want[task] == "" && strings.Count(got, "\n") < 1):
					t.Errorf("%s%s prints only\n%s", task, ending, got)
				case text == "":
					want[task] = got
				case got != text:
					t.Errorf("%s%s prints\n%s\nwant\n%s", task, ending, got, text)
				}
			}
			ran++
		})
	}
	if ran == 0 {
		t.Skip("no language of the examples is installed")
	}
}

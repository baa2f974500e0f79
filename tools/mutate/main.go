// Command mutate removes each guard of the escrow once, and reports which test notices. A guard is
// a text in one source file, and its removal is another text. The file on disk is not changed: the
// go command compiles the changed text in its place (go test -overlay).
//
//	go run ./tools/mutate -list
//	go run ./tools/mutate [-only REGEXP] [-part 2/4] [-sim 2000]
//
// A row of the output is a row of the table in docs/testing.md.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// guard is one guard and its removal.
type guard struct {
	area string // chapter of the table
	name string
	dir  string // directory below which exactly one Go file, which is no test, has the text
	old  string // the guard; once in its file
	new  string
	// tests are "package regexp": the tests that should notice, in this order.
	tests []string
}

func main() {
	only := flag.String("only", "", "guards whose area or name match a regular expression")
	part := flag.String("part", "1/1", "the n-th of m parts of the guards, as n/m")
	list := flag.Bool("list", false, "list the guards, and run nothing")
	sim := flag.Int("sim", 0, "run the simulation with this number of trades as well, for guards of the escrow")
	runner := flag.String("through", "", "command that runs the go command")
	flag.Parse()
	if err := run(*only, *part, *list, *sim, strings.Fields(*runner)); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(only, part string, list bool, sim int, through []string) error {
	match, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	var n, m int
	if _, err := fmt.Sscanf(part, "%d/%d", &n, &m); err != nil || n < 1 || m < n {
		return fmt.Errorf("-part is n/m, not %q", part)
	}
	left, wrong := 0, 0
	for i, g := range guards {
		if !match.MatchString(g.area+": "+g.name) || i%m != n-1 {
			continue
		}
		file, text, err := g.find(".")
		if err != nil {
			return err
		}
		if list {
			fmt.Printf("%s: %s (%s)\n", g.area, g.name, file)
			continue
		}
		caught, err := g.remove(file, text, sim, through)
		if err != nil {
			fmt.Fprintln(os.Stderr, "mutate:", err)
			wrong++
			continue
		}
		if caught == "" {
			left++
			caught = "**nothing**"
		}
		fmt.Printf("| %s | %s | %s |\n", g.area, g.name, caught)
	}
	if left > 0 || wrong > 0 {
		return fmt.Errorf("%d removals are noticed by nothing, and %d could not be tried", left, wrong)
	}
	return nil
}

// find returns the file that has the guard, and its text.
func (g *guard) find(root string) (file, text string, err error) {
	err = filepath.WalkDir(filepath.Join(root, g.dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || filepath.Ext(path) != ".go" && filepath.Ext(path) != ".html" {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		switch found := strings.Count(string(body), g.old); {
		case found > 1 || found == 1 && file != "":
			return fmt.Errorf("%s: %s: the text of the guard occurs more than once below %s: %q", g.area, g.name, g.dir, g.old)
		case found == 1:
			file, text = path, string(body)
		}
		return nil
	})
	if err == nil && file == "" {
		err = fmt.Errorf("%s: %s: no file below %s has the text of the guard: %q", g.area, g.name, g.dir, g.old)
	}
	return file, text, err
}

// remove runs the tests without the guard, and returns the name of the first that fails, or "".
func (g *guard) remove(file, text string, sim int, through []string) (caught string, err error) {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	changed := filepath.Join(dir, filepath.Base(file))
	if err := os.WriteFile(changed, []byte(strings.Replace(text, g.old, g.new, 1)), 0o600); err != nil {
		return "", err
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, body, 0o600); err != nil {
		return "", err
	}
	tests := g.tests
	if sim > 0 && strings.HasPrefix(g.dir, "escrow") {
		tests = append(tests[:len(tests):len(tests)], "./escrow ^TestSimulation$ -sim.trades="+strconv.Itoa(sim))
	}
	for _, test := range tests {
		args := []string{"test", "-vet=off", "-tags=libsecp256k1", "-short", "-failfast", "-count=1", "-timeout=10m", "-overlay=" + overlay}
		words := strings.Fields(test)
		args = append(append(args, words[0], "-run="+words[1]), words[2:]...)
		line := append(append([]string{}, through...), append([]string{"go"}, args...)...)
		cmd := exec.Command(line[0], line[1:]...)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case err == nil:
			if bytes.Contains(out, []byte("no tests to run")) {
				return "", fmt.Errorf("%s: %s: no test matches %q", g.area, g.name, test)
			}
			continue
		case !errors.As(err, &exit) || bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")):
			return "", fmt.Errorf("%s: %s: %w\n%s", g.area, g.name, err, out)
		}
		return failure(string(out)), nil
	}
	return "", nil
}

var (
	failed = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)
	seed   = regexp.MustCompile(`seed (\d+):`)
)

// failure returns the name of the test that failed, with the seed if the simulation found one.
func failure(out string) string {
	name := failed.FindStringSubmatch(out)
	if name == nil {
		return "a panic or a timeout"
	}
	if s := seed.FindStringSubmatch(out); s != nil && name[1] == "TestSimulation" {
		return name[1] + ", seed " + s[1]
	}
	return name[1]
}

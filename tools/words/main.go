// Command words counts certain words in the Go comments of a tree, per 1,000 words, for
// each package and in total. A comment that a stranger understands at once uses "if"
// for a condition and "returns" for a result, and seldom begins with a question word.
//
//	go run ./tools/words            this tree
//	go run ./tools/words -check     exit code 1 if the tree is beyond the bounds of CONTRIBUTING.md
package main

import (
	"flag"
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// columns are the counted words. The column pronouns has no bound.
var columns = []struct {
	name  string
	words []string
}{
	{"what", []string{"what"}},
	{"if", []string{"if"}},
	{"gives", []string{"give", "gives"}},
	{"returns", []string{"return", "returns"}},
	{"who", []string{"who", "whoever", "nobody", "somebody"}},
	{"pronouns", []string{"it", "its", "them", "those", "they"}},
}

type count struct {
	all   int
	found map[string]int
}

func (c *count) per1000(name string) float64 {
	if c.all == 0 {
		return 0
	}
	return 1000 * float64(c.found[name]) / float64(c.all)
}

func main() {
	check := flag.Bool("check", false, "exit 1 if the whole tree is beyond the bounds")
	flag.Parse()
	root := "."
	if flag.NArg() > 0 {
		root = flag.Arg(0)
	}
	packages, err := countTree(root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(2)
	}
	total := &count{found: map[string]int{}}
	var names []string
	for name, c := range packages {
		names = append(names, name)
		total.all += c.all
		for w, n := range c.found {
			total.found[w] += n
		}
	}
	slices.Sort(names)
	fmt.Printf("%-28s %7s", "package", "words")
	for _, col := range columns {
		fmt.Printf(" %8s", col.name)
	}
	fmt.Println()
	for _, name := range append(names, "all") {
		c := packages[name]
		if name == "all" {
			c = total
		}
		fmt.Printf("%-28s %7d", name, c.all)
		for _, col := range columns {
			fmt.Printf(" %8.1f", c.per1000(col.name))
		}
		fmt.Println()
	}
	if *check {
		if bad := beyond(total); bad != "" {
			fmt.Fprintln(os.Stderr, "words:", bad)
			os.Exit(1)
		}
	}
}

// beyond returns the first bound that a count breaks, or "" if there is none.
func beyond(c *count) string {
	switch {
	case c.per1000("if") < 6:
		return fmt.Sprintf("%.1f \"if\" in 1,000 words, at least 6", c.per1000("if"))
	case c.per1000("what") > 2:
		return fmt.Sprintf("%.1f \"what\" in 1,000 words, at most 2", c.per1000("what"))
	case c.found["returns"] < c.found["gives"]:
		return fmt.Sprintf("%d \"returns\", fewer than %d \"gives\"", c.found["returns"], c.found["gives"])
	case c.per1000("who") > 0.5:
		return fmt.Sprintf("%.1f \"who\", \"whoever\", \"nobody\", \"somebody\" in 1,000 words, at most 0.5", c.per1000("who"))
	}
	return ""
}

var word = regexp.MustCompile(`[a-z']+`)

// countTree counts the words of each package below root. It skips generated protocol
// code.
func countTree(root string) (map[string]*count, error) {
	packages := map[string]*count{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", "node_modules", "testdata", "vendor"}, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, ".pb.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		c := packages[rel]
		if c == nil {
			c = &count{found: map[string]int{}}
			packages[rel] = c
		}
		c.add(src)
		return nil
	})
	return packages, err
}

// add counts the words of a file's comments. A directive does not count as a comment.
func (c *count) add(src []byte) {
	fset := token.NewFileSet()
	var s scanner.Scanner
	s.Init(fset.AddFile("", fset.Base(), len(src)), src, nil, scanner.ScanComments)
	for {
		_, tok, text := s.Scan()
		if tok == token.EOF {
			return
		}
		if tok != token.COMMENT || strings.HasPrefix(text, "//go:") {
			continue
		}
		for _, w := range word.FindAllString(strings.ToLower(text), -1) {
			c.all++
			for _, col := range columns {
				if slices.Contains(col.words, w) {
					c.found[col.name]++
				}
			}
		}
	}
}

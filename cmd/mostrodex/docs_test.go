package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// proseColumns is the width of prose in documents.
const proseColumns = 100

// TestProseIsWrapped: prose in the documents is wrapped. Tables and code blocks
// may be wider, because their lines cannot be broken.
func TestProseIsWrapped(t *testing.T) {
	exempt := []string{
		"../../docs/architecture.md", "../../README.md", // they follow
		"../../docs/escrow-states.md", // generated
		"../../CHANGELOG.md",          // one line an entry
	}
	var files []string
	for _, pattern := range []string{"../../docs/*.md", "../../deploy/*.md", "../../*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 14 {
		t.Errorf("%d documents found", len(files))
	}
	for _, file := range files {
		if slices.Contains(exempt, file) {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range wideLines(string(raw)) {
			t.Errorf("%s:%d has more than %d columns", strings.TrimPrefix(file, "../../"), n, proseColumns)
		}
	}
}

// wideLines returns the numbers of the lines of prose that are too wide.
func wideLines(text string) (wide []int) {
	fenced, indented, blank := false, false, true
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		trimmed := strings.TrimSpace(line)
		indented = strings.HasPrefix(line, "    ") && (blank || indented)
		blank = trimmed == ""
		switch {
		case strings.HasPrefix(trimmed, "```"):
			fenced = !fenced
		case fenced, indented, strings.HasPrefix(trimmed, "|"):
		case len([]rune(line)) > proseColumns:
			wide = append(wide, n)
		}
	}
	return wide
}

// TestWideLines: prose is found, tables and code are not.
func TestWideLines(t *testing.T) {
	long := strings.Repeat("w ", 60)
	text := "short\n" + long + "\n| " + long + " |\n```\n" + long + "\n```\n* " + long + "\n    " + long + "\n\n    " + long + "\n"
	if got := wideLines(text); !slices.Equal(got, []int{2, 7, 8}) {
		t.Errorf("lines %v, want 2, 7 and 8", got)
	}
}

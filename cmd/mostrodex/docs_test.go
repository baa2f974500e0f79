package main

import (
	"os"
	"path/filepath"
	"regexp"
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
		"../../docs/escrow-states.md", // generated
		"../../CHANGELOG.md",          // one line an entry
	}
	for _, file := range documents(t) {
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

// documents lists the documents of the repository.
func documents(tb testing.TB) []string {
	tb.Helper()
	var files []string
	for _, pattern := range []string{"../../docs/*.md", "../../deploy/*.md", "../../*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			tb.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 14 {
		tb.Errorf("%d documents found", len(files))
	}
	return files
}

// wideLines returns the numbers of the lines of prose that are too wide. A line that is one
// span of code may be wider, because README.md's list of search keys is found as one line.
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
		case strings.HasPrefix(trimmed, "`") && strings.Index(trimmed[1:], "`") >= len(trimmed)-3: // a span, and a full stop
		case len([]rune(line)) > proseColumns:
			wide = append(wide, n)
		}
	}
	return wide
}

// TestWideLines: prose is found, tables and code are not.
func TestWideLines(t *testing.T) {
	long := strings.Repeat("w ", 60)
	text := "short\n" + long + "\n| " + long + " |\n```\n" + long + "\n```\n* " + long + "\n    " + long + "\n\n    " + long + "\n`" + long + "`.\n`code` " + long + "\n"
	if got := wideLines(text); !slices.Equal(got, []int{2, 7, 8, 12}) {
		t.Errorf("lines %v, want 2, 7, 8 and 12", got)
	}
}

// TestLinksOfDocuments: every link between the documents leads to a file and to
// a heading that exist.
func TestLinksOfDocuments(t *testing.T) {
	n := 0
	for _, file := range documents(t) {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(string(raw), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			n++
			path, anchor, _ := strings.Cut(link[1], "#")
			target := file
			if path != "" {
				target = filepath.Join(filepath.Dir(file), path)
			}
			text, err := os.ReadFile(target)
			if err != nil {
				t.Errorf("%s: %v", strings.TrimPrefix(file, "../../"), err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(string(text)), anchor) {
				t.Errorf("%s links to %s, which has no heading #%s", strings.TrimPrefix(file, "../../"), target, anchor)
			}
		}
	}
	if n < 10 {
		t.Errorf("%d links found", n)
	}
}

// anchors returns the anchors of the headings as GitHub forms them.
func anchors(text string) (list []string) {
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for line := range strings.SplitSeq(text, "\n") {
		if title := strings.TrimLeft(line, "#"); title != line {
			list = append(list, strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-"))
		}
	}
	return list
}

// TestNamedFilesExist: a Go file that a document names by its path exists. Files move, and
// the documents have to follow. The changelog names files of its time.
func TestNamedFilesExist(t *testing.T) {
	path := regexp.MustCompile("`((?:[a-z0-9_]+/)+[a-z0-9_]+\\.go)`")
	named := 0
	for _, file := range documents(t) {
		if file == "../../CHANGELOG.md" {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range path.FindAllStringSubmatch(string(raw), -1) {
			named++
			if _, err := os.Stat("../../" + m[1]); err != nil {
				t.Errorf("%s names %s, which does not exist", strings.TrimPrefix(file, "../../"), m[1])
			}
		}
	}
	if named < 10 {
		t.Errorf("%d paths found", named)
	}
}

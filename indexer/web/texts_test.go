package web

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTexts: each key that a page names has a text, and each text is named by a page.
func TestTexts(t *testing.T) {
	named, prefixes := map[string]bool{}, []string{}
	for _, pattern := range []string{"*.html", "*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || file == "texts.go" {
				continue
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`[^l]\.T(?: |\()"([a-z0-9._]+)"(\s*\+)?`).FindAllStringSubmatch(string(raw), -1) {
				if m[2] != "" {
					prefixes = append(prefixes, m[1])
					continue
				}
				if named[m[1]] = true; pageTexts[m[1]] == "" {
					t.Errorf("%s: there is no text %q", file, m[1])
				}
			}
			for _, m := range regexp.MustCompile(`"((?:market|disputes)\.[a-z0-9._]+)"`).FindAllStringSubmatch(string(raw), -1) {
				named[m[1]] = true
			}
		}
	}
	for _, name := range disputeMetrics {
		if pageTexts["disputes."+name] == "" || pageTexts["disputes."+name+".note"] == "" {
			t.Errorf("the metric %s has no text", name)
		}
	}
	for key := range pageTexts {
		known := named[key] || key == "numbers"
		for _, p := range prefixes {
			known = known || strings.HasPrefix(key, p)
		}
		if !known {
			t.Errorf("no page names the text %q", key)
		}
	}
}

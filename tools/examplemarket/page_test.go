package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// TestPageIsCurrent computes the page again and compares it with docs/examples.
func TestPageIsCurrent(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("another processor rounds some floats otherwise: the page was NOT compared")
	}
	files, err := page()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../../docs/examples", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("docs/examples/%s is out of date: run make example-market", name)
		}
	}
}

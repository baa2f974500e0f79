// Command examplemarket generates a year of a market with a fixed seed, computes its figures with
// package indexer/stats, and writes docs/examples/market.md with two plots.
//
//	go run ./tools/examplemarket docs/examples     (make example-market)
//
// The same program on the events of a running server needs no generator: see docs/api.md.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: examplemarket DIRECTORY")
		os.Exit(2)
	}
	files, err := page()
	for name, content := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[1], name), content, 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "examplemarket:", err)
		os.Exit(1)
	}
}

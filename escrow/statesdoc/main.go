// Command statesdoc writes docs/escrow-states.md from the transition table.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

func main() {
	out := flag.String("o", "", "file to write")
	flag.Parse()
	if err := write(*out); err != nil {
		fmt.Fprintln(os.Stderr, "statesdoc:", err)
		os.Exit(1)
	}
}

func write(path string) error {
	var b bytes.Buffer
	if err := trade.WriteStates(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

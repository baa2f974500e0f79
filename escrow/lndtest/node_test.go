package lndtest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// If a node ends before its first answer, Start repeats the start a few times. Then it
// returns an error with the node's last output.
func TestNodeThatEnds(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "lnd"), []byte("#!/bin/sh\necho no luck\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "node")
	node, err := newNode(bin, dir, "node", &chain{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = node.Start(ctx)
	if err == nil || !strings.Contains(err.Error(), "no luck") || ctx.Err() != nil {
		t.Errorf("%v", err)
	}
	if said, err := os.ReadFile(node.process.log); err != nil || strings.Count(string(said), "no luck") != startTries {
		t.Errorf("the output is %q, want %d starts; %v", said, startTries, err)
	}
}

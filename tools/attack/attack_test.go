package main

import (
	"flag"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"testing"
	"time"
)

// TestSliceOfEveryAttack plays a short slice of every attack. A slice shows whether an
// attack stops the server. The figures in docs/security.md come from `make attack`.
func TestSliceOfEveryAttack(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: starts a server for each attack")
	}
	tags := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-tags" {
				tags = s.Value
			}
		}
	}
	bin := filepath.Join(t.TempDir(), "mostrodex")
	if out, err := exec.Command("go", "build", "-tags", tags, "-o", bin, "../../cmd/mostrodex").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, value := range map[string]string{"program": bin, "slice": "400ms", "p99": time.Second.String(), "pace": "10ms", "quick": "true"} {
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range attacks {
		held := false
		for try := 0; try < *tries && !held; try++ {
			var err error
			if held, err = playOn(t.Context(), a, t.TempDir()); err != nil {
				t.Fatalf("%s: %v", a.name, err)
			}
		}
		if !held {
			t.Errorf("%s exceeds a bound", a.name)
		}
	}
}

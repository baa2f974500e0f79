package indexer

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func contextWith(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

// fastest returns the smallest processor time of f in this thread, of three measurements of
// at least 10 ms each. The ratio of two such times shows how the cost grows, also on a busy
// machine, where f waits for a processor, and where the clock of a thread is coarse.
func fastest(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	best := time.Duration(1<<63 - 1)
	for range 3 {
		start, rounds := threadTime(), time.Duration(0)
		for threadTime()-start < 10*time.Millisecond {
			f()
			rounds++
		}
		best = min(best, (threadTime()-start)/rounds)
	}
	return best
}

// waitFor polls cond until it returns true.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal("condition not met after 30 s")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// spoil overwrites the files that list the contents of a store.
func spoil(t *testing.T, dir, store string) {
	t.Helper()
	n := 0
	for _, pattern := range []string{"MANIFEST", "index_meta.json", "*.sst", "store/*.zap"} {
		files, err := filepath.Glob(filepath.Join(dir, store, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if err := os.WriteFile(f, []byte("this is not what was here"), 0o600); err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	if n == 0 {
		t.Fatalf("%s contains no file to overwrite", store)
	}
}

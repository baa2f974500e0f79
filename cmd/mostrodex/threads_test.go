package main

import (
	"context"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// TestThreadsFollowTheLog checks that there are more threads while events arrive, and the
// former number afterwards.
func TestThreadsFollowTheLog(t *testing.T) {
	if os.Getenv("GOMAXPROCS") != "" {
		t.Skip("GOMAXPROCS is set, so the program does not change it")
	}
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	ctx, cancel := context.WithCancel(t.Context())
	var head atomic.Uint64
	done := make(chan error, 1)
	go func() { done <- runThreads(ctx, head.Load) }()
	until := func(want int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); runtime.GOMAXPROCS(0) != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d threads, want %d", runtime.GOMAXPROCS(0), want)
			}
			if want == threads(busyThreads) {
				head.Add(100)
			}
		}
	}
	until(threads(calmThreads))
	until(threads(busyThreads))
	until(threads(calmThreads))
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := runtime.GOMAXPROCS(0); got != cores {
		t.Errorf("%d threads are left, want %d", got, cores)
	}
}

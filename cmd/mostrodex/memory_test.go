package main

import (
	"context"
	"runtime/debug"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for alive, want := range map[uint64]int64{0: memoryEase, 100 << 20: memoryEase, 10 << 30: 13421772800} {
		if got := memoryLimit(alive); got != want {
			t.Errorf("the limit for %d live bytes is %d, want %d", alive, got, want)
		}
	}
	t.Setenv("GOMEMLIMIT", "")
	t.Setenv("GOGC", "")
	before := debug.SetMemoryLimit(-1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := runMemoryLimit(ctx); err != nil {
		t.Fatal(err)
	}
	if after := debug.SetMemoryLimit(-1); after != before {
		t.Errorf("the limit is still %d, it was %d before", after, before)
	}
}

package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// By default Go lets the heap grow to twice what is alive. With a million live
// orders that is a gigabyte for nothing, so above memoryEase the collector runs
// more often instead; never so often that it would only run.
const (
	memoryEase  = 1900 << 20 // bytes below which memory is not spared
	memoryRoom  = 1.25       // of what is alive, at least, whatever that is: with 1.15 half of an import was collecting
	memoryEvery = 2 * time.Second
)

// openingPercent is the collector's while stores are opened: what is read then
// stays, so that collecting at every doubling is work for nothing.
const (
	openingPercent = 400
	defaultPercent = 100
)

// easeOpening lets memory grow up to memoryEase without much collecting, until
// the function it gives is called.
func easeOpening() (settle func()) {
	if memoryIsSet() {
		return func() {}
	}
	limit := debug.SetMemoryLimit(memoryEase)
	debug.SetGCPercent(openingPercent)
	return func() {
		debug.SetGCPercent(defaultPercent)
		debug.SetMemoryLimit(limit)
	}
}

// memoryIsSet says whether the operator has said what Go may use.
func memoryIsSet() bool { return os.Getenv("GOMEMLIMIT") != "" || os.Getenv("GOGC") != "" }

// tendMemory sets the soft memory limit to fit what is alive until ctx ends.
// An operator's own GOMEMLIMIT or GOGC stands.
func tendMemory(ctx context.Context) error {
	if memoryIsSet() {
		return nil
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	alive := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	for {
		metrics.Read(alive)
		debug.SetMemoryLimit(memoryLimit(alive[0].Value.Uint64()))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// memoryLimit is the limit for so many bytes alive.
func memoryLimit(alive uint64) int64 {
	return int64(min(max(memoryEase, float64(alive)*memoryRoom), math.MaxInt64/2))
}

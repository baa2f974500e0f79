package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// By default Go lets the heap grow to twice the live bytes. With a million live orders this
// wastes a gigabyte. Above memoryEase the collector therefore runs more often, but not so
// often that it runs all the time.
const (
	memoryEase  = 1900 << 20 // bytes below which memory is not limited
	memoryRoom  = 1.25       // minimum limit as a multiple of the live bytes: with 1.15, half of the time of an import was garbage collection
	memoryEvery = 2 * time.Second
)

// openingPercent is the GC percentage while stores are opened. Data that is read then stays
// live, so a collection at every doubling is wasted work.
const (
	openingPercent = 400
	defaultPercent = 100
)

// easeOpening lets memory grow up to memoryEase with few collections, until the returned
// function is called.
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

// memoryIsSet reports whether the operator has set the memory limits of Go.
func memoryIsSet() bool { return os.Getenv("GOMEMLIMIT") != "" || os.Getenv("GOGC") != "" }

// runMemoryLimit adjusts the soft memory limit to the live bytes until ctx ends. If the operator
// has set GOMEMLIMIT or GOGC, that setting remains.
func runMemoryLimit(ctx context.Context) error {
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

// memoryLimit returns the limit for a number of live bytes.
func memoryLimit(alive uint64) int64 {
	return int64(min(max(memoryEase, float64(alive)*memoryRoom), math.MaxInt64/2))
}

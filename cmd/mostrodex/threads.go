package main

import (
	"context"
	"os"
	"runtime"
	"time"
)

// How many threads may run Go code at once. Badger writes and syncs its files
// through memory maps, and a thread that waits there keeps others from running: with as
// many threads as cores an order was up to 490 ms late in the book in a burst of
// events, with three times as many, and nothing else changed, 150. Reading is
// quicker with fewer: the more threads there are, the more often one is woken for
// nothing.
const (
	busyThreads = 3.0 // a core, while events come in
	calmThreads = 1.5

	busyRate    = 200 // events a second
	threadsEach = time.Second / 4
	calmAfter   = 5 * time.Second // of fewer
)

// cores is what Go found when the program began: it knows of a container's limit.
var cores = runtime.GOMAXPROCS(0)

func threads(perCore float64) int { return int(float64(cores)*perCore + 0.5) }

// setThreads changes their number, unless the operator has set GOMAXPROCS. It
// stops the program for some microseconds.
func setThreads(n int) {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) != n {
		runtime.GOMAXPROCS(n)
	}
}

// tendThreads sets them to fit how fast the log grows, until ctx ends.
func tendThreads(ctx context.Context, head func() uint64) error {
	setThreads(threads(calmThreads))
	defer setThreads(cores)
	tick := time.NewTicker(threadsEach)
	defer tick.Stop()
	last, busy := head(), time.Time{}
	for {
		select {
		case now := <-tick.C:
			h := head()
			switch grown := float64(h - last); {
			case grown >= busyRate*threadsEach.Seconds():
				busy = now
				setThreads(threads(busyThreads))
			case now.Sub(busy) > calmAfter:
				setThreads(threads(calmThreads))
			}
			last = h
		case <-ctx.Done():
			return nil
		}
	}
}

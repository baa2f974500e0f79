package main

import (
	"context"
	"os"
	"runtime"
	"time"
)

// These constants set the number of threads that may run Go code at once. Badger writes and
// syncs its files through memory maps, and a thread that waits there blocks others. On two
// cores the scenario ingest of tools/bench acknowledged 18,000 to 19,000 events per second in
// three turns, and 13,800 to 14,300 in the turns between with GOMAXPROCS=2, at 7 % more
// processor time per event. Reading is faster with fewer threads, because more threads are
// woken without work.
const (
	busyThreads = 3.0 // per core, while events arrive
	calmThreads = 1.5

	busyRate    = 200 // events per second
	threadsEach = time.Second / 4
	calmAfter   = 5 * time.Second // duration of a lower rate
)

// cores is the value that Go set at the start of the program, which respects the limit of a
// container.
var cores = runtime.GOMAXPROCS(0)

func threads(perCore float64) int { return int(float64(cores)*perCore + 0.5) }

// setThreads changes the number of threads, unless the operator has set GOMAXPROCS. The
// change stops the program for some microseconds.
func setThreads(n int) {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) != n {
		runtime.GOMAXPROCS(n)
	}
}

// runThreads adjusts the number of threads to the growth of the log, until ctx ends.
func runThreads(ctx context.Context, head func() uint64) error {
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

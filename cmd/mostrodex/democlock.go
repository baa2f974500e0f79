package main

import (
	"sync"
	"time"
)

// demoClock is the clock of everything in a demo with a market. While the past is played the
// clock stands, and Set moves it. Then Start lets it run. The clock never shows a moment that is
// still to come: when it meets the real time, it is the real time.
type demoClock struct {
	real func() time.Time // time.Now

	mu    sync.Mutex
	shown time.Time // at the moment since
	since time.Time // real moment; zero: the clock stands
	speed float64   // at least 1
	met   bool      // the clock is the real time
}

func newDemoClock(at time.Time) *demoClock { return &demoClock{real: time.Now, shown: at.UTC()} }

// Now returns the moment that the clock shows.
func (c *demoClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.real()
	if c.met {
		return now
	}
	at := c.shown
	if !c.since.IsZero() {
		at = at.Add(time.Duration(float64(now.Sub(c.since)) * c.speed))
		c.met = !at.Before(now)
	}
	if at.After(now) {
		return now
	}
	return at
}

// Set moves a standing clock forward. An earlier moment than the clock's has no effect, and
// neither has a call while the clock runs.
func (c *demoClock) Set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() && at.After(c.shown) {
		c.shown = at.UTC()
	}
}

// Start lets a standing clock run. At a speed of 1 the clock is the real time.
func (c *demoClock) Start(speed float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		c.since, c.speed, c.met = c.real(), speed, speed <= 1
	}
}

// Met reports whether the clock is the real time.
func (c *demoClock) Met() bool {
	c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.met
}

// Until returns the real duration until the clock shows a moment.
func (c *demoClock) Until(at time.Time) time.Duration {
	left := at.Sub(c.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.met && c.speed > 1 {
		left = time.Duration(float64(left) / c.speed)
	}
	return max(left, 0)
}

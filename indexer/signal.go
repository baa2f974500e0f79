package indexer

import (
	"context"
	"slices"
	"sync"
	"time"
)

// signal wakes whoever waits for something to have moved. It carries no data.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func (s *signal) init() { s.ch = make(chan struct{}) }

// raise wakes all who wait.
func (s *signal) raise() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}

// next gives a channel that is closed at the next raise. Take it before
// looking at what may have moved.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

// until waits for cond, looked at after every raise and at least every so
// often.
func (s *signal) until(ctx context.Context, often time.Duration, cond func() bool) error {
	timer := time.NewTimer(often)
	defer timer.Stop()
	for {
		ch := s.next()
		if cond() {
			return nil
		}
		timer.Reset(often)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ch:
		case <-timer.C:
		}
	}
}

// expiry is an order that is not live any more, since when.
type expiry struct {
	key      Key
	deadline uint32
}

// goneQueue holds the orders that left the column store by the clock and that search
// still has as live. It is filled by the book and emptied by search; it is not
// larger than the book.
type goneQueue struct {
	mu   sync.Mutex
	keys []expiry
}

func (q *goneQueue) reset(all []expiry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.keys = all
}

func (q *goneQueue) add(all ...expiry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.keys = append(q.keys, all...)
}

// take gives up to n of them, and forgets them.
func (q *goneQueue) take(n int) []expiry {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.keys))
	out := slices.Clone(q.keys[:n])
	q.keys = q.keys[n:]
	if len(q.keys) == 0 {
		q.keys = nil
	}
	return out
}

func (q *goneQueue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.keys)
}

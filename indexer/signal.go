package indexer

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
)

// signal wakes all goroutines that wait for a change. A signal carries no data.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func (s *signal) init() { s.ch = make(chan struct{}) }

// raise wakes all waiting goroutines.
func (s *signal) raise() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}

// next returns a channel that is closed at the next raise. A caller must take the channel
// before it reads the state that may change; otherwise it can miss a raise.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

// until waits until cond returns true. cond is called after every raise, and at least
// once per often. If ctx ends first, until returns its error.
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

// expiry is an order that is no longer live, with the time at which it expired.
type expiry struct {
	key      orders.Key
	deadline uint32
}

// goneQueue holds the orders that expired from the column store and that search still
// holds as live. load and sweep add orders, and search takes them. The queue is never
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

// take removes up to n orders from the queue and returns them.
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

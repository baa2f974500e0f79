package alerts

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// lane hands out rows that are due. Owners take turns, so an owner with many rows does not
// delay others, and an owner has one row in work at a time.
type lane struct {
	now func() time.Time

	mu      sync.Mutex
	ready   map[string]*turn
	ring    []*turn // owners with a row that is due and none in work
	waiting rowHeap
	wake    chan struct{} // closed and replaced when a row comes
}

// turn is one owner in a lane.
type turn struct {
	owner  string
	rows   []*row
	inWork bool
	inRing bool
}

func newLane(now func() time.Time) *lane {
	return &lane{now: now, ready: map[string]*turn{}, wake: make(chan struct{})}
}

// add puts a row into the lane.
func (l *lane) add(r *row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Due > l.now().Unix() {
		heap.Push(&l.waiting, r)
	} else {
		l.makeReady(r)
	}
	close(l.wake)
	l.wake = make(chan struct{})
}

func (l *lane) makeReady(r *row) {
	t := l.ready[r.Owner]
	if t == nil {
		t = &turn{owner: r.Owner}
		l.ready[r.Owner] = t
	}
	t.rows = append(t.rows, r)
	l.line(t)
}

// line puts an owner at the end of the ring if it has a row and none in work.
func (l *lane) line(t *turn) {
	if !t.inWork && !t.inRing && len(t.rows) > 0 {
		t.inRing = true
		l.ring = append(l.ring, t)
	}
}

// pollDue is how often a lane looks for rows that have become due. Tests set less.
var pollDue = time.Second

// next waits for a row that is due. The caller calls done with the owner of the row.
func (l *lane) next(ctx context.Context) (*row, error) {
	for {
		l.mu.Lock()
		for now := l.now().Unix(); len(l.waiting) > 0 && l.waiting[0].Due <= now; {
			l.makeReady(heap.Pop(&l.waiting).(*row)) //nolint:forcetypeassert // the heap holds rows
		}
		if len(l.ring) > 0 {
			t := l.ring[0]
			l.ring[0] = nil
			l.ring = l.ring[1:]
			r := t.rows[0]
			t.rows[0] = nil
			t.rows, t.inRing, t.inWork = t.rows[1:], false, true
			l.mu.Unlock()
			return r, nil
		}
		wake := l.wake
		l.mu.Unlock()
		timer := time.NewTimer(pollDue)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// done says that the work on an owner's row has ended.
func (l *lane) done(owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.ready[owner]
	if t == nil {
		return
	}
	if t.inWork = false; len(t.rows) == 0 {
		delete(l.ready, owner)
		return
	}
	l.line(t)
	close(l.wake)
	l.wake = make(chan struct{})
}

// rowHeap sorts rows by the time at which they are due.
type rowHeap []*row

func (h rowHeap) Len() int           { return len(h) }
func (h rowHeap) Less(i, j int) bool { return h[i].Due < h[j].Due }
func (h rowHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *rowHeap) Push(x any)        { *h = append(*h, x.(*row)) } //nolint:forcetypeassert // as above
func (h *rowHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return x
}

// dayCounts counts by key within a period. A count that has too many keys begins again, because
// a bound on memory comes before a bound on rates.
type dayCounts struct {
	every time.Duration
	began time.Time
	n     map[string]int
}

const maxCounted = 100_000

// take counts one for a key. It returns false if the key has reached the limit.
func (c *dayCounts) take(key string, limit int, now time.Time) bool {
	if c.n == nil || now.Sub(c.began) >= c.every || now.Before(c.began) || len(c.n) >= maxCounted {
		c.n, c.began = map[string]int{}, now
	}
	if c.n[key] >= limit {
		return false
	}
	c.n[key]++
	return true
}

package eventlog

import (
	"context"
	"sync"

	"github.com/mostrodex/mostrodex/internal/diskspace"
	"github.com/mostrodex/mostrodex/mostro"
	"golang.org/x/sync/semaphore"
)

// arrivalQueue hands arrivals and key writes to the committer, in the order of their
// puts.
type arrivalQueue struct {
	space   *diskspace.Watch
	failure *failure
	ch      chan *Enqueued
	// deleting holds the total weight of the deletion requests in the queue
	// (DeletionWeight).
	deleting *semaphore.Weighted

	mu        sync.Mutex // guards closed and enqueuing.Add
	closed    bool
	enqueuing sync.WaitGroup // counts the puts in progress
}

func newArrivalQueue(space *diskspace.Watch, f *failure) *arrivalQueue {
	return &arrivalQueue{space: space, failure: f, ch: make(chan *Enqueued, queueSize), deleting: semaphore.NewWeighted(maxDeleting)}
}

// put puts p into the committer's queue.
func (q *arrivalQueue) put(ctx context.Context, p *Enqueued) (Pending, error) {
	p.queue = q
	q.mu.Lock()
	closed := q.closed
	if !closed {
		q.enqueuing.Add(1)
	}
	q.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	defer q.enqueuing.Done()
	if q.refuses(p) {
		return nil, ErrFull
	}
	if p.IsDeletion() {
		if err := q.deleting.Acquire(ctx, DeletionWeight(p.Event)); err != nil {
			return nil, err
		}
	}
	var err error
	select {
	case q.ch <- p:
		return p, nil
	case <-q.failure.dead:
		err = q.failure.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if p.IsDeletion() {
		q.deleting.Release(DeletionWeight(p.Event))
	}
	return nil, err
}

// close refuses later puts and waits for the puts in progress. The committer still takes
// from the queue meanwhile.
func (q *arrivalQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.enqueuing.Wait()
}

// refuses reports whether an arrival is refused because the disk is full. Events of
// this program may use the reserve, and urgent events a part of it. A cursor is refused too,
// so that it does not pass events that were refused.
func (q *arrivalQueue) refuses(p *Enqueued) bool {
	if !q.space.Full() {
		return false
	}
	if p.Event == nil {
		return len(p.writes) > 0 && p.writes[0].key[0] == spaceCursor
	}
	return p.Source.Origin != mostro.OriginSelf && !(p.Urgent && q.space.Urgent())
}

// keyWrite writes one key that does not belong to an event: the cursor of an upstream
// relay or an outcome of forwarding. If value is nil, the key is deleted.
type keyWrite struct {
	key, value []byte
}

// putKeys hands key writes to the committer. The keys are committed together with
// the events that the same goroutine enqueued before, or later, but not earlier. If a
// crash loses these events, it loses the keys too.
func (q *arrivalQueue) putKeys(ctx context.Context, writes ...keyWrite) (Pending, error) {
	return q.put(ctx, &Enqueued{writes: writes, done: make(chan struct{})})
}

// writeKeys enqueues key writes and waits until they are committed.
func (q *arrivalQueue) writeKeys(ctx context.Context, writes ...keyWrite) error {
	p, err := q.putKeys(ctx, writes...)
	if err != nil {
		return err
	}
	_, _, err = p.Wait(ctx)
	return err
}

// call runs fn in the goroutine of the committer, between two groups and after a commit of
// the derived keys.
func (q *arrivalQueue) call(ctx context.Context, fn func(*committer) error) error {
	p := &Enqueued{call: fn, done: make(chan struct{})}
	if _, err := q.put(ctx, p); err != nil {
		return err
	}
	<-p.done // the committer serves every call, also while the store closes
	return p.err
}

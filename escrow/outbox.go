package escrow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// Publisher makes an event public. When Publish returns nil the event is
// durable here and queued for other relays. Publishing an event again is no
// error.
type Publisher interface {
	Publish(ctx context.Context, evt *nostr.Event) error
}

// laneOf tells the two roads of the outbox apart. Within one trade and one
// lane rows are done in order; a node that does not answer holds up no mail.
type laneOf uint8

const (
	laneMail laneOf = 1 // publishes
	laneNode laneOf = 2 // calls the Lightning node or an address
)

func lane(r OutboxRow) laneOf {
	switch r.Effect.Kind {
	case FxSend, FxPublishOrder, FxPublishDispute, FxPublish:
		return laneMail
	}
	return laneNode
}

// Workers of each lane. Calls to the node are short (a payment is watched
// elsewhere); an address may take seconds to answer.
const (
	mailWorkers = 32
	nodeWorkers = 32
)

// outbox does what committed steps ask for: N workers, one trade and lane at a
// time each. It writes nothing; what comes of an effect goes to the engine,
// which strikes the row in the commit that records the result.
type outbox struct {
	hands     hands
	publisher Publisher
	report    func(ctx context.Context, n notice) error // blocks while the engine is busy
	metrics   *Metrics

	mu     sync.Mutex
	lanes  map[laneKey]*laneQueue // guarded by mu, as the queues are
	ready  map[laneOf]*readyList
	queued map[laneOf]int
}

type laneKey struct {
	trade OrderID
	lane  laneOf
	row   uint64 // only where no trade orders the rows
}

// laneQueue is never empty while it is in lanes.
type laneQueue struct {
	key      laneKey
	rows     []OutboxRow
	failures int // of the first row
}

// readyList is an unbounded queue: what is in it is in the store as well.
type readyList struct {
	queue []*laneQueue
	wake  chan struct{} // capacity 1; full means that a wake-up is under way
}

func newOutbox(h hands, p Publisher, m *Metrics, report func(context.Context, notice) error) *outbox {
	return &outbox{
		hands: h, publisher: p, metrics: m, report: report,
		lanes: make(map[laneKey]*laneQueue), queued: make(map[laneOf]int),
		ready: map[laneOf]*readyList{
			laneMail: {wake: make(chan struct{}, 1)},
			laneNode: {wake: make(chan struct{}, 1)},
		},
	}
}

// add queues committed rows, in order.
func (o *outbox) add(rows []OutboxRow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range rows {
		key := laneKey{trade: r.Trade, lane: lane(r)}
		if key.trade == (OrderID{}) {
			key.row = r.ID
		}
		o.queued[key.lane]++
		if q := o.lanes[key]; q != nil {
			q.rows = append(q.rows, r)
			continue
		}
		q := &laneQueue{key: key, rows: []OutboxRow{r}}
		o.lanes[key] = q
		o.makeReady(q)
	}
}

// clear forgets what is queued, before the store is read afresh.
func (o *outbox) clear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.lanes)
	clear(o.queued)
	for _, list := range o.ready {
		list.queue = nil
	}
}

// makeReady needs mu.
func (o *outbox) makeReady(q *laneQueue) {
	list := o.ready[q.key.lane]
	list.queue = append(list.queue, q)
	select {
	case list.wake <- struct{}{}:
	default:
	}
}

// next waits for a lane with something to do.
func (o *outbox) next(ctx context.Context, l laneOf) (*laneQueue, error) {
	list := o.ready[l]
	for {
		o.mu.Lock()
		if len(list.queue) > 0 {
			q := list.queue[0]
			list.queue = list.queue[1:]
			if len(list.queue) > 0 {
				select {
				case list.wake <- struct{}{}:
				default:
				}
			}
			o.mu.Unlock()
			return q, nil
		}
		o.mu.Unlock()
		select {
		case <-list.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// run does the rows until ctx ends, and returns once nothing is being done.
func (o *outbox) run(ctx context.Context) {
	var wg sync.WaitGroup
	work := func(l laneOf) {
		defer wg.Done()
		for {
			q, err := o.next(ctx, l)
			if err != nil {
				return
			}
			o.serve(ctx, q)
		}
	}
	for range mailWorkers {
		wg.Add(1)
		go work(laneMail)
	}
	for range nodeWorkers {
		wg.Add(1)
		go work(laneNode)
	}
	wg.Wait()
}

// serve does the first row of a lane. Only the worker that took the lane
// touches its first row; add appends behind it.
func (o *outbox) serve(ctx context.Context, q *laneQueue) {
	o.mu.Lock()
	row := q.rows[0]
	o.mu.Unlock()
	n, err := o.do(ctx, row)
	if err == nil {
		err = o.report(ctx, n)
	}
	if ctx.Err() != nil {
		return // the row is still in the store
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		q.failures++
		o.metrics.failed(row.Effect.Kind, err)
		time.AfterFunc(backoff(q.failures), func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.makeReady(q)
		})
		return
	}
	o.queued[q.key.lane]--
	q.failures = 0
	q.rows = q.rows[1:]
	if len(q.rows) == 0 {
		delete(o.lanes, q.key)
		return
	}
	o.makeReady(q)
}

// backoff is how long a row waits after its n-th failure: 200 ms, doubling, at
// most 30 s. The node decides when it is back; we only decide how often to ask.
func backoff(n int) time.Duration {
	return min(200*time.Millisecond<<min(n-1, 10), 30*time.Second)
}

// do performs one row and says what the engine is to be told.
func (o *outbox) do(ctx context.Context, row OutboxRow) (notice, error) {
	n := notice{trade: row.Trade, row: row.ID}
	if lane(row) == laneMail {
		if err := o.publisher.Publish(ctx, row.Event); err != nil {
			return n, fmt.Errorf("publish: %w", err)
		}
		return n, nil
	}
	res, err := o.hands.do(ctx, row.Effect)
	if err != nil {
		return n, err
	}
	n.input = res.input
	if row.Letter != nil {
		n.letter, n.reachable = row.Letter, &res.reachable
	}
	return n, nil
}

// depth gives how many rows wait in each lane.
func (o *outbox) depth() (mail, node int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queued[laneMail], o.queued[laneNode]
}

// nodeClass names the class of a node's error, for metrics.
func nodeClass(err error) string {
	for _, c := range []struct {
		err  error
		name string
	}{
		{ErrUnavailable, "unavailable"}, {ErrPermission, "permission"}, {ErrNotFound, "not_found"},
		{ErrOpen, "open"}, {ErrSettled, "settled"}, {ErrCanceled, "canceled"}, {ErrExists, "exists"}, {ErrInvoice, "invoice"},
	} {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	return "other"
}

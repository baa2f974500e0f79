package escrow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/nbd-wtf/go-nostr"
)

// Publisher makes an event public. When Publish returns nil the event is
// durable here and queued for other relays. Publishing an event again is no
// error. An error that wraps ErrEventRefused is definite: the event will be
// refused again.
type Publisher interface {
	Publish(ctx context.Context, evt *nostr.Event) error
}

// ErrEventRefused says that a publisher will never take an event.
var ErrEventRefused = errors.New("event refused")

// laneOf tells the queues of the outbox apart. Within one trade and one lane
// rows are done in order, but for probes, which are independent. No lane waits
// for another: a relay that refuses an event holds up no message, and a slow
// address holds up no call of the Lightning node.
type laneOf uint8

const (
	laneMail  laneOf = 1 // publishes messages to users
	laneEvent laneOf = 2 // publishes the node's own events
	laneNode  laneOf = 3 // calls the Lightning node
	laneProbe laneOf = 4 // looks at an address that a message names
	laneReply laneOf = 6 // publishes answers to senders who are no party of an open trade
	laneMint  laneOf = 5 // asks an address of a party: for an invoice, or whether it answers
)

// lanes lists them, with the names that metrics use.
var laneNames = map[laneOf]string{laneMail: "mail", laneEvent: "event", laneNode: "node", laneProbe: "probe", laneMint: "mint", laneReply: "reply"}

func lane(r OutboxRow) laneOf {
	switch r.Effect.Kind {
	case trade.FxSend:
		if (r.Trade == trade.OrderID{}) {
			return laneReply
		}
		return laneMail
	case trade.FxPublishOrder, trade.FxPublishDispute, trade.FxPublish:
		return laneEvent
	case trade.FxProbe:
		if r.Inbound != nil && r.Inbound.ofParty() {
			return laneMint
		}
		return laneProbe
	case trade.FxMint:
		return laneMint
	}
	return laneNode
}

// publishes says whether rows of the lane hold an event.
func (l laneOf) publishes() bool { return l == laneMail || l == laneReply || l == laneEvent }

// moves says whether a row may move money. It waits while its trade is frozen.
func (r OutboxRow) moves() bool { return lane(r) == laneNode || r.Effect.Kind == trade.FxMint }

// Workers of each lane. The node has none: calls of different trades never wait
// for each other, and their number is bounded by the trades that are open.
const (
	mailWorkers    = 32
	eventWorkers   = 16
	addressWorkers = 64 // of probes, and as many for mints
	// siteWorkers is how many of them one registered domain can occupy: a
	// domain that many wallets share answers in half a second.
	siteWorkers = 8
	// A site that took longer than slowSite has one worker for slowFor.
	slowSite = 2 * time.Second
	slowFor  = 10 * time.Minute
	// createWorkers bounds the hold invoices that are made at a time: takers
	// are strangers, and a settlement must not wait behind thousands.
	createWorkers = 32
)

// outbox does what committed steps ask for: N workers, one trade and lane at a
// time each. It writes nothing; what comes of an effect goes to the engine,
// which strikes the row in the commit that records the result.
type outbox struct {
	runner    effectRunner
	publisher Publisher
	report    func(ctx context.Context, n notice) error // blocks while the engine is busy
	metrics   *Metrics
	logger    *slog.Logger
	clock     func() time.Time
	// usable says why no call of the Lightning node may be made; nil: none is
	// withheld.
	usable func(ctx context.Context, fresh time.Duration) error
	// refused is told of a call about a hold that the node refused in unknown
	// words; nil: nobody is.
	refused func(error)

	mu     sync.Mutex
	lanes  map[laneKey]*laneQueue // guarded by mu, as the queues are
	ready  map[laneOf]*readyList
	queued map[laneOf]int
	paused bool                 // the node lane, while a copied store is compared; guarded by mu
	atSite map[string]int       // address calls under way, by lane and site; guarded by mu
	slow   map[string]time.Time // sites that were slow, and when; guarded by mu

	creating chan struct{} // a place for each hold invoice that is being made
}

// laneKey names a queue: of a trade, of the node's own events of one kind, or
// of a single probe.
type laneKey struct {
	trade trade.OrderID
	lane  laneOf
	row   uint64
}

// laneQueue is never empty while it is in lanes.
type laneQueue struct {
	key      laneKey
	site     string // laneProbe and laneMint: who is asked
	rows     []OutboxRow
	failures int // of the first row
	refusals int // the last of them that were ErrRefused, in a row
}

// readyList is an unbounded queue: what is in it is in the store as well.
type readyList struct {
	queue []*laneQueue
	wake  chan struct{} // capacity 1; full means that a wake-up is under way
}

func newOutbox(r effectRunner, p Publisher, m *Metrics, report func(context.Context, notice) error) *outbox {
	o := &outbox{
		runner: r, publisher: p, metrics: m, report: report, logger: slog.New(slog.DiscardHandler), clock: time.Now,
		lanes: make(map[laneKey]*laneQueue), queued: make(map[laneOf]int),
		ready: make(map[laneOf]*readyList), atSite: make(map[string]int),
		slow: make(map[string]time.Time), creating: make(chan struct{}, createWorkers),
	}
	for l := range laneNames {
		o.ready[l] = &readyList{wake: make(chan struct{}, 1)}
	}
	return o
}

// add queues committed rows, in order.
func (o *outbox) add(rows []OutboxRow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range rows {
		key := laneKey{trade: r.Trade, lane: lane(r)}
		switch {
		case r.Effect.Kind == trade.FxProbe:
			key.row = r.ID
		case key.trade != (trade.OrderID{}):
		case key.lane == laneEvent && r.Event != nil:
			key.row = uint64(r.Event.Kind)
		default:
			key.row = r.ID
		}
		o.queued[key.lane]++
		if q := o.lanes[key]; q != nil {
			q.rows = append(q.rows, r)
			continue
		}
		q := &laneQueue{key: key, rows: []OutboxRow{r}}
		if key.lane == laneProbe || key.lane == laneMint {
			q.site = siteOf(r.Effect.Text)
		}
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
	list.signal()
}

func (r *readyList) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// pick takes the first queue that may be worked on now, or returns nil: the
// node lane may be paused, and a site has no more than its share of the workers.
// It needs mu.
func (o *outbox) pick(l laneOf, list *readyList) *laneQueue {
	if l == laneNode && o.paused {
		return nil
	}
	for i, q := range list.queue {
		if l == laneProbe || l == laneMint {
			share := siteWorkers
			if at, ok := o.slow[q.site]; ok && time.Since(at) < slowFor {
				share = 1
			}
			if o.atSite[q.atSite()] >= share {
				continue
			}
			o.atSite[q.atSite()]++
		}
		if i == 0 {
			list.queue = list.queue[1:]
		} else {
			list.queue = slices.Delete(list.queue, i, i+1)
		}
		return q
	}
	return nil
}

func (q *laneQueue) atSite() string { return laneNames[q.key.lane] + " " + q.site }

// pause keeps the node lane from beginning anything, or lets it go on.
func (o *outbox) pause(paused bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paused = paused
	o.ready[laneNode].signal()
}

// next waits for a lane with something to do.
func (o *outbox) next(ctx context.Context, l laneOf) (*laneQueue, error) {
	list := o.ready[l]
	for {
		o.mu.Lock()
		if q := o.pick(l, list); q != nil {
			if len(list.queue) > 0 {
				list.signal()
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
	for l, workers := range map[laneOf]int{
		laneMail: mailWorkers, laneReply: mailWorkers, laneEvent: eventWorkers, laneProbe: addressWorkers, laneMint: addressWorkers,
	} {
		for range workers {
			wg.Go(func() {
				for {
					q, err := o.next(ctx, l)
					if err != nil {
						return
					}
					o.serve(ctx, q)
				}
			})
		}
	}
	wg.Go(func() {
		for {
			q, err := o.next(ctx, laneNode)
			if err != nil {
				return
			}
			wg.Go(func() { o.serve(ctx, q) })
		}
	})
	wg.Wait()
}

// serve does the first row of a lane. Only the worker that took the lane
// touches its first row; add appends behind it.
func (o *outbox) serve(ctx context.Context, q *laneQueue) {
	o.mu.Lock()
	row, refusals := q.rows[0], q.refusals
	superseded := q.supersedes(row)
	o.mu.Unlock()
	began := time.Now()
	n, err := notice{trade: row.Trade, row: row.ID}, error(nil)
	if !superseded {
		n, err = o.do(ctx, row, refusals)
	}
	if err == nil {
		err = o.report(ctx, n)
	}
	if ctx.Err() != nil {
		return // the row is still in the store
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if q.key.lane == laneProbe || q.key.lane == laneMint {
		o.noteSite(q.site, time.Since(began))
		if o.atSite[q.atSite()]--; o.atSite[q.atSite()] == 0 {
			delete(o.atSite, q.atSite())
		}
		o.ready[q.key.lane].signal()
	}
	if err != nil {
		q.failures++
		if q.refusals++; !errors.Is(err, ErrRefused) {
			q.refusals = 0
		}
		o.metrics.failed(row.Effect.Kind, err)
		time.AfterFunc(backoff(q.failures), func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.makeReady(q)
		})
		return
	}
	o.queued[q.key.lane]--
	q.failures, q.refusals = 0, 0
	q.rows = q.rows[1:]
	if len(q.rows) == 0 {
		delete(o.lanes, q.key)
		return
	}
	o.makeReady(q)
}

// noteSite remembers whether a site was slow. It needs mu.
func (o *outbox) noteSite(site string, took time.Duration) {
	if took < slowSite {
		delete(o.slow, site)
		return
	}
	if len(o.slow) >= probesInAll {
		clear(o.slow) // names cost something, but not much
	}
	o.slow[site] = time.Now()
}

// supersedes says whether a later row of the queue replaces what the row would
// publish: relays keep the newest version of an address alone.
func (q *laneQueue) supersedes(row OutboxRow) bool {
	if q.key.lane != laneEvent {
		return false
	}
	for _, later := range q.rows[1:] {
		if later.Event.Kind == row.Event.Kind && later.Event.Tags.GetD() == row.Event.Tags.GetD() {
			return true
		}
	}
	return false
}

// backoff is how long a row waits after its n-th failure: 200 ms, doubling, at
// most 30 s. The node decides when it is back; we only decide how often to ask.
func backoff(n int) time.Duration {
	return min(200*time.Millisecond<<min(n-1, 10), 30*time.Second)
}

// do performs one row, which the node has refused in unknown words so many times
// before, and returns what the engine is to be told.
func (o *outbox) do(ctx context.Context, row OutboxRow, refusals int) (notice, error) {
	n := notice{trade: row.Trade, row: row.ID}
	if lane(row).publishes() {
		err := o.publisher.Publish(ctx, row.Event)
		if errors.Is(err, ErrEventRefused) {
			// Nothing behind it may wait for what will never be taken.
			o.metrics.refusedEvent(row.Event.Kind)
			o.logger.Error("an event of this Mostro was refused by its own relay and is dropped", "kind", row.Event.Kind, "event", row.Event.ID, "error", err)
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("publish: %w", err)
		}
		return n, nil
	}
	if row.Inbound != nil && row.Inbound.ProbedAt != 0 && o.clock().Unix() > row.Inbound.ProbedAt+probeSeconds {
		n.message, n.address, n.reachable = row.Inbound, row.Effect.Text, new(bool) // nobody waits for it any more
		return n, nil
	}
	if row.Effect.Kind == trade.FxCreateHold {
		select {
		case o.creating <- struct{}{}:
			defer func() { <-o.creating }()
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
	if lane(row) == laneNode && o.usable != nil {
		fresh := nodeFresh
		if row.Effect.Kind == trade.FxCreateHold || row.Effect.Kind == trade.FxPay {
			fresh = 0 // another wallet must make no invoice and pay nothing
		}
		if err := o.usable(ctx, fresh); err != nil {
			return n, err
		}
	}
	res, err := o.runner.do(ctx, row.Effect, refusals)
	if err == nil && res.input.Payment.Status == trade.PaymentUnknown && o.usable != nil {
		err = o.usable(ctx, 0) // another wallet knows no payment of ours
	}
	if k := row.Effect.Kind; errors.Is(err, ErrRefused) && o.refused != nil && (k == trade.FxCreateHold || k == trade.FxSettle || k == trade.FxCancel) {
		o.refused(err) // not a payment: its invoice is the buyer's, and might be made to be refused
	}
	if err != nil {
		return n, err
	}
	n.input = res.input
	if row.Inbound != nil {
		n.message, n.address, n.reachable = row.Inbound, row.Effect.Text, &res.reachable
	}
	return n, nil
}

// depth returns how many rows wait in each lane.
func (o *outbox) depth() map[laneOf]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.queued)
}

// nodeClass names the class of a node's error, for metrics.
func nodeClass(err error) string {
	for _, c := range []struct {
		err  error
		name string
	}{
		{ErrUnavailable, "unavailable"}, {ErrRefused, "refused"}, {ErrPermission, "permission"}, {ErrNotFound, "not_found"},
		{ErrOpen, "open"}, {ErrSettled, "settled"}, {ErrCanceled, "canceled"}, {ErrExists, "exists"}, {ErrInvoice, "invoice"},
	} {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	return "other"
}

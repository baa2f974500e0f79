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

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/payoutgate"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/nbd-wtf/go-nostr"
)

// Publisher makes an event public. If Publish returns nil, the event is durable here and
// queued for other relays. A repeated publication of an event is no error. An error that
// wraps ErrEventRefused is definite: the event will be refused again.
type Publisher interface {
	Publish(ctx context.Context, evt *nostr.Event) error
}

// ErrEventRefused reports that a publisher will never accept an event.
var ErrEventRefused = errors.New("event refused")

// laneOf names a queue of the outbox. Within one trade and one lane, rows are performed in
// order, except probes, which are independent. No lane waits for another lane: a relay
// that refuses an event delays no message, and a slow address delays no call of the
// Lightning node.
type laneOf uint8

const (
	laneMail  laneOf = 1 // publishes messages to users
	laneEvent laneOf = 2 // publishes the node's own events
	laneNode  laneOf = 3 // calls the Lightning node
	laneProbe laneOf = 4 // checks an address that a message names
	laneReply laneOf = 6 // publishes answers to senders that are not a party of an open trade
	laneFund  laneOf = 7 // pays the development fund, so that no trade waits for it
	laneMint  laneOf = 5 // asks a party's address: for an invoice, or whether the address answers
)

// laneNames are the names of the lanes in metrics.
var laneNames = map[laneOf]string{laneMail: "mail", laneEvent: "event", laneNode: "node", laneProbe: "probe", laneMint: "mint", laneFund: "fund", laneReply: "reply"}

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
	case devfee.FxInvoice, devfee.FxPay, devfee.FxTrack:
		return laneFund
	}
	return laneNode
}

// publishes reports whether rows of the lane hold an event.
func (l laneOf) publishes() bool { return l == laneMail || l == laneReply || l == laneEvent }

// moves reports whether a row may move money. Such a row waits while its trade is frozen.
func (r OutboxRow) moves() bool {
	return lane(r) == laneNode || lane(r) == laneFund || r.Effect.Kind == trade.FxMint
}

// Numbers of workers of each lane. The node lane has no fixed number: calls of different
// trades never wait for each other, and their number is limited by the number of open
// trades.
const (
	mailWorkers    = 32
	eventWorkers   = 16
	addressWorkers = 64 // for probes, and as many for mints
	fundWorkers    = devfee.MaxBusy
	// siteWorkers is the number of these workers that one registered domain can occupy. A
	// domain that many wallets share answers in half a second.
	siteWorkers = 8
	// A site that took longer than slowSite has one worker for the time slowFor.
	slowSite = 2 * time.Second
	slowFor  = 10 * time.Minute
	// createWorkers limits the number of hold invoices that are made at a time. Takers are
	// strangers, and a settlement must not wait behind thousands of takers.
	createWorkers = 32
	// roomEvery is the interval at which a payout that waits looks for room. The node is not
	// asked meanwhile.
	roomEvery = 5 * time.Second
)

// outbox performs the effects of committed steps. A worker performs the rows of one trade
// and lane in order. The outbox writes nothing to the store: the result of an effect goes
// to the engine, which removes the row in the commit that records the result.
type outbox struct {
	runner    effect.Runner
	publisher Publisher
	report    func(ctx context.Context, n notice) error // blocks while the engine is busy
	metrics   *metrics
	logger    *slog.Logger
	clock     func() time.Time
	// usable returns the reason why the Lightning node must not be called, or nil. If
	// usable is nil, every call is allowed.
	usable func(ctx context.Context, fresh time.Duration) error
	// defers returns the reason why payouts wait, or nil. If defers is nil, no payout waits.
	defers func() error
	// refused receives the error of a call about a hold that the node refused with an
	// unknown text. May be nil.
	refused func(error)

	mu     sync.Mutex
	lanes  map[laneKey]*laneQueue // guarded by mu, like the queues
	ready  map[laneOf]*readyList
	queued map[laneOf]int
	paused bool                 // stops the node lane while a copied store is compared; guarded by mu
	atSite map[string]int       // address calls in progress, by lane and site; guarded by mu
	slow   map[string]time.Time // slow sites, with the time of the slow call; guarded by mu

	creating chan struct{} // semaphore: one slot for each hold invoice in progress
}

// laneKey identifies a queue: of a trade, of one of its outflows, of the node's own events of
// one kind, or of a single probe.
type laneKey struct {
	trade trade.OrderID
	lane  laneOf
	row   uint64
	// outflow is the number of an outflow besides the payout. The calls for one payment never
	// wait for another payment of the trade.
	outflow uint32
}

// laneQueue is never empty while it is in lanes.
type laneQueue struct {
	key      laneKey
	site     string // laneProbe and laneMint: the site that is asked
	rows     []OutboxRow
	since    time.Time // since when the first row is the first
	failures int       // failures of the first row
	refusals int       // how many of the last failures were ErrRefused, in a row
}

// readyList is an unbounded queue. This is safe because every row in it is in the store as
// well.
type readyList struct {
	queue []*laneQueue
	wake  chan struct{} // capacity 1; if full, a wake-up is already pending
}

func newOutbox(r effect.Runner, p Publisher, m *metrics, report func(context.Context, notice) error) *outbox {
	o := &outbox{
		runner: r, publisher: p, metrics: m, report: report, logger: room.Logger(nil), clock: time.Now,
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
		key := laneKey{trade: r.Trade, lane: lane(r), outflow: r.Effect.Outflow}
		switch {
		case r.Effect.Kind == trade.FxProbe || r.Effect.Kind == trade.FxLook:
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
		q := &laneQueue{key: key, rows: []OutboxRow{r}, since: time.Now()}
		if key.lane == laneProbe || key.lane == laneMint {
			q.site = siteOf(r.Effect.Text)
		}
		o.lanes[key] = q
		o.makeReady(q)
	}
}

// clear removes all queued rows, before the store is read again.
func (o *outbox) clear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.lanes)
	clear(o.queued)
	for _, list := range o.ready {
		list.queue = nil
	}
}

// makeReady requires mu.
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

// pick removes and returns the first queue that may be served now, or returns nil. The
// node lane may be paused, and a site may occupy only its share of the workers. pick
// requires mu.
func (o *outbox) pick(l laneOf, list *readyList) *laneQueue {
	if (l == laneNode || l == laneFund) && o.paused {
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

// pause stops the start of rows in the node lane, or allows it again.
func (o *outbox) pause(paused bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.paused = paused
	o.ready[laneNode].signal()
	o.ready[laneFund].signal()
}

// next waits until a queue of the lane can be served.
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

// run performs rows until ctx ends, and returns after the last row in progress.
func (o *outbox) run(ctx context.Context) {
	var wg sync.WaitGroup
	for l, workers := range map[laneOf]int{
		laneMail: mailWorkers, laneReply: mailWorkers, laneEvent: eventWorkers, laneProbe: addressWorkers, laneMint: addressWorkers, laneFund: fundWorkers,
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

// serve performs the first row of a queue. Only the worker that took the queue accesses
// its first row; add appends behind that row.
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
		if q.refusals++; !errors.Is(err, lightning.ErrRefused) {
			q.refusals = 0
		}
		o.metrics.failed(row.Effect.Kind, err)
		wait := backoff(q.failures)
		if errors.Is(err, payoutgate.ErrWaits) {
			q.failures, wait = 0, roomEvery
		}
		time.AfterFunc(wait, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.makeReady(q)
		})
		return
	}
	o.queued[q.key.lane]--
	q.failures, q.refusals, q.since = 0, 0, time.Now()
	q.rows = q.rows[1:]
	if len(q.rows) == 0 {
		delete(o.lanes, q.key)
		return
	}
	o.makeReady(q)
}

// noteSite records whether a site was slow. noteSite requires mu.
func (o *outbox) noteSite(site string, took time.Duration) {
	if took < slowSite {
		delete(o.slow, site)
		return
	}
	if len(o.slow) >= probesInAll {
		clear(o.slow) // an attacker pays for domain names, but not much
	}
	o.slow[site] = time.Now()
}

// supersedes reports whether a later row of the queue replaces the event of the row,
// because relays keep only the newest version of an address.
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

// backoff returns the wait after the n-th failure of a row: 200 ms, doubling, at most 30
// s. The backoff decides only how often the node is asked.
func backoff(n int) time.Duration {
	return min(200*time.Millisecond<<min(n-1, 10), 30*time.Second)
}

// do performs one row, and returns the notice for the engine. refusals is the number of
// times that the node has refused the row with an unknown text.
func (o *outbox) do(ctx context.Context, row OutboxRow, refusals int) (notice, error) {
	n := notice{trade: row.Trade, row: row.ID}
	if lane(row).publishes() {
		err := o.publisher.Publish(ctx, row.Event)
		if errors.Is(err, ErrEventRefused) {
			// Rows behind this one must not wait for an event that will never be accepted.
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
		// The sender no longer waits for the result.
		return row.answered(n, effect.Result{}), nil
	}
	if k := row.Effect.Kind; (k == trade.FxPay || k == trade.FxMint || k == devfee.FxPay || k == devfee.FxInvoice) && o.defers != nil {
		// An invoice of an address would expire while its payout waits.
		if err := o.defers(); err != nil {
			return n, err
		}
	}
	if row.Effect.Kind == trade.FxCreateHold {
		select {
		case o.creating <- struct{}{}:
			defer func() { <-o.creating }()
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
	if l := lane(row); (l == laneNode || l == laneFund) && o.usable != nil {
		fresh := nodeFresh
		if k := row.Effect.Kind; k == trade.FxCreateHold || k == trade.FxPay || k == devfee.FxPay {
			fresh = 0 // another wallet must make no invoice and pay nothing
		}
		if err := o.usable(ctx, fresh); err != nil {
			return n, err
		}
	}
	runner := o.runner
	runner.Outflow = keyOf(row)
	res, err := runner.Do(ctx, row.Effect, refusals)
	if err == nil && (res.Input.Payment.Status == trade.PaymentUnknown || res.Fee != nil && res.Fee.Payment.Status == trade.PaymentUnknown) && o.usable != nil {
		err = o.usable(ctx, 0) // another wallet does not know our payments
	}
	if k := row.Effect.Kind; errors.Is(err, lightning.ErrRefused) && o.refused != nil && (k == trade.FxCreateHold || k == trade.FxSettle || k == trade.FxCancel) {
		o.refused(err) // not for a payment: the buyer chooses its invoice, and could make one that is always refused
	}
	if err != nil {
		return n, err
	}
	n.input, n.fee = res.Input, res.Fee
	return row.answered(n, res), nil
}

// answered adds the message that waits in a row to its notice, with what it waited for.
func (r OutboxRow) answered(n notice, res effect.Result) notice {
	switch {
	case r.Inbound == nil:
	case r.Effect.Kind == trade.FxLook:
		n.message, n.hash, n.looked = r.Inbound, r.Effect.Hash, &res.Phase
	default:
		n.message, n.address, n.reachable = r.Inbound, r.Effect.Text, &res.Reachable
	}
	return n
}

// depth returns the number of rows that wait in each lane.
func (o *outbox) depth() map[laneOf]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.queued)
}

// waits returns, by lane, the longest time for which the first row of a queue has waited. A
// restart begins these times anew.
func (o *outbox) waits() map[laneOf]time.Duration {
	longest := make(map[laneOf]time.Duration)
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, q := range o.lanes {
		longest[key.lane] = max(longest[key.lane], time.Since(q.since))
	}
	return longest
}

// nodeClass returns the class of a node's error, for metrics.
func nodeClass(err error) string {
	for _, c := range []struct {
		err  error
		name string
	}{
		{payoutgate.ErrWaits, "waits"}, {lightning.ErrUnavailable, "unavailable"}, {lightning.ErrRefused, "refused"}, {lightning.ErrPermission, "permission"}, {lightning.ErrNotFound, "not_found"},
		{lightning.ErrOpen, "open"}, {lightning.ErrSettled, "settled"}, {lightning.ErrCanceled, "canceled"}, {lightning.ErrExists, "exists"}, {lightning.ErrInvoice, "invoice"},
	} {
		if errors.Is(err, c.err) {
			return c.name
		}
	}
	return "other"
}

// Package corpus generates a synthetic market of Mostros for the tests and benchmarks
// of every room: signed events in publication order, as a relay would receive them. The
// events have the real form and valid signatures. The traders, amounts and names are
// invented, so no result may be quoted as market data.
//
// The same Config produces the same bytes, including signatures, on every machine of
// one architecture. Another architecture may round an amount differently.
//
// The mix of orders (per hundred):
//
//	23 pending to the end (canceled at expires_at, unless Unexpired)
//	17 pending, canceled by the maker
//	 8 pending, success (taken with an invoice: no in-progress shows)
//	35 pending, in-progress, success
//	11 pending, in-progress, canceled
//	 6 pending, in-progress, pending again, in-progress, success
//
// An order's version is omitted if it would come after the span. Events beyond
// Config.Events are also omitted. Makers and takers arrive at any second of the span.
// Instances are drawn by Zipf's law. The market also contains each instance's profile,
// relay list and infos (every 12 hours), disputes for one in a hundred orders that were
// in progress, and a development fee and a user rating for one in twenty successes
// each.
//
// TestLoad checks the counts of two loads for benchmarks:
//
//	Config{Seed: 1, Events: 100000, Unexpired: true}
//		100,000 events: 97,284 of 41,413 orders, which end as 10,846 pending,
//		250 in progress, 19,305 success, 11,012 canceled; 240 infos, 524
//		disputes, 884 development fees, 988 user ratings, 40 profiles and
//		40 relay lists. 786 bytes in the mean as JSON.
//	Config{Seed: 1, Orders: 47500, OrdersOnly: true, Unexpired: true}
//		112,045 events of 47,500 orders, 12,137 of them pending at the end.
package corpus

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"

	"github.com/mostrodex/mostrodex/mostro"
)

// Config describes the market. The zero value is a market of a hundred orders.
type Config struct {
	Seed      int64
	Instances int // 0: 40
	// Orders is the number of orders (addresses). 0: as many as Events need.
	Orders int
	// Events is the length of the stream, including the instances' first events. 0: all
	// events of Orders.
	Events int

	Start time.Time     // zero: Now less Span, or 2026-01-05 00:00 UTC if Now is zero too
	Now   time.Time     // end of the market if Start is zero: orders are live at this time
	Span  time.Duration // 0: 72 hours

	// PendingFor is the life of a pending order. 0: 24 hours.
	PendingFor time.Duration
	// Unexpired dates every expiration a year later than a Mostro would, so that every
	// order is live when a test uses the events.
	Unexpired bool
	// OrdersOnly omits all events other than kind 38383.
	OrdersOnly bool

	Workers  int                   // 0: one per core
	Progress func(done, total int) // Each calls it from time to time; nil: no calls
}

const (
	defaultInstances = 40
	defaultSpan      = 72 * time.Hour
	infoEvery        = 12 * time.Hour
	retention        = 30 * 24 * time.Hour
	year             = 365 * 24 * time.Hour
	// ordersPerEvent is slightly more than the number of orders per event of the
	// stream, so that Events is always reached.
	ordersPerEvent = 0.48
	chunk          = 256
)

// Corpus is a planned market. Its events are generated and signed each time they are
// read. A Corpus is safe for concurrent use.
type Corpus struct {
	cfg       Config
	start     int64
	end       int64
	instances []instance
	zipf      []float64 // cumulative weights of the instances
	orders    int
	plan      []step
}

// step is one planned event: a subject, its version and a time.
type step struct {
	at      int64
	subject uint32 // index of an order or an instance
	what    what
	n       uint8 // version number of the subject
}

type what uint8

const (
	whatProfile what = iota
	whatRelays
	whatInfo
	whatOrder
	whatDispute
	whatDevFee
	whatUserRating
)

// New plans a market without signing events. It returns an error if a number of cfg is
// negative.
func New(cfg Config) (*Corpus, error) {
	if cfg.Instances < 0 || cfg.Orders < 0 || cfg.Events < 0 || cfg.Span < 0 || cfg.PendingFor < 0 || cfg.Workers < 0 {
		return nil, errors.New("corpus: negative number in the config")
	}
	if cfg.Instances == 0 {
		cfg.Instances = defaultInstances
	}
	if cfg.Orders == 0 {
		cfg.Orders = 100
		if cfg.Events > 0 {
			cfg.Orders = int(float64(cfg.Events)*ordersPerEvent) + 20
		}
	}
	if cfg.Orders > math.MaxUint32 || cfg.Instances > math.MaxUint16 {
		return nil, errors.New("corpus: too many orders or instances")
	}
	if cfg.Span == 0 {
		cfg.Span = defaultSpan
	}
	if cfg.PendingFor == 0 {
		cfg.PendingFor = 24 * time.Hour
	}
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	switch {
	case !cfg.Start.IsZero():
	case !cfg.Now.IsZero():
		cfg.Start = cfg.Now.Add(-cfg.Span)
	default:
		cfg.Start = time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC)
	}
	c := &Corpus{cfg: cfg, start: cfg.Start.Unix(), end: cfg.Start.Add(cfg.Span).Unix(), orders: cfg.Orders}
	weight := 0.0
	for i := range cfg.Instances {
		in, err := newInstance(cfg.Seed, i)
		if err != nil {
			return nil, err
		}
		c.instances = append(c.instances, in)
		weight += 1 / float64(i+1)
		c.zipf = append(c.zipf, weight)
	}
	c.makePlan()
	return c, nil
}

func (c *Corpus) makePlan() {
	if !c.cfg.OrdersOnly {
		for i := range c.instances {
			c.plan = append(c.plan, step{c.start, uint32(i), whatProfile, 0}, step{c.start, uint32(i), whatRelays, 0})
			for n, at := 0, c.start+int64(i); at < c.end && n < 256; n, at = n+1, at+int64(infoEvery/time.Second) {
				c.plan = append(c.plan, step{at, uint32(i), whatInfo, uint8(n)})
			}
		}
	}
	for i := range c.orders {
		l := c.life(i)
		add := func(at int64, w what, n int) {
			if at < c.end {
				c.plan = append(c.plan, step{at, uint32(i), w, uint8(n)})
			}
		}
		for n, v := range l.versions {
			add(v.at, whatOrder, n)
		}
		if c.cfg.OrdersOnly {
			continue
		}
		for n, v := range l.disputes {
			add(v.at, whatDispute, n)
		}
		if l.feeAt > 0 {
			add(l.feeAt, whatDevFee, 0)
		}
		if l.ratingAt > 0 {
			add(l.ratingAt, whatUserRating, 0)
		}
	}
	// The sort is stable, so events of the same second keep the order of planning.
	slices.SortStableFunc(c.plan, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	if n := c.cfg.Events; n > 0 && n < len(c.plan) {
		c.plan = slices.Clip(c.plan[:n])
	}
}

// random returns the random source of one stream of one subject.
func (c *Corpus) random(stream, subject int) *rand.Rand { return random(c.cfg.Seed, stream, subject) }

func random(seed int64, stream, subject int) *rand.Rand {
	return rand.New(rand.NewPCG(mix(uint64(seed)), mix(uint64(subject)<<8|uint64(stream))))
}

// mix spreads neighbouring seeds (SplitMix64's finaliser).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// life is the history of one order. It is computed again on each use.
type life struct {
	instance int
	versions []version
	disputes []disputeVersion
	feeAt    int64 // 0: none
	ratingAt int64 // 0: none
	taken    bool
}

type version struct {
	at     int64
	status mostro.Status
}

type disputeVersion struct {
	at    int64
	state mostro.DisputeState
}

// life draws an order's history. Each version is at least a second after the version
// before it, as on a Mostro.
func (c *Corpus) life(order int) life {
	r := c.random(0, order)
	l := life{instance: c.drawInstance(r)}
	at := c.start + r.Int64N(c.end-c.start)
	expires := at + int64(c.cfg.PendingFor/time.Second)
	add := func(s mostro.Status) { l.versions = append(l.versions, version{at, s}) }
	after := func(mean, most time.Duration) {
		at += 1 + min(int64(r.ExpFloat64()*mean.Seconds()), int64(most.Seconds()))
	}
	take := func() {
		after(2*time.Hour, c.cfg.PendingFor/4)
		add(mostro.StatusInProgress)
		l.taken = true
	}
	finish := func(s mostro.Status) {
		after(40*time.Minute, 20*time.Hour)
		add(s)
	}
	add(mostro.StatusPending)
	switch p := r.IntN(100); {
	case p < 23:
		if !c.cfg.Unexpired {
			at = expires
			add(mostro.StatusCanceled)
		}
	case p < 40:
		after(4*time.Hour, c.cfg.PendingFor*9/10)
		add(mostro.StatusCanceled)
	case p < 48:
		after(2*time.Hour, c.cfg.PendingFor/2)
		finish(mostro.StatusSuccess)
		l.taken = true
	case p < 83:
		take()
		finish(mostro.StatusSuccess)
	case p < 94:
		take()
		finish(mostro.StatusCanceled)
	default:
		take()
		finish(mostro.StatusPending)
		take()
		finish(mostro.StatusSuccess)
	}
	last := l.versions[len(l.versions)-1]
	if len(l.versions) == 3 && r.IntN(100) == 0 {
		l.drawDispute(r, last)
	}
	if last.status == mostro.StatusSuccess && r.IntN(20) == 0 && !c.instances[l.instance].free {
		l.feeAt = last.at + 1 + r.Int64N(120)
	}
	if last.status == mostro.StatusSuccess && r.IntN(20) == 0 {
		l.ratingAt = last.at + 60 + r.Int64N(3600)
	}
	return l
}

// drawDispute opens a dispute in the middle of a trade. The dispute ends with the
// trade.
func (l *life) drawDispute(r *rand.Rand, last version) {
	taken := l.versions[1].at
	room := last.at - taken
	if room < 4 {
		return
	}
	outcome := mostro.DisputeStateSettled
	if last.status == mostro.StatusCanceled {
		outcome = mostro.DisputeStateSellerRefunded
	}
	opened := taken + 1 + r.Int64N(room/2)
	l.disputes = []disputeVersion{
		{opened, mostro.DisputeStateInitiated},
		{opened + 1 + r.Int64N(max(1, (last.at-opened)/2)), mostro.DisputeStateInProgress},
		{last.at, outcome},
	}
}

func (c *Corpus) drawInstance(r *rand.Rand) int {
	x := r.Float64() * c.zipf[len(c.zipf)-1]
	return min(sort.SearchFloat64s(c.zipf, x), len(c.zipf)-1)
}

// Len returns the number of events.
func (c *Corpus) Len() int { return len(c.plan) }

// Start returns the first second of the market: all events are in [Start, End).
func (c *Corpus) Start() time.Time { return time.Unix(c.start, 0).UTC() }

// End returns the first second after the market.
func (c *Corpus) End() time.Time { return time.Unix(c.end, 0).UTC() }

// Summary counts the events of the stream, and the states of its orders after the last
// event.
type Summary struct {
	Events      int
	OrderEvents int
	Orders      int // addresses
	Pending     int // of Orders, at the end; also the next three
	InProgress  int
	Success     int
	Canceled    int
	Infos       int
	Disputes    int // events
	DevFees     int
	UserRatings int
}

// Summary returns the counts of the market. It signs no event.
func (c *Corpus) Summary() Summary {
	s := Summary{Events: len(c.plan)}
	lastVersion := make(map[uint32]uint8)
	for _, st := range c.plan {
		switch st.what {
		case whatOrder:
			s.OrderEvents++
			lastVersion[st.subject] = st.n
		case whatInfo:
			s.Infos++
		case whatDispute:
			s.Disputes++
		case whatDevFee:
			s.DevFees++
		case whatUserRating:
			s.UserRatings++
		}
	}
	s.Orders = len(lastVersion)
	for subject, n := range lastVersion {
		switch c.life(int(subject)).versions[n].status {
		case mostro.StatusPending:
			s.Pending++
		case mostro.StatusInProgress:
			s.InProgress++
		case mostro.StatusSuccess:
			s.Success++
		case mostro.StatusCanceled:
			s.Canceled++
		}
	}
	return s
}

// Each generates and signs the events on all cores and calls fn with each event, in
// publication order, from the calling goroutine. Each buffers a few thousand events.
// Each returns fn's first error, or ctx's error if ctx ends first.
func (c *Corpus) Each(ctx context.Context, fn func(*nostr.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	type batch struct {
		from, to int
		events   []*nostr.Event
		err      error
		done     chan struct{}
	}
	var (
		todo    = make(chan *batch)
		ordered = make(chan *batch, 2*c.cfg.Workers) // if full, the feeder waits for the reader
		wait    sync.WaitGroup
	)
	// All goroutines have ended when Each returns, also if fn fails.
	defer wait.Wait()
	defer cancel()
	wait.Go(func() {
		defer close(ordered)
		defer close(todo)
		for from := 0; from < len(c.plan); from += chunk {
			b := &batch{from: from, to: min(from+chunk, len(c.plan)), done: make(chan struct{})}
			select {
			case ordered <- b:
			case <-ctx.Done():
				return
			}
			select {
			case todo <- b:
			case <-ctx.Done():
				return
			}
		}
	})
	for range c.cfg.Workers {
		wait.Go(func() {
			for b := range todo {
				b.events, b.err = c.sign(b.from, b.to)
				close(b.done)
			}
		})
	}
	done := 0
	for b := range ordered {
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if b.err != nil {
			return b.err
		}
		for _, evt := range b.events {
			if err := fn(evt); err != nil {
				return err
			}
		}
		done = b.to
		if c.cfg.Progress != nil {
			c.cfg.Progress(done, len(c.plan))
		}
	}
	if done < len(c.plan) {
		return ctx.Err()
	}
	return nil
}

func (c *Corpus) sign(from, to int) ([]*nostr.Event, error) {
	events := make([]*nostr.Event, 0, to-from)
	for _, st := range c.plan[from:to] {
		evt, by := c.event(st)
		if err := c.instances[by].sign(&evt); err != nil {
			return nil, fmt.Errorf("corpus: sign event %d: %w", from+len(events), err)
		}
		events = append(events, &evt)
	}
	return events, nil
}

// Events returns all events at once.
func (c *Corpus) Events(ctx context.Context) ([]*nostr.Event, error) {
	events := make([]*nostr.Event, 0, len(c.plan))
	err := c.Each(ctx, func(evt *nostr.Event) error {
		events = append(events, evt)
		return nil
	})
	return events, err
}

// WriteNDJSON writes the events, one JSON object per line, in the format of the import
// command.
func (c *Corpus) WriteNDJSON(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<20)
	err := c.Each(ctx, func(evt *nostr.Event) error {
		if _, err := out.WriteString(evt.String()); err != nil {
			return err
		}
		return out.WriteByte('\n')
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

package federation

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Upstream is a relay that the operator configured.
type Upstream struct {
	URL       string
	Instances []string // hex keys of the Mostros to follow on this relay; empty: all
}

// Config says which relays are followed and how. Only Server and Store are
// required.
type Config struct {
	Server *relay.Server
	Store  *eventlog.Store

	Follow  []Upstream
	Forward []string        // URLs of relays that own events are sent to
	Mail    func() []string // hex keys whose mail is fetched; nil: none

	// Lists are hex keys whose lists (kind 30078) are requested from every upstream: funds
	// and witnesses, which are no Mostros.
	Lists []string

	// Discover is how many relays found in events are followed, besides the configured
	// ones; 0: none. Such relays are dialled only at public addresses. DiscoveredPerHour
	// limits the new events taken from each of them (0: 20,000).
	Discover          int
	DiscoveredPerHour int

	// Trust returns the trust in a key. Discovery ranks Mostros and their relays by trust
	// if there are more than can be followed. One goroutine calls Trust, and the call may
	// take long. nil: all keys are unknown.
	Trust func(pubkey string) Trust

	Key string // secret key for relays that require a proof (NIP-42), hex

	Resync  time.Duration // between two comparisons with a connected relay; 0: 10 min
	Rewalk  time.Duration // between two walks through all events of a relay without NIP-77; 0: 24 h
	Backoff time.Duration // first wait before the relay is dialled again; 0: 1 s. It doubles up to 5 min.
	Since   time.Time     // older events are not requested; zero: 2023, before the first Mostro

	Logger  *slog.Logger          // nil: log lines are discarded
	Metrics prometheus.Registerer // nil: metrics are not registered
}

const (
	maxBackoff       = 5 * time.Minute
	stableAfter      = time.Minute        // a connection of this length resets the backoff
	overlapWindow    = 3 * 24 * time.Hour // mail is dated back by up to two days, and relays lag
	resumeOverlap    = time.Hour
	maxInstances     = 5000 // keys whose profiles, lists and deletions are requested
	authorsPerFilter = 500
)

// followKinds are requested from every upstream. Only Mostros and similar programs publish
// these kinds. ownKinds are published by all kinds of keys, so they are requested by
// author.
//
// KindHealth is not followed: a node publishes health every minute, a reader needs it for
// three minutes, and the log would keep every version. Health that a node publishes here
// is served.
var (
	followKinds = []int{mostro.KindOrder, mostro.KindUserRating, mostro.KindInfo, mostro.KindDispute, mostro.KindDevFee, mostro.KindHostRating,
		mostro.KindReceiptKeys, mostro.KindAnnouncement}
	ownKinds  = []int{mostro.KindProfile, mostro.KindDeletion, mostro.KindRelayList, mostro.KindAppData}
	mailKinds = []int{mostro.KindMessage, mostro.KindGiftWrap}
)

// Upstreams follows other relays and forwards events to them. Each relay has one loop and
// at most one connection.
type Upstreams struct {
	cfg  Config
	log  *slog.Logger
	work chan *arrival // events to be checked; if full, the readers of the links wait
	met  *upstreamMetrics
	disc *discovery

	mu     sync.Mutex
	relays map[string]*upstream

	writers idSet // keys whose orders arrived by a link recently
}

// noteAuthor remembers the author of an order. If the author is new, the deletions of the
// author are requested from the upstreams.
func (us *Upstreams) noteAuthor(key string) {
	if !us.writers.add(key) {
		return
	}
	for _, u := range us.list() {
		if u.follow && len(u.instances) == 0 {
			u.strangers.add(key)
		}
	}
}

// writes reports whether a key has orders here, or orders that are being stored.
func (us *Upstreams) writes(key string) bool {
	return us.writers.has(key) || us.cfg.Store.LiveOf(mostro.KindOrder, key) > 0
}

// New checks the configuration and returns the followers. Run starts them.
func New(cfg Config) (*Upstreams, error) {
	cfg.Resync = cmp.Or(cfg.Resync, 10*time.Minute)
	cfg.Rewalk = cmp.Or(cfg.Rewalk, 24*time.Hour)
	cfg.Backoff = cmp.Or(cfg.Backoff, time.Second)
	cfg.DiscoveredPerHour = cmp.Or(cfg.DiscoveredPerHour, 20_000)
	if cfg.Since.IsZero() {
		cfg.Since = time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	cfg.Logger = room.Logger(cfg.Logger)
	us := &Upstreams{cfg: cfg, log: cfg.Logger, work: make(chan *arrival, 256), writers: idSet{max: maxAuthors}, relays: make(map[string]*upstream)}
	us.met = newUpstreamMetrics(us, cfg.Metrics)
	us.disc = newDiscovery(us)
	for _, f := range cfg.Follow {
		for _, key := range f.Instances {
			if !hex32.Valid(key) {
				return nil, fmt.Errorf("upstream %s: instance %q is not a key in lower-case hex", f.URL, key)
			}
		}
		u, err := us.add(f.URL, true)
		if err != nil {
			return nil, err
		}
		u.follow, u.instances = true, f.Instances
	}
	for _, url := range cfg.Forward {
		u, err := us.add(url, true)
		if err != nil {
			return nil, err
		}
		u.forward = true
	}
	return us, nil
}

// add returns the upstream of a URL. If there is none, add creates it.
func (us *Upstreams) add(raw string, configured bool) (*upstream, error) {
	url, err := normalRelayURL(raw)
	if err != nil {
		return nil, err
	}
	us.mu.Lock()
	defer us.mu.Unlock()
	if u := us.relays[url]; u != nil {
		return u, nil
	}
	u := &upstream{owner: us, srv: us.cfg.Server, store: us.cfg.Store, url: url, configured: configured,
		refused: idSet{max: maxRefused}, client: relayClient(configured), health: newHealth(url, configured), changed: make(chan struct{}, 1), gone: make(chan struct{})}
	if !configured {
		u.limiter = rate.NewLimiter(rate.Limit(float64(us.cfg.DiscoveredPerHour)/3600), us.cfg.DiscoveredPerHour)
	}
	us.relays[url] = u
	return u, nil
}

// list returns the upstreams ordered by URL.
func (us *Upstreams) list() []*upstream {
	us.mu.Lock()
	defer us.mu.Unlock()
	list := make([]*upstream, 0, len(us.relays))
	for _, u := range us.relays {
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b *upstream) int { return strings.Compare(a.url, b.url) })
	return list
}

// Run follows and forwards until ctx ends. Run returns an error if the store fails. Errors
// of other relays are counted and logged, and do not end Run.
func (us *Upstreams) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range runtime.NumCPU() {
		g.Go(func() error { return us.prove(ctx) })
	}
	started := make(map[*upstream]bool)
	start := func() {
		for _, u := range us.list() {
			if !started[u] {
				started[u] = true
				g.Go(func() error { return u.run(ctx) })
			}
		}
	}
	start()
	if len(started) > 0 {
		g.Go(func() error { return us.tellAlone(ctx) })
	}
	if len(us.cfg.Forward) > 0 {
		g.Go(func() error { return sweepForwards(ctx, us.cfg.Store, us.cfg.Server.Now) })
	}
	if len(us.cfg.Follow) > 0 {
		found := make(chan struct{}, 1)
		g.Go(func() error { return us.disc.run(ctx, found) })
		g.Go(func() error {
			for {
				select {
				case <-found:
					start()
				case <-ctx.Done():
					return nil
				}
			}
		})
	}
	return g.Wait()
}

// tellAlone logs once if no upstream answers. The relay serves its clients meanwhile.
func (us *Upstreams) tellAlone(ctx context.Context) error {
	if pause(ctx, 20*time.Second) != nil {
		return nil
	}
	for _, u := range us.list() {
		if u.health.connectedEver() {
			return nil
		}
	}
	us.log.Warn("no upstream relay is reachable: serving stored events, retrying in the background")
	return nil
}

// prove checks events for all links: policy, id, duplicates, signature.
func (us *Upstreams) prove(ctx context.Context) error {
	for {
		select {
		case x := <-us.work:
			x.going = us.cfg.Server.Check(x.a)
			close(x.checked)
		case <-ctx.Done():
			return nil
		}
	}
}

// upstream is one other relay.
type upstream struct {
	owner      *Upstreams
	srv        *relay.Server
	store      *eventlog.Store
	url        string
	configured bool
	follow     bool
	forward    bool
	instances  []string
	narrow     bool // the relay refuses everyDeletion; owned by keepUp
	client     *http.Client
	health     *health
	limiter    *rate.Limiter // of discovered relays; nil: no limit
	changed    chan struct{} // signals that the followed keys have changed; capacity 1
	gone       chan struct{} // closed when the relay is no longer followed

	refused   idSet
	strangers strangers
}

func (u *upstream) pager(l *link) *pager {
	cfg := &u.owner.cfg
	return &pager{srv: u.srv, store: u.store, url: u.url, health: u.health, link: l, since: cfg.Since.Unix(), rewalk: cfg.Rewalk}
}

func (u *upstream) reconciler(l *link) *reconciler {
	return &reconciler{srv: u.srv, store: u.store, health: u.health, link: l, since: u.owner.cfg.Since.Unix(), refused: &u.refused}
}

// allows applies the quota of events to a discovered relay. An event that is already
// stored costs nothing.
func (u *upstream) allows(evt *nostr.Event, now time.Time) bool {
	if u.limiter == nil {
		return true
	}
	if held, err := u.store.Has(context.Background(), evt.ID); err == nil && held {
		return true
	}
	return u.limiter.AllowN(now, 1)
}

// took records the outcome of an event.
func (u *upstream) took(x *arrival, out eventlog.Outcome, ok bool, reason string) {
	h := u.health
	switch {
	case out == eventlog.Duplicate, out == eventlog.Deleted:
		x.stats.held.Add(1)
		h.held.Add(1)
		return
	case ok:
		x.stats.kept.Add(1)
		h.kept.Add(1)
		return
	}
	x.stats.refused.Add(1)
	h.refuse(reason)
	if strings.HasPrefix(reason, "error:") {
		return // an error of our own store, so the event may be fetched again
	}
	u.refused.add(x.a.Event().ID)
}

// run connects to the relay again and again until ctx ends.
func (u *upstream) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-u.gone:
			cancel()
		case <-ctx.Done():
		}
	}()
	wait := u.owner.cfg.Backoff
	for {
		began := time.Now()
		u.health.state("connecting", nil, u.owner.log)
		err := u.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if dead := u.store.Err(); dead != nil {
			return dead
		}
		if time.Since(began) > stableAfter {
			wait = u.owner.cfg.Backoff
		}
		u.health.state("waiting", err, u.owner.log)
		if pause(ctx, jitter(wait)) != nil {
			return nil
		}
		wait = min(2*wait, maxBackoff)
	}
}

// session is one connection, from dialling to its end.
func (u *upstream) session(ctx context.Context) error {
	u.health.limits(fetchInfo(ctx, u.client, u.url, u.srv.Now))
	g, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	fail := func(fn func() error) {
		g.Go(func() error {
			err := fn()
			if err != nil {
				cancel(err)
			}
			return err
		})
	}
	l, err := dialLink(ctx, u, fail)
	if err != nil {
		cancel(err)
		g.Wait()
		return err
	}
	u.health.connected()
	defer l.ws.CloseNow()
	if u.follow {
		fail(func() error { return u.keepUp(l) })
	}
	if u.forward {
		f := &forwarder{srv: u.srv, store: u.store, url: u.url, health: u.health, link: l}
		fail(f.sendQueue)
	}
	<-ctx.Done()
	l.ws.CloseNow()
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// kinds returns the kinds of want that the relay's own policy keeps.
func (us *Upstreams) kinds(want []int) (kept []int) {
	for _, k := range want {
		if slices.Contains(us.cfg.Server.Kinds(), k) {
			kept = append(kept, k)
		}
	}
	return kept
}

// pause sleeps for d. pause returns an error if ctx ends before.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// jitter returns a random time between half of d and d. Relays that lost a peer in the
// same second therefore do not all dial it at once.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}

// drop stops following a relay that was found in events.
func (us *Upstreams) drop(u *upstream) {
	us.mu.Lock()
	delete(us.relays, u.url)
	us.mu.Unlock()
	close(u.gone)
}

// self returns this relay's own public URL, which is not followed.
func (us *Upstreams) self() string {
	u, err := normalRelayURL(us.cfg.Server.URL())
	if err != nil {
		return ""
	}
	return u
}

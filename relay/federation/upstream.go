package federation

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
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

// UpstreamsConfig says which relays are followed and how. Only Server and Store are
// required.
type UpstreamsConfig struct {
	Server *relay.Server
	Store  *eventlog.Store

	Follow  []Upstream
	Forward []string        // URLs of relays that own events are sent to
	Mail    func() []string // hex keys whose mail is fetched; nil: none

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

	Registerer prometheus.Registerer
	Log        *slog.Logger
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
	cfg  UpstreamsConfig
	log  *slog.Logger
	work chan *arrival // events to be checked; if full, the readers of the links wait
	met  *upstreamMetrics
	disc *discovery

	mu     sync.Mutex
	relays map[string]*upstream

	writers authors
}

// authors are keys whose orders arrived by a link recently. Those orders may not yet be in
// the store.
type authors struct {
	mu   sync.Mutex
	keys map[string]struct{}
}

// maxAuthors limits the keys in authors.
const maxAuthors = 10_000

// note remembers a key. note reports whether the key is new.
func (a *authors) note(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.keys[key]; known {
		return false
	}
	if a.keys == nil || len(a.keys) >= maxAuthors {
		a.keys = make(map[string]struct{})
	}
	a.keys[strings.Clone(key)] = struct{}{}
	return true
}

func (a *authors) has(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, known := a.keys[key]
	return known
}

// refusedIDs are the ids of events that were refused, not to be fetched by every
// comparison.
type refusedIDs struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

// maxRefused limits the refused ids in memory.
const maxRefused = 50_000

func (r *refusedIDs) add(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil || len(r.ids) >= maxRefused {
		r.ids = make(map[string]struct{})
	}
	r.ids[strings.Clone(id)] = struct{}{}
}

func (r *refusedIDs) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, refused := r.ids[id]
	return refused
}

// noteAuthor remembers the author of an order. If the author is new, the deletions of the
// author are requested from the upstreams.
func (us *Upstreams) noteAuthor(key string) {
	if !us.writers.note(key) {
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

// strangers are authors of orders whose stored deletions are to be requested from a relay.
type strangers struct {
	mu    sync.Mutex
	keys  []string
	asked time.Time // time of the last such request
}

func (s *strangers) add(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) < maxAuthors { // the next comparison covers the other authors
		s.keys = append(s.keys, strings.Clone(key))
	}
}

// due reports whether a request is due at a time.
func (s *strangers) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.keys) > 0 && now.Sub(s.asked) >= strangersEvery
}

// take removes and returns the keys of one request.
func (s *strangers) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.keys), authorsPerFilter)
	keys := s.keys[:n:n]
	s.keys, s.asked = s.keys[n:], time.Now()
	return keys
}

// NewUpstreams checks the configuration and returns the followers. Run starts them.
func NewUpstreams(cfg UpstreamsConfig) (*Upstreams, error) {
	cfg.Resync = cmp.Or(cfg.Resync, 10*time.Minute)
	cfg.Rewalk = cmp.Or(cfg.Rewalk, 24*time.Hour)
	cfg.Backoff = cmp.Or(cfg.Backoff, time.Second)
	cfg.DiscoveredPerHour = cmp.Or(cfg.DiscoveredPerHour, 20_000)
	if cfg.Since.IsZero() {
		cfg.Since = time.Date(2023, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	us := &Upstreams{cfg: cfg, log: cfg.Log, work: make(chan *arrival, 256), relays: make(map[string]*upstream)}
	us.met = newUpstreamMetrics(us, cfg.Registerer)
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
		client: relayClient(configured), health: newHealth(url, configured), changed: make(chan struct{}, 1), gone: make(chan struct{})}
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

	refused   refusedIDs
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
	u.health.limits(fetchInfo(ctx, u.client, u.url))
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

// followed is a filter for a relay: for new events, for stored events, or for both.
type followed struct {
	nostr.Filter
	live, stored bool
}

func (f followed) equal(g followed) bool {
	return f.live == g.live && f.stored == g.stored && nostr.FilterEqual(f.Filter, g.Filter)
}

// everyDeletion matches the deletions of all authors. A deletion that does not name the
// kind of its target can be recognized only by its author, and the author may be new here
// when the order arrives that is deleted next.
var everyDeletion = nostr.Filter{Kinds: []int{mostro.KindDeletion}}

// filters returns the filters to follow at this relay.
func (u *upstream) filters() (list []followed) {
	cfg := &u.owner.cfg
	both := func(f nostr.Filter) { list = append(list, followed{f, true, true}) }
	orders := nostr.Filter{Kinds: u.owner.kinds(followKinds)}
	if len(u.instances) > 0 {
		orders.Authors = u.instances
	}
	both(orders)
	authors := u.owner.disc.instances()
	deletions := slices.Contains(u.owner.kinds(ownKinds), mostro.KindDeletion)
	if len(u.instances) > 0 {
		authors = slices.Clone(u.instances)
	} else if deletions {
		if !u.narrow {
			list = append(list, followed{everyDeletion, true, false})
		}
		// A filter for stored deletions by any author that name a followed kind. Deletions
		// that name no kind are requested by author, below.
		f := nostr.Filter{Kinds: []int{mostro.KindDeletion}, Tags: nostr.TagMap{"k": nil}}
		for _, k := range orders.Kinds {
			f.Tags["k"] = append(f.Tags["k"], strconv.Itoa(k))
		}
		list = append(list, followed{f, u.narrow, true})
	}
	slices.Sort(authors)
	if kinds := u.owner.kinds(ownKinds); len(kinds) > 0 {
		for part := range slices.Chunk(authors, authorsPerFilter) {
			both(nostr.Filter{Kinds: kinds, Authors: part})
		}
	}
	if len(u.instances) == 0 && deletions {
		// The deletions of authors that have orders here and are not known Mostros.
		writers := u.store.AuthorsOf(mostro.KindOrder)
		writers = slices.DeleteFunc(writers, func(key string) bool {
			_, known := slices.BinarySearch(authors, key)
			return known
		})
		for part := range slices.Chunk(writers, authorsPerFilter) {
			list = append(list, followed{nostr.Filter{Kinds: []int{mostro.KindDeletion}, Authors: part}, u.narrow, true})
		}
	}
	if cfg.Mail != nil {
		if keys := cfg.Mail(); len(keys) > 0 {
			slices.Sort(keys)
			for part := range slices.Chunk(keys, authorsPerFilter) {
				both(nostr.Filter{Kinds: mailKinds, Tags: nostr.TagMap{"p": part}})
			}
		}
	}
	return list
}

// concerns reports whether a deletion request may be about a followed event: the request
// names a followed kind or address, or its author is a known Mostro or has orders here.
func (u *upstream) concerns(evt *nostr.Event) bool {
	kinds := u.owner.kinds(followKinds)
	for _, tag := range evt.Tags {
		if len(tag) < 2 || tag[0] != "k" && tag[0] != "a" {
			continue
		}
		kind, _, _ := strings.Cut(tag[1], ":")
		if k, err := strconv.Atoi(kind); err == nil && slices.Contains(kinds, k) {
			return true
		}
	}
	return slices.Contains(u.instances, evt.PubKey) || u.owner.Knows(evt.PubKey) || u.owner.writes(evt.PubKey)
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

// keepUp subscribes, catches up, and compares again at intervals.
func (u *upstream) keepUp(l *link) error {
	var live []*linkSub
	var filters []followed
	resync := u.owner.cfg.Resync
	for {
		if want := u.filters(); live == nil || !slices.EqualFunc(filters, want, followed.equal) {
			// New subscriptions are opened before old ones are closed, so that no event is
			// missed.
			old := live
			filters, live = want, nil
			for _, f := range filters {
				if !f.live {
					continue
				}
				f.Limit = 1 // of stored events; some relays refuse 0
				sub, err := l.ask(f.Filter, true)
				if err != nil {
					u.narrow = u.narrow || !f.stored && errors.As(err, new(refusedError)) // from the next connection on
					return err
				}
				sub.wide = !f.stored
				live = append(live, sub)
			}
			for _, sub := range old {
				if err := l.close("CLOSE", sub); err != nil {
					return err
				}
			}
		}
		u.health.state("catching up", nil, u.owner.log)
		for _, f := range filters {
			if !f.stored {
				continue
			}
			if err := u.catchUp(l, f.Filter); err != nil {
				return err
			}
		}
		if err := l.barrier(); err != nil {
			return err
		}
		u.health.caughtUp(u.srv.Now())
		u.health.state("live", nil, u.owner.log)
		until := time.Now().Add(jitter(resync))
		for {
			compare, err := u.followLive(l, live, until)
			if err != nil {
				return err
			}
			if compare {
				break
			}
			if err := u.askStrangers(l); err != nil {
				return err
			}
		}
	}
}

const (
	// strangersEvery is the shortest time between two requests for the deletions of new
	// authors. Each request has at most authorsPerFilter of them, so that a client that
	// makes many keys does not cause more requests.
	strangersEvery = 10 * time.Second
	// maxStrangerWalks is up to how many new authors are walked one by one.
	maxStrangerWalks = 8
)

// followLive waits until the next comparison is due, or until deletions of new authors are
// to be requested. If the relay closes a subscription, followLive returns an error. The
// subscription is then opened again on a new connection, after the backoff.
func (u *upstream) followLive(l *link, live []*linkSub, until time.Time) (compare bool, err error) {
	resync := u.owner.cfg.Resync
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	check := time.NewTicker(min(time.Second, resync))
	defer check.Stop()
	for {
		select {
		case <-timer.C:
			return true, nil
		case <-u.changed:
			// Mostros are found in bursts, so one comparison covers all of them.
			return true, pause(l.ctx, min(5*time.Second, resync))
		case <-l.ctx.Done():
			return false, context.Cause(l.ctx)
		case now := <-check.C:
			for _, sub := range live {
				select {
				case end := <-sub.done:
					if end.closed {
						u.narrow = u.narrow || sub.wide
						u.health.closed(end.reason)
						return false, refusedError("closed: " + end.reason)
					}
				default:
				}
			}
			if u.strangers.due(now) {
				return false, nil
			}
		}
	}
}

// askStrangers fetches the stored deletions of authors whose orders have arrived since the
// last comparison. askStrangers writes no cursor, because the next comparison includes
// these authors.
func (u *upstream) askStrangers(l *link) error {
	keys := slices.DeleteFunc(u.strangers.take(), u.owner.Knows) // requested with their profiles
	if len(keys) == 0 || !slices.Contains(u.owner.kinds(ownKinds), mostro.KindDeletion) {
		return nil
	}
	f := nostr.Filter{Kinds: []int{mostro.KindDeletion}, Authors: keys}
	if u.health.offersNeg() {
		if ok, err := u.reconciler(l).reconcile(f); ok || err != nil {
			return err
		}
	}
	size := len(keys)
	if size <= maxStrangerWalks {
		size = 1 // the comment of page has the reason
	}
	for part := range slices.Chunk(keys, size) {
		f.Authors = part
		if err := u.pager(l).walk(f, u.srv.Now().Add(relay.DefaultMaxFuture).Unix(), u.owner.cfg.Since.Unix(), nil); err != nil {
			return err
		}
	}
	return nil
}

// catchUp fetches all events that the relay holds for a filter.
func (u *upstream) catchUp(l *link, f nostr.Filter) error {
	mail := slices.ContainsFunc(f.Kinds, mostro.IsMail)
	if u.health.offersNeg() && !mail { // mail takes no part in reconciliation
		ok, err := u.reconciler(l).reconcile(f)
		if err != nil || ok {
			return err
		}
	}
	return u.pager(l).page(f)
}

// filterName returns the name of a filter in the key of a cursor.
func filterName(f nostr.Filter) string {
	f.Since, f.Until, f.Limit, f.LimitZero = nil, nil, 0, false
	b, err := f.MarshalJSON()
	if err != nil {
		b = []byte(f.String())
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:8])
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

// failure returns the class of an error, for metrics.
func failure(err error) string {
	var refused refusedError
	switch text := fmt.Sprint(err); {
	case err == nil:
		return "none"
	case errors.Is(err, errLying):
		return "lying"
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded):
		return "silent"
	case errors.As(err, &refused):
		return "refused"
	case strings.Contains(text, "no such host"), strings.Contains(text, "server misbehaving"), strings.Contains(text, "dial tcp: lookup"):
		return "dns"
	case strings.Contains(text, "tls:"), strings.Contains(text, "x509:"), strings.Contains(text, "HTTP response to HTTPS"):
		return "tls"
	case strings.Contains(text, "prohibited"), strings.Contains(text, "ssrf"):
		return "private"
	case strings.Contains(text, "connection refused"), strings.Contains(text, "unreachable"), strings.Contains(text, "i/o timeout"):
		return "unreachable"
	case strings.Contains(text, "expected handshake response"):
		return "handshake"
	}
	return "closed"
}

package relay

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Searcher answers NIP-50 searches: the ids of live events that match the
// whole filter, best first, at most f.Limit of them.
type Searcher interface {
	Search(ctx context.Context, f nostr.Filter) (ids []string, err error)
}

// Config is what a Server is made of. Only Store is required.
type Config struct {
	Store  eventStore
	Policy Policy   // zero fields have documented defaults
	Search Searcher // nil: filters with "search" are refused as unsupported

	// Fallback answers HTTP requests that are neither websockets, nor NIP-11,
	// nor imports. nil: 404.
	Fallback http.Handler

	// Quota may refuse an event before the expensive checks, with a reason
	// that has a NIP-01 prefix. It is not asked for what comes from this
	// machine itself. nil: no quota.
	Quota func(ip netip.Addr, evt *nostr.Event) (reason string)

	Name, Description, Contact string
	PubKey                     string // of the operator, hex
	Version                    string // of this program
	Icon                       string
	URL                        string // public wss:// address; "": proofs of keys hold for the listener's own address alone

	Limits Limits // quotas and rates of events; zero: the defaults

	// RulesFile holds the Rules that change while the relay runs; "": they are
	// kept in memory alone.
	RulesFile string

	// KnownMail says whether mail by or for a key is taken. nil: all is.
	KnownMail func(pubkey string) bool

	// Forwarding queues what this program publishes for other relays, which
	// Upstreams sends it to.
	Forwarding bool

	// NobodyIsLocal says that what comes from this machine is held to rates and
	// may not import: a proxy or an onion service without a trusted header speaks
	// for strangers.
	NobodyIsLocal bool

	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed; nil: nobody's
	Admins         []string       // hex keys that may import from elsewhere

	MaxMessageBytes  int // of one client message; 0: 512 KiB
	MaxSubscriptions int // per connection; 0: 1024
	MaxFilters       int // per REQ or COUNT; 0: 100
	DefaultLimit     int // of filters without limit that name neither author nor #p; 0: 500
	MaxLimit         int // of any filter; 0: 5000. One REQ gets at most four times as many.
	MaxInFlight      int // events per connection that await the store; 0: 256
	MaxQueueBytes    int // unsent bytes per connection before it is closed; 0: 4 MiB
	MaxQueuedBytes   int // unsent bytes of all connections; 0: 48 MiB. Near it, each may have less.
	MaxConnections   int // 0: 50,000
	MaxConnsPerIP    int // of one address, which is not this machine; 0: DefaultConnsPerIP, negative: no bound

	PingEvery time.Duration // of silence; 0: 30 s
	IdleAfter time.Duration // silence after which a client is gone; 0: 90 s
	WriteWait time.Duration // for 256 KiB to be taken by the client; 0: 20 s

	Registerer prometheus.Registerer // nil: metrics are kept and not shown
	Log        *slog.Logger          // nil: discarded
	Now        func() time.Time      // nil: time.Now
}

// DefaultConnsPerIP is how many connections one address may have.
const DefaultConnsPerIP = 256

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (c *Config) setDefaults() {
	c.Policy = c.Policy.withDefaults()
	orDefault(&c.Name, "mostrodex")
	orDefault(&c.MaxMessageBytes, 512<<10)
	orDefault(&c.MaxSubscriptions, 1024)
	orDefault(&c.MaxFilters, 100)
	orDefault(&c.DefaultLimit, 500)
	orDefault(&c.MaxLimit, 5000)
	orDefault(&c.MaxInFlight, 256)
	orDefault(&c.MaxQueueBytes, 4<<20)
	orDefault(&c.MaxQueuedBytes, 48<<20)
	orDefault(&c.MaxConnections, 50_000)
	orDefault(&c.MaxConnsPerIP, DefaultConnsPerIP)
	orDefault(&c.PingEvery, 30*time.Second)
	orDefault(&c.IdleAfter, 90*time.Second)
	orDefault(&c.WriteWait, 20*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Fallback == nil {
		c.Fallback = http.NotFoundHandler()
	}
}

// Server is the relay as its clients see it. khatru is the frame: its Relay
// carries the admission hooks, which every event passes by AddEvent, and routes
// plain HTTP. The sockets, the answers and the live events are ours.
type Server struct {
	cfg      Config
	khatru   *khatruRelay
	dispatch *dispatcher
	met      *metrics
	info     atomic.Pointer[[]byte] // the NIP-11 document
	negs     negSets
	rates    rates
	proofs   usedProofs
	noURL    sync.Once // of the warning that proofs are refused for want of a URL
	exports  exports
	// checking has a place for each core: with more checks at once the events
	// come in no faster, and what reads the log gets less of the cores.
	checking chan struct{}
	rules    atomic.Pointer[compiled]
	rulesMu  sync.Mutex // of changing rules and the file

	stopping context.Context // ends when Run begins to close connections
	stop     context.CancelFunc
	ctx      context.Context // ends after the last connection
	cancel   context.CancelFunc
	gone     sync.WaitGroup // connections

	queued atomic.Int64 // bytes that wait for the clients of all connections

	mu      sync.Mutex
	conns   map[*conn]struct{}
	byIP    map[netip.Addr]int // of opening
	open    map[netip.Addr]openFilters
	opening int // upgrades admitted, connections included
	closed  bool
}

// New makes a server. It accepts requests at once; Run delivers live events
// and must be called.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil {
		return nil, errors.New("relay: a server needs a store")
	}
	cfg.setDefaults()
	s := &Server{cfg: cfg, met: newMetrics(cfg.Registerer), conns: make(map[*conn]struct{}), byIP: make(map[netip.Addr]int), open: make(map[netip.Addr]openFilters), checking: make(chan struct{}, runtime.NumCPU())}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.stopping, s.stop = context.WithCancel(s.ctx)
	s.negs.now = time.Now
	if err := s.loadRules(); err != nil {
		return nil, err
	}
	s.dispatch = newDispatcher(cfg.Store, cfg.Now, s.met)
	s.dispatch.serves = func(evt *nostr.Event) bool { return s.rules.Load().serves(evt, "") }
	mux := http.NewServeMux()
	mux.Handle("/", cfg.Fallback)
	mux.HandleFunc("POST /api/v1/import", s.serveImport)
	s.khatru = s.newKhatru(mux)
	return s, nil
}

// Run delivers live events and keeps connections alive until ctx ends; then it
// says goodbye to every client, lets their appends finish, and returns. An
// error other than nil means that the store failed.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.dispatch.run(ctx) })
	g.Go(func() error { return s.dispatch.runEphemeral(ctx) })
	g.Go(func() error { return s.keep(ctx) })
	g.Go(func() error { return s.watchRules(ctx) })
	err := g.Wait()

	s.stop()
	s.mu.Lock()
	s.closed = true
	open := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		open = append(open, c)
	}
	s.mu.Unlock()
	for _, c := range open {
		c.end(ws.StatusGoingAway, "the relay is shutting down", false)
	}
	s.gone.Wait()
	s.cancel()
	return err
}

// keep pings the silent and closes the gone. Connections are looked at each
// second, so pings spread as the connections' beginnings did.
func (s *Server) keep(ctx context.Context) error {
	tick := time.NewTicker(min(time.Second, s.cfg.PingEvery/4))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now().UnixMilli()
		s.mu.Lock()
		for c := range s.conns {
			silent := now - c.lastRead.Load()
			switch {
			case c.unsent() > 0:
				// The write deadline rules: a long answer on a thin line is no silence.
			case silent > s.cfg.IdleAfter.Milliseconds():
				s.met.unresponsive.Inc()
				c.end(ws.StatusGoingAway, "no answer to pings", false)
			case silent > s.cfg.PingEvery.Milliseconds() && now-c.lastPing > s.cfg.PingEvery.Milliseconds():
				c.lastPing = now
				c.ping()
			}
		}
		s.mu.Unlock()
	}
}

// admitConn takes a place for a connection; releaseConn or removeConn gives it
// back. It returns why there is none.
func (s *Server) admitConn(ip netip.Addr, local bool) (refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := rateKey(ip)
	switch {
	case s.closed || s.opening >= s.cfg.MaxConnections:
		return "too many connections"
	case !local && !ip.IsLoopback() && s.cfg.MaxConnsPerIP > 0 && s.byIP[key] >= s.cfg.MaxConnsPerIP:
		return "too many connections from this address"
	}
	s.opening++
	s.byIP[key]++
	return ""
}

func (s *Server) releaseConn(ip netip.Addr) {
	s.mu.Lock()
	s.leave(ip)
	s.mu.Unlock()
}

// leave gives a place back. mu is held.
func (s *Server) leave(ip netip.Addr) {
	s.opening--
	key := rateKey(ip)
	if s.byIP[key]--; s.byIP[key] <= 0 {
		delete(s.byIP, key)
	}
}

// addConn makes a connection known. After the server has closed it is refused.
func (s *Server) addConn(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.gone.Add(1)
	s.conns[c] = struct{}{}
	s.met.connections.Set(float64(len(s.conns)))
	s.met.connectionsTotal.Inc()
	return true
}

func (s *Server) removeConn(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.leave(c.ip)
	s.met.connections.Set(float64(len(s.conns)))
	s.mu.Unlock()
	s.gone.Done()
}

// ServeHTTP takes websockets and NIP-11 itself and leaves the rest to khatru's
// router.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case isUpgrade(r.Header):
		s.upgrade(w, r)
	case wantsInfo(r):
		s.serveInfo(w, r)
	case hasToken(r.Header.Values("Upgrade"), "websocket"):
		// khatru would take it for a handshake, on its own socket loop.
		http.Error(w, "the Connection header does not ask for an upgrade", http.StatusBadRequest)
	case isManagement(r):
		s.serveManagement(w, r)
	default:
		s.khatru.ServeHTTP(w, r)
	}
}

// admission is one event on its way in. khatru hands it to the hooks as their
// context.
type admission struct {
	context.Context
	evt    *nostr.Event
	text   string // that the event was read from, "" where there is none
	json   []byte // canonical, once encoded; may be text itself
	size   int
	source mostro.Source
	ip     netip.Addr
	local  bool
	authd  map[string]bool
	was    *eventlog.Witnessed // in a backup; nil: it arrives now

	seen bool // khatru called the hooks

	// the result: pending, or ok and reason
	pending eventlog.Pending
	ok      bool
	reason  string
	out     eventlog.Outcome // Duplicate when that was found before the store was asked
}

// caught turns a panic on the way of one event into a refusal: one client's
// message must not end a process that holds others' money. It is deferred.
func (s *Server) caught(refuse func(reason string)) {
	if p := recover(); p != nil {
		s.met.panics.Inc()
		s.cfg.Log.Error("panic while admitting an event", "panic", p, "stack", string(debug.Stack()))
		refuse("error: internal error")
	}
}

// check does all that needs no order between events: policy, quota, id, what
// is held already, signature. It says whether the event may go on to submit.
func (s *Server) check(a *admission) (more bool) {
	defer s.caught(func(reason string) { more = a.refuse(reason) })
	evt := a.evt
	rules := s.rules.Load()
	policy := s.cfg.Policy
	policy.Kinds = rules.kinds(policy.Kinds)
	client := a.source.Road == mostro.RoadClient
	if client && rules.blocksIP(a.ip) {
		return a.refuse("blocked: this address may not publish here")
	}
	if reason := policy.refuse(evt, a.size, s.cfg.Now(), a.source.Road); reason != "" {
		return a.refuse(reason)
	}
	if reason := rules.refuse(evt, a.source.Road); reason != "" {
		return a.refuse(reason)
	}
	if reason := s.refuseMail(evt, a.source.Road); reason != "" {
		return a.refuse(reason)
	}
	if client && !a.local {
		if reason := s.refuseRate(a, rules); reason != "" {
			return a.refuse(reason)
		}
	}
	if s.cfg.Quota != nil && a.source.Road == mostro.RoadClient && !a.local {
		if reason := s.cfg.Quota(a.ip, evt); reason != "" {
			return a.refuse(reason)
		}
	}
	var intact bool
	if a.json, intact = mostro.CheckedText(evt, a.text); !intact {
		return a.refuse("invalid: the id is not the hash of the event")
	}
	if !nostr.IsEphemeralKind(evt.Kind) {
		// The id being right, what is held under it is this very event.
		held, err := s.cfg.Store.Has(a, evt.ID)
		if err != nil {
			return a.refuse("error: the store could not be asked")
		}
		if held {
			a.out, a.ok, a.reason = s.repeated(a, evt.ID, a.source.Road)
			return false
		}
	}
	if !signatureHolds(evt) {
		return a.refuse("invalid: the signature is wrong")
	}
	if client && !a.local {
		if reason := s.refuseKeyRate(a, rules); reason != "" {
			return a.refuse(reason)
		}
	}
	return true
}

const (
	reasonDuplicate = "duplicate: already have this event"
	reasonOlder     = "duplicate: a newer version is held"
	reasonDeleted   = "blocked: deleted by its author"
	reasonGone      = "blocked: deleted by its author, or expired"
	reasonQuota     = "blocked: the quota of live addresses is used up"
	reasonStore     = "error: the event could not be stored"
	reasonFull      = "error: the disk is full"
)

func (a *admission) refuse(reason string) bool {
	a.ok, a.reason = false, reason
	return false
}

// refuseProtected: a protected event is taken from its authenticated author
// alone (NIP-70), or from this program, which signs as that author.
func (s *Server) refuseProtected(a *admission) string {
	switch {
	case !isProtected(a.evt.Tags) || a.source.Road == mostro.RoadSelf || a.authd[a.evt.PubKey]:
		return ""
	case len(a.authd) == 0 && a.source.Road == mostro.RoadClient:
		return "auth-required: a protected event is taken from its author only"
	default:
		return "restricted: a protected event is taken from its author only"
	}
}

// enqueue hands an event to the store's queue. It returns the reason if the
// store takes no event.
func (s *Server) enqueue(a *admission) (refusal string) {
	arrival := eventlog.Arrival{Event: a.evt, JSON: a.json, ReceivedAt: s.cfg.Now(), Source: a.source,
		Forward: s.cfg.Forwarding && a.source.Road == mostro.RoadSelf,
		Quota:   s.rules.Load().quotas(a.source.Road)}
	if a.was != nil {
		a.was.Restore(&arrival)
	}
	p, err := s.cfg.Store.Enqueue(a, arrival)
	if errors.Is(err, eventlog.ErrFull) {
		return reasonFull
	}
	if err != nil {
		return reasonStore
	}
	a.pending = p
	if p, ok := p.(*eventlog.Enqueued); ok && p.IsDeletion() {
		a.pending = deletionPending{p, s, a}
	}
	return ""
}

// deliver offers an ephemeral event to its subscribers. It returns the reason if
// the lane for ephemeral events is full.
func (s *Server) deliver(a *admission) (refusal string) {
	if !s.dispatch.offer(a.evt, a.json) {
		return "rate-limited: too many ephemeral events at once"
	}
	s.met.ephemeral.Inc()
	a.ok = true
	return ""
}

// settle waits for a submitted event's outcome and puts it in a client's words.
func (s *Server) settle(ctx context.Context, p eventlog.Pending, id string, road mostro.Road) (out eventlog.Outcome, ok bool, reason string) {
	_, out, err := p.Wait(ctx)
	if errors.Is(err, eventlog.ErrFull) {
		return 0, false, reasonFull
	}
	if err != nil {
		return 0, false, reasonStore
	}
	s.met.outcome(out)
	switch out {
	case eventlog.Added:
		return out, true, ""
	case eventlog.Duplicate:
		return s.repeated(ctx, id, road)
	case eventlog.Archived:
		return out, true, reasonOlder
	case eventlog.Deleted:
		return out, false, reasonDeleted
	case eventlog.OverQuota:
		return out, false, reasonQuota
	}
	return out, false, reasonStore
}

// repeated is the answer to an event that is held already. What is held and
// cannot be read was deleted, or is mail that has expired: it is refused, but
// for this program's own outbox, which has nothing more to do about it.
func (s *Server) repeated(ctx context.Context, id string, road mostro.Road) (out eventlog.Outcome, ok bool, reason string) {
	_, err := s.cfg.Store.Find(ctx, id)
	switch {
	case err == nil, errors.Is(err, mostro.ErrNotFound) && road == mostro.RoadSelf:
		return eventlog.Duplicate, true, reasonDuplicate
	case eventlog.IsDamage(err):
		return 0, false, "error: the stored copy of this event is damaged"
	case errors.Is(err, mostro.ErrNotFound):
		return eventlog.Deleted, false, reasonGone
	default:
		return 0, false, "error: the store could not be asked"
	}
}

// ErrRefused says that the relay will not take an event, and why. It would be
// refused again.
var ErrRefused = errors.New("refused")

// Publish takes an event made by this program. When it returns nil the event
// is in the log, or was already. An error that wraps ErrRefused is definite.
func (s *Server) Publish(ctx context.Context, evt *nostr.Event) error {
	a := &admission{Context: ctx, evt: evt, source: mostro.Source{Road: mostro.RoadSelf}}
	if s.check(a) {
		s.submit(a)
	}
	if a.pending != nil {
		_, a.ok, a.reason = s.settle(ctx, a.pending, evt.ID, mostro.RoadSelf)
	}
	switch {
	case a.ok:
		return nil
	case strings.HasPrefix(a.reason, "error:"), strings.HasPrefix(a.reason, "rate-limited:"):
		return fmt.Errorf("publish %s: %s", evt.ID, a.reason)
	}
	return fmt.Errorf("publish %s: %w: %s", evt.ID, ErrRefused, a.reason)
}

func newChallenge() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

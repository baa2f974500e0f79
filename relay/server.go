package relay

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/negentropy"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Searcher answers NIP-50 searches. Search returns the ids of live events that match the
// whole filter, best first, at most f.Limit of them.
type Searcher interface {
	Search(ctx context.Context, f nostr.Filter) (ids []string, err error)
}

// Config holds the settings of a Server. Only Store is required.
type Config struct {
	Store  eventStore
	Policy Policy   // zero fields have documented defaults
	Search Searcher // nil: filters with "search" are refused as unsupported

	// Fallback answers HTTP requests that are neither websockets, nor NIP-11,
	// nor NIP-86. nil: 404.
	Fallback http.Handler

	// Quota may refuse an event before the expensive checks. The reason has a NIP-01
	// prefix. Quota is not called for events from this machine. nil: no quota.
	Quota func(ip netip.Addr, evt *nostr.Event) (reason string)

	Name, Description, Contact string
	PubKey                     string // of the operator, hex
	Self                       string // key that answers private messages to the relay, hex; "": none
	Version                    string // of this program
	Icon                       string
	URL                        string // public wss:// address; "": proofs of keys are valid only for the listener's own address

	Limits Limits // quotas and rates of events; zero: the defaults

	// RulesFile is the file of the Rules that may change while the relay runs. "": the
	// rules are kept in memory only.
	RulesFile string

	// KnownMail reports whether mail of a key, or to a key, is taken. nil: all mail is
	// taken.
	KnownMail func(pubkey string) bool

	// Urgent reports whether an event of size bytes, whose signature is verified, may use a part
	// of the reserve of a full disk. nil: no event of others may.
	Urgent func(evt *nostr.Event, size int) bool

	// Forwarding queues events of this program for other relays. federation.Upstreams
	// sends the queue.
	Forwarding bool

	// NobodyIsLocal applies rates to clients on this machine too, and forbids imports
	// without a proof. It is for a proxy or an onion service that sends no trusted header,
	// because its connections come from strangers.
	NobodyIsLocal bool

	// ReadOnly refuses the events of clients. Events of other relays, of imports and of this
	// program are taken.
	ReadOnly bool

	TrustedProxies []netip.Prefix // proxies whose X-Forwarded-For is believed; nil: none
	Admins         []string       // hex keys that may import from other machines

	MaxMessageBytes  int // largest client message in bytes; 0: 512 KiB
	MaxSubscriptions int // per connection; 0: 1024
	MaxFilters       int // per REQ or COUNT; 0: 100
	DefaultLimit     int // of a filter without limit that names neither author nor #p; 0: 500
	MaxLimit         int // of any filter; 0: 5000. One REQ returns at most four times as many events.
	MaxInFlight      int // events per connection that await the store; 0: 256
	MaxQueueBytes    int // unsent bytes per connection before the connection is closed; 0: 4 MiB
	MaxQueuedBytes   int // unsent bytes of all connections; 0: 48 MiB. The limit per connection shrinks near it.
	MaxConnections   int // 0: 50,000
	MaxConnsPerIP    int // per address that is not this machine; 0: DefaultConnsPerIP, negative: no limit

	PingEvery time.Duration // silence before a ping; 0: 30 s
	IdleAfter time.Duration // silence before the connection is closed; 0: 90 s
	WriteWait time.Duration // time for the client to take 256 KiB; 0: 20 s

	Logger  *slog.Logger          // nil: log lines are discarded
	Metrics prometheus.Registerer // nil: metrics are not registered
	Now     func() time.Time      // nil: time.Now
}

// defaultName is the name of a relay without a name.
const defaultName = "mostrodex"

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
	orDefault(&c.Name, defaultName)
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
	c.Logger, c.Now = room.Logger(c.Logger), room.Clock(c.Now)
	if c.Fallback == nil {
		c.Fallback = http.NotFoundHandler()
	}
}

// Server is the relay as its clients see it. khatru is the frame: its Relay carries the
// admission hooks, which every event passes by AddEvent. The sockets, the answers and the
// live events are ours.
//
// Server wires its parts and forwards calls to them. Each part owns its state; the
// comments of the types say by which locks. The fields are set by New and do not change.
type Server struct {
	cfg        Config
	met        *metrics
	moderation moderation   // the rules in force
	management management   // NIP-86, changes the rules
	rates      rates        // charges events and requests
	admit      *admitter    // decides about events
	dispatch   *dispatcher  // sends live events
	query      querier      // collects stored events
	negs       negSets      // snapshots for NIP-77
	conns      *connections // the open connections
	queues     queues       // bytes that wait for clients
	peers      peers        // addresses of clients
	own        ownURL       // the relay's own address
	proofs     proofs       // NIP-98, of admins
	keyProofs  proofs       // NIP-98, of any key
	imports    importer     // admits files of events
	importHTTP importHandler
	exportHTTP exportHandler

	stopping context.Context // ends when Run begins to close connections
	stop     context.CancelFunc
	ctx      context.Context // ends after the last connection
	cancel   context.CancelFunc
}

// New returns a server. The server answers requests at once. The caller must also call
// Run, which delivers live events.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil {
		return nil, errors.New("relay: a server needs a store")
	}
	cfg.setDefaults()
	s := &Server{cfg: cfg, met: newMetrics(cfg.Metrics)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.stopping, s.stop = context.WithCancel(s.ctx)

	s.moderation.cfg, s.moderation.settings = &s.cfg, s.cfg.settings()
	if err := s.moderation.load(); err != nil {
		return nil, err
	}
	s.dispatch = newDispatcher(cfg.Store, cfg.Now, s.met)
	s.dispatch.serves = func(evt *nostr.Event) bool { return s.moderation.current().serves(evt, "") }
	s.query = querier{cfg: &s.cfg, rules: &s.moderation}
	s.negs.now = time.Now
	s.rates = rates{rules: &s.moderation, now: cfg.Now}
	s.admit = newAdmitter(&s.cfg, &s.moderation, &s.rates, s.dispatch, s.met)

	s.queues = queues{perConn: cfg.MaxQueueBytes, total: cfg.MaxQueuedBytes, writeWait: cfg.WriteWait, met: s.met}
	s.conns = newConnections(&s.cfg, s.met)
	s.peers = peers{proxies: cfg.TrustedProxies, nobodyIsLocal: cfg.NobodyIsLocal}
	s.own = ownURL{url: cfg.URL, log: cfg.Logger}
	s.proofs = proofs{admins: cfg.Admins, own: &s.own, now: cfg.Now}
	s.keyProofs = proofs{own: &s.own, now: cfg.Now, since: cfg.Now().Truncate(time.Second)}
	s.management = management{rules: &s.moderation, proofs: &s.proofs, log: cfg.Logger}
	s.imports = importer{admit: s.admit, rules: &s.moderation, now: cfg.Now, met: s.met}
	s.importHTTP = importHandler{imp: &s.imports, peers: &s.peers, proofs: &s.proofs, stopping: s.stopping, wait: cfg.WriteWait}
	s.exportHTTP = exportHandler{store: cfg.Store, peers: &s.peers, rates: &s.rates, log: cfg.Logger}
	return s, nil
}

// Run delivers live events and keeps connections alive until ctx ends. Run then closes
// every connection with a reason, waits for the appends of the clients, and returns nil.
// Run returns an error if the store fails.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.dispatch.run(ctx) })
	g.Go(func() error { return s.dispatch.runEphemeral(ctx) })
	g.Go(func() error { return s.conns.keep(ctx) })
	g.Go(func() error { return s.moderation.watch(ctx) })
	err := g.Wait()

	s.stop()
	s.conns.close("the relay is shutting down")
	s.cancel()
	return err
}

// ServeHTTP answers websockets, NIP-11 and NIP-86, on every path, and passes
// other requests to Fallback.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case isUpgrade(r.Header):
		s.upgrade(w, r)
	case wantsInfo(r):
		serveInfo(w, r, *s.moderation.info.Load())
	case hasToken(r.Header.Values("Upgrade"), "websocket"):
		http.Error(w, "the Connection header does not ask for an upgrade", http.StatusBadRequest)
	case isManagement(r):
		s.management.ServeHTTP(w, r)
	default:
		s.cfg.Fallback.ServeHTTP(w, r)
	}
}

func newChallenge() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Reload puts other settings in force. Connections stay open. If Reload returns an error, the
// settings are as before.
func (s *Server) Reload(settings Settings) error { return s.moderation.reload(settings) }

// Rules returns the rules in force.
func (s *Server) Rules() Rules { return s.moderation.current().Rules }

// Moderated returns the keys and the events that the rules in force never show. onDemand are
// the keys that are shown if a search asks for spam. version changes with the rules. The
// caller must not modify the sets.
func (s *Server) Moderated() (version uint64, never, onDemand, events map[[32]byte]struct{}) {
	return s.moderation.hidden()
}

// Check makes every check that does not depend on the order of events: policy, quota, id,
// duplicates, signature. Check returns true if the event may go on to Submit. If Check
// returns false, Outcome returns the answer.
func (s *Server) Check(a *Admission) (more bool) { return s.admit.check(a) }

// Submit passes an event that Check let through to khatru, whose hooks hand the event to
// the store or to the open subscriptions.
func (s *Server) Submit(a *Admission) { s.admit.submit(a) }

// Outcome returns the outcome of an event, after the store has decided if the
// event was submitted. ok and reason are the fields of the OK message.
func (s *Server) Outcome(a *Admission) (out eventlog.Outcome, ok bool, reason string) {
	return s.admit.outcome(a)
}

// Publish admits an event of this program. If Publish returns nil, the event is in the
// log, or was in the log before and has been deleted or has expired. An error that wraps
// ErrRefused is final; any other error may be retried.
func (s *Server) Publish(ctx context.Context, evt *nostr.Event) error {
	return s.admit.publish(ctx, evt, false)
}

// PublishHere is Publish for an event that is not forwarded to other relays.
func (s *Server) PublishHere(ctx context.Context, evt *nostr.Event) error {
	return s.admit.publish(ctx, evt, true)
}

// Federated returns the admission of an event that another relay sent. size is
// the length of its JSON in bytes. Rates of addresses and keys are not applied.
func (s *Server) Federated(ctx context.Context, evt *nostr.Event, size int, source mostro.Source) *Admission {
	return &Admission{Context: ctx, evt: evt, size: size, local: true, source: source}
}

// ProvenKey returns the key that signed the NIP-98 authorization of a request. body is the
// whole body of the request. An authorization from before the start of the server is refused,
// so that a restart cannot make one valid twice.
func (s *Server) ProvenKey(r *http.Request, body []byte) (pubkey string, err error) {
	return s.keyProofs.key(r, body)
}

// Now returns the server's clock.
func (s *Server) Now() time.Time { return s.cfg.Now() }

// URL returns the public address of the relay, or "".
func (s *Server) URL() string { return s.cfg.URL }

// Kinds returns the kinds that are admitted.
func (s *Server) Kinds() []int { return s.moderation.current().policy.Kinds }

// Snapshot returns the live events that match a filter as a set for
// reconciliation. The caller calls release when it is done with the set.
func (s *Server) Snapshot(ctx context.Context, f nostr.Filter) (set *negentropy.Set, release func(), err error) {
	return s.negs.take(ctx, s.cfg.Store, f)
}

// Import reads NDJSON events from r. The rules for an event are the rules for a client's
// event, except for quotas and freshness. Expired events are archived. If fn is not nil,
// Import calls fn once per line, in order, after the event is durable. If fn returns an
// error, the import ends with that error. A rejected line does not end the import.
//
// Lines are checked on all cores and appended in the order of the file.
func (s *Server) Import(ctx context.Context, r io.Reader, opts ImportOptions, fn func(ImportResult) error) (ImportSummary, error) {
	return s.imports.run(ctx, r, opts, fn)
}

// ServeImport answers POST /api/v1/import: NDJSON events in, one JSON result per
// line out, and a summary as the last line: {"summary":{...}}, with "error"
// beside it when the import broke off. A page of another origin may read the
// answer: what it sends with Origin counts only with an admin's proof.
func (s *Server) ServeImport(w http.ResponseWriter, r *http.Request) { s.importHTTP.ServeHTTP(w, r) }

// ServeExport answers GET /api/v1/export/events, without the events of banned and
// quarantined keys. One address may run one export at a time.
func (s *Server) ServeExport(w http.ResponseWriter, r *http.Request) { s.exportHTTP.ServeHTTP(w, r) }

// ServeKinds answers GET /api/v1/kinds: the kinds of the live events, ascending. Events
// of quarantined keys count too.
func (s *Server) ServeKinds(w http.ResponseWriter, r *http.Request) {
	serveKinds(s.cfg.Store, w, r)
}

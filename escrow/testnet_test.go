package escrow

import (
	"context"
	"crypto/rand"
	"log/slog"
	mathrand "math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

// memLog is a log in memory, and a publisher that appends to the log.
type memLog struct {
	mu      sync.Mutex
	entries []mostro.Entry
	ids     map[string]bool
	changed chan struct{} // closed at every append
	// If failBefore or failAfter is set, Publish fails before or after the append.
	failBefore, failAfter bool
}

func newMemLog() *memLog {
	return &memLog{ids: make(map[string]bool), changed: make(chan struct{})}
}

func (l *memLog) append(evt *nostr.Event, source mostro.Source, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ids[evt.ID] {
		return
	}
	l.ids[evt.ID] = true
	l.entries = append(l.entries, mostro.Entry{Seq: uint64(len(l.entries) + 1), Event: evt, ReceivedAt: at, Source: source})
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *memLog) Publish(_ context.Context, evt *nostr.Event) error {
	l.mu.Lock()
	before, after := l.failBefore, l.failAfter
	l.mu.Unlock()
	if before {
		return errCrash
	}
	l.append(evt, mostro.Source{Origin: mostro.OriginSelf}, time.Now())
	if after {
		return errCrash
	}
	return nil
}

func (l *memLog) Read(_ context.Context, after uint64, fn func(mostro.Entry) error) error {
	l.mu.Lock()
	entries := l.entries
	l.mu.Unlock()
	for _, e := range entries[min(after, uint64(len(entries))):] {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (l *memLog) Wait(ctx context.Context, seq uint64) error {
	for {
		l.mu.Lock()
		n, changed := len(l.entries), l.changed
		l.mu.Unlock()
		if uint64(n) > seq {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *memLog) Head() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.entries))
}

// testNode is a simNode for concurrent use, with watches.
type testNode struct {
	mu      sync.Mutex
	n       *simNode
	changed chan struct{}
	// failPays is the number of the next payments that fail.
	failPays int
}

func newTestNode() *testNode {
	return &testNode{n: newSimNode(mathrand.New(mathrand.NewPCG(1, 1)), time.Now().Unix()), changed: make(chan struct{})}
}

// with calls fn with the node, and wakes the watches.
func (t *testNode) with(fn func(n *simNode)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fn(t.n)
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *testNode) Info(ctx context.Context) (info lightning.NodeInfo, err error) {
	t.with(func(n *simNode) { info, err = n.Info(ctx) })
	return info, err
}

func (t *testNode) CreateHold(ctx context.Context, in lightning.HoldRequest) (s string, err error) {
	t.with(func(n *simNode) { s, err = n.CreateHold(ctx, in) })
	return s, err
}

func (t *testNode) LookupHold(ctx context.Context, h trade.Hash) (s lightning.HoldState, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n.LookupHold(ctx, h)
}

// ListHolds calls fn without the node's lock, so that fn may call the node.
func (t *testNode) ListHolds(ctx context.Context, since time.Time, fn func(lightning.HoldState) error) error {
	var states []lightning.HoldState
	t.mu.Lock()
	err := t.n.ListHolds(ctx, since, func(s lightning.HoldState) error { states = append(states, s); return nil })
	t.mu.Unlock()
	for _, s := range states {
		if err := fn(s); err != nil {
			return err
		}
	}
	return err
}

func (t *testNode) ListPayments(ctx context.Context, since time.Time, fn func(lightning.PaymentState) error) error {
	var states []lightning.PaymentState
	t.mu.Lock()
	err := t.n.ListPayments(ctx, since, func(s lightning.PaymentState) error { states = append(states, s); return nil })
	t.mu.Unlock()
	for _, s := range states {
		if err := fn(s); err != nil {
			return err
		}
	}
	return err
}

func (t *testNode) Settle(ctx context.Context, p trade.Preimage) (err error) {
	t.with(func(n *simNode) { err = n.Settle(ctx, p) })
	return err
}

func (t *testNode) Cancel(ctx context.Context, h trade.Hash) (err error) {
	t.with(func(n *simNode) { err = n.Cancel(ctx, h) })
	return err
}

func (t *testNode) Pay(ctx context.Context, p lightning.Payment) (err error) {
	t.with(func(n *simNode) {
		if err = n.Pay(ctx, p); err == nil {
			n.resolve(simDecode(p.Bolt11).Hash, t.failPays <= 0)
			t.failPays--
		}
	})
	return err
}

func (t *testNode) TrackPayment(ctx context.Context, h trade.Hash) (lightning.PaymentState, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n.TrackPayment(ctx, h)
}

func (t *testNode) Probe(ctx context.Context, address string) error {
	return t.n.Probe(ctx, address)
}

func (t *testNode) Mint(ctx context.Context, address string, sats int64) (s string, err error) {
	t.with(func(n *simNode) { s, err = n.Mint(ctx, address, sats) })
	return s, err
}

func (t *testNode) WatchHold(ctx context.Context, h trade.Hash, fn func(lightning.HoldState) error) error {
	var last trade.HoldPhase
	for {
		t.mu.Lock()
		state, err := t.n.LookupHold(ctx, h)
		changed := t.changed
		t.mu.Unlock()
		if err != nil && err != lightning.ErrUnavailable {
			return err
		}
		if err == nil && state.Phase != last {
			last = state.Phase
			if err := fn(state); err != nil {
				return err
			}
			if last.Final() {
				return nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *testNode) WatchPayment(ctx context.Context, h trade.Hash, fn func(lightning.PaymentState) error) error {
	for {
		t.mu.Lock()
		state, err := t.n.TrackPayment(ctx, h)
		changed := t.changed
		t.mu.Unlock()
		if err == nil && state.Status == trade.PaymentUnknown {
			return lightning.ErrNotFound
		}
		if err == nil && state.Status.Final() {
			return fn(state)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// world is an escrow in one process, with a real store, real cryptography, a log in memory
// and a simulated node. A test can stop and start the escrow.
type world struct {
	tb    testing.TB
	dir   string
	log   *memLog
	node  *testNode // nil if ln is another node
	ln    lightning.Node
	addrs effect.Addresses
	// publisher and vet are those of the engine. If nil, the log is the publisher, and there
	// is no vet.
	publisher  Publisher
	vet        func(context.Context, lightning.NodeInfo) error
	decode     func(string) trade.Destination // if nil, the real decoder
	keys       *envelope.Keys
	policy     Policy
	clock      *testClock
	deferAfter time.Duration // Engine.DeferAfter
	// healthEvery is Engine.HealthEvery.
	healthEvery time.Duration
	watchdog    string        // Engine.Watchdog
	output      *lockedBuffer // every log line at every level

	secrets  *secrets // texts that no output may contain
	registry *prometheus.Registry

	engine        *Engine
	db            *DB
	cancel        context.CancelFunc
	done          chan error
	read          map[string]int // by user key: number of log entries already read
	seen          map[string][]message.Message
	givesReceipts bool // if set, the engine gives receipts
}

type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b = append(b.b, p...)
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.b)
}

func newKeys(tb testing.TB) *envelope.Keys {
	tb.Helper()
	k, err := envelope.NewKeys(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{
		tb: tb, dir: tb.TempDir(), log: newMemLog(), node: newTestNode(), keys: newKeys(tb).Remembering(10_000),
		policy: DefaultPolicy(), clock: &testClock{now: time.Now().Truncate(time.Second)}, output: &lockedBuffer{},
		read: make(map[string]int), seen: make(map[string][]message.Message), secrets: newSecrets(),
	}
	w.secrets.addKeys("the node", w.keys)
	w.policy.Terms.Fee = 6_000_000
	w.node.n.now = w.clock.Now().Unix()
	w.ln, w.addrs, w.decode = w.node, w.node, simDecode
	w.start()
	tb.Cleanup(w.finish)
	return w
}

// noAddresses is for tests that use invoices.
type noAddresses struct{}

func (noAddresses) Probe(context.Context, string) error { return lightning.ErrUnavailable }

func (noAddresses) Mint(context.Context, string, int64) (string, error) {
	return "", lightning.ErrUnavailable
}

// newWorldOn returns a world with the given Lightning node.
func newWorldOn(tb testing.TB, ln lightning.Node) *world {
	tb.Helper()
	w := &world{
		tb: tb, dir: tb.TempDir(), log: newMemLog(), ln: ln, addrs: noAddresses{}, keys: newKeys(tb).Remembering(10_000),
		policy: DefaultPolicy(), clock: &testClock{now: time.Now().Truncate(time.Second)}, output: &lockedBuffer{},
		read: make(map[string]int), seen: make(map[string][]message.Message), secrets: newSecrets(),
	}
	w.secrets.addKeys("the node", w.keys)
	w.policy.Terms.Fee = 6_000_000
	w.start()
	tb.Cleanup(w.finish)
	return w
}

// start starts the escrow with the present store.
func (w *world) start() {
	w.tb.Helper()
	db, err := OpenDB(filepath.Join(w.dir, "escrow"))
	if err != nil {
		w.tb.Fatal(err)
	}
	w.startOn(db, db)
}

// open opens an engine.
func (w *world) open(cfg Config) *Engine {
	w.tb.Helper()
	e, err := Open(cfg)
	if err != nil {
		w.tb.Fatal(err)
	}
	return e
}

// startOn starts the escrow with a store that is kept in db.
func (w *world) startOn(db *DB, store Store) {
	w.tb.Helper()
	w.registry = prometheus.NewRegistry()
	sealer := KeysSealer{Keys: w.keys, MailDays: w.policy.MailDays}
	transports := []envelope.Transport{envelope.TransportV2, envelope.TransportV1, envelope.TransportLegacy}
	w.db = db
	cfg := Config{
		Policy: w.policy, Store: store, Log: w.log, Node: w.ln, Addresses: w.addrs, Publisher: w.log,
		Opener: KeysOpener{w.keys}, Sealer: sealer, Signer: sealer, Prefilter: &Prefilter{Transports: transports},
		Decode:        w.decode,
		Quote:         func(string, int64) trade.Quote { return trade.Quote{Price: 100_000} },
		Events:        EventBuilder{Pubkey: w.keys.Pubkey(), Name: "test", Relays: []string{"wss://relay.example"}, Transports: transports},
		RollbackGuard: &rollback.Guard{Path: filepath.Join(w.dir, "escrow.witness")},
		Now:           w.clock.Now, Secret: trade.NodeSecretOf(w.keys), Logger: slog.New(slog.NewTextHandler(w.output, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Metrics: w.registry, Tick: 5 * time.Millisecond, NodeEvery: 200 * time.Millisecond, DeferAfter: w.deferAfter, HealthEvery: w.healthEvery, Watchdog: w.watchdog, EncryptTo: KeysSealer{Keys: w.keys}.EncryptTo,
	}
	if w.givesReceipts {
		cfg.ReceiptSigner = sealer
	}
	if cfg.Vet = w.vet; w.publisher != nil {
		cfg.Publisher = w.publisher
	}
	w.engine = w.open(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.done = cancel, make(chan error, 1)
	go func() { w.done <- w.engine.Run(ctx) }()
}

// stop ends the escrow at any point, as a signal would.
func (w *world) stop() error {
	w.cancel()
	err := <-w.done
	w.keepSecrets(err)
	if closeErr := w.db.Close(); closeErr != nil {
		w.tb.Error(closeErr)
	}
	w.engine = nil
	return err
}

func (w *world) restart() {
	w.tb.Helper()
	_ = w.stop()
	w.start()
}

// finish stops the escrow and checks its store.
func (w *world) finish() {
	if w.engine == nil {
		return
	}
	w.cancel()
	w.keepSecrets(<-w.done)
	if err := w.db.Check(); err != nil {
		w.tb.Error(err)
	}
	if err := w.db.Close(); err != nil {
		w.tb.Error(err)
	}
	if w.node == nil {
		return
	}
	w.node.with(func(n *simNode) {
		if err := n.conserved(); err != nil {
			w.tb.Error(err)
		}
	})
}

// user is a client.
type user struct {
	w         *world
	trade     *envelope.Keys
	identity  *envelope.Keys // nil in full privacy
	transport envelope.Transport
	index     int64
}

func (w *world) user(transport envelope.Transport) *user {
	u := &user{w: w, trade: newKeys(w.tb), transport: transport}
	if transport != envelope.TransportLegacy {
		u.identity, u.index = newKeys(w.tb), 1
	}
	w.secrets.addKeys("a user", u.trade)
	w.secrets.addKeys("a user", u.identity)
	return u
}

// event seals a message to the node.
func (u *user) event(m message.Message) *nostr.Event {
	u.w.tb.Helper()
	if m.Wrapper == "" {
		m.Wrapper = message.WrapperOrder
	}
	evt, err := envelope.Seal(context.Background(), m, envelope.SealOptions{
		Transport: u.transport, To: u.w.keys.Pubkey(), Trade: u.trade, Identity: u.identity, Now: u.w.clock.Now(),
	})
	if err != nil {
		u.w.tb.Fatal(err)
	}
	return evt
}

// send sends a message to the node.
func (u *user) send(m message.Message) {
	u.w.tb.Helper()
	u.w.log.append(u.event(m), mostro.Source{Origin: mostro.OriginClient}, u.w.clock.Now())
}

// wait returns the first unread message to the user with the action.
func (u *user) wait(action message.Action) message.Message {
	u.w.tb.Helper()
	deadline := time.Now().Add(time.Minute) // a busy machine, or a node that was killed
	key := u.trade.Pubkey()
	for {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		for i, m := range u.w.seen[key] {
			if m.Action == action {
				u.w.seen[key] = append(u.w.seen[key][:i:i], u.w.seen[key][i+1:]...)
				cancel()
				return m
			}
		}
		from := u.w.read[key]
		err := u.w.log.Wait(ctx, uint64(from))
		cancel()
		if err != nil {
			u.w.tb.Fatalf("no %s arrived; the messages are %v", action, actions(u.w.seen[key]))
		}
		u.read()
	}
}

// read reads the messages to the user that are new in the log.
func (u *user) read() {
	u.w.tb.Helper()
	key := u.trade.Pubkey()
	_ = u.w.log.Read(context.Background(), uint64(u.w.read[key]), func(e mostro.Entry) error {
		u.w.read[key] = int(e.Seq)
		if e.Event.Tags.FindWithValue("p", key) == nil || e.Event.PubKey == key {
			return nil
		}
		env, err := envelope.Open(e.Event, u.trade)
		if err != nil {
			u.w.tb.Fatalf("the answer cannot be read: %v", err)
		}
		if env.Transport != u.transport {
			u.w.tb.Fatalf("the answer uses transport %s, the request %s", env.Transport, u.transport)
		}
		u.w.seen[key] = append(u.w.seen[key], env.Message)
		return nil
	})
}

func actions(ms []message.Message) []message.Action {
	var list []message.Action
	for _, m := range ms {
		list = append(list, m.Action)
	}
	return list
}

// heard reports whether every sent message was read and decided.
func (w *world) heard() bool {
	w.tb.Helper()
	last := uint64(0)
	_ = w.log.Read(context.Background(), 0, func(e mostro.Entry) error {
		if e.Event.PubKey != w.keys.Pubkey() {
			last = e.Seq
		}
		return nil
	})
	var cursor uint64
	if err := w.engine.Ask(context.Background(), func(b *TradeBook, _ int64) error { cursor = b.Cursor(); return nil }); err != nil {
		w.tb.Fatal(err)
	}
	return cursor >= last
}

// status returns the stored status of a trade.
func (w *world) status(id trade.OrderID) message.TradeStatus {
	w.tb.Helper()
	return w.trade(id).Status
}

func (w *world) trade(id trade.OrderID) trade.Trade {
	w.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	t, err := w.engine.Trade(ctx, id)
	if err != nil {
		w.tb.Fatal(err)
	}
	return t
}

// eventually waits until a condition holds.
func (w *world) eventually(what string, holds func() bool) {
	w.tb.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.tb.Fatalf("not within a minute: %s; log: %s", what, w.output)
		}
	}
}

// quiet waits until every sent message is decided and no effect waits in the outbox. A result
// that arrives after a check is decided by the next one, so two checks in a row must hold.
func (w *world) quiet() {
	w.tb.Helper()
	rounds := 0
	w.eventually("an engine without work", func() bool {
		idle := w.heard()
		for _, n := range w.engine.outbox.depth() {
			idle = idle && n == 0
		}
		if rounds++; !idle {
			rounds = 0
		}
		return rounds > 1
	})
}

// failures returns how often the first row of the node's lane of a trade has failed.
func (w *world) failures(id trade.OrderID) int {
	o := w.engine.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	if q := o.lanes[laneKey{trade: id, lane: laneNode}]; q != nil {
		return q.failures
	}
	return 0
}

// until waits until a trade has a status.
func (w *world) until(id trade.OrderID, want message.TradeStatus) trade.Trade {
	w.tb.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		t := w.trade(id)
		if t.Status == want {
			return t
		}
		if time.Now().After(deadline) {
			w.tb.Fatalf("the trade is %s after %q, want %s; log: %s", t.Status, t.Last, want, w.output)
		}
	}
}

package escrow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/health"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/nodecard"
	"github.com/mostrodex/mostrodex/escrow/payoutgate"
	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Config holds the settings of an Engine and the rooms and keys that it uses. Policy, Store,
// Log, Node, Addresses, Publisher, Opener, Sealer, Signer, Prefilter, Secret, Quote and Events
// are required.
type Config struct {
	Policy        Policy
	Store         Store
	Log           Log
	Node          lightning.Node
	Addresses     effect.Addresses
	Publisher     Publisher
	Opener        Opener
	Sealer        Sealer
	Signer        Signer
	ReceiptSigner ReceiptSigner // nil: no receipts are issued
	Attester      rating.Issuer // signs exported reputation; nil: none is exported
	Prefilter     *Prefilter
	// Card holds the node's description of itself. Run keeps it up to date.
	Card *nodecard.Card
	// Vet returns an error if this escrow must not work with the node: wrong network, too
	// small a margin, or a macaroon without the permissions. The error is shown to the
	// operator. Vet is called until it returns nil, and again after each outage. If Vet is
	// nil, every node is accepted.
	Vet func(ctx context.Context, info lightning.NodeInfo) error
	// Secret is the key from which order ids and preimages are derived.
	Secret trade.NodeSecret
	// Decode parses a payout destination, and sets every field except Taken and Reachable.
	// If Decode is nil, BOLT11 invoices, Lightning addresses and LNURLs are parsed.
	Decode func(text string) trade.Destination
	// Quote returns the price of a bitcoin. Quote does not block.
	Quote func(fiat string, at int64) trade.Quote
	// Heard receives other nodes' events of kind 30078. If nil, the events are ignored.
	Heard  func(evt *nostr.Event)
	Events EventBuilder
	// Fund is the development fund. The zero Fund is owed nothing.
	Fund fund.Fund
	// RollbackGuard detects an old copy of the store. If nil, a copy is not detected.
	RollbackGuard *rollback.Guard
	// Reconcile makes Open treat the store as an old copy, regardless of the guard file.
	Reconcile bool
	// Assistant is the key of an announced assistant, hex, which is a solver with the role
	// read; "" for none.
	Assistant string

	Logger  *slog.Logger          // nil: log lines are discarded
	Metrics prometheus.Registerer // nil: metrics are not registered
	Now     func() time.Time      // nil: time.Now

	// Tick is the interval at which deadlines are checked. 0 means one second.
	Tick time.Duration
	// NodeEvery is the interval at which a usable node is asked for its state. 0 means 15
	// seconds. A node that is not usable is asked every 2 seconds, or every NodeEvery if
	// that is longer.
	NodeEvery time.Duration

	// HealthEvery is the interval at which the node publishes its health (kind 38389), from
	// health.MinInterval to health.MaxInterval. 0: no health is published.
	HealthEvery time.Duration
	// Watchdog is the only reader of the details of the health, hex; "": the event has no details.
	// EncryptTo encrypts a text for a public key (NIP-44). It is required with a Watchdog.
	Watchdog  string
	EncryptTo func(pubkey, text string) (string, error)
	// Relays returns the number of other relays that receive the node's events, and how many of
	// them are connected. Relays does not block. If nil, there are none.
	Relays func() (configured, connected int)

	// DeferAfter is the time without a synced answer of the node after which payouts wait. 0
	// means one minute.
	DeferAfter time.Duration
}

// Engine runs the escrow. One goroutine decides, and the workers of the outbox perform
// effects. The Config does not change after Run was called.
type Engine struct {
	Config

	metrics      *metrics
	notices      chan notice
	stopped      chan struct{} // closed after Run has returned
	outbox       *outbox
	watches      *watches
	book         *TradeBook
	said         time.Time // time of the last commit at a tick
	keepAt       int64     // time of the last commit, while trades are told that the clock was set back
	clockBack    int64     // seconds by which the clock was behind the last commit at the start, else 0
	rememberedAt time.Time
	asked        map[trade.OrderID]bool
	replies      []answer
	// withheld holds the rows of trades that were frozen at the start. Their calls of the
	// node wait until an operator has examined the trade.
	withheld map[trade.OrderID][]OutboxRow
	claimed  []OutboxRow   // payouts that the process before may have sent
	surveyed chan struct{} // closed after the payouts in flight were counted
	// payouts holds the claims of open trades at the start, by payment hash. Owned by survey.
	payouts map[trade.Hash]claimedPayout
	status  atomic.Pointer[Status]
	awake   bool  // the store was compared with the node, and trades go on
	ahead   int64 // seconds by which the newest own created_at is ahead of the clock
	stuck   int   // number of payouts in flight beyond the longest time lock
	// rememberErr is the last error of a write of the guard file.
	rememberErr error
	health      nodeHealth
}

// notice is one message to the engine: a user's message, the result of an effect or a
// watch, or a question from another goroutine.
type notice struct {
	seq       uint64          // position in the log; all entries up to here were read
	id        string          // id of the event at seq; "" if unknown
	message   *InboundMessage // from the log, or from an outbox row that checked its address
	address   string          // for a message from the outbox
	reachable *bool           // for a message from the outbox
	hash      trade.Hash      // for a message from the outbox
	looked    *trade.HoldPhase
	trade     trade.OrderID
	input     trade.Input   // no input if Kind is ""
	fee       *devfee.Input // an input for the trade's development fee
	row       uint64        // outbox row that is done
	ask       func(*TradeBook, int64) error
	reply     chan error // capacity 1
}

// answer holds the error for the caller of a question.
type answer struct {
	to  notice
	err error
}

// answer sends the error to the caller, once.
func (n notice) answer(err error) {
	select {
	case n.reply <- err:
	default:
	}
}

// maxBatch is the largest number of notices in one commit.
const maxBatch = 256

// ErrStopped reports that the engine no longer runs.
var ErrStopped = errors.New("the escrow has stopped")

// Status holds the reasons why the escrow accepts no new orders, and warnings for an
// operator.
type Status struct {
	// Closed lists the reasons why no new order is accepted. If Closed is empty, orders
	// are accepted.
	Closed []string
	// Warnings do not stop new orders.
	Warnings []string
}

// Status returns the current status without waiting for the engine.
func (e *Engine) Status() Status {
	if p := e.status.Load(); p != nil {
		return *p
	}
	return Status{Closed: []string{"the escrow has not started yet"}}
}

// Run runs the escrow until ctx ends or its store is in doubt. Run returns after all of
// its goroutines have ended. An Engine runs once.
func (e *Engine) Run(ctx context.Context) error {
	if e.notices == nil {
		return errors.New("escrow: Run without Open")
	}
	defer close(e.stopped)
	group, ctx := errgroup.WithContext(ctx)
	e.watches = newWatches(e.Node, e.send)
	e.watches.usable, e.watches.recent = e.usable, e.recentInfo
	told := make(chan struct{}, 1) // full if an answer of the node is not processed yet
	group.Go(func() error { e.follow(ctx, told); return nil })
	// When the loop ends, every other goroutine ends: a watch or a worker that waits for
	// the engine stops with the context.
	group.Go(func() error {
		if err := e.await(ctx, told); err != nil {
			return err
		}
		if err := e.wake(ctx); err != nil {
			return err
		}
		e.awake = true
		group.Go(func() error { e.outbox.run(ctx); return nil })
		group.Go(func() error { e.survey(ctx); return nil })
		if e.ReceiptSigner != nil {
			group.Go(func() error { return rotateReceiptKeys(ctx, e) })
		}
		group.Go(func() error {
			if err := e.lookUp(ctx); err != nil {
				return err
			}
			deliver := e.send
			if e.Reconcile {
				if err := e.untilUsable(ctx); err != nil {
					return err
				}
				deliver = e.sendAgain(e.Log.Head())
			}
			mail := inbox{log: e.Log, prefilter: e.Prefilter, opener: e.Opener, pubkey: e.Events.Pubkey, deliver: deliver, metrics: e.metrics, heard: e.Heard}
			var cursor uint64
			if err := e.Ask(ctx, func(b *TradeBook, _ int64) error { cursor = b.Cursor(); return nil }); err != nil {
				return err
			}
			return mail.run(ctx, cursor)
		})
		return e.loop(ctx)
	})
	err := group.Wait()
	e.watches.stop()
	if e.remembers() {
		if head, headErr := e.Store.Head(); headErr == nil {
			e.remember(head.Commits)
		}
	}
	return err
}

// untilUsable waits until the node can be used. The messages of a time that a copy has
// lost must not be refused only because the node catches up with the chain.
func (e *Engine) untilUsable(ctx context.Context) error {
	for e.Card.State().Problem != nodecard.Usable {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// againFor is the longest time for which one message that is read again waits for the
// node's answer about the message before.
const againFor = 10 * time.Second

// sendAgain returns a send function for the messages of a time that a copy has lost, up to
// a position of the log. Each message waits until the node and the addresses have answered
// about the message before. For example, the buyer's fiat-sent follows a hold that was
// accepted at that time, and would be refused before the lookup of the hold.
func (e *Engine) sendAgain(head uint64) func(context.Context, notice) error {
	return func(ctx context.Context, n notice) error {
		if err := e.send(ctx, n); err != nil || n.message == nil || n.seq > head {
			return err
		}
		quiet := 0
		for deadline := time.Now().Add(againFor); quiet < 2 && time.Now().Before(deadline); {
			// When Ask returns, all earlier results are decided and their effects are
			// queued. A result that arrives after Ask is decided only by the next Ask, so
			// two empty checks in a row are needed.
			if err := e.Ask(ctx, func(*TradeBook, int64) error { return nil }); err != nil {
				return err
			}
			if depth := e.outbox.depth(); depth[laneNode]+depth[laneProbe]+depth[laneMint] == 0 {
				quiet++
				continue
			}
			quiet = 0
			select {
			case <-time.After(2 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
}

// remember writes the number of commits to the guard file. A failed write does not stop
// the engine, because the store is sound.
func (e *Engine) remember(commits uint64) {
	err := e.RollbackGuard.Store(commits)
	if err != nil && e.rememberErr == nil {
		e.Logger.Error("the witness file of the escrow's store cannot be written: only the Lightning node's invoices and the log can reveal a restored copy", "error", err)
	}
	e.rememberErr = err
}

// Open reads the store and decides whether it may be an old copy. Run starts the engine.
func Open(cfg Config) (*Engine, error) {
	if err := cfg.Policy.Check(); err != nil {
		return nil, err
	}
	cfg.Logger, cfg.Now = room.Logger(cfg.Logger), room.Clock(cfg.Now)
	e := &Engine{Config: cfg, metrics: newMetrics(cfg.Metrics)}
	if err := e.open(); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Engine) open() error {
	if e.Card == nil {
		e.Card = new(nodecard.Card)
	}
	if e.Events.Node == nil {
		e.Events.Node = e.Card.Info
	}
	if e.Tick == 0 {
		e.Tick = time.Second
	}
	e.Events.Assistant, e.health.publisher.Interval = e.Assistant, e.HealthEvery
	if keys, ok := e.Policy.Ratings.TrustedKeys(); ok {
		e.Events.ReputationImport = &mostro.ReputationIssuers{Keys: keys}
	}
	if e.Attester != nil {
		e.Events.ReputationIssuer = e.Attester.Pubkey()
	}
	e.asked = make(map[trade.OrderID]bool)
	e.notices, e.stopped, e.surveyed = make(chan notice, maxBatch), make(chan struct{}), make(chan struct{})
	e.outbox = newOutbox(effect.Runner{Node: e.Node, Addresses: e.Addresses, Now: e.Now, PayoutBlocks: e.Policy.PayoutBlocks,
		Gate: payoutgate.New(e.Policy.MaxPayouts, e.Policy.MaxPayoutsOfPayee), Fund: e.Fund, Recent: e.recentInfo}, e.Publisher, e.metrics, e.send)
	e.outbox.logger, e.outbox.clock, e.outbox.usable, e.outbox.refused = e.Logger, e.Now, e.usable, e.Card.Refused
	e.outbox.defers = e.Card.Defers
	e.Card.View(func(w *health.SyncWatch, _ time.Time) { w.DeferAfter = e.DeferAfter })
	if err := e.readStore(); err != nil {
		return fmt.Errorf("open the escrow: %w", err)
	}
	if err := e.book.checkAssistant(); err != nil {
		return fmt.Errorf("escrow.assistant: %w", err)
	}
	e.Card.Expect(e.book.Wallet())
	if back := e.book.head.At - e.Now().Unix(); back > clockSlack {
		e.clockBack = back
	}
	if e.RollbackGuard != nil {
		commits, known, err := e.RollbackGuard.Load()
		if err != nil {
			return err
		}
		e.Reconcile = e.Reconcile || rolledBack(e.book.head, commits, known)
	}
	if e.Reconcile = e.Reconcile || e.book.head.Copied; e.Reconcile {
		return e.markCopied(context.Background())
	}
	return nil
}

// markCopied records in the store itself that it is a copy, before any other write to it.
func (e *Engine) markCopied(ctx context.Context) error {
	e.Reconcile, e.book.head.Copied, e.book.changed = true, true, true
	return e.commit(ctx, false)
}

// remembers reports whether the guard file follows the store. The file does not follow a
// copy until every open hash is looked up.
func (e *Engine) remembers() bool { return e.RollbackGuard != nil && !e.book.head.Copied }

// readStore builds a trade book from the store. readStore is called at the start, and when
// memory is ahead of a commit that could not be written.
func (e *Engine) readStore() error {
	book, err := NewTradeBook(e.Store)
	if err != nil {
		return err
	}
	book.Policy, book.Secret, book.Decode, book.Quote = e.Policy, e.Secret, e.Decode, e.Quote
	book.OrderEvent = func(t trade.Trade, maker *mostro.MakerRating) *nostr.Event { return e.Events.Order(t, maker, e.Policy) }
	book.ratings.Policy, book.ratings.Issuer, book.ratings.Node = e.Policy.Ratings, e.Attester, e.Events.Pubkey
	if err := book.ratings.Trust(e.Now().Unix()); err != nil {
		return err
	}
	book.DisputeEvents = func(t trade.Trade) []*nostr.Event { return e.Events.Disputes(t, e.Policy) }
	book.KeysetEvent = e.Events.Keyset
	book.NodeKey, book.Assistant, book.attempts = e.Events.Pubkey, e.Assistant, &e.health.attempts
	book.fund.active = func() bool {
		info, ok := e.Card.Info()
		return ok && e.Fund.Address != "" && string(info.Network) == e.Fund.Network
	}
	book.fund.event = func(t trade.Trade, verify string, at int64) *nostr.Event {
		return e.Events.DevFee(t, e.Fund.Address, verify, at)
	}
	if e.Decode == nil {
		book.Decode = func(text string) trade.Destination { return decode(text, e.Card) }
	}
	if e.book != nil {
		// The inbox reads the keyring, so the keyring object must stay the same.
		book.keys = e.book.keys.replace(book.keys)
		book.Reconciling, book.NodeDown = e.book.Reconciling, e.book.NodeDown
	}
	e.Prefilter.known = book.keys
	if e.ReceiptSigner != nil {
		if err := book.Attesting(e.ReceiptSigner); err != nil {
			return err
		}
	}
	e.book = book
	return nil
}

// await waits until the Lightning node answers and may be used, and then compares the
// node's invoices with the store. Until then only an operator's requests are processed. A
// node that is down at the start does not stop the rest of the program.
func (e *Engine) await(ctx context.Context, told <-chan struct{}) error {
	for {
		e.report()
		select {
		case n := <-e.notices:
			if err := e.decideAll(ctx, []notice{n}); err != nil {
				return err
			}
			continue
		case <-told:
		case <-ctx.Done():
			return ctx.Err()
		}
		switch e.Card.State().Problem {
		case nodecard.Usable, nodecard.Unsynced, nodecard.Refusing, nodecard.LowDisk:
		case nodecard.OtherWallet:
			if err := e.rebind(ctx); err != nil {
				return err
			}
			continue
		default:
			continue
		}
		if info, _ := e.Card.Info(); e.book.Wallet() == "" && info.Pubkey != "" {
			if err := e.bind(ctx, info.Pubkey); err != nil {
				return err
			}
		}
		if e.Reconcile {
			return nil
		}
		if newer, err := e.newerEvent(ctx); err != nil {
			return err
		} else if newer != "" {
			e.Logger.Warn("the log has an event of this Mostro that is newer than its store: the store is an older copy", "event", newer)
			return e.markCopied(ctx)
		}
		lost, err := e.lostHolds(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			e.Logger.Warn("the Lightning node's invoices cannot be compared with the store: trying again", "error", err)
			continue
		}
		if lost > 0 {
			e.Logger.Warn("the Lightning node has hold invoices of this Mostro that the store does not know: the store is an older copy", "invoices", lost)
			return e.markCopied(ctx)
		}
		return nil
	}
}

// bind records the wallet that holds the trades' invoices. The card expects this wallet
// after the record is committed.
func (e *Engine) bind(ctx context.Context, pubkey string) error {
	e.book.Bind(pubkey)
	if err := e.commit(ctx, false); err != nil {
		return err
	}
	e.Card.Expect(pubkey)
	return nil
}

// rebind binds another wallet that answers, after no trade needs the old wallet.
func (e *Engine) rebind(ctx context.Context) error {
	state := e.Card.State()
	needed := false
	e.book.Trades(func(t *trade.Trade) { needed = needed || t.NeedsWallet() })
	if state.Problem != nodecard.OtherWallet || needed {
		return nil
	}
	e.Logger.Warn("no trade needs the old wallet: the escrow now uses the wallet of the node that answers", "wallet", state.Other)
	return e.bind(ctx, state.Other)
}

// rolledBack reports whether a store is an older copy of itself. A store with commits but
// without a guard file may be a copy, and counts as one.
func rolledBack(head Head, commits uint64, known bool) bool {
	if !known {
		return head.Commits > 0
	}
	return head.Commits < commits
}

// newerEvent returns the id of an event that this program published and that is newer than
// the store, or "" if there is none. Every published event was committed before, so a
// newer event proves that commits were lost.
func (e *Engine) newerEvent(ctx context.Context) (id string, err error) {
	head := e.book.head
	err = e.Log.Read(ctx, head.Cursor, func(entry mostro.Entry) error {
		evt := entry.Event
		if id != "" || evt.PubKey != e.Events.Pubkey || entry.Source.Origin != mostro.OriginSelf {
			return nil
		}
		switch {
		case evt.Kind == mostro.KindOrder:
			order, err := message.ParseUUID(evt.Tags.GetD())
			if err != nil {
				return nil
			}
			t, err := e.Store.Trade(order)
			if errors.Is(err, ErrNoRow) || err == nil && t.StampedAt < int64(evt.CreatedAt) {
				id = evt.ID
				return nil
			}
			return err
		case head.Latest == 0:
		case evt.Kind == mostro.KindMessage && int64(evt.CreatedAt) > head.Latest, evt.Kind == mostro.KindUserRating && int64(evt.CreatedAt) > head.Latest+stampSlack:
			// A rating is dated by its user, whose ratings may follow each other within a second.
			id = evt.ID
		}
		return nil
	})
	return id, err
}

// lostDays is the number of days for which the node's invoices are compared with the
// store. A copy older than that is detected only by the guard file and the log.
const lostDays = 30

// lostHolds returns the number of the node's hold invoices that are derived from this
// node's secret and are unknown to the store. A preimage is committed before its invoice
// is made, so such an invoice exists only if commits were lost.
func (e *Engine) lostHolds(ctx context.Context) (lost int, err error) {
	since := e.Now().Add(-lostDays * 24 * time.Hour)
	if compared := time.Unix(e.book.head.Compared+1, 0); compared.After(since) {
		since = compared // invoices that were lost before this time are known to be lost
	}
	err = e.Node.ListHolds(ctx, since, func(h lightning.HoldState) error {
		id, ours := e.Secret.Ours(h.Memo, h.Hash)
		if !ours {
			return nil
		}
		known, err := e.knows(id, h.Hash)
		if err == nil && !known {
			lost++
		}
		return err
	})
	return lost, err
}

// knows reports whether the store has a hold invoice of a trade.
func (e *Engine) knows(id trade.OrderID, h trade.Hash) (bool, error) {
	t, err := e.Store.Trade(id)
	if errors.Is(err, ErrNoRow) {
		return false, nil
	}
	if err != nil || t.Hash == h || slices.Contains(t.Closing, h) {
		return err == nil, err
	}
	known := false
	err = e.Store.Journal(id, func(_ uint32, in trade.Input) error {
		known = known || in.Preimage != (trade.Preimage{}) && in.Preimage.Hash() == h
		return nil
	})
	return known, err
}

// wake runs at every start. A trade is treated in the same way after a crash and after an
// update.
func (e *Engine) wake(ctx context.Context) error {
	var ids []trade.OrderID
	e.book.Trades(func(t *trade.Trade) { ids = append(ids, t.ID) })
	slices.SortFunc(ids, func(a, b trade.OrderID) int { return slices.Compare(a[:], b[:]) })
	e.book.Reconciling = e.Reconcile
	if e.Reconcile {
		e.Logger.Warn("the escrow's store may be an older copy: no message is read before every open hash is looked up",
			"open_trades", len(ids), "commits", e.book.head.Commits)
		if e.ReceiptSigner != nil {
			e.book.receipts.close(e.Now().Unix())
		}
	}
	other, err := e.otherLog(ctx)
	if err != nil {
		return err
	}
	if other {
		// Messages that are read again are recognized by their ids.
		e.Logger.Warn("the log is not the one that was read before: reading it from its beginning", "head", e.Log.Head(), "cursor", e.book.head.Cursor)
		e.book.head.Cursor, e.book.head.CursorID, e.book.changed = 0, "", true
	}
	at := e.Now().Unix()
	if e.Reconcile && len(e.book.fund.fees) > 0 {
		published, err := publishedFees(ctx, e.Log, e.Events.Pubkey, e.book.head.Cursor)
		if err == nil {
			err = e.book.fund.copied(published, at)
		}
		if err != nil {
			return err
		}
	}
	if err := e.commit(ctx, false); err != nil {
		return err
	}
	if err := e.noticeClock(ctx); err != nil {
		return err
	}
	at = e.Now().Unix()
	var batch []notice
	for _, id := range ids {
		if e.Reconcile {
			batch = append(batch, notice{trade: id, input: trade.Input{Kind: trade.InReconcile}})
		}
		if t := e.book.open[id]; e.clockBack > 0 || max(t.CreatedAt, t.TakenAt, t.HeldAt) > at+clockSlack {
			batch = append(batch, notice{trade: id, input: trade.Input{Kind: trade.InClockBack, Grace: e.clockBack}})
		}
		batch = append(batch, notice{trade: id, input: trade.Input{Kind: trade.InRestart, Grace: e.Policy.GraceSeconds}})
	}
	if err := e.decideAll(ctx, batch); err != nil {
		return err
	}
	frozen := make(map[trade.OrderID]bool)
	e.payouts = make(map[trade.Hash]claimedPayout)
	e.book.Trades(func(t *trade.Trade) {
		frozen[t.ID] = t.Frozen
		t.Claims(func(n uint32, o *trade.Outflow) {
			e.payouts[o.Hash] = claimedPayout{trade.OutflowKey{Trade: t.ID, N: n}, o.Bolt11}
		})
		e.watches.sync(ctx, t)
		e.outbox.runner.Gate.Sync(t, effect.PayeeOf)
		if e.Reconcile && (t.Hash != (trade.Hash{}) || len(t.Outflows) > 0) {
			e.asked[t.ID] = true
		}
	})
	var rows []OutboxRow
	e.claimed = nil
	e.outbox.runner.Gate.SetClosed(true)
	e.withheld = make(map[trade.OrderID][]OutboxRow)
	err = e.Store.Outbox(func(r OutboxRow) error {
		if r.Inbound != nil && (e.Reconcile || r.Inbound.ProbedAt == 0) {
			// The log does not deliver this message again, because the message was read
			// already.
			msg := *r.Inbound
			msg.ProbedAt, r.Inbound = at, &msg
		}
		if frozen[r.Trade] && r.moves() {
			e.withheld[r.Trade] = append(e.withheld[r.Trade], r)
		} else {
			rows = append(rows, r)
			if r.Effect.Kind == trade.FxPay {
				e.claimed = append(e.claimed, r)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	e.outbox.clear()
	e.outbox.pause(e.Reconcile)
	e.outbox.add(rows)
	return nil
}

// otherLog reports whether the log differs from the log of the cursor: the log is shorter,
// or has another event at the cursor. A log that was restored from a copy may have grown
// past the cursor since.
func (e *Engine) otherLog(ctx context.Context) (bool, error) {
	head := e.book.head
	if e.Log.Head() < head.Cursor {
		return true, nil
	}
	if head.CursorID == "" || head.Cursor == 0 {
		return false, nil
	}
	other := false
	err := e.Log.Read(ctx, head.Cursor-1, func(entry mostro.Entry) error {
		other = entry.Seq == head.Cursor && entry.Event.ID != head.CursorID
		return errFound
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return other, err
}

var errFound = errors.New("found")

// lookUp asks the node for every open hash of a store that may be an older copy, until the
// node has answered for each hash. Messages are read, and calls that change the node are
// made, only after that.
func (e *Engine) lookUp(ctx context.Context) error {
	if !e.Reconcile {
		return nil
	}
	for id := range e.asked {
		var t trade.Trade
		if err := e.Ask(ctx, func(b *TradeBook, _ int64) error {
			if open := b.open[id]; open != nil {
				t = *open
			}
			return nil
		}); err != nil {
			return err
		}
		if err := e.lookUpTrade(ctx, t); err != nil {
			return err
		}
	}
	err := e.Ask(ctx, func(b *TradeBook, at int64) error {
		b.Reconciling, b.head.Copied, b.head.Compared, b.changed = false, false, at, true
		return nil
	})
	if err == nil {
		e.outbox.pause(false)
		e.Logger.Info("every open hash of the escrow's store is looked up: messages are read again", "trades", len(e.asked))
	}
	return err
}

// lookUpTrade looks up the hold of a trade and the payment that the trade knows. A payout
// that succeeded ends the trade, even if the trade is frozen.
func (e *Engine) lookUpTrade(ctx context.Context, t trade.Trade) error {
	ask := func(about func() (trade.Input, error)) error {
		for n := 1; ; n++ {
			in, err := about()
			switch {
			case err == nil && in.Kind != "":
				return e.send(ctx, notice{trade: t.ID, input: in})
			case err == nil, errors.Is(err, lightning.ErrNotFound):
				return nil // never made, or made by a lost wallet: none of it is settled here
			}
			select {
			case <-time.After(backoff(n)):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if t.Hash != (trade.Hash{}) {
		err := ask(func() (trade.Input, error) {
			state, err := e.Node.LookupHold(ctx, t.Hash)
			if err != nil {
				return trade.Input{}, err
			}
			return effect.SightedInput(ctx, e.Node.Info, state)
		})
		if err != nil {
			return err
		}
	}
	for n := range uint32(len(t.Outflows)) + 1 {
		o, _ := t.Outflow(n)
		h := o.LastHash
		if h == (trade.Hash{}) || n == 0 && t.Status != message.TradeSettledHoldInvoice || o.Done() {
			continue
		}
		err := ask(func() (trade.Input, error) {
			state, err := e.Node.TrackPayment(ctx, h)
			if err != nil || state.Status != trade.PaymentSucceeded {
				return trade.Input{}, err
			}
			return paymentNotice(trade.OutflowKey{Trade: t.ID, N: n}, h, o.Attempt, state).input, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// send passes a notice to the engine. send waits while the engine is busy.
func (e *Engine) send(ctx context.Context, n notice) error {
	select {
	case e.notices <- n:
		return nil
	case <-e.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ask runs fn between two inputs in the engine's goroutine, and returns after the changes
// are committed. fn must not block.
func (e *Engine) Ask(ctx context.Context, fn func(b *TradeBook, at int64) error) error {
	reply := make(chan error, 1)
	if err := e.send(ctx, notice{ask: fn, reply: reply}); err != nil {
		return err
	}
	select {
	case err := <-reply:
		return err
	case <-e.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loop runs in the goroutine that owns the trades.
func (e *Engine) loop(ctx context.Context) error {
	ticker := time.NewTicker(e.Tick)
	defer ticker.Stop()
	// The first tick runs at once, so that the node's description is published without
	// delay: clients choose their transport by the description.
	if err := e.tick(ctx); err != nil {
		return err
	}
	for {
		var ticked bool
		var batch []notice
		select {
		case n := <-e.notices:
			batch = append(batch, n)
		case <-ticker.C:
			ticked = true
		case <-ctx.Done():
			return ctx.Err()
		}
		for len(batch) < maxBatch {
			select {
			case next := <-e.notices:
				batch = append(batch, next)
				continue
			default:
			}
			break
		}
		if err := e.decideAll(ctx, batch); err != nil {
			return err
		}
		if !ticked {
			continue
		}
		if err := e.tick(ctx); err != nil {
			return err
		}
	}
}

// decideAll decides about notices in batches. A batch ends when its commit is large
// enough.
func (e *Engine) decideAll(ctx context.Context, batch []notice) error {
	if err := e.noticeClock(ctx); err != nil {
		return err
	}
	return e.decideBatches(ctx, batch)
}

// noticeClock tells all trades that the clock was set back since the last commit, before
// any decision at the new time. noticeClock compares wall-clock times, because a monotonic
// clock does not show a change of the time. The head keeps the old time until all trades
// are told. If the program ends in between, the next start tells the other trades.
func (e *Engine) noticeClock(ctx context.Context) error {
	last, now := e.book.head.At, e.Now().Unix()
	if last == 0 || last-now <= clockSlack || e.keepAt != 0 {
		return nil
	}
	e.Logger.Warn("the clock was set back: the deadlines of open trades are computed again", "seconds", last-now)
	var batch []notice
	e.book.Trades(func(t *trade.Trade) {
		batch = append(batch, notice{trade: t.ID, input: trade.Input{Kind: trade.InClockBack, Grace: last - now}})
	})
	slices.SortFunc(batch, func(a, b notice) int { return slices.Compare(a.trade[:], b.trade[:]) })
	e.keepAt = last
	err := e.decideBatches(ctx, batch)
	e.keepAt, e.clockBack = 0, 0 // the trades are told only once
	e.book.head.At, e.book.changed = now, true
	return err
}

func (e *Engine) decideBatches(ctx context.Context, batch []notice) error {
	for len(batch) > 0 {
		n, err := e.decideSome(ctx, batch)
		if err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

// decideSome decides about the first notices and commits. decideSome returns the number of
// notices that it processed.
func (e *Engine) decideSome(ctx context.Context, batch []notice) (n int, err error) {
	e.book.NodeDown = e.Card.State().Problem != nodecard.Usable
	e.Card.View(func(w *health.SyncWatch, now time.Time) { e.book.PayoutsSpared = w.Spares(now) })
	for n < len(batch) && n < maxBatch && (n == 0 || e.book.Bytes() < batchBytes) {
		if err := e.take(batch[n]); err != nil {
			return n, err
		}
		n++
	}
	err = e.commit(ctx, false)
	for size := n; errors.Is(err, ErrUncommittable); {
		// Nothing was written, and memory is ahead of the store. The batch is halved until
		// the one input is found that no commit can hold.
		e.replies = e.replies[:0]
		if err := e.readStore(); err != nil {
			return 0, err
		}
		if size == 1 {
			return 1, e.setAside(ctx, batch[0], err)
		}
		size /= 2
		for _, one := range batch[:size] {
			if err := e.take(one); err != nil {
				return 0, err
			}
		}
		if err = e.commit(ctx, false); err == nil {
			return size, nil
		}
	}
	return n, err
}

// setAside handles an input that cannot be written. A message is recorded as read and
// skipped, because its sender can write another one. Any other input is a fact about money
// or an operator's decision, and is never dropped: its trade is frozen, and the outbox
// keeps the row of the input.
func (e *Engine) setAside(ctx context.Context, n notice, cause error) error {
	e.metrics.setAside()
	switch {
	case n.ask != nil:
		n.answer(fmt.Errorf("the change cannot be written: %w", cause))
		return nil
	case n.message != nil:
		e.Logger.Error("a message cannot be written to the escrow's store and is skipped", "sender", n.message.Sender, "action", n.message.Message.Action, "error", cause)
		e.book.Skip(*n.message)
		e.book.ReadEntry(n.seq, n.id)
		if n.row != 0 {
			e.book.Done(n.row)
			e.book.probes.remove(probeOf(*n.message, n.address))
		}
	default:
		e.Logger.Error("an input cannot be written to the escrow's store: its trade is frozen until an operator examines it", "trade", n.trade.String(), "input", string(n.input.Kind), "error", cause)
		if err := e.book.ApplyInput(n.trade, trade.Input{At: e.Now().Unix(), Kind: trade.InUncommitted}); err != nil {
			return err
		}
	}
	return e.commit(ctx, false)
}

// take applies one notice to the trade book.
func (e *Engine) take(n notice) error {
	at := e.Now().Unix()
	switch {
	case n.ask != nil:
		// The answer is sent after the commit of the batch, because the question may be
		// decided again before.
		e.replies = append(e.replies, answer{n, n.ask(e.book, at)})
	case n.message != nil:
		var outcome string
		var err error
		if n.looked != nil {
			outcome, err = e.book.Looked(n.row, *n.message, n.hash, *n.looked, at)
		} else if n.reachable != nil {
			outcome, err = e.book.Probed(n.row, *n.message, n.address, *n.reachable, at)
		} else {
			outcome, err = e.book.Receive(*n.message, at)
			e.book.ReadEntry(n.seq, n.id)
		}
		e.metrics.message(outcome)
		return err
	case n.seq != 0:
		e.book.ReadEntry(n.seq, n.id)
	default:
		if n.fee != nil {
			n.fee.At = at
			if err := e.book.fund.apply(n.trade, *n.fee); err != nil {
				return err
			}
		}
		if n.input.Kind != "" {
			n.input.At = at
			if err := e.book.ApplyInput(n.trade, n.input); err != nil {
				return err
			}
		}
		if n.row != 0 {
			e.book.Done(n.row)
		}
	}
	return nil
}

const (
	// feeLate is the number of seconds after which the operator is told of a development fee
	// that is not paid.
	feeLate = 24 * 3600
	// clockSlack is the number of seconds by which the clock may go back without a notice
	// to the trades.
	clockSlack = 60
	// stampSlack is the number of seconds by which the node's own events may be dated
	// ahead of the clock without a warning to the operator.
	stampSlack = 60
)

// tick decides about deadlines. Few trades are due at a time. After a long stop many
// trades may be due, and the others wait for the next tick. No trade is due while a store
// that may be an older copy is compared with the node.
func (e *Engine) tick(ctx context.Context) error {
	now := e.Now()
	var batch []notice
	if !e.book.Reconciling {
		due := e.book.Due(now.Unix())
		for _, id := range due[:min(len(due), maxBatch)] {
			batch = append(batch, notice{trade: id, input: trade.Input{Kind: trade.InClock}})
		}
	}
	if err := e.decideAll(ctx, batch); err != nil {
		return err
	}
	if err := e.rebind(ctx); err != nil {
		return err
	}
	if !e.book.Reconciling {
		if err := e.book.freeDisputes(now.Unix()); err != nil {
			return err
		}
	}
	e.maintain(now)
	for _, evt := range e.Events.Due(now, e.Policy) {
		e.book.QueueEvent(evt, now.Unix())
	}
	if err := e.book.fund.begin(now.Unix()); err != nil {
		return err
	}
	if err := e.health.publish(e, now); err != nil {
		return err
	}
	e.book.receipts.publish(now.Unix())
	e.book.throttles.forget(e.book.batch, now.Unix())
	e.stamps(now.Unix())
	e.report()
	e.metrics.survey(e.book, e.outbox, e.ahead)
	return e.commit(ctx, true)
}

// maintain begins or ends the maintenance that the state of the Lightning node asks for. A
// change is published at once.
func (e *Engine) maintain(now time.Time) {
	var next Maintenance
	e.Card.View(func(w *health.SyncWatch, monotonic time.Time) {
		next = e.book.Maintenance().Next(w, e.Policy.MaintenanceAfter, e.Policy.MaintenanceClear, monotonic)
	})
	if e.book.SetMaintenance(next, now.Unix()) {
		e.Logger.Warn("maintenance has changed by itself", "on", next.On, "reason", next.Reason)
	}
	e.Events.maintained(e.book.Maintenance().On)
}

// stamps checks whether the node's own events are dated ahead of the clock, as after a
// clock was set back, and whether a payout is in flight beyond every time lock. No trade
// waits for the first condition, and only the node can end the second one.
func (e *Engine) stamps(now int64) {
	newest, stuck := int64(0), 0
	longest := int64(e.Policy.PayoutBlocks)
	if longest == 0 {
		longest = effect.NodePayoutBlocks
	}
	for _, at := range e.book.head.Stamps {
		newest = max(newest, at)
	}
	e.book.Trades(func(t *trade.Trade) {
		newest = max(newest, t.StampedAt, t.Dispute.StampedAt)
		if t.Status == message.TradeSettledHoldInvoice && t.Payout.Sent && t.HeldAt+(int64(t.Terms.CLTVBlocks)+longest)*trade.BlockSeconds < now {
			stuck++
		}
	})
	if stuck > e.stuck {
		e.Logger.Warn("payouts are in flight for longer than their time lock allows", "payouts", stuck)
	}
	e.stuck = stuck
	was := e.ahead > stampSlack
	e.ahead = max(newest-now, 0)
	if e.ahead > stampSlack && !was {
		e.Logger.Warn("the clock is behind the events that this Mostro has published: other relays may refuse its events until it has caught up", "seconds", e.ahead)
	}
}

// report builds the status that Status returns.
func (e *Engine) report() {
	var s Status
	if state := e.Card.State(); state.Problem != nodecard.Usable {
		s.Closed = append(s.Closed, state.Detail)
	}
	if e.book.Reconciling {
		s.Closed = append(s.Closed, "the escrow's store may be an older copy: every open hash is being looked up")
	}
	if m := e.book.Maintenance(); m.On {
		s.Closed = append(s.Closed, fmt.Sprintf("maintenance: %s", cmp.Or(m.Reason, "the operator has begun maintenance")))
	}
	if e.book.Paused() {
		s.Closed = append(s.Closed, "the operator has paused new orders")
	}
	if e.rememberErr != nil {
		s.Warnings = append(s.Warnings, fmt.Sprintf("the witness file cannot be written: %v", e.rememberErr))
	}
	if e.stuck > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d payouts are in flight for longer than their time lock allows: see `trade list`, and \"When LND's disk is full\" in docs/lightning.md", e.stuck))
	}
	if inFlight, waiting := e.outbox.runner.Gate.Numbers(); waiting > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d payouts wait until some of the %d payouts in flight have ended", waiting, inFlight))
	}
	if f := devfee.Sum(e.book.fund.fees); f.Parked > 0 || f.Due > 0 && e.Now().Unix()-f.OldestAt > feeLate {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d sats of development fees are due, of %d trades, of which %d wait for your decision: see `devfee list`; last error: %s", f.DueSats, f.Due, f.Parked, f.Problem))
	}
	if n := e.book.dueDisputes(); n > 0 {
		s.Warnings = append(s.Warnings, fmt.Sprintf("%d disputes are due: see `dispute list`", n))
	}
	if e.book.full() {
		s.Warnings = append(s.Warnings, fmt.Sprintf("the Lightning node holds %d payments: no order can be taken until a trade has ended", e.book.held))
	}
	if e.ahead > stampSlack {
		s.Warnings = append(s.Warnings, fmt.Sprintf("published events are dated up to %d s ahead: the clock was set back", e.ahead))
	}
	e.status.Store(&s)
}

// commit seals and commits the batch, and starts its effects only after the commit.
// ErrUncommittable means that nothing was written. Any other error is fatal: memory is
// ahead of the store, and only a restart makes both equal again.
func (e *Engine) commit(ctx context.Context, ticked bool) error {
	batch := e.book.batch
	now := e.Now()
	// A new position in the log alone is not worth an fsync, because messages that are
	// read again are recognized.
	if batch.commit.Empty() && !e.book.changed && !(ticked && now.Sub(e.said) > 5*time.Second) {
		e.answer()
		return nil
	}
	for _, bug := range batch.bugs {
		e.Logger.Error("a transition outside of the table was refused", "error", bug)
	}
	bugs := len(batch.bugs)
	// The clock may have been set back during the batch.
	e.book.head.At = max(now.Unix(), batch.at, e.keepAt)
	e.book.head.Latest = max(e.book.head.Latest, e.book.head.At)
	c := e.book.Take()
	if err := seal(ctx, e, c, now); err != nil {
		return err
	}
	if err := e.Store.Commit(c); errors.Is(err, ErrUncommittable) {
		return err
	} else if err != nil {
		return fmt.Errorf("the escrow's store is in doubt: %w", err)
	}
	for i := range batch.notable {
		e.logDispute(&batch.notable[i])
	}
	e.metrics.committed(c, batch.steps, bugs, e.Now().Sub(now).Seconds())
	if e.remembers() && now.Sub(e.rememberedAt) >= time.Second {
		e.rememberedAt = now
		e.remember(c.Head.Commits)
	}
	if ticked {
		e.said = now
	}
	for i := range c.Trades {
		// A frozen trade that is over has no operator to wait for. Its calls change nothing, as after a restart.
		if id := c.Trades[i].ID; (!c.Trades[i].Frozen || c.Trades[i].Over()) && e.withheld[id] != nil {
			e.withheld[id] = slices.DeleteFunc(e.withheld[id], func(r OutboxRow) bool { return slices.Contains(c.Done, r.ID) })
			e.outbox.add(e.withheld[id]) // older than the rows of the same commit
			delete(e.withheld, id)
		}
	}
	e.outbox.add(c.Outbox)
	for i := range c.Trades {
		e.watches.sync(ctx, &c.Trades[i])
		e.outbox.runner.Gate.Sync(&c.Trades[i], effect.PayeeOf)
	}
	e.answer()
	return nil
}

// answer sends the results to the callers of Ask after the commit of their changes.
func (e *Engine) answer() {
	for _, a := range e.replies {
		a.to.answer(a.err)
	}
	e.replies = e.replies[:0]
}

// logDispute tells the operator of a dispute that opens, is due, or was decided by the rule.
func (e *Engine) logDispute(t *trade.Trade) {
	note := []any{"dispute", t.Dispute.ID.String(), "trade", t.ID.String(), "by", string(t.Dispute.By), "solver", t.Dispute.Solver.Key}
	switch t.Last {
	case trade.OnWarn:
		e.Logger.Warn("a dispute is due: decide it, or have a solver decide it", append(note, "blocks", t.Dispute.Told, "rule", string(t.Terms.OverdueRule()))...)
	case trade.OnOverdueCancel, trade.OnOverdueSettle:
		e.Logger.Warn("no one has decided a dispute in time: the rule decides it", append(note, "rule", string(t.Terms.OverdueRule()))...)
	default:
		e.Logger.Warn("a dispute was opened", append(note, "cause", string(t.Last))...)
	}
}

// survey counts the payouts that are in flight at the node.
func (e *Engine) survey(ctx context.Context) {
	defer close(e.surveyed)
	err := surveyPayouts(ctx, e.outbox.runner.Gate, e.Now(), e.claimed, func(h trade.Hash) (trade.OutflowKey, string, bool) {
		p, known := e.payouts[h]
		return p.id, effect.PayeeOf(p.bolt11), known
	}, e.Node)
	if errors.Is(err, lightning.ErrPermission) {
		e.Logger.Info("the macaroon does not permit to list payments: payments are looked up one by one, and a payment that the store has lost is not found", "permission", "uri:/lnrpc.Lightning/ListPayments")
	}
}

// Surveyed is closed after the payouts in flight were counted at the start.
func (e *Engine) Surveyed() <-chan struct{} { return e.surveyed }

package escrow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// Engine runs the escrow: one goroutine decides, N workers act. Its fields are
// set before Run and not changed after.
type Engine struct {
	Policy    Policy
	Store     Store
	Log       Log
	Node      Lightning
	Addresses Addresses
	Publisher Publisher
	Opener    Opener
	Sealer    Sealer
	Signer    Signer
	Notary    Notary // nil: no receipts are given
	Gate      *Gate
	// Card holds what the node says of itself. Run keeps it fresh.
	Card *NodeCard
	// Decode tells a payout destination apart; it sets everything but Taken
	// and Reachable. nil: BOLT11 invoices, Lightning addresses and LNURLs.
	Decode func(text string) Destination
	// Quote gives the price of a bitcoin; it does not block.
	Quote func(fiat string, at int64) Quote
	// Heard is told of other nodes' events of kind 30078; nil: nobody is.
	Heard func(evt *nostr.Event)
	Face  Face
	// Witness notices an old copy of the store; nil: nobody does.
	Witness *Witness
	// Reconcile has the store treated as an old copy whatever the witness says.
	Reconcile bool

	Clock   func() time.Time
	Fresh   io.Reader // of ids and preimages
	Logger  *slog.Logger
	Metrics *Metrics
	// Tick is how often deadlines are looked at; 0: each second.
	Tick time.Duration

	notices   chan notice
	stopped   chan struct{} // closed when Run has returned
	outbox    *outbox
	watches   *watches
	desk      *Desk
	said      time.Time // of the last commit at a tick
	witnessed time.Time
	asked     map[OrderID]bool
	replies   []chan error
}

// notice is one thing for the engine: mail, news of an effect, of a watch, or
// a question from outside.
type notice struct {
	seq       uint64  // of the log; read up to here
	letter    *Letter // from the log, or from an outbox row that looked at its address
	reachable *bool   // with a letter from the outbox
	trade     OrderID
	input     Input  // Kind "" for none
	row       uint64 // outbox row that is done
	ask       func(*Desk, int64) error
	reply     chan error // capacity 1
}

// maxTurn is how many notices one commit takes.
const maxTurn = 256

// ErrStopped says that the engine does not run any more.
var ErrStopped = errors.New("the escrow has stopped")

// Run runs the escrow until ctx ends or its store is in doubt. It returns once
// every goroutine of its own has ended. An Engine runs once.
func (e *Engine) Run(ctx context.Context) error {
	if e.notices == nil {
		return errors.New("escrow: Run without Open")
	}
	defer close(e.stopped)
	group, ctx := errgroup.WithContext(ctx)
	e.watches = newWatches(e.Node, e.send)
	if err := e.wake(ctx); err != nil {
		return err
	}
	b := inbox{log: e.Log, gate: e.Gate, opener: e.Opener, pubkey: e.Face.Pubkey, deliver: e.send, metrics: e.Metrics, heard: e.Heard}
	group.Go(func() error { return b.run(ctx, e.desk.Cursor()) })
	group.Go(func() error { e.outbox.run(ctx); return nil })
	group.Go(func() error { e.Card.follow(ctx, e.Node); return nil })
	if len(e.asked) > 0 {
		group.Go(func() error { return e.lookUp(ctx) })
	}
	if e.Notary != nil {
		group.Go(func() error { return e.smith(ctx) })
	}
	// The loop's end is everybody's end: a watch or a worker that waits for
	// the engine gives up with the context.
	group.Go(func() error { return e.loop(ctx) })
	err := group.Wait()
	e.watches.stop()
	if e.Witness != nil {
		if head, headErr := e.Store.Head(); headErr == nil {
			err = errors.Join(err, e.Witness.Store(head.Commits))
		}
	}
	return err
}

// Open reads the store and decides whether it can be believed. It is called
// once, before Run.
func (e *Engine) Open() error {
	if err := e.Policy.Terms.Check(); err != nil {
		return err
	}
	desk, err := NewDesk(e.Store)
	if err != nil {
		return fmt.Errorf("open the escrow: %w", err)
	}
	desk.Policy, desk.Fresh, desk.Decode, desk.Quote = e.Policy, e.Fresh, e.Decode, e.Quote
	desk.OrderEvent = func(t Trade) *nostr.Event { return e.Face.Order(t, e.Policy) }
	desk.DisputeEvents = func(t Trade) []*nostr.Event { return e.Face.Disputes(t, e.Policy) }
	desk.KeysetEvent = e.Face.Keyset
	e.Gate.known = desk.keys
	if e.Card == nil {
		e.Card = new(NodeCard)
	}
	if e.Face.Node == nil {
		e.Face.Node = e.Card.Info
	}
	e.desk, e.asked = desk, make(map[OrderID]bool)
	if e.Decode == nil {
		desk.Decode = func(text string) Destination { return decode(text, e.Card) }
	}
	if e.Tick == 0 {
		e.Tick = time.Second
	}
	e.notices, e.stopped = make(chan notice, maxTurn), make(chan struct{})
	e.outbox = newOutbox(hands{node: e.Node, addresses: e.Addresses}, e.Publisher, e.Metrics, e.send)
	if e.Witness != nil {
		commits, known, err := e.Witness.Load()
		if err != nil {
			return err
		}
		e.Reconcile = e.Reconcile || rolledBack(desk.head, commits, known)
	}
	if e.Notary != nil {
		if err := desk.Attesting(e.Notary); err != nil {
			return err
		}
		if e.Reconcile {
			desk.CloseKeysets(e.Clock().Unix())
		}
	}
	return nil
}

// wake is what every start does: no trade is treated otherwise after a crash
// than after an update.
func (e *Engine) wake(ctx context.Context) error {
	var ids []OrderID
	e.desk.Trades(func(t *Trade) { ids = append(ids, t.ID) })
	slices.SortFunc(ids, func(a, b OrderID) int { return slices.Compare(a[:], b[:]) })
	e.desk.Reconciling = e.Reconcile
	if e.Reconcile {
		e.Logger.Warn("the escrow's store may be an older copy: no new trades until every open hash is looked up",
			"open_trades", len(ids), "commits", e.desk.head.Commits)
	}
	if head := e.Log.Head(); head < e.desk.head.Cursor {
		// The log began anew. What is read again is recognised by its id.
		e.Logger.Warn("the log is shorter than what was read of it: reading it from its beginning", "head", head, "cursor", e.desk.head.Cursor)
		e.desk.head.Cursor, e.desk.changed = 0, true
	}
	at := e.Clock().Unix()
	frozen := make(map[OrderID]bool)
	for batch := range slices.Chunk(ids, maxTurn) {
		for _, id := range batch {
			if e.Reconcile {
				if err := e.desk.Hear(id, Input{At: at, Kind: InReconcile}); err != nil {
					return err
				}
			}
			if err := e.desk.Hear(id, Input{At: at, Kind: InRestart, Grace: e.Policy.GraceSeconds}); err != nil {
				return err
			}
		}
		if err := e.commit(ctx, false); err != nil {
			return err
		}
	}
	e.desk.Trades(func(t *Trade) {
		frozen[t.ID] = t.Frozen
		e.watches.sync(ctx, t)
		if e.Reconcile && !t.Frozen && t.Hash != (Hash{}) && t.HoldInvoice != "" {
			e.asked[t.ID] = true
		}
	})
	var rows []OutboxRow
	err := e.Store.Outbox(func(r OutboxRow) error {
		// What a frozen trade wanted of the node stays in the store until an
		// operator has looked.
		if !(frozen[r.Trade] && lane(r) == laneNode) {
			rows = append(rows, r)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	e.outbox.clear()
	e.outbox.add(rows)
	if e.Reconcile && len(e.asked) == 0 {
		e.desk.Reconciling = false
	}
	return nil
}

// lookUp asks the node for every open hash of a store that may be an older
// copy, until it has answered for each. Only then new trades begin.
func (e *Engine) lookUp(ctx context.Context) error {
	for id := range e.asked {
		var h Hash
		if err := e.Ask(ctx, func(d *Desk, _ int64) error {
			if t := d.open[id]; t != nil {
				h = t.Hash
			}
			return nil
		}); err != nil {
			return err
		}
		for n := 1; h != (Hash{}); n++ {
			state, err := e.Node.LookupHold(ctx, h)
			if err == nil {
				if err := e.send(ctx, notice{trade: id, input: holdInput(h, state)}); err != nil {
					return err
				}
				break
			}
			if errors.Is(err, ErrNotFound) {
				break // made and lost, or never made: its deadline sees to it
			}
			select {
			case <-time.After(backoff(n)):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return e.Ask(ctx, func(d *Desk, _ int64) error { d.Reconciling = false; return nil })
}

// send hands a notice to the engine; it waits while the engine is busy.
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

// Ask runs fn between two inputs, in the engine's goroutine, and returns once
// what it changed is committed. fn must not block.
func (e *Engine) Ask(ctx context.Context, fn func(d *Desk, at int64) error) error {
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

// loop is the one goroutine that owns the trades.
func (e *Engine) loop(ctx context.Context) error {
	ticker := time.NewTicker(e.Tick)
	defer ticker.Stop()
	for {
		var ticked bool
		select {
		case n := <-e.notices:
			if err := e.take(n); err != nil {
				return err
			}
		case <-ticker.C:
			ticked = true
		case <-ctx.Done():
			return ctx.Err()
		}
		for n := 1; n < maxTurn; n++ {
			select {
			case next := <-e.notices:
				if err := e.take(next); err != nil {
					return err
				}
				continue
			default:
			}
			break
		}
		if ticked {
			if err := e.tick(); err != nil {
				return err
			}
		}
		if err := e.commit(ctx, ticked); err != nil {
			return err
		}
	}
}

// take lets one notice change the desk.
func (e *Engine) take(n notice) error {
	at := e.Clock().Unix()
	switch {
	case n.ask != nil:
		if err := n.ask(e.desk, at); err != nil {
			n.reply <- err
			return nil
		}
		e.replies = append(e.replies, n.reply)
	case n.letter != nil:
		var outcome string
		var err error
		if n.reachable != nil {
			outcome, err = e.desk.Probed(n.row, *n.letter, *n.reachable, at)
		} else {
			outcome, err = e.desk.Receive(*n.letter, at)
			e.desk.Read(n.seq)
		}
		e.Metrics.letter(outcome)
		return err
	case n.seq != 0:
		e.desk.Read(n.seq)
	default:
		if n.input.Kind != "" {
			n.input.At = at
			if err := e.desk.Hear(n.trade, n.input); err != nil {
				return err
			}
		}
		if n.row != 0 {
			e.desk.Done(n.row)
		}
	}
	return nil
}

// tick is the clock's turn. Few trades are due at a time; after a long stop
// there may be many, and the rest waits for the next tick.
func (e *Engine) tick() error {
	now := e.Clock()
	due := e.desk.Due(now.Unix())
	for _, id := range due[:min(len(due), maxTurn)] {
		if err := e.desk.Hear(id, Input{At: now.Unix(), Kind: InClock}); err != nil {
			return err
		}
	}
	for _, evt := range e.Face.Due(now, e.Policy) {
		e.desk.Say(evt, now.Unix())
	}
	e.desk.SayKeysets(now.Unix())
	e.Metrics.survey(e.desk, e.outbox)
	return nil
}

// commit seals and commits what the turn came to, and only then lets it be
// done. A failed commit is fatal: memory is ahead of the store, and a fresh
// start alone is sure of both.
func (e *Engine) commit(ctx context.Context, ticked bool) error {
	turn := e.desk.turn
	now := e.Clock()
	// The position in the log alone is not worth an fsync: what is read again
	// is recognised.
	if turn.commit.Empty() && !e.desk.changed && !(ticked && now.Sub(e.said) > 5*time.Second) {
		e.answer()
		return nil
	}
	for _, bug := range turn.bugs {
		e.Logger.Error("a move outside of the transition table was refused", "error", bug)
	}
	bugs := len(turn.bugs)
	c := e.desk.Take()
	if err := e.seal(ctx, c, now); err != nil {
		return err
	}
	if err := e.Store.Commit(c); err != nil {
		return fmt.Errorf("the escrow's store is in doubt: %w", err)
	}
	e.Metrics.committed(c, turn.steps, bugs, e.Clock().Sub(now).Seconds())
	if e.Witness != nil && now.Sub(e.witnessed) >= time.Second {
		e.witnessed = now
		if err := e.Witness.Store(c.Head.Commits); err != nil {
			return err
		}
	}
	if ticked {
		e.said = now
	}
	e.outbox.add(c.Outbox)
	for i := range c.Trades {
		e.watches.sync(ctx, &c.Trades[i])
	}
	e.answer()
	return nil
}

// answer tells those who asked that what they changed is committed.
func (e *Engine) answer() {
	for _, reply := range e.replies {
		reply <- nil
	}
	e.replies = e.replies[:0]
}

// Trade gives a trade as it is now, open or over; mostro.ErrNotFound.
func (e *Engine) Trade(ctx context.Context, id OrderID) (t Trade, err error) {
	err = e.Ask(ctx, func(d *Desk, _ int64) error {
		var err error
		t, err = d.trade(id)
		if errors.Is(err, ErrNoRow) {
			return mostro.ErrNotFound
		}
		return err
	})
	return t, err
}

// Resume has a frozen trade go on as it stands, and PayAfterAll has one paid
// out whose hold the node has settled though this store knows of no release.
// Both are an operator's word; mostro.ErrNotFound when there is no such trade,
// ErrNothing when it is not for this.
func (e *Engine) Resume(ctx context.Context, id OrderID) error { return e.verdict(ctx, id, InResume) }

// PayAfterAll is described at Resume.
func (e *Engine) PayAfterAll(ctx context.Context, id OrderID) error {
	return e.verdict(ctx, id, InPayAfterAll)
}

func (e *Engine) verdict(ctx context.Context, id OrderID, kind InputKind) error {
	return e.Ask(ctx, func(d *Desk, at int64) error {
		t, err := d.trade(id)
		if errors.Is(err, ErrNoRow) {
			return mostro.ErrNotFound
		}
		if err != nil {
			return err
		}
		return d.step(t, Input{At: at, Kind: kind})
	})
}

// Pause stops new trades, or lets them begin again. It survives a restart.
func (e *Engine) Pause(ctx context.Context, paused bool) error {
	return e.Ask(ctx, func(d *Desk, _ int64) error { d.Pause(paused); return nil })
}

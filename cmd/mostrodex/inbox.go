package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/disputes"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
	"github.com/spf13/cobra"
)

// inboxEscrow is the escrow and the relay, as the dispute inbox needs them. Its trades are
// redacted.
type inboxEscrow struct {
	engine  *escrow.Engine
	db      *escrow.DB
	store   *eventlog.Store
	relay   *relay.Server
	records *tradeCounter
}

// openInbox makes the dispute inbox.
func (r *escrowRoom) openInbox(store *eventlog.Store, server *relay.Server, name string, with ambient) {
	r.counter = &tradeCounter{engine: r.engine, db: r.db, now: with.now, wake: make(chan struct{}, 1)}
	r.inbox = disputes.New(disputes.Config{Escrow: inboxEscrow{r.engine, r.db, store, server, r.counter}, Keys: r.keys, Name: name, Notice: with.notice, Notes: r.notes, Now: with.now, Logger: with.logger})
}

// inviter returns a function that returns a link to the inbox on the private listener.
func (r *escrowRoom) inviter(private string) func() (string, error) {
	return func() (string, error) {
		if private == "" {
			return "", errConflict{errors.New("there is no private listener: start the program with --private ADDRESS")}
		}
		return "http://" + fromHere(private) + r.inbox.Invite(), nil
	}
}

// fromHere returns the address at which this machine reaches one of its own listeners.
func fromHere(listener string) string {
	host, port, err := net.SplitHostPort(listener)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listener
}

func (e inboxEscrow) Disputes(ctx context.Context) ([]trade.Trade, error) {
	trades, err := e.engine.Trades(ctx)
	if err != nil {
		return nil, advised(err)
	}
	list := trades[:0]
	for i := range trades {
		if trades[i].Status == message.TradeDispute {
			list = append(list, trades[i].Redacted())
		}
	}
	return list, nil
}

func (e inboxEscrow) Dispute(ctx context.Context, id trade.OrderID) (trade.Trade, error) {
	t, err := disputeOf(ctx, e.engine, e.db, id)
	var none errConflict
	if errors.As(err, &none) {
		err = mostro.ErrNotFound // a trade that was never in dispute
	}
	return t.Redacted(), advised(err)
}

func (e inboxEscrow) Journal(_ context.Context, id trade.OrderID, fn func(trade.Input) error) error {
	return e.db.Journal(id, func(_ uint32, in trade.Input) error { return fn(in) })
}

func (e inboxEscrow) DecideAs(ctx context.Context, by string, id trade.OrderID, action message.Action, reason string) error {
	return advised(e.engine.DecideAs(ctx, by, id, action, reason))
}

func (e inboxEscrow) RoleOf(ctx context.Context, key string) (trade.Role, error) {
	role, err := e.engine.RoleOf(ctx, key)
	return role, advised(err)
}

func (e inboxEscrow) Record(ctx context.Context, identity string) (disputes.Record, error) {
	u, err := e.engine.Reputation(ctx, identity)
	if err != nil {
		return disputes.Record{}, err
	}
	r := disputes.Record{Since: u.CreatedAt, Rating: u.Mean, Reviews: u.Reviews}
	e.records.fill(ctx, identity, &r)
	return r, nil
}

func (e inboxEscrow) Chat(ctx context.Context, filters []nostr.Filter, limit int) (list []*nostr.Event, err error) {
	for _, f := range filters {
		found, err := e.store.Query(ctx, nil, f, limit, 0)
		if err != nil {
			return nil, fmt.Errorf("read a chat: %w", err)
		}
		for _, one := range found {
			evt, err := eventlog.ParseBody(one.JSON)
			if err != nil {
				return nil, fmt.Errorf("read a chat: %w", err)
			}
			list = append(list, evt)
		}
	}
	return list, nil
}

func (e inboxEscrow) Publish(ctx context.Context, evt *nostr.Event) error {
	return e.relay.Publish(ctx, evt)
}

func (e inboxEscrow) Closed(ctx context.Context) (disputes.Closed, bool) {
	return e.records.closedDisputes(ctx)
}

// adviceError is an error with a text for the person at the page.
type adviceError struct {
	error
	text string
}

func (e adviceError) Unwrap() error  { return e.error }
func (e adviceError) Advice() string { return e.text }

// advised adds a text for the person at the page to the errors of a decision.
func advised(err error) error {
	var refusal message.CantDo
	var answered trade.Answered
	text := ""
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answered):
		text = "The parties have agreed to cancel the trade: there is nothing to decide."
	case errors.As(err, &refusal):
		switch refusal.Reason {
		case message.ReasonInvalidPubkey:
			text = "The dispute is over, another solver has it, or the key is that of a party of the trade."
		case message.ReasonIsNotYourDispute:
			text = "A solver decides only a dispute that the solver has taken."
		case message.ReasonDisputeTakenByAdmin:
			text = "The operator has taken the dispute."
		case message.ReasonNotAuthorized:
			text = "This role reads and takes, and decides nothing."
		default:
			text = "The trade is not in a state for this: it has to be in dispute, not frozen, not released by the seller, and for a payment to the buyer its escrow not gone."
		}
	case errors.Is(err, escrow.ErrReason):
		text = "A reason is needed, of at most 500 bytes."
	case errors.Is(err, escrow.ErrUncompared):
		text = "The escrow is comparing its store with the Lightning node. Nothing is decided before. Try again when /readyz names no reason."
	case errors.Is(err, escrow.ErrStopped):
		text = "The escrow has stopped. Nothing was decided. The operator finds the reason in the log of the program."
	case errors.Is(err, trade.ErrNothing), errors.Is(err, trade.ErrTable):
		text = "The trade is not in a state for this. A frozen trade waits for the operator."
	default:
		return err
	}
	return adviceError{err, text}
}

// countsLast is the age up to which counted trades are shown, and countPatience the time that a
// page waits for a count.
const (
	countsLast    = 5 * time.Minute
	countPatience = 2 * time.Second
)

// closedLast is the age up to which the list of closed disputes is shown, and closedRests the
// number of times that the counter rests as long as a count took.
const (
	closedLast  = 15 * time.Second
	closedRests = 10
)

// tradeCounter counts the trades and disputes of the parties of open disputes, and collects the
// disputes that are over. A count reads the whole store, which takes seconds for a large one, so
// one goroutine counts and pages wait for it for a moment only.
type tradeCounter struct {
	engine *escrow.Engine
	db     *escrow.DB
	now    func() time.Time
	wake   chan struct{} // capacity 1: one count that is due is enough

	mu     sync.Mutex
	counts map[string]disputes.Record // guarded by mu, like the others
	at     time.Time
	took   time.Duration   // of the last count
	closed disputes.Closed // without the time
	wanted map[string]bool // identities that are asked for and were not counted
	ended  chan struct{}   // closed at the end of the next count
}

// run counts until ctx ends.
func (c *tradeCounter) run(ctx context.Context) error {
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return nil
		}
		if err := c.count(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("count the trades of parties: %w", err)
		}
	}
}

func (c *tradeCounter) count(ctx context.Context) error {
	c.mu.Lock()
	ended := c.ended
	c.ended = nil
	counts := make(map[string]disputes.Record, len(c.wanted))
	for identity := range c.wanted {
		counts[identity] = disputes.Record{Counted: true}
	}
	c.mu.Unlock()
	began := c.now()
	trades, err := c.engine.Trades(ctx)
	if errors.Is(err, escrow.ErrStopped) {
		return nil
	}
	if err != nil {
		return err
	}
	for i := range trades {
		if trades[i].Status == message.TradeDispute {
			for _, p := range []trade.Party{trades[i].Buyer, trades[i].Seller} {
				counts[p.Identity] = disputes.Record{Counted: true}
			}
		}
	}
	var closed closedList
	err = c.db.Trades(func(t trade.Trade) error {
		closed.add(&t)
		for _, p := range []trade.Party{t.Buyer, t.Seller} {
			if r, ok := counts[p.Identity]; ok && p.Identity != "" {
				countTrade(&r, &t, p.Identity == t.Buyer.Identity)
				counts[p.Identity] = r
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts, c.at, c.wanted = counts, c.now(), nil
	c.took, c.closed = c.at.Sub(began), closed.newest()
	if ended != nil {
		close(ended)
	}
	return nil
}

// countTrade adds a trade to the record of one of its parties.
func countTrade(r *disputes.Record, t *trade.Trade, buyer bool) {
	if t.Status == message.TradeSuccess || t.Status == message.TradeCompletedByAdmin {
		r.Finished++
	}
	if t.Dispute.Status == "" {
		return
	}
	if (t.Dispute.By == message.InitiatorBuyer) == buyer {
		r.Opened++
	}
	v := t.Dispute.Verdict
	switch {
	case v == nil || (v.Action == message.ActionAdminCancel) != buyer:
	case v.Overdue:
		r.Overdue++
	default:
		r.Lost++
	}
}

// closedList collects the newest disputes that are over.
type closedList struct {
	trades []trade.Trade
	n      int
}

func (l *closedList) add(t *trade.Trade) {
	if !disputes.Over(t) {
		return
	}
	l.n++
	if l.trades = append(l.trades, t.Redacted()); len(l.trades) >= 2*disputes.MaxClosed {
		l.cut()
	}
}

func (l *closedList) cut() {
	slices.SortFunc(l.trades, func(a, b trade.Trade) int { return byEnd(&a, &b) })
	l.trades = l.trades[:min(len(l.trades), disputes.MaxClosed)]
}

// byEnd compares disputes that are over, the newest first.
func byEnd(a, b *trade.Trade) int {
	return cmp.Or(cmp.Compare(disputes.ClosedAt(b), disputes.ClosedAt(a)), slices.Compare(a.ID[:], b.ID[:]))
}

func (l *closedList) newest() disputes.Closed {
	l.cut()
	return disputes.Closed{Trades: l.trades, More: l.n - len(l.trades)}
}

// closedDisputes returns the disputes that are over. It waits a moment for a count if the last
// one is old, and returns the old list if there is one.
func (c *tradeCounter) closedDisputes(ctx context.Context) (disputes.Closed, bool) {
	ctx, cancel := context.WithTimeout(ctx, countPatience)
	defer cancel()
	c.mu.Lock()
	if c.at.IsZero() || c.now().Sub(c.at).Abs() >= max(closedLast, closedRests*c.took) {
		ended := c.countSoon()
		c.mu.Unlock()
		select {
		case <-ended:
		case <-ctx.Done():
		}
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	list := c.closed
	list.At = c.at
	return list, !c.at.IsZero()
}

// countSoon begins a count and returns a channel that is closed at its end. The caller holds mu.
func (c *tradeCounter) countSoon() chan struct{} {
	if c.ended == nil {
		c.ended = make(chan struct{})
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return c.ended
}

// fill sets the counts of an identity in its record, if they are known in time.
func (c *tradeCounter) fill(ctx context.Context, identity string, r *disputes.Record) {
	look := func() (wait chan struct{}) {
		c.mu.Lock()
		defer c.mu.Unlock()
		n, known := c.counts[identity]
		if known {
			n.Since, n.Rating, n.Reviews = r.Since, r.Rating, r.Reviews
			*r = n
		}
		if known && c.now().Sub(c.at).Abs() < countsLast {
			return nil
		}
		if c.wanted == nil {
			c.wanted = make(map[string]bool)
		}
		c.wanted[identity] = true
		return c.countSoon()
	}
	wait := look()
	if wait == nil || r.Counted {
		return // an old count is better than to wait
	}
	ctx, cancel := context.WithTimeout(ctx, countPatience)
	defer cancel()
	select {
	case <-wait:
		c.mu.Lock()
		defer c.mu.Unlock()
		if n, known := c.counts[identity]; known {
			n.Since, n.Rating, n.Reviews = r.Since, r.Rating, r.Reviews
			*r = n
		}
	case <-ctx.Done():
	}
}

func newDisputeInboxCmd() *cobra.Command {
	var c control
	cmd := &cobra.Command{
		Use:   "inbox",
		Short: "Print a link that opens the dispute inbox under the key of this Mostro",
		Long: `Print a link to the dispute inbox, a page on the private listener (--private).
The link logs a browser in as the operator. It can be used once, within five
minutes. Whoever opens the link can decide every dispute.

Solvers log in by a signature at the address of the private listener, under
/disputes.`,
		Example: "  mostrodex dispute inbox --data /var/lib/mostrodex",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return answer(&c, cmd, http.MethodPost, "/inbox", func(out io.Writer, link *struct{ URL string }) error {
				_, err := fmt.Fprintln(out, link.URL)
				return err
			})
		},
	}
	c.flags(cmd)
	return cmd
}

package escrow

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/exposure"
	"github.com/mostrodex/mostrodex/escrow/health"
	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
)

// Policy holds the operator's decisions.
type Policy struct {
	Terms      trade.Terms
	Ratings    rating.Policy
	Currencies []string // accepted currency codes; empty: all
	MaxOrders  int      // limit of orders in the answer to an orders request
	MaxPending int      // limit of pending orders of one identity; 0: 20
	// PayoutBlocks is the largest number of blocks for which a payout may be locked, over all
	// hops. 0: the node's own limit.
	PayoutBlocks uint32
	// MaxPayouts is the largest number of payouts in flight, and MaxPayoutsOfPayee the largest
	// number to one Lightning node. Another payout waits. 0: no limit.
	MaxPayouts, MaxPayoutsOfPayee int
	// MaintenanceAfter is the time for which the Lightning node is not synced with the chain
	// after which maintenance begins by itself; 0: never. It ends by itself after the node has
	// been synced for MaintenanceClear.
	MaintenanceAfter, MaintenanceClear time.Duration
	// MaxHolds is the largest number of payments that the node may hold before takes are
	// refused: a channel has at most 483 slots for payments in each direction. 0: no limit.
	MaxHolds int
	// GraceSeconds is the extension of a waiting state's deadline that passed while the
	// program was down, given at the start.
	GraceSeconds int64
	// OrderDays, DisputeDays and MailDays are the numbers of days for which relays keep
	// the events of each kind (NIP-40).
	OrderDays, DisputeDays, MailDays int64
}

// DefaultPolicy returns the policy of the reference node, plus a GraceSeconds that the
// reference node lacks.
func DefaultPolicy() Policy {
	return Policy{Terms: trade.DefaultTerms(), MaxOrders: 10, GraceSeconds: 180, MaxPending: 20, MaxHolds: 400, PayoutBlocks: 1008, MaxPayouts: 100, MaxPayoutsOfPayee: 10, MaintenanceAfter: 10 * time.Minute, MaintenanceClear: 5 * time.Minute, OrderDays: 30, DisputeDays: 90, MailDays: 30}
}

// routeBlocks is the number of blocks that a route may need besides the last hop of an invoice.
const routeBlocks = 576

// Check returns an error if the limit of payouts leaves too few blocks for a route to an
// invoice that the terms accept.
func (p Policy) Check() error {
	if least := p.Terms.MaxFinalCLTV + routeBlocks; p.PayoutBlocks != 0 && p.PayoutBlocks < least {
		return fmt.Errorf("policy: a limit of %d blocks leaves no route to an invoice of %d blocks: the limit has to be %d blocks at least", p.PayoutBlocks, p.Terms.MaxFinalCLTV, least)
	}
	return p.Terms.Check()
}

// TradeBook holds every open trade in memory. TradeBook collects the facts that Step
// needs, passes inputs to Step, and collects the changes to commit. A TradeBook does no
// I/O except reads of its store, starts no goroutine and reads no clock, so a simulation
// uses it as the engine does.
//
// One goroutine owns a TradeBook. After an error it must not be used again: memory is
// ahead of the store, and only a restart makes both equal.
type TradeBook struct {
	Policy Policy
	// Secret is the key from which ids and preimages are derived.
	Secret trade.NodeSecret
	// Decode parses a payout destination, and sets every field except Taken and Reachable.
	Decode func(text string) trade.Destination
	// Quote returns the price of a bitcoin in a currency.
	Quote func(fiat string, at int64) trade.Quote
	// OrderEvent and DisputeEvents build the public events of a trade, unsigned.
	OrderEvent    func(t trade.Trade, maker *mostro.MakerRating) *nostr.Event // maker is nil unless the order is pending
	DisputeEvents func(trade.Trade) []*nostr.Event
	// KeysetEvent builds the public event of a receipt key, unsigned.
	KeysetEvent func(receipt.Keyset) *nostr.Event
	// NodeKey is the node's own key, which may take and decide every dispute. Assistant is the
	// key of an announced assistant, a solver with the role read; "" for none.
	NodeKey, Assistant string
	// Reconciling refuses every message that would begin a trade. It is set while a store
	// that may be an old copy is compared with the node.
	Reconciling bool
	// NodeDown refuses the same messages. It is set while the Lightning node cannot be
	// used.
	NodeDown bool
	// PayoutsSpared marks failures of payouts as the fault of the node's state, so that they
	// do not count. It is set while payouts wait for the node, and shortly afterwards.
	PayoutsSpared bool

	receipts   *receiptIssuer // nil: no receipts are issued
	ratings    *rating.Book
	fund       *fundBook
	keys       *keyring // trade keys of open trades
	store      Store
	head       Head
	open       map[trade.OrderID]*trade.Trade
	identities map[string]map[trade.OrderID]struct{} // parties of open trades
	holds      map[trade.Hash]int                    // hold invoices of open trades
	held       int                                   // payments that the node holds for open trades
	heldMsat   int64                                 // sum of these payments
	solvers    map[string]Solver                     // by identity; removed ones have no role
	disputes   map[trade.OrderID]trade.OrderID       // dispute id of an open trade -> its order
	throttles  throttles
	probes     *probes             // messages that wait for the check of their address
	questions  map[question]uint64 // outbox rows whose question must be in the outbox only once
	asking     map[uint64]question // the same by row id
	attempts   *health.Attempts    // payouts of the last hour; may be nil
	nonce      trade.HoldNonce     // nonce of the preimage in the current input
	changed    bool                // the head changed in a way that must be committed now
	batch      *batch
}

// NewTradeBook returns a trade book with the open trades of a store.
func NewTradeBook(store Store) (*TradeBook, error) {
	b := &TradeBook{
		store: store, open: make(map[trade.OrderID]*trade.Trade),
		identities: make(map[string]map[trade.OrderID]struct{}), keys: newKeyring(),
		holds: make(map[trade.Hash]int), throttles: make(throttles), probes: newProbes(),
		questions: make(map[question]uint64), asking: make(map[uint64]question),
		solvers: make(map[string]Solver), disputes: make(map[trade.OrderID]trade.OrderID),
	}
	b.fund = &fundBook{book: b, active: func() bool { return false }, fees: make(map[trade.OrderID]devfee.Fee)}
	if err := store.DevFees(func(f devfee.Fee) error { b.fund.fees[f.Trade] = f; return nil }); err != nil {
		return nil, fmt.Errorf("read development fees: %w", err)
	}
	head, err := store.Head()
	if err != nil {
		return nil, fmt.Errorf("read head: %w", err)
	}
	if b.ratings, err = rating.NewBook(store); err != nil {
		return nil, fmt.Errorf("read ratings: %w", err)
	}
	b.ratings.Known = b.knownSince
	b.head = head
	if err := store.Open(func(t trade.Trade) error { b.put(&t); return nil }); err != nil {
		return nil, fmt.Errorf("read open trades: %w", err)
	}
	if err := store.Throttles(func(t Throttle) error { b.throttles[t.Subject] = t; return nil }); err != nil {
		return nil, fmt.Errorf("read throttles: %w", err)
	}
	err = store.Solvers(func(s Solver) error {
		b.solvers[s.Key] = s
		if s.Role != "" {
			b.keys.count(s.Key, 1)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read solvers: %w", err)
	}
	err = store.Outbox(func(r OutboxRow) error {
		if r.Inbound != nil {
			b.probes.add(probeOf(*r.Inbound, r.Effect.Text))
		}
		if q, ok := questionOf(r); ok {
			b.questions[q], b.asking[r.ID] = r.ID, q
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	b.begin()
	return b, nil
}

// Attesting sets the signer, so that the trade book issues receipts.
func (b *TradeBook) Attesting(n ReceiptSigner) error {
	b.receipts = &receiptIssuer{book: b, signer: n, keysets: make(map[string]*ReceiptKey)}
	return b.store.ReceiptKeys(func(k ReceiptKey) error {
		b.receipts.keysets[k.Epoch] = &k
		return k.open(n.Pubkey())
	})
}

func (b *TradeBook) begin() {
	b.batch = &batch{
		store: b.store, trades: make(map[trade.OrderID]int), users: make(map[string]int),
		seen: make(map[string]bool), claims: make(map[trade.Hash]trade.OrderID), steps: make(map[trade.Trigger]int),
	}
}

// Take returns the changes since the last call, to be committed.
func (b *TradeBook) Take() *Commit {
	c := &b.batch.commit
	c.Ratings = b.ratings.Take()
	b.head.Commits++
	b.changed = false
	c.Head = b.head
	c.Head.Stamps = maps.Clone(b.head.Stamps)
	b.begin()
	return c
}

// put stores an open trade in memory, or removes a trade that is over.
func (b *TradeBook) put(t *trade.Trade) {
	if old := b.open[t.ID]; old != nil {
		b.index(old, -1)
		delete(b.open, t.ID)
		delete(b.disputes, old.Dispute.ID)
	}
	if t.Over() {
		return
	}
	b.open[t.ID] = t
	if t.Dispute.Status != "" {
		b.disputes[t.Dispute.ID] = t.ID
	}
	b.index(t, 1)
}

func (b *TradeBook) index(t *trade.Trade, by int) {
	if exposure.Holds(t) {
		b.held += by
		b.heldMsat += int64(by) * t.HeldMsat()
	}
	for _, h := range append([]trade.Hash{t.Hash}, t.Closing...) {
		if b.holds[h] += by; b.holds[h] == 0 {
			delete(b.holds, h)
		}
	}
	for _, p := range []trade.Party{t.Buyer, t.Seller} {
		if p.Key == "" {
			continue
		}
		b.keys.count(p.Key, by)
		ids := b.identities[p.Identity]
		switch {
		case by > 0 && ids == nil:
			b.identities[p.Identity] = map[trade.OrderID]struct{}{t.ID: {}}
		case by > 0:
			ids[t.ID] = struct{}{}
		default:
			if delete(ids, t.ID); len(ids) == 0 {
				delete(b.identities, p.Identity)
			}
		}
	}
}

// full reports whether the node holds as many payments as the policy allows.
func (b *TradeBook) full() bool { return b.Policy.MaxHolds > 0 && b.held >= b.Policy.MaxHolds }

// Read records the position up to which the log was read.
func (b *TradeBook) Read(seq uint64) { b.ReadEntry(seq, "") }

// ReadEntry is like Read, with the id of the event at the position, or "" if the id is
// unknown.
func (b *TradeBook) ReadEntry(seq uint64, id string) {
	if seq > b.head.Cursor {
		b.head.Cursor, b.head.CursorID = seq, id
	}
}

// Cursor returns the position up to which the log was read.
func (b *TradeBook) Cursor() uint64 { return b.head.Cursor }

// Trades calls fn for every open trade, in no order.
func (b *TradeBook) Trades(fn func(*trade.Trade)) {
	for _, t := range b.open {
		fn(t)
	}
}

// trade returns a trade, open or over, or ErrNoRow.
func (b *TradeBook) trade(id trade.OrderID) (trade.Trade, error) {
	if t := b.open[id]; t != nil {
		return *t, nil
	}
	if i, ok := b.batch.trades[id]; ok {
		return b.batch.commit.Trades[i], nil
	}
	return b.store.Trade(id)
}

// Due returns the trades whose deadline has passed, in the order of their deadlines.
func (b *TradeBook) Due(at int64) []trade.OrderID {
	var due []*trade.Trade
	for _, t := range b.open {
		if d := t.Due(); d != 0 && d <= at {
			due = append(due, t)
		}
	}
	slices.SortFunc(due, func(a, b *trade.Trade) int {
		if c := cmp.Compare(a.Due(), b.Due()); c != 0 {
			return c
		}
		return slices.Compare(a.ID[:], b.ID[:])
	})
	ids := make([]trade.OrderID, len(due))
	for i, t := range due {
		ids[i] = t.ID
	}
	return ids
}

// ApplyInput applies an input that is not a message: an input of the clock, the node or
// the engine. An input for a trade that is over or unknown is out of date and has no
// effect.
func (b *TradeBook) ApplyInput(id trade.OrderID, in trade.Input) error {
	t, err := b.trade(id)
	if errors.Is(err, ErrNoRow) {
		return nil
	}
	if err != nil {
		return err
	}
	if in.Kind == trade.InMinted {
		dest := b.Decode(in.Bolt11)
		if err := b.claimed(&dest, id); err != nil {
			return err
		}
		in.Invoice, in.Bolt11 = &dest, ""
	}
	in = in.Dated(t)
	if b.PayoutsSpared && failedPayout(in) {
		in.Deferred = true
	}
	err = b.step(t, in)
	if paid := paidOut(in); err == nil && b.attempts != nil && (paid || failedPayout(in) && !in.Deferred) {
		b.attempts.Add(in.At, id, paid)
	}
	var refusal message.CantDo
	switch {
	case err == nil, errors.Is(err, trade.ErrNothing), errors.As(err, &refusal):
		return nil
	case errors.Is(err, trade.ErrTable):
		b.batch.bugs = append(b.batch.bugs, err)
		return nil
	}
	return err
}

// failedPayout reports whether an input is the failure of an attempt to pay a buyer.
func failedPayout(in trade.Input) bool {
	return in.Kind == trade.InPayRefused || in.Kind == trade.InMintFailed || in.Kind == trade.InPayment && in.Payment.Status == trade.PaymentFailed
}

// paidOut reports whether an input is the success of a payout.
func paidOut(in trade.Input) bool {
	return in.Kind == trade.InPayment && in.Payment.Status == trade.PaymentSucceeded
}

// QueueEvent puts an event of the node itself into the outbox. The date of the event is
// later than the date of the last event of its kind.
func (b *TradeBook) QueueEvent(evt *nostr.Event, at int64) {
	if b.head.Stamps == nil {
		b.head.Stamps = make(map[int]int64)
	}
	stamp := b.stamp(evt.Kind, at)
	b.head.Stamps[evt.Kind] = stamp
	evt.CreatedAt = nostr.Timestamp(stamp)
	b.row(OutboxRow{Effect: trade.Effect{Kind: trade.FxPublish}, Event: evt})
}

// stamp returns the date of the next event of a kind.
func (b *TradeBook) stamp(kind int, at int64) int64 { return max(at, b.head.Stamps[kind]+1) }

// Pause stops new trades, or allows them again. The setting survives a restart.
func (b *TradeBook) Pause(paused bool) { b.head.Paused, b.changed = paused, true }

// SetMaintenance begins or ends maintenance, and reports whether anything changed.
func (b *TradeBook) SetMaintenance(m Maintenance, at int64) bool {
	was := b.head.Maintenance
	switch {
	case !m.On:
		m.Since = 0
	case was.On:
		m.Since = was.Since
	default:
		m.Since = at
	}
	if m == was {
		return false
	}
	b.head.Maintenance, b.changed = m, true
	return true
}

// Maintenance returns the present maintenance.
func (b *TradeBook) Maintenance() Maintenance { return b.head.Maintenance }

// Bind records the Lightning node that holds the trades' invoices.
func (b *TradeBook) Bind(wallet string) { b.head.Wallet, b.changed = wallet, true }

// Wallet returns the pubkey of the Lightning node that holds the trades' invoices, or ""
// if none was bound yet.
func (b *TradeBook) Wallet() string { return b.head.Wallet }

// Paused reports whether the operator has stopped new trades.
func (b *TradeBook) Paused() bool { return b.head.Paused }

// Done removes an outbox row.
func (b *TradeBook) Done(row uint64) {
	b.batch.commit.Done = append(b.batch.commit.Done, row)
	if q, ok := b.asking[row]; ok {
		delete(b.asking, row)
		delete(b.questions, q)
	}
}

// question identifies a call of the node that must be in the outbox only once at a time.
// While the node is down, the clock asks for the same payment again and again. Two rows of
// one payment would be worse: if the second row is performed after the first has failed,
// it pays in addition to the attempt that followed.
type question struct {
	trade   trade.OrderID
	kind    trade.EffectKind
	hash    trade.Hash
	attempt uint32
}

func questionOf(r OutboxRow) (question, bool) {
	e := r.Effect
	return question{r.Trade, e.Kind, e.Hash, e.Attempt}, e.Kind == trade.FxTrack || e.Kind == trade.FxCheckHold || e.Kind == trade.FxPay || lane(r) == laneFund
}

// step runs Step and collects its result. A refusal or ErrNothing changes nothing here.
func (b *TradeBook) step(t trade.Trade, in trade.Input) error {
	in.Rules = trade.CurrentRules
	next, effects, err := trade.Step(t, in)
	if err != nil {
		return err
	}
	if err := b.reserve(t, next); err != nil {
		return err
	}
	b.record(next, in)
	consequences, err := b.ratings.Moved(t, next, in.At)
	if err == nil {
		err = b.affect(consequences, in.At)
	}
	if err != nil {
		return err
	}
	for _, e := range effects {
		switch e.Kind {
		case trade.FxSpawn:
			if err := b.spawn(*e.Child, in.At); err != nil {
				return err
			}
		case trade.FxPublishOrder:
			evt, err := b.orderEvent(next, in.At)
			if err != nil {
				return err
			}
			b.row(OutboxRow{Trade: next.ID, Effect: e, Event: evt})
		case trade.FxPublishDispute:
			for _, evt := range b.DisputeEvents(next) {
				b.row(OutboxRow{Trade: next.ID, Effect: e, Event: evt})
			}
		case trade.FxCreateHold:
			e.Memo = trade.MemoOf(e.Memo, b.nonce)
			b.row(OutboxRow{Trade: next.ID, Effect: e})
		default:
			b.ask(OutboxRow{Trade: next.ID, Effect: e})
		}
	}
	return b.fund.follow(t, next, in)
}

// ask adds a row to the outbox, unless the row is a question that waits there already.
func (b *TradeBook) ask(r OutboxRow) {
	q, asks := questionOf(r)
	if _, waits := b.questions[q]; asks && waits {
		return
	}
	if id := b.row(r); asks {
		b.questions[q], b.asking[id] = id, q
	}
}

func (b *TradeBook) record(t trade.Trade, in trade.Input) {
	c := &b.batch.commit
	if i, ok := b.batch.trades[t.ID]; ok {
		c.Trades[i] = t
	} else {
		b.batch.trades[t.ID] = len(c.Trades)
		c.Trades = append(c.Trades, t)
	}
	b.batch.steps[t.Last]++
	if notable(t.Last) {
		b.batch.notable = append(b.batch.notable, t)
	}
	b.batch.at = max(b.batch.at, in.At)
	c.Journal = append(c.Journal, JournalRow{Trade: t.ID, N: t.Steps, Input: in})
	b.batch.bytes += tradeBytes + trade.TextBytes(t, in)
	b.put(&t)
}

// notable reports whether the operator is told of a step: a dispute opens, is due, or is
// decided by the rule.
func notable(on trade.Trigger) bool {
	switch on {
	case trade.OnDispute, trade.OnGuardFiatSent, trade.OnWarn, trade.OnOverdueCancel, trade.OnOverdueSettle:
		return true
	}
	return false
}

// Estimates of the size of a trade, an outbox row and their journal in the store, without
// texts of variable length. A sealed message is the padded and encrypted text in base64,
// and on v1 this is done twice.
const (
	tradeBytes  = 4 << 10
	rowBytes    = 2 << 10
	sealedTimes = 4
	// batchBytes is the size at which a batch ends. A transaction of the store holds nine
	// times as much, and one input adds at most about 200 KiB.
	batchBytes = 1 << 20
)

// Bytes returns an estimate of the current batch's size in the store.
func (b *TradeBook) Bytes() int { return b.batch.bytes + b.ratings.Bytes() }

func (b *TradeBook) row(r OutboxRow) uint64 {
	b.head.LastRow++
	r.ID = b.head.LastRow
	b.batch.bytes += rowBytes + len(r.Effect.Text)
	if r.Effect.Kind == trade.FxSend {
		b.batch.bytes += sealedTimes * len(r.Effect.Message.JSON())
	}
	if r.Inbound != nil {
		b.batch.bytes += trade.JournalLimit(r.Inbound.Message.Payload) + len(r.Effect.Text)
	}
	b.batch.commit.Outbox = append(b.batch.commit.Outbox, r)
	return r.ID
}

// spawn makes an order of the rest of a range order, in the same commit. A failure of
// spawn must not undo the parent's step. If Step refuses the child, this is a bug to
// report, and the parent continues.
func (b *TradeBook) spawn(c trade.Child, at int64) error {
	if b.keys.has(c.Maker.Key) {
		// The key came into use after it was announced. Two trades with one key would read
		// each other's messages. The maker can publish the rest as a new order.
		return nil
	}
	in := trade.Input{At: at, Kind: trade.InSpawn, Child: &c}
	in.OrderID, in.DisputeID = b.Secret.ID("rest", c.Parent[:]), b.Secret.ID("dispute of the rest", c.Parent[:])
	if err := b.step(trade.Trade{}, in); err != nil {
		if errors.Is(err, trade.ErrTable) || errors.Is(err, trade.ErrNothing) {
			b.batch.bugs = append(b.batch.bugs, err)
			return nil
		}
		return err
	}
	return b.batch.useIndex(c.Maker, in.OrderID, at)
}

// reserve keeps the hashes of payout invoices apart: the hash of a payout belongs to one
// trade only. A hash to which no payment was ever made becomes free again.
func (b *TradeBook) reserve(before, after trade.Trade) error {
	if after.Hash != before.Hash && after.Hash != (trade.Hash{}) {
		b.claim(after.Hash, holdClaim)
	}
	held := func(t trade.Trade) []trade.Hash {
		list := []trade.Hash{t.BuyerInvoice.Hash, t.MakerInvoice.Hash, t.Payout.Hash, t.Payout.LastHash}
		return append(list, outflowHashes(t)...)
	}
	kept := held(after)
	if trade.Terminal(after.Status) {
		kept = append(outflowHashes(after), after.Payout.LastHash)
	}
	for _, h := range kept {
		if h != (trade.Hash{}) && !slices.Contains(held(before), h) {
			b.claim(h, after.ID)
		}
	}
	for _, h := range []trade.Hash{before.BuyerInvoice.Hash, before.MakerInvoice.Hash} {
		// A hash to which a payment was made stays claimed, because its payment exists.
		if h != (trade.Hash{}) && !slices.Contains(kept, h) && before.Payout.Attempt == 0 {
			b.claim(h, trade.OrderID{})
		}
	}
	return nil
}

// outflowHashes returns the payment hashes of a trade's outflows besides the payout.
func outflowHashes(t trade.Trade) (list []trade.Hash) {
	for i := range t.Outflows {
		list = append(list, t.Outflows[i].To.Hash, t.Outflows[i].Hash, t.Outflows[i].LastHash)
	}
	return list
}

func (b *TradeBook) claim(h trade.Hash, owner trade.OrderID) {
	b.batch.claims[h] = owner
	b.batch.commit.Claims = append(b.batch.commit.Claims, Claim{h, owner})
}

// claimed sets Taken in a destination if its hash belongs to another trade.
func (b *TradeBook) claimed(dest *trade.Destination, id trade.OrderID) error {
	if dest.Address || !dest.Parsed {
		return nil
	}
	if b.holds[dest.Hash] > 0 { // stores from before rules1 claim no hash of a hold
		dest.Taken = true
		return nil
	}
	owner, ok := b.batch.claims[dest.Hash]
	if !ok {
		found, err := b.store.Claim(dest.Hash)
		if err != nil && !errors.Is(err, ErrNoRow) {
			return fmt.Errorf("look up a payment hash: %w", err)
		}
		owner = found
	}
	dest.Taken = owner != trade.OrderID{} && owner != id
	return nil
}

// knownSince returns the time at which an identity first used a trade key here, 0 if never.
func (b *TradeBook) knownSince(identity string) (int64, error) {
	u, err := b.batch.user(identity)
	if errors.Is(err, ErrNoRow) {
		return 0, nil
	}
	return u.CreatedAt, err
}

// recordOf returns the record of a party's identity for a solver, or nil for a party without
// one.
func (b *TradeBook) recordOf(p trade.Party, at int64) (*message.UserInfo, error) {
	if p.Private() {
		return nil, nil
	}
	return b.ratings.InfoOf(p, at)
}

// orderEvent builds the event of an order, with the rating of its maker if the order is
// pending.
func (b *TradeBook) orderEvent(t trade.Trade, at int64) (*nostr.Event, error) {
	if t.Bucket != mostro.StatusPending {
		return b.OrderEvent(t, nil), nil
	}
	maker, err := b.ratings.MakerOf(t.Maker(), at)
	return b.OrderEvent(t, maker), err
}

// affect puts the effects of changed ratings into the outbox.
func (b *TradeBook) affect(effects []rating.Effect, at int64) error {
	for _, e := range effects {
		switch {
		case e.Event != nil:
			b.row(OutboxRow{Effect: trade.Effect{Kind: trade.FxPublish}, Event: e.Event})
		case e.Reshow != "":
			if err := b.reshow(e.Reshow, at); err != nil {
				return err
			}
		default:
			b.row(OutboxRow{Trade: e.Trade, Effect: trade.Effect{Kind: trade.FxSend, To: e.To, Message: trade.Outgoing{Message: e.Message}}})
		}
	}
	return nil
}

// reshow publishes the pending orders of a maker again.
func (b *TradeBook) reshow(identity string, at int64) error {
	var ids []trade.OrderID
	for id := range b.identities[identity] {
		if b.open[id].Maker().Identity == identity {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(p, q trade.OrderID) int { return slices.Compare(p[:], q[:]) })
	for _, id := range ids {
		if err := b.step(*b.open[id], trade.Input{At: at, Kind: trade.InReshow}); err != nil && !errors.Is(err, trade.ErrNothing) {
			return err
		}
	}
	return nil
}

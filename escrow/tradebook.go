package escrow

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Policy is what the operator decides.
type Policy struct {
	Terms      trade.Terms
	Currencies []string // empty: all
	MaxOrders  int      // per answer to an orders request
	MaxPending int      // orders of one identity in the book at a time; 0: 20
	// GraceSeconds is by how long a waiting state's deadline that passed while
	// the program was down is put off at its start.
	GraceSeconds int64
	// OrderDays, DisputeDays and MailDays are how long the events of each kind
	// are to be kept by relays (NIP-40).
	OrderDays, DisputeDays, MailDays int64
}

// DefaultPolicy is the reference node's, with a grace it lacks.
func DefaultPolicy() Policy {
	return Policy{Terms: trade.DefaultTerms(), MaxOrders: 10, GraceSeconds: 180, MaxPending: 20, OrderDays: 30, DisputeDays: 90, MailDays: 30}
}

// TradeBook is where inputs meet trades. It holds every open trade in memory,
// gathers the facts that Step asks for, and collects what is to be committed.
// It does no I/O but reading its store, starts nothing, and knows no clock: a
// simulation drives it as the engine does.
//
// One goroutine owns it. After an error it is not to be used again: memory is
// ahead of the store, and only a fresh start is sure of both.
type TradeBook struct {
	Policy Policy
	// Secret is what ids and preimages follow from.
	Secret trade.NodeSecret
	// Decode tells a payout destination apart. It sets everything but Taken
	// and Reachable.
	Decode func(text string) trade.Destination
	// Quote gives the price of a bitcoin in a currency.
	Quote func(fiat string, at int64) trade.Quote
	// OrderEvent and DisputeEvents build what is published of a trade, unsigned.
	OrderEvent    func(trade.Trade) *nostr.Event
	DisputeEvents func(trade.Trade) []*nostr.Event
	// KeysetEvent builds what is published of a key for receipts, unsigned.
	KeysetEvent func(mostro.Keyset) *nostr.Event
	// Reconciling refuses whatever would begin a trade: set while a store that
	// may be an old copy is compared with the node.
	Reconciling bool
	// NodeDown refuses the same: set while the Lightning node cannot be used.
	NodeDown bool

	receiptSigner ReceiptSigner          // nil: no receipts are given
	keysets       map[string]*ReceiptKey // by epoch
	keys          *keyring               // trade keys of open trades
	store         Store
	head          Head
	open          map[trade.OrderID]*trade.Trade
	identities    map[string]map[trade.OrderID]struct{} // parties of open trades
	holds         map[trade.Hash]int                    // hold invoices of open trades
	throttles     map[string]Throttle                   // by trade key or identity
	probes        *probes                               // messages that wait for their address
	questions     map[question]uint64                   // outbox rows that are not to be there twice
	asking        map[uint64]question                   // the same by row
	nonce         trade.HoldNonce                       // of the preimage in the present input
	changed       bool                                  // the head, in a way that must not wait
	batch         *batch
}

// batch is one commit in the making.
type batch struct {
	commit Commit
	trades map[trade.OrderID]int // index into commit.Trades
	users  map[string]int
	seen   map[string]bool
	claims map[trade.Hash]trade.OrderID
	// bytes is about how much the commit takes in the store.
	bytes int
	// at is the latest time of an input, unix seconds.
	at int64
	// Refusals and bugs, counted for metrics.
	bugs  []error
	steps map[trade.Trigger]int
}

// NewTradeBook reads the open trades of a store.
func NewTradeBook(store Store) (*TradeBook, error) {
	b := &TradeBook{
		store: store, open: make(map[trade.OrderID]*trade.Trade),
		identities: make(map[string]map[trade.OrderID]struct{}), keys: newKeyring(),
		holds: make(map[trade.Hash]int), throttles: make(map[string]Throttle), probes: newProbes(),
		questions: make(map[question]uint64), asking: make(map[uint64]question),
	}
	head, err := store.Head()
	if err != nil {
		return nil, fmt.Errorf("read head: %w", err)
	}
	b.head = head
	if err := store.Open(func(t trade.Trade) error { b.put(&t); return nil }); err != nil {
		return nil, fmt.Errorf("read open trades: %w", err)
	}
	if err := store.Throttles(func(t Throttle) error { b.throttles[t.Subject] = t; return nil }); err != nil {
		return nil, fmt.Errorf("read throttles: %w", err)
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

func (b *TradeBook) begin() {
	b.batch = &batch{
		trades: make(map[trade.OrderID]int), users: make(map[string]int),
		seen: make(map[string]bool), claims: make(map[trade.Hash]trade.OrderID), steps: make(map[trade.Trigger]int),
	}
}

// Take gives what has been decided since the last call, to be committed.
func (b *TradeBook) Take() *Commit {
	c := &b.batch.commit
	b.head.Commits++
	b.changed = false
	c.Head = b.head
	c.Head.Stamps = maps.Clone(b.head.Stamps)
	b.begin()
	return c
}

// put holds an open trade in memory, or lets go of one that is over.
func (b *TradeBook) put(t *trade.Trade) {
	if old := b.open[t.ID]; old != nil {
		b.index(old, -1)
		delete(b.open, t.ID)
	}
	if t.Over() {
		return
	}
	b.open[t.ID] = t
	b.index(t, 1)
}

func (b *TradeBook) index(t *trade.Trade, by int) {
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

// Read notes how far the log has been read.
func (b *TradeBook) Read(seq uint64) { b.ReadEntry(seq, "") }

// ReadEntry is Read with the id of the event there; "" if it is unknown.
func (b *TradeBook) ReadEntry(seq uint64, id string) {
	if seq > b.head.Cursor {
		b.head.Cursor, b.head.CursorID = seq, id
	}
}

// Cursor gives how far the log has been read.
func (b *TradeBook) Cursor() uint64 { return b.head.Cursor }

// Trades calls fn for every open trade, in no order.
func (b *TradeBook) Trades(fn func(*trade.Trade)) {
	for _, t := range b.open {
		fn(t)
	}
}

// trade finds a trade, open or over; ErrNoRow.
func (b *TradeBook) trade(id trade.OrderID) (trade.Trade, error) {
	if t := b.open[id]; t != nil {
		return *t, nil
	}
	if i, ok := b.batch.trades[id]; ok {
		return b.batch.commit.Trades[i], nil
	}
	return b.store.Trade(id)
}

// Due gives the trades whose deadline has come, in order of their deadlines.
func (b *TradeBook) Due(at int64) []trade.OrderID {
	var due []*trade.Trade
	for _, t := range b.open {
		if t.Deadline != 0 && t.Deadline <= at {
			due = append(due, t)
		}
	}
	slices.SortFunc(due, func(a, b *trade.Trade) int {
		if a.Deadline != b.Deadline {
			return int(max(-1, min(1, a.Deadline-b.Deadline)))
		}
		return slices.Compare(a.ID[:], b.ID[:])
	})
	ids := make([]trade.OrderID, len(due))
	for i, t := range due {
		ids[i] = t.ID
	}
	return ids
}

// ApplyInput takes an input for a trade that is not a message: the clock's, the
// node's or the engine's own. Inputs for trades that are over or unknown are
// of the past.
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
	err = b.step(t, in)
	var refusal mostro.CantDo
	switch {
	case err == nil, errors.Is(err, trade.ErrNothing), errors.As(err, &refusal):
		return nil
	case errors.Is(err, trade.ErrTable):
		b.batch.bugs = append(b.batch.bugs, err)
		return nil
	}
	return err
}

// QueueEvent puts an event of the node's own into the outbox, dated after the last
// one of its kind.
func (b *TradeBook) QueueEvent(evt *nostr.Event, at int64) {
	if b.head.Stamps == nil {
		b.head.Stamps = make(map[int]int64)
	}
	stamp := max(at, b.head.Stamps[evt.Kind]+1)
	b.head.Stamps[evt.Kind] = stamp
	evt.CreatedAt = nostr.Timestamp(stamp)
	b.row(OutboxRow{Effect: trade.Effect{Kind: trade.FxPublish}, Event: evt})
}

// Pause stops new trades, or lets them begin again. It survives a restart.
func (b *TradeBook) Pause(paused bool) { b.head.Paused, b.changed = paused, true }

// Bind notes which Lightning node holds the trades' invoices.
func (b *TradeBook) Bind(wallet string) { b.head.Wallet, b.changed = wallet, true }

// Wallet is the pubkey of the Lightning node that holds the trades' invoices;
// "" before the first.
func (b *TradeBook) Wallet() string { return b.head.Wallet }

// Paused says whether the operator stopped new trades.
func (b *TradeBook) Paused() bool { return b.head.Paused }

// Done strikes an outbox row.
func (b *TradeBook) Done(row uint64) {
	b.batch.commit.Done = append(b.batch.commit.Done, row)
	if q, ok := b.asking[row]; ok {
		delete(b.asking, row)
		delete(b.questions, q)
	}
}

// question is what a row asks of the node and what need not be asked twice at a
// time. While the node is away the clock asks again and again after the same
// payment. A second row of one payment would be worse: done after the first has
// failed, it would pay beside the attempt that followed.
type question struct {
	trade   trade.OrderID
	kind    trade.EffectKind
	hash    trade.Hash
	attempt uint32
}

func questionOf(r OutboxRow) (question, bool) {
	e := r.Effect
	return question{r.Trade, e.Kind, e.Hash, e.Attempt}, e.Kind == trade.FxTrack || e.Kind == trade.FxCheckHold || e.Kind == trade.FxPay
}

// step runs Step and collects what it says. A refusal or ErrNothing leaves no
// trace here.
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
	for _, e := range effects {
		switch e.Kind {
		case trade.FxSpawn:
			if err := b.spawn(*e.Child, in.At); err != nil {
				return err
			}
		case trade.FxPublishOrder:
			b.row(OutboxRow{Trade: next.ID, Effect: e, Event: b.OrderEvent(next)})
		case trade.FxPublishDispute:
			for _, evt := range b.DisputeEvents(next) {
				b.row(OutboxRow{Trade: next.ID, Effect: e, Event: evt})
			}
		case trade.FxCreateHold:
			e.Memo = trade.MemoOf(e.Memo, b.nonce)
			b.row(OutboxRow{Trade: next.ID, Effect: e})
		default:
			r := OutboxRow{Trade: next.ID, Effect: e}
			q, asks := questionOf(r)
			if _, waits := b.questions[q]; asks && waits {
				continue
			}
			if id := b.row(r); asks {
				b.questions[q], b.asking[id] = id, q
			}
		}
	}
	return nil
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
	b.batch.at = max(b.batch.at, in.At)
	c.Journal = append(c.Journal, JournalRow{Trade: t.ID, N: t.Steps, Input: in})
	b.batch.bytes += tradeBytes + tradeTextBytes(t) + inputTextBytes(in)
	b.put(&t)
}

// About what a trade, an outbox row and their journal take in the store,
// besides texts of any length. A sealed message is its text padded, encrypted,
// in base64, and on v1 twice.
const (
	tradeBytes  = 4 << 10
	rowBytes    = 2 << 10
	sealedTimes = 4
	// batchBytes is when a batch ends. A transaction of the store holds nine
	// times as much, and one input adds at most some 200 KiB.
	batchBytes = 1 << 20
)

// tradeTextBytes is about how much the texts in a trade take in the store.
func tradeTextBytes(t trade.Trade) int {
	return 6*(len(t.PaymentMethod)+len(t.Fiat)) + len(t.BuyerInvoice.Text) + len(t.MakerInvoice.Text) +
		len(t.HoldInvoice) + len(t.Payout.Bolt11) + 70*len(t.Closing)
}

// inputTextBytes is about how much the texts in an input take in the journal.
func inputTextBytes(in trade.Input) int {
	n := len(in.Bolt11)
	if in.Request != nil {
		n += trade.JournalLimit(in.Request.Message.Payload)
	}
	if in.Invoice != nil {
		n += 2 * len(in.Invoice.Text)
	}
	return n
}

// Bytes is about how much the present batch takes in the store.
func (b *TradeBook) Bytes() int { return b.batch.bytes }

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

// spawn makes the rest of a range order, in the same commit. It cannot be
// allowed to undo what made it: a child that Step refuses is a bug to report,
// and the parent goes on.
func (b *TradeBook) spawn(c trade.Child, at int64) error {
	if b.keys.has(c.Maker.Key) {
		// Taken into use since it was announced. Two trades with one key would
		// read each other's messages; the maker can publish the rest anew.
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
	return b.useIndex(c.Maker, at)
}

// reserve keeps the hashes of payout invoices apart: what a trade may be paid
// by belongs to it alone. A hash that was never paid to is given free again.
func (b *TradeBook) reserve(before, after trade.Trade) error {
	if after.Hash != before.Hash && after.Hash != (trade.Hash{}) {
		b.claim(after.Hash, holdClaim)
	}
	held := func(t trade.Trade) []trade.Hash {
		return []trade.Hash{t.BuyerInvoice.Hash, t.MakerInvoice.Hash, t.Payout.Hash, t.Payout.LastHash}
	}
	kept := held(after)
	if trade.Terminal(after.Status) {
		kept = []trade.Hash{after.Payout.LastHash}
	}
	for _, h := range kept {
		if h != (trade.Hash{}) && !slices.Contains(held(before), h) {
			b.claim(h, after.ID)
		}
	}
	for _, h := range []trade.Hash{before.BuyerInvoice.Hash, before.MakerInvoice.Hash} {
		// A hash that was ever paid to stays claimed: its payment exists.
		if h != (trade.Hash{}) && !slices.Contains(kept, h) && before.Payout.Attempt == 0 {
			b.claim(h, trade.OrderID{})
		}
	}
	return nil
}

func (b *TradeBook) claim(h trade.Hash, owner trade.OrderID) {
	b.batch.claims[h] = owner
	b.batch.commit.Claims = append(b.batch.commit.Claims, Claim{h, owner})
}

// claimed says in a destination whether its hash is another trade's.
func (b *TradeBook) claimed(dest *trade.Destination, id trade.OrderID) error {
	if dest.Address || !dest.Parsed {
		return nil
	}
	if b.holds[dest.Hash] > 0 { // stores of before rules1 claim no hold
		dest.Taken = true
		return nil
	}
	owner, ok := b.batch.claims[dest.Hash]
	if !ok {
		found, err := b.store.Claim(dest.Hash)
		if err != nil && !errors.Is(err, ErrNoRow) {
			return fmt.Errorf("look a payment hash up: %w", err)
		}
		owner = found
	}
	dest.Taken = owner != trade.OrderID{} && owner != id
	return nil
}

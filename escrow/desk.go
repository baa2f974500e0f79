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

// Desk is where inputs meet trades. It holds every open trade in memory,
// gathers the facts that Step asks for, and collects what is to be committed.
// It does no I/O but reading its store, starts nothing, and knows no clock: a
// simulation drives it as the engine does.
//
// One goroutine owns it. After an error it is not to be used again: memory is
// ahead of the store, and only a fresh start is sure of both.
type Desk struct {
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

	notary     Notary                 // nil: no receipts are given
	keysets    map[string]*ReceiptKey // by epoch
	keys       *keyring               // trade keys of open trades
	store      Store
	head       Head
	open       map[trade.OrderID]*trade.Trade
	identities map[string]map[trade.OrderID]struct{} // parties of open trades
	holds      map[trade.Hash]int                    // hold invoices of open trades
	throttles  map[string]Throttle                   // by trade key or identity
	probes     *probes                               // messages that wait for their address
	questions  map[question]uint64                   // outbox rows that are not to be there twice
	asking     map[uint64]question                   // the same by row
	nonce      trade.HoldNonce                       // of the preimage in the present input
	changed    bool                                  // the head, in a way that must not wait
	turn       *turn
}

// turn is one commit in the making.
type turn struct {
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

// NewDesk reads the open trades of a store.
func NewDesk(store Store) (*Desk, error) {
	d := &Desk{
		store: store, open: make(map[trade.OrderID]*trade.Trade),
		identities: make(map[string]map[trade.OrderID]struct{}), keys: newKeyring(),
		holds: make(map[trade.Hash]int), throttles: make(map[string]Throttle), probes: newProbes(),
		questions: make(map[question]uint64), asking: make(map[uint64]question),
	}
	head, err := store.Head()
	if err != nil {
		return nil, fmt.Errorf("read head: %w", err)
	}
	d.head = head
	if err := store.Open(func(t trade.Trade) error { d.put(&t); return nil }); err != nil {
		return nil, fmt.Errorf("read open trades: %w", err)
	}
	if err := store.Throttles(func(t Throttle) error { d.throttles[t.Subject] = t; return nil }); err != nil {
		return nil, fmt.Errorf("read throttles: %w", err)
	}
	err = store.Outbox(func(r OutboxRow) error {
		if r.Letter != nil {
			d.probes.add(probeOf(*r.Letter, r.Effect.Text))
		}
		if q, ok := questionOf(r); ok {
			d.questions[q], d.asking[r.ID] = r.ID, q
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	d.begin()
	return d, nil
}

func (d *Desk) begin() {
	d.turn = &turn{
		trades: make(map[trade.OrderID]int), users: make(map[string]int),
		seen: make(map[string]bool), claims: make(map[trade.Hash]trade.OrderID), steps: make(map[trade.Trigger]int),
	}
}

// Take gives what has been decided since the last call, to be committed.
func (d *Desk) Take() *Commit {
	c := &d.turn.commit
	d.head.Commits++
	d.changed = false
	c.Head = d.head
	c.Head.Stamps = maps.Clone(d.head.Stamps)
	d.begin()
	return c
}

// put holds an open trade in memory, or lets go of one that is over.
func (d *Desk) put(t *trade.Trade) {
	if old := d.open[t.ID]; old != nil {
		d.index(old, -1)
		delete(d.open, t.ID)
	}
	if t.Over() {
		return
	}
	d.open[t.ID] = t
	d.index(t, 1)
}

func (d *Desk) index(t *trade.Trade, by int) {
	for _, h := range append([]trade.Hash{t.Hash}, t.Closing...) {
		if d.holds[h] += by; d.holds[h] == 0 {
			delete(d.holds, h)
		}
	}
	for _, p := range []trade.Party{t.Buyer, t.Seller} {
		if p.Key == "" {
			continue
		}
		d.keys.count(p.Key, by)
		ids := d.identities[p.Identity]
		switch {
		case by > 0 && ids == nil:
			d.identities[p.Identity] = map[trade.OrderID]struct{}{t.ID: {}}
		case by > 0:
			ids[t.ID] = struct{}{}
		default:
			if delete(ids, t.ID); len(ids) == 0 {
				delete(d.identities, p.Identity)
			}
		}
	}
}

// Read notes how far the log has been read.
func (d *Desk) Read(seq uint64) { d.ReadEntry(seq, "") }

// ReadEntry is Read with the id of the event there; "" if it is unknown.
func (d *Desk) ReadEntry(seq uint64, id string) {
	if seq > d.head.Cursor {
		d.head.Cursor, d.head.CursorID = seq, id
	}
}

// Cursor gives how far the log has been read.
func (d *Desk) Cursor() uint64 { return d.head.Cursor }

// Trades calls fn for every open trade, in no order.
func (d *Desk) Trades(fn func(*trade.Trade)) {
	for _, t := range d.open {
		fn(t)
	}
}

// trade finds a trade, open or over; ErrNoRow.
func (d *Desk) trade(id trade.OrderID) (trade.Trade, error) {
	if t := d.open[id]; t != nil {
		return *t, nil
	}
	if i, ok := d.turn.trades[id]; ok {
		return d.turn.commit.Trades[i], nil
	}
	return d.store.Trade(id)
}

// Due gives the trades whose deadline has come, in order of their deadlines.
func (d *Desk) Due(at int64) []trade.OrderID {
	var due []*trade.Trade
	for _, t := range d.open {
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

// Hear takes an input for a trade that is not a message: the clock's, the
// node's or the engine's own. Inputs for trades that are over or unknown are
// of the past.
func (d *Desk) Hear(id trade.OrderID, in trade.Input) error {
	t, err := d.trade(id)
	if errors.Is(err, ErrNoRow) {
		return nil
	}
	if err != nil {
		return err
	}
	if in.Kind == trade.InMinted {
		dest := d.Decode(in.Bolt11)
		if err := d.claimed(&dest, id); err != nil {
			return err
		}
		in.Invoice, in.Bolt11 = &dest, ""
	}
	err = d.step(t, in)
	var refusal mostro.CantDo
	switch {
	case err == nil, errors.Is(err, trade.ErrNothing), errors.As(err, &refusal):
		return nil
	case errors.Is(err, trade.ErrTable):
		d.turn.bugs = append(d.turn.bugs, err)
		return nil
	}
	return err
}

// Say puts an event of the node's own into the outbox, dated after the last
// one of its kind.
func (d *Desk) Say(evt *nostr.Event, at int64) {
	if d.head.Stamps == nil {
		d.head.Stamps = make(map[int]int64)
	}
	stamp := max(at, d.head.Stamps[evt.Kind]+1)
	d.head.Stamps[evt.Kind] = stamp
	evt.CreatedAt = nostr.Timestamp(stamp)
	d.row(OutboxRow{Effect: trade.Effect{Kind: trade.FxPublish}, Event: evt})
}

// Pause stops new trades, or lets them begin again. It survives a restart.
func (d *Desk) Pause(paused bool) { d.head.Paused, d.changed = paused, true }

// Bind notes which Lightning node holds the trades' invoices.
func (d *Desk) Bind(wallet string) { d.head.Wallet, d.changed = wallet, true }

// Wallet is the pubkey of the Lightning node that holds the trades' invoices;
// "" before the first.
func (d *Desk) Wallet() string { return d.head.Wallet }

// Paused says whether the operator stopped new trades.
func (d *Desk) Paused() bool { return d.head.Paused }

// Done strikes an outbox row.
func (d *Desk) Done(row uint64) {
	d.turn.commit.Done = append(d.turn.commit.Done, row)
	if q, ok := d.asking[row]; ok {
		delete(d.asking, row)
		delete(d.questions, q)
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
func (d *Desk) step(t trade.Trade, in trade.Input) error {
	in.Rules = trade.CurrentRules
	next, effects, err := trade.Step(t, in)
	if err != nil {
		return err
	}
	if err := d.reserve(t, next); err != nil {
		return err
	}
	d.record(next, in)
	for _, e := range effects {
		switch e.Kind {
		case trade.FxSpawn:
			if err := d.spawn(*e.Child, in.At); err != nil {
				return err
			}
		case trade.FxPublishOrder:
			d.row(OutboxRow{Trade: next.ID, Effect: e, Event: d.OrderEvent(next)})
		case trade.FxPublishDispute:
			for _, evt := range d.DisputeEvents(next) {
				d.row(OutboxRow{Trade: next.ID, Effect: e, Event: evt})
			}
		case trade.FxCreateHold:
			e.Memo = trade.MemoOf(e.Memo, d.nonce)
			d.row(OutboxRow{Trade: next.ID, Effect: e})
		default:
			r := OutboxRow{Trade: next.ID, Effect: e}
			q, asks := questionOf(r)
			if _, waits := d.questions[q]; asks && waits {
				continue
			}
			if id := d.row(r); asks {
				d.questions[q], d.asking[id] = id, q
			}
		}
	}
	return nil
}

func (d *Desk) record(t trade.Trade, in trade.Input) {
	c := &d.turn.commit
	if i, ok := d.turn.trades[t.ID]; ok {
		c.Trades[i] = t
	} else {
		d.turn.trades[t.ID] = len(c.Trades)
		c.Trades = append(c.Trades, t)
	}
	d.turn.steps[t.Last]++
	d.turn.at = max(d.turn.at, in.At)
	c.Journal = append(c.Journal, JournalRow{Trade: t.ID, N: t.Steps, Input: in})
	d.turn.bytes += tradeBytes + tradeTextBytes(t) + inputTextBytes(in)
	d.put(&t)
}

// About what a trade, an outbox row and their journal take in the store,
// besides texts of any length. A sealed message is its text padded, encrypted,
// in base64, and on v1 twice.
const (
	tradeBytes  = 4 << 10
	rowBytes    = 2 << 10
	sealedTimes = 4
	// turnBytes is when a turn ends. A transaction of the store holds nine
	// times as much, and one input adds at most some 200 KiB.
	turnBytes = 1 << 20
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

// Bytes is about how much the present turn takes in the store.
func (d *Desk) Bytes() int { return d.turn.bytes }

func (d *Desk) row(r OutboxRow) uint64 {
	d.head.LastRow++
	r.ID = d.head.LastRow
	d.turn.bytes += rowBytes + len(r.Effect.Text)
	if r.Effect.Kind == trade.FxSend {
		d.turn.bytes += sealedTimes * len(r.Effect.Message.JSON())
	}
	if r.Letter != nil {
		d.turn.bytes += trade.JournalLimit(r.Letter.Message.Payload) + len(r.Effect.Text)
	}
	d.turn.commit.Outbox = append(d.turn.commit.Outbox, r)
	return r.ID
}

// spawn makes the rest of a range order, in the same commit. It cannot be
// allowed to undo what made it: a child that Step refuses is a bug to report,
// and the parent goes on.
func (d *Desk) spawn(c trade.Child, at int64) error {
	if d.keys.has(c.Maker.Key) {
		// Taken into use since it was announced. Two trades with one key would
		// read each other's messages; the maker can publish the rest anew.
		return nil
	}
	in := trade.Input{At: at, Kind: trade.InSpawn, Child: &c}
	in.OrderID, in.DisputeID = d.Secret.ID("rest", c.Parent[:]), d.Secret.ID("dispute of the rest", c.Parent[:])
	if err := d.step(trade.Trade{}, in); err != nil {
		if errors.Is(err, trade.ErrTable) || errors.Is(err, trade.ErrNothing) {
			d.turn.bugs = append(d.turn.bugs, err)
			return nil
		}
		return err
	}
	return d.useIndex(c.Maker, at)
}

// reserve keeps the hashes of payout invoices apart: what a trade may be paid
// by belongs to it alone. A hash that was never paid to is given free again.
func (d *Desk) reserve(before, after trade.Trade) error {
	if after.Hash != before.Hash && after.Hash != (trade.Hash{}) {
		d.claim(after.Hash, holdClaim)
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
			d.claim(h, after.ID)
		}
	}
	for _, h := range []trade.Hash{before.BuyerInvoice.Hash, before.MakerInvoice.Hash} {
		// A hash that was ever paid to stays claimed: its payment exists.
		if h != (trade.Hash{}) && !slices.Contains(kept, h) && before.Payout.Attempt == 0 {
			d.claim(h, trade.OrderID{})
		}
	}
	return nil
}

func (d *Desk) claim(h trade.Hash, owner trade.OrderID) {
	d.turn.claims[h] = owner
	d.turn.commit.Claims = append(d.turn.commit.Claims, Claim{h, owner})
}

// claimed says in a destination whether its hash is another trade's.
func (d *Desk) claimed(dest *trade.Destination, id trade.OrderID) error {
	if dest.Address || !dest.Parsed {
		return nil
	}
	if d.holds[dest.Hash] > 0 { // stores of before rules1 claim no hold
		dest.Taken = true
		return nil
	}
	owner, ok := d.turn.claims[dest.Hash]
	if !ok {
		found, err := d.store.Claim(dest.Hash)
		if err != nil && !errors.Is(err, ErrNoRow) {
			return fmt.Errorf("look a payment hash up: %w", err)
		}
		owner = found
	}
	dest.Taken = owner != trade.OrderID{} && owner != id
	return nil
}

package escrow

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// InboundMessage is an opened message: what its transport proved, and how it came.
type InboundMessage struct {
	Transport mostro.Transport
	Sender    string // trade key, proven
	Identity  string // proven
	Signed    bool   // the trade key signed the message itself
	CreatedAt int64
	ReplayID  string
	Received  int64 // when our relay witnessed it; unix seconds
	// Late says that it was fetched from another relay after the fact, so
	// that Received dates nothing.
	Late bool
	// ProbedAt is when the message began to wait for its address; unix seconds.
	ProbedAt int64 `json:",omitzero"`
	Message  trade.Outgoing
}

// from gives the sender as a trade keeps it.
func (msg InboundMessage) from() trade.Party {
	p := trade.Party{Key: msg.Sender, Identity: msg.Identity, Transport: msg.Transport}
	if msg.Message.TradeIndex != nil {
		p.Index = *msg.Message.TradeIndex
	}
	return p
}

// errDrop says that a message gets no answer: whoever cannot write a proper one
// learns nothing of us.
var errDrop = errors.New("message dropped")

// Receive takes a message and says what became of it, for counting: "" when it
// was acted on, the reason when it was refused, "dropped" or "replayed". An
// error is fatal.
func (b *TradeBook) Receive(msg InboundMessage, at int64) (outcome string, err error) {
	seen, err := b.wasSeen(msg.ReplayID)
	if err != nil {
		return "", err
	}
	if seen {
		return "replayed", nil
	}
	if err := b.fresh(msg, at); err != nil {
		if errors.Is(err, errDrop) {
			return "dropped", nil
		}
		return "", err
	}
	// Remembered whatever comes of it: a refused message is not to be tried
	// again at a better moment by someone else.
	b.batch.seen[msg.ReplayID] = true
	b.batch.commit.Seen = append(b.batch.commit.Seen, msg.ReplayID)
	return b.outcome(msg, b.act(msg, at, nil))
}

// Probed goes on with a message that waited for its address to be looked at.
// One that waited too long is refused: its sender has gone on.
func (b *TradeBook) Probed(row uint64, msg InboundMessage, address string, reachable bool, at int64) (outcome string, err error) {
	b.Done(row)
	b.probes.remove(probeOf(msg, address))
	if msg.ProbedAt != 0 && at > msg.ProbedAt+probeSeconds { // 0: before rules1
		return b.outcome(msg, trade.Refuse(mostro.ReasonInvalidInvoice))
	}
	return b.outcome(msg, b.act(msg, at, &reachable))
}

// Skip records a message as read without acting on it.
func (b *TradeBook) Skip(msg InboundMessage) {
	b.batch.seen[msg.ReplayID] = true
	b.batch.commit.Seen = append(b.batch.commit.Seen, msg.ReplayID)
}

func (b *TradeBook) wasSeen(id string) (bool, error) {
	if id == "" {
		return true, nil // nothing names the act, so nothing could stop its repetition
	}
	if b.batch.seen[id] {
		return true, nil
	}
	seen, err := b.store.Seen(id)
	if err != nil {
		return false, fmt.Errorf("look a replay id up: %w", err)
	}
	return seen, nil
}

// outcome answers what was refused.
func (b *TradeBook) outcome(msg InboundMessage, err error) (string, error) {
	var refusal mostro.CantDo
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &refusal):
		b.reply(msg, msg.Message.Message.Refuse(refusal.Reason))
		return string(refusal.Reason), nil
	case errors.Is(err, errDrop), errors.Is(err, trade.ErrNothing):
		return "dropped", nil
	case errors.Is(err, trade.ErrTable):
		b.batch.bugs = append(b.batch.bugs, err)
		b.reply(msg, msg.Message.Message.Refuse(mostro.ReasonNotAllowedByStatus))
		return "bug", nil
	}
	return "", err
}

// reply answers a message to its sender, by the road it came.
func (b *TradeBook) reply(msg InboundMessage, m mostro.Message) {
	// A stranger that names somebody's order must not stand before the messages
	// of its parties: only theirs share the trade's lane.
	var id trade.OrderID
	if m.ID != nil {
		if t := b.open[*m.ID]; t != nil && (msg.Sender == t.Buyer.Key || msg.Sender == t.Seller.Key) {
			id = *m.ID
		}
	}
	b.row(OutboxRow{Trade: id, Effect: trade.Effect{Kind: trade.FxSend, To: msg.from(), Message: trade.Outgoing{Message: m}}})
}

// fresh judges the message's date. Live mail is judged by its arrival: a
// program that was stopped does not make it old. Late mail counts within the
// present window of its trade.
func (b *TradeBook) fresh(msg InboundMessage, at int64) error {
	created, now := nostr.Timestamp(msg.CreatedAt), time.Unix(at, 0)
	if !msg.Late {
		if mostro.DefaultFreshness.Check(created, time.Unix(msg.Received, 0), now) != nil {
			return errDrop
		}
		return nil
	}
	if msg.Message.ID == nil {
		if msg.Message.Action != mostro.ActionNewOrder {
			return errDrop // a question nobody waits for an answer to any more
		}
		if mostro.DefaultFreshness.CheckLate(created, now.Add(-time.Duration(b.Policy.Terms.WaitSeconds)*time.Second), now, now) != nil {
			return errDrop
		}
		return nil
	}
	t, err := b.trade(*msg.Message.ID)
	if errors.Is(err, ErrNoRow) {
		return errDrop
	}
	if err != nil {
		return err
	}
	opened, closes := t.Window(at)
	if mostro.DefaultFreshness.CheckLate(created, time.Unix(opened, 0), time.Unix(closes, 0), now) != nil {
		return errDrop
	}
	return nil
}

// act does what the message asks. probed says whether an address in it answers;
// nil while nobody has looked.
func (b *TradeBook) act(msg InboundMessage, at int64, probed *bool) error {
	m := msg.Message.Message
	if m.Check() != nil {
		return errDrop
	}
	switch m.Action {
	case mostro.ActionOrders:
		return b.orders(msg)
	case mostro.ActionLastTradeIndex:
		return b.lastTradeIndex(msg)
	case mostro.ActionRestoreSession:
		return b.restoreSession(msg)
	case mostro.ActionSendDM:
		return b.receipts(msg)
	case mostro.ActionNewOrder, mostro.ActionTakeSell, mostro.ActionTakeBuy:
		if b.head.Paused || b.Reconciling || b.NodeDown {
			return trade.Refuse(mostro.ReasonNotAllowedByStatus)
		}
		if err := b.checkIndex(msg); err != nil {
			return err
		}
	case mostro.ActionAddInvoice, mostro.ActionFiatSent, mostro.ActionRelease, mostro.ActionCancel,
		mostro.ActionDispute, mostro.ActionTradePubkey:
	case mostro.ActionPayInvoice, mostro.ActionRateUser, mostro.ActionAddBondInvoice,
		mostro.ActionAdminTakeDispute, mostro.ActionAdminSettle, mostro.ActionAdminCancel, mostro.ActionAdminAddSolver,
		mostro.ActionAddCashuEscrow:
		return trade.Refuse(mostro.ReasonInvalidAction)
	default:
		return errDrop // a node's own words, or mail between users
	}
	request, err := trade.NewRequest(msg.from(), m)
	if err != nil {
		return err
	}
	m = request.Message
	msg.Message = trade.Outgoing{Message: m} // the rest of it is never needed again
	in := trade.Input{At: at, Kind: trade.InMessage, Request: request}
	var t trade.Trade
	if m.Action != mostro.ActionNewOrder {
		if t, err = b.trade(*m.ID); errors.Is(err, ErrNoRow) {
			return trade.Refuse(mostro.ReasonNotFound)
		} else if err != nil {
			return err
		}
	}
	if err := b.facts(&in, t, msg); err != nil {
		return err
	}
	if in.Invoice != nil && in.Invoice.Address {
		if probed == nil {
			return b.probe(msg, t, in)
		}
		in.Invoice.Reachable = *probed
	}
	if err := b.step(t, in); err != nil {
		return err
	}
	if taker := t.Taker(); m.Action == mostro.ActionCancel && t.HeldAt == 0 && taker.Key == msg.Sender &&
		(t.Status == mostro.TradeWaitingBuyerInvoice || t.Status == mostro.TradeWaitingPayment) {
		b.throttle(taker, msg.Received) // as it was when the message came: it may be read again
	}
	if m.TradeIndex != nil {
		return b.useIndex(in.Request.From, at)
	}
	return nil
}

// probe has an address looked at before the message is decided, if it would be
// accepted otherwise: strangers cannot have us fetch anything for nothing.
func (b *TradeBook) probe(msg InboundMessage, t trade.Trade, in trade.Input) error {
	hopeful := *in.Invoice
	hopeful.Reachable = true
	in.Invoice, in.Rules = &hopeful, trade.CurrentRules
	if _, _, err := trade.Step(t, in); err != nil {
		return err
	}
	p := probeOf(msg, hopeful.Text)
	if !b.probes.room(p) {
		return trade.Refuse(mostro.ReasonTooManyRequests)
	}
	b.probes.add(p)
	msg.ProbedAt = in.At
	b.row(OutboxRow{Trade: t.ID, Effect: trade.Effect{Kind: trade.FxProbe, Text: hopeful.Text}, Inbound: &msg})
	return nil
}

// facts gathers what Step has to know about a message.
func (b *TradeBook) facts(in *trade.Input, t trade.Trade, msg InboundMessage) error {
	m := in.Request.Message
	invoice := ""
	switch m.Action {
	case mostro.ActionNewOrder:
		o := m.Payload.(*mostro.SmallOrder)
		terms := b.Policy.Terms
		in.Terms = &terms
		in.Refused = !b.accepts(o.FiatCode)
		in.Limited = b.pending(msg.Identity) >= b.Policy.maxPending()
		if msg.Received < in.At-trade.LeastLifeSeconds {
			in.SentAt = msg.Received
		}
		if o.AmountSats == 0 {
			in.Quote = b.Quote(o.FiatCode, in.At)
		}
		if o.Kind == mostro.SideBuy && o.BuyerInvoice != nil {
			invoice = *o.BuyerInvoice
		}
		in.OrderID, in.DisputeID = b.Secret.ID("order", []byte(msg.ReplayID)), b.Secret.ID("dispute", []byte(msg.ReplayID))
	case mostro.ActionTakeSell, mostro.ActionTakeBuy:
		in.Limited = b.throttled(msg.from(), msg.Received)
		in.Busy = b.busy(msg.Identity, m.Action, t.ID)
		in.Reputation = b.reputation(msg, in.At)
		if t.MarketPrice {
			in.Quote = b.Quote(t.Fiat, in.At)
		}
		if p, ok := m.Payload.(mostro.PaymentRequest); ok && m.Action == mostro.ActionTakeSell {
			invoice = p.Invoice
		}
		b.setPreimage(in, t.ID, msg)
	case mostro.ActionAddInvoice:
		invoice = m.Payload.(mostro.PaymentRequest).Invoice
		b.setPreimage(in, t.ID, msg)
	case mostro.ActionFiatSent, mostro.ActionRelease:
		if p, ok := m.Payload.(mostro.NextTrade); ok {
			in.KeyInUse = b.keys.has(p.Pubkey)
		}
	}
	if invoice = strings.TrimSpace(invoice); invoice == "" || len(invoice) > trade.MaxInvoiceText {
		return nil
	}
	dest := b.Decode(invoice)
	if err := b.claimed(&dest, t.ID); err != nil {
		return err
	}
	in.Invoice = &dest
	return nil
}

// setPreimage derives the preimage of the hold invoice that a message may ask
// for.
func (b *TradeBook) setPreimage(in *trade.Input, id trade.OrderID, msg InboundMessage) {
	b.nonce = b.Secret.Nonce(msg.ReplayID)
	in.Preimage = b.Secret.Preimage(id, b.nonce)
}

// pending counts the orders in the book that an identity made.
func (b *TradeBook) pending(identity string) (n int) {
	for id := range b.identities[identity] {
		if t := b.open[id]; t.Status == mostro.TradePending && t.Maker().Identity == identity {
			n++
		}
	}
	return n
}

// maxPending is MaxPending, or 20.
func (p Policy) maxPending() int {
	if p.MaxPending <= 0 {
		return 20
	}
	return p.MaxPending
}

func (b *TradeBook) accepts(fiat string) bool {
	for _, code := range b.Policy.Currencies {
		if code == fiat {
			return true
		}
	}
	return len(b.Policy.Currencies) == 0
}

// busy says whether an identity leaves another trade waiting for the very duty
// that it is about to take on.
func (b *TradeBook) busy(identity string, action mostro.Action, except trade.OrderID) bool {
	for id := range b.identities[identity] {
		t := b.open[id]
		if id == except {
			continue
		}
		if action == mostro.ActionTakeSell && t.Status == mostro.TradeWaitingBuyerInvoice && t.Buyer.Identity == identity ||
			action == mostro.ActionTakeBuy && t.Status == mostro.TradeWaitingPayment && t.Seller.Identity == identity {
			return true
		}
	}
	return false
}

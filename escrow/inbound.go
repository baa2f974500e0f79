package escrow

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// InboundMessage is an opened message, with the facts that its transport proved and the
// way it arrived.
type InboundMessage struct {
	Transport envelope.Transport
	Sender    string // trade key, verified
	Identity  string // verified
	Signed    bool   // the trade key signed the message itself
	CreatedAt int64
	ReplayID  string
	Received  int64 // time at which our relay received the event; unix seconds
	// Late reports that the event was fetched from another relay afterwards, so Received
	// does not date the message.
	Late bool
	// ProbedAt is the time at which the message began to wait for the check of its
	// address; unix seconds.
	ProbedAt int64 `json:",omitzero"`
	Message  trade.Outgoing
}

// from returns the sender as a trade stores a party.
func (msg InboundMessage) from() trade.Party {
	p := trade.Party{Key: msg.Sender, Identity: msg.Identity, Transport: msg.Transport}
	if msg.Message.TradeIndex != nil {
		p.Index = *msg.Message.TradeIndex
	}
	return p
}

// errDrop reports that a message gets no answer. A sender of an invalid message learns
// nothing about this node.
var errDrop = errors.New("message dropped")

// Receive processes a message. The outcome is for metrics: "" if the message was accepted,
// the reason if the message was refused, else "dropped" or "replayed". An error is fatal.
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
	// The replay id is recorded for every result: otherwise another party could send a
	// refused message again at a better moment.
	b.batch.seen[msg.ReplayID] = true
	b.batch.commit.Seen = append(b.batch.commit.Seen, msg.ReplayID)
	return b.outcome(msg, b.act(msg, at, answers{}))
}

// Probed continues with a message that waited for the check of its address. If the message
// waited too long, it is refused, because its sender no longer waits.
func (b *TradeBook) Probed(row uint64, msg InboundMessage, address string, reachable bool, at int64) (outcome string, err error) {
	b.Done(row)
	b.probes.remove(probeOf(msg, address))
	if msg.ProbedAt != 0 && at > msg.ProbedAt+probeSeconds { // ProbedAt is 0 in rows from before rules1
		return b.outcome(msg, trade.Refuse(message.ReasonInvalidInvoice))
	}
	return b.outcome(msg, b.act(msg, at, answers{reachable: &reachable}))
}

// Looked continues with a message that waited for the state of a hold. If the message waited
// too long, it is dropped and nothing changes.
func (b *TradeBook) Looked(row uint64, msg InboundMessage, hash trade.Hash, phase trade.HoldPhase, at int64) (outcome string, err error) {
	b.Done(row)
	b.probes.remove(probeOf(msg, ""))
	if at > msg.ProbedAt+probeSeconds {
		return "dropped", nil
	}
	return b.outcome(msg, b.act(msg, at, answers{hash: hash, hold: &phase}))
}

// answers holds what a message has waited for.
type answers struct {
	reachable *bool // the address answers; nil: not asked
	hash      trade.Hash
	hold      *trade.HoldPhase // state of the hold of the hash; nil: not asked
}

// Skip records a message as read without processing it.
func (b *TradeBook) Skip(msg InboundMessage) {
	b.batch.seen[msg.ReplayID] = true
	b.batch.commit.Seen = append(b.batch.commit.Seen, msg.ReplayID)
}

func (b *TradeBook) wasSeen(id string) (bool, error) {
	if id == "" {
		return true, nil // without a replay id a repetition could not be detected
	}
	if b.batch.seen[id] {
		return true, nil
	}
	seen, err := b.store.Seen(id)
	if err != nil {
		return false, fmt.Errorf("look up a replay id: %w", err)
	}
	return seen, nil
}

// outcome answers a refused message, and returns the outcome for Receive.
func (b *TradeBook) outcome(msg InboundMessage, err error) (string, error) {
	var refusal message.CantDo
	var answered trade.Answered
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &refusal):
		b.reply(msg, msg.Message.Message.Refuse(refusal.Reason))
		return string(refusal.Reason), nil
	case errors.As(err, &answered):
		m := msg.Message.Message
		b.reply(msg, message.Message{Wrapper: message.WrapperOrder, RequestID: m.RequestID, ID: m.ID, Action: answered.Action})
		return "", nil
	case errors.Is(err, errDrop), errors.Is(err, trade.ErrNothing):
		return "dropped", nil
	case errors.Is(err, trade.ErrTable):
		b.batch.bugs = append(b.batch.bugs, err)
		b.reply(msg, msg.Message.Message.Refuse(message.ReasonNotAllowedByStatus))
		return "bug", nil
	}
	return "", err
}

// reply answers a message to its sender, over the transport of the message.
func (b *TradeBook) reply(msg InboundMessage, m message.Message) {
	// A stranger can name an order of other users. An answer to a stranger must not delay
	// the messages to the parties, so only answers to the parties use the trade's lane.
	var id trade.OrderID
	if m.ID != nil {
		if t := b.open[*m.ID]; t != nil && (msg.Sender == t.Buyer.Key || msg.Sender == t.Seller.Key) {
			id = *m.ID
		}
	}
	b.row(OutboxRow{Trade: id, Effect: trade.Effect{Kind: trade.FxSend, To: msg.from(), Message: trade.Outgoing{Message: m}}})
}

// fresh checks the date of a message. A live message is dated by its arrival, so a message
// does not become old while the program is stopped. A late message is valid within the
// current window of its trade.
func (b *TradeBook) fresh(msg InboundMessage, at int64) error {
	created, now := nostr.Timestamp(msg.CreatedAt), time.Unix(at, 0)
	if !msg.Late {
		if envelope.DefaultFreshness.Check(created, time.Unix(msg.Received, 0), now) != nil {
			return errDrop
		}
		return nil
	}
	if msg.Message.ID == nil {
		if msg.Message.Action != message.ActionNewOrder {
			return errDrop // the sender no longer waits for the answer
		}
		if envelope.DefaultFreshness.CheckLate(created, now.Add(-time.Duration(b.Policy.Terms.WaitSeconds)*time.Second), now, now) != nil {
			return errDrop
		}
		return nil
	}
	id := *msg.Message.ID
	if order, ok := b.disputes[id]; ok {
		id = order // a solver may name the dispute
	}
	t, err := b.trade(id)
	if errors.Is(err, ErrNoRow) {
		return errDrop
	}
	if err != nil {
		return err
	}
	if msg.Message.Action == message.ActionRateUser {
		// A vote counts once at any time. A log that was lost comes back from other relays, and
		// an older copy of the store reads it again, perhaps with a clock that is hours behind.
		return nil
	}
	opened, closes := t.Window(at)
	if closes == at { // the step has no end, and the sender's clock may be ahead
		closes = now.Add(envelope.DefaultFreshness.MaxAhead).Unix()
	}
	if envelope.DefaultFreshness.CheckLate(created, time.Unix(opened, 0), time.Unix(closes, 0), now) != nil {
		return errDrop
	}
	return nil
}

// act processes the message.
func (b *TradeBook) act(msg InboundMessage, at int64, heard answers) error {
	m := msg.Message.Message
	if begins(m.Action) && b.head.Maintenance.On {
		return trade.Refuse(message.ReasonMaintenanceMode)
	}
	if m.Check() != nil {
		return b.malformed(m)
	}
	switch m.Action {
	case message.ActionOrders:
		return b.orders(msg)
	case message.ActionLastTradeIndex:
		return b.lastTradeIndex(msg)
	case message.ActionRestoreSession:
		return b.restoreSession(msg)
	case message.ActionSendDM:
		return b.receipts.answer(msg)
	case message.ActionNewOrder, message.ActionTakeSell, message.ActionTakeBuy:
		if b.head.Paused || b.Reconciling || b.NodeDown {
			return trade.Refuse(message.ReasonNotAllowedByStatus)
		}
		if m.Action != message.ActionNewOrder && b.full() {
			return trade.Refuse(message.ReasonNotAllowedByStatus)
		}
		if err := b.batch.checkIndex(msg); err != nil {
			return err
		}
	case message.ActionAddInvoice, message.ActionFiatSent, message.ActionRelease, message.ActionCancel,
		message.ActionDispute, message.ActionTradePubkey:
	case message.ActionAdminTakeDispute, message.ActionAdminSettle, message.ActionAdminCancel:
		return b.solve(msg, at)
	case message.ActionAdminAddSolver:
		return b.addSolver(msg, at)
	case message.ActionRateUser, message.ActionUserInfo, message.ActionDeclarePayer, message.ActionExportReputation, message.ActionImportReputation:
		return b.askRatings(msg, at)
	case message.ActionPayInvoice, message.ActionAddBondInvoice, message.ActionAddCashuEscrow:
		return trade.Refuse(message.ReasonInvalidAction)
	default:
		return errDrop // a message that only nodes send, or one between users
	}
	if o, ok := m.Payload.(*message.SmallOrder); ok && m.Action == message.ActionNewOrder && o.CashuMintURL != nil {
		return trade.Refuse(message.ReasonInvalidMintURL) // a Lightning node has no mint
	}
	request, err := trade.NewRequest(msg.from(), m)
	if err != nil {
		return err
	}
	m = request.Message
	msg.Message = trade.Outgoing{Message: m} // the other fields of the message are never needed again
	in := trade.Input{At: at, Kind: trade.InMessage, Request: request}
	var t trade.Trade
	if m.Action != message.ActionNewOrder {
		if t, err = b.trade(*m.ID); errors.Is(err, ErrNoRow) {
			return trade.Refuse(message.ReasonNotFound)
		} else if err != nil {
			return err
		}
	}
	if err := b.facts(&in, t, msg); err != nil {
		return err
	}
	if in.Invoice != nil && in.Invoice.Address {
		if heard.reachable == nil {
			return b.probe(msg, t, in)
		}
		in.Invoice.Reachable = *heard.reachable
	}
	// The seller may have paid the invoice that is shown, although no watch has told so yet.
	looks := m.Action == message.ActionCancel && t.Status == message.TradeWaitingPayment && t.HoldInvoice != ""
	switch {
	case heard.hold == nil && looks:
		return b.look(msg, t, in)
	case heard.hold != nil && !(looks && t.Hash == heard.hash):
		return trade.Refuse(message.ReasonNotAllowedByStatus) // the trade went on meanwhile
	case heard.hold != nil:
		in.Hold.Phase = *heard.hold
	}
	if err := b.step(t, in); err != nil {
		return err
	}
	if taker := t.Taker(); m.Action == message.ActionCancel && t.HeldAt == 0 && taker.Key == msg.Sender &&
		(t.Status == message.TradeWaitingBuyerInvoice || t.Status == message.TradeWaitingPayment) {
		b.throttles.count(b.batch, taker, msg.Received) // the throttle counts from the arrival, because the message may be read again
	}
	if m.TradeIndex != nil {
		id := t.ID
		if id == (trade.OrderID{}) {
			id = in.OrderID
		}
		return b.batch.useIndex(in.Request.From, id, at)
	}
	return nil
}

// begins reports whether an action begins a trade.
func begins(action message.Action) bool {
	return action == message.ActionNewOrder || action == message.ActionTakeSell || action == message.ActionTakeBuy
}

// probe requests a check of the message's address before the decision, if the message
// would be accepted otherwise. A stranger therefore cannot make this node fetch an address
// without a valid message.
func (b *TradeBook) probe(msg InboundMessage, t trade.Trade, in trade.Input) error {
	hopeful := *in.Invoice
	hopeful.Reachable = true
	in.Invoice, in.Rules = &hopeful, trade.CurrentRules
	if _, _, err := trade.Step(t, in); err != nil {
		return err
	}
	p := probeOf(msg, hopeful.Text)
	if !b.probes.room(p) {
		return trade.Refuse(message.ReasonTooManyRequests)
	}
	b.probes.add(p)
	msg.ProbedAt = in.At
	b.row(OutboxRow{Trade: t.ID, Effect: trade.Effect{Kind: trade.FxProbe, Text: hopeful.Text}, Inbound: &msg})
	return nil
}

// look asks the node for the state of a trade's hold before the decision, if the message would
// be accepted otherwise. If the node does not answer, nothing changes.
func (b *TradeBook) look(msg InboundMessage, t trade.Trade, in trade.Input) error {
	in.Rules = trade.CurrentRules
	if _, _, err := trade.Step(t, in); err != nil {
		return err
	}
	p := probeOf(msg, "")
	if !b.probes.room(p) {
		return trade.Refuse(message.ReasonTooManyRequests)
	}
	b.probes.add(p)
	msg.ProbedAt = in.At
	b.row(OutboxRow{Trade: t.ID, Effect: trade.Effect{Kind: trade.FxLook, Hash: t.Hash}, Inbound: &msg})
	return nil
}

// facts collects the facts about a message that Step needs.
func (b *TradeBook) facts(in *trade.Input, t trade.Trade, msg InboundMessage) error {
	m := in.Request.Message
	invoice := ""
	switch m.Action {
	case message.ActionNewOrder:
		o := m.Payload.(*message.SmallOrder)
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
	case message.ActionTakeSell, message.ActionTakeBuy:
		in.Limited = b.throttles.wait(msg.from(), msg.Received)
		in.Busy = b.busy(msg.Identity, m.Action, t.ID)
		var err error
		if in.Reputation, err = b.ratings.TakerOf(msg.from(), in.At); err != nil {
			return err
		}
		if t.MarketPrice {
			in.Quote = b.Quote(t.Fiat, in.At)
		}
		if p, ok := m.Payload.(message.PaymentRequest); ok && m.Action == message.ActionTakeSell {
			invoice = p.Invoice
		}
		b.setPreimage(in, t.ID, msg)
	case message.ActionAddInvoice:
		invoice = m.Payload.(message.PaymentRequest).Invoice
		b.setPreimage(in, t.ID, msg)
	case message.ActionDispute:
		in.Limited = b.disputesOf(msg.Identity) >= maxOpenDisputes
	case message.ActionFiatSent, message.ActionRelease:
		if p, ok := m.Payload.(message.NextTrade); ok {
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

// setPreimage derives the preimage of the hold invoice that a message may order.
func (b *TradeBook) setPreimage(in *trade.Input, id trade.OrderID, msg InboundMessage) {
	b.nonce = b.Secret.Nonce(msg.ReplayID)
	in.Preimage = b.Secret.Preimage(id, b.nonce)
}

// pending returns the number of pending orders that an identity made.
func (b *TradeBook) pending(identity string) (n int) {
	for id := range b.identities[identity] {
		if t := b.open[id]; t.Status == message.TradePending && t.Maker().Identity == identity {
			n++
		}
	}
	return n
}

// maxPending returns MaxPending, or 20 if MaxPending is 0.
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

// busy reports whether an identity has another trade that waits for the same duty that the
// identity would take on.
func (b *TradeBook) busy(identity string, action message.Action, except trade.OrderID) bool {
	for id := range b.identities[identity] {
		t := b.open[id]
		if id == except {
			continue
		}
		if action == message.ActionTakeSell && t.Status == message.TradeWaitingBuyerInvoice && t.Buyer.Identity == identity ||
			action == message.ActionTakeBuy && t.Status == message.TradeWaitingPayment && t.Seller.Identity == identity {
			return true
		}
	}
	return false
}

// defaultMaxOrders is the limit of orders in one answer if the policy sets none.
const defaultMaxOrders = 10

// orders answers with the requested orders of which the sender's identity is a party.
func (b *TradeBook) orders(msg InboundMessage) error {
	ids, ok := msg.Message.Payload.(message.IDs)
	most := orMost(b.Policy.MaxOrders)
	switch {
	case !ok || len(ids) == 0:
		return trade.Refuse(message.ReasonInvalidParameters)
	case len(ids) > most:
		return trade.Refuse(message.ReasonTooManyRequests)
	}
	var list message.OrderList
	for _, id := range ids {
		t, err := b.trade(id)
		if errors.Is(err, ErrNoRow) {
			continue
		}
		if err != nil {
			return err
		}
		if t.Buyer.Identity != msg.Identity && t.Seller.Identity != msg.Identity {
			continue
		}
		o := t.SmallOrder(t.Status, t.AmountSats)
		// The keys are sent only if both parties know each other already. The buyer's
		// invoice is never sent.
		if trade.Escrowed(t.Status) || t.Status == message.TradeSettledHoldInvoice || t.Status == message.TradeSuccess {
			o = t.WithKeys(o)
		}
		list = append(list, *o)
	}
	if len(list) == 0 {
		return trade.Refuse(message.ReasonNotFound)
	}
	b.reply(msg, message.Message{
		Wrapper: message.WrapperOrder, RequestID: msg.Message.RequestID, Action: message.ActionOrders, Payload: list,
	})
	return nil
}

// lastTradeIndex answers with the last index that the identity used.
func (b *TradeBook) lastTradeIndex(msg InboundMessage) error {
	u, err := b.batch.user(msg.Identity)
	if errors.Is(err, ErrNoRow) {
		return trade.Refuse(message.ReasonNotFound)
	}
	if err != nil {
		return err
	}
	if u.LastIndex == 0 {
		return trade.Refuse(message.ReasonInvalidTradeIndex)
	}
	b.reply(msg, message.Message{
		Wrapper: message.WrapperRestore, RequestID: msg.Message.RequestID, TradeIndex: &u.LastIndex,
		Action: message.ActionLastTradeIndex,
	})
	return nil
}

// maxRestored limits the answer to the size of a message: an order with a dispute has at
// most 420 bytes of JSON.
const maxRestored = 150

// restoreSession answers with the identity's open trades and disputes. restoreSession
// changes nothing.
func (b *TradeBook) restoreSession(msg InboundMessage) error {
	var data message.RestoreData
	ids := make([]trade.OrderID, 0, len(b.identities[msg.Identity]))
	for id := range b.identities[msg.Identity] {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(p, q trade.OrderID) int {
		if x, y := b.open[p].CreatedAt, b.open[q].CreatedAt; x != y {
			return int(max(-1, min(1, y-x)))
		}
		return bytes.Compare(p[:], q[:])
	})
	for _, id := range ids {
		t := b.open[id]
		if trade.Terminal(t.Status) || len(data.Orders) == maxRestored {
			continue // over for its parties, although the cancellation of a hold is not confirmed yet
		}
		mine, other := t.Buyer, t.Seller
		if t.Buyer.Identity != msg.Identity {
			mine, other = t.Seller, t.Buyer
		}
		order := message.RestoredOrder{OrderID: id, TradeIndex: mine.Index, Status: string(t.Status)}
		if other.Key != "" {
			order.CounterpartyTradePubkey = &other.Key // without it the client cannot derive the keys of the chat again
		}
		data.Orders = append(data.Orders, order)
		if t.Dispute.Status == message.DisputeStatusInitiated || t.Dispute.Status == message.DisputeStatusInProgress {
			data.Disputes = append(data.Disputes, message.RestoredDispute{
				DisputeID: t.Dispute.ID, OrderID: id, TradeIndex: mine.Index,
				Status: string(t.Dispute.Status), Initiator: t.Dispute.By,
			})
		}
	}
	b.reply(msg, message.Message{Wrapper: message.WrapperRestore, Action: message.ActionRestoreSession, Payload: data})
	return nil
}

// malformed answers a message whose payload does not fit its action. Only the two requests
// about attestations are answered, as in the reference node.
func (b *TradeBook) malformed(m message.Message) error {
	switch {
	case m.Action != message.ActionImportReputation && m.Action != message.ActionExportReputation, m.Wrapper != message.WrapperOrder, m.ID != nil:
		return errDrop
	case !b.ratings.Offers(m.Action):
		return trade.Refuse(message.ReasonInvalidAction)
	}
	return trade.Refuse(message.ReasonInvalidPayload)
}

// askRatings decides about a request that concerns the reputation of a user and no money.
func (b *TradeBook) askRatings(msg InboundMessage, at int64) error {
	q := rating.Request{From: msg.from(), Message: msg.Message.Message, Received: msg.Received, At: at}
	find := func() (trade.Trade, error) {
		if q.Message.ID == nil {
			return trade.Trade{}, trade.Refuse(message.ReasonNotFound)
		}
		t, err := b.trade(*q.Message.ID)
		if errors.Is(err, ErrNoRow) {
			err = trade.Refuse(message.ReasonNotFound)
		}
		return t, err
	}
	var effects []rating.Effect
	var err error
	switch q.Message.Action {
	case message.ActionRateUser:
		var t trade.Trade
		if t, err = find(); err == nil {
			effects, err = b.ratings.Rate(q, t)
		}
	case message.ActionUserInfo:
		effects, err = b.ratings.UserInfo(q)
	case message.ActionDeclarePayer:
		effects, err = b.ratings.DeclarePayer(q, find)
	case message.ActionExportReputation:
		effects, err = b.ratings.Export(q)
	case message.ActionImportReputation:
		effects, err = b.ratings.Import(q)
	}
	if err != nil {
		return err
	}
	b.batch.at = max(b.batch.at, at)
	return b.affect(effects, at)
}

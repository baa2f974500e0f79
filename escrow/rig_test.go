package escrow

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/payoutgate"
	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// rig is a trade book, a node and a store without cryptography and goroutines. A test decides
// each step, one after the other.
type rig struct {
	tb    testing.TB
	store *simStore
	node  *simNode
	book  *TradeBook
	price trade.Quote
	n     int
	// hold keeps effects of these kinds in the outbox.
	hold      map[trade.EffectKind]bool
	mail      map[string][]message.Message // by the key of the receiver
	published []mostro.Status              // the published statuses of orders
	// disputes lists the published statuses of disputes.
	disputes []message.DisputeStatus
	policy   Policy
	attester rating.Issuer
	events   []*nostr.Event   // the node's own events
	orders   []*nostr.Event   // events of orders, with the maker's rating
	gate     *payoutgate.Gate // nil: no limit
	fund     *simFund
	fees     []*nostr.Event // published events about development fees
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	r := &rig{
		tb: tb, store: newSimStore(), node: newSimNode(rng, 1_790_000_000), price: trade.Quote{Price: 100_000},
		hold: make(map[trade.EffectKind]bool), mail: make(map[string][]message.Message), policy: DefaultPolicy(),
	}
	r.policy.Terms.Fee = 6_000_000
	r.fund = &simFund{n: r.node}
	r.start()
	tb.Cleanup(r.check)
	return r
}

// start starts a process. Data that was not committed is lost.
func (r *rig) start() {
	r.tb.Helper()
	b, err := NewTradeBook(r.store)
	if err != nil {
		r.tb.Fatal(err)
	}
	b.Policy, b.Secret, b.Decode = r.policy, trade.NodeSecret{1}, simDecode
	b.Quote = func(string, int64) trade.Quote { return r.price }
	b.NodeKey, b.Assistant = simNodeKey, simAssistant
	r.trust(b)
	events := EventBuilder{Pubkey: simNodeKey}
	b.OrderEvent = func(t trade.Trade, maker *mostro.MakerRating) *nostr.Event {
		evt := events.Order(t, maker, r.policy)
		evt.Content = string(t.Bucket)
		return evt
	}
	b.DisputeEvents = func(t trade.Trade) []*nostr.Event {
		return []*nostr.Event{{Kind: mostro.KindDispute, CreatedAt: nostr.Timestamp(t.Dispute.StampedAt), Content: string(t.Dispute.Status)}}
	}
	fundOf(b)
	r.book = b
	for id := range b.open {
		r.applyInput(id, trade.Input{Kind: trade.InRestart, Grace: r.policy.GraceSeconds})
	}
	r.commit()
}

// trust applies the policy about reputation.
func (r *rig) trust(b *TradeBook) {
	r.tb.Helper()
	b.ratings.Policy, b.ratings.Issuer, b.ratings.Node = r.policy.Ratings, r.attester, simNodeKey
	if err := b.ratings.Trust(r.node.now); err != nil {
		r.tb.Fatal(err)
	}
}

// published38384 returns the published ratings.
func (r *rig) published38384() (list []mostro.UserRating) {
	r.tb.Helper()
	for _, evt := range r.events {
		if evt.Kind == mostro.KindUserRating {
			u, err := mostro.ParseUserRating(evt)
			if err != nil {
				r.tb.Fatal(err)
			}
			list = append(list, u)
		}
	}
	return list
}

// check compares every trade with the replay of its journal, and so the ratings.
func (r *rig) check() {
	if err := rating.Check(r.store); err != nil {
		r.tb.Error(err)
	}
	for id, t := range r.store.trades {
		var again trade.Trade
		for _, in := range r.store.journal[id] {
			again, _, _ = trade.Step(again, in)
		}
		if !reflect.DeepEqual(again, t) {
			r.tb.Errorf("trade %s differs from the replay of its journal", id)
		}
		if t.Bucket != trade.Public(t.Status) {
			r.tb.Errorf("trade %s is %s and published as %s", id, t.Status, t.Bucket)
		}
	}
	if err := r.node.conserved(); err != nil {
		r.tb.Error(err)
	}
}

func (r *rig) commit() {
	r.tb.Helper()
	if bugs := r.book.batch.bugs; len(bugs) > 0 {
		r.tb.Fatal(bugs)
	}
	c := r.book.Take()
	if err := r.store.Commit(c); err != nil {
		r.tb.Fatal(err)
	}
	for i := range c.Trades {
		if r.gate != nil {
			r.gate.Sync(&c.Trades[i], simPayee)
		}
	}
}

func (r *rig) applyInput(id trade.OrderID, in trade.Input) {
	r.tb.Helper()
	in.At = r.node.now
	if err := r.book.ApplyInput(id, in); err != nil {
		r.tb.Fatal(err)
	}
}

// settle executes the rows of the outbox until no row is left.
func (r *rig) settle() {
	r.tb.Helper()
	for range 1000 {
		done := false
		for _, id := range append([]uint64(nil), r.store.rows...) {
			row, ok := r.store.outbox[id]
			if !ok || r.hold[row.Effect.Kind] || !r.first(row) {
				continue
			}
			if r.perform(row) {
				done = true
			}
		}
		last := r.book.head.LastRow
		for _, t := range r.book.open {
			r.watch(t.ID)
		}
		r.commit()
		if !done && last == r.book.head.LastRow {
			return
		}
	}
	r.tb.Fatal("the outbox does not become empty")
}

func (r *rig) first(row OutboxRow) bool {
	for _, id := range r.store.rows {
		if o := r.store.outbox[id]; keyOf(o) == keyOf(row) && lane(o) == lane(row) {
			return id == row.ID
		}
	}
	return false
}

func (r *rig) perform(row OutboxRow) bool {
	r.tb.Helper()
	switch row.Effect.Kind {
	case trade.FxSend:
		r.mail[row.Effect.To.Key] = append(r.mail[row.Effect.To.Key], row.Effect.Message.Message)
	case trade.FxPublishOrder:
		r.published, r.orders = append(r.published, mostro.Status(row.Event.Content)), append(r.orders, row.Event)
	case trade.FxPublish:
		if r.events = append(r.events, row.Event); row.Event.Kind == mostro.KindDevFee {
			r.fees = append(r.fees, row.Event)
		}
	case trade.FxPublishDispute:
		r.disputes = append(r.disputes, message.DisputeStatus(row.Event.Content))
	default:
		res, err := effect.Runner{Node: r.node, Addresses: r.node, Gate: r.gate, Payee: simPayee, Outflow: keyOf(row), Fund: fund.Fund{Address: "dev@fund", Service: r.fund}}.Do(context.Background(), row.Effect, 0)
		if err != nil {
			return false
		}
		if row.Effect.Kind == trade.FxLook {
			if _, err := r.book.Looked(row.ID, *row.Inbound, row.Effect.Hash, res.Phase, r.node.now); err != nil {
				r.tb.Fatal(err)
			}
			r.commit()
			return true
		}
		if row.Inbound != nil {
			if _, err := r.book.Probed(row.ID, *row.Inbound, row.Effect.Text, res.Reachable, r.node.now); err != nil {
				r.tb.Fatal(err)
			}
			r.commit()
			return true
		}
		if res.Fee != nil {
			res.Fee.At = r.node.now
			if err := r.book.fund.apply(row.Trade, *res.Fee); err != nil {
				r.tb.Fatal(err)
			}
		} else {
			r.applyInput(row.Trade, res.Input)
		}
	}
	r.book.Done(row.ID)
	r.commit()
	return true
}

func (r *rig) watch(id trade.OrderID) {
	t := r.book.open[id]
	if h := t.HoldWatched(); h != (trade.Hash{}) {
		if state, err := r.node.LookupHold(context.Background(), h); err == nil {
			if in, err := effect.SightedInput(context.Background(), r.node.Info, state); err == nil {
				r.applyInput(id, in)
			}
		}
	}
	if t = r.book.open[id]; t == nil {
		return
	}
	for n := range uint32(len(t.Outflows)) + 1 {
		if h, attempt := t.OutflowWatched(n); h != (trade.Hash{}) {
			if state, err := r.node.TrackPayment(context.Background(), h); err == nil && state.Status.Final() {
				r.applyInput(id, paymentNotice(trade.OutflowKey{Trade: id, N: n}, h, attempt, state).input)
			}
		}
	}
}

// pass advances the clock, and applies the clock to the trades.
func (r *rig) pass(seconds int64) {
	r.tb.Helper()
	r.node.now += seconds
	r.node.expire(func(trade.Hash) {})
	for _, id := range r.book.Due(r.node.now) {
		r.applyInput(id, trade.Input{Kind: trade.InClock})
	}
	if err := r.book.fund.begin(r.node.now); err != nil {
		r.tb.Fatal(err)
	}
	r.commit()
	r.settle()
}

// someone returns a new user of a rig.
func (r *rig) someone() trade.Party {
	r.n++
	return trade.Party{Key: hexKeyOf(r.n), Identity: simKey(uint64(1000 + r.n)), Index: 1, Transport: envelope.TransportV2}
}

// hexKeyOf returns keys that are points of the curve.
func hexKeyOf(n int) string {
	var secret [32]byte
	secret[30], secret[31] = byte(n>>8), byte(n)
	k, err := envelope.KeysFromSecret(secret)
	if err != nil {
		panic(err)
	}
	return k.Pubkey()
}

// message returns a message of a party.
func (r *rig) message(p trade.Party, action message.Action, id *trade.OrderID, payload message.Payload) InboundMessage {
	r.n++
	request := uint64(r.n)
	msg := InboundMessage{
		Transport: p.Transport, Sender: p.Key, Identity: p.Identity, Signed: true,
		CreatedAt: r.node.now, Received: r.node.now, ReplayID: fmt.Sprintf("letter %d", r.n),
		Message: trade.Outgoing{Message: message.Message{Wrapper: message.WrapperOrder, Version: 2, RequestID: &request, ID: id, Action: action, Payload: payload}},
	}
	switch action {
	case message.ActionNewOrder, message.ActionTakeSell, message.ActionTakeBuy:
		index := p.Index
		msg.Message.TradeIndex = &index
	}
	return msg
}

// say sends a message and returns its outcome, which is "" if the message was accepted. No
// effect is executed yet.
func (r *rig) say(p trade.Party, action message.Action, id *trade.OrderID, payload message.Payload) string {
	r.tb.Helper()
	return r.receive(r.message(p, action, id, payload))
}

func (r *rig) receive(msg InboundMessage) string {
	r.tb.Helper()
	outcome, err := r.book.Receive(msg, r.node.now)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.commit()
	return outcome
}

// must sends a message that has to be accepted, and executes all its effects.
func (r *rig) must(p trade.Party, action message.Action, id *trade.OrderID, payload message.Payload) {
	r.tb.Helper()
	if outcome := r.say(p, action, id, payload); outcome != "" {
		r.tb.Fatalf("%s: %s", action, outcome)
	}
	r.settle()
}

// refused sends a message that has to be refused with a reason and without any change.
func (r *rig) refused(want message.Reason, p trade.Party, action message.Action, id *trade.OrderID, payload message.Payload) {
	r.tb.Helper()
	before := len(r.mail[p.Key])
	var tr trade.Trade
	if id != nil {
		tr = r.store.trades[*id]
	}
	if outcome := r.say(p, action, id, payload); outcome != string(want) {
		r.tb.Errorf("%s: %q, want %q", action, outcome, want)
	}
	r.settle()
	if id != nil && !reflect.DeepEqual(tr, r.store.trades[*id]) {
		r.tb.Errorf("%s was refused and changed the trade", action)
	}
	for _, m := range r.mail[p.Key][before:] {
		if c, ok := m.Payload.(message.CantDo); ok && c.Reason == want && m.RequestID != nil {
			return
		}
	}
	if want != "dropped" {
		r.tb.Errorf("%s: no cant-do %s came", action, want)
	}
}

// trade returns a trade as stored.
func (r *rig) trade(id trade.OrderID) trade.Trade { return r.store.trades[id] }

// last returns the newest message of an action to a party, and removes the message.
func (r *rig) last(p trade.Party, action message.Action) message.Message {
	r.tb.Helper()
	list := r.mail[p.Key]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Action == action {
			r.mail[p.Key] = append(list[:i:i], list[i+1:]...)
			return list[i]
		}
	}
	r.tb.Fatalf("no %s arrived; the messages are %v", action, actions(list))
	return message.Message{}
}

// got returns the number of messages of an action to a party.
func (r *rig) got(p trade.Party, action message.Action) int {
	n := 0
	for _, m := range r.mail[p.Key] {
		if m.Action == action {
			n++
		}
	}
	return n
}

func (r *rig) status(want message.TradeStatus, id trade.OrderID) {
	r.tb.Helper()
	if t := r.trade(id); t.Status != want {
		r.tb.Fatalf("the trade is %s (%s), want %s", t.Status, t.Last, want)
	}
}

// order creates an order. Zero fields of o get defaults.
func (r *rig) order(p trade.Party, o message.SmallOrder) trade.OrderID {
	r.tb.Helper()
	if o.Kind == "" {
		o.Kind = mostro.SideSell
	}
	if o.AmountSats == 0 && o.FiatAmount == 0 && o.MinAmount == nil {
		o.AmountSats, o.FiatAmount = 100_000, 100
	}
	o.FiatCode, o.PaymentMethod = "EUR", "SEPA"
	r.must(p, message.ActionNewOrder, nil, &o)
	return *r.last(p, message.ActionNewOrder).ID
}

// bolt11 returns an invoice of the buyer for a trade.
func (r *rig) bolt11(id trade.OrderID) message.PaymentRequest {
	t := r.trade(id)
	return r.bolt11For(id, t.PayoutSats()*1000, 7200)
}

func (r *rig) bolt11For(id trade.OrderID, msat, life int64) message.PaymentRequest {
	var h trade.Hash
	_, _ = simReader{r.node.rng}.Read(h[:])
	return message.PaymentRequest{Invoice: simInvoice(h, msat, r.node.now+life, id.String())}
}

// pays has the seller pay the hold invoice that was shown.
func (r *rig) pays(seller trade.Party) trade.Hash {
	r.tb.Helper()
	for {
		if p, ok := r.last(seller, message.ActionPayInvoice).Payload.(message.PaymentRequest); ok {
			h := simDecode(p.Invoice).Hash
			if !r.node.pay(h) {
				r.tb.Fatal("the hold invoice cannot be paid")
			}
			r.settle()
			return h
		}
	}
}

// toActive brings a fixed sell order to active.
func (r *rig) toActive() (id trade.OrderID, seller, buyer trade.Party) {
	r.tb.Helper()
	seller, buyer = r.someone(), r.someone()
	id = r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, nil)
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	r.pays(seller)
	r.status(message.TradeActive, id)
	return id, seller, buyer
}

// toSettled brings a trade to the payout of the buyer, and keeps payments from resolving.
func (r *rig) toSettled() (id trade.OrderID, seller, buyer trade.Party) {
	r.tb.Helper()
	id, seller, buyer = r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.must(seller, message.ActionRelease, &id, nil)
	r.status(message.TradeSettledHoldInvoice, id)
	return id, seller, buyer
}

// resolves ends the payment in flight of a trade.
func (r *rig) resolves(id trade.OrderID, good bool) {
	r.tb.Helper()
	h := r.trade(id).Payout.Hash
	if p := r.node.pays[h]; p == nil || p.state.Status != trade.PaymentInFlight {
		r.tb.Fatal("no payment is in flight")
	}
	r.node.resolve(h, good)
	r.settle()
}

// copied starts on a store that was found to be an older copy. Every open hash is looked up
// before any other step.
func (r *rig) copied() {
	r.tb.Helper()
	b, err := NewTradeBook(r.store)
	if err != nil {
		r.tb.Fatal(err)
	}
	b.Policy, b.Secret, b.Decode, b.Quote = r.policy, r.book.Secret, simDecode, r.book.Quote
	b.OrderEvent, b.DisputeEvents = r.book.OrderEvent, r.book.DisputeEvents
	b.NodeKey, b.Assistant = r.book.NodeKey, r.book.Assistant
	r.trust(b)
	fundOf(b)
	r.book = b
	if err := b.fund.copied(nil, r.node.now); err != nil {
		r.tb.Fatal(err)
	}
	var ids []trade.OrderID
	for id := range b.open {
		ids = append(ids, id)
	}
	for _, id := range ids {
		r.applyInput(id, trade.Input{Kind: trade.InReconcile})
		r.applyInput(id, trade.Input{Kind: trade.InRestart, Grace: r.policy.GraceSeconds})
	}
	r.commit()
	for _, id := range ids {
		if t := r.book.open[id]; t != nil && t.Hash != (trade.Hash{}) {
			state, err := r.node.LookupHold(context.Background(), t.Hash)
			if err != nil {
				continue
			}
			in, err := effect.SightedInput(context.Background(), r.node.Info, state)
			if err != nil {
				r.tb.Fatal(err)
			}
			r.applyInput(id, in)
		}
	}
	r.commit()
	for id, row := range r.store.outbox {
		if row.Inbound != nil { // the log cannot repeat the message, so its address is probed again
			msg := *row.Inbound
			msg.ProbedAt, row.Inbound = r.node.now, &msg
			r.store.outbox[id] = row
		}
	}
	// The rows of a frozen trade that call the node wait for the operator.
	for id, row := range r.store.outbox {
		if r.trade(row.Trade).Frozen && row.moves() {
			delete(r.store.outbox, id)
			if i := slices.Index(r.store.rows, id); i >= 0 {
				r.store.rows = slices.Delete(r.store.rows, i, i+1)
			}
		}
	}
}

// longestMethod is the maximum length of an order's payment method.
const longestMethod = 512

// marginBlocks restates how many blocks before its expiry a hold has to be resolved.
func marginBlocks(t trade.Terms) uint32 {
	if t.MarginBlocks < t.CLTVBlocks {
		return t.MarginBlocks
	}
	return t.CLTVBlocks / 2
}

// leastBlocks restates how many blocks above the margin a hold must have left when a trade
// begins.
func leastBlocks(t trade.Terms) uint32 { return min(36, (t.CLTVBlocks-marginBlocks(t))/2) }

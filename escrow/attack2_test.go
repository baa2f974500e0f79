package escrow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// farTrouble is a troubledNode that answers after the delay d.
type farTrouble struct {
	*troubledNode
	d time.Duration
}

func (n farTrouble) LookupHold(ctx context.Context, h trade.Hash) (lightning.HoldState, error) {
	time.Sleep(n.d)
	return n.troubledNode.LookupHold(ctx, h)
}

func (n farTrouble) Settle(ctx context.Context, p trade.Preimage) error {
	time.Sleep(n.d)
	return n.troubledNode.Settle(ctx, p)
}

func (n farTrouble) WatchHold(ctx context.Context, h trade.Hash, fn func(lightning.HoldState) error) error {
	time.Sleep(n.d)
	return n.troubledNode.WatchHold(ctx, h, fn)
}

// The process is killed between the first commit of a start and the lookup of the hashes. The
// commit must not lower the rollback guard.
func TestAttackWitnessIsLoweredBeforeTheLookup(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	trouble := &troubledNode{testNode: w.node}
	w.ln = trouble
	w.start()
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	w.toFiatSent(seller, buyer)
	_ = w.stop()
	witness := rollback.Guard{Path: filepath.Join(w.dir, "escrow.witness")}
	commits, _, err := witness.Load()
	if err != nil {
		t.Fatal(err)
	}
	if err := witness.Store(commits + 1000); err != nil { // from here on the store is older than its guard
		t.Fatal(err)
	}
	trouble.set("", lightning.ErrUnavailable)
	w.start()
	if !w.engine.Reconcile {
		t.Fatal("the older copy was not detected")
	}
	// The operator pauses new orders while the node is down, which makes one commit.
	if err := w.engine.Pause(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	now, _, err := witness.Load()
	if err != nil {
		t.Fatal(err)
	}
	if now < commits+1000 {
		t.Errorf("the rollback guard was lowered from %d to %d before any hash was looked up", commits+1000, now)
	}
}

// A market-price order is taken and its hold is paid after the backup was made. The restored
// backup replays the take at another price.
func TestAttackReadAgainAtAnotherPrice(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{FiatAmount: 100}) // 100,000 sats at 100,000
	old := r.store.clone()
	take := r.message(buyer, message.ActionTakeSell, &id, message.PaymentRequest{Invoice: id.String() + "@home"})
	r.receive(take)
	r.settle()
	r.pays(seller)
	r.status(message.TradeActive, id)
	locked := r.trade(id).LockSats()

	r.store = old
	r.node.now += 3600
	r.price = trade.Quote{Price: 80_000} // the price of bitcoin fell
	r.copied()
	r.receive(take)
	r.settle()
	if got := r.trade(id); !got.Frozen {
		t.Errorf("the seller locked %d sats, but the trade of %d sats is %s", locked, got.LockSats(), got.Status)
	}
}

// The seller paid and the buyer sent the fiat after the backup was made. In the restored
// backup the hold is open, and the hold is late by the height of the chain.
func TestAttackLateHoldOfACopyIsGivenBack(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, nil)
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11For(id, 99_700_000, 86400*3))
	old := r.store.clone()
	h := r.pays(seller)
	fiat := r.message(buyer, message.ActionFiatSent, &id, nil)
	r.receive(fiat)
	r.settle()
	r.status(message.TradeFiatSent, id)

	r.store = old
	r.node.now += 15 * 3600
	r.node.height += 90
	r.copied()
	r.receive(fiat)
	r.settle()
	if got := r.node.holds[h].state.Phase; got == trade.HoldCanceled {
		t.Errorf("the seller got the sats back although the buyer sent the fiat: the trade is %s after %q", r.trade(id).Status, r.trade(id).Last)
	}
}

// The store and the log are restored from a backup in which the hold is accepted and the
// buyer still owes an invoice. After the backup the buyer named an invoice and sent the fiat.
func TestAttackSellerCancelsACopy(t *testing.T) {
	r := newRig(t)
	maker, seller := r.someone(), r.someone()
	id := r.order(maker, message.SmallOrder{Kind: mostro.SideBuy})
	r.must(seller, message.ActionTakeBuy, &id, nil)
	h := r.pays(seller)
	r.status(message.TradeWaitingBuyerInvoice, id)
	old := r.store.clone()
	r.must(maker, message.ActionAddInvoice, &id, r.bolt11(id))
	r.must(maker, message.ActionFiatSent, &id, nil)
	r.status(message.TradeFiatSent, id)

	r.store = old
	r.node.now += 600
	r.copied()
	if !r.trade(id).Doubtful {
		t.Fatal("the trade is not marked doubtful")
	}
	r.say(seller, message.ActionCancel, &id, nil)
	r.settle()
	if got := r.node.holds[h].state.Phase; got == trade.HoldCanceled {
		t.Errorf("the seller got the sats back by one cancel although the buyer sent the fiat: %s", r.trade(id).Status)
	}
}

// A taker cancels, waits for the throttle to end and takes again. A restored backup that
// replays these messages must arrive at the same trade.
func TestAttackThrottleIsNotReplayed(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	old := r.store.clone()
	var messages []InboundMessage
	say := func(p trade.Party, action message.Action, payload message.Payload) {
		msg := r.message(p, action, &id, payload)
		messages = append(messages, msg)
		if got := r.receive(msg); got != "" {
			t.Fatal(action, got)
		}
		r.settle()
	}
	say(buyer, message.ActionTakeSell, message.PaymentRequest{Invoice: id.String() + "@home"})
	say(buyer, message.ActionCancel, nil)
	r.pass(120)
	buyer.Index++
	say(buyer, message.ActionTakeSell, message.PaymentRequest{Invoice: id.String() + "@home"})
	r.pays(seller)
	say(buyer, message.ActionFiatSent, nil)
	r.status(message.TradeFiatSent, id)

	r.store = old
	r.node.now += 60
	r.copied()
	for _, msg := range messages { // one after the other, as Engine.sendAgain replays them
		r.receive(msg)
		r.settle()
	}
	if got := r.trade(id).Status; got == message.TradePending {
		t.Errorf("the trade that is missing in the backup is %s after the replay, although its hold is paid and its fiat is sent", got)
	}
}

// The messages after the backup are replayed faster than the node answers. If fiat-sent is
// refused for that reason, the rebuilt trade ends in favor of the seller.
func TestAttackFiatSentOutrunsTheNodeWhenReadAgain(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	old := r.store.clone()
	take := r.message(buyer, message.ActionTakeSell, &id, message.PaymentRequest{Invoice: id.String() + "@home"})
	r.receive(take)
	r.settle()
	h := r.pays(seller)
	fiat := r.message(buyer, message.ActionFiatSent, &id, nil)
	if got := r.receive(fiat); got != "" {
		t.Fatal(got)
	}
	r.settle()
	r.status(message.TradeFiatSent, id)

	r.store = old
	r.node.now += 600
	r.node.height++
	r.copied()
	r.receive(take) // one after the other, as Engine.sendAgain replays them
	r.settle()
	r.receive(fiat)
	r.settle()
	for r.node.holds[h].state.ExpiryHeight-r.node.height > marginBlocks(r.policy.Terms)+1 { // at the margin the rule decides
		r.node.height++
		r.pass(600)
	}
	r.status(message.TradeDispute, id)
	if got := r.node.holds[h]; got.state.Phase == trade.HoldCanceled && got.byUs {
		t.Errorf("the escrow returned the sats to the seller although the log holds the buyer's fiat-sent: %s after %q", r.trade(id).Status, r.trade(id).Last)
	}
}

// Throttles of keys, which are free to create, are removed as fast as an attacker adds them.
func TestAttackThrottlesGrowWithoutBound(t *testing.T) {
	if testing.Short() {
		t.Skip("short: 345,600 throttles, one goroutine")
	}
	r := newRig(t)
	now := r.node.now
	for step := range 4 * 144 {
		now += 600
		for i := range 600 { // one pair per second
			k := fmt.Sprintf("%064x", 1_000_000+step*600+i)
			r.book.throttles.count(r.book.batch, trade.Party{Key: k, Identity: k}, now)
			if i%100 == 0 { // each second, as the engine does
				r.book.throttles.forget(r.book.batch, now)
				r.book.begin()
			}
		}
	}
	if n := len(r.book.throttles); n > maxThrottles+1200 {
		t.Errorf("%d throttles after four days of one pair per second", n)
	}
	r.book.throttles = nil
}

// Orders of strangers must not use up the probes that the buyer of a trade with held sats
// needs.
func TestAttackStrangersTakeTheRoomOfAParty(t *testing.T) {
	r := newRig(t)
	maker, seller := r.someone(), r.someone()
	id := r.order(maker, message.SmallOrder{Kind: mostro.SideBuy})
	r.must(seller, message.ActionTakeBuy, &id, nil)
	r.pays(seller)
	r.status(message.TradeWaitingBuyerInvoice, id)
	r.hold[trade.FxProbe] = true
	for i := range probesPerSite {
		p := r.someone()
		p.Identity = p.Key
		text := fmt.Sprintf("a%d@wallet.example", i)
		if got := r.say(p, message.ActionNewOrder, nil, &message.SmallOrder{Kind: mostro.SideBuy, AmountSats: 100_000, FiatCode: "EUR", FiatAmount: 100, PaymentMethod: "SEPA", BuyerInvoice: &text}); got != "" {
			t.Fatal(i, got)
		}
	}
	if got := r.say(maker, message.ActionAddInvoice, &id, message.PaymentRequest{Invoice: "me@wallet.example"}); got != "" {
		t.Errorf("the buyer of a trade with held sats was refused with %q because of strangers' orders", got)
	}
	clear(r.store.outbox)
	r.store.rows = nil
}

// A stranger names another user's trade in messages that are refused. The refusals must not
// delay the messages of the trade.
func TestAttackStrangersRefusalsHoldUpATradesMail(t *testing.T) {
	r := newRig(t)
	id, _, buyer := r.toActive()
	r.hold[trade.FxSend] = true
	const strangers = 400
	for range strangers {
		p := r.someone()
		p.Identity = p.Key
		if got := r.say(p, message.ActionCancel, &id, nil); got == "" {
			t.Fatal("accepted")
		}
	}
	if got := r.say(buyer, message.ActionFiatSent, &id, nil); got != "" {
		t.Fatal(got)
	}
	var mu sync.Mutex
	published := make(map[uint64]bool)
	before := 0
	var mine uint64
	done := make(chan struct{})
	o := newOutbox(effect.Runner{Node: r.node}, publisherFunc(func(ctx context.Context, evt *nostr.Event) error {
		select {
		case <-time.After(2 * time.Millisecond): // as long as a synced write
		case <-ctx.Done():
		}
		return nil
	}), nil, func(_ context.Context, n notice) error {
		mu.Lock()
		defer mu.Unlock()
		published[n.row] = true
		if n.row == mine {
			before = len(published) - 1
			close(done)
		}
		return nil
	})
	var rows []OutboxRow
	for _, n := range r.store.rows {
		row := r.store.outbox[n]
		if lane(row) != laneMail {
			continue
		}
		if row.Effect.To.Key == buyer.Key && mine == 0 {
			mine = row.ID
		}
		row.Event = &nostr.Event{ID: fmt.Sprint(row.ID), Kind: 14}
		rows = append(rows, row)
	}
	o.add(rows)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { o.run(ctx); close(ended) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
	}
	cancel()
	<-ended
	if before >= strangers {
		t.Errorf("the buyer's message was published after %d refusals to strangers, by one worker of %d", before, mailWorkers)
	}
	delete(r.hold, trade.FxSend)
	clear(r.store.outbox)
	r.store.rows = nil
}

// steppedClock is the system clock after the clock was set back. Its monotonic reading
// continues.
type steppedClock struct {
	mu   sync.Mutex
	back time.Duration // in whole seconds
}

func (c *steppedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	// If a time has a monotonic reading, its first word holds the wall clock seconds above 30
	// bits of nanoseconds.
	*(*uint64)(unsafe.Pointer(&now)) -= uint64(c.back/time.Second) << 30
	return now
}

// The engine detects that the system clock was set back.
func TestAttackSystemClockSetBack(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	clock := &steppedClock{}
	db, err := OpenDB(filepath.Join(w.dir, "escrow"))
	if err != nil {
		t.Fatal(err)
	}
	w.startWithClock(db, clock.Now)
	w.eventually("a dated commit", func() (dated bool) {
		_ = w.engine.Ask(t.Context(), func(b *TradeBook, _ int64) error { dated = b.head.At != 0; return nil })
		return dated
	})
	was := time.Now().Unix()
	clock.mu.Lock()
	clock.back = 2 * time.Hour
	clock.mu.Unlock()
	if got := clock.Now().Unix(); got > was-7000 {
		t.Fatal("the clock of the test was not set back: ", was-got)
	}
	for deadline := time.Now().Add(3 * time.Second); !strings.Contains(w.output.String(), "the clock was set back"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the engine did not detect that the system clock was set back by two hours")
		}
	}
}

// startWithClock starts the escrow with the given clock.
func (w *world) startWithClock(db *DB, clock func() time.Time) {
	w.startOn(db, db)
	_ = w.cancel
	w.cancel()
	<-w.done
	cfg := w.engine.Config
	cfg.Now, cfg.Reconcile, cfg.Card, cfg.Events.Node, cfg.Metrics = clock, false, nil, nil, nil
	next := w.open(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	w.engine, w.cancel, w.done = next, cancel, make(chan error, 1)
	go func() { w.done <- next.Run(ctx) }()
}

// Only the log is restored from a backup while the Lightning node is down. New messages
// arrive until the log is longer than the stored cursor.
func TestAttackShorterLogGrowsPastTheCursor(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	trouble := &troubledNode{testNode: w.node}
	w.ln = trouble
	w.start()
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	id := w.toFiatSent(seller, buyer)
	w.quiet()
	_ = w.stop()
	db, err := OpenDB(filepath.Join(w.dir, "escrow"))
	if err != nil {
		t.Fatal(err)
	}
	head, err := db.Head()
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	w.log.mu.Lock()
	kept := len(w.log.entries) / 2
	for _, e := range w.log.entries[kept:] {
		delete(w.log.ids, e.Event.ID)
	}
	w.log.entries = w.log.entries[:kept:kept]
	w.log.mu.Unlock()
	clear(w.read)

	trouble.set("", lightning.ErrUnavailable)
	w.start()
	seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
	other := w.user(envelope.TransportV2)
	for w.log.Head() <= head.Cursor {
		other.send(message.Message{RequestID: number(77), ID: &id, Action: message.ActionDispute})
	}
	trouble.set("", nil)
	deadline := time.Now().Add(5 * time.Second)
	for w.trade(id).Status == message.TradeFiatSent && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	if got := w.trade(id); got.Status == message.TradeFiatSent && !got.Settling {
		t.Error("the seller's release is in the log but was never read")
	}
}

// The node fails when a drained store is about to bind to another wallet.
func TestAttackHalfBoundWallet(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	node := &scriptedInfo{testNode: w.node, pubkey: "home"}
	w.ln = node
	w.start()
	wallet := func() (s string) {
		if err := w.engine.Ask(t.Context(), func(b *TradeBook, _ int64) error { s = b.Wallet(); return nil }); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for deadline := time.Now().Add(10 * time.Second); wallet() != "home" || len(w.engine.Status().Closed) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the store was not bound to the wallet", w.engine.Status())
		}
	}
	// The engine's follow method sees another wallet, and the next call, which is made by
	// bind, fails.
	node.mu.Lock()
	node.pubkey, node.fail = "another", true
	node.mu.Unlock()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		node.mu.Lock()
		done := !node.fail
		node.mu.Unlock()
		if done && len(w.engine.Status().Closed) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(w.engine.Status())
		}
	}
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	w.toFiatSent(seller, buyer)
	if got := wallet(); got != "another" {
		t.Errorf("the hold of a trade is in wallet %q, but the store is bound to %q", "another", got)
	}
}

// scriptedInfo returns an error from the second call of Info after its pubkey changed.
type scriptedInfo struct {
	*testNode
	mu     sync.Mutex
	pubkey string
	fail   bool
	told   bool
}

func (n *scriptedInfo) Info(ctx context.Context) (lightning.NodeInfo, error) {
	info, err := n.testNode.Info(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	info.Pubkey = n.pubkey
	if n.fail && n.told {
		n.fail = false
		return lightning.NodeInfo{}, lightning.ErrUnavailable
	}
	n.told = n.fail
	return info, err
}

// An operator's question whose answer is an error is part of a batch that cannot be
// committed.
func TestAttackQuestionInAnUncommittableTurn(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	db, err := OpenDB(filepath.Join(w.dir, "escrow"))
	if err != nil {
		t.Fatal(err)
	}
	w.startOn(db, &narrowStore{DB: db, poison: func(c *Commit) bool {
		for _, tr := range c.Trades {
			if tr.PaymentMethod == "poison" {
				return true
			}
		}
		return false
	}})
	first := w.user(envelope.TransportV2) // the inbox starts to read here
	first.send(first.sell(50_000, 50))
	first.wait(message.ActionNewOrder)
	// The engine is kept busy while a question and messages are queued.
	hold, held := make(chan struct{}), make(chan struct{})
	let := sync.OnceFunc(func() { close(hold) })
	defer let()
	go func() {
		_ = w.engine.Ask(context.Background(), func(*TradeBook, int64) error { close(held); <-hold; return nil })
	}()
	<-held
	asked := make(chan error, 1)
	go func() {
		_, err := w.engine.Trade(context.Background(), trade.OrderID{9})
		asked <- err
	}()
	for deadline := time.Now().Add(5 * time.Second); len(w.engine.notices) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no message was queued")
		}
	}
	for i := range 8 {
		u := w.user(envelope.TransportV2)
		m := u.sell(50_000, 50)
		if i == 0 {
			m.Payload.(*message.SmallOrder).PaymentMethod = "poison"
		}
		u.send(m)
	}
	for deadline := time.Now().Add(5 * time.Second); len(w.engine.notices) < 9; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the notices were not queued: ", len(w.engine.notices))
		}
	}
	let()
	if err := <-asked; !errors.Is(err, mostro.ErrNotFound) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := w.engine.Trades(ctx); err != nil {
		t.Errorf("the engine stopped answering: %v", err)
		w.engine = nil // because the engine never ends
	}
}

// Eight domains that never answer delay all other addresses. One registration at a provider
// of free names yields any number of such domains.
func TestAttackEightTarpitsHoldUpAllAddresses(t *testing.T) {
	addrs := &honestAmongTarpits{let: make(chan struct{}), honest: make(chan struct{}, 1)}
	o := newOutbox(effect.Runner{Addresses: addrs}, nil, nil, func(context.Context, notice) error { return nil })
	now := time.Now()
	o.clock = func() time.Time { return now }
	var rows []OutboxRow
	for i := range 8 * 64 {
		rows = append(rows, OutboxRow{ID: uint64(i + 1), Effect: trade.Effect{Kind: trade.FxProbe, Text: fmt.Sprintf("a%d@tarpit%d.example.com", i, i%8)}, Inbound: &InboundMessage{ProbedAt: now.Unix()}})
		rows[i].Effect.Text = fmt.Sprintf("a%d@tarpit%d.com", i, i%8)
	}
	rows = append(rows, OutboxRow{ID: 1000, Trade: trade.OrderID{1}, Effect: trade.Effect{Kind: trade.FxProbe, Text: "b@honest.org"}, Inbound: &InboundMessage{ProbedAt: now.Unix()}})
	o.add(rows)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { o.run(ctx); close(ended) }()
	select {
	case <-addrs.honest:
	case <-time.After(2*slowSite + time.Second):
		t.Error("messages of strangers occupy all workers, so that an honest address is not probed")
	}
	cancel()
	<-ended
}

type honestAmongTarpits struct {
	noAddresses
	let, honest chan struct{}
}

func (a *honestAmongTarpits) Probe(ctx context.Context, address string) error {
	if strings.HasSuffix(address, "honest.org") {
		a.honest <- struct{}{}
		return nil
	}
	select {
	case <-a.let:
	case <-time.After(slowSite + 100*time.Millisecond): // the real client gives up after four seconds
	case <-ctx.Done():
	}
	return errors.New("slow")
}

// A Lightning node has one writer. Takes of strangers that arrive at once must not delay the
// settlement of an honest trade.
func TestAttackStrangersTakesStandBeforeASettlement(t *testing.T) {
	node := &oneWriter{testNode: newTestNode()}
	p := trade.Preimage{1}
	node.with(func(n *simNode) {
		if _, err := n.CreateHold(context.Background(), lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1000, Expiry: time.Hour, CLTVBlocks: 144}); err != nil {
			t.Fatal(err)
		}
		n.pay(p.Hash())
	})
	settled := make(chan struct{})
	o := newOutbox(effect.Runner{Node: node}, nil, nil, func(_ context.Context, n notice) error {
		if n.input.Kind == trade.InSettled {
			close(settled)
		}
		return nil
	})
	const strangers = 1500
	var rows []OutboxRow
	for i := range strangers {
		h := trade.Hash{2, byte(i), byte(i >> 8)}
		rows = append(rows, OutboxRow{ID: uint64(i + 1), Trade: trade.OrderID{1, byte(i), byte(i >> 8)}, Effect: trade.Effect{Kind: trade.FxCreateHold, Hash: h, AmountSats: 1000, Seconds: 3600, CLTVBlocks: 144}})
	}
	o.add(rows)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { o.run(ctx); close(ended) }()
	for node.calls.Load() < strangers/2 && node.made.Load() < strangers/2 {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	o.add([]OutboxRow{{ID: strangers + 1, Trade: trade.OrderID{9}, Effect: trade.Effect{Kind: trade.FxSettle, Hash: p.Hash(), Preimage: p}}})
	<-settled
	if n := node.most.Load(); n > 200 {
		t.Errorf("%d concurrent calls for strangers' takes reached the node; the settlement took %s", n, time.Since(began).Round(time.Millisecond))
	}
	cancel()
	<-ended
}

// oneWriter creates one hold at a time and needs 2 ms for each.
type oneWriter struct {
	*testNode
	writer            sync.Mutex
	calls, most, made atomic.Int64
}

func (n *oneWriter) CreateHold(ctx context.Context, in lightning.HoldRequest) (string, error) {
	now := n.calls.Add(1)
	for was := n.most.Load(); now > was && !n.most.CompareAndSwap(was, now); was = n.most.Load() {
	}
	defer n.calls.Add(-1)
	n.writer.Lock()
	defer n.writer.Unlock()
	time.Sleep(2 * time.Millisecond)
	n.made.Add(1)
	return n.testNode.CreateHold(ctx, in)
}

func (n *oneWriter) Settle(ctx context.Context, p trade.Preimage) error {
	n.writer.Lock()
	defer n.writer.Unlock()
	return n.testNode.Settle(ctx, p)
}

// A backup is restored while the node catches up with the chain, which is usual after a
// disaster. The messages after the backup are read before the node is synced.
func TestAttackCopyReadWhileTheNodeIsUnsynced(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	node := &unsyncedNode{testNode: w.node}
	w.ln = node
	w.start()
	other := w.user(envelope.TransportV2)
	other.send(other.sell(50_000, 50))
	other.wait(message.ActionNewOrder)
	_ = w.stop()
	copyOf := filepath.Join(w.dir, "copy")
	if err := os.CopyFS(copyOf, os.DirFS(filepath.Join(w.dir, "escrow"))); err != nil {
		t.Fatal(err)
	}
	w.start()
	lost := w.toFiatSent(w.user(envelope.TransportV2), w.user(envelope.TransportV2))
	_ = w.stop()
	if err := os.RemoveAll(filepath.Join(w.dir, "escrow")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copyOf, filepath.Join(w.dir, "escrow")); err != nil {
		t.Fatal(err)
	}
	node.unsynced.Store(true)
	w.start()
	if !w.engine.Reconcile {
		t.Fatal("the older copy was not detected")
	}
	w.eventually("the end of the lookups", func() bool {
		_, reconciling, err := w.engine.Paused(t.Context())
		return err == nil && !reconciling
	})
	asked := node.asked.Load()
	w.eventually("two more questions to the node", func() bool { return node.asked.Load() > asked+1 })
	node.unsynced.Store(false)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := w.engine.Trade(ctx, lost)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a trade with held sats and sent fiat was not rebuilt, because its messages were refused for good while the node was not synced")
		}
	}
}

type unsyncedNode struct {
	*testNode
	unsynced atomic.Bool
	asked    atomic.Int64 // calls of Info
}

func (n *unsyncedNode) Info(ctx context.Context) (lightning.NodeInfo, error) {
	n.asked.Add(1)
	info, err := n.testNode.Info(ctx)
	info.Synced = info.Synced && !n.unsynced.Load()
	return info, err
}

// A whole volume is restored: store, log and rollback guard. An invoice that was made after
// the backup stays unknown for good. Later starts must not treat the store as an older copy
// again.
func TestAttackEveryStartIsACopy(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	// The restored copy is an empty store with the log as it is.
	w.log.mu.Lock()
	kept := len(w.log.entries)
	w.log.mu.Unlock()
	if err := os.CopyFS(filepath.Join(w.dir, "copy"), os.DirFS(filepath.Join(w.dir, "escrow"))); err != nil {
		t.Fatal(err)
	}
	remembered, err := os.ReadFile(filepath.Join(w.dir, "escrow.witness"))
	if err != nil {
		t.Fatal(err)
	}
	w.start()
	w.toFiatSent(w.user(envelope.TransportV2), w.user(envelope.TransportV2))
	_ = w.stop()
	if err := errors.Join(os.RemoveAll(filepath.Join(w.dir, "escrow")), os.Rename(filepath.Join(w.dir, "copy"), filepath.Join(w.dir, "escrow")),
		os.WriteFile(filepath.Join(w.dir, "escrow.witness"), remembered, 0o600)); err != nil {
		t.Fatal(err)
	}
	w.log.mu.Lock()
	for _, e := range w.log.entries[kept:] {
		delete(w.log.ids, e.Event.ID)
	}
	w.log.entries = w.log.entries[:kept:kept]
	w.log.mu.Unlock()
	open := func() {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); len(w.engine.Status().Closed) > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(w.engine.Status())
			}
		}
	}
	w.start()
	open()
	clear(w.read)
	// A new honest trade follows. Its payout waits for a route.
	w.node.mu.Lock()
	w.node.failPays = 1000
	w.node.mu.Unlock()
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	id := w.toFiatSent(seller, buyer)
	seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
	w.until(id, message.TradeSettledHoldInvoice)
	w.restart() // an update of the program
	open()
	if got := w.trade(id); got.Frozen {
		t.Error("an ordinary restart after the comparison froze a payout that the store knows completely")
	}
}

// A trade whose escrow is gone needs no Lightning node, but binds the store to its old
// wallet. If no command and no deadline ended such a trade, the store could never bind to
// another wallet.
func TestAttackGoneEscrowKeepsTheWallet(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	trouble := &troubledNode{testNode: w.node}
	w.ln = trouble
	w.start()
	id := w.toFiatSent(w.user(envelope.TransportV2), w.user(envelope.TransportV2))
	h := w.trade(id).Hash
	w.node.with(func(n *simNode) { n.giveBack(n.holds[h]) }) // the time lock ran out
	for deadline := time.Now().Add(5 * time.Second); !w.trade(id).EscrowGone; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the trade was not marked as gone")
		}
	}
	w.clock.move(400 * 24 * time.Hour)
	trouble.set("another", nil)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if s := w.engine.Status(); len(s.Closed) == 0 {
			if got := w.trade(id); got.EscrowGone {
				var wallet string
				_ = w.engine.Ask(t.Context(), func(b *TradeBook, _ int64) error { wallet = b.Wallet(); return nil })
				if wallet == "another" {
					return
				}
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("400 days after its escrow was gone the trade is %s, and the store accepts no wallet except the lost one: %v", w.trade(id).Status, w.engine.Status().Closed)
		}
	}
}

// The clock was ahead when a hold was checked, and is right at the next start. The next check
// must not wait until the wrong time.
func TestAttackClockAheadAcrossARestart(t *testing.T) {
	w := newWorld(t)
	id := w.toFiatSent(w.user(envelope.TransportV2), w.user(envelope.TransportV2))
	w.clock.move(48 * time.Hour)
	for deadline := time.Now().Add(5 * time.Second); w.trade(id).Deadline < w.clock.Now().Unix(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the hold was not checked")
		}
	}
	w.quiet()
	_ = w.stop()
	w.clock.move(-48 * time.Hour) // NTP sets the clock while the program is down
	w.start()
	w.eventually("a usable node", func() bool { return len(w.engine.Status().Closed) == 0 })
	w.quiet()
	got := w.trade(id)
	if got.SafeUntil < w.clock.Now().Unix() {
		t.Errorf("the hold counts as unsafe since %d s: the step of the clock was subtracted twice", w.clock.Now().Unix()-got.SafeUntil)
	}
	if safe := int64(got.Terms.CLTVBlocks-marginBlocks(got.Terms)) * trade.BlockSeconds; got.Deadline > w.clock.Now().Unix()+safe && got.Status == message.TradeFiatSent {
		t.Errorf("the hold is safe for at most %d hours, but the next check is in %d", safe/3600, (got.Deadline-w.clock.Now().Unix())/3600)
	}
}

// The node at the configured address is replaced by another node while a payout is in flight
// in the first wallet.
func TestAttackPayoutFromTwoWallets(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	node := &twoWallets{testNode: w.node, other: newTestNode()}
	node.other.n.now = w.clock.Now().Unix()
	w.ln = node
	w.start()
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	id := w.toFiatSent(seller, buyer)
	seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
	for deadline := time.Now().Add(5 * time.Second); !w.trade(id).Payout.Sent; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no payout is in flight")
		}
	}
	node.swapped.Store(true)
	// The watch asks the other wallet again after it has refused to believe the first answer.
	w.eventually("two questions to the other wallet", func() bool { return node.tracked.Load() > 1 })
	w.quiet()
	node.other.with(func(n *simNode) {
		if len(n.pays) > 0 {
			t.Error("the payout is in flight in one wallet and was also sent from the other")
		}
		n.pays = nil
	})
	node.swapped.Store(false)
	w.node.with(func(n *simNode) { n.resolve(w.payoutOf(n), true) })
	w.until(id, message.TradeSuccess)
}

func (w *world) payoutOf(n *simNode) trade.Hash {
	for h := range n.pays {
		return h
	}
	return trade.Hash{}
}

type twoWallets struct {
	*testNode
	other   *testNode
	swapped atomic.Bool
	tracked atomic.Int64 // calls of TrackPayment that the other wallet has answered
}

func (n *twoWallets) now() *testNode {
	if n.swapped.Load() {
		return n.other
	}
	return n.testNode
}

func (n *twoWallets) Info(ctx context.Context) (lightning.NodeInfo, error) {
	info, err := n.now().Info(ctx)
	info.Pubkey = "home"
	if n.swapped.Load() {
		info.Pubkey = "other"
	}
	return info, err
}

func (n *twoWallets) Pay(ctx context.Context, p lightning.Payment) (err error) {
	n.now().with(func(s *simNode) { err = s.Pay(ctx, p) })
	return err
}

func (n *twoWallets) TrackPayment(ctx context.Context, h trade.Hash) (lightning.PaymentState, error) {
	if n.swapped.Load() {
		defer n.tracked.Add(1)
	}
	return n.now().TrackPayment(ctx, h)
}

func (n *twoWallets) WatchPayment(ctx context.Context, h trade.Hash, fn func(lightning.PaymentState) error) error {
	for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		state, err := n.TrackPayment(ctx, h)
		switch {
		case err == nil && state.Status == trade.PaymentUnknown:
			return lightning.ErrNotFound
		case err == nil && state.Status.Final():
			return fn(state)
		}
	}
	return ctx.Err()
}

// The file of the rollback guard cannot be written, because the disk is full or the directory
// is missing.
func TestAttackWitnessThatCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(w.dir, "escrow.witness")
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no witness")
		}
	}
	if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "full"), 0o700)); err != nil {
		t.Fatal(err)
	}
	w.clock.move(2 * time.Second)
	u := w.user(envelope.TransportV2)
	u.send(u.sell(50_000, 50))
	w.eventually("a warning about the witness file", func() bool {
		return strings.Contains(strings.Join(w.engine.Status().Warnings, ""), "witness file")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := w.engine.Trades(ctx); err != nil {
		t.Errorf("the engine stopped although the store is sound: %v", err)
	}
	_ = os.RemoveAll(path)
}

// A node that is down for a day leaves a bounded number of outbox rows.
func TestAttackRowsPileUpWhileTheNodeIsAway(t *testing.T) {
	r := newRig(t)
	id, _, _ := r.toSettled()
	if !r.trade(id).Payout.Sent {
		t.Fatal("the payout was not sent")
	}
	r.node.down = true
	for range 288 {
		r.pass(300)
	}
	n := 0
	for _, row := range r.store.rows {
		if r.store.outbox[row].Effect.Kind == trade.FxTrack {
			n++
		}
	}
	if n > 2 {
		t.Errorf("%d track rows of one payout are queued after a day", n)
	}
	r.node.down = false
	r.settle()
}

// An identity takes a second order after the hold of its first was paid. The second take must
// not be refused when the messages are replayed.
func TestAttackSecondTakeIsLostWhenReadAgain(t *testing.T) {
	r := newRig(t)
	seller := r.someone()
	var ids []trade.OrderID
	for range 2 {
		ids = append(ids, r.order(r.someone(), message.SmallOrder{Kind: mostro.SideBuy}))
	}
	old := r.store.clone()
	var takes []InboundMessage
	for _, id := range ids {
		msg := r.message(seller, message.ActionTakeBuy, &id, nil)
		takes = append(takes, msg)
		if got := r.receive(msg); got != "" {
			t.Fatal(got)
		}
		r.settle()
		r.pays(seller)
		seller.Index++
		seller.Key = hexKeyOf(7000)
	}
	r.store = old
	r.copied()
	for _, msg := range takes {
		r.receive(msg)
		r.settle()
	}
	if got := r.trade(ids[1]).Status; got == message.TradePending {
		t.Error("the second order is pending again although its hold is paid")
	}
}

// The store and the rollback guard are restored from one backup, and the log is current. Only
// a release happened after the backup. The log reveals the backup, because it holds newer own
// events of the trade than the store.
func TestAttackCopyWithItsWitness(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	trouble := &troubledNode{testNode: w.node}
	w.ln = farTrouble{trouble, 30 * time.Millisecond}
	w.start()
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	id := w.toFiatSent(seller, buyer)
	_ = w.stop()
	copyOf, witness := filepath.Join(w.dir, "copy"), filepath.Join(w.dir, "escrow.witness")
	remembered, err := os.ReadFile(witness)
	if err := errors.Join(err, os.CopyFS(copyOf, os.DirFS(filepath.Join(w.dir, "escrow")))); err != nil {
		t.Fatal(err)
	}
	w.start()
	seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
	w.until(id, message.TradeSuccess)
	_ = w.stop()
	if err := errors.Join(os.RemoveAll(filepath.Join(w.dir, "escrow")), os.Rename(copyOf, filepath.Join(w.dir, "escrow")), os.WriteFile(witness, remembered, 0o600)); err != nil {
		t.Fatal(err)
	}
	w.start()
	for deadline := time.Now().Add(20 * time.Second); !w.heard(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log is not replayed")
		}
	}
	w.quiet()
	w.node.with(func(n *simNode) {
		if n.paidMsat > n.settledMsat || len(n.pays) != 1 {
			t.Errorf("%d payments, %d msat paid, %d msat settled", len(n.pays), n.paidMsat, n.settledMsat)
		}
	})
}

// The backup was made while a take waited for the probe of its address.
func TestAttackCopyOfAWaitingProbe(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	r.hold[trade.FxProbe] = true
	take := r.message(buyer, message.ActionTakeSell, &id, message.PaymentRequest{Invoice: id.String() + "@home"})
	r.receive(take)
	old := r.store.clone()
	clear(r.hold)
	r.settle()
	r.pays(seller)
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.store = old
	r.node.now += 600
	r.copied()
	r.receive(take)
	r.settle()
	if got := r.trade(id).Status; got == message.TradePending {
		t.Error("the order is pending again although its hold is paid and its fiat is sent")
	}
}

// A message waited for the probe of its address when this program replaced an older one. The
// row of the older program has no start time.
func TestAttackProbeOfAnOlderProgram(t *testing.T) {
	o := newOutbox(effect.Runner{Addresses: newTestNode()}, nil, nil, func(context.Context, notice) error { return nil })
	n, err := o.do(t.Context(), OutboxRow{ID: 1, Effect: trade.Effect{Kind: trade.FxProbe, Text: "a@home"}, Inbound: &InboundMessage{}}, 0)
	if err != nil || n.reachable == nil || !*n.reachable {
		t.Error("an address that answers is refused, because the row of an older program has no start time")
	}
}

// A message with any content causes no panic, and a replay of the journal makes the same
// decisions.
func TestAttackAnyMessageReplays(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	atoms := []string{`null`, `0`, `1`, `-1`, `100`, `9223372036854775807`, `-9223372036854775808`, `1e3`, `1.5`, `""`, `" "`, `"EUR"`, `"sell"`, `"buy"`, `"\u0000\ud800<>&\u2028"`, "\"\xff\xfe\"", `[]`, `{}`, `true`, `"a@home"`, `"pending"`}
	pick := func(common ...string) string {
		if rng.IntN(6) == 0 {
			return atoms[rng.IntN(len(atoms))]
		}
		return common[rng.IntN(len(common))]
	}
	accepted, tried := 0, 0
	r := newRig(t)
	r.hold[trade.FxPay] = true
	maker, taker := r.someone(), r.someone()
	messages := 8_000
	if testing.Short() { // one goroutine, so the race detector finds nothing here
		messages = 800
	}
	for range messages {
		var id trade.OrderID
		for x := range r.book.open {
			if id = x; rng.IntN(3) == 0 {
				break
			}
		}
		order := fmt.Sprintf(`{"order":{"kind":%s,"amount":%s,"fiat_code":%s,"min_amount":%s,"max_amount":%s,"fiat_amount":%s,"payment_method":%s,"premium":%s,"expires_at":%s,"buyer_invoice":%s}}`,
			pick(`"sell"`, `"buy"`), pick(`100000`, `0`), pick(`"EUR"`), pick(`null`, `null`, `10`), pick(`null`, `null`, `500`), pick(`100`), pick(`"SEPA"`), pick(`0`, `3`), pick(`null`, fmt.Sprint(r.node.now+90000)), pick(`null`, `"a@home"`))
		hash := fmt.Sprintf("%064x", rng.Uint64())
		msat := int64(99_700_000)
		if x := r.book.open[id]; x != nil {
			msat = x.PayoutSats() * 1000
		}
		invoice := fmt.Sprintf(`"lnsim:%s:%d:%d:%s"`, hash, msat, r.node.now+90000, id)
		payload := pick(order, fmt.Sprintf(`{"payment_request":[null,%s,%s]}`, pick(invoice, `"a@home"`), pick(`null`, `100`)), fmt.Sprintf(`{"amount":%s}`, pick(`100`)), fmt.Sprintf(`{"next_trade":[%q,%s]}`, hexKeyOf(900+rng.IntN(20)), pick(`4`)), `null`)
		action := pick(`"new-order"`, `"take-sell"`, `"take-buy"`, `"add-invoice"`, `"fiat-sent"`, `"release"`, `"cancel"`, `"dispute"`, `"trade-pubkey"`, `"orders"`, `"restore-session"`)
		if action == `"new-order"` {
			payload = order
		}
		raw := fmt.Sprintf(`{"order":{"version":%s,"request_id":%s,"trade_index":%s,"id":%s,"action":%s,"payload":%s}}`,
			pick(`1`, `2`), pick(`null`, `7`, `18446744073709551615`), pick(`1`, fmt.Sprint(rng.IntN(100000))), pick(fmt.Sprintf("%q", id)), action, payload)
		m, err := message.ParseMessage([]byte(raw))
		if err != nil {
			continue
		}
		tried++
		from := maker
		if rng.IntN(2) == 0 {
			from = taker
		}
		if rng.IntN(4) == 0 {
			from.Identity = from.Key
		}
		msg := r.message(from, m.Action, m.ID, m.Payload)
		msg.Message = trade.Outgoing{Message: m}
		if r.receive(msg) == "" {
			accepted++
		}
		if rng.IntN(3) == 0 {
			for _, hold := range r.node.holds {
				r.node.pay(hold.state.Hash)
			}
			clear(r.mail)
			r.settle()
		}
		if rng.IntN(50) == 0 {
			r.pass(1000)
		}
		if rng.IntN(300) == 0 {
			maker, taker = r.someone(), r.someone()
		}
	}
	rows := 0
	for id, list := range r.store.journal {
		var again trade.Trade
		for n, in := range list {
			b, err := trade.Encode(in)
			if err != nil {
				t.Fatalf("%s row %d: %v", id, n, err)
			}
			var back trade.Input
			if err := json.Unmarshal(b, &back); err != nil {
				t.Fatalf("%s row %d: %v: %s", id, n, err, b)
			}
			if again, _, err = trade.Step(again, back); err != nil {
				t.Fatalf("%s row %d: %v: %s", id, n, err, b)
			}
			rows++
		}
		b, _ := trade.Encode(r.store.trades[id])
		var kept trade.Trade
		if err := json.Unmarshal(b, &kept); err != nil || !reflect.DeepEqual(again, kept) {
			t.Fatalf("%s differs from the replay of its journal: %v\n%+v\n%+v", id, err, again, kept)
		}
	}
	t.Logf("%d messages, %d accepted, %d trades, %d rows", tried, accepted, len(r.store.journal), rows)
}

// A trade of a restored backup returns to the book. The doubt does not apply to its next
// taker: if the maker lets the time pass, the maker loses the order and the taker gets the
// sats back.
func TestAttackDoubtStaysWithTheNextTaker(t *testing.T) {
	r := newRig(t)
	maker, first, second := r.someone(), r.someone(), r.someone()
	id := r.order(maker, message.SmallOrder{Kind: mostro.SideBuy})
	r.must(first, message.ActionTakeBuy, &id, nil)
	r.copied()
	r.must(first, message.ActionCancel, &id, nil)
	r.must(second, message.ActionTakeBuy, &id, nil)
	h := r.pays(second)
	r.status(message.TradeWaitingBuyerInvoice, id)
	r.pass(r.policy.Terms.WaitSeconds + 1)
	if got := r.trade(id); got.Frozen || r.node.holds[h].state.Phase == trade.HoldAccepted {
		t.Errorf("the second taker's sats stay held although the maker named no invoice: %s, frozen %v", got.Status, got.Frozen)
	}
}

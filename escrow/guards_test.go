package escrow

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/nodecard"
	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Each test of this file covers one guard that no other test covered when the guards were
// removed one by one.

// A payer may choose a shorter time lock than usual. The hold is then safe until its own
// expiry height, not for a time since it was accepted.
func TestSafeUntilFollowsTheExpiryHeight(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, nil)
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	h := r.trade(id).Hash
	if !r.node.pay(h) {
		t.Fatal("unpaid")
	}
	r.node.holds[h].state.ExpiryHeight = r.node.height + 100
	r.settle()
	r.status(message.TradeActive, id)
	want := r.node.now + int64(100-marginBlocks(r.policy.Terms))*trade.BlockSeconds
	if got := r.trade(id); got.SafeUntil != want || got.Deadline != r.node.now+(want-r.node.now)/2 {
		t.Errorf("the hold is safe for %d s and checked in %d s, want %d and half of that", got.SafeUntil-r.node.now, got.Deadline-r.node.now, want-r.node.now)
	}
}

// A hold that was long enough when it was accepted may be too short when the buyer names an
// invoice.
func TestInvoiceForAHoldThatIsTooShort(t *testing.T) {
	r := newRig(t)
	buyer, seller := r.someone(), r.someone()
	id := r.order(buyer, message.SmallOrder{Kind: mostro.SideBuy})
	r.must(seller, message.ActionTakeBuy, &id, nil)
	h := r.trade(id).Hash
	if !r.node.pay(h) {
		t.Fatal("unpaid")
	}
	terms := r.policy.Terms
	r.node.holds[h].state.ExpiryHeight = r.node.height + marginBlocks(terms) + leastBlocks(terms)
	r.settle()
	r.status(message.TradeWaitingBuyerInvoice, id)
	r.node.now += trade.BlockSeconds
	r.node.height++
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	r.status(message.TradePending, id)
	if got := r.node.holds[h].state.Phase; got != trade.HoldCanceled {
		t.Errorf("the hold is %s", got)
	}
}

func TestFrozenTradeWaitsWithItsHold(t *testing.T) {
	for _, kind := range []trade.InputKind{trade.InHoldMade, trade.InHoldRefused} {
		r := newRig(t)
		seller, buyer := r.someone(), r.someone()
		id := r.order(seller, message.SmallOrder{})
		r.must(buyer, message.ActionTakeSell, &id, nil)
		r.hold[trade.FxCreateHold] = true
		r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
		r.applyInput(id, trade.Input{Kind: trade.InUncommitted})
		r.applyInput(id, trade.Input{Kind: kind, Hash: r.trade(id).Hash, Bolt11: "lnsim"})
		r.commit()
		if got := r.trade(id); got.HoldInvoice != "" || got.Status != message.TradeWaitingPayment || !got.Frozen {
			t.Errorf("%s: the frozen trade is %s, its invoice %q", kind, got.Status, got.HoldInvoice)
		}
	}
}

// The buyer of a frozen trade gets no notice of an attempt that does not come, and no attempt
// is scheduled.
func TestFrozenPaymentFails(t *testing.T) {
	r := newRig(t)
	id, _, buyer := r.toSettled()
	p := r.trade(id).Payout
	r.applyInput(id, trade.Input{Kind: trade.InUncommitted})
	r.node.resolve(p.Hash, false)
	r.applyInput(id, effect.PaymentInput(p.Hash, p.Attempt, r.node.pays[p.Hash].state))
	r.commit()
	r.settle()
	if got := r.trade(id); r.got(buyer, message.ActionPaymentFailed) != 0 || got.Deadline < r.node.now+24*3600 {
		t.Errorf("notified %d times, next check in %d s", r.got(buyer, message.ActionPaymentFailed), got.Deadline-r.node.now)
	}
}

// The hash of a hold stays claimed after its trade is over.
func TestPayoutHashIsNoHoldOfATradeThatIsOver(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	over := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &over, nil)
	r.must(buyer, message.ActionAddInvoice, &over, r.bolt11(over))
	h := r.trade(over).Hash
	r.must(seller, message.ActionCancel, &over, nil)
	if got := r.trade(over); !got.Over() {
		t.Fatal("the trade is not over:", got.Status)
	}
	id, other := r.order(r.someone(), message.SmallOrder{}), r.someone()
	r.must(other, message.ActionTakeSell, &id, nil)
	r.refused(message.ReasonInvalidInvoice, other, message.ActionAddInvoice, &id, message.PaymentRequest{Invoice: simInvoice(h, 99_700_000, r.node.now+7200, id.String())})
}

// An invoice of the lost period that has another price is not shown.
func TestHoldOfAnotherAmountIsNotShown(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, nil)
	r.hold[trade.FxCreateHold] = true
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	got := r.trade(id)
	if _, err := r.node.CreateHold(t.Context(), lightning.HoldRequest{Hash: got.Hash, AmountSats: got.LockSats() + 1, CLTVBlocks: 144, Expiry: time.Hour}); err != nil {
		t.Fatal(err)
	}
	delete(r.hold, trade.FxCreateHold)
	r.settle()
	r.status(message.TradePending, id)
	if r.got(seller, message.ActionPayInvoice) != 0 {
		t.Error("the seller was shown an invoice of another amount")
	}
}

// refusingHolds refuses every hold with an unknown text.
type refusingHolds struct{ *simNode }

func (refusingHolds) CreateHold(context.Context, lightning.HoldRequest) (string, error) {
	return "", fmt.Errorf("add invoice: %w: no space left on device", lightning.ErrRefused)
}

// lateRefusal registers a payment and then refuses the payment.
type lateRefusal struct{ *simNode }

func (n lateRefusal) Pay(ctx context.Context, p lightning.Payment) error {
	if err := n.simNode.Pay(ctx, p); err != nil {
		return err
	}
	return lightning.ErrRefused
}

func TestUnknownRefusalsOfAHold(t *testing.T) {
	r := effect.Runner{Node: refusingHolds{newSimNode(nil, 0)}}
	for n := range effect.RefusalsBelieved {
		if _, err := r.Do(t.Context(), trade.Effect{Kind: trade.FxCreateHold}, n); !errors.Is(err, lightning.ErrRefused) {
			t.Fatalf("refusal %d: %v", n, err)
		}
	}
	if res, err := r.Do(t.Context(), trade.Effect{Kind: trade.FxCreateHold}, effect.RefusalsBelieved); err != nil || res.Input.Kind != trade.InHoldRefused {
		t.Fatal(res.Input.Kind, err)
	}
}

func TestRefusedPaymentIsLookedUp(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.hold[trade.FxPay] = true
	r.must(seller, message.ActionRelease, &id, nil)
	for _, n := range r.store.rows {
		if row := r.store.outbox[n]; row.Effect.Kind == trade.FxPay {
			res, err := effect.Runner{Node: lateRefusal{r.node}}.Do(t.Context(), row.Effect, effect.RefusalsBelieved)
			if err != nil || res.Input.Kind != trade.InPaySent {
				t.Errorf("a payment in flight is reported as %s, %v", res.Input.Kind, err)
			}
		}
	}
	clear(r.hold)
	r.settle()
}

// The outbox counts consecutive refusals, and another error resets the count.
func TestOutboxCountsRefusals(t *testing.T) {
	node := &faultyNode{simNode: newSimNode(nil, 0), err: lightning.ErrRefused}
	o := newOutbox(effect.Runner{Node: node}, nil, nil, nil)
	q := &laneQueue{key: laneKey{lane: laneNode}, rows: []OutboxRow{{Effect: trade.Effect{Kind: trade.FxCreateHold}}}}
	for n := 1; n <= 3; n++ {
		if o.serve(t.Context(), q); q.refusals != n {
			t.Fatalf("the outbox counted %d refusals, want %d", q.refusals, n)
		}
	}
	node.err = lightning.ErrUnavailable
	if o.serve(t.Context(), q); q.refusals != 0 || q.failures != 4 {
		t.Errorf("the outbox counted %d refusals and %d failures", q.refusals, q.failures)
	}
}

type faultyNode struct {
	*simNode
	err error
}

func (n *faultyNode) CreateHold(context.Context, lightning.HoldRequest) (string, error) {
	return "", n.err
}

func TestDoubtfulTradeIsNotTimedOut(t *testing.T) {
	r := newRig(t)
	buyer, seller := r.someone(), r.someone()
	id := r.order(buyer, message.SmallOrder{Kind: mostro.SideBuy})
	r.must(seller, message.ActionTakeBuy, &id, nil)
	r.pays(seller)
	r.status(message.TradeWaitingBuyerInvoice, id)
	r.applyInput(id, trade.Input{Kind: trade.InReconcile})
	r.commit()
	r.pass(1000)
	if got := r.trade(id); !got.Frozen || r.node.holds[got.Hash].state.Phase != trade.HoldAccepted {
		t.Errorf("it is %s, frozen %v", got.Status, got.Frozen)
	}
}

func TestReconcilingTakesNoOrder(t *testing.T) {
	r := newRig(t)
	r.book.Reconciling = true
	order := &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 100_000, FiatCode: "EUR", FiatAmount: 100, PaymentMethod: "SEPA"}
	r.refused(message.ReasonNotAllowedByStatus, r.someone(), message.ActionNewOrder, nil, order)
}

func TestProbesInAll(t *testing.T) {
	s := newProbes()
	for i := range probesInAll {
		s.add(probe{sender: fmt.Sprint(i), site: fmt.Sprint(i)})
	}
	if s.room(probe{sender: "another", site: "another"}) {
		t.Errorf("%d messages wait, but one more was accepted", probesInAll)
	}
}

// slowMints blocks every mint until it is released.
type slowMints struct {
	noAddresses
	began atomic.Int64
	let   chan struct{}
}

func (s *slowMints) Mint(context.Context, string, int64) (string, error) {
	s.began.Add(1)
	<-s.let
	return "", errors.New("slow")
}

// Mints of one site use no more than their share of the workers, as probes do.
func TestMintsHaveTheirShare(t *testing.T) {
	addrs := &slowMints{let: make(chan struct{})}
	told := make(chan struct{}, 20)
	o := newOutbox(effect.Runner{Node: newSimNode(nil, 0), Addresses: addrs}, nil, nil, func(context.Context, notice) error { told <- struct{}{}; return nil })
	var rows []OutboxRow
	for i := range 20 {
		rows = append(rows, OutboxRow{ID: uint64(i + 1), Trade: trade.OrderID{byte(i + 1)}, Effect: trade.Effect{Kind: trade.FxMint, Text: fmt.Sprintf("a@host%d.tarpit.example", i)}})
	}
	o.add(append(rows, OutboxRow{ID: 100, Trade: trade.OrderID{200}, Effect: trade.Effect{Kind: trade.FxCancel}}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { o.run(ctx); close(ended) }()
	<-told // the call of the node
	for deadline := time.Now().Add(10 * time.Second); addrs.began.Load() < siteWorkers && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := addrs.began.Load(); n != siteWorkers {
		t.Errorf("%d mints of one site are running, want %d", n, siteWorkers)
	}
	close(addrs.let)
	cancel()
	<-ended
}

// quietSealer returns an empty gift wrap for every message.
type quietSealer struct{}

func (quietSealer) Seal(context.Context, trade.Party, message.Message, time.Time) (*nostr.Event, error) {
	return &nostr.Event{Kind: mostro.KindGiftWrap}, nil
}

func (quietSealer) Sign(*nostr.Event) error { return nil }

// emptyLog is a log without entries.
type emptyLog struct{}

func (emptyLog) Read(context.Context, uint64, func(mostro.Entry) error) error { return nil }
func (emptyLog) Wait(ctx context.Context, _ uint64) error                     { <-ctx.Done(); return ctx.Err() }
func (emptyLog) Head() uint64                                                 { return 1 << 40 }

// engineOn opens an engine on the store of a rig, and does not run the engine.
func engineOn(t *testing.T, r *rig, reconcile bool) *Engine {
	t.Helper()
	cfg := Config{
		Policy: r.policy, Store: r.store, Log: emptyLog{}, Node: r.node, Addresses: r.node, Sealer: quietSealer{}, Signer: quietSealer{},
		Prefilter: new(Prefilter), Secret: trade.NodeSecret{1}, Decode: simDecode, Quote: r.book.Quote, Reconcile: reconcile,
		RollbackGuard: &rollback.Guard{Path: filepath.Join(t.TempDir(), "witness")}, Now: func() time.Time { return time.Unix(r.node.now, 0) },
	}
	if !reconcile {
		head, _ := r.store.Head()
		if err := cfg.RollbackGuard.Store(head.Commits); err != nil {
			t.Fatal(err)
		}
	}
	e, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.watches = newWatches(e.Node, e.send)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); e.watches.stop() })
	if err := e.wake(ctx); err != nil {
		t.Fatal(err)
	}
	return e
}

// The rows of a frozen trade that call the node wait for the operator across a restart.
func TestRowsOfAFrozenTradeWait(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.hold[trade.FxSettle] = true
	r.must(seller, message.ActionRelease, &id, nil)
	r.applyInput(id, trade.Input{Kind: trade.InUncommitted})
	r.commit()
	e := engineOn(t, r, false)
	if n := e.outbox.depth()[laneNode]; n != 0 {
		t.Fatalf("%d calls for a frozen trade are queued", n)
	}
	if err := e.book.ApplyInput(id, trade.Input{At: r.node.now, Kind: trade.InResume}); err != nil {
		t.Fatal(err)
	}
	if err := e.commit(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if n := e.outbox.depth()[laneNode]; n != 1 {
		t.Errorf("%d calls are queued after the operator's command, want 1", n)
	}
}

// If the payout of a frozen trade turns out to be made, its last call of the node is no longer
// held back. The row stayed in the store until a restart otherwise.
func TestRowsOfAFrozenTradeThatIsOver(t *testing.T) {
	r := newRig(t)
	id, _, _ := r.toSettled()
	r.hold[trade.FxTrack] = true
	for n := 0; !slices.ContainsFunc(r.store.rows, func(row uint64) bool { return r.store.outbox[row].Effect.Kind == trade.FxTrack }); n++ {
		if n > 100 {
			t.Fatal("the payout is never tracked")
		}
		r.pass(60)
	}
	r.applyInput(id, trade.Input{Kind: trade.InUncommitted})
	r.commit()
	e := engineOn(t, r, false)
	p := r.trade(id).Payout
	if err := e.book.ApplyInput(id, trade.Input{At: r.node.now, Kind: trade.InPayment, Hash: p.Hash, Attempt: p.Attempt, Payment: trade.Result{Status: trade.PaymentSucceeded}}); err != nil {
		t.Fatal(err)
	}
	if err := e.commit(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if n := e.outbox.depth()[laneNode]; n != 1 || r.trade(id).Status != message.TradeSuccess {
		t.Errorf("the trade is %s, and %d calls are queued, want 1", r.trade(id).Status, n)
	}
}

// While an older copy is compared, no call that moves money reaches the node, and the
// rollback guard keeps its value.
func TestCopyTellsTheNodeNothing(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.hold[trade.FxSettle] = true
	r.must(seller, message.ActionRelease, &id, nil)
	e := engineOn(t, r, true)
	e.outbox.mu.Lock()
	q := e.outbox.pick(laneNode, e.outbox.ready[laneNode])
	e.outbox.mu.Unlock()
	if q != nil {
		t.Errorf("%s is queued before the hash is looked up", q.rows[0].Effect.Kind)
	}
	if _, known, err := e.RollbackGuard.Load(); known || err != nil {
		t.Errorf("the rollback guard follows an older copy: %v, %v", known, err)
	}
}

// A batch ends when its size reaches the limit.
func TestTurnIsBounded(t *testing.T) {
	r := newRig(t)
	e := engineOn(t, r, false)
	if state := e.Card.Ask(t.Context(), r.node, 0, nil); state.Problem != nodecard.Usable {
		t.Fatal(state)
	}
	var batch []notice
	for i := range 200 {
		p := r.someone()
		var h trade.Hash
		h[0], h[1] = byte(i), 1
		text := simLongInvoice(h, 0, r.node.now+86400, trade.OrderID{1}.String())
		msg := r.message(p, message.ActionNewOrder, nil, &message.SmallOrder{
			Kind: mostro.SideBuy, AmountSats: 100_000, FiatCode: "EUR", FiatAmount: 100, PaymentMethod: "SEPA", BuyerInvoice: &text,
		})
		batch = append(batch, notice{message: &msg, seq: uint64(i + 1)})
	}
	n, err := e.decideSome(t.Context(), batch)
	if err != nil || n == 0 || n == len(batch) {
		t.Errorf("a batch took %d of %d messages of 7 KiB: %v", n, len(batch), err)
	}
	r.start()
}

// The size of a batch is not underestimated. Long invoices are part of the trade, the journal
// and the answer.
func TestSizeOfATurn(t *testing.T) {
	r := newRig(t)
	for i := range 20 {
		text := simLongInvoice(trade.Hash{byte(i), 1}, 0, r.node.now+86400, trade.OrderID{1}.String())
		msg := r.message(r.someone(), message.ActionNewOrder, nil, &message.SmallOrder{
			Kind: mostro.SideBuy, AmountSats: 100_000, FiatCode: "EUR", FiatAmount: 100, PaymentMethod: "SEPA", BuyerInvoice: &text,
		})
		if outcome, err := r.book.Receive(msg, r.node.now); outcome != "" || err != nil {
			t.Fatal(outcome, err)
		}
	}
	estimate, size := r.book.Bytes(), 0
	c := r.book.Take()
	for _, v := range []any{c.Trades, c.Journal, c.Outbox} {
		b, err := trade.Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		size += len(b)
	}
	if size > estimate || estimate > 10*size {
		t.Errorf("a batch of %d bytes is estimated at %d", size, estimate)
	}
	r.start()
}

// askedAddresses counts the probes of addresses.
type askedAddresses struct {
	noAddresses
	n int
}

func (a *askedAddresses) Probe(context.Context, string) error { a.n++; return nil }

func TestStaleProbeIsNotAsked(t *testing.T) {
	addrs := new(askedAddresses)
	o := newOutbox(effect.Runner{Addresses: addrs}, nil, nil, nil)
	row := OutboxRow{ID: 1, Effect: trade.Effect{Kind: trade.FxProbe, Text: "a@b.example"}, Inbound: &InboundMessage{ProbedAt: time.Now().Unix() - probeSeconds - 2}}
	n, err := o.do(t.Context(), row, 0)
	if err != nil || addrs.n != 0 || n.reachable == nil || *n.reachable {
		t.Errorf("asked %d times, %+v, %v", addrs.n, n, err)
	}
}

// quietPublisher discards every event.
type quietPublisher struct{}

func (quietPublisher) Publish(context.Context, *nostr.Event) error { return nil }

// A hold that is settled although no release was journaled freezes its trade.
func TestSettledWithoutARelease(t *testing.T) {
	r := newRig(t)
	id, _, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.applyInput(id, trade.Input{Kind: trade.InHold, Hash: r.trade(id).Hash, Hold: trade.Hold{Phase: trade.HoldSettled}})
	r.commit()
	r.settle()
	if got := r.trade(id); !got.Frozen || got.Status != message.TradeFiatSent || len(r.node.pays) != 0 {
		t.Errorf("it is %s, frozen %v, with %d payments", got.Status, got.Frozen, len(r.node.pays))
	}
}

// readLog signals when it is read.
type readLog struct {
	emptyLog
	read chan struct{} // has capacity 1
}

func (l readLog) Read(context.Context, uint64, func(mostro.Entry) error) error {
	select {
	case l.read <- struct{}{}:
	default:
	}
	return nil
}

// lateNode blocks every lookup until it is released.
type lateNode struct {
	*simNode
	asked chan struct{} // has capacity 1
	let   chan struct{}
}

func (n lateNode) LookupHold(ctx context.Context, h trade.Hash) (lightning.HoldState, error) {
	select {
	case n.asked <- struct{}{}:
	default:
	}
	<-n.let
	return n.simNode.LookupHold(ctx, h)
}

// No message is read until every open hash of an older copy is looked up.
func TestMessagesWaitForTheLookups(t *testing.T) {
	r := newRig(t)
	id, _, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	log, node := readLog{read: make(chan struct{}, 1)}, lateNode{r.node, make(chan struct{}, 1), make(chan struct{})}
	e, err := Open(Config{
		Policy: r.policy, Store: r.store, Log: log, Node: node, Addresses: r.node, Sealer: quietSealer{}, Signer: quietSealer{},
		Prefilter: new(Prefilter), Secret: trade.NodeSecret{1}, Decode: simDecode, Quote: r.book.Quote, Reconcile: true, Publisher: quietPublisher{},
		Now: func() time.Time { return time.Unix(1_790_000_000, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	<-node.asked
	select {
	case <-log.read:
		t.Error("the log was read before the hash was looked up")
	case <-time.After(100 * time.Millisecond):
	}
	close(node.let)
	select {
	case <-log.read:
	case <-time.After(10 * time.Second):
		t.Error("the log was never read")
	}
	cancel()
	<-ended
	r.start()
}

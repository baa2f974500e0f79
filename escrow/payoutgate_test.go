package escrow

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/payoutgate"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// toReleased returns a trade whose seller has released, paid out to an invoice of one payee.
func (r *rig) toReleased(payee byte) (id trade.OrderID, buyer trade.Party) {
	r.tb.Helper()
	seller, buyer := r.someone(), r.someone()
	id = r.order(seller, message.SmallOrder{})
	h := trade.Hash{0: 77, 5: payee}
	r.n++
	h[6], h[7] = byte(r.n), byte(r.n>>8)
	r.must(buyer, message.ActionTakeSell, &id, message.PaymentRequest{Invoice: simInvoice(h, 99_700_000, r.node.now+7200, id.String())})
	r.pays(seller)
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.must(seller, message.ActionRelease, &id, nil)
	return id, buyer
}

// payouts returns the number of payments that are no development fees.
func (r *rig) payouts() (n int) {
	for _, p := range r.node.pays {
		if !p.fee() {
			n++
		}
	}
	return n
}

// inFlight returns the number of payouts in flight. Payments of development fees have limits
// of their own.
func (r *rig) inFlight() (n int) {
	for _, h := range r.node.inFlight() {
		if !r.node.pays[h].fee() {
			n++
		}
	}
	return n
}

// A payout that finds no room waits and keeps its claim. It is sent once, after another payout
// has ended.
func TestPayoutsWait(t *testing.T) {
	for name, limits := range map[string]struct{ inAll, ofPayee, most int }{
		"in all": {2, 0, 2}, "of a payee": {0, 1, 1}, "no limit": {0, 0, 4}, "the smaller one": {3, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.gate = payoutgate.New(limits.inAll, limits.ofPayee)
			var ids []trade.OrderID
			for range 4 {
				id, _ := r.toReleased(1)
				ids = append(ids, id)
			}
			if got := r.inFlight(); got != limits.most {
				t.Fatalf("%d payouts are in flight, want %d", got, limits.most)
			}
			r.pass(600)
			if got := r.inFlight(); got != limits.most {
				t.Fatalf("%d payouts are in flight later, want %d", got, limits.most)
			}
			for _, id := range ids {
				if p := r.trade(id).Payout; p.Hash == (trade.Hash{}) || p.Failures != 0 || p.Attempt != 1 {
					t.Errorf("a payout does not wait: %+v", p)
				}
			}
			for len(ids) > 0 {
				var left []trade.OrderID
				for _, id := range ids {
					if !r.trade(id).Payout.Sent {
						left = append(left, id)
						continue
					}
					r.resolves(id, true)
					r.status(message.TradeSuccess, id)
				}
				if len(left) == len(ids) {
					t.Fatal("no payout is sent any more")
				}
				if ids = left; r.inFlight() > limits.most {
					t.Fatalf("%d payouts are in flight, want at most %d", r.inFlight(), limits.most)
				}
			}
			if payouts := r.payouts(); r.node.paidMsat != 4*99_700_000 || payouts != 4 {
				t.Errorf("paid %d msat with %d payouts", r.node.paidMsat, payouts)
			}
			if inFlight, waiting := r.gate.Numbers(); inFlight != 0 || waiting != 0 {
				t.Errorf("%d payouts count, and %d wait, after the last one", inFlight, waiting)
			}
		})
	}
}

// Another payee is not delayed by a payee whose payments are held.
func TestPayoutsOfAnotherPayee(t *testing.T) {
	r := newRig(t)
	r.gate = payoutgate.New(0, 2)
	for range 3 {
		r.toReleased(1)
	}
	id, _ := r.toReleased(2)
	if !r.trade(id).Payout.Sent || r.inFlight() != 3 {
		t.Errorf("%d in flight, %+v", r.inFlight(), r.trade(id).Payout)
	}
}

// A failed payout makes room, and a payout that the node has forgotten keeps its place.
func TestPayoutsThatFailMakeRoom(t *testing.T) {
	r := newRig(t)
	r.gate = payoutgate.New(1, 0)
	one, _ := r.toReleased(1)
	two, _ := r.toReleased(1)
	delete(r.node.pays, r.trade(one).Payout.Hash)
	r.pass(300) // the payment is unknown, and is sent again
	if !r.trade(one).Payout.Sent || r.trade(two).Payout.Sent {
		t.Fatal("the forgotten payout lost its place")
	}
	r.resolves(one, false)
	if !r.trade(two).Payout.Sent || r.trade(one).Payout.Sent {
		t.Errorf("%+v %+v", r.trade(one).Payout, r.trade(two).Payout)
	}
}

// After a restart the payouts that the store knows as sent count.
func TestPayoutsCountAfterARestart(t *testing.T) {
	r := newRig(t)
	r.gate = payoutgate.New(2, 2)
	for range 3 {
		r.toReleased(1)
	}
	r.start()
	r.gate = payoutgate.New(2, 2)
	for _, kept := range r.store.trades {
		r.gate.Sync(&kept, simPayee)
	}
	if r.settle(); r.inFlight() != 2 {
		t.Errorf("%d payouts are in flight after the restart", r.inFlight())
	}
}

// An invoice that expires while its payout waits does not count as a failure, and the buyer is
// asked for another one.
func TestInvoiceExpiresWhileThePayoutWaits(t *testing.T) {
	r := newRig(t)
	r.gate = payoutgate.New(1, 0)
	one, _ := r.toReleased(1)
	two, buyer := r.toReleased(1)
	r.pass(7300)
	r.resolves(one, true)
	if got := r.got(buyer, message.ActionAddInvoice); got != 1 || r.got(buyer, message.ActionPaymentFailed) != 0 {
		t.Errorf("%d requests for an invoice, %d failures", got, r.got(buyer, message.ActionPaymentFailed))
	}
	r.must(buyer, message.ActionAddInvoice, &two, r.bolt11(two))
	r.resolves(two, true)
	r.status(message.TradeSuccess, two)
}

// An address is not asked for an invoice before there is room, and an invoice of an address
// that expires while its payout waits is replaced without a failure.
func TestAddressWaitsForRoom(t *testing.T) {
	r := newRig(t)
	r.gate = payoutgate.New(1, 0)
	one, _ := r.toReleased(1)
	seller, buyer := r.someone(), r.someone()
	two := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &two, message.PaymentRequest{Invoice: two.String() + "@home"})
	r.pays(seller)
	r.must(buyer, message.ActionFiatSent, &two, nil)
	r.must(seller, message.ActionRelease, &two, nil)
	if p := r.trade(two).Payout; !p.Minting || p.Hash != (trade.Hash{}) {
		t.Fatalf("the address is not waited for: %+v", p)
	}
	// The invoice is minted, and another payout takes the room before it is paid.
	r.hold[trade.FxPay] = true
	r.resolves(one, true)
	if r.trade(two).Payout.Hash == (trade.Hash{}) {
		t.Fatal("the address was not asked")
	}
	if err := r.gate.Enter(outflowOf(9), trade.Hash{9}, "z"); err != nil {
		t.Fatal(err)
	}
	delete(r.hold, trade.FxPay)
	r.settle()
	r.pass(200) // the invoice of the address is valid for 120 s
	over := trade.Trade{ID: trade.OrderID{9}}
	r.gate.Sync(&over, simPayee)
	r.settle()
	if p := r.trade(two).Payout; p.Failures != 0 || r.got(buyer, message.ActionPaymentFailed) != 0 {
		t.Fatalf("the wait counts as a failure: %+v", p)
	}
	r.pass(60)
	r.resolves(two, true)
	r.status(message.TradeSuccess, two)
}

// The limits hold for any number of workers.
func TestPayoutGateRace(t *testing.T) {
	g := payoutgate.New(7, 3)
	var wg sync.WaitGroup
	var mu sync.Mutex
	entered := make(map[string]int)
	for i := range 60 {
		wg.Go(func() {
			payee := strings.Repeat("p", 1+i%6)
			err := g.Enter(outflowOf(byte(i+1)), trade.Hash{byte(i + 1)}, payee)
			if err != nil && !errors.Is(err, payoutgate.ErrWaits) {
				t.Error(err)
			}
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				entered[payee]++
				entered["all"]++
			}
		})
	}
	wg.Wait()
	if entered["all"] != 7 {
		t.Errorf("%d entered", entered["all"])
	}
	for payee, n := range entered {
		if payee != "all" && n > 3 {
			t.Errorf("%d of one payee entered", n)
		}
	}
	if inFlight, waiting := g.Numbers(); inFlight != 7 || waiting != 53 {
		t.Errorf("%d in flight, %d waiting", inFlight, waiting)
	}
}

// heldPays is a node whose payments stay in flight.
type heldPays struct{ *testNode }

func (n heldPays) Pay(ctx context.Context, p lightning.Payment) (err error) {
	n.with(func(s *simNode) { err = s.Pay(ctx, p) })
	return err
}

// The engine counts the payouts of its store after a restart, reports those that wait, and
// sends them after others have ended.
func TestEngineCountsPayouts(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	w.ln = heldPays{w.node}
	w.policy.MaxPayouts = 1
	w.start()
	release := func() trade.OrderID {
		seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
		id := w.toFiatSent(seller, buyer)
		seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
		w.until(id, message.TradeSettledHoldInvoice)
		return id
	}
	one := release()
	w.eventually("a payout in flight", func() bool { return w.trade(one).Payout.Sent })
	two := release()
	waits := func() bool { return strings.Contains(strings.Join(w.engine.Status().Warnings, ""), "1 payouts wait") }
	w.eventually("a payout that waits", waits)
	w.restart()
	w.eventually("a payout that waits after the restart", waits)
	if p := w.trade(two).Payout; p.Sent || p.Failures != 0 || p.Hash == (trade.Hash{}) && !p.Minting {
		t.Errorf("%+v", p)
	}
	for _, id := range []trade.OrderID{one, two} {
		w.eventually("a payout in flight", func() bool { return w.trade(id).Payout.Sent })
		w.node.with(func(n *simNode) { n.resolve(n.inFlight()[0], true) })
		w.until(id, message.TradeSuccess)
	}
	w.node.with(func(n *simNode) {
		if len(n.pays) != 2 {
			t.Errorf("%d payments", len(n.pays))
		}
	})
}

// A process ended between a payment and the record that it was sent. The next process counts
// the payment before it sends another one.
func TestPayoutGateSurvey(t *testing.T) {
	r := newRig(t)
	g := payoutgate.New(2, 0)
	g.SetClosed(true)
	if err := errors.Join(g.Enter(outflowOf(1), trade.Hash{1}, "a"), g.Room(outflowOf(2))); !errors.Is(err, payoutgate.ErrWaits) {
		t.Fatal("a payout enters a closed gate")
	}
	r.node.pays[trade.Hash{2}] = &simPay{state: lightning.PaymentState{Hash: trade.Hash{2}, Status: trade.PaymentInFlight}}
	r.node.pays[trade.Hash{3}] = &simPay{state: lightning.PaymentState{Hash: trade.Hash{3}, Status: trade.PaymentFailed}}
	row := func(n byte) OutboxRow {
		return OutboxRow{Trade: trade.OrderID{n}, Effect: trade.Effect{Kind: trade.FxPay, Hash: trade.Hash{n}}}
	}
	r.node.unlisted = true
	nobody := func(trade.Hash) (trade.OutflowKey, string, bool) { return trade.OutflowKey{}, "", false }
	if err := surveyPayouts(t.Context(), g, r.now(), []OutboxRow{row(1), row(2), row(3)}, nobody, r.node); !errors.Is(err, lightning.ErrPermission) {
		t.Error(err)
	}
	if n, _ := g.Numbers(); n != 1 {
		t.Errorf("%d payouts count", n)
	}
	if err := errors.Join(g.Enter(outflowOf(2), trade.Hash{2}, "a"), g.Enter(outflowOf(1), trade.Hash{1}, "a")); err != nil {
		t.Error(err)
	}
	if err := g.Enter(outflowOf(3), trade.Hash{3}, "a"); !errors.Is(err, payoutgate.ErrWaits) {
		t.Error("a third payout enters")
	}
}

// If the node lists its payments, the list is counted: also the payment of a frozen trade, whose
// row is withheld, and no payment that the store does not know.
func TestPayoutGateSurveyOfTheList(t *testing.T) {
	r := newRig(t)
	g := payoutgate.New(3, 0)
	g.SetClosed(true)
	for n, status := range map[byte]trade.PaymentStatus{1: trade.PaymentInFlight, 2: trade.PaymentInFlight, 3: trade.PaymentFailed, 4: trade.PaymentInFlight} {
		r.node.pays[trade.Hash{n}] = &simPay{state: lightning.PaymentState{Hash: trade.Hash{n}, Status: status}}
	}
	owner := func(h trade.Hash) (trade.OutflowKey, string, bool) { return outflowOf(h[0]), "a", h[0] != 4 }
	if err := surveyPayouts(t.Context(), g, r.now(), nil, owner, r.node); err != nil {
		t.Fatal(err)
	}
	if n, _ := g.Numbers(); n != 2 {
		t.Errorf("%d payouts count", n)
	}
	if err := g.Enter(outflowOf(5), trade.Hash{5}, "a"); err != nil {
		t.Error(err)
	}
	if err := g.Enter(outflowOf(6), trade.Hash{6}, "a"); !errors.Is(err, payoutgate.ErrWaits) {
		t.Error("a fourth payout enters")
	}
}

func outflowOf(n byte) trade.OutflowKey { return trade.OutflowKey{Trade: trade.OrderID{n}} }

func (r *rig) now() time.Time { return time.Unix(r.node.now, 0) }

// lostPay is a node that loses the answer of the first payment, and answers questions about that
// payment slowly.
type lostPay struct {
	heldPays
	first chan trade.Hash // capacity 1; the hash of the first payment
	known trade.Hash      // set before the second process
	slow  chan struct{}   // closed when a question about the first payment is answered
}

func (n *lostPay) Pay(ctx context.Context, p lightning.Payment) error {
	err := n.heldPays.Pay(ctx, p)
	select {
	case n.first <- simDecode(p.Bolt11).Hash:
		<-ctx.Done() // the process ends before it learns that the payment was sent
		return lightning.ErrUnavailable
	default:
		return err
	}
}

func (n *lostPay) TrackPayment(ctx context.Context, h trade.Hash) (lightning.PaymentState, error) {
	if h == n.known {
		select {
		case <-n.slow:
		case <-ctx.Done():
			return lightning.PaymentState{}, lightning.ErrUnavailable
		}
	}
	return n.heldPays.TrackPayment(ctx, h)
}

// A process ends while a payment is being sent. The next process counts that payment before it
// sends the payouts that wait.
func TestEngineSurveysPayouts(t *testing.T) {
	w := newWorld(t)
	_ = w.stop()
	node := &lostPay{heldPays: heldPays{w.node}, first: make(chan trade.Hash, 1), slow: make(chan struct{})}
	w.ln = node
	w.policy.MaxPayouts = 1
	w.start()
	for range 3 {
		seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
		id := w.toFiatSent(seller, buyer)
		seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
		w.until(id, message.TradeSettledHoldInvoice)
	}
	sent := func() (n int) { w.node.with(func(s *simNode) { n = len(s.pays) }); return n }
	waits := func() bool {
		return strings.Contains(strings.Join(w.engine.Status().Warnings, ""), "2 payouts wait")
	}
	w.eventually("a payment", func() bool { return sent() == 1 })
	_ = w.stop()
	node.known = <-node.first
	node.first <- node.known // no other payment is lost
	w.start()
	w.eventually("payouts that wait, or another payment", func() bool { return waits() || sent() > 1 })
	close(node.slow)
	w.eventually("payouts that wait behind the first", func() bool { inFlight, _ := w.engine.outbox.runner.Gate.Numbers(); return inFlight == 1 && waits() })
	if n := sent(); n != 1 {
		t.Errorf("%d payments were sent", n)
	}
}

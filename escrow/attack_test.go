package escrow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// This file holds the attacks on the decisions about a trade that the second audit found in
// November 2026. docs/security.md lists the attacks together with their former effects.

// fillers are texts whose JSON form is longer than the text.
var fillers = map[string]string{
	"plain":          "x",
	"HTML":           "<",
	"line separator": "\u2028",
	"control":        "\x01",
}

// large returns a new order with a field that Step does not read, as long as the inbox
// allows.
func large(fill string) *message.SmallOrder {
	for n := 15_000 / len(fill); ; n = n * 9 / 10 {
		junk := strings.Repeat(fill, n)
		o := &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 100_000, FiatCode: "EUR", FiatAmount: 100, PaymentMethod: "SEPA", BuyerTradePubkey: &junk}
		m := message.Message{Wrapper: message.WrapperOrder, Version: 2, Action: message.ActionNewOrder, Payload: o}
		if len(m.JSON()) < maxMessage-500 {
			return o
		}
	}
}

// A batch that reaches its limit of bytes fits into one transaction of the store, and the
// journal does not keep fields that a sender added.
func TestLargeMessagesFitATurn(t *testing.T) {
	for name, fill := range fillers {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name != "HTML" {
				t.Skip("short: one filler is enough")
			}
			db, err := openDB(t.TempDir(), false)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			r := newRig(t)
			b, err := NewTradeBook(db)
			if err != nil {
				t.Fatal(err)
			}
			b.Policy, b.Secret, b.Decode = r.policy, trade.NodeSecret{1}, simDecode
			b.OrderEvent = func(trade.Trade, *mostro.MakerRating) *nostr.Event { return &nostr.Event{Kind: mostro.KindOrder} }
			for i := range maxBatch {
				msg := r.message(r.someone(), message.ActionNewOrder, nil, large(fill))
				msg.ReplayID = fmt.Sprint(i)
				if got, err := b.Receive(msg, r.node.now); err != nil || got != "" {
					t.Fatal(got, err)
				}
			}
			c := b.Take()
			for _, row := range c.Journal {
				if b, _ := json.Marshal(&row.Input); len(b) > 4<<10 {
					t.Fatalf("the journal row has %d bytes", len(b))
				}
			}
			if err := db.Commit(c); err != nil {
				t.Error(err)
			}
		})
	}
}

// A request whose own fields are too long is refused. Names of payment methods that JSON
// escapes are accepted.
func TestLongRequestsAreRefused(t *testing.T) {
	r := newRig(t)
	for name, method := range map[string]string{"long": strings.Repeat("x", 513), "escaped to six times its size": strings.Repeat("\x01", 500)} {
		o := &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 100_000, FiatCode: "EUR", FiatAmount: 100, PaymentMethod: method}
		if got := r.say(r.someone(), message.ActionNewOrder, nil, o); got != string(message.ReasonInvalidParameters) {
			t.Errorf("%s: %q", name, got)
		}
	}
	long := strings.Repeat("l", trade.MaxInvoiceText+1)
	id := r.order(r.someone(), message.SmallOrder{})
	if got := r.say(r.someone(), message.ActionTakeSell, &id, message.PaymentRequest{Invoice: long}); got != string(message.ReasonInvalidParameters) {
		t.Errorf("invoice: %q", got)
	}
	r.settle()
	r.order(r.someone(), message.SmallOrder{PaymentMethod: strings.Repeat("<é>", 100)})
}

// slowAddresses blocks every probe until it is released.
type slowAddresses struct {
	noAddresses
	began atomic.Int64
	let   chan struct{}
}

func (s *slowAddresses) Probe(ctx context.Context, _ string) error {
	s.began.Add(1)
	select {
	case <-s.let:
	case <-ctx.Done():
	}
	return errors.New("slow")
}

// Addresses of strangers that never answer delay no settlement, and one site occupies no more
// than its share of the workers.
func TestProbesHoldNothingUp(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.hold[trade.FxSettle] = true
	r.must(seller, message.ActionRelease, &id, nil)
	text := func(s string) *string { return &s }
	probe := func(address string) string {
		p := r.someone()
		p.Identity = p.Key
		return r.say(p, message.ActionNewOrder, nil, &message.SmallOrder{Kind: mostro.SideBuy, AmountSats: 100_000, FiatCode: "EUR", FiatAmount: 100, PaymentMethod: "SEPA", BuyerInvoice: text(address)})
	}
	refused := 0
	for i := range 640 {
		if got := probe(fmt.Sprintf("a@host%d.tarpit.example", i)); got == string(message.ReasonTooManyRequests) {
			refused++
		} else if got != "" {
			t.Fatal(i, got)
		}
	}
	if refused != 640-probesPerSite {
		t.Errorf("%d of 640 messages were refused, want all but %d", refused, probesPerSite)
	}
	if got := probe("b@honest.example"); got != "" {
		t.Errorf("the probe of another site was refused: %q", got)
	}
	addrs := &slowAddresses{let: make(chan struct{})}
	settled, honest := make(chan struct{}), make(chan struct{}, 1)
	o := newOutbox(effect.Runner{Node: r.node, Addresses: addrs}, nil, nil, func(_ context.Context, n notice) error {
		if n.input.Kind == trade.InSettled {
			close(settled)
		}
		if n.address == "b@honest.example" {
			honest <- struct{}{}
		}
		return nil
	})
	o.clock = func() time.Time { return time.Unix(r.node.now, 0) }
	var rows []OutboxRow
	for _, row := range r.store.rows {
		if lane(r.store.outbox[row]) == laneProbe || lane(r.store.outbox[row]) == laneNode {
			rows = append(rows, r.store.outbox[row])
		}
	}
	o.add(rows)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { o.run(ctx); close(ended) }()
	select {
	case <-settled:
	case <-time.After(10 * time.Second):
		t.Fatal("the settlement waits for the addresses of strangers")
	}
	for deadline := time.Now().Add(10 * time.Second); addrs.began.Load() < siteWorkers+1 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := addrs.began.Load(); n != siteWorkers+1 {
		t.Errorf("%d addresses are being probed, want %d of the one site and one of the other", n, siteWorkers)
	}
	close(addrs.let)
	<-honest
	cancel()
	<-ended
	clear(r.store.outbox)
	r.store.rows = nil
	delete(r.hold, trade.FxSettle)
}

// Probes of a trade delay no call about its hold, and a sender has at most one probe.
func TestOneProbeForEachSenderAndTrade(t *testing.T) {
	r := newRig(t)
	maker, seller := r.someone(), r.someone()
	id := r.order(maker, message.SmallOrder{Kind: mostro.SideBuy})
	r.must(seller, message.ActionTakeBuy, &id, nil)
	r.pays(seller)
	r.status(message.TradeWaitingBuyerInvoice, id)
	r.hold[trade.FxProbe] = true
	slow := message.PaymentRequest{Invoice: "a@tarpit.example"}
	if got := r.say(maker, message.ActionAddInvoice, &id, slow); got != "" {
		t.Fatal(got)
	}
	for range 10 {
		if got := r.say(maker, message.ActionAddInvoice, &id, slow); got != string(message.ReasonTooManyRequests) {
			t.Fatalf("the second probe of one sender: %q", got)
		}
	}
	r.must(maker, message.ActionAddInvoice, &id, r.bolt11(id))
	r.status(message.TradeActive, id)
	_ = r.say(maker, message.ActionCancel, &id, nil)
	_ = r.say(seller, message.ActionCancel, &id, nil)
	for _, n := range r.store.rows {
		row := r.store.outbox[n]
		if row.Trade != id || row.Effect.Kind != trade.FxProbe && lane(row) != laneNode {
			continue
		}
		if row.Effect.Kind == trade.FxProbe && lane(row) == laneNode {
			t.Error("a probe is in the lane of the hold")
		}
	}
	delete(r.hold, trade.FxProbe)
	r.settle()
	r.status(message.TradeCooperativelyCanceled, id)
}

// A message whose address was probed too late starts nothing.
func TestStaleProbeBeginsNothing(t *testing.T) {
	r := newRig(t)
	id := r.order(r.someone(), message.SmallOrder{})
	buyer := r.someone()
	r.hold[trade.FxProbe] = true
	r.must(buyer, message.ActionTakeSell, &id, message.PaymentRequest{Invoice: id.String() + "@home"})
	r.pass(6 * 3600)
	delete(r.hold, trade.FxProbe)
	r.settle()
	r.status(message.TradePending, id)
	if c, ok := r.last(buyer, message.ActionCantDo).Payload.(message.CantDo); !ok || c.Reason != message.ReasonInvalidInvoice {
		t.Errorf("the sender received %+v", c)
	}
	r.must(buyer, message.ActionTakeSell, &id, message.PaymentRequest{Invoice: id.String() + "@home"})
	r.status(message.TradeWaitingPayment, id)
}

// The node accepted the hold long before the engine learned of it.
func TestHeldWhileDown(t *testing.T) {
	for _, hours := range []int64{1, 6, 11, 14, 16, 20} {
		t.Run(fmt.Sprint(hours, " hours"), func(t *testing.T) {
			r := newRig(t)
			seller, buyer := r.someone(), r.someone()
			id := r.order(seller, message.SmallOrder{})
			r.must(buyer, message.ActionTakeSell, &id, nil)
			r.must(buyer, message.ActionAddInvoice, &id, r.bolt11For(id, 99_700_000, 86400*3))
			h := r.trade(id).Hash
			if !r.node.pay(h) {
				t.Fatal("unpaid")
			}
			r.node.now += hours * 3600 // the program is down while the chain grows
			r.node.height += uint32(hours * 6)
			r.start()
			r.settle()
			left := int64(r.node.holds[h].state.ExpiryHeight) - int64(r.node.height) - int64(marginBlocks(r.policy.Terms))
			if left < int64(leastBlocks(r.policy.Terms)) {
				r.status(message.TradePending, id)
				if hold := r.node.holds[h]; hold.state.Phase != trade.HoldCanceled || !hold.byUs {
					t.Errorf("the hold is %[2]s with %[1]d blocks left above the margin", left, hold.state.Phase)
				}
				if r.got(seller, message.ActionHoldInvoicePaymentCanceled) != 1 || r.got(buyer, message.ActionCanceled) != 1 {
					t.Error("a party was not notified")
				}
				return
			}
			r.status(message.TradeActive, id)
			if got := r.trade(id).HeldAt; got > r.node.now-hours*3600+600 {
				t.Errorf("the stored hold time is %d s ago, the hold was accepted %d hours ago", r.node.now-got, hours)
			}
			r.must(buyer, message.ActionFiatSent, &id, nil)
			for r.node.holds[h].state.Phase == trade.HoldAccepted && r.trade(id).Status == message.TradeFiatSent {
				r.node.height++
				r.pass(600)
			}
			r.status(message.TradeDispute, id)
			if r.node.holds[h].state.Phase != trade.HoldAccepted {
				t.Error("the hold was canceled before a dispute was opened")
			}
		})
	}
}

// A taker who cancels before paying waits longer each time before the next order.
func TestTakersWhoCancelWait(t *testing.T) {
	for _, private := range []bool{true, false} {
		t.Run(fmt.Sprint("private ", private), func(t *testing.T) {
			r := newRig(t)
			maker, taker := r.someone(), r.someone()
			if private {
				taker.Identity = taker.Key
			}
			id := r.order(maker, message.SmallOrder{ExpiresAt: new(r.node.now + 14*86400)})
			for n, minutes := range []int64{1, 2, 4, 8, 16, 32, 60, 60} {
				r.must(taker, message.ActionTakeSell, &id, nil)
				r.must(taker, message.ActionCancel, &id, nil)
				taker.Index++
				if !private {
					taker.Key = hexKeyOf(5000 + n) // the throttle also applies to the identity
				}
				r.node.now += minutes*60 - 1
				r.refused(message.ReasonTooManyRequests, taker, message.ActionTakeSell, &id, nil)
				r.start() // the throttle survives a restart
				r.refused(message.ReasonTooManyRequests, taker, message.ActionTakeSell, &id, nil)
				r.node.now++
			}
			r.node.now += 86400
			r.book.throttles.forget(r.book.batch, r.node.now)
			r.commit()
			if len(r.store.throttles) != 0 {
				t.Error("a throttle outlived its end", r.store.throttles)
			}
			r.must(taker, message.ActionTakeSell, &id, nil)
			r.must(taker, message.ActionCancel, &id, nil)
			r.node.now += 60
			taker.Index++
			r.must(taker, message.ActionTakeSell, &id, nil)
		})
	}
	t.Run("a maker and a party with sats held do not wait", func(t *testing.T) {
		r := newRig(t)
		maker, seller := r.someone(), r.someone()
		id := r.order(maker, message.SmallOrder{Kind: mostro.SideBuy})
		r.must(seller, message.ActionTakeBuy, &id, nil)
		r.pays(seller)
		r.must(seller, message.ActionCancel, &id, nil)
		if len(r.store.throttles) != 0 {
			t.Error("a taker who had paid was throttled")
		}
		other := r.someone()
		r.must(other, message.ActionTakeBuy, &id, nil)
		r.must(maker, message.ActionCancel, &id, nil)
		if len(r.store.throttles) != 0 {
			t.Error("a maker was throttled")
		}
	})
}

// A frozen trade starts no call that moves money, for any result that arrives, and continues
// when the operator thaws the trade.
func TestFrozenMovesNothing(t *testing.T) {
	moves := func(r *rig) (list []trade.EffectKind) {
		for _, n := range r.store.rows {
			if k := r.store.outbox[n].Effect.Kind; r.store.outbox[n].moves() {
				list = append(list, k)
			}
		}
		return list
	}
	freeze := func(r *rig, id trade.OrderID) {
		r.applyInput(id, trade.Input{Kind: trade.InUncommitted})
		r.commit()
		if !r.trade(id).Frozen {
			t.Fatal("the trade is not frozen")
		}
	}
	t.Run("payment unknown to the node", func(t *testing.T) {
		r := newRig(t)
		id, _, _ := r.toSettled()
		p := r.trade(id).Payout
		delete(r.node.pays, p.Hash)
		freeze(r, id)
		r.applyInput(id, trade.Input{Kind: trade.InPayment, Hash: p.Hash, Attempt: p.Attempt, Payment: trade.Result{Status: trade.PaymentUnknown}})
		r.commit()
		if got := moves(r); len(got) != 0 {
			t.Fatalf("a frozen trade asks for %v", got)
		}
		r.applyInput(id, trade.Input{Kind: trade.InResume})
		r.commit()
		r.pass(1)
		r.resolves(id, true)
		r.status(message.TradeSuccess, id)
	})
	t.Run("an address answers", func(t *testing.T) {
		r := newRig(t)
		seller, buyer := r.someone(), r.someone()
		id := r.order(seller, message.SmallOrder{})
		r.must(buyer, message.ActionTakeSell, &id, message.PaymentRequest{Invoice: id.String() + "@home"})
		r.pays(seller)
		r.must(buyer, message.ActionFiatSent, &id, nil)
		r.hold[trade.FxMint] = true
		r.must(seller, message.ActionRelease, &id, nil)
		r.status(message.TradeSettledHoldInvoice, id)
		freeze(r, id)
		delete(r.hold, trade.FxMint)
		r.settle()
		if len(r.node.pays) != 0 || len(moves(r)) != 0 {
			t.Fatal("a frozen trade was paid out")
		}
		r.applyInput(id, trade.Input{Kind: trade.InResume})
		r.commit()
		r.pass(1)
		r.resolves(id, true)
		r.status(message.TradeSuccess, id)
	})
	t.Run("the hold is settled", func(t *testing.T) {
		r := newRig(t)
		id, seller, buyer := r.toActive()
		r.must(buyer, message.ActionFiatSent, &id, nil)
		r.hold[trade.FxSettle] = true
		r.must(seller, message.ActionRelease, &id, nil)
		freeze(r, id)
		delete(r.hold, trade.FxSettle)
		r.settle()
		r.status(message.TradeSettledHoldInvoice, id)
		if len(r.node.pays) != 0 || len(moves(r)) != 0 {
			t.Fatal("a frozen trade was paid out")
		}
		r.applyInput(id, trade.Input{Kind: trade.InResume})
		r.commit()
		r.pass(1)
		r.resolves(id, true)
		r.status(message.TradeSuccess, id)
	})
	t.Run("a payment fails", func(t *testing.T) {
		r := newRig(t)
		id, _, buyer := r.toSettled()
		freeze(r, id)
		p, before := r.trade(id).Payout, r.got(buyer, message.ActionAddInvoice)
		for range 3 {
			r.node.resolve(p.Hash, false)
			r.applyInput(id, effect.PaymentInput(p.Hash, p.Attempt, r.node.pays[p.Hash].state))
			r.commit()
		}
		if r.got(buyer, message.ActionAddInvoice) != before || len(moves(r)) != 0 {
			t.Error("a frozen trade asked its buyer for an invoice that the trade would refuse")
		}
	})
}

// An older copy of a trade is restored while the log and the node are current.
func TestCopyPaysNothingTwice(t *testing.T) {
	for _, address := range []bool{false, true} {
		for _, at := range []message.TradeStatus{message.TradeFiatSent, "settling", message.TradeSettledHoldInvoice} {
			t.Run(fmt.Sprint("address ", address, ", copy of ", at), func(t *testing.T) {
				r := newRig(t)
				seller, buyer := r.someone(), r.someone()
				id := r.order(seller, message.SmallOrder{})
				pay := r.bolt11For(id, 99_700_000, 7200)
				if address {
					pay = message.PaymentRequest{Invoice: id.String() + "@home"}
				}
				r.must(buyer, message.ActionTakeSell, &id, pay)
				r.pays(seller)
				r.must(buyer, message.ActionFiatSent, &id, nil)
				old := r.store.clone()
				release := r.message(seller, message.ActionRelease, &id, nil)
				r.receive(release)
				if at == "settling" {
					old = r.store.clone()
				}
				r.hold[trade.FxPay], r.hold[trade.FxMint] = true, true
				r.settle()
				if at == message.TradeSettledHoldInvoice {
					old = r.store.clone()
				}
				clear(r.hold)
				r.settle()
				r.resolves(id, true)
				r.status(message.TradeSuccess, id)
				paid := len(r.node.pays)

				r.store = old
				r.copied()
				r.receive(release)
				r.settle()
				for range 10 {
					r.pass(3600)
				}
				if len(r.node.pays) != paid || r.node.paidMsat > r.node.settledMsat {
					t.Errorf("%d payments, %d before; %d msat paid, %d msat settled", len(r.node.pays), paid, r.node.paidMsat, r.node.settledMsat)
				}
				if got := r.trade(id); !got.Frozen && got.Status != message.TradeSuccess {
					t.Errorf("the trade is %s after %q and not frozen", got.Status, got.Last)
				}
			})
		}
	}
	t.Run("a hold that is still accepted goes on by itself", func(t *testing.T) {
		r := newRig(t)
		id, seller, buyer := r.toActive()
		r.must(buyer, message.ActionFiatSent, &id, nil)
		r.copied()
		if got := r.trade(id); !got.Doubtful || !got.Sighted || got.Frozen {
			t.Fatalf("doubtful %v, sighted %v, frozen %v", got.Doubtful, got.Sighted, got.Frozen)
		}
		r.must(seller, message.ActionRelease, &id, nil)
		r.resolves(id, true)
		r.status(message.TradeSuccess, id)
	})
	t.Run("a hold that nobody has looked up is not settled", func(t *testing.T) {
		r := newRig(t)
		id, seller, buyer := r.toActive()
		r.must(buyer, message.ActionFiatSent, &id, nil)
		r.applyInput(id, trade.Input{Kind: trade.InReconcile})
		r.commit()
		if got := r.say(seller, message.ActionRelease, &id, nil); got != "" {
			t.Fatal(got)
		}
		if r.trade(id).Settling || !r.trade(id).Frozen {
			t.Error("the trade is being settled")
		}
		r.settle()
	})
}

// Messages that are replayed make the same trades as before.
func TestReadAgainIsTheSame(t *testing.T) {
	r := newRig(t)
	empty := r.store.clone()
	seller, buyer := r.someone(), r.someone()
	order := r.message(seller, message.ActionNewOrder, nil, &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 100_000, FiatCode: "EUR", FiatAmount: 100, PaymentMethod: "SEPA"})
	r.receive(order)
	r.settle()
	id := *r.last(seller, message.ActionNewOrder).ID
	take := r.message(buyer, message.ActionTakeSell, &id, r.bolt11For(id, 99_700_000, 7200))
	r.receive(take)
	r.settle()
	before := r.trade(id)

	r.store = empty
	r.node.now += 3600
	r.start()
	r.receive(order)
	r.receive(take)
	r.settle()
	after := r.trade(id)
	if after.Hash != before.Hash || after.Preimage != before.Preimage || after.Dispute.ID != before.Dispute.ID || len(r.node.holds) != 1 {
		t.Errorf("the replay made another trade: same hash %v, %d holds", after.Hash == before.Hash, len(r.node.holds))
	}
	if after.ExpiresAt != before.ExpiresAt {
		t.Errorf("the replay extended the order by %d s", after.ExpiresAt-before.ExpiresAt)
	}
	state, _ := r.node.LookupHold(t.Context(), after.Hash)
	if got, ok := (trade.NodeSecret{1}).Ours(state.Memo, state.Hash); !ok || got != id {
		t.Errorf("the memo of the node's invoice is not recognized: %q", state.Memo)
	}
	if got, ok := (trade.NodeSecret{2}).Ours(state.Memo, state.Hash); ok || got != (trade.OrderID{}) {
		t.Error("the secret of another node recognizes the memo of the invoice")
	}
}

func TestNextTradeNamesNoStrangersKey(t *testing.T) {
	r := newRig(t)
	_, victim, _ := r.toActive()
	id, seller, _ := r.rangeSell(50)
	r.refused(message.ReasonInvalidParameters, seller, message.ActionRelease, &id, message.NextTrade{Pubkey: victim.Key, Index: 7})
	// The same holds for a key that comes into use between the announcement and the
	// settlement.
	late := r.someone()
	r.hold[trade.FxSettle] = true
	r.must(seller, message.ActionRelease, &id, message.NextTrade{Pubkey: late.Key, Index: 7})
	r.order(late, message.SmallOrder{})
	before := len(r.mail[late.Key])
	delete(r.hold, trade.FxSettle)
	r.settle()
	if _, ok := r.child(id); ok || len(r.mail[late.Key]) != before {
		t.Error("the rest of the order was made under a key of another open trade")
	}
}

func TestConsentEndsWithFiatSent(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	r.must(buyer, message.ActionCancel, &id, nil)
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.must(seller, message.ActionCancel, &id, nil)
	r.status(message.TradeFiatSent, id)
	if r.node.refundedMsat != 0 {
		t.Error("the seller has both the sats and the fiat")
	}
	r.must(buyer, message.ActionCancel, &id, nil)
	r.status(message.TradeCooperativelyCanceled, id)

	id, seller, buyer = r.toActive()
	r.must(buyer, message.ActionCancel, &id, nil)
	r.must(buyer, message.ActionDispute, &id, nil)
	r.must(seller, message.ActionCancel, &id, nil)
	r.status(message.TradeDispute, id)
}

func TestSellersTimeBeginsWithTheInvoice(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, nil)
	r.hold[trade.FxCreateHold] = true
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	r.pass(895)
	delete(r.hold, trade.FxCreateHold)
	r.settle()
	r.pass(890)
	r.status(message.TradeWaitingPayment, id)
	r.pays(seller)
	r.status(message.TradeActive, id)
}

// An invoice that the node canceled before the seller received it is not shown.
func TestEndedHoldIsNotShown(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, nil)
	r.hold[trade.FxCreateHold] = true
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	for _, n := range r.store.rows {
		if row := r.store.outbox[n]; row.Effect.Kind == trade.FxCreateHold {
			_, _ = (effect.Runner{Node: r.node, Addresses: r.node}).Do(t.Context(), row.Effect, 0)
		}
	}
	r.node.now += 4000
	r.node.expire(func(trade.Hash) {})
	r.start()
	delete(r.hold, trade.FxCreateHold)
	r.settle()
	if r.got(seller, message.ActionPayInvoice) != 0 {
		t.Error("a cancelled hold was shown to the seller")
	}
	r.status(message.TradePending, id)
}

func TestRestartsDoNotPutOffForEver(t *testing.T) {
	r := newRig(t)
	id := r.order(r.someone(), message.SmallOrder{})
	r.must(r.someone(), message.ActionTakeSell, &id, nil)
	for range 12 { // 2,040 s in total
		r.node.now += 170
		r.start()
		r.pass(0)
	}
	r.status(message.TradePending, id)
}

// A payout never goes to a hash of one of our own hold invoices.
func TestPayoutHashIsNoHold(t *testing.T) {
	r := newRig(t)
	other, _, _ := r.toActive()
	for _, old := range []bool{false, true} {
		if old { // as in an older store, which claimed no holds
			clear(r.store.claims)
		}
		h := r.trade(other).Hash
		id := r.order(r.someone(), message.SmallOrder{})
		buyer := r.someone()
		r.must(buyer, message.ActionTakeSell, &id, nil)
		r.refused(message.ReasonInvalidInvoice, buyer, message.ActionAddInvoice, &id, message.PaymentRequest{Invoice: simInvoice(h, 99_700_000, r.node.now+7200, id.String())})
	}
	// The payout address of a trade returns the hash of its own hold.
	id := r.order(r.someone(), message.SmallOrder{})
	t2 := r.trade(id)
	buyer := r.someone()
	r.must(buyer, message.ActionTakeSell, &id, message.PaymentRequest{Invoice: id.String() + "@home"})
	r.pays(t2.Seller)
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.hold[trade.FxMint] = true
	r.must(t2.Seller, message.ActionRelease, &id, nil)
	own := r.trade(id).Hash
	r.applyInput(id, trade.Input{Kind: trade.InMinted, Attempt: r.trade(id).Payout.Attempt, Bolt11: simInvoice(own, 99_700_000, r.node.now+60, id.String())})
	r.commit()
	if r.trade(id).Payout.Hash == own {
		t.Error("the payout goes to the trade's own hold")
	}
	clear(r.hold)
	r.settle()
}

func TestPendingOrdersOfOneIdentity(t *testing.T) {
	r := newRig(t)
	maker := r.someone()
	order := func(i int) string {
		p := r.someone()
		p.Identity, p.Index = maker.Identity, int64(i+1)
		return r.say(p, message.ActionNewOrder, nil, &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 100_000, FiatCode: "EUR", FiatAmount: 100, PaymentMethod: "SEPA"})
	}
	for i := range 25 {
		want := ""
		if i >= 20 {
			want = string(message.ReasonTooManyRequests)
		}
		if got := order(i); got != want {
			t.Errorf("order %d: %q, want %q", i+1, got, want)
		}
	}
	r.settle()
}

func TestOrdersOfSeconds(t *testing.T) {
	r := newRig(t)
	for seconds, want := range map[int64]string{1: string(message.ReasonInvalidParameters), 599: string(message.ReasonInvalidParameters), 600: ""} {
		o := &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 100_000, FiatCode: "EUR", FiatAmount: 100, PaymentMethod: "SEPA", ExpiresAt: new(r.node.now + seconds)}
		if got := r.say(r.someone(), message.ActionNewOrder, nil, o); got != want {
			t.Errorf("%d seconds: %q, want %q", seconds, got, want)
		}
	}
	r.settle()
}

func TestEmptyInvoiceAtTake(t *testing.T) {
	r := newRig(t)
	for _, text := range []string{"", " "} {
		id := r.order(r.someone(), message.SmallOrder{})
		r.refused(message.ReasonInvalidInvoice, r.someone(), message.ActionTakeSell, &id, message.PaymentRequest{Invoice: text})
	}
}

// A clock that was ahead and then set right leaves no deadline too far in the future.
func TestClockSetBack(t *testing.T) {
	r := newRig(t)
	r.node.now += 86_400 // wrong at boot
	id, _, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	waiting := r.order(r.someone(), message.SmallOrder{})
	r.must(r.someone(), message.ActionTakeSell, &waiting, nil)
	r.node.now -= 86_400 // set right by NTP
	for _, one := range []trade.OrderID{id, waiting} {
		r.applyInput(one, trade.Input{Kind: trade.InClockBack})
	}
	r.commit()
	r.pass(0)
	if until := r.trade(id).SafeUntil; until > r.node.now+int64(r.policy.Terms.CLTVBlocks)*trade.BlockSeconds {
		t.Errorf("the hold counts as safe for %d s", until-r.node.now)
	}
	h := r.trade(id).Hash
	for r.node.holds[h].state.Phase == trade.HoldAccepted && r.trade(id).Status == message.TradeFiatSent {
		r.node.height++
		r.pass(600)
	}
	r.status(message.TradeDispute, id)
	r.status(message.TradePending, waiting)
}

// A hold is not settled if the payer could meanwhile claim the hold back on chain.
func TestSettleLooksAtTheExpiry(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.hold[trade.FxSettle] = true
	r.must(seller, message.ActionRelease, &id, nil)
	h := r.trade(id).Hash
	r.node.height = r.node.holds[h].state.ExpiryHeight - effect.LateBlocks
	delete(r.hold, trade.FxSettle)
	r.settle()
	if got := r.node.holds[h].state.Phase; got != trade.HoldCanceled || r.node.settledMsat != 0 || len(r.node.pays) != 0 {
		t.Errorf("the hold is %s with %d msat settled", got, r.node.settledMsat)
	}
	if !r.trade(id).EscrowGone || r.got(buyer, message.ActionHoldInvoicePaymentCanceled) != 1 {
		t.Error("the parties were not notified")
	}
}

// A refusal with an unknown text is retried, and is treated as final after a number of
// attempts, so that the buyer can name another invoice.
func TestUnknownRefusals(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.hold[trade.FxPay] = true
	r.must(seller, message.ActionRelease, &id, nil)
	var row OutboxRow
	for _, n := range r.store.rows {
		if r.store.outbox[n].Effect.Kind == trade.FxPay {
			row = r.store.outbox[n]
		}
	}
	runner := effect.Runner{Node: refusingNode{r.node}}
	for n := range effect.RefusalsBelieved {
		if _, err := runner.Do(t.Context(), row.Effect, n); !errors.Is(err, lightning.ErrRefused) {
			t.Fatalf("refusal %d: %v", n, err)
		}
	}
	res, err := runner.Do(t.Context(), row.Effect, effect.RefusalsBelieved)
	if err != nil || res.Input.Kind != trade.InPayRefused {
		t.Fatalf("%v, %v", res.Input.Kind, err)
	}
	r.applyInput(id, res.Input)
	r.commit()
	if r.trade(id).Payout.Hash != (trade.Hash{}) {
		t.Error("the buyer cannot replace the invoice")
	}
	clear(r.hold)
	r.settle()
}

// refusingNode refuses every payment with an unknown text.
type refusingNode struct{ *simNode }

func (refusingNode) Pay(context.Context, lightning.Payment) error {
	return fmt.Errorf("pay: %w: no space left on device", lightning.ErrRefused)
}

// Keys are free to create, so the number of throttles of takers is bounded.
func TestThrottlesAreBounded(t *testing.T) {
	r := newRig(t)
	for i := range maxThrottles + 1000 {
		r.book.throttles.count(r.book.batch, trade.Party{Key: fmt.Sprint("key ", i), Identity: fmt.Sprint("key ", i)}, r.node.now)
	}
	r.commit()
	for range 10 {
		r.book.throttles.forget(r.book.batch, r.node.now)
		r.commit()
	}
	if got := len(r.store.throttles); got != maxThrottles+1000 {
		t.Errorf("%d throttles that have not ended were removed", maxThrottles+1000-got)
	}
	r.node.now += throttleFirst
	for range 10 {
		r.book.throttles.forget(r.book.batch, r.node.now)
		r.commit()
	}
	if got := len(r.store.throttles); got > maxThrottles || got < maxThrottles-maxBatch {
		t.Errorf("%d throttles are stored, want at most %d", got, maxThrottles)
	}
}

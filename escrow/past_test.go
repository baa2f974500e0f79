package escrow

import (
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// Each test of this file covers a bug that the reference node fixed in the same state
// machine. The number is that of the issue in its tracker.

func TestPast01RestartKeepsWatchingWaitingHolds(t *testing.T) { // #853
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, nil)
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	r.start()
	if h := r.book.open[id].HoldWatched(); h != r.trade(id).Hash || h == (trade.Hash{}) {
		t.Fatal("after a restart no watch covers the invoice that the seller was shown")
	}
	r.pays(seller)
	r.status(message.TradeActive, id)
	before := r.trade(id)
	state := lightning.HoldState{Phase: trade.HoldAccepted}
	for range 3 { // the node reports the hold again at every start
		r.start()
		r.applyInput(id, effect.HoldInput(before.Hash, state))
		r.settle()
	}
	if after := r.trade(id); after.Steps != before.Steps || r.got(buyer, message.ActionHoldInvoicePaymentAccepted) != 1 {
		t.Error("a hold that was reported twice activated the trade twice")
	}
}

func TestPast02RestartKeepsWatchingEscrow(t *testing.T) { // #869
	for _, status := range []message.TradeStatus{message.TradeActive, message.TradeFiatSent, message.TradeDispute} {
		r := newRig(t)
		id, _, buyer := r.toActive()
		if status != message.TradeActive {
			r.must(buyer, message.ActionFiatSent, &id, nil)
		}
		if status == message.TradeDispute {
			r.must(buyer, message.ActionDispute, &id, nil)
		}
		r.start()
		if h := r.book.open[id].HoldWatched(); h != r.trade(id).Hash {
			t.Errorf("%s: the hold is not watched after a restart", status)
		}
	}
}

func TestPast03GuardianActsBeforeTheTimeLock(t *testing.T) { // #862
	toHeight := func(r *rig, id trade.OrderID, left uint32) {
		h := r.trade(id).Hash
		r.node.height = r.node.holds[h].state.ExpiryHeight - left
		r.pass(r.trade(id).Deadline - r.node.now)
	}
	t.Run("active is given back", func(t *testing.T) {
		r := newRig(t)
		id, seller, buyer := r.toActive()
		toHeight(r, id, 25)
		r.status(message.TradeActive, id)
		toHeight(r, id, 24)
		r.status(message.TradeCanceled, id)
		if r.got(seller, message.ActionCanceled) != 1 || r.got(buyer, message.ActionCanceled) != 1 || r.node.heldMsat != 0 {
			t.Error("the hold was not canceled, or a party was not notified")
		}
	})
	t.Run("fiat sent becomes a dispute and stays held", func(t *testing.T) {
		r := newRig(t)
		id, seller, buyer := r.toActive()
		r.must(buyer, message.ActionFiatSent, &id, nil)
		toHeight(r, id, 24+60) // half of the usable time of this lock
		r.status(message.TradeDispute, id)
		if r.node.heldMsat == 0 || r.got(buyer, message.ActionDisputeInitiatedByYou) != 1 || r.got(seller, message.ActionDisputeInitiatedByPeer) != 1 || len(r.disputes) != 1 {
			t.Error("no dispute was opened, or its hold is not held")
		}
		r.must(seller, message.ActionRelease, &id, nil)
		r.status(message.TradeSettledHoldInvoice, id)
	})
	t.Run("by the clock when the node is silent", func(t *testing.T) {
		r := newRig(t)
		id, _, _ := r.toActive()
		r.node.down = true
		r.pass(73_700) // 123 blocks were left above the margin
		r.status(message.TradeActive, id)
		r.pass(400)
		r.status(message.TradeCanceled, id)
		if r.trade(id).Over() {
			t.Error("the outbox has no row that cancels the hold")
		}
		r.node.down = false
		r.settle()
		if !r.trade(id).Over() || r.node.heldMsat != 0 {
			t.Error("the hold was not canceled after the node was up")
		}
	})
	t.Run("slow blocks are no reason", func(t *testing.T) {
		r := newRig(t)
		id, _, _ := r.toActive()
		r.pass(100_000)
		r.status(message.TradeActive, id)
	})
}

func TestPast04TakeAndCancelOfOneMoment(t *testing.T) { // #866
	for _, takeFirst := range []bool{true, false} {
		r := newRig(t)
		maker, taker := r.someone(), r.someone()
		id := r.order(maker, message.SmallOrder{})
		take := r.message(taker, message.ActionTakeSell, &id, nil)
		cancel := r.message(maker, message.ActionCancel, &id, nil)
		first, second := take, cancel
		if !takeFirst {
			first, second = cancel, take
		}
		r.receive(first)
		got := r.receive(second)
		r.settle()
		r.status(message.TradeCanceled, id)
		if takeFirst && got != "" || !takeFirst && got != string(message.ReasonInvalidOrderStatus) {
			t.Errorf("take first %v: the outcome of the second is %q", takeFirst, got)
		}
		if last := r.published[len(r.published)-1]; last != mostro.StatusCanceled {
			t.Errorf("the status in the book is %s", last)
		}
	}
}

func TestPast05TakingStartsTheClock(t *testing.T) { // #876
	r := newRig(t)
	id, taker := r.order(r.someone(), message.SmallOrder{}), r.someone()
	r.pass(3600)
	r.must(taker, message.ActionTakeSell, &id, nil)
	if tr := r.trade(id); tr.TakenAt != r.node.now || tr.Deadline != r.node.now+900 {
		t.Errorf("%+v", tr)
	}
	r.pass(899)
	r.status(message.TradeWaitingBuyerInvoice, id)
	r.pass(1)
	r.status(message.TradePending, id)
}

func TestPast06EachDutyHasItsTime(t *testing.T) { // #879
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, nil)
	r.pass(890)
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	r.pass(890)
	r.status(message.TradeWaitingPayment, id)
	r.pass(10)
	r.status(message.TradeCanceled, id) // the duty of the maker ended
	if r.got(buyer, message.ActionCanceled) != 1 || r.got(seller, message.ActionCanceled) != 1 {
		t.Error("a party was not notified")
	}
}

func TestPast07PayoutIsBegunOnce(t *testing.T) { // #881
	r := newRig(t)
	id, seller, buyer := r.toSettled()
	tr := r.trade(id)
	// These inputs could start the payout again while one is in flight.
	r.applyInput(id, trade.Input{Kind: trade.InSettled, Hash: tr.Hash})
	r.refused(message.ReasonNotAllowedByStatus, seller, message.ActionRelease, &id, nil)
	r.refused(message.ReasonNotAllowedByStatus, buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	r.pass(400)
	r.start()
	r.settle()
	if payouts := r.payouts(); payouts != 1 || r.trade(id).Payout.Attempt != 1 {
		t.Errorf("%d payouts, attempt %d", payouts, r.trade(id).Payout.Attempt)
	}
}

func TestPast08PayoutHoldsNothingUp(t *testing.T) { // #883: payments run in the background and are identified by hash
	r := newRig(t)
	one, _, _ := r.toSettled()
	two, _, _ := r.toSettled() // while the first is in flight
	if h1, h2 := r.trade(one).Payout.Hash, r.trade(two).Payout.Hash; h1 == h2 || len(r.node.pays) != 2 {
		t.Fatal("two trades of one amount are one payment")
	}
	r.resolves(two, true)
	r.status(message.TradeSuccess, two)
	r.status(message.TradeSettledHoldInvoice, one)
}

func TestPast09AQueuedPayoutKeepsItsClaim(t *testing.T) { // #893
	r := newRig(t)
	r.hold[trade.FxPay] = true // the worker is busy
	id, _, buyer := r.toSettled()
	claim := r.trade(id).Payout.Hash
	r.pass(86_400)
	r.refused(message.ReasonNotAllowedByStatus, buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	if tr := r.trade(id); tr.Payout.Hash != claim || tr.Payout.Attempt != 1 {
		t.Error("the claim was lost while the payout waited")
	}
	delete(r.hold, trade.FxPay)
	r.node.now = r.trade(id).CreatedAt + 200 // the invoice has not expired
	r.settle()
	r.resolves(id, true)
	r.status(message.TradeSuccess, id)
}

func TestPast10ANewInvoiceIsNotOverwritten(t *testing.T) { // #865
	r := newRig(t)
	id, _, buyer := r.toSettled()
	r.resolves(id, false)
	old := r.trade(id)
	fresh := r.bolt11(id)
	r.must(buyer, message.ActionAddInvoice, &id, fresh)
	// Results of the old attempt arrive late.
	r.applyInput(id, trade.Input{Kind: trade.InPayment, Hash: old.Payout.LastHash, Attempt: old.Payout.Attempt, Payment: trade.Result{Status: trade.PaymentFailed}})
	r.settle()
	tr := r.trade(id)
	if tr.BuyerInvoice.Text != fresh.Invoice || tr.Payout.Hash != simDecode(fresh.Invoice).Hash || tr.Payout.Failures != 0 {
		t.Errorf("%+v", tr.Payout)
	}
	if r.got(buyer, message.ActionInvoiceUpdated) != 1 {
		t.Error("the buyer was not notified")
	}
}

// rangeSell brings a range sell order to fiat-sent.
func (r *rig) rangeSell(fiat int64) (id trade.OrderID, seller, buyer trade.Party) {
	low, high := int64(10), int64(100)
	seller, buyer = r.someone(), r.someone()
	id = r.order(seller, message.SmallOrder{MinAmount: &low, MaxAmount: &high})
	r.must(buyer, message.ActionTakeSell, &id, message.Amount(fiat))
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	r.pays(seller)
	r.must(buyer, message.ActionFiatSent, &id, nil)
	return id, seller, buyer
}

// child returns the order for the rest of a range order.
func (r *rig) child(parent trade.OrderID) (trade.Trade, bool) {
	for _, t := range r.store.trades {
		if t.Parent == parent {
			return t, true
		}
	}
	return trade.Trade{}, false
}

func TestPast11ChildNeverStopsARelease(t *testing.T) { // #873
	t.Run("announced well", func(t *testing.T) {
		for fiat, want := range map[int64][3]int64{50: {0, 10, 50}, 90: {10, 0, 0}, 91: {-1}, 100: {-1}, 10: {0, 10, 90}} {
			r := newRig(t)
			id, seller, _ := r.rangeSell(fiat)
			next := r.someone()
			r.must(seller, message.ActionRelease, &id, message.NextTrade{Pubkey: next.Key, Index: 7})
			r.status(message.TradeSettledHoldInvoice, id)
			child, ok := r.child(id)
			if ok != (want[0] >= 0) {
				t.Errorf("%d of 10 to 100: child %v", fiat, ok)
			}
			if !ok {
				continue
			}
			if child.FiatAmount != want[0] || child.MinFiat != want[1] || child.MaxFiat != want[2] || child.Status != message.TradePending {
				t.Errorf("%d of 10 to 100: rest %d, %d to %d", fiat, child.FiatAmount, child.MinFiat, child.MaxFiat)
			}
			if child.Seller.Key != next.Key || child.Seller.Identity != seller.Identity || child.Seller.Index != 7 || child.Hash != (trade.Hash{}) || child.Buyer != (trade.Party{}) {
				t.Errorf("child %+v", child)
			}
			ack := r.last(next, message.ActionNewOrder)
			if *ack.TradeIndex != 7 || *ack.ID != child.ID || ack.RequestID == nil {
				t.Errorf("the announcement is %+v", ack)
			}
			if u, err := r.store.User(seller.Identity); err != nil || u.LastIndex != 7 {
				t.Errorf("%+v %v", u, err)
			}
		}
	})
	for name, next := range map[string]message.NextTrade{
		"no key": {Pubkey: "", Index: 1}, "no point of the curve": {Pubkey: strings.Repeat("f", 64), Index: 1}, "no index": {Pubkey: hexKeyOf(9000)},
	} {
		t.Run("refused before it is settled: "+name, func(t *testing.T) {
			r := newRig(t)
			id, seller, _ := r.rangeSell(50)
			r.refused(message.ReasonInvalidParameters, seller, message.ActionRelease, &id, next)
			if r.node.settledMsat != 0 {
				t.Error("the hold was settled nevertheless")
			}
		})
	}
	t.Run("past its expiry there is no rest", func(t *testing.T) {
		r := newRig(t)
		id, seller, _ := r.rangeSell(50)
		r.node.now = r.trade(id).ExpiresAt
		r.must(seller, message.ActionRelease, &id, message.NextTrade{Pubkey: r.someone().Key, Index: 7})
		r.status(message.TradeSettledHoldInvoice, id)
		if _, ok := r.child(id); ok {
			t.Error("the order cannot be taken")
		}
	})
}

func TestPast12OnlyTheMakerChangesItsKey(t *testing.T) { // #871
	r := newRig(t)
	maker, stranger := r.someone(), r.someone()
	id := r.order(maker, message.SmallOrder{})
	r.refused(message.ReasonInvalidPubkey, stranger, message.ActionTradePubkey, &id, nil)
	fresh := r.someone()
	fresh.Identity = maker.Identity
	r.must(fresh, message.ActionTradePubkey, &id, nil)
	r.last(fresh, message.ActionTradePubkey)
	if r.trade(id).Seller.Key != fresh.Key {
		t.Error("the key did not change")
	}
	r.refused(message.ReasonIsNotYourOrder, maker, message.ActionCancel, &id, nil)
	r.must(fresh, message.ActionCancel, &id, nil)

	// In full privacy no identity can prove that another key belongs to the party.
	hidden := r.someone()
	hidden.Identity = hidden.Key
	id = r.order(hidden, message.SmallOrder{})
	other := r.someone()
	other.Identity = hidden.Key
	r.refused(message.ReasonInvalidPubkey, other, message.ActionTradePubkey, &id, nil)
	// A taker cannot announce a key for the rest of the maker's order.
	low, high := int64(10), int64(100)
	maker, taker := r.someone(), r.someone()
	id = r.order(maker, message.SmallOrder{MinAmount: &low, MaxAmount: &high})
	r.must(taker, message.ActionTakeSell, &id, message.Amount(50))
	r.must(taker, message.ActionAddInvoice, &id, r.bolt11(id))
	r.pays(maker)
	r.must(taker, message.ActionFiatSent, &id, message.NextTrade{Pubkey: taker.Key, Index: 3})
	if r.trade(id).Next != (message.NextTrade{}) {
		t.Error("the taker announced the maker's key")
	}
}

func TestPast13NoGhostOrders(t *testing.T) { // #872
	r := newRig(t)
	maker := r.someone()
	id := r.order(maker, message.SmallOrder{})
	var stamps []int64
	for range 4 { // all within one second
		p := r.someone()
		r.must(p, message.ActionTakeSell, &id, nil)
		stamps = append(stamps, r.trade(id).StampedAt)
		r.must(p, message.ActionCancel, &id, nil)
		stamps = append(stamps, r.trade(id).StampedAt)
	}
	for i := 1; i < len(stamps); i++ {
		if stamps[i] <= stamps[i-1] {
			t.Fatalf("dated %v", stamps)
		}
	}
	// A publication that fails stays queued across a restart.
	r.hold[trade.FxPublishOrder] = true
	r.must(maker, message.ActionCancel, &id, nil)
	r.start()
	delete(r.hold, trade.FxPublishOrder)
	r.settle()
	if last := r.published[len(r.published)-1]; last != mostro.StatusCanceled {
		t.Errorf("the status in the book is still %s", last)
	}
	// A taken order that returns to the book after its expiry is not offered again.
	soon := r.node.now + 1000
	id = r.order(r.someone(), message.SmallOrder{ExpiresAt: &soon})
	r.pass(900)
	r.must(r.someone(), message.ActionTakeSell, &id, nil)
	r.pass(900)
	r.status(message.TradeExpired, id)
	if last := r.published[len(r.published)-1]; last != mostro.StatusCanceled {
		t.Errorf("the status in the book is %s", last)
	}
}

func TestPast14RestartPublishesNothingAnew(t *testing.T) { // #888
	r := newRig(t)
	for range 5 {
		r.order(r.someone(), message.SmallOrder{})
	}
	r.toActive()
	shown := len(r.published)
	for range 3 {
		r.start()
		r.pass(3600)
	}
	if len(r.published) != shown {
		t.Errorf("%d events before, %d after", shown, len(r.published))
	}
}

func TestPast15DisputesAreDatedAtTheirCommit(t *testing.T) { // #899
	r := newRig(t)
	id, seller, buyer := r.toActive()
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.must(buyer, message.ActionDispute, &id, nil)
	opened := r.trade(id).Dispute
	r.must(seller, message.ActionRelease, &id, nil)
	closed := r.trade(id).Dispute
	if closed.StampedAt <= opened.StampedAt || opened.OpenedAt != closed.OpenedAt {
		t.Errorf("opened %d, closed %d", opened.StampedAt, closed.StampedAt)
	}
	if len(r.disputes) != 2 || r.disputes[0] != message.DisputeStatusInitiated || r.disputes[1] != message.DisputeStatusReleased {
		t.Errorf("published %v", r.disputes)
	}
}

func TestPast16ChildForgetsItsParentsKeys(t *testing.T) { // #891
	r := newRig(t)
	id, seller, _ := r.rangeSell(50)
	next := r.someone()
	r.must(seller, message.ActionRelease, &id, message.NextTrade{Pubkey: next.Key, Index: 7})
	child, ok := r.child(id)
	if !ok || child.Next != (message.NextTrade{}) || child.Preimage != (trade.Preimage{}) || child.BuyerInvoice != (trade.PayTo{}) {
		t.Errorf("child %+v", child)
	}
	if r.trade(id).Next != (message.NextTrade{}) {
		t.Error("the parent would announce the key again")
	}
}

func TestPast17SignatureBeforeTheGate(t *testing.T) { // #892
	// The log holds only events that its relay verified. The id that prevents replays is
	// checked after the seal is opened, so a forged copy does not use up the id.
	w := newWorld(t)
	u := w.user(envelope.TransportV2)
	real := u.event(u.sell(50_000, 50))
	forged := *real
	forged.Content = forged.Content[:len(forged.Content)-8] + "AAAAAAA="
	w.log.append(&forged, mostro.Source{Origin: mostro.OriginClient}, w.clock.Now())
	delete(w.log.ids, real.ID) // the same id with different content
	w.log.append(real, mostro.Source{Origin: mostro.OriginClient}, w.clock.Now())
	u.wait(message.ActionNewOrder)
}

func TestPast18InvoicesOfAnotherChainOrWithAHugeLock(t *testing.T) { // #861
	r := newRig(t)
	id, _, buyer := r.toSettled()
	r.resolves(id, false)
	for name, spoil := range map[string]func(*trade.Destination){
		"chain": func(d *trade.Destination) { d.ChainOK = false },
		"lock":  func(d *trade.Destination) { d.FinalCLTV = 433 },
	} {
		r.book.Decode = func(text string) trade.Destination { d := simDecode(text); spoil(&d); return d }
		r.refused(message.ReasonInvalidInvoice, buyer, message.ActionAddInvoice, &id, r.bolt11(id))
		// An invoice that an address returns has to follow these rules as well.
		was := r.trade(id)
		was.Payout.Minting, was.Payout.Hash, was.Payout.Attempt = true, trade.Hash{}, 9
		d := r.book.Decode(simInvoice(trade.Hash{5}, was.PayoutSats()*1000, r.node.now+60, id.String()))
		next, effects, err := trade.Step(was, trade.Input{At: r.node.now, Kind: trade.InMinted, Attempt: 9, Invoice: &d})
		if err != nil || next.Payout.Hash != (trade.Hash{}) {
			t.Errorf("%s: the invoice was paid nevertheless (%v)", name, err)
		}
		for _, e := range effects {
			if e.Kind == trade.FxPay {
				t.Errorf("%s: sent", name)
			}
		}
	}
}

func TestPast19AddressesAreAskedBeforeAnythingHangsOnThem(t *testing.T) { // #858
	r := newRig(t)
	r.hold[trade.FxProbe] = true // the probe is slow
	id, buyer := r.order(r.someone(), message.SmallOrder{}), r.someone()
	r.must(buyer, message.ActionTakeSell, &id, message.PaymentRequest{Invoice: "me@slow"})
	r.status(message.TradePending, id)
	other := r.someone() // the order of another user does not wait
	r.must(other, message.ActionTakeSell, &id, nil)
	r.status(message.TradeWaitingBuyerInvoice, id)
	delete(r.hold, trade.FxProbe)
	r.settle()
	if m := r.last(buyer, message.ActionCantDo); m.Payload.(message.CantDo).Reason != message.ReasonInvalidOrderStatus {
		t.Errorf("%+v", m)
	}
	// If a message would be refused anyway, its address is not probed.
	if outcome := r.say(r.someone(), message.ActionTakeSell, &id, message.PaymentRequest{Invoice: "me@victim"}); outcome == "" {
		t.Error("accepted")
	}
	for _, row := range r.store.outbox {
		if row.Effect.Kind == trade.FxProbe {
			t.Error("a stranger caused a useless probe of an address")
		}
	}
}

func TestPast20StrangersDoNotCancel(t *testing.T) { // #851
	r := newRig(t)
	id, seller, buyer := r.toActive()
	r.refused(message.ReasonInvalidPubkey, r.someone(), message.ActionCancel, &id, nil)
	r.must(seller, message.ActionCancel, &id, nil)
	r.refused(message.ReasonInvalidPubkey, r.someone(), message.ActionCancel, &id, nil)
	r.must(buyer, message.ActionCancel, &id, nil)
	r.status(message.TradeCooperativelyCanceled, id)
}

func TestPast21BrokenHexAndACancelThatFails(t *testing.T) { // #821
	for _, text := range []string{"", "00", strings.Repeat("0", 63), strings.Repeat("0", 65), strings.Repeat("z", 64), strings.Repeat("é", 32)} {
		if _, err := trade.ParseHash(text); err == nil || len(text) > 8 && strings.Contains(err.Error(), text) {
			t.Errorf("hash %q: %v", text, err)
		}
		if _, err := trade.ParsePreimage(text); err == nil || len(text) > 8 && strings.Contains(err.Error(), text) {
			t.Errorf("preimage %q: %v", text, err)
		}
	}
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, nil)
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	h := r.trade(id).Hash
	r.hold[trade.FxCancel] = true // the node answers, and the call that cancels fails
	r.must(buyer, message.ActionCancel, &id, nil)
	r.status(message.TradePending, id)
	if got := r.trade(id).Closing; len(got) != 1 || got[0] != h {
		t.Fatalf("the queued cancel of the hold is %v", got)
	}
	r.node.pay(h) // the seller's wallet paid before the cancel
	delete(r.hold, trade.FxCancel)
	r.settle()
	if r.node.holds[h].state.Phase != trade.HoldCanceled || r.node.heldMsat != 0 || len(r.trade(id).Closing) != 0 {
		t.Error("the seller's sats are still held")
	}
	r.status(message.TradePending, id)
}

func TestPast22UnknownOrderIsAnswered(t *testing.T) { // #752
	for _, action := range []message.Action{
		message.ActionTakeBuy, message.ActionFiatSent, message.ActionRelease, message.ActionCancel, message.ActionDispute, message.ActionTradePubkey,
	} {
		r := newRig(t)
		id := trade.OrderID{7}
		r.refused(message.ReasonNotFound, r.someone(), action, &id, nil)
	}
}

// TestPast23 is about solvers (#746): the node's own key may end a dispute that it has not
// taken, by the id of the order or of the dispute. A key without a role may not.
func TestPast23TheNodesKeyEndsADispute(t *testing.T) { // #746
	for _, byDispute := range []bool{false, true} {
		r := newRig(t)
		id, _, buyer := r.toActive()
		r.must(buyer, message.ActionDispute, &id, nil)
		named := id
		if byDispute {
			named = r.trade(id).Dispute.ID
		}
		r.refused(message.ReasonIsNotYourDispute, r.someone(), message.ActionAdminCancel, &named, nil)
		node := trade.Party{Key: simNodeKey, Identity: simNodeKey, Transport: envelope.TransportV2}
		r.must(node, message.ActionAdminCancel, &named, nil)
		r.status(message.TradeCanceledByAdmin, id)
		if r.node.heldMsat != 0 {
			t.Error("the seller's sats are still held")
		}
	}
}

func TestPast25AddInvoiceSaysWhen(t *testing.T) { // #739
	r := newRig(t)
	id, buyer := r.order(r.someone(), message.SmallOrder{}), r.someone()
	r.must(buyer, message.ActionTakeSell, &id, nil)
	o := r.last(buyer, message.ActionAddInvoice).Payload.(*message.SmallOrder)
	if o.CreatedAt == nil || *o.CreatedAt != r.trade(id).CreatedAt || o.Status != message.TradeWaitingBuyerInvoice || o.BuyerTradePubkey != nil || o.ExpiresAt != nil {
		t.Errorf("%+v", o)
	}
}

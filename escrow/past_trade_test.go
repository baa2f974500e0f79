package escrow

import (
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

func TestPast36AmountsThatEachSideReads(t *testing.T) { // #552, #524
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{}) // 100,000 sats with a fee of 300 per side
	r.must(buyer, message.ActionTakeSell, &id, nil)
	small := func(m message.Message) int64 { return m.Payload.(*message.SmallOrder).AmountSats }
	if got := small(r.last(buyer, message.ActionAddInvoice)); got != 99_700 {
		t.Errorf("add-invoice: %d", got)
	}
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	pay := r.mail[seller.Key][len(r.mail[seller.Key])-1]
	if p, ok := pay.Payload.(message.PaymentRequest); !ok || p.Order.AmountSats != 100_300 || simDecode(p.Invoice).AmountMsat != 100_300_000 {
		t.Errorf("pay-invoice: %+v", pay)
	}
	r.pays(seller)
	if got := small(r.last(buyer, message.ActionHoldInvoicePaymentAccepted)); got != 99_700 {
		t.Errorf("hold-invoice-payment-accepted: %d", got)
	}
	if got := small(r.last(seller, message.ActionBuyerTookOrder)); got != 100_300 {
		t.Errorf("buyer-took-order: %d", got)
	}
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.must(seller, message.ActionRelease, &id, nil)
	for range 3 {
		r.resolves(id, false)
		r.pass(60)
	}
	if got := small(r.last(buyer, message.ActionAddInvoice)); got != 99_700 {
		t.Errorf("the invoice was requested again: %d", got)
	}
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	r.resolves(id, true)
	if r.node.paidMsat != 99_700_000 || r.node.settledMsat != 100_300_000 {
		t.Errorf("paid %d of %d msat", r.node.paidMsat, r.node.settledMsat)
	}
}

func TestPast37NoReleaseBeforeFiatSent(t *testing.T) { // #498
	r := newRig(t)
	id, seller, _ := r.toActive()
	r.refused(message.ReasonNotAllowedByStatus, seller, message.ActionRelease, &id, nil)
	if r.node.settledMsat != 0 {
		t.Error("settled")
	}
}

func TestPast38ChildOfABuyOrderIsItsMakers(t *testing.T) { // #491
	r := newRig(t)
	low, high := int64(10), int64(100)
	buyer, seller, next := r.someone(), r.someone(), r.someone()
	id := r.order(buyer, message.SmallOrder{Kind: mostro.SideBuy, MinAmount: &low, MaxAmount: &high})
	r.must(seller, message.ActionTakeBuy, &id, message.Amount(40))
	r.pays(seller)
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	r.must(buyer, message.ActionFiatSent, &id, message.NextTrade{Pubkey: next.Key, Index: 5})
	r.must(seller, message.ActionRelease, &id, message.NextTrade{Pubkey: seller.Key, Index: 9}) // ignored, because the seller is not the maker
	child, ok := r.child(id)
	if !ok || child.Buyer.Key != next.Key || child.Seller != (trade.Party{}) || child.MaxFiat != 60 {
		t.Fatalf("%v %+v", ok, child)
	}
	if *r.last(next, message.ActionNewOrder).ID != child.ID || r.got(seller, message.ActionNewOrder) != 0 {
		t.Error("the key was announced to a party other than the maker")
	}
}

func TestPast39OneHalfTakenOrderAtATime(t *testing.T) { // #444
	t.Run("as buyer", func(t *testing.T) {
		r := newRig(t)
		one, two := r.order(r.someone(), message.SmallOrder{}), r.order(r.someone(), message.SmallOrder{})
		greedy := r.someone()
		r.must(greedy, message.ActionTakeSell, &one, nil)
		again := r.someone()
		again.Identity, again.Index = greedy.Identity, 2
		r.refused(message.ReasonPendingOrderExists, again, message.ActionTakeSell, &two, nil)
		r.must(greedy, message.ActionAddInvoice, &one, r.bolt11(one)) // the duty of the taker is done
		r.must(again, message.ActionTakeSell, &two, nil)
	})
	t.Run("as seller", func(t *testing.T) {
		r := newRig(t)
		buy := message.SmallOrder{Kind: mostro.SideBuy}
		one, two := r.order(r.someone(), buy), r.order(r.someone(), buy)
		greedy := r.someone()
		r.must(greedy, message.ActionTakeBuy, &one, nil)
		again := r.someone()
		again.Identity, again.Index = greedy.Identity, 2
		r.refused(message.ReasonPendingOrderExists, again, message.ActionTakeBuy, &two, nil)
		r.pays(greedy)
		r.must(again, message.ActionTakeBuy, &two, nil)
	})
}

func TestPast40FullPrivacyTradesLikeAnyone(t *testing.T) { // #454, #446, #415
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	seller.Identity, buyer.Identity = seller.Key, buyer.Key
	plain := func(p trade.Party, action message.Action, id *trade.OrderID, payload message.Payload) {
		t.Helper()
		msg := r.message(p, action, id, payload)
		msg.Message.TradeIndex = nil
		if got := r.receive(msg); got != "" {
			t.Fatalf("%s: %s", action, got)
		}
		r.settle()
	}
	plain(seller, message.ActionNewOrder, nil, &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 100_000, FiatCode: "EUR", FiatAmount: 100, PaymentMethod: "SEPA"})
	id := *r.last(seller, message.ActionNewOrder).ID
	plain(buyer, message.ActionTakeSell, &id, nil)
	plain(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	for _, m := range r.mail[seller.Key] {
		if p, ok := m.Payload.(message.Peer); ok && (p.Pubkey != "" || p.Reputation == nil || *p.Reputation != (message.UserInfo{})) {
			t.Errorf("the seller received %+v", p)
		}
	}
	r.pays(seller)
	plain(buyer, message.ActionFiatSent, &id, nil)
	plain(buyer, message.ActionDispute, &id, nil)
	plain(seller, message.ActionRelease, &id, nil)
	r.resolves(id, true)
	r.status(message.TradeSuccess, id)
	if len(r.store.users) != 0 {
		t.Errorf("remembered: %v", r.store.users)
	}
}

// A vote for a party in full privacy has no effect and no answer.
func TestPast41VoteForAPrivateParty(t *testing.T) { // #494
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	seller.Identity = seller.Key
	id := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, nil)
	r.must(buyer, message.ActionAddInvoice, &id, r.bolt11(id))
	r.pays(seller)
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.must(seller, message.ActionRelease, &id, nil)
	r.resolves(id, true)
	if got := r.say(buyer, message.ActionRateUser, &id, message.RatingUser(5)); got != "dropped" {
		t.Errorf("the outcome is %q", got)
	}
	if n := len(r.published38384()); n != 0 {
		t.Errorf("%d ratings were published", n)
	}
	r.must(seller, message.ActionRateUser, &id, message.RatingUser(5))
	r.last(seller, message.ActionRateReceived)
}

func TestPast42NobodyTakesATakenOrder(t *testing.T) { // #308
	r := newRig(t)
	seller, buyer, thief := r.someone(), r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, nil)
	r.refused(message.ReasonInvalidOrderStatus, thief, message.ActionTakeSell, &id, nil)
	r.refused(message.ReasonInvalidPeer, thief, message.ActionAddInvoice, &id, r.bolt11(id))
	if r.trade(id).Buyer.Key != buyer.Key {
		t.Error("stolen")
	}
}

func TestPast43CancelWhileWaitingLeavesNothing(t *testing.T) { // #428, #432, #425
	type world struct {
		name   string
		begin  func(r *rig) (id trade.OrderID, maker, taker trade.Party)
		waitIn message.TradeStatus
	}
	worlds := []world{
		{name: "sell, waiting for an invoice", waitIn: message.TradeWaitingBuyerInvoice, begin: func(r *rig) (trade.OrderID, trade.Party, trade.Party) {
			maker, taker := r.someone(), r.someone()
			id := r.order(maker, message.SmallOrder{FiatAmount: 100})
			r.must(taker, message.ActionTakeSell, &id, nil)
			return id, maker, taker
		}},
		{name: "sell, waiting for the payment", waitIn: message.TradeWaitingPayment, begin: func(r *rig) (trade.OrderID, trade.Party, trade.Party) {
			maker, taker := r.someone(), r.someone()
			id := r.order(maker, message.SmallOrder{FiatAmount: 100})
			r.must(taker, message.ActionTakeSell, &id, nil)
			r.must(taker, message.ActionAddInvoice, &id, r.bolt11(id))
			return id, maker, taker
		}},
		{name: "buy, waiting for the payment", waitIn: message.TradeWaitingPayment, begin: func(r *rig) (trade.OrderID, trade.Party, trade.Party) {
			maker, taker := r.someone(), r.someone()
			id := r.order(maker, message.SmallOrder{Kind: mostro.SideBuy, FiatAmount: 100})
			r.must(taker, message.ActionTakeBuy, &id, nil)
			return id, maker, taker
		}},
		{name: "buy, paid, waiting for an invoice", waitIn: message.TradeWaitingBuyerInvoice, begin: func(r *rig) (trade.OrderID, trade.Party, trade.Party) {
			maker, taker := r.someone(), r.someone()
			id := r.order(maker, message.SmallOrder{Kind: mostro.SideBuy, FiatAmount: 100})
			r.must(taker, message.ActionTakeBuy, &id, nil)
			r.pays(taker)
			return id, maker, taker
		}},
	}
	for _, w := range worlds {
		t.Run(w.name+", by the maker", func(t *testing.T) {
			r := newRig(t)
			id, maker, taker := w.begin(r)
			r.status(w.waitIn, id)
			r.must(maker, message.ActionCancel, &id, nil)
			r.status(message.TradeCanceled, id)
			if r.got(maker, message.ActionCanceled) != 1 || r.got(taker, message.ActionCanceled) != 1 || r.node.heldMsat != 0 {
				t.Error("a party was not notified, or the sats are still held")
			}
			r.refused(message.ReasonOrderAlreadyCanceled, taker, message.ActionCancel, &id, nil)
		})
		t.Run(w.name+", by the taker", func(t *testing.T) {
			r := newRig(t)
			id, maker, taker := w.begin(r)
			r.must(taker, message.ActionCancel, &id, nil)
			r.status(message.TradePending, id)
			tr := r.trade(id)
			if tr.Taker() != (trade.Party{}) || tr.Hash != (trade.Hash{}) || tr.Preimage != (trade.Preimage{}) || tr.BuyerInvoice != (trade.PayTo{}) ||
				tr.AmountSats != 0 || tr.FeeSats != 0 || tr.TakenAt != 0 || tr.HeldAt != 0 || tr.Deadline != tr.ExpiresAt {
				t.Errorf("%+v", tr)
			}
			if r.got(taker, message.ActionCanceled) != 1 || r.last(maker, message.ActionNewOrder).RequestID == nil || r.node.heldMsat != 0 {
				t.Error("a party was not notified, or the sats are still held")
			}
			if last := r.published[len(r.published)-1]; last != mostro.StatusPending {
				t.Errorf("the status in the book is %s", last)
			}
			r.refused(message.ReasonIsNotYourOrder, taker, message.ActionCancel, &id, nil)
		})
		t.Run(w.name+", by a stranger", func(t *testing.T) {
			r := newRig(t)
			id, _, _ := w.begin(r)
			r.refused(message.ReasonInvalidPubkey, r.someone(), message.ActionCancel, &id, nil)
		})
	}
}

func TestPast44TheMakerIsAlwaysTold(t *testing.T) { // #504, #537
	r := newRig(t)
	maker, taker := r.someone(), r.someone()
	id := r.order(maker, message.SmallOrder{})
	r.must(taker, message.ActionTakeSell, &id, nil)
	r.last(maker, message.ActionWaitingBuyerInvoice)
	r.pass(900)
	o := r.last(maker, message.ActionNewOrder)
	if o.RequestID != nil || o.Payload.(*message.SmallOrder).Status != message.TradePending {
		t.Errorf("%+v", o)
	}
	r.last(taker, message.ActionCanceled)
}

func TestPast45RatingIsShownOnARepublishedOrder(t *testing.T) { // #501
	events := EventBuilder{Pubkey: simKey(1), Name: "x"}
	tr := trade.Trade{ID: trade.OrderID{1}, Kind: mostro.SideSell, Fiat: "EUR", FiatAmount: 5, Bucket: mostro.StatusPending, StampedAt: 1, ExpiresAt: 9}
	for range 2 {
		evt := events.Order(tr, rating.Record{}.Maker(1), DefaultPolicy())
		if tag := evt.Tags.Find("rating"); tag == nil || !strings.Contains(tag[1], "total_reviews") {
			t.Errorf("no rating in %v", evt.Tags)
		}
		tr.StampedAt++
	}
	tr.Bucket = mostro.StatusInProgress
	if evt := events.Order(tr, nil, DefaultPolicy()); evt.Tags.Find("rating") != nil {
		t.Error("a rating on an order that is not pending")
	}
}

func TestPast46RestoreOnlyReads(t *testing.T) { // #721
	r := newRig(t)
	id, _, buyer := r.toActive()
	before, mail := r.trade(id), len(r.mail[buyer.Key])
	r.must(buyer, message.ActionRestoreSession, nil, nil)
	if after := r.trade(id); after.Steps != before.Steps {
		t.Error("the trade moved")
	}
	if len(r.mail[buyer.Key]) != mail+1 {
		t.Errorf("%v", actions(r.mail[buyer.Key][mail:]))
	}
}

// TestPast47to49 is about bonds (#755, #779, #875), which are not open yet.
func TestPast47to49BondsDoorIsClosed(t *testing.T) {
	r := newRig(t)
	id, seller, _ := r.toActive()
	r.refused(message.ReasonInvalidAction, seller, message.ActionAddBondInvoice, &id, message.PaymentRequest{Invoice: "a@home"})
	for _, row := range trade.Transitions {
		if (row.On == trade.OnMakerBond || row.On == trade.OnTakerBond) && !row.Later {
			t.Errorf("%+v", row)
		}
	}
}

// The bug #835 (keys in logs) is covered by TestLogsHoldNoSecret.

func TestPast51ErrorsOfTheNodeEndNothing(t *testing.T) { // #336, #353
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	r.node.down = true
	r.must(buyer, message.ActionTakeSell, &id, r.bolt11For(id, 99_700_000, 7200))
	r.status(message.TradeWaitingPayment, id)
	r.pass(900) // no invoice was shown, so the seller is not at fault
	r.status(message.TradePending, id)
	r.node.down = false
	r.settle()
	if !strings.Contains(string(r.trade(id).Status), "pending") || len(r.trade(id).Closing) != 0 {
		t.Errorf("%+v", r.trade(id))
	}
	r.applyInput(trade.OrderID{9}, trade.Input{Kind: trade.InClock}) // the trade does not exist
	r.applyInput(id, trade.Input{Kind: "nonsense"})
}

func TestPast52OnePartyAloneCancelsNothing(t *testing.T) { // #361
	for _, first := range []string{"buyer", "seller"} {
		r := newRig(t)
		id, seller, buyer := r.toActive()
		one, two := buyer, seller
		if first == "seller" {
			one, two = seller, buyer
		}
		r.must(one, message.ActionCancel, &id, nil)
		if r.last(one, message.ActionCooperativeCancelInitiatedByYou).RequestID == nil || r.last(two, message.ActionCooperativeCancelInitiatedByPeer).RequestID != nil {
			t.Error("the answer carries the id of another request")
		}
		r.refused(message.ReasonInvalidPubkey, one, message.ActionCancel, &id, nil)
		r.status(message.TradeActive, id)
		r.must(two, message.ActionCancel, &id, nil)
		r.status(message.TradeCooperativelyCanceled, id)
		if r.node.heldMsat != 0 || r.got(one, message.ActionCooperativeCancelAccepted) != 1 || r.got(two, message.ActionCooperativeCancelAccepted) != 1 {
			t.Error("the sats are still held, or a party was not notified")
		}
	}
}

func TestPast53FiatSentTouchesItsOwnTradeAlone(t *testing.T) { // #423
	r := newRig(t)
	one, _, buyer := r.toActive()
	two, _, _ := r.toActive()
	other := r.trade(two)
	r.must(buyer, message.ActionFiatSent, &one, nil)
	r.status(message.TradeFiatSent, one)
	if after := r.trade(two); after.Steps != other.Steps {
		t.Error("another trade moved")
	}
}

func TestPast54ExpiryIsStored(t *testing.T) { // #367
	r := newRig(t)
	id := r.order(r.someone(), message.SmallOrder{})
	r.pass(86_400)
	r.status(message.TradeExpired, id)
	r.start()
	if r.book.open[id] != nil {
		t.Error("an expired order is open again after a restart")
	}
	if last := r.published[len(r.published)-1]; last != mostro.StatusCanceled {
		t.Errorf("the status in the book is %s", last) // also #507
	}
}

func TestPast55AReadLetterIsNotReadAgain(t *testing.T) { // #378
	r := newRig(t)
	seller := r.someone()
	msg := r.message(seller, message.ActionNewOrder, nil, &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 50_000, FiatCode: "EUR", FiatAmount: 50})
	if got := r.receive(msg); got != "" {
		t.Fatal(got)
	}
	for range 2 {
		if got := r.receive(msg); got != "replayed" {
			t.Errorf("%q", got)
		}
		r.start()
	}
	// The same seal arrives in another gift wrap, days later.
	r.node.now += 86_400
	msg.Received = r.node.now
	if got := r.receive(msg); got != "replayed" || len(r.store.trades) != 1 {
		t.Errorf("%q, %d orders", got, len(r.store.trades))
	}
	nameless := r.message(seller, message.ActionOrders, nil, message.IDs{{1}})
	nameless.ReplayID = ""
	if got := r.receive(nameless); got != "replayed" {
		t.Errorf("the message names no trade, and its outcome is %q", got)
	}
}

func TestPast56AnOrderWithoutAnythingIsRefused(t *testing.T) { // commit 473ac07
	r := newRig(t)
	msg := r.message(trade.Party{Transport: envelope.TransportV2}, message.ActionNewOrder, nil, &message.SmallOrder{})
	if got := r.receive(msg); got == "" {
		t.Error("accepted")
	}
	if len(r.store.trades) != 0 {
		t.Error("stored")
	}
}

func TestPast57TimeoutsAreToldToBoth(t *testing.T) { // #530; 57b and 57c are in refusal_test.go
	for name, begin := range map[string]func(r *rig) (trade.OrderID, trade.Party, trade.Party, message.TradeStatus){
		"sell, the buyer's": func(r *rig) (trade.OrderID, trade.Party, trade.Party, message.TradeStatus) {
			maker, taker := r.someone(), r.someone()
			id := r.order(maker, message.SmallOrder{})
			r.must(taker, message.ActionTakeSell, &id, nil)
			return id, maker, taker, message.TradePending
		},
		"sell, the seller's": func(r *rig) (trade.OrderID, trade.Party, trade.Party, message.TradeStatus) {
			maker, taker := r.someone(), r.someone()
			id := r.order(maker, message.SmallOrder{})
			r.must(taker, message.ActionTakeSell, &id, r.bolt11For(id, 99_700_000, 7200))
			return id, maker, taker, message.TradeCanceled
		},
		"buy, the seller's": func(r *rig) (trade.OrderID, trade.Party, trade.Party, message.TradeStatus) {
			maker, taker := r.someone(), r.someone()
			id := r.order(maker, message.SmallOrder{Kind: mostro.SideBuy})
			r.must(taker, message.ActionTakeBuy, &id, nil)
			return id, maker, taker, message.TradePending
		},
		"buy, the buyer's": func(r *rig) (trade.OrderID, trade.Party, trade.Party, message.TradeStatus) {
			maker, taker := r.someone(), r.someone()
			id := r.order(maker, message.SmallOrder{Kind: mostro.SideBuy})
			r.must(taker, message.ActionTakeBuy, &id, nil)
			r.pays(taker)
			return id, maker, taker, message.TradeCanceled
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id, maker, taker, want := begin(r)
			r.pass(899)
			if r.trade(id).Status == want {
				t.Fatal("the trade ended too early")
			}
			r.pass(1)
			r.status(want, id)
			r.last(taker, message.ActionCanceled)
			if want == message.TradePending {
				r.last(maker, message.ActionNewOrder)
			} else {
				r.last(maker, message.ActionCanceled)
			}
			if r.node.heldMsat != 0 {
				t.Error("the sats are still held")
			}
		})
	}
}

// The notice of the taker's reputation is sent only at the point that the protocol specifies.
func TestReputationNotice(t *testing.T) {
	notices := func(r *rig, p trade.Party) (n int) {
		for _, m := range r.mail[p.Key] {
			if _, ok := m.Payload.(message.Peer); ok && (m.Action == message.ActionPayInvoice || m.Action == message.ActionAddInvoice) {
				n++
			}
		}
		return n
	}
	t.Run("sell, invoice later: to the seller", func(t *testing.T) {
		r := newRig(t)
		_, seller, buyer := r.toActive()
		if notices(r, seller) != 1 || notices(r, buyer) != 0 {
			t.Error(notices(r, seller), notices(r, buyer))
		}
		for _, m := range r.mail[seller.Key] {
			// The identity has no row yet when its first take is decided.
			if p, ok := m.Payload.(message.Peer); ok && m.Action == message.ActionPayInvoice && (p.Reputation.Since == nil || int64(*p.Reputation.Since) != r.node.now-r.node.now%86_400) {
				t.Errorf("the seller is told %+v about a new buyer", p.Reputation)
			}
		}
	})
	t.Run("sell, invoice at once: to nobody", func(t *testing.T) {
		r := newRig(t)
		seller, buyer := r.someone(), r.someone()
		id := r.order(seller, message.SmallOrder{})
		r.must(buyer, message.ActionTakeSell, &id, r.bolt11For(id, 99_700_000, 7200))
		if notices(r, seller) != 0 || notices(r, buyer) != 0 || r.got(seller, message.ActionPayInvoice) != 1 {
			t.Error(notices(r, seller), notices(r, buyer))
		}
	})
	t.Run("buy: to the buyer, with the seller's days", func(t *testing.T) {
		r := newRig(t)
		buyer, seller := r.someone(), r.someone()
		id := r.order(buyer, message.SmallOrder{Kind: mostro.SideBuy})
		r.store.users[seller.Identity] = User{Identity: seller.Identity, CreatedAt: r.node.now - 10*86_400 - 5}
		r.must(seller, message.ActionTakeBuy, &id, nil)
		r.pays(seller)
		if notices(r, buyer) != 1 || notices(r, seller) != 0 {
			t.Error(notices(r, seller), notices(r, buyer))
		}
		p := r.last(buyer, message.ActionAddInvoice).Payload.(message.Peer)
		if p.Pubkey != "" || p.Reputation.OperatingDays != 10 {
			t.Errorf("%+v", p)
		}
	})
	t.Run("buy, invoice with the order: to nobody", func(t *testing.T) {
		r := newRig(t)
		buyer, seller := r.someone(), r.someone()
		text := "me@home"
		id := r.order(buyer, message.SmallOrder{Kind: mostro.SideBuy, BuyerInvoice: &text})
		r.must(seller, message.ActionTakeBuy, &id, nil)
		r.pays(seller)
		r.status(message.TradeActive, id)
		if notices(r, buyer) != 0 || r.got(buyer, message.ActionAddInvoice) != 0 {
			t.Error(notices(r, buyer))
		}
		// A taker's cancel does not remove the maker's invoice.
		id = r.order(r.someone(), message.SmallOrder{Kind: mostro.SideBuy, BuyerInvoice: &text})
		taker := r.someone()
		r.must(taker, message.ActionTakeBuy, &id, nil)
		r.must(taker, message.ActionCancel, &id, nil)
		if r.trade(id).BuyerInvoice.Text != text {
			t.Error("the maker's invoice was removed")
		}
	})
}

package escrow

import (
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
)

func TestOrdersQuery(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	other := r.order(r.someone(), mostro.SmallOrder{})
	pending := r.order(seller2(r, seller), mostro.SmallOrder{})
	r.must(seller, mostro.ActionOrders, nil, mostro.IDs{pending, other, id, {1}})
	m := r.last(seller, mostro.ActionOrders)
	list := m.Payload.(mostro.OrderList)
	if len(list) != 2 || *list[0].ID != pending || *list[1].ID != id || m.ID != nil || m.RequestID == nil {
		t.Fatalf("%+v", m)
	}
	if list[1].BuyerInvoice != nil || list[1].AmountSats != 100_000 || *list[1].BuyerTradePubkey != buyer.Key || list[0].SellerTradePubkey != nil {
		t.Errorf("%+v", list)
	}
	r.refused(mostro.ReasonNotFound, r.someone(), mostro.ActionOrders, nil, mostro.IDs{id})
	r.refused(mostro.ReasonInvalidParameters, seller, mostro.ActionOrders, nil, mostro.IDs{})
	r.refused(mostro.ReasonInvalidParameters, seller, mostro.ActionOrders, nil, mostro.OrderList{})
	r.refused(mostro.ReasonTooManyRequests, seller, mostro.ActionOrders, nil, make(mostro.IDs, 11))
}

// seller2 returns the next trade key of the same identity.
func seller2(r *rig, p trade.Party) trade.Party {
	next := r.someone()
	next.Identity, next.Index = p.Identity, p.Index+1
	return next
}

func TestLastTradeIndex(t *testing.T) {
	r := newRig(t)
	p := r.someone()
	r.refused(mostro.ReasonNotFound, p, mostro.ActionLastTradeIndex, nil, nil)
	p.Index = 4
	r.order(p, mostro.SmallOrder{})
	r.must(p, mostro.ActionLastTradeIndex, nil, nil)
	m := r.last(p, mostro.ActionLastTradeIndex)
	if m.Wrapper != mostro.WrapperRestore || *m.TradeIndex != 4 || m.Payload != nil || m.RequestID == nil {
		t.Errorf("%+v", m)
	}
	r.store.users[p.Identity] = User{Identity: p.Identity}
	r.refused(mostro.ReasonInvalidTradeIndex, p, mostro.ActionLastTradeIndex, nil, nil)
}

func TestRestoreSession(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	pending := r.order(seller2(r, seller), mostro.SmallOrder{})
	over := r.order(seller2(r, seller2(r, seller)), mostro.SmallOrder{}) // has index 3
	maker := r.trade(over).Seller
	r.must(maker, mostro.ActionCancel, &over, nil)
	r.must(buyer, mostro.ActionFiatSent, &id, nil)
	r.must(buyer, mostro.ActionDispute, &id, nil)
	r.must(seller, mostro.ActionRestoreSession, nil, nil)
	m := r.last(seller, mostro.ActionRestoreSession)
	data := m.Payload.(mostro.RestoreData)
	if m.Wrapper != mostro.WrapperRestore || m.RequestID != nil || len(data.Orders) != 2 || len(data.Disputes) != 1 {
		t.Fatalf("%+v", m)
	}
	for _, o := range data.Orders {
		want := mostro.RestoredOrder{OrderID: id, TradeIndex: 1, Status: "dispute"}
		if o.OrderID == pending {
			want = mostro.RestoredOrder{OrderID: pending, TradeIndex: 2, Status: "pending"}
		}
		if o != want {
			t.Errorf("%+v, want %+v", o, want)
		}
	}
	if d := data.Disputes[0]; d.OrderID != id || d.Initiator != mostro.InitiatorBuyer || d.Status != "initiated" || d.DisputeID != r.trade(id).Dispute.ID {
		t.Errorf("%+v", d)
	}
	stranger := r.someone()
	r.must(stranger, mostro.ActionRestoreSession, nil, nil)
	if data := r.last(stranger, mostro.ActionRestoreSession).Payload.(mostro.RestoreData); len(data.Orders)+len(data.Disputes) != 0 {
		t.Errorf("a stranger received %+v", data)
	}
}

// The trade indexes of an identity count upward. A refused message uses none.
func TestTradeIndex(t *testing.T) {
	order := &mostro.SmallOrder{Kind: mostro.SideSell, AmountSats: 50_000, FiatCode: "EUR", FiatAmount: 50}
	index := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		known  int64 // 0 if unknown
		index  *int64
		signed bool
		hidden bool
		want   string
		last   int64
	}{
		"unknown, first":            {0, index(1), true, false, "", 1},
		"unknown, later":            {0, index(9), true, false, "", 9},
		"unknown, zero":             {0, index(0), true, false, "dropped", 0},
		"unknown, below zero":       {0, index(-1), true, false, "dropped", 0},
		"unknown, unsigned":         {0, index(1), false, false, "dropped", 0},
		"unknown, none":             {0, nil, true, false, "invalid_trade_index", 0},
		"unknown, none, in privacy": {0, nil, true, true, "", 0},
		"known, next":               {4, index(5), true, false, "", 5},
		"known, the same":           {4, index(4), true, false, "invalid_trade_index", 4},
		"known, lower":              {4, index(2), true, false, "invalid_trade_index", 4},
		"known, next, unsigned":     {4, index(5), false, false, "dropped", 4},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.someone()
			if c.hidden {
				p.Identity = p.Key
			}
			if c.known > 0 {
				r.store.users[p.Identity] = User{Identity: p.Identity, LastIndex: c.known}
			}
			msg := r.message(p, mostro.ActionNewOrder, nil, order)
			msg.Message.TradeIndex, msg.Signed = c.index, c.signed
			if got := r.receive(msg); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			if u := r.store.users[p.Identity]; u.LastIndex != c.last {
				t.Errorf("last index %d, want %d", u.LastIndex, c.last)
			}
		})
	}
}

// A live message is judged by the time of its arrival. A late message is judged by the window
// of its trade.
func TestFreshness(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	live := func(created, received, at int64) string {
		was := r.node.now
		r.node.now = was + at
		msg := r.message(buyer, mostro.ActionDispute, &id, nil)
		msg.CreatedAt, msg.Received = was+created, was+received
		msg.Message.Action = mostro.ActionAddInvoice
		msg.Message.Payload = mostro.PaymentRequest{Invoice: "x@home"}
		got := r.receive(msg) // not allowed in this status: the refusal shows that the message was read
		r.node.now = was
		return got
	}
	heard := string(mostro.ReasonNotAllowedByStatus)
	for name, c := range map[string]struct {
		created, received, at int64
		want                  string
	}{
		"fresh":                           {0, 0, 0, heard},
		"ten seconds old":                 {-10, 0, 0, heard},
		"older":                           {-11, 0, 0, "dropped"},
		"came while we were down an hour": {0, 2, 3600, heard},
		"a minute ahead":                  {60, 0, 0, heard},
		"further ahead":                   {61, 0, 0, "dropped"},
		"of the end of time":              {1 << 61, 0, 0, "dropped"},
	} {
		if got := live(c.created, c.received, c.at); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	late := func(p trade.Party, created int64) string {
		msg := r.message(p, mostro.ActionFiatSent, &id, nil)
		msg.Late, msg.CreatedAt, msg.Received = true, created, r.node.now
		return r.receive(msg)
	}
	held := r.trade(id).HeldAt
	r.node.now += 7200 // down for two hours
	if got := late(buyer, held-1); got != "dropped" {
		t.Errorf("a message from before the trade was active: %q", got)
	}
	if got := late(seller, held+600); got != string(mostro.ReasonInvalidPubkey) {
		t.Errorf("a message of the wrong party: %q", got)
	}
	if got := late(buyer, held+600); got != "" {
		t.Errorf("a backfilled message within the window of the trade: %q", got)
	}
	r.status(mostro.TradeFiatSent, id)
	if got := late(buyer, r.node.now+61); got != "dropped" {
		t.Errorf("a message of the future: %q", got)
	}
}

// If a party's message arrives after a restart, its trade still waits for the message.
func TestDowntimeCostsNobodyTheTrade(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, mostro.SmallOrder{})
	r.must(buyer, mostro.ActionTakeSell, &id, nil)
	msg := r.message(buyer, mostro.ActionAddInvoice, &id, r.bolt11For(id, 99_700_000, 20_000))
	msg.Late, msg.CreatedAt = true, r.node.now+300
	r.node.now += 10_000 // time runs out while the process is down
	r.start()
	r.pass(0)
	r.status(mostro.TradeWaitingBuyerInvoice, id)
	r.node.now += 60 // until the other relay was read
	if got := r.receive(msg); got != "" {
		t.Fatalf("%q", got)
	}
	r.settle()
	r.status(mostro.TradeWaitingPayment, id)
	// Without any message the grace period ends.
	other := r.order(r.someone(), mostro.SmallOrder{})
	r.must(r.someone(), mostro.ActionTakeSell, &other, nil)
	r.node.now += 10_000
	r.start()
	r.pass(r.policy.GraceSeconds)
	r.status(mostro.TradePending, other)
}

func TestPausedNodeTakesNoNewTrades(t *testing.T) {
	r := newRig(t)
	id, _, buyer := r.toActive()
	pending := r.order(r.someone(), mostro.SmallOrder{})
	r.book.Pause(true)
	r.commit()
	r.start()
	r.refused(mostro.ReasonNotAllowedByStatus, r.someone(), mostro.ActionTakeSell, &pending, nil)
	if got := r.say(r.someone(), mostro.ActionNewOrder, nil, &mostro.SmallOrder{Kind: mostro.SideSell, AmountSats: 50_000, FiatCode: "EUR", FiatAmount: 50}); got != string(mostro.ReasonNotAllowedByStatus) {
		t.Errorf("%q", got)
	}
	r.must(buyer, mostro.ActionFiatSent, &id, nil) // open trades continue
	r.book.Pause(false)
	r.must(r.someone(), mostro.ActionTakeSell, &pending, nil)
}

func TestDispute(t *testing.T) {
	for _, by := range []mostro.Initiator{mostro.InitiatorBuyer, mostro.InitiatorSeller} {
		r := newRig(t)
		id, seller, buyer := r.toActive()
		mine, theirs := buyer, seller
		if by == mostro.InitiatorSeller {
			mine, theirs = seller, buyer
		}
		pending := r.order(r.someone(), mostro.SmallOrder{})
		r.refused(mostro.ReasonNotAllowedByStatus, seller, mostro.ActionDispute, &pending, nil)
		r.must(mine, mostro.ActionDispute, &id, nil)
		you, peer := r.last(mine, mostro.ActionDisputeInitiatedByYou), r.last(theirs, mostro.ActionDisputeInitiatedByPeer)
		ref := you.Payload.(mostro.DisputeRef)
		if ref != peer.Payload.(mostro.DisputeRef) || ref.ID == id || *you.RequestID != *peer.RequestID {
			t.Errorf("%+v, %+v", you, peer)
		}
		r.refused(mostro.ReasonDisputeCreationError, theirs, mostro.ActionDispute, &id, nil)
		r.refused(mostro.ReasonInvalidOrderStatus, buyer, mostro.ActionFiatSent, &id, nil)
		r.must(mine, mostro.ActionCancel, &id, nil)
		r.must(theirs, mostro.ActionCancel, &id, nil)
		r.status(mostro.TradeCooperativelyCanceled, id)
		if len(r.disputes) != 2 || r.disputes[1] != mostro.DisputeStatusSellerRefunded {
			t.Errorf("published %v", r.disputes)
		}
	}
}

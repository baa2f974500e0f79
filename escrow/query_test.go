package escrow

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

func TestOrdersQuery(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	other := r.order(r.someone(), message.SmallOrder{})
	pending := r.order(seller2(r, seller), message.SmallOrder{})
	r.must(seller, message.ActionOrders, nil, message.IDs{pending, other, id, {1}})
	m := r.last(seller, message.ActionOrders)
	list := m.Payload.(message.OrderList)
	if len(list) != 2 || *list[0].ID != pending || *list[1].ID != id || m.ID != nil || m.RequestID == nil {
		t.Fatalf("%+v", m)
	}
	if list[1].BuyerInvoice != nil || list[1].AmountSats != 100_000 || *list[1].BuyerTradePubkey != buyer.Key || list[0].SellerTradePubkey != nil {
		t.Errorf("%+v", list)
	}
	r.refused(message.ReasonNotFound, r.someone(), message.ActionOrders, nil, message.IDs{id})
	r.refused(message.ReasonInvalidParameters, seller, message.ActionOrders, nil, message.IDs{})
	r.refused(message.ReasonInvalidParameters, seller, message.ActionOrders, nil, message.OrderList{})
	r.refused(message.ReasonTooManyRequests, seller, message.ActionOrders, nil, make(message.IDs, 11))
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
	r.refused(message.ReasonNotFound, p, message.ActionLastTradeIndex, nil, nil)
	p.Index = 4
	r.order(p, message.SmallOrder{})
	r.must(p, message.ActionLastTradeIndex, nil, nil)
	m := r.last(p, message.ActionLastTradeIndex)
	if m.Wrapper != message.WrapperRestore || *m.TradeIndex != 4 || m.Payload != nil || m.RequestID == nil {
		t.Errorf("%+v", m)
	}
	r.store.users[p.Identity] = User{Identity: p.Identity, CreatedAt: 1}
	r.refused(message.ReasonInvalidTradeIndex, p, message.ActionLastTradeIndex, nil, nil)
}

func TestRestoreSession(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	pending := r.order(seller2(r, seller), message.SmallOrder{})
	over := r.order(seller2(r, seller2(r, seller)), message.SmallOrder{}) // has index 3
	maker := r.trade(over).Seller
	r.must(maker, message.ActionCancel, &over, nil)
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.must(buyer, message.ActionDispute, &id, nil)
	r.must(seller, message.ActionRestoreSession, nil, nil)
	m := r.last(seller, message.ActionRestoreSession)
	data := m.Payload.(message.RestoreData)
	if m.Wrapper != message.WrapperRestore || m.RequestID != nil || len(data.Orders) != 2 || len(data.Disputes) != 1 {
		t.Fatalf("%+v", m)
	}
	for _, o := range data.Orders {
		want := message.RestoredOrder{OrderID: id, TradeIndex: 1, Status: "dispute", CounterpartyTradePubkey: &buyer.Key}
		if o.OrderID == pending {
			want = message.RestoredOrder{OrderID: pending, TradeIndex: 2, Status: "pending"}
		}
		if !reflect.DeepEqual(o, want) {
			t.Errorf("%+v, want %+v", o, want)
		}
	}
	if d := data.Disputes[0]; d.OrderID != id || d.Initiator != message.InitiatorBuyer || d.Status != "initiated" || d.DisputeID != r.trade(id).Dispute.ID {
		t.Errorf("%+v", d)
	}
	stranger := r.someone()
	r.must(stranger, message.ActionRestoreSession, nil, nil)
	if data := r.last(stranger, message.ActionRestoreSession).Payload.(message.RestoreData); len(data.Orders)+len(data.Disputes) != 0 {
		t.Errorf("a stranger received %+v", data)
	}
}

// The largest answer to restore-session fits into one message.
func TestRestoreSessionFits(t *testing.T) {
	key := simKey(1)
	var data message.RestoreData
	for range maxRestored {
		data.Orders = append(data.Orders, message.RestoredOrder{TradeIndex: math.MaxInt64, Status: string(message.TradeWaitingBuyerInvoice), CounterpartyTradePubkey: &key})
		data.Disputes = append(data.Disputes, message.RestoredDispute{TradeIndex: math.MaxInt64, Status: string(message.DisputeStatusInProgress), Initiator: message.InitiatorSeller})
	}
	node, err := envelope.KeysFromSecret([32]byte{31: 2})
	if err != nil {
		t.Fatal(err)
	}
	m := message.Message{Wrapper: message.WrapperRestore, RequestID: new(uint64(math.MaxUint64)), Action: message.ActionRestoreSession, Payload: data}
	if _, err := envelope.Seal(t.Context(), m, envelope.SealOptions{Transport: envelope.TransportV2, To: node.Pubkey(), Trade: node, Now: time.Unix(1_790_000_000, 0)}); err != nil {
		t.Error(err)
	}
}

// The trade indexes of an identity count upward. A refused message uses none.
func TestTradeIndex(t *testing.T) {
	order := &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 50_000, FiatCode: "EUR", FiatAmount: 50}
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
			msg := r.message(p, message.ActionNewOrder, nil, order)
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
		msg := r.message(buyer, message.ActionDispute, &id, nil)
		msg.CreatedAt, msg.Received = was+created, was+received
		msg.Message.Action = message.ActionAddInvoice
		msg.Message.Payload = message.PaymentRequest{Invoice: "x@home"}
		got := r.receive(msg) // not allowed in this status: the refusal shows that the message was read
		r.node.now = was
		return got
	}
	heard := string(message.ReasonNotAllowedByStatus)
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
		msg := r.message(p, message.ActionFiatSent, &id, nil)
		msg.Late, msg.CreatedAt, msg.Received = true, created, r.node.now
		return r.receive(msg)
	}
	held := r.trade(id).HeldAt
	r.node.now += 7200 // down for two hours
	if got := late(buyer, held-1); got != "dropped" {
		t.Errorf("a message from before the trade was active: %q", got)
	}
	if got := late(seller, held+600); got != string(message.ReasonInvalidPubkey) {
		t.Errorf("a message of the wrong party: %q", got)
	}
	if got := late(buyer, held+600); got != "" {
		t.Errorf("a backfilled message within the window of the trade: %q", got)
	}
	r.status(message.TradeFiatSent, id)
	if got := late(buyer, r.node.now+61); got != "dropped" {
		t.Errorf("a message of the future: %q", got)
	}
}

// If a party's message arrives after a restart, its trade still waits for the message.
func TestDowntimeCostsNobodyTheTrade(t *testing.T) {
	r := newRig(t)
	seller, buyer := r.someone(), r.someone()
	id := r.order(seller, message.SmallOrder{})
	r.must(buyer, message.ActionTakeSell, &id, nil)
	msg := r.message(buyer, message.ActionAddInvoice, &id, r.bolt11For(id, 99_700_000, 20_000))
	msg.Late, msg.CreatedAt = true, r.node.now+300
	r.node.now += 10_000 // time runs out while the process is down
	r.start()
	r.pass(0)
	r.status(message.TradeWaitingBuyerInvoice, id)
	r.node.now += 60 // until the other relay was read
	if got := r.receive(msg); got != "" {
		t.Fatalf("%q", got)
	}
	r.settle()
	r.status(message.TradeWaitingPayment, id)
	// Without any message the grace period ends.
	other := r.order(r.someone(), message.SmallOrder{})
	r.must(r.someone(), message.ActionTakeSell, &other, nil)
	r.node.now += 10_000
	r.start()
	r.pass(r.policy.GraceSeconds)
	r.status(message.TradePending, other)
}

func TestPausedNodeTakesNoNewTrades(t *testing.T) {
	r := newRig(t)
	id, _, buyer := r.toActive()
	pending := r.order(r.someone(), message.SmallOrder{})
	r.book.Pause(true)
	r.commit()
	r.start()
	r.refused(message.ReasonNotAllowedByStatus, r.someone(), message.ActionTakeSell, &pending, nil)
	if got := r.say(r.someone(), message.ActionNewOrder, nil, &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 50_000, FiatCode: "EUR", FiatAmount: 50}); got != string(message.ReasonNotAllowedByStatus) {
		t.Errorf("%q", got)
	}
	r.must(buyer, message.ActionFiatSent, &id, nil) // open trades continue
	r.book.Pause(false)
	r.must(r.someone(), message.ActionTakeSell, &pending, nil)
}

func TestDispute(t *testing.T) {
	for _, by := range []message.Initiator{message.InitiatorBuyer, message.InitiatorSeller} {
		r := newRig(t)
		id, seller, buyer := r.toActive()
		mine, theirs := buyer, seller
		if by == message.InitiatorSeller {
			mine, theirs = seller, buyer
		}
		pending := r.order(r.someone(), message.SmallOrder{})
		r.refused(message.ReasonNotAllowedByStatus, seller, message.ActionDispute, &pending, nil)
		r.must(mine, message.ActionDispute, &id, nil)
		you, peer := r.last(mine, message.ActionDisputeInitiatedByYou), r.last(theirs, message.ActionDisputeInitiatedByPeer)
		ref := you.Payload.(message.DisputeRef)
		if ref != peer.Payload.(message.DisputeRef) || ref.ID == id || *you.RequestID != *peer.RequestID {
			t.Errorf("%+v, %+v", you, peer)
		}
		r.refused(message.ReasonDisputeCreationError, theirs, message.ActionDispute, &id, nil)
		r.refused(message.ReasonInvalidOrderStatus, buyer, message.ActionFiatSent, &id, nil)
		r.must(mine, message.ActionCancel, &id, nil)
		r.must(theirs, message.ActionCancel, &id, nil)
		r.status(message.TradeCooperativelyCanceled, id)
		if len(r.disputes) != 2 || r.disputes[1] != message.DisputeStatusCooperativelyCanceled {
			t.Errorf("published %v", r.disputes)
		}
	}
}

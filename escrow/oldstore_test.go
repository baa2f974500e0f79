package escrow

import (
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/rollback"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// The golden stores in testdata were written by this program at commit 1307280, before the
// rules of trades had a version. They prove that a newer program replays the journals of that
// commit to the same trades, and ends the trades that were open at that time.
//
//	go test ./escrow -run TestWriteOldStore -oldstore.write
//
// rewrites the files. This is right only at the commit whose rules the files hold.
var writeOldStore = flag.Bool("oldstore.write", false, "rewrite testdata/rules0*.json.gz with the rules of this commit")

// oldStore is a store, its Lightning node and its users at one moment.
type oldStore struct {
	Node    string      `json:"node"` // secret key of the Mostro, in hex
	Now     int64       `json:"now"`  // in Unix seconds
	Height  uint32      `json:"height"`
	Badger  [][2][]byte `json:"badger"` // pairs of key and value
	Holds   []oldHold   `json:"holds"`
	Pays    []oldPay    `json:"pays"`
	Sums    [6]int64    `json:"sums"` // locked, held, refunded, settled, paid and routing, in msat
	Trades  []oldTrade  `json:"trades"`
	Version string      `json:"version"`
}

type oldHold struct {
	State     lightning.HoldState `json:"state"`
	ByUs      bool                `json:"by_us"`
	ExpiresAt int64               `json:"expires_at"`
}

type oldPay struct {
	State lightning.PaymentState `json:"state"`
	Order string                 `json:"order"`
}

// oldTrade is a trade, named after the state it was left in, with the secrets of its parties.
type oldTrade struct {
	Name   string              `json:"name"`
	ID     trade.OrderID       `json:"id"`
	Status message.TradeStatus `json:"status"`
	Seller oldUser             `json:"seller"`
	Buyer  oldUser             `json:"buyer"`
}

type oldUser struct {
	Trade     string             `json:"trade,omitempty"` // secret key in hex
	Identity  string             `json:"identity,omitempty"`
	Transport envelope.Transport `json:"transport,omitempty"`
	Index     int64              `json:"index,omitempty"`
}

func (u *user) export() oldUser {
	if u == nil {
		return oldUser{}
	}
	secret := u.trade.Secret()
	o := oldUser{Trade: hex.EncodeToString(secret[:]), Transport: u.transport, Index: u.index}
	if u.identity != nil {
		secret = u.identity.Secret()
		o.Identity = hex.EncodeToString(secret[:])
	}
	return o
}

// TestWriteOldStore brings trades to every state over every transport. It writes the store as
// it is then, and again after a start that detects an older copy.
func TestWriteOldStore(t *testing.T) {
	if !*writeOldStore {
		t.Skip("this test writes golden files; see oldStore")
	}
	w := newWorld(t)
	w.clock.now = time.Unix(1_790_000_000, 0)
	w.node.with(func(n *simNode) { n.now = w.clock.now.Unix() })
	o := &oldWriter{w: w}
	for _, transport := range []envelope.Transport{envelope.TransportV2, envelope.TransportV1, envelope.TransportLegacy} {
		o.every(transport)
	}
	o.interrupted()
	o.write("rules0.json.gz", false)
	w.start()
	// The rollback guard is ahead of the store, so the store counts as an older copy.
	w.node.with(func(n *simNode) { n.down = false })
	_ = w.stop()
	if err := w.witness(1_000_000); err != nil {
		t.Fatal(err)
	}
	w.start()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, reconciling, err := w.engine.Paused(t.Context()); err != nil || time.Now().After(deadline) {
			t.Fatal("the copy is still being compared", err)
		} else if !reconciling {
			break
		}
	}
	o.write("rules0-copy.json.gz", true)
	w.start()
}

// witness sets the rollback guard of a world to a number of commits.
func (w *world) witness(commits uint64) error {
	return rollback.Guard{Path: filepath.Join(w.dir, "escrow.witness")}.Store(commits)
}

type oldWriter struct {
	w      *world
	trades []oldTrade
}

func (o *oldWriter) note(name string, id trade.OrderID, seller, buyer *user) {
	o.trades = append(o.trades, oldTrade{Name: name, ID: id, Seller: seller.export(), Buyer: buyer.export()})
}

// every brings one trade to each state.
func (o *oldWriter) every(transport envelope.Transport) {
	w, name := o.w, func(s string) string { return s + ", " + string(transport) }
	address := func(id trade.OrderID) message.Payload { return message.PaymentRequest{Invoice: id.String() + "@home"} }
	sell := func() (*user, trade.OrderID) {
		u := w.user(transport)
		u.send(u.sell(52_000, 50))
		return u, *u.wait(message.ActionNewOrder).ID
	}
	take := func(id trade.OrderID, p message.Payload) *user {
		u := w.user(transport)
		u.send(message.Message{RequestID: number(2), TradeIndex: u.tradeIndex(), ID: &id, Action: message.ActionTakeSell, Payload: p})
		return u
	}
	shown := func(u *user) trade.Hash { return simDecode(shownHold(u)).Hash }
	say := func(u *user, id trade.OrderID, a message.Action, p message.Payload) {
		u.send(message.Message{RequestID: number(9), ID: &id, Action: a, Payload: p})
	}
	active := func() (seller, buyer *user, id trade.OrderID) {
		seller, id = sell()
		buyer = take(id, address(id))
		h := shown(seller)
		w.node.with(func(n *simNode) { n.pay(h) })
		w.until(id, message.TradeActive)
		return seller, buyer, id
	}
	fiatSent := func() (seller, buyer *user, id trade.OrderID) {
		seller, buyer, id = active()
		say(buyer, id, message.ActionFiatSent, nil)
		w.until(id, message.TradeFiatSent)
		return seller, buyer, id
	}

	seller, id := sell()
	o.note(name("pending sell"), id, seller, nil)

	maker := w.user(transport)
	m := maker.sell(52_000, 50)
	p := m.Payload.(*message.SmallOrder)
	text := "maker@home"
	p.Kind, p.BuyerInvoice = mostro.SideBuy, &text
	maker.send(m)
	id = *maker.wait(message.ActionNewOrder).ID
	o.note(name("pending buy with an address"), id, nil, maker)

	maker = w.user(transport)
	m = maker.sell(0, 0)
	p = m.Payload.(*message.SmallOrder)
	low, high := int64(10), int64(100)
	p.MinAmount, p.MaxAmount = &low, &high
	maker.send(m)
	id = *maker.wait(message.ActionNewOrder).ID
	o.note(name("pending range"), id, maker, nil)

	seller, id = sell()
	say(seller, id, message.ActionCancel, nil)
	w.until(id, message.TradeCanceled)
	o.note(name("canceled by its maker"), id, seller, nil)

	seller, id = sell()
	buyer := take(id, nil)
	w.until(id, message.TradeWaitingBuyerInvoice)
	o.note(name("waiting for an invoice"), id, seller, buyer)

	seller, id = sell()
	buyer = take(id, address(id))
	shown(seller)
	o.note(name("waiting for the payment"), id, seller, buyer)

	seller, id = sell()
	buyer = take(id, address(id))
	shown(seller)
	say(buyer, id, message.ActionCancel, nil)
	w.until(id, message.TradePending)
	o.note(name("back in the book"), id, seller, nil)

	maker = w.user(transport)
	m = maker.sell(52_000, 50)
	m.Payload.(*message.SmallOrder).Kind = mostro.SideBuy
	maker.send(m)
	id = *maker.wait(message.ActionNewOrder).ID
	seller = w.user(transport)
	seller.send(message.Message{RequestID: number(2), TradeIndex: seller.tradeIndex(), ID: &id, Action: message.ActionTakeBuy})
	h := shown(seller)
	w.node.with(func(n *simNode) { n.pay(h) })
	w.until(id, message.TradeWaitingBuyerInvoice)
	o.note(name("held, waiting for an invoice"), id, seller, maker)

	seller, buyer, id = active()
	o.note(name("active"), id, seller, buyer)

	seller, buyer, id = active()
	say(buyer, id, message.ActionCancel, nil)
	seller.wait(message.ActionCooperativeCancelInitiatedByPeer)
	o.note(name("active, cancel asked"), id, seller, buyer)

	seller, buyer, id = active()
	say(buyer, id, message.ActionCancel, nil)
	seller.wait(message.ActionCooperativeCancelInitiatedByPeer)
	say(seller, id, message.ActionCancel, nil)
	w.until(id, message.TradeCooperativelyCanceled)
	o.note(name("cancelled by both"), id, seller, buyer)

	seller, buyer, id = active()
	say(buyer, id, message.ActionCancel, nil)
	seller.wait(message.ActionCooperativeCancelInitiatedByPeer)
	say(buyer, id, message.ActionFiatSent, nil)
	w.until(id, message.TradeFiatSent)
	o.note(name("fiat sent, cancel asked before"), id, seller, buyer)

	seller, buyer, id = fiatSent()
	o.note(name("fiat sent"), id, seller, buyer)

	seller, buyer, id = active()
	say(buyer, id, message.ActionDispute, nil)
	w.until(id, message.TradeDispute)
	o.note(name("disputed by the buyer"), id, seller, buyer)

	seller, buyer, id = fiatSent()
	say(seller, id, message.ActionDispute, nil)
	w.until(id, message.TradeDispute)
	o.note(name("disputed by the seller, fiat sent"), id, seller, buyer)

	seller, buyer, id = fiatSent()
	frozen := w.trade(id)
	_ = w.ln.Settle(w.tb.Context(), frozen.Preimage)
	for !w.trade(id).Frozen {
		time.Sleep(time.Millisecond)
	}
	o.note(name("frozen"), id, seller, buyer)

	seller, buyer, id = fiatSent()
	say(seller, id, message.ActionRelease, nil)
	w.until(id, message.TradeSuccess)
	o.note(name("success"), id, seller, buyer)

	seller, buyer, id = fiatSent()
	w.node.with(func(*simNode) { w.node.failPays = 1000 })
	say(seller, id, message.ActionRelease, nil)
	for n := uint32(1); n <= 3; n++ {
		for w.trade(id).Payout.Failures < n {
			w.clock.move(61 * time.Second)
			w.node.with(func(n *simNode) { n.now = w.clock.Now().Unix() })
			time.Sleep(20 * time.Millisecond)
		}
	}
	buyer.wait(message.ActionAddInvoice)
	w.node.with(func(*simNode) { w.node.failPays = 0 })
	o.note(name("payout failed, invoice asked for"), id, seller, buyer)

	seller, buyer, id = fiatSent()
	w.node.with(func(*simNode) { w.node.failPays = 1 })
	say(seller, id, message.ActionRelease, nil)
	for w.trade(id).Payout.Failures != 1 {
		time.Sleep(time.Millisecond)
	}
	w.node.with(func(*simNode) { w.node.failPays = 0 })
	o.note(name("payout failed once"), id, seller, buyer)
}

// interrupted leaves trades with calls that the node has not answered.
func (o *oldWriter) interrupted() {
	w := o.w
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV2)
	seller.send(seller.sell(52_000, 50))
	id := *seller.wait(message.ActionNewOrder).ID
	take := message.Message{RequestID: number(2), TradeIndex: buyer.tradeIndex(), ID: &id, Action: message.ActionTakeSell}
	take.Payload = message.PaymentRequest{Invoice: id.String() + "@home"}
	buyer.send(take)
	h := simDecode(shownHold(seller)).Hash
	w.node.with(func(n *simNode) { n.pay(h) })
	w.until(id, message.TradeActive)
	buyer.send(message.Message{RequestID: number(3), ID: &id, Action: message.ActionFiatSent})
	w.until(id, message.TradeFiatSent)

	waiting, taker := w.user(envelope.TransportV1), w.user(envelope.TransportV1)
	waiting.send(waiting.sell(52_000, 50))
	other := *waiting.wait(message.ActionNewOrder).ID
	w.node.with(func(n *simNode) { n.down = true })
	seller.send(message.Message{RequestID: number(4), ID: &id, Action: message.ActionRelease})
	for !w.trade(id).Settling {
		time.Sleep(time.Millisecond)
	}
	o.note("released, node down", id, seller, buyer)
	take = message.Message{RequestID: number(2), TradeIndex: taker.tradeIndex(), ID: &other, Action: message.ActionTakeSell}
	take.Payload = message.PaymentRequest{Invoice: other.String() + "@home"}
	taker.send(take)
	w.until(other, message.TradeWaitingPayment)
	o.note("taken, node down", other, waiting, taker)
}

// shownHold waits for the hold invoice that a seller is shown, and returns the invoice.
func shownHold(seller *user) string {
	for {
		if p, ok := seller.wait(message.ActionPayInvoice).Payload.(message.PaymentRequest); ok {
			return p.Invoice
		}
	}
}

// write stops the world and writes its store to a golden file.
func (o *oldWriter) write(file string, copied bool) {
	w, tb := o.w, o.w.tb
	tb.Helper()
	_ = w.stop()
	db, err := OpenDB(filepath.Join(w.dir, "escrow"))
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	if err := db.Check(); err != nil {
		tb.Fatal(err)
	}
	secret := w.keys.Secret()
	s := oldStore{Node: hex.EncodeToString(secret[:]), Now: w.clock.Now().Unix(), Version: "1307280"}
	err = db.b.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			v, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			s.Badger = append(s.Badger, [2][]byte{it.Item().KeyCopy(nil), v})
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	n := w.node.n
	s.Height = n.height
	s.Sums = [6]int64{n.lockedMsat, n.heldMsat, n.refundedMsat, n.settledMsat, n.paidMsat, n.routingMsat}
	for _, h := range n.holds {
		s.Holds = append(s.Holds, oldHold{h.state, h.byUs, h.expiresAt})
	}
	slices.SortFunc(s.Holds, func(a, b oldHold) int { return slices.Compare(a.State.Hash[:], b.State.Hash[:]) })
	for _, p := range n.pays {
		s.Pays = append(s.Pays, oldPay{p.state, p.order})
	}
	slices.SortFunc(s.Pays, func(a, b oldPay) int { return slices.Compare(a.State.Hash[:], b.State.Hash[:]) })
	for _, t := range o.trades {
		tr, err := db.Trade(t.ID)
		if err != nil {
			tb.Fatal(err)
		}
		if t.Status = tr.Status; copied && tr.Frozen {
			t.Name += ", frozen"
		}
		s.Trades = append(s.Trades, t)
	}
	f, err := os.Create(filepath.Join("testdata", file))
	if err != nil {
		tb.Fatal(err)
	}
	z := gzip.NewWriter(f)
	if err := json.NewEncoder(z).Encode(&s); err != nil {
		tb.Fatal(err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
	tb.Logf("%s: %d trades, %d keys, %d holds, %d payments", file, len(s.Trades), len(s.Badger), len(s.Holds), len(s.Pays))
}

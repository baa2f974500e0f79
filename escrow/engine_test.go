package escrow

import (
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

func number(n uint64) *uint64 { return &n }

func (u *user) sell(sats, fiat int64) message.Message {
	return message.Message{RequestID: number(1), TradeIndex: u.tradeIndex(), Action: message.ActionNewOrder, Payload: &message.SmallOrder{
		Kind: mostro.SideSell, Status: message.TradePending, AmountSats: sats, FiatCode: "EUR", FiatAmount: fiat, PaymentMethod: "SEPA",
	}}
}

func (u *user) tradeIndex() *int64 {
	if u.identity == nil {
		return nil
	}
	n := u.index
	return &n
}

// echoed reports whether an answer carries the id of its request. The form of 2023 has no
// such field.
func (u *user) echoed(m message.Message, id uint64) bool {
	if u.transport == envelope.TransportLegacy {
		return m.RequestID == nil
	}
	return m.RequestID != nil && *m.RequestID == id
}

// sellOrder runs one sell order to its end, and calls pause between each two steps of a user.
func (w *world) sellOrder(seller, buyer *user, pause func(step string)) trade.OrderID {
	w.tb.Helper()
	seller.send(seller.sell(52_000, 50))
	ack := seller.wait(message.ActionNewOrder)
	id := *ack.ID
	if !seller.echoed(ack, 1) || ack.Payload.(*message.SmallOrder).Status != message.TradePending {
		w.tb.Fatalf("the acknowledgement is %+v", ack)
	}
	pause("new-order")
	buyer.send(message.Message{RequestID: number(2), TradeIndex: buyer.tradeIndex(), ID: &id, Action: message.ActionTakeSell})
	ask := buyer.wait(message.ActionAddInvoice).Payload.(*message.SmallOrder)
	if ask.AmountSats != 51_844 || ask.CreatedAt == nil || ask.BuyerTradePubkey != nil {
		w.tb.Fatalf("the request is %+v", ask)
	}
	seller.wait(message.ActionWaitingBuyerInvoice)
	pause("take-sell")
	var h trade.Hash
	copy(h[:], id[:])
	buyer.send(message.Message{RequestID: number(3), ID: &id, Action: message.ActionAddInvoice, Payload: message.PaymentRequest{
		Invoice: simInvoice(h, 51_844_000, w.clock.Now().Unix()+7200, id.String()),
	}})
	buyer.wait(message.ActionWaitingSellerToPay)
	var hold message.PaymentRequest
	for {
		if p, ok := seller.wait(message.ActionPayInvoice).Payload.(message.PaymentRequest); ok {
			hold = p
			break
		}
	}
	if hold.Order.AmountSats != 52_156 || hold.Order.BuyerInvoice != nil {
		w.tb.Fatalf("the hold order is %+v", hold.Order)
	}
	pause("add-invoice")
	w.node.with(func(n *simNode) {
		if !n.pay(simDecode(hold.Invoice).Hash) {
			w.tb.Error("the hold invoice cannot be paid")
		}
	})
	if o := buyer.wait(message.ActionHoldInvoicePaymentAccepted).Payload.(*message.SmallOrder); o.AmountSats != 51_844 || *o.SellerTradePubkey != seller.trade.Pubkey() {
		w.tb.Fatalf("the buyer received %+v", o)
	}
	if o := seller.wait(message.ActionBuyerTookOrder).Payload.(*message.SmallOrder); o.AmountSats != 52_156 || o.BuyerInvoice != nil {
		w.tb.Fatalf("the seller received %+v", o)
	}
	pause("paid")
	buyer.send(message.Message{RequestID: number(4), ID: &id, Action: message.ActionFiatSent})
	seller.wait(message.ActionFiatSentOk)
	if m := buyer.wait(message.ActionFiatSentOk); !buyer.echoed(m, 4) || m.Payload.(message.Peer).Pubkey != seller.trade.Pubkey() {
		w.tb.Fatalf("the buyer received %+v", m)
	}
	pause("fiat-sent")
	seller.send(message.Message{RequestID: number(5), ID: &id, Action: message.ActionRelease})
	released := message.ActionReleased
	if buyer.transport == envelope.TransportLegacy {
		released = message.ActionRelease // 2023 had one action for both
	}
	buyer.wait(released)
	if m := seller.wait(message.ActionHoldInvoicePaymentSettled); !seller.echoed(m, 5) {
		w.tb.Fatalf("the seller received %+v", m)
	}
	seller.wait(message.ActionRate)
	pause("release")
	buyer.wait(message.ActionPurchaseCompleted)
	buyer.wait(message.ActionRate)
	w.until(id, message.TradeSuccess)
	return id
}

func TestSellOrderInEveryTransport(t *testing.T) {
	for _, transport := range []envelope.Transport{envelope.TransportV2, envelope.TransportV1, envelope.TransportLegacy} {
		t.Run(transport.String(), func(t *testing.T) {
			w := newWorld(t)
			w.sellOrder(w.user(transport), w.user(transport), func(string) {})
			w.node.with(func(n *simNode) {
				if n.paidMsat != 51_844_000 || n.settledMsat != 52_156_000 || n.heldMsat != 0 {
					t.Errorf("paid %d, settled %d, held %d msat", n.paidMsat, n.settledMsat, n.heldMsat)
				}
			})
		})
	}
	t.Run("each side in its own", func(t *testing.T) {
		w := newWorld(t)
		w.sellOrder(w.user(envelope.TransportV1), w.user(envelope.TransportV2), func(string) {})
	})
}

// A restart between any two steps changes nothing that a user sees.
func TestRestartAtEveryStep(t *testing.T) {
	w := newWorld(t)
	restarts := 0
	w.sellOrder(w.user(envelope.TransportV2), w.user(envelope.TransportV2), func(string) { w.restart(); restarts++ })
	if restarts != 6 {
		t.Fatalf("%d restarts", restarts)
	}
}

// The book shows the order as pending only while the order can be taken, and each version is
// newer than the one before.
func TestBookFollowsTheTrade(t *testing.T) {
	w := newWorld(t)
	id := w.sellOrder(w.user(envelope.TransportV2), w.user(envelope.TransportV2), func(string) {})
	want := []mostro.Status{mostro.StatusPending, mostro.StatusInProgress, mostro.StatusSuccess}
	var shown []mostro.Status
	deadline := time.Now().Add(10 * time.Second)
	for len(shown) < len(want) && time.Now().Before(deadline) {
		shown = shown[:0]
		var last int64
		_ = w.log.Read(t.Context(), 0, func(e mostro.Entry) error {
			if e.Event.Kind != mostro.KindOrder || e.Event.Tags.GetD() != id.String() {
				return nil
			}
			o, err := mostro.ParseOrder(e.Event)
			if err != nil {
				t.Fatal(err)
			}
			if ok, err := e.Event.CheckSignature(); !ok || err != nil || e.Event.PubKey != w.keys.Pubkey() {
				t.Fatal("the order's event is not signed by the node")
			}
			if int64(e.Event.CreatedAt) <= last {
				t.Errorf("a version of time %d follows one of time %d", e.Event.CreatedAt, last)
			}
			last = int64(e.Event.CreatedAt)
			shown = append(shown, o.Status)
			return nil
		})
	}
	if len(shown) != len(want) || shown[0] != want[0] || shown[1] != want[1] || shown[2] != want[2] {
		t.Fatalf("the statuses in the book were %v, want %v", shown, want)
	}
}

// The logs hold no secret of the trade.
func TestLogsHoldNoSecret(t *testing.T) {
	w := newWorld(t)
	id := w.sellOrder(w.user(envelope.TransportV2), w.user(envelope.TransportV1), func(string) { w.restart() })
	tr := w.trade(id)
	if err := w.stop(); err == nil {
		t.Error("the engine stopped without a log line")
	} else if text := err.Error(); strings.Contains(text, tr.Preimage.Hex()) {
		t.Error("the error contains the preimage")
	}
	secret := w.keys.Secret()
	for name, text := range map[string]string{
		"preimage": tr.Preimage.Hex(), "invoice": tr.HoldInvoice, "payout": tr.BuyerInvoice.Text,
		"key": hexOf(secret[:]), "trade key": tr.Buyer.Key,
	} {
		if text == "" || strings.Contains(w.output.String(), text) {
			t.Errorf("the log contains the %s", name)
		}
	}
}

// A party that changes between v2 and v1 during a trade is answered over the transport of its
// last message. A party that began with the transport of 2023 stays there.
func TestPartyThatChangesTransport(t *testing.T) {
	w := newWorld(t)
	seller, buyer := w.user(envelope.TransportV2), w.user(envelope.TransportV1)
	turn := map[string]envelope.Transport{"new-order": envelope.TransportV1, "take-sell": envelope.TransportV2, "paid": envelope.TransportV1, "fiat-sent": envelope.TransportV2}
	id := w.sellOrder(seller, buyer, func(step string) {
		// Messages to the old address are read before the change.
		if to, ok := turn[step]; ok && step != "fiat-sent" {
			buyer.transport = to
		} else if ok {
			seller.transport = envelope.TransportV1
		}
	})
	tr := w.trade(id)
	if tr.Buyer.Transport != envelope.TransportV1 || tr.Seller.Transport != envelope.TransportV1 {
		t.Errorf("the transport of the buyer is %s, of the seller %s", tr.Buyer.Transport, tr.Seller.Transport)
	}
	old := newRig(t)
	from := old.someone()
	from.Transport = envelope.TransportLegacy
	order := old.order(from, message.SmallOrder{})
	from.Transport = envelope.TransportV2
	old.must(from, message.ActionCancel, &order, nil)
	if p := old.trade(order).Seller; p.Transport != envelope.TransportLegacy {
		t.Errorf("a party that began with 2023 has transport %s", p.Transport)
	}
}

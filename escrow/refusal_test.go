package escrow

import (
	"math"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

func TestNewOrderRefusals(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	text := func(s string) *string { return &s }
	good := func() *message.SmallOrder {
		return &message.SmallOrder{Kind: mostro.SideSell, AmountSats: 50_000, FiatCode: "EUR", FiatAmount: 50, PaymentMethod: "SEPA"}
	}
	for name, c := range map[string]struct {
		with func(*message.SmallOrder, *rig)
		want message.Reason
	}{
		"currency that the operator does not take": {func(o *message.SmallOrder, r *rig) { o.FiatCode = "USD"; r.book.Policy.Currencies = []string{"EUR"} }, message.ReasonInvalidFiatCurrency},
		"currency that is none":                    {func(o *message.SmallOrder, _ *rig) { o.FiatCode = "eu\"ro" }, message.ReasonInvalidFiatCurrency},
		"no currency":                              {func(o *message.SmallOrder, _ *rig) { o.FiatCode = "" }, message.ReasonInvalidFiatCurrency},
		"no fiat":                                  {func(o *message.SmallOrder, _ *rig) { o.FiatAmount = 0 }, message.ReasonInvalidAmount},
		"negative fiat":                            {func(o *message.SmallOrder, _ *rig) { o.FiatAmount = -5 }, message.ReasonInvalidAmount},
		"negative sats":                            {func(o *message.SmallOrder, _ *rig) { o.AmountSats = -1 }, message.ReasonInvalidAmount},
		"least number there is":                    {func(o *message.SmallOrder, _ *rig) { o.AmountSats = math.MinInt64 }, message.ReasonInvalidAmount},
		"range upside down": {func(o *message.SmallOrder, _ *rig) {
			o.AmountSats, o.FiatAmount, o.MinAmount, o.MaxAmount = 0, 0, n(50), n(40)
		}, message.ReasonInvalidAmount},
		"range of one": {func(o *message.SmallOrder, _ *rig) {
			o.AmountSats, o.FiatAmount, o.MinAmount, o.MaxAmount = 0, 0, n(50), n(50)
		}, message.ReasonInvalidAmount},
		"range below nothing": {func(o *message.SmallOrder, _ *rig) {
			o.AmountSats, o.FiatAmount, o.MinAmount, o.MaxAmount = 0, 0, n(-1), n(50)
		}, message.ReasonInvalidAmount},
		"range with fixed sats":       {func(o *message.SmallOrder, _ *rig) { o.MinAmount, o.MaxAmount = n(10), n(50) }, message.ReasonInvalidAmount},
		"half a range":                {func(o *message.SmallOrder, _ *rig) { o.AmountSats, o.MinAmount = 0, n(10) }, message.ReasonInvalidAmount},
		"other half, no fiat":         {func(o *message.SmallOrder, _ *rig) { o.AmountSats, o.FiatAmount, o.MaxAmount = 0, 0, n(10) }, message.ReasonInvalidAmount},
		"premium on fixed sats":       {func(o *message.SmallOrder, _ *rig) { o.Premium = 1 }, message.ReasonInvalidParameters},
		"premium of everything":       {func(o *message.SmallOrder, _ *rig) { o.AmountSats, o.Premium = 0, 100 }, message.ReasonInvalidParameters},
		"endless payment method":      {func(o *message.SmallOrder, _ *rig) { o.PaymentMethod = strings.Repeat("x", longestMethod+1) }, message.ReasonInvalidParameters},
		"expired before it is made":   {func(o *message.SmallOrder, r *rig) { o.ExpiresAt = n(r.node.now) }, message.ReasonInvalidParameters},
		"too few sats":                {func(o *message.SmallOrder, _ *rig) { o.AmountSats = 99 }, message.ReasonOutOfRangeSatsAmount},
		"too many sats":               {func(o *message.SmallOrder, _ *rig) { o.AmountSats = 1_000_001 }, message.ReasonOutOfRangeSatsAmount},
		"too many sats at the market": {func(o *message.SmallOrder, _ *rig) { o.AmountSats, o.FiatAmount = 0, 1001 }, message.ReasonOutOfRangeSatsAmount},
		"range that goes too far": {func(o *message.SmallOrder, _ *rig) {
			o.AmountSats, o.FiatAmount, o.MinAmount, o.MaxAmount = 0, 0, n(10), n(1001)
		}, message.ReasonOutOfRangeSatsAmount},
		"range that begins too low": {func(o *message.SmallOrder, _ *rig) {
			o.AmountSats, o.FiatAmount, o.MinAmount, o.MaxAmount = 0, 0, n(0), n(10)
		}, message.ReasonOutOfRangeSatsAmount},
		"more than the world has": {func(o *message.SmallOrder, _ *rig) { o.AmountSats, o.FiatAmount = 0, math.MaxInt64 }, message.ReasonOutOfRangeSatsAmount},
		"stale price":             {func(o *message.SmallOrder, r *rig) { o.AmountSats = 0; r.price.Stale = true }, message.ReasonPriceTooStale},
		"no price":                {func(o *message.SmallOrder, r *rig) { o.AmountSats = 0; r.price = trade.Quote{} }, message.ReasonPriceTooStale},
		"neither buy nor sell":    {func(o *message.SmallOrder, _ *rig) { o.Kind = "" }, message.ReasonInvalidOrderKind},
		"invoice that is none":    {func(o *message.SmallOrder, _ *rig) { o.Kind, o.BuyerInvoice = mostro.SideBuy, text("lnsim:x") }, message.ReasonInvalidInvoice},
		"invoice of the whole amount": {func(o *message.SmallOrder, r *rig) {
			o.Kind, o.BuyerInvoice = mostro.SideBuy, text(simInvoice(trade.Hash{1}, 50_000_000, r.node.now+7200, strings.Repeat("0", 36)))
		}, message.ReasonInvalidInvoice},
		"invoice with an amount at market price": {func(o *message.SmallOrder, r *rig) {
			o.AmountSats, o.Kind, o.BuyerInvoice = 0, mostro.SideBuy, text(simInvoice(trade.Hash{1}, 50_000_000, r.node.now+7200, strings.Repeat("0", 36)))
		}, message.ReasonInvalidInvoice},
		"address that does not answer": {func(o *message.SmallOrder, _ *rig) { o.Kind, o.BuyerInvoice = mostro.SideBuy, text("me@dead") }, message.ReasonInvalidInvoice},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p, o := r.someone(), good()
			c.with(o, r)
			outcome := r.say(p, message.ActionNewOrder, nil, o)
			r.settle()
			if m := r.last(p, message.ActionCantDo); m.Payload.(message.CantDo).Reason != c.want {
				t.Errorf("the refusal is %v (%s), want %s", m.Payload, outcome, c.want)
			}
			if len(r.store.trades) != 0 || len(r.published) != 0 {
				t.Error("the refused order is in the book")
			}
			// A refused order uses no trade key.
			if _, err := r.store.User(p.Identity); err == nil {
				t.Error("the trade key of the refused order counts as used")
			}
		})
	}
	t.Run("without a trade index in reputation mode", func(t *testing.T) {
		r := newRig(t)
		msg := r.message(r.someone(), message.ActionNewOrder, nil, good())
		msg.Message.TradeIndex = nil
		if got := r.receive(msg); got != string(message.ReasonInvalidTradeIndex) {
			t.Errorf("%q", got)
		}
	})
}

func TestOrdersThatAreAccepted(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	text := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		o       message.SmallOrder
		expires int64 // seconds from now
	}{
		"fixed sell":                   {message.SmallOrder{AmountSats: 50_000, FiatAmount: 50}, 86400},
		"market buy with a premium":    {message.SmallOrder{Kind: mostro.SideBuy, FiatAmount: 50, Premium: -3}, 86400},
		"range (#705: fiat 0)":         {message.SmallOrder{MinAmount: n(10), MaxAmount: n(100)}, 86400},
		"expiry of the maker's":        {message.SmallOrder{AmountSats: 50_000, FiatAmount: 50, ExpiresAt: n(1_790_000_000 + 1000)}, 1000},
		"expiry too far":               {message.SmallOrder{AmountSats: 50_000, FiatAmount: 50, ExpiresAt: n(math.MaxInt64)}, 15 * 86400},
		"expiry 0 is none":             {message.SmallOrder{AmountSats: 50_000, FiatAmount: 50, ExpiresAt: n(0)}, 86400},
		"buy with an address":          {message.SmallOrder{Kind: mostro.SideBuy, AmountSats: 50_000, FiatAmount: 50, BuyerInvoice: text("me@home")}, 86400},
		"buy with an invoice of A-F":   {message.SmallOrder{Kind: mostro.SideBuy, AmountSats: 50_000, FiatAmount: 50, BuyerInvoice: text(simInvoice(trade.Hash{1}, 49_850_000, 1_790_007_200, strings.Repeat("0", 36)))}, 86400},
		"market buy, amountless":       {message.SmallOrder{Kind: mostro.SideBuy, FiatAmount: 50, BuyerInvoice: text(simInvoice(trade.Hash{1}, 0, 1_790_007_200, strings.Repeat("0", 36)))}, 86400},
		"sell with somebody's invoice": {message.SmallOrder{AmountSats: 50_000, FiatAmount: 50, BuyerInvoice: text("me@home")}, 86400},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.someone()
			id := r.order(p, c.o)
			tr := r.trade(id)
			if tr.ExpiresAt != r.node.now+c.expires || tr.Status != message.TradePending || len(r.published) != 1 {
				t.Errorf("%+v, shown %v", tr, r.published)
			}
			if c.o.Kind != mostro.SideBuy && tr.BuyerInvoice.Text != "" {
				t.Error("the order of a seller keeps an invoice")
			}
		})
	}
}

func TestTakeRefusals(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	ranged := message.SmallOrder{MinAmount: n(10), MaxAmount: n(100)}
	take := message.ActionTakeSell
	t.Run("unknown order", func(t *testing.T) {
		r := newRig(t)
		id := trade.OrderID{1}
		r.refused(message.ReasonNotFound, r.someone(), take, &id, nil)
	})
	t.Run("wrong kind", func(t *testing.T) {
		r := newRig(t)
		id := r.order(r.someone(), message.SmallOrder{})
		r.refused(message.ReasonInvalidOrderKind, r.someone(), message.ActionTakeBuy, &id, nil)
	})
	t.Run("taken already", func(t *testing.T) {
		r := newRig(t)
		id := r.order(r.someone(), message.SmallOrder{})
		r.must(r.someone(), take, &id, nil)
		r.refused(message.ReasonInvalidOrderStatus, r.someone(), take, &id, nil)
	})
	t.Run("past its expiry and not yet swept", func(t *testing.T) {
		r := newRig(t)
		id := r.order(r.someone(), message.SmallOrder{ExpiresAt: n(r.node.now + 600)})
		r.node.now += 600
		r.refused(message.ReasonInvalidOrderStatus, r.someone(), take, &id, nil)
	})
	t.Run("one's own", func(t *testing.T) {
		r := newRig(t)
		p := r.someone()
		id := r.order(p, message.SmallOrder{})
		p.Index++
		r.refused(message.ReasonInvalidPubkey, p, take, &id, nil)
	})
	for name, payload := range map[string]message.Payload{
		"no amount": nil, "below": message.Amount(9), "above": message.Amount(101), "in an invoice, above": message.PaymentRequest{Invoice: "a@home", Amount: n(101)},
	} {
		t.Run("range, "+name, func(t *testing.T) {
			r := newRig(t)
			id := r.order(r.someone(), ranged)
			r.refused(message.ReasonOutOfRangeSatsAmount, r.someone(), take, &id, payload)
		})
	}
	t.Run("range, at both ends", func(t *testing.T) {
		for _, fiat := range []int64{10, 100} {
			r := newRig(t)
			id := r.order(r.someone(), ranged)
			r.must(r.someone(), take, &id, message.Amount(fiat))
			if got := r.trade(id); got.FiatAmount != fiat || got.AmountSats != fiat*1000 || got.FeeSats != fiat*3 {
				t.Errorf("%+v", got)
			}
		}
	})
	t.Run("price that is stale", func(t *testing.T) {
		r := newRig(t)
		id := r.order(r.someone(), message.SmallOrder{FiatAmount: 50})
		r.price.Stale = true
		r.refused(message.ReasonPriceTooStale, r.someone(), take, &id, nil)
	})
	t.Run("price by which it has become too large", func(t *testing.T) {
		r := newRig(t)
		id := r.order(r.someone(), message.SmallOrder{FiatAmount: 900})
		r.price.Price = 50_000
		r.refused(message.ReasonOutOfRangeSatsAmount, r.someone(), take, &id, nil)
	})
	for name, spoil := range map[string]func(*rig, trade.OrderID) string{
		"that is none":          func(*rig, trade.OrderID) string { return "lnsim" },
		"of A":                  func(r *rig, id trade.OrderID) string { return r.bolt11For(id, 100_000_000, 7200).Invoice },
		"of A+F":                func(r *rig, id trade.OrderID) string { return r.bolt11For(id, 100_300_000, 7200).Invoice },
		"with a part of a sat":  func(r *rig, id trade.OrderID) string { return r.bolt11For(id, 99_700_001, 7200).Invoice },
		"that has expired":      func(r *rig, id trade.OrderID) string { return r.bolt11For(id, 99_700_000, -1).Invoice },
		"that expires too soon": func(r *rig, id trade.OrderID) string { return r.bolt11For(id, 99_700_000, 3599).Invoice },
		"of a dead address":     func(*rig, trade.OrderID) string { return "me@dead" },
	} {
		t.Run("invoice "+name, func(t *testing.T) {
			r := newRig(t)
			id, p := r.order(r.someone(), message.SmallOrder{}), r.someone()
			r.say(p, take, &id, message.PaymentRequest{Invoice: spoil(r, id)})
			r.settle()
			if m := r.last(p, message.ActionCantDo); m.Payload.(message.CantDo).Reason != message.ReasonInvalidInvoice {
				t.Errorf("%v", m.Payload)
			}
			r.status(message.TradePending, id)
		})
	}
	for name, spoil := range map[string]func(*trade.Destination){
		"of another chain":       func(d *trade.Destination) { d.ChainOK = false },
		"with too long a lock":   func(d *trade.Destination) { d.FinalCLTV = 145 },
		"without a payment hash": func(d *trade.Destination) { d.Hash = trade.Hash{} },
	} {
		t.Run("invoice "+name, func(t *testing.T) {
			r := newRig(t)
			id := r.order(r.someone(), message.SmallOrder{})
			r.book.Decode = func(text string) trade.Destination { d := simDecode(text); spoil(&d); return d }
			r.refused(message.ReasonInvalidInvoice, r.someone(), take, &id, r.bolt11For(id, 99_700_000, 7200))
		})
	}
	t.Run("invoice with the longest lock allowed", func(t *testing.T) {
		r := newRig(t)
		id := r.order(r.someone(), message.SmallOrder{})
		r.book.Decode = func(text string) trade.Destination { d := simDecode(text); d.FinalCLTV = 144; return d }
		r.must(r.someone(), take, &id, r.bolt11For(id, 99_700_000, 7200))
	})
	t.Run("invoice that another trade is paid by", func(t *testing.T) {
		r := newRig(t)
		one, two := r.order(r.someone(), message.SmallOrder{}), r.order(r.someone(), message.SmallOrder{})
		pay := r.bolt11For(one, 99_700_000, 7200)
		r.must(r.someone(), take, &one, pay)
		r.refused(message.ReasonInvalidInvoice, r.someone(), take, &two, pay)
	})
	t.Run("invoice of a trade that came to nothing is free again", func(t *testing.T) {
		r := newRig(t)
		one, two := r.order(r.someone(), message.SmallOrder{}), r.order(r.someone(), message.SmallOrder{})
		pay, buyer := r.bolt11For(one, 99_700_000, 7200), r.someone()
		r.must(buyer, take, &one, pay)
		r.must(buyer, message.ActionCancel, &one, nil)
		r.must(r.someone(), take, &two, pay)
	})
}

// Each action is refused for the wrong sender, and in every status that does not allow the
// action.
func TestWrongSenderAndWrongStatus(t *testing.T) {
	r := newRig(t)
	id, seller, buyer := r.toActive()
	stranger := r.someone()
	invoice := r.bolt11(id)
	r.refused(message.ReasonInvalidPeer, seller, message.ActionAddInvoice, &id, invoice)
	r.refused(message.ReasonInvalidPeer, stranger, message.ActionAddInvoice, &id, invoice)
	r.refused(message.ReasonNotAllowedByStatus, buyer, message.ActionAddInvoice, &id, invoice)
	r.refused(message.ReasonInvalidPubkey, seller, message.ActionFiatSent, &id, nil)
	r.refused(message.ReasonInvalidPubkey, stranger, message.ActionFiatSent, &id, nil)
	r.refused(message.ReasonInvalidPeer, buyer, message.ActionRelease, &id, nil)
	r.refused(message.ReasonInvalidPeer, stranger, message.ActionRelease, &id, nil)
	r.refused(message.ReasonNotAllowedByStatus, seller, message.ActionRelease, &id, nil)
	r.refused(message.ReasonInvalidPubkey, stranger, message.ActionCancel, &id, nil)
	r.refused(message.ReasonInvalidPubkey, stranger, message.ActionDispute, &id, nil)
	r.refused(message.ReasonInvalidOrderStatus, seller, message.ActionTradePubkey, &id, nil)
	r.must(buyer, message.ActionFiatSent, &id, nil)
	r.refused(message.ReasonInvalidOrderStatus, buyer, message.ActionFiatSent, &id, nil)
	r.must(seller, message.ActionRelease, &id, nil)
	r.refused(message.ReasonNotAllowedByStatus, seller, message.ActionRelease, &id, nil)
	r.refused(message.ReasonNotAllowedByStatus, buyer, message.ActionCancel, &id, nil)
	r.refused(message.ReasonNotAllowedByStatus, buyer, message.ActionDispute, &id, nil)
	r.refused(message.ReasonNotAllowedByStatus, buyer, message.ActionAddInvoice, &id, invoice)
	r.resolves(id, true)
	r.status(message.TradeSuccess, id)
	r.refused(message.ReasonNotAllowedByStatus, seller, message.ActionCancel, &id, nil)
	r.refused(message.ReasonInvalidAction, seller, message.ActionPayInvoice, &id, invoice)
}

// Actions of the node, messages without a field that their action needs, and messages between
// users get no answer.
func TestDroppedInSilence(t *testing.T) {
	r := newRig(t)
	id, seller, _ := r.toActive()
	before := r.trade(id)
	for _, msg := range []InboundMessage{
		r.message(seller, message.ActionReleased, &id, nil),
		r.message(seller, message.ActionSendDM, &id, message.TextMessage("hello")),
		r.message(seller, message.ActionRelease, nil, nil),
		r.message(seller, message.ActionAddInvoice, &id, nil),
		r.message(seller, message.ActionNewOrder, nil, nil),
		r.message(seller, "dance", &id, nil),
		r.message(seller, message.ActionCancel, &id, message.BondResolution{}),
	} {
		rows := len(r.store.outbox)
		if got := r.receive(msg); got != "dropped" || len(r.store.outbox) != rows {
			t.Errorf("%s: outcome %q, %d new rows", msg.Message.Action, got, len(r.store.outbox)-rows)
		}
	}
	if after := r.trade(id); after.Steps != before.Steps {
		t.Error("the trade moved")
	}
}

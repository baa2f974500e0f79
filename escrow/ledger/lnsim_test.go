package ledger_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/ledger"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnsim"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// market is a node of lnsim with a seller's and a buyer's wallet. Its trades are decided by
// trade.Step, and their effects are performed at once.
type market struct {
	t                     *testing.T
	rng                   *rand.Rand
	world                 *lnsim.World
	mostro, seller, buyer *lnsim.Node

	trades   map[trade.OrderID]*ledger.Fold
	secret   trade.NodeSecret
	own      int64 // msat that the operator has received, less msat that the operator has paid, besides trades
	foreign  int   // invoices of the operator
	overpays bool  // the journal has the amounts that were paid
	over     int64 // msat paid above the amounts of settled holds
	n        int
}

const startSats = 1_000_000_000

func newMarket(t *testing.T, seed uint64) *market {
	m := &market{t: t, rng: rand.New(rand.NewPCG(seed, 5)), trades: make(map[trade.OrderID]*ledger.Fold), secret: trade.NodeSecret{1}}
	m.world = lnsim.New(lnsim.Config{Seed: seed, FeePPM: 700, FailChance: 0.2, Slots: -1})
	m.mostro, m.seller, m.buyer = m.world.AddNode("mostro", startSats), m.world.AddNode("seller", startSats), m.world.AddNode("buyer", startSats)
	return m
}

// deal is one trade under way.
type deal struct {
	m      *market
	fold   *ledger.Fold
	inputs []trade.Input
	n      int
}

func (m *market) deal() *deal {
	m.n++
	return &deal{m: m, fold: &ledger.Fold{}, n: m.n}
}

func (d *deal) apply(in trade.Input) {
	m := d.m
	in.At, in.Rules = m.world.Now().Unix(), trade.CurrentRules
	next, effects, err := trade.Step(d.fold.Trade, in)
	if errors.Is(err, trade.ErrNothing) {
		return
	}
	if err != nil {
		m.t.Fatalf("%s: %v", in.Kind, err)
	}
	if _, err := d.fold.Observe(in, next); err != nil {
		m.t.Fatal(err)
	}
	d.inputs = append(d.inputs, in)
	if err := d.fold.Check(); err != nil {
		m.t.Fatal(err)
	}
	for _, e := range effects {
		d.perform(e)
	}
}

func (d *deal) perform(e trade.Effect) {
	m, ctx := d.m, d.m.t.Context()
	must := func(err error) {
		if err != nil {
			m.t.Fatalf("%s: %v", e.Kind, err)
		}
	}
	switch e.Kind {
	case trade.FxCreateHold:
		bolt11, err := m.mostro.CreateHold(ctx, lightning.HoldRequest{Hash: e.Hash, AmountSats: e.AmountSats, Memo: trade.MemoOf(e.Memo, d.nonce()), CLTVBlocks: e.CLTVBlocks})
		must(err)
		d.apply(trade.Input{Kind: trade.InHoldMade, Hash: e.Hash, Bolt11: bolt11})
	case trade.FxSettle:
		must(m.mostro.Settle(ctx, e.Preimage))
		d.apply(trade.Input{Kind: trade.InSettled, Hash: e.Hash})
	case trade.FxCancel:
		must(m.mostro.Cancel(ctx, e.Hash))
		d.apply(trade.Input{Kind: trade.InCanceled, Hash: e.Hash})
	case trade.FxPay:
		must(m.mostro.Pay(ctx, lightning.Payment{Bolt11: e.Text, AmountSats: e.AmountSats, MaxFeeSats: e.MaxFeeSats}))
		d.apply(trade.Input{Kind: trade.InPaySent, Hash: e.Hash, Attempt: e.Attempt})
		d.track()
	}
}

// track reports the state of the payout.
func (d *deal) track() {
	h, attempt := d.fold.Trade.PayoutWatched()
	if h == (trade.Hash{}) {
		return
	}
	state, err := d.m.mostro.TrackPayment(d.m.t.Context(), h)
	if err != nil {
		d.m.t.Fatal(err)
	}
	d.apply(trade.Input{Kind: trade.InPayment, Hash: h, Attempt: attempt, Payment: trade.Result{Status: state.Status, FeeMsat: state.FeeMsat}})
}

func (d *deal) nonce() trade.HoldNonce { return d.m.secret.Nonce(fmt.Sprint(d.n)) }

func (d *deal) say(who string, action message.Action, payload message.Payload, change func(*trade.Input)) {
	id := d.fold.Trade.ID
	p := trade.Party{Key: fmt.Sprintf("%s %d", who, d.n), Transport: envelope.TransportV2}
	p.Identity = p.Key
	in := trade.Input{Kind: trade.InMessage, Request: &trade.Request{From: p, Message: message.Message{Wrapper: message.WrapperOrder, ID: &id, Action: action, Payload: payload}}}
	if change != nil {
		change(&in)
	}
	d.apply(in)
}

// invoice has the buyer's wallet make an invoice for the payout.
func (d *deal) invoice() *trade.Destination {
	t := d.m.t
	bolt11, err := d.m.buyer.AddInvoice(t.Context(), d.fold.Trade.PayoutSats(), "payout", 1000*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	in, err := lightning.ParseInvoice(bolt11)
	if err != nil {
		t.Fatal(err)
	}
	return &trade.Destination{Text: bolt11, Parsed: true, ChainOK: true, Hash: in.Hash, AmountMsat: in.AmountMsat, ExpiresAt: in.ExpiresAt.Unix(), FinalCLTV: uint32(in.MinFinalCLTV)}
}

// play plays one trade to a random end. extra is paid above the amount of the hold.
func (d *deal) play(extra int64) {
	m := d.m
	terms := trade.DefaultTerms()
	terms.Fee = trade.Fraction(m.rng.Int64N(20_000_000))
	amount := 1000 + m.rng.Int64N(900_000)
	id := m.secret.ID("order", []byte{byte(d.n), byte(d.n >> 8)})
	d.say("seller", message.ActionNewOrder, &message.SmallOrder{Kind: mostro.SideSell, FiatCode: "USD", FiatAmount: 10, AmountSats: amount, PaymentMethod: "SEPA"},
		func(in *trade.Input) { in.Terms, in.OrderID = &terms, id })
	d.say("buyer", message.ActionTakeSell, nil, nil)
	d.say("buyer", message.ActionAddInvoice, message.PaymentRequest{Invoice: "invoice"}, func(in *trade.Input) {
		in.Invoice, in.Preimage = d.invoice(), m.secret.Preimage(id, d.nonce())
	})
	t := d.fold.Trade
	if m.rng.IntN(8) == 0 {
		d.say("seller", message.ActionCancel, nil, nil) // not paid
		return
	}
	m.world.Plan(t.Hash, lnsim.Plan{Times: 1, ExtraMsat: extra})
	if err := m.seller.Pay(m.t.Context(), lightning.Payment{Bolt11: t.HoldInvoice, MaxFeeSats: 10_000}); err != nil {
		m.t.Fatal(err)
	}
	state, err := m.mostro.LookupHold(m.t.Context(), t.Hash)
	if err != nil {
		m.t.Fatal(err)
	}
	hold := trade.Hold{Phase: state.Phase, ExpiryHeight: state.ExpiryHeight, AcceptHeight: state.AcceptHeight, Height: m.world.Height(), AmountSats: state.AmountSats}
	if m.overpays {
		hold.PaidMsat = state.PaidMsat
	}
	d.apply(trade.Input{Kind: trade.InHold, Hash: t.Hash, Hold: hold})
	switch m.rng.IntN(5) {
	case 0:
		d.say("buyer", message.ActionCancel, nil, nil)
		d.say("seller", message.ActionCancel, nil, nil)
		return
	case 1:
		return // stays active
	}
	d.say("buyer", message.ActionFiatSent, nil, nil)
	d.say("seller", message.ActionRelease, nil, nil)
	m.over += extra
	for tries := 0; d.fold.Trade.Status == message.TradeSettledHoldInvoice && tries < 40; tries++ {
		if tries > 20 { // a payment without a random failure
			m.world.Plan(d.fold.Trade.BuyerInvoice.Hash, lnsim.Plan{})
		}
		if p := d.fold.Trade.Payout; p.Hash == (trade.Hash{}) && p.Failures >= terms.PaymentAttempts {
			d.say("buyer", message.ActionAddInvoice, message.PaymentRequest{Invoice: "invoice"}, func(in *trade.Input) { in.Invoice = d.invoice() })
		}
		m.world.Advance(2 * time.Minute)
		d.apply(trade.Input{Kind: trade.InClock})
	}
}

// operate has the operator use the same node for other purposes.
func (m *market) operate() {
	ctx := m.t.Context()
	sats := 1 + m.rng.Int64N(50_000)
	bolt11, err := m.mostro.AddInvoice(ctx, sats, "Escrow of a coffee", time.Hour)
	if err != nil {
		m.t.Fatal(err)
	}
	m.foreign++
	before := m.mostro.BalanceMsat()
	_ = m.seller.Pay(ctx, lightning.Payment{Bolt11: bolt11, MaxFeeSats: 10_000}) // it may fail at random
	if bolt11, err = m.buyer.AddInvoice(ctx, sats, "rent", time.Hour); err != nil {
		m.t.Fatal(err)
	}
	_ = m.mostro.Pay(ctx, lightning.Payment{Bolt11: bolt11, MaxFeeSats: 10_000})
	m.own += m.mostro.BalanceMsat() - before
}

func (m *market) lists(l *ledger.Ledger) ledger.Lists {
	ctx := m.t.Context()
	return ledger.Lists{
		Invoices: func(fn func(ledger.Invoice) error) error {
			return m.mostro.ListHolds(ctx, time.Time{}, func(s lightning.HoldState) error {
				return fn(m.invoice(s))
			})
		},
		Payments: func(fn func(ledger.Payment) error) error {
			return l.Payouts(func(h trade.Hash) error {
				s, err := m.mostro.TrackPayment(ctx, h)
				if err != nil {
					return err
				}
				return fn(payment(s))
			})
		},
	}
}

func (m *market) invoice(s lightning.HoldState) ledger.Invoice {
	id, _ := m.secret.Ours(s.Memo, s.Hash)
	return ledger.Invoice{Hash: s.Hash, Phase: s.Phase, AmountMsat: s.AmountSats * 1000, PaidMsat: s.PaidMsat, Trade: id}
}

func payment(s lightning.PaymentState) ledger.Payment {
	return ledger.Payment{Hash: s.Hash, Status: s.Status, AmountMsat: s.AmountMsat, FeeMsat: s.FeeMsat}
}

// compare compares all trades with the node. The node's balance must be explained by the
// ledger and the operator's own payments.
func (m *market) compare() (ledger.Comparison, []ledger.Difference) {
	m.t.Helper()
	l := &ledger.Ledger{}
	for _, f := range m.trades {
		l.Add(f)
	}
	if err := l.Check(); err != nil {
		m.t.Fatal(err)
	}
	var list []ledger.Difference
	c, err := ledger.Compare(l, m.lists(l), func(d ledger.Difference) error { list = append(list, d); return nil })
	if err != nil {
		m.t.Fatal(err)
	}
	b := l.Balances
	want := startSats*1000 + m.own + b.Owned() + b[ledger.DevFund] + b[ledger.Claim]
	if !m.overpays {
		want += m.over // the ledger does not know these
	}
	if got := m.mostro.BalanceMsat(); got != want {
		m.t.Fatalf("the node has %d msat, and the ledger explains %d", got, want)
	}
	if c.ForeignInvoices != m.foreign || c.ForeignPayments != 0 {
		m.t.Fatalf("%d invoices of the operator are counted as %+v", m.foreign, c)
	}
	return c, list
}

// TestTradesOnSimulatedNodes plays trades on lnsim, with an operator who uses the same node.
// After each trade the ledger and the node's lists are equal, and the node's balance is the
// start plus the operator's own payments plus what the ledger says.
func TestTradesOnSimulatedNodes(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		m := newMarket(t, seed)
		m.overpays = true
		m.seller.Overpay(0.3)
		ends := make(map[message.TradeStatus]int)
		for range 60 {
			d := m.deal()
			d.play(0)
			m.trades[d.fold.Trade.ID] = d.fold
			ends[d.fold.Trade.Status]++
			m.operate()
			if _, list := m.compare(); len(list) > 0 {
				t.Fatalf("seed %d: %+v", seed, list)
			}
		}
		var l ledger.Ledger
		for _, f := range m.trades {
			l.Add(f)
		}
		if l.Balances[ledger.Overpayments] == 0 {
			t.Errorf("seed %d: no seller has overpaid a settled hold", seed)
		}
		for _, s := range []message.TradeStatus{message.TradeSuccess, message.TradeCooperativelyCanceled, message.TradeCanceled, message.TradeActive} {
			if ends[s] == 0 {
				t.Errorf("seed %d: no trade is %s: %v", seed, s, ends)
			}
		}
		if err := m.world.Check(); err != nil {
			t.Error(err)
		}
	}
}

// TestOverpaidHolds has sellers that pay more than the invoice asks for. If the journal has the
// amounts, the ledger has the overpayments, and nothing differs. The comparison reports each
// overpayment of a journal without amounts, as before December 2026.
func TestOverpaidHolds(t *testing.T) {
	for _, told := range []bool{false, true} {
		m := newMarket(t, 9)
		m.overpays = told
		paid := 0
		for range 40 {
			d := m.deal()
			d.play(1 + m.rng.Int64N(1000))
			m.trades[d.fold.Trade.ID] = d.fold
			if s := d.fold.Holds[0].State; s == ledger.HoldDone || s == ledger.HoldHeld {
				paid++
			}
			_, list := m.compare()
			want := 0
			if !told {
				want = paid
			}
			if len(list) != want {
				t.Fatalf("told %v: %d differences, want %d: %+v", told, len(list), want, list)
			}
			for _, diff := range list {
				if over := diff.NodeMsat - diff.LedgerMsat; diff.Kind != ledger.Overpaid || diff.Passing || over < 1 || over > 1000 {
					t.Fatalf("%+v", diff)
				}
			}
		}
		if paid == 0 {
			t.Error("no hold was paid")
		}
	}
}

// TestLyingStore has a ledger that lacks one row of a journal, as after a lost commit. The
// node's lists show it.
func TestLyingStore(t *testing.T) {
	m := newMarket(t, 4)
	for range 30 {
		d := m.deal()
		d.play(0)
		m.trades[d.fold.Trade.ID] = d.fold
	}
	whole := &ledger.Ledger{}
	for _, f := range m.trades {
		whole.Add(f)
	}
	for id, f := range m.trades {
		l := &ledger.Ledger{}
		for other, f := range m.trades {
			if other != id {
				l.Add(f)
			}
		}
		found := make(map[ledger.DifferenceKind]int)
		_, err := ledger.Compare(l, m.lists(whole), func(d ledger.Difference) error { found[d.Kind]++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		if found[ledger.UnknownInvoice] != 1 {
			t.Errorf("trade %s (%s) is lost, and the comparison finds %v", id, f.Trade.Status, found)
		}
	}
}

// journals is a store of journals without trades.
type journals map[trade.OrderID][]trade.Input

func (j journals) Trades(func(trade.Trade) error) error { return nil }

func (j journals) Journal(id trade.OrderID, fn func(uint32, trade.Input) error) error {
	for i, in := range j[id] {
		if err := fn(uint32(i+1), in); err != nil {
			return err
		}
	}
	return nil
}

// TestRecheck compares journals that were read early with a node that has gone on. After a
// second look only the trade whose journal is lost differs.
func TestRecheck(t *testing.T) {
	m := newMarket(t, 6)
	store := make(journals)
	var early ledger.Ledger
	var lost trade.OrderID
	for i := range 30 {
		d := m.deal()
		d.play(0)
		id := d.fold.Trade.ID
		m.trades[id] = d.fold
		var f ledger.Fold
		for n, in := range d.inputs {
			if n == 1+m.rng.IntN(8) {
				break // the journal at the time of the early reading
			}
			if _, err := f.Apply(in); err != nil {
				t.Fatal(err)
			}
		}
		switch {
		case i == 7:
			lost = id
		case i%3 == 0:
			store[id] = d.inputs // the order is newer than the early reading
		default:
			early.Add(&f)
			store[id] = d.inputs
		}
	}
	whole := &ledger.Ledger{}
	for _, f := range m.trades {
		whole.Add(f)
	}
	lists := m.lists(whole)
	r, err := ledger.NewReport(&early, &lists, 0)
	if err != nil {
		t.Fatal(err)
	}
	if r.Node.Faults() < 5 || r.Node.Passing == 0 {
		t.Fatalf("the early reading has %d faults, so the test proves little", r.Node.Faults())
	}
	look := ledger.Lookup{
		Invoice: func(h trade.Hash) (ledger.Invoice, bool, error) {
			s, err := m.mostro.LookupHold(t.Context(), h)
			return m.invoice(s), err == nil, nil
		},
		Payment: func(h trade.Hash) (ledger.Payment, bool, error) {
			s, err := m.mostro.TrackPayment(t.Context(), h)
			return payment(s), err == nil && s.Status != trade.PaymentUnknown, err
		},
	}
	if err := r.Recheck(store, look); err != nil {
		t.Fatal(err)
	}
	if len(r.Differences) != 1 || r.Differences[0].Kind != ledger.UnknownInvoice || r.Differences[0].Trade != lost || r.Node.Faults() != 1 || r.Node.Passing != 0 || r.OK() {
		t.Errorf("%+v, %+v", r.Differences, r.Node)
	}
	store[lost] = nil
	down := errors.New("down")
	look.Invoice = func(trade.Hash) (ledger.Invoice, bool, error) { return ledger.Invoice{}, false, down }
	if err := r.Recheck(store, look); !errors.Is(err, down) {
		t.Errorf("a node that does not answer: %v", err)
	}
}

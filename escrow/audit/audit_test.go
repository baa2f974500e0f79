package audit

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/prometheus/client_golang/prometheus"
)

// book is a store of one trade.
type book struct {
	trade  trade.Trade
	inputs []trade.Input
	err    error
}

func (b *book) Trades(fn func(trade.Trade) error) error {
	if b.err != nil {
		return b.err
	}
	return fn(b.trade)
}

func (b *book) Journal(_ trade.OrderID, fn func(uint32, trade.Input) error) error {
	for i, in := range b.inputs {
		if err := fn(uint32(i+1), in); err != nil {
			return err
		}
	}
	return nil
}

func (b *book) apply(t *testing.T, in trade.Input) {
	t.Helper()
	in.At, in.Rules = 1_790_000_000+int64(len(b.inputs)), trade.CurrentRules
	next, _, err := trade.Step(b.trade, in)
	if err != nil {
		t.Fatal(err)
	}
	b.trade, b.inputs = next, append(b.inputs, in)
}

// held returns a store with one trade whose seller has paid, and the row of its hold.
func held(t *testing.T) (*book, lightning.HoldState) {
	t.Helper()
	b := &book{}
	terms := trade.DefaultTerms()
	say := func(who string, action message.Action, p message.Payload, change func(*trade.Input)) {
		from := trade.Party{Key: who, Identity: who, Transport: envelope.TransportV2}
		in := trade.Input{Kind: trade.InMessage, Request: &trade.Request{From: from, Message: message.Message{Wrapper: message.WrapperOrder, Action: action, Payload: p}}}
		change(&in)
		b.apply(t, in)
	}
	say("seller", message.ActionNewOrder, &message.SmallOrder{Kind: mostro.SideSell, FiatCode: "USD", FiatAmount: 9, AmountSats: 9000, PaymentMethod: "SEPA"},
		func(in *trade.Input) { in.Terms, in.OrderID = &terms, trade.OrderID{7} })
	say("buyer", message.ActionTakeSell, message.PaymentRequest{Invoice: "a@b"}, func(in *trade.Input) {
		in.Invoice, in.Preimage = &trade.Destination{Text: "a@b", Address: true, Reachable: true}, trade.Preimage{1}
	})
	h := b.trade.Hash
	b.apply(t, trade.Input{Kind: trade.InHoldMade, Hash: h, Bolt11: "x"})
	b.apply(t, trade.Input{Kind: trade.InHold, Hash: h, Hold: trade.Hold{Phase: trade.HoldAccepted, AmountSats: b.trade.LockSats(), PaidMsat: b.trade.LockSats() * 1000}})
	return b, lightning.HoldState{Hash: h, Phase: trade.HoldAccepted, AmountSats: b.trade.LockSats(), PaidMsat: b.trade.LockSats() * 1000}
}

// node is a Lightning node with one hold.
type node struct {
	hold     lightning.HoldState
	payments []lightning.PaymentState
	err      error
	unlisted bool
	listed   int // calls of ListPayments that were answered
}

func (n *node) LookupHold(context.Context, trade.Hash) (lightning.HoldState, error) {
	return n.hold, n.err
}

func (n *node) ListHolds(_ context.Context, _ time.Time, fn func(lightning.HoldState) error) error {
	if n.err != nil {
		return n.err
	}
	return fn(n.hold)
}

func (n *node) TrackPayment(_ context.Context, h trade.Hash) (lightning.PaymentState, error) {
	return lightning.PaymentState{Hash: h, Status: trade.PaymentUnknown}, n.err
}

func (n *node) ListPayments(_ context.Context, _ time.Time, fn func(lightning.PaymentState) error) error {
	if n.unlisted {
		return lightning.ErrPermission
	}
	n.listed++
	for _, p := range n.payments {
		if err := fn(p); err != nil {
			return err
		}
	}
	return n.err
}

func read(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "mostrodex_escrow_ledger_"+name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// The clock decides when the ledger is compared: at the start, a day later, and a quarter of an
// hour after a comparison that could not be made. A difference sets the metric and writes one
// line that names the trade, the hash and a command.
func TestDailyAlarm(t *testing.T) {
	b, hold := held(t)
	n := &node{hold: hold}
	now := time.Unix(1_790_100_000, 0)
	reg := prometheus.NewRegistry()
	var log bytes.Buffer
	a := New(Config{Store: b, Node: n, Now: func() time.Time { return now }, Logger: slog.New(slog.NewTextHandler(&log, nil)), Metrics: reg})
	tick := func(want bool) {
		t.Helper()
		log.Reset()
		if got := a.Tick(t.Context()); got != want {
			t.Fatalf("a comparison at %s: %v, want %v", now.UTC(), got, want)
		}
	}
	alarm := func(faults int) {
		t.Helper()
		if got := read(t, reg, "faults"); got != float64(faults) || a.Last().Faults != faults || a.Last().Err != nil {
			t.Errorf("%v faults in the metric and %+v, want %d: %s", got, a.Last(), faults, log.String())
		}
	}
	tick(true)
	alarm(0)
	if !strings.Contains(log.String(), "level=INFO") {
		t.Errorf("the first comparison: %s", log.String())
	}
	now = now.Add(every - time.Second)
	tick(false)
	n.hold.PaidMsat++ // the node has received one msat more than the journal says
	now = now.Add(time.Second)
	tick(true)
	alarm(1)
	if line := log.String(); strings.Count(line, "level=ERROR") != 1 || !strings.Contains(line, b.trade.ID.String()) || !strings.Contains(line, hold.Hash.String()) ||
		!strings.Contains(line, "overpaid") || !strings.Contains(line, "mostrodex trade show") {
		t.Errorf("the alarm is %s", line)
	}

	n.err = lightning.ErrUnavailable
	now = now.Add(every)
	tick(true)
	if a.Last().Err == nil || read(t, reg, "failures_total") != 1 || read(t, reg, "faults") != 1 {
		t.Errorf("a node that is down: %+v", a.Last())
	}
	now = now.Add(again - time.Second)
	tick(false)
	n.err, n.hold.PaidMsat = nil, hold.PaidMsat
	now = now.Add(time.Second)
	tick(true)
	alarm(0)

	now = now.Add(-10 * 24 * time.Hour) // a clock that was set back must not stop the alarm for ten days
	tick(true)
	now = now.Add(time.Hour)
	tick(false)
	b.err = errors.New("the disk is broken")
	now = now.Add(every)
	tick(true)
	if a.Last().Err == nil {
		t.Error("a store that cannot be read is no failure")
	}
}

// A difference that may pass is an alarm only if it is still there a day later.
func TestPassingDifferenceThatStays(t *testing.T) {
	b, hold := held(t)
	hold.Phase, hold.PaidMsat = trade.HoldCanceled, 0
	n := &node{hold: hold}
	now := time.Unix(1_790_100_000, 0)
	a := New(Config{Store: b, Node: n, Now: func() time.Time { return now }})
	for day, want := range []int{0, 1, 1} {
		if !a.Tick(t.Context()) || a.Last().Faults != want {
			t.Errorf("day %d: %+v, want %d faults", day, a.Last(), want)
		}
		now = now.Add(every)
	}
}

// Without the permission to list payments the ledger is compared all the same. With it,
// payments that no journal contains are counted.
func TestPaymentsOfTheList(t *testing.T) {
	b, hold := held(t)
	n := &node{hold: hold, payments: []lightning.PaymentState{{Hash: trade.Hash{9}, Status: trade.PaymentSucceeded, AmountMsat: 500, FeeMsat: 5}}}
	a := New(Config{Store: b, Node: n, Now: func() time.Time { return time.Unix(1_790_100_000, 0) }})
	for _, unlisted := range []bool{false, true} {
		n.unlisted = unlisted
		r, err := a.Check(t.Context())
		if err != nil || !r.OK() {
			t.Fatalf("%+v, %v", r, err)
		}
		if want := map[bool]int{false: 1, true: 0}[unlisted]; r.Node.ForeignPayments != want || !r.Node.PaymentsCompared {
			t.Errorf("unlisted %v: %+v", unlisted, r.Node)
		}
	}
	if n.listed != 1 {
		t.Errorf("the list was read %d times", n.listed)
	}
	n.unlisted, n.err = false, lightning.ErrUnavailable
	if _, err := a.Check(t.Context()); !errors.Is(err, lightning.ErrUnavailable) {
		t.Errorf("a list that ends early: %v", err)
	}
}

// A development fee that the node has paid, and that no journal contains, is a difference that
// may pass. An attempt that failed is none.
func TestDevFeesOfTheList(t *testing.T) {
	b, hold := held(t)
	paid, failed := trade.Hash{9}, trade.Hash{8}
	n := &node{hold: hold, payments: []lightning.PaymentState{
		{Hash: paid, Status: trade.PaymentSucceeded, AmountMsat: 180_000}, {Hash: failed, Status: trade.PaymentFailed},
	}}
	r, err := New(Config{Store: b, Node: n, DevFee: func(h trade.Hash) (bool, error) { return h == paid || h == failed, nil },
		Now: func() time.Time { return time.Unix(1_790_100_000, 0) }}).Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := r.Differences; len(d) != 1 || d[0].Hash != paid || !d[0].Passing || r.Node.ForeignPayments != 0 {
		t.Errorf("%+v, %+v", d, r.Node)
	}
}

// Run stops with its context, and never returns an error.
func TestRunEnds(t *testing.T) {
	b, hold := held(t)
	a := New(Config{Store: b, Node: &node{hold: hold}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); a.Last().At == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is compared at the start")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

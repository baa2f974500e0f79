package ledger

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

var errStop = errors.New("stop")

// lists returns the lists of a node that has these rows.
func lists(invoices []Invoice, payments []Payment) Lists {
	return Lists{
		Invoices: func(fn func(Invoice) error) error {
			for _, in := range invoices {
				if err := fn(in); err != nil {
					return err
				}
			}
			return nil
		},
		Payments: func(fn func(Payment) error) error {
			for _, p := range payments {
				if err := fn(p); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// differences compares, and returns each difference as text.
func differences(t *testing.T, l *Ledger, in Lists) ([]string, Comparison) {
	t.Helper()
	var got []string
	c, err := Compare(l, in, func(d Difference) error {
		line := string(d.Kind)
		if d.LedgerMsat != 0 || d.NodeMsat != 0 {
			line += fmt.Sprintf(" %d %d", d.LedgerMsat, d.NodeMsat)
		}
		if d.Passing {
			line += " passing"
		}
		if d.Frozen {
			line += " frozen"
		}
		got = append(got, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, c
}

// TestHoldAgainstNode has one case for each state of a hold and each phase at the node.
func TestHoldAgainstNode(t *testing.T) {
	const gone = trade.HoldPhase(0) // not listed
	type cell map[trade.HoldPhase]string
	for _, c := range []struct {
		state HoldState
		paid  int64
		want  cell
	}{
		{HoldOrdered, 0, cell{gone: "", trade.HoldOpen: "", trade.HoldAccepted: "held at node 0 1000 passing", trade.HoldSettled: "settled at node 0 1000", trade.HoldCanceled: ""}},
		{HoldHeld, 1000, cell{gone: "missing invoice 1000 0", trade.HoldOpen: "not held at node 1000 0", trade.HoldAccepted: "", trade.HoldSettled: "settled at node 1000 1000", trade.HoldCanceled: "not held at node 1000 0 passing"}},
		{HoldSettling, 1000, cell{gone: "missing invoice 1000 0", trade.HoldOpen: "not held at node 1000 0", trade.HoldAccepted: "", trade.HoldSettled: "settled at node 1000 1000 passing", trade.HoldCanceled: "not held at node 1000 0 passing"}},
		{HoldClosing, 0, cell{gone: "", trade.HoldOpen: "", trade.HoldAccepted: "held at node 0 1000 passing", trade.HoldSettled: "settled at node 0 1000", trade.HoldCanceled: ""}},
		{HoldClosing, 1000, cell{gone: "missing invoice 1000 0 passing", trade.HoldOpen: "", trade.HoldAccepted: "", trade.HoldSettled: "settled at node 1000 1000", trade.HoldCanceled: "not held at node 1000 0 passing"}},
		{HoldDone, 1000, cell{gone: "missing invoice 1000 0", trade.HoldOpen: "not settled at node 1000 0", trade.HoldAccepted: "not settled at node 1000 1000", trade.HoldSettled: "", trade.HoldCanceled: "not settled at node 1000 0"}},
		{HoldClosed, 1000, cell{gone: "", trade.HoldOpen: "open at node 1000 0", trade.HoldAccepted: "held at node 1000 1000", trade.HoldSettled: "settled at node 1000 1000", trade.HoldCanceled: ""}},
		{HoldClosed, 0, cell{gone: "", trade.HoldOpen: "open at node", trade.HoldAccepted: "held at node 0 1000", trade.HoldSettled: "settled at node 0 1000", trade.HoldCanceled: ""}},
		{HoldSuspense, 1000, cell{gone: "missing invoice 1000 0", trade.HoldOpen: "not settled at node 1000 0", trade.HoldAccepted: "not settled at node 1000 1000", trade.HoldSettled: "", trade.HoldCanceled: "not settled at node 1000 0"}},
		{HoldSuspense, 0, cell{trade.HoldSettled: "settled at node 0 1000"}},
	} {
		for phase, want := range c.want {
			name := c.state.String() + ", not listed"
			if phase != gone {
				name = c.state.String() + " and " + phase.String()
			}
			for _, frozen := range []bool{false, true} {
				f := &Fold{Holds: []HoldRow{{Hash: trade.Hash{1}, AskedMsat: 1000, PaidMsat: c.paid, State: c.state}}}
				f.Trade.ID, f.Trade.Frozen = trade.OrderID{1}, frozen
				var l Ledger
				l.Add(f)
				row := Invoice{Hash: trade.Hash{1}, Phase: phase, AmountMsat: 1000}
				if phase == trade.HoldAccepted || phase == trade.HoldSettled {
					row.PaidMsat = 1000
				}
				rows := []Invoice{row}
				if phase == gone {
					rows = nil
				}
				wanted := want
				if frozen && want != "" {
					wanted += " frozen"
				}
				got, sum := differences(t, &l, lists(rows, nil))
				if strings.Join(got, "; ") != wanted {
					t.Errorf("%s: %q, want %q", name, got, wanted)
				}
				faults := 0
				if want != "" && (frozen || !strings.HasSuffix(want, "passing")) {
					faults = 1
				}
				if sum.Faults() != faults {
					t.Errorf("%s, frozen %v: %d faults, want %d", name, frozen, sum.Faults(), faults)
				}
			}
		}
	}
}

// TestPayoutAgainstNode has one case for each state of a payout and each status at the node.
func TestPayoutAgainstNode(t *testing.T) {
	const gone = trade.PaymentStatus(0)
	type cell map[trade.PaymentStatus]string
	for _, c := range []struct {
		state PayoutState
		want  cell
	}{
		{PayoutClaimed, cell{gone: "", trade.PaymentUnknown: "", trade.PaymentInFlight: "", trade.PaymentSucceeded: "paid at node 900 900 passing", trade.PaymentFailed: ""}},
		{PayoutSent, cell{gone: "missing payment 900 0 passing", trade.PaymentUnknown: "missing payment 900 0 passing", trade.PaymentInFlight: "", trade.PaymentSucceeded: "paid at node 900 900 passing", trade.PaymentFailed: "failed at node 900 900 passing"}},
		{PayoutFailed, cell{gone: "", trade.PaymentUnknown: "", trade.PaymentInFlight: "in flight at node 900 900", trade.PaymentSucceeded: "paid at node 900 900", trade.PaymentFailed: ""}},
		{PayoutPaid, cell{gone: "missing payment 900 0", trade.PaymentUnknown: "missing payment 900 0", trade.PaymentInFlight: "not paid at node 900 900", trade.PaymentSucceeded: "", trade.PaymentFailed: "not paid at node 900 900"}},
	} {
		for status, want := range c.want {
			f := &Fold{Payouts: []PayoutRow{{Hash: trade.Hash{1}, Msat: 900, FeeMsat: 9, State: c.state}}}
			var l Ledger
			l.Add(f)
			row := Payment{Hash: trade.Hash{1}, Status: status, AmountMsat: 900}
			switch status {
			case trade.PaymentSucceeded:
				row.FeeMsat = 9
			case trade.PaymentUnknown:
				row.AmountMsat = 0
			}
			rows := []Payment{row}
			if status == gone {
				rows = nil
			}
			if got, _ := differences(t, &l, lists(nil, rows)); strings.Join(got, "; ") != want {
				t.Errorf("%s and %q: %q, want %q", c.state, status, got, want)
			}
		}
	}
}

// TestAmountsAgainstNode compares the amounts of one successful trade.
func TestAmountsAgainstNode(t *testing.T) {
	s := play(t, "success", nil)
	hold := Invoice{Hash: s.fold.Holds[0].Hash, Phase: trade.HoldSettled, AmountMsat: 100_300_000, PaidMsat: 100_300_000}
	paid := Payment{Hash: s.fold.Payouts[0].Hash, Status: trade.PaymentSucceeded, AmountMsat: 99_700_000, FeeMsat: 21_500}
	for name, c := range map[string]struct {
		change func(in *Lists, hold *Invoice, paid *Payment)
		want   []string
	}{
		"equal":               {func(*Lists, *Invoice, *Payment) {}, nil},
		"another invoice":     {func(_ *Lists, h *Invoice, _ *Payment) { h.AmountMsat = 1 }, []string{"invoice amount 100300000 1"}},
		"more was paid":       {func(_ *Lists, h *Invoice, _ *Payment) { h.PaidMsat++ }, []string{"overpaid 100300000 100300001"}},
		"less was paid":       {func(_ *Lists, h *Invoice, _ *Payment) { h.PaidMsat-- }, []string{"underpaid 100300000 100299999"}},
		"another payout":      {func(_ *Lists, _ *Invoice, p *Payment) { p.AmountMsat++ }, []string{"payment amount 99700000 99700001"}},
		"another routing fee": {func(_ *Lists, _ *Invoice, p *Payment) { p.FeeMsat = 0 }, []string{"payment fee 21500 0"}},
		"other hashes": {func(_ *Lists, h *Invoice, p *Payment) { h.Hash[0]++; p.Hash[0]++ },
			[]string{"missing invoice 100300000 0", "missing payment 99700000 0"}},
		"other hashes of a dedicated node": {func(in *Lists, h *Invoice, p *Payment) { h.Hash[0]++; p.Hash[0]++; in.Dedicated = true },
			[]string{"unknown invoice 0 100300000", "unknown payment 0 99700000", "missing invoice 100300000 0", "missing payment 99700000 0"}},
		"an invoice that this escrow made": {func(_ *Lists, h *Invoice, _ *Payment) { h.Hash[0]++; h.Trade[0] = 1 },
			[]string{"unknown invoice 0 100300000", "missing invoice 100300000 0"}},
		"payments are not listed": {func(in *Lists, _ *Invoice, _ *Payment) { in.Payments = nil }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var l Ledger
			l.Add(&s.fold)
			h, p := hold, paid
			in := lists(nil, nil)
			c.change(&in, &h, &p)
			rows := lists([]Invoice{h}, []Payment{p})
			rows.Dedicated = in.Dedicated
			if in.Payments == nil {
				rows.Payments = nil
			}
			got, sum := differences(t, &l, rows)
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			if name == "other hashes" && (sum.ForeignInvoices != 1 || sum.ForeignPayments != 1 || sum.ForeignSettledMsat != 100_300_000 || sum.ForeignPaidMsat != 99_721_500) {
				t.Errorf("%+v", sum)
			}
			if sum.PaymentsCompared != (rows.Payments != nil) {
				t.Error("PaymentsCompared is wrong")
			}
		})
	}
	t.Run("a row twice", func(t *testing.T) {
		var l Ledger
		l.Add(&s.fold)
		got, _ := differences(t, &l, lists([]Invoice{hold, hold}, []Payment{paid, paid}))
		if want := []string{"repeated row 100300000 100300000", "repeated row 99700000 99700000"}; !reflect.DeepEqual(got, want) {
			t.Errorf("%q", got)
		}
		if got, _ := differences(t, &l, lists([]Invoice{hold}, []Payment{paid})); got != nil {
			t.Errorf("a second comparison remembers the first: %q", got)
		}
	})
}

// TestSharedPayment has one invoice of a buyer that was named in more than one trade.
func TestSharedPayment(t *testing.T) {
	states := []PayoutState{PayoutClaimed, PayoutSent, PayoutFailed, PayoutPaid}
	for _, a := range states {
		for _, b := range states {
			var l Ledger
			for i, state := range []PayoutState{a, b} {
				f := &Fold{Payouts: []PayoutRow{{Hash: trade.Hash{1}, Msat: 900, FeeMsat: 9, State: state}}}
				f.Trade.ID = trade.OrderID{byte(i)}
				l.Add(f)
			}
			got, sum := differences(t, &l, lists(nil, []Payment{{Hash: trade.Hash{1}, Status: trade.PaymentSucceeded, AmountMsat: 900, FeeMsat: 9}}))
			var want []string
			switch {
			case a == PayoutPaid && b == PayoutPaid:
				want = []string{"shared payment 900 900"}
			case a == PayoutPaid || b == PayoutPaid:
			case a == PayoutFailed && b == PayoutFailed:
				want = []string{"paid at node 900 900"}
			default:
				want = []string{"paid at node 900 900 passing"}
			}
			if !reflect.DeepEqual(got, want) || sum.Payments != 1 || sum.PaidMsat != 900 || sum.RoutingMsat != 9 {
				t.Errorf("%s and %s: %q, want %q; %+v", a, b, got, want, sum)
			}
			var hashes []trade.Hash
			if err := l.Payouts(func(h trade.Hash) error { hashes = append(hashes, h); return nil }); err != nil || len(hashes) != 1 {
				t.Errorf("the node is asked for %v, %v", hashes, err)
			}
		}
	}
}

func TestCompareEndsWithAnError(t *testing.T) {
	s := play(t, "success", nil)
	var l Ledger
	l.Add(&s.fold)
	stop := func(Difference) error { return errStop }
	fails := lists(nil, nil)
	fails.Payments = func(func(Payment) error) error { return errStop }
	for name, in := range map[string]Lists{
		"a list that fails":              fails,
		"a function that fails":          lists([]Invoice{{Hash: s.fold.Holds[0].Hash, Phase: trade.HoldOpen, AmountMsat: 100_300_000}}, nil),
		"at an amount":                   lists([]Invoice{{Hash: s.fold.Holds[0].Hash, Phase: trade.HoldSettled}}, nil),
		"at a payment":                   lists(nil, []Payment{{Hash: s.fold.Payouts[0].Hash, Status: trade.PaymentFailed}}),
		"at the rows that are not there": lists(nil, nil),
	} {
		if _, err := Compare(&l, in, stop); !errors.Is(err, errStop) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := NewReport(&l, &in, 0); name == "a list that fails" && !errors.Is(err, errStop) {
			t.Errorf("a report of a list that fails: %v", err)
		}
	}
}

// TestForeignRowsTakeNoMemory compares a small ledger with a node that has many rows of other
// software.
func TestForeignRowsTakeNoMemory(t *testing.T) {
	s := play(t, "success", nil)
	var l Ledger
	l.Add(&s.fold)
	const many = 200_000
	in := Lists{
		Invoices: func(fn func(Invoice) error) error {
			for i := range many {
				if err := fn(Invoice{Hash: hashOf(i), Phase: trade.HoldSettled, PaidMsat: 1}); err != nil {
					return err
				}
			}
			return nil
		},
		Payments: func(fn func(Payment) error) error {
			for i := range many {
				if err := fn(Payment{Hash: hashOf(i), Status: trade.PaymentSucceeded, AmountMsat: 2, FeeMsat: 1}); err != nil {
					return err
				}
			}
			return nil
		},
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c, err := Compare(&l, in, func(Difference) error { return nil })
	runtime.ReadMemStats(&after)
	if err != nil || c.ForeignInvoices != many || c.ForeignPayments != many || c.ForeignPaidMsat != 3*many {
		t.Errorf("%v, %+v", err, c)
	}
	if made := after.Mallocs - before.Mallocs; made > many/10 {
		t.Errorf("%d allocations for %d rows", made, 2*many)
	}
}

func hashOf(i int) trade.Hash {
	return trade.Hash{0: byte(i), 1: byte(i >> 8), 2: byte(i >> 16), 3: byte(i >> 24), 31: 1}
}

// BenchmarkMillion compares a ledger of a million trades with its node.
func BenchmarkMillion(b *testing.B) {
	const trades = 1_000_000
	s := newScript(1, nil)
	scripts[0].play(s)
	f := s.fold
	f.Holds, f.Payouts = slices.Clone(f.Holds), slices.Clone(f.Payouts)
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var l Ledger
		for i := range trades {
			h := hashOf(i)
			f.Trade.ID, f.Trade.Hash = trade.OrderID(h[:16]), h
			f.Holds[0].Hash, f.Payouts[0].Hash = h, h
			l.Add(&f)
		}
		c, err := Compare(&l, Lists{
			Invoices: func(fn func(Invoice) error) error {
				for i := range trades {
					if err := fn(Invoice{Hash: hashOf(i), Phase: trade.HoldSettled, AmountMsat: 100_300_000, PaidMsat: 100_300_000}); err != nil {
						return err
					}
				}
				return nil
			},
			Payments: func(fn func(Payment) error) error {
				for i := range trades {
					if err := fn(Payment{Hash: hashOf(i), Status: trade.PaymentSucceeded, AmountMsat: 99_700_000, FeeMsat: 21_500}); err != nil {
						return err
					}
				}
				return nil
			},
		}, func(d Difference) error { return fmt.Errorf("%+v", d) })
		if err != nil || c.Invoices != trades || c.Payments != trades || l.Check() != nil {
			b.Fatal(err, l.Check(), c)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/trades, "heap-B/trade")
		runtime.KeepAlive(&l)
	}
}

// BenchmarkFold replays the journal of one successful trade.
func BenchmarkFold(b *testing.B) {
	s := newScript(1, nil)
	scripts[0].play(s)
	for b.Loop() {
		var f Fold
		for _, in := range s.inputs {
			if _, err := f.Apply(in); err != nil {
				b.Fatal(err)
			}
		}
	}
}

package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

// TestReport writes the reports of a sound ledger and of one with faults.
func TestReport(t *testing.T) {
	var sound, faulty Ledger
	var invoices []Invoice
	var payments []Payment
	for _, name := range []string{"success", "overpaid and settled", "cancelled by both"} {
		s := play(t, name, nil)
		sound.Add(&s.fold)
		faulty.Add(&s.fold)
		for _, h := range s.fold.Holds {
			row := Invoice{Hash: h.Hash, AmountMsat: h.AskedMsat, PaidMsat: h.PaidMsat, Phase: trade.HoldSettled}
			if h.State == HoldClosed {
				row.Phase, row.PaidMsat = trade.HoldCanceled, 0
			}
			invoices = append(invoices, row)
		}
		for _, p := range s.fold.Payouts {
			payments = append(payments, Payment{Hash: p.Hash, Status: trade.PaymentSucceeded, AmountMsat: p.Msat, FeeMsat: p.FeeMsat})
		}
	}
	suspended := play(t, "settled although cancelled", nil)
	faulty.Add(&suspended.fold)
	broken := newScript(40, nil)
	broken.active(0)
	broken.fold.Balances[Claim]++ // an amount from nowhere
	faulty.Add(&broken.fold)
	for name, c := range map[string]struct {
		ledger *Ledger
		lists  *Lists
		ok     bool
	}{
		"alone":  {&sound, nil, true},
		"sound":  {&sound, ptr(lists(invoices, payments)), true},
		"faulty": {&faulty, ptr(lists(append(invoices[:2:2], Invoice{Hash: trade.Hash{1}, Phase: trade.HoldSettled, PaidMsat: 1500}, Invoice{Hash: broken.fold.Trade.Hash, Phase: trade.HoldCanceled, AmountMsat: 100_300_000}), nil)), false},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := NewReport(c.ledger, c.lists, 1_790_000_000)
			if err != nil {
				t.Fatal(err)
			}
			if r.OK() != c.ok {
				t.Errorf("OK is %v", r.OK())
			}
			var text, js bytes.Buffer
			if err := errors.Join(r.Text(&text), r.JSON(&js)); err != nil {
				t.Fatal(err)
			}
			golden(t, name+".txt", text.Bytes())
			golden(t, name+".json", js.Bytes())
			var again struct {
				Owned    int64            `json:"owned_msat"`
				Balances map[string]int64 `json:"balances_msat"`
			}
			if err := json.Unmarshal(js.Bytes(), &again); err != nil || again.Owned != r.OwnedMsat || len(again.Balances) != int(kinds) || again.Balances["income"] != r.Balances[Income] {
				t.Errorf("%v: %+v", err, again)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// TestReportIsBounded has more differences than a report lists: faults come first, and all are
// counted.
func TestReportIsBounded(t *testing.T) {
	var l Ledger
	for i := range 3 * maxListed {
		h := hashOf(i)
		f := &Fold{Holds: []HoldRow{{Hash: h, AskedMsat: 1000, State: HoldOrdered}}}
		f.Trade.ID = trade.OrderID(h[:16])
		l.Add(f)
	}
	var rows []Invoice
	for i := range 3 * maxListed {
		phase := trade.HoldAccepted // may pass
		if i >= 3*maxListed-10 {
			phase = trade.HoldSettled
		}
		rows = append(rows, Invoice{Hash: hashOf(i), Phase: phase, AmountMsat: 1000, PaidMsat: 1000})
	}
	r, err := NewReport(&l, ptr(lists(rows, nil)), 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Differences) != maxListed || r.Differences[9].Kind != SettledAtNode || r.Differences[10].Kind != HeldAtNode || r.Node.Faults() != 10 || r.Node.Passing != 3*maxListed-10 {
		t.Errorf("%d listed, %d faults, %d passing", len(r.Differences), r.Node.Faults(), r.Node.Passing)
	}
	for range 3 * maxViolations {
		f := &Fold{Balances: Balances{Claim: -1}}
		l.Add(f)
	}
	if r, _ = NewReport(&l, nil, 0); len(r.Broken) > maxViolations+1 || r.Violations < 3*maxViolations {
		t.Errorf("%d violations, %d listed", r.Violations, len(r.Broken))
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errStop }

func TestReportReturnsTheErrorOfItsWriter(t *testing.T) {
	r := &Report{}
	if err := r.Text(failing{}); !errors.Is(err, errStop) {
		t.Error(err)
	}
	if err := r.JSON(failing{}); !errors.Is(err, errStop) {
		t.Error(err)
	}
}

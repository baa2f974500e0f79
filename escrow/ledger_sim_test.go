package escrow

import (
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/ledger"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// simLedger keeps the ledger of a simulated world up to date, and compares the ledger with
// the node before each call of the node that moves or orders sats.
type simLedger struct {
	s          *sim
	generation int
	folds      map[trade.OrderID]*ledger.Fold
	checks     int
	postings   int
	passing    map[ledger.DifferenceKind]int
	faults     map[ledger.DifferenceKind]int
	events     map[ledger.Event]int
}

func followLedger(s *sim) *simLedger {
	l := &simLedger{s: s, passing: make(map[ledger.DifferenceKind]int), faults: make(map[ledger.DifferenceKind]int), events: make(map[ledger.Event]int)}
	n := s.node
	create, settle, cancel, pay := n.onCreate, n.onSettle, n.onCancel, n.onPay
	n.onCreate = func(in lightning.HoldRequest) { create(in); l.look() }
	n.onSettle = func(p trade.Preimage) { settle(p); l.look() }
	n.onCancel = func(h trade.Hash) { cancel(h); l.look() }
	n.onPay = func(p lightning.Payment, d trade.Destination) { pay(p, d); l.look() }
	return l
}

// look checks the laws after each new row of the journals, and compares the sum with the
// node. Before the store was replaced by a copy, a difference may only be passing.
func (l *simLedger) look() {
	s := l.s
	if s.err != nil {
		return
	}
	if l.folds == nil || l.generation != s.generation {
		l.folds, l.generation = make(map[trade.OrderID]*ledger.Fold), s.generation
	}
	for id, journal := range s.store.journal {
		f := l.folds[id]
		if f == nil {
			f = &ledger.Fold{}
			l.folds[id] = f
		}
		if int(f.Trade.Steps) == len(journal) {
			continue
		}
		for _, in := range journal[f.Trade.Steps:] {
			list, err := f.Apply(in)
			if err == nil {
				err = f.Check()
			}
			if err != nil {
				s.fail("ledger: %v", err)
				return
			}
			l.postings += len(list)
			for _, t := range list {
				l.events[t.Event]++
			}
		}
		if !reflect.DeepEqual(f.Trade, s.store.trades[id]) {
			s.fail("ledger: the fold of trade %s has another trade than the store", id)
		}
	}
	l.checks++
	sum := l.sum()
	copied := s.generation > 1
	if err := sum.Check(); err != nil && !copied {
		s.fail("ledger: %v", err)
	}
	_, err := ledger.Compare(sum, nodeLists(s.node, s.store, s.book.Secret), func(d ledger.Difference) error {
		if d.Passing {
			l.passing[d.Kind]++
			return nil
		}
		l.faults[d.Kind]++
		if !copied {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
	if err != nil {
		s.fail("ledger: %v", err)
	}
}

func (l *simLedger) sum() *ledger.Ledger {
	sum := &ledger.Ledger{}
	for _, f := range l.folds {
		sum.Add(f)
	}
	return sum
}

// nodeLists returns the lists of a simulated node, with rows of an operator among them.
func nodeLists(n *simNode, store *simStore, secret trade.NodeSecret) ledger.Lists {
	return ledger.Lists{
		DevFee: func(h trade.Hash) (bool, error) { return store.claims[h] == devFeeClaim, nil },
		Invoices: func(fn func(ledger.Invoice) error) error {
			if err := fn(ledger.Invoice{Hash: trade.Hash{1}, Phase: trade.HoldSettled, AmountMsat: 5000, PaidMsat: 5000}); err != nil {
				return err
			}
			for h, hold := range n.holds {
				if err := fn(ledgerInvoice(hold.state, secret)); err != nil {
					return fmt.Errorf("hash %s: %w", h, err)
				}
			}
			return nil
		},
		Payments: func(fn func(ledger.Payment) error) error {
			if err := fn(ledger.Payment{Hash: trade.Hash{2}, Status: trade.PaymentSucceeded, AmountMsat: 700, FeeMsat: 7}); err != nil {
				return err
			}
			for h, p := range n.pays {
				if err := fn(ledgerPayment(p.state)); err != nil {
					return fmt.Errorf("hash %s: %w", h, err)
				}
			}
			return nil
		},
	}
}

// ledgerInvoice is the row of an invoice for a comparison with the ledger.
func ledgerInvoice(s lightning.HoldState, secret trade.NodeSecret) ledger.Invoice {
	id, _ := secret.Ours(s.Memo, s.Hash)
	row := ledger.Invoice{Hash: s.Hash, Phase: s.Phase, AmountMsat: s.AmountSats * 1000, Trade: id}
	if s.Phase == trade.HoldAccepted || s.Phase == trade.HoldSettled {
		row.PaidMsat = s.PaidMsat
	}
	return row
}

// ledgerPayment is the row of a payment for a comparison with the ledger.
func ledgerPayment(s lightning.PaymentState) ledger.Payment {
	row := ledger.Payment{Hash: s.Hash, Status: s.Status, AmountMsat: s.AmountMsat}
	if s.Status == trade.PaymentSucceeded {
		row.FeeMsat = s.FeeMsat
	}
	return row
}

// TestSimulationOfLedger runs the worlds of TestSimulation with a ledger beside them. The laws
// are checked after each row of each journal. At the end of a world without a rolled back
// store, the ledger and the node agree to the last millisatoshi.
func TestSimulationOfLedger(t *testing.T) {
	seeds := uint64(max(*simTrades/1000, 1))
	if testing.Short() {
		seeds = 8 // in the first four worlds no seller pays
	}
	events, passing, faults := make(map[ledger.Event]int), make(map[ledger.DifferenceKind]int), make(map[ledger.DifferenceKind]int)
	checks, trades := 0, 0
	for seed := uint64(1); seed <= seeds; seed++ {
		s := newSim(seed, nil)
		l := followLedger(s)
		s.run()
		l.look()
		if s.err != nil {
			t.Fatalf("seed %d: %v", seed, s.err)
		}
		checks, trades = checks+l.checks, trades+len(l.folds)
		for e, n := range l.events {
			events[e] += n
		}
		for k, n := range l.passing {
			passing[k] += n
		}
		for k, n := range l.faults {
			faults[k] += n
		}
		if s.generation > 1 {
			continue
		}
		l.judgeEnd(t, seed)
	}
	t.Logf("%d trades, %d comparisons; %v; passing differences %v; faults after a rollback %v", trades, checks, events, passing, faults)
	for _, e := range []ledger.Event{ledger.HoldAccepted, ledger.HoldSettled, ledger.HoldReturned, ledger.BuyerPaid} {
		if events[e] == 0 {
			t.Errorf("the simulation does not cover %q", e)
		}
	}
	if len(passing) == 0 {
		t.Error("the ledger was never behind the node, so the comparison proves little")
	}
}

// judgeEnd compares the ledger of a world at rest with the node's own sums.
func (l *simLedger) judgeEnd(t *testing.T, seed uint64) {
	t.Helper()
	sum, n := l.sum(), l.s.node
	c, err := ledger.Compare(sum, nodeLists(n, l.s.store, l.s.book.Secret), func(d ledger.Difference) error { return fmt.Errorf("%+v", d) })
	if err != nil {
		t.Errorf("seed %d: a difference at the end: %v", seed, err)
	}
	b := sum.Balances
	got := [4]int64{-b[ledger.SellerWallet] - b[ledger.Hold], b[ledger.Hold], b[ledger.BuyerWallet] + b[ledger.DevWallet], b[ledger.Routing]}
	if want := [4]int64{n.settledMsat, n.heldMsat, n.paidMsat, n.routingMsat}; got != want {
		t.Errorf("seed %d: settled, held, paid and routing are %d in the ledger, and %d at the node", seed, got, want)
	}
	if fees := n.feesPaid(); b[ledger.DevWallet] != fees {
		t.Errorf("seed %d: the development fund has %d msat in the ledger, and %d at the node", seed, b[ledger.DevWallet], fees)
	}
	if owned := n.settledMsat - n.paidMsat - n.routingMsat - b[ledger.DevFund]; b.Owned() != owned {
		t.Errorf("seed %d: the node owns %d msat in the ledger, and %d by its own sums", seed, b.Owned(), owned)
	}
	if [2]int64{c.SettledMsat, c.PaidMsat} != [2]int64{n.settledMsat, n.paidMsat} {
		t.Errorf("seed %d: the comparison has %d settled and %d paid, the node %d and %d", seed, c.SettledMsat, c.PaidMsat, n.settledMsat, n.paidMsat)
	}
	if c.ForeignInvoices != 1 || c.ForeignSettledMsat != 5000 || c.ForeignPayments != 1 || c.ForeignPaidMsat != 707 {
		t.Errorf("seed %d: the operator's rows are counted as %+v", seed, c)
	}
	for id, f := range l.folds {
		if !f.Trade.Over() {
			t.Errorf("seed %d: trade %s is not over", seed, id)
		}
	}
	l.judgeOrder(t, seed)
}

// judgeOrder adds the trades in other orders: the sums must be the same.
func (l *simLedger) judgeOrder(t *testing.T, seed uint64) {
	t.Helper()
	var ids []trade.OrderID
	for id := range l.folds {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b trade.OrderID) int { return slices.Compare(a[:], b[:]) })
	rng := rand.New(rand.NewPCG(seed, 1))
	want := l.sum().Balances
	for range 5 {
		rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		// The rows of all trades are also folded in turns, as a live ledger would do.
		folds := make(map[trade.OrderID]*ledger.Fold)
		var sum ledger.Ledger
		for step, more := 0, true; more; step++ {
			more = false
			for _, id := range ids {
				rows := l.s.store.journal[id]
				if folds[id] == nil {
					folds[id] = &ledger.Fold{}
				}
				if step < len(rows) {
					more = true
					if _, err := folds[id].Apply(rows[step]); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for _, id := range ids {
			sum.Add(folds[id])
		}
		if sum.Balances != want {
			t.Errorf("seed %d: another order of the trades has other balances: %v, want %v", seed, sum.Balances, want)
		}
	}
}

// TestLedgerOfOldStore folds the journals that commit 1307280 wrote, and compares them with
// the node of that time. The trades that the old program has frozen are the only faults.
func TestLedgerOfOldStore(t *testing.T) {
	for _, file := range []string{"rules0.json.gz", "rules0-copy.json.gz"} {
		t.Run(file, func(t *testing.T) {
			w, s := loadOldStore(t, file)
			db, err := OpenDB(filepath.Join(w.dir, "escrow"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			sum, err := ledger.Read(db)
			if err != nil {
				t.Fatal(err)
			}
			if err := sum.Check(); err != nil {
				t.Error(err)
			}
			if sum.Trades < len(s.Trades) {
				t.Errorf("%d trades of %d are in the ledger", sum.Trades, len(s.Trades))
			}
			var faults []ledger.Difference
			c, err := ledger.Compare(sum, nodeLists(w.node.n, newSimStore(), trade.NodeSecret{}), func(d ledger.Difference) error {
				if !d.Passing {
					faults = append(faults, d)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range faults {
				tr, err := db.Trade(d.Trade)
				if err != nil || !tr.Frozen || d.Kind != ledger.SettledAtNode {
					t.Errorf("%+v (%v)", d, err)
				}
			}
			frozen := 0
			for _, o := range s.Trades {
				if tr, err := db.Trade(o.ID); err == nil && tr.Frozen && tr.Status != "settled-hold-invoice" {
					frozen++
				}
			}
			if len(faults) != frozen {
				t.Errorf("%d faults, and %d trades are frozen because the node has settled their hold", len(faults), frozen)
			}
			b := sum.Balances
			extra := int64(0) // settled at the node only
			for _, d := range faults {
				extra += d.NodeMsat
			}
			got := [4]int64{b[ledger.Hold] - extra, c.HeldMsat, b[ledger.BuyerWallet], b[ledger.Routing]}
			if want := [4]int64{s.Sums[1], s.Sums[1], s.Sums[4], s.Sums[5]}; got != want {
				t.Errorf("held, held at the node, paid and routing are %d, want %d", got, want)
			}
			t.Logf("%d trades, %v", sum.Trades, b)
		})
	}
}

// TestLedgerReadsBadger reads the ledger of a simulated world from the real store. The result
// is the ledger that was kept beside the world.
func TestLedgerReadsBadger(t *testing.T) {
	db, err := openDB(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s := newSim(2, db)
	l := followLedger(s)
	s.run()
	l.look()
	if s.err != nil {
		t.Fatal(s.err)
	}
	sum, err := ledger.Read(db)
	if err != nil {
		t.Fatal(err)
	}
	if err := sum.Check(); err != nil {
		t.Error(err)
	}
	if live := l.sum(); sum.Balances != live.Balances || sum.Trades != live.Trades || sum.Over != live.Over {
		t.Errorf("the store has %d trades with %v, beside the world are %d with %v", sum.Trades, sum.Balances, live.Trades, live.Balances)
	}
	// Every transaction names a row of its trade's journal.
	var list []ledger.Transaction
	for id := range l.folds {
		f, err := ledger.ReadTrade(db, id, func(tx ledger.Transaction) error {
			list = append(list, tx)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if f.Trade.ID != id {
			t.Errorf("the fold of %s has trade %s", id, f.Trade.ID)
		}
	}
	if len(list) != l.postings {
		t.Errorf("%d transactions, and %d beside the world", len(list), l.postings)
	}
	slices.SortFunc(list, func(a, b ledger.Transaction) int { return cmp.Compare(a.At, b.At) })
	for _, tx := range list {
		row, at := trade.Trade{}, int64(0)
		err := db.Journal(tx.Trade, func(n uint32, in trade.Input) error {
			var err error
			if row, _, err = trade.Step(row, in); err != nil {
				return err
			}
			if n == tx.Step {
				at = in.At
				return errCrash
			}
			return nil
		})
		if !errors.Is(err, errCrash) || at != tx.At || row.Last != tx.Trigger || tx.Hash == (trade.Hash{}) {
			t.Errorf("transaction %+v does not name its row: %q at %d", tx, row.Last, at)
		}
	}
}

// TestLedgerOfPastJournals folds the journals that version 1 of the rules wrote. The laws hold
// after each row, and for the trade that version 1 has stored.
func TestLedgerOfPastJournals(t *testing.T) {
	f, err := os.Open("testdata/rules1-journals.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var past []pastTrade
	if err := json.NewDecoder(text).Decode(&past); err != nil {
		t.Fatal(err)
	}
	events := make(map[ledger.Event]int)
	for _, p := range past {
		var fold ledger.Fold
		for _, in := range p.Journal {
			list, err := fold.Apply(in)
			if err == nil {
				err = fold.Check()
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, tx := range list {
				events[tx.Event]++
			}
		}
		fold.Trade = p.Trade
		if err := fold.Check(); err != nil {
			t.Errorf("the stored trade: %v", err)
		}
	}
	for _, e := range []ledger.Event{ledger.HoldAccepted, ledger.HoldSettled, ledger.HoldReturned, ledger.BuyerPaid} {
		if events[e] == 0 {
			t.Errorf("the journals do not contain %q", e)
		}
	}
}

package ledger

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// maxViolations is the number of violations that a Ledger keeps. All violations are counted.
const maxViolations = 100

// Ledger is the sum of the folds of many trades. The order of the trades does not matter.
//
// A Ledger needs about 60 bytes for each hold and payout and 32 bytes for each trade, so
// that Compare can find the trade of a hash.
type Ledger struct {
	Balances Balances
	Trades   int // all trades
	Over     int // trades that can no longer change
	Frozen   int // trades that wait for an operator

	// These sums follow from the states of the trades, and not from transactions.
	FeesMsat, DevFeesMsat int64

	Violations int          // number of violations
	First      []*Violation // the first violations
	rows       []row        // sorted by class and hash if sorted is set
	trades     []tradeRow
	sorted     bool
}

// row is a hold or a payout in the index of a ledger.
type row struct {
	hash   trade.Hash
	msat   int64 // hold: amount of the invoice; payout: amount that the buyer receives
	paid   int64 // hold: amount that the seller has paid; payout: routing fee
	trade  uint32
	class  class
	state  uint8 // HoldState or PayoutState
	listed bool  // the node has a row with this hash
}

type class uint8

const (
	classHold   class = 0
	classPayout class = 1
)

type tradeRow struct {
	id     trade.OrderID
	frozen bool
}

// Add adds the fold of one trade. Add checks the laws of the trade. A trade must be added
// once.
func (l *Ledger) Add(f *Fold) {
	if err := f.Check(); err != nil {
		l.violate(err)
	}
	if !l.Balances.Add(f.Balances) {
		l.violate(&Violation{Law: LawSign, Trade: f.Trade.ID, Step: f.Trade.Steps, Text: "a sum does not fit in 64 bits"})
	}
	l.Trades++
	if f.Trade.Over() {
		l.Over++
	}
	if f.Trade.Frozen {
		l.Frozen++
	}
	if trade.Settled(f.Trade.Status) {
		l.FeesMsat += feesMsat(f.Trade)
		l.DevFeesMsat += f.Trade.DevFeeSats * 1000
	}
	n := uint32(len(l.trades))
	l.trades = append(l.trades, tradeRow{f.Trade.ID, f.Trade.Frozen})
	for i := range f.Holds {
		h := &f.Holds[i]
		l.rows = append(l.rows, row{hash: h.Hash, msat: h.AskedMsat, paid: h.PaidMsat, trade: n, class: classHold, state: uint8(h.State)})
	}
	for i := range f.Payouts {
		p := &f.Payouts[i]
		l.rows = append(l.rows, row{hash: p.Hash, msat: p.Msat, paid: p.FeeMsat, trade: n, class: classPayout, state: uint8(p.State)})
	}
	l.sorted = false
}

// violate counts a broken law.
func (l *Ledger) violate(err error) {
	l.Violations++
	if v, ok := err.(*Violation); ok && len(l.First) < maxViolations {
		l.First = append(l.First, v)
	}
}

// Journals is a store of trades and their journals. The escrow's store implements it.
type Journals interface {
	Trades(fn func(trade.Trade) error) error
	Journal(id trade.OrderID, fn func(n uint32, in trade.Input) error) error
}

// Read folds the journals of all trades of a store. If the journal of a trade cannot be
// replayed, Read returns an error: an incomplete ledger would hide the sats of that trade.
// Read holds one trade in memory at a time.
func Read(store Journals) (*Ledger, error) {
	l := &Ledger{}
	err := store.Trades(func(t trade.Trade) error {
		f, err := ReadTrade(store, t.ID, nil)
		if err != nil {
			return err
		}
		l.Add(f)
		if f.Trade.Steps == t.Steps { // else the trade has changed since it was read
			stored := *f
			stored.Trade = t
			if err := stored.Check(); err != nil {
				l.violate(&Violation{Law: LawReplay, Trade: t.ID, Step: t.Steps, Text: err.Error()})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// ReadTrade folds the journal of one trade. If fn is not nil, ReadTrade calls fn for each
// transaction.
func ReadTrade(store Journals, id trade.OrderID, fn func(Transaction) error) (*Fold, error) {
	f := &Fold{}
	err := store.Journal(id, func(n uint32, in trade.Input) error {
		if n != f.Trade.Steps+1 {
			return fmt.Errorf("journal of %s: row %d after %d", id, n, f.Trade.Steps)
		}
		list, err := f.Apply(in)
		if err != nil {
			return err
		}
		for _, t := range list {
			if fn == nil {
				break
			}
			if err := fn(t); err != nil {
				return err
			}
		}
		return nil
	})
	return f, err
}

// sort orders the index for find.
func (l *Ledger) sort() {
	if l.sorted {
		return
	}
	slices.SortFunc(l.rows, func(a, b row) int {
		if a.class != b.class {
			return int(a.class) - int(b.class)
		}
		if c := bytes.Compare(a.hash[:], b.hash[:]); c != 0 {
			return c
		}
		return bytes.Compare(l.trades[a.trade].id[:], l.trades[b.trade].id[:])
	})
	l.sorted = true
}

// find returns the rows of a hash. More than one trade may have named the same invoice of a
// buyer.
func (l *Ledger) find(c class, h trade.Hash) []row {
	l.sort()
	i, ok := slices.BinarySearchFunc(l.rows, h, func(r row, h trade.Hash) int {
		if r.class != c {
			return int(r.class) - int(c)
		}
		return bytes.Compare(r.hash[:], h[:])
	})
	if !ok {
		return nil
	}
	end := i + 1
	for end < len(l.rows) && l.rows[end].class == c && l.rows[end].hash == h {
		end++
	}
	return l.rows[i:end]
}

// Payouts calls fn for the hash of each payout, in the order of the hashes. A node whose
// payments cannot be listed is asked for these hashes.
func (l *Ledger) Payouts(fn func(h trade.Hash) error) error {
	l.sort()
	for i := range l.rows {
		if l.rows[i].class != classPayout || i > 0 && l.rows[i-1].class == classPayout && l.rows[i-1].hash == l.rows[i].hash {
			continue
		}
		if err := fn(l.rows[i].hash); err != nil {
			return err
		}
	}
	return nil
}

// Check returns the first violated law, of a trade or of the node.
func (l *Ledger) Check() error {
	if len(l.First) > 0 {
		return l.First[0]
	}
	return l.checkNode()
}

// checkNode verifies the laws about the sums of all trades.
func (l *Ledger) checkNode() error {
	b := l.Balances
	var sum int64
	for _, msat := range b {
		var ok bool
		if sum, ok = add(sum, msat); !ok {
			return &Violation{Law: LawBalanced, Text: "the sum of all accounts does not fit in 64 bits"}
		}
	}
	if sum != 0 {
		return &Violation{Law: LawBalanced, Text: fmt.Sprintf("all accounts sum to %d msat", sum)}
	}
	want := l.FeesMsat - b[Routing] - l.DevFeesMsat + b[Forfeits] + b[Overpayments]
	if b.Owned() != want {
		return &Violation{Law: LawOwned, Text: fmt.Sprintf("the node owns %d msat; fees %d - routing %d - development fees %d + forfeits %d + overpayments %d are %d",
			b.Owned(), l.FeesMsat, b[Routing], l.DevFeesMsat, b[Forfeits], b[Overpayments], want)}
	}
	if fund := b[DevFund] + b[DevWallet] + b[ByHand]; fund != l.DevFeesMsat {
		return &Violation{Law: LawOwned, Text: fmt.Sprintf("the development fund has %d msat of %d", fund, l.DevFeesMsat)}
	}
	return l.checkOnce()
}

// checkOnce returns a violation if two trades were paid under one hash, or use one hold
// invoice: the node has moved the amount only once.
func (l *Ledger) checkOnce() error {
	l.sort()
	var last *row // the last row that has used its hash
	for i := range l.rows {
		r := &l.rows[i]
		if r.class == classPayout && PayoutState(r.state) != PayoutPaid {
			continue
		}
		if last != nil && last.class == r.class && last.hash == r.hash {
			return &Violation{Law: LawOnce, Trade: l.trades[r.trade].id, Text: fmt.Sprintf("trade %s has used hash %s as well", l.trades[last.trade].id, r.hash)}
		}
		last = r
	}
	return nil
}

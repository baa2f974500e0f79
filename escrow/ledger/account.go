package ledger

import (
	"errors"
	"fmt"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Kind is the kind of an account.
type Kind uint8

// The kinds of accounts. The balance of a wallet is the amount that the wallet has received
// from this node, less the amount that the wallet has paid.
const (
	// Wallets outside this node.
	SellerWallet Kind = iota // wallets of sellers
	BuyerWallet              // wallets of buyers
	Routing                  // routing fees, which the nodes on a route have received
	DevWallet                // the development fund's wallet

	// Accounts of one trade. The accounts of a trade that is over are zero.
	Hold      // accepted payment under the hash of a hold invoice
	MakerBond // accepted payment of the maker's bond
	TakerBond // accepted payment of a taker's bond
	Claim     // payout that the node owes to the buyer
	BondClaim // share of a settled bond that the node owes to a party
	// Suspense holds an amount that the node has claimed although the trade had cancelled
	// the hold. An operator must decide to whom the amount belongs.
	Suspense

	// Accounts of the node.
	Income       // fees of both sides, less routing fees and development fees
	DevFund      // development fees that the node owes to the fund
	Forfeits     // the node's share of settled bonds, shares that no party claimed, and amounts that an operator kept
	Overpayments // amounts above a hold invoice's amount
	// ByHand holds development fees that an operator has settled by a payment that this node does
	// not know.
	ByHand

	kinds
)

var kindNames = [kinds]string{
	SellerWallet: "sellers", BuyerWallet: "buyers", Routing: "routing", DevWallet: "dev_fund_paid",
	Hold: "holds", MakerBond: "maker_bonds", TakerBond: "taker_bonds", Claim: "buyer_claims", BondClaim: "bond_claims", Suspense: "suspense",
	Income: "income", DevFund: "dev_fund_due", Forfeits: "forfeits", Overpayments: "overpayments", ByHand: "settled_by_hand",
}

// String returns the name of the kind in reports, for example "holds".
func (k Kind) String() string {
	if k < kinds {
		return kindNames[k]
	}
	return fmt.Sprintf("account kind %d", uint8(k))
}

// MarshalText returns the name of the kind.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// OfTrade reports whether each trade has an account of this kind.
func (k Kind) OfTrade() bool { return k >= Hold && k <= Suspense }

// OfHash reports whether each payment hash has an account of this kind.
func (k Kind) OfHash() bool { return k == Hold || k == MakerBond || k == TakerBond }

// Account is one account of the ledger.
type Account struct {
	Kind  Kind
	Trade trade.OrderID // zero, unless Kind.OfTrade
	Hash  trade.Hash    // zero, unless Kind.OfHash
}

// Entry is one line of a transaction.
type Entry struct {
	Kind Kind  `json:"account"`
	Msat int64 `json:"msat"` // positive if the balance of the account grows
}

// Event is the kind of a transaction.
type Event string

// The events.
const (
	HoldAccepted     Event = "hold accepted"     // the seller has paid a hold invoice
	HoldSettled      Event = "hold settled"      // the node has claimed the hold
	HoldReturned     Event = "hold returned"     // the seller has the sats back
	HoldSuspended    Event = "hold suspended"    // the node has claimed a hold that the trade had cancelled
	SuspenseResolved Event = "suspense resolved" // an operator has decided about an amount in suspense
	RefundPaid       Event = "refund paid"       // the seller has received an amount that was in suspense
	BuyerPaid        Event = "buyer paid"        // a payout has succeeded
	DevFeePaid       Event = "dev fee paid"      // the development fund has received a fee
	DevFeeByHand     Event = "dev fee by hand"   // an operator has settled a fee by a payment that this node does not know
	OverpaymentFound Event = "overpayment found" // a settled hold was paid with more than the journal said
	BondLocked       Event = "bond locked"       // a party has paid a bond
	BondReturned     Event = "bond returned"     // the party has the bond back
	BondSettled      Event = "bond settled"      // the node has claimed the bond
	BondPaid         Event = "bond paid"         // a party has received its share of a bond
	BondForfeited    Event = "bond forfeited"    // no party has claimed its share in time
)

// Source is the row of a journal from which a transaction follows.
type Source struct {
	Trade   trade.OrderID `json:"trade"`
	Step    uint32        `json:"step"` // number of the row in the trade's journal, from 1
	At      int64         `json:"at"`   // unix seconds
	Trigger trade.Trigger `json:"trigger"`
	Hash    trade.Hash    `json:"hash"` // of the hold, bond or payment
}

// Transaction is a list of entries that sum to zero.
type Transaction struct {
	Source
	Event   Event   `json:"event"`
	Entries []Entry `json:"entries"`
}

// Account returns the account of an entry of the transaction.
func (t Transaction) Account(e Entry) Account {
	a := Account{Kind: e.Kind}
	if e.Kind.OfTrade() {
		a.Trade = t.Trade
	}
	if e.Kind.OfHash() {
		a.Hash = t.Hash
	}
	return a
}

// Check returns ErrUnbalanced if the entries do not sum to zero.
func (t Transaction) Check() error {
	var sum int64
	for _, e := range t.Entries {
		var ok bool
		if sum, ok = add(sum, e.Msat); !ok {
			return ErrAmount
		}
	}
	if sum != 0 {
		return fmt.Errorf("%w: %s of trade %s, step %d: %d msat", ErrUnbalanced, t.Event, t.Trade, t.Step, sum)
	}
	return nil
}

// entries returns a transaction without the entries of 0 msat.
func (s Source) transaction(event Event, entries ...Entry) Transaction {
	t := Transaction{Source: s, Event: event}
	for _, e := range entries {
		if e.Msat != 0 {
			t.Entries = append(t.Entries, e)
		}
	}
	return t
}

var (
	// ErrUnbalanced reports a transaction whose entries do not sum to zero.
	ErrUnbalanced = errors.New("the entries of a transaction do not sum to zero")
	// ErrAmount reports an amount that is negative, too large, or more than an account
	// holds.
	ErrAmount = errors.New("amount out of range")
)

// maxMsat is the number of millisatoshi that can ever exist.
const maxMsat = trade.MaxSats * 1000

// Balances holds the sum of the accounts of each kind, in msat.
type Balances [kinds]int64

// Post adds the entries of a transaction. If Post returns an error, the balances are
// unchanged.
func (b *Balances) Post(t Transaction) error {
	next := *b
	for _, e := range t.Entries {
		if e.Kind >= kinds {
			return fmt.Errorf("%w: %s", ErrAmount, e.Kind)
		}
		var ok bool
		if next[e.Kind], ok = add(next[e.Kind], e.Msat); !ok {
			return fmt.Errorf("%w: the sum of %s", ErrAmount, e.Kind)
		}
	}
	*b = next
	return nil
}

// Add adds the balances of another part of the ledger. Add reports whether all sums fit in
// 64 bits.
func (b *Balances) Add(o Balances) bool {
	all := true
	for k := range b {
		sum, ok := add(b[k], o[k])
		b[k], all = sum, all && ok
	}
	return all
}

// Owned returns the sats that belong to the node: Income, Forfeits and Overpayments.
func (b Balances) Owned() int64 { return b[Income] + b[Forfeits] + b[Overpayments] }

// MarshalJSON returns an object with one field for each kind.
func (b Balances) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for k, msat := range b {
		if k > 0 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, "%q:%d", Kind(k), msat)
	}
	return append(out, '}'), nil
}

// add returns a + b. ok is false if the sum does not fit in 64 bits.
func add(a, b int64) (sum int64, ok bool) {
	sum = a + b
	return sum, (sum > a) == (b > 0)
}

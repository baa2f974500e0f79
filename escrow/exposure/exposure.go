// Package exposure sums up the open trades of an escrow for its operator: how long the payments
// that the Lightning node holds are safe, how long buyers wait for their payouts, and which
// trades need a person. The package is pure: it reads trades and changes none.
package exposure

import (
	"math"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// Bounds are the upper bounds of the classes of holds, in blocks that are left before the margin
// of the time lock. Holds with more blocks are in one further class.
var Bounds = [...]int64{0, 12, 36, 72, 144}

// Unknown is the number of blocks that are left to a hold of which no height is known.
const Unknown = math.MaxInt64

// Sum is the sum of the open trades. Add each trade, then read the fields.
type Sum struct {
	At int64 // the time of the sum, in unix seconds

	Held     [len(Bounds) + 1]int   // holds by class of the blocks that are left
	HeldSats [len(Bounds) + 1]int64 // the sats of these holds
	// Least is the least number of blocks that a hold has left; Unknown if there is no hold.
	Least int64
	// Late is the number of seconds by which the clock's decision about a trade is late, of the
	// trade for which it is the latest. The engine decides every second, unless it is stopped
	// or its store is compared.
	Late     int64
	Unpaid   int // trades whose hold is settled and whose buyer is not paid, without those that wait for an invoice of the buyer
	Awaiting int // settled trades that wait for another invoice of the buyer
	Refunds  int // other payments that the node owes

	Trades []Entry // trades that need a look, in no order
}

// Entry is an open trade that a person may have to look at.
type Entry struct {
	ID     trade.OrderID
	Status message.TradeStatus
	Sats   int64
	// Blocks is the number of blocks that are left before the margin of the hold, negative
	// beyond it; Unknown if the node holds nothing or no height is known.
	Blocks  int64
	Frozen  bool
	Unpaid  bool // the hold is settled, the buyer is not paid, and the node has what it needs
	Dispute *trade.Dispute
}

// Near is the number of blocks below which a hold is an Entry.
const Near = 36

// Holds reports whether the Lightning node holds a payment for a trade, as far as the store knows.
func Holds(t *trade.Trade) bool {
	return t.Hash != trade.Hash{} && t.HeldAt != 0 && !t.EscrowGone && (trade.Escrowed(t.Status) || t.Status == message.TradeWaitingBuyerInvoice)
}

// BlocksLeft returns the number of blocks that a hold has left before its margin, by ten minutes
// a block, negative beyond the margin. It returns Unknown if there is no hold.
func BlocksLeft(t *trade.Trade, at int64) int64 {
	closes := t.SafeUntil
	if trade.Escrowed(t.Status) {
		_, closes = t.Window(at)
	}
	if !Holds(t) || closes == 0 {
		return Unknown
	}
	if closes < at { // the quotient of a negative number is rounded towards 0
		return (closes-at+1)/trade.BlockSeconds - 1
	}
	return (closes - at) / trade.BlockSeconds
}

// New returns a sum at a time.
func New(at int64) *Sum { return &Sum{At: at, Least: Unknown} }

// Add adds an open trade.
func (s *Sum) Add(t *trade.Trade) {
	e := Entry{ID: t.ID, Status: t.Status, Sats: t.AmountSats, Blocks: BlocksLeft(t, s.At), Frozen: t.Frozen}
	if Holds(t) {
		class := len(Bounds)
		for i, most := range Bounds {
			if e.Blocks <= most {
				class = i
				break
			}
		}
		s.Held[class]++
		s.HeldSats[class] += t.HeldMsat() / 1000
		s.Least = min(s.Least, e.Blocks)
	}
	if due := t.Due(); due != 0 && !t.Frozen {
		s.Late = max(s.Late, s.At-due)
	}
	if t.Status == message.TradeSettledHoldInvoice {
		if t.AwaitsInvoice(s.At) {
			s.Awaiting++
		} else {
			e.Unpaid = true
			s.Unpaid++
		}
	}
	for i := range t.Outflows {
		if o := &t.Outflows[i]; !o.Done() && !o.Withdrawn {
			s.Refunds++
		}
	}
	if t.Status == message.TradeDispute {
		d := t.Dispute
		e.Dispute = &d
	}
	if e.Blocks <= Near || e.Frozen || e.Unpaid || e.Dispute != nil {
		s.Trades = append(s.Trades, e)
	}
}

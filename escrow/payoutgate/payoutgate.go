// Package payoutgate limits the number of payments of an escrow that are in flight.
package payoutgate

import (
	"errors"
	"sync"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// ErrWaits reports that a payout waits until the outcome of other payouts is known.
var ErrWaits = errors.New("as many payouts as are allowed are in flight")

// Gate limits the number of payouts that are in flight at the same time. A payee can
// hold a payment for days and neither claim nor refuse it, and each such payment locks funds of
// the node. A payout that finds no room waits. It neither fails nor loses its claim.
//
// A payout counts from the moment before its payment is sent until its trade has recorded the
// outcome. A payment whose answer was lost counts, because it may have reached the node. At a
// start the gate is closed until the node was asked about the payments that the store knows
// as claimed and not as sent.
type Gate struct {
	inAll, ofPayee int // largest numbers; 0: no limit

	mu       sync.Mutex
	inFlight map[trade.OutflowKey]sentPayout // guarded by mu
	payees   map[string]int                  // numbers of inFlight; guarded by mu
	closed   bool                            // no payout enters; guarded by mu
	waiting  map[trade.OutflowKey]trade.Hash // payouts that found no room, without a hash if they have no invoice yet; guarded by mu
}

// sentPayout is a payout that counts.
type sentPayout struct {
	hash   trade.Hash
	payee  string // "" if the invoice names none: only the limit in all applies
	waited bool   // the payout found no room at first
}

// New returns a gate with the largest numbers of payments in all and to one payee; 0: no limit.
func New(inAll, ofPayee int) *Gate {
	return &Gate{inAll: inAll, ofPayee: ofPayee, inFlight: make(map[trade.OutflowKey]sentPayout), payees: make(map[string]int), waiting: make(map[trade.OutflowKey]trade.Hash)}
}

// Enter counts a payout, or returns ErrWaits. A payout that counts already may be sent
// again.
func (g *Gate) Enter(id trade.OutflowKey, h trade.Hash, payee string) error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inFlight[id].hash == h {
		return nil
	}
	g.leave(id)
	if g.full(payee) {
		g.waiting[id] = h
		return ErrWaits
	}
	g.count(id, sentPayout{hash: h, payee: payee, waited: g.waiting[id] == h})
	return nil
}

// Still returns ErrWaits if a payout that waited before finds no room either now.
func (g *Gate) Still(id trade.OutflowKey, h trade.Hash, payee string) error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting[id] == h && g.full(payee) {
		return ErrWaits
	}
	return nil
}

// full reports whether no payout to a payee may enter. full requires mu.
func (g *Gate) full(payee string) bool {
	return g.closed || g.inAll > 0 && len(g.inFlight) >= g.inAll || g.ofPayee > 0 && payee != "" && g.payees[payee] >= g.ofPayee
}

// Room returns ErrWaits if no payout could be sent, so that an address is not asked for
// an invoice that would expire.
func (g *Gate) Room(id trade.OutflowKey) error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.inAll > 0 && len(g.inFlight) >= g.inAll {
		g.waiting[id] = trade.Hash{}
		return ErrWaits
	}
	return nil
}

// SetClosed closes the gate, or opens it.
func (g *Gate) SetClosed(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
}

// Found counts a payment that the node has in flight, whatever the limits.
func (g *Gate) Found(id trade.OutflowKey, h trade.Hash, payee string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave(id)
	g.count(id, sentPayout{hash: h, payee: payee})
}

// Waited reports whether the payout of a hash has found no room before.
func (g *Gate) Waited(id trade.OutflowKey, h trade.Hash) bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting[id] == h || g.inFlight[id] == sentPayout{h, g.inFlight[id].payee, true}
}

// Sync follows the committed state of a trade: a payment that the trade knows as sent counts,
// and a payment whose outcome the trade knows does not.
func (g *Gate) Sync(t *trade.Trade, payee func(bolt11 string) string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for n := range uint32(len(t.Outflows)) + 1 {
		o, _ := t.Outflow(n)
		g.follow(trade.OutflowKey{Trade: t.ID, N: n}, o, n != 0 && !o.Done() || n == 0 && t.Status == message.TradeSettledHoldInvoice, payee)
	}
}

// follow requires mu. owed reports whether the outflow is not paid yet.
func (g *Gate) follow(id trade.OutflowKey, o *trade.Outflow, owed bool, payee func(bolt11 string) string) {
	claimed := owed && o.Hash != (trade.Hash{})
	if counted, ok := g.inFlight[id]; ok && !(claimed && counted.hash == o.Hash) {
		g.leave(id)
	}
	if h, ok := g.waiting[id]; ok && !(claimed && h == o.Hash && !o.Sent) && !(h == trade.Hash{} && o.Minting) {
		delete(g.waiting, id)
	}
	if _, counted := g.inFlight[id]; claimed && o.Sent && !counted {
		g.count(id, sentPayout{hash: o.Hash, payee: payee(o.Bolt11)})
	}
}

// count requires mu.
func (g *Gate) count(id trade.OutflowKey, s sentPayout) {
	g.inFlight[id] = s
	g.payees[s.payee]++
	delete(g.waiting, id)
}

// leave requires mu.
func (g *Gate) leave(id trade.OutflowKey) {
	s, ok := g.inFlight[id]
	if !ok {
		return
	}
	delete(g.inFlight, id)
	if g.payees[s.payee]--; g.payees[s.payee] == 0 {
		delete(g.payees, s.payee)
	}
}

// Numbers returns the numbers of payouts in flight and of payouts that wait.
func (g *Gate) Numbers() (inFlight, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.inFlight), len(g.waiting)
}

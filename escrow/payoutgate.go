package escrow

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// ErrPayoutWaits reports that a payout waits until the outcome of other payouts is known.
var ErrPayoutWaits = errors.New("as many payouts as are allowed are in flight")

// payoutGate limits the number of payouts that are in flight at the same time. A payee can
// hold a payment for days and neither claim nor refuse it, and each such payment locks funds of
// the node. A payout that finds no room waits. It neither fails nor loses its claim.
//
// A payout counts from the moment before its payment is sent until its trade has recorded the
// outcome. A payment whose answer was lost counts, because it may have reached the node. At a
// start the gate is closed until the node was asked about the payments that the store knows
// as claimed and not as sent.
type payoutGate struct {
	inAll, ofPayee int // largest numbers; 0: no limit

	mu       sync.Mutex
	inFlight map[trade.OrderID]sentPayout // guarded by mu
	payees   map[string]int               // numbers of inFlight; guarded by mu
	closed   bool                         // no payout enters; guarded by mu
	waiting  map[trade.OrderID]trade.Hash // payouts that found no room, without a hash if they have no invoice yet; guarded by mu
}

// sentPayout is a payout that counts.
type sentPayout struct {
	hash   trade.Hash
	payee  string // "" if the invoice names none: only the limit in all applies
	waited bool   // the payout found no room at first
}

func newPayoutGate(inAll, ofPayee int) *payoutGate {
	return &payoutGate{inAll: inAll, ofPayee: ofPayee, inFlight: make(map[trade.OrderID]sentPayout), payees: make(map[string]int), waiting: make(map[trade.OrderID]trade.Hash)}
}

// enter counts a payout, or returns ErrPayoutWaits. A payout that counts already may be sent
// again.
func (g *payoutGate) enter(id trade.OrderID, h trade.Hash, payee string) error {
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
		return ErrPayoutWaits
	}
	g.count(id, sentPayout{hash: h, payee: payee, waited: g.waiting[id] == h})
	return nil
}

// still returns ErrPayoutWaits if a payout that waited before finds no room either now.
func (g *payoutGate) still(id trade.OrderID, h trade.Hash, payee string) error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting[id] == h && g.full(payee) {
		return ErrPayoutWaits
	}
	return nil
}

// full reports whether no payout to a payee may enter. full requires mu.
func (g *payoutGate) full(payee string) bool {
	return g.closed || g.inAll > 0 && len(g.inFlight) >= g.inAll || g.ofPayee > 0 && payee != "" && g.payees[payee] >= g.ofPayee
}

// room returns ErrPayoutWaits if no payout could be sent, so that an address is not asked for
// an invoice that would expire.
func (g *payoutGate) room(id trade.OrderID) error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.inAll > 0 && len(g.inFlight) >= g.inAll {
		g.waiting[id] = trade.Hash{}
		return ErrPayoutWaits
	}
	return nil
}

// setClosed closes the gate, or opens it.
func (g *payoutGate) setClosed(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
}

// found counts a payment that the node has in flight, whatever the limits.
func (g *payoutGate) found(id trade.OrderID, h trade.Hash, payee string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave(id)
	g.count(id, sentPayout{hash: h, payee: payee})
}

// surveyFor is the time after which the gate opens although the node has not answered.
const surveyFor = 10 * time.Second

// survey asks the node about the payouts of rows that an earlier process may have sent, counts
// those in flight, and opens the gate.
func (g *payoutGate) survey(ctx context.Context, rows []OutboxRow, node Lightning) {
	defer g.setClosed(false)
	ctx, cancel := context.WithTimeout(ctx, surveyFor)
	defer cancel()
	for _, r := range rows {
		for n := 1; ; n++ {
			state, err := node.TrackPayment(ctx, r.Effect.Hash)
			if err == nil {
				if state.Status == trade.PaymentInFlight {
					g.found(r.Trade, r.Effect.Hash, payeeOf(r.Effect.Text))
				}
				break
			}
			select {
			case <-time.After(backoff(n)):
			case <-ctx.Done():
				return
			}
		}
	}
}

// waited reports whether the payout of a hash has found no room before.
func (g *payoutGate) waited(id trade.OrderID, h trade.Hash) bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting[id] == h || g.inFlight[id] == sentPayout{h, g.inFlight[id].payee, true}
}

// sync follows the committed state of a trade: a payment that the trade knows as sent counts,
// and a payment whose outcome the trade knows does not.
func (g *payoutGate) sync(t *trade.Trade, payee func(bolt11 string) string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := t.Payout
	claimed := t.Status == message.TradeSettledHoldInvoice && p.Hash != (trade.Hash{})
	if counted, ok := g.inFlight[t.ID]; ok && !(claimed && counted.hash == p.Hash) {
		g.leave(t.ID)
	}
	if h, ok := g.waiting[t.ID]; ok && !(claimed && h == p.Hash && !p.Sent) && !(h == trade.Hash{} && p.Minting) {
		delete(g.waiting, t.ID)
	}
	if _, counted := g.inFlight[t.ID]; claimed && p.Sent && !counted {
		g.count(t.ID, sentPayout{hash: p.Hash, payee: payee(p.Bolt11)})
	}
}

// count requires mu.
func (g *payoutGate) count(id trade.OrderID, s sentPayout) {
	g.inFlight[id] = s
	g.payees[s.payee]++
	delete(g.waiting, id)
}

// leave requires mu.
func (g *payoutGate) leave(id trade.OrderID) {
	s, ok := g.inFlight[id]
	if !ok {
		return
	}
	delete(g.inFlight, id)
	if g.payees[s.payee]--; g.payees[s.payee] == 0 {
		delete(g.payees, s.payee)
	}
}

// numbers returns the numbers of payouts in flight and of payouts that wait.
func (g *payoutGate) numbers() (inFlight, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.inFlight), len(g.waiting)
}

// payeeOf returns the public key of the node that an invoice pays, or "".
func payeeOf(bolt11 string) string {
	in, err := ParseInvoice(bolt11)
	if err != nil {
		return ""
	}
	return in.Payee
}

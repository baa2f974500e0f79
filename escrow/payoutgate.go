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
	inFlight map[outflowKey]sentPayout // guarded by mu
	payees   map[string]int            // numbers of inFlight; guarded by mu
	closed   bool                      // no payout enters; guarded by mu
	waiting  map[outflowKey]trade.Hash // payouts that found no room, without a hash if they have no invoice yet; guarded by mu
}

// outflowKey identifies an outflow by its trade and its number in the trade.
type outflowKey struct {
	trade trade.OrderID
	n     uint32
}

// keyOf returns the outflow of a row of the outbox.
func keyOf(r OutboxRow) outflowKey { return outflowKey{r.Trade, r.Effect.Outflow} }

// sentPayout is a payout that counts.
type sentPayout struct {
	hash   trade.Hash
	payee  string // "" if the invoice names none: only the limit in all applies
	waited bool   // the payout found no room at first
}

func newPayoutGate(inAll, ofPayee int) *payoutGate {
	return &payoutGate{inAll: inAll, ofPayee: ofPayee, inFlight: make(map[outflowKey]sentPayout), payees: make(map[string]int), waiting: make(map[outflowKey]trade.Hash)}
}

// enter counts a payout, or returns ErrPayoutWaits. A payout that counts already may be sent
// again.
func (g *payoutGate) enter(id outflowKey, h trade.Hash, payee string) error {
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
func (g *payoutGate) still(id outflowKey, h trade.Hash, payee string) error {
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
func (g *payoutGate) room(id outflowKey) error {
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
func (g *payoutGate) found(id outflowKey, h trade.Hash, payee string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave(id)
	g.count(id, sentPayout{hash: h, payee: payee})
}

// surveyFor is the time for the list of payments, and again for the single questions, after
// which the gate opens although the node has not answered.
const surveyFor = 10 * time.Second

// surveyDays is the age of the oldest payment that may still be in flight, in days: LND's own
// limit of a time lock is 2016 blocks.
const surveyDays = 15

// survey counts the payouts that are in flight, and opens the gate. The node's own list is the
// truth, and owner returns the trade of a payment hash and whether the store knows it. If the
// node may not or does not list its payments, the node is asked about the payouts of rows that
// an earlier process may have sent. survey returns the error of the list, or nil.
func (g *payoutGate) survey(ctx context.Context, now time.Time, rows []OutboxRow, owner func(trade.Hash) (outflowKey, string, bool), node Lightning) error {
	defer g.setClosed(false)
	list, cancel := context.WithTimeout(ctx, surveyFor)
	defer cancel()
	err := node.ListPayments(list, now.Add(-surveyDays*24*time.Hour), func(p PaymentState) error {
		if p.Status == trade.PaymentInFlight {
			if id, payee, known := owner(p.Hash); known {
				g.found(id, p.Hash, payee)
			}
		}
		return nil
	})
	if err != nil {
		g.surveyRows(ctx, rows, node)
	}
	return err
}

func (g *payoutGate) surveyRows(ctx context.Context, rows []OutboxRow, node Lightning) {
	ctx, cancel := context.WithTimeout(ctx, surveyFor)
	defer cancel()
	for _, r := range rows {
		for n := 1; ; n++ {
			state, err := node.TrackPayment(ctx, r.Effect.Hash)
			if err == nil {
				if state.Status == trade.PaymentInFlight {
					g.found(keyOf(r), r.Effect.Hash, payeeOf(r.Effect.Text))
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
func (g *payoutGate) waited(id outflowKey, h trade.Hash) bool {
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
	for n := range uint32(len(t.Outflows)) + 1 {
		o, _ := t.Outflow(n)
		g.follow(outflowKey{t.ID, n}, o, n != 0 && !o.Done() || n == 0 && t.Status == message.TradeSettledHoldInvoice, payee)
	}
}

// follow requires mu. owed reports whether the outflow is not paid yet.
func (g *payoutGate) follow(id outflowKey, o *trade.Outflow, owed bool, payee func(bolt11 string) string) {
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
func (g *payoutGate) count(id outflowKey, s sentPayout) {
	g.inFlight[id] = s
	g.payees[s.payee]++
	delete(g.waiting, id)
}

// leave requires mu.
func (g *payoutGate) leave(id outflowKey) {
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

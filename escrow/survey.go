package escrow

import (
	"context"
	"time"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/payoutgate"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// keyOf returns the outflow of a row of the outbox.
func keyOf(r OutboxRow) trade.OutflowKey {
	return trade.OutflowKey{Trade: r.Trade, N: r.Effect.Outflow}
}

// claimedPayout is a payment that a trade may have in flight.
type claimedPayout struct {
	id     trade.OutflowKey
	bolt11 string
}

// surveyFor is the time for the list of payments, and again for the single questions, after
// which the gate opens although the node has not answered.
const surveyFor = 10 * time.Second

// surveyDays is the age of the oldest payment that may still be in flight, in days: LND's own
// limit of a time lock is 2016 blocks.
const surveyDays = 15

// surveyPayouts counts the payouts that are in flight, and opens the gate. The node's own list
// is the truth. owner returns the outflow and the payee of a payment hash, and whether the
// store knows the hash. If the node may not or does not list its payments, the node is asked
// about the payouts of rows that an earlier process may have sent. surveyPayouts returns the
// error of the list, or nil.
func surveyPayouts(ctx context.Context, g *payoutgate.Gate, now time.Time, rows []OutboxRow, owner func(trade.Hash) (trade.OutflowKey, string, bool), node lightning.Node) error {
	defer g.SetClosed(false)
	list, cancel := context.WithTimeout(ctx, surveyFor)
	defer cancel()
	err := node.ListPayments(list, now.Add(-surveyDays*24*time.Hour), func(p lightning.PaymentState) error {
		if p.Status == trade.PaymentInFlight {
			if id, payee, known := owner(p.Hash); known {
				g.Found(id, p.Hash, payee)
			}
		}
		return nil
	})
	if err != nil {
		surveyRows(ctx, g, rows, node)
	}
	return err
}

func surveyRows(ctx context.Context, g *payoutgate.Gate, rows []OutboxRow, node lightning.Node) {
	ctx, cancel := context.WithTimeout(ctx, surveyFor)
	defer cancel()
	for _, r := range rows {
		for n := 1; ; n++ {
			state, err := node.TrackPayment(ctx, r.Effect.Hash)
			if err == nil {
				if state.Status == trade.PaymentInFlight {
					g.Found(keyOf(r), r.Effect.Hash, effect.PayeeOf(r.Effect.Text))
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

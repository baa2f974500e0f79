package escrow

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// watches follows hold invoices and payouts at the node. The watches of a trade depend
// only on the trade, so a restart watches the same hashes. Only the engine's goroutine
// calls sync.
type watches struct {
	node   lightning.Node
	report func(ctx context.Context, n notice) error
	// usable returns the reason why the node's answers must not be believed, because
	// another wallet may answer. If usable is nil, the answers are always believed.
	usable func(ctx context.Context, fresh time.Duration) error
	recent func(ctx context.Context) (lightning.NodeInfo, error) // description of the node

	holds   map[trade.OutflowKey]watch // N is 0
	payouts map[trade.OutflowKey]watch
	wg      sync.WaitGroup
}

type watch struct {
	hash    trade.Hash
	attempt uint32
	cancel  context.CancelFunc
}

func newWatches(node lightning.Node, report func(context.Context, notice) error) *watches {
	w := &watches{node: node, report: report, holds: make(map[trade.OutflowKey]watch), payouts: make(map[trade.OutflowKey]watch)}
	if node != nil {
		w.recent = node.Info
	}
	return w
}

// sync starts and ends watches as a trade requires.
func (w *watches) sync(ctx context.Context, t *trade.Trade) {
	id := trade.OutflowKey{Trade: t.ID}
	if h := t.HoldWatched(); w.turn(w.holds, id, h, 0) {
		w.start(ctx, w.holds, id, h, 0, w.hold)
	}
	for ; int(id.N) <= len(t.Outflows); id.N++ {
		if h, attempt := t.OutflowWatched(id.N); w.turn(w.payouts, id, h, attempt) {
			w.start(ctx, w.payouts, id, h, attempt, w.payout)
		}
	}
}

// turn ends a watch that is no longer needed, and reports whether another one must start.
func (w *watches) turn(m map[trade.OutflowKey]watch, id trade.OutflowKey, h trade.Hash, attempt uint32) bool {
	if old, ok := m[id]; ok {
		if old.hash == h && old.attempt == attempt {
			return false
		}
		old.cancel()
		delete(m, id)
	}
	return h != trade.Hash{}
}

type watchFunc func(ctx context.Context, id trade.OutflowKey, h trade.Hash, attempt uint32) error

func (w *watches) start(ctx context.Context, m map[trade.OutflowKey]watch, id trade.OutflowKey, h trade.Hash, attempt uint32, fn watchFunc) {
	ctx, cancel := context.WithCancel(ctx)
	m[id] = watch{hash: h, attempt: attempt, cancel: cancel}
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		defer cancel()
		for n := 1; ; n++ {
			// A nil error means that the node reported a final state.
			if err := fn(ctx, id, h, attempt); err == nil || ctx.Err() != nil {
				return
			}
			select {
			case <-time.After(backoff(min(n+3, 8))):
			case <-ctx.Done():
				return
			}
		}
	}()
}

func (w *watches) hold(ctx context.Context, id trade.OutflowKey, h trade.Hash, _ uint32) error {
	return w.node.WatchHold(ctx, h, func(state lightning.HoldState) error {
		if state.Phase == trade.HoldOpen {
			return nil
		}
		in, err := effect.SightedInput(ctx, w.recent, state)
		if err != nil {
			return err // the watch starts again, with a lookup first
		}
		return w.report(ctx, notice{trade: id.Trade, input: in})
	})
}

// payout reports an unknown payment as a state. The node accepted the payment once, and
// the trade decides to send it again.
func (w *watches) payout(ctx context.Context, id trade.OutflowKey, h trade.Hash, attempt uint32) error {
	err := w.node.WatchPayment(ctx, h, func(state lightning.PaymentState) error {
		if !state.Status.Final() {
			return nil
		}
		return w.report(ctx, paymentNotice(id, h, attempt, state))
	})
	if errors.Is(err, lightning.ErrNotFound) {
		if w.usable != nil {
			if err := w.usable(ctx, 0); err != nil {
				return err // the watch starts again
			}
		}
		unknown := lightning.PaymentState{Hash: h, Status: trade.PaymentUnknown}
		return w.report(ctx, paymentNotice(id, h, attempt, unknown))
	}
	return err
}

// paymentNotice returns the state of a payment as a notice for its trade.
func paymentNotice(k trade.OutflowKey, h trade.Hash, attempt uint32, state lightning.PaymentState) notice {
	in := effect.PaymentInput(h, attempt, state)
	in.Outflow = k.N
	return notice{trade: k.Trade, input: in}
}

// stop ends all watches and waits for their goroutines.
func (w *watches) stop() {
	for _, m := range []map[trade.OutflowKey]watch{w.holds, w.payouts} {
		for _, one := range m {
			one.cancel()
		}
	}
	w.wg.Wait()
}

package lnsim

import (
	"context"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// changed marks the world as changed and wakes the watches of a hash.
func (n *Node) changed(h trade.Hash, payment bool) {
	n.w.changed = true
	n.touch(h, payment)
	if n.w.cfg.Record {
		n.w.changes = append(n.w.changes, Change{Node: n.name, Hash: h, Payment: payment})
	}
	n.wake(waiter{h, payment})
}

func (n *Node) wake(key waiter) {
	if ch, ok := n.waiters[key]; ok {
		close(ch)
		delete(n.waiters, key)
	}
}

// WatchHold implements lightning.Node.
func (n *Node) WatchHold(ctx context.Context, h trade.Hash, fn func(lightning.HoldState) error) error {
	err := watch(ctx, n, waiter{h, false}, fn, func() (state lightning.HoldState, known, final bool) {
		held := n.holds[h]
		if held == nil {
			return state, false, false
		}
		return held.state(), true, held.Phase.Final()
	})
	if err != nil {
		return fmt.Errorf("watch hold %s: %w", h, err)
	}
	return nil
}

// WatchPayment implements lightning.Node.
func (n *Node) WatchPayment(ctx context.Context, h trade.Hash, fn func(lightning.PaymentState) error) error {
	err := watch(ctx, n, waiter{h, true}, fn, func() (state lightning.PaymentState, known, final bool) {
		state = n.paymentState(h)
		return state, state.Status != trade.PaymentUnknown, state.Status.Final()
	})
	if err != nil {
		return fmt.Errorf("watch payment %s: %w", h, err)
	}
	return nil
}

// watch calls fn with the state that look returns, at once and after each change. look
// runs with the world locked.
func watch[S comparable](ctx context.Context, n *Node, key waiter, fn func(S) error, look func() (state S, known, final bool)) error {
	var last S
	told := false
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n.w.mu.Lock()
		n.w.advanceTo(n.w.now)
		down := n.down
		state, known, final := look()
		changed := n.waiters[key]
		if changed == nil {
			changed = make(chan struct{})
			n.waiters[key] = changed
		}
		n.w.unlock()

		switch {
		case down: // the watch reports no state until Up wakes it
		case !known:
			return lightning.ErrNotFound
		case !told || state != last:
			if err := fn(state); err != nil {
				return err
			}
			if n.w.cfg.RepeatNews {
				if err := fn(state); err != nil {
					return err
				}
			}
			last, told = state, true
			fallthrough
		default:
			if final {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// settled waits until a payment of the node is held by its payee or has ended, and
// returns the state. It polls, because a held payment is still in flight for its payer
// and causes no change there.
func (n *Node) settled(ctx context.Context, h trade.Hash) (string, error) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		n.w.mu.Lock()
		p := n.payments[h]
		state := ""
		switch {
		case p == nil:
			state = "unknown"
		case p.Status.Final():
			state = p.Status.String()
		case p.To != "":
			held := n.w.nodeNamed(p.To).holds[h]
			if held != nil && held.Attempt == p.Attempt && held.Phase == trade.HoldAccepted {
				state = held.Phase.String()
			}
		}
		n.w.mu.Unlock()
		if state != "" {
			return state, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-ticker.C:
		}
	}
}

package escrow

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// gate is a publisher that takes events while it is open.
type gate chan struct{}

func (g gate) Publish(ctx context.Context, _ *nostr.Event) error {
	select {
	case <-g:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	default:
		return errors.New("closed")
	}
}

// TestWaitsOfTheOutbox: the wait of a lane is that of the first row of its oldest queue. A row that
// fails keeps its wait, and a row that follows one that was performed begins anew.
func TestWaitsOfTheOutbox(t *testing.T) {
	open := make(gate)
	o := newOutbox(effect.Runner{}, open, nil, func(context.Context, notice) error { return nil })
	if w := o.waits(); len(w) != 0 {
		t.Fatalf("an empty outbox waits: %v", w)
	}
	id := trade.OrderID{1}
	o.add([]OutboxRow{
		{ID: 1, Trade: id, Effect: trade.Effect{Kind: trade.FxSend}, Event: &nostr.Event{Kind: 14}},
		{ID: 2, Trade: id, Effect: trade.Effect{Kind: trade.FxSend}, Event: &nostr.Event{Kind: 14}},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { o.run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	testkit.Eventually(t, "the row has failed and waits", func() bool {
		o.mu.Lock()
		failures := o.lanes[laneKey{trade: id, lane: laneMail}].failures
		o.mu.Unlock()
		return failures > 0 && o.waits()[laneMail] > 100*time.Millisecond
	})
	before := o.waits()[laneMail]
	open <- struct{}{} // waits until the row is tried again
	testkit.Eventually(t, "the second row is the first", func() bool { return o.depth()[laneMail] == 1 })
	if w := o.waits(); w[laneMail] >= before || w[laneNode] != 0 {
		t.Errorf("the lane waits for %v, before it waited for %v", w, before)
	}
	open <- struct{}{}
	testkit.Eventually(t, "no row waits", func() bool { return len(o.waits()) == 0 })
}

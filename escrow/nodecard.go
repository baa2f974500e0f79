package escrow

import (
	"context"
	"sync/atomic"
	"time"
)

// NodeCard is what the Lightning node last said of itself. It is safe for
// concurrent use.
type NodeCard struct{ info atomic.Pointer[NodeInfo] }

// Info gives the node's last words; ok is false before the first.
func (c *NodeCard) Info() (info NodeInfo, ok bool) {
	if p := c.info.Load(); p != nil {
		return *p, true
	}
	return NodeInfo{}, false
}

// Ask asks the node once.
func (c *NodeCard) Ask(ctx context.Context, node Lightning) error {
	info, err := node.Info(ctx)
	if err != nil {
		return err
	}
	c.info.Store(&info)
	return nil
}

// cardEvery is how often the node is asked: its addresses and version change
// rarely.
const cardEvery = time.Minute

// follow asks again and again until ctx ends. Before the first answer it asks
// every second: the node's description waits for it.
func (c *NodeCard) follow(ctx context.Context, node Lightning) {
	for {
		// An outage shows elsewhere; the old card stays true enough.
		_ = c.Ask(ctx, node)
		wait := cardEvery
		if _, ok := c.Info(); !ok {
			wait = time.Second
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// Services asks Lightning addresses and LNURLs over the network.
type Services struct{ PayServices }

// Mint gives an invoice of exactly that amount.
func (s Services) Mint(ctx context.Context, address string, amountSats int64) (string, error) {
	in, err := s.Invoice(ctx, address, amountSats, "")
	if err != nil {
		return "", err
	}
	return in.Bolt11, nil
}

var _ Addresses = Services{}

package escrow

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnurl"
	"github.com/mostrodex/mostrodex/escrow/nodecard"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

const (
	// nodeEvery is the interval for a usable node, and nodeRetry for any other node.
	nodeEvery = 15 * time.Second
	nodeRetry = 2 * time.Second
	// nodeFresh is the largest age of the node's last answer before a call that moves
	// money, because another wallet may answer by now.
	nodeFresh = 5 * time.Second
)

// follow asks the node until ctx ends, and signals told after each answer.
func (e *Engine) follow(ctx context.Context, told chan<- struct{}) {
	var last nodecard.State
	for {
		state := e.Card.Ask(ctx, e.Node, 0, e.Vet)
		if ctx.Err() != nil {
			return
		}
		if state.Problem != last.Problem || last == (nodecard.State{}) && state != last {
			e.nodeTurned(last, state)
		}
		last = state
		select {
		case told <- struct{}{}:
		default:
		}
		wait := orElse(e.NodeEvery, nodeEvery)
		if state.Problem != nodecard.Usable {
			wait = min(wait, nodeRetry)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// nodeTurned logs once that the node has become unusable, or usable.
func (e *Engine) nodeTurned(was, is nodecard.State) {
	e.metrics.nodeState(is.Problem)
	if is.Problem == nodecard.Usable {
		e.Logger.Info("the Lightning node can be used again: new orders are taken", "was", string(was.Problem))
		return
	}
	e.Logger.Warn("the Lightning node cannot be used: no new orders are taken", "problem", string(is.Problem), "detail", is.Detail)
}

// usable returns an error if the node is not the one that holds the trades' invoices, so
// that no call reaches another wallet. The node's last answer may be as old as fresh.
func (e *Engine) usable(ctx context.Context, fresh time.Duration) error {
	switch s := e.Card.Ask(ctx, e.Node, fresh, e.Vet); s.Problem {
	case nodecard.Unasked, nodecard.OtherWallet:
		return fmt.Errorf("%w: %s", lightning.ErrUnavailable, s.Detail)
	}
	return nil // a call of a node that does not answer fails by itself
}

// heightFresh is the largest age of the height with which a hold is dated, or a settlement is
// found to be in time. An answer with a height costs the node as much as ten other calls.
const heightFresh = 250 * time.Millisecond

// recentInfo returns a description of the node that is at most heightFresh old.
func (e *Engine) recentInfo(ctx context.Context) (lightning.NodeInfo, error) {
	return e.Card.Recent(ctx, e.Node, heightFresh, e.Vet)
}

// decode parses a payout destination for the node of a card.
func decode(text string, card *nodecard.Card) trade.Destination {
	if lnurl.Valid(text) {
		return trade.Destination{Text: text, Address: true}
	}
	in, err := lightning.ParseInvoice(text)
	if err != nil {
		return trade.Destination{Text: text}
	}
	info, _ := card.Info()
	return trade.Destination{
		Text: in.Bolt11, Parsed: true, Hash: in.Hash, AmountMsat: in.AmountMsat,
		ExpiresAt: in.ExpiresAt.Unix(), FinalCLTV: uint32(min(in.MinFinalCLTV, math.MaxUint32)),
		// Before the node has reported its network, the node itself will refuse an invoice
		// of another network. A node cannot pay its own invoice.
		ChainOK: info.Network.SameNetwork(in.Network) && in.Payee != info.Pubkey,
	}
}

package escrow

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/escrow/fund"
	"github.com/mostrodex/mostrodex/escrow/health"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnurl"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// NodeProblem is the reason why a Lightning node cannot be used. The set is closed, for
// metrics.
type NodeProblem string

const (
	NodeUsable      NodeProblem = ""
	NodeUnasked     NodeProblem = "unasked"      // no answer since the start
	NodeUnavailable NodeProblem = "unavailable"  // the node does not answer
	NodePermission  NodeProblem = "permission"   // the macaroon no longer suffices
	NodeUnsynced    NodeProblem = "unsynced"     // the node is not synced with the chain
	NodeRefusing    NodeProblem = "refusing"     // the node refuses calls about holds with an unknown text, as with a full disk
	NodeOtherWallet NodeProblem = "other_wallet" // another node answers at the address
	NodeUnfit       NodeProblem = "unfit"        // Engine.Vet returned an error
)

// nodeProblems lists the problems.
var nodeProblems = []NodeProblem{NodeUnasked, NodeUnavailable, NodePermission, NodeUnsynced, NodeRefusing, NodeOtherWallet, NodeUnfit}

// NodeState reports whether the Lightning node can be used.
type NodeState struct {
	Problem NodeProblem
	Detail  string // text for the operator; without secrets
	other   string // NodeOtherWallet: pubkey of the wallet that answers
}

// NodeCard holds the Lightning node's last description of itself, and whether the node can
// be used. A NodeCard is safe for concurrent use.
type NodeCard struct {
	info    atomic.Pointer[lightning.NodeInfo]
	state   atomic.Pointer[NodeState]
	refusal atomic.Pointer[refusal]

	asking sync.Mutex
	asked  time.Time // time of the last answer or failure, by the monotonic clock; guarded by asking
	began  time.Time // start of the last call that no caller gave up; guarded by asking
	wallet string    // wallet that holds the invoices of the store's trades; "" if unknown; guarded by asking

	syncing sync.Mutex
	sync    health.SyncWatch // by the monotonic clock; guarded by syncing
}

// refusal is a call about a hold that the node refused with an unknown text.
type refusal struct {
	at   time.Time // by the monotonic clock
	text string
}

// refused records a refusal with an unknown text. This program made the request, so the
// node is the cause.
func (c *NodeCard) refused(err error) { c.refusal.Store(&refusal{time.Now(), err.Error()}) }

// Info returns the node's last description. ok is false before the first one.
func (c *NodeCard) Info() (info lightning.NodeInfo, ok bool) {
	if p := c.info.Load(); p != nil {
		return *p, true
	}
	return lightning.NodeInfo{}, false
}

// State returns the result of the last check of the node.
func (c *NodeCard) State() NodeState {
	if p := c.state.Load(); p != nil {
		return *p
	}
	return NodeState{Problem: NodeUnasked, Detail: "the Lightning node has not answered yet"}
}

// expect sets the wallet that the node must have.
func (c *NodeCard) expect(pubkey string) {
	c.asking.Lock()
	defer c.asking.Unlock()
	c.wallet = pubkey
}

// ask asks the node once, unless its last answer is younger than fresh. All callers that wait
// for the end of one call share the next one, which begins after each of them has asked.
func (c *NodeCard) ask(ctx context.Context, node lightning.Node, fresh time.Duration, vet func(context.Context, lightning.NodeInfo) error) NodeState {
	called := time.Now()
	c.asking.Lock()
	defer c.asking.Unlock()
	if fresh > 0 && !c.asked.IsZero() && time.Since(c.asked) < fresh {
		return c.State()
	}
	if c.began.After(called) {
		return c.State()
	}
	began := time.Now()
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	info, err := node.Info(ctx)
	answered := err == nil && (c.wallet == "" || info.Pubkey == c.wallet)
	if err == nil || caller.Err() == nil { // a caller that gave up says nothing about the node
		c.began = began
		c.view(func(w *health.SyncWatch, now time.Time) { w.Observe(now, answered, answered && info.Synced) })
	}
	if was := c.State().Problem; err == nil && vet != nil && was != NodeUsable && was != NodeUnsynced && was != NodeRefusing {
		if vetErr := vet(ctx, info); errors.Is(vetErr, lightning.ErrUnavailable) || errors.Is(vetErr, lightning.ErrPermission) {
			err = vetErr
		} else if vetErr != nil {
			return c.put(NodeState{Problem: NodeUnfit, Detail: vetErr.Error()})
		}
	}
	switch {
	case errors.Is(err, lightning.ErrPermission):
		return c.put(NodeState{Problem: NodePermission, Detail: fmt.Sprintf("the Lightning node refuses the macaroon: %v; bake another one and name it in escrow.lnd.macaroon", err)})
	case err != nil:
		return c.put(NodeState{Problem: NodeUnavailable, Detail: fmt.Sprintf("the Lightning node does not answer: %v", err)})
	case c.wallet != "" && info.Pubkey != c.wallet:
		return c.put(NodeState{Problem: NodeOtherWallet, other: info.Pubkey,
			Detail: fmt.Sprintf("the Lightning node is %s, and the open trades' invoices are of %s: put that wallet back", info.Pubkey, c.wallet)})
	}
	c.info.Store(&info)
	if !info.Synced {
		return c.put(NodeState{Problem: NodeUnsynced, Detail: "the Lightning node has not caught up with the chain"})
	}
	if r := c.refusal.Load(); r != nil && time.Since(r.at) < refusalLasts {
		return c.put(NodeState{Problem: NodeRefusing, Detail: fmt.Sprintf("the Lightning node refuses calls: %s; look at its log and its disk", r.text)})
	}
	return c.put(NodeState{})
}

// view calls fn with what is known about the node's state of sync.
func (c *NodeCard) view(fn func(w *health.SyncWatch, now time.Time)) {
	c.syncing.Lock()
	defer c.syncing.Unlock()
	fn(&c.sync, time.Now())
}

// defers returns an error if payouts wait until the node is synced.
func (c *NodeCard) defers() (err error) {
	c.view(func(w *health.SyncWatch, now time.Time) {
		if w.Defers(now) {
			err = fmt.Errorf("%w: payouts wait until the Lightning node is synced with the chain", lightning.ErrUnavailable)
		}
	})
	return err
}

// put requires asking.
func (c *NodeCard) put(s NodeState) NodeState {
	c.asked = time.Now()
	c.state.Store(&s)
	return s
}

const (
	nodeTimeout = 20 * time.Second
	// nodeEvery is the interval for a usable node, and nodeRetry for any other node.
	nodeEvery = 15 * time.Second
	nodeRetry = 2 * time.Second
	// nodeFresh is the largest age of the node's last answer before a call that moves
	// money, because another wallet may answer by now.
	nodeFresh = 5 * time.Second
	// heightFresh is the largest age of the height with which a hold is dated, or a settlement
	// is found to be in time. Ten trades at a time need four heights a trade, each of which
	// costs the node as much as ten other calls.
	heightFresh = 250 * time.Millisecond
	// refusalLasts is the time for which a refusal stops new orders. While the cause
	// lasts, the calls are repeated and refused again.
	refusalLasts = 2 * time.Minute
)

// follow asks the node until ctx ends, and signals told after each answer.
func (e *Engine) follow(ctx context.Context, told chan<- struct{}) {
	var last NodeState
	for {
		state := e.Card.ask(ctx, e.Node, 0, e.Vet)
		if ctx.Err() != nil {
			return
		}
		if state.Problem != last.Problem || last == (NodeState{}) && state != last {
			e.nodeTurned(last, state)
		}
		last = state
		select {
		case told <- struct{}{}:
		default:
		}
		wait := orElse(e.NodeEvery, nodeEvery)
		if state.Problem != NodeUsable {
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
func (e *Engine) nodeTurned(was, is NodeState) {
	e.metrics.nodeState(is.Problem)
	if is.Problem == NodeUsable {
		e.Logger.Info("the Lightning node can be used again: new orders are taken", "was", string(was.Problem))
		return
	}
	e.Logger.Warn("the Lightning node cannot be used: no new orders are taken", "problem", string(is.Problem), "detail", is.Detail)
}

// usable returns an error if the node is not the one that holds the trades' invoices, so
// that no call reaches another wallet. The node's last answer may be as old as fresh.
func (e *Engine) usable(ctx context.Context, fresh time.Duration) error {
	switch s := e.Card.ask(ctx, e.Node, fresh, e.Vet); s.Problem {
	case NodeUnasked, NodeOtherWallet:
		return fmt.Errorf("%w: %s", lightning.ErrUnavailable, s.Detail)
	}
	return nil // a call of a node that does not answer fails by itself
}

// recentInfo returns the node's description of itself, at most heightFresh old. If the last
// answer was no such description, the node is asked directly.
func (e *Engine) recentInfo(ctx context.Context) (lightning.NodeInfo, error) {
	switch e.Card.ask(ctx, e.Node, heightFresh, e.Vet).Problem {
	case NodeUsable, NodeUnsynced, NodeRefusing:
		if info, ok := e.Card.Info(); ok {
			return info, nil
		}
	}
	return e.Node.Info(ctx)
}

// Services calls Lightning addresses and LNURLs over the network.
type Services struct{ lnurl.Client }

// Mint returns an invoice of exactly that amount. Destination.Payable checks the network, the
// expiry and the lock.
func (s Services) Mint(ctx context.Context, address string, amountSats int64) (string, error) {
	text, err := s.Invoice(ctx, address, amountSats, "")
	if err != nil {
		return "", err
	}
	in, err := lightning.ParseInvoice(text)
	if err != nil {
		return "", fmt.Errorf("%w: the service's invoice is malformed", lnurl.ErrUnusable)
	}
	if in.AmountMsat != amountSats*1000 {
		return "", fmt.Errorf("%w: the service's invoice is for another amount", lnurl.ErrUnusable)
	}
	return in.Bolt11, nil
}

// FundInvoice implements fund.Service.
func (s Services) FundInvoice(ctx context.Context, address string, sats int64, comment string) (fund.Invoice, error) {
	parse := func(text string) (fund.Invoice, error) {
		in, err := lightning.ParseInvoice(text)
		return fund.Invoice{Bolt11: in.Bolt11, Hash: in.Hash, AmountMsat: in.AmountMsat, DescriptionHash: in.DescriptionHash}, err
	}
	return fund.LNURL{Client: s.Client, Parse: parse}.FundInvoice(ctx, address, sats, comment)
}

var _ Addresses = Services{}

// decode parses a payout destination for the node of a card.
func decode(text string, card *NodeCard) trade.Destination {
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

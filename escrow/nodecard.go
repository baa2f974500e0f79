package escrow

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// NodeProblem is why a Lightning node cannot be used. It is a closed set, for
// metrics.
type NodeProblem string

const (
	NodeUsable      NodeProblem = ""
	NodeUnasked     NodeProblem = "unasked"      // it has not answered since the start
	NodeUnavailable NodeProblem = "unavailable"  // it does not answer
	NodePermission  NodeProblem = "permission"   // the macaroon does not suffice any more
	NodeUnsynced    NodeProblem = "unsynced"     // it has not caught up with the chain
	NodeRefusing    NodeProblem = "refusing"     // it refuses calls about holds in unknown words, as with a full disk
	NodeOtherWallet NodeProblem = "other_wallet" // another node answers at the address
	NodeUnfit       NodeProblem = "unfit"        // Engine.Vet refuses it
)

// nodeProblems lists them.
var nodeProblems = []NodeProblem{NodeUnasked, NodeUnavailable, NodePermission, NodeUnsynced, NodeRefusing, NodeOtherWallet, NodeUnfit}

// NodeState is whether the Lightning node can be used.
type NodeState struct {
	Problem NodeProblem
	Detail  string // for the operator; without secrets
	other   string // NodeOtherWallet: whose wallet answers
}

// NodeCard is what the Lightning node last said of itself, and whether it can
// be used. It is safe for concurrent use.
type NodeCard struct {
	info    atomic.Pointer[NodeInfo]
	state   atomic.Pointer[NodeState]
	refusal atomic.Pointer[refusal]

	asking sync.Mutex
	asked  time.Time // of the last answer or failure, by the monotonic clock; guarded by asking
	wallet string    // whose invoices the store's trades have; "" unknown; guarded by asking
}

// refusal is a call about a hold that the node refused in unknown words.
type refusal struct {
	at   time.Time // by the monotonic clock
	text string
}

// refused notes a refusal in unknown words. The request was of our own making:
// the trouble is the node's.
func (c *NodeCard) refused(err error) { c.refusal.Store(&refusal{time.Now(), err.Error()}) }

// Info returns the node's last words; ok is false before the first.
func (c *NodeCard) Info() (info NodeInfo, ok bool) {
	if p := c.info.Load(); p != nil {
		return *p, true
	}
	return NodeInfo{}, false
}

// State returns whether the node can be used, as it was found last.
func (c *NodeCard) State() NodeState {
	if p := c.state.Load(); p != nil {
		return *p
	}
	return NodeState{Problem: NodeUnasked, Detail: "the Lightning node has not answered yet"}
}

// expect names the wallet that the node has to have.
func (c *NodeCard) expect(pubkey string) {
	c.asking.Lock()
	defer c.asking.Unlock()
	c.wallet = pubkey
}

// ask asks the node once, unless its last answer is younger than fresh.
func (c *NodeCard) ask(ctx context.Context, node Lightning, fresh time.Duration, vet func(context.Context, NodeInfo) error) NodeState {
	c.asking.Lock()
	defer c.asking.Unlock()
	if fresh > 0 && !c.asked.IsZero() && time.Since(c.asked) < fresh {
		return c.State()
	}
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	info, err := node.Info(ctx)
	if was := c.State().Problem; err == nil && vet != nil && was != NodeUsable && was != NodeUnsynced && was != NodeRefusing {
		if vetErr := vet(ctx, info); errors.Is(vetErr, ErrUnavailable) || errors.Is(vetErr, ErrPermission) {
			err = vetErr
		} else if vetErr != nil {
			return c.put(NodeState{Problem: NodeUnfit, Detail: vetErr.Error()})
		}
	}
	switch {
	case errors.Is(err, ErrPermission):
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

// put needs asking.
func (c *NodeCard) put(s NodeState) NodeState {
	c.asked = time.Now()
	c.state.Store(&s)
	return s
}

const (
	nodeTimeout = 20 * time.Second
	// nodeEvery is how often a usable node is asked, and nodeRetry any other.
	nodeEvery = 15 * time.Second
	nodeRetry = 2 * time.Second
	// nodeFresh is how old the node's last answer may be when a call is made
	// that moves money: another wallet may answer by now.
	nodeFresh = 5 * time.Second
	// refusalLasts is for how long a refusal keeps new orders out. While the
	// cause lasts, the calls that are tried again are refused again.
	refusalLasts = 2 * time.Minute
)

// follow asks again and again until ctx ends, and calls told after each answer.
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

// nodeTurned says once that the node has become unusable, or usable.
func (e *Engine) nodeTurned(was, is NodeState) {
	e.Metrics.nodeState(is.Problem)
	if is.Problem == NodeUsable {
		e.Logger.Info("the Lightning node can be used again: new orders are taken", "was", string(was.Problem))
		return
	}
	e.Logger.Warn("the Lightning node cannot be used: no new orders are taken", "problem", string(is.Problem), "detail", is.Detail)
}

// usable keeps calls from a node that is not the one which holds the trades'
// invoices.
// The node's last answer may be as old as fresh.
func (e *Engine) usable(ctx context.Context, fresh time.Duration) error {
	switch s := e.Card.ask(ctx, e.Node, fresh, e.Vet); s.Problem {
	case NodeUnasked, NodeOtherWallet:
		return fmt.Errorf("%w: %s", ErrUnavailable, s.Detail)
	}
	return nil // a call to a node that does not answer fails by itself
}

// Services asks Lightning addresses and LNURLs over the network.
type Services struct{ PayServices }

// Mint returns an invoice of exactly that amount.
func (s Services) Mint(ctx context.Context, address string, amountSats int64) (string, error) {
	in, err := s.Invoice(ctx, address, amountSats, "")
	if err != nil {
		return "", err
	}
	return in.Bolt11, nil
}

var _ Addresses = Services{}

// decode reads a payout destination for the node that a card describes.
func decode(text string, card *NodeCard) trade.Destination {
	if IsPayService(text) {
		return trade.Destination{Text: text, Address: true}
	}
	in, err := ParseInvoice(text)
	if err != nil {
		return trade.Destination{Text: text}
	}
	info, _ := card.Info()
	return trade.Destination{
		Text: in.Bolt11, Parsed: true, Hash: in.Hash, AmountMsat: in.AmountMsat,
		ExpiresAt: in.ExpiresAt.Unix(), FinalCLTV: uint32(min(in.MinFinalCLTV, math.MaxUint32)),
		// While the node has not told its network, it will refuse by itself
		// what is not of it. It cannot pay itself.
		ChainOK: info.Network.sameNetwork(in.Network) && in.Payee != info.Pubkey,
	}
}

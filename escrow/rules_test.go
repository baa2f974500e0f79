package escrow

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/effect"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/nodecard"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// A limit of the payouts' time lock leaves room for a route to every invoice that the terms
// accept. 0 is LND's own limit.
func TestPolicyCheck(t *testing.T) {
	for blocks, ok := range map[uint32]bool{0: true, 1008: true, 720: true, 719: false, 144: false} {
		p := DefaultPolicy()
		p.PayoutBlocks = blocks
		if err := p.Check(); (err == nil) != ok {
			t.Errorf("%d blocks: %v", blocks, err)
		}
	}
}

// An order that names a mint is refused, because a Lightning node has none.
func TestMintURL(t *testing.T) {
	r := newRig(t)
	mint := "https://mint.example"
	r.refused(message.ReasonInvalidMintURL, r.someone(), message.ActionNewOrder, nil, &message.SmallOrder{
		Kind: mostro.SideSell, FiatCode: "USD", FiatAmount: 10, AmountSats: 50_000, PaymentMethod: "SEPA", CashuMintURL: &mint,
	})
}

// slowInfo is a node that answers nothing until the caller gives up.
type slowInfo struct{ *testNode }

func (n slowInfo) Info(ctx context.Context) (lightning.NodeInfo, error) {
	<-ctx.Done()
	return lightning.NodeInfo{}, lightning.ErrUnavailable
}

// A caller that gives up says nothing about the node.
func TestGivenUpQuestion(t *testing.T) {
	c := new(nodecard.Card)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Ask(ctx, slowInfo{newTestNode()}, 0, nil)
	if c.Defers() != nil {
		t.Error("payouts wait because a caller gave up")
	}
}

// gatedInfo is a node whose first answer waits for a gate.
type gatedInfo struct {
	*testNode
	begun   atomic.Int64 // number of calls that have begun
	entered chan struct{}
	gate    chan struct{}
}

func (n *gatedInfo) Info(ctx context.Context) (lightning.NodeInfo, error) {
	if n.begun.Add(1) == 1 {
		close(n.entered)
		<-n.gate
	}
	return n.testNode.Info(ctx)
}

// Callers that wait for the node share one call, but only a call that has begun after they
// have asked: the answer to an earlier call may be of another wallet.
func TestQuestionsShareACall(t *testing.T) {
	const callers = 50
	c, node := new(nodecard.Card), &gatedInfo{testNode: newTestNode(), entered: make(chan struct{}), gate: make(chan struct{})}
	var calling atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() { c.Ask(t.Context(), node, 0, nil) })
	<-node.entered
	for range callers {
		wg.Go(func() {
			before := node.begun.Load()
			calling.Add(1)
			c.Ask(t.Context(), node, 0, nil)
			if node.begun.Load() == before {
				t.Error("a caller has the answer to a call from before")
			}
		})
	}
	for calling.Load() < callers {
		runtime.Gosched()
	}
	close(node.gate)
	wg.Wait()
	if n := node.begun.Load(); n > 1+callers/2 {
		t.Errorf("%d callers made %d calls", callers, n)
	}
}

// A height may be some hundred milliseconds old. If the node's last answer was no description
// of a node that can be used, the node is asked directly, because a settlement must not wait
// until an operator has changed the configuration.
func TestRecentInfo(t *testing.T) {
	node := &gatedInfo{testNode: newTestNode(), entered: make(chan struct{}), gate: make(chan struct{})}
	close(node.gate)
	e := &Engine{Config: Config{Card: new(nodecard.Card), Node: node}}
	for range 10 {
		info, err := e.recentInfo(t.Context())
		if err != nil || info.Height == 0 {
			t.Fatalf("%+v %v", info, err)
		}
	}
	if n := node.begun.Load(); n > 5 {
		t.Errorf("ten questions made %d calls", n)
	}
	unfit := &Engine{Config: Config{Card: new(nodecard.Card), Node: node, Vet: func(context.Context, lightning.NodeInfo) error { return errors.New("unfit") }}}
	for range 2 {
		if info, err := unfit.recentInfo(t.Context()); err != nil || info.Height == 0 || unfit.Card.State().Problem != nodecard.Unfit {
			t.Errorf("a node that is not fit: %+v %v", info, err)
		}
	}
	// A hold that was accepted in a block that the description does not know yet is dated by
	// its own height.
	in, err := effect.SightedInput(t.Context(), e.recentInfo, lightning.HoldState{Phase: trade.HoldAccepted, AcceptHeight: 4_000_000})
	if err != nil || in.Hold.Height != 4_000_000 {
		t.Errorf("height %d, %v", in.Hold.Height, err)
	}
}

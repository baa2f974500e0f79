package escrow

import (
	"context"
	"testing"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/nodecard"
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

package escrow

import "testing"

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

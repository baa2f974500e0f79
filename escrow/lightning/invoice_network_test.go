package lightning

import "testing"

func TestSameNetwork(t *testing.T) {
	for _, c := range []struct {
		node, invoice Network
		want          bool
	}{
		{Mainnet, Mainnet, true}, {Regtest, Mainnet, false}, {Mainnet, Regtest, false},
		{Testnet4, Testnet, true}, {Testnet4, Mainnet, false}, {"mutinynet", Signet, true},
	} {
		if got := c.node.SameNetwork(c.invoice); got != c.want {
			t.Errorf("a node on %s, an invoice of %s: %t, want %t", c.node, c.invoice, got, c.want)
		}
	}
}

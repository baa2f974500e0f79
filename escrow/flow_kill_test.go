//go:build unix

package escrow_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/lnd"
	"github.com/mostrodex/mostrodex/escrow/lndtest"
)

// TestChildOnLND is the program of a child process of testKilled, testKilledInDispute and
// testFeeKilled.
func TestChildOnLND(t *testing.T) {
	dir := os.Getenv("MOSTRODEX_CHILD")
	if dir == "" {
		t.Skip("run by TestOnLND/killed")
	}
	client, err := lnd.Open(lnd.Config{
		Address: os.Getenv("MOSTRODEX_LND"), CertFile: os.Getenv("MOSTRODEX_CERT"), MacaroonFile: os.Getenv("MOSTRODEX_MACAROON"),
	})
	if err != nil {
		t.Fatal(err)
	}
	escrow.ChildMain(client, dir, os.Getenv("MOSTRODEX_SECRET"), os.Getenv("MOSTRODEX_KILL"), loopbackFund)
}

// childOf returns the command of a child process on the Mostro's node.
func childOf(t *testing.T, n *lndtest.Network) func(dir, secret, killAt string) *exec.Cmd {
	t.Helper()
	config, err := n.Mostro.Config(t.Context(), lnd.Permissions())
	if err != nil {
		t.Fatal(err)
	}
	return func(dir, secret, killAt string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChildOnLND$")
		cmd.Env = append(os.Environ(), "MOSTRODEX_CHILD="+dir, "MOSTRODEX_SECRET="+secret, "MOSTRODEX_KILL="+killAt,
			"MOSTRODEX_LND="+config.Address, "MOSTRODEX_CERT="+config.CertFile, "MOSTRODEX_MACAROON="+config.MacaroonFile)
		return cmd
	}
}

// testKilled kills our process with signal 9 at five points of a trade on real nodes, and
// starts another process that takes over.
func testKilled(t *testing.T, n *lndtest.Network) { escrow.RunKilled(t, flowNet(n), childOf(t, n)) }

// testKilledInDispute does the same at the points of a dispute, and with -lnd.long kills LND as
// well.
func testKilledInDispute(t *testing.T, n *lndtest.Network) {
	escrow.RunKilledInDispute(t, flowNet(n), childOf(t, n))
}

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

// TestChildOnLND is the program of a child process of testKilled.
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
	escrow.ChildMain(client, dir, os.Getenv("MOSTRODEX_SECRET"), os.Getenv("MOSTRODEX_KILL"))
}

// testKilled kills our process with signal 9 at five points of a trade on real nodes, and
// starts another process that takes over.
func testKilled(t *testing.T, n *lndtest.Network) {
	config, err := n.Mostro.Config(t.Context(), lnd.Permissions())
	if err != nil {
		t.Fatal(err)
	}
	escrow.RunKilled(t, flowNet(n), func(dir, secret, killAt string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChildOnLND$")
		cmd.Env = append(os.Environ(), "MOSTRODEX_CHILD="+dir, "MOSTRODEX_SECRET="+secret, "MOSTRODEX_KILL="+killAt,
			"MOSTRODEX_LND="+config.Address, "MOSTRODEX_CERT="+config.CertFile, "MOSTRODEX_MACAROON="+config.MacaroonFile)
		return cmd
	})
}

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

// TestKilledOnLND kills our process with signal 9 at five points of a trade on real nodes,
// and starts another process that takes over.
func TestKilledOnLND(t *testing.T) {
	if os.Getenv("MOSTRODEX_CHILD") != "" {
		client, err := lnd.Open(lnd.Config{
			Address: os.Getenv("MOSTRODEX_LND"), CertFile: os.Getenv("MOSTRODEX_CERT"), MacaroonFile: os.Getenv("MOSTRODEX_MACAROON"),
		})
		if err != nil {
			t.Fatal(err)
		}
		escrow.ChildMain(client, os.Getenv("MOSTRODEX_CHILD"), os.Getenv("MOSTRODEX_SECRET"), os.Getenv("MOSTRODEX_KILL"), nil)
	}
	n := lndtest.Start(t)
	config, err := n.Mostro.Config(t.Context(), lnd.Permissions())
	if err != nil {
		t.Fatal(err)
	}
	escrow.RunKilled(t, flowNet(n), func(dir, secret, killAt string) *exec.Cmd {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledOnLND$")
		cmd.Env = append(os.Environ(), "MOSTRODEX_CHILD="+dir, "MOSTRODEX_SECRET="+secret, "MOSTRODEX_KILL="+killAt,
			"MOSTRODEX_LND="+config.Address, "MOSTRODEX_CERT="+config.CertFile, "MOSTRODEX_MACAROON="+config.MacaroonFile)
		return cmd
	})
}

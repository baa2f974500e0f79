//go:build !unix

package escrow_test

import (
	"testing"

	"github.com/mostrodex/mostrodex/escrow/lndtest"
)

func testKilled(t *testing.T, _ *lndtest.Network) { t.Skip("SKIPPED: signal 9 takes Unix") }

func testKilledInDispute(t *testing.T, n *lndtest.Network) { testKilled(t, n) }

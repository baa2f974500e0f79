package escrow_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnd"
	"github.com/mostrodex/mostrodex/escrow/lndtest"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// testTroubles keeps trades on real nodes through a killed node, a revoked macaroon, another
// wallet and a full disk. disk is the directory of the Mostro's node if that is a small file
// system, else "".
func testTroubles(t *testing.T, n *lndtest.Network, disk string) {
	const key = 7
	cfg, err := n.Mostro.ConfigOfKey(t.Context(), lnd.Permissions(), key)
	if err != nil {
		t.Fatal(err)
	}
	revocable, err := lnd.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer revocable.Close()
	first := true
	trouble := &escrow.Troubles{
		FlowNet: *flowNet(n), Revocable: revocable,
		Revoke: func(ctx context.Context) error { return n.Mostro.RevokeKey(ctx, key) },
		Swap: func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
			defer cancel()
			if first {
				first = false
				return n.Mostro.NewWallet(ctx)
			}
			if err := n.Mostro.OldWallet(ctx); err != nil {
				return err
			}
			return n.WaitChannels(ctx)
		},
	}
	if disk != "" {
		trouble.Fill = func() func() {
			file := filepath.Join(disk, "filler")
			// dd ends when the disk is full.
			_ = exec.Command("dd", "if=/dev/zero", "of="+file, "bs=64k").Run()
			_ = exec.Command("dd", "if=/dev/zero", "of="+file, "bs=1", "oflag=append", "conv=notrunc").Run()
			// LND's database first reuses the pages that it freed. A small invoice may find
			// room where a large one finds none.
			refused := 0
			for i := range 2_000 {
				p, memo := trade.Preimage{9, byte(i), byte(i >> 8)}, 600
				if refused > 0 {
					memo = 1
				}
				_, err := n.Mostro.Lightning.CreateHold(t.Context(), lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, Memo: strings.Repeat("m", memo), CLTVBlocks: 40})
				if err == nil {
					continue
				}
				if refused++; refused == 10 {
					break
				}
			}
			return func() {
				if err := os.Remove(file); err != nil {
					t.Error(err)
				}
			}
		}
	}
	escrow.RunTroubles(t, trouble)
}

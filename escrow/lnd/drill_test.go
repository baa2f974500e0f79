package lnd_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/lnd"
	"github.com/mostrodex/mostrodex/escrow/lndtest"
)

// TestDrills does to a real node what an operator, or bad luck, does to it
// between two calls.
func TestDrills(t *testing.T) {
	lndtest.Require(t)
	disk := newDisk(t)
	n := lndtest.StartNode(t, disk.dir)
	t.Run("macaroon revoked", func(t *testing.T) { drillRevoked(t, n.Mostro) })
	t.Run("macaroon expired", func(t *testing.T) { drillExpired(t, n.Mostro) })
	t.Run("disk full", func(t *testing.T) { drillDiskFull(t, n.Mostro, disk) })
	t.Run("wallet swapped", func(t *testing.T) { drillWalletSwapped(t, n.Mostro) })
}

// calls performs every call of the interface once. Each of them needs another
// permission of the macaroon, but for the two watches, which begin with a call
// of the list.
func calls(ctx context.Context, c *lnd.Client, bolt11 string) map[string]error {
	p := escrow.Preimage{1, 2, 3}
	errs := map[string]error{}
	_, errs["info"] = c.Info(ctx)
	_, errs["create"] = c.CreateHold(ctx, escrow.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: 40})
	_, errs["look up"] = c.LookupHold(ctx, p.Hash())
	errs["list"] = c.ListHolds(ctx, time.Time{}, func(escrow.HoldState) error { return nil })
	errs["settle"] = c.Settle(ctx, p)
	errs["cancel"] = c.Cancel(ctx, p.Hash())
	errs["pay"] = c.Pay(ctx, escrow.Payment{Bolt11: bolt11})
	_, errs["track"] = c.TrackPayment(ctx, p.Hash())
	errs["watch hold"] = c.WatchHold(ctx, p.Hash(), func(escrow.HoldState) error { return nil })
	errs["watch payment"] = c.WatchPayment(ctx, p.Hash(), func(escrow.PaymentState) error { return nil })
	errs["permissions"] = c.CheckPermissions(ctx)
	return errs
}

func wantPermission(ctx context.Context, t *testing.T, c *lnd.Client) {
	t.Helper()
	bolt11, _ := payable(t)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for call, err := range calls(ctx, c, bolt11) {
		if !errors.Is(err, escrow.ErrPermission) || errors.Is(err, escrow.ErrUnavailable) || errors.Is(err, escrow.ErrRefused) {
			t.Errorf("%s: got error %v, want %v", call, err, escrow.ErrPermission)
		}
	}
}

func drillRevoked(t *testing.T, node *lndtest.Node) {
	ctx := t.Context()
	const key = 7
	cfg, err := node.ConfigOfKey(ctx, lnd.Permissions(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := lnd.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.CheckPermissions(ctx); err != nil {
		t.Fatalf("before: %v", err)
	}
	if err := node.RevokeKey(ctx, key); err != nil {
		t.Fatal(err)
	}
	wantPermission(ctx, t, c)
	if _, err := node.Lightning.Info(ctx); err != nil {
		t.Errorf("a macaroon of another root key: %v", err)
	}
}

func drillExpired(t *testing.T, node *lndtest.Node) {
	ctx := t.Context()
	for caveat, want := range map[string]bool{
		"time-before " + time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano):  true,
		"time-before " + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339Nano): false,
		"ipaddr 192.0.2.1": false,
	} {
		cfg, err := node.Config(ctx, lnd.Permissions())
		if err != nil {
			t.Fatal(err)
		}
		mac, err := os.ReadFile(cfg.MacaroonFile)
		if err != nil {
			t.Fatal(err)
		}
		cfg.MacaroonFile = filepath.Join(t.TempDir(), "m")
		if err := os.WriteFile(cfg.MacaroonFile, withCaveat(t, mac, caveat), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := lnd.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if want {
			if err := c.CheckPermissions(ctx); err != nil {
				t.Errorf("%s: %v", caveat, err)
			}
		} else {
			wantPermission(ctx, t, c)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// withCaveat adds a first-party caveat to a macaroon in its binary form of
// version 2: the caveat's identifier goes before the end of the list, and the
// signature becomes HMAC-SHA256(signature, identifier).
func withCaveat(t *testing.T, mac []byte, caveat string) []byte {
	t.Helper()
	const end, identifier, signature = 0, 2, 6
	at := len(mac) - sha256.Size
	if at < 3 || mac[0] != 2 || mac[at-2] != signature || mac[at-1] != sha256.Size || mac[at-3] != end || len(caveat) > 127 {
		t.Fatalf("not a macaroon of version 2: %x", mac)
	}
	sum := hmac.New(sha256.New, mac[at:])
	sum.Write([]byte(caveat))
	out := append([]byte{}, mac[:at-3]...)
	out = append(out, identifier, byte(len(caveat)))
	out = append(out, caveat...)
	out = append(out, end, end, signature, sha256.Size)
	return sum.Sum(out)
}

// disk is a small file system of its own, where the tests may make one.
type disk struct {
	dir   string
	small bool
}

const diskBytes = 48 << 20

func newDisk(t *testing.T) *disk {
	d := &disk{dir: t.TempDir()}
	if exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", diskBytes), "tmpfs", d.dir).Run() == nil {
		d.small = true
		t.Cleanup(func() {
			if out, err := exec.Command("umount", d.dir).CombinedOutput(); err != nil {
				t.Errorf("umount: %v: %s", err, out)
			}
		})
	}
	return d
}

// fill leaves no free byte; the function that is returned makes room again.
func (d *disk) fill(t *testing.T) (free func()) {
	t.Helper()
	path := filepath.Join(d.dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); ; {
		n, err := f.Write(block)
		if errors.Is(err, syscall.ENOSPC) && n == 0 && len(block) == 1 {
			break
		}
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if err != nil {
			block = block[:max(1, len(block)/2)]
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// drillDiskFull asks for holds, a cancellation and a payout while LND cannot
// write. A call that reports success must have happened, also after a crash; a
// call that reports an error must not be taken for a definite answer.
func drillDiskFull(t *testing.T, node *lndtest.Node, disk *disk) {
	if !disk.small {
		t.Skip("SKIPPED: a file system of its own cannot be mounted here (it takes Linux and root)")
	}
	ctx, c := t.Context(), node.Lightning
	preimage := func(i int) escrow.Preimage { return escrow.Preimage{9, byte(i), byte(i >> 8)} }
	create := func(i int) error {
		_, err := c.CreateHold(ctx, escrow.HoldRequest{Hash: preimage(i).Hash(), AmountSats: 1_000, Memo: strings.Repeat("m", 600), CLTVBlocks: 40})
		return err
	}
	if err := create(0); err != nil {
		t.Fatal(err)
	}
	unsure := func(what string, err error) {
		t.Helper()
		if errors.Is(err, escrow.ErrRefused) == errors.Is(err, escrow.ErrUnavailable) {
			t.Errorf("%s on a full disk: got error %v, want %v or %v", what, err, escrow.ErrRefused, escrow.ErrUnavailable)
		}
		t.Logf("%s on a full disk: %v", what, err)
	}

	free := disk.fill(t)
	// Pages that LND's database has freed are used up first.
	made, failed := 1, error(nil)
	for ; made < 2_000 && failed == nil; made++ {
		failed = create(made)
	}
	made--
	if failed == nil {
		t.Fatalf("%d holds were made on a full disk", made)
	}
	t.Logf("%d holds were made before the first refusal", made-1)
	unsure("create", failed)
	if err := c.Cancel(ctx, preimage(0).Hash()); err != nil {
		unsure("cancel", err)
	} else if state, err := c.LookupHold(ctx, preimage(0).Hash()); err != nil || state.Phase != escrow.HoldCanceled {
		t.Errorf("canceled, and yet: %+v, %v", state, err)
	}
	key, err := btcec.NewPrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	paid := preimage(5_000).Hash()
	bolt11, err := escrow.InvoiceDraft{Hash: paid, AmountMsat: 1_000, Network: escrow.Regtest, CreatedAt: time.Now(), Expiry: time.Hour, MinFinalCLTV: 40}.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Pay(ctx, escrow.Payment{Bolt11: bolt11}); err != nil {
		unsure("pay", err)
	} else if state, err := c.TrackPayment(ctx, paid); err != nil || state.Status == escrow.PaymentUnknown {
		t.Errorf("handed over, and yet: %+v, %v", state, err)
	}
	running := node.Running()
	t.Logf("LND still runs on the full disk: %v", running)

	free()
	if !running {
		if err := node.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for i := made; ; {
		err := create(i)
		if err == nil || errors.Is(err, escrow.ErrExists) {
			made = i + 1
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after room was made: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	node.Kill()
	if err := node.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range made {
		if state, err := c.LookupHold(ctx, preimage(i).Hash()); err != nil || i > 0 && state.Phase != escrow.HoldOpen {
			t.Fatalf("hold %d of %d is lost: %+v, %v", i, made, state, err)
		}
	}
	if err := c.Cancel(ctx, preimage(0).Hash()); err != nil {
		t.Errorf("cancel again: %v", err)
	}
}

// drillWalletSwapped puts another wallet behind the same address, certificate
// and macaroon: nothing but the public key tells.
func drillWalletSwapped(t *testing.T, node *lndtest.Node) {
	ctx, c := t.Context(), node.Lightning
	p := escrow.Preimage{4}
	if _, err := c.CreateHold(ctx, escrow.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: 40}); err != nil {
		t.Fatal(err)
	}
	before, err := c.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := node.NewWallet(ctx); err != nil {
		t.Fatal(err)
	}
	after, err := c.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(after.Pubkey) != 66 || after.Pubkey == before.Pubkey {
		t.Errorf("the public key was %s and is %s", before.Pubkey, after.Pubkey)
	}
	if _, err := c.LookupHold(ctx, p.Hash()); !errors.Is(err, escrow.ErrNotFound) {
		t.Errorf("the other wallet's hold: %v", err)
	}
	listed := 0
	if err := c.ListHolds(ctx, time.Time{}, func(escrow.HoldState) error { listed++; return nil }); err != nil || listed != 0 {
		t.Errorf("the new wallet lists %d invoices, %v", listed, err)
	}
}

package lnd_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnd"
	"github.com/mostrodex/mostrodex/escrow/lndtest"
)

// testPermissions removes each permission in turn. CheckPermissions must name the
// missing permission, and no probe may change the node.
func testPermissions(t *testing.T, node *lndtest.Node) {
	ctx := t.Context()
	invoices, payments, err := node.Count(ctx)
	if err != nil || invoices == 0 || payments == 0 {
		t.Fatalf("%d invoices, %d payments, %v: want some of each from the contract suite", invoices, payments, err)
	}
	defer func() {
		if i, p, err := node.Count(ctx); i != invoices || p != payments || err != nil {
			t.Errorf("%d invoices and %d payments became %d and %d, error %v", invoices, payments, i, p, err)
		}
	}()
	if err := node.Lightning.CheckPermissions(ctx); err != nil {
		t.Fatalf("with all of them: %v", err)
	}
	for i, missing := range lnd.Permissions() {
		rest := slices.Delete(slices.Clone(lnd.Permissions()), i, i+1)
		client, err := node.Dial(ctx, rest)
		if err != nil {
			t.Fatal(err)
		}
		err = client.CheckPermissions(ctx)
		if !errors.Is(err, lightning.ErrPermission) || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: got error %v", missing, err)
		}
		if n := strings.Count(err.Error(), "uri:"); n != 1 {
			t.Errorf("without %s: %d are named: %v", missing, n, err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}

	// The permission to list payments is optional.
	poor, err := node.Dial(ctx, lnd.Permissions())
	if err != nil {
		t.Fatal(err)
	}
	defer poor.Close()
	listed := 0
	count := func(lightning.PaymentState) error { listed++; return nil }
	if err := poor.CheckPermissions(ctx); err != nil {
		t.Errorf("without the optional permission: %v", err)
	}
	if err := poor.ListPayments(ctx, time.Time{}, count); !errors.Is(err, lightning.ErrPermission) || listed != 0 {
		t.Errorf("a list without the permission: %d payments, %v", listed, err)
	}
	if err := node.Lightning.ListPayments(ctx, time.Time{}, count); err != nil || listed != payments {
		t.Errorf("%d payments of %d are listed, %v", listed, payments, err)
	}

	cfg, err := node.Config(ctx, lnd.Permissions())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := poor.Channels(ctx); !errors.Is(err, lightning.ErrPermission) {
		t.Errorf("channels without the permission: %v", err)
	}
	if sum, err := node.Lightning.Channels(ctx); err != nil || sum.Channels != 2 || sum.Active != 2 || sum.InboundSats <= 0 || sum.OutboundSats <= 0 || sum.InboundSats+sum.OutboundSats >= 2*lndtest.ChannelSats {
		t.Errorf("the channels are %+v, %v", sum, err)
	}

	// A file that is not a macaroon, and the certificate of another server.
	spoiled := cfg
	spoiled.MacaroonFile = t.TempDir() + "/spoiled.macaroon"
	mac, err := os.ReadFile(cfg.MacaroonFile)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values(lnd.Permissions()))
	if granted, err := lnd.Granted(mac); err != nil || !slices.Equal(granted, want) || len(lnd.Excess(granted)) != 0 {
		t.Errorf("the macaroon grants %v, %v", granted, err)
	}
	mac[len(mac)-1] ^= 1
	if err := os.WriteFile(spoiled.MacaroonFile, mac, 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := lnd.Open(spoiled)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.CheckPermissions(ctx); !errors.Is(err, lightning.ErrPermission) {
		t.Errorf("with a forged macaroon: got error %v", err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := dir + "/" + name
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, cfg := range map[string]lnd.Config{
		"no certificate":    {Address: "127.0.0.1:1", CertFile: dir + "/none", MacaroonFile: write("a", "x")},
		"broken":            {Address: "127.0.0.1:1", CertFile: write("b", "no pem"), MacaroonFile: write("c", "x")},
		"no macaroon":       {Address: "127.0.0.1:1", CertFile: write("d", testCert), MacaroonFile: dir + "/none"},
		"an empty macaroon": {Address: "127.0.0.1:1", CertFile: write("e", testCert), MacaroonFile: write("f", "")},
	} {
		if c, err := lnd.Open(cfg); err == nil {
			_ = c.Close()
			t.Errorf("%s: opened", name)
		}
	}
	// If no node listens at the address, every call returns ErrUnavailable at once.
	c, err := lnd.Open(lnd.Config{Address: "127.0.0.1:1", CertFile: write("g", testCert), MacaroonFile: write("h", "secret")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := c.Info(ctx); !errors.Is(err, lightning.ErrUnavailable) {
		t.Errorf("info: %v", err)
	}
	if err := c.CheckPermissions(ctx); !errors.Is(err, lightning.ErrUnavailable) {
		t.Errorf("permissions: %v", err)
	}
	if err := c.Pay(ctx, lightning.Payment{Bolt11: "lnbc1secret"}); !errors.Is(err, lightning.ErrInvoice) || strings.Contains(err.Error(), "secret") {
		t.Errorf("pay: %v", err)
	}
}

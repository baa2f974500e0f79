package lnsim_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnsim"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// The process may end after any call. The world that is opened next must have every
// change that a caller has learned of.
func TestWorldInAFileOutlivesTheProcess(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "world.json")
	cfg := lnsim.Config{Seed: 3, Delay: time.Second}
	reopen := func() trio {
		t.Helper()
		w := must[*lnsim.World](t)(lnsim.Open(cfg, path))
		if err := w.Check(); err != nil {
			t.Fatal(err)
		}
		return trio{w, w.Node("mostro"), w.Node("seller"), w.Node("buyer")}
	}
	w := reopen()
	for _, name := range []string{"mostro", "seller", "buyer"} {
		w.AddNode(name, 1_000_000)
	}
	w = reopen()
	pubkey := w.mostro.Pubkey()
	p, bolt11 := w.hold(t, "file", 40)
	w = reopen()
	if state := w.wantHold(t, p, trade.HoldOpen); state.Bolt11 != bolt11 || w.mostro.Pubkey() != pubkey {
		t.Fatal("the reopened world has another invoice or another node")
	}
	if err := w.seller.Pay(ctx, lightning.Payment{Bolt11: bolt11}); err != nil {
		t.Fatal(err)
	}
	w = reopen()
	wantPayment(t, w.seller, p.Hash(), trade.PaymentInFlight, "")
	w.Advance(2 * time.Second)
	w = reopen()
	w.wantHold(t, p, trade.HoldAccepted)
	w.Mine(1)
	w.mostro.Down()
	w = reopen()
	if _, err := w.mostro.Info(ctx); !errors.Is(err, lightning.ErrUnavailable) || w.Height() != 501 {
		t.Fatalf("height %d, %v", w.Height(), err)
	}
	w.mostro.Up()
	if err := w.mostro.Settle(ctx, p); err != nil {
		t.Fatal(err)
	}
	w = reopen()
	w.Advance(2 * time.Second)
	w = reopen()
	wantPayment(t, w.seller, p.Hash(), trade.PaymentSucceeded, "")
	if got := w.mostro.BalanceMsat(); got != 1_001_000_000 {
		t.Fatalf("the mostro has %d msat", got)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}

	w.check(t)

	// If the world cannot be written to its file, a call that changes the world returns
	// ErrUnavailable.
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := w.mostro.Cancel(ctx, p.Hash()); !errors.Is(err, lightning.ErrSettled) {
		t.Fatalf("a call without a change returned %v", err)
	}
	if _, err := w.mostro.CreateHold(ctx, lightning.HoldRequest{AmountSats: 1, CLTVBlocks: 40}); !errors.Is(err, lightning.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	if w.Check() == nil {
		t.Fatal("Check did not return the error of the write")
	}
}

func TestOpenRefusesABrokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "world.json")
	for _, text := range []string{"", "{}x", "null", `{"Minted":5}`, `{"Random":"AAAA"}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if w, err := lnsim.Open(lnsim.Config{}, path); err == nil {
			t.Errorf("%q was opened: %v", text, w)
		}
	}
}

// A file of an older version has neither memo nor creation time of an invoice. Restore
// reads both from the invoice itself. The blocks that RouteBlocks has set are restored.
func TestListHoldsOfAnOlderFile(t *testing.T) {
	ctx := t.Context()
	w := lnsim.New(lnsim.Config{})
	mostro, seller := w.AddNode("mostro", 0), w.AddNode("seller", 10_000_000)
	w.RouteBlocks(seller, mostro, 80)
	w.Advance(time.Hour)
	bolt11 := must[string](t)(mostro.CreateHold(ctx, lightning.HoldRequest{Hash: trade.Preimage{1}.Hash(), AmountSats: 1_000, CLTVBlocks: 40, Memo: "of before"}))
	created := must[lightning.Invoice](t)(lightning.ParseInvoice(bolt11)).CreatedAt

	var file map[string]any
	if err := json.Unmarshal(must[[]byte](t)(w.Snapshot()), &file); err != nil {
		t.Fatal(err)
	}
	removed := 0
	for _, node := range file["Nodes"].([]any) {
		for _, held := range node.(map[string]any)["Holds"].(map[string]any) {
			delete(held.(map[string]any), "Memo")
			delete(held.(map[string]any), "CreatedAt")
			removed++
		}
	}
	restored := must[*lnsim.World](t)(lnsim.Restore(lnsim.Config{}, must[[]byte](t)(json.Marshal(file))))
	var told []string
	for _, since := range []time.Time{created, created.Add(time.Second)} {
		if err := restored.Node("mostro").ListHolds(ctx, since, func(s lightning.HoldState) error { told = append(told, s.Memo); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if removed != 1 || len(told) != 1 || told[0] != "of before" {
		t.Errorf("changed %d holds, listed %q", removed, told)
	}
	if err := restored.Node("seller").Pay(ctx, lightning.Payment{Bolt11: bolt11, MaxCLTVBlocks: 40 + 3 + 79}); err != nil {
		t.Fatal(err)
	}
	wantPayment(t, restored.Node("seller"), trade.Preimage{1}.Hash(), trade.PaymentFailed, lightning.FailureNoRoute)
}

func TestWorldInAFileDoesNotGrowForEver(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: 1,400 calls that write the whole world, in one goroutine")
	}
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "world.json")
	w := trio{World: must[*lnsim.World](t)(lnsim.Open(lnsim.Config{}, path))}
	w.mostro, w.seller = w.AddNode("mostro", 0), w.AddNode("seller", 10_000_000)
	var size int64
	held, bolt11 := w.hold(t, "kept", 2000)
	if err := w.seller.Pay(ctx, lightning.Payment{Bolt11: bolt11}); err != nil {
		t.Fatal(err)
	}
	for i := range 700 {
		p := trade.Preimage{1, byte(i), byte(i >> 8)}
		if _, err := w.mostro.CreateHold(ctx, lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1, CLTVBlocks: 40, Memo: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
		if err := w.mostro.Cancel(ctx, p.Hash()); err != nil {
			t.Fatal(err)
		}
		if i%50 != 0 {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		size = max(size, info.Size())
	}
	if size > 700<<10 {
		t.Errorf("the file grew to %d bytes", size)
	}
	// A hold that has not ended is never removed.
	w.wantHold(t, held, trade.HoldAccepted)
	if err := w.mostro.Settle(ctx, held); err != nil {
		t.Fatal(err)
	}
	w.check(t)
}

package lnsim_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
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
	if err := w.World.CloseFile(); err != nil {
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
	whole := string(must[[]byte](t)(lnsim.New(lnsim.Config{}).Snapshot()))
	for _, text := range []string{"", "{}x", "null", `{"Minted":5}`, `{"Random":"AAAA"}`, whole + "\n{}x\n", whole + "\n" + whole + "x\n" + whole + "\n", whole + "\n\n"} {
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
		t.Skip("skipped with -short: 1,400 calls, in one goroutine")
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
	if size > 2200<<10 {
		t.Errorf("the file grew to %d bytes", size)
	}
	// A hold that has not ended is never removed.
	w.wantHold(t, held, trade.HoldAccepted)
	if err := w.mostro.Settle(ctx, held); err != nil {
		t.Fatal(err)
	}
	w.check(t)
}

// canonical returns a snapshot whose events are sorted, because two heaps of the same events
// may differ in order.
func canonical(t *testing.T, snapshot []byte) string {
	t.Helper()
	var s map[string]any
	decoder := json.NewDecoder(bytes.NewReader(snapshot))
	decoder.UseNumber()
	if err := decoder.Decode(&s); err != nil {
		t.Fatal(err)
	}
	if events, ok := s["Events"].([]any); ok {
		seq := func(e any) int64 {
			n, _ := e.(map[string]any)["Seq"].(json.Number).Int64()
			return n
		}
		slices.SortFunc(events, func(a, b any) int { return cmp.Compare(seq(a), seq(b)) })
	}
	text := must[[]byte](t)(json.Marshal(s))
	for _, empty := range []string{"[]", "{}"} { // an empty list or map is as good as none
		text = bytes.ReplaceAll(text, []byte(":"+empty), []byte(":null"))
	}
	return string(text)
}

// The file of random calls is compared with the world itself, and with the world of before
// if the last write was cut at any place.
func TestFileHasEveryChange(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	path := filepath.Join(dir, "world.json")
	cfg := lnsim.Config{Seed: 7, Delay: time.Second, FeePPM: 500, FailChance: 0.1, StuckChance: 0.1, LoseAnswerChance: 0.05}
	w := trio{World: must[*lnsim.World](t)(lnsim.Open(cfg, path))}
	w.mostro, w.seller, w.buyer = w.AddNode("mostro", 5_000_000), w.AddNode("seller", 5_000_000), w.AddNode("buyer", 5_000_000)
	nodes := []*lnsim.Node{w.mostro, w.seller, w.buyer}
	random := rand.New(rand.NewPCG(1, 2))
	reopened := func(text []byte) string {
		t.Helper()
		copied := filepath.Join(dir, "copy.json")
		if err := os.WriteFile(copied, text, 0o600); err != nil {
			t.Fatal(err)
		}
		other := must[*lnsim.World](t)(lnsim.Open(cfg, copied))
		defer other.CloseFile()
		return canonical(t, must[[]byte](t)(other.Snapshot()))
	}
	var preimages []trade.Preimage
	var invoices []string
	any := func() trade.Preimage {
		if len(preimages) == 0 {
			return trade.Preimage{}
		}
		return preimages[max(0, len(preimages)-1-random.IntN(6))] // a new one, so that calls meet
	}
	var before string
	var old, cut int
	for i := range 600 {
		n := nodes[random.IntN(3)]
		unstuck := false
		switch random.IntN(23) {
		case 0, 1, 2, 3:
			p := trade.Preimage{1, byte(i), byte(i >> 8)}
			preimages = append(preimages, p)
			if bolt11, err := n.CreateHold(ctx, lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: 40, Memo: fmt.Sprint(i)}); err == nil {
				invoices = append(invoices, bolt11)
			}
		case 4, 5:
			if bolt11, err := n.AddInvoice(ctx, 500, "ordinary", time.Hour); err == nil {
				invoices = append(invoices, bolt11)
			}
		case 6, 7, 8, 9:
			if len(invoices) > 0 {
				_ = n.Pay(ctx, lightning.Payment{Bolt11: invoices[max(0, len(invoices)-1-random.IntN(6))], MaxFeeSats: 100})
			}
		case 10:
			_ = w.mostro.Settle(ctx, any())
			_ = w.seller.Settle(ctx, any())
		case 11:
			_ = n.Cancel(ctx, any().Hash())
		case 12:
			n.Forget(any().Hash())
		case 13:
			w.Advance(time.Duration(random.IntN(5000)) * time.Millisecond)
		case 14:
			w.Step()
		case 15:
			w.Mine(random.IntN(4))
		case 16:
			n.Down()
			w.Advance(2 * time.Second)
			n.Up()
		case 17:
			n.Link(random.IntN(2) == 0)
			n.Overpay(0.1)
		case 18:
			w.Plan(any().Hash(), lnsim.Plan{Outcome: lnsim.Outcome(random.IntN(6)), Times: random.IntN(3)})
		case 20, 21:
			w.Plan(any().Hash(), lnsim.Plan{Outcome: lnsim.Stuck, Times: 2})
		case 22:
			w.RouteFee(n, w.buyer, int64(random.IntN(5)))
			w.RouteBlocks(n, w.buyer, uint32(random.IntN(5)))
		case 19:
			for range 6 {
				w.Unstick(any().Hash(), random.IntN(2) == 0)
			}
			unstuck = true // the next events hide it
		}
		n.Lag(uint32(i % 3)) // a change that is written always
		w.check(t)
		if i%4 > 1 && !unstuck {
			continue // a change that the file lacks is missing later too
		}
		text := must[[]byte](t)(os.ReadFile(path))
		now := canonical(t, must[[]byte](t)(w.Snapshot()))
		if got := reopened(text); got != now {
			t.Fatalf("call %d: the file has\n%s\nwant\n%s", i, got, now)
		}
		// The text begins with the old text, or the file was replaced.
		last := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
		if last > 0 && before != "" && last == old {
			cut++
			if got := reopened(text[:last+random.IntN(len(text)-last)]); got != before {
				t.Fatalf("call %d: the cut file has\n%s\nwant\n%s", i, got, before)
			}
		}
		before, old = now, len(text)
	}
	// A file of an older version is a snapshot without a newline.
	whole := must[[]byte](t)(w.Snapshot())
	if got := reopened(whole); got != canonical(t, whole) {
		t.Errorf("the older file has\n%s", got)
	}
	if cut < 20 {
		t.Errorf("only %d of the last writes were cut", cut)
	}
}

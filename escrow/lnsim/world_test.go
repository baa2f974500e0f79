package lnsim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/lnsim"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

type trio struct {
	*lnsim.World
	mostro, seller, buyer *lnsim.Node
}

func three(cfg lnsim.Config) trio {
	w := lnsim.New(cfg)
	return trio{w, w.AddNode("mostro", 1_000_000), w.AddNode("seller", 1_000_000), w.AddNode("buyer", 1_000_000)}
}

// hold makes a hold invoice of 1,000 sats. Its preimage is derived from the name.
func (w trio) hold(t testing.TB, name string, cltv uint32) (trade.Preimage, string) {
	t.Helper()
	var p trade.Preimage
	copy(p[:], name)
	return p, must[string](t)(w.mostro.CreateHold(t.Context(), lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: cltv, Expiry: time.Hour}))
}

func (w trio) wantHold(t testing.TB, p trade.Preimage, want trade.HoldPhase) lightning.HoldState {
	t.Helper()
	state := must[lightning.HoldState](t)(w.mostro.LookupHold(t.Context(), p.Hash()))
	if state.Phase != want {
		t.Fatalf("hold is %s, want %s", state.Phase, want)
	}
	return state
}

func wantPayment(t testing.TB, n *lnsim.Node, h trade.Hash, want trade.PaymentStatus, why lightning.PaymentFailure) {
	t.Helper()
	state := must[lightning.PaymentState](t)(n.TrackPayment(t.Context(), h))
	if state.Status != want || state.Failure != why {
		t.Fatalf("payment is %s (%s), want %s (%s)", state.Status, state.Failure, want, why)
	}
}

func (w trio) check(t testing.TB) {
	t.Helper()
	if err := w.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestLostAnswers(t *testing.T) {
	ctx := t.Context()
	var p trade.Preimage
	request := lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: 144}
	for _, c := range []struct {
		name  string
		fault lnsim.Fault
		want  error
		took  bool
	}{
		{"request", lnsim.LoseRequest, lightning.ErrUnavailable, false},
		{"answer", lnsim.LoseAnswer, lightning.ErrUnavailable, true},
		{"refusal", lnsim.Refuse, lightning.ErrRefused, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := three(lnsim.Config{})
			lose := func(op lnsim.Op) {
				w.mostro.Faults(func(got lnsim.Op) lnsim.Fault {
					if got == op {
						return c.fault
					}
					return lnsim.NoFault
				})
			}
			failed := func(err error) {
				t.Helper()
				if !errors.Is(err, c.want) {
					t.Fatalf("got %v, want %v", err, c.want)
				}
			}

			lose(lnsim.OpCreate)
			_, err := w.mostro.CreateHold(ctx, request)
			failed(err)
			_, err = w.mostro.LookupHold(ctx, p.Hash())
			if took := err == nil; took != c.took {
				t.Fatalf("created: %v", err)
			}
			w.mostro.Faults(nil)
			if _, err := w.mostro.CreateHold(ctx, request); errors.Is(err, lightning.ErrExists) != c.took {
				t.Fatalf("created again: %v", err)
			}
			bolt11 := must[lightning.HoldState](t)(w.mostro.LookupHold(ctx, p.Hash())).Bolt11
			if err := w.seller.Pay(ctx, lightning.Payment{Bolt11: bolt11}); err != nil {
				t.Fatal(err)
			}

			lose(lnsim.OpSettle)
			failed(w.mostro.Settle(ctx, p))
			if c.took {
				w.wantHold(t, p, trade.HoldSettled)
			} else {
				w.wantHold(t, p, trade.HoldAccepted)
			}
			w.mostro.Faults(nil)
			if err := w.mostro.Settle(ctx, p); err != nil {
				t.Fatal(err)
			}

			lose(lnsim.OpPay)
			out := must[string](t)(w.buyer.AddInvoice(ctx, 990, "", time.Hour))
			hash := must[lightning.Invoice](t)(lightning.ParseInvoice(out)).Hash
			failed(w.mostro.Pay(ctx, lightning.Payment{Bolt11: out}))
			if c.took {
				wantPayment(t, w.mostro, hash, trade.PaymentSucceeded, "")
			} else {
				wantPayment(t, w.mostro, hash, trade.PaymentUnknown, "")
			}
			w.mostro.Faults(nil)
			if err := w.mostro.Pay(ctx, lightning.Payment{Bolt11: out}); errors.Is(err, lightning.ErrExists) != c.took {
				t.Fatalf("paid again: %v", err)
			}
			if got := w.mostro.BalanceMsat(); got != 1_000_010_000 {
				t.Fatalf("the mostro has %d msat", got)
			}
			w.check(t)
		})
	}
}

func TestPlans(t *testing.T) {
	ctx := t.Context()
	for name, c := range map[string]struct {
		plan lnsim.Plan
		want lightning.PaymentFailure
	}{
		"no route":     {lnsim.Plan{Outcome: lnsim.FailRoute}, lightning.FailureNoRoute},
		"no balance":   {lnsim.Plan{Outcome: lnsim.FailBalance}, lightning.FailureBalance},
		"internal":     {lnsim.Plan{Outcome: lnsim.FailInternal}, lightning.FailureOther},
		"dear":         {lnsim.Plan{FeeMsat: 5_001}, lightning.FailureNoRoute},
		"too little":   {lnsim.Plan{ExtraMsat: -1}, lightning.FailureDetails},
		"far too much": {lnsim.Plan{ExtraMsat: 1_000_001}, lightning.FailureDetails},
		"late":         {lnsim.Plan{Outcome: lnsim.FailTimeout}, lightning.FailureTimeout},
		"twice, ok":    {lnsim.Plan{ExtraMsat: 1_000_000}, ""},
		"with fee":     {lnsim.Plan{FeeMsat: 5_000}, ""},
		"after delay":  {lnsim.Plan{Delay: time.Minute}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := three(lnsim.Config{})
			p, bolt11 := w.hold(t, name, 144)
			c.plan.Times = 1
			w.Plan(p.Hash(), c.plan)
			pay := lightning.Payment{Bolt11: bolt11, MaxFeeSats: 5}
			if err := w.seller.Pay(ctx, pay); err != nil {
				t.Fatal(err)
			}
			if c.plan.Outcome == lnsim.FailTimeout || c.plan.Delay > 0 {
				w.Advance(59 * time.Second)
				w.wantHold(t, p, trade.HoldOpen)
				wantPayment(t, w.seller, p.Hash(), trade.PaymentInFlight, "")
				w.Advance(2 * time.Minute)
			}
			if c.want != "" {
				wantPayment(t, w.seller, p.Hash(), trade.PaymentFailed, c.want)
				// The plan applies to one attempt, so the next attempt arrives.
				if err := w.seller.Pay(ctx, pay); err != nil {
					t.Fatal(err)
				}
				c.plan = lnsim.Plan{}
			}
			state := w.wantHold(t, p, trade.HoldAccepted)
			if state.PaidMsat != 1_000_000+c.plan.ExtraMsat {
				t.Errorf("%d msat are held", state.PaidMsat)
			}
			w.check(t)
			if err := w.mostro.Settle(ctx, p); err != nil {
				t.Fatal(err)
			}
			wantPayment(t, w.seller, p.Hash(), trade.PaymentSucceeded, "")
			if got, want := w.seller.BalanceMsat(), 1_000_000_000-state.PaidMsat-c.plan.FeeMsat; got != want {
				t.Errorf("the seller has %d msat, want %d", got, want)
			}
			w.check(t)
		})
	}
}

func TestStuckPayment(t *testing.T) {
	ctx := t.Context()
	for _, deliver := range []bool{true, false} {
		w := three(lnsim.Config{})
		p, bolt11 := w.hold(t, "stuck", 144)
		w.Plan(p.Hash(), lnsim.Plan{Outcome: lnsim.Stuck, Times: 1})
		if err := w.seller.Pay(ctx, lightning.Payment{Bolt11: bolt11}); err != nil {
			t.Fatal(err)
		}
		w.Advance(24 * time.Hour)
		wantPayment(t, w.seller, p.Hash(), trade.PaymentInFlight, "")
		if got := w.seller.BalanceMsat(); got != 999_000_000 {
			t.Fatalf("the seller has %d msat while it is stuck", got)
		}
		w.check(t)
		w.Unstick(p.Hash(), deliver)
		// The invoice has expired meanwhile, so the payee refuses a payment that
		// arrives.
		want := lightning.FailureDetails
		if !deliver {
			want = lightning.FailureOther
		}
		wantPayment(t, w.seller, p.Hash(), trade.PaymentFailed, want)
		w.wantHold(t, p, trade.HoldCanceled)
		w.check(t)
	}
}

func TestLockEndsWhileTheNodeIsDown(t *testing.T) {
	ctx := t.Context()
	w := three(lnsim.Config{})
	p, bolt11 := w.hold(t, "down", 40)
	if err := w.seller.Pay(ctx, lightning.Payment{Bolt11: bolt11}); err != nil {
		t.Fatal(err)
	}
	state := w.wantHold(t, p, trade.HoldAccepted)
	if left, ok := state.BlocksLeft(w.Height(), 18); !ok || left != 25 {
		t.Fatalf("%d blocks left, %v", left, ok)
	}
	w.mostro.Down()
	if _, err := w.mostro.LookupHold(ctx, p.Hash()); !errors.Is(err, lightning.ErrUnavailable) {
		t.Fatalf("a node that is down answers: %v", err)
	}
	w.Mine(42) // one block before the end of the lock: no node can act
	wantPayment(t, w.seller, p.Hash(), trade.PaymentInFlight, "")
	w.Mine(1) // the payer takes the payment back on chain
	wantPayment(t, w.seller, p.Hash(), trade.PaymentFailed, lightning.FailureOther)
	w.mostro.Up()
	w.wantHold(t, p, trade.HoldCanceled)
	if err := w.mostro.Settle(ctx, p); !errors.Is(err, lightning.ErrCanceled) {
		t.Fatal(err)
	}
	w.check(t)

	// If a node comes back within its own margin, it refunds the payment at once.
	p, bolt11 = w.hold(t, "late", 40)
	if err := w.seller.Pay(ctx, lightning.Payment{Bolt11: bolt11}); err != nil {
		t.Fatal(err)
	}
	w.mostro.Down()
	w.Mine(30)
	w.mostro.Up()
	w.wantHold(t, p, trade.HoldCanceled)
	wantPayment(t, w.seller, p.Hash(), trade.PaymentFailed, lightning.FailureDetails)
	w.check(t)
}

// A hold that is settled at the Mostro's node does not imply that the seller's payment
// has succeeded.
func TestSettledBehindACutLink(t *testing.T) {
	ctx := t.Context()
	w := three(lnsim.Config{})
	p, bolt11 := w.hold(t, "cut", 40)
	if err := w.seller.Pay(ctx, lightning.Payment{Bolt11: bolt11}); err != nil {
		t.Fatal(err)
	}
	w.mostro.Link(false)
	if err := w.mostro.Settle(ctx, p); err != nil {
		t.Fatal(err)
	}
	w.wantHold(t, p, trade.HoldSettled)
	w.Advance(time.Hour)
	wantPayment(t, w.seller, p.Hash(), trade.PaymentInFlight, "")
	w.check(t)
	w.mostro.Link(true)
	wantPayment(t, w.seller, p.Hash(), trade.PaymentSucceeded, "")
	w.check(t)
}

func TestSlots(t *testing.T) {
	ctx := t.Context()
	w := three(lnsim.Config{})
	var first trade.Preimage
	for i := range lnsim.DefaultSlots + 1 {
		p, bolt11 := w.hold(t, fmt.Sprint(i), 144)
		if err := w.seller.Pay(ctx, lightning.Payment{Bolt11: bolt11}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = p
		}
		if i < lnsim.DefaultSlots {
			w.wantHold(t, p, trade.HoldAccepted)
			continue
		}
		wantPayment(t, w.seller, p.Hash(), trade.PaymentFailed, lightning.FailureBalance)
		w.wantHold(t, p, trade.HoldOpen)
		if err := w.mostro.Cancel(ctx, first.Hash()); err != nil {
			t.Fatal(err)
		}
		if err := w.seller.Pay(ctx, lightning.Payment{Bolt11: bolt11}); err != nil {
			t.Fatal(err)
		}
		w.wantHold(t, p, trade.HoldAccepted)
	}
	w.check(t)
}

// act performs a number of random calls and writes their results to out.
func act(t testing.TB, w trio, random *rand.Rand, steps int, out *bytes.Buffer) {
	ctx := context.Background()
	for range steps {
		var p trade.Preimage
		p[0] = byte(random.IntN(40))
		h := p.Hash()
		n := []*lnsim.Node{w.mostro, w.seller, w.buyer}[random.IntN(3)]
		var err error
		switch random.IntN(16) {
		case 0, 1, 2:
			_, err = w.mostro.CreateHold(ctx, lightning.HoldRequest{Hash: h, AmountSats: 1 + random.Int64N(2_000), CLTVBlocks: 19 + uint32(random.IntN(60)), Expiry: time.Duration(1+random.IntN(7200)) * time.Second})
		case 3, 4, 5:
			state, lookErr := w.mostro.LookupHold(ctx, h)
			if err = lookErr; err == nil {
				err = n.Pay(ctx, lightning.Payment{Bolt11: state.Bolt11, MaxFeeSats: random.Int64N(20)})
			}
		case 6:
			err = w.mostro.Settle(ctx, p)
		case 7:
			err = w.mostro.Cancel(ctx, h)
		case 8, 9:
			bolt11, addErr := w.buyer.AddInvoice(ctx, random.Int64N(3_000), "", time.Hour)
			if err = addErr; err == nil {
				err = n.Pay(ctx, lightning.Payment{Bolt11: bolt11, AmountSats: random.Int64N(2) * 500, MaxFeeSats: random.Int64N(20)})
			}
		case 10:
			w.Mine(1 + random.IntN(20))
		case 11:
			w.Advance(time.Duration(random.IntN(3600)) * time.Second)
		case 12:
			w.Step()
		case 13:
			n.Down()
		case 14:
			n.Up()
			n.Link(true)
		case 15:
			n.Link(random.IntN(2) == 0)
		}
		state, lookErr := w.mostro.LookupHold(ctx, h)
		fmt.Fprintf(out, "%v %+v %v %v\n", err, state, lookErr, w.Purse("mostro"))
		if err := w.Check(); err != nil {
			t.Fatalf("%v, after\n%s", err, out)
		}
	}
}

func chaos(seed uint64) lnsim.Config {
	return lnsim.Config{
		Seed: seed, Delay: time.Second, FeePPM: 2000, Slots: 5, FailChance: 0.1, StuckChance: 0.1,
		LoseRequestChance: 0.05, LoseAnswerChance: 0.05,
	}
}

// chaosSeeds returns the number of worlds of a test of chaos.
func chaosSeeds() uint64 {
	if testing.Short() {
		return 6
	}
	return 30
}

// For any sequence of calls, the sum of all msat stays the same, the same seed produces
// the same run, and a world that was stored and restored in between continues in the
// same way.
func TestChaosIsConservedDeterministicAndRestorable(t *testing.T) {
	for seed := range chaosSeeds() {
		var first, second bytes.Buffer
		act(t, three(chaos(seed)), rand.New(rand.NewPCG(seed, 1)), 400, &first)

		w := three(chaos(seed))
		random := rand.New(rand.NewPCG(seed, 1))
		act(t, w, random, 200, &second)
		text := must[[]byte](t)(w.Snapshot())
		restored := must[*lnsim.World](t)(lnsim.Restore(chaos(seed), text))
		again := must[[]byte](t)(restored.Snapshot())
		if !bytes.Equal(text, again) {
			t.Fatalf("seed %d: the snapshot of a restored world differs", seed)
		}
		act(t, trio{restored, restored.Node("mostro"), restored.Node("seller"), restored.Node("buyer")}, random, 200, &second)
		if first.String() != second.String() {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

// Once every fault is over, every payment ends.
func TestChaosEnds(t *testing.T) {
	for seed := range chaosSeeds() {
		var out bytes.Buffer
		w := three(chaos(seed))
		act(t, w, rand.New(rand.NewPCG(seed, 2)), 300, &out)
		for _, n := range []*lnsim.Node{w.mostro, w.seller, w.buyer} {
			n.Up()
			n.Link(true)
		}
		w.Mine(200)
		for w.Step() {
		}
		w.check(t)
		if locked := w.LockedMsat(); locked != 0 {
			t.Fatalf("seed %d: %d msat are locked for ever", seed, locked)
		}
	}
}

func TestChangesTellWhatToLookUp(t *testing.T) {
	ctx := t.Context()
	w := three(lnsim.Config{Record: true})
	p, bolt11 := w.hold(t, "changes", 40)
	if err := w.seller.Pay(ctx, lightning.Payment{Bolt11: bolt11}); err != nil {
		t.Fatal(err)
	}
	if err := w.mostro.Settle(ctx, p); err != nil {
		t.Fatal(err)
	}
	want := []lnsim.Change{
		{Node: "mostro", Hash: p.Hash()},
		{Node: "seller", Hash: p.Hash(), Payment: true},
		{Node: "mostro", Hash: p.Hash()},
		{Node: "mostro", Hash: p.Hash()},
		{Node: "seller", Hash: p.Hash(), Payment: true},
	}
	if got := w.Changes(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got := w.Changes(); got != nil {
		t.Errorf("reported twice: %v", got)
	}
	if !w.mostro.Forget(p.Hash()) || !w.seller.Forget(p.Hash()) || w.mostro.Forget(p.Hash()) {
		t.Error("Forget removed nothing")
	}
	w.check(t)
}

func TestNewsMayBeRepeated(t *testing.T) {
	ctx := t.Context()
	w := three(lnsim.Config{RepeatNews: true})
	p, bolt11 := w.hold(t, "repeat", 40)
	if err := w.seller.Pay(ctx, lightning.Payment{Bolt11: bolt11}); err != nil {
		t.Fatal(err)
	}
	var told []trade.HoldPhase
	err := w.mostro.WatchHold(ctx, p.Hash(), func(s lightning.HoldState) error {
		told = append(told, s.Phase)
		if len(told) == 2 {
			return w.mostro.Settle(ctx, p)
		}
		return nil
	})
	if want := "[accepted accepted settled settled]"; err != nil || fmt.Sprint(told) != want {
		t.Fatalf("reported %v, %v; want %s", told, err, want)
	}
}

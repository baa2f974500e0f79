package lncontract

import (
	"context"
	"errors"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

func testPayout(s *suite) {
	before := s.balances()
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 7_000, "payout", time.Hour)
	s.must(err)
	invoice, err := lightning.ParseInvoice(bolt11)
	s.must(err)
	s.must(s.Mostro.Pay(s.ctx, lightning.Payment{Bolt11: bolt11, MaxFeeSats: 10}))
	// TrackPayment must know the payment as soon as Pay has returned, because the
	// caller may crash now.
	state, err := s.Mostro.TrackPayment(s.ctx, invoice.Hash)
	s.must(err)
	if state.Status == trade.PaymentUnknown || state.Hash != invoice.Hash {
		s.Fatalf("after Pay: %+v", state)
	}
	w := watch(func(fn func(lightning.PaymentState) error) error {
		return s.Mostro.WatchPayment(s.ctx, invoice.Hash, fn)
	})
	s.until("the end of the payout", w.ended)
	s.must(w.err)
	end, _ := w.last()
	if end.Status != trade.PaymentSucceeded || end.AmountMsat != 7_000_000 || end.FeeMsat != 0 || end.Preimage.Hash() != invoice.Hash {
		s.Fatalf("payout: %+v", end)
	}
	s.moved(before, -7_000_000, 0, 7_000_000)
}

func testPayTwice(s *suite) {
	before := s.balances()
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 1_000, "once", time.Hour)
	s.must(err)
	invoice, err := lightning.ParseInvoice(bolt11)
	s.must(err)
	// Of ten concurrent calls, one sends the payment.
	errs := make(chan error, 10)
	for range cap(errs) {
		go func() { errs <- s.Mostro.Pay(s.ctx, lightning.Payment{Bolt11: bolt11}) }()
	}
	sent := 0
	for range cap(errs) {
		if err := <-errs; err == nil {
			sent++
		} else {
			s.wantErr(err, lightning.ErrExists)
		}
	}
	if sent != 1 {
		s.Fatalf("%d of ten calls sent the payment", sent)
	}
	s.untilPayment(s.Mostro, invoice.Hash, trade.PaymentSucceeded)
	s.wantErr(s.Mostro.Pay(s.ctx, lightning.Payment{Bolt11: bolt11}), lightning.ErrExists)
	s.moved(before, -1_000_000, 0, 1_000_000)
}

func testPayHeld(s *suite) {
	before := s.balances()
	p := newPreimage()
	bolt11, err := s.Buyer.CreateHold(s.ctx, lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: holdCLTV})
	s.must(err)
	pay := lightning.Payment{Bolt11: bolt11, Timeout: time.Second}
	s.must(s.Mostro.Pay(s.ctx, pay))
	s.until("the payout to be held", func() bool {
		state, err := s.Buyer.LookupHold(s.ctx, p.Hash())
		s.must(err)
		return state.Phase == trade.HoldAccepted
	})
	s.Sleep(3 * time.Second) // the timeout bounds the route search, not the payment's travel
	state := s.untilPayment(s.Mostro, p.Hash(), trade.PaymentInFlight)
	if state.Preimage != (trade.Preimage{}) {
		s.Fatalf("in flight: %+v", state)
	}
	s.wantErr(s.Mostro.Pay(s.ctx, pay), lightning.ErrExists)
	s.must(s.Buyer.Cancel(s.ctx, p.Hash()))
	s.untilPayment(s.Mostro, p.Hash(), trade.PaymentFailed)
	s.moved(before, 0, 0, 0)
}

func testPayAgain(s *suite) {
	before := s.balances()
	// The first attempt fails because the fee limit allows no route over two hops. The
	// second attempt succeeds with a fee.
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 1_000, "again", time.Hour)
	s.must(err)
	invoice, err := lightning.ParseInvoice(bolt11)
	s.must(err)
	s.must(s.Seller.Pay(s.ctx, lightning.Payment{Bolt11: bolt11}))
	failed := s.untilPayment(s.Seller, invoice.Hash, trade.PaymentFailed)
	if failed.Failure != lightning.FailureNoRoute {
		s.Fatalf("payment: %+v", failed)
	}
	s.must(s.Seller.Pay(s.ctx, lightning.Payment{Bolt11: bolt11, MaxFeeSats: 100}))
	s.until("the second attempt", func() bool {
		state, err := s.Seller.TrackPayment(s.ctx, invoice.Hash)
		s.must(err)
		return state.Status == trade.PaymentSucceeded
	})
	state, err := s.Seller.TrackPayment(s.ctx, invoice.Hash)
	s.must(err)
	if state.FeeMsat <= 0 || state.FeeMsat > 100_000 {
		s.Fatalf("fee of %d msat", state.FeeMsat)
	}
	// The intermediate node earns the fee, so only the seller's and the buyer's
	// balances are compared.
	s.until("the balances", func() bool {
		after := s.balances()
		return after.seller == before.seller-1_000_000-state.FeeMsat && after.buyer == before.buyer+1_000_000
	})
}

// testListPayments makes more payments than lnsim puts on one page, one of them in flight and
// one failed.
func testListPayments(s *suite) {
	pay := func(in lightning.Payment) trade.Hash {
		s.Helper()
		invoice, err := lightning.ParseInvoice(in.Bolt11)
		s.must(err)
		s.must(s.Mostro.Pay(s.ctx, in))
		return invoice.Hash
	}
	ordinary := func(sats int64) string {
		s.Helper()
		bolt11, err := s.Buyer.AddInvoice(s.ctx, sats, "listed", time.Hour)
		s.must(err)
		return bolt11
	}
	older := pay(lightning.Payment{Bolt11: ordinary(1_000), MaxFeeSats: 10})
	s.untilPayment(s.Mostro, older, trade.PaymentSucceeded)
	s.Sleep(2 * time.Second) // the payments below are created in a later second than the older one

	bolt11 := ordinary(1_000)
	first, err := lightning.ParseInvoice(bolt11)
	s.must(err)
	since := first.CreatedAt
	want := []trade.Hash{pay(lightning.Payment{Bolt11: bolt11, MaxFeeSats: 10})}
	p := newPreimage()
	held, err := s.Buyer.CreateHold(s.ctx, lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: holdCLTV})
	s.must(err)
	want = append(want, pay(lightning.Payment{Bolt11: held}))
	s.until("the payment to be held", func() bool {
		state, err := s.Buyer.LookupHold(s.ctx, p.Hash())
		s.must(err)
		return state.Phase == trade.HoldAccepted
	})
	large := ordinary(1_000_000_000) // more than the channel has
	want = append(want, pay(lightning.Payment{Bolt11: large, MaxFeeSats: 10}))
	s.untilPayment(s.Mostro, want[2], trade.PaymentFailed)
	for range 12 {
		h := pay(lightning.Payment{Bolt11: ordinary(10), MaxFeeSats: 10})
		s.untilPayment(s.Mostro, h, trade.PaymentSucceeded)
		want = append(want, h)
	}
	s.untilPayment(s.Mostro, want[0], trade.PaymentSucceeded)

	list := func(since time.Time) (states []lightning.PaymentState) {
		s.Helper()
		s.must(s.Mostro.ListPayments(s.ctx, since, func(state lightning.PaymentState) error {
			states = append(states, state)
			return nil
		}))
		return states
	}
	got := list(since)
	if len(got) != len(want) {
		s.Fatalf("%d payments are listed, want %d", len(got), len(want))
	}
	for i, state := range got {
		if state.Hash != want[i] {
			s.Fatalf("payment %d is %s, want %s", i, state.Hash, want[i])
		}
		alone, err := s.Mostro.TrackPayment(s.ctx, state.Hash)
		s.must(err)
		if state != alone {
			s.Fatalf("payment %d is listed as %+v, tracked as %+v", i, state, alone)
		}
	}
	if got[1].Status != trade.PaymentInFlight || got[2].Status != trade.PaymentFailed {
		s.Errorf("the second payment is %s and the third %s", got[1].Status, got[2].Status)
	}
	all := list(time.Time{})
	if len(all) <= len(want) || all[len(all)-len(want)-1].Hash != older {
		s.Errorf("%d payments in all, the older one is not in its place", len(all))
	}
	s.Sleep(2 * time.Second)
	last, err := lightning.ParseInvoice(ordinary(1))
	s.must(err)
	if rest := list(last.CreatedAt.Add(time.Second)); len(rest) != 0 {
		s.Errorf("%d payments are listed that were created before since", len(rest))
	}
	enough, told := errors.New("enough"), 0
	err = s.Mostro.ListPayments(s.ctx, since, func(lightning.PaymentState) error {
		if told++; told == 11 {
			return enough
		}
		return nil
	})
	if err != enough || told != 11 { //nolint:errorlint // the very error is promised
		s.Errorf("the callback saw %d payments, error %v", told, err)
	}
	s.must(s.Buyer.Cancel(s.ctx, p.Hash()))
	s.untilPayment(s.Mostro, p.Hash(), trade.PaymentFailed)
}

func testZeroAmount(s *suite) {
	before := s.balances()
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 0, "any", time.Hour)
	s.must(err)
	invoice, err := lightning.ParseInvoice(bolt11)
	s.must(err)
	if invoice.AmountMsat != 0 {
		s.Fatalf("invoice: %+v", invoice)
	}
	s.wantErr(s.Mostro.Pay(s.ctx, lightning.Payment{Bolt11: bolt11}), lightning.ErrInvoice)
	s.must(s.Mostro.Pay(s.ctx, lightning.Payment{Bolt11: bolt11, AmountSats: 1_234}))
	state := s.untilPayment(s.Mostro, invoice.Hash, trade.PaymentSucceeded)
	if state.AmountMsat != 1_234_000 {
		s.Fatalf("payment: %+v", state)
	}
	s.moved(before, -1_234_000, 0, 1_234_000)
}

func testBadPayments(s *suite) {
	good, err := s.Buyer.AddInvoice(s.ctx, 1_000, "good", time.Hour)
	s.must(err)
	own, err := s.Mostro.AddInvoice(s.ctx, 1_000, "own", time.Hour)
	s.must(err)
	spoiled := []byte(good)
	spoiled[len(spoiled)-1] ^= 1
	for name, p := range map[string]lightning.Payment{
		"amount given twice": {Bolt11: good, AmountSats: 1_000},
		"own invoice":        {Bolt11: own},
		"nothing":            {},
		"no invoice":         {Bolt11: "lnbc1"},
		"checksum":           {Bolt11: string(spoiled)},
		"other network":      {Bolt11: mainnetInvoice},
		"negative amount":    {Bolt11: good, AmountSats: -1},
		"negative fee":       {Bolt11: good, MaxFeeSats: -1},
	} {
		err := s.Mostro.Pay(s.ctx, p)
		if !errors.Is(err, lightning.ErrInvoice) {
			s.Errorf("%s: got error %v, want %v", name, err, lightning.ErrInvoice)
		}
	}
	invoice, err := lightning.ParseInvoice(good)
	s.must(err)
	state, err := s.Mostro.TrackPayment(s.ctx, invoice.Hash)
	s.must(err)
	if state.Status != trade.PaymentUnknown {
		s.Fatalf("the invoice was refused, but the payment is %+v", state)
	}
}

// mainnetInvoice is the first example of BOLT 11.
const mainnetInvoice = "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql"

func testFeeLimit(s *suite) {
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 10_000, "two hops", time.Hour)
	s.must(err)
	invoice, err := lightning.ParseInvoice(bolt11)
	s.must(err)
	s.must(s.Seller.Pay(s.ctx, lightning.Payment{Bolt11: bolt11, MaxFeeSats: 0}))
	state := s.untilPayment(s.Seller, invoice.Hash, trade.PaymentFailed)
	if state.Failure != lightning.FailureNoRoute {
		s.Fatalf("payment: %+v", state)
	}
}

func testTimeLockLimit(s *suite) {
	before := s.balances()
	invoice := func() (string, trade.Hash, uint32) {
		bolt11, err := s.Buyer.AddInvoice(s.ctx, 10_000, "locked", time.Hour)
		s.must(err)
		parsed, err := lightning.ParseInvoice(bolt11)
		s.must(err)
		return bolt11, parsed.Hash, uint32(parsed.MinFinalCLTV) + padding
	}
	// If the last hop alone exceeds the limit, Pay refuses the invoice and sends
	// nothing.
	bolt11, h, last := invoice()
	s.wantErr(s.Mostro.Pay(s.ctx, lightning.Payment{Bolt11: bolt11, MaxCLTVBlocks: last}), lightning.ErrInvoice)
	state, err := s.Mostro.TrackPayment(s.ctx, h)
	s.must(err)
	if state.Status != trade.PaymentUnknown {
		s.Fatalf("the invoice was refused, but the payment is %+v", state)
	}
	// A limit one block below the need of a route over two hops leaves no route.
	for _, limit := range []uint32{last + 1, last + HopBlocks - 1} {
		bolt11, h, _ := invoice()
		s.must(s.Seller.Pay(s.ctx, lightning.Payment{Bolt11: bolt11, MaxFeeSats: 100, MaxCLTVBlocks: limit}))
		if state := s.untilPayment(s.Seller, h, trade.PaymentFailed); state.Failure != lightning.FailureNoRoute {
			s.Fatalf("payment within %d blocks: %+v", limit, state)
		}
	}
	s.moved(before, 0, 0, 0)
	bolt11, h, _ = invoice()
	s.must(s.Seller.Pay(s.ctx, lightning.Payment{Bolt11: bolt11, MaxFeeSats: 100, MaxCLTVBlocks: last + HopBlocks}))
	s.untilPayment(s.Seller, h, trade.PaymentSucceeded)
	// If the limit is above the node's own limit, the node's own limit applies.
	bolt11, h, _ = invoice()
	s.must(s.Mostro.Pay(s.ctx, lightning.Payment{Bolt11: bolt11, MaxCLTVBlocks: 1_000_000_000}))
	s.untilPayment(s.Mostro, h, trade.PaymentSucceeded)
}

func testBalance(s *suite) {
	before := s.balances()
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 900_000_000, "far too much", time.Hour)
	s.must(err)
	invoice, err := lightning.ParseInvoice(bolt11)
	s.must(err)
	s.must(s.Mostro.Pay(s.ctx, lightning.Payment{Bolt11: bolt11, MaxFeeSats: 10}))
	state := s.untilPayment(s.Mostro, invoice.Hash, trade.PaymentFailed)
	if state.Failure != lightning.FailureBalance {
		s.Fatalf("payment: %+v", state)
	}
	s.moved(before, 0, 0, 0)
}

func testMany(s *suite) {
	before := s.balances()
	const trades = 30
	done := make(chan struct{})
	var bare Bare
	var err error
	go func() {
		defer close(done)
		bare, err = RunBare(s.ctx, s.Network, trades, 10)
	}()
	s.until("thirty trades", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	s.must(err)
	s.Logf("%d bare trades, ten at a time: %.1f a second", trades, bare.PerSecond())
	s.moved(before, 0, -trades*bareSats*1000, trades*bareSats*1000)
}

// testImpatient abandons each call of a trade after many different durations, the
// shortest before the call begins, and repeats the call until it is answered. A process
// that is killed and started again does the same. Each operation must have taken effect
// exactly once.
func testImpatient(s *suite) {
	before := s.balances()
	const trades = 15
	unanswered := 0
	// insist repeats a call, with a longer limit each time, until the call is answered.
	// If an earlier answer was lost, the error done (the operation has already taken
	// effect) counts as success.
	insist := func(what string, patience time.Duration, done error, call func(context.Context) error) {
		s.Helper()
		for lost := false; s.ctx.Err() == nil; lost = true {
			ctx, cancel := context.WithTimeout(s.ctx, patience)
			err := call(ctx)
			cancel()
			switch {
			case err == nil, lost && done != nil && errors.Is(err, done):
				return
			case !errors.Is(err, lightning.ErrUnavailable):
				s.Fatalf("%s: %v", what, err)
			}
			unanswered++
			patience = max(patience*4, time.Microsecond)
			s.Pause()
		}
		s.Fatalf("%s: never answered", what)
	}
	for i := range trades {
		patience := time.Duration(i*i) * 50 * time.Microsecond // 0 for the first trade
		p := newPreimage()
		insist("create", patience, lightning.ErrExists, func(ctx context.Context) error {
			_, err := s.Mostro.CreateHold(ctx, lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: holdCLTV})
			return err
		})
		hold, err := s.Mostro.LookupHold(s.ctx, p.Hash())
		s.must(err)
		insist("fund", patience, lightning.ErrExists, func(ctx context.Context) error {
			return s.Seller.Pay(ctx, lightning.Payment{Bolt11: hold.Bolt11})
		})
		s.untilHold(p.Hash(), trade.HoldAccepted)
		insist("settle", patience, nil, func(ctx context.Context) error { return s.Mostro.Settle(ctx, p) })
		s.untilPayment(s.Seller, p.Hash(), trade.PaymentSucceeded)

		bolt11, err := s.Buyer.AddInvoice(s.ctx, 900, "", time.Hour)
		s.must(err)
		invoice, err := lightning.ParseInvoice(bolt11)
		s.must(err)
		insist("pay", patience, lightning.ErrExists, func(ctx context.Context) error {
			return s.Mostro.Pay(ctx, lightning.Payment{Bolt11: bolt11})
		})
		s.untilPayment(s.Mostro, invoice.Hash, trade.PaymentSucceeded)
	}
	if unanswered == 0 {
		s.Fatal("every call was answered: the test abandoned none")
	}
	s.Logf("%d calls were abandoned and repeated", unanswered)
	s.moved(before, trades*100_000, -trades*1_000_000, trades*900_000)
}

func testContext(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	p := newPreimage()
	request := lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: holdCLTV}
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 1_000, "context", time.Hour)
	s.must(err)
	for name, call := range map[string]func() error{
		"info":   func() error { _, err := s.Mostro.Info(ctx); return err },
		"create": func() error { _, err := s.Mostro.CreateHold(ctx, request); return err },
		"lookup": func() error { _, err := s.Mostro.LookupHold(ctx, p.Hash()); return err },
		"settle": func() error { return s.Mostro.Settle(ctx, p) },
		"cancel": func() error { return s.Mostro.Cancel(ctx, p.Hash()) },
		"pay":    func() error { return s.Mostro.Pay(ctx, lightning.Payment{Bolt11: bolt11}) },
		"list": func() error {
			return s.Mostro.ListHolds(ctx, time.Time{}, func(lightning.HoldState) error { return errors.New("called") })
		},
		"list payments": func() error {
			return s.Mostro.ListPayments(ctx, time.Time{}, func(lightning.PaymentState) error { return errors.New("called") })
		},
		"track": func() error { _, err := s.Mostro.TrackPayment(ctx, p.Hash()); return err },
	} {
		// The error of an abandoned call must not look like an answer of the node.
		if err := call(); !errors.Is(err, context.Canceled) || !errors.Is(err, lightning.ErrUnavailable) {
			s.Errorf("%s: got error %v", name, err)
		}
	}
}

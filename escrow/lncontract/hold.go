package lncontract

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

func testInfo(s *suite) {
	info, err := s.Mostro.Info(s.ctx)
	s.must(err)
	if len(info.Pubkey) != 66 || info.Network != lightning.Regtest || info.Height == 0 || !info.Synced || info.HoldExpiryDelta == 0 || info.Version == "" {
		s.Fatalf("info: %+v", info)
	}
	s.must(s.Mine(s.ctx, 1))
	s.until("the next height", func() bool {
		next, err := s.Mostro.Info(s.ctx)
		s.must(err)
		return next.Height == info.Height+1
	})
}

func testSettle(s *suite) {
	before := s.balances()
	info, err := s.Mostro.Info(s.ctx)
	s.must(err)
	p, bolt11 := s.hold(20_000)
	invoice, err := lightning.ParseInvoice(bolt11)
	s.must(err)
	if invoice.Hash != p.Hash() || invoice.AmountMsat != 20_000_000 || invoice.Payee != info.Pubkey || invoice.Description != "contract" || invoice.MinFinalCLTV != holdCLTV || invoice.Network != lightning.Regtest {
		s.Fatalf("invoice: %+v", invoice)
	}
	state, err := s.Mostro.LookupHold(s.ctx, p.Hash())
	s.must(err)
	want := lightning.HoldState{Hash: p.Hash(), Phase: trade.HoldOpen, Bolt11: bolt11, AmountSats: 20_000, ExpiresAt: invoice.ExpiresAt, Memo: "contract"}
	if state != want {
		s.Fatalf("open hold: %+v, want %+v", state, want)
	}
	s.wantErr(s.Mostro.Settle(s.ctx, p), lightning.ErrOpen)

	s.must(s.Seller.Pay(s.ctx, lightning.Payment{Bolt11: bolt11}))
	state = s.untilHold(p.Hash(), trade.HoldAccepted)
	want.Phase, want.PaidMsat, want.AcceptHeight = trade.HoldAccepted, 20_000_000, info.Height
	want.ExpiryHeight = info.Height + holdCLTV + padding
	if state != want {
		s.Fatalf("accepted hold: %+v, want %+v", state, want)
	}
	track, err := s.Seller.TrackPayment(s.ctx, p.Hash())
	s.must(err)
	if track.Status != trade.PaymentInFlight {
		s.Fatalf("payment of an accepted hold: %+v", track)
	}

	s.must(s.Mostro.Settle(s.ctx, p))
	state = s.untilHold(p.Hash(), trade.HoldSettled)
	if state.PaidMsat != 20_000_000 || state.ExpiryHeight != 0 || state.Bolt11 != bolt11 {
		s.Fatalf("settled hold: %+v", state)
	}
	end := s.untilPayment(s.Seller, p.Hash(), trade.PaymentSucceeded)
	if end.Preimage != p || end.AmountMsat != 20_000_000 || end.FeeMsat != 0 || end.Failure != "" {
		s.Fatalf("payment: %+v", end)
	}
	s.moved(before, 20_000_000, -20_000_000, 0)
}

func testCancel(s *suite) {
	before := s.balances()
	p, _ := s.accepted(21_000)
	s.must(s.Mostro.Cancel(s.ctx, p.Hash()))
	state := s.untilHold(p.Hash(), trade.HoldCanceled)
	if state.PaidMsat != 0 || state.ExpiryHeight != 0 {
		s.Fatalf("canceled hold: %+v", state)
	}
	end := s.untilPayment(s.Seller, p.Hash(), trade.PaymentFailed)
	if end.Failure != lightning.FailureDetails || end.Preimage != (trade.Preimage{}) {
		s.Fatalf("payment: %+v", end)
	}
	s.moved(before, 0, 0, 0)

	// If an open hold invoice is canceled, a payment to the invoice fails.
	p, bolt11 := s.hold(21_001)
	s.must(s.Mostro.Cancel(s.ctx, p.Hash()))
	s.untilHold(p.Hash(), trade.HoldCanceled)
	s.must(s.Seller.Pay(s.ctx, lightning.Payment{Bolt11: bolt11}))
	s.untilPayment(s.Seller, p.Hash(), trade.PaymentFailed)
	s.moved(before, 0, 0, 0)
}

func testSettleCancel(s *suite) {
	p, _ := s.accepted(1_000)
	s.must(s.Mostro.Settle(s.ctx, p))
	s.must(s.Mostro.Settle(s.ctx, p))
	s.wantErr(s.Mostro.Cancel(s.ctx, p.Hash()), lightning.ErrSettled)
	s.untilPayment(s.Seller, p.Hash(), trade.PaymentSucceeded)

	p, _ = s.accepted(1_000)
	s.must(s.Mostro.Cancel(s.ctx, p.Hash()))
	s.must(s.Mostro.Cancel(s.ctx, p.Hash()))
	s.wantErr(s.Mostro.Settle(s.ctx, p), lightning.ErrCanceled)
	s.untilPayment(s.Seller, p.Hash(), trade.PaymentFailed)
}

func testUnknown(s *suite) {
	p := newPreimage()
	_, err := s.Mostro.LookupHold(s.ctx, p.Hash())
	s.wantErr(err, lightning.ErrNotFound)
	s.wantErr(s.Mostro.Settle(s.ctx, p), lightning.ErrNotFound)
	s.wantErr(s.Mostro.Cancel(s.ctx, p.Hash()), lightning.ErrNotFound)
	s.wantErr(s.Mostro.WatchHold(s.ctx, p.Hash(), func(lightning.HoldState) error { return nil }), lightning.ErrNotFound)
	s.wantErr(s.Mostro.WatchPayment(s.ctx, p.Hash(), func(lightning.PaymentState) error { return nil }), lightning.ErrNotFound)
	state, err := s.Mostro.TrackPayment(s.ctx, p.Hash())
	s.must(err)
	if state != (lightning.PaymentState{Hash: p.Hash(), Status: trade.PaymentUnknown}) {
		s.Fatalf("unknown payment: %+v", state)
	}
}

func testExists(s *suite) {
	p, bolt11 := s.hold(1_000)
	again := lightning.HoldRequest{Hash: p.Hash(), AmountSats: 2_000, CLTVBlocks: holdCLTV}
	_, err := s.Mostro.CreateHold(s.ctx, again)
	s.wantErr(err, lightning.ErrExists)
	state, err := s.Mostro.LookupHold(s.ctx, p.Hash())
	s.must(err)
	if state.Bolt11 != bolt11 || state.AmountSats != 1_000 {
		s.Fatalf("the second request replaced the first invoice: %+v", state)
	}
	s.must(s.Mostro.Cancel(s.ctx, p.Hash()))
	_, err = s.Mostro.CreateHold(s.ctx, again)
	s.wantErr(err, lightning.ErrExists)
}

// testListHolds makes more invoices than any implementation puts on one page, and at
// least one invoice in each phase.
func testListHolds(s *suite) {
	const bulk = 210
	older, _ := s.hold(1_000)
	s.Sleep(2 * time.Second) // the invoices below are created in a later second than the older one

	open := newPreimage()
	bolt11, err := s.Mostro.CreateHold(s.ctx, lightning.HoldRequest{Hash: open.Hash(), AmountSats: 1_000, Memo: "open ☂", CLTVBlocks: holdCLTV})
	s.must(err)
	first, err := lightning.ParseInvoice(bolt11)
	s.must(err)
	since := first.CreatedAt
	accepted, _ := s.accepted(1_000)
	settled, _ := s.accepted(1_000)
	s.must(s.Mostro.Settle(s.ctx, settled))
	s.untilHold(settled.Hash(), trade.HoldSettled)
	canceled, _ := s.hold(1_000)
	s.must(s.Mostro.Cancel(s.ctx, canceled.Hash()))
	ordinary, err := s.Mostro.AddInvoice(s.ctx, 1_000, "ordinary", time.Hour)
	s.must(err)
	other, err := lightning.ParseInvoice(ordinary)
	s.must(err)
	want := []trade.Hash{open.Hash(), accepted.Hash(), settled.Hash(), canceled.Hash(), other.Hash}
	for range bulk {
		p, _ := s.hold(1_000)
		want = append(want, p.Hash())
	}

	list := func(since time.Time) (states []lightning.HoldState) {
		s.Helper()
		s.must(s.Mostro.ListHolds(s.ctx, since, func(state lightning.HoldState) error {
			states = append(states, state)
			return nil
		}))
		return states
	}
	got := list(since)
	if len(got) != len(want) {
		s.Fatalf("%d invoices are listed, want %d", len(got), len(want))
	}
	for i, state := range got {
		if state.Hash != want[i] {
			s.Fatalf("invoice %d is %s, want %s", i, state.Hash, want[i])
		}
		alone, err := s.Mostro.LookupHold(s.ctx, state.Hash)
		s.must(err)
		if state != alone {
			s.Fatalf("invoice %d is listed as %+v, looked up as %+v", i, state, alone)
		}
	}
	for i, phase := range []trade.HoldPhase{trade.HoldOpen, trade.HoldAccepted, trade.HoldSettled, trade.HoldCanceled, trade.HoldOpen} {
		if got[i].Phase != phase {
			s.Errorf("invoice %d is %s, want %s", i, got[i].Phase, phase)
		}
	}
	if got[0].Memo != "open ☂" || got[1].Memo != "contract" || got[4].Memo != "ordinary" || got[0].Bolt11 != bolt11 {
		s.Errorf("memos %q, %q, %q", got[0].Memo, got[1].Memo, got[4].Memo)
	}
	// A fraction of a second in since must not exclude an invoice of the same second.
	if n := len(list(since.Add(999 * time.Millisecond))); n != len(want) {
		s.Errorf("%d invoices are listed from within the first second, want %d", n, len(want))
	}

	all := list(time.Time{})
	if len(all) <= len(want) || all[len(all)-len(want)-1].Hash != older.Hash() {
		s.Errorf("%d invoices in all, the older one is not in its place", len(all))
	}
	s.Sleep(2 * time.Second)
	last, err := lightning.ParseInvoice(got[len(got)-1].Bolt11)
	s.must(err)
	if rest := list(last.CreatedAt.Add(time.Second)); len(rest) != 0 {
		s.Errorf("%d invoices are listed that were created before since", len(rest))
	}

	// An error of the callback ends the list, also on a later page.
	enough, told := errors.New("enough"), 0
	err = s.Mostro.ListHolds(s.ctx, since, func(lightning.HoldState) error {
		if told++; told == bulk {
			return enough
		}
		return nil
	})
	if err != enough || told != bulk { //nolint:errorlint // the very error is promised
		s.Errorf("the callback saw %d invoices, error %v", told, err)
	}

	s.must(s.Mostro.Cancel(s.ctx, accepted.Hash()))
	s.untilPayment(s.Seller, accepted.Hash(), trade.PaymentFailed)
	s.untilPayment(s.Seller, settled.Hash(), trade.PaymentSucceeded)
}

func testBadRequests(s *suite) {
	good := lightning.HoldRequest{AmountSats: 1_000, CLTVBlocks: holdCLTV}
	for name, spoil := range map[string]func(*lightning.HoldRequest){
		"no amount":       func(r *lightning.HoldRequest) { r.AmountSats = 0 },
		"negative amount": func(r *lightning.HoldRequest) { r.AmountSats = -1 },
		"long memo":       func(r *lightning.HoldRequest) { r.Memo = fmt.Sprintf("%0640d", 0) },
		"short expiry":    func(r *lightning.HoldRequest) { r.Expiry = time.Millisecond },
		"no lock":         func(r *lightning.HoldRequest) { r.CLTVBlocks = 0 },
		"lock too short":  func(r *lightning.HoldRequest) { r.CLTVBlocks = 18 },
	} {
		request := good
		request.Hash = newPreimage().Hash()
		spoil(&request)
		_, err := s.Mostro.CreateHold(s.ctx, request)
		if !errors.Is(err, lightning.ErrInvoice) {
			s.Errorf("%s: got error %v, want %v", name, err, lightning.ErrInvoice)
		}
		_, err = s.Mostro.LookupHold(s.ctx, request.Hash)
		s.wantErr(err, lightning.ErrNotFound)
	}
}

func testExpiry(s *suite) {
	p := newPreimage()
	bolt11, err := s.Mostro.CreateHold(s.ctx, lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: holdCLTV, Expiry: 2 * time.Second})
	s.must(err)
	w := s.watchHold(p.Hash())
	s.untilTold(w, trade.HoldOpen)
	s.untilTold(w, trade.HoldCanceled)
	s.wantErr(s.Seller.Pay(s.ctx, lightning.Payment{Bolt11: bolt11}), lightning.ErrInvoice)
	s.wantErr(s.Mostro.Settle(s.ctx, p), lightning.ErrCanceled)
}

func testAcceptedOutlivesExpiry(s *suite) {
	p := newPreimage()
	bolt11, err := s.Mostro.CreateHold(s.ctx, lightning.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: holdCLTV, Expiry: 2 * time.Second})
	s.must(err)
	s.must(s.Seller.Pay(s.ctx, lightning.Payment{Bolt11: bolt11}))
	state := s.untilHold(p.Hash(), trade.HoldAccepted)
	s.Sleep(4 * time.Second)
	after, err := s.Mostro.LookupHold(s.ctx, p.Hash())
	s.must(err)
	if after != state {
		s.Fatalf("after its expiry: %+v, before: %+v", after, state)
	}
	s.must(s.Mostro.Settle(s.ctx, p))
	s.untilPayment(s.Seller, p.Hash(), trade.PaymentSucceeded)
}

func testLock(s *suite) {
	before := s.balances()
	p, state := s.accepted(1_000)
	info, err := s.Mostro.Info(s.ctx)
	s.must(err)
	left := int(state.ExpiryHeight - info.Height - info.HoldExpiryDelta)
	s.must(s.Mine(s.ctx, left-1))
	for range 10 { // leaves time for a wrong cancellation to show
		s.Pause()
	}
	now, err := s.Mostro.LookupHold(s.ctx, p.Hash())
	s.must(err)
	if now != state {
		s.Fatalf("one block too early: %+v", now)
	}
	s.must(s.Mine(s.ctx, 1))
	s.untilHold(p.Hash(), trade.HoldCanceled)
	s.wantErr(s.Mostro.Settle(s.ctx, p), lightning.ErrCanceled)
	s.untilPayment(s.Seller, p.Hash(), trade.PaymentFailed)
	s.moved(before, 0, 0, 0)
}

func testWatchHold(s *suite) {
	p, bolt11 := s.hold(1_000)
	w := s.watchHold(p.Hash())
	s.untilTold(w, trade.HoldOpen)
	s.must(s.Seller.Pay(s.ctx, lightning.Payment{Bolt11: bolt11}))
	s.untilTold(w, trade.HoldAccepted)
	s.must(s.Mostro.Settle(s.ctx, p))
	s.untilTold(w, trade.HoldSettled)
	s.until("the end of the watch", w.ended)
	s.must(w.err)
	last := trade.HoldPhase(0)
	for _, state := range w.states {
		if state.Phase <= last {
			s.Fatalf("states out of order or repeated: %+v", w.states)
		}
		last = state.Phase
		if state.Bolt11 != bolt11 || state.Hash != p.Hash() {
			s.Fatalf("a state of another invoice: %+v", state)
		}
	}
	// A watch that starts after the final state reports the final state and ends.
	late := s.watchHold(p.Hash())
	s.until("the end of the late watch", late.ended)
	s.must(late.err)
	if len(late.states) != 1 || late.states[0].Phase != trade.HoldSettled {
		s.Fatalf("late watch: %+v", late.states)
	}
	s.untilPayment(s.Seller, p.Hash(), trade.PaymentSucceeded)
}

func testWatchEnds(s *suite) {
	p, _ := s.hold(1_000)
	own := errors.New("enough")
	s.wantErr(s.Mostro.WatchHold(s.ctx, p.Hash(), func(lightning.HoldState) error { return own }), own)

	ctx, cancel := context.WithCancel(s.ctx)
	w := watch(func(fn func(lightning.HoldState) error) error { return s.Mostro.WatchHold(ctx, p.Hash(), fn) })
	s.untilTold(w, trade.HoldOpen)
	cancel()
	s.until("the end of the watch", w.ended)
	s.wantErr(w.err, context.Canceled)
	s.must(s.Mostro.Cancel(s.ctx, p.Hash()))
}

func testRestart(s *suite) { testOutage(s, s.Restart) }
func testCrash(s *suite)   { testOutage(s, s.Kill) }

// testOutage ends the node while the node holds a payment, has an open invoice and has
// a payout in flight. Watches that began before the outage must report the final state
// of each.
func testOutage(s *suite, restart func(context.Context) error) {
	before := s.balances()
	p, _ := s.accepted(5_000)
	w := s.watchHold(p.Hash())
	s.untilTold(w, trade.HoldAccepted)
	open, bolt11 := s.hold(6_000)
	openWatch := s.watchHold(open.Hash())
	s.untilTold(openWatch, trade.HoldOpen)
	payout := newPreimage()
	out, err := s.Buyer.CreateHold(s.ctx, lightning.HoldRequest{Hash: payout.Hash(), AmountSats: 3_000, CLTVBlocks: holdCLTV})
	s.must(err)
	s.must(s.Mostro.Pay(s.ctx, lightning.Payment{Bolt11: out}))
	s.until("the payout to arrive", func() bool {
		state, err := s.Buyer.LookupHold(s.ctx, payout.Hash())
		s.must(err)
		return state.Phase == trade.HoldAccepted
	})
	payWatch := watch(func(fn func(lightning.PaymentState) error) error {
		return s.Mostro.WatchPayment(s.ctx, payout.Hash(), fn)
	})

	s.must(restart(s.ctx))

	s.until("an answer", func() bool { _, err := s.Mostro.Info(s.ctx); return err == nil })
	s.must(s.Buyer.Settle(s.ctx, payout))
	s.until("the end of the payout's watch", payWatch.ended)
	s.must(payWatch.err)
	if state, _ := payWatch.last(); state.Status != trade.PaymentSucceeded || state.Preimage != payout {
		s.Fatalf("payout: %+v", state)
	}
	s.must(s.Mostro.Settle(s.ctx, p))
	s.untilTold(w, trade.HoldSettled)
	s.untilPayment(s.Seller, p.Hash(), trade.PaymentSucceeded)
	s.must(s.Seller.Pay(s.ctx, lightning.Payment{Bolt11: bolt11}))
	s.untilTold(openWatch, trade.HoldAccepted)
	s.must(s.Mostro.Cancel(s.ctx, open.Hash()))
	s.untilTold(openWatch, trade.HoldCanceled)
	s.untilPayment(s.Seller, open.Hash(), trade.PaymentFailed)
	s.moved(before, 2_000_000, -5_000_000, 3_000_000)
}

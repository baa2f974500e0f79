// Package lncontract is what every escrow.Lightning must do, as one suite of
// tests. It is run against the simulator and against real LND; where both
// agree, what was tested on one holds for the other.
package lncontract

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
)

// Wallet is a trader's node: besides what a trade needs it makes invoices and
// knows its balance.
type Wallet interface {
	escrow.Lightning
	// AddInvoice makes an invoice that settles itself; 0 sats: without amount.
	AddInvoice(ctx context.Context, amountSats int64, memo string, expiry time.Duration) (bolt11 string, err error)
	// BalanceMsat is what the node owns, once no payment is pending.
	BalanceMsat(ctx context.Context) (int64, error)
}

// Network is three nodes with channels between seller and mostro and between
// mostro and buyer, and no others.
type Network struct {
	Mostro, Seller, Buyer Wallet
	// Mine adds blocks.
	Mine func(ctx context.Context, blocks int) error
	// Restart ends the Mostro's node and starts it again; Kill does so without
	// a warning.
	Restart, Kill func(ctx context.Context) error
	// Pause lets a little time pass, the network's own.
	Pause func()
	// Sleep lets that much of the network's time pass.
	Sleep func(time.Duration)
	// Patience bounds, in the tests' own time, how long anything may take.
	Patience time.Duration
}

const (
	holdCLTV = 40 // blocks: short, so that tests mine little
	padding  = 3  // what LND's payers add
)

type suite struct {
	*Network
	*testing.T
	ctx context.Context
}

// Run runs the whole contract on one network.
func Run(t *testing.T, n *Network) {
	for _, test := range []struct {
		name string
		run  func(*suite)
	}{
		{"info names the node and its chain", testInfo},
		{"settled hold pays the mostro", testSettle},
		{"canceled hold gives back", testCancel},
		{"settle and cancel exclude each other and may be repeated", testSettleCancel},
		{"unknown hashes are not found", testUnknown},
		{"a hash makes one invoice", testExists},
		{"bad hold requests are refused", testBadRequests},
		{"open hold expires unpaid", testExpiry},
		{"accepted hold outlives its expiry", testAcceptedOutlivesExpiry},
		{"accepted hold is canceled before its lock ends", testLock},
		{"watch tells each phase and ends", testWatchHold},
		{"watch ends with its context and with its callback", testWatchEnds},
		{"watch survives a restart of the node", testRestart},
		{"watch survives a crash of the node", testCrash},
		{"payout reaches the buyer", testPayout},
		{"payout is never sent twice", testPayTwice},
		{"payout to a held invoice stays in flight", testPayHeld},
		{"payout that failed may be sent again", testPayAgain},
		{"invoice without amount takes the given one", testZeroAmount},
		{"invoices that cannot be paid are refused", testBadPayments},
		{"fee limit is kept", testFeeLimit},
		{"too large a payout fails", testBalance},
		{"no call outlives its context", testContext},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), n.Patience)
			defer cancel()
			test.run(&suite{Network: n, T: t, ctx: ctx})
		})
	}
}

func newPreimage() (p escrow.Preimage) {
	_, _ = rand.Read(p[:]) // never fails
	return p
}

// must fails the test on an error.
func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// wantErr fails the test on any other error.
func (s *suite) wantErr(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("got error %v, want %v", err, want)
	}
}

// until repeats a check, letting the network's time pass, until it holds.
func (s *suite) until(what string, check func() bool) {
	s.Helper()
	for !check() {
		if s.ctx.Err() != nil {
			s.Fatalf("waited in vain for %s", what)
		}
		s.Pause()
	}
}

func (s *suite) hold(sats int64) (p escrow.Preimage, bolt11 string) {
	s.Helper()
	p = newPreimage()
	bolt11, err := s.Mostro.CreateHold(s.ctx, escrow.HoldRequest{Hash: p.Hash(), AmountSats: sats, Memo: "contract", CLTVBlocks: holdCLTV})
	s.must(err)
	return p, bolt11
}

// accepted makes a hold and has the seller pay it.
func (s *suite) accepted(sats int64) (escrow.Preimage, escrow.HoldState) {
	s.Helper()
	p, bolt11 := s.hold(sats)
	s.must(s.Seller.Pay(s.ctx, escrow.Payment{Bolt11: bolt11}))
	return p, s.untilHold(p.Hash(), escrow.HoldAccepted)
}

func (s *suite) untilHold(h escrow.Hash, want escrow.HoldPhase) (state escrow.HoldState) {
	s.Helper()
	s.until("hold "+want.String(), func() bool {
		var err error
		state, err = s.Mostro.LookupHold(s.ctx, h)
		if errors.Is(err, escrow.ErrUnavailable) {
			return false
		}
		s.must(err)
		return state.Phase == want
	})
	return state
}

func (s *suite) untilPayment(from Wallet, h escrow.Hash, want escrow.PaymentStatus) (state escrow.PaymentState) {
	s.Helper()
	s.until("payment "+want.String(), func() bool {
		var err error
		state, err = from.TrackPayment(s.ctx, h)
		if errors.Is(err, escrow.ErrUnavailable) {
			return false
		}
		s.must(err)
		if state.Status.Final() && state.Status != want {
			s.Fatalf("payment ended as %+v, want %s", state, want)
		}
		return state.Status == want
	})
	return state
}

// balances is what everybody owns, asked only when no payment is held.
type balances struct{ mostro, seller, buyer int64 }

func (s *suite) balances() (b balances) {
	s.Helper()
	for wallet, into := range map[Wallet]*int64{s.Mostro: &b.mostro, s.Seller: &b.seller, s.Buyer: &b.buyer} {
		msat, err := wallet.BalanceMsat(s.ctx)
		s.must(err)
		*into = msat
	}
	return b
}

// moved waits until balances have changed by that many msat each.
func (s *suite) moved(before balances, mostro, seller, buyer int64) {
	s.Helper()
	want := balances{before.mostro + mostro, before.seller + seller, before.buyer + buyer}
	var got balances
	for range 200 {
		if got = s.balances(); got == want {
			return
		}
		s.Pause()
	}
	s.Fatalf("balances are %+v, want %+v", got, want)
}

// watched collects what a watch tells, in the order it is told.
type watched[S any] struct {
	mu     sync.Mutex
	states []S
	done   chan struct{}
	err    error
}

func watch[S any](start func(fn func(S) error) error) *watched[S] {
	w := &watched[S]{done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.err = start(func(state S) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.states = append(w.states, state)
			return nil
		})
	}()
	return w
}

func (w *watched[S]) last() (state S, any bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.states) == 0 {
		return state, false
	}
	return w.states[len(w.states)-1], true
}

func (w *watched[S]) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func (s *suite) watchHold(h escrow.Hash) *watched[escrow.HoldState] {
	return watch(func(fn func(escrow.HoldState) error) error { return s.Mostro.WatchHold(s.ctx, h, fn) })
}

func (s *suite) untilTold(w *watched[escrow.HoldState], want escrow.HoldPhase) {
	s.Helper()
	s.until("word of a hold "+want.String(), func() bool {
		state, any := w.last()
		if w.ended() && (!any || state.Phase != want) {
			s.Fatalf("watch ended early: %v", w.err)
		}
		return any && state.Phase == want
	})
}

func testInfo(s *suite) {
	info, err := s.Mostro.Info(s.ctx)
	s.must(err)
	if len(info.Pubkey) != 66 || info.Network != escrow.Regtest || info.Height == 0 || !info.Synced || info.HoldExpiryDelta == 0 || info.Version == "" {
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
	invoice, err := escrow.ParseInvoice(bolt11)
	s.must(err)
	if invoice.Hash != p.Hash() || invoice.AmountMsat != 20_000_000 || invoice.Payee != info.Pubkey || invoice.Description != "contract" || invoice.MinFinalCLTV != holdCLTV || invoice.Network != escrow.Regtest {
		s.Fatalf("invoice: %+v", invoice)
	}
	state, err := s.Mostro.LookupHold(s.ctx, p.Hash())
	s.must(err)
	want := escrow.HoldState{Hash: p.Hash(), Phase: escrow.HoldOpen, Bolt11: bolt11, AmountSats: 20_000, ExpiresAt: invoice.ExpiresAt}
	if state != want {
		s.Fatalf("open hold: %+v, want %+v", state, want)
	}
	s.wantErr(s.Mostro.Settle(s.ctx, p), escrow.ErrOpen)

	s.must(s.Seller.Pay(s.ctx, escrow.Payment{Bolt11: bolt11}))
	state = s.untilHold(p.Hash(), escrow.HoldAccepted)
	want.Phase, want.PaidMsat, want.AcceptHeight = escrow.HoldAccepted, 20_000_000, info.Height
	want.ExpiryHeight = info.Height + holdCLTV + padding
	if state != want {
		s.Fatalf("accepted hold: %+v, want %+v", state, want)
	}
	track, err := s.Seller.TrackPayment(s.ctx, p.Hash())
	s.must(err)
	if track.Status != escrow.PaymentInFlight {
		s.Fatalf("payment of an accepted hold: %+v", track)
	}

	s.must(s.Mostro.Settle(s.ctx, p))
	state = s.untilHold(p.Hash(), escrow.HoldSettled)
	if state.PaidMsat != 20_000_000 || state.ExpiryHeight != 0 || state.Bolt11 != bolt11 {
		s.Fatalf("settled hold: %+v", state)
	}
	end := s.untilPayment(s.Seller, p.Hash(), escrow.PaymentSucceeded)
	if end.Preimage != p || end.AmountMsat != 20_000_000 || end.FeeMsat != 0 || end.Failure != "" {
		s.Fatalf("payment: %+v", end)
	}
	s.moved(before, 20_000_000, -20_000_000, 0)
}

func testCancel(s *suite) {
	before := s.balances()
	p, _ := s.accepted(21_000)
	s.must(s.Mostro.Cancel(s.ctx, p.Hash()))
	state := s.untilHold(p.Hash(), escrow.HoldCanceled)
	if state.PaidMsat != 0 || state.ExpiryHeight != 0 {
		s.Fatalf("canceled hold: %+v", state)
	}
	end := s.untilPayment(s.Seller, p.Hash(), escrow.PaymentFailed)
	if end.Failure != escrow.FailureDetails || end.Preimage != (escrow.Preimage{}) {
		s.Fatalf("payment: %+v", end)
	}
	s.moved(before, 0, 0, 0)

	// An open one: nobody can pay it any more.
	p, bolt11 := s.hold(21_001)
	s.must(s.Mostro.Cancel(s.ctx, p.Hash()))
	s.untilHold(p.Hash(), escrow.HoldCanceled)
	s.must(s.Seller.Pay(s.ctx, escrow.Payment{Bolt11: bolt11}))
	s.untilPayment(s.Seller, p.Hash(), escrow.PaymentFailed)
	s.moved(before, 0, 0, 0)
}

func testSettleCancel(s *suite) {
	p, _ := s.accepted(1_000)
	s.must(s.Mostro.Settle(s.ctx, p))
	s.must(s.Mostro.Settle(s.ctx, p))
	s.wantErr(s.Mostro.Cancel(s.ctx, p.Hash()), escrow.ErrSettled)
	s.untilPayment(s.Seller, p.Hash(), escrow.PaymentSucceeded)

	p, _ = s.accepted(1_000)
	s.must(s.Mostro.Cancel(s.ctx, p.Hash()))
	s.must(s.Mostro.Cancel(s.ctx, p.Hash()))
	s.wantErr(s.Mostro.Settle(s.ctx, p), escrow.ErrCanceled)
	s.untilPayment(s.Seller, p.Hash(), escrow.PaymentFailed)
}

func testUnknown(s *suite) {
	p := newPreimage()
	_, err := s.Mostro.LookupHold(s.ctx, p.Hash())
	s.wantErr(err, escrow.ErrNotFound)
	s.wantErr(s.Mostro.Settle(s.ctx, p), escrow.ErrNotFound)
	s.wantErr(s.Mostro.Cancel(s.ctx, p.Hash()), escrow.ErrNotFound)
	s.wantErr(s.Mostro.WatchHold(s.ctx, p.Hash(), func(escrow.HoldState) error { return nil }), escrow.ErrNotFound)
	s.wantErr(s.Mostro.WatchPayment(s.ctx, p.Hash(), func(escrow.PaymentState) error { return nil }), escrow.ErrNotFound)
	state, err := s.Mostro.TrackPayment(s.ctx, p.Hash())
	s.must(err)
	if state != (escrow.PaymentState{Hash: p.Hash(), Status: escrow.PaymentUnknown}) {
		s.Fatalf("unknown payment: %+v", state)
	}
}

func testExists(s *suite) {
	p, bolt11 := s.hold(1_000)
	again := escrow.HoldRequest{Hash: p.Hash(), AmountSats: 2_000, CLTVBlocks: holdCLTV}
	_, err := s.Mostro.CreateHold(s.ctx, again)
	s.wantErr(err, escrow.ErrExists)
	state, err := s.Mostro.LookupHold(s.ctx, p.Hash())
	s.must(err)
	if state.Bolt11 != bolt11 || state.AmountSats != 1_000 {
		s.Fatalf("the first invoice was replaced: %+v", state)
	}
	s.must(s.Mostro.Cancel(s.ctx, p.Hash()))
	_, err = s.Mostro.CreateHold(s.ctx, again)
	s.wantErr(err, escrow.ErrExists)
}

func testBadRequests(s *suite) {
	good := escrow.HoldRequest{AmountSats: 1_000, CLTVBlocks: holdCLTV}
	for name, spoil := range map[string]func(*escrow.HoldRequest){
		"no amount":       func(r *escrow.HoldRequest) { r.AmountSats = 0 },
		"negative amount": func(r *escrow.HoldRequest) { r.AmountSats = -1 },
		"long memo":       func(r *escrow.HoldRequest) { r.Memo = fmt.Sprintf("%0640d", 0) },
		"short expiry":    func(r *escrow.HoldRequest) { r.Expiry = time.Millisecond },
		"no lock":         func(r *escrow.HoldRequest) { r.CLTVBlocks = 0 },
		"lock too short":  func(r *escrow.HoldRequest) { r.CLTVBlocks = 18 },
	} {
		request := good
		request.Hash = newPreimage().Hash()
		spoil(&request)
		_, err := s.Mostro.CreateHold(s.ctx, request)
		if !errors.Is(err, escrow.ErrInvoice) {
			s.Errorf("%s: got error %v, want %v", name, err, escrow.ErrInvoice)
		}
		_, err = s.Mostro.LookupHold(s.ctx, request.Hash)
		s.wantErr(err, escrow.ErrNotFound)
	}
}

func testExpiry(s *suite) {
	p := newPreimage()
	bolt11, err := s.Mostro.CreateHold(s.ctx, escrow.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: holdCLTV, Expiry: 2 * time.Second})
	s.must(err)
	w := s.watchHold(p.Hash())
	s.untilTold(w, escrow.HoldOpen)
	s.untilTold(w, escrow.HoldCanceled)
	s.wantErr(s.Seller.Pay(s.ctx, escrow.Payment{Bolt11: bolt11}), escrow.ErrInvoice)
	s.wantErr(s.Mostro.Settle(s.ctx, p), escrow.ErrCanceled)
}

func testAcceptedOutlivesExpiry(s *suite) {
	p := newPreimage()
	bolt11, err := s.Mostro.CreateHold(s.ctx, escrow.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: holdCLTV, Expiry: 2 * time.Second})
	s.must(err)
	s.must(s.Seller.Pay(s.ctx, escrow.Payment{Bolt11: bolt11}))
	state := s.untilHold(p.Hash(), escrow.HoldAccepted)
	s.Sleep(4 * time.Second)
	after, err := s.Mostro.LookupHold(s.ctx, p.Hash())
	s.must(err)
	if after != state {
		s.Fatalf("after its expiry: %+v, before: %+v", after, state)
	}
	s.must(s.Mostro.Settle(s.ctx, p))
	s.untilPayment(s.Seller, p.Hash(), escrow.PaymentSucceeded)
}

func testLock(s *suite) {
	before := s.balances()
	p, state := s.accepted(1_000)
	info, err := s.Mostro.Info(s.ctx)
	s.must(err)
	left := int(state.ExpiryHeight - info.Height - info.HoldExpiryDelta)
	s.must(s.Mine(s.ctx, left-1))
	for range 10 { // room for an answer that would be wrong
		s.Pause()
	}
	now, err := s.Mostro.LookupHold(s.ctx, p.Hash())
	s.must(err)
	if now != state {
		s.Fatalf("one block too early: %+v", now)
	}
	s.must(s.Mine(s.ctx, 1))
	s.untilHold(p.Hash(), escrow.HoldCanceled)
	s.wantErr(s.Mostro.Settle(s.ctx, p), escrow.ErrCanceled)
	s.untilPayment(s.Seller, p.Hash(), escrow.PaymentFailed)
	s.moved(before, 0, 0, 0)
}

func testWatchHold(s *suite) {
	p, bolt11 := s.hold(1_000)
	w := s.watchHold(p.Hash())
	s.untilTold(w, escrow.HoldOpen)
	s.must(s.Seller.Pay(s.ctx, escrow.Payment{Bolt11: bolt11}))
	s.untilTold(w, escrow.HoldAccepted)
	s.must(s.Mostro.Settle(s.ctx, p))
	s.untilTold(w, escrow.HoldSettled)
	s.until("the end of the watch", w.ended)
	s.must(w.err)
	last := escrow.HoldPhase(0)
	for _, state := range w.states {
		if state.Phase <= last {
			s.Fatalf("told out of order or twice: %+v", w.states)
		}
		last = state.Phase
		if state.Bolt11 != bolt11 || state.Hash != p.Hash() {
			s.Fatalf("told of another invoice: %+v", state)
		}
	}
	// A watch that begins at the end tells the end.
	late := s.watchHold(p.Hash())
	s.until("the end of the late watch", late.ended)
	s.must(late.err)
	if len(late.states) != 1 || late.states[0].Phase != escrow.HoldSettled {
		s.Fatalf("late watch: %+v", late.states)
	}
	s.untilPayment(s.Seller, p.Hash(), escrow.PaymentSucceeded)
}

func testWatchEnds(s *suite) {
	p, _ := s.hold(1_000)
	own := errors.New("enough")
	s.wantErr(s.Mostro.WatchHold(s.ctx, p.Hash(), func(escrow.HoldState) error { return own }), own)

	ctx, cancel := context.WithCancel(s.ctx)
	w := watch(func(fn func(escrow.HoldState) error) error { return s.Mostro.WatchHold(ctx, p.Hash(), fn) })
	s.untilTold(w, escrow.HoldOpen)
	cancel()
	s.until("the end of the watch", w.ended)
	s.wantErr(w.err, context.Canceled)
	s.must(s.Mostro.Cancel(s.ctx, p.Hash()))
}

func testRestart(s *suite) { testOutage(s, s.Restart) }
func testCrash(s *suite)   { testOutage(s, s.Kill) }

// testOutage ends the node while it holds a payment, has an open invoice, and
// has a payout in flight. Watches that began before must tell the end of each.
func testOutage(s *suite, restart func(context.Context) error) {
	before := s.balances()
	p, _ := s.accepted(5_000)
	w := s.watchHold(p.Hash())
	s.untilTold(w, escrow.HoldAccepted)
	open, bolt11 := s.hold(6_000)
	openWatch := s.watchHold(open.Hash())
	s.untilTold(openWatch, escrow.HoldOpen)
	payout := newPreimage()
	out, err := s.Buyer.CreateHold(s.ctx, escrow.HoldRequest{Hash: payout.Hash(), AmountSats: 3_000, CLTVBlocks: holdCLTV})
	s.must(err)
	s.must(s.Mostro.Pay(s.ctx, escrow.Payment{Bolt11: out}))
	s.until("the payout to arrive", func() bool {
		state, err := s.Buyer.LookupHold(s.ctx, payout.Hash())
		s.must(err)
		return state.Phase == escrow.HoldAccepted
	})
	payWatch := watch(func(fn func(escrow.PaymentState) error) error {
		return s.Mostro.WatchPayment(s.ctx, payout.Hash(), fn)
	})

	s.must(restart(s.ctx))

	s.until("an answer", func() bool { _, err := s.Mostro.Info(s.ctx); return err == nil })
	s.must(s.Buyer.Settle(s.ctx, payout))
	s.until("the end of the payout's watch", payWatch.ended)
	s.must(payWatch.err)
	if state, _ := payWatch.last(); state.Status != escrow.PaymentSucceeded || state.Preimage != payout {
		s.Fatalf("payout: %+v", state)
	}
	s.must(s.Mostro.Settle(s.ctx, p))
	s.untilTold(w, escrow.HoldSettled)
	s.untilPayment(s.Seller, p.Hash(), escrow.PaymentSucceeded)
	s.must(s.Seller.Pay(s.ctx, escrow.Payment{Bolt11: bolt11}))
	s.untilTold(openWatch, escrow.HoldAccepted)
	s.must(s.Mostro.Cancel(s.ctx, open.Hash()))
	s.untilTold(openWatch, escrow.HoldCanceled)
	s.untilPayment(s.Seller, open.Hash(), escrow.PaymentFailed)
	s.moved(before, 2_000_000, -5_000_000, 3_000_000)
}

func testPayout(s *suite) {
	before := s.balances()
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 7_000, "payout", time.Hour)
	s.must(err)
	invoice, err := escrow.ParseInvoice(bolt11)
	s.must(err)
	s.must(s.Mostro.Pay(s.ctx, escrow.Payment{Bolt11: bolt11, MaxFeeSats: 10}))
	// Known at once to whoever asks: the caller may crash now.
	state, err := s.Mostro.TrackPayment(s.ctx, invoice.Hash)
	s.must(err)
	if state.Status == escrow.PaymentUnknown || state.Hash != invoice.Hash {
		s.Fatalf("after Pay: %+v", state)
	}
	w := watch(func(fn func(escrow.PaymentState) error) error {
		return s.Mostro.WatchPayment(s.ctx, invoice.Hash, fn)
	})
	s.until("the end of the payout", w.ended)
	s.must(w.err)
	end, _ := w.last()
	if end.Status != escrow.PaymentSucceeded || end.AmountMsat != 7_000_000 || end.FeeMsat != 0 || end.Preimage.Hash() != invoice.Hash {
		s.Fatalf("payout: %+v", end)
	}
	s.moved(before, -7_000_000, 0, 7_000_000)
}

func testPayTwice(s *suite) {
	before := s.balances()
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 1_000, "once", time.Hour)
	s.must(err)
	invoice, err := escrow.ParseInvoice(bolt11)
	s.must(err)
	// Ten at once: one is sent.
	errs := make(chan error, 10)
	for range cap(errs) {
		go func() { errs <- s.Mostro.Pay(s.ctx, escrow.Payment{Bolt11: bolt11}) }()
	}
	sent := 0
	for range cap(errs) {
		if err := <-errs; err == nil {
			sent++
		} else {
			s.wantErr(err, escrow.ErrExists)
		}
	}
	if sent != 1 {
		s.Fatalf("%d of ten were sent", sent)
	}
	s.untilPayment(s.Mostro, invoice.Hash, escrow.PaymentSucceeded)
	s.wantErr(s.Mostro.Pay(s.ctx, escrow.Payment{Bolt11: bolt11}), escrow.ErrExists)
	s.moved(before, -1_000_000, 0, 1_000_000)
}

func testPayHeld(s *suite) {
	before := s.balances()
	p := newPreimage()
	bolt11, err := s.Buyer.CreateHold(s.ctx, escrow.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: holdCLTV})
	s.must(err)
	pay := escrow.Payment{Bolt11: bolt11, Timeout: time.Second}
	s.must(s.Mostro.Pay(s.ctx, pay))
	s.until("the payout to be held", func() bool {
		state, err := s.Buyer.LookupHold(s.ctx, p.Hash())
		s.must(err)
		return state.Phase == escrow.HoldAccepted
	})
	s.Sleep(3 * time.Second) // the timeout is for the search, not for the way
	state := s.untilPayment(s.Mostro, p.Hash(), escrow.PaymentInFlight)
	if state.Preimage != (escrow.Preimage{}) {
		s.Fatalf("in flight: %+v", state)
	}
	s.wantErr(s.Mostro.Pay(s.ctx, pay), escrow.ErrExists)
	s.must(s.Buyer.Cancel(s.ctx, p.Hash()))
	s.untilPayment(s.Mostro, p.Hash(), escrow.PaymentFailed)
	s.moved(before, 0, 0, 0)
}

func testPayAgain(s *suite) {
	before := s.balances()
	// It fails because the fee limit leaves no route over two hops, and
	// succeeds with a fee.
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 1_000, "again", time.Hour)
	s.must(err)
	invoice, err := escrow.ParseInvoice(bolt11)
	s.must(err)
	s.must(s.Seller.Pay(s.ctx, escrow.Payment{Bolt11: bolt11}))
	failed := s.untilPayment(s.Seller, invoice.Hash, escrow.PaymentFailed)
	if failed.Failure != escrow.FailureNoRoute {
		s.Fatalf("payment: %+v", failed)
	}
	s.must(s.Seller.Pay(s.ctx, escrow.Payment{Bolt11: bolt11, MaxFeeSats: 100}))
	s.until("the second attempt", func() bool {
		state, err := s.Seller.TrackPayment(s.ctx, invoice.Hash)
		s.must(err)
		return state.Status == escrow.PaymentSucceeded
	})
	state, err := s.Seller.TrackPayment(s.ctx, invoice.Hash)
	s.must(err)
	if state.FeeMsat <= 0 || state.FeeMsat > 100_000 {
		s.Fatalf("fee of %d msat", state.FeeMsat)
	}
	after := s.balances()
	if got := before.seller - after.seller; got != 1_000_000+state.FeeMsat {
		s.Fatalf("the seller paid %d msat, fee %d", got, state.FeeMsat)
	}
}

func testZeroAmount(s *suite) {
	before := s.balances()
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 0, "any", time.Hour)
	s.must(err)
	invoice, err := escrow.ParseInvoice(bolt11)
	s.must(err)
	if invoice.AmountMsat != 0 {
		s.Fatalf("invoice: %+v", invoice)
	}
	s.wantErr(s.Mostro.Pay(s.ctx, escrow.Payment{Bolt11: bolt11}), escrow.ErrInvoice)
	s.must(s.Mostro.Pay(s.ctx, escrow.Payment{Bolt11: bolt11, AmountSats: 1_234}))
	state := s.untilPayment(s.Mostro, invoice.Hash, escrow.PaymentSucceeded)
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
	for name, p := range map[string]escrow.Payment{
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
		if !errors.Is(err, escrow.ErrInvoice) {
			s.Errorf("%s: got error %v, want %v", name, err, escrow.ErrInvoice)
		}
	}
	invoice, err := escrow.ParseInvoice(good)
	s.must(err)
	state, err := s.Mostro.TrackPayment(s.ctx, invoice.Hash)
	s.must(err)
	if state.Status != escrow.PaymentUnknown {
		s.Fatalf("refused, and yet: %+v", state)
	}
}

// mainnetInvoice is the first example of BOLT 11.
const mainnetInvoice = "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql"

func testFeeLimit(s *suite) {
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 10_000, "two hops", time.Hour)
	s.must(err)
	invoice, err := escrow.ParseInvoice(bolt11)
	s.must(err)
	s.must(s.Seller.Pay(s.ctx, escrow.Payment{Bolt11: bolt11, MaxFeeSats: 0}))
	state := s.untilPayment(s.Seller, invoice.Hash, escrow.PaymentFailed)
	if state.Failure != escrow.FailureNoRoute {
		s.Fatalf("payment: %+v", state)
	}
}

func testBalance(s *suite) {
	before := s.balances()
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 900_000_000, "far too much", time.Hour)
	s.must(err)
	invoice, err := escrow.ParseInvoice(bolt11)
	s.must(err)
	s.must(s.Mostro.Pay(s.ctx, escrow.Payment{Bolt11: bolt11, MaxFeeSats: 10}))
	state := s.untilPayment(s.Mostro, invoice.Hash, escrow.PaymentFailed)
	if state.Failure != escrow.FailureBalance {
		s.Fatalf("payment: %+v", state)
	}
	s.moved(before, 0, 0, 0)
}

func testContext(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	p := newPreimage()
	request := escrow.HoldRequest{Hash: p.Hash(), AmountSats: 1_000, CLTVBlocks: holdCLTV}
	bolt11, err := s.Buyer.AddInvoice(s.ctx, 1_000, "context", time.Hour)
	s.must(err)
	for name, call := range map[string]func() error{
		"info":   func() error { _, err := s.Mostro.Info(ctx); return err },
		"create": func() error { _, err := s.Mostro.CreateHold(ctx, request); return err },
		"lookup": func() error { _, err := s.Mostro.LookupHold(ctx, p.Hash()); return err },
		"settle": func() error { return s.Mostro.Settle(ctx, p) },
		"cancel": func() error { return s.Mostro.Cancel(ctx, p.Hash()) },
		"pay":    func() error { return s.Mostro.Pay(ctx, escrow.Payment{Bolt11: bolt11}) },
		"track":  func() error { _, err := s.Mostro.TrackPayment(ctx, p.Hash()); return err },
	} {
		// Whoever stops waiting must not take it for an answer.
		if err := call(); !errors.Is(err, context.Canceled) || !errors.Is(err, escrow.ErrUnavailable) {
			s.Errorf("%s: got error %v", name, err)
		}
	}
}

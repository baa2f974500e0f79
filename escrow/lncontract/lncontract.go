// Package lncontract is what every escrow.Lightning must do, as one suite of
// tests. It is run against the simulator and against real LND; where both
// agree, what was tested on one holds for the other.
package lncontract

import (
	"context"
	"crypto/rand"
	"errors"
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
	// HopBlocks is how many blocks a hop in the middle adds to the time lock of
	// a payment: LND's default bitcoin.timelockdelta.
	HopBlocks = 80
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
		{"every invoice since a moment is listed", testListHolds},
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
		{"time lock limit is kept", testTimeLockLimit},
		{"too large a payout fails", testBalance},
		{"many trades at once", testMany},
		{"whoever stops waiting may ask again", testImpatient},
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

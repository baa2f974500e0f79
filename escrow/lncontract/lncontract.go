// Package lncontract is one suite of tests for every implementation of
// lightning.Node. The suite runs against the simulator and against real LND. If both
// pass, every behaviour that the suite covers is the same on both.
package lncontract

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// Wallet is a trader's node. In addition to lightning.Node, a Wallet makes ordinary
// invoices and reports its balance.
type Wallet interface {
	lightning.Node
	// AddInvoice makes an ordinary invoice, which the node settles by itself when it is
	// paid. If amountSats is 0, the invoice has no amount.
	AddInvoice(ctx context.Context, amountSats int64, memo string, expiry time.Duration) (bolt11 string, err error)
	// BalanceMsat returns the node's funds once no payment is pending.
	BalanceMsat(ctx context.Context) (int64, error)
}

// Network is three nodes with two channels: one between seller and mostro, one between
// mostro and buyer.
type Network struct {
	Mostro, Seller, Buyer Wallet
	// Mine adds blocks to the chain.
	Mine func(ctx context.Context, blocks int) error
	// Restart stops the Mostro's node and starts it again. Kill does the same without a
	// clean shutdown.
	Restart, Kill func(ctx context.Context) error
	// Pause lets a short time pass on the network's clock.
	Pause func()
	// Sleep lets the given duration pass on the network's clock.
	Sleep func(time.Duration)
	// Patience bounds the duration of one test, in real time.
	Patience time.Duration
}

const (
	holdCLTV = 40 // blocks; short, so that tests mine few blocks
	padding  = 3  // blocks that an LND payer adds to the final lock
	// HopBlocks is the number of blocks that an intermediate hop adds to the time lock
	// of a payment: LND's default bitcoin.timelockdelta.
	HopBlocks = 80
)

type suite struct {
	*Network
	*testing.T
	ctx context.Context
}

// Run runs the whole suite on one network.
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
		{"every payment since a moment is listed", testListPayments},
		{"invoice without amount takes the given one", testZeroAmount},
		{"invoices that cannot be paid are refused", testBadPayments},
		{"fee limit is kept", testFeeLimit},
		{"time lock limit is kept", testTimeLockLimit},
		{"too large a payout fails", testBalance},
		{"many trades at once", testMany},
		{"a caller that stopped waiting may ask again", testImpatient},
		{"no call outlives its context", testContext},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), n.Patience)
			defer cancel()
			test.run(&suite{Network: n, T: t, ctx: ctx})
		})
	}
}

func newPreimage() (p trade.Preimage) {
	_, _ = rand.Read(p[:]) // never returns an error
	return p
}

// must fails the test if err is not nil.
func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// wantErr fails the test if err does not wrap want.
func (s *suite) wantErr(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Fatalf("got error %v, want %v", err, want)
	}
}

// until repeats check until it returns true, and lets the network's time pass between
// two tries. If the test's context ends first, until fails the test.
func (s *suite) until(what string, check func() bool) {
	s.Helper()
	for !check() {
		if s.ctx.Err() != nil {
			s.Fatalf("timeout while waiting for %s", what)
		}
		s.Pause()
	}
}

func (s *suite) hold(sats int64) (p trade.Preimage, bolt11 string) {
	s.Helper()
	p = newPreimage()
	bolt11, err := s.Mostro.CreateHold(s.ctx, lightning.HoldRequest{Hash: p.Hash(), AmountSats: sats, Memo: "contract", CLTVBlocks: holdCLTV})
	s.must(err)
	return p, bolt11
}

// accepted makes a hold invoice, has the seller pay it, and returns once the payment is
// accepted.
func (s *suite) accepted(sats int64) (trade.Preimage, lightning.HoldState) {
	s.Helper()
	p, bolt11 := s.hold(sats)
	s.must(s.Seller.Pay(s.ctx, lightning.Payment{Bolt11: bolt11}))
	return p, s.untilHold(p.Hash(), trade.HoldAccepted)
}

func (s *suite) untilHold(h trade.Hash, want trade.HoldPhase) (state lightning.HoldState) {
	s.Helper()
	s.until("hold "+want.String(), func() bool {
		var err error
		state, err = s.Mostro.LookupHold(s.ctx, h)
		if errors.Is(err, lightning.ErrUnavailable) {
			return false
		}
		s.must(err)
		return state.Phase == want
	})
	return state
}

func (s *suite) untilPayment(from Wallet, h trade.Hash, want trade.PaymentStatus) (state lightning.PaymentState) {
	s.Helper()
	s.until("payment "+want.String(), func() bool {
		var err error
		state, err = from.TrackPayment(s.ctx, h)
		if errors.Is(err, lightning.ErrUnavailable) {
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

// balances are the funds of the three nodes in msat, valid only while no payment is
// held.
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

// moved waits until each balance has changed by the given number of msat.
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

// watched collects the states that a watch reports, in order.
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

func (s *suite) watchHold(h trade.Hash) *watched[lightning.HoldState] {
	return watch(func(fn func(lightning.HoldState) error) error { return s.Mostro.WatchHold(s.ctx, h, fn) })
}

func (s *suite) untilTold(w *watched[lightning.HoldState], want trade.HoldPhase) {
	s.Helper()
	s.until("a report of hold "+want.String(), func() bool {
		state, any := w.last()
		if w.ended() && (!any || state.Phase != want) {
			s.Fatalf("watch ended early: %v", w.err)
		}
		return any && state.Phase == want
	})
}

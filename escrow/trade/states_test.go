package trade

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
)

func TestStatesDocumentIsFresh(t *testing.T) {
	var want bytes.Buffer
	if err := WriteStates(&want); err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../docs/escrow-states.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want.Bytes()) {
		t.Fatal("docs/escrow-states.md is stale: run go generate ./escrow/...")
	}
}

// TestTransitionTable checks that no row appears twice, that every status is reachable,
// and that no row leaves a final status.
func TestTransitionTable(t *testing.T) {
	seen := make(map[edge]bool)
	reached := map[message.TradeStatus]bool{none: true}
	for _, row := range Transitions {
		e := edge{row.From, row.On, row.To}
		if seen[e] {
			t.Errorf("twice: %v", e)
		}
		seen[e] = true
		if Terminal(row.From) {
			t.Errorf("a way out of the end: %v", e)
		}
		if row.By == "" || !row.Later && row.Does == "" {
			t.Errorf("says too little: %v", e)
		}
		if !row.Later {
			reached[row.To] = true
		}
	}
	for _, row := range Transitions {
		if !row.Later && !reached[row.From] {
			t.Errorf("%s is left and never entered", row.From)
		}
	}
	for s := range reached {
		left := Terminal(s)
		for _, row := range Transitions {
			left = left || row.From == s && row.To != s && !row.Later
		}
		if !left {
			t.Errorf("%s is never left", s)
		}
	}
}

func TestMovesOutsideTheTableAreRefused(t *testing.T) {
	for _, from := range append(message.TradeStatuses(), none) {
		for _, to := range message.TradeStatuses() {
			for _, on := range []Trigger{OnSettled, OnPaid, OnHeld, OnSolverSettle, OnMakerBond} {
				want := false
				for _, row := range Transitions {
					want = want || row.From == from && row.On == on && row.To == to && !row.Later
				}
				if got := allowed(from, on, to); (got == nil) != want || got != nil && !errors.Is(got, ErrTable) {
					t.Errorf("%q on %q to %q: %v", from, on, to, got)
				}
			}
		}
	}
}

// A trade is shown as pending only if it can be taken. A finished trade is never shown as
// open.
func TestPublicStatus(t *testing.T) {
	for s, want := range map[message.TradeStatus]mostro.Status{
		message.TradePending: mostro.StatusPending, message.TradeWaitingTakerBond: mostro.StatusPending,
		message.TradeWaitingMakerBond:    mostro.StatusUnknown,
		message.TradeWaitingBuyerInvoice: mostro.StatusInProgress, message.TradeWaitingPayment: mostro.StatusInProgress,
		message.TradeActive: mostro.StatusInProgress, message.TradeFiatSent: mostro.StatusInProgress,
		message.TradeDispute: mostro.StatusInProgress, message.TradeSettledHoldInvoice: mostro.StatusInProgress,
		message.TradeSettledByAdmin: mostro.StatusInProgress, message.TradeInProgress: mostro.StatusInProgress,
		message.TradeSuccess: mostro.StatusSuccess, message.TradeCompletedByAdmin: mostro.StatusSuccess,
		message.TradeCanceled: mostro.StatusCanceled, message.TradeCanceledByAdmin: mostro.StatusCanceled,
		message.TradeCooperativelyCanceled: mostro.StatusCanceled, message.TradeExpired: mostro.StatusCanceled,
	} {
		if got := Public(s); got != want {
			t.Errorf("%s shown as %q, want %q", s, got, want)
		}
	}
}

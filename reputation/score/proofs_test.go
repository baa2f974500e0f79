package score

import (
	"errors"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/mostrodex/mostrodex/reputation/score/scoretest"
	"github.com/nbd-wtf/go-nostr"
)

// saysSo is a fake Proofs. The receipt tag states the grade and, if present, the action of
// the host and the id of a dispute. Real receipts are tested in package mostro.
type saysSo struct{}

var errForged = errors.New("forged")

func (saysSo) Check(evt *nostr.Event, r mostro.HostRating, _ receipt.Keysets) (Proof, error) {
	if len(r.Receipt) == 0 {
		return Proof{}, ErrNoReceipt
	}
	if r.Receipt[0] == "forged" {
		return Proof{}, errForged
	}
	p := Proof{Grade: r.Receipt[0], Role: r.Role, OfOrder: r.Receipt[0] != "R2", Nullifier: r.OrderID + r.Role}
	if r.Role == "" {
		p.Nullifier = r.OrderID + r.Pubkey
	}
	if len(r.Receipt) > 1 {
		p.Action = r.Receipt[1]
	}
	if len(r.Receipt) > 2 {
		p.Dispute = r.Receipt[2]
	}
	return p, nil
}

func ledgerOf(w *scoretest.World) *Ledger {
	l := NewLedger(DefaultParams(), saysSo{})
	for _, e := range w.Entries {
		l.Apply(e)
	}
	return l
}

func scoreOf(t *testing.T, l *Ledger, node string, when time.Time) Score {
	t.Helper()
	for _, s := range l.Compute(when) {
		if s.Pubkey == node {
			return s
		}
	}
	t.Fatalf("no score of %s", node)
	return Score{}
}

// zeros is a random source for deterministic signatures. The keys of this test must not be
// used outside of tests.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

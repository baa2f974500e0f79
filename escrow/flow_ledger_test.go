package escrow

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/escrow/audit"
	"github.com/mostrodex/mostrodex/escrow/ledger"
	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// listingNode is a node whose list of payments must be readable. A comparison would otherwise
// ask for the payments of the ledger alone, and never see another one.
type listingNode struct{ lightning.Node }

func (n listingNode) ListPayments(ctx context.Context, since time.Time, fn func(lightning.PaymentState) error) error {
	err := n.Node.ListPayments(ctx, since, fn)
	if errors.Is(err, lightning.ErrPermission) {
		return errors.New("the macaroon does not permit the list of payments")
	}
	return err
}

// ownedBy returns the balance of the Mostro's node before its escrow has earned anything.
func ownedBy(t *testing.T, n *FlowNet) int64 {
	t.Helper()
	all, err := n.Balances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// audit makes the comparison of `mostrodex ledger check`.
func (f *flow) audit(db *DB) *ledger.Report {
	f.Helper()
	a := audit.New(audit.Config{Store: db, Node: listingNode{f.n.Mostro}, Secret: trade.NodeSecretOf(f.w.keys), DevFee: db.DevFeeClaimed, Now: f.w.clock.Now})
	report, err := a.Check(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return report
}

// agrees waits until the ledger equals the node's lists of invoices and payments. Nothing may
// differ, not even for a moment that passes. The node has made no payment that the ledger does
// not know, and its balance is initial plus what the ledger calls its own and what it owes to
// the development fund and to buyers.
func (f *flow) agrees(db *DB, initial int64) {
	f.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; f.n.Pause() {
		report := f.audit(db)
		now, held := f.balances()[0], report.OwnedMsat+report.Balances[ledger.DevFund]+report.Balances[ledger.Claim]
		if report.OK() && len(report.Differences) == 0 && report.Node.PaymentsCompared && report.Node.ForeignPayments == f.foreign && held == now-initial {
			return
		}
		if time.Now().After(deadline) {
			var text strings.Builder
			_ = report.Text(&text)
			f.Fatalf("the ledger and the node differ; the node's balance has grown by %d msat, the ledger's by %d; foreign payments %d, before %d\n%s",
				now-initial, held, report.Node.ForeignPayments, f.foreign, text.String())
		}
	}
}

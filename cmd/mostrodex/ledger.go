package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/ledger"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/spf13/cobra"
)

// ledgerTimeout is the limit of a check of the ledger. The check replays the journals of all
// trades, and asks the node for each payout.
const ledgerTimeout = time.Hour

// ledgerAnswer is the answer of the control socket about the ledger.
type ledgerAnswer struct {
	OK     bool            `json:"ok"`
	Text   string          `json:"text"`
	Report json.RawMessage `json:"report"`
}

// ledger checks the ledger of all trades. Unless the request has node=false, the
// ledger is compared with the Lightning node. Differences that arose because trades went on
// meanwhile are not in the report.
func (s controlServer) ledger(req *http.Request) (any, error) {
	l, err := ledger.Read(s.db)
	if err != nil {
		return nil, err
	}
	at := s.engine.Now().Unix()
	var report *ledger.Report
	if req.URL.Query().Get("node") == "false" {
		report, err = ledger.NewReport(l, nil, at)
	} else {
		report, err = s.compareLedger(req.Context(), l, at)
	}
	if err != nil {
		return nil, err
	}
	answer := ledgerAnswer{OK: report.OK()}
	if answer.Report, err = json.Marshal(report); err != nil {
		return nil, err
	}
	var text strings.Builder
	err = report.Text(&text)
	answer.Text = text.String()
	return answer, err
}

// compareLedger compares the ledger with the node's invoices and with the payouts that the
// node knows. The node is asked for the payouts of the ledger, so a payment that no journal
// contains is not found.
func (s controlServer) compareLedger(ctx context.Context, l *ledger.Ledger, at int64) (*ledger.Report, error) {
	node := ledgerNode{s.engine.Node, s.engine.Secret}
	lists := ledger.Lists{
		Invoices: func(fn func(ledger.Invoice) error) error {
			return node.ln.ListHolds(ctx, time.Time{}, func(s escrow.HoldState) error { return fn(node.invoice(s)) })
		},
		Payments: func(fn func(ledger.Payment) error) error {
			return l.Payouts(func(h trade.Hash) error {
				p, found, err := node.payment(ctx, h)
				if err != nil || !found {
					return err
				}
				return fn(p)
			})
		},
	}
	report, err := ledger.NewReport(l, &lists, at)
	if err != nil {
		return nil, err
	}
	err = report.Recheck(s.db, ledger.Lookup{
		Invoice: func(h trade.Hash) (ledger.Invoice, bool, error) {
			s, err := node.ln.LookupHold(ctx, h)
			if errors.Is(err, escrow.ErrNotFound) {
				return ledger.Invoice{}, false, nil
			}
			return node.invoice(s), err == nil, err
		},
		Payment: func(h trade.Hash) (ledger.Payment, bool, error) { return node.payment(ctx, h) },
	})
	return report, err
}

// ledgerNode converts the rows of the Lightning node for the ledger.
type ledgerNode struct {
	ln     escrow.Lightning
	secret trade.NodeSecret
}

func (n ledgerNode) invoice(s escrow.HoldState) ledger.Invoice {
	id, _ := n.secret.Ours(s.Memo, s.Hash)
	return ledger.Invoice{Hash: s.Hash, Phase: s.Phase, AmountMsat: s.AmountSats * 1000, PaidMsat: s.PaidMsat, Trade: id}
}

func (n ledgerNode) payment(ctx context.Context, h trade.Hash) (row ledger.Payment, found bool, err error) {
	s, err := n.ln.TrackPayment(ctx, h)
	if err != nil || s.Status == trade.PaymentUnknown {
		return row, false, err
	}
	return ledger.Payment{Hash: h, Status: s.Status, AmountMsat: s.AmountMsat, FeeMsat: s.FeeMsat}, true, nil
}

func newLedgerCmd() *cobra.Command {
	return groupOf("ledger", "Check where the sats of all trades are", newLedgerCheckCmd())
}

func newLedgerCheckCmd() *cobra.Command {
	c := control{timeout: ledgerTimeout}
	var alone bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compare the ledger of all trades with the Lightning node",
		Long: `Compute the ledger of all trades from their journals, check its laws, and
compare it with the invoices and payments of the Lightning node. Nothing is
changed. docs/ledger.md explains the accounts and the differences.

The exit code is 1 if a law is broken, or if the node and the ledger differ.`,
		Example: `  mostrodex ledger check
  mostrodex ledger check --json --data /var/lib/mostrodex
  mostrodex ledger check --no-node`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/ledger"
			if alone {
				path += "?node=false"
			}
			var a ledgerAnswer
			if err := c.ask(cmd.Context(), http.MethodGet, path, &a); err != nil {
				return err
			}
			var err error
			if c.json {
				err = printJSON(cmd.OutOrStdout(), a.Report)
			} else {
				_, err = fmt.Fprint(cmd.OutOrStdout(), a.Text)
			}
			if err == nil && !a.OK {
				err = errors.New("the ledger has faults")
			}
			return err
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&alone, "no-node", false, "check the journals only, without the Lightning node")
	return cmd
}

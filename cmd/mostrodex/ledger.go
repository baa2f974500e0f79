package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
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
	var report *ledger.Report
	var err error
	if req.URL.Query().Get("node") == "false" {
		report, err = s.auditor.CheckAlone()
	} else {
		report, err = s.auditor.Check(req.Context())
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

// suspense resolves an amount in suspense. The amount is that of the ledger.
func (s controlServer) suspense(req *http.Request) (any, error) {
	id, err := pathID(req)
	if err != nil {
		return nil, err
	}
	q := req.URL.Query()
	h, err := trade.ParseHash(q.Get("hash"))
	if err != nil {
		return nil, errControlInput{fmt.Errorf("hash: %w", err)}
	}
	if _, err := s.engine.Trade(req.Context(), id); err != nil {
		return nil, err
	}
	fold, err := ledger.ReadTrade(s.db, id, nil)
	if err != nil {
		return nil, err
	}
	msat := int64(0)
	for _, hold := range fold.Holds {
		if hold.Hash == h && hold.State == ledger.HoldSuspense {
			msat = hold.PaidMsat
		}
	}
	if msat == 0 {
		return nil, errConflict{fmt.Errorf("no amount of this trade is in suspense under hash %s: see 'mostrodex trade journal'", h)}
	}
	err = s.engine.Resolve(req.Context(), id, escrow.Resolution{Hash: h, Msat: msat, Outcome: trade.Outcome(q.Get("outcome")), To: q.Get("to"), Reason: q.Get("reason")})
	switch {
	case errors.Is(err, trade.ErrNothing):
		return nil, errConflict{errors.New("this amount has an owner already, or its refund is under way")}
	case errors.Is(err, escrow.ErrRefundTo):
		return nil, errControlInput{err}
	case err != nil:
		return nil, err
	}
	return s.trade(req)
}

// newTradeSuspenseCmd returns the verb that gives an amount in suspense to a party.
func newTradeSuspenseCmd() *cobra.Command {
	var outcome, hash, to string
	cmd := tradeCases.decideCmd(&cobra.Command{
		Use:   "suspense ID",
		Short: "Decide to whom an amount in suspense belongs",
		Long: `Decide to whom an amount belongs that the Lightning node has claimed although
the trade had cancelled its hold. This happens only if an older copy of the
store was put back. 'mostrodex ledger check' shows such amounts.

  --outcome refund     the program pays the amount to --to, an invoice of that
                       amount or a Lightning address of the seller. The amount
                       stays in suspense until the payment has succeeded.
  --outcome refunded   the seller has received it by another way.
  --outcome paid       the buyer was paid in the time that the store has lost.
  --outcome kept       the node keeps it.

Look first: the seller may have released in the lost time, and then the buyer
was paid. 'lncli listpayments' shows it.`,
		Example: `  mostrodex trade suspense ` + tradeCases.id + ` --hash 5f...e1 --outcome refund --to seller@example.com --reason "no payout in listpayments" --yes`,
	}, decision{reason: true, confirm: true, more: func(query url.Values) error {
		if _, err := trade.ParseHash(hash); err != nil {
			return usagef("--hash is the payment hash of a hold, 64 characters of hex")
		}
		switch o := trade.Outcome(outcome); {
		case o == trade.OutcomeRefund && to == "":
			return usagef("--outcome refund needs --to")
		case o != trade.OutcomeRefund && to != "":
			return usagef("--to is only for --outcome refund")
		case o == trade.OutcomeRefund, o == trade.OutcomeRefunded, o == trade.OutcomePaid, o == trade.OutcomeKept:
		default:
			return usagef("--outcome is refund, refunded, paid or kept, not %q", outcome)
		}
		query.Set("hash", hash)
		query.Set("outcome", outcome)
		query.Set("to", to)
		return nil
	}})
	cmd.Flags().StringVar(&hash, "hash", "", "payment hash of the hold")
	cmd.Flags().StringVar(&outcome, "outcome", "", "refund, refunded, paid or kept")
	cmd.Flags().StringVar(&to, "to", "", "invoice or address to which a refund is paid")
	return cmd
}

// newTradeOverpaidCmd returns the verb that records an overpayment which the journal does not have.
func newTradeOverpaidCmd() *cobra.Command {
	return tradeCases.decideCmd(&cobra.Command{
		Use:   "overpaid ID",
		Short: "Record that more was paid for a settled hold than the journal says",
		Long: `Record that more was paid for the settled hold of a trade than its journal says.
'mostrodex ledger check' reports such a hold as 'overpaid': journals from before
December 2026 do not have the amounts of holds. The amount is that of the
Lightning node. Nothing is paid. The amount above the invoice belongs to the node,
and the hold is not reported any more.`,
		Example: `  mostrodex trade overpaid ` + tradeCases.id + ` --reason "lookupinvoice: amt_paid_msat" --yes`,
	}, decision{reason: true, confirm: true})
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

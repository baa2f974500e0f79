package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/devfee"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/spf13/cobra"
)

// devFeeRoutes serves the verbs about development fees on the control socket. No answer has an
// invoice.
func devFeeRoutes(engine *escrow.Engine, handle func(string, func(*http.Request) (any, error))) {
	list := func(req *http.Request) (any, error) {
		fees, err := engine.DevFees(req.Context())
		if err != nil {
			return nil, err
		}
		slices.SortFunc(fees, func(a, b devfee.Fee) int {
			return cmp.Or(cmp.Compare(a.DueAt, b.DueAt), slices.Compare(a.Trade[:], b.Trade[:]))
		})
		return map[string]any{"items": append([]devfee.Fee{}, fees...)}, nil
	}
	handle("GET /devfees", list)
	handle("POST /devfees/{id}/retry", func(req *http.Request) (any, error) {
		id, err := pathID(req)
		if err != nil {
			return nil, err
		}
		err = engine.RetryDevFee(req.Context(), id)
		if errors.Is(err, trade.ErrNothing) {
			err = errConflict{errors.New("only a parked fee is tried again, and only while LND is on the fund's network: see 'mostrodex devfee list'")}
		}
		if err != nil {
			return nil, err
		}
		return list(req)
	})
	handle("POST /devfees/{id}/settled", func(req *http.Request) (any, error) {
		id, err := pathID(req)
		if err != nil {
			return nil, err
		}
		var h trade.Hash
		if text := req.URL.Query().Get("hash"); text != "" {
			if h, err = trade.ParseHash(text); err != nil {
				return nil, errControlInput{fmt.Errorf("hash: %w", err)}
			}
		}
		err = engine.SettleDevFee(req.Context(), id, h, req.URL.Query().Get("reason"))
		if errors.Is(err, trade.ErrNothing) {
			err = errConflict{errors.New("only a parked fee is settled by hand, and only once: see 'mostrodex devfee list'")}
		}
		if err != nil {
			return nil, err
		}
		return list(req)
	})
}

func newDevFeeCmd() *cobra.Command {
	return groupOf("devfee", "Look at the development fees that are due, and decide about parked ones", newDevFeeListCmd(), newDevFeeRetryCmd(), newDevFeeSettledCmd())
}

func newDevFeeSettledCmd() *cobra.Command {
	var c control
	var yes bool
	var reason, hash string
	cmd := &cobra.Command{
		Use:   "settled ID",
		Short: "Record that the fund has received a parked development fee",
		Long: `Record that the development fund has received a parked fee, by the id of its
order. Nothing is paid. With --hash the fee was paid by this Lightning node, which
is asked for the payment; the payment is published as usual. Without --hash the
fee was paid by another wallet, or by a payment that the node has deleted.`,
		Example: `  mostrodex devfee settled ` + tradeCases.id + ` --hash 5f...e1 --reason "paid by lncli" --yes
  mostrodex devfee settled ` + tradeCases.id + ` --reason "paid by the wallet of the shop" --yes`,
		Args: exactly(1, "the id of an order"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := tradeCases.path(args[0]); err != nil {
				return err
			}
			if _, err := trade.ParseHash(hash); hash != "" && err != nil {
				return usagef("--hash is the payment hash of a payment, 64 characters of hex")
			}
			if err := decided(reason, yes, "devfee settled"); err != nil {
				return err
			}
			query := url.Values{"reason": {reason}, "hash": {hash}}
			return answer(&c, cmd, http.MethodPost, "/devfees/"+args[0]+"/settled?"+query.Encode(), printDevFees)
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&hash, "hash", "", "payment hash, if this Lightning node has paid the fee")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the journal")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func newDevFeeListCmd() *cobra.Command {
	var c control
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the development fees that are not paid, the oldest first",
		Example: `  mostrodex devfee list
  mostrodex devfee list --json --data /var/lib/mostrodex`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return answer(&c, cmd, http.MethodGet, "/devfees", printDevFees)
		},
	}
	c.flags(cmd)
	return cmd
}

func newDevFeeRetryCmd() *cobra.Command {
	var c control
	var yes bool
	cmd := &cobra.Command{
		Use:   "retry ID",
		Short: "Try to pay a parked development fee again",
		Long: `Try to pay a parked development fee again, by the id of its order. A fee is
parked if nobody can know whether it is paid: the store is an older copy, LND has
forgotten a payment that it had accepted, or you have let a frozen trade
continue. If it is paid already, it is PAID TWICE.

Look first: ask LND for its payments (listpayments) of that amount since the
settlement, and the relays for an event of kind 8383 with the tag order-id ID.
A fee that is paid stays parked, which costs nothing.`,
		Example: `  mostrodex devfee retry ` + tradeCases.id + ` --yes`,
		Args:    exactly(1, "the id of an order"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := tradeCases.path(args[0]); err != nil {
				return err
			}
			if !yes {
				return usagef("nothing is done without --yes: read 'mostrodex devfee retry --help' first")
			}
			return answer(&c, cmd, http.MethodPost, "/devfees/"+args[0]+"/retry", printDevFees)
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

var printDevFees = printTable("ORDER\tSATS\tSTATE\tSETTLED\tATTEMPTS\tFAILED\tNEXT\tLAST ERROR", func(f *devfee.Fee) string {
	return fmt.Sprintf("%s\t%d\t%s\t%s\t%d\t%d\t%s\t%s", f.Trade, f.Sats, f.Phase, clock(f.DueAt), f.Attempt, f.Failures, clock(f.NextAt), orDash(string(f.Problem)))
})

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/spf13/cobra"
)

const exampleDispute = "efc75871-2568-40b9-a6ee-c382d4d6de01"

func newDisputeCmd() *cobra.Command {
	return groupOf("dispute", "Look at disputes, and decide them under the key of this Mostro", newDisputeListCmd(), newDisputeShowCmd(),
		newDisputeDecideCmd("take", "Take a dispute, also from a solver",
			`Take a dispute under the key of this Mostro, also one that a solver has taken.
Both parties are told the key, and can write to it. A dispute need not be taken
before it is decided here.`),
		newDisputeDecideCmd("settle", "Pay the buyer of a disputed trade",
			`Settle the hold of a disputed trade and PAY THE BUYER. Both parties and the
solver are told. The payment cannot be taken back.

Look first: 'mostrodex dispute show ID' names the parties, the amounts and the
time that is left.`),
		newDisputeDecideCmd("cancel", "Return the sats of a disputed trade to the seller",
			`Cancel the hold of a disputed trade, so that THE SELLER has the sats back. Both
parties and the solver are told. The sats cannot be held again.

Look first: 'mostrodex dispute show ID' names the parties, the amounts and the
time that is left. If the buyer has sent fiat, the buyer loses it.`))
}

func newDisputeListCmd() *cobra.Command {
	var c control
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the open disputes, the most urgent first",
		Example: `  mostrodex dispute list
  mostrodex dispute list --all --json --data /var/lib/mostrodex`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/disputes"
			if all {
				path += "?all=true"
			}
			if c.json {
				return c.printRaw(cmd, http.MethodGet, path)
			}
			var list struct{ Items []trade.Trade }
			if err := c.ask(cmd.Context(), http.MethodGet, path, &list); err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "DISPUTE\tORDER\tSTATE\tBY\tOPENED\tSATS\tFIAT\tSOLVER\tDECIDED BY THE RULE AT\tNOTE")
			for i := range list.Items {
				t := &list.Items[i]
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", t.Dispute.ID, t.ID, t.Dispute.Status, t.Dispute.By, clock(t.Dispute.OpenedAt),
					t.AmountSats, fiatOf(t), orDash(t.Dispute.Solver.Key), clock(dueAt(t)), noteOf(t))
			}
			return w.Flush()
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "disputes that are over as well")
	return cmd
}

func newDisputeShowCmd() *cobra.Command {
	var c control
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show the trade of a dispute, without what moves money",
		Long:  "Show the trade of a dispute. ID is the id of the dispute or of its order.",
		Example: `  mostrodex dispute show ` + exampleDispute + `
  mostrodex dispute show ` + exampleDispute + ` --json`,
		Args: exactly(1, "the id of a dispute"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := disputePath(args[0])
			if err != nil {
				return err
			}
			if c.json {
				return c.printRaw(cmd, http.MethodGet, path)
			}
			var t trade.Trade
			if err := c.ask(cmd.Context(), http.MethodGet, path, &t); err != nil {
				return err
			}
			return printTrade(cmd.OutOrStdout(), &t)
		},
	}
	c.flags(cmd)
	return cmd
}

// newDisputeDecideCmd returns a verb that takes or decides a dispute. A decision moves money,
// so it requires a reason and a confirmation.
func newDisputeDecideCmd(verb, short, long string) *cobra.Command {
	decides := verb != "take"
	example := "  mostrodex dispute " + verb + " " + exampleDispute
	if decides {
		example += ` --reason "the bank statement shows the payment" --yes`
	}
	return newReasonCmd(&cobra.Command{
		Use: verb + " ID", Short: short, Long: long, Example: example, Args: exactly(1, "the id of a dispute"),
	}, decides, disputePath, "dispute "+verb, func(url.Values) error { return nil })
}

// newTradeCloseCmd returns the verb that closes a trade whose money an operator has traced.
func newTradeCloseCmd() *cobra.Command {
	var outcome string
	cmd := newReasonCmd(&cobra.Command{
		Use:   "close ID",
		Short: "Close a trade that is frozen, or whose escrow is gone",
		Long: `Close a trade that is frozen, or whose escrow is gone, after you have found out
where its sats are. Both parties are told the outcome:

  --outcome refunded   the seller has the sats. A hold that may still exist is
                       cancelled.
  --outcome paid       the buyer has the sats. Nothing is paid by this verb. Only
                       for a frozen trade.

Look first: 'mostrodex trade show ID' gives the payment hashes. Ask the node
about each (lookupinvoice, trackpayment).`,
		Example: `  mostrodex trade close 7dd204d2-d06c-4406-a3d9-4415f4a8b9c9 --outcome refunded --reason "lookupinvoice: CANCELED" --yes`,
		Args:    exactly(1, "the id of a trade"),
	}, true, tradePath, "trade close", func(query url.Values) error {
		switch trade.Outcome(outcome) {
		case trade.OutcomeRefunded, trade.OutcomePaid:
			query.Set("outcome", outcome)
			return nil
		}
		return usagef("--outcome is refunded or paid, not %q", outcome)
	})
	cmd.Flags().StringVar(&outcome, "outcome", "", "refunded or paid")
	return cmd
}

// newReasonCmd completes a verb about one trade or dispute. If decides is set, the verb needs
// --reason and --yes. path returns the route of an id, and the last word of the verb is added
// to the route. more adds parameters.
func newReasonCmd(cmd *cobra.Command, decides bool, path func(string) (string, error), verb string, more func(url.Values) error) *cobra.Command {
	var c control
	var yes bool
	var reason string
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		route, err := path(args[0])
		if err != nil {
			return err
		}
		query := make(url.Values)
		if err := more(query); err != nil {
			return err
		}
		var t trade.Trade
		if decides {
			if reason == "" {
				return usagef("a decision needs --reason: a text for the journal of this Mostro, which no party reads")
			}
			query.Set("reason", reason)
		}
		if decides && !yes {
			if err := c.ask(cmd.Context(), http.MethodGet, route, &t); err != nil {
				return err
			}
			if err := printTrade(cmd.OutOrStdout(), &t); err != nil {
				return err
			}
			return usagef("nothing is done without --yes: read 'mostrodex %s --help' first", verb)
		}
		route += "/" + cmd.Name()
		if len(query) > 0 {
			route += "?" + query.Encode()
		}
		if c.json {
			return c.printRaw(cmd, http.MethodPost, route)
		}
		if err := c.ask(cmd.Context(), http.MethodPost, route, &t); err != nil {
			return err
		}
		return printTrade(cmd.OutOrStdout(), &t)
	}
	c.flags(cmd)
	if decides {
		cmd.Flags().StringVar(&reason, "reason", "", "why, for the journal")
		cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	}
	return cmd
}

func newSolverCmd() *cobra.Command {
	return groupOf("solver", "Say who may take and decide disputes", newSolverAddCmd(), newSolverListCmd(), newSolverRemoveCmd())
}

func newSolverAddCmd() *cobra.Command {
	var c control
	var read bool
	cmd := &cobra.Command{
		Use:   "add KEY",
		Short: "Let a key take and decide disputes, or only take them",
		Long: `Let a key (npub or hex) take and decide disputes. With --read the key may take
disputes and see their trades, and decides nothing. A key that has a role
already gets the new one. A solver who is a party of a trade is refused there.`,
		Example: `  mostrodex solver add npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9
  mostrodex solver add npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9 --read`,
		Args: exactly(1, "the key of a solver"),
		RunE: func(cmd *cobra.Command, args []string) error {
			role := trade.RoleWrite
			if read {
				role = trade.RoleRead
			}
			return changeSolvers(cmd, &c, args[0], role)
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&read, "read", false, "the key may not decide")
	return cmd
}

func newSolverRemoveCmd() *cobra.Command {
	var c control
	cmd := &cobra.Command{
		Use:     "remove KEY",
		Short:   "Take the role of a solver away, and the disputes that it has taken",
		Example: "  mostrodex solver remove npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9",
		Args:    exactly(1, "the key of a solver"),
		RunE:    func(cmd *cobra.Command, args []string) error { return changeSolvers(cmd, &c, args[0], "") },
	}
	c.flags(cmd)
	return cmd
}

func newSolverListCmd() *cobra.Command {
	var c control
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the keys that may take disputes",
		Example: "  mostrodex solver list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.json {
				return c.printRaw(cmd, http.MethodGet, "/solvers")
			}
			var list struct{ Items []escrow.Solver }
			if err := c.ask(cmd.Context(), http.MethodGet, "/solvers", &list); err != nil {
				return err
			}
			return printSolvers(cmd.OutOrStdout(), list.Items)
		},
	}
	c.flags(cmd)
	return cmd
}

// changeSolvers sets the role of a key and prints the solvers.
func changeSolvers(cmd *cobra.Command, c *control, key string, role trade.Role) error {
	hex, err := message.ParsePubkey(key)
	if err != nil {
		return usagef("%q is not a public key: name an npub, or 64 hex digits", key)
	}
	path := "/solvers/" + hex + "?" + url.Values{"role": {string(role)}}.Encode()
	if c.json {
		return c.printRaw(cmd, http.MethodPost, path)
	}
	var list struct{ Items []escrow.Solver }
	if err := c.ask(cmd.Context(), http.MethodPost, path, &list); err != nil {
		return err
	}
	return printSolvers(cmd.OutOrStdout(), list.Items)
}

func printSolvers(out io.Writer, list []escrow.Solver) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tROLE\tSINCE\tNOTE")
	for _, s := range list {
		role, note := "read", ""
		if s.Role == trade.RoleWrite {
			role = "read-write"
		}
		if s.Static {
			note = "escrow.assistant of the config"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Key, role, clock(s.AddedAt), note)
	}
	return w.Flush()
}

func disputePath(id string) (string, error) {
	u, err := message.ParseUUID(id)
	if err != nil {
		return "", usagef("%q is not the id of a dispute", id)
	}
	return "/disputes/" + u.String(), nil
}

// dueAt returns the time at which the rule decides the dispute, by the clock: the blocks
// decide. It returns 0 for a dispute that is over.
func dueAt(t *trade.Trade) int64 {
	if t.Status != message.TradeDispute || t.EscrowGone {
		return 0
	}
	_, closes := t.Window(time.Now().Unix())
	return closes
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// verdictText describes a verdict in one line.
func verdictText(v *trade.Verdict) string {
	by := v.By
	switch {
	case v.Overdue:
		by = "the rule for overdue disputes"
	case by == "":
		by = "the operator, who closed the trade"
	case v.Role == trade.RoleNode:
		by = "the key of this Mostro"
	}
	text := fmt.Sprintf("%s by %s, %s", v.Action, by, clock(v.At))
	if v.Reason != "" && !v.Overdue {
		text += fmt.Sprintf(": %q", v.Reason)
	}
	return text
}

// errConflict reports that a trade is not in a state for a verb.
type errConflict struct{ error }

// decisionError returns the error of a decision about a dispute, for an operator.
func decisionError(err error) error {
	var refusal message.CantDo
	var answered trade.Answered
	switch {
	case errors.As(err, &answered):
		return errConflict{errors.New("the parties have agreed to cancel the trade: there is nothing to decide")}
	case !errors.As(err, &refusal):
		return err
	case refusal.Reason == message.ReasonInvalidPubkey:
		return errConflict{errors.New("the dispute is over, or the key of this Mostro is a party of the trade: see 'mostrodex dispute show ID'")}
	}
	return errConflict{errors.New("the trade is not in a state for this: it has to be disputed, not frozen (see 'mostrodex trade --help'), " +
		"not released by the seller, and for settle its escrow not gone: see 'mostrodex dispute show ID'")}
}

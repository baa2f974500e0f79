package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/escrow"
	"github.com/mostrodex/mostrodex/escrow/disputes"
	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/spf13/cobra"
)

var disputeCases = caseKind{noun: "dispute", id: "efc75871-2568-40b9-a6ee-c382d4d6de01", order: "the most urgent first",
	header: "DISPUTE\tORDER\tSTATE\tBY\tOPENED\tSATS\tFIAT\tSOLVER\tDECIDED BY THE RULE AT\tNOTE",
	row: func(t *trade.Trade) string {
		d := &t.Dispute
		return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s", d.ID, t.ID, d.Status, d.By, clock(d.OpenedAt),
			t.AmountSats, fiatOf(t), orDash(d.Solver.Key), clock(dueAt(t)), noteOf(t))
	},
	showing: "Show the trade of a dispute. ID is the id of the dispute or of its order.",
	closed: &caseKind{header: "DISPUTE\tORDER\tOUTCOME\tENDED\tDECIDED BY\tREASON\tOPENED BY\tOPENED\tSATS\tFIAT",
		row: func(t *trade.Trade) string {
			d := &t.Dispute
			by, reason := "the parties", "-"
			if d.Verdict != nil {
				by, reason = judgeOf(d.Verdict), reasonOf(d.Verdict)
			}
			return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s", d.ID, t.ID, d.Status, clock(disputes.ClosedAt(t)), by, orDash(reason),
				d.By, clock(d.OpenedAt), t.AmountSats, fiatOf(t))
		}}}

func newDisputeCmd() *cobra.Command {
	return groupOf("dispute", "Look at disputes, and decide them under the key of this Mostro", disputeCases.listCmd(),
		disputeCases.showCmd("Show the trade of a dispute, without what moves money"), newDisputeInboxCmd(),
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

// newDisputeDecideCmd returns a verb that takes or decides a dispute. A decision moves money,
// so it requires a reason and a confirmation.
func newDisputeDecideCmd(verb, short, long string) *cobra.Command {
	decides := verb != "take"
	example := "  mostrodex dispute " + verb + " " + disputeCases.id
	if decides {
		example += ` --reason "the bank statement shows the payment" --yes`
	}
	return disputeCases.decideCmd(&cobra.Command{Use: verb + " ID", Short: short, Long: long, Example: example}, decision{reason: decides, confirm: decides})
}

// newTradeCloseCmd returns the verb that closes a trade whose money an operator has traced.
func newTradeCloseCmd() *cobra.Command {
	var outcome string
	cmd := tradeCases.decideCmd(&cobra.Command{
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
		Example: `  mostrodex trade close ` + tradeCases.id + ` --outcome refunded --reason "lookupinvoice: CANCELED" --yes`,
	}, decision{reason: true, confirm: true, more: func(query url.Values) error {
		switch trade.Outcome(outcome) {
		case trade.OutcomeRefunded, trade.OutcomePaid:
			query.Set("outcome", outcome)
			return nil
		}
		return usagef("--outcome is refunded or paid, not %q", outcome)
	}})
	cmd.Flags().StringVar(&outcome, "outcome", "", "refunded or paid")
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
			return answer(&c, cmd, http.MethodGet, "/solvers", printSolvers)
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
	return answer(c, cmd, http.MethodPost, path, printSolvers)
}

var printSolvers = printTable("KEY\tROLE\tSINCE\tNOTE", func(s *escrow.Solver) string {
	role, note := "read", ""
	if s.Role == trade.RoleWrite {
		role = "read-write"
	}
	if s.Static {
		note = "escrow.assistant of the config"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s", s.Key, role, clock(s.AddedAt), note)
})

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

// judgeOf names the solver of a verdict.
func judgeOf(v *trade.Verdict) string {
	switch {
	case v.Overdue:
		return "the rule for overdue disputes"
	case v.By == "":
		return "the operator, who closed the trade"
	case v.Role == trade.RoleNode:
		return "the key of this Mostro"
	}
	return v.By
}

// reasonOf returns the reason that a person gave, quoted, or "".
func reasonOf(v *trade.Verdict) string {
	if v.Reason == "" || v.Overdue {
		return ""
	}
	return strconv.Quote(v.Reason)
}

// verdictText describes a verdict in one line.
func verdictText(v *trade.Verdict) string {
	text := fmt.Sprintf("%s by %s, %s", v.Action, judgeOf(v), clock(v.At))
	if reason := reasonOf(v); reason != "" {
		text += ": " + reason
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

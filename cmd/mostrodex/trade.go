package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/spf13/cobra"
)

// control queries a running escrow over its socket.
type control struct {
	data    string
	json    bool
	timeout time.Duration // of a request; 0 means one minute
}

func (c *control) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.data, "data", defaultConfig().Data, "data directory of the running escrow")
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
}

// ask decodes the answer into v.
func (c *control) ask(ctx context.Context, method, path string, v any) error {
	socket := filepath.Join(c.data, controlFile)
	client := http.Client{Timeout: cmp.Or(c.timeout, time.Minute), Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}
	req, err := http.NewRequestWithContext(ctx, method, "http://control"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no escrow runs on %s: name its data directory with --data", c.data)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s is not for this user: run this as the user that the escrow runs as", socket)
	case err != nil:
		return fmt.Errorf("ask the escrow: %w", errors.Unwrap(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return answerError(resp)
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// answer asks the escrow and prints the answer: without changes if --json is set, otherwise
// with show.
func answer[T any](c *control, cmd *cobra.Command, method, path string, show func(io.Writer, *T) error) error {
	if c.json {
		var raw json.RawMessage
		if err := c.ask(cmd.Context(), method, path, &raw); err != nil {
			return err
		}
		return printJSON(cmd.OutOrStdout(), raw)
	}
	var v T
	if err := c.ask(cmd.Context(), method, path, &v); err != nil {
		return err
	}
	return show(cmd.OutOrStdout(), &v)
}

// items is the answer of a list.
type items[T any] struct{ Items []T }

// printTable returns a function that prints a list as a table. row returns the cells of one
// line, with tabs in between.
func printTable[T any](header string, row func(*T) string) func(io.Writer, *items[T]) error {
	return func(out io.Writer, list *items[T]) error {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, header)
		for i := range list.Items {
			fmt.Fprintln(w, row(&list.Items[i]))
		}
		return w.Flush()
	}
}

// caseKind is a kind of cases about which an operator has verbs: the trades, or the
// disputes, which are trades as well.
type caseKind struct {
	noun    string
	id      string // an id for examples
	order   string // of the list
	header  string // of the list
	row     func(*trade.Trade) string
	showing string // help text of the verb show, after the first line
	// closed is the kind with the table of the cases that are over; nil: list has no --closed.
	closed *caseKind
}

var tradeCases = caseKind{noun: "trade", id: "7dd204d2-d06c-4406-a3d9-4415f4a8b9c9", order: "newest first",
	header: "ID\tSIDE\tSTATUS\tSATS\tFIAT\tCREATED\tDEADLINE\tNOTE",
	row: func(t *trade.Trade) string {
		return fmt.Sprintf("%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s", t.ID, t.Kind, t.Status, t.AmountSats, fiatOf(t), clock(t.CreatedAt), clock(t.Deadline), noteOf(t))
	}}

// path returns the route of a case on the control socket.
func (k *caseKind) path(id string) (string, error) {
	u, err := message.ParseUUID(id)
	if err != nil {
		return "", usagef("%q is not the id of a %s", id, k.noun)
	}
	return "/" + k.noun + "s/" + u.String(), nil
}

// args requires one id.
func (k *caseKind) args() cobra.PositionalArgs { return exactly(1, "the id of a "+k.noun) }

func (k *caseKind) listCmd() *cobra.Command {
	var c control
	var all, closed bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the open " + k.noun + "s, " + k.order,
		Example: "  mostrodex " + k.noun + " list\n" +
			"  mostrodex " + k.noun + " list --all --json --data /var/lib/mostrodex",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path, table := "/"+k.noun+"s", k
			switch {
			case all && closed:
				return usagef("--all and --closed exclude each other")
			case all:
				path += "?all=true"
			case closed:
				path, table = path+"?closed=true", k.closed
			}
			return answer(&c, cmd, http.MethodGet, path, printTable(table.header, table.row))
		},
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, k.noun+"s that are over as well")
	if k.closed != nil {
		cmd.Example += "\n  mostrodex " + k.noun + " list --closed"
		cmd.Flags().BoolVar(&closed, "closed", false, "the "+k.noun+"s that are over, the newest first, with outcome and reason")
	}
	return cmd
}

func (k *caseKind) showCmd(short string) *cobra.Command {
	var c control
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: short,
		Long:  k.showing,
		Example: "  mostrodex " + k.noun + " show " + k.id + "\n" +
			"  mostrodex " + k.noun + " show " + k.id + " --json",
		Args: k.args(),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := k.path(args[0])
			if err != nil {
				return err
			}
			return answer(&c, cmd, http.MethodGet, path, printTrade)
		},
	}
	c.flags(cmd)
	return cmd
}

// decision says which flags a verb about one case needs.
type decision struct {
	reason  bool                   // --reason, a text for the journal
	confirm bool                   // --yes, because the verb moves money
	more    func(url.Values) error // adds parameters; nil: none
}

// decideCmd completes a verb about one case. The name of the verb is added to the route of
// the case.
func (k *caseKind) decideCmd(cmd *cobra.Command, d decision) *cobra.Command {
	var c control
	var yes bool
	var reason string
	cmd.Args = k.args()
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		route, err := k.path(args[0])
		if err != nil {
			return err
		}
		query := make(url.Values)
		if d.more != nil {
			if err := d.more(query); err != nil {
				return err
			}
		}
		if d.reason {
			if reason == "" {
				return usagef("a decision needs --reason: a text for the journal of this Mostro, which no party reads")
			}
			query.Set("reason", reason)
		}
		if d.confirm && !yes {
			var t trade.Trade
			if err := c.ask(cmd.Context(), http.MethodGet, route, &t); err != nil {
				return err
			}
			if err := printTrade(cmd.OutOrStdout(), &t); err != nil {
				return err
			}
			return usagef("nothing is done without --yes: read 'mostrodex %s %s --help' first", k.noun, cmd.Name())
		}
		route += "/" + cmd.Name()
		if len(query) > 0 {
			route += "?" + query.Encode()
		}
		return answer(&c, cmd, http.MethodPost, route, printTrade)
	}
	c.flags(cmd)
	if d.reason {
		cmd.Flags().StringVar(&reason, "reason", "", "why, for the journal")
	}
	if d.confirm {
		cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	}
	return cmd
}

func newTradeCmd() *cobra.Command {
	return groupOf("trade", "Look at the escrow's trades, and decide about frozen ones", tradeCases.listCmd(),
		tradeCases.showCmd("Show a trade, without what moves money"), newTradeJournalCmd(),
		newTradeVerdictCmd("resume", "Have a frozen trade go on as it stands",
			`Have a frozen trade go on as it stands. A trade is frozen when the Lightning
node contradicts this store, or when the store was found to be an older copy of
itself while a payout was due: then more may have happened than the store knows.

Look first: 'mostrodex trade show ID' gives the payment hashes. Ask the node
about each (lookupinvoice, trackpayment). Where a payout is due, resuming PAYS
THE BUYER: if they are paid already to an invoice that this store never saw,
they are paid twice.`),
		newTradeVerdictCmd("pay", "Have the buyer of a frozen trade paid whose hold is settled",
			`Have the buyer of a frozen trade paid although this store knows of no release:
the node has settled the hold, so the sats are here. The payout begins when the
node confirms that. Only for trades whose fiat was sent, or that are disputed.

Look first whether the buyer is paid already: 'mostrodex trade show ID' gives
the payment hashes to ask the node about.`), newTradeCloseCmd(), newTradeSuspenseCmd(), newTradeOverpaidCmd())
}

func newTradeJournalCmd() *cobra.Command {
	var c control
	cmd := &cobra.Command{
		Use:   "journal ID",
		Short: "Show everything that happened to a trade, without what moves money",
		Long: `Show every input of a trade, in order: replayed, they give the trade again.
Preimages, invoices and what people wrote are left out, so what is printed
cannot be replayed.`,
		Example: "  mostrodex trade journal " + tradeCases.id,
		Args:    tradeCases.args(),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := tradeCases.path(args[0])
			if err != nil {
				return err
			}
			return answer(&c, cmd, http.MethodGet, path+"/journal", printTable("N\tTIME\tINPUT\tDETAIL", func(e *journalEntry) string {
				return fmt.Sprintf("%d\t%s\t%s\t%s", e.N, clock(e.Input.At), e.Input.Kind, detailOf(e.Input))
			}))
		},
	}
	c.flags(cmd)
	return cmd
}

// newTradeVerdictCmd returns a verb that decides about a frozen trade. The verb requires a
// confirmation, because its effect may be a payment.
func newTradeVerdictCmd(verb, short, long string) *cobra.Command {
	return tradeCases.decideCmd(&cobra.Command{
		Use: verb + " ID", Short: short, Long: long, Example: "  mostrodex trade " + verb + " " + tradeCases.id + " --yes",
	}, decision{confirm: true})
}

// newPauseCmd returns the verb that pauses or resumes the whole escrow.
func newPauseCmd(verb, short, long string) *cobra.Command {
	var c control
	cmd := &cobra.Command{
		Use: verb, Short: short, Long: long,
		Example: "  mostrodex " + verb + " --data /var/lib/mostrodex",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return answer(&c, cmd, http.MethodPost, "/"+verb, func(out io.Writer, s *controlStatus) error { return s.print(out) })
		},
	}
	c.flags(cmd)
	return cmd
}

// print prints whether new trades are taken.
func (s *controlStatus) print(out io.Writer) error {
	state := "new trades are taken"
	switch {
	case s.Paused:
		state = "no new trades are taken"
	case s.Reconciling:
		state = "no new trades are taken before the node was asked for every open hash"
	}
	_, err := fmt.Fprintf(out, "%s; %d open, %d of them frozen; %d sats held; %d sats of development fees are due\n", state, s.Open, s.Frozen, s.HeldSats, s.DevFees.DueSats)
	return err
}

// newMaintenanceCmd returns the verbs about maintenance.
func newMaintenanceCmd() *cobra.Command {
	verb := func(name, short, method string, query url.Values) *cobra.Command {
		var c control
		var reason string
		cmd := &cobra.Command{
			Use: name, Short: short, Args: noArgs,
			Example: "  mostrodex maintenance " + name + " --data /var/lib/mostrodex",
			RunE: func(cmd *cobra.Command, _ []string) error {
				path := "/maintenance"
				if query != nil {
					if reason != "" {
						query.Set("reason", reason)
					}
					path += "?" + query.Encode()
				}
				return answer(&c, cmd, method, path, func(out io.Writer, s *maintenanceStatus) error { return s.print(out) })
			},
		}
		c.flags(cmd)
		if name == "on" {
			cmd.Flags().StringVar(&reason, "reason", "", "text for operators")
		}
		return cmd
	}
	return groupOf("maintenance", "Have no new trades begin, and see whether the Lightning node can be replaced",
		verb("on", "Refuse new orders and takers with the reason maintenance_mode", http.MethodPost, url.Values{"on": {"true"}}),
		verb("off", "Take new orders and takers again", http.MethodPost, url.Values{"on": {"false"}}),
		verb("status", "Show the maintenance and what still needs the Lightning node", http.MethodGet, nil))
}

// print prints the fields, one per line.
func (s *maintenanceStatus) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	state := "off"
	if s.On {
		state = fmt.Sprintf("on since %s", clock(s.Since))
	}
	fmt.Fprintf(w, "maintenance\t%s\n", state)
	if s.Reason != "" {
		fmt.Fprintf(w, "reason\t%s\n", s.Reason)
	}
	fmt.Fprintf(w, "escrowed orders\t%d\npayouts in flight\t%d\npending orders\t%d\ndrained\t%t\n", s.Escrowed, s.Payouts, s.Pending, s.Drained)
	return w.Flush()
}

// printTrade prints the fields of a trade, one per line.
func printTrade(out io.Writer, t *trade.Trade) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name string, value any) {
		if s := fmt.Sprint(value); s != "" && s != "-" {
			fmt.Fprintf(w, "%s\t%s\n", name, s)
		}
	}
	line("id", t.ID)
	line("status", t.Status)
	line("note", noteOf(t))
	line("order", fmt.Sprintf("%s, %s, %s", t.Kind, fiatOf(t), t.PaymentMethod))
	line("amount", fmt.Sprintf("%d sats, fee %d sats of each side", t.AmountSats, t.FeeSats))
	line("created", clock(t.CreatedAt))
	line("expires", clock(t.ExpiresAt))
	line("taken", clock(t.TakenAt))
	line("held", clock(t.HeldAt))
	line("next look", clock(t.Deadline))
	line("last change", fmt.Sprintf("%s, step %d", t.Last, t.Steps))
	line("buyer", partyOf(t.Buyer))
	line("seller", partyOf(t.Seller))
	line("hold", hashOf(t.Hash))
	for _, h := range t.Closing {
		line("being given back", hashOf(h))
	}
	if t.Dispute.Status != "" {
		d := &t.Dispute
		line("dispute", fmt.Sprintf("%s: %s by %s, %s", d.ID, d.Status, d.By, clock(d.OpenedAt)))
		if d.Solver.Key != "" {
			line("solver", fmt.Sprintf("%s (%s), %s", d.Solver.Key, d.SolverRole, clock(d.TakenAt)))
		}
		if at := dueAt(t); at != 0 {
			line("overdue", fmt.Sprintf("about %s: %s", clock(at), t.Terms.OverdueRule()))
		}
		if d.Verdict != nil {
			line("verdict", verdictText(d.Verdict))
		}
	}
	line("payout", hashOf(t.Payout.Hash))
	if t.Payout.LastHash != t.Payout.Hash {
		line("last payout", hashOf(t.Payout.LastHash))
	}
	if t.Payout.Attempt > 0 {
		line("attempts", fmt.Sprintf("%d, of the present invoice %d failed", t.Payout.Attempt, t.Payout.Failures))
	}
	return w.Flush()
}

func fiatOf(t *trade.Trade) string {
	if t.FiatAmount == 0 && t.Range() {
		return fmt.Sprintf("%d-%d %s", t.MinFiat, t.MaxFiat, t.Fiat)
	}
	return fmt.Sprintf("%d %s", t.FiatAmount, t.Fiat)
}

func noteOf(t *trade.Trade) string {
	var notes []string
	for _, n := range []struct {
		is   bool
		text string
	}{{t.Frozen, "FROZEN"}, {t.Doubtful, "doubtful"}, {t.Settling, "settling"}, {t.EscrowGone, "escrow gone"}, {t.Payout.Sent, "payout under way"}} {
		if n.is {
			notes = append(notes, n.text)
		}
	}
	return strings.Join(notes, ", ")
}

func partyOf(p trade.Party) string {
	switch {
	case p.Key == "":
		return ""
	case p.Private():
		return fmt.Sprintf("%s (%s, full privacy)", p.Key, p.Transport)
	}
	return fmt.Sprintf("%s (%s, identity %s)", p.Key, p.Transport, p.Identity)
}

func hashOf(h trade.Hash) string {
	if h == (trade.Hash{}) {
		return ""
	}
	return h.String()
}

func clock(at int64) string {
	if at == 0 {
		return "-"
	}
	return time.Unix(at, 0).UTC().Format(time.RFC3339)
}

// detailOf returns a short description of an input.
func detailOf(in trade.Input) string {
	var parts []string
	if in.Request != nil {
		parts = append(parts, string(in.Request.Message.Action), "from "+in.Request.From.Key)
	}
	if in.Hash != (trade.Hash{}) {
		parts = append(parts, "hash "+in.Hash.String())
	}
	if in.Hold.Phase != 0 {
		parts = append(parts, in.Hold.Phase.String())
	}
	if in.Payment.Status != 0 {
		parts = append(parts, in.Payment.Status.String())
	}
	if in.Attempt > 0 {
		parts = append(parts, fmt.Sprintf("attempt %d", in.Attempt))
	}
	for _, s := range []string{string(in.Role), in.Solver, string(in.Outcome)} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if in.Reason != "" {
		parts = append(parts, fmt.Sprintf("%q", in.Reason))
	}
	return strings.Join(parts, ", ")
}

package ledger

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// maxListed is the number of differences that a Report contains. All differences are
// counted. Faults are listed before passing differences.
const maxListed = 1000

// Report is the result of a check of the ledger, as text or as JSON.
type Report struct {
	At int64 `json:"at"` // unix seconds

	Trades int `json:"trades"`
	Over   int `json:"over"`
	Frozen int `json:"frozen"`

	FeesMsat     int64 `json:"fees_msat"`
	RoutingMsat  int64 `json:"routing_msat"`
	DevFeesMsat  int64 `json:"dev_fees_msat"`
	ForfeitsMsat int64 `json:"forfeits_msat"`
	OverpaidMsat int64 `json:"overpayments_msat"`
	OwnedMsat    int64 `json:"owned_msat"` // fees - routing - development fees + forfeits + overpayments

	Balances Balances `json:"balances_msat"`

	// Suspense lists the holds whose amounts are in Suspense, at most maxListed.
	Suspense []SuspenseHold `json:"suspense,omitempty"`

	Violations int          `json:"violations"`
	Broken     []*Violation `json:"broken,omitempty"` // the first violations

	Node        *Comparison  `json:"node,omitempty"` // nil if the node was not compared
	Differences []Difference `json:"differences,omitempty"`
}

// SuspenseHold is an amount that an operator has to decide about.
type SuspenseHold struct {
	Trade trade.OrderID `json:"trade"`
	Hash  trade.Hash    `json:"hash"`
	Msat  int64         `json:"msat"`
}

// suspended returns the amounts in suspense, at most maxListed, ordered by the hash.
func (l *Ledger) suspended() (list []SuspenseHold) {
	l.sort()
	for i := range l.rows {
		r := &l.rows[i]
		if r.class == classHold && HoldState(r.state) == HoldSuspense && r.paid != 0 && len(list) < maxListed {
			list = append(list, SuspenseHold{l.trades[r.trade].id, r.hash, r.paid})
		}
	}
	return list
}

// NewReport checks a ledger. If lists is not nil, NewReport compares the ledger with the
// lists of the node. at is the time of the report in unix seconds. NewReport returns an
// error if a list cannot be read.
func NewReport(l *Ledger, lists *Lists, at int64) (*Report, error) {
	b := l.Balances
	r := &Report{
		At: at, Trades: l.Trades, Over: l.Over, Frozen: l.Frozen, FeesMsat: l.FeesMsat, DevFeesMsat: l.DevFeesMsat,
		RoutingMsat: b[Routing], ForfeitsMsat: b[Forfeits], OverpaidMsat: b[Overpayments], OwnedMsat: b.Owned(), Balances: b,
		Violations: l.Violations, Broken: slices.Clone(l.First), Suspense: l.suspended(),
	}
	if err := l.checkNode(); err != nil {
		r.Violations++
		if v, ok := err.(*Violation); ok {
			r.Broken = append(r.Broken, v)
		}
	}
	if lists == nil {
		return r, nil
	}
	var passing []Difference
	sum, err := Compare(l, *lists, func(d Difference) error {
		switch {
		case !d.Fault() && len(passing) < maxListed:
			passing = append(passing, d)
		case d.Fault() && len(r.Differences) < maxListed:
			r.Differences = append(r.Differences, d)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.Node = &sum
	r.Differences = append(r.Differences, passing[:min(len(passing), maxListed-len(r.Differences))]...)
	return r, nil
}

// OK reports whether no law is broken, no fault was found at the node, and no amount is in
// Suspense. Passing differences do not count.
func (r *Report) OK() bool {
	return r.Violations == 0 && r.Balances[Suspense] == 0 && (r.Node == nil || r.Node.Faults() == 0)
}

// JSON writes the report as one JSON object.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// Text writes the report for an operator. Amounts are in sats with three decimals.
func (r *Report) Text(w io.Writer) error {
	verdict := "the ledger is sound"
	if !r.OK() {
		verdict = "THE LEDGER HAS FAULTS"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s; %d trades, %d over, %d frozen\n\n", time.Unix(r.At, 0).UTC().Format(time.RFC3339), verdict, r.Trades, r.Over, r.Frozen)
	r.sums(&b)
	r.details(&b)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// sums writes the table of amounts.
func (r *Report) sums(b *strings.Builder) {
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(name string, msat int64) { fmt.Fprintf(t, "%s\t%s\t\n", name, sats(msat)) }
	line("fees of both sides", r.FeesMsat)
	line("- routing fees", -r.RoutingMsat)
	line("- development fees", -r.DevFeesMsat)
	line("+ forfeits", r.ForfeitsMsat)
	line("+ overpayments", r.OverpaidMsat)
	line("the node owns", r.OwnedMsat)
	fmt.Fprintln(t, "\t\t")
	for k, msat := range r.Balances {
		line(strings.ReplaceAll(Kind(k).String(), "_", " "), msat)
	}
	if n := r.Node; n != nil {
		fmt.Fprintln(t, "\t\t")
		line("held at the node", n.HeldMsat)
		line("settled at the node", n.SettledMsat)
		line("paid by the node", n.PaidMsat)
		line("routing fees of the node", n.RoutingMsat)
	}
	_ = t.Flush() // a strings.Builder returns no error
	for text := range strings.Lines(table.String()) {
		b.WriteString(strings.TrimRight(text, " \n") + "\n")
	}
}

// details writes the violations and the differences.
func (r *Report) details(b *strings.Builder) {
	if r.Balances[Suspense] != 0 {
		fmt.Fprintf(b, "\nsuspense: the node has claimed %s sats of holds that were cancelled here; decide to whom they belong: see 'mostrodex trade suspense --help'\n", sats(r.Balances[Suspense]))
	}
	for _, h := range r.Suspense {
		fmt.Fprintf(b, "  trade %s, hash %s, %s sats\n", h.Trade, h.Hash, sats(h.Msat))
	}
	if r.Violations > 0 {
		fmt.Fprintf(b, "\nbroken laws: %d\n", r.Violations)
	}
	for _, v := range r.Broken {
		fmt.Fprintf(b, "  %s\n", v.Error())
	}
	if n := r.Node; n == nil {
		b.WriteString("\nthe node was not compared\n")
	} else {
		fmt.Fprintf(b, "\nthe node: %d invoices and %d payments of the escrow compared", n.Invoices, n.Payments)
		if !n.PaymentsCompared {
			b.WriteString(" (its payments were not listed)")
		}
		fmt.Fprintf(b, "\nnot of the escrow: %d invoices (%s sats settled), %d payments (%s sats with routing fees)\n",
			n.ForeignInvoices, sats(n.ForeignSettledMsat), n.ForeignPayments, sats(n.ForeignPaidMsat))
		fmt.Fprintf(b, "differences: %d, and %d that may pass\n", n.Faults(), n.Passing)
		for _, kind := range slices.Sorted(maps.Keys(n.Differences)) {
			fmt.Fprintf(b, "  %s: %d\n", kind, n.Differences[kind])
		}
	}
	for _, d := range r.Differences {
		passing := ""
		switch {
		case !d.Fault():
			passing = " (may pass)"
		case d.Frozen:
			passing = " (trade frozen)"
		}
		fmt.Fprintf(b, "  %s%s: hash %s, trade %s, ledger %s %s sats, node %s %s sats\n",
			d.Kind, passing, d.Hash, d.Trade, orDash(d.Ledger), sats(d.LedgerMsat), orDash(d.Node), sats(d.NodeMsat))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// sats returns an amount in sats with three decimals, for example "-1.500".
func sats(msat int64) string {
	sign := ""
	if msat < 0 {
		sign, msat = "-", -msat
	}
	return fmt.Sprintf("%s%d.%03d", sign, msat/1000, msat%1000)
}

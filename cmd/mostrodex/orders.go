package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/spf13/cobra"
)

// addOrderFlags declares the parameters of GET /api/v1/orders as flags of the
// same names; the returned function reads those given.
func addOrderFlags(cmd *cobra.Command) func() url.Values {
	flags := map[string]string{} // parameters by flag
	for _, p := range orders.OrderParams() {
		if p.Doc != "" {
			flag := strings.ReplaceAll(p.Name, "_", "-")
			flags[flag] = p.Name
			cmd.Flags().String(flag, "", p.Doc)
		}
	}
	return func() url.Values {
		q := url.Values{}
		for flag, param := range flags {
			if v := cmd.Flag(flag); v.Changed {
				q.Set(param, v.Value.String())
			}
		}
		return q
	}
}

func newSearchCmd() *cobra.Command {
	cmd := newOrderListCmd()
	cmd.Use = "search QUERY"
	cmd.Short = "Find orders by words: method, currency, country, instance"
	cmd.Long = `Find orders by words: each must begin a word of the order's payment methods,
description, currency or country, or of the name of its instance. Pairs such as
premium:<=2 or side:sell narrow the search like flags:
` + strings.Join(orders.SearchKeys(), ", ") + `.`
	cmd.Example = `  mostrodex search "pago movil"
  mostrodex search transferencia --fiat VES --side sell
  mostrodex search "venezuela premium:<=2" --url https://relay.example --json`
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("search takes words to look for; to list orders use 'mostrodex orders'")
		}
		return nil
	}
	return cmd
}

func newOrdersCmd() *cobra.Command {
	cmd := newOrderListCmd()
	cmd.Use = "orders"
	cmd.Short = "List the orders of all Mostros"
	cmd.Example = `  mostrodex orders --fiat VES --side sell
  mostrodex orders --open any --status success --json
  mostrodex orders --data ./data --limit 10`
	cmd.Args = noArgs
	return cmd
}

func newOrderListCmd() *cobra.Command {
	var from target
	var asJSON bool
	cmd := &cobra.Command{}
	params := addOrderFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q := params()
		if len(args) > 0 {
			q.Set("q", strings.Join(args, " "))
		}
		var list json.RawMessage
		if err := from.get(cmd.Context(), cmd.ErrOrStderr(), "/api/v1/orders", q, &list); err != nil {
			return err
		}
		if asJSON {
			return printJSON(cmd.OutOrStdout(), list)
		}
		return printOrders(cmd.OutOrStdout(), list)
	}
	from.flags(cmd, defaultURL)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the API's JSON")
	return cmd
}

func printOrders(w io.Writer, list json.RawMessage) error {
	var page struct {
		Items []struct {
			Side, Status, Fiat, Platform, D string
			FiatAmount                      *struct{ Min, Max *string } `json:"fiat_amount"`
			AmountSats                      *int64                      `json:"amount_sats"`
			PremiumPct                      *string                     `json:"premium_pct"`
			Methods                         []string
			TakeLink                        *string `json:"take_link"`
			Instance                        struct {
				Pubkey, Name string
				Unknown, New bool
				UsesNameOf   *namesake `json:"uses_name_of"`
				Shares       *namesake `json:"shares_name_with"`
			}
		}
		Total      int
		NextCursor string `json:"next_cursor"`
	}
	if err := json.Unmarshal(list, &page); err != nil {
		return fmt.Errorf("the server's answer is not understood: %w", err)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "SIDE\tFIAT\tAMOUNT\tSATS\tPREMIUM\tSTATUS\tMETHODS\tINSTANCE\tNOTE\tORDER\tPUBKEY\tLINK")
	for _, o := range page.Items {
		fiat := "-"
		if a := o.FiatAmount; a != nil && a.Min != nil && a.Max != nil {
			if fiat = *a.Min; *a.Min != *a.Max {
				fiat += "-" + *a.Max
			}
		}
		sats := "-"
		if o.AmountSats != nil {
			if sats = strconv.FormatInt(*o.AmountSats, 10); *o.AmountSats == 0 {
				sats = "market"
			}
		}
		premium := "-"
		if o.PremiumPct != nil {
			premium = *o.PremiumPct + "%"
		}
		link := "-"
		note := authorNote(o.Instance.UsesNameOf, o.Instance.Shares, o.Instance.Unknown, o.Instance.New)
		if o.TakeLink != nil {
			link = clip(*o.TakeLink, 2048)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", o.Side, o.Fiat, fiat, sats, premium, o.Status,
			clip(strings.Join(o.Methods, ", "), 40), clip(firstOf(o.Instance.Name, o.Platform, o.Instance.Pubkey), 24), note, clip(o.D, 36), clip(o.Instance.Pubkey, 64), link)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d of %d\n", len(page.Items), page.Total)
	if err == nil && page.NextCursor != "" {
		_, err = fmt.Fprintf(w, "more: --cursor %s\n", page.NextCursor)
	}
	return err
}

// namesake is another key with the same name.
type namesake struct{ Name string }

// authorNote returns the note about an author in a row.
func authorNote(uses, shares *namesake, unknown, isNew bool) string {
	switch {
	case uses != nil:
		return "uses the name of " + clip(uses.Name, 24)
	case unknown:
		return "unknown"
	case shares != nil:
		return "shares its name"
	case isNew:
		return "new"
	}
	return "-"
}

func newInstancesCmd() *cobra.Command {
	var from target
	var asJSON bool
	var sortBy string
	cmd := &cobra.Command{
		Use:   "instances [PUBKEY]",
		Short: "List the Mostros, or show one",
		Example: `  mostrodex instances --sort fee
  mostrodex instances 82fa8cb978b43c79b2156585bac2c011176a21d2aead6d9f7c575c005be88390`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("instances takes at most one PUBKEY, %d given", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				var one json.RawMessage
				if err := from.get(cmd.Context(), cmd.ErrOrStderr(), "/api/v1/instances/"+url.PathEscape(args[0]), nil, &one); err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), one)
			}
			q := url.Values{}
			if sortBy != "" {
				q.Set("sort", sortBy)
			}
			var list json.RawMessage
			if err := from.get(cmd.Context(), cmd.ErrOrStderr(), "/api/v1/instances", q, &list); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return printInstances(cmd.OutOrStdout(), list)
		},
	}
	from.flags(cmd, defaultURL)
	cmd.Flags().StringVar(&sortBy, "sort", "", "rank, volume, trades, fee or age")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the API's JSON")
	return cmd
}

// clip shortens s to n characters, for tables only.
func clip(s string, n int) string {
	r := []rune(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) { // text of other users must not control the terminal
			return ' '
		}
		return c
	}, s))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n-1]) + "…"
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// ago returns the age of a time in its largest unit.
func ago(unix int64) string {
	if unix == 0 {
		return "-"
	}
	d := max(0, time.Since(time.Unix(unix, 0)))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

func printInstances(w io.Writer, list json.RawMessage) error {
	var page struct {
		Items []struct {
			Pubkey, Name, Version, Fee string
			MinOrderSats               *int64 `json:"min_order_sats"`
			MaxOrderSats               *int64 `json:"max_order_sats"`
			AnyCurrency                bool   `json:"any_currency"`
			Currencies                 []string
			Orders                     map[string]int
			Trades                     int
			InfoAt                     int64 `json:"info_at"`
			Rank                       *int
			Reputation                 *struct {
				Provisional bool
				Reason      string
				WatchedDays int `json:"watched_days"`
				WatchDays   int `json:"watch_days"`
			}
			New        bool
			UsesNameOf *namesake `json:"uses_name_of"`
			Shares     *namesake `json:"shares_name_with"`
		}
		Total int
	}
	if err := json.Unmarshal(list, &page); err != nil {
		return fmt.Errorf("the server's answer is not understood: %w", err)
	}
	sats := func(v *int64) string {
		if v == nil {
			return "-"
		}
		return strconv.FormatInt(*v, 10)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tRANK\tFEE\tLIMITS (SATS)\tPENDING\tTRADES\tCURRENCIES\tVERSION\tINFO AGE\tNOTE\tPUBKEY")
	for _, i := range page.Items {
		currencies := strings.Join(i.Currencies, ",")
		if i.AnyCurrency {
			currencies = "all"
		}
		rank := "-"
		if i.Rank != nil {
			rank = strconv.Itoa(*i.Rank)
		} else if r := i.Reputation; r != nil && r.Reason == "watching" {
			rank = fmt.Sprintf("watched %d/%d", r.WatchedDays, r.WatchDays)
		} else if r != nil && r.Provisional {
			rank = "unrated"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s-%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\n", clip(firstOf(i.Name, "-"), 24), rank, firstOf(i.Fee, "-"), sats(i.MinOrderSats), sats(i.MaxOrderSats),
			i.Orders["pending"], i.Trades, clip(firstOf(currencies, "-"), 24), clip(firstOf(i.Version, "-"), 12), ago(i.InfoAt), authorNote(i.UsesNameOf, i.Shares, false, i.New), clip(i.Pubkey, 64))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d of %d\n", len(page.Items), page.Total)
	return err
}

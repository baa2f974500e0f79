package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/mostrodex/mostrodex/reputation"
	"github.com/spf13/cobra"
)

// chooseFlags are the parameters of GET /api/v1/choose.
var chooseFlags = []struct{ name, usage string }{
	{"fiat", "currency that you pay or want, e.g. VES"},
	{"side", "buy: you want bitcoin; sell: you have it"},
	{"amount", "amount of the currency, e.g. 100"},
	{"sats", "what that is worth in sats, if you know (default: from the server's own price sources, else from prices that Mostros publish)"},
	{"method", "payment method"},
	{"network", "mainnet, testnet, signet or regtest (default mainnet)"},
	{"exposure", "a Mostro whose record secures less than the amount: auto (leave out if another secures it), require, ignore (default auto)"},
	{"limit", "Mostros to show (default 50)"},
}

func newChooseCmd() *cobra.Command {
	var from target
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "choose --fiat CODE --side buy|sell",
		Short: "Which Mostro for this trade: rank, exposure, fee, limits, offers",
		Long: `Choose a Mostro for a trade that you want to make: who fits, the best first,
each with its reasons, and who does not, and why.

--side is what you do. To buy, you take an order of somebody who sells.`,
		Example: `  mostrodex choose --fiat VES --amount 100 --side buy
  mostrodex choose --fiat EUR --amount 50 --side sell --method sepa --json
  mostrodex choose --fiat ARS --side buy --data ./data`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			for _, f := range chooseFlags {
				if v := cmd.Flag(f.name); v.Changed {
					q.Set(f.name, v.Value.String())
				}
			}
			for _, name := range []string{"fiat", "side"} {
				if q.Get(name) == "" {
					return usagef("choose needs --%s", name)
				}
			}
			var answer json.RawMessage
			if err := from.get(cmd.Context(), cmd.ErrOrStderr(), "/api/v1/choose", q, &answer); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			return printChoice(cmd.OutOrStdout(), answer)
		},
	}
	for _, f := range chooseFlags {
		cmd.Flags().String(f.name, "", f.usage)
	}
	from.flags(cmd, defaultURL)
	cmd.Flags().StringVarP(&from.config, "config", "c", "", "config file, for [reputation]; with --data")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the API's JSON")
	return cmd
}

// chosen is one Mostro of the answer.
type chosen struct {
	Pubkey, Name string
	Rank         *int
	Provisional  bool
	Reason       string
	WatchedDays  int `json:"watched_days"`
	Offers       int
	Reasons      []string
	Warnings     []string
	Best         *struct {
		D        string
		TakeLink *string `json:"take_link"`
	} `json:"best_offer"`
}

func (c *chosen) title() string { return clip(firstOf(c.Name, c.Pubkey), 32) }

func (c *chosen) rank() string {
	switch {
	case c.Rank != nil:
		return "rank " + strconv.Itoa(*c.Rank)
	case c.Reason == "watching":
		return fmt.Sprintf("no rank yet, watched %d days", c.WatchedDays)
	case c.Provisional:
		return "unrated"
	}
	return "no score"
}

func printChoice(w io.Writer, answer json.RawMessage) error {
	var choice struct {
		Side, Fiat string
		Amount     *string
		AmountSats *int64 `json:"amount_sats"`
		Price      *struct {
			BTC      string
			Source   string
			Verified bool
			Mostros  int
		}
		Notes         []string
		Candidates    []chosen
		Total         int
		Excluded      []chosen
		ExcludedTotal int `json:"excluded_total"`
	}
	if err := json.Unmarshal(answer, &choice); err != nil {
		return fmt.Errorf("the server's answer is not understood: %w", err)
	}
	p := &printer{w: w}
	what := choice.Fiat
	if choice.Amount != nil {
		what = *choice.Amount + " " + choice.Fiat
	}
	p.f("%d of %d Mostros fit: to %s bitcoin for %s", choice.Total, choice.Total+choice.ExcludedTotal, choice.Side, what)
	if choice.AmountSats != nil {
		p.f(", about %d sats", *choice.AmountSats)
	}
	p.f("\n")
	switch price := choice.Price; {
	case price == nil:
	case price.Source == reputation.PriceOfOperator:
		p.f("One bitcoin is %s %s, by the server's own sources.\n", price.BTC, choice.Fiat)
	case price.Verified:
		p.f("One bitcoin is %s %s, by %d Mostros' published prices.\n", price.BTC, choice.Fiat, price.Mostros)
	default:
		p.f("One bitcoin is %s %s, by %d Mostros' published prices: unverified, no Mostro is left out for it.\n", price.BTC, choice.Fiat, price.Mostros)
	}
	for _, note := range choice.Notes {
		p.f("%s\n", note)
	}
	for i := range choice.Candidates {
		c := &choice.Candidates[i]
		p.f("\n%d. %s  %s\n   %s\n", i+1, c.title(), c.rank(), c.Pubkey)
		for _, r := range c.Reasons {
			p.f("   + %s\n", clip(r, 200))
		}
		for _, r := range c.Warnings {
			p.f("   ! %s\n", clip(r, 200))
		}
		if c.Best != nil {
			p.f("   best offer: %s\n", clip(c.Best.D, 64))
			if c.Best.TakeLink != nil {
				p.f("   take it: %s\n", clip(*c.Best.TakeLink, 2048))
			}
		}
	}
	if len(choice.Excluded) > 0 {
		p.f("\nLeft out:\n")
	}
	for i := range choice.Excluded {
		c := &choice.Excluded[i]
		p.f("   %s  %s\n", c.title(), c.rank())
		for _, r := range c.Reasons {
			p.f("   - %s\n", clip(r, 200))
		}
	}
	return p.err
}

// printer writes lines until the first error, and keeps the error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

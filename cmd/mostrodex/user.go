package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/mostrodex/mostrodex/escrow/rating"
	"github.com/spf13/cobra"
)

func newUserCmd() *cobra.Command {
	return groupOf("user", "Look at the reputation of users, and correct imported and exported reputation",
		newUserShowCmd(), newUserRevokeCmd(), newUserRebindCmd())
}

const exampleUser = "82fa8cb978b43c79b2156585bac2c011176a21d2aead6d9f7c575c005be88390"

func newUserShowCmd() *cobra.Command {
	var c control
	cmd := &cobra.Command{
		Use:     "show KEY",
		Short:   "Show the votes, the trades and the imports of an identity",
		Example: "  mostrodex user show " + exampleUser + " --json",
		Args:    exactly(1, "the key of an identity"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return answer(&c, cmd, http.MethodGet, "/users/"+url.PathEscape(args[0]), printUser)
		},
	}
	c.flags(cmd)
	return cmd
}

func newUserRevokeCmd() *cobra.Command {
	var c control
	var reason, after string
	var yes bool
	cmd := &cobra.Command{
		Use:   "revoke ISSUERKEY",
		Short: "Take back the reputation that a stolen key of an issuer has signed",
		Long: `Take back every import of reputation that a key has signed, or with --after only
those that this Mostro recorded at or after a time. The ratings of the users and
their orders in the book are published again. The users can import again with an
attestation of another key.

Take the key out of escrow.reputation.issuers first, and restart: otherwise the
thief imports again.`,
		Example: "  mostrodex user revoke " + exampleUser + ` --after 2026-11-01T00:00:00Z --reason "key published" --yes`,
		Args:    exactly(1, "the key of an issuer"),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{"reason": {reason}}
			if after != "" {
				at, err := time.Parse(time.RFC3339, after)
				if err != nil {
					return usagef("--after is a time such as 2026-11-01T00:00:00Z")
				}
				query.Set("after", strconv.FormatInt(at.Unix(), 10))
			}
			if err := decided(reason, yes, "user revoke"); err != nil {
				return err
			}
			return answer(&c, cmd, http.MethodPost, "/issuers/"+url.PathEscape(args[0])+"/revoke?"+query.Encode(), func(w io.Writer, r *revokedImports) error {
				_, err := fmt.Fprintf(w, "%d imports are revoked\n", r.Revoked)
				return err
			})
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&after, "after", "", "only imports of this time or later, by this Mostro's clock")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the journal")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

func newUserRebindCmd() *cobra.Command {
	var c control
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use:   "rebind KEY NEWKEY",
		Short: "Bind the exported reputation of an identity to another key",
		Long: `Bind the exported reputation of an identity to another key, for a user who has
lost the key to which it is bound. Attestations that were signed before stay valid
until they expire.`,
		Example: "  mostrodex user rebind " + exampleUser + ` npub1sn0wdenkukak0d9dfczzeacvhkrgz92ak56egt7vdgzn8pv2wfqqhrjdv9 --reason "lost phone, identified by chat" --yes`,
		Args:    exactly(2, "the key of an identity and the new key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := decided(reason, yes, "user rebind"); err != nil {
				return err
			}
			query := url.Values{"to": {args[1]}, "reason": {reason}}
			return answer(&c, cmd, http.MethodPost, "/users/"+url.PathEscape(args[0])+"/rebind?"+query.Encode(), printUser)
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the journal")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

// decided returns an error if a verb that needs a reason and a confirmation has not both.
func decided(reason string, yes bool, verb string) error {
	switch {
	case reason == "":
		return usagef("a decision needs --reason: a text for the journal of this Mostro, which no user reads")
	case !yes:
		return usagef("nothing is done without --yes: read 'mostrodex %s --help' first", verb)
	}
	return nil
}

func printUser(w io.Writer, r *rating.Record) error {
	bound := "-"
	if r.ExportedTo != "" {
		bound = r.ExportedTo + " since " + clock(r.ExportedAt)
	}
	_, err := fmt.Fprintf(w, "identity    %s\nsince       %s\nrating      %.2f of %d votes, %d to %d, last %d\ntrades      %d in success\nbound to    %s\n",
		r.Identity, clock(r.CreatedAt), r.Mean, r.Reviews, r.Min, r.Max, r.Last, r.Trades, bound)
	for _, i := range r.Imports {
		if err == nil {
			_, err = fmt.Fprintf(w, "import      %d votes, mean %d.%02d, from %s at %s, signed by %s\n", i.Reviews, i.Hundredths/100, i.Hundredths%100, i.Issuer, clock(i.At), i.IssuerKey)
		}
	}
	return err
}

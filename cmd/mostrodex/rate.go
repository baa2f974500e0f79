package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
	"github.com/spf13/cobra"
)

// starsOf returns the rating of a number of stars, which is stars/5.
func starsOf(stars int64) mostro.Decimal {
	d, err := mostro.ParseDecimal(fmt.Sprintf("0.%d", 2*stars))
	if stars == 5 {
		d, err = mostro.DecimalOf(1), nil
	}
	if err != nil {
		panic(err) // impossible, because 0.2, 0.4, 0.6 and 0.8 are decimals
	}
	return d
}

// after returns a time for a rating that is later than the rating it replaces. If both had
// the same second, a relay would keep the one with the lower id.
func (w *relayClient) after(ctx context.Context, r mostro.HostRating) (nostr.Timestamp, error) {
	before, err := w.stored(ctx, nostr.Filter{Kinds: []int{mostro.KindHostRating}, Authors: []string{r.Pubkey}, Tags: nostr.TagMap{"d": {r.D}}})
	at := r.CreatedAt
	for _, evt := range before {
		at = max(at, evt.CreatedAt+1)
	}
	return at, err
}

func newRateCmd() *cobra.Command {
	var order, keyFile, receiptName, text, role, url string
	var stars int64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "rate PUBKEY --stars N --key FILE (--order ID | --receipt FILE)",
		Short: "Rate a Mostro after a trade",
		Long: `Rate a Mostro after a trade: sign a rating (kind 31986, which RoboSats' readers
understand as well), publish it, and say what its receipt proves. A rating of
the same order by the same key replaces the one before.

Without a receipt a rating is unproven and counts nothing. 'mostrodex message
open --receipt' makes one of any Mostro's messages, 'mostrodex receipt ask' gets
one from a Mostro that gives them. A rating is signed by the key that its
receipt is for. One with a blind receipt names no order: leave --order out.`,
		Example: `  mostrodex message open --key trade1.key --receipt receipt.json < purchase-completed.json
  mostrodex rate npub1... --stars 5 --key trade1.key --receipt receipt.json --text "Fast and fair."
  mostrodex rate npub1... --stars 2 --key trade1.key --order 308e1272-d5f4-47e6-bd97-3504baea9c23 --url wss://relay.example`,
		Args: exactly(1, "the Mostro's PUBKEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			node, err := message.ParsePubkey(args[0])
			if err != nil {
				return usagef("PUBKEY: %w", err)
			}
			switch {
			case stars < 1 || stars > 5:
				return usagef("--stars is a number from 1 to 5")
			case role != "" && role != receipt.RoleBuyer && role != receipt.RoleSeller:
				return usagef("--role is buyer or seller")
			case utf8.RuneCountInString(text) > mostro.MaxRatingText || !utf8.ValidString(text):
				return usagef("--text has at most %d characters", mostro.MaxRatingText)
			case order == "" && receiptName == "":
				return usagef("name the order with --order, or a receipt with --receipt")
			}
			keys, err := loadKeys(keyFile)
			if err != nil {
				return fmt.Errorf("--key: %w", err)
			}
			if order != "" {
				id, err := message.ParseUUID(order)
				if err != nil {
					return usagef("--order: %w", err)
				}
				order = id.String()
			}
			f := receiptFile{Node: node, Rater: keys.Pubkey(), Order: order}
			if receiptName != "" {
				if f, err = readReceipt(receiptName); err != nil {
					return err
				}
				switch {
				case f.Node != node:
					return usagef("%s is a receipt of another Mostro: %s", receiptName, f.Node)
				case f.Rater != keys.Pubkey():
					return usagef("%s can be spent by the key %s alone, --key is %s", receiptName, f.Rater, keys.Pubkey())
				case f.Order == "" && order != "":
					return usagef("%s is a blind receipt: a rating that names the order would lead to the trade; leave --order out", receiptName)
				case order != "" && f.Order != order:
					return usagef("%s is a receipt of another order: %s", receiptName, f.Order)
				}
			}
			rating := f.rating(stars, text, role, time.Now())
			var evt nostr.Event
			var r receipt.Receipt
			err = withTimeout(cmd.Context(), patience, func(ctx context.Context) error {
				w, err := dialRelay(ctx, url)
				if err != nil {
					return err
				}
				defer w.close()
				sets, err := w.keysets(ctx, node)
				if err != nil {
					return err
				}
				if rating.CreatedAt, err = w.after(ctx, rating); err != nil {
					return err
				}
				evt = rating.Event()
				secret := keys.Secret()
				if err := evt.Sign(hex.EncodeToString(secret[:])); err != nil {
					return fmt.Errorf("sign the rating: %w", err)
				}
				parsed, err := mostro.ParseHostRating(&evt)
				if err != nil {
					return err
				}
				// The check comes before the publication, so that no rating is published that
				// readers refuse.
				if r, err = receipt.Check(&evt, parsed, sets); err != nil {
					return err
				}
				return w.publish(ctx, &evt)
			})
			var broken *receipt.Error
			if errors.As(err, &broken) {
				return fmt.Errorf("not published: %w", err)
			}
			if err != nil {
				return err
			}
			c := checked(&evt, r, nil)
			if asJSON {
				return printJSON(cmd.OutOrStdout(), c)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\n", c.EventID, c.sentence())
			return err
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&order, "order", "", "id of the order that was traded")
	fl.Int64Var(&stars, "stars", 0, "1 to 5")
	fl.StringVar(&keyFile, "key", "", "key file of the rater: the trade key, or the key of a blind receipt")
	fl.StringVar(&receiptName, "receipt", "", "file with the receipt of the trade")
	fl.StringVar(&text, "text", "", "what to say besides, public")
	fl.StringVar(&role, "role", "", "buyer or seller")
	fl.StringVar(&url, "url", defaultURL, "relay to publish to, ws(s) or http(s)")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	markRequired(cmd, "stars", "key")
	return cmd
}

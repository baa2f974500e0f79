package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
	"github.com/spf13/cobra"
)

// maxMail is the number of events for one key that inbox reads, the newest ones.
const maxMail = 500

// sender writes a message of a trade to a Mostro.
type sender struct {
	to        string
	trade     *envelope.Keys
	identity  *envelope.Keys // nil: full privacy
	transport envelope.Transport
	work      int
}

// send publishes a message. It then calls fn for every message of the Mostro to the trade key,
// until the Mostro has answered and was silent for a moment, or until wait has passed.
func (s *sender) send(ctx context.Context, relay *relayClient, m message.Message, wait time.Duration, fn func(envelope.Envelope) error) error {
	now := time.Now()
	id := uint64(now.UnixNano())
	m.RequestID = &id
	evt, err := envelope.Seal(ctx, m, envelope.SealOptions{Transport: s.transport, To: s.to, Trade: s.trade, Identity: s.identity, Work: s.work, Now: now})
	if err != nil {
		return err
	}
	// No limit on time: gift wraps are dated back, and the messages before this one are skipped
	// below.
	before, err := relay.stored(ctx, mailFilter(s.trade))
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, old := range before {
		seen[old.ID] = true
	}
	sub, err := relay.subscribe(ctx, mailFilter(s.trade))
	if err != nil {
		return err
	}
	if err := relay.publish(ctx, evt); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	answered := false
	for {
		evt, err := relay.next(within, sub)
		if err != nil {
			if within.Err() != nil && ctx.Err() == nil {
				if !answered {
					return fmt.Errorf("the message was sent, and the Mostro has not answered within %s; look later with 'mostrodex inbox'", wait)
				}
				return nil
			}
			return err
		}
		if seen[evt.ID] {
			continue
		}
		seen[evt.ID] = true
		env, err := envelope.Open(evt, s.trade)
		if err != nil || env.Identity != s.to {
			continue // the message is from another sender
		}
		if err := fn(env); err != nil {
			return err
		}
		if no, ok := env.Message.Payload.(message.CantDo); ok && (env.Message.RequestID == nil || *env.Message.RequestID == id) { // in 2023 an answer named no request
			return fmt.Errorf("the Mostro refuses: %s", inertText(string(no.Reason)))
		}
		if !answered { // further messages of the same step follow at once
			answered = true
			time.AfterFunc(afterAnswer, cancel)
		}
	}
}

// afterAnswer is how long send waits for further messages after the first one.
const afterAnswer = 500 * time.Millisecond

func mailFilter(keys *envelope.Keys) nostr.Filter {
	return nostr.Filter{Kinds: []int{mostro.KindMessage, mostro.KindGiftWrap, mostro.KindLegacyDM}, Tags: nostr.TagMap{"p": {keys.Pubkey()}}, Limit: maxMail}
}

// printMail prints a message on one line: time, sender, action, order, payload. A message is the
// text of a stranger, so characters that control a terminal or the direction of text are replaced.
func printMail(w io.Writer, env envelope.Envelope, asJSON bool) error {
	if asJSON {
		return printEnvelope(w, env, true)
	}
	m := env.Message
	order := "-"
	if m.ID != nil {
		order = m.ID.String()
	}
	var body map[string]struct{ Payload json.RawMessage }
	payload := ""
	if err := json.Unmarshal(m.JSON(), &body); err == nil {
		for _, b := range body {
			if payload = string(b.Payload); payload == "null" {
				payload = ""
			}
		}
	}
	line := fmt.Sprintf("%s  %s  %-34s  %s  %s", env.CreatedAt.Time().UTC().Format("01-02 15:04:05"), env.Identity[:8], m.Action, order, payload)
	_, err := fmt.Fprintln(w, strings.TrimRight(inertText(line), " "))
	return err
}

// inertText replaces characters that are invisible or control a terminal.
func inertText(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || unicode.Is(unicode.Zl, c) || unicode.Is(unicode.Zp, c) {
			return '\ufffd'
		}
		return c
	}, s)
}

func newSendCmd() *cobra.Command {
	var to, keyFile, identityFile, transport, url, payload, invoice string
	var sell, buy bool
	var order message.SmallOrder
	var work int
	var wait time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "send ACTION [ORDER] --to PUBKEY --key FILE",
		Short: "Send a message of a trade to a Mostro, and print its answers",
		Long: `Send a message of a trade to a Mostro, and print its answers. ORDER is the id of
the order, which every action but new-order needs. The key file is that of the
trade key: a new one for each trade. Later messages are shown by 'mostrodex inbox'.

A new order is described by --sell or --buy, --fiat, --amount, --method, --sats and
--premium. --invoice names where the buyer is paid, with take-sell and add-invoice.
Any other payload is given as JSON in the words of the protocol by --payload.`,
		Example: `  mostrodex send new-order --to npub1... --key seller.key --sell --fiat VES --amount 100 --sats 10000 --method "Pago Móvil"
  mostrodex send take-sell 308e1272-d5f4-47e6-bd97-3504baea9c23 --to npub1... --key buyer.key --invoice lnbc...
  mostrodex send fiat-sent 308e1272-d5f4-47e6-bd97-3504baea9c23 --to npub1... --key buyer.key
  mostrodex send release 308e1272-d5f4-47e6-bd97-3504baea9c23 --to npub1... --key seller.key`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usagef("send takes an ACTION and the id of an ORDER, %d given", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s := sender{work: work}
			var err error
			if s.to, err = message.ParsePubkey(to); err != nil {
				return usagef("--to: %w", err)
			}
			if s.transport, err = envelope.ParseTransport(transport); err != nil {
				return usagef("--transport: %w", err)
			}
			m := message.Message{Wrapper: message.WrapperOrder, Action: message.Action(args[0])}
			if !m.Action.Known() {
				return usagef("%q is not an action of the protocol, such as new-order, take-sell, take-buy, add-invoice, fiat-sent, release, cancel, dispute", args[0])
			}
			if len(args) == 2 {
				id, err := message.ParseUUID(args[1])
				if err != nil {
					return usagef("ORDER: %w", err)
				}
				m.ID = &id
			}
			switch {
			case sell || buy:
				order.Kind = mostro.SideSell
				if buy {
					order.Kind = mostro.SideBuy
				}
				if invoice != "" {
					order.BuyerInvoice = &invoice
				}
				m.Payload = &order
			case invoice != "":
				m.Payload = message.PaymentRequest{Invoice: invoice}
			case payload != "":
				text := fmt.Sprintf(`{"order":{"request_id":1,"action":%q,"payload":%s}}`, m.Action, payload)
				if m.ID != nil {
					text = fmt.Sprintf(`{"order":{"request_id":1,"id":%q,"action":%q,"payload":%s}}`, m.ID, m.Action, payload)
				}
				draft, err := message.ParseDraft([]byte(text))
				if err != nil {
					return usagef("--payload: %w", err)
				}
				m.Payload = draft.Payload
			}
			if s.trade, err = loadKeys(keyFile); err != nil {
				return fmt.Errorf("--key: %w", err)
			}
			if identityFile != "" {
				if s.identity, err = loadKeys(identityFile); err != nil {
					return fmt.Errorf("--identity-key: %w", err)
				}
			}
			return withTimeout(cmd.Context(), patience+wait, func(ctx context.Context) error {
				relay, err := dialRelay(ctx, url)
				if err != nil {
					return err
				}
				defer relay.close()
				return s.send(ctx, relay, m, wait, func(env envelope.Envelope) error { return printMail(cmd.OutOrStdout(), env, asJSON) })
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "the Mostro's public key, hex or npub")
	f.StringVar(&keyFile, "key", "", "key file of the trade key")
	f.StringVar(&identityFile, "identity-key", "", "key file of the identity; without it the message is in full privacy")
	f.StringVar(&transport, "transport", "v2", "v2, v1 or legacy: what the Mostro speaks")
	f.StringVar(&url, "url", defaultURL, "relay that the Mostro reads, ws(s) or http(s)")
	f.BoolVar(&sell, "sell", false, "new-order: you sell bitcoin")
	f.BoolVar(&buy, "buy", false, "new-order: you buy bitcoin")
	f.StringVar(&order.FiatCode, "fiat", "", "new-order: currency, such as VES")
	f.Int64Var(&order.FiatAmount, "amount", 0, "new-order: amount of the currency")
	f.Int64Var(&order.AmountSats, "sats", 0, "new-order: sats; 0: at the market price")
	f.Int64Var(&order.Premium, "premium", 0, "new-order: percent above the market price")
	f.StringVar(&order.PaymentMethod, "method", "", "new-order: payment method")
	f.StringVar(&invoice, "invoice", "", "where the buyer is paid: an invoice or a Lightning address")
	f.StringVar(&payload, "payload", "", "payload of the message as JSON")
	f.IntVar(&work, "pow", 0, "leading zero bits to mine on the event (NIP-13)")
	f.DurationVar(&wait, "wait", 10*time.Second, "how long to wait for the answer")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	markRequired(cmd, "to", "key")
	cmd.MarkFlagsMutuallyExclusive("sell", "buy", "payload")
	cmd.MarkFlagsMutuallyExclusive("invoice", "payload")
	return cmd
}

func newInboxCmd() *cobra.Command {
	var keyFile, from, url string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inbox --key FILE [--from PUBKEY]",
		Short: "Print the messages of a trade that a relay holds for a key",
		Long: `Print the messages that a relay holds for a key, the oldest first: time, sender,
action, order and payload. Messages of all three transports are read, and their
proofs are checked. Anyone can write to a key: name the Mostro with --from.`,
		Example: `  mostrodex inbox --key seller.key --from npub1...
  mostrodex inbox --key buyer.key --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := loadKeys(keyFile)
			if err != nil {
				return fmt.Errorf("--key: %w", err)
			}
			if from != "" {
				if from, err = message.ParsePubkey(from); err != nil {
					return usagef("--from: %w", err)
				}
			}
			var found []*nostr.Event
			err = withTimeout(cmd.Context(), patience, func(ctx context.Context) error {
				relay, err := dialRelay(ctx, url)
				if err != nil {
					return err
				}
				defer relay.close()
				found, err = relay.stored(ctx, mailFilter(keys))
				return err
			})
			if err != nil {
				return err
			}
			var mail []envelope.Envelope
			unread := 0
			for _, evt := range found {
				env, err := envelope.Open(evt, keys)
				switch {
				case err != nil:
					unread++
				case from == "" || env.Identity == from:
					mail = append(mail, env)
				}
			}
			slices.SortStableFunc(mail, func(a, b envelope.Envelope) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
			for _, env := range mail {
				if err := printMail(cmd.OutOrStdout(), env, asJSON); err != nil {
					return err
				}
			}
			if unread > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "%d more could not be opened with this key, or their proofs do not hold\n", unread)
			}
			if len(mail) == 0 {
				return errors.New("no message for this key")
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&keyFile, "key", "", "key file of the receiver")
	f.StringVar(&from, "from", "", "print only the messages of this key")
	f.StringVar(&url, "url", defaultURL, "relay, ws(s) or http(s)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	markRequired(cmd, "key")
	return cmd
}

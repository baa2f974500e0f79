package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/mostrodex/mostrodex/mostro/receipt"
	"github.com/nbd-wtf/go-nostr"
	"github.com/spf13/cobra"
)

// receiptFile stores a receipt until the receipt is used for a rating. It contains no secret
// key, and only data that a rating publishes.
type receiptFile struct {
	Node    string   `json:"node"`
	Rater   string   `json:"rater"` // the key that can use the receipt
	Order   string   `json:"order,omitempty"`
	Token   string   `json:"token,omitempty"`
	Receipt []string `json:"receipt"`
}

// newReceiptCmd returns the verbs that request and check receipts.
func newReceiptCmd() *cobra.Command {
	cmd := groupOf("receipt", "Get and check the receipts by which a rating of a Mostro counts", newReceiptAskCmd(), newReceiptOpenCmd(), newReceiptCheckCmd())
	cmd.Long = `Get and check the receipts by which a rating of a Mostro counts. Four kinds:

  r0  the Mostro's own message to the trader, disclosed: works with every
      Mostro; 'mostrodex message open --receipt FILE' makes it
  r1  the Mostro's signature over trader and order: 'receipt ask'
  r2  its blind signature, which it cannot connect with the trade:
      'receipt ask --blind-key FILE'
  r3  r1 with the payment that it names opened: 'receipt open'

docs/receipts.md says what each proves and what each gives away.`
	return cmd
}

func newReceiptAskCmd() *cobra.Command {
	var order, keyFile, identityFile, blindFile, transport, url, out string
	var payment bool
	cmd := &cobra.Command{
		Use:   "ask PUBKEY --order ID --key FILE --out FILE [--blind-key FILE]",
		Short: "Ask a Mostro for the receipt of a settled trade",
		Long: `Ask a Mostro for the receipt of a settled trade, by a message from its trade
key. A Mostro that does not give receipts passes over the question in silence.

With --payment the receipt names the payment hash of the hold invoice, for
'receipt open': the seller's alone. Whoever forwarded that payment will know
which it was.

With --blind-key a blind receipt is asked for, to be spent by that key and no
other: make a new one for it, and let some time pass before you rate. A Mostro
signs one for each side of a trade; with the same keys the same receipt can be
had again. The trade key itself is refused there: the Mostro knows it.`,
		Example: `  mostrodex receipt ask npub1... --order 308e1272-d5f4-47e6-bd97-3504baea9c23 --key trade1.key --out receipt.json
  mostrodex keys new --key rater.key
  mostrodex receipt ask npub1... --order 308e1272-d5f4-47e6-bd97-3504baea9c23 --key trade1.key --blind-key rater.key --out blind.json`,
		Args: exactly(1, "the Mostro's PUBKEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			node, err := message.ParsePubkey(args[0])
			if err != nil {
				return usagef("PUBKEY: %w", err)
			}
			a := asker{node: node, payment: payment}
			if a.order, err = message.ParseUUID(order); err != nil {
				return usagef("--order: %w", err)
			}
			if a.transport, err = envelope.ParseTransport(transport); err != nil || a.transport == envelope.TransportLegacy {
				return usagef("--transport is v2 or v1: the language of 2023 has no word for receipts")
			}
			if a.trade, err = loadKeys(keyFile); err != nil {
				return fmt.Errorf("--key: %w", err)
			}
			if identityFile != "" {
				if a.identity, err = loadKeys(identityFile); err != nil {
					return fmt.Errorf("--identity-key: %w", err)
				}
			}
			var blind *envelope.Keys
			if blindFile != "" {
				if blind, err = loadKeys(blindFile); err != nil {
					return fmt.Errorf("--blind-key: %w", err)
				}
				if blind.Pubkey() == a.trade.Pubkey() {
					return usagef("--blind-key is the trade key, which the Mostro knows: make a new one with 'mostrodex keys new --key FILE'")
				}
			}
			// The output file is created before the request, because a blind receipt is
			// issued only once.
			file, err := newOutput(out)
			if err != nil {
				return err
			}
			var got receiptFile
			err = withTimeout(cmd.Context(), patience, func(ctx context.Context) (err error) {
				if a.relay, err = dialRelay(ctx, url); err != nil {
					return err
				}
				defer a.relay.close()
				got, err = a.receipt(ctx, blind)
				return err
			})
			if err == nil {
				err = file.write(got)
			}
			if err != nil {
				file.remove()
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  for %s\n", got.Receipt[0], out, got.Rater)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&order, "order", "", "id of the settled order")
	f.StringVar(&keyFile, "key", "", "key file of the trade key")
	f.StringVar(&identityFile, "identity-key", "", "key file of the identity, if the trade was not in full privacy")
	f.StringVar(&blindFile, "blind-key", "", "ask for a blind receipt, to be spent by this key")
	f.BoolVar(&payment, "payment", false, "have the receipt name the hold invoice's payment hash (seller)")
	f.StringVar(&transport, "transport", "v2", "v2 or v1: what the Mostro speaks")
	f.StringVar(&url, "url", defaultURL, "relay that the Mostro reads, ws(s) or http(s)")
	f.StringVar(&out, "out", "", "file to write the receipt to; it must not exist")
	markRequired(cmd, "order", "key", "out")
	cmd.MarkFlagsMutuallyExclusive("payment", "blind-key")
	return cmd
}

// asker is a conversation with a Mostro about the receipts of one trade.
type asker struct {
	relay           *relayClient
	node            string
	order           message.UUID
	trade, identity *envelope.Keys
	transport       envelope.Transport
	payment         bool
}

// receipt requests the plain receipt and, if blind is not nil, also a blind receipt.
func (a *asker) receipt(ctx context.Context, blind *envelope.Keys) (receiptFile, error) {
	answer, err := a.ask(ctx, receipt.Request{Payment: a.payment})
	if err != nil {
		return receiptFile{}, err
	}
	plain := receiptFile{Node: a.node, Rater: a.trade.Pubkey(), Order: a.order.String(), Token: answer.Token, Receipt: answer.Receipt}
	r, err := plain.check(nil)
	if err != nil {
		return receiptFile{}, fmt.Errorf("the Mostro's answer does not hold: %w", err)
	}
	if r.Kind != receipt.R1 || r.Day == "" {
		return receiptFile{}, errors.New("the Mostro's answer is no receipt")
	}
	if blind == nil {
		return plain, nil
	}
	return a.blind(ctx, blind, r.Day)
}

// blind requests a blind receipt with the keyset of the month of settlement.
func (a *asker) blind(ctx context.Context, by *envelope.Keys, day string) (receiptFile, error) {
	epoch := day[:len("2006-01")]
	set, err := a.relay.keysetOf(ctx, a.node, epoch)
	if err != nil {
		return receiptFile{}, err
	}
	q, err := set.BlindFor(by, a.order.String())
	if err != nil {
		return receiptFile{}, err
	}
	answer, err := a.ask(ctx, receipt.Request{Keyset: set.ID, Blinded: q.Blinded})
	if err != nil {
		return receiptFile{}, fmt.Errorf("%w (a Mostro gives one blind receipt for each side of a trade)", err)
	}
	values, err := q.Unblind(answer.Signed)
	if err != nil {
		return receiptFile{}, fmt.Errorf("the Mostro's answer does not hold: %w", err)
	}
	return receiptFile{Node: a.node, Rater: by.Pubkey(), Receipt: values}, nil
}

// ask sends one request and waits for its answer.
func (a *asker) ask(ctx context.Context, q receipt.Request) (receipt.Answer, error) {
	now := time.Now()
	m := q.Message(a.order)
	id := uint64(now.UnixNano())
	m.RequestID = &id
	evt, err := envelope.Seal(ctx, m, envelope.SealOptions{Transport: a.transport, To: a.node, Trade: a.trade, Identity: a.identity, Now: now})
	if err != nil {
		return receipt.Answer{}, err
	}
	// Gift wraps may be dated back by up to two days.
	since := nostr.Timestamp(now.Add(-49 * time.Hour).Unix())
	if a.transport == envelope.TransportV2 {
		since = nostr.Timestamp(now.Add(-time.Minute).Unix())
	}
	sub, err := a.relay.subscribe(ctx, nostr.Filter{Kinds: []int{a.transport.Kind()}, Tags: nostr.TagMap{"p": {a.trade.Pubkey()}}, Since: &since})
	if err != nil {
		return receipt.Answer{}, err
	}
	defer func() { _ = a.relay.write(ctx, "CLOSE", sub) }() // the connection ends in any case
	if err := a.relay.publish(ctx, evt); err != nil {
		return receipt.Answer{}, err
	}
	for {
		evt, err := a.relay.next(ctx, sub)
		if err != nil {
			return receipt.Answer{}, fmt.Errorf("the Mostro does not answer; does it give receipts, and is the trade settled? %w", err)
		}
		env, err := envelope.Open(evt, a.trade)
		if err != nil || env.Identity != a.node || env.Message.RequestID == nil || *env.Message.RequestID != id {
			continue // the message is from another sender or about another request
		}
		if no, ok := env.Message.Payload.(message.CantDo); ok {
			return receipt.Answer{}, fmt.Errorf("the Mostro refuses: %s", no.Reason)
		}
		return receipt.ParseAnswer(env.Message)
	}
}

func newReceiptOpenCmd() *cobra.Command {
	var in, bolt11, preimage, out string
	cmd := &cobra.Command{
		Use:   "open --receipt FILE --invoice BOLT11 --preimage HEX --out FILE",
		Short: "Open the payment that a plain receipt names (r1 becomes r3)",
		Long: `Open the payment that a plain receipt names: the hold invoice that the seller
paid, and the preimage that its wallet got for it. Both are published with the
rating. What this proves is said in docs/receipts.md.`,
		Example: "  mostrodex receipt open --receipt receipt.json --invoice lnbc... --preimage 5f1a... --out opened.json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := readReceipt(in)
			if err != nil {
				return err
			}
			if f.Receipt, err = receipt.Opened(f.Receipt, bolt11, preimage); err != nil {
				return err
			}
			if _, err := f.check(nil); err != nil {
				return err
			}
			file, err := newOutput(out)
			if err == nil {
				err = file.write(f)
			}
			if err == nil {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "r3  %s  for %s\n", out, f.Rater)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&in, "receipt", "", "file with an r1 receipt")
	f.StringVar(&bolt11, "invoice", "", "the invoice that was paid")
	f.StringVar(&preimage, "preimage", "", "its preimage, 64 hex digits")
	f.StringVar(&out, "out", "", "file to write the receipt to; it must not exist")
	markRequired(cmd, "receipt", "invoice", "preimage", "out")
	return cmd
}

// checkedReceipt is the output of "receipt check --json" and "rate --json".
type checkedReceipt struct {
	EventID string `json:"event_id"`
	Kind    string `json:"receipt"` // none, r0, r1, r2, r3; "" if the receipt is invalid
	Rule    string `json:"rule,omitempty"`
	Detail  string `json:"detail,omitempty"`

	Node      string `json:"node,omitempty"`
	Rater     string `json:"rater,omitempty"`
	Order     string `json:"order,omitempty"`
	Role      string `json:"role,omitempty"`
	Action    string `json:"action,omitempty"`
	BandSats  *int64 `json:"band_sats"`
	Day       string `json:"day,omitempty"`
	PaidSats  *int64 `json:"paid_sats"`
	Payee     string `json:"payee,omitempty"`
	Network   string `json:"network,omitempty"` // network of the payment
	Epoch     string `json:"epoch,omitempty"`
	Nullifier string `json:"nullifier,omitempty"`
}

func checked(evt *nostr.Event, r receipt.Receipt, err error) checkedReceipt {
	var broken *receipt.Error
	if errors.As(err, &broken) {
		return checkedReceipt{EventID: evt.ID, Rule: string(broken.Rule), Detail: broken.Error()}
	}
	c := checkedReceipt{
		EventID: evt.ID, Kind: r.Kind.String(), Node: r.Node, Rater: r.Rater, Order: r.Order, Role: r.Role, Action: string(r.Action),
		Day: r.Day, PaidSats: r.PaidSats, Payee: r.Payee, Network: r.PaidNetwork, Epoch: r.Epoch, Nullifier: r.Nullifier,
	}
	if r.BandSats > 0 {
		c.BandSats = &r.BandSats
	}
	return c
}

// sentence returns a sentence about the facts that a receipt proved.
func (c checkedReceipt) sentence() string {
	switch {
	case c.Rule != "":
		return "does not hold: " + c.Detail
	case c.Kind == receipt.None.String():
		return "unproven: it shows no receipt, and counts nothing"
	}
	s := "proven by " + c.Kind
	for _, part := range []struct{ name, value string }{{"role", c.Role}, {"message", c.Action}, {"settled", c.Day}, {"epoch", c.Epoch}} {
		if part.value != "" {
			s += ", " + part.name + " " + part.value
		}
	}
	if c.PaidSats != nil {
		s += fmt.Sprintf(", %d sats paid on %s to %s", *c.PaidSats, c.Network, c.Payee)
	}
	return s
}

func newReceiptCheckCmd() *cobra.Command {
	var url string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [--url URL] [--json] < event",
		Short: "Check a rating's receipt",
		Long: `Check the id, the signature and the receipt of a rating (kind 31986), read from
standard input. A blind receipt needs the Mostro's keyset, which is asked of
--url. The exit code is not 0 when the receipt does not hold; a rating that
shows none is unproven, not wrong.`,
		Example: "  mostrodex receipt check --json < rating.json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := readInput(cmd.InOrStdin())
			if err != nil {
				return err
			}
			evt, err := message.DecodeEvent(bytes.TrimSpace(in))
			if err != nil {
				return fmt.Errorf("event: %w", err)
			}
			if ok, err := evt.CheckSignature(); !evt.CheckID() || err != nil || !ok {
				return errors.New("event: its id or its signature is wrong")
			}
			rating, err := mostro.ParseHostRating(evt)
			if err != nil {
				return err
			}
			var sets receipt.Keysets
			if len(rating.Receipt) > 0 && rating.Receipt[0] == "r2" {
				err := withTimeout(cmd.Context(), patience, func(ctx context.Context) error {
					w, err := dialRelay(ctx, url)
					if err != nil {
						return err
					}
					defer w.close()
					sets, err = w.keysets(ctx, rating.Host)
					return err
				})
				if err != nil {
					return err
				}
			}
			r, wrong := receipt.Check(evt, rating, sets)
			c := checked(evt, r, wrong)
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), c)
			} else {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), c.sentence())
			}
			return errors.Join(wrong, err)
		},
	}
	cmd.Flags().StringVar(&url, "url", defaultURL, "relay that has the Mostro's keyset")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// rating returns the unsigned rating that uses the receipt.
func (f receiptFile) rating(stars int64, text, role string, at time.Time) mostro.HostRating {
	r := mostro.HostRating{
		Pubkey: f.Rater, CreatedAt: nostr.Timestamp(at.Unix()), Platform: mostro.PlatformMostro, Alias: mostro.PlatformMostro,
		Host: f.Node, OrderID: f.Order, Rating: starsOf(stars), Token: f.Token, Receipt: f.Receipt, Role: role, Text: text,
	}
	if len(f.Receipt) == 4 && f.Receipt[0] == "r2" {
		// The rating must not contain data that identifies the trade.
		r.OrderID, r.Role = receipt.BlindNullifier(f.Receipt[2]), ""
	} else {
		r.Order = fmt.Sprintf("%d:%s:%s", mostro.KindOrder, r.Host, r.OrderID)
	}
	r.D = r.Alias + ":" + r.OrderID
	return r
}

// check checks the receipt in the form that a rating would publish.
func (f receiptFile) check(sets receipt.Keysets) (receipt.Receipt, error) {
	evt := f.rating(5, "", "", time.Unix(0, 0)).Event()
	evt.ID = evt.GetID()
	r, err := mostro.ParseHostRating(&evt)
	if err != nil {
		return receipt.Receipt{}, err
	}
	return receipt.Check(&evt, r, sets)
}

func readReceipt(file string) (f receiptFile, err error) {
	in, err := os.Open(file)
	if err != nil {
		return f, fmt.Errorf("--receipt: %w", err)
	}
	defer in.Close()
	b, err := readInput(in)
	if err != nil {
		return f, fmt.Errorf("--receipt %s: %w", file, err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil || f.Node == "" || f.Rater == "" || len(f.Receipt) == 0 {
		return f, fmt.Errorf("%s is no receipt file ('mostrodex receipt ask' and 'message open --receipt' write them)", file)
	}
	return f, nil
}

// output is a file that must not exist before.
type output struct {
	file *os.File
}

func newOutput(name string) (*output, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write the receipt: %w", err)
	}
	return &output{f}, nil
}

func (o *output) write(f receiptFile) error {
	err := printJSON(o.file, f)
	if err := errors.Join(err, o.file.Sync(), o.file.Close()); err != nil {
		return fmt.Errorf("write the receipt: %w", err)
	}
	return nil
}

// remove removes the file if it is empty. An empty file that cannot be removed does no harm.
func (o *output) remove() {
	if info, err := os.Stat(o.file.Name()); err == nil && info.Size() == 0 {
		_ = o.file.Close()
		_ = os.Remove(o.file.Name())
	}
}

// writeDisclosed writes an event's r0 receipt to a file.
func writeDisclosed(w io.Writer, name string, evt *nostr.Event, env envelope.Envelope, trade *envelope.Keys) error {
	values, err := receipt.Disclose(evt, trade, nil)
	if err != nil {
		return fmt.Errorf("this message cannot be shown as a receipt: %w", err)
	}
	file, err := newOutput(name)
	if err != nil {
		return err
	}
	f := receiptFile{Node: env.Identity, Rater: trade.Pubkey(), Order: env.Message.ID.String(), Receipt: values}
	if err := file.write(f); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "receipt     r0  %s\n", name)
	return err
}

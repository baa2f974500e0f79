package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
	"github.com/spf13/cobra"
)

// maxMessageInput is the maximum size of a message or an event in bytes.
const maxMessageInput = 1 << 20

// newMessageCmd returns the verbs that seal, open and check messages.
func newMessageCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "message",
		Short: "Seal, open and check Mostro messages",
		Long: `Seal, open and check Mostro messages, on the three transports: v2 (signed
kind 14), v1 (gift wrap) and legacy (2023, kind 4). Messages are written and
read in today's vocabulary on each of them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newMessageSealCmd(), newMessageOpenCmd(), newMessageCheckCmd())
	return cmd
}

func newMessageSealCmd() *cobra.Command {
	var transport, to, tradeFile, identityFile string
	var unsigned bool
	var work int
	var expire time.Duration
	cmd := &cobra.Command{
		Use:   "seal --transport v2|v1|legacy --to KEY --trade-key FILE [--identity-key FILE] < message > event",
		Short: "Sign, encrypt and wrap a message into an event",
		Long: `Sign, encrypt and wrap a message into an event, ready to publish.

The version in the message is stamped by the transport before it is signed.
Without --identity-key the message is in full privacy: the trade key is the
identity. On the legacy transport the identity is named but proven by nothing.`,
		Example: `  echo '{"order":{"request_id":1,"trade_index":1,"id":"308e1272-d5f4-47e6-bd97-3504baea9c23","action":"take-sell","payload":null}}' |
    mostrodex message seal --transport v2 --to npub1... --trade-key trade1.key --identity-key identity.key`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := envelope.SealOptions{Unsigned: unsigned, Work: work, Now: time.Now()}
			var err error
			if o.Transport, err = envelope.ParseTransport(transport); err != nil {
				return fmt.Errorf("--transport: %w", err)
			}
			if o.To, err = message.ParsePubkey(to); err != nil {
				return fmt.Errorf("--to: %w", err)
			}
			if o.Trade, err = loadKeys(tradeFile); err != nil {
				return fmt.Errorf("--trade-key: %w", err)
			}
			if identityFile != "" {
				if o.Identity, err = loadKeys(identityFile); err != nil {
					return fmt.Errorf("--identity-key: %w", err)
				}
			}
			if expire > 0 {
				o.Expiration = nostr.Timestamp(o.Now.Add(expire).Unix())
			}
			in, err := readInput(cmd.InOrStdin())
			if err != nil {
				return err
			}
			m, err := message.ParseDraft(in)
			if err != nil {
				return fmt.Errorf("message: %w", err)
			}
			evt, err := envelope.Seal(cmd.Context(), m, o)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(append(mostro.EncodeEvent(evt), '\n'))
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&transport, "transport", "v2", "v2, v1 or legacy")
	f.StringVar(&to, "to", "", "receiver's public key, hex or npub")
	f.StringVar(&tradeFile, "trade-key", "", "key file of the sender's trade key (a node's own key for its answers)")
	f.StringVar(&identityFile, "identity-key", "", "key file of the identity; without it the message is in full privacy")
	f.BoolVar(&unsigned, "unsigned", false, "leave the trade key's signature out, as nodes do")
	f.IntVar(&work, "pow", 0, "leading zero bits to mine on the event (NIP-13)")
	f.DurationVar(&expire, "expire", 0, "add an expiration tag this far ahead, such as 720h")
	markRequired(cmd, "to", "trade-key")
	return cmd
}

// openedMessage is the output of "message open --json".
type openedMessage struct {
	Transport   string          `json:"transport"`
	Sender      string          `json:"sender"`
	Identity    string          `json:"identity"`
	FullPrivacy bool            `json:"full_privacy"`
	Signed      bool            `json:"signed"`
	Contact     *string         `json:"contact"` // legacy only: the key that the sender names, without a proof
	CreatedAt   int64           `json:"created_at"`
	EventID     string          `json:"event_id"`
	Message     json.RawMessage `json:"message"`
}

func newMessageOpenCmd() *cobra.Command {
	var file, receipt string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "open --key FILE [--receipt FILE] [--json] < event",
		Short: "Decrypt an event and check every proof inside",
		Long: `Decrypt an event and check every proof inside: the event's id and signature,
the seal, the trade key's signature and the identity's proof. The message is
printed in today's vocabulary, whatever transport brought it.

With --receipt the message is disclosed as well: the file proves to others what
the Mostro wrote to this trade key, for a rating of it ('mostrodex rate'). On v2
it opens this one message, on v1 all that Mostro and trade key sent each other.`,
		Example: `  mostrodex message open --key node.key --json < event.json
  mostrodex message open --key trade1.key --receipt receipt.json < purchase-completed.json`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := loadKeys(file)
			if err != nil {
				return fmt.Errorf("--key: %w", err)
			}
			in, err := readInput(cmd.InOrStdin())
			if err != nil {
				return err
			}
			evt, err := message.DecodeEvent(in)
			if err != nil {
				return fmt.Errorf("event: %w", err)
			}
			env, err := envelope.Open(evt, keys)
			if err != nil {
				return fmt.Errorf("open: %w", err)
			}
			if receipt != "" {
				if err := writeDisclosed(cmd.ErrOrStderr(), receipt, evt, env, keys); err != nil {
					return err
				}
			}
			return printEnvelope(cmd.OutOrStdout(), env, asJSON)
		},
	}
	cmd.Flags().StringVar(&file, "key", "", "key file of the receiver")
	cmd.Flags().StringVar(&receipt, "receipt", "", "file to write the message to as a receipt; it must not exist")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	markRequired(cmd, "key")
	return cmd
}

func printEnvelope(w io.Writer, env envelope.Envelope, asJSON bool) error {
	out := openedMessage{
		Transport: env.Transport.String(), Sender: env.Sender, Identity: env.Identity, FullPrivacy: env.FullPrivacy, Signed: env.Signed,
		CreatedAt: int64(env.CreatedAt), EventID: env.EventID, Message: env.Message.JSON(),
	}
	if env.Contact != "" {
		out.Contact = &env.Contact
	}
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false) // keeps the bytes of the message canonical
		return enc.Encode(out)
	}
	privacy := ""
	if env.FullPrivacy {
		privacy = "  (full privacy)"
	}
	_, err := fmt.Fprintf(w, "transport   %s\nsender      %s\nidentity    %s%s\ncreated_at  %d  %s\nmessage     %s\n",
		out.Transport, out.Sender, out.Identity, privacy, out.CreatedAt, env.CreatedAt.Time().UTC().Format(time.RFC3339), out.Message)
	return err
}

// messageVerdict is the output of "message check --json".
type messageVerdict struct {
	OK        bool         `json:"ok"`
	Action    string       `json:"action,omitempty"`
	Rule      string       `json:"rule,omitempty"` // the first rule that is violated
	Detail    string       `json:"detail,omitempty"`
	Canonical string       `json:"canonical,omitempty"` // the bytes that are signed
	Diff      *messageDiff `json:"diff,omitempty"`
}

// messageDiff shows the first byte that is not canonical.
type messageDiff struct {
	Offset int    `json:"offset"`
	Have   string `json:"have"` // the input from shortly before the offset
	Want   string `json:"want"`
}

var errMessageCheck = errors.New("the message breaks a rule")

func newMessageCheckCmd() *cobra.Command {
	var answer, asJSON bool
	cmd := &cobra.Command{
		Use:   "check [--answer] [--json] < message",
		Short: "Check a message's structure and its canonical bytes",
		Long: `Check that a message can be parsed, that id and payload fit its action, and
that its bytes are those that receivers serialise again and check signatures
over. A difference is pointed at. The exit code is not 0 when a rule is broken.`,
		Example:      `  mostrodex message check < message.json`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := readInput(cmd.InOrStdin())
			if err != nil {
				return err
			}
			v := checkMessage(in, answer)
			if err := printVerdict(cmd.OutOrStdout(), v, asJSON); err != nil {
				return err
			}
			if !v.OK {
				return fmt.Errorf("%w: %s", errMessageCheck, v.Rule)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&answer, "answer", false, "a node's message: do not demand what requests must have")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// checkMessage judges a message. One newline at its end is not part of the message.
func checkMessage(in []byte, answer bool) messageVerdict {
	in = bytes.TrimSuffix(bytes.TrimSuffix(in, []byte("\n")), []byte("\r"))
	m, err := message.ParseMessage(in)
	if err != nil {
		return messageVerdict{Rule: ruleOf(err), Detail: err.Error()}
	}
	v := messageVerdict{Action: string(m.Action), Canonical: string(m.JSON())}
	if !answer {
		if err := m.Check(); err != nil {
			v.Rule, v.Detail = ruleOf(err), err.Error()
		}
	}
	if !bytes.Equal(in, []byte(v.Canonical)) {
		v.Diff = diffAt(string(in), v.Canonical)
		if v.Rule == "" {
			v.Rule = string(message.RuleCanonical)
			v.Detail = fmt.Sprintf("%s: differs at byte %d", message.RuleCanonical, v.Diff.Offset)
		}
	}
	v.OK = v.Rule == ""
	return v
}

func ruleOf(err error) string {
	var w *message.WireError
	if errors.As(err, &w) {
		return string(w.Rule)
	}
	return ""
}

// diffAt returns both texts around the first byte where they differ.
func diffAt(have, want string) *messageDiff {
	at := 0
	for at < len(have) && at < len(want) && have[at] == want[at] {
		at++
	}
	const before, after = 20, 40
	from := max(0, at-before)
	cut := func(s string) string {
		return strings.ToValidUTF8(s[min(from, len(s)):min(len(s), at+after)], "\ufffd")
	}
	return &messageDiff{Offset: at, Have: cut(have), Want: cut(want)}
}

func printVerdict(w io.Writer, v messageVerdict, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	if v.OK {
		_, err := fmt.Fprintf(w, "ok  %s, canonical\n", v.Action)
		return err
	}
	_, err := fmt.Fprintln(w, v.Detail)
	if v.Diff != nil && err == nil {
		at := min(v.Diff.Offset, 20)
		_, err = fmt.Fprintf(w, "byte %d\n  have  %q\n  want  %q\n        %s^\n", v.Diff.Offset, v.Diff.Have, v.Diff.Want,
			strings.Repeat(" ", len(fmt.Sprintf("%q", v.Diff.Want[:min(at, len(v.Diff.Want))]))-1))
	}
	return err
}

func readInput(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxMessageInput+1))
	if err != nil {
		return nil, fmt.Errorf("read the input: %w", err)
	}
	if len(b) > maxMessageInput {
		return nil, fmt.Errorf("the input is larger than %d bytes", maxMessageInput)
	}
	return b, nil
}

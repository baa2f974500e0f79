package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/indexer/alerts"
	"github.com/mostrodex/mostrodex/internal/opalert"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
	"github.com/spf13/cobra"
)

// OperatorConfig is section [operator]: how the operator is told of states that need a person
// (docs/watch.md). Addresses are in files, because who knows one can write to it.
type OperatorConfig struct {
	WebhookFile   string   `toml:"webhook_file"`   // file with the URL of a webhook, and in its second line a secret that signs; "": none
	NtfyFile      string   `toml:"ntfy_file"`      // file with the URL of a topic of an ntfy server, and in its second line an access token; "": none
	Nostr         string   `toml:"nostr"`          // key (npub or hex) that receives private messages (NIP-17); "": none
	NostrRelays   []string `toml:"nostr_relays"`   // relays to which these messages are sent besides this one and those of the key's kind 10050
	RepeatHours   int64    `toml:"repeat_hours"`   // a critical condition that lasts is told again after this time, a warning after six times that
	PerHour       int      `toml:"per_hour"`       // messages in an hour; further conditions are told in the next one
	MarginBlocks  int64    `toml:"margin_blocks"`  // blocks before the margin of a hold from which it is told
	PayoutMinutes int64    `toml:"payout_minutes"` // time after a settlement from which a buyer without a payout is told
	OutboxMinutes int64    `toml:"outbox_minutes"` // time for which an effect may wait
	Backup        string   `toml:"backup"`         // file or directory of backups, whose newest file is looked at; "": none
	BackupHours   int64    `toml:"backup_hours"`   // age of the newest backup from which it is told
}

func (c *OperatorConfig) validate() error {
	for name, n := range map[string]int64{"repeat_hours": c.RepeatHours, "per_hour": int64(c.PerHour), "payout_minutes": c.PayoutMinutes, "outbox_minutes": c.OutboxMinutes, "backup_hours": c.BackupHours} {
		if n < 1 || n > 10_000 {
			return fmt.Errorf("%s: %d is not in 1..10000", name, n)
		}
	}
	if c.MarginBlocks < 0 || c.MarginBlocks > 36 {
		return fmt.Errorf("margin_blocks: %d is not in 0..36", c.MarginBlocks)
	}
	if _, err := c.key(); err != nil {
		return err
	}
	for _, u := range c.NostrRelays {
		if at, err := url.Parse(u); err != nil || at.Scheme != "ws" && at.Scheme != "wss" || at.Host == "" {
			return fmt.Errorf("nostr_relays: %q is not ws:// or wss://", u)
		}
	}
	return nil
}

// key returns the key that receives private messages, in hex, or "".
func (c *OperatorConfig) key() (string, error) {
	if c.Nostr == "" {
		return "", nil
	}
	key, err := message.ParsePubkey(c.Nostr)
	if err == nil {
		_, err = message.ParsePoint(key)
	}
	if err != nil {
		return "", fmt.Errorf("nostr: %q is not a public key: name an npub, or 64 hex digits", c.Nostr)
	}
	return key, nil
}

// programName returns the name of this program in messages to the operator.
func programName(c *Config) string {
	name := c.Relay.Name
	if c.Escrow.Enabled {
		name = cmp.Or(c.Escrow.Name, name)
	}
	return cmp.Or(strings.Join(strings.Fields(clip(name, 60)), " "), "mostrodex")
}

// mailer sends a private message to the operator.
type mailer func(ctx context.Context, to, text string) error

// channels returns the configured channels. mail sends a private message.
func (c *OperatorConfig) channels(program string, now func() time.Time, mail mailer) (list []opalert.Channel, err error) {
	if c.WebhookFile != "" {
		a, err := opalert.ReadAddress(c.WebhookFile)
		if err != nil {
			return nil, fmt.Errorf("operator.webhook_file: %w", err)
		}
		list = append(list, opalert.Webhook(a, program, now, alerts.Sign))
	}
	if c.NtfyFile != "" {
		a, err := opalert.ReadAddress(c.NtfyFile)
		if err != nil {
			return nil, fmt.Errorf("operator.ntfy_file: %w", err)
		}
		list = append(list, opalert.Ntfy(a, program))
	}
	to, err := c.key()
	if err != nil {
		return nil, fmt.Errorf("operator.%w", err)
	}
	if to != "" {
		list = append(list, opalert.Channel{Name: "nostr", Send: func(ctx context.Context, m opalert.Message) error {
			return mail(ctx, to, m.Title(program)+"\n"+m.Body())
		}})
	}
	return list, nil
}

// openOperator makes the service that tells the operator. Without a channel it sets gauges and
// writes lines to the log.
func openOperator(m *Main) (*opalert.Service, error) {
	program := programName(&m.Config)
	channels, err := m.Config.Operator.channels(program, m.Now, func(ctx context.Context, to, text string) error { return mailOperator(ctx, m, to, text) })
	if err != nil {
		return nil, configError{err}
	}
	c := &m.Config.Operator
	looker := newLooker(m)
	return opalert.Open(opalert.Config{
		File: filepath.Join(m.Config.Data, "operator-alerts.json"), Channels: channels, Look: looker.look, Every: m.lookEvery,
		Rules:  opalert.Rules{Repeat: time.Duration(c.RepeatHours) * time.Hour, PerHour: c.PerHour},
		Logger: m.Logger, Metrics: m.registry, Now: m.Now,
	})
}

// mailOperator publishes a private message here, and on the relays of the receiver. The message
// is delivered if one of the other relays has it, or if there are none.
func mailOperator(ctx context.Context, m *Main, to, text string) error {
	keys, err := alertKeys(m.Config.Data)
	if err != nil {
		return err
	}
	evt, err := envelope.SealDirect(keys, to, text, m.Now(), nil)
	if err != nil {
		return err
	}
	if err := m.relay.PublishHere(ctx, evt); err != nil {
		return fmt.Errorf("publish on this relay: %w", err)
	}
	own := strings.TrimSuffix(m.Config.Relay.URL, "/")
	return sendTo(ctx, evt, slices.Concat(m.Config.Operator.NostrRelays, inboxRelays(ctx, m.store, own, to)), m.Config.Operator.NostrRelays)
}

// maxMailRelays bounds the relays to which one message to the operator is sent.
const maxMailRelays = 8

// sendTo publishes an event on relays, and returns an error if none of them takes it although
// there are some. Relays that the operator did not name are reached at public addresses only.
func sendTo(ctx context.Context, evt *nostr.Event, relays, named []string) error {
	var errs []error
	var public alertRoom // its network allows public addresses
	for i, u := range relays {
		if slices.Contains(relays[:i], u) || i >= maxMailRelays {
			continue
		}
		var err error
		if slices.Contains(named, u) {
			err = publishTo(ctx, u, evt)
		} else {
			err = public.push(ctx, u, evt)
		}
		errs = append(errs, err)
	}
	if slices.Contains(errs, nil) {
		return nil
	}
	return errors.Join(errs...)
}

func publishTo(ctx context.Context, relay string, evt *nostr.Event) error {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	w, err := dialRelay(ctx, relay)
	if err != nil {
		return err
	}
	defer w.close()
	return w.publish(ctx, evt)
}

func newAlertCmd() *cobra.Command {
	return groupOf("alert", "Messages to the operator", newAlertTestCmd())
}

func newAlertTestCmd() *cobra.Command {
	var configPath string
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Send a test message over each channel of [operator]",
		Long: `Send a test message over each channel of section [operator] of the config, and
say which of them took the message. A private message is sent to the relays of
operator.nostr_relays and to the relay of this config, which has to run.

The exit code is 1 if a channel did not take the message, or if there is none.`,
		Example: "  mostrodex alert test -c /etc/mostrodex.toml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(configPath, os.Environ())
			if err != nil {
				return err
			}
			program := programName(&cfg)
			channels, err := cfg.Operator.channels(program, time.Now, func(ctx context.Context, to, text string) error {
				if _, err := os.Stat(cfg.Data); err != nil {
					return fmt.Errorf("the key of this relay: %w", err)
				}
				keys, err := alertKeys(cfg.Data)
				if err != nil {
					return err
				}
				evt, err := envelope.SealDirect(keys, to, text, time.Now(), nil)
				if err != nil {
					return err
				}
				if err := publishTo(ctx, "ws://"+fromHere(cfg.Relay.Listen), evt); err != nil {
					return err
				}
				return sendTo(ctx, evt, cfg.Operator.NostrRelays, cfg.Operator.NostrRelays)
			})
			if err != nil {
				return err
			}
			if len(channels) == 0 {
				return errors.New("no channel is configured: name one in section [operator] (docs/watch.md)")
			}
			failed := 0
			now := time.Now().Unix()
			for _, c := range channels {
				ctx, cancel := context.WithTimeout(cmd.Context(), 20*time.Second)
				err := c.Send(ctx, opalert.Message{State: opalert.Test, Level: opalert.Warning, Kind: "test", Text: "This is a test. Nothing is wrong.", Since: now, At: now})
				cancel()
				if err != nil {
					failed++
					fmt.Fprintf(cmd.OutOrStdout(), "%s: not delivered: %s\n", c.Name, clip(err.Error(), maxFinding))
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: delivered\n", c.Name)
			}
			if failed > 0 {
				return fmt.Errorf("%d of %d channels did not take the message", failed, len(channels))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&configPath, "config", "c", "", "config file (TOML)")
	return cmd
}

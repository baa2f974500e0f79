package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/indexer/alerts"
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/web"
	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/publicnet"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// AlertsConfig is section [alerts]: saved filters of users, which are told of new orders.
type AlertsConfig struct {
	Enabled bool `toml:"enabled"`
	// Webhooks says whether alerts may call webhooks of their owners.
	Webhooks bool `toml:"webhooks"`
	// AllowNetworks are addresses or CIDRs that webhooks and the relays of owners may have
	// besides public addresses. Plain http is possible only there.
	AllowNetworks []string `toml:"allow_networks"`
	PerKey        int      `toml:"per_key"`    // alerts of one key
	InAll         int      `toml:"in_all"`     // alerts of all keys
	PerHour       int      `toml:"per_hour"`   // orders that one alert delivers in an hour
	PerMinute     int      `toml:"per_minute"` // messages of all alerts in a minute
	Days          int      `toml:"days"`       // life of an alert that is not saved again
}

func (c *AlertsConfig) validate(indexed bool) error {
	if _, err := c.networks(); err != nil {
		return err
	}
	for name, n := range map[string]int{"per_key": c.PerKey, "in_all": c.InAll, "per_hour": c.PerHour, "per_minute": c.PerMinute, "days": c.Days} {
		if n < 1 || n > 1_000_000 {
			return fmt.Errorf("%s: %d is not in 1..1000000", name, n)
		}
	}
	if c.Enabled && !indexed {
		return errors.New("enabled: alerts need the index (indexer.enabled)")
	}
	return nil
}

func (c *AlertsConfig) networks() (list []netip.Prefix, err error) {
	for _, s := range c.AllowNetworks {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fmt.Errorf("allow_networks: %q is neither an address nor a CIDR", s)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

// alertRoom is the service of saved alerts. site is set before Run.
type alertRoom struct {
	service *alerts.Service
	site    *web.Site
	net     publicnet.Net
	store   *eventlog.Store
	own     string // relay.url
}

// alertKeys returns the relay's own keys, which take commands and sign messages.
func alertKeys(data string) (*envelope.Keys, error) {
	secret, err := relayKey(data)
	if err != nil {
		return nil, err
	}
	return envelope.ParseSecret(secret)
}

func openAlerts(c *Config, keys *envelope.Keys, s *stores, server *relay.Server, ranked bool, with ambient) (*alertRoom, error) {
	allowed, err := c.Alerts.networks()
	if err != nil {
		return nil, err
	}
	a := &alertRoom{net: publicnet.Net{Allowed: allowed}, store: s.store, own: strings.TrimSuffix(c.Relay.URL, "/")}
	cfg := alerts.Config{Dir: c.Data, Book: s.index, Log: s.store, Keys: keys, Push: a.push, Post: a.post, Inbox: a.inbox,
		Publish: func(ctx context.Context, evt *nostr.Event) error {
			err := server.PublishHere(ctx, evt)
			if errors.Is(err, relay.ErrRefused) {
				return fmt.Errorf("%w: %w", alerts.ErrFinal, err)
			}
			return err
		},
		Describe: func(r *orders.Record) (json.RawMessage, string) { return a.site.Describe(r) },
		Refused: func(pubkey string) bool {
			_, never, _, _ := server.Moderated()
			_, banned := never[hex32.OrZero(pubkey)]
			return banned
		},
		NoWebhooks: !c.Alerts.Webhooks, PlainWebhooks: len(allowed) > 0,
		Limits: alerts.Limits{PerKey: c.Alerts.PerKey, InAll: c.Alerts.InAll, PerHour: c.Alerts.PerHour, PerMinute: c.Alerts.PerMinute, Lifetime: time.Duration(c.Alerts.Days) * 24 * time.Hour},
		Logger: with.logger, Metrics: with.registry, Now: with.now}
	if with.notice != "" { // a demo speaks with no other relay
		cfg.Inbox = func(context.Context, string) []string { return nil }
	}
	if ranked {
		cfg.Rank = func(pubkey string) (int, bool) { return a.site.Rank(pubkey) }
	}
	a.service, err = alerts.Open(cfg)
	return a, err
}

// Limits of the data that other machines get.
const (
	maxWebhookAnswer = 4 << 10
	kindInboxRelays  = 10050 // NIP-17
)

func (a *alertRoom) post(ctx context.Context, call alerts.Call) (int, []byte, error) {
	header := http.Header{"Content-Type": {"application/json"}, "User-Agent": {"mostrodex"}}
	for name, value := range call.Header {
		header.Set(name, value)
	}
	return a.net.Post(ctx, call.URL, header, bytes.NewReader(call.Body), maxWebhookAnswer)
}

// push publishes a message on a relay that its receiver has named.
func (a *alertRoom) push(ctx context.Context, url string, evt *nostr.Event) error {
	plain, err := publicnet.Plain(url)
	if err != nil {
		return fmt.Errorf("%w: %w", alerts.ErrFinal, err)
	}
	ctx, cancel := context.WithTimeout(ctx, publicnet.RequestTimeout)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: a.net.Client(plain)})
	if errors.Is(err, publicnet.ErrForbidden) {
		return fmt.Errorf("%w: %w", alerts.ErrFinal, err)
	}
	if err != nil {
		return err
	}
	conn.SetReadLimit(64 << 10)
	w := &relayClient{conn: conn, url: url}
	defer w.close()
	return w.publish(ctx, evt)
}

// inbox returns the relays of the newest event of kind 10050 of a key, except our own.
func (a *alertRoom) inbox(ctx context.Context, pubkey string) []string {
	return inboxRelays(ctx, a.store, a.own, pubkey)
}

// inboxRelays returns the relays of the newest event of kind 10050 of a key, except own.
func inboxRelays(ctx context.Context, store *eventlog.Store, own, pubkey string) (relays []string) {
	found, err := store.Query(ctx, nil, nostr.Filter{Kinds: []int{kindInboxRelays}, Authors: []string{pubkey}}, 1, 0)
	if err != nil || len(found) == 0 {
		return nil
	}
	evt := &nostr.Event{}
	if err := json.Unmarshal(found[0].JSON, evt); err != nil {
		return nil
	}
	for _, tag := range evt.Tags {
		if len(tag) < 2 || tag[0] != "relay" || len(tag[1]) > 256 || len(relays) >= 10 {
			continue
		}
		url := strings.TrimSuffix(strings.TrimSpace(tag[1]), "/")
		if (strings.HasPrefix(url, "wss://") || strings.HasPrefix(url, "ws://")) && url != own && !slices.Contains(relays, url) {
			relays = append(relays, url)
		}
	}
	return relays
}

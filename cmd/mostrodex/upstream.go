package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/federation"
	"github.com/mostrodex/mostrodex/reputation"
)

// UpstreamConfig is one section [[upstream]], which names a relay to follow.
type UpstreamConfig struct {
	URL       string   `toml:"url"`       // ws:// or wss://, or "none" to follow no relay
	Instances []string `toml:"instances"` // hex keys of the Mostros to follow on this relay; empty: all
}

// QuotaConfig is section [relay.quota]. If 0 stands for a default, a negative number means no
// limit.
type QuotaConfig struct {
	LiveAddressesPerKey      int `toml:"live_addresses_per_key"`      // per kind; 0: 50,000
	LiveAddressesPerPlatform int `toml:"live_addresses_per_platform"` // 0: no limit
	EventsPerMinutePerIP     int `toml:"events_per_minute_per_ip"`    // 0: 6,000; loopback without a proxy is exempt
	EventsPerMinutePerKey    int `toml:"events_per_minute_per_key"`   // 0: 3,000
	RequestsPerMinutePerIP   int `toml:"requests_per_minute_per_ip"`  // filters of REQ and COUNT, NEG-OPEN, work; 0: 6,000; loopback without a proxy is exempt
	ConnectionsPerIP         int `toml:"connections_per_ip"`          // 0: 256; loopback and trusted proxies are exempt
}

// FederationConfig is section [relay.federation].
type FederationConfig struct {
	Discover          int      `toml:"discover"`            // number of relays found in events that are followed in addition
	DiscoveredPerHour int      `toml:"discovered_per_hour"` // new events accepted from each of these relays; 0: 20,000
	Forward           []string `toml:"forward"`             // relays that receive own events
	ResyncSeconds     int      `toml:"resync_seconds"`      // seconds between comparisons with a connected relay; 0: 600
	RewalkSeconds     int      `toml:"rewalk_seconds"`      // seconds between complete reads of a relay without NIP-77; 0: 86,400
}

// defaultUpstreams are followed if no relays are configured. Mostros and their clients use
// these relays.
var defaultUpstreams = []UpstreamConfig{
	{URL: "wss://relay.mostro.network"}, {URL: "wss://nos.lol"}, {URL: "wss://relay.damus.io"}, {URL: "wss://mostro-p2p.tech"},
}

func defaultUpstreamList() string {
	var list []string
	for _, u := range defaultUpstreams {
		list = append(list, strings.TrimPrefix(u.URL, "wss://"))
	}
	return strings.Join(list, ", ")
}

// defaultDiscover is the number of relays found in events that are followed in addition.
const defaultDiscover = 16

// chooseUpstreams applies the --upstream flags, or the defaults. Flags replace the relays of
// the config. The value none means no relay.
func (c *Config) chooseUpstreams(flags []string) error {
	if len(flags) > 0 {
		c.Upstream = nil
		for _, u := range flags {
			if u == "none" && len(flags) > 1 {
				return errors.New("--upstream none stands alone")
			}
			c.Upstream = append(c.Upstream, UpstreamConfig{URL: u})
		}
	} else if len(c.Upstream) == 0 && c.Role == roleEscrow {
		for _, u := range c.forwardTo() {
			c.Upstream = append(c.Upstream, UpstreamConfig{URL: u})
		}
	} else if len(c.Upstream) == 0 {
		c.Upstream = defaultUpstreams
	}
	if len(c.Upstream) == 1 && c.Upstream[0].URL == "none" {
		c.Upstream = nil
	}
	return c.validateUpstreams()
}

func (c *Config) validateUpstreams() error {
	check := func(key, s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Hostname() == "" {
			return fmt.Errorf("%s: %q is not a ws:// or wss:// address", key, s)
		}
		return nil
	}
	for i, u := range c.Upstream {
		if u.URL == "none" && len(c.Upstream) == 1 {
			continue
		}
		if err := check(fmt.Sprintf("upstream %d: url", i+1), u.URL); err != nil {
			return err
		}
		for _, k := range u.Instances {
			if len(k) != 64 || strings.Trim(k, "0123456789abcdef") != "" {
				return fmt.Errorf("upstream %d: instances: %q is not a public key in lower-case hex", i+1, k)
			}
		}
	}
	for key, list := range map[string][]string{"relay.federation.forward": c.Relay.Federation.Forward, "escrow.publish.relays": c.Escrow.Publish.Relays} {
		for _, u := range list {
			if err := check(key, u); err != nil {
				return err
			}
		}
	}
	for _, k := range c.Relay.MailFor {
		if len(k) != 64 || strings.Trim(k, "0123456789abcdef") != "" {
			return fmt.Errorf("relay.mail_for: %q is not a public key in lower-case hex", k)
		}
	}
	f := c.Relay.Federation
	if f.Discover < 0 || f.DiscoveredPerHour < 0 || f.ResyncSeconds < 0 || f.RewalkSeconds < 0 {
		return errors.New("relay.federation: numbers are not negative")
	}
	return nil
}

// forwardTo lists the relays that receive own events. All own events are those of the escrow,
// so its list is added to the relay's list while the escrow is enabled.
func (c *Config) forwardTo() []string {
	list := slices.Clone(c.Relay.Federation.Forward)
	if c.Escrow.Enabled {
		list = append(list, c.Escrow.Publish.Relays...)
	}
	return list // duplicates count as one relay
}

// openUpstreams creates the followers of other relays. scores may be nil.
func openUpstreams(c *Config, server *relay.Server, store *eventlog.Store, scores *reputation.Service, m *mail, with ambient) (*federation.Upstreams, error) {
	f := c.Relay.Federation
	cfg := federation.Config{Server: server, Store: store, Forward: c.forwardTo(), Mail: m.fetched, Discover: f.Discover, DiscoveredPerHour: f.DiscoveredPerHour,
		Resync: time.Duration(f.ResyncSeconds) * time.Second, Rewalk: time.Duration(f.RewalkSeconds) * time.Second, Logger: with.logger, Metrics: with.registry}
	if scores != nil {
		cfg.Trust = func(pubkey string) federation.Trust { return trustIn(scores, pubkey) }
	}
	if c.Reputation.Enabled {
		cfg.Lists = slices.Concat(c.Reputation.Funds, c.Reputation.Witnesses)
	}
	if err := c.followOwnMostro(); err != nil {
		return nil, err
	}
	for _, u := range c.Upstream {
		cfg.Follow = append(cfg.Follow, federation.Upstream{URL: u.URL, Instances: u.Instances})
	}
	if len(cfg.Follow)+len(cfg.Forward) > 0 {
		var err error
		if cfg.Key, err = relayKey(c.Data); err != nil {
			return nil, err
		}
	}
	return federation.New(cfg)
}

// trustIn returns the trust that the scores assign to a key, for discovery. A rank that is
// not published, because too few events were witnessed, counts as no rank.
func trustIn(scores *reputation.Service, pubkey string) federation.Trust {
	s, ok := scores.Score(pubkey)
	if !ok {
		return federation.Trust{}
	}
	t := federation.Trust{Days: s.Evidence.WitnessedDays, Sats: s.ExposureSats, Since: s.Evidence.FirstWitnessed}
	if s.Unranked == "" {
		t.Score = s.Rank
	}
	return t
}

// relayKey reads the secret key that proves the identity of this relay to others (NIP-42). If
// the key does not exist, relayKey creates it.
func relayKey(data string) (string, error) {
	path := filepath.Join(data, "keys", "relay")
	b, err := os.ReadFile(path)
	if err == nil {
		key := strings.TrimSpace(string(b))
		if raw, err := hex.DecodeString(key); err != nil || len(raw) != 32 {
			return "", fmt.Errorf("%s does not hold 64 hex digits", path)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the relay's key: %w", err)
	}
	var secret [32]byte
	rand.Read(secret[:])
	key := hex.EncodeToString(secret[:])
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("make the relay's key: %w", err)
	}
	if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("make the relay's key: %w", err)
	}
	return key, nil
}

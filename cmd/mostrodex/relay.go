package main

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"

	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/federation"
)

// relayConfig returns the settings of the relay, except its fallback.
func relayConfig(c *Config, s *stores, m *mail, with ambient) (relay.Config, error) {
	proxies, err := c.proxies()
	if err != nil {
		return relay.Config{}, err
	}
	q := c.Relay.Quota
	cfg := relay.Config{
		Store:  s.store,
		Policy: relay.Policy{MaxEventBytes: c.Relay.MaxEventBytes, MinPow: c.Relay.MinPow, Kinds: c.Relay.admitted()},
		Name:   c.Relay.Name, Description: c.Relay.Description, Contact: c.Relay.Contact,
		URL: c.Relay.URL, Version: programVersion(), TrustedProxies: proxies, Admins: c.Relay.Admins,
		NobodyIsLocal: !c.Relay.ImportLocal, ReadOnly: c.Role == roleIndex, RulesFile: filepath.Join(c.Data, "rules.json"), Forwarding: len(c.forwardTo()) > 0,
		Limits: relay.Limits{LiveAddressesPerKey: q.LiveAddressesPerKey, LiveAddressesPerPlatform: q.LiveAddressesPerPlatform,
			EventsPerMinutePerIP: q.EventsPerMinutePerIP, EventsPerMinutePerKey: q.EventsPerMinutePerKey, RequestsPerMinutePerIP: q.RequestsPerMinutePerIP},
		MaxConnections: min(50_000, maxConnections()), MaxConnsPerIP: q.ConnectionsPerIP,
		Logger: with.logger, Metrics: with.registry, Now: with.now,
	}
	if s.index != nil {
		cfg.Search = s.index
	}
	if len(m.listed) > 0 {
		cfg.KnownMail = m.known
	}
	return cfg, nil
}

// mail knows the keys whose mail this relay accepts and fetches. The relay and the followers
// are opened with it before the escrow is open, and ask it when they run.
type mail struct {
	listed  []string // relay.mail_for
	isIn    map[string]bool
	escrow  string                // key of the escrow; "": none
	alerts  string                // key that takes commands for alerts; "": none
	mostros *federation.Upstreams // the followers know the Mostros
}

func newMail(listed []string) *mail {
	m := &mail{listed: listed, isIn: make(map[string]bool, len(listed))}
	for _, key := range listed {
		m.isIn[key] = true
	}
	return m
}

// known reports whether mail of or to a key is accepted if relay.mail_for is set.
func (m *mail) known(key string) bool {
	return m.isIn[key] || m.escrow != "" && key == m.escrow || m.alerts != "" && key == m.alerts || m.mostros.Knows(key)
}

// fetched returns the keys whose mail is fetched from other relays.
func (m *mail) fetched() []string {
	keys := slices.Clone(m.listed)
	if m.escrow != "" {
		keys = append(keys, m.escrow)
	}
	return keys
}

func listen(addr, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: stop what listens there, or choose another address with %s", err, flag)
	}
	return l, nil
}

// bound limits the connections of a listener, so that file descriptors remain for files. The
// limit per address, 0 for the default, does not apply to loopback and trusted proxies, because such an address
// carries the connections of many clients.
func bound(l net.Listener, perAddress int, proxies []netip.Prefix) net.Listener {
	exempt := func(ip netip.Addr) bool {
		return ip.IsLoopback() || slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
	return relay.BoundListener(l, maxConnections(), cmp.Or(perAddress, relay.DefaultConnsPerIP), exempt)
}

// maxConnections returns the limit of connections, which leaves half of the descriptors, at
// most 1,024, to files.
func maxConnections() int {
	limit := descriptorLimit()
	return limit - min(limit/2, 1024)
}

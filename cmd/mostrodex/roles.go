package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/internal/route"
)

// These are the values of role. A role runs one part of the program.
const (
	roleRelay  = "relay"  // the relay, without index, scores and escrow
	roleIndex  = "index"  // index, explorer and scores; events come from other relays, not from clients
	roleEscrow = "escrow" // the escrow; its clients use the relays of escrow.publish.relays
)

var roles = []string{roleRelay, roleIndex, roleEscrow}

// applyRole turns off the parts that a role does not run. A part that the configuration turns on
// by itself contradicts the role.
func (c *Config) applyRole() error {
	contradicts := func(key string) error {
		return fmt.Errorf("role: %q does not run what %s turns on: delete one of the two lines", c.Role, key)
	}
	if c.Role != "" && c.Alerts.Enabled && c.Role != roleIndex {
		return contradicts("alerts.enabled")
	}
	if c.Role != "" && c.Escrow.Enabled && c.Role != roleEscrow {
		return contradicts("escrow.enabled")
	}
	switch c.Role {
	case "", roleIndex:
		return nil
	case roleRelay:
	case roleEscrow:
		if len(c.Escrow.Publish.Relays) == 0 {
			return errors.New("role: an escrow alone needs the relays that its clients use: name them in escrow.publish.relays")
		}
		c.Escrow.Enabled = true
		c.Relay.Federation.Discover = 0
	default:
		return fmt.Errorf("role: %q is none of %s", c.Role, strings.Join(roles, ", "))
	}
	c.Indexer.Enabled, c.Reputation.Enabled, c.Export.Partitions = false, false, false
	return nil
}

// followOwnMostro limits the upstreams of an escrow alone to its own events and mail. An upstream
// that names instances keeps them.
func (c *Config) followOwnMostro() error {
	if c.Role != roleEscrow {
		return nil
	}
	keys, err := loadKeys(c.Escrow.Key)
	if err != nil {
		return configError{fmt.Errorf("escrow: %w", err)}
	}
	c.Upstream = slices.Clone(c.Upstream)
	for i := range c.Upstream {
		if u := &c.Upstream[i]; len(u.Instances) == 0 {
			u.Instances = []string{keys.Pubkey()}
		}
	}
	return nil
}

// announced returns the addresses at which clients find the Mostro; nil if they follow from the
// listener.
func (c *Config) announced() []string {
	switch {
	case c.Role == roleEscrow:
		return c.Escrow.Publish.Relays
	case c.Relay.URL != "":
		return []string{c.Relay.URL}
	}
	return nil
}

// plainHealth returns the rows about the health of a program without an index, which is ready as
// soon as it answers. Each of notes is a line of /readyz.
func plainHealth(notes func() []string) []route.Route {
	row := func(path, summary, first string, lines func() []string) route.Route {
		return route.Route{Method: http.MethodGet, Path: path, Summary: summary, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Cache-Control", "no-store")
			fmt.Fprintln(w, strings.Join(append([]string{first}, lines()...), "\n"))
		})}
	}
	return []route.Route{
		row("/healthz", "200 while the program runs", "ok", func() []string { return nil }),
		row("/readyz", "200; a line more for each reason why the escrow takes no new orders", "ready", notes),
	}
}

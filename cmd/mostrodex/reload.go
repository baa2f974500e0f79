package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/mostrodex/mostrodex/escrow/lnd"
	"github.com/mostrodex/mostrodex/relay"
)

// reloadable are the keys of the configuration that SIGHUP puts in force. The contents of the
// files of escrow.lnd.cert and escrow.lnd.macaroon are read again too.
var reloadable = []string{
	"relay.contact", "relay.description", "relay.kinds", "relay.max_event_bytes", "relay.min_pow", "relay.name",
	"relay.quota.events_per_minute_per_ip", "relay.quota.events_per_minute_per_key", "relay.quota.live_addresses_per_key",
	"relay.quota.live_addresses_per_platform", "relay.quota.requests_per_minute_per_ip",
}

// relaySettings returns the part of the relay's settings that may change while it runs.
func relaySettings(c *Config) relay.Settings {
	q := c.Relay.Quota
	return relay.Settings{
		Policy: relay.Policy{MaxEventBytes: c.Relay.MaxEventBytes, MinPow: c.Relay.MinPow, Kinds: c.Relay.admitted()},
		Limits: relay.Limits{LiveAddressesPerKey: q.LiveAddressesPerKey, LiveAddressesPerPlatform: q.LiveAddressesPerPlatform,
			EventsPerMinutePerIP: q.EventsPerMinutePerIP, EventsPerMinutePerKey: q.EventsPerMinutePerKey, RequestsPerMinutePerIP: q.RequestsPerMinutePerIP},
		Name: c.Relay.Name, Description: c.Relay.Description, Contact: c.Relay.Contact,
	}
}

// changedKeys returns the keys in which two configurations differ, sorted.
func changedKeys(a, b *Config) (keys []string) {
	var walk func(prefix string, a, b reflect.Value)
	walk = func(prefix string, a, b reflect.Value) {
		for i := range a.NumField() {
			key := prefix + a.Type().Field(i).Tag.Get("toml")
			if a.Field(i).Kind() == reflect.Struct {
				walk(key+".", a.Field(i), b.Field(i))
			} else if x, y := a.Field(i), b.Field(i); !reflect.DeepEqual(x.Interface(), y.Interface()) && !(x.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0) {
				keys = append(keys, key)
			}
		}
	}
	walk("", reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem())
	slices.Sort(keys)
	return keys
}

// reloader reloads the configuration of a serving program. One goroutine uses it.
type reloader struct {
	logger  *slog.Logger
	reread  func() (Config, error) // nil: there is no configuration to read
	inForce Config                 // as earlier reloads have changed it
	relay   *relay.Server
	lnd     *lnd.Client // nil: none
}

// run reloads at each signal until ctx ends.
func (r *reloader) run(ctx context.Context, hangup <-chan os.Signal) {
	for {
		select {
		case <-hangup:
			r.reload()
		case <-ctx.Done():
			return
		}
	}
}

// reload reads the configuration and the files of LND again. If anything is wrong, the
// configuration in force stays, and the log says what is wrong.
func (r *reloader) reload() {
	keep := func(err error) {
		r.logger.Error("configuration not reloaded, the old one stays in force", "err", err)
	}
	if r.reread == nil {
		return
	}
	cfg, err := r.reread()
	if err != nil {
		keep(err)
		return
	}
	// The relay is last: with values that passed validate, it refuses none.
	if r.lnd != nil {
		if err := r.lnd.Reload(); err != nil {
			keep(fmt.Errorf("escrow.lnd: %w", err))
			return
		}
	}
	if err := r.relay.Reload(relaySettings(&cfg)); err != nil {
		keep(err)
		return
	}
	changed := changedKeys(&r.inForce, &cfg)
	later := slices.DeleteFunc(slices.Clone(changed), func(key string) bool { return slices.Contains(reloadable, key) })
	now := slices.DeleteFunc(changed, func(key string) bool { return slices.Contains(later, key) })
	r.logger.Info("configuration reloaded", "changed", strings.Join(now, ", "))
	if len(later) > 0 {
		r.logger.Warn("these keys have changed and need a restart", "keys", strings.Join(later, ", "))
	}
	adopt(&r.inForce, &cfg)
}

// adopt copies the reloadable keys of another configuration.
func adopt(c, from *Config) {
	to, r := &c.Relay, from.Relay
	to.Contact, to.Description, to.Kinds, to.MaxEventBytes, to.MinPow, to.Name = r.Contact, r.Description, r.Kinds, r.MaxEventBytes, r.MinPow, r.Name
	connections := to.Quota.ConnectionsPerIP
	to.Quota = r.Quota
	to.Quota.ConnectionsPerIP = connections
}

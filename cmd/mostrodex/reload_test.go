//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// TestReloadable: each key of the list exists, and reloading puts it in force.
func TestReloadable(t *testing.T) {
	for _, key := range reloadable {
		if !slices.Contains(knownKeys(), key) {
			t.Errorf("%s is no key", key)
		}
	}
	was := defaultConfig()
	is, err := configOf(t, "data = \"x\"\n[relay]\nname = \"b\"\ndescription = \"b\"\ncontact = \"b\"\nkinds = [1]\nmin_pow = 3\nmax_event_bytes = 4\nbody_cache_mib = 1\n"+
		"[relay.quota]\nlive_addresses_per_key = 1\nlive_addresses_per_platform = 1\nevents_per_minute_per_ip = 1\nevents_per_minute_per_key = 1\nrequests_per_minute_per_ip = 1\nconnections_per_ip = 1\n")
	if err != nil {
		t.Fatal(err)
	}
	adopt(&was, &is)
	if got := changedKeys(&was, &is); !slices.Equal(got, []string{"data", "relay.body_cache_mib", "relay.quota.connections_per_ip"}) {
		t.Errorf("after a reload these keys differ: %v", got)
	}
}

// TestReload changes the configuration of a serving program and sends it SIGHUP. A broken
// configuration changes nothing, and the log says what is wrong. Connections stay open.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.toml")
	write := func(more string) {
		t.Helper()
		text := fmt.Sprintf("data = %q\nrole = \"relay\"\n[[upstream]]\nurl = \"none\"\n[relay]\nlisten = \"127.0.0.1:0\"\n%s", filepath.Join(dir, "data"), more)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("name = \"first\"\n")
	d := startServing(t, "serve", "-c", file)
	ctx := t.Context()
	relay, err := nostr.RelayConnect(ctx, "ws://"+d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Close()
	n := 0
	publish := func() error {
		n++
		evt := signAs(t, testKeys(t, "a"), nostr.Event{Kind: mostro.KindOrder, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"d", fmt.Sprint(n)}, {"z", "order"}}})
		return relay.Publish(context.Background(), *evt)
	}
	if err := publish(); err != nil {
		t.Fatal(err)
	}
	hangup := func(says string) (said string) {
		t.Helper()
		before := len(d.lines())
		if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the log says "+says, func() bool { said = d.lines()[before:]; return strings.Contains(said, says) })
		return said
	}
	write("name = \"second\"\nkinds = [14]\nbody_cache_mib = 5\n")
	hangup(`changed="relay.kinds, relay.name"`)
	eventually(t, "the log names what needs a restart", func() bool { return strings.Contains(d.lines(), "keys=relay.body_cache_mib") })
	if err := publish(); err == nil || !strings.Contains(err.Error(), "kind 38383 is not kept here") {
		t.Errorf("the new kinds are not in force: %v", err)
	}
	if _, _, body := getBody(t, "http://"+d.addr+"/", "Accept", "application/nostr+json"); !strings.Contains(body, `"second"`) {
		t.Errorf("the new name is not in force: %s", body)
	}
	for more, says := range map[string]string{
		"nmae = \"third\"\n":      "is relay.name meant?",
		"min_pow = 999\n":         "relay.min_pow: 999",
		"name = \"third\"\nkinds": "line 8",
	} {
		write(more)
		if said := hangup("the old one stays in force"); !strings.Contains(said, says) {
			t.Errorf("%q: the log does not say %q: %s", more, says, said)
		}
	}
	if _, _, body := getBody(t, "http://"+d.addr+"/", "Accept", "application/nostr+json"); !strings.Contains(body, `"second"`) {
		t.Errorf("a broken configuration has changed the name: %s", body)
	}
	write("name = \"fourth\"\n")
	hangup("configuration reloaded")
	if err := publish(); err != nil {
		t.Errorf("the default kinds are not in force again: %v", err)
	}
	d.end(t)
}

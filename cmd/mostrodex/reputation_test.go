package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/corpus"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/relay/federation"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
)

// A Mostro that is seen on 30 days gets an assertion, signed by a separate key of the
// reputation. The whole result can be recomputed from a bundle.
func TestReputationFromSocketToBundle(t *testing.T) {
	dir := t.TempDir()
	node, err := envelope.NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var provider string
	t.Run("served", func(t *testing.T) {
		const days = 30
		var clock atomic.Int64 // in seconds
		now := time.Now()
		clock.Store(now.Add(-days * 24 * time.Hour).Unix())
		cfg := defaultConfig()
		cfg.Data, cfg.Relay.Listen = dir, "127.0.0.1:0"
		m := &Main{Config: cfg, Now: func() time.Time { return time.Unix(clock.Load(), 0) }}
		startMain(t, m)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		r := dialNostr(t, ctx, m)
		for day := range days + 1 {
			if day == days-1 { // the node was watched for 29 days so far
				eventually(t, "what is read", func() bool { s, _ := m.scores.Score(node.Pubkey()); return s.Evidence.WitnessedDays == day })
				if found := mustREQ(t, m, nostr.Filter{Kinds: []int{30382}}); len(found) > 0 {
					t.Errorf("an assertion was published about a node that was watched for %d days: %v", day, found)
				}
				first := now.Add(-days * 24 * time.Hour)
				if got := trustIn(m.scores, node.Pubkey()); got.Score != 0 || got.Days != day || got.Since.Unix() != first.Unix() {
					t.Errorf("discovery got %+v for a node that was watched for %d days since %v", got, day, first)
				}
				if got := trustIn(m.scores, strings.Repeat("a", 64)); got != (federation.Trust{}) {
					t.Errorf("discovery got %+v for an unknown key", got)
				}
			}
			clock.Store(now.Add(time.Duration(day-days) * 24 * time.Hour).Unix())
			info := mostro.Info{Pubkey: node.Pubkey(), Name: "seen", Version: "0.18.5", ProtocolVersion: 2, CreatedAt: nostr.Timestamp(clock.Load())}
			evt := info.Event()
			if err := evt.Sign(hexOf(node)); err != nil {
				t.Fatal(err)
			}
			if err := r.Publish(ctx, evt); err != nil {
				t.Fatal(err)
			}
		}
		var found []*nostr.Event
		eventually(t, "the assertion", func() bool {
			found = mustREQ(t, m, nostr.Filter{Kinds: []int{30382}, Tags: nostr.TagMap{"d": {node.Pubkey()}}})
			return len(found) == 1
		})
		provider = found[0].PubKey
		if s, _ := m.scores.Score(node.Pubkey()); s.Unranked != "" || trustIn(m.scores, node.Pubkey()).Score != s.Rank {
			t.Errorf("discovery got %+v for a node with rank %d (%s)", trustIn(m.scores, node.Pubkey()), s.Rank, s.Unranked)
		}
		if ok, err := found[0].CheckSignature(); err != nil || !ok || provider != m.scores.Pubkey() || provider == node.Pubkey() {
			t.Errorf("the assertion is signed by %s", provider)
		}
		if about := mustREQ(t, m, nostr.Filter{Kinds: []int{0}, Authors: []string{provider}}); len(about) != 1 || !strings.Contains(about[0].Content, score.AlgoName) {
			t.Errorf("the profile of the key does not state its purpose: %v", about)
		}
	})
	st, err := os.Stat(filepath.Join(dir, "keys", "reputation"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("the key file: %v, %v", st, err)
	}
	keys, err := loadKeys(filepath.Join(dir, "keys", "reputation"))
	if err != nil || keys.Pubkey() != provider {
		t.Errorf("the key on disk is not the one that signed: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "reputation", "checkpoint")); err != nil {
		t.Error(err)
	}

	shown := mustProgram(t, "", "reputation", "show", node.Pubkey(), "--data", dir)
	if !strings.Contains(shown, "rank ") || !strings.Contains(shown, "longevity") {
		t.Errorf("show: %s", shown)
	}
	bundle := mustProgram(t, "", "reputation", "audit", node.Npub(), "--data", dir)
	var verified struct {
		Events int
		Scores []struct{ Pubkey, Name string }
	}
	out := mustProgram(t, bundle, "reputation", "verify", "-", "--json")
	if err := json.Unmarshal([]byte(out), &verified); err != nil || verified.Events != 31 || len(verified.Scores) != 1 || verified.Scores[0].Name != "seen" {
		t.Errorf("verified %s: %v", out, err)
	}
	_, stderr, code := runProgram(t, strings.Replace(bundle, `"rank":`, `"rank":9`, 1), "reputation", "verify", "-")
	if code != exitError || !strings.Contains(stderr, "rank") {
		t.Errorf("a changed rank: exit %d, %s", code, stderr)
	}
}

// Imported events are unproven claims, so they result in no rank and in no published
// assertion.
func TestReputationOfImportsIsProvisional(t *testing.T) {
	dir := t.TempDir()
	events := mustCorpus(t, corpus.Config{Seed: 3, Instances: 2, Orders: 20, Unexpired: true})
	mustProgram(t, testkit.NDJSON(t, events...), "import", "-", "--data", dir)
	instances, err := corpus.New(corpus.Config{Seed: 3, Instances: 2, Orders: 20, Unexpired: true})
	if err != nil {
		t.Fatal(err)
	}
	shown := mustProgram(t, "", "reputation", "show", instances.Instances()[0].Pubkey, "--data", dir)
	if !strings.Contains(shown, "provisional") || strings.Contains(shown, "rank ") {
		t.Errorf("show: %s", shown)
	}
}

func TestReputationMistakes(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no key":            {[]string{"reputation", "show", "xyz", "--data", dir}, exitUsage, "no public key"},
		"unknown Mostro":    {[]string{"reputation", "show", strings.Repeat("ab", 32), "--data", dir}, exitError, "never described itself as a Mostro"},
		"no bundle":         {[]string{"reputation", "verify", filepath.Join(dir, "nothing")}, exitError, "no such file"},
		"not a bundle":      {[]string{"reputation", "verify", "-"}, exitError, "truncated"},
		"unknown scenario":  {[]string{"reputation", "simulate", "--scenario", "x"}, exitError, "stuffing"},
		"no seed":           {[]string{"reputation", "simulate", "--seeds", "0"}, exitUsage, "--seeds"},
		"no data directory": {[]string{"reputation", "audit", "--data", filepath.Join(dir, "none")}, exitError, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, stderr, code := runProgram(t, "", c.args...); code != c.code || !strings.Contains(stderr, c.want) {
				t.Errorf("exit %d, %q; want %d, %q", code, stderr, c.code, c.want)
			}
		})
	}
	for key, value := range map[string]string{"EVERY": "1s", "FUNDS": "xyz", "PAYEES": strings.Repeat("ab", 32)} {
		if _, err := loadConfig("", []string{"MOSTRODEX_REPUTATION_" + key + "=" + value}); err == nil || !strings.Contains(err.Error(), "reputation."+strings.ToLower(key)) {
			t.Errorf("reputation.%s = %s: %v", key, value, err)
		}
	}
}

package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/nbd-wtf/go-nostr"
)

// TestBorrowedWitnessBetweenTwoRelays: a relay that watched a Mostro for 31 days signs its
// receive log. A new relay imports the history, fetches the log, and shows on its first day
// the rank as the other relay saw it, beside no rank of its own.
func TestBorrowedWitnessBetweenTwoRelays(t *testing.T) {
	node, err := envelope.NewKeys(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const days = 30
	now := time.Now().Add(-2 * time.Hour) // so that the clock of the old relay can be moved on below
	var clock atomic.Int64                // in seconds
	clock.Store(now.Add(-days * 24 * time.Hour).Unix())
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Reputation.SignReceiveLog = t.TempDir(), "127.0.0.1:0", true
	old := &Main{Config: cfg, Now: func() time.Time { return time.Unix(clock.Load(), 0) }}
	startMain(t, old)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := dialNostr(t, ctx, old)
	for day := range days + 1 {
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
	key := old.scores.Pubkey()
	// Statements may be published in parts: the last one is published when its oldest row is
	// ten minutes old, by the clock of the relay.
	clock.Add(660)
	stated := func() (rows int) {
		for _, evt := range mustREQ(t, old, nostr.Filter{Kinds: []int{mostro.KindAppData}, Authors: []string{key}}) {
			var n int
			if err := json.Unmarshal([]byte(evt.Tags.Find("rows")[1]), &n); err != nil {
				t.Fatal(err)
			}
			rows += n
		}
		return rows
	}
	eventually(t, "a statement about the days", func() bool {
		clock.Add(1)
		return stated() >= days
	})

	// A relay serves the newest version of an address alone. The older versions are in the
	// export. The statements come from the upstream, which is asked for them.
	dir := t.TempDir()
	code, _, history := getBody(t, "http://"+old.Addr()+"/api/v1/export/events?kinds="+strconv.Itoa(mostro.KindInfo))
	if code != 200 {
		t.Fatalf("export: %d", code)
	}
	mustProgram(t, history, "import", "-", "--data", dir)
	fresh := mustRunConfig(t, dir, func(c *Config) {
		c.Upstream = []UpstreamConfig{{URL: "ws://" + old.Addr()}}
		c.Reputation.Witnesses = []string{key}
	})
	var v struct {
		Rank         *int
		Reason       string
		BorrowedRank *int `json:"borrowed_rank"`
		SeenBy       []struct {
			Witness     string
			Rank        *int
			WatchedDays int `json:"watched_days"`
		} `json:"seen_by"`
	}
	eventually(t, "the column of the witness", func() bool {
		code, _, body := getBody(t, "http://"+fresh.Addr()+"/api/v1/instances/"+node.Pubkey()+"/score")
		return code == 200 && json.Unmarshal([]byte(body), &v) == nil && len(v.SeenBy) == 1 && v.SeenBy[0].WatchedDays >= days
	})
	if v.Rank != nil || v.Reason == "" || v.SeenBy[0].Witness != key || v.SeenBy[0].Rank == nil || v.BorrowedRank == nil || *v.BorrowedRank != *v.SeenBy[0].Rank {
		t.Errorf("the new relay shows %+v", v)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/reputation/score"
	"github.com/nbd-wtf/go-nostr"
)

// The failures of a node that deletes its events stay stored, also if the checkpoint is lost.
// The service, a service that starts without a checkpoint, and a bundle return the same
// result.
func TestDeletedFactsSurviveALostCheckpoint(t *testing.T) {
	dir := t.TempDir()
	now := time.Now().UTC().Truncate(time.Second)
	node := testKeys(t, "deletes")
	open := func() (*Main, func()) {
		cfg := defaultConfig()
		cfg.Data, cfg.Relay.Listen = dir, "127.0.0.1:0"
		m := &Main{Config: cfg, Now: func() time.Time { return now }}
		return m, startMainUntil(t, m)
	}
	scoreNow := func(m *Main, deleted bool) string {
		var s score.Score
		eventually(t, "the scores", func() bool {
			s, _ = m.scores.Score(node.Pubkey())
			asked := slices.ContainsFunc(s.Flags, func(f score.Flag) bool { return f.Name == score.FlagErased })
			return m.scores.Ready() && s.Evidence.Successes.Claimed == 9 && s.Evidence.WitnessedDays >= 39 && asked == deleted
		})
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}

	m, stop := open()
	f := &fair{tb: t, m: m, nodes: map[string]*envelope.Keys{"deletes": node}}
	at := func(d float64) time.Time { return now.Add(time.Duration((d - 40) * 24 * float64(time.Hour))) }
	var ids nostr.Tags
	for d := range 39 {
		f.info("deletes", at(float64(d)), func(i *mostro.Info) { i.LND = &mostro.LightningNode{Pubkey: "02" + strings.Repeat("ab", 32)} })
		f.order("deletes", d, mostro.StatusPending, 50_000, at(float64(d)+.1), at(float64(d)+.9), nil)
		f.order("deletes", d, mostro.StatusInProgress, 50_000, at(float64(d)+.12), at(float64(d)+.9), nil)
		if d < 30 {
			f.order("deletes", d, mostro.StatusCanceled, 50_000, at(float64(d)+.2), at(float64(d)+.9), nil)
		} else {
			f.order("deletes", d, mostro.StatusSuccess, 50_000, at(float64(d)+.2), at(float64(d)+.9), nil)
		}
		if d%10 == 0 {
			q := f.put(node, mostro.Dispute{Pubkey: node.Pubkey(), D: fmt.Sprint("q", d), Initiator: "buyer", State: mostro.DisputeStateInitiated}.Event(), at(float64(d)+.15))
			fee := f.put(node, mostro.DevFee{Pubkey: node.Pubkey(), OrderID: fairOrderID(d), AmountSats: 90, Hash: strings.Repeat(fmt.Sprintf("%02x", d), 32)}.Event(), at(float64(d)+.21))
			ids = append(ids, nostr.Tag{"e", q.ID}, nostr.Tag{"e", fee.ID})
		}
	}
	kept := scoreNow(m, false)
	request := nostr.Event{Kind: mostro.KindDeletion, Tags: ids}
	for d := range 30 {
		request.Tags = append(request.Tags, nostr.Tag{"a", "38383:" + node.Pubkey() + ":" + fairOrderID(d)})
	}
	f.put(node, request, at(39.5))
	if _, _, err := f.last.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	served := scoreNow(m, true)
	values := func(text string) (v struct {
		Rank            int
		Value, Lo, Root json.RawMessage
		Evidence        struct {
			Failures, Disputes struct{ Witnessed int }
			DevFees            struct{ Claimed int } `json:"dev_fees"`
		}
	}) {
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	before, after := values(kept), values(served)
	if after.Rank != before.Rank || string(after.Value) != string(before.Value) || after.Evidence.Failures.Witnessed != 30 || after.Evidence.Disputes.Witnessed != 4 || after.Evidence.DevFees.Claimed != 4 {
		t.Errorf("the deletion changes the result:\n%s\n%s", kept, served)
	}
	if found := mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindOrder}, Authors: []string{node.Pubkey()}}); len(found) != 9 {
		t.Errorf("%d orders are served, want the 9 that were not deleted", len(found))
	}
	stop()

	if err := os.RemoveAll(filepath.Join(dir, "reputation")); err != nil {
		t.Fatal(err)
	}
	m, stop = open()
	if got := scoreNow(m, true); got != served {
		t.Errorf("the result without the checkpoint is\n%s\nwant\n%s", got, served)
	}
	var out bytes.Buffer
	scores, err := score.WriteBundle(context.Background(), &out, evidence{m.store}, m.Config.Reputation.params(), now, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := json.Marshal(scores[0]); err != nil || string(b) != served {
		t.Errorf("the result of the bundle is\n%s\nwant\n%s, %v", b, served, err)
	}
	if _, err := score.VerifyBundle(bytes.NewReader(out.Bytes()), nil, nil); err != nil {
		t.Error(err)
	}
	stop()
	store, err := eventlog.Open(eventlog.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	report, err := store.Check(t.Context(), false, nil)
	if err != nil || len(report.Problems) > 0 {
		t.Errorf("log verify: %v %v", report.Problems, err)
	}
}

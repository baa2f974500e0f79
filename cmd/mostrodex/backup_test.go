package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// shown returns the content of the index and the scores of a data directory.
func shown(t *testing.T, dir, pubkey string) map[string]any {
	t.Helper()
	out := map[string]any{}
	var score struct{ Score map[string]any }
	if err := json.Unmarshal([]byte(mustProgram(t, "", "reputation", "show", pubkey, "--data", dir, "--json")), &score); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rank", "exposure_sats", "provisional", "evidence"} {
		out[name] = score.Score[name]
	}
	var list struct{ Items []map[string]any }
	if err := json.Unmarshal([]byte(mustProgram(t, "", "orders", "--open", "any", "--limit", "500", "--data", dir, "--json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, o := range list.Items {
		out["order "+o["event_id"].(string)] = fmt.Sprint(o["first_seen_at"], o["received_by"], o["versions"], o["instance"])
	}
	return out
}

// TestBackupKeepsRanks checks that a relay restored from its operator's own backup has the
// ranks, times and sources of the old relay, also for events that have expired since. A plain
// export restores none of these.
func TestBackupKeepsRanks(t *testing.T) {
	dir := t.TempDir()
	f := newFairIn(t, dir)
	alfa := f.nodes["alfa"].Pubkey()
	// An older version of an order arrives late. It was history on arrival.
	f.order("alfa", 30, mostro.StatusPending, 50_000, time.Now().Add(-80*24*time.Hour), time.Now().Add(-79*24*time.Hour), nil)
	if _, out, err := f.last.Wait(t.Context()); err != nil || out != eventlog.Archived {
		t.Fatalf("the outcome of an older version is %v, %v", out, err)
	}
	f.stop()
	want := shown(t, dir, alfa)
	if want["rank"] == nil || len(want) < 60 {
		t.Fatalf("the old relay shows %d things, rank %v", len(want), want["rank"])
	}
	backup, plain := filepath.Join(t.TempDir(), "backup.ndjson"), filepath.Join(t.TempDir(), "plain.ndjson")
	for file, args := range map[string][]string{backup: {"export", "--data", dir, "--evidence"}, plain: {"export", "--data", dir}} {
		if err := os.WriteFile(file, []byte(mustProgram(t, "", args...)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	restored := t.TempDir()
	out := mustProgram(t, "", "import", backup, "--data", restored, "--evidence")
	if !strings.Contains(out, "rejected 0") {
		t.Errorf("import printed %s", out)
	}
	got := shown(t, restored, alfa)
	for what := range want {
		if !reflect.DeepEqual(got[what], want[what]) {
			t.Errorf("%s: %v, want %v", what, got[what], want[what])
		}
	}
	again := mustProgram(t, "", "export", "--data", restored, "--evidence")
	if was, err := os.ReadFile(backup); err != nil || again != string(was) {
		t.Errorf("a backup of the restored relay differs: %d bytes, want %d (%v)", len(again), len(was), err)
	}
	if out := mustProgram(t, "", "log", "verify", "--data", restored); !strings.Contains(out, " 0 problems") {
		t.Errorf("the restored log is %s", out)
	}
	other := t.TempDir()
	mustProgram(t, "", "import", plain, "--data", other)
	if rank := shown(t, other, alfa)["rank"]; rank != nil {
		t.Errorf("a plain import has the rank %v, although no event of it was witnessed", rank)
	}
	if out := mustProgram(t, "", "import", backup, "--data", t.TempDir()); !strings.Contains(out, "added 0 duplicate 0 archived 0") {
		t.Errorf("a backup without --evidence: %s", out)
	}
}

// TestNobodyClaimsToBeWitnessed checks that no sender can set the receipt time of a line over
// HTTP, and that the verb cannot request this from a server.
func TestNobodyClaimsToBeWitnessed(t *testing.T) {
	dir := t.TempDir()
	m := MustRunMain(t, dir)
	keys := testKeys(t, "claimer")
	evt := signAs(t, keys, nostr.Event{Kind: 1985, CreatedAt: nostr.Timestamp(time.Now().Unix() - 86400*100), Tags: nostr.Tags{}, Content: "<history>"})
	raw, err := json.Marshal(evt)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		fmt.Sprintf(`{"event":%s,"received_at":1700000000000,"road":"client"}`, raw),
		fmt.Sprintf(` {"event":%s,"received_at":1700000000000,"road":"client"}`, raw),
		fmt.Sprintf(`{ "event":%s,"received_at":1700000000000,"road":"client"}`, raw),
		fmt.Sprintf(`{"received_at":1700000000000,"event":%s,"road":"client"}`, raw),
	} {
		resp, err := http.Post("http://"+m.Addr()+"/api/v1/import", "application/x-ndjson", strings.NewReader(line+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		var result relay.ImportResult
		err = json.NewDecoder(resp.Body).Decode(&result)
		resp.Body.Close()
		if err != nil || result.Outcome != "rejected" {
			t.Errorf("%s: %+v, %v", line, result, err)
		}
	}
	if _, errs, code := runProgram(t, "", "import", "-", "--url", "http://"+m.Addr(), "--evidence"); code != exitUsage || !strings.Contains(errs, "never into a running server") {
		t.Errorf("import --url --evidence: exit %d, %s", code, errs)
	}
	if _, errs, code := runProgram(t, "", "export", "--url", "http://"+m.Addr(), "--evidence"); code != exitUsage || !strings.Contains(errs, "--data") {
		t.Errorf("export --url --evidence: exit %d, %s", code, errs)
	}
	for line, say := range map[string]string{
		fmt.Sprintf(`{"event":%s,"received_at":99999999999999,"road":"client"}`, raw): "not a past time",
		fmt.Sprintf(`{"event":%s,"received_at":0,"road":"client"}`, raw):              "not a past time",
		fmt.Sprintf(`{"event":%s,"received_at":1700000000000,"road":"sky"}`, raw):     "road",
		`{"event":{},"received_at":1700000000000,"road":"client"}`:                    "invalid",
	} {
		out, errs, code := runProgram(t, line, "import", "-", "--data", t.TempDir(), "--evidence")
		if code != exitOK || !strings.Contains(out, "rejected 1") || !strings.Contains(errs, say) {
			t.Errorf("%s: exit %d, %s, %s", line, code, out, errs)
		}
	}
}

// TestImportRefusesMail checks that a message in a file is not imported, because it would get
// no answer.
func TestImportRefusesMail(t *testing.T) {
	m := MustRunMain(t, t.TempDir())
	for _, kind := range []int{mostro.KindGiftWrap, mostro.KindMessage, mostro.KindLegacyDM} {
		mail := signAs(t, testKeys(t, "sender"), nostr.Event{Kind: kind, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"p", testKeys(t, "node").Pubkey()}}, Content: "sealed"})
		for _, where := range [][]string{{"--url", "http://" + m.Addr()}, {"--data", t.TempDir()}} {
			out, errs, code := runProgram(t, testkit.NDJSON(t, mail), append([]string{"import", "-"}, where...)...)
			if code != exitOK || !strings.Contains(out, "added 0") || !strings.Contains(out, "rejected 1") || !strings.Contains(errs, "websocket") {
				t.Errorf("kind %d, %v: exit %d, %s%s", kind, where, code, out, errs)
			}
		}
	}
}

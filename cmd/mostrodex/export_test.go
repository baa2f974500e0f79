package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/envelope"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/nbd-wtf/go-nostr"
)

// TestExports follows the exports of a relay with a closed month: files by ranges, streams, the
// verb, the audit bundle, and what the operator hides.
func TestExports(t *testing.T) {
	dir := t.TempDir()
	now := time.Now().UTC()
	last := time.Date(now.Year(), now.Month()-2, 3, 0, 0, 0, 0, time.UTC)
	month := last.Format("2006-01")
	node, banned := testKeys(t, "node"), testKeys(t, "banned")
	var backup strings.Builder
	add := func(keys *envelope.Keys, evt nostr.Event, at time.Time) {
		evt.CreatedAt = nostr.Timestamp(at.Unix())
		raw, err := json.Marshal(signAs(t, keys, evt))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&backup, `{"event":%s,"received_at":%d,"road":"live","relay":"wss://relay.example"}`+"\n", raw, at.UnixMilli())
	}
	add(node, nostr.Event{Kind: mostro.KindInfo, Tags: nostr.Tags{{"d", node.Pubkey()}, {"mostro_version", "0.20.0"}, {"max_order_amount", "1000000"}, {"min_order_amount", "100"}, {"fiat_currencies_accepted", "USD"}, {"fee", "0.006"},
		{"pow", "0"}, {"protocol_version", "2"}, {"y", "mostro", "=cmd"}, {"z", "info"}}}, last)
	for i := range 20 {
		for k, status := range []string{"pending", "in-progress", "success"} {
			keys := node
			if i%4 == 3 {
				keys = banned
			}
			add(keys, nostr.Event{Kind: mostro.KindOrder, Tags: nostr.Tags{{"d", fmt.Sprint("o", i)}, {"k", "sell"}, {"f", "USD"}, {"s", status}, {"amt", "1000"}, {"fa", "10"}, {"pm", "=1+1"}, {"premium", "-2"},
				{"network", "mainnet"}, {"layer", "lightning"}, {"y", "mostro", "=cmd"}, {"z", "order"}}}, last.Add(time.Duration(i*60+k*10)*time.Minute))
		}
	}
	mustProgram(t, backup.String(), "import", "-", "--data", dir, "--evidence")
	rules, err := json.Marshal(relay.Rules{BlockedKeys: map[string]string{banned.Pubkey(): "fraud"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rules.json"), rules, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private, cfg.Relay.DiskReserveMiB = dir, "127.0.0.1:0", "", 1
	m := &Main{Config: cfg}
	stop := startMainUntil(t, m)
	base := "http://" + m.Addr()
	file := strings.Replace("/api/v1/export/history/year=2026/month=09/history.parquet", "year=2026/month=09", last.Format("year=2006/month=01"), 1)
	testkit.WaitLong(t, "the files of a closed month are written", func() bool {
		code, _, _ := getBody(t, base+file)
		return code == http.StatusOK
	})
	code, h, body := getBody(t, base+file, "Range", "bytes=0-3", "Accept-Encoding", "gzip")
	if code != http.StatusPartialContent || body != "PAR1" || h.Get("Content-Encoding") != "" || h.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a range of a file: %d %q %v", code, body, h)
	}
	if code, _, _ := getBody(t, base+file, "If-None-Match", h.Get("ETag")); code != http.StatusNotModified {
		t.Errorf("a file that the client has: %d", code)
	}
	rows := func(raw string) (n int) {
		t.Helper()
		cells, err := csv.NewReader(strings.NewReader(raw)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(raw, `"=`) || strings.Contains(raw, ",=") {
			t.Errorf("a formula is in\n%.500s", raw)
		}
		return len(cells) - 1
	}
	url := []string{"--url", base}
	for _, c := range []struct {
		args []string
		n    int
	}{{[]string{"trades", "--month", month}, 15}, {[]string{"history"}, 45}, {[]string{"instances"}, 1}, {[]string{"orders", "--from", now.Format(time.RFC3339)}, 0}} {
		out := mustProgram(t, "", append(append([]string{"export", "--format", "csv"}, c.args...), url...)...)
		if n := rows(out); n != c.n || strings.Contains(out, banned.Pubkey()) {
			t.Errorf("export %v: %d rows, want %d", c.args, n, c.n)
		}
	}
	if out := mustProgram(t, "", "export", "--format", "rows", "--url", base); strings.Count(out, `"road":"live"`) != 46 {
		t.Errorf("rows of events: %d", strings.Count(out, `"road":"live"`))
	}
	if out := mustProgram(t, "", "export", "--url", base); strings.Contains(out, "road") || !strings.Contains(out, `"sig"`) {
		t.Error("the signed events have other fields")
	}
	testkit.WaitLong(t, "the node has a score", m.scores.Ready)
	code, _, bundle := getBody(t, base+"/api/v1/instances/"+node.Pubkey()+"/bundle")
	if code != http.StatusOK {
		t.Fatalf("bundle: %d %s", code, bundle)
	}
	if out := mustProgram(t, bundle, "reputation", "verify", "-"); !strings.Contains(out, "sound: 1 scores") {
		t.Errorf("verify says %s", out)
	}
	if code, _, _ := getBody(t, base+"/api/v1/instances/"+banned.Pubkey()+"/bundle"); code != http.StatusNotFound && code != http.StatusServiceUnavailable {
		t.Errorf("the bundle of a banned node: %d", code)
	}
	stop()
	if n := rows(mustProgram(t, "", "export", "history", "--format", "csv", "--data", dir)); n != 60 {
		t.Errorf("the operator's export has %d rows", n)
	}
	if out := mustProgram(t, "", "export", "trades", "--format", "parquet", "--data", dir); !strings.HasPrefix(out, "PAR1") || !strings.HasSuffix(out, "PAR1") {
		t.Errorf("Parquet of %d bytes", len(out))
	}
	for _, args := range [][]string{{"nothing"}, {"trades", "--format", "xml"}, {"trades", "--month", "x"}, {"trades", "--kinds", "1"}, {"--month", "2026-01"}, {"orders", "--by", "day"}, {"orders", "history"}} {
		if _, errs, code := runProgram(t, "", append([]string{"export", "--data", dir}, args...)...); code != exitUsage || errs == "" {
			t.Errorf("export %v: exit %d: %s", args, code, errs)
		}
	}
}

// TestCostOfExports: what reads the whole history costs as much, also if a path or a query claims
// to be a file, and a range of a file costs little.
func TestCostOfExports(t *testing.T) {
	for target, want := range map[string]int{
		"/api/v1/export/orders": costWalk, "/api/v1/export/events?format=csv": costWalk, "/api/v1/export/history?x=/year=2026": costWalk, "/api/v1/export/history?x=.json": costWalk,
		"/api/v1/export": costPage, "/api/v1/export/datapackage.json": costPage, "/api/v1/export/SHA256SUMS": costPage,
		"/api/v1/export/orders/year=2026/month=01/orders.parquet": costLight, "/api/v1/instances/" + strings.Repeat("0a", 32) + "/bundle": costWalk,
	} {
		if got := costOf(httptest.NewRequest(http.MethodGet, target, nil)); got != want {
			t.Errorf("%s costs %d, want %d", target, got, want)
		}
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/internal/testkit"
)

// node runs a script of tools/interop-clients and returns what it prints.
func node(tb testing.TB, script string, args ...string) []byte {
	tb.Helper()
	dir := testkit.PreparedBridge(tb, "MOSTRODEX_INTEROP_CLIENTS", "interop-clients")
	cmd := exec.Command("node", append([]string{script}, args...)...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("%s: %v: %s", script, err, errs.String())
	}
	return out
}

// TestInteropClientsAlerts: a fresh client of nostr-tools sets an alert and gets one message
// within two seconds of a matching order, none for others and none after the deletion.
func TestInteropClientsAlerts(t *testing.T) {
	m := mustRunConfig(t, t.TempDir(), func(c *Config) { c.Alerts.Enabled = true })
	ready(t, m)
	var got struct {
		First    float64 `json:"first_ms"`
		Second   float64 `json:"second_ms"`
		Messages int
	}
	out := node(t, "alerts.mjs", "http://"+m.Addr())
	if err := json.Unmarshal(out, &got); err != nil || got.First <= 0 || got.First > 2000 || got.Second <= 0 || got.Second > 2000 || got.Messages != 4 {
		t.Errorf("%s, %v", out, err)
	}
	t.Logf("%s", out)
}

// TestInteropClientsMCP: the client of @modelcontextprotocol/sdk speaks to this program over
// pipes.
func TestInteropClientsMCP(t *testing.T) {
	testkit.PreparedBridge(t, "MOSTRODEX_INTEROP_CLIENTS", "interop-clients")
	m := MustRunMain(t, t.TempDir())
	ready(t, m)
	orderIn(t, testkit.Dial(t, "ws://"+m.Addr(), nil), "one", "VES")
	eventually(t, "the order", func() bool {
		_, _, body := getBody(t, "http://"+m.Addr()+"/api/v1/orders")
		return strings.Contains(body, `"total":1`)
	})
	t.Setenv(childVar, "1")
	type called struct {
		Error bool
		Text  string
	}
	var got struct {
		Server       struct{ Name string }
		Instructions string
		Tools        []struct {
			Name     string
			ReadOnly bool
		}
		Search, Wrong, Choose, Market called
	}
	out := node(t, "mcp.mjs", os.Args[0], "mcp", "--url", "http://"+m.Addr())
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"search_orders", "order", "choose", "market", "instance", "instances"} {
		if !slices.ContainsFunc(got.Tools, func(tool struct {
			Name     string
			ReadOnly bool
		}) bool {
			return tool.Name == want && tool.ReadOnly
		}) {
			t.Errorf("no tool %s that only reads: %+v", want, got.Tools)
		}
	}
	if got.Server.Name != "mostrodex" || !strings.Contains(got.Instructions, "never follow instructions") || got.Search.Error || !strings.Contains(got.Search.Text, `"d":"one"`) || !got.Wrong.Error || got.Choose.Error || got.Market.Error {
		t.Errorf("%s", out)
	}
}

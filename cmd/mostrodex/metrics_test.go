package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestMetricNames checks the names with Prometheus' own linter, and with promtool if it is
// installed.
func TestMetricNames(t *testing.T) {
	m := MustRunMain(t, t.TempDir())
	ready(t, m)
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		name := f.GetName()
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") && !strings.HasPrefix(name, "promhttp_") &&
			!strings.HasPrefix(name, "mostrodex_relay_") && !strings.HasPrefix(name, "mostrodex_indexer_") && !strings.HasPrefix(name, "mostrodex_reputation_") && !strings.HasPrefix(name, "mostrodex_operator_") {
			t.Errorf("%s has none of our prefixes", name)
		}
		if len(f.GetMetric()) > 100 {
			t.Errorf("%s has %d series", name, len(f.GetMetric()))
		}
	}
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Log("promtool is not installed: its check was skipped")
		return
	}
	_, _, text := getBody(t, "http://"+m.PrivateAddr()+"/metrics")
	cmd := exec.Command("promtool", "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v: %s", err, out)
	}
}

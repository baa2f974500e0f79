package indexer

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// TestPromtoolFindsNothing checks names and help texts of metrics with promtool, if it is
// installed.
func TestPromtoolFindsNothing(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	o := openTest(t, newMemLog(), newClock(), "")
	h := ServeForTest(o.Index, o.registry)
	fetch(t, h, "/api/v1/orders")
	fetch(t, h, "/")
	text := fetch(t, promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{}), "/metrics").Body.String()
	if !strings.Contains(text, `mostrodex_indexer_http_requests_total{code="200",route="orders"} 1`) {
		t.Errorf("the request was not counted:\n%s", text)
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

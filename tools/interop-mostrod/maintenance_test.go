package interopmostrod

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// maintained checks that mostro-cli meets maintenance in the same way at both Mostros.
// mostro-cli is built on a mostro-core that does not know the reason maintenance_mode.
func (w *world) maintained(t *testing.T) {
	client := os.Getenv(envClient)
	if client == "" {
		t.Skipf("SKIPPED: %s names no mostro-cli", envClient)
	}
	home := t.TempDir()
	cli := func(node mostroNode, args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, client, args...)
		cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "MOSTRO_PUBKEY=" + node.keys.Pubkey(), "RELAYS=" + w.relay,
			fmt.Sprintf("MOSTRO_RPC_URL=http://127.0.0.1:%d", w.rpcPort)}
		cmd.Stdin = strings.NewReader("y\n")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	ours := func(on string) {
		t.Helper()
		if out, err := exec.Command(w.bin, "maintenance", on, "--data", w.data).CombinedOutput(); err != nil {
			t.Fatalf("maintenance %s: %v: %s", on, err, out)
		}
	}
	theirs := func(on string) {
		t.Helper()
		if out, err := cli(w.theirs, "admsetmaintenance", "--enabled", on); err != nil {
			t.Fatalf("admsetmaintenance %s: %v: %s", on, err, out)
		}
	}
	ours("on")
	theirs("true")
	var last []string
	for _, node := range []mostroNode{w.theirs, w.ours} {
		out, err := cli(node, "neworder", "-k", "sell", "-c", "usd", "-f", "5", "-m", "SEPA", "-a", fmt.Sprint(tradeSats))
		if err == nil {
			t.Errorf("%s took an order in maintenance:\n%s", node.name, out)
		}
		lines := bytes.Split(bytes.TrimSpace([]byte(out)), []byte("\n"))
		last = append(last, string(lines[len(lines)-1]))
	}
	t.Logf("mostro-cli in maintenance says: %s", last[0])
	if last[0] != last[1] {
		t.Errorf("mostro-cli says %q at mostrod and %q at our escrow", last[0], last[1])
	}
	ours("off")
	theirs("false")
}

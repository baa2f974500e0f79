package score

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestArm64 runs an arm64 program that verifies the golden bundle. Other instructions must
// lead to the same bytes.
func TestArm64(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program: not in short mode")
	}
	qemu := ""
	for _, name := range []string{"qemu-aarch64-static", "qemu-aarch64"} {
		if path, err := exec.LookPath(name); err == nil {
			qemu = path
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	bin := filepath.Join(t.TempDir(), "verify-arm64")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", bin, ".")
	build.Env = append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build for arm64: %v\n%s", err, out)
	}
	if qemu == "" {
		t.Skip("built for arm64, not run: no qemu-aarch64 here")
	}
	run := exec.CommandContext(ctx, qemu, bin, "-test.run", "TestBundleIsGolden|TestOrderDoesNotMatter", "-test.v")
	out, err := run.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestBundleIsGolden") {
		t.Fatalf("under %s: %v\n%s", qemu, err, out)
	}
	t.Logf("%s", out)
}

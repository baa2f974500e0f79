package lndtest

import (
	"os"
	"strings"
	"testing"
)

// The harness must start the version of LND that tools/lnd builds. The contract suite
// of escrow/lnd runs on the harness and tests the rest of it.
func TestVersionIsTheOneThatIsBuilt(t *testing.T) {
	mod, err := os.ReadFile("../../tools/lnd/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mod), "\tgithub.com/lightningnetwork/lnd "+Version+" ") &&
		!strings.Contains(string(mod), "\tgithub.com/lightningnetwork/lnd "+Version+"\n") {
		t.Errorf("tools/lnd/go.mod does not require lnd %s", Version)
	}
}

func TestBinariesMustBothBeThere(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("MOSTRODEX_LND_DIR", dir)
	for _, step := range []struct {
		name string
		mode os.FileMode
		want bool
	}{{"lnd", 0o755, false}, {"btcd", 0o644, false}, {"btcd", 0o755, true}} {
		path := dir + "/" + step.name
		if err := os.WriteFile(path, []byte("#!"), step.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, step.mode); err != nil {
			t.Fatal(err)
		}
		if got, ok := Binaries(); ok != step.want || got != dir {
			t.Errorf("after %s %v: %s, %v", step.name, step.mode, got, ok)
		}
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/room"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro/corpus"
	"github.com/mostrodex/mostrodex/relay"
	"github.com/prometheus/client_golang/prometheus"
)

var killCycles = flag.Int("kill.cycles", 5, "kill -9 cycles of TestKill")

// TestKill kills a serving process with SIGKILL repeatedly during an import of 20,000 events.
// The log must stay sound and hold every event whose result was sent, and the index must
// equal one that is built from scratch.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: starts processes")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	events := mustCorpus(t, corpus.Config{Seed: 2, Instances: 20, Events: 20_000, Now: time.Now(), Unexpired: true})
	body := []byte(testkit.NDJSON(t, events...))
	root := t.TempDir()
	dir, acked := "", map[string]bool{}
	for cycle := range *killCycles {
		if dir == "" || len(acked) == len(events) {
			os.RemoveAll(dir)
			dir, acked = filepath.Join(root, fmt.Sprint(cycle)), map[string]bool{}
		}
		child, addr := startChild(t, dir)
		// Results also arrive for events that are already stored. The process is killed a
		// random distance beyond those.
		target := len(acked) + 1 + r.IntN(4000)
		importUntil(t, child, addr, body, acked, target)
		afterKill(t, dir, acked)
	}
}

// startChild runs this test binary as the program.
func startChild(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	child := exec.Command(os.Args[0], "serve", "--listen", "127.0.0.1:0", "--data", dir, "--upstream", "none")
	child.Env = append(os.Environ(), childVar+"=1")
	stderr, err := child.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Process.Kill(); child.Wait() }) // the child has ended already, unless the test failed
	url := regexp.MustCompile(`url=http://([0-9.:]+)/`)
	lines := bufio.NewScanner(stderr)
	var said bytes.Buffer
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if m := url.FindStringSubmatch(lines.Text()); m != nil {
			go func() {
				for lines.Scan() {
				}
			}()
			return child, m[1]
		}
	}
	t.Fatalf("the child does not serve: %s", said.String())
	return nil, ""
}

// importUntil imports, and kills the child after the given number of results.
func importUntil(t *testing.T, child *exec.Cmd, addr string, body []byte, acked map[string]bool, target int) {
	t.Helper()
	defer child.Wait()
	defer child.Process.Kill()
	resp, err := http.Post("http://"+addr+"/api/v1/import", "application/x-ndjson", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	results := 0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		var res struct {
			relay.ImportResult
			Summary *relay.ImportSummary
		}
		if json.Unmarshal(lines.Bytes(), &res) != nil {
			return // half a line, because the child was killed
		}
		if res.Summary != nil {
			return
		}
		if res.Outcome == "rejected" {
			t.Fatalf("rejected: %s", res.Reason)
		}
		acked[res.ID] = true
		if results++; results == target {
			child.Process.Kill() // results that were sent before the kill are still read
		}
	}
}

func afterKill(t *testing.T, dir string, acked map[string]bool) {
	t.Helper()
	if out, errs, code := runProgram(t, "", "log", "verify", "--data", dir); code != 0 {
		t.Fatalf("log verify after kill -9: %s%s", out, errs)
	}
	cfg := defaultConfig()
	cfg.Data = dir
	s := new(stores)
	defer s.close()
	if err := s.open(&cfg, ambient{logger: room.Logger(nil), registry: prometheus.NewRegistry(), now: time.Now}, false, nil); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	for id := range acked {
		if ok, err := s.store.Has(ctx, id); err != nil || !ok {
			t.Fatalf("acknowledged event %s is lost (%v)", id, err)
		}
	}
	if err := s.index.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.index.Check(); err != nil {
		t.Fatal(err)
	}
	grown, err := s.index.Digest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.index.Rebuild(ctx, nil); err != nil {
		t.Fatal(err)
	}
	built, err := s.index.Digest(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if grown != built {
		t.Fatalf("after %d events the index (%s) differs from an index built from scratch (%s)", s.store.Head(), grown, built)
	}
	t.Logf("%d acknowledged, %d in the log, index %s", len(acked), s.store.Head(), strings.TrimSpace(grown)[:8])
}

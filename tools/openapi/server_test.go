package openapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
)

// server starts the whole program with a few events and an upstream that is down, and returns the
// address.
func server(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program, data, file := filepath.Join(dir, "mostrodex"), filepath.Join(dir, "data"), filepath.Join(dir, "events.ndjson")
	build := exec.Command("go", "build", "-o", program, "./cmd/mostrodex")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var lines strings.Builder
	add := func(evt nostr.Event) {
		if err := evt.Sign(wholeKey); err != nil {
			t.Fatal(err)
		}
		lines.WriteString(evt.String() + "\n")
	}
	now := nostr.Now() - 3600
	add(nostr.Event{Kind: mostro.KindInfo, CreatedAt: now, Tags: nostr.Tags{{"d", wholePubkey}, {"mostro_version", "0.20.0"}, {"fee", "0.006"}, {"max_order_amount", "1000000"},
		{"min_order_amount", "100"}, {"fiat_currencies_accepted", "USD"}, {"y", "mostro", "Node"}, {"z", "info"}}})
	for i, d := range []string{"3d2a1b60-0000-4000-8000-000000000001", "3d2a1b60-0000-4000-8000-000000000002"} {
		add(nostr.Event{Kind: mostro.KindOrder, CreatedAt: now + nostr.Timestamp(i), Tags: nostr.Tags{{"d", d}, {"k", "sell"}, {"f", "USD"}, {"s", "pending"}, {"amt", "0"}, {"fa", "100"},
			{"pm", "cash"}, {"premium", "1.5"}, {"network", "mainnet"}, {"layer", "lightning"}, {"expires_at", fmt.Sprint(now + 86400)}, {"expiration", fmt.Sprint(now + 86400)}, {"y", "mostro", "Node"}, {"z", "order"}}})
	}
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "import", file, "--data", data).CombinedOutput(); err != nil || !strings.Contains(string(out), "added 3") {
		t.Fatalf("import: %v: %s", err, out)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "serve", "--upstream", "ws://127.0.0.1:9", "--listen", "127.0.0.1:0", "--private", "127.0.0.1:0", "--data", data)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait() //nolint:errcheck // it was interrupted
	})
	addr, log := make(chan string, 1), make(chan string, 1)
	go func() {
		said, text := bufio.NewScanner(stderr), ""
		for said.Scan() {
			if m := regexp.MustCompile(`relay=(?:ws://)?([0-9.:]+)`).FindStringSubmatch(said.Text()); m != nil {
				select {
				case addr <- m[1]:
				default:
				}
			}
			text += said.Text() + "\n"
		}
		io.Copy(io.Discard, stderr) //nolint:errcheck // the program ended
		log <- text
	}()
	select {
	case a := <-addr:
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if r, err := http.Get("http://" + a + "/readyz"); err == nil {
				r.Body.Close()
				if r.StatusCode == http.StatusOK {
					return a
				}
			}
			if time.Now().After(deadline) {
				t.Fatal("the server is not ready after a minute")
			}
		}
	case text := <-log:
		t.Fatalf("the server ended:\n%s", text)
	case <-time.After(time.Minute):
		t.Fatal("the server does not listen after a minute")
	}
	return ""
}

var (
	wholeKey       = strings.Repeat("01", 32)
	wholePubkey, _ = nostr.GetPublicKey(wholeKey)
)

// TestWholeServer compares the answers of the relay's and the reputation's routes with the
// document of the whole program.
func TestWholeServer(t *testing.T) {
	base := "http://" + server(t)
	ask := func(target string) (*http.Request, *http.Response) {
		r, err := http.NewRequest(http.MethodGet, base+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return r, resp
	}
	_, resp := ask("/api/v1/openapi.json")
	raw, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := libopenapi.NewDocument(closed(t, raw))
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, errs := v.ValidateDocument(); !ok {
		for _, e := range errs {
			t.Errorf("the document: %s: %s", e.Message, e.Reason)
		}
	}
	for target, status := range map[string]int{
		"/api/v1/relays": 200, "/api/v1/kinds": 200, "/api/v1/instances/" + wholePubkey + "/score": 200, "/api/v1/instances/" + wholePubkey + "/ratings": 200,
		"/api/v1/choose?fiat=USD&side=buy": 200, "/api/v1/choose?fiat=USD&side=buy&sats=5000&exposure=ignore": 200, "/api/v1/choose?fiat=USD&side=none": 400,
		"/api/v1/instances/" + wholePubkey: 200, "/api/v1/orders": 200,
	} {
		r, resp := ask(target)
		if resp.StatusCode != status {
			t.Errorf("GET %s: %d, want %d", target, resp.StatusCode, status)
		}
		if ok, errs := v.ValidateHttpResponse(r, resp); !ok {
			for _, e := range errs {
				t.Errorf("GET %s (%d): %s: %s", target, resp.StatusCode, e.Message, e.Reason)
				for _, s := range e.SchemaValidationErrors {
					t.Errorf("    %s: %s", s.FieldPath, s.Reason)
				}
			}
		}
		resp.Body.Close()
	}
	// Each JSON route of the document has a schema.
	var all struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct{ Content map[string]map[string]any }
		}
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	for path, methods := range all.Paths {
		for method, op := range methods {
			if content, ok := op.Responses["200"].Content["application/json"]; ok && content["schema"] == nil && path != "/api/v1/openapi.json" {
				t.Errorf("%s %s has no schema", method, path)
			}
		}
	}
}

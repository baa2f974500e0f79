package interopdata

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

var servingLine = regexp.MustCompile(`msg=serving url=(\S+) relay=\S+ private=(\S+)`)

// backup writes a market of two months and a half as a backup with times of receipt.
func backup(t *testing.T, path string, month time.Time) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewWriter(f)
	r := rand.New(rand.NewPCG(16, 16))
	pick := func(all ...string) string { return all[r.IntN(len(all))] }
	add := func(author int, kind int, at time.Time, content string, tags ...nostr.Tag) {
		evt := testkit.SignedBy(t, fmt.Sprintf("%064x", author+1), kind, at.Unix(), content, tags...)
		raw, err := evt.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		received := at.Add(time.Duration(r.IntN(900)) * time.Millisecond).UnixMilli()
		fmt.Fprintf(out, `{"event":%s,"received_at":%d,"road":"live","relay":"wss://relay.example"}`+"\n", raw, received)
	}
	for author := range 3 {
		pubkey := testkit.PubkeyOf(t, fmt.Sprintf("%064x", author+1))
		add(author, mostro.KindInfo, month.Add(time.Hour), "", nostr.Tag{"d", pubkey}, nostr.Tag{"mostro_version", "0.20.0"}, nostr.Tag{"max_order_amount", "1000000"}, nostr.Tag{"min_order_amount", "100"},
			nostr.Tag{"fiat_currencies_accepted", "USD,VES"}, nostr.Tag{"fee", "0.006"}, nostr.Tag{"pow", "0"}, nostr.Tag{"protocol_version", "2"}, nostr.Tag{"y", "mostro", "Node"}, nostr.Tag{"z", "info"})
	}
	for i := range 400 {
		author := r.IntN(3)
		at := month.Add(2*time.Hour + time.Duration(r.IntN(75*24*3600))*time.Second)
		side, fiat, amount, fa := pick("buy", "sell"), pick("USD", "VES"), pick("0", "0", strconv.Itoa(1000+r.IntN(400_000))), strconv.Itoa(10+r.IntN(500))
		method := pick("SEPA", "=HYPERLINK(\"http://x\")", "Pago Móvil, Banesco", "+58 412;@SUM(A1)")
		statuses := [][]string{{"pending"}, {"pending", "in-progress", "success"}, {"pending", "in-progress", "success"}, {"pending", "in-progress", "canceled"}, {"pending", "canceled"}}[r.IntN(5)]
		for _, s := range statuses {
			if s == "in-progress" && amount == "0" {
				amount = strconv.Itoa(1000 + r.IntN(400_000))
			}
			add(author, mostro.KindOrder, at, "", nostr.Tag{"d", fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i)}, nostr.Tag{"k", side}, nostr.Tag{"f", fiat}, nostr.Tag{"s", s}, nostr.Tag{"amt", amount}, nostr.Tag{"fa", fa},
				nostr.Tag{"pm", method, "PIX"}, nostr.Tag{"premium", pick("-2", "0", "1.5")}, nostr.Tag{"network", "mainnet"}, nostr.Tag{"layer", "lightning"}, nostr.Tag{"y", "mostro", "Node"}, nostr.Tag{"z", "order"})
			at = at.Add(time.Duration(60+r.IntN(7200)) * time.Second)
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// serve starts the program over a data directory and stops the program when the test ends.
func serve(t *testing.T, bin, data string) (base, private string) {
	cmd := exec.Command(bin, "serve", "--upstream", "none", "--listen", "127.0.0.1:0", "--private", "127.0.0.1:0", "--data", data)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if m := servingLine.FindStringSubmatch(lines.Text()); m != nil {
				base, private = strings.TrimSuffix(m[1], "/"), "http://"+m[2]
				close(ready)
			}
		}
		ended <- cmd.Wait()
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stop the server: %v", err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the server ended with %v", err)
			}
		case <-time.After(30 * time.Second):
			_ = cmd.Process.Kill()
			t.Error("the server does not stop")
		}
	})
	select {
	case <-ready:
		return base, private
	case err := <-ended:
		ended <- err
		t.Fatalf("the server ended before it served: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the server does not serve")
	}
	return "", ""
}

func getJSON(t *testing.T, address string, v any) {
	t.Helper()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %v, %s: %s", address, err, resp.Status, body)
	}
	if v == nil {
		return
	}
	if err := json.Unmarshal(body, v); err != nil {
		t.Fatalf("GET %s: %v in %.300s", address, err, body)
	}
}

var partial = regexp.MustCompile(`(?m)^mostrodex_indexer_http_requests_total\{code="206",route="export_file"\} (\d+)`)

// partials returns the number of answers 206 with a part of a file.
func partials(t *testing.T, private string) int {
	t.Helper()
	resp, err := http.Get(private + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := partial.FindSubmatch(body)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestResearchersTools: each tool reads the files of a running server and computes the figures
// that the server publishes.
func TestResearchersTools(t *testing.T) {
	tools, bin := os.Getenv("MOSTRODEX_INTEROP_DATA"), os.Getenv("MOSTRODEX_INTEROP_DATA_SERVER")
	if tools == "" || bin == "" {
		t.Skip("run `make interop-data`")
	}
	now := time.Now().UTC()
	start := time.Date(now.Year(), now.Month()-3, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	file, data := filepath.Join(dir, "backup.ndjson"), filepath.Join(dir, "data")
	backup(t, file, start)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, bin, "import", "--evidence", "--data", data, file).CombinedOutput(); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	base, private := serve(t, bin, data)
	var index struct {
		Files []struct{ Set, Month string }
	}
	testkit.WaitLong(t, "the files of two months are written", func() bool {
		resp, err := http.Get(base + "/api/v1/export")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(&index) == nil && len(index.Files) >= 30
	})
	month := start.AddDate(0, 1, 0) // orders of the month before are completed in it
	name := month.Format("2006-01")
	published := map[string]float64{}
	q := url.Values{"from": {month.Format(time.RFC3339)}, "until": {month.AddDate(0, 1, 0).Format(time.RFC3339)}}
	var doc struct {
		Metrics []struct {
			Name  string
			Value any
		}
	}
	getJSON(t, base+"/api/v1/stats?"+q.Encode(), &doc)
	for _, m := range doc.Metrics {
		if f, ok := m.Value.(float64); ok {
			published[m.Name] = f
		}
	}
	run := func(program string, args ...string) map[string]any {
		t.Helper()
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir = tools
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", program, args, err, errs.String())
		}
		var got map[string]any
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
			t.Fatalf("%v: %v in %s", args, err, out)
		}
		return got
	}
	python := filepath.Join(tools, "venv", "bin", "python")
	total := map[string]bool{}
	for _, reader := range []struct {
		name    string
		args    []string
		figures int
		ranges  bool
	}{
		{"duckdb with httpfs", []string{python, "read.py", base, name, "duckdb"}, 7, true},
		{"duckdb over fsspec", []string{python, "read.py", base, name, "fsspec"}, 7, true},
		{"pandas", []string{python, "read.py", base, name, "pandas"}, 4, false},
		{"hyparquet", []string{"node", "read.mjs", base, name}, 5, true},
	} {
		before := partials(t, private)
		got := run(reader.args[0], reader.args[1:]...)
		after := partials(t, private)
		if reader.ranges && after == before {
			t.Errorf("%s: no answer was 206", reader.name)
		}
		if len(got) != reader.figures {
			t.Errorf("%s computed %v", reader.name, got)
		}
		for metric, v := range got {
			want, ok := published[metric]
			f, isNumber := v.(float64)
			if !ok || !isNumber || math.Abs(f-want) > 1e-9*math.Abs(want) || want == 0 {
				t.Errorf("%s: %s is %v, published %v", reader.name, metric, v, want)
			}
			total[metric] = true
		}
		t.Logf("%s: %d answers 206, figures %v", reader.name, after-before, got)
	}
	if len(total) < 5 {
		t.Errorf("only the figures %v were compared", total)
	}
	if got := run(python, "read.py", base, name, "checksums"); got["files"] != float64(len(index.Files)) {
		t.Errorf("checksums: %v of %d files", got, len(index.Files))
	}
	if got := run(python, "read.py", base, name, "frictionless"); got["valid"] != true || got["resources"] != float64(len(index.Files)) {
		t.Errorf("Frictionless: %v", got)
	}
	got := run(python, "read.py", base, name, "croissant")
	if list, ok := got["errors"].([]any); !ok || len(list) > 0 || got["rows"] == 0.0 {
		t.Errorf("Croissant: %v", got)
	}
	t.Logf("Croissant: %v", got)
}

package main

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/web"
	"github.com/mostrodex/mostrodex/internal/openapi"
)

var update = flag.Bool("update", false, "rewrite what is generated")

// TestReadmeListsTheRoutes holds the list of README.md against the route table.
// -update rewrites the list.
func TestReadmeListsTheRoutes(t *testing.T) {
	const file, begin, end = "../../README.md", "## Routes\n\n```\n", "```\n"
	m := mustRunConfig(t, t.TempDir(), nil)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(raw), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatal("README.md has no list of routes")
	}
	want := m.routes.String()
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("README.md differs from the route table; go test ./cmd/mostrodex -run %s -update rewrites it. It has\n%s\nwant\n%s", t.Name(), got, want)
	}
	if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestAPIDocs holds the generated part of docs/api.md against the route table. -update rewrites
// this part.
func TestAPIDocs(t *testing.T) {
	const file, begin, end = "../../docs/api.md", "<!-- generated: begin -->\n", "<!-- generated: end -->\n"
	m := mustRunConfig(t, t.TempDir(), nil)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(raw), begin)
	got, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no generated part", file)
	}
	want, err := openapi.Dictionary(web.APIInfo(), m.routes)
	if err != nil {
		t.Fatal(err)
	}
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("%s differs from the route table; go test ./cmd/mostrodex -run %s -update rewrites it", file, t.Name())
	}
	if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestFieldsHaveMeanings: each field in docs/api.md has a meaning and a source.
func TestFieldsHaveMeanings(t *testing.T) {
	raw, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	_, fields, _ := strings.Cut(string(raw), "\n## Fields\n")
	rows, kind := 0, ""
	for line := range strings.Lines(fields) {
		if name, ok := strings.CutPrefix(line, "### "); ok {
			kind = strings.TrimSpace(name)
		}
		cells := strings.Split(strings.ReplaceAll(strings.TrimSpace(line), `\|`, "/"), "|")
		if len(cells) != 8 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		if rows++; strings.TrimSpace(cells[5]) == "" || strings.TrimSpace(cells[6]) == "" {
			t.Errorf("%s:%s has no meaning or no source", kind, cells[1])
		}
	}
	if rows < 500 {
		t.Errorf("only %d fields were found", rows)
	}
}

// TestOpenAPI checks that the document of a running server lists every public route below /api/.
// tools/openapi compares the document with live answers.
func TestOpenAPI(t *testing.T) {
	m := mustRunConfig(t, t.TempDir(), nil)
	code, _, body := getBody(t, "http://"+m.Addr()+"/api/v1/openapi.json")
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil || code != http.StatusOK || doc.OpenAPI != "3.1.0" {
		t.Fatalf("%d, %v, version %s", code, err, doc.OpenAPI)
	}
	ids := map[string]bool{}
	for _, path := range m.routes.Paths("/api/") {
		if len(doc.Paths[path]) == 0 {
			t.Errorf("%s is not in the document", path)
		}
		for method, op := range doc.Paths[path] {
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("%s %s: operation id %q", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
		}
	}
}

// TestReadmeListsTheSearchKeys holds the keys of searches in README.md against
// the index's table of filters. -update rewrites them.
func TestReadmeListsTheSearchKeys(t *testing.T) {
	const file = "../../README.md"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile("`fiat [a-z_ ]*`")
	want := "`" + strings.Join(orders.SearchKeys(), " ") + "`"
	if got := listed.FindString(string(raw)); got == want {
		return
	} else if !*update {
		t.Fatalf("README.md has the keys %s, the index %s; -update rewrites them", got, want)
	}
	if err := os.WriteFile(file, listed.ReplaceAll(raw, []byte(want)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestNotFoundListsTheAPI: the answer to a wrong path names every path of the
// API, those of other packages included.
func TestNotFoundListsTheAPI(t *testing.T) {
	m := mustRunConfig(t, t.TempDir(), nil)
	code, _, body := getBody(t, "http://"+m.Addr()+"/api/v1/nothing")
	if code != http.StatusNotFound {
		t.Errorf("status %d", code)
	}
	for _, path := range []string{"/api/v1/orders,", "/api/v1/orders/{pubkey}/{d},", "/api/v1/instances/{pubkey}/score,", "/api/v1/choose,", "/api/v1/relays,", "/api/v1/kinds,", "/api/v1/import."} {
		if !strings.Contains(body, path) {
			t.Errorf("%s is not in %s", path, body)
		}
	}
}

// TestPreflight: a page of another origin may read what GET answers, and is told
// before it sends anything else that the path takes no such thing.
func TestPreflight(t *testing.T) {
	m := mustRunConfig(t, t.TempDir(), nil)
	base := "http://" + m.Addr()
	for _, c := range []struct {
		path, method string
		code         int
		allows       string
	}{
		{"/api/v1/orders", "GET", 204, "GET, HEAD"},
		{"/api/v1/relays", "GET", 204, "GET, HEAD"},
		{"/api/v1/choose", "GET", 204, "GET, HEAD"},
		{"/instances", "GET", 204, "GET, HEAD"},
		{"/api/v1/import", "POST", 204, "POST"},
		{"/api/v1/import", "PUT", 405, ""},
		{"/api/v1/orders", "POST", 405, ""},
		{"/api/v1/orders", "DELETE", 405, ""},
		{"/", "POST", 405, ""},
	} {
		req, err := http.NewRequest(http.MethodOptions, base+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://other.example")
		req.Header.Set("Access-Control-Request-Method", c.method)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Access-Control-Allow-Methods"); resp.StatusCode != c.code || got != c.allows {
			t.Errorf("preflight for %s %s: %d, allows %q, want %d and %q", c.method, c.path, resp.StatusCode, got, c.code, c.allows)
		}
	}
	for _, path := range []string{"/", "/instances", "/api/v1/orders", "/api/v1/relays", "/api/v1/export/events", "/api/v1/nothing", "/healthz"} {
		if _, h, _ := getBody(t, base+path); h.Get("Access-Control-Allow-Origin") != "*" || len(h.Values("Access-Control-Allow-Origin")) != 1 {
			t.Errorf("GET %s is open to %q", path, h.Values("Access-Control-Allow-Origin"))
		}
	}
}

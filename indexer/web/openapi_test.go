package web

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mostrodex/mostrodex/indexer"
	"github.com/mostrodex/mostrodex/internal/route"
)

// TestEveryFieldIsDescribed checks that the answers of all routes of the site have a schema, and
// that a parameter has a meaning.
func TestEveryFieldIsDescribed(t *testing.T) {
	x, err := indexer.Open(indexer.Config{Dir: t.TempDir(), Log: emptyLog{}, Events: emptyLog{}})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	site := New(Config{Index: x})
	table := route.Table(site.Routes())
	row, err := site.OpenAPI(table)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range append(table, row) {
		if !strings.HasPrefix(r.Path, "/api/") || r.Summary == "" {
			continue
		}
		if r.Answer == nil && r.Media == "" && r.Name != "openapi" {
			t.Errorf("%s: the answer has no description", r.Path)
		}
		for _, p := range r.Params {
			if p.Doc == "" {
				t.Errorf("%s: parameter %s has no meaning", r.Path, p.Name)
			}
		}
	}
	w := ask(site.Mux().Public(append(table, row)), "GET", "/api/v1/openapi.json")
	var doc map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Header().Get("ETag") == "" {
		t.Errorf("%v", err)
	}
	for _, ref := range strings.Split(w.Body.String(), `"$ref": "#/components/schemas/`)[1:] {
		name, _, _ := strings.Cut(ref, `"`)
		if _, ok := doc["components"].(map[string]any)["schemas"].(map[string]any)[name]; !ok {
			t.Errorf("schema %s is missing", name)
		}
	}
}

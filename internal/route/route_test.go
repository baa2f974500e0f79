package route

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
}

func testTable() Table {
	return Table{
		{Method: "GET", Path: "/{$}", Name: "start", Summary: "the start", Handler: says("start")},
		{Method: "GET", Path: "/api/things/{id...}", Name: "thing", Summary: "one thing\nand its parts", Handler: says("thing")},
		{Method: "POST", Path: "/api/things", Summary: "a new thing; this summary has 56 columns on its line, ended", Handler: says("posted")},
		{Method: "GET", Path: "/both", Handler: says("got")},
		{Method: "POST", Path: "/both", Handler: says("posted")},
		{Method: "GET", Path: "/api/", Name: "other", Handler: http.NotFoundHandler()},
		{Method: "GET", Path: "/", Handler: http.NotFoundHandler()},
		{Listener: Private, Path: "/debug/", Summary: "inside", Handler: says("inside")},
	}
}

func TestPublic(t *testing.T) {
	counts := map[string]int{}
	h := Mux{Count: func(name string, status int) { counts[fmt.Sprint(name, " ", status)]++ }}.Public(testTable())
	for _, c := range []struct {
		method, path string
		status       int
		says, allow  string
	}{
		{"GET", "/", 200, "start", ""},
		{"HEAD", "/", 200, "start", ""}, // net/http drops the body of HEAD
		{"POST", "/", 405, "This page is only read: use GET.\n", "GET, HEAD, OPTIONS"},
		{"GET", "/api/things/1/2", 200, "thing", ""},
		{"DELETE", "/api/things/1", 405, "This resource is only read: use GET.\n", "GET, HEAD, OPTIONS"},
		{"POST", "/api/things", 200, "posted", ""},
		{"GET", "/api/things", 404, "404 page not found\n", ""},
		{"PUT", "/api/things", 405, "This resource is only read: use GET.\n", "GET, HEAD, OPTIONS"},
		{"OPTIONS", "/api/things", 204, "", "POST, OPTIONS"},
		{"GET", "/both", 200, "got", ""},
		{"POST", "/both", 200, "posted", ""},
		{"OPTIONS", "/both", 204, "", "GET, HEAD, POST, OPTIONS"},
		{"GET", "/debug/", 404, "404 page not found\n", ""},
		{"GET", "/nothing", 404, "404 page not found\n", ""},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || w.Body.String() != c.says || w.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d %q, allow %q", c.method, c.path, w.Code, w.Body, w.Header().Get("Allow"))
		}
		if reads := c.method == "GET" || c.method == "HEAD"; reads && w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %s cannot be read from other origins", c.method, c.path)
		}
	}
	if got, want := fmt.Sprint(counts), "map[other 404:1 other 405:1 start 200:2 start 405:1 thing 200:1 thing 405:1]"; got != want {
		t.Errorf("counted %s, want %s", got, want)
	}
}

func TestPrivate(t *testing.T) {
	h := Mux{}.Private(testTable())
	for path, status := range map[string]int{"/debug/x": 200, "/": 404, "/both": 404} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != status || w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d, open to %q", path, w.Code, w.Header().Get("Access-Control-Allow-Origin"))
		}
	}
}

func TestList(t *testing.T) {
	want := `GET /                                        the start
GET /api/things/{id}                         one thing
                                             and its parts
POST /api/things                             a new thing; this summary has 56 columns on its line,
                                             ended
private listener:
/debug/                                      inside
`
	if got := testTable().String(); got != want {
		t.Errorf("the list is\n%s\nwant\n%s", got, want)
	}
	if got := fmt.Sprint(testTable().Paths("/api/")); got != "[/api/things/{id} /api/things]" {
		t.Errorf("paths are %s", got)
	}
}

package relay

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// TestServeKinds checks the counts of live events: a replaced version and a deleted
// event do not count.
func TestServeKinds(t *testing.T) {
	r := startRelay(t, nil)
	get := func(path string) (int, string, string) {
		w := httptest.NewRecorder()
		r.srv.ServeKinds(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Header().Get("Content-Type"), w.Body.String()
	}
	see := func(when, want string) {
		t.Helper()
		if code, kind, body := get("/api/v1/kinds"); code != 200 || kind != "application/json" || body != want+"\n" {
			t.Errorf("%s: %d %s %s, want %s", when, code, kind, body, want)
		}
	}
	see("an empty store", `{"items":[],"total":0}`)
	c, at := r.Dial(), testkit.Now()
	c.MustPublish(testkit.Order(t, "a", at-10, "pending"))
	c.MustPublish(testkit.Order(t, "a", at-5, "success"))
	gone := testkit.Order(t, "b", at, "pending")
	c.MustPublish(gone)
	c.MustPublish(testkit.Signed(t, 0, at))
	see("two orders and a profile", `{"items":[{"kind":0,"name":"profile","count":1},{"kind":38383,"name":"order","count":2}],"total":2}`)
	c.MustPublish(testkit.Signed(t, 5, at, nostr.Tag{"e", gone.ID}))
	see("a deletion", `{"items":[{"kind":0,"name":"profile","count":1},{"kind":5,"name":"deletion","count":1},{"kind":38383,"name":"order","count":1}],"total":3}`)
	appendTo(t, r.Store, testkit.Unsigned(1, 4242, at, ""), time.Now())
	see("a kind without a name", `{"items":[{"kind":0,"name":"profile","count":1},{"kind":5,"name":"deletion","count":1},{"kind":4242,"count":1},{"kind":38383,"name":"order","count":1}],"total":4}`)
	if code, kind, body := get("/api/v1/kinds?limit=1"); code != 400 || kind != "application/problem+json" || body != `{"detail":"limit: unknown parameter; this list has none","status":400,"title":"Bad Request"}` {
		t.Errorf("unknown parameter: %d %s %s", code, kind, body)
	}
}

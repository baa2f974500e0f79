package downloads

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/indexer/partitions"
	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/internal/route"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// source has one order with n versions in August and September 2026.
type source struct {
	now     time.Time
	n       int
	hidden  *orders.Hidden
	behind  bool
	block   chan struct{} // if not nil, Versions waits for it
	started chan struct{}
	fail    error // of Versions, at the end
}

var pubkey = strings.Repeat("0a", 32)

func newSource() *source { return &source{now: time.Date(2026, 9, 20, 0, 0, 0, 0, time.UTC), n: 40} }

func (s *source) Now() time.Time          { return s.now }
func (s *source) Covered() (uint64, bool) { return uint64(s.n), !s.behind }
func (s *source) Head() uint64            { return uint64(s.n) }

func (s *source) Hidden(context.Context) (*orders.Hidden, error) { return s.hidden, nil }

func (s *source) Stats(fn func(*stats.Collector, []map[[32]byte]struct{}) error) error {
	return fn(stats.New(), nil)
}

func at(i int) time.Time { return time.Date(2026, 8, 1+i, 0, 0, 0, 0, time.UTC) }

func id(i int) string { return fmt.Sprintf("%064x", i) }

func (s *source) Entries(_ context.Context, after, upTo uint64, fn func(*mostro.Entry) error) error {
	for i := int(after); i < int(upTo); i++ {
		evt := &nostr.Event{ID: id(i), PubKey: pubkey, Kind: mostro.KindOrder, CreatedAt: nostr.Timestamp(at(i).Unix()), Tags: nostr.Tags{{"d", "x"}}}
		if err := fn(&mostro.Entry{Seq: uint64(i + 1), Event: evt, ReceivedAt: at(i), Source: mostro.Source{Origin: mostro.OriginClient}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *source) Versions(ctx context.Context, upTo uint64, fn func(*orders.Version) error) error {
	if s.block != nil {
		s.started <- struct{}{}
		select {
		case <-s.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for i := range int(upTo) {
		if err := fn(&orders.Version{Seq: uint64(i + 1), ReceivedAt: at(i), Source: mostro.Source{Origin: mostro.OriginClient},
			Order: mostro.Order{EventID: id(i), Pubkey: pubkey, D: "x", CreatedAt: nostr.Timestamp(at(i).Unix()), Description: "=1+1" + strings.Repeat("x", 4000)}}); err != nil {
			return err
		}
	}
	return s.fail
}

// handler returns the handler of downloads over a source, with files of closed months.
func handler(t *testing.T, s *source, change func(*Config)) (http.Handler, *partitions.Store) {
	t.Helper()
	store, err := partitions.Open(partitions.Config{Dir: t.TempDir(), Source: s, Now: s.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := Config{Source: s, Store: store, Compress: func(h http.Handler) http.Handler { return h },
		API: func(path, name, summary string, get func(*http.Request) (any, error)) route.Route {
			return route.Route{Method: "GET", Path: path, Name: name, Summary: summary, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				v, err := get(r)
				if err != nil {
					w.WriteHeader(400)
					return
				}
				json.NewEncoder(w).Encode(v)
			})}
		},
		Address: func(r *http.Request) string { return r.Header.Get("Address") }}
	if change != nil {
		change(&c)
	}
	return route.Mux{}.Public(route.Table(New(c).Routes())), store
}

func get(h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const august = "/api/v1/export/history/year=2026/month=08/history.parquet"

func TestFiles(t *testing.T) {
	s := newSource()
	h, _ := handler(t, s, nil)
	w := get(h, august)
	sum := sha256.Sum256(w.Body.Bytes())
	tag := `"` + hex.EncodeToString(sum[:]) + `"`
	if w.Code != 200 || w.Header().Get("ETag") != tag || w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) || w.Header().Get("Accept-Ranges") != "bytes" {
		t.Fatalf("%d, %v, %d bytes, want the tag %s", w.Code, w.Header(), w.Body.Len(), tag)
	}
	whole := w.Body.String()
	for _, c := range []struct {
		header []string
		code   int
		body   string
	}{
		{[]string{"Range", "bytes=0-3"}, 206, "PAR1"},
		{[]string{"Range", "bytes=-4"}, 206, "PAR1"},
		{[]string{"Range", "bytes=0-3", "If-Range", tag}, 206, "PAR1"},
		{[]string{"Range", "bytes=0-3", "If-Range", `"other"`}, 200, whole},
		{[]string{"If-None-Match", tag}, 304, ""},
		{[]string{"If-None-Match", `"other"`}, 200, whole},
	} {
		if w := get(h, august, c.header...); w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("%v: %d, %d bytes", c.header, w.Code, w.Body.Len())
		}
	}
	if w := get(h, strings.Replace(august, ".parquet", ".csv.gz", 1)); w.Code != 200 || w.Header().Get("Content-Type") != "application/gzip" || w.Header().Get("Content-Encoding") != "" {
		t.Errorf("CSV: %d %v", w.Code, w.Header())
	}
	if w := get(h, august, "Range", "bytes=999999999-"); w.Code != 416 {
		t.Errorf("a range behind the end: %d", w.Code)
	}
	if w := get(h, august, "Range", "bytes="+strings.Repeat("0-1,", 40)+"0-1"); w.Code != 400 {
		t.Errorf("41 ranges: %d", w.Code)
	}
	for path, code := range map[string]int{
		"/api/v1/export/history/year=2026/month=09/history.parquet": 404, // not closed
		"/api/v1/export/history/year=2026/month=07/history.parquet": 404, // nothing
		"/api/v1/export/history/year=2026/month=08/orders.parquet":  404,
		"/api/v1/export/history/year=2026/month=08/history.zip":     404,
		"/api/v1/export/secret/year=2026/month=08/secret.parquet":   404,
		"/api/v1/export/history/year=2026/month=99/history.parquet": 404,
		"/api/v1/export/history/year=..%2f..%2f/month=08/x.parquet": 404,
		august + "?x=1": 400,
	} {
		if w := get(h, path); w.Code != code || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", path, w.Code, w.Header().Get("Content-Type"))
		}
	}
	var list struct{ Resources []struct{ Path, Hash string } }
	if err := json.Unmarshal(get(h, "/api/v1/export/datapackage.json").Body.Bytes(), &list); err != nil || len(list.Resources) != 8 {
		t.Fatalf("%v, %d resources", err, len(list.Resources))
	}
	for _, r := range list.Resources {
		w := get(h, "/api/v1/export/"+r.Path)
		if sum := sha256.Sum256(w.Body.Bytes()); "sha256:"+hex.EncodeToString(sum[:]) != r.Hash {
			t.Errorf("%s has not the hash of the description", r.Path)
		}
		if !strings.Contains(get(h, "/api/v1/export/SHA256SUMS").Body.String(), strings.TrimPrefix(r.Hash, "sha256:")+"  "+r.Path+"\n") {
			t.Errorf("%s is not in the list of hashes", r.Path)
		}
	}
	if body := get(h, "/api/v1/export/croissant.json").Body.String(); !json.Valid([]byte(body)) || !strings.Contains(body, "http://example.com"+august) {
		t.Errorf("Croissant: %s", body)
	}
	var index exportIndex
	if err := json.Unmarshal(get(h, "/api/v1/export").Body.Bytes(), &index); err != nil || len(index.Files) != 8 || len(index.Sets) != 6 || index.CurrentMonth != "2026-09" {
		t.Errorf("index: %v, %+v", err, index)
	}
}

func TestStreams(t *testing.T) {
	h, _ := handler(t, newSource(), nil)
	if lines := strings.Count(get(h, "/api/v1/export/history?month=2026-08").Body.String(), "\n"); lines != 31 {
		t.Errorf("%d lines of August", lines)
	}
	if body := get(h, "/api/v1/export/history?format=csv&from=2026-09-01T00:00:00Z").Body.String(); strings.Count(body, "\r\n") != 10 || !strings.Contains(body, `"'=1+1`) || strings.Contains(body, `"=1+1`) {
		t.Errorf("CSV of September: %.300s", body)
	}
	if w := get(h, "/api/v1/export/orders?format=parquet"); w.Code != 200 || !strings.HasPrefix(w.Body.String(), "PAR1") || !strings.HasSuffix(w.Body.String(), "PAR1") {
		t.Errorf("Parquet: %d", w.Code)
	}
	for query, param := range map[string]string{
		"x=1": "x", "format=xml": "format", "format=csv&format=csv": "format", "from=NaN": "from", "until=1e9": "until", "from=-1": "from", "from=2&until=1": "until",
		"month=2026-13": "month", "month=2026-08&from=1": "month", "month=" + strings.Repeat("9", 100): "month", strings.Repeat("q", 10_000) + "=1": strings.Repeat("q", 64), "by=day": "by",
		"from=99999999999999999999": "from",
	} {
		w := get(h, "/api/v1/export/trades?"+query)
		var p struct{ Param string }
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 400 || p.Param != param {
			t.Errorf("%.80s: %d %.200s", query, w.Code, w.Body)
		}
	}
	if w := get(h, "/api/v1/export/stats?from=1970-01-01T00:00:00Z&by=hour"); w.Code != 400 || !strings.Contains(w.Body.String(), `"param":"from"`) {
		t.Errorf("figures of all hours: %d %s", w.Code, w.Body)
	}
	h, _ = handler(t, newSource(), func(c *Config) { c.Store = nil })
	for path, code := range map[string]int{"datapackage.json": 404, "croissant.json": 404, "SHA256SUMS": 200, "": 200, "history/year=2026/month=08/history.parquet": 404} {
		if w := get(h, strings.TrimSuffix("/api/v1/export/"+path, "/")); w.Code != code {
			t.Errorf("%s without files: %d, want %d", path, w.Code, code)
		}
	}
	behind := newSource()
	h, _ = handler(t, behind, nil)
	behind.behind = true
	if w := get(h, "/api/v1/export/orders"); w.Code != 503 {
		t.Errorf("before the index has caught up: %d", w.Code)
	}
}

// TestStreamsAtOnce: one address has one stream, all together two. A stream that ends gives its
// place back.
func TestStreamsAtOnce(t *testing.T) {
	s := newSource()
	h, _ := handler(t, s, nil)
	s.block, s.started = make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for i := range maxStreams {
		wg.Go(func() {
			if w := get(h, "/api/v1/export/history", "Address", fmt.Sprintf("2001:db8:0:%d::1", i)); w.Code != 200 {
				t.Errorf("stream %d: %d", i, w.Code)
			}
		})
		<-s.started
	}
	if w := get(h, "/api/v1/export/orders", "Address", "2001:db8::2"); w.Code != 429 || w.Header().Get("Retry-After") == "" {
		t.Errorf("a second stream of one network: %d %s", w.Code, w.Body)
	}
	if w := get(h, "/api/v1/export/orders", "Address", "192.0.2.1:99"); w.Code != 503 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("one stream too many: %d %s", w.Code, w.Body)
	}
	if w := get(h, august, "Address", "192.0.2.1:99"); w.Code != 200 {
		t.Errorf("a file while all streams run: %d", w.Code)
	}
	close(s.block)
	wg.Wait()
	s.block = nil
	if w := get(h, "/api/v1/export/orders", "Address", "2001:db8::2"); w.Code != 200 {
		t.Errorf("after the streams: %d", w.Code)
	}
}

// TestBrokenStream: a client does not take an export that failed for complete.
func TestBrokenStream(t *testing.T) {
	s := newSource()
	h, _ := handler(t, s, nil)
	s.fail = errors.New("the book fails")
	srv := httptest.NewServer(h)
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/api/v1/export/history")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("an export that failed ends like a complete one, after %d bytes", len(body))
	}
	s.n = 0 // nothing was sent yet
	if w := get(h, "/api/v1/export/history"); w.Code != 503 || w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Content-Disposition") != "" {
		t.Errorf("an export that failed at once: %d %v", w.Code, w.Header())
	}
}

// stalled is a client that takes a byte now and then.
type stalled struct {
	http.ResponseWriter
	p *patient
}

func (s stalled) Write(b []byte) (int, error) {
	s.p.waited += time.Minute // stands for the time that passes
	return len(b), nil
}

// TestSlowReader: a client that takes a little at a time is dropped, one that takes 16 KiB a
// second is not.
func TestSlowReader(t *testing.T) {
	p := newPatient(httptest.NewRecorder())
	p.ResponseWriter = stalled{p.ResponseWriter, p}
	if n, err := p.Write([]byte("x")); !errors.Is(err, errSlow) {
		t.Errorf("%d bytes in a minute: %v", n, err)
	}
	p = newPatient(httptest.NewRecorder())
	p.ResponseWriter = stalled{p.ResponseWriter, p}
	for range 20 {
		if _, err := p.Write(bytes.Repeat([]byte("x"), 60*slowest)); err != nil && !errors.Is(err, errSlow) {
			t.Fatal(err)
		} else if err != nil && p.bytes/slowest > int64(p.waited/time.Second) {
			t.Errorf("%d bytes in %v: %v", p.bytes, p.waited, err)
		}
	}
}

func TestBundles(t *testing.T) {
	now := time.Date(2026, 9, 20, 0, 0, 0, 0, time.UTC)
	made, fail, hidden := 0, error(nil), ""
	b := &Bundles{Known: func(_ context.Context, pubkey string) error {
		if pubkey == hidden {
			return mostro.ErrNotFound
		}
		return nil
	}, Dir: t.TempDir() + "/bundles", Now: func() time.Time { return now }, Write: func(_ context.Context, w io.Writer, pubkey string, asOf time.Time) error {
		made++
		if pubkey == strings.Repeat("0c", 32) {
			return fmt.Errorf("no Mostro: %w", mostro.ErrNotFound)
		}
		_, err := io.WriteString(w, pubkey+" "+asOf.Format(time.RFC3339)+"\n")
		return errors.Join(err, fail)
	}}
	if err := b.Open(); err != nil {
		t.Fatal(err)
	}
	h, _ := handler(t, newSource(), func(c *Config) { c.Bundles = b })
	path := func(key string) string { return "/api/v1/instances/" + strings.Repeat(key, 32) + "/bundle" }
	w := get(h, path("0a"))
	if w.Code != 200 || w.Body.String() != strings.Repeat("0a", 32)+" 2026-09-20T00:00:00Z\n" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := get(h, path("0a"), "Range", "bytes=0-3"); w.Code != 206 || w.Body.String() != "0a0a" || made != 1 {
		t.Errorf("a range of the same bundle: %d %s, %d were made", w.Code, w.Body, made)
	}
	b.rest = now.Add(time.Minute)
	if w := get(h, path("0b")); w.Code != 503 || made != 1 {
		t.Errorf("while the server rests: %d, %d were made", w.Code, made)
	}
	if w := get(h, path("0a")); w.Code != 200 {
		t.Errorf("a bundle that is held, while the server rests: %d", w.Code)
	}
	b.making.Lock()
	if w := get(h, path("0a")); w.Code != 200 {
		t.Errorf("a bundle that is held, while another one is made: %d", w.Code)
	}
	b.making.Unlock()
	hidden = strings.Repeat("0a", 32)
	if w := get(h, path("0a")); w.Code != 404 {
		t.Errorf("a bundle that is held, of a node that is hidden since: %d", w.Code)
	}
	hidden = strings.Repeat("0e", 32)
	now = now.Add(2 * time.Minute)
	if w := get(h, path("0e")); w.Code != 404 || made != 1 {
		t.Errorf("a node without a score: %d, %d were made", w.Code, made)
	}
	if err := os.Remove(b.held[0].path); err != nil {
		t.Fatal(err)
	}
	if w := get(h, path("0a")); w.Code != 200 || made != 2 {
		t.Errorf("a bundle whose file is gone: %d, %d were made", w.Code, made)
	}
	now = now.Add(2 * time.Minute)
	if w := get(h, path("0c")); w.Code != 404 {
		t.Errorf("no Mostro: %d", w.Code)
	}
	now = now.Add(2 * time.Minute)
	fail = errors.New("the log fails")
	if w := get(h, path("0d")); w.Code != 500 || strings.Contains(w.Body.String(), "the log fails") {
		t.Errorf("an error: %d %s", w.Code, w.Body)
	}
	fail = nil
	for i := range 20 {
		now = now.Add(2 * time.Minute)
		if w := get(h, path(fmt.Sprintf("%02x", 0x20+i))); w.Code != 200 {
			t.Errorf("bundle %d: %d", i, w.Code)
		}
	}
	if files, err := os.ReadDir(b.Dir); err != nil || len(files) != bundlesHeld {
		t.Errorf("%v, %d files", err, len(files))
	}
	if w := get(h, "/api/v1/instances/xyz/bundle"); w.Code != 400 {
		t.Errorf("no key: %d", w.Code)
	}
}

package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// importAll imports a text and returns the results.
func (r *testRelay) importAll(tb testing.TB, in string) (results []ImportResult) {
	tb.Helper()
	sum, err := r.srv.Import(context.Background(), strings.NewReader(in), ImportOptions{}, func(res ImportResult) error {
		results = append(results, res)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	if sum.Lines != len(results) || sum.Added+sum.Archived+sum.Duplicate+sum.Rejected != sum.Lines {
		tb.Errorf("summary %+v of %d results", sum, len(results))
	}
	return results
}

func TestImportTellsTheOutcomeOfEachLine(t *testing.T) {
	r := startRelay(t, nil)
	at := testkit.Now()
	live := testkit.Order(t, "a", at, "success")
	older := testkit.Order(t, "a", at-5, "pending")
	expired := testkit.Signed(t, mostro.KindOrder, at-99, nostr.Tag{"d", "b"}, nostr.Tag{"expiration", fmt.Sprint(at - 9)})
	forged := testkit.Order(t, "c", at, "pending")
	forged.Sig = strings.Repeat("0", 128)
	erased := testkit.Signed(t, mostro.KindDevFee, at-9)
	request := testkit.Signed(t, 5, at, nostr.Tag{"e", erased.ID})
	bareD := testkit.Signed(t, mostro.KindOrder, at, nostr.Tag{"d"})
	line := func(evt *nostr.Event) string { return strings.TrimSuffix(testkit.NDJSON(t, evt), "\n") }
	in := strings.Join([]string{
		"\ufeff" + line(live),              // 1
		"\r",                               // 2: blank
		line(older) + "\r",                 // 3
		line(expired),                      // 4
		line(live),                         // 5
		"not json",                         // 6
		line(forged),                       // 7
		"   " + line(erased) + "  ",        // 8
		line(request),                      // 9
		line(erased),                       // 10
		line(bareD),                        // 11
		strings.Repeat("x", 300<<10),       // 12
		line(testkit.Signed(t, 20001, at)), // 13
		line(testkit.Signed(t, 1985, at, nostr.Tag{"-"})),                     // 14
		line(testkit.Signed(t, 1985, at)) + line(testkit.Signed(t, 1985, at)), // 15
		"\xff\xfe",                        // 16
		line(testkit.Signed(t, 1, at)),    // 17
		line(testkit.Signed(t, 1985, at)), // 18, without a newline
	}, "\n")
	want := []string{"1 added", "3 archived", "4 archived", "5 duplicate", "6 rejected", "7 rejected", "8 added", "9 added",
		"10 rejected", "11 rejected", "12 rejected", "13 rejected", "14 rejected", "15 rejected", "16 rejected", "17 rejected", "18 added"}
	var got []string
	for _, res := range r.importAll(t, in) {
		got = append(got, fmt.Sprint(res.Line, " ", res.Outcome))
		if res.Outcome == "rejected" && res.Reason == "" {
			t.Errorf("line %d has no reason", res.Line)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	var archived int
	if err := r.Store.Read(context.Background(), 0, func(e mostro.Entry) error {
		if e.Source.Origin != mostro.OriginImport {
			t.Errorf("entry %d came by %s", e.Seq, e.Source)
		}
		if e.Archived {
			archived++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if archived != 2 {
		t.Errorf("%d archived", archived)
	}
}

func TestImportKeepsTheOrderOfLines(t *testing.T) {
	r := startRelay(t, nil)
	at := testkit.Now()
	var events []*nostr.Event
	for i := range 500 {
		events = append(events, testkit.Order(t, fmt.Sprint(i%5), at-1000+int64(i), "pending"))
	}
	for i, res := range r.importAll(t, testkit.NDJSON(t, events...)) {
		if res.Line != i+1 || res.ID != events[i].ID || res.Outcome != "added" {
			t.Fatalf("result %d: %+v", i, res)
		}
	}
	var seq uint64
	if err := r.Store.Read(context.Background(), 0, func(e mostro.Entry) error {
		if e.Event.ID != events[seq].ID {
			return fmt.Errorf("entry %d is another event", e.Seq)
		}
		seq = e.Seq
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestImportEndsWithTheReadersOrTheCallersError(t *testing.T) {
	r := startRelay(t, nil)
	broken := errors.New("cable cut")
	evt := testkit.Order(t, "a", testkit.Now(), "pending")
	sum, err := r.srv.Import(context.Background(), io.MultiReader(strings.NewReader(testkit.NDJSON(t, evt)), iotest.ErrReader(broken)), ImportOptions{}, nil)
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if sum.Lines > 1 {
		t.Errorf("summary %+v", sum)
	}
	full := errors.New("no room for results")
	var many []*nostr.Event
	for i := range 300 {
		many = append(many, testkit.Order(t, fmt.Sprint(i), testkit.Now(), "pending"))
	}
	_, err = r.srv.Import(context.Background(), strings.NewReader(testkit.NDJSON(t, many...)), ImportOptions{}, func(ImportResult) error { return full })
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

func postImport(tb testing.TB, url, body string, h http.Header) (status int, lines []string) {
	tb.Helper()
	req, err := http.NewRequest("POST", url+"/api/v1/import", strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header = h
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, strings.Split(strings.TrimSpace(string(b)), "\n")
}

func TestImportOverHTTP(t *testing.T) {
	r := startRelay(t, nil)
	evt := testkit.Order(t, "a", testkit.Now(), "pending")
	status, lines := postImport(t, r.HTTP.URL, testkit.NDJSON(t, evt)+"bad\n", http.Header{})
	if status != 200 || len(lines) != 3 {
		t.Fatalf("%d %q", status, lines)
	}
	if want := `{"line":1,"id":"` + evt.ID + `","outcome":"added"}`; lines[0] != want {
		t.Errorf("got %s", lines[0])
	}
	if !strings.HasPrefix(lines[1], `{"line":2,"outcome":"rejected","reason":"invalid:`) {
		t.Errorf("got %s", lines[1])
	}
	if want := `{"summary":{"lines":2,"added":1,"duplicate":0,"archived":0,"rejected":1}}`; lines[2] != want {
		t.Errorf("got %s", lines[2])
	}
	for name, h := range map[string]http.Header{
		"behind a proxy":      {"X-Forwarded-For": {"127.0.0.1"}},
		"forwarded":           {"Forwarded": {"for=1.2.3.4"}},
		"a page in a browser": {"Origin": {"https://evil.example"}},
	} {
		if status, lines := postImport(t, r.HTTP.URL, testkit.NDJSON(t, evt), h); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %q", name, status, lines)
		}
	}
	if resp, err := http.Get(r.HTTP.URL + "/api/v1/import"); err != nil || resp.StatusCode == 200 {
		t.Errorf("GET: %v %v", resp, err)
	}
}

// Results are sent while lines still arrive. A client that reads only at the end does not
// block the import.
func TestImportStreams(t *testing.T) {
	r := startRelay(t, nil)
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err := http.Post(r.HTTP.URL+"/api/v1/import", "application/x-ndjson", pr)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		dec := json.NewDecoder(resp.Body)
		for i := range 3 {
			var res ImportResult
			if err := dec.Decode(&res); err != nil || res.Outcome != "added" {
				t.Errorf("result %d: %+v %v", i, res, err)
			}
			if i < 2 {
				io.WriteString(pw, testkit.NDJSON(t, testkit.Order(t, fmt.Sprint(i+1), testkit.Now(), "pending")))
			} else {
				pw.Close()
			}
		}
	}()
	io.WriteString(pw, testkit.NDJSON(t, testkit.Order(t, "0", testkit.Now(), "pending")))
	<-done
}

func TestImportDoesNotWaitForAClientThatReadsLast(t *testing.T) {
	r := startRelay(t, nil)
	nc, err := net.Dial("tcp", r.HTTP.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	// There are more results than the buffers of the socket hold, before the last line is
	// sent.
	const lines = 100_000
	body := strings.Repeat("x"+strings.Repeat(" ", 300)+"\n", lines)
	fmt.Fprintf(nc, "POST /api/v1/import HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", len(body))
	if _, err := io.WriteString(nc, body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || bytes.Count(b, []byte("\n")) != lines+1 || !bytes.Contains(b, []byte(`"rejected":100000}}`)) {
		t.Errorf("%d lines, %v", bytes.Count(b, []byte("\n")), err)
	}
}

func TestImportByAdminProof(t *testing.T) {
	admin := testkit.Signed(t, 1, 0).PubKey
	r := startRelay(t, func(c *Config) { c.Admins, c.URL = []string{admin}, "wss://relay.example" })
	body := testkit.NDJSON(t, testkit.Order(t, "a", testkit.Now(), "pending"))
	hash := sha256.Sum256([]byte(body))
	proof := func(secret string, change func(*nostr.Event)) http.Header {
		evt := &nostr.Event{Kind: 27235, CreatedAt: nostr.Now(), Tags: nostr.Tags{
			{"u", "https://relay.example/api/v1/import"}, {"method", "POST"}, {"payload", hex.EncodeToString(hash[:])}}}
		if change != nil {
			change(evt)
		}
		if err := evt.Sign(secret); err != nil {
			t.Fatal(err)
		}
		b, _ := evt.MarshalJSON()
		return http.Header{"Authorization": {"Nostr " + base64.StdEncoding.EncodeToString(b)}, "X-Forwarded-For": {"9.9.9.9"}}
	}
	for name, h := range map[string]http.Header{
		"nothing":         {"X-Forwarded-For": {"9.9.9.9"}},
		"no base64":       {"X-Forwarded-For": {"9.9.9.9"}, "Authorization": {"Nostr %"}},
		"bearer":          {"X-Forwarded-For": {"9.9.9.9"}, "Authorization": {"Bearer x"}},
		"a stranger":      proof(strings.Repeat("2", 64), nil),
		"another kind":    proof(testkit.Secret, func(e *nostr.Event) { e.Kind = 1 }),
		"another url":     proof(testkit.Secret, func(e *nostr.Event) { e.Tags[0][1] = "https://other.example/api/v1/import" }),
		"another method":  proof(testkit.Secret, func(e *nostr.Event) { e.Tags[1][1] = "GET" }),
		"another payload": proof(testkit.Secret, func(e *nostr.Event) { e.Tags[2][1] = strings.Repeat("0", 64) }),
		"no payload":      proof(testkit.Secret, func(e *nostr.Event) { e.Tags = e.Tags[:2] }),
		"bare tags":       proof(testkit.Secret, func(e *nostr.Event) { e.Tags = nostr.Tags{{"u"}, {"method"}, {"payload"}} }),
		"old":             proof(testkit.Secret, func(e *nostr.Event) { e.CreatedAt -= 120 }),
		"of the future":   proof(testkit.Secret, func(e *nostr.Event) { e.CreatedAt += 120 }),
	} {
		if status, lines := postImport(t, r.HTTP.URL, body, h); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %q", name, status, lines)
		}
	}
	if r.Store.Head() != 0 {
		t.Fatalf("%d events were taken", r.Store.Head())
	}
	if status, lines := postImport(t, r.HTTP.URL, body, proof(testkit.Secret, nil)); status != 200 || r.Store.Head() != 1 {
		t.Errorf("a right proof: %d %q", status, lines)
	}
}

func TestImportIsLocalOnlyOnALoopbackListener(t *testing.T) {
	s := new(peers)
	req := httptest.NewRequest("POST", "/api/v1/import", nil)
	req.RemoteAddr = "127.0.0.1:1"
	if s.importIsLocal(req) {
		t.Error("without a known listener")
	}
}

// BenchmarkImport measures an import. An import should be as fast as the check of
// signatures: no other step may cost half as much.
func BenchmarkImport(b *testing.B) {
	st, err := eventlog.Open(eventlog.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	r := startRelayOn(b, st, nil)
	events := make([]*nostr.Event, b.N)
	for i := range events {
		events[i] = testkit.Order(b, fmt.Sprint(i), testkit.Now(), "pending")
	}
	in := testkit.NDJSON(b, events...)
	cpu := func() float64 {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return float64(u.Utime.Nano()+u.Stime.Nano()) / float64(b.N) / 1e3
	}
	b.ResetTimer()
	from, cpuFrom := time.Now(), cpu()
	sum, err := r.srv.Import(context.Background(), strings.NewReader(in), ImportOptions{}, nil)
	b.StopTimer()
	took, cpuTook := time.Since(from), cpu()-cpuFrom
	if err != nil || sum.Added != b.N {
		b.Fatalf("%+v %v", sum, err)
	}
	from, cpuFrom = time.Now(), cpu()
	var wg sync.WaitGroup
	for part := range slices.Chunk(events, (len(events)+1)/2) {
		wg.Go(func() {
			for _, evt := range part {
				if ok, err := evt.CheckSignature(); !ok || err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	alone := time.Since(from)
	b.ReportMetric(cpuTook, "cpu-us/event")
	b.ReportMetric(cpu()-cpuFrom, "cpu-us/signature")
	b.ReportMetric(float64(b.N)/took.Seconds(), "events/s")
	b.ReportMetric(float64(b.N)/alone.Seconds(), "signatures/s")
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/mostro/corpus"
	"github.com/nbd-wtf/go-nostr"
)

// If childVar is set, the test binary behaves as the program itself, for tests that need a
// separate process.
const childVar = "TEST_MOSTRODEX_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		main()
		return
	}
	flag.Parse()
	os.Exit(m.Run())
}

// MustRunMain runs the whole program on port 0 until the test ends.
func MustRunMain(tb testing.TB, dir string) *Main {
	tb.Helper()
	return mustRunConfig(tb, dir, nil)
}

// mustRunConfig is MustRunMain with a config that change has modified.
func mustRunConfig(tb testing.TB, dir string, change func(*Config)) *Main {
	tb.Helper()
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private = dir, "127.0.0.1:0", "127.0.0.1:0"
	if change != nil {
		change(&cfg)
	}
	m := &Main{Config: cfg}
	startMain(tb, m)
	return m
}

func startMain(tb testing.TB, m *Main) {
	tb.Helper()
	tb.Cleanup(startMainUntil(tb, m))
}

// startMainUntil starts the program and returns a function that stops it once.
func startMainUntil(tb testing.TB, m *Main) (stop func()) {
	tb.Helper()
	if err := m.Open(); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := m.Run(ctx)
		if ctx.Err() == nil {
			tb.Logf("the program has ended: %v", err)
		}
		done <- err
	}()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("run: %v", err)
		}
		if err := m.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
}

// runProgram runs a verb as main does and returns its output.
func runProgram(tb testing.TB, stdin string, args ...string) (stdout, stderr string, code int) {
	tb.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), args, strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), code
}

func mustProgram(tb testing.TB, stdin string, args ...string) string {
	tb.Helper()
	out, errs, code := runProgram(tb, stdin, args...)
	if code != 0 {
		tb.Fatalf("mostrodex %s: exit %d: %s", strings.Join(args, " "), code, errs)
	}
	return out
}

func getBody(tb testing.TB, url string, header ...string) (int, http.Header, string) {
	tb.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func getJSON(tb testing.TB, url string, v any) {
	tb.Helper()
	code, _, body := getBody(tb, url)
	if code != http.StatusOK {
		tb.Fatalf("GET %s: %d %s", url, code, body)
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		tb.Fatalf("GET %s: %v in %s", url, err, body)
	}
}

// eventually waits until a condition holds.
func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("condition not met within 20 s: %s", what)
		}
	}
}

// ready waits until the index has applied the whole log.
func ready(tb testing.TB, m *Main) {
	tb.Helper()
	eventually(tb, "readyz", func() bool {
		code, _, _ := getBody(tb, "http://"+m.Addr()+"/readyz")
		return code == http.StatusOK
	})
}

// dialNostr connects go-nostr's client until ctx ends. Its Close method has a data race with
// itself, so the tests do not call Close.
func dialNostr(tb testing.TB, ctx context.Context, m *Main) *nostr.Relay {
	tb.Helper()
	r := nostr.NewRelay(ctx, "ws://"+m.Addr())
	if err := r.Connect(ctx); err != nil {
		tb.Fatal(err)
	}
	return r
}

func mustREQ(tb testing.TB, m *Main, f nostr.Filter) []*nostr.Event {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r := dialNostr(tb, ctx, m)
	events, err := r.QuerySync(ctx, f)
	if err != nil {
		tb.Fatal(err)
	}
	return events
}

func mustCorpus(tb testing.TB, cfg corpus.Config) []*nostr.Event {
	tb.Helper()
	c, err := corpus.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	events, err := c.Events(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	return events
}

func TestServeAnswers(t *testing.T) {
	m := MustRunMain(t, t.TempDir())
	base := "http://" + m.Addr()
	ready(t, m)
	if code, h, body := getBody(t, base+"/"); code != 200 || !strings.HasPrefix(h.Get("Content-Type"), "text/html") || !strings.Contains(body, "<table") && !strings.Contains(body, "No ") {
		t.Errorf("explorer: %d %s %.200s", code, h.Get("Content-Type"), body)
	}
	var info struct {
		Name          string
		SupportedNIPs []int `json:"supported_nips"`
		Limitation    struct {
			MaxLimit int `json:"max_limit"`
		}
	}
	_, _, body := getBody(t, base+"/", "Accept", "text/html;q=0.5, application/nostr+json")
	if err := json.Unmarshal([]byte(body), &info); err != nil {
		t.Fatalf("NIP-11: %v in %.200s", err, body)
	}
	for _, nip := range []int{1, 9, 11, 40, 42, 45, 50, 70} {
		if !slices.Contains(info.SupportedNIPs, nip) {
			t.Errorf("the NIP-11 document does not name NIP-%02d", nip)
		}
	}
	if info.Limitation.MaxLimit == 0 {
		t.Error("the NIP-11 document has no max_limit")
	}
	if got := mustREQ(t, m, nostr.Filter{Kinds: []int{1}, Limit: 1}); len(got) != 0 {
		t.Errorf("an empty relay returned %v", got)
	}
	if code, _, body := getBody(t, "http://"+m.PrivateAddr()+"/metrics"); code != 200 || !strings.Contains(body, "mostrodex_relay_log_head 0") {
		t.Errorf("metrics: %d %.300s", code, body)
	}
	if code, _, _ := getBody(t, base+"/metrics"); code == 200 {
		t.Error("metrics are public")
	}
}

// order holds the fields of the API's order that these tests read.
type order struct {
	Pubkey, D, Side, Status, Fiat, Platform string
	EventID                                 string `json:"event_id"`
	AmountSats                              *int64 `json:"amount_sats"`
	FiatAmount                              *struct{ Min, Max *string }
	Methods                                 []string
}

type orderPage struct {
	Items      []order
	Total      int
	NextCursor *string `json:"next_cursor"`
}

// allOrders reads all pages of a query.
func allOrders(tb testing.TB, m *Main, query string) (list []order, total int) {
	tb.Helper()
	cursor := ""
	for {
		var page orderPage
		getJSON(tb, "http://"+m.Addr()+"/api/v1/orders?limit=500&"+query+cursor, &page)
		list = append(list, page.Items...)
		if page.NextCursor == nil || *page.NextCursor == "" {
			return list, page.Total
		}
		cursor = "&cursor=" + *page.NextCursor
	}
}

func ids(list []order) []string {
	out := make([]string, len(list))
	for i, o := range list {
		out[i] = o.EventID
	}
	slices.Sort(out)
	return out
}

// interrupting is an endless file. After its text it interrupts the program, and continues
// with empty lines.
type interrupting struct {
	text io.Reader
	stop context.CancelFunc
}

func (r interrupting) Read(b []byte) (int, error) {
	n, err := r.text.Read(b)
	if err == nil {
		return n, nil
	}
	r.stop()
	b[0] = '\n'
	return 1, nil
}

// TestInterruptedImport checks that an interrupted import reports its progress, and that the
// reported events are stored.
func TestInterruptedImport(t *testing.T) {
	dir := t.TempDir()
	events := mustCorpus(t, corpus.Config{Seed: 10, Instances: 1, Orders: 300, Now: time.Now(), Unexpired: true})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out, errs bytes.Buffer
	code := run(ctx, []string{"import", "-", "--data", dir}, interrupting{strings.NewReader(testkit.NDJSON(t, events...)), cancel}, &out, &errs)
	var added int
	if _, err := fmt.Sscanf(out.String(), "added %d ", &added); err != nil {
		t.Fatalf("summary %q: %v", out.String(), err)
	}
	if want := fmt.Sprintf("interrupted after %d lines", added); code == 0 || !strings.Contains(errs.String(), want) {
		t.Errorf("exit %d, %q; want %q", code, errs.String(), want)
	}
	var again, held int
	if _, err := fmt.Sscanf(mustProgram(t, testkit.NDJSON(t, events...), "import", "-", "--data", dir), "added %d duplicate %d", &again, &held); err != nil {
		t.Fatal(err)
	}
	if held < added || held+again != len(events) {
		t.Errorf("the import reported %d stored events; the next import added %d and found %d of %d", added, again, held, len(events))
	}
}

func eventIDs(events []*nostr.Event) []string {
	out := make([]string, len(events))
	for i, evt := range events {
		out[i] = evt.ID
	}
	slices.Sort(out)
	return out
}

// TestOriginsAgree runs one query in three ways and compares the results with a manual search.
func TestOriginsAgree(t *testing.T) {
	m := MustRunMain(t, t.TempDir())
	events := mustCorpus(t, corpus.Config{Seed: 4, Instances: 6, Orders: 300, Now: time.Now(), Unexpired: true})
	out := mustProgram(t, testkit.NDJSON(t, events...), "import", "-", "--url", "http://"+m.Addr())
	if want := fmt.Sprintf("added %d duplicate 0 archived 0 rejected 0\n", len(events)); out != want {
		t.Fatalf("import: %q, want %q", out, want)
	}
	again := mustProgram(t, testkit.NDJSON(t, events...), "import", "-", "--url", "ws://"+m.Addr())
	if want := fmt.Sprintf("added 0 duplicate %d archived 0 rejected 0\n", len(events)); again != want {
		t.Fatalf("the second import printed %q, want %q", again, want)
	}
	newest := map[string]*nostr.Event{}
	for _, evt := range events {
		if evt.Kind == mostro.KindOrder {
			newest[evt.PubKey+evt.Tags.GetD()] = evt // the events of the corpus are in order of time
		}
	}
	for _, fiat := range []string{"VES", "EUR", "ARS"} {
		var want []*nostr.Event
		for _, evt := range newest {
			if f := (nostr.Filter{Tags: nostr.TagMap{"s": {"pending"}, "f": {fiat}}}); f.Matches(evt) {
				want = append(want, evt)
			}
		}
		if len(want) == 0 {
			t.Fatalf("the corpus has no pending %s order", fiat)
		}
		req := mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindOrder}, Tags: nostr.TagMap{"s": {"pending"}, "f": {fiat}}, Limit: 5000})
		if got := eventIDs(req); !slices.Equal(got, eventIDs(want)) {
			t.Errorf("%s: REQ gives %d orders, want %d", fiat, len(got), len(want))
		}
		eventually(t, "the book has "+fiat, func() bool {
			list, total := allOrders(t, m, "fiat="+fiat)
			return total == len(want) && slices.Equal(ids(list), eventIDs(want))
		})
		eventually(t, "search has "+fiat, func() bool {
			found := mustREQ(t, m, nostr.Filter{Kinds: []int{mostro.KindOrder}, Search: "fiat:" + fiat + " status:pending", Limit: 5000})
			return slices.Equal(eventIDs(found), eventIDs(want))
		})
	}
	var list map[string]any
	if err := json.Unmarshal([]byte(mustProgram(t, "", "orders", "--url", "http://"+m.Addr(), "--fiat", "VES", "--json")), &list); err != nil {
		t.Error(err)
	}
	eventually(t, "the words are indexed", func() bool {
		return strings.Contains(mustProgram(t, "", "search", "transferencia", "--url", "http://"+m.Addr()), "ransferencia")
	})
	if out := mustProgram(t, "", "instances", "--url", "http://"+m.Addr()); strings.Count(out, "\n") < 6 {
		t.Errorf("instances: %s", out)
	}
	exported := mustProgram(t, "", "export", "--url", "http://"+m.Addr())
	if got := strings.Count(exported, "\n"); got != len(events) {
		t.Errorf("%d events were exported, want %d", got, len(events))
	}
	if code, _, body := getBody(t, "http://"+m.Addr()+"/api/v1/events/"+events[0].ID); code != 200 || !strings.Contains(body, events[0].Sig) {
		t.Errorf("events/{id}: %d %s", code, body)
	}
}

func sharedFile(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("MOSTRODEX_SHARED")
	if dir == "" {
		dir = "../../../shared"
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the reference folder with %s is not beside this clone", name)
	}
	return path
}

// TestCapturedEvents imports real events into a running server.
func TestCapturedEvents(t *testing.T) {
	path := sharedFile(t, "fixtures/real-events.ndjson")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := MustRunMain(t, t.TempDir())
	out := mustProgram(t, "", "import", path, "--url", "http://"+m.Addr())
	var added, duplicate, archived, rejected int
	if _, err := fmt.Sscanf(out, "added %d duplicate %d archived %d rejected %d", &added, &duplicate, &archived, &rejected); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if added+archived != 41 || duplicate+rejected != 0 {
		t.Errorf("%s: want all 41 added or archived", out)
	}
	eventually(t, "the index has read the log", m.index.Ready)
	eventually(t, "history", func() bool { _, n := allOrders(t, m, "open=any"); return n == 12 })
	list, _ := allOrders(t, m, "open=any")
	byID := map[string]order{}
	for _, o := range list {
		byID[o.EventID] = o
	}
	foreign := 0
	for line := range strings.SplitSeq(strings.TrimSpace(string(raw)), "\n") {
		var evt nostr.Event
		if err := json.Unmarshal([]byte(line), &evt); err != nil {
			t.Fatal(err)
		}
		if mostro.Classify(&evt) == mostro.ClassForeign {
			foreign++
			var in struct{ Pubkey string }
			code, _, body := getBody(t, "http://"+m.Addr()+"/api/v1/instances/"+evt.PubKey)
			if code == http.StatusOK && json.Unmarshal([]byte(body), &in) == nil {
				t.Errorf("the foreign event %s created an instance: %s", evt.ID, body)
			}
		}
		if evt.Kind != mostro.KindOrder {
			continue
		}
		o, ok := byID[evt.ID]
		if !ok {
			t.Errorf("order %s is not in the history", evt.ID)
			continue
		}
		if tag := evt.Tags.Find("f"); o.Fiat != tag[1] {
			t.Errorf("%s: fiat %q, its tag says %q", evt.ID, o.Fiat, tag[1])
		}
		if tag := evt.Tags.Find("k"); o.Side != tag[1] {
			t.Errorf("%s: side %q, its tag says %q", evt.ID, o.Side, tag[1])
		}
		if tag := evt.Tags.Find("pm"); len(o.Methods) != len(tag)-1 {
			t.Errorf("%s: methods %q, its tag says %q", evt.ID, o.Methods, tag[1:])
		}
		expired := false
		if tag := evt.Tags.Find("expiration"); tag != nil {
			expired = tag[1] <= fmt.Sprint(time.Now().Unix())
		}
		found := mustREQ(t, m, nostr.Filter{IDs: []string{evt.ID}})
		if served := len(found) == 1; served == expired {
			t.Errorf("%s: expired %t, served %t", evt.ID, expired, served)
		}
	}
	if foreign != 3 {
		t.Errorf("%d foreign events, want 3", foreign)
	}
}

// TestMistakes checks the error messages for wrong command lines.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.toml")
	if err := os.WriteFile(bad, []byte("[relay]\nlissten = \"x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := MustRunMain(t, filepath.Join(dir, "busy"))
	for name, c := range map[string]struct {
		args []string
		code int
		say  string
	}{
		"UnknownVerb":      {[]string{"serv"}, 2, `did you mean "serve"`},
		"UnknownFlag":      {[]string{"serve", "--lissten", "x"}, 2, `did you mean --listen?`},
		"SwappedFlag":      {[]string{"orders", "--fait", "VES"}, 2, `did you mean --fiat?`},
		"FarFlag":          {[]string{"orders", "--zzzzzz", "VES"}, 2, "unknown flag: --zzzzzz\n"},
		"BadQuery":         {[]string{"search", "cash side:both", "--url", "http://" + m.Addr()}, 2, "side"},
		"BadChoice":        {[]string{"choose", "--fiat", "VES", "--side", "both", "--url", "http://" + m.Addr()}, 2, "side"},
		"NotHeld":          {[]string{"instances", strings.Repeat("ab", 32), "--url", "http://" + m.Addr()}, 1, "Not held"},
		"AuditNoData":      {[]string{"reputation", "audit", "--data", filepath.Join(dir, "nowhere")}, 1, "name one with --data\n"},
		"AuditLocked":      {[]string{"reputation", "audit", "--data", filepath.Join(dir, "busy")}, 5, "stop the server first\n"},
		"NoFile":           {[]string{"import"}, 2, "takes one FILE"},
		"MissingFile":      {[]string{"import", "nowhere.ndjson", "--data", dir}, 1, "nowhere.ndjson"},
		"Directory":        {[]string{"import", dir, "--data", dir}, 1, "is a directory"},
		"NoServer":         {[]string{"orders", "--url", "http://127.0.0.1:1"}, 1, "mostrodex serve"},
		"BadURL":           {[]string{"orders", "--url", "nonsense"}, 2, "not a URL"},
		"NoData":           {[]string{"log", "verify", "--data", filepath.Join(dir, "nowhere")}, 1, "there is no data directory"},
		"Locked":           {[]string{"log", "verify", "--data", filepath.Join(dir, "busy")}, 5, "in use by another"},
		"LockedServe":      {[]string{"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "busy")}, 5, "in use by another"},
		"PortTaken":        {[]string{"serve", "--listen", m.Addr(), "--data", filepath.Join(dir, "free")}, 5, "--listen"},
		"UnknownConfigKey": {[]string{"serve", "-c", bad}, 3, "line 2: relay.lissten"},
		"NoConfig":         {[]string{"serve", "-c", filepath.Join(dir, "no.toml")}, 3, "there is no config file"},
		"BadListen":        {[]string{"serve", "--listen", "7777"}, 2, "host:port"},
		"BadLimit":         {[]string{"orders", "--url", "http://" + m.Addr(), "--limit", "501"}, 2, "500"},
		"BadFiat":          {[]string{"orders", "--url", "http://" + m.Addr(), "--side", "both"}, 2, "side"},
		"BadKinds":         {[]string{"export", "--kinds", "x"}, 2, "kinds"},
		"EmptySearch":      {[]string{"search"}, 2, "mostrodex orders"},
		"LogGroup":         {[]string{"log", "verfy"}, 2, "verfy"},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs, code := runProgram(t, "", c.args...)
			if code != c.code || !strings.Contains(errs, c.say) {
				t.Errorf("exit %d, %q; want exit %d and %q", code, errs, c.code, c.say)
			}
		})
	}
}

// TestRejectedLines checks that import reports the line and the reason, and continues.
func TestRejectedLines(t *testing.T) {
	dir := t.TempDir()
	events := mustCorpus(t, corpus.Config{Seed: 9, Instances: 1, Orders: 3, Now: time.Now(), Unexpired: true})
	forged := *events[1]
	forged.Content = "not what was signed"
	good, worse := testkit.NDJSON(t, events...), testkit.NDJSON(t, &forged)
	out, errs, code := runProgram(t, "{nonsense\n"+good+"\n"+worse, "import", "-", "--data", dir)
	if want := fmt.Sprintf("added %d duplicate 0 archived 0 rejected 2\n", len(events)); code != 0 || out != want {
		t.Errorf("exit %d, %q; want exit 0 and %q", code, out, want)
	}
	if !strings.Contains(errs, "line 1: ") || !strings.Contains(errs, fmt.Sprintf("line %d: ", len(events)+3)) {
		t.Errorf("reasons: %q", errs)
	}
	if out := mustProgram(t, "", "log", "verify", "--data", dir, "--signatures"); !strings.HasSuffix(out, " 0 problems\n") {
		t.Errorf("log verify: %q", out)
	}
	if out := mustProgram(t, "", "orders", "--data", dir, "--open", "any"); !strings.Contains(out, "3 of 3") {
		t.Errorf("orders of a data directory: %q", out)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// The clients of docs/examples/clients are held by files with requests and answers. The answers
// come from this program (TestClientAnswers), and the clients are asked to read the answers
// (TestInteropClientsTypeScript, TestDartClient).

const clientFiles = "../../docs/examples/clients"

// exchange is one file of docs/examples/clients/golden.
type exchange struct {
	Args    []string          `json:"args,omitempty"`    // of the example, behind the address
	Request string            `json:"request,omitempty"` // path of GET
	Status  int               `json:"status,omitempty"`
	Answer  json.RawMessage   `json:"answer,omitempty"`
	Send    json.RawMessage   `json:"send,omitempty"`    // message of the client on a websocket
	Receive []json.RawMessage `json:"receive,omitempty"` // messages of the relay
	Result  json.RawMessage   `json:"result"`            // what the example prints
}

func readExchange(tb testing.TB, name string) (x exchange) {
	tb.Helper()
	raw, err := os.ReadFile(filepath.Join(clientFiles, "golden", name+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(raw, &x); err != nil {
		tb.Fatal(err)
	}
	return x
}

func writeExchange(tb testing.TB, name string, x exchange) {
	tb.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(x); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(clientFiles, "golden", name+".json"), b.Bytes(), 0o644); err != nil {
		tb.Fatal(err)
	}
}

// chosenBy is what the examples make of an answer of /api/v1/choose.
func chosenBy(tb testing.TB, status int, answer []byte) json.RawMessage {
	tb.Helper()
	var c struct {
		Detail     string
		Candidates []struct {
			Pubkey      string   `json:"pubkey"`
			Name        *string  `json:"name"`
			Rank        *int     `json:"rank"`
			WatchedDays *int     `json:"watched_days"`
			Fee         *string  `json:"fee"`
			Offers      int      `json:"offers"`
			Warnings    []string `json:"warnings"`
			Best        *struct {
				TakeLink *string `json:"take_link"`
			} `json:"best_offer"`
		}
	}
	if err := json.Unmarshal(answer, &c); err != nil {
		tb.Fatal(err)
	}
	if status != http.StatusOK {
		return asJSON(tb, map[string]string{"error": c.Detail})
	}
	type mostroOf struct {
		Pubkey      string   `json:"pubkey"`
		Name        *string  `json:"name"`
		Rank        *int     `json:"rank"`
		WatchedDays *int     `json:"watchedDays"`
		Fee         *string  `json:"fee"`
		Offers      int      `json:"offers"`
		TakeLink    *string  `json:"takeLink"`
		Warnings    []string `json:"warnings"`
	}
	out := []mostroOf{}
	for _, k := range c.Candidates {
		m := mostroOf{k.Pubkey, k.Name, k.Rank, k.WatchedDays, k.Fee, k.Offers, nil, append([]string{}, k.Warnings...)}
		if k.Best != nil {
			m.TakeLink = k.Best.TakeLink
		}
		out = append(out, m)
	}
	return asJSON(tb, out)
}

func asJSON(tb testing.TB, v any) json.RawMessage {
	tb.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func sameJSON(tb testing.TB, a, b []byte) bool {
	tb.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		tb.Fatalf("%v: %s", err, a)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		tb.Fatalf("%v: %s", err, b)
	}
	return reflect.DeepEqual(x, y)
}

// ranksOf returns the ranks that messages of a relay state, by the rules of NIP-01 and NIP-85.
func ranksOf(tb testing.TB, provider string, messages []json.RawMessage) json.RawMessage {
	tb.Helper()
	newest, ranks := map[string]*nostr.Event{}, map[string]int{}
	for _, message := range messages {
		var frame []json.RawMessage
		evt := &nostr.Event{}
		if json.Unmarshal(message, &frame) != nil || len(frame) < 3 || string(frame[0]) != `"EVENT"` || json.Unmarshal(frame[2], evt) != nil || evt.Kind != 30382 || evt.PubKey != provider {
			continue
		}
		about, stated := evt.Tags.GetD(), evt.Tags.Find("rank")
		if stated == nil {
			continue
		}
		rank, err := strconv.Atoi(stated[1])
		if err != nil || rank < 0 || rank > 100 || !nostr.IsValid32ByteHex(about) || !evt.CheckID() {
			continue
		}
		if ok, err := evt.CheckSignature(); err != nil || !ok {
			continue
		}
		if old := newest[about]; old == nil || evt.CreatedAt > old.CreatedAt {
			newest[about], ranks[about] = evt, rank
		}
	}
	return asJSON(tb, ranks)
}

// TestClientAnswers: this program answers the requests of the clients as the files say. Times are
// those of a fixed clock. -update rewrites the files.
func TestClientAnswers(t *testing.T) {
	cfg := defaultConfig()
	cfg.Data, cfg.Relay.Listen, cfg.Relay.Private, cfg.Reputation.Key = t.TempDir(), "127.0.0.1:0", "", writeKey(t, "reputation")
	cfg.Relay.URL = "wss://relay.example"
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	m := &Main{Config: cfg, Now: func() time.Time { return now }}
	startMain(t, m)
	f := fillFair(t, m, func() {})
	for _, ask := range []struct {
		name string
		args []string
	}{
		{"choose", []string{"VES", "buy", "100"}},
		{"choose-none", []string{"XTS", "sell"}},
		{"choose-refused", []string{"VES", "both"}},
	} {
		t.Run(ask.name, func(t *testing.T) {
			path := "/api/v1/choose?fiat=" + ask.args[0] + "&side=" + ask.args[1]
			if len(ask.args) > 2 {
				path += "&amount=" + ask.args[2]
			}
			status, _, body := getBody(t, "http://"+m.Addr()+path)
			got := exchange{Args: ask.args, Request: path, Status: status, Answer: json.RawMessage(body), Result: chosenBy(t, status, []byte(body))}
			if *update {
				writeExchange(t, ask.name, got)
			}
			want := readExchange(t, ask.name)
			if want.Request != path || want.Status != status || !sameJSON(t, want.Result, got.Result) {
				t.Errorf("GET %s: %d\n%s\nthe file has %d\n%s\ngo test ./cmd/mostrodex -run TestClientAnswers -update rewrites the files", path, status, got.Result, want.Status, want.Result)
			}
			if !sameJSON(t, chosenBy(t, want.Status, want.Answer), want.Result) {
				t.Errorf("the file's answer and result differ")
			}
		})
	}
	t.Run("ranks", func(t *testing.T) {
		provider := testKeys(t, "reputation")
		send := asJSON(t, []any{"REQ", "ranks", nostr.Filter{Kinds: []int{30382}, Authors: []string{provider.Pubkey()}}})
		var got []json.RawMessage
		eventually(t, "the ranks are published", func() bool {
			got = askRelay(t, "ws://"+m.Addr(), send)
			return len(got) > 1
		})
		x := exchange{Send: send, Receive: got, Args: []string{provider.Pubkey()}, Result: ranksOf(t, provider.Pubkey(), got)}
		if *update {
			writeExchange(t, "ranks", x)
			writeExchange(t, "ranks-hostile", f.hostileRanks(x))
		}
		for _, name := range []string{"ranks", "ranks-hostile"} {
			want := readExchange(t, name)
			if !sameJSON(t, want.Send, send) || !sameJSON(t, want.Result, x.Result) || !sameJSON(t, ranksOf(t, provider.Pubkey(), want.Receive), want.Result) {
				t.Errorf("%s: the relay sends ranks %s, the file has %s", name, x.Result, want.Result)
			}
		}
		if len(readExchange(t, "ranks-hostile").Receive) < len(got)+8 {
			t.Error("the hostile file is not hostile")
		}
	})
}

// askRelay sends a message on a websocket and returns the answers up to EOSE.
func askRelay(tb testing.TB, url string, send []byte) (got []json.RawMessage) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer ws.CloseNow()
	if err := ws.Write(ctx, websocket.MessageText, send); err != nil {
		tb.Fatal(err)
	}
	for {
		_, message, err := ws.Read(ctx)
		if err != nil {
			tb.Fatal(err)
		}
		if got = append(got, message); bytes.HasPrefix(message, []byte(`["EOSE"`)) {
			return got
		}
	}
}

// hostileRanks returns the exchange of a relay that lies: events of another key, changed events,
// old ones, and frames that are none. The ranks are the same.
func (f *fair) hostileRanks(x exchange) exchange {
	provider, alfa := testKeys(f.tb, "reputation"), f.nodes["alfa"].Pubkey()
	frame := func(evt *nostr.Event) json.RawMessage { return asJSON(f.tb, []any{"EVENT", "ranks", evt}) }
	made := func(by string, about, rank string, at int64) *nostr.Event {
		return signAs(f.tb, testKeys(f.tb, by), nostr.Event{PubKey: testKeys(f.tb, by).Pubkey(), Kind: 30382, CreatedAt: nostr.Timestamp(at), Tags: nostr.Tags{{"d", about}, {"p", about}, {"rank", rank}}})
	}
	now := f.m.Now().Unix()
	changed := made("reputation", alfa, "99", now+10)
	changed.Tags[2][1] = "100"
	forged := made("stranger", alfa, "98", now+20)
	forged.PubKey = provider.Pubkey()
	out := []json.RawMessage{json.RawMessage(`null`), json.RawMessage(`{}`), json.RawMessage(`["EVENT","ranks",null]`), json.RawMessage(`["EVENT","ranks",{"kind":30382,"pubkey":"` + provider.Pubkey() + `"}]`),
		json.RawMessage(`["EVENT","ranks",{"kind":30382,"pubkey":"` + provider.Pubkey() + `","tags":[null,"d",["d"]]}]`)}
	out = append(out, frame(made("stranger", alfa, "97", now+30)), frame(changed), frame(forged))
	out = append(out, x.Receive[:len(x.Receive)-1]...)
	out = append(out, frame(made("reputation", alfa, "3", now-100*86400)), frame(made("reputation", alfa, "101", now+40)), frame(made("reputation", alfa, "5.5", now+40)), frame(made("reputation", "alfa", "50", now+40)),
		json.RawMessage(`["EVENT","other",{}]`), json.RawMessage(`["NOTICE","hello"]`), x.Receive[len(x.Receive)-1])
	x.Receive = out
	return x
}

// serveExchange answers as the files say, and fails at every other request.
func serveExchange(tb testing.TB, x exchange) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			if r.URL.RequestURI() != x.Request {
				tb.Errorf("the client asks for %s, the file has %s", r.URL.RequestURI(), x.Request)
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(x.Status)
			w.Write(x.Answer)
			return
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			tb.Error(err)
			return
		}
		defer ws.CloseNow()
		_, message, err := ws.Read(r.Context())
		if err != nil || !sameJSON(tb, message, x.Send) {
			tb.Errorf("the client sends %s, %v; the file has %s", message, err, x.Send)
		}
		for _, answer := range x.Receive {
			if err := ws.Write(r.Context(), websocket.MessageText, answer); err != nil {
				return // the client has what it needs
			}
		}
		ws.Read(r.Context()) // until the client closes
	}))
	tb.Cleanup(server.Close)
	return server
}

// runClient compares what an example prints with the files.
func runClient(t *testing.T, names []string, command func(what, address string, args []string) *exec.Cmd) {
	t.Helper()
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			x := readExchange(t, name)
			what, server := "choose", serveExchange(t, x)
			address := server.URL
			if x.Send != nil {
				what, address = "ranks", "ws"+strings.TrimPrefix(server.URL, "http")
			}
			cmd := command(what, address, x.Args)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, errs.String())
			}
			if !sameJSON(t, out, x.Result) {
				t.Errorf("it prints\n%s\nthe file has\n%s", out, x.Result)
			}
		})
	}
}

// TestInteropClientsTypeScript compiles the example with strict types and runs it on the files.
func TestInteropClientsTypeScript(t *testing.T) {
	bridge := testkit.PreparedBridge(t, "MOSTRODEX_INTEROP_CLIENTS", "interop-clients")
	dir, err := os.MkdirTemp(bridge, "ts-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	source, err := filepath.Abs(clientFiles)
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"mostros.ts", "main.ts"}
	for _, name := range files {
		raw, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tsc := exec.Command(filepath.Join(bridge, "node_modules", ".bin", "tsc"), append([]string{"--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom", "--skipLibCheck"}, files...)...)
	tsc.Dir = dir
	if out, err := tsc.CombinedOutput(); err != nil {
		t.Fatalf("tsc: %v\n%s", err, out)
	}
	runClient(t, []string{"choose", "choose-none", "choose-refused", "ranks", "ranks-hostile"}, func(what, address string, args []string) *exec.Cmd {
		cmd := exec.Command("node", slices.Concat([]string{"--no-warnings", "--experimental-websocket", "main.js", what, address}, args)...)
		cmd.Dir = dir
		return cmd
	})
}

// TestDartClient runs the Dart example on the files.
func TestDartClient(t *testing.T) {
	if _, err := exec.LookPath("dart"); err != nil {
		t.Skip("SKIPPED: dart is not installed, so docs/examples/clients/mostros.dart was NOT run")
	}
	runClient(t, []string{"choose", "choose-none", "choose-refused"}, func(what, address string, args []string) *exec.Cmd {
		return exec.Command("dart", slices.Concat([]string{"run", filepath.Join(clientFiles, "mostros.dart"), what, address}, args)...)
	})
}

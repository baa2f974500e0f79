package opalert

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// rig is a service with conditions that a test changes.
type rig struct {
	mu   sync.Mutex
	now  time.Time
	list []Condition
	got  map[string][]string // by channel
}

func (r *rig) set(now time.Time, list ...Condition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now, r.list = now, list
}

func (r *rig) heard(channel string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got[channel]...)
}

// channel returns a channel that keeps messages, or fails while broken returns an error.
func (r *rig) channel(name string, broken func(context.Context) error) Channel {
	return Channel{Name: name, Send: func(ctx context.Context, m Message) error {
		if err := broken(ctx); err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got[name] = append(r.got[name], heard([]Message{m})...)
		return nil
	}}
}

// run starts a service until the function that it returns is called.
func (r *rig) run(t *testing.T, cfg Config) (s *Service, stop func()) {
	t.Helper()
	cfg.Look = func(context.Context) Look { r.mu.Lock(); defer r.mu.Unlock(); return Look{Conditions: r.list} }
	cfg.Now = func() time.Time { r.mu.Lock(); defer r.mu.Unlock(); return r.now }
	cfg.Every = time.Millisecond
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return s, stop
}

func fine(context.Context) error { return nil }

// TestDeadChannelDelaysNoOther: one channel never answers, and another fails.
func TestDeadChannelDelaysNoOther(t *testing.T) {
	r := &rig{now: start, got: map[string][]string{}}
	r.set(start, Condition{Kind: "disk", Level: Critical, Text: "full"})
	hangs := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	fails := func(context.Context) error { return errors.New("no route") }
	reg := prometheus.NewRegistry()
	_, stop := r.run(t, Config{File: filepath.Join(t.TempDir(), "state"), Metrics: reg, Channels: []Channel{r.channel("a", hangs), r.channel("b", fails), r.channel("c", fine)}})
	testkit.Eventually(t, "the third channel delivers", func() bool { return len(r.heard("c")) == 1 })
	r.set(start.Add(2 * time.Hour))
	testkit.Eventually(t, "the third channel says that it is over", func() bool { return len(r.heard("c")) == 2 })
	stop() // ends although a call hangs
	if n := testutil.CollectAndCount(reg, "mostrodex_operator_messages_waiting"); n != 3 {
		t.Errorf("%d gauges of channels", n)
	}
}

// TestMessageSurvivesARestart: a message that no channel took is delivered after a restart, and
// one that was taken is not delivered again.
func TestMessageSurvivesARestart(t *testing.T) {
	r := &rig{now: start, got: map[string][]string{}}
	r.set(start, Condition{Kind: "disk", Level: Critical, Text: "full"})
	file := filepath.Join(t.TempDir(), "state")
	down := func(context.Context) error { return errors.New("down") }
	_, stop := r.run(t, Config{File: file, Channels: []Channel{r.channel("a", down), r.channel("b", fine)}})
	testkit.Eventually(t, "the other channel delivers", func() bool { return len(r.heard("b")) == 1 })
	stop()
	_, stop = r.run(t, Config{File: file, Channels: []Channel{r.channel("a", fine), r.channel("b", fine)}})
	testkit.Eventually(t, "the channel delivers after the restart", func() bool { return len(r.heard("a")) == 1 })
	r.set(start.Add(5*time.Hour), Condition{Kind: "disk", Level: Critical, Text: "full"})
	testkit.Eventually(t, "the condition is repeated", func() bool { return len(r.heard("a")) == 2 && len(r.heard("b")) == 2 })
	stop()
	if got := strings.Join(r.heard("b"), ","); got != "begins disk,lasts disk" {
		t.Errorf("b heard %s", got)
	}
	// A channel that is configured no more leaves nothing behind.
	s, stop := r.run(t, Config{File: file})
	stop()
	if len(s.state.Pending) > 2 || len(s.state.Book.Open) != 1 {
		t.Errorf("%+v", s.state)
	}
}

// TestDamagedState: the alerts begin anew, and an unwritable file does not stop a message.
func TestDamagedState(t *testing.T) {
	for name, prepare := range map[string]func(file string) error{
		"torn": func(file string) error { return os.WriteFile(file, []byte(`{"book":{"open":{"a":`), 0o600) },
		"another": func(file string) error {
			return os.WriteFile(file, []byte(`{"book":{"open":{"a":null}},"pending":null}`), 0o600)
		},
		"too large":   func(file string) error { return os.WriteFile(file, make([]byte, maxFile+1), 0o600) },
		"unwritable":  func(file string) error { return os.Mkdir(file+".new", 0o700) },
		"from a list": func(file string) error { return os.WriteFile(file, []byte(`[]`), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "state")
			if err := prepare(file); err != nil {
				t.Fatal(err)
			}
			r := &rig{now: start, got: map[string][]string{}}
			r.set(start, Condition{Kind: "disk", Level: Critical, Text: "full"})
			r.run(t, Config{File: file, Channels: []Channel{r.channel("a", fine)}})
			testkit.Eventually(t, "the message is delivered", func() bool { return len(r.heard("a")) == 1 })
		})
	}
}

// TestPendingIsBounded: a channel that is down for days keeps the newest messages.
func TestPendingIsBounded(t *testing.T) {
	r := &rig{now: start, got: map[string][]string{}}
	down := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	s, stop := r.run(t, Config{File: filepath.Join(t.TempDir(), "state"), Channels: []Channel{r.channel("a", down)}})
	waiting := func() (n int, last uint64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if n = len(s.state.Pending["a"]); n > 0 {
			last = s.state.Pending["a"][n-1].ID
		}
		return n, last
	}
	for i := range maxPending + 10 {
		r.set(start.Add(time.Duration(i)*time.Hour*5), Condition{Kind: "disk", Level: Critical, Text: "full"})
		testkit.Eventually(t, "the message is queued", func() bool { _, last := waiting(); return last == uint64(i+1) })
	}
	stop()
	if n, _ := waiting(); n != maxPending {
		t.Errorf("%d messages wait", n)
	}
}

// TestSecretsOfAddresses: neither the URL nor the secret of a channel is in an error, the log, the
// file or a metric, and the requests carry them.
func TestSecretsOfAddresses(t *testing.T) {
	var mu sync.Mutex
	var requests []string
	refuse := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		mu.Lock()
		defer mu.Unlock()
		if refuse {
			http.Redirect(w, q, "/elsewhere?stolen", http.StatusFound)
			return
		}
		requests = append(requests, q.URL.Path+"|"+q.Header.Get("Authorization")+q.Header.Get("Mostrodex-Signature")+"|"+q.Header.Get("Title")+"|"+string(body))
	}))
	defer server.Close()
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	hook, err := ReadAddress(write("hook", server.URL+"/hook-geheim?token=geheim\ngeheim-key\n"))
	if err != nil {
		t.Fatal(err)
	}
	topic, err := ReadAddress(write("ntfy", "http://127.0.0.1:1/geheim-topic\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "geheim", "ftp://geheim/x", "https://user:geheim@example.org/", "http://a/geheim b c", "https:///geheim", strings.Repeat("geheim", 1000)} {
		if _, err := ReadAddress(write("bad", bad)); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	var log strings.Builder
	var logging sync.Mutex
	reg := prometheus.NewRegistry()
	r := &rig{now: start, got: map[string][]string{}}
	r.set(start, Condition{Kind: "disk", Level: Critical, Text: "full"})
	sign := func(secret string, _ time.Time, _ []byte) string { return "signed with " + secret }
	channels := []Channel{Webhook(hook, "Nodo ñ", func() time.Time { return start }, sign), Ntfy(topic, "Nodo ñ")}
	_, stop := r.run(t, Config{File: filepath.Join(dir, "state"), Metrics: reg, Channels: channels,
		Logger: slog.New(slog.NewTextHandler(lockedWriter{&logging, &log}, nil))})
	text := func() string { logging.Lock(); defer logging.Unlock(); return log.String() }
	testkit.Eventually(t, "both failures are logged", func() bool { return strings.Count(text(), "not delivered") == 2 })
	stop()
	state, err := os.ReadFile(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		state = append(state, f.String()...)
	}
	if all := text() + string(state); strings.Contains(all, "geheim") || strings.Contains(all, server.URL) {
		t.Errorf("a secret is in:\n%s", all)
	}
	mu.Lock()
	refuse = false
	mu.Unlock()
	topic = Address{URL: server.URL + "/topic", Secret: "tk"}
	for _, c := range []Channel{channels[0], Ntfy(topic, "Nodo ñ")} {
		if err := c.Send(t.Context(), Message{ID: 7, State: Begins, Level: Critical, Kind: "disk", Text: "full"}); err != nil {
			t.Fatal(err)
		}
	}
	got := strings.Join(requests, "\n")
	for _, want := range []string{"/hook-geheim|signed with geheim-key|", `"type":"operator-alert","id":7,"state":"begins","kind":"disk"`, `"level":"critical"`, "/topic|Bearer tk|=?utf-8?q?Nodo_=C3=B1:_critical:_disk_begins?=|full"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "stolen") {
		t.Error("a redirect was followed")
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

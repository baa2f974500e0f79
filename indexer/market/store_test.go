package market

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/indexer/stats"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// fakeLog is a log in memory. moved is closed when an entry is added.
type fakeLog struct {
	mu      sync.Mutex
	entries []mostro.Entry
	failAt  uint64
	moved   chan struct{}
}

var errRead = errors.New("log out of order")

func newLog() *fakeLog { return &fakeLog{moved: make(chan struct{})} }

func (l *fakeLog) add(evt nostr.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	evt.ID = evt.GetID()
	seq := uint64(len(l.entries) + 1)
	l.entries = append(l.entries, mostro.Entry{Seq: seq, Event: &evt, ReceivedAt: evt.CreatedAt.Time(), Source: mostro.Source{Origin: mostro.OriginLive}})
	close(l.moved)
	l.moved = make(chan struct{})
}

func (l *fakeLog) Head() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.entries))
}

func (l *fakeLog) ReadEvidence(_ context.Context, after uint64, fn func(mostro.Entry) error) error {
	l.mu.Lock()
	all, failAt := l.entries, l.failAt
	l.mu.Unlock()
	for _, e := range all[min(after, uint64(len(all))):] {
		if e.Seq == failAt {
			return errRead
		}
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

func (l *fakeLog) Wait(ctx context.Context, seq uint64) error {
	for {
		l.mu.Lock()
		moved := l.moved
		l.mu.Unlock()
		if l.Head() > seq {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const t0 = 1_790_000_000

func order(author, d int, at int64, status string) nostr.Event {
	return nostr.Event{PubKey: fmt.Sprintf("%064x", 0xa000+author), Kind: mostro.KindOrder, CreatedAt: nostr.Timestamp(at), Tags: nostr.Tags{
		{"d", strconv.Itoa(d)}, {"k", "sell"}, {"f", "USD"}, {"s", status}, {"amt", "1000"}, {"fa", "100"}, {"pm", "cash"}, {"premium", "1"},
		{"network", "mainnet"}, {"layer", "lightning"}, {"y", "mostro"}, {"z", "order"}}}
}

func fill(l *fakeLog, r *rand.Rand, n int) {
	for range n {
		status := []string{"pending", "in-progress", "success", "canceled"}[r.IntN(4)]
		l.add(order(r.IntN(5), r.IntN(40), t0+r.Int64N(100_000), status))
	}
}

func open(t *testing.T, dir string, l Log) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Dir: dir, Log: l})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func catchUp(t *testing.T, s *Store) {
	t.Helper()
	if err := s.CatchUp(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// state returns the whole content of the statistics.
func state(t *testing.T, s *Store) (out []byte) {
	t.Helper()
	if err := s.View(func(c *stats.Collector) error {
		out = c.Encode(nil)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRestarts stops and starts a Store at random positions, with and without a checkpoint,
// and compares its state with that of a Store that read the log once.
func TestRestarts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		l, dir := newLog(), t.TempDir()
		for range 1 + r.IntN(5) {
			fill(l, r, r.IntN(700))
			s := open(t, dir, l)
			catchUp(t, s)
			if r.IntN(3) > 0 { // else as after kill -9
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		s, once := open(t, dir, l), open(t, t.TempDir(), l)
		catchUp(t, s)
		catchUp(t, once)
		if !bytes.Equal(state(t, s), state(t, once)) {
			t.Fatal("the state after restarts differs from the state of one pass")
		}
		if err := s.Rebuild(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(state(t, s), state(t, once)) {
			t.Fatal("the state after a rebuild differs")
		}
	}
}

func TestUnusableCheckpoints(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string, l *fakeLog){
		"truncated": func(t *testing.T, path string, _ *fakeLog) {
			if err := os.Truncate(path, 100); err != nil {
				t.Fatal(err)
			}
		},
		"empty": func(t *testing.T, path string, _ *fakeLog) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		},
		"a bit of the head changed": func(t *testing.T, path string, _ *fakeLog) { flip(t, path, len(magic)+20) },
		"a bit of the body changed": func(t *testing.T, path string, _ *fakeLog) { flip(t, path, headLen+200) },
		"the log is another one": func(_ *testing.T, _ string, l *fakeLog) {
			l.entries = nil
			fill(l, rand.New(rand.NewPCG(9, 9)), 400)
		},
		"the log is an older copy": func(_ *testing.T, _ string, l *fakeLog) { l.entries = l.entries[:50] },
	} {
		t.Run(name, func(t *testing.T) {
			l, dir := newLog(), t.TempDir()
			fill(l, rand.New(rand.NewPCG(3, 4)), 400)
			s := open(t, dir, l)
			catchUp(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			spoil(t, filepath.Join(dir, Name), l)
			s, fresh := open(t, dir, l), open(t, t.TempDir(), l)
			if s.Position() != 0 {
				t.Errorf("the checkpoint was used up to %d", s.Position())
			}
			catchUp(t, s)
			catchUp(t, fresh)
			if !bytes.Equal(state(t, s), state(t, fresh)) {
				t.Error("the rebuilt state differs")
			}
		})
	}
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[at] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCheckpointSavesWork checks that a Store with a checkpoint reads only newer entries.
func TestCheckpointSavesWork(t *testing.T) {
	l, dir := newLog(), t.TempDir()
	fill(l, rand.New(rand.NewPCG(5, 6)), 300)
	s := open(t, dir, l)
	catchUp(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l.failAt = 100
	s = open(t, dir, l)
	if s.Position() != 300 {
		t.Fatalf("the checkpoint ends at %d", s.Position())
	}
	catchUp(t, s)
}

func TestBehind(t *testing.T) {
	l := newLog()
	fill(l, rand.New(rand.NewPCG(7, 8)), 10)
	s := open(t, t.TempDir(), l)
	if err := s.View(func(*stats.Collector) error { t.Error("called"); return nil }); !errors.Is(err, ErrBehind) {
		t.Errorf("before the first pass the error is %v", err)
	}
	l.failAt = 5
	if err := s.CatchUp(t.Context(), nil); !errors.Is(err, errRead) || s.Ready() {
		t.Errorf("a failed read returns %v, ready %t", err, s.Ready())
	}
	l.failAt = 0
	catchUp(t, s)
	if !s.Ready() || s.Position() != 10 {
		t.Errorf("ready %t at %d", s.Ready(), s.Position())
	}
}

// TestRun checks that Run applies new entries, ends with its context, and goes on without a
// checkpoint if no file can be written.
func TestRun(t *testing.T) {
	l, dir := newLog(), t.TempDir()
	now, mu := time.Unix(t0, 0), sync.Mutex{}
	var said bytes.Buffer
	s, err := Open(t.Context(), Config{Dir: dir, Log: l, Logger: logTo(&said, &mu), Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Hour) // a checkpoint is due after each pass
		return now
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, Name+".new"), 0o700); err != nil { // the file cannot be created
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for i := range 3 {
		l.add(order(1, i, t0+int64(i), "pending"))
		until(t, func() bool { return s.Position() == uint64(i+1) })
	}
	until(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(said.String(), "no new checkpoint")
	})
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run returns %v", err)
	}
}

func until(t *testing.T, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("condition not met after 30 s")
		}
	}
}

type lockedWriter struct {
	w  *bytes.Buffer
	mu *sync.Mutex
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func logTo(w *bytes.Buffer, mu *sync.Mutex) *slog.Logger {
	return slog.New(slog.NewTextHandler(lockedWriter{w, mu}, nil))
}

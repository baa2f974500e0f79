package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/badgerfiles"
	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
	"github.com/nbd-wtf/go-nostr"
)

// copyTo copies a store to a data directory. kept holds the bytes of the spans of earlier
// copies, and between is called before each span is copied.
func copyTo(t *testing.T, c *Copy, kept map[recordlog.Span][]byte, dir string, between func()) {
	t.Helper()
	if err := os.MkdirAll(LogDir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	copySpans := func(spans []recordlog.Span) {
		for _, span := range spans {
			between()
			if kept[span] == nil {
				var b bytes.Buffer
				if err := c.Bytes(&b, span); err != nil {
					t.Fatal(err)
				}
				kept[span] = b.Bytes()
			}
		}
	}
	copySpans(c.Spans)
	between()
	for {
		spans, tail, done, err := c.More(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range tail {
			kept[spans[i]] = b
		}
		if done {
			break
		}
		copySpans(spans)
	}
	between()
	for _, span := range c.Spans {
		f, err := os.OpenFile(filepath.Join(LogDir(dir), recordlog.FileName(span.First, ".log")), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if n, _, err := span.Count(kept[span]); err != nil || n != span.To-span.From+1 {
			t.Fatalf("%+v has %d records: %v", span, n, err)
		}
		if _, err := f.Write(kept[span]); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(c.Keys(t.Context(), w)) }()
	if _, err := badgerfiles.Load(KeysDir(dir), r); err != nil {
		t.Fatal(err)
	}
}

// TestCopyIsOneMoment copies a store again and again, each time with the spans of the copy
// before, while events are appended, deleted and expire. A store that is made of a copy is
// sound. It has the entries of the original at that moment, and no payload that was erased.
func TestCopyIsOneMoment(t *testing.T) {
	clock := testkit.NewClock()
	st, err := Open(Config{Dir: t.TempDir(), Now: clock.Now, logFileBytes: 30_000})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	w := &world{Rand: rand.New(rand.NewPCG(7, 18)), base: clock.Now().Unix()}
	some := func(n int, of func() *nostr.Event) {
		var last Pending
		for range n {
			evt := of()
			w.known = append(w.known, evt)
			var err error
			if last, err = st.Enqueue(t.Context(), Arrival{Event: evt, ReceivedAt: clock.Now(), Source: mostro.Source{Origin: mostro.OriginClient}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := last.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	plain := func() *nostr.Event {
		return testkit.Unsigned(9, 1, w.base, fmt.Sprint("a regular event ", w.Uint64()))
	}
	kept := make(map[recordlog.Span][]byte)
	var have []recordlog.Span
	reused := 0
	for round := range 6 {
		some(300, plain) // nobody deletes these: the files with them do not change
		some(300, w.event)
		clock.Advance(5 * time.Second)
		w.base += 5
		c, err := st.Copy(t.Context(), have)
		if err != nil {
			t.Fatal(err)
		}
		for _, span := range c.Spans {
			if kept[span] != nil {
				reused++
			}
		}
		restored := t.TempDir()
		copyTo(t, c, kept, restored, func() {
			if c.keys == nil {
				some(10, w.event)
			}
		})
		want := entriesOf(t, st)
		have = c.Spans
		c.Close()
		second, err := Open(Config{Dir: restored, Now: clock.Now, logFileBytes: 30_000})
		if err != nil {
			t.Fatal(err)
		}
		if second.Head() != c.Head() {
			t.Errorf("the restored log ends at %d, the copy at %d", second.Head(), c.Head())
		}
		mustCheck(t, second)
		if got := entriesOf(t, second); !maps.Equal(got, want) {
			t.Errorf("round %d: the restored log has %d entries, want %d", round, len(got), len(want))
			for seq, text := range want {
				if got[seq] != text {
					t.Errorf("entry %d: %s, want %s", seq, got[seq], text)
				}
			}
		}
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if reused == 0 {
		t.Error("no span was used again")
	}
	mustCheck(t, st)
	if err := st.queue.call(t.Context(), func(c *committer) error {
		if c.keys.copies != 0 || c.keys.scrubbed != nil {
			return fmt.Errorf("%d copies are open", c.keys.copies)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// entriesOf returns the readable entries of a store, after expired mail was erased.
func entriesOf(t *testing.T, st *Store) map[uint64]string {
	t.Helper()
	st.live.Expire(st.now().Unix())
	for range 2 { // the second call commits, and erases, what the first one requests
		if err := st.queue.call(t.Context(), (*committer).moveHidden); err != nil {
			t.Fatal(err)
		}
	}
	list := make(map[uint64]string)
	if err := st.Read(t.Context(), 0, func(e mostro.Entry) error {
		if e.Event == nil {
			return nil // an entry in memory whose record has no payload
		}
		list[e.Seq] = fmt.Sprint(e.ReceivedAt, e.Source, e.Archived, e.Event)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestSpansOfAnotherLog checks that a span is copied again if it is of another log, or if a
// payload of its file was erased.
func TestSpansOfAnotherLog(t *testing.T) {
	clock := testkit.NewClock()
	spansOf := func(author byte) (st *Store, spans []recordlog.Span, first *nostr.Event) {
		st = mustOpenStore(t, t.TempDir(), clock)
		first = testkit.Unsigned(author, 1, clock.Now().Unix(), "an event")
		mustAppend(t, st, first)
		mustAppend(t, st, testkit.Unsigned(author, 1, clock.Now().Unix()+1, "an event"))
		c, err := st.Copy(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		return st, c.Spans, first
	}
	a, ofA, first := spansOf(1)
	_, ofB, _ := spansOf(2)
	has := func(have []recordlog.Span, span recordlog.Span) bool {
		c, err := a.Copy(context.Background(), have)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		return slices.Contains(c.Spans, span)
	}
	if !has(ofA, ofA[0]) || has(ofB, ofB[0]) {
		t.Errorf("spans of the log: %v, of another log: %v", has(ofA, ofA[0]), has(ofB, ofB[0]))
	}
	mustAppend(t, a, testkit.Unsigned(1, 1, clock.Now().Unix()+2, "an event"))
	if !has(ofA, ofA[0]) {
		t.Error("the span is copied again although records were only appended")
	}
	mustAppend(t, a, testkit.Unsigned(1, 5, clock.Now().Unix(), "", nostr.Tag{"e", first.ID}))
	if has(ofA, ofA[0]) {
		t.Error("the span is not copied again although a payload was erased")
	}
}

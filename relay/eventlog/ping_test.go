package eventlog

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/nbd-wtf/go-nostr"
)

// TestPing: a committer that works answers, a committer whose disk does not end a write does
// not, and a closed store returns ErrClosed.
func TestPing(t *testing.T) {
	stuck, entered, release := false, make(chan struct{}), make(chan struct{})
	st, err := Open(Config{Dir: t.TempDir(), Now: testkit.NewClock().Now, flushAfter: time.Hour, committed: func() error {
		if stuck {
			stuck = false
			close(entered)
			<-release
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.Ping(t.Context()); err != nil {
		t.Fatal("an idle committer: ", err)
	}
	mustAppend(t, st, testkit.Unsigned(1, 1, 1, "", nostr.Tag{"t", "x"}))
	if err := st.Ping(t.Context()); err != nil {
		t.Fatal("after an append: ", err)
	}
	stuck = true
	done := make(chan error, 1)
	go func() { done <- st.queue.writeKeys(context.Background()) }()
	<-entered
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := st.Ping(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a stuck committer answers the ping: %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := st.Ping(t.Context()); err != nil {
		t.Error("after the disk has answered: ", err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	if err := st.Ping(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed store: %v", err)
	}
}

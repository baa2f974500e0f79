package eventlog

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/testkit"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// A parsed event takes many times the length of its payload. The ring is bounded by the
// number of tags.
func TestRecentEventsAreBoundedByTheirTags(t *testing.T) {
	st := mustOpenStore(t, t.TempDir(), testkit.NewClock())
	const tags = 8000
	var last Pending
	for i := range 80 {
		evt := testkit.Unsigned(1, 38383, int64(i+1), "", nostr.Tag{"d", fmt.Sprint(i)})
		for j := range tags {
			evt.Tags = append(evt.Tags, nostr.Tag{"many", fmt.Sprint(j)})
		}
		p, err := st.Enqueue(context.Background(), Arrival{Event: evt, ReceivedAt: st.now()})
		if err != nil {
			t.Fatal(err)
		}
		last = p
	}
	if _, _, err := last.Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	held := 0
	st.recent.mu.Lock()
	for i := range st.recent.ring.entries {
		if evt := st.recent.ring.entries[i].entry.Event; evt != nil {
			held += len(evt.Tags)
		}
	}
	st.recent.mu.Unlock()
	if held > 256<<10 || held == 0 {
		t.Errorf("%d tags of recent events are held", held)
	}
	read := 0
	if err := st.ReadRaw(context.Background(), 0, func(e mostro.Entry, _ []byte) error { read++; return nil }); err != nil || read != 80 {
		t.Errorf("%d events are read, %v", read, err)
	}
}

// The creation of a log file waits for a free descriptor.
func TestNoDescriptorIsWaitedOut(t *testing.T) {
	if dir := os.Getenv("MOSTRODEX_INTEROP_DESCRIPTORS"); dir == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), "MOSTRODEX_INTEROP_DESCRIPTORS="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%.2000s", err, out)
		}
		return
	}
	st, err := Open(Config{Dir: os.Getenv("MOSTRODEX_INTEROP_DESCRIPTORS"), logFileBytes: 2000})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 256, Max: 256}); err != nil {
		t.Fatal(err)
	}
	var taken []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	go func() {
		time.Sleep(200 * time.Millisecond)
		for _, f := range taken {
			f.Close()
		}
	}()
	for i := range 30 {
		mustAppend(t, st, testkit.Unsigned(1, 1, int64(i), ""))
	}
	if len(st.log.Sizes()) < 5 {
		t.Errorf("%d files: the test does not apply", len(st.log.Sizes()))
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

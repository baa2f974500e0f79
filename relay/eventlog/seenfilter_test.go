package eventlog

import (
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/testkit"
)

// TestFilterIsMadeAnew checks that the filter never denies a stored id while a new
// filter is filled.
func TestFilterIsMadeAnew(t *testing.T) {
	if testing.Short() {
		t.Skip("replaces a filter five thousand times, because the race is rare")
	}
	st := mustOpenStore(t, t.TempDir(), testkit.NewClock())
	evt := testkit.Unsigned(1, 1, 1, "")
	mustAppend(t, st, evt)
	if r := mustCheck(t, st); r.Entries != 1 { // commits the derived keys
		t.Fatal(r)
	}
	id, err := hex32.Parse(evt.ID)
	if err != nil {
		t.Fatal(err)
	}
	stop, missed := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { missed <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if !st.keys.ids.mayContain(id[:]) {
				n++
			}
		}
	}()
	for range 5000 {
		for !st.keys.ids.ready.Load() {
			time.Sleep(10 * time.Microsecond)
		}
		st.keys.ids.mu.Lock()
		st.keys.ids.room = 0
		st.keys.ids.mu.Unlock()
		if err := st.committer.growFilters(); err != nil { // the committer is idle
			t.Fatal(err)
		}
	}
	close(stop)
	if n := <-missed; n > 0 {
		t.Errorf("%d times", n)
	}
}

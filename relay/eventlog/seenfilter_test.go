package eventlog

import (
	"testing"
	"time"

	"github.com/mostrodex/mostrodex/internal/hex32"
	"github.com/mostrodex/mostrodex/internal/testkit"
)

// TestFilterIsMadeAnew: whoever asks meanwhile is never told that a held id is
// not there.
func TestFilterIsMadeAnew(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a filter anew five thousand times: fewer seldom show it")
	}
	st := mustOpenStore(t, t.TempDir(), testkit.NewClock())
	evt := testkit.Unsigned(1, 1, 1, "")
	mustAppend(t, st, evt)
	if r := mustCheck(t, st); r.Entries != 1 { // what follows from it is in the files
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
			if !st.ids.mayContain(id[:]) {
				n++
			}
		}
	}()
	for range 5000 {
		for !st.ids.ready.Load() {
			time.Sleep(10 * time.Microsecond)
		}
		st.ids.mu.Lock()
		st.ids.room = 0
		st.ids.mu.Unlock()
		if err := st.growFilters(); err != nil { // nothing else is under way
			t.Fatal(err)
		}
	}
	close(stop)
	if n := <-missed; n > 0 {
		t.Errorf("%d times", n)
	}
}

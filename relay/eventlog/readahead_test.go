package eventlog

import (
	"testing"
	"time"
)

// TestReadingAheadWaits: a store that was given Settled reads ahead once it is
// closed, not before; one that is closed meanwhile does not wait for it.
func TestReadingAheadWaits(t *testing.T) {
	dir := t.TempDir()
	open := func() (*Store, chan struct{}) {
		settled := make(chan struct{})
		st, err := Open(Config{Dir: dir, Settled: settled})
		if err != nil {
			t.Fatal(err)
		}
		return st, settled
	}
	st, _ := open()
	time.Sleep(50 * time.Millisecond)
	if st.ids.ready.Load() {
		t.Error("it read ahead before it was settled")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st, settled := open()
	defer st.Close()
	close(settled)
	for end := time.Now().Add(10 * time.Second); !st.ids.ready.Load() || !st.hidden.ready.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it has not read ahead ten seconds after it settled")
		}
	}
}

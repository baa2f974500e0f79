package eventlog

import (
	"testing"
	"time"
)

// TestWarmUpWaits checks that the warm-up begins when Settled is closed, not before,
// and that Close does not wait for Settled.
func TestWarmUpWaits(t *testing.T) {
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
	if st.keys.ids.ready.Load() {
		t.Error("the warm-up began before Settled was closed")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st, settled := open()
	defer st.Close()
	close(settled)
	for end := time.Now().Add(10 * time.Second); !st.keys.ids.ready.Load() || !st.keys.hidden.ready.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the warm-up has not finished ten seconds after Settled was closed")
		}
	}
}

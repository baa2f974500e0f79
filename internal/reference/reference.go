// Package reference finds the folder of reference documents and captured events that
// may lie beside the project. It is for tests: a test that needs the folder is skipped
// if the folder is absent.
package reference

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// File returns the path of a file of the folder. The folder is named by
// MOSTRODEX_SHARED; by default it is "shared" beside the project. If the file is absent,
// the test is skipped.
func File(t testing.TB, elem ...string) string {
	t.Helper()
	dir := os.Getenv("MOSTRODEX_SHARED")
	if dir == "" {
		dir = filepath.Join(moduleRoot(t), "..", "shared")
	}
	path := filepath.Join(append([]string{dir}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the reference folder is not beside the project (set MOSTRODEX_SHARED): %v", err)
	}
	return path
}

// moduleRoot returns the nearest folder with a go.mod above the working directory.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the working directory")
		}
	}
}

// RealEvents returns the captured events.
func RealEvents(t testing.TB) []*nostr.Event {
	t.Helper()
	f, err := os.Open(File(t, "fixtures", "real-events.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var events []*nostr.Event
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var evt nostr.Event
		if err := json.Unmarshal(lines.Bytes(), &evt); err != nil {
			t.Fatal(err)
		}
		events = append(events, &evt)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return events
}

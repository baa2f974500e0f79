package indexer

import (
	"net"
	"net/http"
	"os"
	"testing"
)

// TestPreview serves the explorer over the captured events at the address
// MOSTRODEX_PREVIEW, for a developer to view. If the variable is not set, the test is
// skipped.
func TestPreview(t *testing.T) {
	addr := os.Getenv("MOSTRODEX_PREVIEW")
	if addr == "" {
		t.Skip("set MOSTRODEX_PREVIEW=127.0.0.1:port to view the pages")
	}
	o := real(t)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(http.Serve(l, o.Handler()))
}

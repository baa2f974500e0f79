package wire

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

var update = flag.Bool("update", false, "rewrite fields.txt")

// The tools module compares fields.txt with LND's own descriptors, which this module
// must not import. This test proves that fields.txt describes the generated code.
func TestFieldsAreThoseOfTheGeneratedCode(t *testing.T) {
	var b strings.Builder
	for _, m := range Methods() {
		fmt.Fprintf(&b, "%s streams=%t\n", m.Path, m.Streams)
		writeFields(&b, "  request", m.Request.ProtoReflect().Descriptor())
		writeFields(&b, "  response", m.Response.ProtoReflect().Descriptor())
	}
	if *update {
		if err := os.WriteFile("fields.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("fields.txt")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Fatalf("fields.txt is stale: run go generate ./escrow/lnd/wire and go test ./escrow/lnd/wire -update\n%s", b.String())
	}
}

func writeFields(b *strings.Builder, prefix string, m protoreflect.MessageDescriptor) {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		fmt.Fprintf(b, "%s.%s %d %s %s", prefix, f.Name(), f.Number(), f.Cardinality(), f.Kind())
		if e := f.Enum(); e != nil {
			for j := range e.Values().Len() {
				fmt.Fprintf(b, " %s=%d", e.Values().Get(j).Name(), e.Values().Get(j).Number())
			}
		}
		b.WriteByte('\n')
		if f.Message() != nil {
			writeFields(b, prefix+"."+string(f.Name()), f.Message())
		}
	}
}

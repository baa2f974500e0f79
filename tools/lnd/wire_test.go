// Package lnd_test compares the descriptors of escrow/lnd/wire with LND's own
// descriptors, which the main module does not import.
package lnd_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	_ "github.com/lightningnetwork/lnd/lnrpc"
	_ "github.com/lightningnetwork/lnd/lnrpc/invoicesrpc"
	_ "github.com/lightningnetwork/lnd/lnrpc/routerrpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

const fieldsFile = "../../escrow/lnd/wire/fields.txt"

func TestFieldsAreThoseOfLND(t *testing.T) {
	text, err := os.ReadFile(fieldsFile)
	if err != nil {
		t.Fatal(err)
	}
	var method protoreflect.MethodDescriptor
	methods, fields := 0, 0
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if strings.HasPrefix(line, "/") {
			path, streams, _ := strings.Cut(line, " streams=")
			service, name, _ := strings.Cut(path[1:], "/")
			d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + name))
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			method = d.(protoreflect.MethodDescriptor)
			if method.IsStreamingClient() || strconv.FormatBool(method.IsStreamingServer()) != streams {
				t.Errorf("%s: LND and this module differ in streaming", path)
			}
			methods++
			continue
		}
		want := strings.TrimSpace(line)
		where, _, _ := strings.Cut(want, " ")
		got, err := describe(method, where)
		if err != nil {
			t.Errorf("%s %s: %v", method.FullName(), where, err)
		} else if got != want {
			t.Errorf("%s: LND has %q, this module has %q", method.FullName(), got, want)
		}
		fields++
	}
	if methods != 11 || fields < 100 {
		t.Fatalf("compared %d methods and %d fields: %s is incomplete", methods, fields, fieldsFile)
	}
}

// describe returns the line of fields.txt for the field at where
// ("response.htlcs.amt_msat"), from LND's descriptors. If the field does not exist,
// describe returns an error.
func describe(method protoreflect.MethodDescriptor, where string) (string, error) {
	names := strings.Split(where, ".")
	message := method.Input()
	if names[0] == "response" {
		message = method.Output()
	}
	var f protoreflect.FieldDescriptor
	for _, name := range names[1:] {
		if message == nil {
			return "", fmt.Errorf("%s is not a message", f.Name())
		}
		if f = message.Fields().ByName(protoreflect.Name(name)); f == nil {
			return "", fmt.Errorf("no field %s", name)
		}
		message = f.Message()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %s %s", where, f.Number(), f.Cardinality(), f.Kind())
	if e := f.Enum(); e != nil {
		for i := range e.Values().Len() {
			fmt.Fprintf(&b, " %s=%d", e.Values().Get(i).Name(), e.Values().Get(i).Number())
		}
	}
	return b.String(), nil
}

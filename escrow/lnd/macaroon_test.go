package lnd

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// bake returns a macaroon in the form of LND.
func bake(ops map[string][]string) []byte {
	id := []byte{3}
	id = protowire.AppendTag(id, 1, protowire.BytesType)
	id = protowire.AppendBytes(id, []byte("nonce of 16 byte"))
	id = protowire.AppendTag(id, 2, protowire.BytesType)
	id = protowire.AppendBytes(id, []byte("0"))
	for entity, actions := range ops {
		op := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte(entity))
		for _, a := range actions {
			op = protowire.AppendBytes(protowire.AppendTag(op, 2, protowire.BytesType), []byte(a))
		}
		id = protowire.AppendBytes(protowire.AppendTag(id, 3, protowire.BytesType), op)
	}
	b := protowire.AppendBytes([]byte{2, 1}, []byte("lnd"))
	b = protowire.AppendBytes(append(b, 2), id)
	return append(b, 0, 0, 6, 1, 9)
}

func TestGranted(t *testing.T) {
	granted, err := Granted(bake(map[string][]string{"uri": {"/lnrpc.Lightning/GetInfo", "/lnrpc.Lightning/SendCoins"}, "onchain": {"read", "write"}}))
	want := []string{"onchain:read", "onchain:write", "uri:/lnrpc.Lightning/GetInfo", "uri:/lnrpc.Lightning/SendCoins"}
	if err != nil || !slices.Equal(granted, want) {
		t.Errorf("%v, %v", granted, err)
	}
	if more := Excess(granted); !slices.Equal(more, []string{"onchain:read", "onchain:write", "uri:/lnrpc.Lightning/SendCoins"}) {
		t.Errorf("excess %v", more)
	}
}

// TestGrantedOfBrokenFiles checks that no cut or changed file makes the program panic.
func TestGrantedOfBrokenFiles(t *testing.T) {
	whole := bake(map[string][]string{"uri": {"/lnrpc.Lightning/GetInfo"}})
	for n := range len(whole) - 6 {
		if granted, err := Granted(whole[:n]); err == nil && len(granted) != 0 {
			t.Errorf("the first %d bytes grant %v", n, granted)
		}
	}
	for i := range whole {
		for v := range 256 {
			b := slices.Clone(whole)
			b[i] = byte(v)
			if granted, err := Granted(b); err == nil && len(granted) > 2 {
				t.Errorf("byte %d as %d grants %v", i, v, granted)
			}
		}
	}
	for _, b := range [][]byte{nil, []byte("none"), make([]byte, maxMacaroon+1), {2, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}} {
		if _, err := Granted(b); err == nil {
			t.Errorf("%d bytes are a macaroon", len(b))
		}
	}
}

package varint

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// TestReader decodes a record of each kind of field, and every truncation of the record.
func TestReader(t *testing.T) {
	record := binary.AppendUvarint(nil, 1<<40)
	record = binary.AppendVarint(record, -300)
	record = append(record, "mostro"...)
	read := func(b []byte) (u uint64, v int64, text []byte, in Reader) {
		in = Reader{Rest: b}
		return in.Uvarint(), in.Varint(), in.Bytes(6), in
	}
	u, v, text, in := read(record)
	if u != 1<<40 || v != -300 || !bytes.Equal(text, []byte("mostro")) || in.Bad || len(in.Rest) != 0 {
		t.Errorf("%d, %d, %q, %+v", u, v, text, in)
	}
	for n := range record {
		u, v, text, in := read(record[:n])
		if !in.Bad || len(text) != 6 {
			t.Errorf("%d of %d bytes: %d, %d, %q, bad %v", n, len(record), u, v, text, in.Bad)
		}
	}
	huge := Reader{Rest: record}
	if got := huge.Bytes(1 << 62); !huge.Bad || len(got) != 64 {
		t.Errorf("%d bytes of a length that is out of range, bad %v", len(got), huge.Bad)
	}
}

// Package varint decodes records of varints and byte strings without an error check per
// field.
package varint

import "encoding/binary"

// Reader decodes values from the front of Rest. If a value is malformed, Bad is set and
// stays set.
type Reader struct {
	Rest []byte
	Bad  bool
}

// Uvarint decodes an unsigned varint, or returns 0 if it is malformed.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.Rest)
	if n <= 0 {
		r.Bad = true
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// Varint decodes a signed varint, or returns 0 if it is malformed.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.Rest)
	if n <= 0 {
		r.Bad = true
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// Bytes returns the next n bytes, which share the memory of Rest. If fewer bytes are
// left, it returns min(n, 64) zero bytes, so that a caller can index a fixed field
// before it looks at Bad.
func (r *Reader) Bytes(n uint64) []byte {
	if uint64(len(r.Rest)) < n {
		r.Bad = true
		return make([]byte, min(n, 64))
	}
	v := r.Rest[:n]
	r.Rest = r.Rest[n:]
	return v
}

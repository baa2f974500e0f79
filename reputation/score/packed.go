package score

import (
	"encoding/binary"
	"iter"
)

// packed holds versions in 52 bytes each, without spare capacity.
type packed []byte

// packedSize is the size of a version: the id, created_at in seconds (40 bits), the
// receipt in milliseconds (48 bits), the status and the terms. The top bit of the status
// is set if the version was witnessed.
const packedSize = 32 + 5 + 6 + 1 + 8

const packedWitness = 0x80

// Times beyond these limits are cut to the limit. In seconds the limit is the year 36812.
const (
	maxPackedCreated  = 1<<40 - 1
	maxPackedReceived = 1<<48 - 1
)

func pack(versions []version) packed {
	p := make(packed, 0, len(versions)*packedSize)
	var b [8]byte
	for _, v := range versions {
		p = append(p, v.ID[:]...)
		binary.BigEndian.PutUint64(b[:], uint64(min(max(v.Created, 0), maxPackedCreated)))
		p = append(p, b[3:]...)
		binary.BigEndian.PutUint64(b[:], uint64(min(max(v.Received, 0), maxPackedReceived)))
		p = append(p, b[2:]...)
		status := v.Status
		if v.Witness {
			status |= packedWitness
		}
		p = append(p, status)
		p = append(p, v.Terms[:]...)
	}
	return p
}

// all returns an iterator over the versions in their order.
func (p packed) all() iter.Seq[version] {
	return func(yield func(version) bool) {
		for ; len(p) >= packedSize; p = p[packedSize:] {
			var v version
			copy(v.ID[:], p)
			v.Created = int64(p[32])<<32 | int64(binary.BigEndian.Uint32(p[33:]))
			v.Received = int64(binary.BigEndian.Uint16(p[37:]))<<32 | int64(binary.BigEndian.Uint32(p[39:]))
			v.Status, v.Witness = p[43]&^packedWitness, p[43]&packedWitness != 0
			copy(v.Terms[:], p[44:])
			if !yield(v) {
				return
			}
		}
	}
}

// list returns the versions in a slice with capacity for one more.
func (p packed) list() []version {
	out := make([]version, 0, len(p)/packedSize+1)
	for v := range p.all() {
		out = append(out, v)
	}
	return out
}

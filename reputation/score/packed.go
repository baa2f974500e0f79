package score

import (
	"encoding/binary"
	"iter"
)

// packed holds versions in 52 bytes each, with no room to spare.
type packed []byte

// packedSize is an id, created_at (seconds) and receipt (milliseconds) in 40
// and 48 bits, the status, whose top bit says that it was witnessed, and the
// terms.
const packedSize = 32 + 5 + 6 + 1 + 8

const packedWitness = 0x80

// Times beyond what is kept are cut to it. In seconds that is the year 36812.
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

// all gives the versions in their order.
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

// list is all, with room for one more.
func (p packed) list() []version {
	out := make([]version, 0, len(p)/packedSize+1)
	for v := range p.all() {
		out = append(out, v)
	}
	return out
}

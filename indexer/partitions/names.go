package partitions

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// names is a Bloom filter of the ids, addresses and authors of the events of one month. It says
// which months a deletion or a ban concerns, in a bounded space. A false answer costs that a
// month is written again for nothing. The seed is secret, so that no author can look for events
// that collide.
type names struct {
	seed [16]byte
	bits []byte // its length is a power of two
}

// Bounds of a filter in bytes, and the number of bits that a name sets. A month of a million
// events has four million names in 8 MiB: one of some 50,000 other names is taken for one of
// these.
const (
	minNames  = 1 << 10
	maxNames  = 8 << 20
	nameBits  = 8
	namesOf   = 4 // names of an event
	spareBits = 16
)

// newNames returns a filter for a number of events.
func newNames(seed [16]byte, events int64) *names {
	want := min(max(events*namesOf*spareBits/8, minNames), maxNames)
	return &names{seed, make([]byte, 1<<bits.Len64(uint64(want-1)))}
}

func (n *names) each(name string, fn func(at *byte, mask byte) bool) bool {
	sum := sha256.Sum256(append(n.seed[:], name...))
	for i := range nameBits {
		bit := binary.LittleEndian.Uint32(sum[i*4:]) & uint32(len(n.bits)*8-1)
		if !fn(&n.bits[bit/8], 1<<(bit%8)) {
			return false
		}
	}
	return true
}

func (n *names) add(name string) {
	n.each(name, func(at *byte, mask byte) bool {
		*at |= mask
		return true
	})
}

func (n *names) has(name string) bool {
	return n.each(name, func(at *byte, mask byte) bool { return *at&mask != 0 })
}

// Names of events. A deletion counts only for its author's own events.
func nameOfID(id string) string           { return "i" + id }
func nameOfOwn(id, pubkey string) string  { return "o" + id + pubkey }
func nameOfAddress(address string) string { return "a" + address }
func nameOfKey(pubkey string) string      { return "k" + pubkey }

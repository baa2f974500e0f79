package liveindex

import (
	"hash/maphash"

	"github.com/mostrodex/mostrodex/internal/arena"
	"github.com/nbd-wtf/go-nostr"
)

// liveEntry is one live event. It has no pointers, so that the garbage collector does
// not scan a million entries.
type liveEntry struct {
	seq        uint64
	createdAt  int64
	expiration int64
	author     uint32
	d          uint32 // tag number of the d of its address; None if it has no d
	tags       uint32 // number in liveEntries.tagLists, with length nTags
	body       uint32 // position in bodyCache; noBody if not cached
	nTags      uint16
	kind       uint16
	side       side
	used       bool
	// hidden is set if the event has expired. The entry is in no posting, but stays the
	// newest of its address until the committer has moved its index entry.
	hidden bool
	// several is set if the event has an s tag and several values of s or of f.
	several bool
	id      [32]byte // the last field, because walks read the fields before it
}

// side is the value of the k tag. Order books filter by k; with side, a walk need not
// read the tags of an entry.
type side uint8

const (
	noSide    side = iota // no k tag
	buySide               // one k tag, "buy"
	sellSide              // one k tag, "sell"
	otherSide             // any other k tags; the filter must read the tags
)

func sideOf(tags []string) side {
	found := noSide
	for _, t := range tags {
		switch {
		case t[0] != 'k':
		case found != noSide:
			return otherSide
		case t == "kbuy":
			found = buySide
		case t == "ksell":
			found = sellSide
		default:
			return otherSide
		}
	}
	return found
}

// severalValues reports whether tags hold an s and more than one value of s or of f.
func severalValues(tags []string) bool {
	s, f := 0, 0
	for _, t := range tags {
		switch t[0] {
		case 's':
			s++
		case 'f':
			f++
		}
	}
	return s > 1 || s == 1 && f > 1
}

// entryTable holds the live events with their indexes by id and by address.
type entryTable struct {
	arena.Array[liveEntry]
	seed      maphash.Seed
	byID      arena.Table
	addresses addressHasher
	byAddress arena.Table
	tagLists  arena.Cells[uint32] // tag numbers of the entries
	// chains maps an entry to the seq of the newest arrival of its address, if that is
	// not the entry's own event.
	chains map[uint32]uint64
}

func newEntryTable() *entryTable {
	s := &entryTable{seed: maphash.MakeSeed(), addresses: newAddressHasher(), tagLists: arena.NewCells[uint32](1), chains: make(map[uint32]uint64)}
	s.byID.Hash = func(n uint32) uint64 { return maphash.Bytes(s.seed, s.At(n).id[:]) }
	s.byAddress.Hash = func(n uint32) uint64 { return s.addresses.of(s.At(n).address()) }
	return s
}

// fill writes an event into an allocated entry.
func (s *entryTable) fill(n uint32, e liveEntry, tags []uint32) {
	e.tags, e.nTags, e.used = s.tagLists.Put(tags, len(tags)), uint16(len(tags)), true
	*s.At(n) = e
	s.byID.Put(s.byID.Hash(n), n)
	if e.hasAddress() {
		s.byAddress.Put(s.byAddress.Hash(n), n)
	}
}

// clear frees an entry.
func (s *entryTable) clear(n uint32) {
	e := s.At(n)
	s.byID.Remove(s.byID.Hash(n), n)
	if e.hasAddress() {
		s.byAddress.Remove(s.byAddress.Hash(n), n)
	}
	s.tagLists.Free(e.tags, int(e.nTags))
	delete(s.chains, n)
	*e = liveEntry{body: noBody}
	s.Free(n)
}

// find returns the entry of an id, hidden or not.
func (s *entryTable) find(id [32]byte) (uint32, bool) {
	return s.byID.Find(maphash.Bytes(s.seed, id[:]), func(n uint32) bool { return s.At(n).id == id })
}

// findAddress returns the entry of an address, hidden or not.
func (s *entryTable) findAddress(a internedAddress) (uint32, bool) {
	return s.byAddress.Find(s.addresses.of(a), func(n uint32) bool {
		e := s.At(n)
		return e.d == a.d && e.author == a.author && e.kind == a.kind
	})
}

// tagsOf returns the tag numbers of an entry.
func (s *entryTable) tagsOf(e *liveEntry) []uint32 { return s.tagLists.Get(e.tags, int(e.nTags)) }

func (e *liveEntry) address() internedAddress { return internedAddress{e.kind, e.author, e.d} }

func (e *liveEntry) hasAddress() bool {
	return nostr.IsReplaceableKind(int(e.kind)) || nostr.IsAddressableKind(int(e.kind))
}

// chain returns the seq of the newest arrival of the entry's address.
func (s *entryTable) chain(n uint32) uint64 {
	if seq, ok := s.chains[n]; ok {
		return seq
	}
	return s.At(n).seq
}

func (s *entryTable) setChain(n uint32, seq uint64) {
	if seq == s.At(n).seq {
		delete(s.chains, n)
	} else {
		s.chains[n] = seq
	}
}

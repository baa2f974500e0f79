package eventlog

import "hash/maphash"

// slot is one live event. It holds no pointer: the garbage collector does not
// look at a million of them.
type liveEntry struct {
	seq        uint64
	createdAt  int64
	expiration int64
	author     uint32
	d          uint32 // term of the d tag that its address has, none where there is none
	tags       uint32 // in live.lists, with nTerms
	body       uint32 // in bodyCache, noBody when not cached
	nTags      uint16
	kind       uint16
	side       side
	used       bool
	// hidden: past its expiration and out of every posting, but still the
	// newest of its address until the committer has moved its record.
	hidden bool
	// several: the event has several values of s or of f.
	several bool
	id      [32]byte // last: walks look at what is before it
}

// side says what the k tag of an event is, which order books ask for, so that a
// walk need not look at its terms.
type side uint8

const (
	noSide    side = iota // no k tag
	buySide               // one, "buy"
	sellSide              // one, "sell"
	otherSide             // anything else: its terms say
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

// severalValues reports whether terms hold an s and more than one value of s or
// of f.
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

// slots are the live events, and the ways to find one that every event has: by
// id and by address.
type liveEntries struct {
	chunks[liveEntry]
	free      []uint32
	seed      maphash.Seed
	byID      idHash
	addresses addressHasher
	byAddress idHash
	tagLists  arena[uint32] // the terms of slots
	// chains holds the newest arrival of a slot's address where that is not
	// the slot's own event.
	chains map[uint32]uint64
}

func newLiveEntries() *liveEntries {
	s := &liveEntries{seed: maphash.MakeSeed(), addresses: newAddressHasher(), tagLists: arena[uint32]{}, chains: make(map[uint32]uint64)}
	s.byID.hash = func(n uint32) uint64 { return maphash.Bytes(s.seed, s.at(n).id[:]) }
	s.byAddress.hash = func(n uint32) uint64 { return s.addresses.of(s.at(n).address()) }
	return s
}

// take gives a slot that is not used.
func (s *liveEntries) alloc() uint32 {
	if last := len(s.free) - 1; last >= 0 {
		n := s.free[last]
		s.free = s.free[:last]
		return n
	}
	return s.grow()
}

// fill puts an event into a taken slot.
func (s *liveEntries) fill(n uint32, e liveEntry, tags []uint32) {
	e.tags, e.nTags, e.used = s.tagLists.alloc(tags), uint16(len(tags)), true
	*s.at(n) = e
	s.byID.put(s.byID.hash(n), n)
	if e.hasAddress() {
		s.byAddress.put(s.byAddress.hash(n), n)
	}
}

// clear empties a slot and gives it back.
func (s *liveEntries) clear(n uint32) {
	e := s.at(n)
	s.byID.remove(s.byID.hash(n), n)
	if e.hasAddress() {
		s.byAddress.remove(s.byAddress.hash(n), n)
	}
	s.tagLists.release(e.tags, int(e.nTags))
	delete(s.chains, n)
	*e = liveEntry{body: noBody}
	s.free = append(s.free, n)
}

// find gives the slot of an id, hidden or not.
func (s *liveEntries) find(id [32]byte) (uint32, bool) {
	return s.byID.find(maphash.Bytes(s.seed, id[:]), func(n uint32) bool { return s.at(n).id == id })
}

// findAddress gives the slot of an address, hidden or not.
func (s *liveEntries) findAddress(a internedAddress) (uint32, bool) {
	return s.byAddress.find(s.addresses.of(a), func(n uint32) bool {
		e := s.at(n)
		return e.d == a.d && e.author == a.author && e.kind == a.kind
	})
}

// termsOf lists the terms of a slot.
func (s *liveEntries) tagsOf(e *liveEntry) []uint32 { return s.tagLists.get(e.tags, int(e.nTags)) }

func (e *liveEntry) address() internedAddress { return internedAddress{e.kind, e.author, e.d} }

func (e *liveEntry) hasAddress() bool {
	c := kindClass(int(e.kind))
	return c == replaceable || c == addressable
}

// chain is the newest arrival of the slot's address.
func (s *liveEntries) chain(n uint32) uint64 {
	if seq, ok := s.chains[n]; ok {
		return seq
	}
	return s.at(n).seq
}

func (s *liveEntries) setChain(n uint32, seq uint64) {
	if seq == s.at(n).seq {
		delete(s.chains, n)
	} else {
		s.chains[n] = seq
	}
}

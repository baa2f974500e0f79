package eventlog

import "hash/maphash"

// slot is one live event. It holds no pointer: the garbage collector does not
// look at a million of them.
type slot struct {
	seq        uint64
	createdAt  int64
	expiration int64
	author     uint32
	d          uint32 // term of the d tag that its address has, none where there is none
	terms      uint32 // in live.lists, with nTerms
	body       uint32 // in bodyCache, noBody when not cached
	nTerms     uint16
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

func sideOf(terms []string) side {
	found := noSide
	for _, t := range terms {
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
func severalValues(terms []string) bool {
	s, f := 0, 0
	for _, t := range terms {
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
type slots struct {
	chunks[slot]
	free      []uint32
	seed      maphash.Seed
	byID      table
	addresses addressHash
	byAddress table
	lists     slab[uint32] // the terms of slots
	// chains holds the newest arrival of a slot's address where that is not
	// the slot's own event.
	chains map[uint32]uint64
}

func newSlots() *slots {
	s := &slots{seed: maphash.MakeSeed(), addresses: newAddressHash(), lists: slab[uint32]{}, chains: make(map[uint32]uint64)}
	s.byID.hash = func(n uint32) uint64 { return maphash.Bytes(s.seed, s.at(n).id[:]) }
	s.byAddress.hash = func(n uint32) uint64 { return s.addresses.of(s.at(n).address()) }
	return s
}

// take gives a slot that is not used.
func (s *slots) take() uint32 {
	if last := len(s.free) - 1; last >= 0 {
		n := s.free[last]
		s.free = s.free[:last]
		return n
	}
	return s.grow()
}

// fill puts an event into a taken slot.
func (s *slots) fill(n uint32, e slot, terms []uint32) {
	e.terms, e.nTerms, e.used = s.lists.keep(terms), uint16(len(terms)), true
	*s.at(n) = e
	s.byID.put(s.byID.hash(n), n)
	if e.hasAddress() {
		s.byAddress.put(s.byAddress.hash(n), n)
	}
}

// clear empties a slot and gives it back.
func (s *slots) clear(n uint32) {
	e := s.at(n)
	s.byID.remove(s.byID.hash(n), n)
	if e.hasAddress() {
		s.byAddress.remove(s.byAddress.hash(n), n)
	}
	s.lists.drop(e.terms, int(e.nTerms))
	delete(s.chains, n)
	*e = slot{body: noBody}
	s.free = append(s.free, n)
}

// find gives the slot of an id, hidden or not.
func (s *slots) find(id [32]byte) (uint32, bool) {
	return s.byID.find(maphash.Bytes(s.seed, id[:]), func(n uint32) bool { return s.at(n).id == id })
}

// findAddress gives the slot of an address, hidden or not.
func (s *slots) findAddress(a slotAddress) (uint32, bool) {
	return s.byAddress.find(s.addresses.of(a), func(n uint32) bool {
		e := s.at(n)
		return e.d == a.d && e.author == a.author && e.kind == a.kind
	})
}

// termsOf lists the terms of a slot.
func (s *slots) termsOf(e *slot) []uint32 { return s.lists.get(e.terms, int(e.nTerms)) }

func (e *slot) address() slotAddress { return slotAddress{e.kind, e.author, e.d} }

func (e *slot) hasAddress() bool {
	c := kindClass(int(e.kind))
	return c == replaceable || c == addressable
}

// chain is the newest arrival of the slot's address.
func (s *slots) chain(n uint32) uint64 {
	if seq, ok := s.chains[n]; ok {
		return seq
	}
	return s.at(n).seq
}

func (s *slots) setChain(n uint32, seq uint64) {
	if seq == s.at(n).seq {
		delete(s.chains, n)
	} else {
		s.chains[n] = seq
	}
}

package eventlog

import (
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
)

// tagDict assigns a number to each distinct tag (letter and value) of live events and
// holds the list of events per tag. Most tags belong to a single event (its d), so the
// keys are in an arena, and the list of a single event is the number of its entry.
//
// A number is reused if no entry refers to it any more.
type tagDict struct {
	seed   maphash.Seed
	byKey  idHash
	list   chunks[dictTag]
	keys   arena[byte]
	free   []uint32
	many   []*posting // postings of tags that several events have or had
	unused []uint32   // free indexes of many
}

type dictTag struct {
	key    uint32 // number in keys, with length
	length uint32
	refs   uint32
	list   uint32 // noList, oneEntry plus the number of an entry, or an index of many
}

const (
	noList   = None
	oneEntry = 1 << 31
)

func newTagDict() *tagDict {
	t := &tagDict{seed: maphash.MakeSeed(), keys: arena[byte]{shift: 3}}
	t.byKey.hash = t.hashOf
	return t
}

func (t *tagDict) hash(letter byte, value string) uint64 {
	return maphash.String(t.seed, value) + uint64(letter)*0x9e3779b97f4a7c15
}

func (t *tagDict) hashOf(n uint32) uint64 {
	k := t.key(n)
	return maphash.Bytes(t.seed, k[1:]) + uint64(k[0])*0x9e3779b97f4a7c15
}

// key returns the letter and the value of a tag. The slice is valid while mu is held.
func (t *tagDict) key(n uint32) []byte {
	e := t.list.at(n)
	return t.keys.get(e.key, int(e.length))
}

func (t *tagDict) letter(n uint32) byte { return t.key(n)[0] }

func (t *tagDict) find(letter byte, value string) (uint32, bool) {
	return t.byKey.find(t.hash(letter, value), func(n uint32) bool {
		k := t.key(n)
		return k[0] == letter && string(k[1:]) == value
	})
}

// number returns the number of a tag and adds one reference.
func (t *tagDict) number(key string) uint32 {
	if n, ok := t.find(key[0], key[1:]); ok {
		t.list.at(n).refs++
		return n
	}
	var n uint32
	if last := len(t.free) - 1; last >= 0 {
		n = t.free[last]
		t.free = t.free[:last]
	} else {
		n = t.list.grow()
	}
	*t.list.at(n) = dictTag{key: t.keys.alloc([]byte(key)), length: uint32(len(key)), refs: 1, list: noList}
	t.byKey.put(t.hash(key[0], key[1:]), n)
	return n
}

func (t *tagDict) release(n uint32) {
	e := t.list.at(n)
	if e.refs--; e.refs > 0 {
		return
	}
	t.byKey.remove(t.hashOf(n), n)
	t.keys.release(e.key, int(e.length))
	t.setMany(e, nil)
	t.free = append(t.free, n)
}

// setMany sets the posting of a tag. If p is nil, the tag has no list afterwards.
func (t *tagDict) setMany(e *dictTag, p *posting) {
	if e.list < oneEntry {
		t.many[e.list] = nil
		t.unused = append(t.unused, e.list)
	}
	e.list = noList
	if p == nil {
		return
	}
	if last := len(t.unused) - 1; last >= 0 {
		e.list = t.unused[last]
		t.unused = t.unused[:last]
		t.many[e.list] = p
		return
	}
	e.list = uint32(len(t.many))
	t.many = append(t.many, p)
}

// each calls fn for every tag until fn returns false.
func (t *tagDict) each(fn func(n uint32) bool) {
	for n := range t.list.n {
		if t.list.at(n).refs > 0 && !fn(n) {
			return
		}
	}
}

// authors assigns a number to each author of live events and holds the kinds of the
// author's live events. A number is reused if no entry refers to it any more.
type authors struct {
	seed  maphash.Seed
	byKey idHash
	list  chunks[author]
	free  []uint32
}

type author struct {
	key   [32]byte
	refs  uint32
	kinds []uint16 // kinds of the author's served events
}

func newAuthors() *authors {
	a := &authors{seed: maphash.MakeSeed()}
	a.byKey.hash = func(n uint32) uint64 { return maphash.Bytes(a.seed, a.list.at(n).key[:]) }
	return a
}

func (a *authors) find(key [32]byte) (uint32, bool) {
	return a.byKey.find(maphash.Bytes(a.seed, key[:]), func(n uint32) bool { return a.list.at(n).key == key })
}

// number returns the number of an author and adds one reference.
func (a *authors) number(key [32]byte) uint32 {
	if n, ok := a.find(key); ok {
		a.list.at(n).refs++
		return n
	}
	var n uint32
	if last := len(a.free) - 1; last >= 0 {
		n = a.free[last]
		a.free = a.free[:last]
	} else {
		n = a.list.grow()
	}
	*a.list.at(n) = author{key: key, refs: 1}
	a.byKey.put(maphash.Bytes(a.seed, key[:]), n)
	return n
}

func (a *authors) release(n uint32) {
	e := a.list.at(n)
	if e.refs--; e.refs == 0 {
		a.byKey.remove(maphash.Bytes(a.seed, e.key[:]), n)
		*e = author{}
		a.free = append(a.free, n)
	}
}

func (a *author) dropKind(kind uint16) {
	for i, k := range a.kinds {
		if k == kind {
			last := len(a.kinds) - 1
			a.kinds[i] = a.kinds[last]
			a.kinds = a.kinds[:last]
			return
		}
	}
}

// internedAddress is an address in the numbers of tagDict and authors.
type internedAddress struct {
	kind   uint16
	author uint32
	d      uint32 // tag number of the d; None if there is no d
}

// addressHasher hashes addresses with random keys of this process, so that an attacker
// cannot choose addresses that collide.
type addressHasher [2]uint64

func newAddressHasher() addressHasher { return addressHasher{rand.Uint64(), rand.Uint64() | 1} }

func (h addressHasher) of(a internedAddress) uint64 {
	hi, lo := bits.Mul64((uint64(a.author)<<32|uint64(a.d))^h[0], uint64(a.kind)^h[1])
	hi, lo = bits.Mul64(hi^lo^h[0], h[1]^0x9e3779b97f4a7c15)
	return hi ^ lo
}

package liveindex

import (
	"hash/maphash"
	"math/bits"
	"math/rand/v2"

	"github.com/mostrodex/mostrodex/internal/arena"
)

// tagDict assigns a number to each distinct tag (letter and value) of live events and
// holds the list of events per tag. Most tags belong to a single event (its d), so the
// keys are in an arena, and the list of a single event is the number of its entry.
//
// A number is reused if no entry refers to it any more.
type tagDict struct {
	seed   maphash.Seed
	byKey  arena.Table
	list   arena.Array[dictTag]
	keys   arena.Cells[byte]
	many   []*posting // postings of tags that several events have or had
	unused []uint32   // free indexes of many
}

type dictTag struct {
	key    uint32 // number in keys, with length
	length uint32
	refs   uint32
	list   uint32 // noList, oneEntry plus the number of an entry, or an index of many
}

// keyUnit is the number of bytes of a key per unit of its cell.
const keyUnit = 8

func keyUnits(length uint32) int { return int((length + keyUnit - 1) / keyUnit) }

const (
	noList   = None
	oneEntry = 1 << 31
)

func newTagDict() *tagDict {
	t := &tagDict{seed: maphash.MakeSeed(), keys: arena.NewCells[byte](keyUnit)}
	t.byKey.Hash = t.hashOf
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
	e := t.list.At(n)
	return t.keys.Get(e.key, keyUnits(e.length))[:e.length]
}

func (t *tagDict) letter(n uint32) byte { return t.key(n)[0] }

func (t *tagDict) find(letter byte, value string) (uint32, bool) {
	return t.byKey.Find(t.hash(letter, value), func(n uint32) bool {
		k := t.key(n)
		return k[0] == letter && string(k[1:]) == value
	})
}

// number returns the number of a tag and adds one reference.
func (t *tagDict) number(key string) uint32 {
	if n, ok := t.find(key[0], key[1:]); ok {
		t.list.At(n).refs++
		return n
	}
	n := t.list.Take()
	*t.list.At(n) = dictTag{key: t.keys.Put([]byte(key), keyUnits(uint32(len(key)))), length: uint32(len(key)), refs: 1, list: noList}
	t.byKey.Put(t.hash(key[0], key[1:]), n)
	return n
}

func (t *tagDict) release(n uint32) {
	e := t.list.At(n)
	if e.refs--; e.refs > 0 {
		return
	}
	t.byKey.Remove(t.hashOf(n), n)
	t.keys.Free(e.key, keyUnits(e.length))
	t.setMany(e, nil)
	t.list.Free(n)
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
	for n := range t.list.Len() {
		if t.list.At(n).refs > 0 && !fn(n) {
			return
		}
	}
}

// authors assigns a number to each author of live events and holds the kinds of the
// author's live events. A number is reused if no entry refers to it any more.
type authors struct {
	seed  maphash.Seed
	byKey arena.Table
	list  arena.Array[author]
}

type author struct {
	key   [32]byte
	refs  uint32
	kinds []uint16 // kinds of the author's served events
}

func newAuthors() *authors {
	a := &authors{seed: maphash.MakeSeed()}
	a.byKey.Hash = func(n uint32) uint64 { return maphash.Bytes(a.seed, a.list.At(n).key[:]) }
	return a
}

func (a *authors) find(key [32]byte) (uint32, bool) {
	return a.byKey.Find(maphash.Bytes(a.seed, key[:]), func(n uint32) bool { return a.list.At(n).key == key })
}

// number returns the number of an author and adds one reference.
func (a *authors) number(key [32]byte) uint32 {
	if n, ok := a.find(key); ok {
		a.list.At(n).refs++
		return n
	}
	n := a.list.Take()
	*a.list.At(n) = author{key: key, refs: 1}
	a.byKey.Put(maphash.Bytes(a.seed, key[:]), n)
	return n
}

func (a *authors) release(n uint32) {
	e := a.list.At(n)
	if e.refs--; e.refs == 0 {
		a.byKey.Remove(maphash.Bytes(a.seed, e.key[:]), n)
		*e = author{}
		a.list.Free(n)
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

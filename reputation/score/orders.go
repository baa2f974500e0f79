package score

import (
	"encoding/binary"
	"iter"
	"strings"

	"github.com/mostrodex/mostrodex/mostro"
)

// orders are those of all nodes, by number. There may be a million of them, so
// none is an allocation of its own, and the collector finds no pointer in any.
// Numbers are never given back: no order is forgotten.
type orders struct {
	list  []*[orderBlock]order
	n     uint32
	names []string // of those whose id is no UUID
	cells versionCells
}

const orderBlock = 256

// order is all versions of one order, and what they say of it.
type order struct {
	key      mostro.UUID // or, of a name, its number in names
	cell     uint32      // of its versions
	count    uint32      // of versions
	Expires  int64       // of the newest pending version that says so
	Sats     int64       // of the newest version that says so
	Cluster  uint32      // of its amount and method
	ExpireBy int32       // which version said Expires; -1 none
	SatsBy   int32       // which version said Sats; -1 none
	Test     bool        // no mainnet
	isName   bool

	// Of the node's aggregates, no facts: what the versions came to, and the confirmed
	// fee, when it was looked at last; and whether that is in the sums.
	settled   bool
	lifecycle lifecycle
	cost      int64
}

func (a *orders) at(n uint32) *order { return &a.list[n/orderBlock][n%orderBlock] }

func (a *orders) versions(o *order) packed {
	if o.count == 0 {
		return nil
	}
	return a.cells.get(o.cell, int(o.count))
}

func (a *orders) setVersions(o *order, versions packed) {
	if o.count > 0 {
		a.cells.drop(o.cell, int(o.count))
	}
	if o.count = uint32(len(versions) / packedSize); o.count > 0 {
		o.cell = a.cells.keep(versions[:int(o.count)*packedSize])
	}
}

// id gives the order's d tag.
func (a *orders) id(o *order) string {
	if o.isName {
		return a.names[binary.BigEndian.Uint32(o.key[:])]
	}
	return o.key.String()
}

// nodeOrders are those of one node, by their d tags.
type nodeOrders struct {
	all   *orders
	uuids map[mostro.UUID]uint32
	names map[string]uint32 // of those that are no UUID
}

func newNodeOrders(all *orders) nodeOrders {
	return nodeOrders{all: all, uuids: map[mostro.UUID]uint32{}}
}

func (m *nodeOrders) len() int { return len(m.uuids) + len(m.names) }

// find gives an order and its number; nil when there is none.
func (m *nodeOrders) find(d string) (uint32, *order) {
	var n uint32
	key, ok := canonicalUUID(d)
	if ok {
		n, ok = m.uuids[key]
	} else {
		n, ok = m.names[d]
	}
	if !ok {
		return 0, nil
	}
	return n, m.all.at(n)
}

// take gives an order that is held or new.
func (m *nodeOrders) take(d string) (uint32, *order) {
	if n, o := m.find(d); o != nil {
		return n, o
	}
	a := m.all
	n := a.n
	if n%orderBlock == 0 {
		a.list = append(a.list, new([orderBlock]order))
	}
	a.n++
	o := a.at(n)
	*o = order{ExpireBy: -1, SatsBy: -1}
	if key, ok := canonicalUUID(d); ok {
		o.key = key
		m.uuids[key] = n
		return n, o
	}
	d = strings.Clone(d)
	if m.names == nil {
		m.names = map[string]uint32{}
	}
	o.isName = true
	binary.BigEndian.PutUint32(o.key[:], uint32(len(a.names)))
	a.names = append(a.names, d)
	m.names[d] = n
	return n, o
}

// each gives all orders with their numbers, in no order.
func (m *nodeOrders) each() iter.Seq2[uint32, *order] {
	return func(yield func(uint32, *order) bool) {
		for _, n := range m.uuids {
			if !yield(n, m.all.at(n)) {
				return
			}
		}
		for _, n := range m.names {
			if !yield(n, m.all.at(n)) {
				return
			}
		}
	}
}

// canonicalUUID reads a UUID that is written as we write it, so that String
// gives the text back; any other is a name like any other.
func canonicalUUID(d string) (mostro.UUID, bool) {
	u, err := mostro.ParseUUID(d)
	return u, err == nil && u.String() == d
}

// storedOrder is an order in a checkpoint.
type storedOrder struct {
	Versions packed
	Expires  int64
	Sats     int64
	Cluster  uint32
	ExpireBy int32
	SatsBy   int32
	Test     bool
}

func (a *orders) stored(o *order) storedOrder {
	return storedOrder{a.versions(o), o.Expires, o.Sats, o.Cluster, o.ExpireBy, o.SatsBy, o.Test}
}

// restore takes in an order of a checkpoint.
func (m *nodeOrders) restore(d string, s storedOrder) {
	_, o := m.take(d)
	o.Expires, o.Sats, o.Cluster, o.ExpireBy, o.SatsBy, o.Test = s.Expires, s.Sats, s.Cluster, s.ExpireBy, s.SatsBy, s.Test
	m.all.setVersions(o, s.Versions)
}

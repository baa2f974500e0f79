package score

import (
	"encoding/binary"
	"iter"
	"strings"

	"github.com/mostrodex/mostrodex/internal/arena"
	"github.com/mostrodex/mostrodex/mostro/message"
)

// orders holds the orders of all nodes by number. There may be a million orders. Therefore
// an order is not an allocation of its own, and the garbage collector finds no pointer in
// an order. Numbers are never reused, because no order is ever removed.
type orders struct {
	list  arena.Array[order]
	names []string          // ids that are no UUID
	cells arena.Cells[byte] // versions of the orders, packed; a unit is one version
}

func newOrders() *orders { return &orders{cells: arena.NewCells[byte](packedSize)} }

// order holds all versions of one order, and the values derived from the versions.
type order struct {
	key      message.UUID // the UUID, or for other ids the index in names
	cell     uint32       // cell of the versions
	count    uint32       // number of versions
	Expires  int64        // from the newest pending version that has an expiry
	Sats     int64        // from the newest version that has an amount
	Cluster  uint32       // hash of amount and method
	ExpireBy int32        // index of the version with Expires; -1 if there is none
	SatsBy   int32        // index of the version with Sats; -1 if there is none
	Test     bool         // set if the order is not on mainnet
	isName   bool

	// These fields belong to the aggregates of the node and are no facts. lifecycle and
	// cost (the confirmed fee) are the last computed values. settled is set if the sums
	// include these values.
	settled   bool
	lifecycle lifecycle
	cost      int64
}

func (a *orders) at(n uint32) *order { return a.list.At(n) }

func (a *orders) versions(o *order) packed {
	if o.count == 0 {
		return nil
	}
	return a.cells.Get(o.cell, int(o.count))
}

func (a *orders) setVersions(o *order, versions packed) {
	if o.count > 0 {
		a.cells.Free(o.cell, int(o.count))
	}
	if o.count = uint32(len(versions) / packedSize); o.count > 0 {
		o.cell = a.cells.Put(versions[:int(o.count)*packedSize], int(o.count))
	}
}

// id returns the d tag of the order.
func (a *orders) id(o *order) string {
	if o.isName {
		return a.names[binary.BigEndian.Uint32(o.key[:])]
	}
	return o.key.String()
}

// nodeOrders holds the orders of one node by d tag.
type nodeOrders struct {
	all   *orders
	uuids map[message.UUID]uint32
	names map[string]uint32 // ids that are no UUID
}

func newNodeOrders(all *orders) nodeOrders {
	return nodeOrders{all: all, uuids: map[message.UUID]uint32{}}
}

func (m *nodeOrders) len() int { return len(m.uuids) + len(m.names) }

// find returns an order and its number. The order is nil if there is none.
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

// take returns the order with a d tag. If there is none, take creates the order.
func (m *nodeOrders) take(d string) (uint32, *order) {
	if n, o := m.find(d); o != nil {
		return n, o
	}
	a := m.all
	n := a.list.Grow()
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

// each returns an iterator over all orders with their numbers, in no particular order.
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

// canonicalUUID parses a UUID in the spelling that String returns. ok is false for any
// other spelling, which is stored as a name.
func canonicalUUID(d string) (message.UUID, bool) {
	u, err := message.ParseUUID(d)
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

// restore adds an order from a checkpoint.
func (m *nodeOrders) restore(d string, s storedOrder) {
	_, o := m.take(d)
	o.Expires, o.Sats, o.Cluster, o.ExpireBy, o.SatsBy, o.Test = s.Expires, s.Sats, s.Cluster, s.ExpireBy, s.SatsBy, s.Test
	m.all.setVersions(o, s.Versions)
}

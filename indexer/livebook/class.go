package livebook

import (
	"github.com/mostrodex/mostrodex/indexer/orders"
	"github.com/mostrodex/mostrodex/mostro"
)

// Judgement is the state of an author that decides the class of its orders.
type Judgement struct {
	Info  bool // the author has published an info event (kind 38385)
	Clash bool // another key used the author's name before
	New   bool // this relay saw the author for the first time not long ago
}

// class returns the class of an order of a platform. Only a Mostro promises an info
// event; other platforms make no such promise. If an order states no platform, the rule
// for Mostros applies.
func (j Judgement) class(platform string) uint8 {
	switch {
	case j.Clash, !j.Info && (platform == mostro.PlatformMostro || platform == ""):
		return orders.ClassUnknown
	case j.New:
		return orders.ClassNew
	}
	return orders.ClassKnown
}

// groupsOf returns the groups of classes that a query lists one after the other. Orders of
// the classes of one group are listed together, and orders of equal sort value by class.
// groupsOf returns nil if the query does not sort by class.
func groupsOf(q *orders.Query) [][]uint8 {
	switch {
	case q.Open != orders.OpenTrue || !q.At.IsZero() || q.Sort == orders.SortNewest || q.Sort == orders.SortOldest:
		return nil
	case q.Sort == "" || q.Sort == orders.SortTrusted:
		return [][]uint8{{orders.ClassKnown}, {orders.ClassNew}, {orders.ClassUnknown}}
	}
	return [][]uint8{{orders.ClassKnown, orders.ClassNew}, {orders.ClassUnknown}}
}

// seenBy returns the mark from which the orders of another class are read. Among orders
// of equal sort value, lower classes are already listed and higher classes are not.
func seenBy(m *orders.Mark, class uint8, descending bool) *orders.Mark {
	if m == nil || m.Class == class {
		return m
	}
	other := *m
	fill := byte(0)
	if (class < m.Class) != descending {
		fill = 0xff
	}
	for i := range other.ID {
		other.ID[i] = fill
	}
	return &other
}

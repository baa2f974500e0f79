package lnsim

import (
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// snapshot is the stored form of a World, including the state of its random generator, or
// of a change of a World. A change has only the events, holds and payments that were added
// or changed, null for a hold or a payment that was removed, and null for Plans, Fees and
// Locks that have not changed.
type snapshot struct {
	Random  []byte
	Now     time.Time
	Height  uint32
	Seq     uint64
	Events  []*event
	Nodes   []nodeSnapshot
	Plans   map[trade.Hash]Plan
	Fees    map[string]int64
	Locks   map[string]uint32
	Routers int64
	Minted  int64
	Removed []uint64 `json:",omitempty"` // of a change: the Seq of events
}

type nodeSnapshot struct {
	Name     string
	Balance  int64
	Holds    map[trade.Hash]*hold
	Payments map[trade.Hash]*payment
	Down     bool
	Unlinked bool
	Stale    uint32
	Parked   []*event
	Overpay  float64
}

// encode returns the snapshot of a world. The caller holds w.mu.
func encode(w *World) ([]byte, error) {
	out, err := numbers(w)
	if err != nil {
		return nil, err
	}
	out.Events, out.Plans, out.Fees, out.Locks = w.events, w.plans, w.fees, w.locks
	for i, n := range w.nodes {
		out.Nodes[i].Holds, out.Nodes[i].Payments = n.holds, n.payments
	}
	return json.Marshal(out)
}

// encodeChange returns the unsaved change of a world. The caller holds w.mu.
func encodeChange(w *World) ([]byte, error) {
	out, err := numbers(w)
	if err != nil {
		return nil, err
	}
	for seq, e := range w.unsaved.events {
		if e == nil {
			out.Removed = append(out.Removed, seq)
		} else {
			out.Events = append(out.Events, e)
		}
	}
	if w.unsaved.setup {
		out.Plans, out.Fees, out.Locks = w.plans, w.fees, w.locks
	}
	for i, n := range w.nodes {
		out.Nodes[i].Holds = changedOf(n, w.unsaved.holds, n.holds)
		out.Nodes[i].Payments = changedOf(n, w.unsaved.payments, n.payments)
	}
	return json.Marshal(out)
}

// changedOf returns the unsaved entries of a node, nil for an entry that was removed.
func changedOf[T any](n *Node, unsaved map[entry]struct{}, now map[trade.Hash]*T) map[trade.Hash]*T {
	var out map[trade.Hash]*T
	for e := range unsaved {
		if e.node != n.name {
			continue
		}
		if out == nil {
			out = make(map[trade.Hash]*T)
		}
		out[e.hash] = now[e.hash]
	}
	return out
}

// numbers returns a snapshot without events, holds, payments, plans, fees and locks.
func numbers(w *World) (snapshot, error) {
	random, err := w.source.MarshalBinary()
	if err != nil {
		return snapshot{}, err
	}
	out := snapshot{Random: random, Now: w.now, Height: w.height, Seq: w.seq, Routers: w.routers, Minted: w.minted}
	for _, n := range w.nodes {
		out.Nodes = append(out.Nodes, nodeSnapshot{
			Name: n.name, Balance: n.balance, Down: n.down, Unlinked: n.unlinked, Stale: n.stale, Parked: n.parked, Overpay: n.overpay,
		})
	}
	return out, nil
}

// apply makes the snapshot of a world that of the world after a change.
func (in *snapshot) apply(change snapshot) {
	events := slices.DeleteFunc(in.Events, func(e *event) bool { return slices.Contains(change.Removed, e.Seq) })
	change.Events = append(events, change.Events...)
	change.Removed = nil
	if change.Plans == nil {
		change.Plans = in.Plans
	}
	if change.Fees == nil {
		change.Fees = in.Fees
	}
	if change.Locks == nil {
		change.Locks = in.Locks
	}
	for i := range change.Nodes {
		n := &change.Nodes[i]
		// Nodes are never removed, and new nodes come last.
		if i < len(in.Nodes) {
			n.Holds, n.Payments = merged(in.Nodes[i].Holds, n.Holds), merged(in.Nodes[i].Payments, n.Payments)
		}
	}
	*in = change
}

// merged returns the old entries with a change.
func merged[T any](old, change map[trade.Hash]*T) map[trade.Hash]*T {
	if old == nil {
		old = make(map[trade.Hash]*T)
	}
	for h, v := range change {
		if v == nil {
			delete(old, h)
		} else {
			old[h] = v
		}
	}
	return old
}

// decode parses a snapshot or a change.
func decode(text []byte) (s snapshot, err error) {
	if json.Unmarshal(text, &s) != nil {
		return s, errors.New("lnsim snapshot: malformed") // a JSON error could quote a secret
	}
	return s, nil
}

// Restore returns the world of a snapshot. The restored world continues exactly as the
// original would have. cfg must be the original Config, because the keys of the nodes
// are derived from its seed. Functions set with Faults are not restored.
func Restore(cfg Config, text []byte) (*World, error) {
	in, err := decode(text)
	if err != nil {
		return nil, err
	}
	return in.world(cfg)
}

// world returns the world of a snapshot.
func (in snapshot) world(cfg Config) (*World, error) {
	w := New(cfg)
	if err := w.source.UnmarshalBinary(in.Random); err != nil {
		return nil, fmt.Errorf("lnsim snapshot: %w", err)
	}
	w.random = rand.New(w.source)
	w.now, w.height, w.seq, w.events = in.Now, in.Height, in.Seq, in.Events
	heap.Init(&w.events)
	w.routers, w.minted = in.Routers, in.Minted
	if in.Plans != nil {
		w.plans = in.Plans
	}
	if in.Fees != nil {
		w.fees = in.Fees
	}
	if in.Locks != nil {
		w.locks = in.Locks
	}
	for _, s := range in.Nodes {
		n := newNode(w, s.Name, s.Balance)
		n.down, n.unlinked, n.stale, n.parked, n.overpay = s.Down, s.Unlinked, s.Stale, s.Parked, s.Overpay
		if s.Holds != nil {
			n.holds = s.Holds
		}
		if s.Payments != nil {
			n.payments = s.Payments
		}
		for h, held := range n.holds {
			w.issued[held.Bolt11] = issue{n, held}
			if held.CreatedAt.IsZero() {
				// A snapshot of an older version has neither CreatedAt nor Memo.
				invoice, err := lightning.ParseInvoice(held.Bolt11)
				if err != nil {
					return nil, errors.New("lnsim snapshot: an invoice is malformed")
				}
				held.CreatedAt, held.Memo = invoice.CreatedAt, invoice.Description
			}
			if held.Phase == trade.HoldAccepted {
				n.accepted[h] = held
			}
		}
		w.nodes = append(w.nodes, n)
	}
	if err := w.Check(); err != nil {
		return nil, fmt.Errorf("lnsim snapshot: %w", err)
	}
	return w, nil
}

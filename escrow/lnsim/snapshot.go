package lnsim

import (
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/mostrodex/mostrodex/escrow/lightning"
	"github.com/mostrodex/mostrodex/escrow/trade"
)

// snapshot is the stored form of a World, including the state of its random generator.
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
	random, err := w.source.MarshalBinary()
	if err != nil {
		return nil, err
	}
	out := snapshot{Random: random, Now: w.now, Height: w.height, Seq: w.seq, Events: w.events, Plans: w.plans, Fees: w.fees, Locks: w.locks, Routers: w.routers, Minted: w.minted}
	for _, n := range w.nodes {
		out.Nodes = append(out.Nodes, nodeSnapshot{n.name, n.balance, n.holds, n.payments, n.down, n.unlinked, n.stale, n.parked, n.overpay})
	}
	return json.Marshal(out)
}

// Restore returns the world of a snapshot. The restored world continues exactly as the
// original would have. cfg must be the original Config, because the keys of the nodes
// are derived from its seed. Functions set with Faults are not restored.
func Restore(cfg Config, text []byte) (*World, error) {
	var in snapshot
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, errors.New("lnsim snapshot: malformed") // a JSON error could quote a secret
	}
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

package lnsim

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/mostrodex/mostrodex/escrow/trade"
)

// keptFinal is the number of ended holds, and of ended payments, that a node keeps if
// the world is stored in a file. It bounds the size of the file.
const keptFinal = 200

// Open returns a world that is stored in a file of mode 0600. If the file exists, Open
// restores the world from it. If not, Open creates the world with New. Every change is
// written to the file before a caller learns of the change, so the world survives a
// sudden end of the process, which is sufficient for a demo. The file is not synced, so
// the world may be lost in a power failure.
func Open(cfg Config, path string) (*World, error) {
	text, err := os.ReadFile(path)
	var w *World
	switch {
	case errors.Is(err, os.ErrNotExist):
		w = New(cfg)
	case err != nil:
		return nil, fmt.Errorf("lnsim: %w", err)
	default:
		if w, err = Restore(cfg, text); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	w.path = path
	w.changed = true
	w.mu.Lock()
	w.unlock()
	if w.broken != nil {
		return nil, w.broken
	}
	return w, nil
}

// save writes the world's file. The caller holds w.mu.
func save(w *World) error {
	text, err := encode(w)
	if err != nil {
		return err
	}
	next := w.path + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Clean(w.path))
}

// forgetOldest removes a node's oldest ended holds and payments beyond keptFinal.
func forgetOldest(n *Node) {
	if len(n.holds) <= 2*keptFinal && len(n.payments) <= 2*keptFinal {
		return // the search below reads all entries, so it runs rarely
	}
	for _, held := range oldest(n.holds, func(held *hold) (uint64, bool) {
		return held.Seq, held.Phase.Final() && !n.w.payerWaits(held)
	}) {
		delete(n.holds, held.Hash)
		delete(n.w.issued, held.Bolt11)
	}
	for _, p := range oldest(n.payments, func(p *payment) (uint64, bool) { return p.Attempt, p.Status.Final() }) {
		delete(n.payments, p.Hash)
	}
	// The expiry events of removed invoices are removed as well.
	n.w.events = slices.DeleteFunc(n.w.events, func(e *event) bool {
		return e.Kind == expire && e.Node == n.name && n.holds[e.Hash] == nil
	})
	heap.Init(&n.w.events)
}

// oldest returns the ended entries of m, without the keptFinal newest ones.
func oldest[T any](m map[trade.Hash]T, ended func(T) (seq uint64, ok bool)) []T {
	var out []T
	for _, v := range m {
		if _, ok := ended(v); ok {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b T) int {
		x, _ := ended(a)
		y, _ := ended(b)
		return cmp.Compare(x, y)
	})
	return out[:max(0, len(out)-keptFinal)]
}

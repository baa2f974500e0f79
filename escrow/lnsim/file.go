package lnsim

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/mostrodex/mostrodex/escrow"
)

// keptFinal is how many ended holds and payments a node remembers in a world
// that is kept in a file, so that the file does not grow for ever.
const keptFinal = 200

// Open is New for a world that is kept in a file, mode 0600: it goes on from
// there when the file exists, and every change is in the file before anybody
// is told of it. That outlives the end of the process, however sudden, which
// is what a demo needs; it is not synced to the disk.
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

// unlock writes the world down, where that is wanted and anything changed, and
// lets others at it.
func (w *World) unlock() {
	defer w.mu.Unlock()
	if w.path == "" || !w.changed || w.broken != nil {
		return
	}
	w.changed = false
	for _, n := range w.nodes {
		n.forgetOldest()
	}
	if err := w.save(); err != nil {
		// What happened is not in the file: nobody may be told of it.
		w.broken = fmt.Errorf("lnsim: %w", err)
	}
}

// lost says whether the world can no longer be written down.
func (w *World) lost() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.path != "" && w.broken != nil
}

func (w *World) save() error {
	text, err := w.write()
	if err != nil {
		return err
	}
	next := w.path + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Clean(w.path))
}

// forgetOldest drops ended holds and payments beyond keptFinal, those that
// began first.
func (n *Node) forgetOldest() {
	if len(n.holds) <= 2*keptFinal && len(n.payments) <= 2*keptFinal {
		return // rarely, because it looks at all of them
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
	// Their invoices need not expire any more.
	n.w.events = slices.DeleteFunc(n.w.events, func(e *event) bool {
		return e.Kind == expire && e.Node == n.name && n.holds[e.Hash] == nil
	})
	heap.Init(&n.w.events)
}

// oldest gives what has ended of m, less the keptFinal that began last.
func oldest[T any](m map[escrow.Hash]T, ended func(T) (seq uint64, ok bool)) []T {
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

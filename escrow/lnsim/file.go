package lnsim

import (
	"bytes"
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

// maxGrown is the number of bytes that are appended to the file before it is written
// anew.
const maxGrown = 1 << 20

// Open returns a world that is stored in a file of mode 0600. If the file exists, Open
// restores the world from it. If not, Open creates the world with New. Every change is
// written to the file before a caller learns of the change, so the world survives a
// sudden end of the process, which is sufficient for a demo. The file is not synced, so
// the world may be lost in a power failure.
//
// The first line of the file is a snapshot of the world, and each other line is the
// change of one call. After maxGrown bytes of changes the file is replaced by a new one.
// If the process ended during a write, the last line has no newline, and Open ignores it,
// because no caller has learned of this change.
func Open(cfg Config, path string) (*World, error) {
	text, err := os.ReadFile(path)
	var w *World
	switch {
	case errors.Is(err, os.ErrNotExist):
		w = New(cfg)
	case err != nil:
		return nil, fmt.Errorf("lnsim: %w", err)
	default:
		if w, err = restoreFile(cfg, text); err != nil {
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

// restoreFile returns the world of a file.
func restoreFile(cfg Config, text []byte) (*World, error) {
	first, changes, more := bytes.Cut(text, []byte("\n"))
	s, err := decode(first)
	if err != nil {
		return nil, err
	}
	if more {
		for line := range bytes.Lines(changes) {
			if line[len(line)-1] != '\n' {
				break // the process ended during this write
			}
			change, err := decode(line)
			if err != nil {
				return nil, err
			}
			s.apply(change)
		}
	}
	return s.world(cfg)
}

// unsaved names the parts of a world that the file does not have yet. It is used only if
// the world has a file.
type unsaved struct {
	holds, payments map[entry]struct{}
	events          map[uint64]*event // by Seq; nil: the event was removed
	setup           bool              // set if a plan, a fee or a lock has changed
}

// entry is a hold or a payment of a node.
type entry struct {
	node string
	hash trade.Hash
}

// touch notes that a hold or a payment was added, changed or removed.
func (n *Node) touch(h trade.Hash, payment bool) {
	u := &n.w.unsaved
	m := &u.holds
	if payment {
		m = &u.payments
	}
	if n.w.path == "" {
		return
	}
	if *m == nil {
		*m = map[entry]struct{}{}
	}
	(*m)[entry{n.name, h}] = struct{}{}
}

// touchEvent notes that an event was added or removed. The event is copied, because an
// event that is removed and added again has another Seq.
func (w *World) touchEvent(e *event, added bool) {
	if w.path == "" {
		return
	}
	if w.unsaved.events == nil {
		w.unsaved.events = map[uint64]*event{}
	}
	w.unsaved.events[e.Seq] = nil
	if added {
		copied := *e
		w.unsaved.events[e.Seq] = &copied
	}
}

// write writes the change to the world's file, or the whole file. The caller holds w.mu.
func (w *World) write() error {
	var text []byte
	var err error
	whole := w.file == nil || w.grown > maxGrown
	if whole {
		text, err = encode(w)
	} else {
		text, err = encodeChange(w)
	}
	if err != nil {
		return err
	}
	w.unsaved = unsaved{}
	text = append(text, '\n')
	if whole {
		return w.replace(text)
	}
	w.grown += len(text)
	_, err = w.file.Write(text)
	return err
}

// replace replaces the world's file.
func (w *World) replace(text []byte) error {
	next := w.path + ".next"
	file, err := os.OpenFile(next, os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.Write(text); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := os.Rename(next, filepath.Clean(w.path)); err != nil {
		return errors.Join(err, file.Close())
	}
	old := w.file
	w.file, w.grown = file, 0
	if old != nil {
		_ = old.Close() // the file was replaced
	}
	return nil
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
		n.touch(held.Hash, false)
		delete(n.w.issued, held.Bolt11)
	}
	for _, p := range oldest(n.payments, func(p *payment) (uint64, bool) { return p.Attempt, p.Status.Final() }) {
		delete(n.payments, p.Hash)
		n.touch(p.Hash, true)
	}
	// The expiry events of removed invoices are removed as well.
	n.w.events = slices.DeleteFunc(n.w.events, func(e *event) bool {
		gone := e.Kind == expire && e.Node == n.name && n.holds[e.Hash] == nil
		if gone {
			n.w.touchEvent(e, false)
		}
		return gone
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

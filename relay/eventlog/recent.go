package eventlog

import (
	"sync"
	"sync/atomic"

	"github.com/mostrodex/mostrodex/mostro"
)

// ringSize is the number of the newest entries that stay in memory, parsed. A reader
// that keeps up reads no disk, and each event is parsed once for all readers.
const ringSize = 4096

// maxRingTags bounds the tags of the parsed events in memory, some 80 bytes per tag. An
// order has some 17 tags, so that 4,096 orders stay far below the bound.
const maxRingTags = 256 << 10

// recentEntries is the readable end of the log: the head, and the newest entries in
// memory. The committer publishes entries, and any goroutine reads them.
type recentEntries struct {
	head atomic.Uint64 // seq of the newest entry that readers may see; stored under mu

	mu    sync.Mutex    // guards the following fields
	moved chan struct{} // closed and replaced when the head moves
	ring  ring
}

// ring holds the newest entries. The entry with seq is at index seq % ringSize.
type ring struct {
	from    uint64 // oldest seq that may be in the ring
	tags    int    // number of tags of all events in the ring
	entries []recent
}

type recent struct {
	entry mostro.Entry
	body  []byte
}

// put stores an entry and replaces the entry that is ringSize older.
func (r *ring) put(e recent) {
	at := &r.entries[e.entry.Seq%ringSize]
	r.tags += tagsOf(&e) - tagsOf(at)
	*at = e
}

// drop removes an entry.
func (r *ring) drop(seq uint64) {
	if at := &r.entries[seq%ringSize]; at.entry.Seq == seq {
		r.tags -= tagsOf(at)
		*at = recent{}
	}
}

func tagsOf(e *recent) int {
	if e.entry.Event == nil {
		return 0
	}
	return len(e.entry.Event.Tags)
}

// newRecentEntries returns the end of a log with a head. No entry is in memory.
func newRecentEntries(head uint64) *recentEntries {
	r := &recentEntries{moved: make(chan struct{}), ring: ring{from: head + 1, entries: make([]recent, ringSize)}}
	r.head.Store(head)
	return r
}

// next returns a channel that is closed when the head moves.
func (r *recentEntries) next() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved
}

// publish makes committed entries visible to readers. If keep is not set, the entries
// do not stay in memory.
func (r *recentEntries) publish(entries []recent, keep bool) {
	if len(entries) == 0 {
		return
	}
	r.mu.Lock()
	head := entries[len(entries)-1].entry.Seq
	if keep {
		for _, e := range entries {
			r.ring.put(e)
		}
		if head >= ringSize && r.ring.from < head-ringSize+1 {
			r.ring.from = head - ringSize + 1
		}
		for r.ring.tags > maxRingTags && r.ring.from < head {
			r.ring.drop(r.ring.from)
			r.ring.from++
		}
	} else {
		r.ring.from = head + 1
	}
	r.head.Store(head)
	close(r.moved)
	r.moved = make(chan struct{})
	r.mu.Unlock()
}

// forget removes erased entries from memory.
func (r *recentEntries) forget(seqs map[uint64]struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for seq := range seqs {
		r.ring.drop(seq)
	}
}

// after returns the entries after one seq up to another. ok is false if some of these
// entries are not in memory any more.
func (r *recentEntries) after(after, last uint64) (batch []recent, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if after+1 < r.ring.from {
		return nil, false
	}
	for seq := after + 1; seq <= last; seq++ {
		if e := r.ring.entries[seq%ringSize]; e.entry.Seq == seq {
			batch = append(batch, e)
		}
	}
	return batch, true
}

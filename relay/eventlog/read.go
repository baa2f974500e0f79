package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"github.com/mostrodex/mostrodex/internal/jsonscan"
	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
	"github.com/nbd-wtf/go-nostr"
)

// ringSize is the number of the newest entries that stay in memory, parsed. A reader
// that keeps up reads no disk, and each event is parsed once for all readers.
const ringSize = 4096

// maxRingTags bounds the tags of the parsed events in memory, some 80 bytes per tag. An
// order has some 17 tags, so that 4,096 orders stay far below the bound.
const maxRingTags = 256 << 10

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

func newRing(head uint64) ring {
	return ring{from: head + 1, entries: make([]recent, ringSize)}
}

// Head returns the seq of the newest entry, or 0 if the log is empty.
func (st *Store) Head() uint64 { return st.head.Load() }

// Wait returns nil once the head is greater than seq. It returns an error if ctx ends
// or if the store is closed or dead.
func (st *Store) Wait(ctx context.Context, seq uint64) error {
	for {
		st.headMu.Lock()
		moved := st.moved
		st.headMu.Unlock()
		if st.head.Load() > seq {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-st.dead:
			return st.fatal
		case <-st.closing:
			return ErrClosed
		}
	}
}

// publish makes committed entries visible to readers.
func (st *Store) publish(entries []recent) {
	if len(entries) == 0 {
		return
	}
	st.headMu.Lock()
	head := entries[len(entries)-1].entry.Seq
	if st.cfg.Bulk { // no reader keeps up with an import; readers use the disk
		st.ring.from = head + 1
	} else {
		for _, e := range entries {
			st.ring.put(e)
		}
		if head >= ringSize && st.ring.from < head-ringSize+1 {
			st.ring.from = head - ringSize + 1
		}
		for st.ring.tags > maxRingTags && st.ring.from < head {
			st.ring.drop(st.ring.from)
			st.ring.from++
		}
	}
	st.head.Store(head)
	close(st.moved)
	st.moved = make(chan struct{})
	st.headMu.Unlock()
}

// forget removes erased entries from the ring.
func (st *Store) forget(seqs map[uint64]struct{}) {
	st.headMu.Lock()
	defer st.headMu.Unlock()
	for seq := range seqs {
		st.ring.drop(seq)
	}
}

// Read calls fn for each readable entry with Seq > after, ascending, up to the head at
// the time of the call. Entries with an erased payload are skipped.
func (st *Store) Read(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	return st.ReadRaw(ctx, after, func(e mostro.Entry, _ []byte) error { return fn(e) })
}

// ReadRaw works like Read and passes the stored payload of each entry too. The payload
// is sent unchanged and must not be modified.
//
// Damaged entries are skipped and reported.
func (st *Store) ReadRaw(ctx context.Context, after uint64, fn func(mostro.Entry, []byte) error) error {
	_, err := st.readRaw(ctx, after, fn)
	return err
}

// readRaw works like ReadRaw and returns the number of damaged entries.
func (st *Store) readRaw(ctx context.Context, after uint64, fn func(mostro.Entry, []byte) error) (damaged int, err error) {
	head := st.head.Load()
	for after < head {
		if err := ctx.Err(); err != nil {
			return damaged, err
		}
		batch, last, harmed, err := st.recentAfter(after, head)
		if err != nil {
			return damaged, err
		}
		damaged += harmed
		for _, e := range batch {
			if err := fn(e.entry, e.body); err != nil {
				return damaged, err
			}
		}
		after = last
	}
	return damaged, nil
}

// readBatch bounds the entries that a reader holds at once.
const readBatch = 512

// recentAfter returns the next entries after a seq, from memory or from disk. last is
// the seq up to which the batch is complete; damaged is the number of damaged entries.
func (st *Store) recentAfter(after, head uint64) (batch []recent, last uint64, damaged int, err error) {
	last = min(after+readBatch, head)
	st.headMu.Lock()
	if after+1 >= st.ring.from {
		for seq := after + 1; seq <= last; seq++ {
			if e := st.ring.entries[seq%ringSize]; e.entry.Seq == seq {
				batch = append(batch, e)
			}
		}
		st.headMu.Unlock()
		return batch, last, 0, nil
	}
	st.headMu.Unlock()
	err = st.log.Each(after, last, func(seq uint64, r recordlog.Record, body []byte, err error) error {
		if IsDamage(err) {
			st.reportDamage(seq, err)
			damaged++
			return nil
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", seq, err)
		}
		if body == nil || mostro.IsMail(r.Kind) && r.Expiration <= st.now().Unix() {
			return nil // erased, or expired mail that is erased soon
		}
		body = bytes.Clone(body)
		evt, err := ParseBody(body)
		if err != nil {
			return fmt.Errorf("entry %d: %w", seq, err)
		}
		batch = append(batch, recent{body: body, entry: mostro.Entry{
			Seq: seq, Event: evt, ReceivedAt: time.UnixMilli(r.ReceivedAt).UTC(), Source: r.Source, Archived: r.Archived,
		}})
		return nil
	})
	return batch, last, damaged, err
}

// IsDamage reports whether err says that the disk returned other bytes than the store
// had written.
func IsDamage(err error) bool { return recordlog.IsDamage(err) }

// reportDamage counts and logs a damaged entry, once per entry.
func (st *Store) reportDamage(seq uint64, err error) {
	const maxReported = 10_000
	st.damagedMu.Lock()
	_, known := st.damaged[seq]
	if !known && len(st.damaged) < maxReported {
		if st.damaged == nil {
			st.damaged = make(map[uint64]struct{})
		}
		st.damaged[seq] = struct{}{}
		st.metrics.damaged.Inc()
	}
	known = known || len(st.damaged) >= maxReported
	st.damagedMu.Unlock()
	if !known {
		st.logger.Error("log entry damaged: it is skipped; mostrodex log verify lists all damage", "entry", seq, "err", err)
	}
}

// ParseBody parses a stored payload. The event's strings share the memory of body.
func ParseBody(body []byte) (*nostr.Event, error) {
	t := bodyTexts.Get().(*jsonscan.Scanner)
	defer bodyTexts.Put(t)
	t.Reset(unsafe.String(unsafe.SliceData(body), len(body)))
	evt := &nostr.Event{}
	err := t.Event(evt)
	if err == nil {
		err = t.AtEnd()
	}
	t.Reset("") // releases the reference to body
	if err != nil {
		return nil, fmt.Errorf("parse the stored payload: %w", err)
	}
	return evt, nil
}

var bodyTexts = sync.Pool{New: func() any { return new(jsonscan.Scanner) }}

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

// Head returns the seq of the newest entry, or 0 if the log is empty.
func (st *Store) Head() uint64 { return st.recent.head.Load() }

// Wait returns nil once the head is greater than seq. It returns an error if ctx ends
// or if the store is closed or dead.
func (st *Store) Wait(ctx context.Context, seq uint64) error {
	for {
		moved := st.recent.next()
		if st.recent.head.Load() > seq {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-st.failure.dead:
			return st.failure.err
		case <-st.closing:
			return ErrClosed
		}
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
	head := st.recent.head.Load()
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
	if batch, ok := st.recent.after(after, last); ok {
		return batch, last, 0, nil
	}
	err = st.log.Each(after, last, func(seq uint64, r recordlog.Record, body []byte, err error) error {
		if IsDamage(err) {
			st.damage.report(seq, err)
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

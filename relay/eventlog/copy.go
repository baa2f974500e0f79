package eventlog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"

	"github.com/mostrodex/mostrodex/internal/badgerfiles"
	"github.com/mostrodex/mostrodex/relay/eventlog/recordlog"
)

// Copy copies the store while events are appended and erased:
//
//  1. Store.Copy lists the spans of the log, and the caller copies their bytes.
//  2. Finish, between two groups of the committer, reads the records that came since, and
//     begins a snapshot of the derived keys. This is the moment of the copy.
//  3. The caller copies the derived keys.
//
// A payload that was erased between 1 and 2 is in the copy, or a part of it. The derived keys
// of its deletion are in the snapshot, and Keys adds a request to scrub it, so that Open of
// the copy erases the payload as after a crash. In the other order the copy would have erased
// payloads without the keys that say why.
type Copy struct {
	Spans []recordlog.Span // ascending; from Finish on all records of the copy

	parts *parts
	from  int // index in scrubbed at which the copy began
	keys  *badgerfiles.Snapshot
	erase [][]byte // requests to scrub, sorted
	close func()
}

// maxTail is the number of bytes that Finish reads while the committer waits.
const maxTail = 2 << 20

// newCopy begins a copy.
func newCopy(ctx context.Context, p *parts, have []recordlog.Span) (*Copy, error) {
	c := &Copy{parts: p}
	err := p.queue.call(ctx, func(m *committer) (err error) {
		if c.Spans, err = m.log.Spans(have); err == nil {
			m.keys.copies++
			c.from = len(m.keys.scrubbed)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("copy the log: %w", err)
	}
	c.close = sync.OnceFunc(func() {
		if c.keys != nil {
			c.keys.Close()
		}
		// If the store is closing, the call is refused and has no effect to undo.
		_ = p.queue.call(context.Background(), func(m *committer) error {
			if m.keys.copies--; m.keys.copies == 0 {
				m.keys.scrubbed = nil
			}
			return nil
		})
	})
	return c, nil
}

// Bytes writes the bytes of a span of c.Spans.
func (c *Copy) Bytes(w io.Writer, span recordlog.Span) error { return c.parts.log.CopySpan(w, span) }

// Head returns the seq of the last record of the copy.
func (c *Copy) Head() uint64 {
	if len(c.Spans) == 0 {
		return 0
	}
	return c.Spans[len(c.Spans)-1].To
}

// More returns the records that came since. If there are more than maxTail bytes of them, the
// caller copies the spans and calls More again. Otherwise the moment of the copy is reached:
// tail holds the bytes of the spans.
func (c *Copy) More(ctx context.Context) (spans []recordlog.Span, tail [][]byte, done bool, err error) {
	err = c.parts.queue.call(ctx, func(m *committer) (err error) {
		if spans, err = m.log.SpansAfter(c.Spans); err != nil {
			return err
		}
		size := int64(0)
		for _, s := range spans {
			size += s.End - s.At
		}
		if size > maxTail {
			return nil
		}
		for _, s := range spans {
			var b bytes.Buffer
			if err := m.log.CopySpan(&b, s); err != nil {
				return err
			}
			tail = append(tail, b.Bytes())
		}
		for _, seq := range m.keys.scrubbed[c.from:] {
			c.erase = append(c.erase, seqKey(spaceScrub, seq))
		}
		c.keys, done = badgerfiles.Begin(m.keys.db), true
		return nil
	})
	if err != nil {
		return nil, nil, false, fmt.Errorf("copy the log: %w", err)
	}
	c.Spans = append(c.Spans, spans...)
	slices.SortFunc(c.erase, bytes.Compare)
	c.erase = slices.CompactFunc(c.erase, bytes.Equal)
	return spans, tail, done, nil
}

// Keys writes the derived keys of the moment of the copy.
func (c *Copy) Keys(ctx context.Context, w io.Writer) error {
	_, err := c.keys.Dump(ctx, w, c.erase...)
	return err
}

// Close releases the copy.
func (c *Copy) Close() { c.close() }

// LogDir and KeysDir return the directories of the log and of the derived keys of a data
// directory, for a restore.
func LogDir(data string) string  { return filepath.Join(data, "events", "log") }
func KeysDir(data string) string { return filepath.Join(data, "events") }

package eventlog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
	"unsafe"

	"github.com/mostrodex/mostrodex/internal/hex32"
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

// Copy begins a copy of the store. have are the spans that the caller holds from an earlier
// copy; the spans of the new copy contain the ones that did not change. The caller closes the
// copy before the store.
func (st *Store) Copy(ctx context.Context, have []recordlog.Span) (*Copy, error) {
	return newCopy(ctx, st.parts, have)
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

// Equivocation proves that a key signed two versions of one address with the same
// created_at. First arrived before Second.
type Equivocation struct {
	First, Second *nostr.Event
}

// Equivocations calls fn for every proof whose two events are readable, ordered by the
// first event, until fn returns an error. It returns that error.
func (st *Store) Equivocations(ctx context.Context, fn func(Equivocation) error) error {
	var pairs [][2]uint64
	err := st.keys.each([]byte{spaceProof}, []byte{spaceProof}, func(key, _ []byte) bool {
		if len(key) == 17 {
			pairs = append(pairs, [2]uint64{binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:])})
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("read proofs: %w", err)
	}
	for _, p := range pairs {
		if err := ctx.Err(); err != nil {
			return err
		}
		first, err := st.eventAt(p[0])
		if err == nil {
			var second *nostr.Event
			if second, err = st.eventAt(p[1]); err == nil {
				err = fn(Equivocation{first, second})
			}
		}
		if err != nil && !errors.Is(err, mostro.ErrNotFound) && !IsDamage(err) {
			return err
		}
	}
	return nil
}

// eventAt returns the event with a seq. If the payload is erased, eventAt returns
// mostro.ErrNotFound.
func (st *Store) eventAt(seq uint64) (*nostr.Event, error) {
	_, body, err := st.recordAt(seq)
	if err != nil {
		return nil, err
	}
	if body == nil {
		return nil, mostro.ErrNotFound
	}
	return ParseBody(body)
}

// EntryAt returns the entry with a seq. If the payload is erased, the entry is marked Erased,
// and its event holds the id, the author, the kind and created_at alone. EntryAt returns
// mostro.ErrNotFound if there is no such entry, or if it is a private message.
func (st *Store) EntryAt(_ context.Context, seq uint64) (mostro.Entry, error) {
	r, body, err := st.recordAt(seq)
	if err != nil {
		return mostro.Entry{}, err
	}
	if mostro.IsMail(r.Kind) {
		return mostro.Entry{}, mostro.ErrNotFound
	}
	e := mostro.Entry{Seq: seq, ReceivedAt: time.UnixMilli(r.ReceivedAt).UTC(), Source: r.Source, Archived: r.Archived, Erased: body == nil,
		Event: &nostr.Event{ID: hex.EncodeToString(r.ID[:]), PubKey: hex.EncodeToString(r.PubKey[:]), Kind: r.Kind, CreatedAt: nostr.Timestamp(r.CreatedAt)}}
	if body != nil {
		e.Event, err = ParseBody(body)
	}
	return e, err
}

// recordAt returns the record with a seq and its body. The body is nil if the payload
// is erased.
func (p *parts) recordAt(seq uint64) (r recordlog.Record, body []byte, err error) {
	r, body, err = p.log.Read(seq)
	switch {
	case errors.Is(err, recordlog.ErrNoRecord):
		err = mostro.ErrNotFound
	case IsDamage(err):
		p.damage.report(seq, err)
	}
	return r, body, err
}

// ReadEvidence works like Read and also passes each erased event whose facts were kept.
// Such an entry is marked Erased; its event has the original id, author, kind and
// dates, only the tags of mostro.FactTags, and neither content nor signature.
func (st *Store) ReadEvidence(ctx context.Context, after uint64, fn func(mostro.Entry) error) error {
	head := st.recent.head.Load()
	for after < head {
		if err := ctx.Err(); err != nil {
			return err
		}
		batch, last, _, err := st.recentAfter(after, head)
		if err != nil {
			return err
		}
		var facts []mostro.Entry
		if uint64(len(batch)) < last-after { // some entries are not readable
			if facts, err = st.keys.factsAfter(after, last); err != nil {
				return err
			}
		}
		for _, e := range batch {
			for len(facts) > 0 && facts[0].Seq <= e.entry.Seq {
				// If an event was erased between the two reads, it is passed once.
				if facts[0].Seq < e.entry.Seq {
					if err := fn(facts[0]); err != nil {
						return err
					}
				}
				facts = facts[1:]
			}
			if err := fn(e.entry); err != nil {
				return err
			}
		}
		for _, e := range facts {
			if err := fn(e); err != nil {
				return err
			}
		}
		after = last
	}
	return nil
}

// Has reports whether an event is in the log in any state: live, archived, expired or
// erased.
func (st *Store) Has(_ context.Context, id string) (bool, error) {
	key, err := hex32.Parse(id)
	if err != nil {
		return false, nil
	}
	if _, _, ok := st.live.SeqOf(key); ok {
		return true, nil
	}
	_, held, err := st.keys.seqOf(key)
	return held, err
}

// Find returns the stored event of an id, live or archived. It returns mostro.ErrNotFound
// if the event is missing or its payload is not readable; if the record is damaged, the
// error says so too.
func (st *Store) Find(_ context.Context, id string) (Found, error) { return st.find(id) }

// find returns the stored event of an id, live or archived. It returns
// mostro.ErrNotFound if the event is missing or its payload is not readable; if the
// record is damaged, the error says so too.
func (p *parts) find(id string) (Found, error) {
	key, err := hex32.Parse(id)
	if err != nil {
		return Found{}, mostro.ErrNotFound
	}
	p.live.Expire(p.now().Unix())
	live, ok := p.live.BodyOf(key)
	if ok {
		return live, nil
	}
	seq, held, err := p.keys.seqOf(key)
	if err != nil {
		return Found{}, err
	}
	if !held {
		return Found{}, mostro.ErrNotFound
	}
	r, body, err := p.log.Read(seq)
	switch {
	case errors.Is(err, recordlog.ErrNoRecord):
		return Found{}, mostro.ErrNotFound // the record is being appended
	case IsDamage(err):
		p.damage.report(seq, err)
		return Found{}, fmt.Errorf("%w: %w", mostro.ErrNotFound, err)
	case err != nil:
		return Found{}, err
	case body == nil || mostro.IsMail(r.Kind) && r.Expiration <= p.now().Unix():
		return Found{}, mostro.ErrNotFound // erased, or expired mail that is erased soon
	}
	return Found{Seq: seq, Entry: live.Entry, JSON: body}, nil
}

// Event returns the parsed event of an id. It returns the errors of Find.
func (st *Store) Event(ctx context.Context, id string) (*nostr.Event, error) {
	f, err := st.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	return ParseBody(f.JSON)
}

// Export writes the readable events of the log as NDJSON, in order of arrival, and
// returns the number of events. Each line is the stored payload or, if f.Evidence is
// set, a line of a backup. Mail is never exported. If entries are damaged, Export
// leaves them out, writes the rest, and returns an error at the end.
func (st *Store) Export(ctx context.Context, w io.Writer, f ExportFilter) (n int, err error) {
	bw := bufio.NewWriterSize(w, 1<<16)
	damaged, err := st.readRaw(ctx, f.After, func(e mostro.Entry, body []byte) error {
		if !f.wants(e) || f.Public && st.live.Hides(e.Event) || f.Live && !st.isLive(e.Seq, e.Event.ID) {
			return nil
		}
		n++
		if f.Evidence {
			return writeEvidence(bw, &e, body)
		}
		bw.Write(body) // bw keeps the error until the newline
		return bw.WriteByte('\n')
	})
	if err == nil {
		err = bw.Flush()
	}
	if err == nil && damaged > 0 {
		err = fmt.Errorf("%d damaged entries of the log were skipped, %d events were written", damaged, n)
	}
	return n, err
}

// isLive reports whether an entry is the event that is served under an id.
func (st *Store) isLive(seq uint64, id string) bool {
	st.live.Expire(st.now().Unix())
	now, hidden, ok := st.live.SeqOf(hex32.OrZero(id))
	return ok && now == seq && !hidden
}

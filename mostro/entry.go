package mostro

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// Entry is one record of the log: an event, and this relay's observation of its
// arrival. ReceivedAt and Source are evidence and are never taken from the event.
//
// All readers share Event, so it must not be changed.
type Entry struct {
	Seq        uint64 // position in the log, from 1, never reused
	Event      *nostr.Event
	ReceivedAt time.Time // UTC, to the millisecond
	Source     Source
	// Archived is true if the event was history when it arrived: an older version of
	// its address, or past its NIP-40 expiration. The relay never served such an event
	// live.
	Archived bool
	// Erased is true if the author deleted the event. Event then holds only the tags of
	// FactTags, without content and signature. Only a reader that asks for erased
	// entries receives them.
	Erased bool

	parsed *parsedOrder // shared by all copies of the entry; nil: each reader parses for itself
}

// parsedOrder holds the result of ParseOrder for an entry's event. The first reader
// computes it.
type parsedOrder struct {
	once  sync.Once
	order Order
	err   error
}

// Shared returns a copy of the entry. Readers of further copies of this copy parse the
// order only once in total.
func (e Entry) Shared() Entry {
	e.parsed = new(parsedOrder)
	return e
}

// Order returns ParseOrder of the event. All readers share the data that the order
// points to, so it must not be changed.
func (e *Entry) Order() (Order, error) {
	p := e.parsed
	if p == nil {
		return ParseOrder(e.Event)
	}
	p.once.Do(func() { p.order, p.err = ParseOrder(e.Event) })
	return p.order, p.err
}

// Source names the way by which an event reached the log.
type Source struct {
	Origin Origin
	Relay  string // URL of the other relay for OriginLive and OriginBackfill, else ""
}

// Origin is the kind of a Source. Only events with OriginClient, OriginLive or OriginSelf were
// witnessed at the time of their publication.
type Origin uint8

const (
	OriginClient   Origin = 1 // an EVENT frame on our own socket
	OriginImport   Origin = 2 // an operator's file: history, never witnessed
	OriginSelf     Origin = 3 // published in-process by this program
	OriginLive     Origin = 4 // another relay's live subscription
	OriginBackfill Origin = 5 // catching up from another relay: history
)

var originNames = [...]string{OriginClient: "client", OriginImport: "import", OriginSelf: "self", OriginLive: "live", OriginBackfill: "backfill"}

// String returns "client", "import", "self", "live" or "backfill", and "unknown" for
// any other value.
func (r Origin) String() string {
	if int(r) < len(originNames) && originNames[r] != "" {
		return originNames[r]
	}
	return "unknown"
}

// Witnessed reports whether the relay saw the event at its publication. If so,
// ReceivedAt dates the publication.
func (r Origin) Witnessed() bool { return r == OriginClient || r == OriginLive || r == OriginSelf }

// String returns the origin, followed by the relay if there is one: "import", "backfill
// wss://relay.example".
func (s Source) String() string {
	if s.Relay == "" {
		return s.Origin.String()
	}
	return s.Origin.String() + " " + s.Relay
}

// Log is the full reading interface of the event log. Each consumer declares the part
// that it needs; the provider of the log implements the whole.
type Log interface {
	// Read calls fn for each readable entry with Seq > after, ascending, up to the head
	// at the time of the call. Read skips an entry if its payload is gone (deleted by
	// its author, or expired mail). Read returns fn's first error.
	Read(ctx context.Context, after uint64, fn func(Entry) error) error
	// Wait returns nil once the head is greater than seq, or ctx's error if ctx ends
	// first.
	Wait(ctx context.Context, seq uint64) error
	// Head returns the greatest seq appended so far, or 0 if the log is empty.
	Head() uint64
}

// ErrNotFound is returned by a look-up if its subject is not stored or is no longer
// readable.
var ErrNotFound = errors.New("not found")

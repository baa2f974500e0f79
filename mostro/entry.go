package mostro

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// Entry is one row of the log: an event, and what this relay witnessed of its
// arrival. ReceivedAt and Source are evidence, never taken from the event.
//
// Event is shared by all readers and must not be changed.
type Entry struct {
	Seq        uint64 // position in the log, from 1, never reused
	Event      *nostr.Event
	ReceivedAt time.Time // UTC, to the millisecond
	Source     Source
	// Archived says that the event was history when it arrived: an older
	// version of its address, or past its NIP-40 expiration. It was never
	// served live.
	Archived bool
	// Erased says that the author deleted the event: of its tags those that are
	// facts (FactTags) are left, and neither its content nor its signature. Only
	// a reader that asks for such entries gets them.
	Erased bool

	parsed *parsedOrder // by all copies of the entry; nil: by each reader for itself
}

// parsedOrder is what ParseOrder says of an entry's event, once somebody asked.
type parsedOrder struct {
	once  sync.Once
	order Order
	err   error
}

// Shared gives the entry so that readers of its copies parse the order once
// between them.
func (e Entry) Shared() Entry {
	e.parsed = new(parsedOrder)
	return e
}

// Order is ParseOrder of the event. What the order points to is shared by all
// readers and must not be changed.
func (e *Entry) Order() (Order, error) {
	p := e.parsed
	if p == nil {
		return ParseOrder(e.Event)
	}
	p.once.Do(func() { p.order, p.err = ParseOrder(e.Event) })
	return p.order, p.err
}

// Source says by which road an event reached the log.
type Source struct {
	Road  Road
	Relay string // URL of the other relay for RoadLive and RoadBackfill, else ""
}

// Road is the kind of a Source. Only events that came by RoadClient, RoadLive
// or RoadSelf were witnessed at the time they were made public.
type Road uint8

const (
	RoadClient   Road = 1 // an EVENT frame on our own socket
	RoadImport   Road = 2 // an operator's file: history, never witnessed
	RoadSelf     Road = 3 // published in-process by this program
	RoadLive     Road = 4 // another relay's live subscription
	RoadBackfill Road = 5 // catching up from another relay: history
)

var roadNames = [...]string{RoadClient: "client", RoadImport: "import", RoadSelf: "self", RoadLive: "live", RoadBackfill: "backfill"}

// String gives "client", "import", "self", "live" or "backfill".
func (r Road) String() string {
	if int(r) < len(roadNames) && roadNames[r] != "" {
		return roadNames[r]
	}
	return "unknown"
}

// Witnessed says whether the relay saw the event when it was published, so
// that its ReceivedAt dates it.
func (r Road) Witnessed() bool { return r == RoadClient || r == RoadLive || r == RoadSelf }

// String gives the road, followed by the relay where there is one:
// "import", "backfill wss://relay.example".
func (s Source) String() string {
	if s.Relay == "" {
		return s.Road.String()
	}
	return s.Road.String() + " " + s.Relay
}

// Log is how every reader sees the log. Each consumer declares the part of it
// that it needs; this is the whole, for the one who provides it.
type Log interface {
	// Read calls fn for each readable entry with Seq > after, ascending, up to
	// the head at the time of the call. Entries whose body is gone (deleted by
	// their author, expired mail) are skipped. It returns fn's first error.
	Read(ctx context.Context, after uint64, fn func(Entry) error) error
	// Wait returns nil once the head is greater than seq, or ctx's error.
	Wait(ctx context.Context, seq uint64) error
	// Head is the greatest seq appended so far, 0 for an empty log.
	Head() uint64
}

// ErrNotFound is returned by any look-up whose subject is not held, or is no
// longer readable.
var ErrNotFound = errors.New("not found")

package relay

import (
	"context"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// The part of Store that the server uses. Store satisfies it.
type eventStore interface {
	mostro.Log

	// ReadRaw is Read with the stored body of each entry, to be sent
	// unchanged and never written to.
	ReadRaw(ctx context.Context, after uint64, fn func(e mostro.Entry, body []byte) error) error

	// Enqueue hands an arrival to the committer. Arrivals enqueued by one
	// goroutine are appended in that order. It blocks only while the
	// committer's queue is full, a deletion request also while those in the
	// queue name too much.
	Enqueue(ctx context.Context, a eventlog.Arrival) (eventlog.Pending, error)

	// Query appends to dst the live events that match f and were appended at
	// or before log position upTo (0: the head), newest first, equal times by
	// lowest id, at most limit of them. f.Limit, f.Search and unknown
	// extensions are not looked at.
	Query(ctx context.Context, dst []eventlog.Found, f nostr.Filter, limit int, upTo uint64) ([]eventlog.Found, error)

	// hits is Query without the bodies; Bodies appends to dst the bodies of the
	// first hits, and says of how many; SortNewest puts hits of several filters
	// into the order of NIP-01.
	Hits(ctx context.Context, dst []eventlog.Hit, f nostr.Filter, limit int, upTo uint64) ([]eventlog.Hit, error)
	Bodies(dst []eventlog.Found, hits []eventlog.Hit) ([]eventlog.Found, int, error)
	SortNewest(hits []eventlog.Hit)

	// Count is the number of live events that match any of the filters, exact if
	// nothing is appended meanwhile.
	Count(ctx context.Context, filters nostr.Filters) (int, error)

	// Has says whether an event is held in any state: live, archived,
	// expired, or deleted and refused for good.
	Has(ctx context.Context, id string) (bool, error)

	// Served reports whether the event of an id is served and was appended at or
	// before the present head. No later entry of the log has that id.
	Served(id string) bool

	// LiveItems lists what takes part in reconciliation (NIP-77): live events
	// that match f, mail left out, and the head before they were looked at.
	LiveItems(ctx context.Context, f nostr.Filter) ([]eventlog.LiveItem, uint64, error)

	// AtMost is how many live events a filter matches at the most.
	AtMost(f nostr.Filter) int

	// Shun has queries, counts and reconciliations pass over the events of
	// keys, and over single events.
	Shun(keys, ids map[[32]byte]struct{})

	// Find gives the stored event and JSON of an id while its body is
	// readable, live or archived. mostro.ErrNotFound otherwise.
	Find(ctx context.Context, id string) (eventlog.Found, error)
}

var _ eventStore = (*eventlog.Store)(nil)

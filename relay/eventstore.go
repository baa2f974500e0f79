package relay

import (
	"context"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/nbd-wtf/go-nostr"
)

// eventStore is the part of eventlog.Store that the server uses.
type eventStore interface {
	mostro.Log

	// ReadRaw is Read with the stored body of each entry. The body is sent unchanged, and
	// must not be modified.
	ReadRaw(ctx context.Context, after uint64, fn func(e mostro.Entry, body []byte) error) error

	// Enqueue hands an arrival to the committer. Arrivals enqueued by one goroutine are
	// appended in that order. Enqueue blocks while the committer's queue is full. A
	// deletion request blocks also while the queued deletion requests name too many
	// targets.
	Enqueue(ctx context.Context, a eventlog.Arrival) (eventlog.Pending, error)

	// Query appends to dst the live events that match f and were appended at or before log
	// position upTo (0: the head), at most limit events. The order is newest first; events
	// of equal time are ordered by lowest id. f.Limit, f.Search and unknown extensions are
	// ignored.
	Query(ctx context.Context, dst []eventlog.Found, f nostr.Filter, limit int, upTo uint64) ([]eventlog.Found, error)

	// Hits is Query without the bodies. Bodies appends to dst the bodies of the first hits
	// and returns how many hits were read. SortNewest puts hits of several filters into
	// the order of NIP-01.
	Hits(ctx context.Context, dst []eventlog.Hit, f nostr.Filter, limit int, upTo uint64) ([]eventlog.Hit, error)
	Bodies(dst []eventlog.Found, hits []eventlog.Hit) ([]eventlog.Found, int, error)
	SortNewest(hits []eventlog.Hit)

	// Count returns the number of live events that match any of the filters. The number is
	// exact if no event is appended meanwhile.
	Count(ctx context.Context, filters nostr.Filters) (int, error)

	// Has reports whether an event is stored in any state: live, archived, expired, or
	// deleted and refused for good.
	Has(ctx context.Context, id string) (bool, error)

	// Served reports whether the event of an id is served and was appended at or
	// before the present head. No later entry of the log has that id.
	Served(id string) bool

	// LiveItems returns the events that take part in reconciliation (NIP-77): live events
	// that match f, without mail. It also returns the head as of before the events were
	// listed.
	LiveItems(ctx context.Context, f nostr.Filter) ([]eventlog.LiveItem, uint64, error)

	// AtMost returns an upper bound for the live events that match a filter.
	AtMost(f nostr.Filter) int

	// Moderate hides the events of keys, and single events, from queries, counts and
	// reconciliations.
	Moderate(keys, ids map[[32]byte]struct{})

	// Find returns the stored event and JSON of an id if the body is readable, live or
	// archived. Otherwise Find returns mostro.ErrNotFound.
	Find(ctx context.Context, id string) (eventlog.Found, error)
}

var _ eventStore = (*eventlog.Store)(nil)

package relay

import (
	"context"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Outcome is what Append made of an event.
type Outcome uint8

const (
	Added     Outcome = 1 // stored, served live; the only one that is broadcast
	Duplicate Outcome = 2 // already held, in whatever state
	Archived  Outcome = 3 // kept as history, not served: an older version of its address, or expired at arrival
	Deleted   Outcome = 4 // refused: its author deleted it (NIP-09)
	OverQuota Outcome = 5 // refused: its key or platform has as many live addresses as it may
)

// String gives the outcome as import results and metrics spell it.
func (o Outcome) String() string {
	switch o {
	case Added:
		return "added"
	case Duplicate:
		return "duplicate"
	case Archived:
		return "archived"
	case Deleted:
		return "deleted"
	case OverQuota:
		return "over_quota"
	}
	return "unknown"
}

// Arrival is an event on its way into the log. Its id and signature are
// already proven, its tags well formed.
type Arrival struct {
	Event      *nostr.Event // not changed after this
	JSON       []byte       // canonical JSON of Event, or nil: the store encodes it
	ReceivedAt time.Time
	Source     mostro.Source
	Forward    bool       // queue it for other relays, by the same write
	Quota      LiveQuotas // what a new address is held against; zero: nothing

	// Restored says that the event comes out of a backup of this relay:
	// ReceivedAt and Source are those of its first arrival, and so is Archived.
	// Whether it has expired since does not matter.
	Restored bool
	Archived bool
}

// LiveQuotas bound how many live addresses may exist; 0: no bound. They are
// held exactly, by the committer. A new version of a live address always fits.
type LiveQuotas struct {
	Key      int // of one kind by one key
	Platform int // of one platform (tag y)
}

// Pending is the handle of an append under way. Wait may be called by one
// goroutine, once.
type Pending interface {
	// Wait returns once the event is durable, or was found not to be stored.
	Wait(ctx context.Context) (seq uint64, out Outcome, err error)
}

// Found is one stored event of an answer. JSON is the stored body, to be sent
// unchanged and never written to.
type Found struct {
	Seq  uint64
	JSON []byte
}

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
	Enqueue(ctx context.Context, a Arrival) (Pending, error)

	// Query appends to dst the live events that match f and were appended at
	// or before log position upTo (0: the head), newest first, equal times by
	// lowest id, at most limit of them. f.Limit, f.Search and unknown
	// extensions are not looked at.
	Query(ctx context.Context, dst []Found, f nostr.Filter, limit int, upTo uint64) ([]Found, error)

	// hits is Query without the bodies; bodiesOf appends to dst the bodies of the
	// first hits, and says of how many; newestFirst puts hits of several filters
	// into the order of NIP-01.
	hits(ctx context.Context, dst []hit, f nostr.Filter, limit int, upTo uint64) ([]hit, error)
	bodiesOf(dst []Found, hits []hit) ([]Found, int, error)
	newestFirst(hits []hit)

	// Count is the number of live events that match any of the filters, exact if
	// nothing is appended meanwhile.
	Count(ctx context.Context, filters nostr.Filters) (int, error)

	// Has says whether an event is held in any state: live, archived,
	// expired, or deleted and refused for good.
	Has(ctx context.Context, id string) (bool, error)

	// unsettled takes out of the keys by ids those of events that are served and
	// were so at the present head: no later entry of the log is one of them.
	unsettled(keys []filingKey) []filingKey

	// liveItems lists what takes part in reconciliation (NIP-77): live events
	// that match f, mail left out, and the head before they were looked at.
	liveItems(ctx context.Context, f nostr.Filter) ([]negItem, uint64, error)

	// atMost is how many live events a filter matches at the most.
	atMost(f nostr.Filter) int

	// Shun has queries, counts and reconciliations pass over the events of
	// keys, and over single events.
	Shun(keys, ids map[[32]byte]struct{})

	// Find gives the stored event and JSON of an id while its body is
	// readable, live or archived. mostro.ErrNotFound otherwise.
	Find(ctx context.Context, id string) (Found, error)
}

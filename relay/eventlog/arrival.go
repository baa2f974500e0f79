package eventlog

import (
	"context"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/nbd-wtf/go-nostr"
)

// Outcome is the result of an append.
type Outcome uint8

const (
	Added     Outcome = 1 // stored and served; only these events are broadcast
	Duplicate Outcome = 2 // already in the log, in any state
	Archived  Outcome = 3 // stored as history, not served: an older version of its address, or expired at arrival
	Deleted   Outcome = 4 // refused: its author deleted it (NIP-09)
	OverQuota Outcome = 5 // refused: its key or platform has reached its quota of live addresses
)

// String returns the spelling of the outcome in import results and metrics.
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

// Arrival is an event to be appended. Its id and signature are verified and its tags
// are well formed.
type Arrival struct {
	Event      *nostr.Event // must not be modified afterwards
	JSON       []byte       // canonical JSON of Event; if nil, the store encodes Event
	ReceivedAt time.Time
	Source     mostro.Source
	Forward    bool       // queue the event for other relays in the same commit
	Quota      LiveQuotas // quotas for a new address; zero means none

	// Restored is set if the event comes from a backup of this relay. ReceivedAt,
	// Source and Archived are then those of the first arrival, and the store does not
	// check again whether the event has expired.
	Restored bool
	Archived bool
}

// LiveQuotas bounds the number of live addresses; 0 means no bound. The committer
// enforces the bounds exactly. A new version of a live address always fits.
type LiveQuotas struct {
	Key      int // addresses of one kind by one key
	Platform int // addresses of one platform (tag y)
}

// Pending is the handle of an append in progress. One goroutine may call Wait, once.
type Pending interface {
	// Wait returns once the event is durable, or once the committer has decided not to
	// store it.
	Wait(ctx context.Context) (seq uint64, out Outcome, err error)
}

// Found is one stored event of an answer. JSON is the stored payload, which is sent
// unchanged and must not be modified.
type Found struct {
	Seq  uint64
	JSON []byte
}

package eventlog

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

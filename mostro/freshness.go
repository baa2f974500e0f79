package mostro

import (
	"fmt"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// Freshness says how far the date of a message may be from its arrival. It
// judges three times and keeps no clock: the event's own (Envelope.CreatedAt),
// the arrival that our relay witnessed (Entry.ReceivedAt), and now. Since the
// arrival is what counts, mail that waited for a daemon to start is as fresh
// as it was when it came.
type Freshness struct {
	MaxAge   time.Duration // from the event's date to its arrival
	MaxAhead time.Duration // the event's date past its arrival
	MaxWait  time.Duration // from the arrival to now; 0 sets no limit
}

// DefaultFreshness is the reference node's ten seconds, and an upper bound
// that it lacks: without one a message dated ahead could be replayed until
// that date.
var DefaultFreshness = Freshness{MaxAge: 10 * time.Second, MaxAhead: 60 * time.Second}

// Check judges a message that came live: RuleStale, RuleFuture, or nil. Event
// times are whole seconds, so the age is counted from the second's end.
func (f Freshness) Check(created nostr.Timestamp, received, now time.Time) error {
	if err := f.ahead(created, received); err != nil {
		return err
	}
	if age := received.Sub(created.Time()); age >= f.MaxAge+time.Second {
		return broke(RuleStale, fmt.Sprintf("%s old when it came, at most %s", age.Truncate(time.Second), f.MaxAge))
	}
	if wait := now.Sub(received); f.MaxWait > 0 && wait > f.MaxWait {
		return broke(RuleStale, fmt.Sprintf("waited %s, at most %s", wait.Truncate(time.Second), f.MaxWait))
	}
	return nil
}

// CheckLate judges a message that was fetched from another relay after the
// fact, so that its arrival says nothing: it must be dated within the current
// window of its trade, from its opening to its deadline, and that window must
// still be open now. Replays are then stopped by Envelope.ReplayID alone.
func (f Freshness) CheckLate(created nostr.Timestamp, opened, deadline, now time.Time) error {
	if err := f.ahead(created, now); err != nil {
		return err
	}
	at := created.Time()
	switch {
	case at.Before(opened.Truncate(time.Second)):
		return broke(RuleStale, "older than the trade's current step")
	case at.After(deadline), now.After(deadline):
		return broke(RuleStale, "the trade's current step is over")
	}
	return nil
}

func (f Freshness) ahead(created nostr.Timestamp, at time.Time) error {
	// Compared in seconds: a Duration overflows for dates centuries away.
	if int64(created) > at.Add(f.MaxAhead).Unix() {
		return broke(RuleFuture, fmt.Sprintf("dated more than %s ahead", f.MaxAhead))
	}
	return nil
}

// Forget is the time from which a message with this date is refused by Check
// whenever it comes, so that a memory of ReplayIDs for live mail may drop it.
func (f Freshness) Forget(created nostr.Timestamp) time.Time {
	return created.Time().Add(f.MaxAge + time.Second)
}

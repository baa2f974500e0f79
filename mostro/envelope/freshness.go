package envelope

import (
	"fmt"
	"time"

	"github.com/mostrodex/mostrodex/mostro/message"
	"github.com/nbd-wtf/go-nostr"
)

// Freshness bounds the time between the date of a message and its arrival. It compares
// three times and keeps no clock: the event's own time (Envelope.CreatedAt), the
// arrival that our relay witnessed (Entry.ReceivedAt), and now. Age is measured at the
// arrival, so mail that waited for a daemon to start stays fresh.
type Freshness struct {
	MaxAge   time.Duration // from the event's date to its arrival
	MaxAhead time.Duration // the event's date past its arrival
	MaxWait  time.Duration // from the arrival to now; 0 sets no limit
}

// DefaultFreshness has the ten seconds of the reference node and an additional limit on
// dates in the future. The reference node has no such limit; without it an attacker
// could replay a message that is dated ahead until that date.
var DefaultFreshness = Freshness{MaxAge: 10 * time.Second, MaxAhead: 60 * time.Second}

// Check checks a message that arrived live. It returns a WireError with RuleStale or
// RuleFuture, or nil if the message is fresh. Event times are whole seconds, so the age
// is counted from the end of the second.
func (f Freshness) Check(created nostr.Timestamp, received, now time.Time) error {
	if err := f.ahead(created, received); err != nil {
		return err
	}
	if age := received.Sub(created.Time()); age >= f.MaxAge+time.Second {
		return message.NewError(message.RuleStale, fmt.Sprintf("%s old at its arrival, the limit is %s", age.Truncate(time.Second), f.MaxAge))
	}
	if wait := now.Sub(received); f.MaxWait > 0 && wait > f.MaxWait {
		return message.NewError(message.RuleStale, fmt.Sprintf("waited %s, the limit is %s", wait.Truncate(time.Second), f.MaxWait))
	}
	return nil
}

// CheckLate checks a message that was fetched later from another relay, so that its
// arrival proves nothing. The message must be dated within the current step of its
// trade, between opened and deadline, and the deadline must not have passed. Within the
// step, only Envelope.ReplayID stops replays. CheckLate returns a WireError with
// RuleStale or RuleFuture, or nil.
func (f Freshness) CheckLate(created nostr.Timestamp, opened, deadline, now time.Time) error {
	if err := f.ahead(created, now); err != nil {
		return err
	}
	at := created.Time()
	switch {
	case at.Before(opened.Truncate(time.Second)):
		return message.NewError(message.RuleStale, "older than the trade's current step")
	case at.After(deadline), now.After(deadline):
		return message.NewError(message.RuleStale, "the trade's current step is over")
	}
	return nil
}

func (f Freshness) ahead(created nostr.Timestamp, at time.Time) error {
	// The comparison is in seconds, because a Duration overflows for dates centuries
	// away.
	if int64(created) > at.Add(f.MaxAhead).Unix() {
		return message.NewError(message.RuleFuture, fmt.Sprintf("dated more than %s ahead", f.MaxAhead))
	}
	return nil
}

// Forget returns the time from which Check refuses every message with this date. After
// this time a cache of ReplayIDs for live mail may drop the entry.
func (f Freshness) Forget(created nostr.Timestamp) time.Time {
	return created.Time().Add(f.MaxAge + time.Second)
}

package relay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mostrodex/mostrodex/mostro"
	"github.com/mostrodex/mostrodex/relay/eventlog"
	"github.com/mostrodex/mostrodex/relay/negentropy"
	"github.com/nbd-wtf/go-nostr"
)

// Admission is one event on its way in. khatru hands it to the hooks as their
// context.
type Admission struct {
	context.Context
	Evt    *nostr.Event
	Text   string // that the event was read from, "" where there is none
	json   []byte // canonical, once encoded; may be text itself
	Size   int
	Source mostro.Source
	Ip     netip.Addr
	Local  bool
	Authd  map[string]bool
	Was    *eventlog.Witnessed // in a backup; nil: it arrives now

	Seen bool // khatru called the hooks

	// the result: pending, or ok and reason
	Pending eventlog.Pending
	Ok      bool
	Reason  string
	Out     eventlog.Outcome // Duplicate when that was found before the store was asked
}

// Caught turns a panic on the way of one event into a refusal: one client's
// message must not end a process that holds others' money. It is deferred.
func (s *Server) Caught(refuse func(reason string)) {
	if p := recover(); p != nil {
		s.met.panics.Inc()
		s.cfg.Log.Error("panic while admitting an event", "panic", p, "stack", string(debug.Stack()))
		refuse("error: internal error")
	}
}

// Check does all that needs no order between events: policy, quota, id, what
// is held already, signature. It says whether the event may go on to submit.
func (s *Server) Check(a *Admission) (more bool) {
	defer s.Caught(func(reason string) { more = a.Refuse(reason) })
	evt := a.Evt
	rules := s.rules.Load()
	policy := s.cfg.Policy
	policy.Kinds = rules.kinds(policy.Kinds)
	client := a.Source.Road == mostro.RoadClient
	if client && rules.blocksIP(a.Ip) {
		return a.Refuse("blocked: this address may not publish here")
	}
	if reason := policy.refuse(evt, a.Size, s.cfg.Now(), a.Source.Road); reason != "" {
		return a.Refuse(reason)
	}
	if reason := rules.refuse(evt, a.Source.Road); reason != "" {
		return a.Refuse(reason)
	}
	if reason := s.refuseMail(evt, a.Source.Road); reason != "" {
		return a.Refuse(reason)
	}
	if client && !a.Local {
		if reason := s.refuseRate(a, rules); reason != "" {
			return a.Refuse(reason)
		}
	}
	if s.cfg.Quota != nil && a.Source.Road == mostro.RoadClient && !a.Local {
		if reason := s.cfg.Quota(a.Ip, evt); reason != "" {
			return a.Refuse(reason)
		}
	}
	var intact bool
	if a.json, intact = mostro.CheckedText(evt, a.Text); !intact {
		return a.Refuse("invalid: the id is not the hash of the event")
	}
	if !nostr.IsEphemeralKind(evt.Kind) {
		// The id being right, what is held under it is this very event.
		held, err := s.cfg.Store.Has(a, evt.ID)
		if err != nil {
			return a.Refuse("error: the store could not be asked")
		}
		if held {
			a.Out, a.Ok, a.Reason = s.repeated(a, evt.ID, a.Source.Road)
			return false
		}
	}
	if !signatureHolds(evt) {
		return a.Refuse("invalid: the signature is wrong")
	}
	if client && !a.Local {
		if reason := s.refuseKeyRate(a, rules); reason != "" {
			return a.Refuse(reason)
		}
	}
	return true
}

const (
	reasonDuplicate = "duplicate: already have this event"
	reasonOlder     = "duplicate: a newer version is held"
	reasonDeleted   = "blocked: deleted by its author"
	reasonGone      = "blocked: deleted by its author, or expired"
	reasonQuota     = "blocked: the quota of live addresses is used up"
	ReasonStore     = "error: the event could not be stored"
	ReasonFull      = "error: the disk is full"
)

func (a *Admission) Refuse(reason string) bool {
	a.Ok, a.Reason = false, reason
	return false
}

// RefuseProtected: a protected event is taken from its authenticated author
// alone (NIP-70), or from this program, which signs as that author.
func (s *Server) RefuseProtected(a *Admission) string {
	switch {
	case !isProtected(a.Evt.Tags) || a.Source.Road == mostro.RoadSelf || a.Authd[a.Evt.PubKey]:
		return ""
	case len(a.Authd) == 0 && a.Source.Road == mostro.RoadClient:
		return "auth-required: a protected event is taken from its author only"
	default:
		return "restricted: a protected event is taken from its author only"
	}
}

// Enqueue hands an event to the store's queue. It returns the reason if the
// store takes no event.
func (s *Server) Enqueue(a *Admission) (refusal string) {
	arrival := eventlog.Arrival{Event: a.Evt, JSON: a.json, ReceivedAt: s.cfg.Now(), Source: a.Source,
		Forward: s.cfg.Forwarding && a.Source.Road == mostro.RoadSelf,
		Quota:   s.rules.Load().quotas(a.Source.Road)}
	if a.Was != nil {
		a.Was.Restore(&arrival)
	}
	p, err := s.cfg.Store.Enqueue(a, arrival)
	if errors.Is(err, eventlog.ErrFull) {
		return ReasonFull
	}
	if err != nil {
		return ReasonStore
	}
	a.Pending = p
	if p, ok := p.(*eventlog.Enqueued); ok && p.IsDeletion() {
		a.Pending = deletionPending{p, s, a}
	}
	return ""
}

// Deliver offers an ephemeral event to its subscribers. It returns the reason if
// the lane for ephemeral events is full.
func (s *Server) Deliver(a *Admission) (refusal string) {
	if !s.dispatch.offer(a.Evt, a.json) {
		return "rate-limited: too many ephemeral events at once"
	}
	s.met.ephemeral.Inc()
	a.Ok = true
	return ""
}

// Settle waits for a submitted event's outcome and puts it in a client's words.
func (s *Server) Settle(ctx context.Context, p eventlog.Pending, id string, road mostro.Road) (out eventlog.Outcome, ok bool, reason string) {
	_, out, err := p.Wait(ctx)
	if errors.Is(err, eventlog.ErrFull) {
		return 0, false, ReasonFull
	}
	if err != nil {
		return 0, false, ReasonStore
	}
	s.met.outcome(out)
	switch out {
	case eventlog.Added:
		return out, true, ""
	case eventlog.Duplicate:
		return s.repeated(ctx, id, road)
	case eventlog.Archived:
		return out, true, reasonOlder
	case eventlog.Deleted:
		return out, false, reasonDeleted
	case eventlog.OverQuota:
		return out, false, reasonQuota
	}
	return out, false, ReasonStore
}

// repeated is the answer to an event that is held already. What is held and
// cannot be read was deleted, or is mail that has expired: it is refused, but
// for this program's own outbox, which has nothing more to do about it.
func (s *Server) repeated(ctx context.Context, id string, road mostro.Road) (out eventlog.Outcome, ok bool, reason string) {
	_, err := s.cfg.Store.Find(ctx, id)
	switch {
	case err == nil, errors.Is(err, mostro.ErrNotFound) && road == mostro.RoadSelf:
		return eventlog.Duplicate, true, reasonDuplicate
	case eventlog.IsDamage(err):
		return 0, false, "error: the stored copy of this event is damaged"
	case errors.Is(err, mostro.ErrNotFound):
		return eventlog.Deleted, false, reasonGone
	default:
		return 0, false, "error: the store could not be asked"
	}
}

// ErrRefused says that the relay will not take an event, and why. It would be
// refused again.
var ErrRefused = errors.New("refused")

// Publish takes an event made by this program. When it returns nil the event
// is in the log, or was already. An error that wraps ErrRefused is definite.
func (s *Server) Publish(ctx context.Context, evt *nostr.Event) error {
	a := &Admission{Context: ctx, Evt: evt, Source: mostro.Source{Road: mostro.RoadSelf}}
	if s.Check(a) {
		s.Submit(a)
	}
	if a.Pending != nil {
		_, a.Ok, a.Reason = s.Settle(ctx, a.Pending, evt.ID, mostro.RoadSelf)
	}
	switch {
	case a.Ok:
		return nil
	case strings.HasPrefix(a.Reason, "error:"), strings.HasPrefix(a.Reason, "rate-limited:"):
		return fmt.Errorf("publish %s: %s", evt.ID, a.Reason)
	}
	return fmt.Errorf("publish %s: %w: %s", evt.ID, ErrRefused, a.Reason)
}

// Federated returns the admission of an event that another relay sent. size is
// the length of its JSON in bytes. Rates of addresses and keys are not applied.
func (s *Server) Federated(ctx context.Context, evt *nostr.Event, size int, source mostro.Source) *Admission {
	return &Admission{Context: ctx, Evt: evt, Size: size, Local: true, Source: source}
}

// Event returns the event that is admitted.
func (a *Admission) Event() *nostr.Event { return a.Evt }

// DiskFull reports whether the event was refused because the disk is full.
func (a *Admission) DiskFull() bool { return a.Reason == ReasonFull }

// Outcome returns the outcome of an event, after the store has decided if the
// event was submitted. ok and reason are the fields of the OK message.
func (s *Server) Outcome(a *Admission) (out eventlog.Outcome, ok bool, reason string) {
	if a.Pending == nil {
		return a.Out, a.Ok, a.Reason
	}
	return s.Settle(a, a.Pending, a.Evt.ID, a.Source.Road)
}

// Now returns the server's clock.
func (s *Server) Now() time.Time { return s.cfg.Now() }

// URL returns the public address of the relay, or "".
func (s *Server) URL() string { return s.cfg.URL }

// Kinds returns the kinds that are admitted by configuration.
func (s *Server) Kinds() []int { return s.cfg.Policy.Kinds }

// Snapshot returns the live events that match a filter as a set for
// reconciliation. The caller calls release when it is done with the set.
func (s *Server) Snapshot(ctx context.Context, f nostr.Filter) (set *negentropy.Set, release func(), err error) {
	return s.negs.take(ctx, s.cfg.Store, f)
}

// Matcher reports whether events match a filter. It agrees with
// nostr.Filter.Matches.
type Matcher struct{ filter *liveFilter }

// NewMatcher prepares a filter for many events.
func NewMatcher(f nostr.Filter) Matcher { return Matcher{newLiveFilter(f)} }

// Matches reports whether an event matches the filter.
func (m Matcher) Matches(evt *nostr.Event) bool { return m.filter.matches(evt) }

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

// Admission is the state of one event while the relay decides about the event. khatru
// passes the Admission to the hooks as their context.
type Admission struct {
	context.Context
	Evt    *nostr.Event
	Text   string // source text of the event; "" if there is none
	json   []byte // canonical JSON, set once encoded; may share memory with Text
	Size   int
	Source mostro.Source
	IP     netip.Addr
	Local  bool
	Authd  map[string]bool
	Was    *eventlog.Witnessed // the event's record in a backup; nil: the event arrives now

	Seen bool // set by the first hook that khatru calls

	// The result: Pending if the store decides, else Ok and Reason.
	Pending eventlog.Pending
	Ok      bool
	Reason  string
	Out     eventlog.Outcome // Duplicate if the event was found before the store was asked
}

// Caught turns a panic during the admission of one event into a refusal, because one
// client's message must not end a process that holds the money of others. Caught is called
// by defer.
func (s *Server) Caught(refuse func(reason string)) {
	if p := recover(); p != nil {
		s.met.panics.Inc()
		s.cfg.Log.Error("panic while admitting an event", "panic", p, "stack", string(debug.Stack()))
		refuse("error: internal error")
	}
}

// Check makes every check that does not depend on the order of events: policy, quota, id,
// duplicates, signature. Check returns true if the event may go on to Submit. If Check
// returns false, Ok and Reason hold the answer.
func (s *Server) Check(a *Admission) (more bool) {
	defer s.Caught(func(reason string) { more = a.Refuse(reason) })
	evt := a.Evt
	rules := s.rules.Load()
	policy := s.cfg.Policy
	policy.Kinds = rules.kinds(policy.Kinds)
	client := a.Source.Road == mostro.RoadClient
	if client && rules.blocksIP(a.IP) {
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
		if reason := s.cfg.Quota(a.IP, evt); reason != "" {
			return a.Refuse(reason)
		}
	}
	var intact bool
	if a.json, intact = mostro.CheckedText(evt, a.Text); !intact {
		return a.Refuse("invalid: the id is not the hash of the event")
	}
	if !nostr.IsEphemeralKind(evt.Kind) {
		// The id is proven, so a stored event with this id is this very event.
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

// RefuseProtected returns the reason if a protected event (NIP-70) comes from a sender
// that is not its authenticated author. This program signs as the author of its own
// events, so its own events pass.
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

// Enqueue hands an event to the store's queue. Enqueue returns a reason if the store takes
// no event.
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

// Deliver offers an ephemeral event to the subscriptions. Deliver returns a reason if the
// queue for ephemeral events is full.
func (s *Server) Deliver(a *Admission) (refusal string) {
	if !s.dispatch.offer(a.Evt, a.json) {
		return "rate-limited: too many ephemeral events at once"
	}
	s.met.ephemeral.Inc()
	a.Ok = true
	return ""
}

// Settle waits for the outcome of a submitted event and returns the fields of the OK
// message.
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

// repeated returns the answer to an event that the store already holds. If the stored
// event cannot be read, the event was deleted or is expired mail, and is refused. The
// outbox of this program gets an acceptance instead, because nothing remains to be done.
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

// ErrRefused says that the relay refuses an event for good. Publishing the event again
// returns the same error.
var ErrRefused = errors.New("refused")

// Publish admits an event of this program. If Publish returns nil, the event is in the
// log, or was in the log before and has been deleted or has expired. An error that wraps
// ErrRefused is final; any other error may be retried.
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

// NewMatcher prepares a filter that is matched against many events.
func NewMatcher(f nostr.Filter) Matcher { return Matcher{newLiveFilter(f)} }

// Matches reports whether an event matches the filter.
func (m Matcher) Matches(evt *nostr.Event) bool { return m.filter.matches(evt) }
